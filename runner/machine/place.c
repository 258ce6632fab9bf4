/*
 * place.c - from a request to a grant: which kinds come into question, and whether "no" means "now" or
 * "never".
 *
 * Owns: nothing. Runs in: the client. Privilege: none. The choice itself is made in solve.c.
 */
#include "machine/place.h"

#include <errno.h>

#include "machine/attempt.h"

static void blame(struct jb_verdict *v, enum jb_refusal why)
{
    v->why = why > v->why ? why : v->why;
}

/* One range of kinds. 0: `take` of the cores is the answer; -ENOSPC: none here, `v` says why. */
static int try_kinds(struct jb_attempt *a, int lowest, int highest, struct jb_verdict *v)
{
    a->lowest = lowest;
    a->highest = highest;
    unsigned available = jb_attempt_count(a);
    v->available = available > v->available ? available : v->available;
    if (available < a->request->cpus) {
        blame(v, JB_REFUSAL_COUNT);
        return -ENOSPC;
    }
    int r = jb_attempt_solve(a, NULL, NULL);
    if (r < 0)
        return r;
    if (!jb_attempt_close(a)) {
        blame(v, JB_REFUSAL_LOCALITY);
        return -ENOSPC;
    }
    return jb_attempt_memory(a, v);
}

/*
 * One kind alone, the fastest first, before any mix. "performance" is the fastest kind; "efficiency" all
 * others, for there may be two of them; a machine of one kind has neither.
 */
static int try_all_kinds(struct jb_attempt *a, struct jb_verdict *v)
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

static int place_count(const struct jb_machine *m, const struct jb_ledger *ledger,
                       const struct jb_request *request, struct jb_grant *ret, struct jb_verdict *v)
{
    struct jb_attempt a;
    int r = jb_attempt_init(m, ledger, request, &a);
    if (r < 0)
        return r;
    r = try_all_kinds(&a, v);
    if (r == 0 && ret) {
        struct jb_cpus cpus = jb_attempt_pus(&a);
        jb_attempt_grant(&a, &cpus, ret);
    }
    jb_attempt_free(&a);
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
        return jb_place_set(machine, ledger, request, ret, err);
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
