/*
 * test_explain.c - what explain finds out by asking again: alternatives, boxes in the way, groups.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "machine/explain.h"

#define GIB (UINT64_C(1) << 30)

struct world {
    struct jb_machine m;
    struct jb_ledger l;
    struct jb_explanation e;
};

static void world_make(struct world *w, const char *synthetic)
{
    struct jb_error err = {0};
    struct jb_machine_source s = {.synthetic = synthetic, .cache_dirfd = -1};
    *w = (struct world){0};
    assert_ok(jb_machine_load(&s, &w->m, &err), &err);
}

static void world_free(struct world *w)
{
    jb_explanation_free(&w->e);
    jb_machine_free(&w->m);
    jb_ledger_free(&w->l);
}

static void box(struct world *w, const char *cpus, uint64_t memory, unsigned node)
{
    struct jb_holding h = {.uid = 1000, .exclusive = true, .memory = memory};
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFF%08zu", w->l.len);
    (void)snprintf(h.name, sizeof(h.name), "job%zu", w->l.len);
    assert_int_equal(jb_cpus_parse(cpus, &h.cpus), 0);
    h.held = h.cpus;
    jb_cpus_add(&h.mems, node);
    assert_int_equal(jb_ledger_add(&w->l, &h), 0);
}

static struct jb_request cores(uint64_t n)
{
    return (struct jb_request){.cpus = n, .exclusive = true, .memory = JB_UNSET};
}

static void explain(struct world *w, const struct jb_request *q)
{
    struct jb_error err = {0};
    jb_explanation_free(&w->e);
    assert_ok(jb_explain(&w->m, &w->l, q, &w->e, &err), &err);
}

/* All of an explanation in few lines, for comparison. */
static void assert_explained(const struct world *w, const char *golden)
{
    struct jb_buf text = {0};
    const struct jb_explanation *e = &w->e;
    char *list = jb_cpus_list(&e->grant.cpus);
    (void)jb_buf_printf(&text, "%s\n", e->verdict ? e->reason.text : list);
    free(list);
    for (size_t i = 0; i < e->n_groups; i++)
        (void)jb_buf_printf(&text, "L3 %u node %u package %u: %u/%u, takes %u\n", e->groups[i].l3,
                            e->groups[i].node, e->groups[i].package, e->groups[i].free, e->groups[i].total,
                            e->groups[i].taken);
    for (size_t i = 0; i < e->n_alternatives; i++) {
        list = jb_cpus_list(&e->alternatives[i].cpus);
        (void)jb_buf_printf(&text, "%s %s: %s\n", e->alternatives[i].now ? "now" : "empty",
                            e->alternatives[i].change, list);
        free(list);
    }
    for (size_t i = 0; i < e->n_enough; i++)
        (void)jb_buf_printf(&text, "or when box %zu ends\n", e->enough[i]);
    assert_string_equal(text.data, golden);
    jb_buf_free(&text);
}

static void test_starts_now(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(3);
    world_make(&w, "pack:2 [numa(memory=8GB)] l3:2 core:4 pu:2");
    box(&w, "0-5", JB_UNSET, 0);
    explain(&w, &q);
    assert_int_equal(w.e.verdict, 0);
    assert_explained(&w, "8-13\n"
                         "L3 0 node 0 package 0: 1/4, takes 0\n"
                         "L3 1 node 0 package 0: 4/4, takes 3\n"
                         "L3 2 node 1 package 1: 4/4, takes 0\n"
                         "L3 3 node 1 package 1: 4/4, takes 0\n");
    world_free(&w);
}

