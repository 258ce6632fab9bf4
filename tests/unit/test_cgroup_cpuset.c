/*
 * test_cgroup_cpuset.c - which CPUs the place of boxes has: of the nearest group that says so.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cgroup/cpuset.h"

static struct jb_cg_layout layout_of(const char *mount, const char *own, int version)
{
    struct jb_cg_layout layout = {0};
    layout.ctl[JB_CTL_CPUSET] = (struct jb_cg_controller){
        .version = version, .mount = strdup(mount), .own = strdup(own), .writable = true};
    return layout;
}

static void assert_set(const struct jb_cpus *set, const char *want)
{
    jb_autofree char *got = jb_cpus_list(set);
    assert_string_equal(got, want);
}

static void the_nearest_group_that_says_so(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    test_write(dir, "cpuset.cpus.effective", "0-7\n");
    test_write(dir, "cpuset.mems.effective", "0-1\n");
    test_write(dir, "a/cpuset.cpus.effective", "4-5\n");
    test_write(dir, "a/cpuset.mems.effective", "1\n");
    test_write(dir, "a/cpuset.cpus", "2-5\n");
    test_write(dir, "a/b/cpuset.cpus.effective", "4\n");
    test_write(dir, "a/b/cpuset.cpus", "\n"); /* what it is given is its parent's */
    test_write(dir, "a/b/c/cgroup.procs", "");
    static const struct {
        const char *own, *cpus, *mems, *given;
    } cases[] = {
        {"/a", "4-5", "1", "2-5"},   {"/a/b", "4", "1", "2-5"},
        {"/a/b/c", "4", "1", "2-5"}, {"/a/b/c/jobbox-to-be.scope", "4", "1", "2-5"},
        {"/", "0-7", "0-1", NULL},   {"/elsewhere/x", "0-7", "0-1", NULL},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        struct jb_cg_cpuset set;
        struct jb_cg_layout layout = layout_of(dir, cases[i].own, 2);
        assert_ok(jb_cg_cpuset_of(&layout, &set, &err), &err);
        assert_set(&set.cpus, cases[i].cpus);
        assert_set(&set.mems, cases[i].mems);
        if (cases[i].given)
            assert_set(&set.given, cases[i].given);
        else
            assert_int_equal(jb_cpus_count(&set.given), JB_CPUS_MAX);
        jb_cg_layout_free(&layout);
    }
    test_tmpdir_remove(dir);
}

static void v1_has_other_names(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    struct jb_error err = {0};
    struct jb_cg_cpuset set;
    test_write(dir, "jobs/cpuset.effective_cpus", "1\n");
    test_write(dir, "jobs/cpuset.effective_mems", "0\n");
    test_write(dir, "jobs/cpuset.cpus", "1,9\n");
    test_write(dir, "jobs/cpuset.mems", "0\n");
    struct jb_cg_layout layout = layout_of(dir, "/jobs", 1);
    assert_ok(jb_cg_cpuset_of(&layout, &set, &err), &err);
    assert_set(&set.cpus, "1");
    assert_set(&set.given, "1,9");
    jb_cg_layout_free(&layout);
    test_tmpdir_remove(dir);
}

/* What the kernel says is in force in it is what is above. */
static void an_empty_v1_place_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *cpus, *mems, *named;
    } cases[] = {{"\n", "0\n", "/jobs/cpuset.cpus is empty"}, {"1\n", "\n", "/jobs/cpuset.mems is empty"}};
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        char *dir = test_tmpdir();
        struct jb_error err = {0};
        struct jb_cg_cpuset set;
        test_write(dir, "jobs/cpuset.effective_cpus", "0-1\n");
        test_write(dir, "jobs/cpuset.effective_mems", "0\n");
        test_write(dir, "jobs/cpuset.cpus", cases[i].cpus);
        test_write(dir, "jobs/cpuset.mems", cases[i].mems);
        struct jb_cg_layout layout = layout_of(dir, "/jobs", 1);
        assert_int_equal(jb_cg_cpuset_of(&layout, &set, &err), -ENODATA);
        assert_contains(err.text, cases[i].named);
        jb_cg_layout_free(&layout);
        test_tmpdir_remove(dir);
    }
}

static void a_box_without_a_cpuset_is_its_starters(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_cg_cpuset set;
    struct jb_cg_layout layout = {0};
    assert_int_equal(jb_cg_cpuset_of(&layout, &set, &err), -ENOENT);
    layout = layout_of("/nowhere", "/a", 2);
    layout.ctl[JB_CTL_CPUSET].writable = false;
    assert_int_equal(jb_cg_cpuset_of(&layout, &set, &err), -ENOENT);
    jb_cg_layout_free(&layout);
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    struct jb_error err = {0};
    struct jb_cg_cpuset set;
    struct jb_cg_layout layout = layout_of(dir, "/a", 2);
    assert_int_equal(jb_cg_cpuset_of(&layout, &set, &err), -ENODATA);
    assert_contains(err.text, "which CPUs boxes may have");
    assert_contains(err.text, "/cpuset.cpus.effective");
    test_write(dir, "a/cpuset.cpus.effective", "0-3\n");
    test_write(dir, "a/cpuset.mems.effective", "nonsense\n");
    assert_int_equal(jb_cg_cpuset_of(&layout, &set, &err), -EINVAL);
    assert_contains(err.text, "/a/cpuset.mems.effective");
    jb_cg_layout_free(&layout);
    test_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_group_that_says_so),
        cmocka_unit_test(v1_has_other_names),
        cmocka_unit_test(an_empty_v1_place_is_named),
        cmocka_unit_test(a_box_without_a_cpuset_is_its_starters),
        cmocka_unit_test(what_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
