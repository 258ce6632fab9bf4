/*
 * view.c - the tree of groups and the holder of each PU.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "machine/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define LEVELS 4 /* package, NUMA node, L3 group, die: bits 0 to 3 */

const char *jb_pu_state_name(enum jb_pu_state state)
{
    static const char *const names[JB_PU_STATE_MAX] = {
        [JB_PU_FREE] = "free",
        [JB_PU_HELD] = "held",
        [JB_PU_SHARED] = "shared",
        [JB_PU_RESERVED] = "reserved",
        [JB_PU_DISALLOWED] = "not_allowed",
    };
    return names[state];
}

void jb_view_plain(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static unsigned index_at(const struct jb_machine *m, size_t pu, unsigned level)
{
    const struct jb_pu *p = &m->pus[pu];
    return level == 0 ? p->package : level == 1 ? p->numa : level == 2 ? p->l3 : p->die;
}

/* Where the group of a level ends that begins at `pu`. */
static size_t end_of(const struct jb_machine *m, size_t pu, size_t limit, unsigned level)
{
    size_t end = pu + 1;
    while (end < limit && index_at(m, end, level) == index_at(m, pu, level))
        end++;
    return end;
}

static size_t kind_end(const struct jb_machine *m, size_t pu, size_t limit)
{
    size_t end = pu + 1;
    while (end < limit && m->pus[end].kind == m->pus[pu].kind)
        end++;
    return end;
}

static size_t core_of(const struct jb_view *v, size_t pu)
{
    size_t low = 0;
    size_t high = v->n_cores;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (v->cores[middle].first_pu <= pu)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static size_t add_group(struct jb_view *v, int parent, unsigned levels, size_t first, size_t end)
{
    size_t g = v->n_groups++;
    const struct jb_machine *m = v->machine;
    struct jb_view_group *group = &v->groups[g];
    *group = (struct jb_view_group){.levels = levels,
                                    .first_pu = first,
                                    .n_pus = end - first,
                                    .first_core = core_of(v, first),
                                    .parent = parent,
                                    .first_child = -1,
                                    .next = -1,
                                    .kind = m->pus[first].kind};
    group->n_cores = core_of(v, end - 1) + 1 - group->first_core;
    group->one_kind = m->n_kinds > 1 && kind_end(m, first, end) == end;
    if (parent < 0)
        return g;
    int *link = &v->groups[parent].first_child;
    while (*link >= 0)
        link = &v->groups[*link].next;
    *link = (int)g;
    return g;
}

static void split_kinds(struct jb_view *v, size_t g)
{
    size_t end = v->groups[g].first_pu + v->groups[g].n_pus;
    if (v->machine->n_kinds < 2 || v->groups[g].one_kind)
        return;
    for (size_t pu = v->groups[g].first_pu; pu < end; pu = kind_end(v->machine, pu, end))
        (void)add_group(v, (int)g, JB_VIEW_KIND, pu, kind_end(v->machine, pu, end));
}

/* Of the levels left over the one that reaches farthest comes first; those that reach as far are the same group. */
static void split(struct jb_view *v, size_t g, unsigned left)
{
    size_t end = v->groups[g].first_pu + v->groups[g].n_pus;
    if (!left) {
        split_kinds(v, g);
        return;
    }
    for (size_t pu = v->groups[g].first_pu; pu < end;) {
        size_t farthest = pu;
        unsigned levels = 0;
        for (unsigned level = 0; level < LEVELS; level++) {
            size_t reach = left & 1U << level ? end_of(v->machine, pu, end, level) : pu;
            if (reach > farthest)
                levels = 0;
            if (reach >= farthest && reach > pu) {
                farthest = reach;
                levels |= 1U << level;
            }
        }
        size_t child = add_group(v, (int)g, levels, pu, farthest);
        split(v, child, left & ~levels);
        pu = farthest;
    }
}

static void list_cores(struct jb_view *v)
{
    const struct jb_machine *m = v->machine;
    for (size_t i = 0; i < m->n_pus; i++) {
        if (i == 0 || m->pus[i].core != m->pus[i - 1].core)
            v->cores[v->n_cores++] = (struct jb_view_core){.first_pu = i};
        v->cores[v->n_cores - 1].n_pus++;
    }
}

/* A, B, ... z; two or three letters each when there are more boxes than letters. */
static void set_code(struct jb_view *v, size_t box)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t rest = box;
    for (unsigned i = v->code_len; i-- > 0; rest /= sizeof(letters) - 1)
        v->boxes[box].code[i] = letters[rest % (sizeof(letters) - 1)];
}

static void take_boxes(struct jb_view *v, struct jb_ledger *ledger)
{
    jb_ledger_sort(ledger);
    v->code_len = v->n_boxes > 52 * 52 ? 3 : v->n_boxes > 52 ? 2 : 1;
    for (size_t i = 0; i < v->n_boxes; i++) {
        struct jb_view_box *box = &v->boxes[i];
        jb_ledger_get(ledger, i, &box->holding);
        jb_view_plain(box->holding.name);
        jb_view_plain(box->holding.id.text);
        (void)snprintf(box->user, sizeof(box->user), "%u", (unsigned)box->holding.uid);
        set_code(v, i);
    }
}

static void settle(struct jb_view *v, size_t pu)
{
    struct jb_view_pu *p = &v->pus[pu];
    unsigned os = v->machine->pus[pu].os;
    p->box = -1;
    for (size_t i = 0; i < v->n_boxes; i++) {
        const struct jb_holding *h = &v->boxes[i].holding;
        bool runs = jb_cpus_has(&h->cpus, os);
        if (!runs && !(h->exclusive && jb_cpus_has(&h->held, os)))
            continue;
        p->state = p->state == JB_PU_FREE ? JB_PU_HELD : JB_PU_SHARED;
        p->box = p->state == JB_PU_HELD ? (int)i : -1;
        p->idle = p->state == JB_PU_HELD && !runs;
    }
    if (p->state == JB_PU_FREE && jb_cpus_has(&v->machine->reserved, os))
        p->state = JB_PU_RESERVED;
    if (p->state == JB_PU_FREE && !jb_cpus_has(&v->machine->allowed, os))
        p->state = JB_PU_DISALLOWED;
    v->count[p->state]++;
}

/* As placement counts whole cores: threads that this process may not use have to be nobody's. */
static void count_free_cores(struct jb_view *v)
{
    for (size_t c = 0; c < v->n_cores; c++) {
        unsigned n[JB_PU_STATE_MAX] = {0};
        for (size_t i = 0; i < v->cores[c].n_pus; i++)
            n[v->pus[v->cores[c].first_pu + i].state]++;
        v->free_cores += n[JB_PU_FREE] && n[JB_PU_FREE] + n[JB_PU_DISALLOWED] == v->cores[c].n_pus;
    }
}

int jb_view_make(const struct jb_machine *machine, struct jb_ledger *ledger, const char *source,
                 struct jb_view *ret, struct jb_error *err)
{
    jb_autoview struct jb_view v = {.machine = machine, .source = source, .n_boxes = ledger->len};
    v.pus = calloc(machine->n_pus, sizeof(*v.pus));
    v.cores = calloc(machine->n_pus, sizeof(*v.cores));
    v.groups = calloc(machine->n_pus * (LEVELS + 1) + 1, sizeof(*v.groups));
    v.boxes = calloc(ledger->len + 1, sizeof(*v.boxes));
    if (!v.pus || !v.cores || !v.groups || !v.boxes)
        return jb_fail_errno(err, ENOMEM, "drawing the machine");
    list_cores(&v);
    take_boxes(&v, ledger);
    for (size_t i = 0; i < machine->n_pus; i++)
        settle(&v, i);
    count_free_cores(&v);
    unsigned levels = (1U << LEVELS) - 1;
    if (machine->n_dies <= machine->n_packages)
        levels &= ~(unsigned)JB_VIEW_DIE;
    split(&v, add_group(&v, -1, 0, 0, machine->n_pus), levels);
    *ret = v;
    v = (struct jb_view){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_view_free(struct jb_view *view)
{
    free(view->pus);
    free(view->cores);
    free(view->groups);
    free(view->boxes);
    *view = (struct jb_view){0};
}

const char *jb_view_kind_name(const struct jb_machine *machine, int kind, char *buf, size_t len)
{
    int fastest = (int)machine->n_kinds - 1;
    if (fastest < 1 || kind < 0)
        return NULL;
    if (kind == fastest || fastest == 1)
        (void)snprintf(buf, len, "%s", kind == fastest ? "performance" : "efficiency");
    else
        (void)snprintf(buf, len, "efficiency %d", kind);
    return buf;
}

static void add(char *buf, size_t len, const char *text)
{
    size_t used = strlen(buf);
    (void)snprintf(buf + used, len - used, "%s%s", used ? ", " : "", text);
}

static void add_node(const struct jb_numa *node, char *buf, size_t len)
{
    char size[32];
    char text[80];
    if (!node->usable)
        (void)snprintf(text, sizeof(text), "node %u (memory not allowed)", node->os);
    else if (node->memory)
        (void)snprintf(text, sizeof(text), "node %u (%s)", node->os,
                       jb_format_size(node->memory, size, sizeof(size)));
    else
        (void)snprintf(text, sizeof(text), "node %u", node->os);
    add(buf, len, text);
}

char *jb_view_title(const struct jb_view *view, size_t group, char *buf, size_t len)
{
    const struct jb_view_group *g = &view->groups[group];
    const struct jb_pu *pu = &view->machine->pus[g->first_pu];
    char text[80];
    buf[0] = '\0';
    if (g->levels & JB_VIEW_PACKAGE) {
        (void)snprintf(text, sizeof(text), "package %u", pu->package);
        add(buf, len, text);
    }
    if (g->levels & JB_VIEW_DIE) {
        (void)snprintf(text, sizeof(text), "die %u", pu->die);
        add(buf, len, text);
    }
    if (g->levels & JB_VIEW_NUMA)
        add_node(&view->machine->nodes[pu->numa], buf, len);
    if (g->levels & JB_VIEW_L3) {
        (void)snprintf(text, sizeof(text), "L3 %u", pu->l3);
        add(buf, len, text);
    }
    bool names_kind = g->one_kind && (g->parent < 0 || !view->groups[g->parent].one_kind);
    if (names_kind && jb_view_kind_name(view->machine, g->kind, text, sizeof(text)))
        add(buf, len, text);
    return buf;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

char *jb_view_heading(const struct jb_view *view, char *buf, size_t len)
{
    const struct jb_machine *m = view->machine;
    char dies[32] = "";
    if (m->n_dies > m->n_packages)
        (void)snprintf(dies, sizeof(dies), ", %u dies", m->n_dies);
    (void)snprintf(buf, len,
                   "%s: %u package%s%s, %zu NUMA node%s, %u L3 group%s, %zu core%s, %zu CPU%s; %zu box%s, %u "
                   "core%s free",
                   view->source, m->n_packages, plural(m->n_packages), dies, m->n_nodes, plural(m->n_nodes),
                   m->n_l3s, plural(m->n_l3s), view->n_cores, plural(view->n_cores), m->n_pus,
                   plural(m->n_pus), view->n_boxes, view->n_boxes == 1 ? "" : "es", view->free_cores,
                   plural(view->free_cores));
    return buf;
}

struct jb_cpus jb_view_cpus(const struct jb_view *view, enum jb_pu_state state)
{
    struct jb_cpus set = {0};
    for (size_t i = 0; i < view->machine->n_pus; i++)
        if (view->pus[i].state == state)
            jb_cpus_add(&set, view->machine->pus[i].os);
    return set;
}
