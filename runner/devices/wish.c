/*
 * wish.c - from the words of a spec to devices of this host.
 *
 * Owns: the struct jb_choice under construction. Runs in: the client. Privilege: none.
 *
 * A CDI name is what it says whenever a device has that name. Only where none has, a whole number is a count and "all"
 * is all of them; { class, count } is always a count.
 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "devices/choice.h"

#define LISTED_MAX 400 /* bytes of names in a message */

static int no_memory(struct jb_error *err)
{
    return jb_fail_errno(err, ENOMEM, "devices");
}

void jb_choice_free(struct jb_choice *choice)
{
    jb_cdi_registry_free(&choice->registry);
    jb_arena_free(&choice->arena);
}

/* --- one candidate --- */

static const char *host_path(const struct jb_cdi_node *node)
{
    return node->host_path ? node->host_path : node->path;
}

/* The number of a node: as the file says it, else as the host has it. */
static int node_number(const struct jb_choice *choice, const struct jb_cdi_node *node,
                       struct jb_node_facts *ret)
{
    const struct jb_device_facts *facts = choice->in->facts;
    int r = node->major == JB_UNSET || node->type == JB_CDI_TYPE_UNSAID
                ? facts->node(facts->ctx, host_path(node), ret)
                : 0;
    if (r < 0 || node->major == JB_UNSET)
        return r;
    if (node->type != JB_CDI_TYPE_UNSAID)
        ret->type = node->type == JB_CDI_TYPE_BLOCK ? 'b' : 'c';
    ret->major = (unsigned)node->major;
    ret->minor = (unsigned)node->minor;
    return 0;
}

/* Any of its nodes may be the one that sysfs knows the place of. */
static void locate(struct jb_choice *choice, struct jb_candidate *c, const struct jb_node_facts *number)
{
    const struct jb_device_facts *facts = choice->in->facts;
    const struct jb_machine *m = choice->in->machine;
    struct jb_cpus cpus = {0};
    int node = -1;
    if (c->located ||
        facts->locality(facts->ctx, number->type, number->major, number->minor, &node, &cpus) < 0)
        return;
    for (size_t i = 0; jb_cpus_empty(&cpus) && i < m->n_nodes; i++)
        if ((int)m->nodes[i].os == node)
            cpus = m->nodes[i].cpus;
    c->located = !jb_cpus_empty(&cpus);
    c->node = node;
    c->cpus = cpus;
}

static bool matches(const struct jb_strv *patterns, const char *name, int flags)
{
    for (size_t i = 0; i < patterns->len; i++)
        if (fnmatch(patterns->items[i], name, flags) == 0)
            return true;
    return false;
}

/* Nodes of the device itself, without those that all devices of its file have. */
static int fill_candidate(struct jb_choice *choice, struct jb_candidate *c, struct jb_error *err)
{
    const struct jb_cdi_edits *edits = c->found.file ? &c->found.device->edits : NULL;
    size_t n = edits ? edits->n_nodes : 1;
    struct jb_held_device *held = jb_arena_alloc(&choice->arena, sizeof(*held));
    uint64_t *numbers = jb_arena_alloc(&choice->arena, (n + 1) * sizeof(*numbers));
    struct jb_held pool = {0};
    if (!held || !numbers)
        return no_memory(err);
    c->node = -1;
    for (size_t i = 0; i < n; i++) {
        struct jb_node_facts number = {0};
        const char *path = edits ? host_path(&edits->nodes[i]) : c->name;
        int r = edits ? node_number(choice, &edits->nodes[i], &number)
                      : choice->in->facts->node(choice->in->facts->ctx, path, &number);
        if (r < 0)
            return jb_fail(err, ENODEV, "%s: %s: %s%s", choice->where, c->name, path,
                           r == -ENODEV   ? " is not a device node"
                           : r == -ENOENT ? " is not on this host"
                                          : " cannot be examined");
        numbers[i] = jb_held_number(number.type, number.major, number.minor);
        locate(choice, c, &number);
    }
    bool exclusive = edits ? !matches(&choice->in->site->devices.shared, c->name, 0)
                           : matches(&choice->in->site->devices.exclusive, c->name, FNM_PATHNAME);
    int r = jb_held_add(&pool, c->name, exclusive, numbers, n); /* sorts them */
    if (r == 0) {
        memcpy(numbers, pool.items[0].nodes, n * sizeof(*numbers));
        *held = (struct jb_held_device){
            .name = (char *)c->name, .exclusive = exclusive, .nodes = numbers, .n_nodes = n};
        c->held = held;
        c->taken = choice->in->held ? jb_held_clash(choice->in->held, held) : NULL;
    }
    jb_held_free(&pool);
    return r < 0 ? no_memory(err) : 0;
}

