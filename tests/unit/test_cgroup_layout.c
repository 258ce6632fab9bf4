/*
 * test_cgroup_layout.c - where the hierarchies are, from the texts of several kinds of host.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cgroup/internal.h"

static void parse(const char *cgroup, const char *mountinfo, struct jb_cg_layout *ret)
{
    struct jb_error err = {0};
    assert_ok(jb_cg_layout_parse(cgroup, mountinfo, ret, &err), &err);
}

static void check(const struct jb_cg_layout *l, enum jb_controller c, int version, const char *mount,
                  const char *own)
{
    assert_int_equal(l->ctl[c].version, version);
    if (mount)
        assert_string_equal(l->ctl[c].mount, mount);
    else
        assert_null(l->ctl[c].mount);
    if (own)
        assert_string_equal(l->ctl[c].own, own);
    else
        assert_null(l->ctl[c].own);
}

/* cpu and cpuacct in one hierarchy, a name= one beside, the links' names never seen. */
static void test_v1_comounted(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    parse("11:memory:/user.slice/u:1\n10:cpu,cpuacct:/user.slice\n9:cpuset:/\n8:pids:/a b\n7:blkio:/x\n"
          "1:name=systemd:/user.slice\n",
          "20 1 0:19 / / rw - ext4 /dev/sda1 rw\n"
          "30 20 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
          "31 30 0:27 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
          "32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 master:3 - cgroup cgroup rw,cpu,cpuacct\n"
          "33 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children\n"
          "34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
          "35 30 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
          "36 30 0:33 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
          "37 30 0:33 / /mnt/again rw - cgroup cgroup rw,blkio\n",
          &l);
    check(&l, JB_CTL_CPU, 1, "/sys/fs/cgroup/cpu,cpuacct", "/user.slice");
    check(&l, JB_CTL_CPUACCT, 1, "/sys/fs/cgroup/cpu,cpuacct", "/user.slice");
    check(&l, JB_CTL_CPUSET, 1, "/sys/fs/cgroup/cpuset", "/");
    check(&l, JB_CTL_MEMORY, 1, "/sys/fs/cgroup/memory", "/user.slice/u:1");
    check(&l, JB_CTL_PIDS, 1, "/sys/fs/cgroup/pids", "/a b");
    check(&l, JB_CTL_IO, 1, "/sys/fs/cgroup/blkio", "/x"); /* the first of two mounts */
    check(&l, JB_CTL_UNIFIED, 0, NULL, NULL);
    assert_contains(l.ctl[JB_CTL_UNIFIED].why, "v2");
    assert_false(l.unified_only);
    jb_cg_layout_free(&l);
}

static void test_hybrid(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    parse("4:memory:/api/8a98\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n",
          "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
          "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
          "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
          "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
          "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
          &l);
    check(&l, JB_CTL_CPU, 1, "/sys/fs/cgroup/cpu", "/");
    check(&l, JB_CTL_CPUACCT, 1, "/sys/fs/cgroup/cpuacct", "/");
    check(&l, JB_CTL_MEMORY, 1, "/sys/fs/cgroup/memory", "/api/8a98");
    check(&l, JB_CTL_UNIFIED, 2, "/sys/fs/cgroup/unified", "/");
    check(&l, JB_CTL_PIDS, 0, NULL, NULL);
    assert_contains(l.ctl[JB_CTL_PIDS].why, "pids");
    assert_false(l.unified_only);
    jb_cg_layout_free(&l);
}

