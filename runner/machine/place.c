/*
 * place.c - from a request to a grant: what is free, which kinds come into question, memory, and the words
 * for it.
 *
 * Owns: nothing. Runs in: the client. Privilege: none. The choice itself is made in solve.c.
 */
#include "machine/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "machine/capacity.h"
#include "machine/refuse.h"
#include "machine/solve.h"

/* One attempt to place: against the ledger, or (to tell "taken" from "never") against an empty one. */
struct attempt {
    const struct jb_machine *machine;
    const struct jb_ledger *ledger;
    const struct jb_request *request;
    struct jb_cpus blocked; /* PUs that may not be taken: held by others, or used when we want them alone */
    struct jb_place_core *cores; /* n_cores */
    unsigned *load; /* per PU of the machine: non-exclusive boxes on it; NULL when of no interest */
    struct jb_capacity capacity;
    struct jb_cpus wide; /* memory nodes beyond the local ones */
    bool remote;         /* `wide` is in use */
    int lowest, highest; /* kinds that came into question at last */
};

static void attempt_free(struct attempt *a)
{
    free(a->cores);
    free(a->load);
    jb_capacity_free(&a->capacity);
}

static bool whole_cores(const struct attempt *a)
{
    return a->request->unit == JB_CPU_UNIT_CORE;
}

static bool memory_matters(const struct attempt *a)
{
    return a->request->memory != JB_UNSET && a->machine->memory > 0;
}

static bool is_strict(const struct attempt *a)
{
    return a->request->strict && a->request->locality != JB_LOCALITY_NONE;
}

static enum jb_level level_of(enum jb_locality locality)
{
    static const enum jb_level levels[JB_LOCALITY_MAX] = {
        [JB_LOCALITY_NONE] = JB_LEVEL_PACKAGE,
        [JB_LOCALITY_L3] = JB_LEVEL_L3,
        [JB_LOCALITY_NUMA] = JB_LEVEL_NUMA,
        [JB_LOCALITY_PACKAGE] = JB_LEVEL_PACKAGE,
    };
    return levels[locality];
}

static unsigned groups_at(const struct jb_machine *m, enum jb_level level)
{
    return level == JB_LEVEL_PACKAGE ? m->n_packages
           : level == JB_LEVEL_NUMA  ? (unsigned)m->n_nodes
                                     : m->n_l3s;
}

/* Cores as runs of PUs. */
static void list_cores(struct attempt *a)
{
    for (size_t i = 0; i < a->machine->n_pus; i++) {
        const struct jb_pu *pu = &a->machine->pus[i];
        struct jb_place_core *core = &a->cores[pu->core];
        if (core->n_pus++ == 0) {
            core->first_pu = (unsigned)i;
            core->group[JB_LEVEL_PACKAGE] = pu->package;
            core->group[JB_LEVEL_NUMA] = pu->numa;
            core->group[JB_LEVEL_L3] = pu->l3;
            core->kind = pu->kind < 0 ? 0 : pu->kind;
        }
    }
}

/* How many boxes that share run on each PU: new ones that share go where the fewest are. */
static int count_load(struct attempt *a)
{
    a->load = calloc(a->machine->n_pus, sizeof(*a->load));
    if (!a->load)
        return -ENOMEM;
    for (size_t i = 0; a->ledger && i < a->ledger->len; i++) {
        struct jb_holding h;
        if (a->ledger->items[i].exclusive)
            continue;
        jb_ledger_get(a->ledger, i, &h);
        for (size_t p = 0; p < a->machine->n_pus; p++)
            a->load[p] += jb_cpus_has(&h.cpus, a->machine->pus[p].os);
    }
    return 0;
}

static int attempt_init(const struct jb_machine *m, const struct jb_ledger *ledger,
                        const struct jb_request *request, struct attempt *a)
{
    *a = (struct attempt){.machine = m, .ledger = ledger, .request = request};
    if (ledger)
        a->blocked = request->exclusive ? ledger->used : ledger->held;
    a->cores = calloc(m->n_cores ? m->n_cores : 1, sizeof(*a->cores));
    int r = a->cores ? 0 : -ENOMEM;
    if (r == 0 && !request->exclusive)
        r = count_load(a);
    if (r == 0 && memory_matters(a))
        r = jb_capacity_init(m, ledger, &a->capacity);
    if (r < 0)
        attempt_free(a);
    else
        list_cores(a);
    return r;
}

