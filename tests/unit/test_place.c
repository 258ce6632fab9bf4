/*
 * test_place.c - placement by hand: what it chooses, and what it says when it
 * cannot.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "machine/place.h"

#define GIB (UINT64_C(1) << 30)

struct world {
    struct jb_machine m;
    struct jb_ledger l;
    unsigned boxes;
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
    jb_machine_free(&w->m);
    jb_ledger_free(&w->l);
}

static struct jb_request cores(uint64_t n)
{
    return (struct jb_request){.cpus = n, .exclusive = true, .memory = JB_UNSET};
}

static struct jb_request threads(uint64_t n)
{
    struct jb_request q = cores(n);
    q.unit = JB_CPU_UNIT_THREAD;
    return q;
}

static struct jb_request set_of(const char *list)
{
    struct jb_request q = {.cpu_set_said = true, .exclusive = true, .memory = JB_UNSET};
    assert_int_equal(jb_cpus_parse(list, &q.cpu_set), 0);
    return q;
}

static void assert_set(const struct jb_cpus *set, const char *list)
{
    char *text = jb_cpus_list(set);
    assert_non_null(text);
    assert_string_equal(text, list);
    free(text);
}

static void place(struct world *w, const struct jb_request *q, const char *cpus, struct jb_grant *ret)
{
    struct jb_error err = {0};
    assert_ok(jb_place(&w->m, &w->l, q, ret, &err), &err);
    assert_set(&ret->cpus, cpus);
}

static void keep(struct world *w, const struct jb_grant *g)
{
    struct jb_holding h = {.uid = 1000, .exclusive = g->exclusive, .memory = g->memory};
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFFQ69G%04u", w->boxes);
    (void)snprintf(h.name, sizeof(h.name), "job%u", w->boxes++);
    h.cpus = g->cpus;
    h.held = g->held;
    h.mems = g->mems;
    assert_int_equal(jb_ledger_add(&w->l, &h), 0);
}

static void hold(struct world *w, const struct jb_request *q, const char *cpus)
{
    struct jb_grant g;
    place(w, q, cpus, &g);
    keep(w, &g);
}

static void refuse(struct world *w, const struct jb_request *q, int errnum, const char *words)
{
    struct jb_error err = {0};
    struct jb_grant g;
    int r = jb_place(&w->m, &w->l, q, &g, &err);
    if (r != -errnum)
        fail_msg("returned %d, not %d: %s", r, -errnum, err.text);
    assert_contains(err.text, words);
}

static void test_best_fit(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "pack:2 [numa(memory=8GB)] l3:2 core:4 pu:2");
    struct jb_request one = cores(1);
    struct jb_request three = cores(3);
    struct jb_request four = cores(4);
    hold(&w, &three, "0-5");
    hold(&w, &four, "8-15");
    hold(&w, &one, "6-7"); /* the hole that fits, not a fresh group */
    place(&w, &four, "16-23", &g);
    assert_int_equal(g.l3s, 1);
    assert_int_equal(g.numa_nodes, 1);
    assert_int_equal(g.packages, 1);
    assert_int_equal(g.cores, 4);
    assert_false(g.straddles_l3);
    assert_set(&g.mems, "1");
    assert_true(jb_cpus_equal(&g.held, &g.cpus));
    assert_contains(g.explain, "L3 group 2 of NUMA node 1, package 1");
    assert_contains(g.explain, "4 were free");
    struct jb_request five = cores(5);
    place(&w, &five, "16-25", &g); /* five need two groups anywhere: no straddle */
    assert_int_equal(g.l3s, 2);
    assert_false(g.straddles_l3);
    world_free(&w);
}

static void test_siblings_far_apart(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "core:4 pu:2(indexes=0,4,1,5,2,6,3,7)");
    struct jb_request two = cores(2);
    hold(&w, &two, "0-1,4-5");
    struct jb_request t = threads(1);
    hold(&w, &t, "2");
    struct jb_request whole = cores(2);
    refuse(&w, &whole, EBUSY, "2 cores wanted, 1 core free now");
    place(&w, &t, "6", &g); /* the half that is broken into, not the fresh core */
    world_free(&w);
}

