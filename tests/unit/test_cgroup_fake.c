/*
 * test_cgroup_fake.c - a box's whole life in v1, hybrid and pure-v2 trees made of plain files, with every
 * access failing once.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cg_fake.h"
#include "cg_join.h"

#define GIB (UINT64_C(1) << 30)

enum kind { KIND_V1, KIND_HYBRID, KIND_V2, KIND_COUNT };

struct fixture {
    char *tmp;
    enum kind kind;
    struct jb_cg_layout layout;
    struct jb_cg_plan plan;
    struct jb_cg_setting settings[9];
};

static void hierarchy(struct fixture *f, enum jb_controller c, int version, const char *dir)
{
    f->layout.ctl[c] = (struct jb_cg_controller){.version = version,
                                                 .mount = jb_asprintf("%s/%s", f->tmp, dir),
                                                 .own = strdup("/own"),
                                                 .writable = true};
    f->plan.use[c] = true;
}

static void build(struct fixture *f, enum kind kind)
{
    static const char *const v1[] = {"cpuset", "cpu,cpuacct", "cpu,cpuacct", "memory", "pids", "blkio"};
    *f = (struct fixture){.tmp = test_tmpdir(), .kind = kind};
    for (size_t c = 0; c < JB_CTL_UNIFIED; c++) {
        if (kind != KIND_V2)
            hierarchy(f, (enum jb_controller)c, 1, v1[c]);
        else if (c != JB_CTL_CPUACCT)
            hierarchy(f, (enum jb_controller)c, 2, "unified");
    }
    if (kind != KIND_V1)
        hierarchy(f, JB_CTL_UNIFIED, 2, "unified");
    for (size_t i = 0; kind != KIND_V2 && i < JB_ARRAY_LEN(v1); i++) {
        jb_autofree char *procs = jb_asprintf("%s/own/cgroup.procs", v1[i]);
        test_write(f->tmp, procs, "");
    }
    if (kind != KIND_V2) {
        test_write(f->tmp, "cpuset/own/cpuset.cpus", "0-7\n");
        test_write(f->tmp, "cpuset/own/cpuset.mems", "0-1\n");
    }
    if (kind != KIND_V1)
        test_write(f->tmp, "unified/own/cgroup.subtree_control", kind == KIND_V2 ? "cpu pids\n" : "");
    struct jb_cpus cpus;
    struct jb_cpus mems;
    assert_int_equal(jb_cpus_parse("2-3", &cpus), 0);
    assert_int_equal(jb_cpus_parse("0", &mems), 0);
    const struct jb_cg_setting settings[] = {
        {.key = JB_CG_CPUSET_MEMS, .set = mems},
        {.key = JB_CG_CPUSET_CPUS, .set = cpus},
        {.key = JB_CG_CPU_WEIGHT, .value = 39},
        {.key = JB_CG_CPU_MAX, .value = 250000},
        {.key = JB_CG_SWAP_MAX, .value = GIB},
        {.key = JB_CG_MEMORY_MAX, .value = 2 * GIB},
        {.key = JB_CG_PIDS_MAX, .value = 64},
        {.key = JB_CG_IO_RBPS, .value = 1048576, .major = 8, .minor = 0},
        {.key = JB_CG_IO_RIOPS, .value = JB_UNSET, .major = 8, .minor = 0},
    };
    memcpy(f->settings, settings, sizeof(settings));
    f->plan.name = strdup("jobbox-fake");
    f->plan.settings = f->settings;
    f->plan.n_settings = JB_ARRAY_LEN(settings);
}

static void drop(struct fixture *f)
{
    f->plan.settings = NULL;
    jb_cg_plan_free(&f->plan);
    jb_cg_layout_free(&f->layout);
    test_tmpdir_remove(f->tmp);
}

static int create(struct fixture *f, const struct jb_kfault *fault, struct jb_cgroup **ret,
                  struct jb_error *err)
{
    return jb_cgroup_create_with(&f->layout, &f->plan, &cg_fake_ops, fault, ret, err);
}

/* How many of the box's groups exist. */
static size_t groups_left(const struct fixture *f)
{
    static const char *const dirs[] = {"cpuset", "cpu,cpuacct", "memory", "pids", "blkio", "unified"};
    size_t n = 0;
    for (size_t i = 0; i < JB_ARRAY_LEN(dirs); i++) {
        jb_autofree char *path = jb_asprintf("%s/%s/own/jobbox-fake", f->tmp, dirs[i]);
        n += access(path, F_OK) == 0;
    }
    return n;
}

