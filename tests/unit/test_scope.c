/*
 * test_scope.c - where boxes are made on a host that systemd manages: a tree of plain files, a bus that is none.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "cgroup/scope.h"

#define SELF 4711 /* our number in the trees */
#define ALL  "cpuset cpu io memory pids\n"

/* A host, its manager, and what the manager was asked. */
struct world {
    char *tmp, *procfs, *booted;
    struct jb_bus bus;
    struct jb_cg_layout layout;
    struct jb_scope scope;
    struct jb_scope_wish wish;
    struct jb_error err;
    const char *home;        /* where the manager makes scopes, below the mount */
    const char *controllers; /* that a scope has */
    const char *moved_to;    /* NULL: into the scope, as it should */
    int refuse;              /* errno of the manager */
    bool v1;                 /* memory, CPUs, disks and processes have hierarchies of their own */
    bool tracked;            /* there is a v2 tree */
    unsigned asked;
    char unit[64], slice[64], description[64];
    uid_t uid;
    uint64_t tasks_max;
};

static const char *const hierarchies[] = {"memory", "cpu,cpuacct", "blkio", "pids"};

static void put(const struct world *w, const char *path, const char *name, const char *text)
{
    jb_autofree char *file = jb_asprintf("cg%s/%s", path, name);
    test_write(w->tmp, file, text);
}

static void group(const struct world *w, const char *path, const char *controllers, const char *procs)
{
    put(w, path, "cgroup.controllers", controllers);
    put(w, path, "cgroup.subtree_control", "\n");
    put(w, path, "cgroup.procs", procs);
    put(w, path, "cgroup.type", "domain\n");
}

static void sit_in(const struct world *w, const char *path)
{
    jb_autobuf struct jb_buf text = {0};
    for (size_t i = 0; w->v1 && i < JB_ARRAY_LEN(hierarchies); i++)
        assert_int_equal(jb_buf_printf(&text, "%zu:%s:%s\n", i + 1, hierarchies[i], path), 0);
    if (w->tracked)
        assert_int_equal(jb_buf_printf(&text, "0::%s\n", path), 0);
    test_write(w->tmp, "proc/self/cgroup", text.data);
}

static int start_scope(void *ctx, const struct jb_scope_request *q, struct jb_error *err)
{
    struct world *w = ctx;
    w->asked++;
    w->uid = q->uid;
    w->tasks_max = q->tasks_max;
    (void)snprintf(w->unit, sizeof(w->unit), "%s", q->unit);
    (void)snprintf(w->slice, sizeof(w->slice), "%s", q->slice ? q->slice : "(default)");
    (void)snprintf(w->description, sizeof(w->description), "%s", q->description);
    if (w->refuse)
        return jb_fail(err, w->refuse, "the fake manager does not like it");
    jb_autofree char *path = jb_asprintf("%s/%s", w->home, q->unit);
    jb_autofree char *leaf = jb_asprintf("%s/supervisor", path);
    group(w, path, w->controllers, "");
    group(w, leaf, "", "");
    sit_in(w, w->moved_to ? w->moved_to : path);
    return 0;
}

static bool marked(const char *path)
{
    jb_autofree char *mark = jb_asprintf("%s/delegated", path);
    return access(mark, F_OK) == 0;
}

static void open_world(struct world *w, const char *own, bool booted)
{
    *w = (struct world){.tracked = true, .tmp = test_tmpdir(), .home = "/system.slice", .controllers = ALL};
    jb_autofree char *mountinfo = jb_asprintf("25 1 0:22 / %s/cg rw - cgroup2 cgroup2 rw\n", w->tmp);
    test_write(w->tmp, "proc/self/mountinfo", mountinfo);
    w->procfs = jb_asprintf("%s/proc", w->tmp);
    w->booted = jb_asprintf("%s/booted", w->tmp);
    if (booted)
        test_write(w->tmp, "booted", "");
    put(w, "", "cgroup.controllers", ALL);
    put(w, "", "cgroup.subtree_control", "\n");
    put(w, "", "cgroup.procs", "1\n2\n");
    sit_in(w, own);
    w->bus = (struct jb_bus){.start_scope = start_scope, .ctx = w};
    w->wish = (struct jb_scope_wish){
        .name = "jobbox-X",
        .description = "jobbox: x",
        .bus = &w->bus,
        .procfs = w->procfs,
        .booted = w->booted,
        .is_delegated = marked,
        .pid = SELF,
    };
}

