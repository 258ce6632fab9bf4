/*
 * explain.c - asking for a placement again and again, each time with one thing changed.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "machine/explain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "machine/attempt.h"

#define TRIES       256 /* smaller requests that are tried, the nearest first */
#define MEMORY_STEP (UINT64_C(1) << 20)

struct question {
    const struct jb_machine *machine;
    const struct jb_ledger *ledger;
    const struct jb_request *request;
};

static bool fits(const struct question *q, const struct jb_ledger *ledger, const struct jb_request *request,
                 struct jb_grant *ret)
{
    static const struct jb_ledger empty = {0};
    return jb_place(q->machine, ledger ? ledger : &empty, request, ret, NULL) == 0;
}

/* 1: added; 0: it would not help. What would only help on the empty machine is told when nothing helps now. */
static int offer(const struct question *q, const struct jb_request *changed, bool now, const char *change,
                 struct jb_explanation *e)
{
    struct jb_grant grant;
    if (e->n_alternatives == JB_ALTERNATIVES_MAX || !fits(q, now ? q->ledger : NULL, changed, &grant))
        return 0;
    struct jb_alternative *a = &e->alternatives[e->n_alternatives++];
    *a = (struct jb_alternative){.now = now, .cpus = grant.cpus};
    (void)snprintf(a->change, sizeof(a->change), "%s", change);
    return 1;
}

/* Not by halving: with strict locality fewer may be harder to place than more. */
static void offer_fewer(const struct question *q, bool now, struct jb_explanation *e)
{
    struct jb_request fewer = *q->request;
    char change[64];
    if (fewer.cpu_set_said || fewer.cpus < 2)
        return;
    if (fewer.cpus > q->machine->n_pus)
        fewer.cpus = q->machine->n_pus + 1;
    for (unsigned i = 0; i < TRIES && fewer.cpus > 1; i++) {
        fewer.cpus--;
        (void)snprintf(change, sizeof(change), "cpus: %llu", (unsigned long long)fewer.cpus);
        if (offer(q, &fewer, now, change, e))
            return;
    }
}

static void offer_less_memory(const struct question *q, bool now, struct jb_explanation *e)
{
    struct jb_request less = *q->request;
    struct jb_grant grant;
    char change[64];
    if (less.memory == JB_UNSET)
        return;
    uint64_t low = 0; /* in steps: fits */
    uint64_t high = less.memory / MEMORY_STEP + 1;
    while (low + 1 < high) {
        uint64_t middle = low + (high - low) / 2;
        less.memory = middle * MEMORY_STEP;
        if (fits(q, now ? q->ledger : NULL, &less, &grant))
            low = middle;
        else
            high = middle;
    }
    less.memory = low * MEMORY_STEP;
    (void)snprintf(change, sizeof(change), "memory: %lluMiB", (unsigned long long)low);
    if (low > 0 && less.memory < q->request->memory)
        (void)offer(q, &less, now, change, e);
}

static void offer_all(const struct question *q, bool now, struct jb_explanation *e)
{
    struct jb_request changed = *q->request;
    offer_fewer(q, now, e);
    if (changed.strict && changed.locality != JB_LOCALITY_NONE) {
        changed.strict = false;
        (void)offer(q, &changed, now, "strict: false", e);
    }
    changed = *q->request;
    if (changed.kind != JB_CPU_KIND_ANY) {
        changed.kind = JB_CPU_KIND_ANY;
        (void)offer(q, &changed, now, "cpu_kind: any", e);
    }
    changed = *q->request;
    if (changed.unit == JB_CPU_UNIT_CORE) {
        changed.unit = JB_CPU_UNIT_THREAD;
        (void)offer(q, &changed, now, "cpu_unit: thread", e);
    }
    changed = *q->request;
    if (changed.exclusive) {
        changed.exclusive = false;
        (void)offer(q, &changed, now, "exclusive: false", e);
    }
    changed = *q->request;
    if (changed.cpu_set_said) {
        char change[64];
        changed.cpu_set_said = false;
        changed.unit = JB_CPU_UNIT_THREAD;
        changed.cpus = jb_cpus_count(&changed.cpu_set);
        (void)snprintf(change, sizeof(change), "cpus: %llu and cpu_unit: thread instead of cpu_set",
                       (unsigned long long)changed.cpus);
        if (changed.cpus)
            (void)offer(q, &changed, now, change, e);
    }
    offer_less_memory(q, now, e);
}