static void check_file(const struct fixture *f, const char *path, const char *expected)
{
    jb_autofree char *full = jb_asprintf("%s/%s", f->tmp, path);
    jb_autofree char *text = NULL;
    assert_int_equal(jb_read_at(AT_FDCWD, full, 4096, &text, NULL), 0);
    assert_string_equal(text, expected);
}

static void check_files(const struct fixture *f)
{
    if (f->kind == KIND_V2) {
        check_file(f, "unified/own/cgroup.subtree_control", "+cpuset +memory +io");
        check_file(f, "unified/own/jobbox-fake/cpuset.cpus", "2-3");
        check_file(f, "unified/own/jobbox-fake/cpu.weight", "39");
        check_file(f, "unified/own/jobbox-fake/cpu.max", "250000 100000");
        check_file(f, "unified/own/jobbox-fake/memory.max", "2147483648");
        check_file(f, "unified/own/jobbox-fake/memory.swap.max", "1073741824");
        check_file(f, "unified/own/jobbox-fake/io.max", "8:0 rbps=1048576");
        return;
    }
    check_file(f, "cpuset/own/jobbox-fake/cpuset.mems", "0");
    check_file(f, "cpu,cpuacct/own/jobbox-fake/cpu.shares", "399");
    check_file(f, "cpu,cpuacct/own/jobbox-fake/cpu.cfs_quota_us", "250000");
    check_file(f, "memory/own/jobbox-fake/memory.limit_in_bytes", "2147483648");
    check_file(f, "memory/own/jobbox-fake/memory.memsw.limit_in_bytes", "3221225472");
    check_file(f, "pids/own/jobbox-fake/pids.max", "64");
    check_file(f, "blkio/own/jobbox-fake/blkio.throttle.read_bps_device", "8:0 1048576");
}

static void check_usage(const struct jb_cgroup *cg, enum kind kind)
{
    struct jb_error err = {0};
    struct jb_cg_usage u;
    bool v2 = kind == KIND_V2;
    assert_ok(jb_cgroup_usage_stable(cg, 5, &u, &err), &err);
    assert_int_equal(u.cpu_total_us, kind == KIND_V1 ? 5000 : 900);
    assert_int_equal(jb_cgroup_cpu_us(cg), u.cpu_total_us);
    assert_int_equal(u.cpu_user_us, kind == KIND_V1 ? 3000 : 600);
    assert_int_equal(u.cpu_system_us, kind == KIND_V1 ? 2000 : 300);
    assert_int_equal(u.n_per_cpu, v2 ? 0 : 3);
    if (v2)
        assert_null(u.cpu_per_cpu_ns);
    else
        assert_int_equal(u.cpu_per_cpu_ns[2], 1000000);
    assert_int_equal(u.nr_throttled, v2 ? 6 : 3);
    assert_int_equal(u.throttled_us, v2 ? 70 : 7000);
    assert_int_equal(u.memory_peak, v2 ? 54321 : 12345);
    assert_int_equal(u.memory_peak_anon, JB_UNSET);
    assert_int_equal(u.swap_peak, v2 ? 77 : JB_UNSET);
    assert_int_equal(u.oom_kills, v2 ? 1 : 2);
    assert_int_equal(jb_cgroup_oom_kills(cg), u.oom_kills);
    assert_int_equal(u.pids_peak, v2 ? 17 : JB_UNSET);
    assert_int_equal(u.pids_max_hits, v2 ? 0 : 4);
    assert_int_equal(u.read_bytes, v2 ? 15 : JB_UNSET);
    assert_int_equal(u.written_bytes, v2 ? 20 : JB_UNSET);
    assert_int_equal(u.read_ops, v2 ? 2 : JB_UNSET);
    assert_int_equal(u.write_ops, v2 ? 2 : JB_UNSET);
    assert_int_equal(u.psi_cpu_some_us, kind == KIND_V1 ? JB_UNSET : 11);
    assert_int_equal(u.psi_memory_full_us, kind == KIND_V1 ? JB_UNSET : 13);
    assert_int_equal(u.psi_io_some_us, JB_UNSET); /* no such file in the fake */
    jb_cg_usage_free(&u);
}

