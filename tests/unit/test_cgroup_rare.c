/*
 * test_cgroup_rare.c - what few jobs ask for: huge pages, an isolated partition, memory.high; written, read back, and
 * what is said when the kernel has something else.
 */
#include "cg_fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define MIB (UINT64_C(1) << 20)

struct rare {
    char *tmp;
    struct jb_cg_layout layout;
    struct jb_cg_plan plan;
    struct jb_cg_setting settings[4];
};

static void use(struct rare *t, enum jb_controller c, int version, const char *dir)
{
    t->layout.ctl[c] = (struct jb_cg_controller){.version = version,
                                                 .mount = jb_asprintf("%s/%s", t->tmp, dir),
                                                 .own = strdup("/own"),
                                                 .writable = true};
    t->plan.use[c] = true;
}

static void build(struct rare *t, int version)
{
    *t = (struct rare){.tmp = test_tmpdir()};
    use(t, JB_CTL_CPUSET, version, version == 1 ? "cpuset" : "unified");
    use(t, JB_CTL_MEMORY, version, version == 1 ? "memory" : "unified");
    use(t, JB_CTL_HUGETLB, version, version == 1 ? "hugetlb" : "unified");
    test_write(t->tmp, version == 1 ? "cpuset/own/cpuset.mems" : "unified/own/cgroup.subtree_control",
               version == 1 ? "0\n" : "");
    if (version == 1) {
        test_write(t->tmp, "memory/own/cgroup.procs", "");
        test_write(t->tmp, "hugetlb/own/cgroup.procs", "");
        test_write(t->tmp, "cpuset/own/cpuset.cpus", "0-7\n");
    }
    t->settings[0].key = JB_CG_CPUSET_CPUS;
    assert_int_equal(jb_cpus_parse("2-3", &t->settings[0].set), 0);
    t->settings[1] = (struct jb_cg_setting){.key = JB_CG_HUGE_MAX, .page = 2 * MIB, .value = 64 * MIB};
    t->plan.name = strdup("jobbox-rare");
    t->plan.settings = t->settings;
    t->plan.n_settings = 2;
}

static void drop(struct rare *t)
{
    t->plan.settings = NULL;
    jb_cg_plan_free(&t->plan);
    jb_cg_layout_free(&t->layout);
    test_tmpdir_remove(t->tmp);
}

static void has(const struct rare *t, const char *path, const char *expected)
{
    jb_autofree char *full = jb_asprintf("%s/%s", t->tmp, path);
    jb_autofree char *text = NULL;
    assert_int_equal(jb_read_at(AT_FDCWD, full, 4096, &text, NULL), 0);
    assert_string_equal(text, expected);
}

static struct jb_cgroup *create(struct rare *t)
{
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    assert_ok(jb_cgroup_create_with(&t->layout, &t->plan, &cg_fake_ops, NULL, &cg, &err), &err);
    return cg;
}

static void test_v2(JB_UNUSED void **state)
{
    struct rare t;
    struct jb_error err = {0};
    struct jb_cg_readback back;
    build(&t, 2);
    t.settings[2] = (struct jb_cg_setting){.key = JB_CG_PARTITION, .value = 1};
    t.settings[3] = (struct jb_cg_setting){.key = JB_CG_MEMORY_HIGH, .value = 48 * MIB};
    t.plan.n_settings = 4;
    struct jb_cgroup *cg = create(&t);
    has(&t, "unified/own/cgroup.subtree_control", "+cpuset +memory +hugetlb");
    has(&t, "unified/own/jobbox-rare/hugetlb.2MB.max", "67108864");
    has(&t, "unified/own/jobbox-rare/hugetlb.2MB.rsvd.max", "67108864");
    has(&t, "unified/own/jobbox-rare/hugetlb.1GB.max", "max\n");
    has(&t, "unified/own/jobbox-rare/cpuset.cpus.partition", "isolated");
    has(&t, "unified/own/jobbox-rare/memory.high", "50331648");
    assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
    assert_ok(jb_cgroup_verify(&t.plan, &back, &err), &err);
    assert_string_equal(back.partition, "isolated");
    assert_int_equal(back.memory_high, 48 * MIB);
    assert_int_equal(back.n_huge, 1); /* what is not limited is no limit */
    assert_int_equal(back.huge[0].page, 2 * MIB);
    assert_int_equal(back.huge[0].max, 64 * MIB);
    /* the kernel took the word and made none */
    assert_int_equal(cg_fake_put(cg->groups[0].dir.fd, "cpuset.cpus.partition",
                                 "isolated invalid (Parent is not a partition root)\n"),
                     0);
    assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
    assert_int_equal(jb_cgroup_verify(&t.plan, &back, &err), -EIO);
    assert_contains(err.text, "no isolated partition of the box's CPUs: Parent is not a partition root. ");
    assert_contains(err.text, "cgroup_parent");
    jb_cgroup_free(cg);
    drop(&t);
}

