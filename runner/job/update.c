/*
 * update.c - new limits for a live box: asked of the site, of the ledger, of the kernel, in this order.
 *
 * Owns: nothing. Runs in: see update.h. Privilege: see update.h.
 */
#include "job/update.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "job/boxdir.h"
#include "job/place.h"
#include "machine/machine.h"
#include "machine/place.h"
#include "record/record.h"

void jb_update_holding(const struct jb_plan *plan, struct jb_holding *ret)
{
    *ret = (struct jb_holding){
        .id = plan->id,
        .uid = plan->submitter_uid,
        .exclusive = plan->grant.exclusive,
        .cpus = plan->grant.cpus,
        .held = plan->grant.held,
        .mems = plan->grant.mems,
        .memory = plan->reserved_memory ? plan->memory_max : JB_UNSET,
        .has_devices = plan->devices != NULL,
    };
    (void)snprintf(ret->name, sizeof(ret->name), "%s", plan->name);
}

void jb_update_ends(void *updater, uint64_t ends_ns)
{
    struct jb_updater *u = updater;
    uint64_t ends = ends_ns == JB_UNSET ? 0 : ends_ns;
    uint64_t off = ends > u->ends_ns ? ends - u->ends_ns : u->ends_ns - ends;
    if (off > JB_NS_PER_S && jb_ledger_ends(&u->state->ledger, &u->plan->id, ends, NULL) == 0)
        u->ends_ns = ends;
}

static void show_size(uint64_t v, char *buf, size_t len)
{
    (void)jb_format_size(v, buf, len);
}

static void show_duration(uint64_t v, char *buf, size_t len)
{
    (void)jb_format_duration(v, buf, len);
}

static void show_count(uint64_t v, char *buf, size_t len)
{
    (void)snprintf(buf, len, "%" PRIu64, v);
}

static int ask_site(const struct jb_site *site, const struct jb_wish *wish, struct jb_error *err)
{
    const struct {
        const char *name;
        uint64_t wish;
        const struct jb_bound *bound;
        void (*show)(uint64_t, char *, size_t);
    } all[] = {
        {"memory", wish->memory, &site->memory, show_size},
        {"cpus", wish->cpus, &site->cpus, show_count},
        {"pids", wish->pids, &site->pids, show_count},
        {"wall_time", wish->wall_ns, &site->wall_time, show_duration},
        {"cpu_time", wish->cpu_ns, &site->cpu_time, show_duration},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++) {
        char asked[64];
        char allowed[64];
        if (all[i].wish == JB_UNSET || all[i].bound->max == JB_UNSET || all[i].wish <= all[i].bound->max)
            continue;
        all[i].show(all[i].wish, asked, sizeof(asked));
        all[i].show(all[i].bound->max, allowed, sizeof(allowed));
        return jb_fail(err, EPERM, "%s: %s is more than this site allows (%s); ask for less", all[i].name,
                       asked, allowed);
    }
    return 0;
}

/* What this box has nothing to change of. */
static int ask_box(const struct jb_updater *u, const struct jb_wish *wish, struct jb_error *err)
{
    const struct jb_plan *plan = u->plan;
    char now_text[48];
    char wish_text[48];
    if (wish->cpus != JB_UNSET && (plan->pin_by_affinity || !u->cgroup))
        return jb_fail(err, ENOTSUP,
                       "cpus: the job is bound to its CPUs without a cpuset; that cannot be changed");
    if (wish->memory != JB_UNSET && (plan->memory_max == JB_UNSET || !plan->cgroup.use[JB_CTL_MEMORY]))
        return jb_fail(err, ENOTSUP, "memory: the job has no memory limit of its own that could be changed");
    if (wish->pids != JB_UNSET && (plan->pids_max == JB_UNSET || !plan->cgroup.use[JB_CTL_PIDS]))
        return jb_fail(err, ENOTSUP, "pids: the job has no process limit that could be changed");
    if (wish->cpu_ns != JB_UNSET && (!u->cgroup || jb_cgroup_cpu_us(u->cgroup) == JB_UNSET))
        return jb_fail(err, ENOTSUP, "cpu_time: nothing counts the CPU time of this box");
    /* a v2 kernel would kill until it fits */
    uint64_t now = wish->memory != JB_UNSET ? jb_cgroup_memory_now(u->cgroup) : JB_UNSET;
    if (now != JB_UNSET && plan->cgroups->ctl[JB_CTL_MEMORY].version == 2 && wish->memory < now)
        return jb_fail(err, EBUSY, "memory: the job uses %s now and cannot be limited to %s",
                       jb_format_size(now, now_text, sizeof(now_text)),
                       jb_format_size(wish->memory, wish_text, sizeof(wish_text)));
    return 0;
}