static void check_readback(const struct fixture *f, const struct jb_cgroup *cg)
{
    struct jb_error err = {0};
    struct jb_cg_readback back;
    assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
    assert_ok(jb_cgroup_verify(&f->plan, &back, &err), &err);
    assert_int_equal(back.version[JB_CTL_MEMORY], f->kind == KIND_V2 ? 2 : 1);
    assert_int_equal(back.version[JB_CTL_CPUACCT], f->kind == KIND_V2 ? 0 : 1);
    assert_int_equal(back.version[JB_CTL_UNIFIED], f->kind == KIND_V1 ? 0 : 2);
    assert_int_equal(back.swap_max, GIB);
    assert_int_equal(back.n_io, 1);
    assert_int_equal(back.io[0].wbps, JB_UNSET);
}

static void check_join(const struct fixture *f, const struct jb_cgroup *cg)
{
    assert_int_equal(test_cgroup_join(cg, false), 0);
    if (f->kind != KIND_V2)
        check_file(f, "cpu,cpuacct/own/jobbox-fake/tasks", "0");
    if (f->kind != KIND_V1)
        check_file(f, "unified/own/jobbox-fake/cgroup.procs", "");
    if (f->kind == KIND_V2) { /* the processes go one level below the limits */
        assert_int_equal(test_cgroup_join(cg, true), 0);
        check_file(f, "unified/own/jobbox-fake/" JB_CG_INNER "/cgroup.procs", "0");
        assert_int_equal(cg_fake_put(cg->groups[0].inner.fd, "cgroup.procs", ""), 0);
        check_file(f, "unified/own/jobbox-fake/cgroup.procs", "");
    }
}

/* Limits that hold for nobody are none. */
static void check_inhabited(const struct jb_cgroup *cg)
{
    struct jb_error err = {0};
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    assert_int_equal(jb_cgroup_inhabited(cg, &err), v2 ? -EIO : 0);
    if (!v2)
        return;
    assert_non_null(strstr(err.text, "would hold for nobody"));
    assert_int_equal(cg_fake_put(v2->dir.fd, "cgroup.events", "populated 1\nfrozen 0\n"), 0);
    assert_ok(jb_cgroup_inhabited(cg, &err), &err);
    assert_int_equal(cg_fake_put(v2->dir.fd, "cgroup.events", "populated 0\nfrozen 0\n"), 0);
}

static void life(enum kind kind)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, kind);
    assert_ok(create(&f, NULL, &cg, &err), &err);
    assert_int_equal(groups_left(&f), kind == KIND_V1 ? 5 : kind == KIND_HYBRID ? 6 : 1);
    check_files(&f);
    assert_int_equal(jb_cgroup_v2_fd(cg) >= 0, kind != KIND_V1);
    check_readback(&f, cg);
    check_usage(cg, kind);
    check_inhabited(cg);
    check_join(&f, cg);
    for (size_t i = 0; i < cg->n_groups; i++) {
        assert_int_equal(mkdirat(cg->groups[i].dir.fd, "sub", 0700), 0);
        assert_int_equal(mkdirat(cg->groups[i].dir.fd, "sub/deep", 0700), 0);
    }
    assert_ok(jb_cgroup_kill(cg, JB_NS_PER_S, &err), &err);
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    assert_int_equal(groups_left(&f), 0);
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    drop(&f);
}

static void test_life_v1(JB_UNUSED void **state)
{
    life(KIND_V1);
}

static void test_life_hybrid(JB_UNUSED void **state)
{
    life(KIND_HYBRID);
}

static void test_life_v2(JB_UNUSED void **state)
{
    life(KIND_V2);
}

/* Makes each access of creation fail in turn: an error each time, and nothing left behind. */
static void test_create_faults(JB_UNUSED void **state)
{
    for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
        struct fixture f;
        build(&f, kind);
        unsigned at = 1;
        for (;; at++) {
            struct test_fault fault;
            struct jb_error err = {0};
            struct jb_cgroup *cg = NULL;
            test_fault_init(&fault, at, EIO);
            int r = create(&f, &fault.fault, &cg, &err);
            if (fault.seen < at) { /* past the last access */
                assert_ok(r, &err);
                fault.at = 0;
                assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
                jb_cgroup_free(cg);
                break;
            }
            assert_int_equal(r, -EIO);
            assert_null(cg);
            assert_true(strlen(err.text) > 20);
            assert_int_equal(groups_left(&f), 0);
        }
        assert_true(at > (kind == KIND_V2 ? 12 : 25)); /* the faults were asked */
        drop(&f);
    }
}