static int enter(struct world *w)
{
    assert_ok(jb_cg_layout_probe(w->procfs, &w->layout, &w->err), &w->err);
    return jb_scope_enter(&w->wish, &w->layout, &w->scope, &w->err);
}

static int predict(struct world *w)
{
    assert_ok(jb_cg_layout_probe(w->procfs, &w->layout, &w->err), &w->err);
    return jb_scope_predict(&w->wish, &w->layout, &w->err);
}

static void close_world(struct world *w)
{
    jb_cg_layout_free(&w->layout);
    jb_scope_leave(&w->scope);
    free(w->procfs);
    free(w->booted);
    test_tmpdir_remove(w->tmp);
}

static void assert_place(const struct world *w, const char *own)
{
    static const enum jb_controller all[] = {JB_CTL_CPUSET, JB_CTL_CPU, JB_CTL_MEMORY,
                                             JB_CTL_PIDS,   JB_CTL_IO,  JB_CTL_UNIFIED};
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++) {
        const struct jb_cg_controller *ctl = &w->layout.ctl[all[i]];
        assert_int_equal(ctl->version, 2);
        assert_string_equal(ctl->own, own);
        if (!ctl->writable)
            fail_msg("%s: %s", jb_controller_name(all[i]), ctl->why);
    }
}

static void assert_none(const struct world *w, const char *why)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        assert_false(w->layout.ctl[c].writable);
        if (w->layout.ctl[c].version)
            assert_contains(w->layout.ctl[c].why, why);
    }
}