/* --- CPUs --- */

struct choice {
    const struct jb_machine *machine;
    struct jb_ledger others;   /* all boxes but this one */
    struct jb_request request; /* as the spec made it */
    const struct jb_grant *now;
};

static int others_of(const struct jb_ledger *all, const struct jb_id *id, struct jb_ledger *ret)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < all->len; i++) {
        struct jb_holding h;
        jb_ledger_get(all, i, &h);
        if (!jb_streq(h.id.text, id->text))
            r = jb_ledger_add(ret, &h);
    }
    return r;
}

static int place_exactly(const struct choice *c, const struct jb_cpus *cpus, struct jb_grant *ret,
                         struct jb_error *err)
{
    struct jb_request request = c->request;
    request.cpu_set_said = true;
    request.cpu_set = *cpus;
    request.strict = false;
    request.locality = JB_LOCALITY_NONE;
    return jb_place(c->machine, &c->others, &request, ret, err);
}

/* How near a PU is to those that the box has: shared core, L3, NUMA node, package, none of them. */
static unsigned nearness(const struct jb_machine *m, const struct jb_cpus *have, const struct jb_pu *pu)
{
    unsigned best = 0;
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_pu *other = &m->pus[i];
        if (!jb_cpus_has(have, other->os))
            continue;
        unsigned near = other->core == pu->core         ? 4
                        : other->l3 == pu->l3           ? 3
                        : other->numa == pu->numa       ? 2
                        : other->package == pu->package ? 1
                                                        : 0;
        best = near > best ? near : best;
    }
    return best;
}

static void add_unit(const struct choice *c, const struct jb_pu *pu, struct jb_cpus *into)
{
    for (size_t i = 0; i < c->machine->n_pus; i++)
        if (c->machine->pus[i].os == pu->os ||
            (c->request.unit == JB_CPU_UNIT_CORE && c->machine->pus[i].core == pu->core))
            jb_cpus_add(into, c->machine->pus[i].os);
}

/* The nearest free unit is added; `tried` collects those that are not to be had. */
static int grow_by_one(const struct choice *c, struct jb_cpus *have, struct jb_cpus *tried,
                       struct jb_error *err)
{
    for (;;) {
        const struct jb_pu *best = NULL;
        unsigned best_near = 0;
        for (size_t i = 0; i < c->machine->n_pus; i++) {
            const struct jb_pu *pu = &c->machine->pus[i];
            if (jb_cpus_has(have, pu->os) || jb_cpus_has(tried, pu->os))
                continue;
            unsigned near = nearness(c->machine, have, pu);
            if (!best || near > best_near) {
                best = pu;
                best_near = near;
            }
        }
        if (!best)
            return -EBUSY;
        struct jb_cpus with = *have;
        struct jb_grant grant;
        add_unit(c, best, &with);
        int r = place_exactly(c, &with, &grant, err);
        if (r == 0) {
            *have = with;
            return 0;
        }
        if (r != -EBUSY && r != -ERANGE && r != -EINVAL)
            return r;
        jb_error_clear(err);
        add_unit(c, best, tried);
    }
}

static uint64_t units_of(const struct choice *c, const struct jb_grant *g)
{
    return c->request.unit == JB_CPU_UNIT_CORE ? g->cores : jb_cpus_count(&g->cpus);
}