static void test_straddling_is_said(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "pack:2 [numa] l3:2 core:4 pu:1");
    struct jb_request a = set_of("0,4,8-9,12");
    struct jb_request four = cores(4);
    hold(&w, &a, "0,4,8-9,12");
    place(&w, &four, "10-11,13-14", &g);
    assert_true(g.straddles_l3);
    assert_false(g.straddles_numa);
    assert_contains(g.explain, "fewer L3 groups");
    four.locality = JB_LOCALITY_L3;
    four.strict = true;
    refuse(&w, &four, EBUSY, "not close enough together for strict locality: l3");
    four.locality = JB_LOCALITY_NUMA;
    place(&w, &four, "10-11,13-14", &g);
    world_free(&w);
}

static void test_who_holds_what(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "core:4 pu:1");
    for (int i = 0; i < 3; i++) {
        struct jb_request q = cores(1);
        struct jb_grant g;
        struct jb_error err = {0};
        assert_ok(jb_place(&w.m, &w.l, &q, &g, &err), &err);
        keep(&w, &g);
    }
    struct jb_request two = cores(2);
    refuse(&w, &two, EBUSY,
           "held by 01ARZ3NDEKTS (job0, uid 1000) CPUs 0; 01ARZ3NDEKTS (job1, "
           "uid 1000) CPUs 1; 01ARZ3NDEKTS");
    struct jb_request set = set_of("1,3");
    refuse(&w, &set, EBUSY,
           "cpu_set: CPUs 1 are taken: held by 01ARZ3NDEKTS (job1, uid 1000) "
           "CPUs 1");
    world_free(&w);
}

static void test_never(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa(memory=4GB)] core:4 pu:2");
    struct jb_request q = cores(9);
    refuse(&w, &q, ERANGE, "9 cores wanted, and jobs here may use 8 cores; ask for cpus: 8");
    q = threads(17);
    refuse(&w, &q, ERANGE, "ask for cpus: 16");
    q = cores(UINT64_MAX - 1);
    refuse(&w, &q, ERANGE, "ask for cpus: 8");
    q = cores(0);
    refuse(&w, &q, EINVAL, "at least 1");
    q = cores(1);
    q.kind = JB_CPU_KIND_PERFORMANCE;
    refuse(&w, &q, ERANGE, "1 performance core wanted, and this machine has one kind of core only");
    q = cores(1);
    q.memory = 9 * GIB;
    refuse(&w, &q, ERANGE, "memory: 9.00 GiB wanted");
    q.memory = 5 * GIB;
    q.strict = true;
    q.locality = JB_LOCALITY_NUMA;
    refuse(&w, &q, ERANGE, "close to its cores");
    jb_cpus_add(&w.m.reserved, 0);
    q = cores(8);
    refuse(&w, &q, ERANGE, "(1 CPU is reserved by the site)");
    q = cores(9); /* with it they would still be too few */
    refuse(&w, &q, ERANGE, "jobs here may use 7 cores; ask");
    world_free(&w);
}

static void test_cpu_set(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "pack:2 [numa(memory=4GB)] core:4 pu:2");
    struct jb_request q = set_of("1,8-9");
    place(&w, &q, "1,8-9", &g);
    assert_set(&g.held, "0-1,8-9"); /* the sibling is nobody else's */
    assert_set(&g.mems, "0-1");
    assert_int_equal(g.cores, 2);
    assert_true(g.straddles_package);
    q.unit = JB_CPU_UNIT_THREAD;
    place(&w, &q, "1,8-9", &g);
    assert_set(&g.held, "1,8-9");
    keep(&w, &g);
    struct jb_request sibling = set_of("0");
    refuse(&w, &sibling, EBUSY, "siblings of whole cores");
    sibling.unit = JB_CPU_UNIT_THREAD;
    place(&w, &sibling, "0", &g);
    q = set_of("14-17");
    refuse(&w, &q, ERANGE, "CPUs 16-17 are not of this machine; allowed are 0-15");
    q = set_of("");
    refuse(&w, &q, EINVAL, "empty");
    jb_cpus_add(&w.m.reserved, 3);
    q = set_of("2-3");
    refuse(&w, &q, ERANGE, "CPU 3 is reserved");
    q = set_of("4,15");
    q.strict = true;
    q.locality = JB_LOCALITY_PACKAGE;
    refuse(&w, &q, EINVAL, "strict");
    world_free(&w);
}