static void assert_text(const struct world *w, const char *path, const char *text)
{
    jb_autofree char *full = jb_asprintf("%s/cg%s", w->tmp, path);
    jb_autofree char *got = NULL;
    assert_int_equal(jb_read_at(AT_FDCWD, full, 4096, &got, NULL), 0);
    if (strncmp(got, text, strlen(text)) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", path, got, text);
}

/* root in a login session: asked in the slice of the session, jobbox in a leaf, boxes beside it. */
static void test_root_session(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/user.slice/user-0.slice/session-1.scope", true);
    group(&w, "/user.slice/user-0.slice/session-1.scope", ALL, "10\n4711\n");
    put(&w, "/user.slice/user-0.slice/session-1.scope", "pids.max", "512\n");
    w.home = "/user.slice/user-0.slice";
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_string_equal(w.unit, "jobbox-X.scope");
    assert_string_equal(w.slice, "user-0.slice");
    assert_string_equal(w.description, "jobbox: x");
    assert_int_equal(w.uid, 0);
    assert_int_equal(w.tasks_max, 512); /* goes along */
    assert_place(&w, "/user.slice/user-0.slice/jobbox-X.scope");
    assert_text(&w, "/user.slice/user-0.slice/jobbox-X.scope/supervisor/cgroup.procs", "0");
    assert_null(w.scope.home); /* systemd removes it */
    close_world(&w);
}

/* A service, and root in no slice at all; a slice that the site names. */
static void test_slices(JB_UNUSED void **state)
{
    static const struct {
        const char *own, *site, *home, *asked;
    } cases[] = {
        {"/system.slice/cron.service", NULL, "/system.slice", "system.slice"},
        {"/system.slice/cron.service/part", NULL, "/system.slice", "system.slice"},
        {"/init.scope", NULL, "/system.slice", "(default)"},
        {"/system.slice/cron.service", "a-b.slice", "/a.slice/a-b.slice", "a-b.slice"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct world w;
        jb_autofree char *place = jb_asprintf("%s/jobbox-X.scope", cases[i].home);
        open_world(&w, cases[i].own, true);
        group(&w, cases[i].own, ALL, "4711\n");
        w.home = cases[i].home;
        w.wish.slice = cases[i].site;
        assert_ok(predict(&w), &w.err);
        assert_int_equal(w.asked, 0);
        assert_place(&w, place);
        jb_cg_layout_free(&w.layout);
        assert_ok(enter(&w), &w.err);
        assert_string_equal(w.slice, cases[i].asked);
        assert_int_equal(w.tasks_max, JB_UNSET);
        assert_place(&w, place);
        close_world(&w);
    }
}

#define MANAGER "/user.slice/user-1000.slice/user@1000.service"

/* An ordinary user asks his own manager; what that is not given is named with the file that mends it. */
static void test_user(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/user.slice/user-1000.slice/session-2.scope", true);
    group(&w, "/user.slice/user-1000.slice/session-2.scope", ALL, "4711\n");
    group(&w, MANAGER, "cpu memory pids\n", "");
    w.home = MANAGER "/app.slice";
    w.controllers = "cpu memory pids\n";
    w.wish.uid = 1000;
    assert_ok(predict(&w), &w.err);
    for (int round = 0; round < 2; round++) {
        assert_true(w.layout.ctl[JB_CTL_MEMORY].writable);
        assert_string_equal(w.layout.ctl[JB_CTL_MEMORY].own, MANAGER "/app.slice/jobbox-X.scope");
        assert_int_equal(w.layout.ctl[JB_CTL_CPUSET].version, 0);
        assert_contains(w.layout.ctl[JB_CTL_CPUSET].why, JB_SCOPE_DROP_IN);
        assert_contains(w.layout.ctl[JB_CTL_CPUSET].why, "Delegate=cpu cpuset io memory pids");
        assert_contains(w.layout.ctl[JB_CTL_IO].why, "not given the io controller");
        assert_int_equal(w.asked, round);
        if (round == 0) {
            jb_cg_layout_free(&w.layout);
            assert_ok(enter(&w), &w.err);
        }
    }
    assert_string_equal(w.slice, "(default)");
    assert_int_equal(w.uid, 1000);
    close_world(&w);
}

/* A daemon is alone in its unit when it asks, and the child that goes there for its jobs is not. */
static void test_predicted_for_a_child(JB_UNUSED void **state)
{
    static const struct {
        bool many;
        const char *place;
    } cases[] = {{false, "/system.slice/jobs.service"}, {true, "/a.slice/a-b.slice/jobbox-X.scope"}};
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct world w;
        open_world(&w, "/system.slice/jobs.service", true);
        group(&w, "/system.slice/jobs.service", ALL, "4711\n");
        put(&w, "/system.slice/jobs.service", "delegated", "");
        w.wish.slice = "a-b.slice";
        w.wish.many = cases[i].many;
        assert_ok(predict(&w), &w.err);
        assert_place(&w, cases[i].place);
        close_world(&w);
    }
}

/* In a unit of the user's manager: the slice stays, and that the manager itself is delegated does not count. */
static void test_user_unit(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, MANAGER "/background.slice/x.service", true);
    group(&w, MANAGER "/background.slice/x.service", ALL, "4711\n");
    put(&w, MANAGER, "delegated", "");
    w.home = MANAGER "/background.slice";
    w.wish.uid = 1000;
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_string_equal(w.slice, "background.slice");
    assert_place(&w, MANAGER "/background.slice/jobbox-X.scope");
    close_world(&w);
}

/* Alone in a delegated unit: no manager is asked, and the leaf is taken back. */
static void test_delegated_alone(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/jobs.service", true);
    group(&w, "/system.slice/jobs.service", ALL, "4711\n");
    group(&w, "/system.slice/jobs.service/supervisor", "", "");
    put(&w, "/system.slice/jobs.service", "delegated", "");
    put(&w, "/system.slice/jobs.service", "memory.max", "1000\n"); /* holds for boxes too */
    assert_ok(predict(&w), &w.err);
    assert_place(&w, "/system.slice/jobs.service");
    assert_text(&w, "/system.slice/jobs.service/supervisor/cgroup.procs", "");
    jb_cg_layout_free(&w.layout);
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 0);
    assert_string_equal(w.layout.ctl[JB_CTL_MEMORY].own, "/system.slice/jobs.service");
    assert_text(&w, "/system.slice/jobs.service/supervisor/cgroup.procs", "0");
    put(&w, "/system.slice/jobs.service", "cgroup.subtree_control", "memory\n");
    jb_scope_leave(&w.scope);
    assert_text(&w, "/system.slice/jobs.service/cgroup.procs", "0");
    assert_text(&w, "/system.slice/jobs.service/cgroup.subtree_control", "-memory");
    close_world(&w);
}