static void test_taken_now(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(3);
    world_make(&w, "pack:1 l3:2 core:4 pu:1");
    box(&w, "0-3", JB_UNSET, 0);
    box(&w, "4-5", JB_UNSET, 0);
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -EBUSY);
    assert_true(w.e.looked);
    assert_explained(&w, "cpus: 3 cores wanted, 2 cores free now; held by 01ARZ3NDEKTS (job0, uid 1000) CPUs "
                         "0-3; 01ARZ3NDEKTS (job1, uid 1000) CPUs 4-5\n"
                         "L3 0 node 0 package 0: 0/4, takes 0\n"
                         "L3 1 node 0 package 0: 2/4, takes 0\n"
                         "now cpus: 2: 6-7\n"
                         "or when box 0 ends\n"
                         "or when box 1 ends\n");
    world_free(&w);
}

static void test_several_boxes_have_to_end(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(4);
    world_make(&w, "pack:1 l3:1 core:4 pu:1");
    for (unsigned i = 0; i < 4; i++)
        box(&w, (const char[]){(char)('0' + i), '\0'}, JB_UNSET, 0);
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -EBUSY);
    assert_true(w.e.looked);
    assert_int_equal(w.e.n_enough, 0);
    assert_int_equal(w.e.n_alternatives, 0);
    world_free(&w);
}

/* Threads are free on every core, whole cores are not. */
static void test_threads_would_do(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(2);
    world_make(&w, "pack:1 l3:1 core:4 pu:2");
    box(&w, "0,2,4,6", JB_UNSET, 0);
    explain(&w, &q);
    assert_explained(
        &w, "cpus: 2 cores wanted, none free now; held by 01ARZ3NDEKTS (job0, uid 1000) CPUs 0,2,4,6\n"
            "L3 0 node 0 package 0: 0/4, takes 0\n"
            "now cpu_unit: thread: 1,3\n"
            "or when box 0 ends\n");
    world_free(&w);
}

/* With strict locality three do not fit in one group where each has two left, and two do. */
static void test_strict(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(3);
    q.locality = JB_LOCALITY_L3;
    q.strict = true;
    world_make(&w, "pack:1 l3:2 core:4 pu:1");
    box(&w, "0-1", JB_UNSET, 0);
    box(&w, "4-5", JB_UNSET, 0);
    explain(&w, &q);
    assert_explained(
        &w, "cpus: 3 cores wanted; 4 are free now, but not close enough together for strict locality: l3; "
            "held by 01ARZ3NDEKTS (job0, uid 1000) CPUs 0-1; 01ARZ3NDEKTS (job1, uid 1000) CPUs 4-5\n"
            "L3 0 node 0 package 0: 2/4, takes 0\n"
            "L3 1 node 0 package 0: 2/4, takes 0\n"
            "now cpus: 2: 2-3\n"
            "now strict: false: 2-3,6\n"
            "or when box 0 ends\n"
            "or when box 1 ends\n");
    world_free(&w);
}

static void test_never(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(9);
    q.kind = JB_CPU_KIND_ANY;
    world_make(&w, "pack:1 l3:2 core:4 pu:1");
    box(&w, "0", JB_UNSET, 0);
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -ERANGE);
    assert_explained(&w, "cpus: 9 cores wanted, and jobs here may use 8 cores; ask for cpus: 8\n"
                         "L3 0 node 0 package 0: 3/4, takes 0\n"
                         "L3 1 node 0 package 0: 4/4, takes 0\n"
                         "now cpus: 7: 1-7\n");
    q = cores(1);
    q.kind = JB_CPU_KIND_PERFORMANCE;
    explain(&w, &q);
    assert_explained(&w, "cpu_kind: 1 performance core wanted, and this machine has one kind of core only; "
                         "use cpu_kind: any\n"
                         "L3 0 node 0 package 0: 3/4, takes 0\n"
                         "L3 1 node 0 package 0: 4/4, takes 0\n"
                         "now cpu_kind: any: 1\n");
    world_free(&w);
}