static void test_v1(JB_UNUSED void **state)
{
    struct rare t;
    struct jb_error err = {0};
    struct jb_cg_readback back;
    build(&t, 1);
    struct jb_cgroup *cg = create(&t);
    has(&t, "hugetlb/own/jobbox-rare/hugetlb.2MB.limit_in_bytes", "67108864");
    has(&t, "hugetlb/own/jobbox-rare/hugetlb.2MB.rsvd.limit_in_bytes", "67108864");
    assert_ok(jb_cgroup_readback(cg, &back, &err), &err);
    assert_int_equal(back.n_huge, 1);
    assert_string_equal(back.partition, "");
    assert_int_equal(back.memory_high, JB_UNSET);
    back.huge[0].max = 32 * MIB; /* a kernel that took another */
    assert_int_equal(jb_cgroup_verify(&t.plan, &back, &err), -EIO);
    assert_contains(err.text, "huge pages of 2MB is 33554432 in the kernel but 67108864 was set");
    back.n_huge = 0;
    assert_int_equal(jb_cgroup_verify(&t.plan, &back, &err), -EIO);
    jb_cgroup_free(cg);
    drop(&t);
}

/* A size that this kernel has not, and a kernel that counts no reservations. */
static void test_sizes(JB_UNUSED void **state)
{
    struct rare t;
    struct jb_error err = {0};
    struct jb_cgroup *cg = NULL;
    build(&t, 2);
    t.settings[1].page = 16 * MIB;
    assert_int_equal(jb_cgroup_create_with(&t.layout, &t.plan, &cg_fake_ops, NULL, &cg, &err), -ENOTSUP);
    assert_null(cg);
    assert_contains(err.text, "hugetlb.16MB.max does not take '67108864'");
    assert_contains(err.text, "no huge pages of that size");
    t.settings[1].page = UINT64_C(1) << 30; /* the fake has no file for reservations of these */
    t.settings[1].value = UINT64_C(2) << 30;
    cg = create(&t);
    has(&t, "unified/own/jobbox-rare/hugetlb.1GB.max", "2147483648");
    jb_cgroup_free(cg);
    drop(&t);
}

static void test_names(JB_UNUSED void **state)
{
    char name[16];
    const char *const expected[] = {"64KB", "512KB", "1MB",   "2MB", "4MB", "8MB", "16MB",
                                    "32MB", "256MB", "512MB", "1GB", "2GB", "16GB"};
    size_t n = 0;
    for (; jb_cg_huge_sizes[n]; n++)
        assert_string_equal(jb_cg_huge_name(jb_cg_huge_sizes[n], name, sizeof(name)), expected[n]);
    assert_int_equal(n, JB_ARRAY_LEN(expected));
    assert_true(n <= JB_CG_HUGE_SIZES_MAX);
}

static void test_v1_has_no_such_thing(JB_UNUSED void **state)
{
    static const enum jb_cg_key keys[] = {JB_CG_PARTITION, JB_CG_MEMORY_HIGH};
    for (size_t i = 0; i < JB_ARRAY_LEN(keys); i++) {
        struct rare t;
        struct jb_error err = {0};
        struct jb_cgroup *cg = NULL;
        build(&t, 1);
        t.settings[1] = (struct jb_cg_setting){.key = keys[i], .value = MIB};
        assert_int_equal(jb_cgroup_create_with(&t.layout, &t.plan, &cg_fake_ops, NULL, &cg, &err), -ENOTSUP);
        assert_contains(err.text, "cgroup v1");
        drop(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_v1_has_no_such_thing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