/* A container: the mounts show only a part of the tree, and that part holds the process or not. */
static void test_mount_root(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    parse("4:memory:/docker/abc/inner\n3:cpuset:/docker/abc\n2:pids:/docker/abcdef\n1:cpu:/../other\n",
          "50 1 0:31 /docker/abc /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
          "51 1 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
          "52 1 0:33 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
          "53 1 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
          "54 1 0:32 /docker /second/memory rw - cgroup cgroup rw,memory\n",
          &l);
    check(&l, JB_CTL_CPUSET, 1, "/sys/fs/cgroup/cpuset", "/");
    check(&l, JB_CTL_MEMORY, 1, "/sys/fs/cgroup/memory", "/inner");
    check(&l, JB_CTL_PIDS, 1, "/sys/fs/cgroup/pids", NULL);
    assert_contains(l.ctl[JB_CTL_PIDS].why, "/docker/abcdef lies outside");
    check(&l, JB_CTL_CPU, 1, "/sys/fs/cgroup/cpu", NULL);
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        assert_false(l.ctl[c].writable);
    jb_cg_layout_free(&l);
    /* a later mount that does show the process is better than an earlier one that does not */
    parse("2:pids:/docker/abcdef\n",
          "52 1 0:33 /docker/abc /first rw - cgroup cgroup rw,pids\n"
          "53 1 0:33 /docker /second rw - cgroup cgroup rw,pids\n",
          &l);
    check(&l, JB_CTL_PIDS, 1, "/second", "/abcdef");
    assert_string_equal(l.ctl[JB_CTL_PIDS].why, "");
    jb_cg_layout_free(&l);
}

static void test_escapes(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    parse("1:pids:/a b/c\\d/e\n",
          "52 1 0:33 /a\\040b /mnt/tab\\011here\\134x\\012 rw - cgroup cgroup rw,pids\n", &l);
    check(&l, JB_CTL_PIDS, 1, "/mnt/tab\there\\x\n", "/c\\d/e");
    jb_cg_layout_free(&l);
}

static void test_no_cgroups(JB_UNUSED void **state)
{
    static const char *const broken[] = {
        "",
        "\n\n",
        "1 2 3 cgroup\n",
        "52 1 0:33 / /mnt rw - cgroup\n",
        "52 1 0:33 / /mnt rw cgroup cgroup rw,pids\n",
        "1 2 0:3 / /cgroup rw - ext4 /dev/cgroup rw,pids\n",
        " cgroup - - - cgroup cgroup2\n",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(broken); i++) {
        struct jb_cg_layout l;
        parse(i % 2 ? "" : "garbage\n:::\n0:\n1:pids\n", broken[i], &l);
        for (size_t c = 0; c < JB_CTL_MAX; c++) {
            check(&l, (enum jb_controller)c, 0, NULL, NULL);
            assert_true(strlen(l.ctl[c].why) > 0);
        }
        assert_false(l.unified_only);
        jb_cg_layout_free(&l);
    }
}

/* A pure v2 host whose files lie in a directory of the test. */
struct v2_host {
    char *tmp, *procfs;
};

static struct v2_host v2_host(const char *own)
{
    struct v2_host h = {.tmp = test_tmpdir()};
    jb_autofree char *cgroup = jb_asprintf("0::%s\n", own);
    jb_autofree char *mountinfo =
        jb_asprintf("25 1 0:22 / %s/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", h.tmp);
    test_write(h.tmp, "proc/self/cgroup", cgroup);
    test_write(h.tmp, "proc/self/mountinfo", mountinfo);
    h.procfs = jb_asprintf("%s/proc", h.tmp);
    assert_non_null(h.procfs);
    return h;
}

static void group(const struct v2_host *h, const char *path, const char *controllers, const char *passed_on,
                  const char *procs)
{
    const char *const files[][2] = {{"cgroup.controllers", controllers},
                                    {"cgroup.subtree_control", passed_on},
                                    {"cgroup.procs", procs},
                                    {"cgroup.type", "domain\n"}};
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++) {
        jb_autofree char *file = jb_asprintf("cg/%s/%s", path, files[i][0]);
        test_write(h->tmp, file, files[i][1]);
    }
}

