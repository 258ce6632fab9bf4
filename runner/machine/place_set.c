/*
 * place_set.c - requests that name their CPUs.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "machine/attempt.h"

/* CPUs of a list that this process has not, by the reason why. */
static int not_there(const struct jb_machine *m, const struct jb_cpus *bad, struct jb_error *err)
{
    const struct {
        const struct jb_cpus *set; /* NULL: what is in neither of the others */
        const char *why;
    } reasons[] = {
        {&m->offline, "offline"}, {&m->disallowed, "not allowed here"}, {NULL, "not of this machine"}};
    jb_autobuf struct jb_buf text = {0};
    jb_autofree char *allowed = jb_cpus_list(&m->allowed);
    struct jb_cpus rest = *bad;
    int r = allowed ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(reasons); i++) {
        struct jb_cpus set = rest;
        if (reasons[i].set)
            jb_cpus_and(&set, reasons[i].set);
        jb_cpus_andnot(&rest, &set);
        jb_autofree char *list = jb_cpus_list(&set);
        unsigned n = jb_cpus_count(&set);
        if (!list)
            r = -ENOMEM;
        else if (n)
            r = jb_buf_printf(&text, "%s%s %.150s %s %s", text.len ? ", " : "", n == 1 ? "CPU" : "CPUs", list,
                              n == 1 ? "is" : "are", reasons[i].why);
    }
    if (r < 0)
        return jb_fail_errno(err, r, "placement");
    return jb_fail(err, ERANGE, "cpu_set: %s; allowed are %.150s", text.data, allowed);
}

/* What a list of CPUs can have against it that has nothing to do with who holds what. */
static int check_set(const struct jb_machine *m, const struct jb_request *q, struct jb_error *err)
{
    struct jb_cpus bad = q->cpu_set;
    jb_cpus_andnot(&bad, &m->allowed);
    if (jb_cpus_empty(&q->cpu_set))
        return jb_fail(err, EINVAL, "cpu_set: it is empty; name at least one CPU, or use cpus");
    if (!jb_cpus_empty(&bad))
        return not_there(m, &bad, err);
    bad = q->cpu_set;
    jb_cpus_and(&bad, &m->reserved);
    int first = jb_cpus_next(&bad, 0);
    if (first >= 0)
        return jb_fail(err, ERANGE, "cpu_set: CPU %d is reserved by the site; choose others", first);
    enum jb_cpu_kind kind = jb_kind_of(m, &q->cpu_set);
    if (q->kind != JB_CPU_KIND_ANY && kind != q->kind)
        return jb_fail(err, EINVAL,
                       "cpu_set: not all of these CPUs are %s cores, as cpu_kind wants; drop one of the two",
                       jb_cpu_kind_name(q->kind));
    return 0;
}

static int set_busy(const struct jb_attempt *a, const struct jb_cpus *held, struct jb_error *err)
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

static int set_memory(struct jb_attempt *a, const struct jb_cpus *cpus, struct jb_error *err)
{
    struct jb_cpus mems = jb_local_mems(a->machine, cpus);
    if (!jb_attempt_wants_memory(a) ||
        jb_capacity_of(&a->capacity, &mems, a->request->memory) >= a->request->memory)
        return 0;
    if (!jb_attempt_strict(a) && jb_attempt_widen(a, cpus, &mems)) {
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

int jb_place_set(const struct jb_machine *m, const struct jb_ledger *ledger, const struct jb_request *q,
                 struct jb_grant *ret, struct jb_error *err)
{
    struct jb_attempt a;
    int r = check_set(m, q, err);
    if (r < 0)
        return r;
    r = jb_attempt_init(m, ledger, q, &a);
    if (r < 0)
        return jb_fail_errno(err, r, "placement");
    struct jb_request by_thread = *q; /* a list counts PUs, also where it takes whole cores */
    by_thread.unit = JB_CPU_UNIT_THREAD;
    a.request = &by_thread;
    a.highest = (int)m->n_kinds - 1;
    (void)jb_attempt_count(&a);
    for (size_t i = 0; i < m->n_pus; i++)
        a.cores[m->pus[i].core].take += jb_cpus_has(&q->cpu_set, m->pus[i].os);
    by_thread.cpus = jb_cpus_count(&q->cpu_set);
    a.request = q;
    struct jb_cpus held = jb_attempt_held(&a, &q->cpu_set);
    jb_cpus_or(&held, &q->cpu_set);
    if (jb_cpus_intersects(&held, &a.blocked)) {
        r = set_busy(&a, &held, err);
    } else {
        a.request = &by_thread;
        bool near = jb_attempt_close(&a);
        a.request = q;
        r = near ? set_memory(&a, &q->cpu_set, err)
                 : jb_fail(err, EINVAL,
                           "cpu_set: these CPUs lie in more %s groups than so many need, against strict; "
                           "drop one of the two",
                           jb_locality_name(q->locality));
    }
    if (r == 0)
        jb_attempt_grant(&a, &q->cpu_set, ret);
    jb_attempt_free(&a);
    return r;
}
