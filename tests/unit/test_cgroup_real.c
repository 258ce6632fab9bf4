/*
 * test_cgroup_real.c - boxes' cgroups on the kernel that runs the tests: limits bite, kills reach, nothing
 * stays.
 *
 * Exits 77 with the reason where no cgroup can be written.
 */
#include "cg_real.h"

#define BURN_US       UINT64_C(30000)
#define SUBGROUPS     50
#define SUBGROUP_DEEP 30

static void test_readback(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cg_readback back;
    assert_ok(jb_cgroup_readback(f->cg, &back, &err), &err);
    assert_ok(jb_cgroup_verify(&f->plan, &back, &err), &err);
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++)
        assert_int_equal(back.version[c], usable(f, c) ? f->layout.ctl[c].version : 0);
    if (usable(f, JB_CTL_MEMORY))
        assert_int_equal(back.memory_max, MEMORY); /* whole pages */
    if (usable(f, JB_CTL_PIDS)) {
        assert_int_equal(back.pids_max, PIDS);
        back.pids_max = PIDS + 1;
        assert_int_equal(jb_cgroup_verify(&f->plan, &back, &err), -EIO);
        assert_contains(err.text, "process limit");
    }
    if (usable(f, JB_CTL_CPU)) {
        assert_int_equal(back.cpu_weight, 37);
        assert_int_equal(back.cpu_max_us, 50000);
    }
    assert_int_equal(jb_cgroup_population(f->cg, &err), 0);
}

static void test_existing_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cgroup *second = NULL;
    assert_int_equal(jb_cgroup_create(&f->layout, &f->plan, &second, &err), -EEXIST);
    assert_null(second);
    assert_contains(err.text, f->plan.name);
    struct jb_cg_readback back;
    assert_ok(jb_cgroup_readback(f->cg, &back, &err), &err);
}

/* Asks for another CPU before it joins: the box's cpuset must win. */
static void test_affinity(void **state)
{
    struct fixture *f = *state;
    if (!usable(f, JB_CTL_CPUSET))
        skip();
    cpu_set_t before;
    cpu_set_t other;
    CPU_ZERO(&other);
    int last = -1;
    for (int i = jb_cpus_next(&f->online, 0); i >= 0; i = jb_cpus_next(&f->online, (unsigned)i + 1))
        last = i;
    CPU_SET(last, &other);
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(sched_setaffinity(0, sizeof(other), &other), 0);
    pid_t pid = spawn(f, check_affinity);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(wait_for(pid), 0);
}

static int eat_memory(JB_UNUSED struct fixture *f)
{
    for (int i = 0; i < 16; i++) {
        char *p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return 3;
        memset(p, i + 1, 16 * MIB);
    }
    return 0;
}

static void test_memory_limit(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!usable(f, JB_CTL_MEMORY))
        skip();
    uint32_t events = 0;
    jb_autoclose int fd = jb_cgroup_oom_fd(f->cg, &events, &err);
    assert_ok(fd, &err);
    struct pollfd p = {.fd = fd, .events = (short)events};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(jb_cgroup_oom_kills(f->cg), 0);
    int status = wait_for(spawn(f, eat_memory));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_true(jb_cgroup_oom_kills(f->cg) >= 1);
    struct jb_cg_usage u;
    assert_ok(jb_cgroup_usage(f->cg, &u, &err), &err);
    assert_true(u.oom_kills >= 1 && u.oom_kills != JB_UNSET);
    assert_true(u.memory_peak > MEMORY / 2 && u.memory_peak <= MEMORY);
    jb_cg_usage_free(&u);
}

static int fork_many(JB_UNUSED struct fixture *f)
{
    for (int i = 0; i < PIDS * 2; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return errno == EAGAIN && i == PIDS - 1 ? 0 : 4;
        if (pid == 0)
            for (;;)
                (void)pause();
    }
    return 5;
}