static void test_pure_v2(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    struct v2_host h = v2_host("/user.slice/job.scope");
    group(&h, "user.slice/job.scope", "cpuset cpu memory pids\n", "cpu pids\n", "123\n");
    assert_ok(jb_cg_layout_probe(h.procfs, &l, &err), &err);
    jb_autofree char *mount = jb_asprintf("%s/cg", h.tmp);
    assert_true(l.unified_only);
    check(&l, JB_CTL_UNIFIED, 2, mount, "/user.slice/job.scope");
    assert_true(l.ctl[JB_CTL_UNIFIED].writable);
    check(&l, JB_CTL_CPU, 2, mount, "/user.slice/job.scope");
    assert_true(l.ctl[JB_CTL_CPU].writable && l.ctl[JB_CTL_PIDS].writable);
    check(&l, JB_CTL_MEMORY, 2, mount, "/user.slice/job.scope");
    assert_false(l.ctl[JB_CTL_MEMORY].writable); /* the starter itself sits in it */
    assert_contains(l.ctl[JB_CTL_MEMORY].why, "does not pass memory on");
    assert_contains(l.ctl[JB_CTL_MEMORY].why, "Delegate=yes");
    check(&l, JB_CTL_CPUACCT, 0, NULL, NULL);
    check(&l, JB_CTL_IO, 0, NULL, NULL);
    assert_contains(l.ctl[JB_CTL_IO].why, "not delegated");
    jb_cg_layout_free(&l);
    free(h.procfs);
    test_tmpdir_remove(h.tmp);
}

/* A parent that the site delegated is empty, so it can pass on what it has. */
static void test_pure_v2_parent(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    struct v2_host h = v2_host("/user.slice/job.scope");
    group(&h, "user.slice/job.scope", "cpu memory\n", "cpu\n", "123\n");
    assert_ok(jb_cg_layout_probe(h.procfs, &l, &err), &err);
    assert_false(l.ctl[JB_CTL_MEMORY].writable);
    jb_autofree char *mount = jb_asprintf("%s/cg", h.tmp);
    group(&h, "jobs.slice", "cpuset cpu memory pids io hugetlb\n", "", "");
    assert_ok(jb_cg_layout_reparent(&l, "/jobs.slice", &err), &err);
    check(&l, JB_CTL_MEMORY, 2, mount, "/jobs.slice");
    check(&l, JB_CTL_IO, 2, mount, "/jobs.slice");
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        assert_int_equal(l.ctl[c].writable, c != JB_CTL_CPUACCT && c != JB_CTL_DEVICES);
    assert_int_equal(jb_cg_layout_reparent(&l, "jobs", &err), -EINVAL);
    assert_int_equal(jb_cg_layout_reparent(&l, "/jobs/../..", &err), -EINVAL);
    assert_ok(jb_cg_layout_reparent(&l, "/absent", &err), &err);
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        assert_false(l.ctl[c].writable);
    assert_contains(l.ctl[JB_CTL_UNIFIED].why, "/absent");
    jb_cg_layout_free(&l);
    free(h.procfs);
    test_tmpdir_remove(h.tmp);
}

/* Swap is missed only where memory is limited: the root of the tree says nothing of either. */
static void test_v2_swap(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    struct v2_host h = v2_host("/jobs.service");
    group(&h, "jobs.service", "cpu memory\n", "memory\n", "");
    for (int round = 0; round < 3; round++) {
        assert_ok(jb_cg_layout_probe(h.procfs, &l, &err), &err);
        assert_int_equal(l.no_swap_limit, round == 1);
        jb_cg_layout_free(&l);
        test_write(h.tmp, round == 0 ? "cg/jobs.service/memory.max" : "cg/jobs.service/memory.swap.max",
                   "max\n");
    }
    free(h.procfs);
    test_tmpdir_remove(h.tmp);
}

/* The root of the tree may hold processes and pass controllers on all the same. */
static void test_v2_root(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    struct v2_host h = v2_host("/");
    test_write(h.tmp, "cg/cgroup.controllers", "memory\n");
    test_write(h.tmp, "cg/cgroup.subtree_control", "\n");
    test_write(h.tmp, "cg/cgroup.procs", "1\n2\n");
    assert_ok(jb_cg_layout_probe(h.procfs, &l, &err), &err);
    assert_true(l.ctl[JB_CTL_MEMORY].writable);
    jb_cg_layout_free(&l);
    free(h.procfs);
    test_tmpdir_remove(h.tmp);
}