/* The ledger without one of its boxes. */
static int without(const struct jb_ledger *ledger, size_t gone, struct jb_ledger *ret)
{
    for (size_t i = 0; i < ledger->len; i++) {
        struct jb_holding h;
        jb_ledger_get(ledger, i, &h);
        if (i != gone && jb_ledger_add(ret, &h) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int find_enough(const struct question *q, struct jb_explanation *e)
{
    struct jb_grant grant;
    if (q->ledger->len > JB_EXPLAIN_BOXES)
        return 0;
    e->enough = calloc(q->ledger->len + 1, sizeof(*e->enough));
    int r = e->enough ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < q->ledger->len; i++) {
        struct jb_ledger rest = {0};
        r = without(q->ledger, i, &rest);
        if (r == 0 && fits(q, &rest, q->request, &grant))
            e->enough[e->n_enough++] = i;
        jb_ledger_free(&rest);
    }
    e->looked = true;
    return r;
}

/* Units of the request by L3 group. */
static int count_groups(const struct question *q, struct jb_explanation *e)
{
    struct jb_attempt a;
    struct jb_request request = *q->request;
    if (request.cpu_set_said)
        request.unit = JB_CPU_UNIT_THREAD;
    int r = jb_attempt_init(q->machine, q->ledger, &request, &a);
    if (r < 0)
        return r;
    a.highest = (int)q->machine->n_kinds - 1;
    a.lowest = request.kind == JB_CPU_KIND_PERFORMANCE ? a.highest : 0;
    if (request.kind == JB_CPU_KIND_EFFICIENCY && a.highest > 0)
        a.highest--;
    (void)jb_attempt_count(&a);
    e->groups = calloc(q->machine->n_l3s, sizeof(*e->groups));
    for (unsigned c = 0; e->groups && c < q->machine->n_cores; c++) {
        const struct jb_place_core *core = &a.cores[c];
        struct jb_explain_group *g = &e->groups[core->group[JB_LEVEL_L3]];
        unsigned taken = 0;
        for (unsigned i = 0; e->verdict == 0 && i < core->n_pus; i++)
            taken += jb_cpus_has(&e->grant.cpus, q->machine->pus[core->first_pu + i].os);
        g->l3 = core->group[JB_LEVEL_L3];
        g->node = q->machine->nodes[core->group[JB_LEVEL_NUMA]].os;
        g->package = core->group[JB_LEVEL_PACKAGE];
        g->total += core->total;
        g->free += core->free;
        g->taken += request.unit == JB_CPU_UNIT_CORE ? taken > 0 : taken;
    }
    e->n_groups = e->groups ? q->machine->n_l3s : 0;
    jb_attempt_free(&a);
    return e->groups ? 0 : -ENOMEM;
}

int jb_explain(const struct jb_machine *machine, const struct jb_ledger *ledger,
               const struct jb_request *request, struct jb_explanation *ret, struct jb_error *err)
{
    const struct question q = {.machine = machine, .ledger = ledger, .request = request};
    jb_autoexplanation struct jb_explanation e = {0};
    e.verdict = jb_place(machine, ledger, request, &e.grant, &e.reason);
    int r = e.verdict == -ENOMEM ? -ENOMEM : count_groups(&q, &e);
    if (r == 0 && e.verdict < 0 && e.verdict != -EINVAL) {
        offer_all(&q, true, &e);
        if (e.n_alternatives == 0 && e.verdict != -EBUSY)
            offer_all(&q, false, &e);
    }
    if (r == 0 && e.verdict == -EBUSY)
        r = find_enough(&q, &e);
    if (r < 0)
        return jb_fail_errno(err, r, "explaining the placement");
    *ret = e;
    e = (struct jb_explanation){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_explanation_free(struct jb_explanation *explanation)
{
    free(explanation->groups);
    free(explanation->enough);
    *explanation = (struct jb_explanation){0};
}