static void test_reserved_and_foreign_siblings(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct world w = {0};
    struct jb_grant g;
    struct jb_cpus ours;
    struct jb_machine_source s = {.synthetic = "core:3 pu:2", .cache_dirfd = -1, .allowed_cpus = &ours};
    assert_int_equal(jb_cpus_parse("0,2-5", &ours), 0);
    assert_ok(jb_machine_load(&s, &w.m, &err), &err);
    jb_cpus_add(&w.m.reserved, 4);
    struct jb_request q = cores(2);
    place(&w, &q, "0,2-3", &g); /* core 2 has a reserved thread: no whole core */
    assert_set(&g.held, "0-3"); /* PU 1 is not ours to use, but while we own the
                                 core nobody else gets it */
    q = cores(3);
    refuse(&w, &q, ERANGE, "may use 2 cores");
    struct jb_request t = threads(1);
    struct jb_holding other = {.uid = 7, .exclusive = true, .memory = JB_UNSET};
    (void)snprintf(other.id.text, sizeof(other.id.text), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    jb_cpus_add(&other.cpus, 1); /* somebody who may use PU 1 does */
    other.held = other.cpus;
    assert_int_equal(jb_ledger_add(&w.l, &other), 0);
    q = cores(2);
    refuse(&w, &q, EBUSY, "uid 7");
    place(&w, &t, "0", &g);
    world_free(&w);
}

static void test_sharing(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "core:3 pu:1");
    struct jb_request alone = cores(1);
    struct jb_request share = cores(1);
    share.exclusive = false;
    hold(&w, &alone, "0");
    hold(&w, &share, "1");
    hold(&w, &share, "2"); /* a free one before one that is shared */
    hold(&w, &share, "1"); /* the least shared */
    place(&w, &share, "2", &g);
    assert_true(jb_cpus_empty(&g.held));
    assert_false(g.exclusive);
    refuse(&w, &alone, EBUSY, "none free now");
    struct jb_request all = cores(3);
    all.exclusive = false;
    refuse(&w, &all, EBUSY, "3 cores wanted, 2 cores free now");
    world_free(&w);

    world_make(&w, "pack:1 l3:2 core:2 pu:1"); /* apart rather than shared, but for strict */
    hold(&w, &share, "0");
    struct jb_request other = set_of("2");
    other.exclusive = false;
    hold(&w, &other, "2");
    share.cpus = 2;
    share.locality = JB_LOCALITY_L3;
    place(&w, &share, "1,3", &g);
    share.strict = true;
    place(&w, &share, "0-1", &g);
    world_free(&w);

    world_make(&w, "core:1 pu:2"); /* of the threads of a core the least shared */
    share = threads(1);
    share.exclusive = false;
    hold(&w, &share, "0");
    hold(&w, &share, "1");
    hold(&w, &share, "0");
    place(&w, &share, "1", &g);
    world_free(&w);
}