static void test_memory(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(1);
    q.memory = 6 * GIB;
    world_make(&w, "pack:1 [numa(memory=8589934592)] l3:1 core:4 pu:1");
    box(&w, "0", 5 * GIB, 0);
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -EBUSY);
    assert_explained(&w, "memory: 6.00 GiB wanted and 3.00 GiB free now where its cores could be; promised "
                         "to 01ARZ3NDEKTS (job0, uid 1000) 5.00 GiB\n"
                         "L3 0 node 0 package 0: 3/4, takes 0\n"
                         "now memory: 3072MiB: 1\n"
                         "or when box 0 ends\n");
    world_free(&w);
}

/* Beside those that share, a job that shares as well has room. */
static void test_sharing_would_do(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = cores(1);
    world_make(&w, "core:2 pu:1");
    for (unsigned i = 0; i < 2; i++) {
        struct jb_holding h = {.uid = 1000, .memory = JB_UNSET};
        (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFF%08u", i);
        jb_cpus_add(&h.cpus, i);
        assert_int_equal(jb_ledger_add(&w.l, &h), 0);
    }
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -EBUSY);
    bool offered = false;
    for (size_t i = 0; i < w.e.n_alternatives; i++)
        offered |= w.e.alternatives[i].now && !strcmp(w.e.alternatives[i].change, "exclusive: false");
    assert_true(offered);
    world_free(&w);
}

static void test_cpu_set(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = {.cpu_set_said = true, .cpus = 2, .exclusive = true, .memory = JB_UNSET};
    assert_int_equal(jb_cpus_parse("0-1", &q.cpu_set), 0);
    world_make(&w, "pack:1 l3:2 core:2 pu:1");
    box(&w, "1", JB_UNSET, 0);
    explain(&w, &q);
    assert_explained(&w, "cpu_set: CPUs 1 are taken: held by 01ARZ3NDEKTS (job0, uid 1000) CPUs 1\n"
                         "L3 0 node 0 package 0: 1/2, takes 0\n"
                         "L3 1 node 0 package 0: 2/2, takes 0\n"
                         "now cpus: 2 and cpu_unit: thread instead of cpu_set: 2-3\n"
                         "or when box 0 ends\n");
    world_free(&w);
}

static void test_contradiction(void **state)
{
    (void)state;
    struct world w;
    struct jb_request q = {.cpu_set_said = true, .exclusive = true, .memory = JB_UNSET};
    world_make(&w, "pack:1 core:2 pu:1");
    explain(&w, &q);
    assert_int_equal(w.e.verdict, -EINVAL);
    assert_contains(w.e.reason.text, "cpu_set: it is empty");
    assert_int_equal(w.e.n_alternatives, 0);
    world_free(&w);
}

/* What is offered holds: each alternative names CPUs that are free. */
static void test_offers_are_free(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa(memory=8589934592)] l3:2 core:4 pu:2");
    for (unsigned i = 0; i < 8; i++) {
        char cpus[32];
        (void)snprintf(cpus, sizeof(cpus), "%u-%u", i * 4, i * 4 + 1 + i % 3);
        box(&w, cpus, GIB, i / 4);
    }
    size_t seen = 0;
    for (unsigned n = 1; n <= 40; n++)
        for (unsigned strict = 0; strict < 2; strict++) {
            struct jb_request q = cores(n);
            q.strict = strict;
            q.locality = strict ? JB_LOCALITY_L3 : JB_LOCALITY_NONE;
            explain(&w, &q);
            for (size_t i = 0; i < w.e.n_alternatives; i++) {
                const struct jb_alternative *a = &w.e.alternatives[i];
                seen += a->now;
                assert_true(!a->now || !jb_cpus_intersects(&a->cpus, &w.l.held));
                assert_false(jb_cpus_empty(&a->cpus));
            }
        }
    assert_true(seen > 40);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_now),
        cmocka_unit_test(test_taken_now),
        cmocka_unit_test(test_several_boxes_have_to_end),
        cmocka_unit_test(test_threads_would_do),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sharing_would_do),
        cmocka_unit_test(test_cpu_set),
        cmocka_unit_test(test_contradiction),
        cmocka_unit_test(test_offers_are_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