static void test_pids_limit(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!usable(f, JB_CTL_PIDS))
        skip();
    assert_int_equal(wait_for(spawn(f, fork_many)), 0);
    assert_int_equal(jb_cgroup_population(f->cg, &err), PIDS - 1);
    assert_int_equal(jb_cgroup_destroy(f->cg, 0, &err), -EBUSY);
    assert_contains(err.text, "kill the box first");
    struct jb_cg_usage u;
    assert_ok(jb_cgroup_usage(f->cg, &u, &err), &err);
    assert_true(u.pids_max_hits >= 1 && u.pids_max_hits != JB_UNSET);
    assert_true(u.pids_peak == JB_UNSET || u.pids_peak == PIDS);
    jb_cg_usage_free(&u);
    assert_ok(jb_cgroup_kill(f->cg, TIMEOUT_NS, &err), &err);
    assert_int_equal(jb_cgroup_population(f->cg, &err), 0);
}

static uint64_t own_cpu_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int burn(JB_UNUSED struct fixture *f)
{
    uint64_t from = own_cpu_us();
    while (own_cpu_us() - from < BURN_US)
        ;
    return 0;
}

/* A twentieth of a CPU, so little that even a busy machine would give more: the limit is what holds it. */
static void squeeze(struct fixture *f)
{
    if (!usable(f, JB_CTL_CPU))
        return;
    const struct jb_cg_group *g = f->cg->of[JB_CTL_CPU];
    assert_int_equal(g->version == 1 ? jb_kwrite(&g->dir, "cpu.cfs_quota_us", "5000")
                                     : jb_kwrite(&g->dir, "cpu.max", "5000 100000"),
                     0);
}

static void test_usage(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cg_usage u;
    squeeze(f);
    assert_int_equal(wait_for(spawn(f, burn)), 0);
    assert_ok(jb_cgroup_usage_stable(f->cg, 10, &u, &err), &err);
    assert_true(u.cpu_total_us >= BURN_US && u.cpu_total_us <= 4 * BURN_US);
    assert_int_equal(jb_cgroup_cpu_us(f->cg), u.cpu_total_us);
    assert_true(u.cpu_user_us + u.cpu_system_us <= u.cpu_total_us + 20000);
    if (usable(f, JB_CTL_CPU)) {
        assert_true(u.nr_throttled >= 1 && u.nr_throttled != JB_UNSET);
        assert_true(u.throttled_us > 0 && u.throttled_us != JB_UNSET);
    }
    if (u.cpu_per_cpu_ns && usable(f, JB_CTL_CPUSET)) {
        size_t first = (size_t)jb_cpus_next(&f->online, 0);
        assert_true(first < u.n_per_cpu && u.cpu_per_cpu_ns[first] >= u.cpu_total_us * 1000 / 2);
    }
    assert_int_equal(u.memory_peak_anon, JB_UNSET);
    jb_cg_usage_free(&u);
}

/* A tree of daemons that left their session, ignore signals and keep forking. */
static int daemons(JB_UNUSED struct fixture *f)
{
    for (int i = 0; i < 6; i++) {
        pid_t pid = fork();
        if (pid != 0)
            continue;
        (void)setsid();
        for (int s = 1; s < NSIG; s++)
            (void)signal(s, SIG_IGN);
        if (fork() != 0)
            _exit(0);
        (void)setsid();
        for (;;) {
            pid = fork();
            if (pid > 0)
                _exit(0); /* the child goes on: its id changes all the time */
            (void)usleep(100);
        }
    }
    (void)usleep(20000);
    return 0;
}