static void test_kinds(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "core:8 pu:1");
    w.m.n_kinds = 3;
    for (size_t i = 0; i < 8; i++)
        w.m.pus[i].kind = i < 3 ? 2 : i < 6 ? 1 : 0;
    struct jb_request q = cores(2);
    place(&w, &q, "0-1", &g); /* any: the fastest kind that has room */
    assert_int_equal(g.kind, JB_CPU_KIND_PERFORMANCE);
    keep(&w, &g);
    place(&w, &q, "3-4", &g);
    assert_int_equal(g.kind, JB_CPU_KIND_EFFICIENCY);
    q.kind = JB_CPU_KIND_PERFORMANCE;
    refuse(&w, &q, EBUSY, "2 performance cores wanted, 1 performance core free now");
    q.cpus = 4;
    refuse(&w, &q, ERANGE, "ask for cpus: 3");
    q.kind = JB_CPU_KIND_EFFICIENCY;
    q.cpus = 3;
    place(&w, &q, "3-5", &g);
    q.cpus = 5;
    place(&w, &q, "3-7", &g); /* both slower kinds when one is not enough */
    q.kind = JB_CPU_KIND_ANY;
    q.cpus = 6;
    place(&w, &q, "2-7", &g);
    assert_int_equal(g.kind, JB_CPU_KIND_ANY);
    assert_contains(g.explain, "mixed kinds");
    struct jb_request set = set_of("2-3");
    set.kind = JB_CPU_KIND_PERFORMANCE;
    refuse(&w, &set, EINVAL, "not all of these CPUs are performance cores");
    for (size_t i = 0; i < 8; i++) /* the machine has them, but not for us */
        w.m.pus[i].kind = 0;
    q.kind = JB_CPU_KIND_PERFORMANCE;
    refuse(&w, &q, ERANGE, "no performance core is allowed here");
    world_free(&w);
}

static void test_memory(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "pack:2 [numa(memory=8GB)] core:4 pu:1");
    uint64_t node = w.m.nodes[0].memory;
    struct jb_request q = cores(1);
    q.memory = node * 3 / 4;
    hold(&w, &q, "0");
    place(&w, &q, "4", &g); /* where the memory is, not where the hole is */
    assert_set(&g.mems, "1");
    q.memory = node * 5 / 4;
    place(&w, &q, "1", &g); /* no node has it: the core stays where it fits best,
                             memory reaches over */
    assert_set(&g.mems, "0-1");
    assert_contains(g.explain, "memory reaches over");
    keep(&w, &g);
    q.memory = node / 8;
    refuse(&w, &q, EBUSY, "promised to 01ARZ3NDEKTS (job0, uid 1000)");
    q.memory = JB_UNSET;
    place(&w, &q, "2", &g);
    world_free(&w);

    /* a promise over two nodes makes way for one that can only be on the first */
    world_make(&w, "pack:2 [numa(memory=8GB)] core:4 pu:1");
    struct jb_request both = set_of("3-4");
    both.memory = node;
    hold(&w, &both, "3-4");
    q.memory = node;
    q.strict = true;
    q.locality = JB_LOCALITY_NUMA;
    hold(&w, &q, "0");
    refuse(&w, &q, EBUSY, "0 B free now");
    world_free(&w);
}

/* Of nodes that would do alike the lowest. */
static void test_ties_of_memory(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "numa(memory=8GB):4 core:2 pu:1");
    struct jb_request q = cores(1);
    q.memory = w.m.nodes[0].memory * 3 / 4;
    hold(&w, &q, "0");
    hold(&w, &q, "2");
    place(&w, &q, "4", &g);
    assert_set(&g.mems, "2");
    world_free(&w);
}

/* What can never be a whole core of ours does not count as room of the empty
 * machine. */
static void test_room_of_the_empty_machine(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct world w = {0};
    struct jb_grant g;
    struct jb_cpus allowed;
    assert_int_equal(jb_cpus_parse("0-2,4-6", &allowed), 0);
    struct jb_machine_source s = {
        .synthetic = "pack:2 [numa] core:2 pu:2", .cache_dirfd = -1, .allowed_cpus = &allowed};
    assert_ok(jb_machine_load(&s, &w.m, &err), &err);
    struct jb_request q = cores(2);
    place(&w, &q, "0-2", &g); /* together, as nobody has the sibling */
    assert_int_equal(jb_cpus_parse("3,7", &w.m.reserved), 0);
    place(&w, &q, "0-1,4-5", &g);
    assert_false(g.straddles_package); /* no package has two cores of which all is ours */
    world_free(&w);

    world_make(&w, "pack:2 [numa] core:2 pu:2");
    assert_int_equal(jb_cpus_parse("3,7", &w.m.reserved), 0);
    place(&w, &q, "0-1,4-5", &g);
    assert_false(g.straddles_package);
    world_free(&w);
}