/* A sibling that we may not use ourselves must not be anybody's while we own the core. */
static void block_by_siblings(struct attempt *a)
{
    if (!whole_cores(a))
        return;
    for (size_t i = 0; i < a->machine->n_siblings; i++) {
        const struct jb_pu *pu = &a->machine->siblings[i];
        if (jb_cpus_has(&a->machine->reserved, pu->os))
            a->cores[pu->core].total = 0;
        if (jb_cpus_has(&a->machine->reserved, pu->os) || jb_cpus_has(&a->blocked, pu->os))
            a->cores[pu->core].free = 0;
    }
}

/* Fills total, free and load of each core whose kind is in question. Returns the free units. */
static unsigned count_units(struct attempt *a)
{
    unsigned sum = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        struct jb_place_core *core = &a->cores[c];
        core->total = core->free = core->load = 0;
        if (core->kind < a->lowest || core->kind > a->highest)
            continue;
        for (unsigned p = core->first_pu; p < core->first_pu + core->n_pus; p++) {
            unsigned os = a->machine->pus[p].os;
            bool ours = !jb_cpus_has(&a->machine->reserved, os);
            core->total += ours;
            core->free += ours && !jb_cpus_has(&a->blocked, os);
            if (a->load && a->load[p] > core->load)
                core->load = a->load[p];
        }
        if (whole_cores(a)) {
            core->total = core->total == core->n_pus;
            core->free = core->free == core->n_pus;
        }
    }
    block_by_siblings(a);
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        sum += a->cores[c].free;
    return sum;
}

static int descending(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a;
    unsigned y = *(const unsigned *)b;
    return (x < y) - (x > y);
}

/* The fewest groups of a level that `k` units need on the empty machine, with the kinds now in question. */
static unsigned need(const struct attempt *a, enum jb_level level, uint64_t k)
{
    unsigned n = groups_at(a->machine, level);
    jb_autofree unsigned *room = calloc(n ? n : 1, sizeof(*room));
    if (!room)
        return n;
    unsigned most = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        unsigned *group = &room[a->cores[c].group[level]];
        *group += a->cores[c].total;
        most = *group > most ? *group : most;
    }
    if (most >= k)
        return 1;
    qsort(room, n, sizeof(*room), descending);
    uint64_t sum = 0;
    unsigned used = 0;
    while (used < n && sum < k)
        sum += room[used++];
    return used;
}

/* How many units `groups` groups of the level could hold on the empty machine: what strict could still have.
 */
static unsigned touched(const struct attempt *a, enum jb_level level)
{
    struct jb_cpus seen = {0};
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (a->cores[c].take)
            jb_cpus_add(&seen, a->cores[c].group[level]);
    return jb_cpus_count(&seen);
}

/* Threads of a core are given the least shared first, then in order. */
static void take_threads(const struct attempt *a, const struct jb_place_core *core, struct jb_cpus *ret)
{
    for (unsigned left = core->take; left > 0; left--) {
        int best = -1;
        for (unsigned p = core->first_pu; p < core->first_pu + core->n_pus; p++) {
            unsigned os = a->machine->pus[p].os;
            if (jb_cpus_has(ret, os) || jb_cpus_has(&a->machine->reserved, os) ||
                jb_cpus_has(&a->blocked, os))
                continue;
            if (best < 0 || (a->load && a->load[p] < a->load[best]))
                best = (int)p;
        }
        if (best < 0)
            return;
        jb_cpus_add(ret, a->machine->pus[best].os);
    }
}

static struct jb_cpus taken_pus(const struct attempt *a)
{
    struct jb_cpus set = {0};
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        const struct jb_place_core *core = &a->cores[c];
        if (core->take && whole_cores(a))
            for (unsigned p = 0; p < core->n_pus; p++)
                jb_cpus_add(&set, a->machine->pus[core->first_pu + p].os);
        else if (core->take)
            take_threads(a, core, &set);
    }
    return set;
}

/* A usable node in place of one that is not: of the same package if there is one, else the first with CPUs.
 */
static const struct jb_numa *stand_in(const struct jb_machine *m, unsigned package)
{
    const struct jb_numa *best = NULL;
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_numa *node = &m->nodes[m->pus[i].numa];
        if (node->usable && m->pus[i].package == package)
            return node;
        if (node->usable && !best)
            best = node;
    }
    for (size_t v = 0; v < m->n_nodes && !best; v++)
        if (m->nodes[v].usable)
            best = &m->nodes[v];
    return best;
}

