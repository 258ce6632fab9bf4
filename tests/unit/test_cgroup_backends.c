/*
 * test_cgroup_backends.c - both ways of making v1 groups on the kernel that runs the tests: same result, same
 * clean-up after a failure, and what each costs.
 *
 * Exits 77 with the reason where no cgroup can be written.
 */
#include "cg_real.h"

/* A failure half way takes everything back: the last value is one that the kernel refuses. */
static void test_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!usable(f, JB_CTL_CPUSET))
        skip();
    const enum jb_cg_backend backends[] = {JB_CG_BACKEND_DIRECT, JB_CG_BACKEND_LIBCGROUP};
    struct jb_cg_plan plan = {.name = jb_asprintf("%s-bad", f->plan.name)};
    memcpy(plan.use, f->plan.use, sizeof(plan.use));
    struct jb_cpus impossible = {0};
    jb_cpus_add(&impossible, 4000);
    add(&plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_CPUS, .set = impossible});
    for (size_t i = 0; i < JB_ARRAY_LEN(backends); i++) {
        struct jb_cgroup *cg = NULL;
        f->layout.backend = backends[i];
        assert_true(jb_cgroup_create(&f->layout, &plan, &cg, &err) < 0);
        assert_null(cg);
        assert_contains(err.text, "cpuset.cpus");
        assert_contains(err.text, "4000");
        jb_autofree char *left = children(&f->layout, plan.name);
        assert_string_equal(left, "");
    }
    jb_cg_plan_free(&plan);
}

/* A group whose own cpuset was never filled: the error says so, in both ways of making groups. */
static void test_unfilled_parent(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!usable(f, JB_CTL_CPUSET) || f->layout.ctl[JB_CTL_CPUSET].version != 1)
        skip();
    const char *own = f->layout.ctl[JB_CTL_CPUSET].own;
    jb_autofree char *outer =
        jb_asprintf("%s%s/%s-outer", f->layout.ctl[JB_CTL_CPUSET].mount, own, f->plan.name);
    assert_int_equal(mkdir(outer, 0755), 0);
    struct jb_cg_plan plan = {.name = strdup("inner"), .use = {[JB_CTL_CPUSET] = true}};
    plan.parent = jb_asprintf("%s/%s-outer", own[1] ? own : "", f->plan.name);
    struct jb_cpus one = {0};
    jb_cpus_add(&one, (unsigned)jb_cpus_next(&f->online, 0));
    add(&plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_CPUS, .set = one});
    const enum jb_cg_backend backends[] = {JB_CG_BACKEND_DIRECT, JB_CG_BACKEND_LIBCGROUP};
    for (size_t i = 0; i < JB_ARRAY_LEN(backends); i++) {
        struct jb_cgroup *cg = NULL;
        f->layout.backend = backends[i];
        assert_true(jb_cgroup_create(&f->layout, &plan, &cg, &err) < 0);
        assert_contains(err.text, "is empty");
        assert_contains(err.text, plan.parent);
    }
    assert_int_equal(rmdir(outer), 0); /* nothing was left in it */
    jb_cg_plan_free(&plan);
}

static double ms_since(uint64_t ns)
{
    return (double)(jb_mono_ns(NULL) - ns) / 1e6;
}

/* One whole life of a box without a job in it, timed. */
static void timed_life(struct fixture *f, const struct jb_cg_plan *plan, const char *word)
{
    struct jb_error err = {0};
    struct fixture other = {.online = f->online};
    struct jb_cg_readback back;
    struct jb_cg_usage u;
    uint64_t t = jb_mono_ns(NULL);
    assert_ok(jb_cgroup_create(&f->layout, plan, &other.cg, &err), &err);
    double create = ms_since(t);
    t = jb_mono_ns(NULL);
    assert_ok(jb_cgroup_readback(other.cg, &back, &err), &err);
    double readback = ms_since(t);
    assert_ok(jb_cgroup_verify(plan, &back, &err), &err);
    if (usable(f, JB_CTL_CPUSET))
        assert_int_equal(wait_for(spawn(&other, check_affinity)), 0);
    t = jb_mono_ns(NULL);
    assert_ok(jb_cgroup_usage(other.cg, &u, &err), &err);
    double usage = ms_since(t);
    jb_cg_usage_free(&u);
    t = jb_mono_ns(NULL);
    assert_ok(jb_cgroup_kill(other.cg, TIMEOUT_NS, &err), &err);
    double kill = ms_since(t);
    t = jb_mono_ns(NULL);
    assert_ok(jb_cgroup_destroy(other.cg, TIMEOUT_NS, &err), &err);
    print_message("%s, ms: create %.3f read back %.3f usage %.3f kill %.3f destroy %.3f\n", word, create,
                  readback, usage, kill, ms_since(t));
    jb_cgroup_free(other.cg);
}

/* Both ways of making v1 groups do the same, and what each costs. */
static void test_backends(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!f->layout.unified_only)
        assert_ok(jb_cg_layout_crosscheck(&f->layout, &err), &err);
    struct jb_cg_plan plan = f->plan;
    plan.name = jb_asprintf("%s-way", f->plan.name);
    for (int round = 0; round < 2; round++) {
        f->layout.backend = JB_CG_BACKEND_DIRECT;
        timed_life(f, &plan, "direct");
        f->layout.backend = JB_CG_BACKEND_LIBCGROUP;
        timed_life(f, &plan, "libcgroup");
    }
    free(plan.name);
}

int main(void)
{
    int skipped = cg_real_check();
    if (skipped)
        return skipped;
    const struct CMUnitTest tests[] = {
        CG_REAL_TEST(test_all_or_nothing),
        CG_REAL_TEST(test_unfilled_parent),
        CG_REAL_TEST(test_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