/* The service put its processes into a subgroup: boxes are made beside it, unless that subgroup has limits. */
static void test_delegated_subgroup(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/jobs.service/main", true);
    group(&w, "/system.slice/jobs.service", ALL, "");
    group(&w, "/system.slice/jobs.service/main", ALL, "1\n4711\n");
    put(&w, "/system.slice/jobs.service", "delegated", "");
    assert_ok(predict(&w), &w.err);
    assert_place(&w, "/system.slice/jobs.service");
    jb_cg_layout_free(&w.layout);
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 0);
    assert_place(&w, "/system.slice/jobs.service");
    jb_cg_layout_free(&w.layout);
    put(&w, "/system.slice/jobs.service/main", "cpu.max", "50000 100000\n");
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 0);
    assert_false(w.layout.ctl[JB_CTL_MEMORY].writable);
    jb_cg_layout_free(&w.layout);
    put(&w, "/system.slice/jobs.service/main", "cpu.max", "max 100000\n");
    put(&w, "/system.slice/jobs.service/main", "pids.max",
        "5\n"); /* a scope gets that too; boxes beside do not */
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_int_equal(w.tasks_max, 5);
    close_world(&w);
}

/* Others sit in the delegated group too: nothing can be made there, a scope can be had. */
static void test_delegated_occupied(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/jobs.service", true);
    group(&w, "/system.slice/jobs.service", ALL, "47\n4711\n");
    put(&w, "/system.slice/jobs.service", "delegated", "");
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_place(&w, "/system.slice/jobbox-X.scope");
    close_world(&w);
}