static void kill_daemons(struct fixture *f)
{
    struct jb_error err = {0};
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(wait_for(spawn(f, daemons)), 0);
    assert_true(jb_cgroup_population(f->cg, &err) > 0);
    assert_ok(jb_cgroup_kill(f->cg, TIMEOUT_NS, &err), &err);
    assert_int_equal(jb_cgroup_population(f->cg, &err), 0);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void test_kill_tree(void **state)
{
    kill_daemons(*state);
}

/* The same without the v2 leaf: the loop over v1 groups alone. */
static void test_kill_tree_v1(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cg_plan plan = {.name = jb_asprintf("%s-v1", f->plan.name)};
    for (size_t c = 0; c < JB_CTL_UNIFIED; c++)
        plan.use[c] = usable(f, (enum jb_controller)c) && f->layout.ctl[c].version == 1;
    if (!plan.use[JB_CTL_PIDS]) {
        jb_cg_plan_free(&plan);
        skip();
    }
    add(&plan, (struct jb_cg_setting){.key = JB_CG_PIDS_MAX, .value = PIDS});
    struct fixture v1 = {.layout = f->layout};
    assert_ok(jb_cgroup_create(&f->layout, &plan, &v1.cg, &err), &err);
    assert_int_equal(jb_cgroup_v2_fd(v1.cg), -1);
    kill_daemons(&v1);
    assert_ok(jb_cgroup_destroy(v1.cg, TIMEOUT_NS, &err), &err);
    jb_cgroup_free(v1.cg);
    jb_cg_plan_free(&plan);
}

/* What a hostile job does in every hierarchy it can reach: many groups, deep ones, hidden ones, with people
 * in. */
static int make_subgroups(struct fixture *f)
{
    for (size_t i = 0; i < f->cg->n_groups; i++) {
        int dir = f->cg->groups[i].dir.fd;
        for (int k = 0; k < SUBGROUPS; k++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "sub%d", k);
            if (mkdirat(dir, name, 0000) < 0)
                return 6;
        }
        char path[SUBGROUP_DEEP * 3 + 1];
        for (int used = 0; used < SUBGROUP_DEEP * 3; used += 3) {
            (void)snprintf(path + used, 4, "dd/");
            if (mkdirat(dir, path, 0700) < 0)
                return 7;
        }
    }
    const struct jb_cg_group *pids = f->cg->of[JB_CTL_PIDS] ? f->cg->of[JB_CTL_PIDS] : jb_cg_v2(f->cg);
    for (int k = 0; k < 3; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            char path[64];
            (void)snprintf(path, sizeof(path), "sub%d/cgroup.procs", k);
            if (jb_write_at(pids->dir.fd, path, "0") < 0)
                _exit(8);
            for (;;)
                (void)pause();
        }
    }
    (void)usleep(20000);
    return 0;
}

static void test_subgroups(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    assert_int_equal(wait_for(spawn(f, make_subgroups)), 0);
    assert_int_equal(jb_cgroup_population(f->cg, &err), 3);
    assert_int_equal(jb_cgroup_destroy(f->cg, 0, &err), -EBUSY);
    assert_ok(jb_cgroup_kill(f->cg, TIMEOUT_NS, &err), &err);
    assert_int_equal(jb_cgroup_population(f->cg, &err), 0);
}

static int sleep_long(JB_UNUSED struct fixture *f)
{
    return pause();
}

/* A second process finds a box by layout or by path, reads it, ends it. */
static void test_recovery(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cgroup *found = NULL;
    pid_t pid = spawn(f, sleep_long);
    while (jb_cgroup_population(f->cg, &err) == 0)
        (void)usleep(1000);
    assert_ok(jb_cgroup_open(&f->layout, &f->plan, &found, &err), &err);
    struct jb_cg_readback back;
    assert_ok(jb_cgroup_readback(found, &back, &err), &err);
    assert_ok(jb_cgroup_verify(&f->plan, &back, &err), &err);
    assert_int_equal(jb_cgroup_population(found, &err), 1);
    assert_ok(jb_cgroup_kill(found, TIMEOUT_NS, &err), &err);
    assert_true(WIFSIGNALED(wait_for(pid)));
    assert_ok(jb_cgroup_destroy(found, TIMEOUT_NS, &err), &err);
    jb_cgroup_free(found);
    found = NULL;
    assert_int_equal(jb_cgroup_open(&f->layout, &f->plan, &found, &err), -ENOENT);
    assert_null(found);
}

int main(void)
{
    int skipped = cg_real_check();
    if (skipped)
        return skipped;
    const struct CMUnitTest tests[] = {
        CG_REAL_TEST(test_readback),   CG_REAL_TEST(test_existing_is_left_alone),
        CG_REAL_TEST(test_affinity),   CG_REAL_TEST(test_memory_limit),
        CG_REAL_TEST(test_pids_limit), CG_REAL_TEST(test_usage),
        CG_REAL_TEST(test_kill_tree),  CG_REAL_TEST(test_kill_tree_v1),
        CG_REAL_TEST(test_subgroups),  CG_REAL_TEST(test_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