/* Memory that reaches over takes the nearest nodes: of the same package, before
 * lower ones elsewhere. */
static void test_memory_reaches_to_the_nearest(void **state)
{
    (void)state;
    struct world w;
    struct jb_grant g;
    world_make(&w, "pack:2 numa(memory=8GB):2 core:2 pu:1");
    uint64_t node = w.m.nodes[0].memory;
    struct jb_request q = set_of("6");
    q.memory = node * 3 / 2;
    place(&w, &q, "6", &g);
    assert_set(&g.mems, "2-3");
    q.memory = node * 5 / 2;
    place(&w, &q, "6", &g);
    assert_set(&g.mems, "0,2-3");
    world_free(&w);
}

/* Somebody who may use more nodes than we may could take all of a promise from
 * those that we may use. */
static void test_promises_on_nodes_that_are_not_ours(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct world w = {0};
    struct jb_cpus mems = {0};
    struct jb_holding h = {.uid = 1, .exclusive = true};
    jb_cpus_add(&mems, 0);
    struct jb_machine_source s = {
        .synthetic = "pack:2 [numa(memory=8GB)] core:2 pu:1", .cache_dirfd = -1, .allowed_mems = &mems};
    assert_ok(jb_machine_load(&s, &w.m, &err), &err);
    assert_int_equal(jb_cpus_parse("3", &h.cpus), 0);
    assert_int_equal(jb_cpus_parse("0-1", &h.mems), 0);
    h.held = h.cpus;
    h.memory = 6 * GIB;
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert_int_equal(jb_ledger_add(&w.l, &h), 0);
    struct jb_request q = cores(1);
    struct jb_grant g;
    q.memory = GIB;
    place(&w, &q, "2", &g);
    q.memory = 4 * GIB;
    refuse(&w, &q, EBUSY, "memory: 4.00 GiB wanted");
    world_free(&w);
}

/* A node whose memory may not be used is stood in for by another. */
static void test_unusable_node(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct world w = {0};
    struct jb_grant g;
    struct jb_cpus mems = {0};
    jb_cpus_add(&mems, 1);
    struct jb_machine_source s = {
        .synthetic = "pack:2 [numa(memory=8GB)] core:2 pu:1", .cache_dirfd = -1, .allowed_mems = &mems};
    assert_ok(jb_machine_load(&s, &w.m, &err), &err);
    struct jb_request q = cores(1);
    place(&w, &q, "0", &g);
    assert_set(&g.mems, "1");
    q.memory = 9 * GIB;
    refuse(&w, &q, ERANGE, "have 7.45 GiB");
    world_free(&w);

    /* one of the same package before a lower one */
    assert_int_equal(jb_cpus_parse("0,3", &mems), 0);
    s.synthetic = "pack:2 numa(memory=8GB):2 core:1 pu:1";
    assert_ok(jb_machine_load(&s, &w.m, &err), &err);
    q = set_of("2");
    place(&w, &q, "2", &g);
    assert_set(&g.mems, "3");
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_fit),
        cmocka_unit_test(test_siblings_far_apart),
        cmocka_unit_test(test_straddling_is_said),
        cmocka_unit_test(test_who_holds_what),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_cpu_set),
        cmocka_unit_test(test_reserved_and_foreign_siblings),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_ties_of_memory),
        cmocka_unit_test(test_room_of_the_empty_machine),
        cmocka_unit_test(test_memory_reaches_to_the_nearest),
        cmocka_unit_test(test_promises_on_nodes_that_are_not_ours),
        cmocka_unit_test(test_unusable_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