/* A limit of the unit would not hold in a scope: nobody is asked, and the refusal names limit and unit. */
static void test_limits_hold(JB_UNUSED void **state)
{
    static const char *const limits[][2] = {
        {"memory.max", "1000\n"},     {"memory.high", "1000\n"},  {"memory.swap.max", "0\n"},
        {"cpu.max", "5000 100000\n"}, {"cpuset.cpus", "0-1\n"},   {"cpuset.mems", "0\n"},
        {"io.max", "8:0 rbps=1\n"},   {"hugetlb.2MB.max", "0\n"}, {"hugetlb.1GB.rsvd.max", "0\n"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(limits); i++) {
        struct world w;
        open_world(&w, "/system.slice/cron.service", true);
        group(&w, "/system.slice/cron.service", ALL, "4711\n");
        put(&w, "/system.slice/cron.service", "memory.max", "max\n");
        put(&w, "/system.slice/cron.service", limits[i][0], limits[i][1]);
        assert_ok(enter(&w), &w.err);
        assert_int_equal(w.asked, 0);
        const char *named = strncmp(limits[i][0], "hugetlb", 7) == 0 ? "hugetlb" : limits[i][0];
        assert_none(&w, named);
        assert_none(&w, "cron.service");
        assert_none(&w, "Delegate=yes");
        jb_cg_layout_free(&w.layout);
        assert_ok(predict(&w), &w.err);
        assert_none(&w, named);
        jb_cg_layout_free(&w.layout);
        w.wish.use = JB_SYSTEMD_REQUIRE;
        assert_int_equal(enter(&w), -EACCES);
        assert_contains(w.err.text, named);
        assert_contains(w.err.text, "require");
        close_world(&w);
    }
}

static void put_v1(const struct world *w, const char *hierarchy, const char *path, const char *name,
                   const char *text)
{
    jb_autofree char *file = jb_asprintf("v1/%s%s/%s", hierarchy, path, name);
    test_write(w->tmp, file, text);
}

/* The same host with hierarchies of v1, beside the v2 tree or without one. */
static void with_v1(struct world *w, const char *own, bool tracked)
{
    jb_autobuf struct jb_buf mounts = {0};
    w->v1 = true;
    w->tracked = tracked;
    if (tracked)
        assert_int_equal(jb_buf_printf(&mounts, "25 1 0:22 / %s/cg rw - cgroup2 cgroup2 rw\n", w->tmp), 0);
    for (size_t i = 0; i < JB_ARRAY_LEN(hierarchies); i++) {
        assert_int_equal(jb_buf_printf(&mounts, "%zu 1 0:%zu / %s/v1/%s rw - cgroup cgroup rw,%s\n", 30 + i,
                                       30 + i, w->tmp, hierarchies[i], hierarchies[i]),
                         0);
        put_v1(w, hierarchies[i], own, "cgroup.procs", "4711\n");
    }
    put_v1(w, "memory", own, "memory.limit_in_bytes", "9223372036854771712\n");
    put_v1(w, "memory", own, "memory.memsw.limit_in_bytes", "9223372036854771712\n");
    put_v1(w, "cpu,cpuacct", own, "cpu.cfs_quota_us", "-1\n");
    put_v1(w, "blkio", own, "blkio.throttle.read_bps_device", "");
    put_v1(w, "pids", own, "pids.max", "max\n");
    test_write(w->tmp, "proc/self/mountinfo", mounts.data);
    sit_in(w, own);
}

/* On v1 the limits of a unit are in hierarchies of their own: they are not left behind either. */
static void test_v1_limits_hold(JB_UNUSED void **state)
{
    static const char *const limits[][3] = {
        {"memory", "memory.limit_in_bytes", "1048576\n"},
        {"memory", "memory.memsw.limit_in_bytes", "1048576\n"},
        {"cpu,cpuacct", "cpu.cfs_quota_us", "50000\n"},
        {"blkio", "blkio.throttle.read_bps_device", "8:0 1048576\n"},
    };
    for (size_t i = 0; i < 2 * JB_ARRAY_LEN(limits); i++) {
        const char *const *limit = limits[i / 2];
        struct world w;
        open_world(&w, "/system.slice/cron.service", true);
        group(&w, "/system.slice/cron.service", "\n", "4711\n");
        with_v1(&w, "/system.slice/cron.service", i % 2);
        put_v1(&w, limit[0], "/system.slice/cron.service", limit[1], limit[2]);
        assert_ok(enter(&w), &w.err);
        assert_int_equal(w.asked, 0);
        assert_none(&w, limit[1]);
        assert_none(&w, "cron.service");
        assert_none(&w, i % 2 ? "Delegate=yes" : "cgroup_parent"); /* v1 shows no delegation */
        jb_cg_layout_free(&w.layout);
        w.wish.slice = "jobs.slice"; /* the site says so */
        w.home = "/jobs.slice";
        assert_ok(enter(&w), &w.err);
        assert_int_equal(w.asked, 1);
        close_world(&w);
    }
}

/* What is no limit does not stand against a scope, and the limits of processes go along: the least that is left. */
static void test_v1_tasks(JB_UNUSED void **state)
{
    static const char own[] = "/machine.slice/machine-inner.slice/cron.service/part";
    for (int tracked = 0; tracked < 2; tracked++) {
        struct world w;
        open_world(&w, own, true);
        group(&w, own, "\n", "4711\n");
        with_v1(&w, own, tracked);
        put_v1(&w, "pids", "/machine.slice/machine-inner.slice/cron.service", "pids.max", "512\n");
        put_v1(&w, "pids", "/machine.slice/machine-inner.slice", "pids.max", "64\n");
        w.home = "/machine.slice/machine-inner.slice";
        assert_ok(enter(&w), &w.err);
        assert_int_equal(w.asked, 1);
        /* without a v2 tree the slice is not known, and all of them are left */
        assert_int_equal(w.tasks_max, tracked ? 512 : 64);
        jb_cg_layout_free(&w.layout);
        sit_in(&w, own);
        w.wish.slice = "jobs.slice";
        assert_ok(enter(&w), &w.err);
        assert_int_equal(w.tasks_max, 512); /* the slice's is the site's decision */
        close_world(&w);
    }
}

/* A user's job below a slice of the system's: what that slice limits is left behind, the number of processes too. */
static void test_tasks_of_slices(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/few.slice/x.service", true);
    group(&w, "/system.slice/few.slice/x.service", ALL, "4711\n");
    group(&w, MANAGER, ALL, "");
    put(&w, "/system.slice/few.slice/x.service", "pids.max", "512\n");
    put(&w, "/system.slice/few.slice", "pids.max", "20\n");
    w.home = MANAGER "/app.slice";
    w.wish.uid = 1000;
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.tasks_max, 20);
    close_world(&w);
}