static void test_probe_errors(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    char *tmp = test_tmpdir();
    assert_true(jb_cg_layout_probe(tmp, &l, &err) < 0);
    assert_contains(err.text, "mountinfo");
    test_write(tmp, "self/mountinfo",
               "20 1 0:19 / / rw - ext4 /dev/sda1 rw\n"); /* a kernel without cgroups */
    assert_ok(jb_cg_layout_probe(tmp, &l, &err), &err);
    assert_int_equal(l.ctl[JB_CTL_MEMORY].version, 0);
    jb_cg_layout_free(&l);
    test_tmpdir_remove(tmp);
}

/* v1: a memory hierarchy whose kernel does not count swap, and one that is gone. */
static void test_v1_look(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    char *tmp = test_tmpdir();
    jb_autofree char *mountinfo = jb_asprintf("34 30 0:31 / %s/memory rw - cgroup cgroup rw,memory\n"
                                              "35 30 0:32 / %s/pids rw - cgroup cgroup rw,pids\n",
                                              tmp, tmp);
    test_write(tmp, "self/cgroup", "2:memory:/own\n1:pids:/own\n");
    test_write(tmp, "self/mountinfo", mountinfo);
    test_write(tmp, "memory/own/memory.limit_in_bytes", "0\n");
    test_write(tmp, "memory/own/cgroup.procs", "");
    assert_ok(jb_cg_layout_probe(tmp, &l, &err), &err);
    assert_true(l.no_swap_limit);
    assert_true(l.ctl[JB_CTL_MEMORY].writable);
    assert_false(l.ctl[JB_CTL_PIDS].writable);
    assert_contains(l.ctl[JB_CTL_PIDS].why, "/pids/own");
    jb_cg_layout_free(&l);
    test_write(tmp, "memory/own/memory.memsw.limit_in_bytes", "0\n");
    assert_ok(jb_cg_layout_probe(tmp, &l, &err), &err);
    assert_false(l.no_swap_limit);
    jb_cg_layout_free(&l);
    test_tmpdir_remove(tmp);
}

/* This host, whatever it is: the answer is consistent, and libcgroup agrees where there is v1. */
static void test_this_host(JB_UNUSED void **state)
{
    struct jb_cg_layout l;
    struct jb_error err = {0};
    bool v1 = false;
    assert_ok(jb_cg_layout_probe(NULL, &l, &err), &err);
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++) {
        v1 = v1 || l.ctl[c].version == 1;
        assert_int_equal(l.ctl[c].version != 0, l.ctl[c].mount != NULL);
        if (!l.ctl[c].writable)
            assert_true(strlen(l.ctl[c].why) > 0);
        assert_true(strlen(jb_controller_name(c)) > 1);
    }
    if (v1) {
        assert_ok(jb_cg_layout_crosscheck(&l, &err), &err);
        for (enum jb_controller c = 0; c < JB_CTL_MAX; c++) {
            if (l.ctl[c].version != 1)
                continue;
            free(l.ctl[c].mount);
            l.ctl[c].mount = strdup("/somewhere/else");
            assert_int_equal(jb_cg_layout_crosscheck(&l, &err), -EXDEV);
            assert_contains(err.text, "/somewhere/else");
            break;
        }
    }
    jb_cg_layout_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1_comounted),   cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_mount_root),     cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_no_cgroups),     cmocka_unit_test(test_pure_v2),
        cmocka_unit_test(test_pure_v2_parent), cmocka_unit_test(test_v2_root),
        cmocka_unit_test(test_v2_swap),        cmocka_unit_test(test_probe_errors),
        cmocka_unit_test(test_v1_look),        cmocka_unit_test(test_this_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