/* Reading, killing and removing: an access that fails is told, and trying again works. */
static void test_later_faults(JB_UNUSED void **state)
{
    for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
        for (unsigned at = 1; at < 200; at++) {
            struct fixture f;
            struct jb_error err = {0};
            struct jb_cgroup *cg = NULL;
            struct test_fault fault;
            build(&f, kind);
            test_fault_init(&fault, 0, EIO);
            assert_ok(create(&f, &fault.fault, &cg, &err), &err);
            struct jb_cg_readback back;
            struct jb_cg_usage u;
            fault.seen = 0;
            fault.at = at;
            int failed = jb_cgroup_readback(cg, &back, &err) < 0;
            int r = jb_cgroup_usage(cg, &u, &err);
            if (r == 0)
                jb_cg_usage_free(&u);
            failed += r < 0;
            bool reads_done = fault.seen < at;
            failed += jb_cgroup_kill(cg, 0, &err) < 0;
            r = jb_cgroup_destroy(cg, 0, &err);
            failed += r < 0;
            bool fired = fault.seen >= at;
            assert_true(failed <= 1);
            if (!reads_done && kind == KIND_V2)
                assert_int_equal(failed, 1);
            if (r < 0)
                assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
            assert_int_equal(groups_left(&f), 0);
            jb_cgroup_free(cg);
            drop(&f);
            if (!fired)
                break;
            assert_true(at < 199);
        }
    }
}

static void test_existing(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, KIND_HYBRID);
    test_write(f.tmp, "pids/own/jobbox-fake/pids.max", "7\n"); /* somebody else's */
    assert_int_equal(create(&f, NULL, &cg, &err), -EEXIST);
    assert_contains(err.text, "/pids/own/jobbox-fake is there already");
    assert_int_equal(groups_left(&f), 1);
    check_file(&f, "pids/own/jobbox-fake/pids.max", "7\n");
    drop(&f);
}

/* Files that a kernel may lack: the limit is refused by name, the optional one is done without. */
static void test_missing_files(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, KIND_V2); /* the fake has no memory.oom.group */
    assert_ok(create(&f, NULL, &cg, &err), &err);
    assert_int_equal(unlinkat(jb_cg_v2(cg)->dir.fd, "memory.peak", 0), 0);
    assert_int_equal(unlinkat(jb_cg_v2(cg)->dir.fd, "pids.peak", 0), 0);
    assert_int_equal(unlinkat(jb_cg_v2(cg)->dir.fd, "memory.events", 0), 0);
    struct jb_cg_usage u;
    assert_ok(jb_cgroup_usage(cg, &u, &err), &err);
    assert_int_equal(u.memory_peak, JB_UNSET);
    assert_int_equal(u.pids_peak, JB_UNSET);
    assert_int_equal(u.oom_kills, JB_UNSET);
    assert_int_equal(jb_cgroup_oom_kills(cg), JB_UNSET);
    jb_cg_usage_free(&u);
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    drop(&f);
}

/* Mounted so that each group counts for itself alone: the box was at its limit, and the kill is counted below. */
static void test_local_events(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    struct jb_cg_usage u;
    build(&f, KIND_V2);
    assert_ok(create(&f, NULL, &cg, &err), &err);
    int dir = jb_cg_v2(cg)->dir.fd;
    assert_int_equal(cg_fake_put(dir, "memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n"), 0);
    assert_int_equal(jb_cgroup_oom_kills(cg), 0);
    assert_int_equal(cg_fake_put(dir, JB_CG_INNER "/memory.events.local", "oom 0\noom_kill 1\n"), 0);
    assert_int_equal(jb_cgroup_oom_kills(cg), 1);
    assert_ok(jb_cgroup_usage(cg, &u, &err), &err);
    assert_int_equal(u.oom_kills, 1);
    jb_cg_usage_free(&u);
    assert_int_equal(unlinkat(dir, JB_CG_INNER "/memory.events.local", 0), 0);
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    drop(&f);
}