/* The limits of the slice hold on in the scope, so they do not stand against it. */
static void test_slice_limit_stays(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/cron.service", true);
    group(&w, "/system.slice/cron.service", ALL, "4711\n");
    put(&w, "/system.slice", "memory.max", "1000\n");
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_place(&w, "/system.slice/jobbox-X.scope");
    close_world(&w);
}

static void test_never_and_refusals(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/system.slice/cron.service", true);
    group(&w, "/system.slice/cron.service", ALL, "4711\n");
    w.wish.use = JB_SYSTEMD_NEVER;
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 0);
    assert_none(&w, "cgroup_parent");
    jb_cg_layout_free(&w.layout);
    w.wish.use = JB_SYSTEMD_AUTO;
    w.refuse = ENOENT;
    assert_ok(enter(&w), &w.err);
    assert_none(&w, "the fake manager does not like it");
    jb_cg_layout_free(&w.layout);
    w.wish.use = JB_SYSTEMD_REQUIRE;
    assert_int_equal(enter(&w), -EACCES);
    assert_contains(w.err.text, "does not like it");
    jb_cg_layout_free(&w.layout);
    w.refuse = 0;
    w.moved_to = "/system.slice/cron.service"; /* a manager that only says so is not believed */
    assert_int_equal(enter(&w), -EIO);
    assert_contains(w.err.text, "cron.service");
    close_world(&w);
}

/* Without systemd: a container whose own group is the root that it sees. */
static void test_container(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/", false);
    group(&w, "", ALL, "4711\n");
    group(&w, "/supervisor", "", "");
    assert_ok(enter(&w), &w.err);
    assert_string_equal(w.layout.ctl[JB_CTL_MEMORY].own, "/");
    assert_text(&w, "/supervisor/cgroup.procs", "0");
    jb_cg_layout_free(&w.layout);
    jb_scope_leave(&w.scope);

    group(&w, "", ALL, "1\n4711\n"); /* a shell beside: it is not ours to move */
    assert_ok(enter(&w), &w.err);
    assert_false(w.layout.ctl[JB_CTL_MEMORY].writable);
    assert_contains(w.layout.ctl[JB_CTL_MEMORY].why, "while processes sit in it");
    jb_cg_layout_free(&w.layout);

    group(&w, "", ALL, ""); /* the shell moved itself and us away first */
    group(&w, "/shell", ALL, "1\n4711\n");
    sit_in(&w, "/shell");
    assert_ok(enter(&w), &w.err);
    assert_place(&w, "/");
    assert_int_equal(w.asked, 0);
    jb_cg_layout_free(&w.layout);

    w.wish.use = JB_SYSTEMD_REQUIRE;
    assert_int_equal(enter(&w), -ENOTSUP);
    close_world(&w);
}

/* The real root of the tree may hold processes: without systemd there is nothing to settle. */
static void test_real_root(JB_UNUSED void **state)
{
    struct world w;
    open_world(&w, "/", false);
    assert_ok(enter(&w), &w.err);
    assert_place(&w, "/");
    assert_null(w.scope.home);
    jb_cg_layout_free(&w.layout);
    test_write(w.tmp, "booted", ""); /* but systemd's root is systemd's */
    assert_ok(enter(&w), &w.err);
    assert_int_equal(w.asked, 1);
    assert_place(&w, "/system.slice/jobbox-X.scope");
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root_session),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_predicted_for_a_child),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_user_unit),
        cmocka_unit_test(test_delegated_alone),
        cmocka_unit_test(test_delegated_subgroup),
        cmocka_unit_test(test_delegated_occupied),
        cmocka_unit_test(test_limits_hold),
        cmocka_unit_test(test_v1_limits_hold),
        cmocka_unit_test(test_v1_tasks),
        cmocka_unit_test(test_tasks_of_slices),
        cmocka_unit_test(test_slice_limit_stays),
        cmocka_unit_test(test_never_and_refusals),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_real_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