/* --- what stands in the way --- */

/* "box 01JCX2Q8V4ZK (train, uid 1000)" */
static void holder(const struct jb_choice *choice, const struct jb_held_device *held, char *buf, size_t len)
{
    struct jb_holding h;
    if (!choice->in->ledger || held->box >= choice->in->ledger->len) {
        (void)snprintf(buf, len, "another box");
        return;
    }
    jb_ledger_get(choice->in->ledger, held->box, &h);
    (void)snprintf(buf, len, "%.12s (%s, uid %u)", h.id.text, *h.name ? h.name : "unnamed", (unsigned)h.uid);
}

static int taken(const struct jb_choice *choice, const struct jb_candidate *c, struct jb_error *err)
{
    char who[160];
    holder(choice, c->taken, who, sizeof(who));
    bool same = jb_streq(c->taken->name, c->name);
    return jb_fail(err, EBUSY, "%s: %s is taken%s%s: held by %s", choice->where, c->name, same ? "" : " as ",
                   same ? "" : c->taken->name, who);
}

/* The names there are, for advice. */
static void list_names(const struct jb_choice *choice, const char *kind, char buf[LISTED_MAX])
{
    jb_autofree struct jb_cdi_found *list = NULL;
    size_t n = 0;
    size_t used = 0;
    buf[0] = '\0';
    if (jb_cdi_registry_list(&choice->registry, kind, &list, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n && used + 64 < LISTED_MAX; i++)
        used +=
            (size_t)snprintf(buf + used, LISTED_MAX - used, "%s%.48s", i ? ", " : "", list[i].device->name);
}

static int not_defined(const struct jb_choice *choice, const char *kind, const char *text,
                       struct jb_error *err)
{
    char names[LISTED_MAX];
    jb_autobuf struct jb_buf dirs = {0};
    list_names(choice, kind, names);
    for (size_t i = 0; i < choice->in->site->devices.cdi_dirs.len; i++)
        (void)jb_buf_printf(&dirs, "%s%s", i ? " or " : "", choice->in->site->devices.cdi_dirs.items[i]);
    if (names[0])
        return jb_fail(err, ENODEV, "%s: %s is not on this host; of %s there are %s", choice->where, text,
                       kind, names);
    return jb_fail(err, ENODEV, "%s: %s is not on this host: no file of %s defines a device of %s",
                   choice->where, text, dirs.data ? dirs.data : "no folder at all", kind);
}

bool jb_choice_free_of(const struct jb_choice *choice, const struct jb_candidate *c)
{
    for (size_t w = 0; w < choice->n_wishes; w++)
        for (size_t i = 0; i < choice->wishes[w].len; i++) {
            const struct jb_candidate *other = &choice->wishes[w].items[i];
            if (other->chosen && jb_held_same(other->held, c->held))
                return false;
        }
    return true;
}

/* --- wishes --- */

/* A device that consists of another one and more ("all") is not one to be counted. */
static bool composite(const struct jb_wish *wish, const struct jb_candidate *c)
{
    for (size_t i = 0; i < wish->len; i++) {
        const struct jb_candidate *other = &wish->items[i];
        if (other != c && other->held && other->held->n_nodes > 0 &&
            other->held->n_nodes < c->held->n_nodes && jb_held_same(other->held, c->held))
            return true;
    }
    return false;
}

static int candidates(struct jb_choice *choice, const char *kind, struct jb_wish *wish, struct jb_error *err)
{
    jb_autofree struct jb_cdi_found *list = NULL;
    size_t n = 0;
    int r = jb_cdi_registry_list(&choice->registry, kind, &list, &n, err);
    if (r < 0)
        return jb_wrap(err, "%s", choice->where);
    wish->items = jb_arena_alloc(&choice->arena, (n + 1) * sizeof(*wish->items));
    if (!wish->items)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct jb_candidate *c = &wish->items[wish->len];
        *c = (struct jb_candidate){
            .found = list[i], .name = jb_arena_printf(&choice->arena, "%s=%s", kind, list[i].device->name)};
        if (!c->name)
            return no_memory(err);
        r = fill_candidate(choice, c, err);
        if (r == -ENODEV) { /* defined, but not plugged in: there is one less */
            jb_error_clear(err);
            continue;
        }
        if (r < 0)
            return r;
        wish->len++;
    }
    size_t kept = 0;
    bool drop[JB_DEVICES_MAX] = {false};
    for (size_t i = 0; i < wish->len && i < JB_DEVICES_MAX; i++)
        drop[i] = composite(wish, &wish->items[i]);
    for (size_t i = 0; i < wish->len && i < JB_DEVICES_MAX; i++)
        if (!drop[i])
            wish->items[kept++] = wish->items[i];
    wish->len = kept;
    return 0;
}

