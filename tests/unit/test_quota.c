/*
 * test_quota.c - project quotas with a kernel that only writes down what it is told.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "box/quota.h"

/* A few projects of interest, by their number from JB_QUOTA_FIRST on. */
struct fake {
    struct jb_quota_api api;
    bool used[JB_QUOTA_COUNT];
    uint64_t bytes[JB_QUOTA_COUNT], inodes[JB_QUOTA_COUNT];
    uint32_t project; /* of the folder */
    int fail_set, fail_get;
    char *path;
    int dir;
};

static int fake_get(void *ctx, int dir_fd, uint32_t *ret)
{
    struct fake *f = ctx;
    (void)dir_fd;
    *ret = f->project;
    return f->fail_get;
}

static int fake_set(void *ctx, int dir_fd, uint32_t project)
{
    struct fake *f = ctx;
    (void)dir_fd;
    if (f->fail_set == 0)
        f->project = project;
    return f->fail_set;
}

static int fake_usage(void *ctx, int fd, uint32_t project, bool *ret_used)
{
    struct fake *f = ctx;
    (void)fd;
    uint32_t i = project - JB_QUOTA_FIRST;
    assert_true(i < JB_QUOTA_COUNT);
    *ret_used = f->used[i] || f->bytes[i] || f->inodes[i];
    return 0;
}

static int fake_limit(void *ctx, int fd, uint32_t project, uint64_t bytes, uint64_t inodes)
{
    struct fake *f = ctx;
    (void)fd;
    uint32_t i = project - JB_QUOTA_FIRST;
    assert_true(i < JB_QUOTA_COUNT);
    f->bytes[i] = bytes;
    f->inodes[i] = inodes;
    return 0;
}

static int set_up(void **state)
{
    struct fake *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->api = (struct jb_quota_api){
        .ctx = f, .project_get = fake_get, .project_set = fake_set, .usage = fake_usage, .limit = fake_limit};
    f->path = test_tmpdir();
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fake *f = *state;
    (void)close(f->dir);
    test_tmpdir_remove(f->path);
    free(f);
    return 0;
}

static uint32_t first_choice(const struct fake *f)
{
    struct stat st;
    assert_int_equal(fstat(f->dir, &st), 0);
    return (uint32_t)(st.st_ino % JB_QUOTA_COUNT);
}

static void a_folder_gets_a_project_and_its_limits(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    assert_ok(jb_quota_give(&f->api, f->dir, 1 << 20, 100, &err), &err);
    uint32_t i = first_choice(f);
    assert_int_equal(f->project, JB_QUOTA_FIRST + i);
    assert_int_equal(f->bytes[i], 1 << 20);
    assert_int_equal(f->inodes[i], 100);
    assert_ok(jb_quota_take(&f->api, f->dir, &err), &err);
    assert_true(f->bytes[i] == 0 && f->inodes[i] == 0);
}

static void what_counts_something_is_somebody_elses(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    uint32_t i = first_choice(f);
    f->used[i] = true;
    f->bytes[(i + 1) % JB_QUOTA_COUNT] = 7;
    assert_ok(jb_quota_give(&f->api, f->dir, JB_UNSET, 100, &err), &err);
    assert_int_equal(f->project, JB_QUOTA_FIRST + (i + 2) % JB_QUOTA_COUNT);
    assert_int_equal(f->bytes[(i + 1) % JB_QUOTA_COUNT], 7);
    assert_int_equal(f->bytes[(i + 2) % JB_QUOTA_COUNT], 0); /* none was wished */
}

static void all_taken(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    memset(f->used, 1, sizeof(f->used));
    assert_int_equal(jb_quota_give(&f->api, f->dir, 1 << 20, 100, &err), -ENOSPC);
    assert_contains(err.text, "are in use");
    assert_int_equal(f->project, 0);
}

static void a_limit_without_a_folder_is_taken_back(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    f->fail_set = -EPERM;
    assert_int_equal(jb_quota_give(&f->api, f->dir, 1 << 20, 100, &err), -EPERM);
    assert_int_equal(f->bytes[first_choice(f)], 0);
}

static void projects_of_others_are_left_alone(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    f->project = 1000; /* the fake fails the test when its limit is touched */
    assert_ok(jb_quota_take(&f->api, f->dir, &err), &err);
    f->project = JB_QUOTA_FIRST + JB_QUOTA_COUNT;
    assert_ok(jb_quota_take(&f->api, f->dir, &err), &err);
    f->fail_get = -ENOTTY; /* a file system without projects */
    assert_ok(jb_quota_take(&f->api, f->dir, &err), &err);
    f->fail_get = -EIO;
    assert_int_equal(jb_quota_take(&f->api, f->dir, &err), -EIO);
}

int main(void)
{
#define with_fake(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_fake(a_folder_gets_a_project_and_its_limits),
        with_fake(what_counts_something_is_somebody_elses),
        with_fake(all_taken),
        with_fake(a_limit_without_a_folder_is_taken_back),
        with_fake(projects_of_others_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