/* Nodes local to the PUs; where memory of a local node may not be used (or there is none), the next best one.
 */
static struct jb_cpus local_mems(const struct jb_machine *m, const struct jb_cpus *cpus)
{
    struct jb_cpus mems = {0};
    for (size_t i = 0; i < m->n_pus; i++) {
        if (!jb_cpus_has(cpus, m->pus[i].os))
            continue;
        const struct jb_numa *node = &m->nodes[m->pus[i].numa];
        if (!node->usable)
            node = stand_in(m, m->pus[i].package);
        if (node)
            jb_cpus_add(&mems, node->os);
    }
    return mems;
}

/* Adds nodes until the memory fits: those of the same packages, then others with CPUs, then the rest. */
static bool widen(struct attempt *a, const struct jb_cpus *cpus, struct jb_cpus *mems)
{
    const struct jb_machine *m = a->machine;
    struct jb_cpus packages = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(cpus, m->pus[i].os))
            jb_cpus_add(&packages, m->pus[i].package);
    struct jb_cpus near = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(&packages, m->pus[i].package))
            jb_cpus_add(&near, m->nodes[m->pus[i].numa].os);
    for (int round = 0; round < 3; round++)
        for (size_t v = 0; v < m->n_nodes; v++) {
            const struct jb_numa *node = &m->nodes[v];
            bool turn =
                round == 2 || (round == 1 ? !jb_cpus_empty(&node->cpus) : jb_cpus_has(&near, node->os));
            if (jb_capacity_of(&a->capacity, mems, a->request->memory) >= a->request->memory)
                return true;
            if (node->usable && turn)
                jb_cpus_add(mems, node->os);
        }
    return jb_capacity_of(&a->capacity, mems, a->request->memory) >= a->request->memory;
}

static bool close_enough(const struct attempt *a)
{
    enum jb_level level = level_of(a->request->locality);
    return !is_strict(a) || touched(a, level) <= need(a, level, a->request->cpus);
}

static bool memory_fits(struct attempt *a)
{
    struct jb_cpus cpus = taken_pus(a);
    struct jb_cpus mems = local_mems(a->machine, &cpus);
    return jb_capacity_of(&a->capacity, &mems, a->request->memory) >= a->request->memory;
}

/* Takes the cores of nodes that would not do out of the choice. Returns the units left. */
static unsigned drop_nodes(struct attempt *a, const struct jb_cpus *nodes)
{
    unsigned sum = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        if (jb_cpus_has(nodes, a->cores[c].group[JB_LEVEL_NUMA]))
            a->cores[c].free = 0;
        sum += a->cores[c].free;
    }
    return sum;
}

static uint64_t capacity_of_node(struct attempt *a, size_t v)
{
    struct jb_cpus one = {0};
    jb_cpus_add(&one, a->machine->nodes[v].os);
    return jb_capacity_of(&a->capacity, &one, a->request->memory);
}

static int solve(struct attempt *a)
{
    return jb_solve(a->cores, a->machine->n_cores, (unsigned)a->request->cpus,
                    level_of(a->request->locality));
}

/* The touched node with the least memory free, by index. */
static size_t poorest(struct attempt *a)
{
    size_t worst = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        if (!a->cores[c].take)
            continue;
        uint64_t room = capacity_of_node(a, a->cores[c].group[JB_LEVEL_NUMA]);
        if (room < least) {
            least = room;
            worst = a->cores[c].group[JB_LEVEL_NUMA];
        }
    }
    return worst;
}

/*
 * Other cores, whose nodes have the memory: first among nodes that each have enough of it, then leaving out
 * the poorest node of each answer. 0 when found, -ENOSPC when not.
 */
static int solve_for_memory(struct attempt *a)
{
    struct jb_cpus poor = {0};
    for (size_t v = 0; v < a->machine->n_nodes; v++)
        if (capacity_of_node(a, v) < a->request->memory)
            jb_cpus_add(&poor, (unsigned)v);
    if (drop_nodes(a, &poor) >= a->request->cpus) {
        int r = solve(a);
        if (r < 0 || close_enough(a))
            return r;
    }
    (void)count_units(a);
    struct jb_cpus left_out = {0};
    while (drop_nodes(a, &left_out) >= a->request->cpus) {
        int r = solve(a);
        if (r < 0)
            return r;
        if (!close_enough(a))
            return -ENOSPC;
        if (memory_fits(a))
            return 0;
        jb_cpus_add(&left_out, (unsigned)poorest(a));
    }
    return -ENOSPC;
}