static int grow(const struct choice *c, uint64_t wish, struct jb_grant *ret, struct jb_error *err)
{
    struct jb_cpus have = c->now->cpus;
    struct jb_cpus tried = {0};
    uint64_t units = units_of(c, c->now);
    const char *what = c->request.unit == JB_CPU_UNIT_CORE ? "core" : "thread";
    for (; units < wish; units++) {
        int r = grow_by_one(c, &have, &tried, err);
        if (r == -EBUSY)
            return jb_fail(err, EBUSY,
                           "cpus: the job can have %" PRIu64 " %s%s now and not %" PRIu64
                           "; the others are taken, or not for jobs",
                           units, what, units == 1 ? "" : "s", wish);
        if (r < 0)
            return r;
    }
    return place_exactly(c, &have, ret, err);
}

/* The best of those that it has: for the placement all others are taken. */
static int shrink(struct choice *c, uint64_t wish, struct jb_grant *ret, struct jb_error *err)
{
    struct jb_holding rest = {.exclusive = true, .memory = JB_UNSET};
    struct jb_request request = c->request;
    for (size_t i = 0; i < c->machine->n_pus; i++)
        if (!jb_cpus_has(&c->now->cpus, c->machine->pus[i].os))
            jb_cpus_add(&rest.held, c->machine->pus[i].os);
    for (size_t i = 0; i < c->machine->n_siblings; i++)
        if (!jb_cpus_has(&c->now->held, c->machine->siblings[i].os))
            jb_cpus_add(&rest.held, c->machine->siblings[i].os);
    rest.cpus = rest.held;
    (void)snprintf(rest.name, sizeof(rest.name), "others");
    (void)snprintf(rest.id.text, sizeof(rest.id.text), "00000000000000000000000000");
    int r = jb_cpus_empty(&rest.held) ? 0 : jb_ledger_add(&c->others, &rest);
    if (r < 0)
        return jb_fail_errno(err, r, "cpus");
    request.cpu_set_said = false;
    request.cpus = wish;
    request.strict = false;
    return jb_place(c->machine, &c->others, &request, ret, err);
}

static int choose(struct choice *c, const struct jb_wish *wish, struct jb_grant *ret, struct jb_error *err)
{
    uint64_t units = units_of(c, c->now);
    uint64_t want = wish->cpus == JB_UNSET ? units : wish->cpus;
    int r = want > units   ? grow(c, want, ret, err)
            : want < units ? shrink(c, want, ret, err)
                           : place_exactly(c, &c->now->cpus, ret, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < JB_CPUS_WORDS; i++) /* what it has on other nodes stays there */
        ret->mems.w[i] |= c->now->mems.w[i];
    return 0;
}

/* Under alloc.lock: nobody else chooses meanwhile. */
static int new_grant(const struct jb_updater *u, const struct jb_wish *wish, struct jb_grant *ret,
                     struct jb_error *err)
{
    struct jb_machine machine = {0};
    struct jb_ledger all = {0};
    struct choice c = {.machine = &machine, .now = &u->plan->grant};
    const struct jb_place place = {
        .site = u->site,
        .layout = &u->host->cgroups,
        .elsewhere = u->host->elsewhere,
        .ledger = &u->state->ledger,
        .also = &u->plan->grant.held, /* also what has been taken from this process, as a partition is */
        .cache_dirfd = u->state->runtime_fd,
    };
    int r = jb_plan_request(u->spec, u->site, &c.request, err);
    if (r == 0)
        r = jb_place_machine(&place, &machine, err);
    if (r == 0)
        r = jb_ledger_read(&u->state->ledger, &all, err);
    if (r == 0 && others_of(&all, &u->plan->id, &c.others) < 0)
        r = jb_fail_errno(err, ENOMEM, "update");
    c.request.memory = !u->plan->reserved_memory  ? JB_UNSET
                       : wish->memory == JB_UNSET ? u->plan->memory_max
                                                  : wish->memory;
    if (r == 0)
        r = choose(&c, wish, ret, err);
    jb_ledger_free(&c.others);
    jb_ledger_free(&all);
    jb_machine_free(&machine);
    return r;
}