static int set_without_memsw(const struct jb_cg_group *group, const char *name, enum jb_controller c,
                             const char *file, const char *value)
{
    return strstr(file, "memsw") ? -ENOENT : cg_fake_set(group, name, c, file, value);
}

static void test_no_swap_accounting(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    struct jb_cg_ops ops = cg_fake_ops;
    ops.set = set_without_memsw;
    build(&f, KIND_V1);
    assert_int_equal(jb_cgroup_create_with(&f.layout, &f.plan, &ops, NULL, &cg, &err), -ENOTSUP);
    assert_contains(err.text, "memory.memsw.limit_in_bytes");
    assert_contains(err.text, "swapaccount=1");
    assert_int_equal(groups_left(&f), 0);
    drop(&f);
}

static void test_cpuset_of_parent(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, KIND_V1);
    f.plan.settings = f.settings + 1; /* memory nodes are not said */
    f.plan.n_settings--;
    assert_ok(create(&f, NULL, &cg, &err), &err);
    check_file(&f, "cpuset/own/jobbox-fake/cpuset.mems", "0-1");
    check_file(&f, "cpuset/own/jobbox-fake/cpuset.cpus", "2-3");
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    cg = NULL;
    test_write(f.tmp, "cpuset/own/cpuset.mems", "\n");
    assert_true(create(&f, NULL, &cg, &err) < 0);
    assert_contains(err.text, "cpuset/own/cpuset.mems is empty");
    assert_int_equal(groups_left(&f), 0);
    drop(&f);
}

static void test_names(JB_UNUSED void **state)
{
    static const char *const bad[] = {
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/a",
        "-x",
        ".hidden",
        "a\nb",
        "a b",
        "jobb\xc3\xb6x",
        "a%s",
        "a\\b",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", /* 65 */
    };
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, KIND_V2);
    char *good = f.plan.name;
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        f.plan.name = (char *)bad[i];
        assert_false(jb_cg_name_valid(bad[i]));
        assert_int_equal(create(&f, NULL, &cg, &err), -EINVAL);
        assert_int_equal(jb_cgroup_open(&f.layout, &f.plan, &cg, &err), -EINVAL);
        assert_null(strchr(err.text, '\n'));
    }
    assert_false(jb_cg_name_valid(NULL));
    f.plan.name = good;
    static const char *const parents[] = {"own", "/own/..", "/own/../own", "//own", "/own/", "/./own", ""};
    for (size_t i = 0; i < JB_ARRAY_LEN(parents); i++) {
        f.plan.parent = (char *)parents[i];
        assert_int_equal(create(&f, NULL, &cg, &err), -EINVAL);
    }
    const char *paths[JB_CTL_MAX] = {[JB_CTL_PIDS] = "/sys/fs/cgroup/../etc"};
    const int versions[JB_CTL_MAX] = {[JB_CTL_PIDS] = 1};
    assert_int_equal(jb_cgroup_open_paths(paths, versions, &cg, &err), -EINVAL);
    paths[JB_CTL_PIDS] = "/jobbox-x";
    assert_int_equal(jb_cgroup_open_paths(paths, versions, &cg, &err), -EINVAL);
    assert_null(cg);
    f.plan.parent = NULL;
    drop(&f);
}