/* Keeps the takes of the first answer while another one is sought. */
static unsigned *save_takes(const struct attempt *a)
{
    unsigned *takes = calloc(a->machine->n_cores, sizeof(*takes));
    for (unsigned c = 0; takes && c < a->machine->n_cores; c++)
        takes[c] = a->cores[c].take;
    return takes;
}

static void restore_takes(struct attempt *a, const unsigned *takes)
{
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        a->cores[c].take = takes[c];
}

/*
 * Memory for an answer that was found without looking at it. Cores together come first, memory next to them
 * second: another place is taken only when it spans no more packages and NUMA nodes; else the job keeps its
 * cores and its memory reaches over to further nodes. Strict locality means the memory too.
 */
static int provide_memory(struct attempt *a, struct jb_verdict *v)
{
    a->remote = false;
    if (!memory_matters(a) || memory_fits(a))
        return 0;
    jb_autofree unsigned *takes = save_takes(a);
    if (!takes)
        return -ENOMEM;
    struct jb_cpus cpus = taken_pus(a);
    struct jb_cpus mems = local_mems(a->machine, &cpus);
    uint64_t local = jb_capacity_of(&a->capacity, &mems, a->request->memory);
    unsigned packages = touched(a, JB_LEVEL_PACKAGE);
    unsigned nodes = touched(a, JB_LEVEL_NUMA);
    int r = solve_for_memory(a);
    if (r == -ENOMEM)
        return r;
    if (r == 0 && (is_strict(a) || (touched(a, JB_LEVEL_PACKAGE) <= packages &&
                                    touched(a, JB_LEVEL_NUMA) <= nodes && memory_fits(a))))
        return 0;
    restore_takes(a, takes);
    if (!is_strict(a) && widen(a, &cpus, &mems)) {
        a->wide = mems;
        a->remote = true;
        return 0;
    }
    v->why = JB_REFUSAL_MEMORY;
    v->memory = is_strict(a) ? local : jb_capacity_of(&a->capacity, &mems, a->request->memory);
    return -ENOSPC;
}

static void blame(struct jb_verdict *v, enum jb_refusal why)
{
    v->why = why > v->why ? why : v->why;
}

/* One range of kinds. 0: `take` of the cores is the answer; -ENOSPC: none here, `v` says why. */
static int try_kinds(struct attempt *a, int lowest, int highest, struct jb_verdict *v)
{
    a->lowest = lowest;
    a->highest = highest;
    unsigned available = count_units(a);
    v->available = available > v->available ? available : v->available;
    if (available < a->request->cpus) {
        blame(v, JB_REFUSAL_COUNT);
        return -ENOSPC;
    }
    int r = solve(a);
    if (r < 0)
        return r;
    if (!close_enough(a)) {
        blame(v, JB_REFUSAL_LOCALITY);
        return -ENOSPC;
    }
    return provide_memory(a, v);
}

/*
 * One kind alone, the fastest first, before any mix. "performance" is the fastest kind; "efficiency" all
 * others, for there may be two of them; a machine of one kind has neither.
 */
static int try_all_kinds(struct attempt *a, struct jb_verdict *v)
{
    int n = (int)a->machine->n_kinds;
    int highest = a->request->kind == JB_CPU_KIND_EFFICIENCY ? n - 2 : n - 1;
    int lowest = a->request->kind == JB_CPU_KIND_PERFORMANCE ? n - 1 : 0;
    if (a->request->kind != JB_CPU_KIND_ANY && n == 1)
        return -ENOSPC;
    int r = -ENOSPC;
    for (int kind = highest; r == -ENOSPC && kind >= lowest; kind--)
        r = try_kinds(a, kind, kind, v);
    if (r == -ENOSPC && lowest < highest)
        r = try_kinds(a, lowest, highest, v);
    return r;
}