/* How many of them could be had together: several names may mean the same device. */
static uint64_t distinct(const struct jb_wish *wish, bool free_only)
{
    uint64_t n = 0;
    for (size_t i = 0; i < wish->len; i++) {
        bool again = free_only && wish->items[i].taken;
        for (size_t k = 0; !again && k < i; k++)
            again = !(free_only && wish->items[k].taken) &&
                    jb_held_same(wish->items[k].held, wish->items[i].held);
        n += !again;
    }
    return n;
}

static int too_few(const struct jb_choice *choice, const struct jb_wish *wish, uint64_t have, bool ever,
                   struct jb_error *err)
{
    jb_autobuf struct jb_buf who = {0};
    char text[160];
    int r = 0;
    if (!ever)
        return jb_fail(err, ERANGE,
                       "%s: %s: this host has %" PRIu64 " of %s, %" PRIu64
                       " are wanted; ask for at most %" PRIu64,
                       choice->where, wish->text, have, wish->kind, wish->count, have);
    for (size_t i = 0; r == 0 && i < wish->len; i++) {
        if (!wish->items[i].taken || who.len > LISTED_MAX)
            continue;
        holder(choice, wish->items[i].taken, text, sizeof(text));
        r = jb_buf_printf(&who, "%s%s by %s", who.len ? "; " : "", wish->items[i].name, text);
    }
    return jb_fail(err, EBUSY, "%s: %s: %" PRIu64 " of %s are free, %" PRIu64 " are wanted; held are %s",
                   choice->where, wish->text, have, wish->kind, wish->count, who.data ? who.data : "others");
}

static int counted(struct jb_choice *choice, const char *kind, uint64_t count, struct jb_wish *wish,
                   struct jb_error *err)
{
    int r = candidates(choice, kind, wish, err);
    if (r < 0)
        return r;
    wish->kind = kind;
    wish->count = count;
    uint64_t all = distinct(wish, false);
    uint64_t now = distinct(wish, true);
    if (all == 0)
        return not_defined(choice, kind, wish->text, err);
    return now >= count ? 0 : too_few(choice, wish, all < count ? all : now, all >= count, err);
}

static int want_one(struct jb_choice *choice, const char *name, const struct jb_cdi_found *found,
                    struct jb_wish *wish, struct jb_error *err)
{
    wish->items = jb_arena_alloc(&choice->arena, sizeof(*wish->items));
    if (!wish->items)
        return no_memory(err);
    wish->items[0] = (struct jb_candidate){.name = name, .found = *found, .chosen = true};
    int r = fill_candidate(choice, &wish->items[0], err);
    if (r < 0)
        return r;
    wish->len = 1;
    return wish->items[0].taken ? taken(choice, &wish->items[0], err) : 0;
}

static int want_all(struct jb_choice *choice, const char *kind, struct jb_wish *wish, struct jb_error *err)
{
    int r = candidates(choice, kind, wish, err);
    if (r < 0)
        return r;
    if (wish->len == 0)
        return not_defined(choice, kind, wish->text, err);
    for (size_t i = 0; i < wish->len; i++) {
        if (wish->items[i].taken)
            return taken(choice, &wish->items[i], err);
        wish->items[i].chosen = true;
    }
    return 0;
}

