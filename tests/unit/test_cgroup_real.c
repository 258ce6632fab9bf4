/*
 * test_cgroup_real.c - boxes' cgroups on the kernel that runs the tests: limits bite, kills reach, nothing
 * stays.
 *
 * Owns: the groups it makes below its own cgroup. Runs in: the test. Privilege: write access to its own
 * cgroups; exits 77 with the reason where there is none.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define MIB           (UINT64_C(1) << 20)
#define MEMORY        (64 * MIB)
#define PIDS          20
#define TIMEOUT_NS    (10 * JB_NS_PER_S)
#define SUBGROUPS     50
#define SUBGROUP_DEEP 30

struct fixture {
    struct jb_cg_layout layout;
    struct jb_cg_plan plan;
    struct jb_cgroup *cg;
    struct jb_cpus online;
    char *before; /* children of the starter's groups */
};

/* Names of all groups that lie directly below the starter's in any hierarchy, but for those of other
 * programs' tests that come and go: only names with the prefix of this test. */
static char *children(const struct jb_cg_layout *layout, const char *prefix)
{
    jb_autobuf struct jb_buf names = {0};
    assert_int_equal(jb_buf_puts(&names, ""), 0);
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        if (layout->ctl[c].version == 0)
            continue;
        jb_autofree char *path = jb_asprintf("%s%s", layout->ctl[c].mount, layout->ctl[c].own);
        jb_autodir DIR *dir = opendir(path);
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));)
            if (e->d_type == DT_DIR && jb_starts_with(e->d_name, prefix))
                assert_int_equal(jb_buf_printf(&names, "%s/%s ", path, e->d_name), 0);
    }
    char *taken = names.data;
    names.data = NULL;
    return taken;
}

static void add(struct jb_cg_plan *plan, struct jb_cg_setting s)
{
    plan->settings = realloc(plan->settings, (plan->n_settings + 1) * sizeof(s));
    assert_non_null(plan->settings);
    plan->settings[plan->n_settings++] = s;
}