/* --- the groups --- */

/* What is another than before. What is not is left alone: a CPU that is offline by now would not be taken again. */
struct places {
    bool cpus, mems;
};

/* The plan's settings with the new values; returns how many there are. */
static size_t new_settings(const struct jb_plan *plan, const struct jb_grant *grant,
                           const struct places *moved, const struct jb_wish *wish, struct jb_cg_setting *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->cgroup.n_settings; i++) {
        struct jb_cg_setting s = plan->cgroup.settings[i];
        switch (s.key) {
        case JB_CG_CPUSET_CPUS:
            if (!moved->cpus)
                continue;
            s.set = grant->cpus;
            break;
        case JB_CG_CPUSET_MEMS:
            if (!moved->mems)
                continue;
            s.set = grant->mems;
            break;
        case JB_CG_MEMORY_MAX:
            s.value = wish->memory == JB_UNSET ? s.value : wish->memory;
            break;
        case JB_CG_PARTITION: /* of the new CPUs too */
            if (!moved->cpus)
                continue;
            break;
        case JB_CG_SWAP_MAX: /* on v1 it is written as a sum with memory */
            break;
        case JB_CG_PIDS_MAX:
            s.value = wish->pids == JB_UNSET ? s.value : wish->pids;
            break;
        default:
            continue;
        }
        ret[n++] = s;
    }
    return n;
}

static int set_groups(const struct jb_updater *u, struct jb_cg_setting *settings, size_t n,
                      struct jb_error *err)
{
    struct jb_cg_readback got;
    struct jb_cg_plan part = u->plan->cgroup;
    part.settings = settings;
    part.n_settings = n;
    part.limit_devices = false; /* they stay as they are: on v1 they would be taken away for a moment */
    int r = jb_cgroup_change(u->cgroup, u->plan->cgroups, &part, err);
    if (r == 0)
        r = jb_cgroup_readback(u->cgroup, &got, err);
    return r == 0 ? jb_cgroup_verify(&part, &got, err) : r;
}

static void remember(struct jb_plan *plan, const struct jb_cg_setting *settings, size_t n)
{
    for (size_t i = 0; i < plan->cgroup.n_settings; i++)
        for (size_t j = 0; j < n; j++)
            if (settings[j].key == plan->cgroup.settings[i].key)
                plan->cgroup.settings[i] = settings[j];
}

static void adopt(struct jb_plan *plan, const struct jb_grant *grant, const struct jb_wish *wish)
{
    const struct {
        uint64_t wish, *into;
    } numbers[] = {{wish->memory, &plan->memory_max},
                   {wish->memory == JB_UNSET ? JB_UNSET : grant->memory, &plan->grant.memory},
                   {wish->pids, &plan->pids_max},
                   {wish->wall_ns, &plan->wall_ns},
                   {wish->cpu_ns, &plan->cpu_ns}};
    plan->grant = *grant;
    for (size_t i = 0; i < JB_ARRAY_LEN(numbers); i++)
        if (numbers[i].wish != JB_UNSET)
            *numbers[i].into = numbers[i].wish;
}