static int plain_node(struct jb_choice *choice, struct jb_wish *wish, struct jb_error *err)
{
    const struct jb_site *site = choice->in->site;
    if (!matches(&site->devices.allow, wish->text, FNM_PATHNAME))
        return jb_fail(
            err, EPERM,
            "%s: %s may not be asked for on this site; its administrator can add it to devices.allow of %s",
            choice->where, wish->text, site->file ? site->file : "the site config");
    return want_one(choice, wish->text, &(struct jb_cdi_found){0}, wish, err);
}

static int named(struct jb_choice *choice, const char *kind, const char *name, struct jb_wish *wish,
                 struct jb_error *err)
{
    struct jb_cdi_found found;
    uint64_t count = 0;
    int r = jb_cdi_registry_find(&choice->registry, kind, name, &found, err);
    if (r == 0)
        return want_one(choice, wish->text, &found, wish, err);
    if (r != -ENOENT)
        return jb_wrap(err, "%s", choice->where);
    jb_error_clear(err);
    if (jb_streq(name, "all"))
        return want_all(choice, kind, wish, err);
    if (name[0] != '0' && jb_parse_u64(name, JB_DEVICES_MAX, &count) == 0 && count > 0)
        return counted(choice, kind, count, wish, err);
    return not_defined(choice, kind, wish->text, err);
}

/* The part before '=' or before the count. */
static char *kind_of(struct jb_arena *arena, const char *text)
{
    const char *count = strstr(text, JB_DEVICE_COUNT);
    size_t len = count ? (size_t)(count - text) : strcspn(text, "=");
    return jb_arena_printf(arena, "%.*s", (int)len, text);
}

static int resolve(struct jb_choice *choice, struct jb_wish *wish, struct jb_error *err)
{
    const char *text = wish->text;
    if (text[0] == '/')
        return plain_node(choice, wish, err);
    const char *kind = kind_of(&choice->arena, text);
    if (!kind)
        return no_memory(err);
    const char *rest = text + strlen(kind);
    if (!jb_starts_with(rest, JB_DEVICE_COUNT))
        return named(choice, kind, rest + 1, wish, err);
    uint64_t count = 0;
    int r = jb_parse_u64(rest + strlen(JB_DEVICE_COUNT), JB_DEVICES_MAX, &count);
    return r < 0 ? jb_fail_errno(err, r, "%s: %s", choice->where, text)
                 : counted(choice, kind, count, wish, err);
}

static int load_registry(struct jb_choice *choice, struct jb_error *err)
{
    const struct jb_strv *wanted = &choice->in->spec->resources.devices;
    jb_autostrv struct jb_strv kinds = {0};
    for (size_t i = 0; i < wanted->len; i++) {
        if (wanted->items[i][0] == '/')
            continue;
        const char *kind = kind_of(&choice->arena, wanted->items[i]);
        if (!kind || (!jb_strv_has(&kinds, kind) && jb_strv_add(&kinds, kind) < 0))
            return no_memory(err);
    }
    if (kinds.len == 0)
        return 0;
    return jb_cdi_registry_load(&choice->in->site->devices.cdi_dirs, &kinds, &choice->registry, err);
}

int jb_choice_init(const struct jb_devices_input *in, struct jb_choice *ret, struct jb_error *err)
{
    const struct jb_strv *wanted = &in->spec->resources.devices;
    struct jb_choice choice = {.in = in};
    (void)jb_spec_where(in->spec, JB_KEY_DEVICES, choice.where, sizeof(choice.where));
    int r = load_registry(&choice, err);
    if (r == 0) {
        choice.wishes = jb_arena_alloc(&choice.arena, (wanted->len + 1) * sizeof(*choice.wishes));
        r = choice.wishes ? 0 : no_memory(err);
    }
    for (size_t i = 0; r == 0 && choice.wishes && i < wanted->len; i++) {
        choice.wishes[i].text = wanted->items[i];
        choice.n_wishes = i + 1;
        r = resolve(&choice, &choice.wishes[i], err);
    }
    if (r < 0)
        jb_choice_free(&choice);
    else
        *ret = choice;
    return r;
}