static enum jb_cpu_kind kind_of(const struct jb_machine *m, const struct jb_cpus *cpus)
{
    int n = (int)m->n_kinds;
    bool fast = false;
    bool slow = false;
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(cpus, m->pus[i].os)) {
            fast |= m->pus[i].kind == n - 1;
            slow |= m->pus[i].kind < n - 1;
        }
    return n == 1 || fast == slow ? JB_CPU_KIND_ANY : fast ? JB_CPU_KIND_PERFORMANCE : JB_CPU_KIND_EFFICIENCY;
}

/* What others may not have: the PUs, and for whole cores all their siblings, also those that we may not use.
 */
static struct jb_cpus held_by(const struct attempt *a, const struct jb_cpus *cpus)
{
    struct jb_cpus held = *cpus;
    if (!a->request->exclusive)
        return (struct jb_cpus){0};
    if (!whole_cores(a))
        return held;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        const struct jb_place_core *core = &a->cores[c];
        if (core->take)
            for (unsigned p = core->first_pu; p < core->first_pu + core->n_pus; p++)
                jb_cpus_add(&held, a->machine->pus[p].os);
    }
    for (size_t i = 0; i < a->machine->n_siblings; i++)
        if (a->cores[a->machine->siblings[i].core].take)
            jb_cpus_add(&held, a->machine->siblings[i].os);
    return held;
}

/* Free units in the groups that were touched at a level, those taken included. */
static unsigned free_in_touched(const struct attempt *a, enum jb_level level)
{
    struct jb_cpus seen = {0};
    unsigned sum = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (a->cores[c].take)
            jb_cpus_add(&seen, a->cores[c].group[level]);
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (jb_cpus_has(&seen, a->cores[c].group[level]))
            sum += a->cores[c].free;
    return sum;
}

static void say_where(const struct attempt *a, const struct jb_grant *g, struct jb_buf *text)
{
    unsigned c = 0;
    while (!a->cores[c].take)
        c++;
    unsigned l3 = a->cores[c].group[JB_LEVEL_L3];
    unsigned package = a->cores[c].group[JB_LEVEL_PACKAGE];
    unsigned node = a->machine->nodes[a->cores[c].group[JB_LEVEL_NUMA]].os;
    if (g->packages > 1)
        (void)jb_buf_printf(text, "over %u packages (%u NUMA nodes, %u L3 groups)", g->packages,
                            g->numa_nodes, g->l3s);
    else if (g->l3s == 1 && g->numa_nodes == 1)
        (void)jb_buf_printf(text, "in L3 group %u of NUMA node %u, package %u", l3, node, package);
    else if (g->numa_nodes == 1)
        (void)jb_buf_printf(text, "in %u L3 groups of NUMA node %u, package %u", g->l3s, node, package);
    else
        (void)jb_buf_printf(text, "in %u NUMA nodes (%u L3 group%s) of package %u", g->numa_nodes, g->l3s,
                            g->l3s == 1 ? "" : "s", package);
}

static void explain(const struct attempt *a, struct jb_grant *g)
{
    jb_autobuf struct jb_buf text = {0};
    char units[64];
    bool chosen = !a->request->cpu_set_said;
    (void)jb_buf_printf(
        &text, "%s ",
        jb_refuse_units(a->request, chosen ? a->request->cpus : g->cores, units, sizeof(units)));
    say_where(a, g, &text);
    if (!chosen) {
        (void)jb_buf_puts(&text, ", as the CPU list says");
    } else {
        enum jb_level level = g->l3s == 1          ? JB_LEVEL_L3
                              : g->numa_nodes == 1 ? JB_LEVEL_NUMA
                                                   : JB_LEVEL_PACKAGE;
        (void)jb_buf_printf(&text, ", the closest set of free ones and the tightest: %u were free there",
                            free_in_touched(a, level));
    }
    if (g->straddles_l3 || g->straddles_numa || g->straddles_package)
        (void)jb_buf_printf(&text, "; an empty machine would keep them in fewer %s",
                            g->straddles_package ? "packages"
                            : g->straddles_numa  ? "NUMA nodes"
                                                 : "L3 groups");
    if (a->machine->n_kinds > 1)
        (void)jb_buf_printf(&text, "; %s cores",
                            g->kind == JB_CPU_KIND_ANY ? "mixed kinds of" : jb_cpu_kind_name(g->kind));
    if (!g->exclusive)
        (void)jb_buf_puts(&text, "; may be shared with others that share");
    if (a->remote)
        (void)jb_buf_puts(
            &text, "; memory reaches over to other NUMA nodes, as the local ones have too little free");
    (void)snprintf(g->explain, sizeof(g->explain), "%s", text.data ? text.data : "");
}

