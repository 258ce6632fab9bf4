/*
 * attempt.c - the state of one attempt to place: what is free, what is taken, how far apart.
 *
 * Owns: the arrays of a struct jb_attempt. Runs in: the client. Privilege: none.
 */
#include "machine/attempt.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"

void jb_attempt_free(struct jb_attempt *a)
{
    free(a->cores);
    free(a->load);
    jb_capacity_free(&a->capacity);
}

bool jb_attempt_whole(const struct jb_attempt *a)
{
    return a->request->unit == JB_CPU_UNIT_CORE;
}

bool jb_attempt_wants_memory(const struct jb_attempt *a)
{
    return a->request->memory != JB_UNSET && a->machine->memory > 0;
}

bool jb_attempt_strict(const struct jb_attempt *a)
{
    return a->request->strict && a->request->locality != JB_LOCALITY_NONE;
}

enum jb_level jb_attempt_level(enum jb_locality locality)
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
static void list_cores(struct jb_attempt *a)
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
static int count_load(struct jb_attempt *a)
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

int jb_attempt_init(const struct jb_machine *m, const struct jb_ledger *ledger,
                    const struct jb_request *request, struct jb_attempt *a)
{
    *a = (struct jb_attempt){.machine = m, .ledger = ledger, .request = request};
    if (ledger)
        a->blocked = request->exclusive ? ledger->used : ledger->held;
    if (request->within_said) {
        struct jb_cpus outside = m->allowed;
        jb_cpus_andnot(&outside, &request->within);
        jb_cpus_or(&a->blocked, &outside);
    }
    a->cores = calloc(m->n_cores ? m->n_cores : 1, sizeof(*a->cores));
    int r = a->cores ? 0 : -ENOMEM;
    if (r == 0 && !request->exclusive)
        r = count_load(a);
    if (r == 0 && jb_attempt_wants_memory(a))
        r = jb_capacity_init(m, ledger, &a->capacity);
    if (r < 0)
        jb_attempt_free(a);
    else
        list_cores(a);
    return r;
}

/* A sibling that we may not use ourselves must not be anybody's while we own the core. */
static void block_by_siblings(struct jb_attempt *a)
{
    if (!jb_attempt_whole(a))
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
unsigned jb_attempt_count(struct jb_attempt *a)
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
        if (jb_attempt_whole(a)) {
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
unsigned jb_attempt_need(const struct jb_attempt *a, enum jb_level level, uint64_t k)
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
unsigned jb_attempt_touched(const struct jb_attempt *a, enum jb_level level)
{
    struct jb_cpus seen = {0};
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (a->cores[c].take)
            jb_cpus_add(&seen, a->cores[c].group[level]);
    return jb_cpus_count(&seen);
}

/* Threads of a core are given the least shared first, then in order. */
static void take_threads(const struct jb_attempt *a, const struct jb_place_core *core, struct jb_cpus *ret)
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

struct jb_cpus jb_attempt_pus(const struct jb_attempt *a)
{
    struct jb_cpus set = {0};
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        const struct jb_place_core *core = &a->cores[c];
        if (core->take && jb_attempt_whole(a))
            for (unsigned p = 0; p < core->n_pus; p++)
                jb_cpus_add(&set, a->machine->pus[core->first_pu + p].os);
        else if (core->take)
            take_threads(a, core, &set);
    }
    return set;
}

/* What others may not have: the PUs, and for whole cores all their siblings, also those that we may not use.
 */
struct jb_cpus jb_attempt_held(const struct jb_attempt *a, const struct jb_cpus *cpus)
{
    struct jb_cpus held = *cpus;
    if (!a->request->exclusive)
        return (struct jb_cpus){0};
    if (!jb_attempt_whole(a))
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

enum jb_cpu_kind jb_kind_of(const struct jb_machine *m, const struct jb_cpus *cpus)
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

bool jb_attempt_close(const struct jb_attempt *a)
{
    enum jb_level level = jb_attempt_level(a->request->locality);
    return !jb_attempt_strict(a) ||
           jb_attempt_touched(a, level) <= jb_attempt_need(a, level, a->request->cpus);
}

int jb_attempt_solve(struct jb_attempt *a, const struct jb_cpus *must, jb_cost *ret_cost)
{
    struct jb_solve_wish wish = {
        .k = (unsigned)a->request->cpus,
        .first = jb_attempt_level(a->request->locality),
        .strict = jb_attempt_strict(a),
        .must = must,
    };
    return jb_solve(a->cores, a->machine->n_cores, &wish, ret_cost);
}
