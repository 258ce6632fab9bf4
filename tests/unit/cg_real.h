/*
 * cg_real.h - a box's groups on the kernel that runs the tests: made before each test, gone after it.
 *
 * Owns: the groups it makes below its own cgroup. Runs in: the test. Privilege: write access to its own
 * cgroups.
 */
#ifndef JB_TESTS_CG_REAL_H
#define JB_TESTS_CG_REAL_H

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
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "base/units.h"
#include "cg_join.h"
#include "cgroup/internal.h"

#define MIB                (UINT64_C(1) << 20)
#define MEMORY             (64 * MIB)
#define PIDS               20
#define CG_REAL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TIMEOUT_NS         (10 * JB_NS_PER_S)

struct fixture {
    struct jb_cg_layout layout;
    struct jb_cg_plan plan;
    struct jb_cgroup *cg;
    struct jb_cpus online;
    char *before; /* children of the starter's groups */
};

/* Names of all groups that lie directly below the starter's in any hierarchy, but for those of other
 * programs' tests that come and go: only names with the prefix of this test. */
static inline char *children(const struct jb_cg_layout *layout, const char *prefix)
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

static inline void add(struct jb_cg_plan *plan, struct jb_cg_setting s)
{
    plan->settings = realloc(plan->settings, (plan->n_settings + 1) * sizeof(s));
    assert_non_null(plan->settings);
    plan->settings[plan->n_settings++] = s;
}

static inline bool usable(const struct fixture *f, enum jb_controller c)
{
    return f->layout.ctl[c].version != 0 && f->layout.ctl[c].writable;
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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
static inline pid_t spawn(struct fixture *f, int (*work)(struct fixture *f))
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    cpu_set_t all;
    memset(&all, 0xff,
           sizeof(all)); /* as the box's first process does: new kernels keep what was set before */
    if (test_cgroup_join(f->cg, true) < 0 || sched_setaffinity(0, sizeof(all), &all) < 0)
        _exit(99);
    _exit(work(f));
}

static inline int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static inline int check_affinity(struct fixture *f)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int first = jb_cpus_next(&f->online, 0);
    return CPU_COUNT(&set) == 1 && CPU_ISSET(first, &set) ? 0 : 2;
}

/* Why this host cannot run these tests; NULL when it can. */
static inline const char *obstacle(void)
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

/* To be called first in main: returns 77 for the program when nothing can be tested here, 0 otherwise. */
static inline int cg_real_check(void)
{
    const char *why = obstacle();
    if (!why)
        return 0;
    (void)printf("skipped: no cgroup controller can be used here: %s\n", why);
    return 77;
}

#endif