static bool usable(const struct fixture *f, enum jb_controller c)
{
    return f->layout.ctl[c].version != 0 && f->layout.ctl[c].writable;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct jb_error err = {0};
    struct jb_id id;
    assert_non_null(f);
    *state = f;
    assert_ok(jb_cg_layout_probe(NULL, &f->layout, &err), &err);
    assert_int_equal(jb_id_new(jb_wall_us(NULL), &id), 0);
    f->plan.name = jb_asprintf("jbtest-%s", id.text);
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++)
        f->plan.use[c] = usable(f, c);
    struct jb_cpus one = {0};
    struct jb_cpus node = {0};
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof(mine), &mine), 0);
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &mine))
            jb_cpus_add(&f->online, i);
    jb_cpus_add(&one, (unsigned)jb_cpus_next(&f->online, 0));
    jb_cpus_add(&node, 0);
    if (usable(f, JB_CTL_CPUSET)) {
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_MEMS, .set = node});
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_CPUS, .set = one});
    }
    if (usable(f, JB_CTL_CPU)) {
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_CPU_WEIGHT, .value = 37});
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_CPU_MAX, .value = 50000});
    }
    if (usable(f, JB_CTL_MEMORY)) {
        add(&f->plan,
            (struct jb_cg_setting){.key = JB_CG_SWAP_MAX, .value = f->layout.no_swap_limit ? JB_UNSET : 0});
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_MEMORY_MAX, .value = MEMORY + 100});
    }
    if (usable(f, JB_CTL_PIDS))
        add(&f->plan, (struct jb_cg_setting){.key = JB_CG_PIDS_MAX, .value = PIDS});
    f->before = children(&f->layout, f->plan.name);
    assert_string_equal(f->before, "");
    assert_ok(jb_cgroup_create(&f->layout, &f->plan, &f->cg, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (f->cg) {
        assert_ok(jb_cgroup_kill(f->cg, TIMEOUT_NS, &err), &err);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        assert_ok(jb_cgroup_destroy(f->cg, TIMEOUT_NS, &err), &err);
        assert_ok(jb_cgroup_destroy(f->cg, TIMEOUT_NS, &err), &err); /* absent is success */
    }
    jb_autofree char *after = children(&f->layout, f->plan.name);
    assert_string_equal(after, f->before);
    jb_cgroup_free(f->cg);
    jb_cg_plan_free(&f->plan);
    jb_cg_layout_free(&f->layout);
    free(f->before);
    free(f);
    return 0;
}

/* A child that joins the box, runs `work` and ends with what it returns. */
static pid_t spawn(struct fixture *f, int (*work)(struct fixture *f))
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    enum jb_controller which;
    if (jb_cgroup_join_self(f->cg, true, &which) < 0)
        _exit(99);
    _exit(work(f));
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

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

static int check_affinity(struct fixture *f)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int first = jb_cpus_next(&f->online, 0);
    return CPU_COUNT(&set) == 1 && CPU_ISSET(first, &set) ? 0 : 2;
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

static int burn(JB_UNUSED struct fixture *f)
{
    uint64_t until = jb_mono_ns(NULL) + 400 * JB_NS_PER_MS;
    volatile uint64_t n = 0;
    while (jb_mono_ns(NULL) < until)
        n = n + 1;
    return 0;
}

static void test_usage(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_cg_usage u;
    assert_int_equal(wait_for(spawn(f, burn)), 0);
    assert_ok(jb_cgroup_usage_stable(f->cg, 10, &u, &err), &err);
    assert_true(u.cpu_total_us != JB_UNSET);
    assert_true(u.cpu_total_us >= 50000 && u.cpu_total_us <= 420000);
    assert_int_equal(jb_cgroup_cpu_us(f->cg), u.cpu_total_us);
    assert_true(u.cpu_user_us + u.cpu_system_us <= u.cpu_total_us + 20000);
    if (usable(f, JB_CTL_CPU)) { /* half a CPU for 400 ms of wishing */
        assert_true(u.nr_throttled >= 1 && u.nr_throttled != JB_UNSET);
        assert_true(u.throttled_us >= 50000 && u.throttled_us != JB_UNSET);
        assert_true(u.cpu_total_us <= 300000);
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

static void reap_all(void)
{
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

static void test_kill_tree(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(wait_for(spawn(f, daemons)), 0);
    assert_true(jb_cgroup_population(f->cg, &err) > 0);
    assert_ok(jb_cgroup_kill(f->cg, TIMEOUT_NS, &err), &err);
    assert_int_equal(jb_cgroup_population(f->cg, &err), 0);
    reap_all();
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
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
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(wait_for(spawn(&v1, daemons)), 0);
    assert_true(jb_cgroup_population(v1.cg, &err) > 0);
    assert_ok(jb_cgroup_kill(v1.cg, TIMEOUT_NS, &err), &err);
    assert_int_equal(jb_cgroup_population(v1.cg, &err), 0);
    reap_all();
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
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
        char path[SUBGROUP_DEEP * 2 + 1] = "";
        for (int k = 0; k < SUBGROUP_DEEP; k++) {
            strcat(path, k ? "/d" : "d");
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

/* A whole life through libcgroup, and what each way of making groups costs. */
static void test_backends(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    if (!f->layout.unified_only)
        assert_ok(jb_cg_layout_crosscheck(&f->layout, &err), &err);
    struct jb_cg_plan plan = f->plan;
    plan.name = jb_asprintf("%s-way", f->plan.name);
    const char *const words[] = {"direct", "libcgroup"};
    for (int round = 0; round < 4; round++) {
        struct jb_cgroup *cg = NULL;
        f->layout.backend = round % 2 ? JB_CG_BACKEND_LIBCGROUP : JB_CG_BACKEND_DIRECT;
        uint64_t t = jb_mono_ns(NULL);
        assert_ok(jb_cgroup_create(&f->layout, &plan, &cg, &err), &err);
        double create = ms_since(t);
        struct jb_cg_readback back;
        t = jb_mono_ns(NULL);
        assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
        double readback = ms_since(t);
        assert_ok(jb_cgroup_verify(&plan, &back, &err), &err);
        struct fixture other = {.cg = cg, .online = f->online};
        if (usable(f, JB_CTL_CPUSET))
            assert_int_equal(wait_for(spawn(&other, check_affinity)), 0);
        struct jb_cg_usage u;
        t = jb_mono_ns(NULL);
        assert_ok(jb_cgroup_usage(cg, &u, &err), &err);
        double usage = ms_since(t);
        jb_cg_usage_free(&u);
        t = jb_mono_ns(NULL);
        assert_ok(jb_cgroup_kill(cg, TIMEOUT_NS, &err), &err);
        double kill = ms_since(t);
        t = jb_mono_ns(NULL);
        assert_ok(jb_cgroup_destroy(cg, TIMEOUT_NS, &err), &err);
        print_message("%s, ms: create %.3f read back %.3f usage %.3f kill %.3f destroy %.3f\n",
                      words[round % 2], create, readback, usage, kill, ms_since(t));
        jb_cgroup_free(cg);
    }
    free(plan.name);
}

/* Why this host cannot run these tests; NULL when it can. */
static const char *obstacle(void)
{
    static char why[400];
    struct jb_error err = {0};
    struct jb_cg_layout layout;
    if (jb_cg_layout_probe(NULL, &layout, &err) < 0) {
        (void)snprintf(why, sizeof(why), "%s", err.text);
        return why;
    }
    bool any = false;
    for (size_t c = 0; c < JB_CTL_UNIFIED; c++) {
        any = any || (layout.ctl[c].version != 0 && layout.ctl[c].writable);
        if (!any)
            (void)snprintf(why, sizeof(why), "%s", layout.ctl[c].why);
    }
    jb_cg_layout_free(&layout);
    return any ? NULL : why;
}

int main(void)
{
    const char *why = obstacle();
    if (why) {
        (void)printf("skipped: no cgroup controller can be used here: %s\n", why);
        return 77;
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_readback),       TEST(test_existing_is_left_alone),
        TEST(test_affinity),       TEST(test_memory_limit),
        TEST(test_pids_limit),     TEST(test_usage),
        TEST(test_kill_tree),      TEST(test_kill_tree_v1),
        TEST(test_subgroups),      TEST(test_recovery),
        TEST(test_all_or_nothing), TEST(test_unfilled_parent),
        TEST(test_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