/* Groups, then the ledger; the groups go back when the ledger cannot be changed. */
static int put_in_force(struct jb_updater *u, const struct jb_wish *wish, struct jb_error *err)
{
    struct jb_plan *plan = u->plan;
    struct jb_grant grant = {0};
    struct jb_holding holding;
    jb_autofree struct jb_cg_setting *settings = calloc(plan->cgroup.n_settings + 1, sizeof(*settings));
    jb_autofree struct jb_cg_setting *old = calloc(plan->cgroup.n_settings + 1, sizeof(*old));
    if (!settings || !old)
        return jb_fail_errno(err, ENOMEM, "update");
    int r = 0;
    if (wish->cpus == JB_UNSET && wish->memory == JB_UNSET)
        grant = plan->grant;
    else
        r = new_grant(u, wish, &grant, err);
    if (r < 0)
        return r;
    if (wish->cpus == JB_UNSET) { /* a CPU that is offline is still its own */
        grant.cpus = plan->grant.cpus;
        grant.held = plan->grant.held;
        grant.cores = plan->grant.cores;
    }
    const struct places moved = {.cpus = !jb_cpus_equal(&grant.cpus, &plan->grant.cpus),
                                 .mems = !jb_cpus_equal(&grant.mems, &plan->grant.mems)};
    const struct jb_wish none = {JB_UNSET, JB_UNSET, JB_UNSET, JB_UNSET, JB_UNSET};
    size_t n_old = new_settings(plan, &plan->grant, &moved, &none, old);
    size_t n = new_settings(plan, &grant, &moved, wish, settings);
    r = set_groups(u, settings, n, err);
    if (r == 0) {
        jb_update_holding(plan, &holding);
        holding.cpus = grant.cpus;
        holding.held = grant.held;
        holding.mems = grant.mems;
        if (plan->reserved_memory && wish->memory != JB_UNSET)
            holding.memory = wish->memory;
        r = jb_ledger_update(&u->state->ledger, &holding, err);
    }
    if (r < 0) {
        (void)set_groups(u, old, n_old, NULL);
        return r;
    }
    remember(plan, settings, n);
    adopt(plan, &grant, wish);
    return 0;
}

static void note(json_t *changes, const char *key, json_t *old, json_t *new)
{
    if (json_equal(old, new)) {
        json_decref(old);
        json_decref(new);
        return;
    }
    (void)json_object_set_new(changes, key, json_pack("{s:o, s:o}", "old", old, "new", new));
}

static int write_down(const struct jb_updater *u, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len = 0;
    int r = jb_record_granted(u->record, u->plan, err);
    if (r == 0)
        r = jb_record_line(u->record, &line, &len, err);
    return r < 0 ? r : jb_boxdir_save_record(u->file_fd, line, len, err);
}

int jb_update(void *updater, const struct jb_wish *wish, json_t **ret_changes, struct jb_error *err)
{
    struct jb_updater *u = updater;
    const struct jb_plan was = *u->plan;
    bool placed = wish->cpus != JB_UNSET || wish->memory != JB_UNSET || wish->pids != JB_UNSET;
    int r = ask_site(u->site, wish, err);
    if (r == 0)
        r = ask_box(u, wish, err);
    if (r == 0 && placed) {
        r = jb_ledger_lock(&u->state->ledger, err);
        if (r < 0)
            return r;
        r = put_in_force(u, wish, err);
        jb_ledger_unlock(&u->state->ledger);
    } else if (r == 0) {
        const struct jb_grant same = u->plan->grant;
        adopt(u->plan, &same, wish);
    }
    if (r < 0)
        return r;
    json_t *changes = json_object();
    note(changes, "cpus", jb_json_cpus(&was.grant.cpus), jb_json_cpus(&u->plan->grant.cpus));
    note(changes, "memory_nodes", jb_json_cpus(&was.grant.mems), jb_json_cpus(&u->plan->grant.mems));
    note(changes, "memory_bytes", jb_json_u64(was.memory_max), jb_json_u64(u->plan->memory_max));
    note(changes, "pids", jb_json_u64(was.pids_max), jb_json_u64(u->plan->pids_max));
    note(changes, "wall_time_s", jb_json_seconds_ns(was.wall_ns), jb_json_seconds_ns(u->plan->wall_ns));
    note(changes, "cpu_time_s", jb_json_seconds_ns(was.cpu_ns), jb_json_seconds_ns(u->plan->cpu_ns));
    struct jb_error lost = {0};
    if (write_down(u, &lost) < 0) /* it is in force; what recovery would write is older than that */
        (void)json_object_set_new(changes, "warning", jb_json_text(lost.text));
    *ret_changes = changes;
    return 0;
}
