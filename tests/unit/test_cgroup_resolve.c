/*
 * test_cgroup_resolve.c - which file and value a setting becomes, and what is refused before anything is
 * touched.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define MIB (UINT64_C(1) << 20)

static struct jb_cg_layout layout_of(int version)
{
    struct jb_cg_layout l = {.unified_only = version == 2};
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        l.ctl[c] = (struct jb_cg_controller){
            .version = version, .mount = (char *)"/cg", .own = (char *)"/own", .writable = true};
    return l;
}

static struct jb_cg_plan plan_of(const struct jb_cg_setting *settings, size_t n)
{
    struct jb_cg_plan p = {
        .name = (char *)"jobbox-x", .settings = (struct jb_cg_setting *)settings, .n_settings = n};
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        p.use[c] = true;
    return p;
}

static struct jb_cpus set_of(const char *list)
{
    struct jb_cpus set;
    assert_int_equal(jb_cpus_parse(list, &set), 0);
    return set;
}

/* Resolves and compares with "file value", line by line. */
static void expect(int version, const struct jb_cg_setting *settings, size_t n, const char *lines)
{
    struct jb_error err = {0};
    struct jb_cg_layout l = layout_of(version);
    struct jb_cg_plan p = plan_of(settings, n);
    struct jb_cg_write *writes = NULL;
    size_t n_writes = 0;
    jb_autobuf struct jb_buf got = {0};
    assert_ok(jb_cg_resolve(&l, &p, &writes, &n_writes, &err), &err);
    assert_int_equal(jb_buf_puts(&got, ""), 0);
    for (size_t i = 0; i < n_writes; i++)
        assert_int_equal(jb_buf_printf(&got, "%s %s%s\n", writes[i].file,
                                       writes[i].long_value ? writes[i].long_value : writes[i].value,
                                       writes[i].optional ? " ?" : ""),
                         0);
    assert_string_equal(got.data, lines);
    jb_cg_writes_free(writes, n_writes);
}

static void test_everything(JB_UNUSED void **state)
{
    const struct jb_cg_setting s[] = {
        {.key = JB_CG_SWAP_MAX, .value = MIB}, /* written last, or the kernel would refuse it */
        {.key = JB_CG_CPUSET_MEMS, .set = set_of("0")},
        {.key = JB_CG_CPUSET_CPUS, .set = set_of("0-3,8")},
        {.key = JB_CG_CPU_WEIGHT, .value = 100},
        {.key = JB_CG_CPU_MAX, .value = 350000},
        {.key = JB_CG_MEMORY_MAX, .value = 64 * MIB},
        {.key = JB_CG_PIDS_MAX, .value = 12},
        {.key = JB_CG_IO_RBPS, .value = 1, .major = 8, .minor = 0},
        {.key = JB_CG_IO_WBPS, .value = 2, .major = 8, .minor = 0},
        {.key = JB_CG_IO_RIOPS, .value = 3, .major = 259, .minor = 1},
        {.key = JB_CG_IO_WIOPS, .value = 4, .major = 259, .minor = 1},
    };
    expect(1, s, JB_ARRAY_LEN(s),
           "cpuset.mems 0\ncpuset.cpus 0-3,8\ncpu.shares 1024\ncpu.cfs_period_us 100000\ncpu.cfs_quota_us "
           "350000\n"
           "memory.limit_in_bytes 67108864\npids.max 12\nblkio.throttle.read_bps_device 8:0 1\n"
           "blkio.throttle.write_bps_device 8:0 2\nblkio.throttle.read_iops_device 259:1 3\n"
           "blkio.throttle.write_iops_device 259:1 4\nmemory.memsw.limit_in_bytes 68157440\n");
    expect(2, s, JB_ARRAY_LEN(s),
           "cpuset.mems 0\ncpuset.cpus 0-3,8\ncpu.weight 100\ncpu.max 350000 100000\nmemory.max 67108864\n"
           "memory.oom.group 1 ?\npids.max 12\nio.max 8:0 rbps=1\nio.max 8:0 wbps=2\nio.max 259:1 riops=3\n"
           "io.max 259:1 wiops=4\nmemory.swap.max 1048576\n");
}

static void test_unset(JB_UNUSED void **state)
{
    const struct jb_cg_setting s[] = {
        {.key = JB_CG_CPU_MAX, .value = JB_UNSET},  {.key = JB_CG_MEMORY_MAX, .value = JB_UNSET},
        {.key = JB_CG_SWAP_MAX, .value = JB_UNSET}, {.key = JB_CG_PIDS_MAX, .value = JB_UNSET},
        {.key = JB_CG_IO_RBPS, .value = JB_UNSET},
    };
    expect(1, s, JB_ARRAY_LEN(s), "");
    expect(2, s, JB_ARRAY_LEN(s), "");
    expect(1, NULL, 0, "");
}