static void fill_grant(const struct attempt *a, const struct jb_cpus *cpus, struct jb_grant *ret)
{
    struct jb_grant g = {.cpus = *cpus, .exclusive = a->request->exclusive, .memory = a->request->memory};
    uint64_t k = a->request->cpu_set_said ? 0 : a->request->cpus;
    g.mems = a->remote ? a->wide : local_mems(a->machine, cpus);
    g.held = held_by(a, cpus);
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        g.cores += a->cores[c].take > 0;
        k += a->request->cpu_set_said ? a->cores[c].take : 0;
    }
    g.l3s = touched(a, JB_LEVEL_L3);
    g.numa_nodes = touched(a, JB_LEVEL_NUMA);
    g.packages = touched(a, JB_LEVEL_PACKAGE);
    g.straddles_l3 = g.l3s > need(a, JB_LEVEL_L3, k);
    g.straddles_numa = g.numa_nodes > need(a, JB_LEVEL_NUMA, k);
    g.straddles_package = g.packages > need(a, JB_LEVEL_PACKAGE, k);
    g.kind = kind_of(a->machine, cpus);
    explain(a, &g);
    *ret = g;
}

static int place_count(const struct jb_machine *m, const struct jb_ledger *ledger,
                       const struct jb_request *request, struct jb_grant *ret, struct jb_verdict *v)
{
    struct attempt a;
    int r = attempt_init(m, ledger, request, &a);
    if (r < 0)
        return r;
    r = try_all_kinds(&a, v);
    if (r == 0 && ret) {
        struct jb_cpus cpus = taken_pus(&a);
        fill_grant(&a, &cpus, ret);
    }
    attempt_free(&a);
    return r;
}

/* What a list of CPUs can have against it that has nothing to do with who holds what. */
static int check_set(const struct jb_machine *m, const struct jb_request *q, struct jb_error *err)
{
    struct jb_cpus bad = q->cpu_set;
    jb_cpus_andnot(&bad, &m->allowed);
    jb_autofree char *list = jb_cpus_list(&bad);
    jb_autofree char *allowed = jb_cpus_list(&m->allowed);
    if (!list || !allowed)
        return jb_fail_errno(err, ENOMEM, "placement");
    if (jb_cpus_empty(&q->cpu_set))
        return jb_fail(err, EINVAL, "cpu_set: it is empty; name at least one CPU, or use cpus");
    if (!jb_cpus_empty(&bad))
        return jb_fail(
            err, ERANGE,
            "cpu_set: CPUs %.200s are offline, absent or not allowed to this process; allowed are %.200s",
            list, allowed);
    bad = q->cpu_set;
    jb_cpus_and(&bad, &m->reserved);
    int first = jb_cpus_next(&bad, 0);
    if (first >= 0)
        return jb_fail(err, ERANGE, "cpu_set: CPU %d is reserved by the site; choose others", first);
    enum jb_cpu_kind kind = kind_of(m, &q->cpu_set);
    if (q->kind != JB_CPU_KIND_ANY && kind != q->kind)
        return jb_fail(err, EINVAL,
                       "cpu_set: not all of these CPUs are %s cores, as cpu_kind wants; drop one of the two",
                       jb_cpu_kind_name(q->kind));
    return 0;
}

static int set_busy(const struct attempt *a, const struct jb_cpus *held, struct jb_error *err)
{
    struct jb_cpus clash = *held;
    jb_autobuf struct jb_buf who = {0};
    jb_cpus_and(&clash, &a->blocked);
    jb_autofree char *list = jb_cpus_list(&clash);
    int r = jb_refuse_holders(a->ledger, &clash, &who);
    if (r < 0 || !list)
        return jb_fail_errno(err, ENOMEM, "placement");
    return jb_fail(err, EBUSY, "cpu_set: CPUs %.200s are taken%s: held by %s", list,
                   jb_cpus_subset(&clash, &a->request->cpu_set) ? ""
                                                                : " (siblings of whole cores among them)",
                   who.data);
}

