/*
 * test_layers.c - overlays over many layers on the real kernel, in both ways of telling it which.
 *
 * Each test runs in a child with a mount namespace of its own; without the privilege for one it is skipped.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "box/rootfs.h"

#define LAYERS 40

/* What a kernel before 6.5 says to lowerdir+; everything else is the real thing. */
static int make_without_plus(void *ctx, const char *fstype, const struct jb_mount_option *options, size_t n,
                             uint64_t attr, struct jb_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (jb_streq(options[i].key, "lowerdir+"))
            return jb_fail_errno(err, EINVAL, "mounting %s", fstype);
    return jb_mountapi_kernel.make(ctx, fstype, options, n, attr, err);
}

static void check(bool truth, const char *what)
{
    if (truth)
        return;
    (void)fprintf(stderr, "%s\n", what);
    _exit(1);
}

/* `names`: one directory for each layer, the top one first. Returns the merged root. */
static int mount_layers(const char *stage, bool old, const char *const *names, size_t n)
{
    struct jb_mountapi api = jb_mountapi_kernel;
    struct jb_error err = {0};
    struct jb_op ops[] = {
        {.kind = JB_OP_SCRATCH_TMPFS, .bytes = 1 << 20, .inodes = 1000},
        {.kind = JB_OP_ROOT_OVERLAY, .lowers = names, .n_lowers = n},
    };
    struct jb_plan plan = {.ops = ops, .n_ops = JB_ARRAY_LEN(ops)};
    struct jb_rootfs fs = {.api = &api,
                           .plan = &plan,
                           .stage = stage,
                           .scratch_fd = -1,
                           .root_fd = -1,
                           .null_fd = -1,
                           .empty_fd = -1};
    if (old)
        api.make = make_without_plus;
    char before[4096];
    char after[4096];
    check(getcwd(before, sizeof(before)) != NULL, "getcwd");
    int r = jb_rootfs_build(&fs, &err);
    check(r == 0, err.text);
    check(getcwd(after, sizeof(after)) && jb_streq(before, after), "the working directory has changed");
    return fs.root_fd;
}

static void in_child(void (*fn)(const char *dir, bool old), bool old)
{
    char *dir = test_tmpdir();
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(77);
        /* the tests' own directory may be on an overlay already, and those do not nest deep */
        check(mount("tmpfs", dir, "tmpfs", 0, NULL) == 0, "tmpfs");
        fn(dir, old);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    test_tmpdir_remove(dir);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: a mount namespace of one's own needs privilege\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void expect(int root, const char *path, const char *text)
{
    jb_autofree char *got = NULL;
    int r = jb_read_at(root, path, 100, &got, NULL);
    if (r == 0 && text && jb_streq(got, text))
        return;
    if (r == -ENOENT && !text)
        return;
    (void)fprintf(stderr, "%s: \"%s\" (%d) instead of \"%s\"\n", path, got ? got : "", r,
                  text ? text : "(nothing)");
    _exit(1);
}

/* Each layer has a file of its own and changes one that all have; the top one takes away what the second has. */
static void forty(const char *dir, bool old)
{
    const char *names[LAYERS];
    char name[64];
    char text[16];
    test_write(dir, "stage/.keep", "");
    for (unsigned i = 0; i < LAYERS; i++) {
        names[i] = jb_asprintf("%s/layer%02u", dir, i);
        (void)snprintf(text, sizeof(text), "%u", i);
        (void)snprintf(name, sizeof(name), "layer%02u/all", i);
        test_write(dir, name, text);
        (void)snprintf(name, sizeof(name), "layer%02u/sub/own%u", i, i);
        test_write(dir, name, text);
    }
    jb_autofree char *whiteout = jb_asprintf("%s/layer00/sub/own1", dir);
    check(mknod(whiteout, S_IFCHR, 0) == 0, "whiteout");
    jb_autofree char *stage = jb_asprintf("%s/stage", dir);
    int root = mount_layers(stage, old, names, LAYERS);
    expect(root, "all", "0");
    expect(root, "sub/own1", NULL);
    for (unsigned i = 2; i < LAYERS; i++) {
        (void)snprintf(name, sizeof(name), "sub/own%u", i);
        (void)snprintf(text, sizeof(text), "%u", i);
        expect(root, name, text);
    }
}

static void names(const char *dir, bool old)
{
    static const char *const odd[] = {
        "a:b", "c,d", "e\\f", "g h", "\xc3\xa4\xe2\x82\xac", "lowerdir=x,userxattr", "\\:", "new\nline"};
    const char *list[JB_ARRAY_LEN(odd)];
    test_write(dir, "stage/.keep", "");
    for (size_t i = 0; i < JB_ARRAY_LEN(odd); i++) {
        jb_autofree char *file = jb_asprintf("%s/own%zu", odd[i], i);
        test_write(dir, file, "x");
        list[i] = jb_asprintf("%s/%s", dir, odd[i]);
    }
    jb_autofree char *stage = jb_asprintf("%s/stage", dir);
    int root = mount_layers(stage, old, list, JB_ARRAY_LEN(odd));
    for (size_t i = 0; i < JB_ARRAY_LEN(odd); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "own%zu", i);
        expect(root, name, "x");
    }
}

static void forty_layers(void **state)
{
    (void)state;
    in_child(forty, false);
}

static void forty_layers_by_string(void **state)
{
    (void)state;
    in_child(forty, true);
}

static void names_with_separators(void **state)
{
    (void)state;
    in_child(names, false);
}

static void names_with_separators_by_string(void **state)
{
    (void)state;
    in_child(names, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forty_layers),
        cmocka_unit_test(forty_layers_by_string),
        cmocka_unit_test(names_with_separators),
        cmocka_unit_test(names_with_separators_by_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