static void test_long_list(JB_UNUSED void **state)
{
    struct jb_cg_setting s = {.key = JB_CG_CPUSET_CPUS};
    for (unsigned i = 0; i < 1000; i += 2)
        jb_cpus_add(&s.set, i);
    jb_autofree char *list = jb_cpus_list(&s.set);
    jb_autofree char *line = jb_asprintf("cpuset.cpus %s\n", list);
    assert_true(strlen(list) > 255);
    expect(1, &s, 1, line);
    expect(2, &s, 1, line);
}

static void refuse(struct jb_cg_layout *l, struct jb_cg_setting s, int errnum, const char *says)
{
    struct jb_error err = {0};
    struct jb_cg_plan p = plan_of(&s, 1);
    struct jb_cg_write *writes = NULL;
    size_t n = 7;
    assert_int_equal(jb_cg_resolve(l, &p, &writes, &n, &err), -errnum);
    assert_null(writes);
    assert_int_equal(n, 7);
    assert_contains(err.text, says);
}

static void test_refusals(JB_UNUSED void **state)
{
    struct jb_cg_layout v1 = layout_of(1);
    struct jb_cg_layout v2 = layout_of(2);
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_CPUSET_CPUS}, EINVAL, "cpuset.cpus: the set is empty");
    refuse(&v2, (struct jb_cg_setting){.key = JB_CG_CPUSET_MEMS}, EINVAL, "cpuset.mems: the set is empty");
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_CPU_WEIGHT, .value = 0}, EINVAL, "out of range");
    refuse(&v2, (struct jb_cg_setting){.key = JB_CG_CPU_WEIGHT, .value = 10001}, EINVAL, "out of range");
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_CPU_MAX, .value = 999}, EINVAL, "0.01 CPUs");
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_SWAP_MAX, .value = 0}, EINVAL, "limit memory too");
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_IO_RBPS, .value = 0, .major = 8}, EINVAL, "device 8:0");
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_KEY_MAX}, EINVAL, "not known");
    v1.no_swap_limit = true;
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_SWAP_MAX, .value = 0}, ENOTSUP, "swapaccount=1");
    v2.no_swap_limit = true;
    refuse(&v2, (struct jb_cg_setting){.key = JB_CG_SWAP_MAX, .value = 0}, ENOTSUP,
           "memory.swap.max: this kernel");
    v1.ctl[JB_CTL_PIDS] = (struct jb_cg_controller){.why = "no cgroup pids controller is mounted"};
    refuse(&v1, (struct jb_cg_setting){.key = JB_CG_PIDS_MAX, .value = 5}, ENOTSUP,
           "pids controller is mounted");
}

static void test_overflow(JB_UNUSED void **state)
{
    struct jb_error err = {0};
    struct jb_cg_layout l = layout_of(1);
    const struct jb_cg_setting s[] = {{.key = JB_CG_MEMORY_MAX, .value = UINT64_C(1) << 62},
                                      {.key = JB_CG_SWAP_MAX, .value = UINT64_MAX - 5}};
    struct jb_cg_plan p = plan_of(s, 2);
    struct jb_cg_write *writes = NULL;
    size_t n = 0;
    assert_int_equal(jb_cg_resolve(&l, &p, &writes, &n, &err), -ERANGE);
    p.use[JB_CTL_MEMORY] = false;
    assert_int_equal(jb_cg_resolve(&l, &p, &writes, &n, &err), -EINVAL);
    assert_contains(err.text, "makes no memory group");
}

static void test_weights(JB_UNUSED void **state)
{
    for (uint64_t w = 1; w <= 10000; w++)
        assert_int_equal(jb_cg_weight_of_shares(jb_cg_shares_of_weight(w)), w);
    assert_int_equal(jb_cg_shares_of_weight(0), 2);
    assert_int_equal(jb_cg_weight_of_shares(0), 1);
    assert_int_equal(jb_cg_weight_of_shares(1024), 100);
}

static void test_path(JB_UNUSED void **state)
{
    struct jb_cg_layout l = layout_of(1);
    struct jb_cg_plan p = plan_of(NULL, 0);
    jb_autofree char *own = jb_cg_path(&l, &p, JB_CTL_PIDS);
    assert_string_equal(own, "/cg/own/jobbox-x");
    l.ctl[JB_CTL_PIDS].own = (char *)"/";
    jb_autofree char *root = jb_cg_path(&l, &p, JB_CTL_PIDS);
    assert_string_equal(root, "/cg/jobbox-x");
    p.parent = (char *)"/site/jobs";
    jb_autofree char *site = jb_cg_path(&l, &p, JB_CTL_PIDS);
    assert_string_equal(site, "/cg/site/jobs/jobbox-x");
    p.use[JB_CTL_PIDS] = false;
    assert_null(jb_cg_path(&l, &p, JB_CTL_PIDS));
    l.ctl[JB_CTL_CPU].version = 0;
    assert_null(jb_cg_path(&l, &p, JB_CTL_CPU));
    p.parent = NULL;
    l.ctl[JB_CTL_MEMORY].own = NULL; /* outside of what is mounted */
    assert_null(jb_cg_path(&l, &p, JB_CTL_MEMORY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything), cmocka_unit_test(test_unset),    cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_overflow), cmocka_unit_test(test_weights),
        cmocka_unit_test(test_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