static int set_memory(struct attempt *a, const struct jb_cpus *cpus, struct jb_error *err)
{
    struct jb_cpus mems = local_mems(a->machine, cpus);
    if (!memory_matters(a) || jb_capacity_of(&a->capacity, &mems, a->request->memory) >= a->request->memory)
        return 0;
    if (!is_strict(a) && widen(a, cpus, &mems)) {
        a->wide = mems;
        a->remote = true;
        return 0;
    }
    struct jb_verdict v = {.why = JB_REFUSAL_MEMORY};
    v.memory = jb_capacity_of(&a->capacity, &mems, a->request->memory);
    jb_capacity_free(&a->capacity);
    int r = jb_capacity_init(a->machine, NULL, &a->capacity);
    if (r < 0)
        return jb_fail_errno(err, r, "placement");
    uint64_t ever = jb_capacity_of(&a->capacity, &mems, a->request->memory);
    if (ever >= a->request->memory)
        return jb_refuse_now(a->machine, a->ledger, a->request, &v, err);
    v.memory = ever;
    return jb_refuse_never(a->machine, a->request, &v, err);
}

static int place_set(const struct jb_machine *m, const struct jb_ledger *ledger, const struct jb_request *q,
                     struct jb_grant *ret, struct jb_error *err)
{
    struct attempt a;
    int r = check_set(m, q, err);
    if (r < 0)
        return r;
    r = attempt_init(m, ledger, q, &a);
    if (r < 0)
        return jb_fail_errno(err, r, "placement");
    struct jb_request by_thread = *q; /* a list counts PUs, also where it takes whole cores */
    by_thread.unit = JB_CPU_UNIT_THREAD;
    a.request = &by_thread;
    a.highest = (int)m->n_kinds - 1;
    (void)count_units(&a);
    for (size_t i = 0; i < m->n_pus; i++)
        a.cores[m->pus[i].core].take += jb_cpus_has(&q->cpu_set, m->pus[i].os);
    by_thread.cpus = jb_cpus_count(&q->cpu_set);
    a.request = q;
    struct jb_cpus held = held_by(&a, &q->cpu_set);
    jb_cpus_or(&held, &q->cpu_set);
    if (jb_cpus_intersects(&held, &a.blocked)) {
        r = set_busy(&a, &held, err);
    } else {
        a.request = &by_thread;
        bool near = close_enough(&a);
        a.request = q;
        r = near ? set_memory(&a, &q->cpu_set, err)
                 : jb_fail(err, EINVAL,
                           "cpu_set: these CPUs lie in more %s groups than so many need, against strict; "
                           "drop one of the two",
                           jb_locality_name(q->locality));
    }
    if (r == 0)
        fill_grant(&a, &q->cpu_set, ret);
    attempt_free(&a);
    return r;
}

/* The most units that strict would still get on the empty machine, for the advice: halving finds it. */
static unsigned largest_local(const struct jb_machine *m, const struct jb_request *request,
                              unsigned available)
{
    unsigned low = 0;
    unsigned high = available;
    while (low < high) {
        struct jb_verdict v = {0};
        struct jb_request q = *request;
        q.cpus = low + (high - low + 1) / 2;
        if (place_count(m, NULL, &q, NULL, &v) == 0)
            low = (unsigned)q.cpus;
        else
            high = (unsigned)q.cpus - 1;
    }
    return low;
}

int jb_place(const struct jb_machine *machine, const struct jb_ledger *ledger,
             const struct jb_request *request, struct jb_grant *ret, struct jb_error *err)
{
    if (request->cpu_set_said)
        return place_set(machine, ledger, request, ret, err);
    if (request->cpus == 0)
        return jb_fail(err, EINVAL, "cpus: 0 wanted; ask for at least 1");
    struct jb_verdict now = {0};
    int r = place_count(machine, ledger, request, ret, &now);
    if (r != -ENOSPC)
        return r < 0 ? jb_fail_errno(err, r, "placement") : 0;
    struct jb_verdict empty = {0};
    r = place_count(machine, NULL, request, NULL, &empty);
    if (r == 0)
        return jb_refuse_now(machine, ledger, request, &now, err);
    if (r != -ENOSPC)
        return jb_fail_errno(err, r, "placement");
    if (empty.why == JB_REFUSAL_LOCALITY)
        empty.local = largest_local(machine, request, empty.available);
    return jb_refuse_never(machine, request, &empty, err);
}