static void test_verify(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    struct jb_cg_readback back;
    build(&f, KIND_HYBRID);
    assert_ok(create(&f, NULL, &cg, &err), &err);
    const struct {
        const char *file, *text, *says;
    } lies[] = {
        {"memory/own/jobbox-fake/memory.limit_in_bytes", "9223372036854771712\n", "limit is no limit"},
        {"memory/own/jobbox-fake/memory.memsw.limit_in_bytes", "9223372036854771712\n",
         "the swap limit is no limit"},
        {"pids/own/jobbox-fake/pids.max", "max\n", "the process limit is no limit"},
        {"cpuset/own/jobbox-fake/cpuset.effective_cpus", "2\n", "CPUs are 2 in the kernel but 2-3"},
        {"cpuset/own/jobbox-fake/cpuset.effective_mems", "1\n", "memory nodes are 1"},
        {"cpu,cpuacct/own/jobbox-fake/cpu.cfs_quota_us", "-1\n", "the CPU limit"},
        {"cpu,cpuacct/own/jobbox-fake/cpu.shares", "1024\n", "the CPU weight is 100"},
        {"blkio/own/jobbox-fake/blkio.throttle.read_bps_device", "8:16 1048576\n", "I/O limit of device 8:0"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(lies); i++) {
        jb_autofree char *full = jb_asprintf("%s/%s", f.tmp, lies[i].file);
        jb_autofree char *truth = NULL;
        assert_int_equal(jb_read_at(AT_FDCWD, full, 4096, &truth, NULL), 0);
        test_write(f.tmp, lies[i].file, lies[i].text);
        assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
        assert_int_equal(jb_cgroup_verify(&f.plan, &back, &err), -EIO);
        assert_contains(err.text, lies[i].says);
        test_write(f.tmp, lies[i].file, truth);
    }
    assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
    assert_ok(jb_cgroup_verify(&f.plan, &back, &err), &err);
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    drop(&f);
}

/* A box that is used several times: each use has its own figures, and a peak that was before is nobody's. */
static void test_usage_subtract(JB_UNUSED void **state)
{
    struct jb_cg_usage before;
    struct jb_cg_usage after;
    uint64_t cpus_before[] = {100, 200};
    uint64_t cpus_after[] = {150, 200, 7};
    memset(&before, 0xff, sizeof(before));
    memset(&after, 0xff, sizeof(after));
    before.cpu_per_cpu_ns = cpus_before;
    before.n_per_cpu = 2;
    after.cpu_per_cpu_ns = cpus_after;
    after.n_per_cpu = 3;
    before.cpu_user_us = 10;
    after.cpu_user_us = 15;
    before.cpu_system_us = 10;
    after.cpu_system_us = 9; /* a split by ticks may shrink: not below 0 */
    after.cpu_total_us = 40; /* not read before: stays */
    before.oom_kills = 1;
    after.oom_kills = 1;
    before.written_bytes = 4096; /* not known now */
    before.psi_io_full_us = 5;
    after.psi_io_full_us = 25;
    before.memory_peak = 1000;
    after.memory_peak = 1000;
    before.pids_peak = 3;
    after.pids_peak = 4;
    after.swap_peak = 0;
    jb_cg_usage_subtract(&after, &before);
    assert_int_equal(after.cpu_user_us, 5);
    assert_int_equal(after.cpu_system_us, 0);
    assert_int_equal(after.cpu_total_us, 40);
    assert_int_equal(cpus_after[0], 50);
    assert_int_equal(cpus_after[1], 0);
    assert_int_equal(cpus_after[2], 7);
    assert_int_equal(after.oom_kills, 0);
    assert_int_equal(after.written_bytes, JB_UNSET);
    assert_int_equal(after.psi_io_full_us, 20);
    assert_int_equal(after.memory_peak, JB_UNSET);
    assert_int_equal(after.pids_peak, 4);
    assert_int_equal(after.swap_peak, 0);
}

/* A member that is no process of ours to signal: not killed, not taken for gone. */
static void test_kill_survivor(JB_UNUSED void **state)
{
    struct fixture f;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&f, KIND_V1);
    assert_ok(create(&f, NULL, &cg, &err), &err);
    jb_autofree char *self = jb_asprintf("0\n%d\n", (int)getpid());
    test_write(f.tmp, "pids/own/jobbox-fake/cgroup.procs", self);
    assert_int_equal(jb_cgroup_population(cg, &err), 2);
    assert_int_equal(jb_cgroup_kill(cg, 30 * JB_NS_PER_MS, &err), -ETIMEDOUT);
    assert_contains(err.text, "jobbox-fake");
    check_file(&f, "pids/own/jobbox-fake/pids.max", "04"); /* nothing new is born: 64 overwritten in place */
    assert_ok(jb_cgroup_destroy(cg, 0, &err), &err);
    jb_cgroup_free(cg);
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_v1),        cmocka_unit_test(test_life_hybrid),
        cmocka_unit_test(test_life_v2),        cmocka_unit_test(test_create_faults),
        cmocka_unit_test(test_later_faults),   cmocka_unit_test(test_existing),
        cmocka_unit_test(test_missing_files),  cmocka_unit_test(test_no_swap_accounting),
        cmocka_unit_test(test_local_events),   cmocka_unit_test(test_cpuset_of_parent),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_verify),
        cmocka_unit_test(test_usage_subtract), cmocka_unit_test(test_kill_survivor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
