/*
 * test_copytree.c - copies of trees: what comes along, what does not, limits; and the same as root of a user namespace.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/copytree.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "box/idmap.h"

struct trees {
    char *path;
    int from, to;
};

static int open_dir(const char *path, const char *name)
{
    jb_autofree char *full = jb_asprintf("%s/%s", path, name);
    return open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int setup(void **state)
{
    struct trees *t = calloc(1, sizeof(*t));
    t->path = test_tmpdir();
    test_write(t->path, "from/.x", "");
    test_write(t->path, "to/.x", "");
    t->from = open_dir(t->path, "from");
    t->to = open_dir(t->path, "to");
    (void)unlinkat(t->from, ".x", 0);
    (void)unlinkat(t->to, ".x", 0);
    *state = t;
    return t->from < 0 || t->to < 0;
}

static int teardown(void **state)
{
    struct trees *t = *state;
    (void)close(t->from);
    (void)close(t->to);
    test_tmpdir_remove(t->path);
    free(t);
    return 0;
}

static int copy(const struct trees *t, uint64_t bytes, uint64_t files, struct jb_copied *sum,
                struct jb_error *err)
{
    const struct jb_copy what = {.from = t->from, .to = t->to, .max_bytes = bytes, .max_files = files};
    return jb_copy_tree(&what, sum, err);
}

static struct stat look(int dir, const char *name)
{
    struct stat st = {0};
    assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}

static void everything_comes_along(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    char value[8];
    test_write(t->path, "from/d/file", "content");
    test_write(t->path, "from/plain", "x");
    assert_int_equal(linkat(t->from, "d/file", t->from, "again", 0), 0);
    assert_int_equal(symlinkat("/nowhere", t->from, "link"), 0);
    assert_int_equal(mkfifoat(t->from, "fifo", 0640), 0);
    assert_int_equal(fchmodat(t->from, "d", 01710, 0), 0);
    int fd = openat(t->from, "plain", O_RDWR);
    assert_int_equal(ftruncate(fd, 1 << 20),
                     0); /* a hole; it takes setuid away from whoever lacks CAP_FSETID */
    assert_int_equal(fchmod(fd, 04751), 0);
    bool attributes = fsetxattr(fd, "user.note", "abc", 3, 0) == 0;
    (void)close(fd);
    const struct timespec then[] = {{1000, 5}, {2000, 7}};
    assert_int_equal(utimensat(t->from, "plain", then, 0), 0);
    assert_ok(copy(t, JB_UNSET, JB_UNSET, &sum, &err), &err);
    assert_int_equal(sum.files, 6);
    assert_int_equal(sum.left_out, 0);
    assert_false(sum.linked_below);
    struct stat st = look(t->to, "plain");
    assert_int_equal(st.st_mode & 07777, 04751);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(st.st_blocks < 1000);
    assert_int_equal(st.st_mtim.tv_sec, 2000);
    assert_int_equal(st.st_mtim.tv_nsec, 7);
    assert_int_equal(look(t->to, "d").st_mode & 07777, 01710);
    assert_int_equal(look(t->to, "fifo").st_mode, S_IFIFO | 0640);
    assert_int_equal(look(t->to, "d/file").st_ino, look(t->to, "again").st_ino);
    assert_int_equal(look(t->to, "again").st_nlink, 2);
    assert_int_equal(readlinkat(t->to, "link", value, sizeof(value)), 8);
    fd = openat(t->to, "plain", O_RDONLY);
    if (attributes)
        assert_int_equal(fgetxattr(fd, "user.note", value, sizeof(value)), 3);
    (void)close(fd);
}

/* A whiteout, what is opaque, and what only ties a layer to those that it was made over. */
static void what_an_overlay_leaves(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    char value[8];
    if (geteuid() != 0)
        skip();
    assert_int_equal(mknodat(t->from, "gone", S_IFCHR, makedev(0, 0)), 0);
    if (mknodat(t->from, "null", S_IFCHR | 0666, makedev(1, 3)) < 0)
        skip(); /* root of a box has not the capability */
    assert_int_equal(mkdirat(t->from, "new", 0755), 0);
    int fd = openat(t->from, "new", O_RDONLY);
    if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
        skip();
    assert_int_equal(fsetxattr(fd, "trusted.overlay.origin", "zz", 2, 0), 0);
    (void)close(fd);
    assert_ok(copy(t, JB_UNSET, JB_UNSET, &sum, &err), &err);
    assert_int_equal(sum.left_out, 1);
    assert_false(sum.linked_below);
    assert_true(S_ISCHR(look(t->to, "gone").st_mode));
    assert_int_equal(faccessat(t->to, "null", F_OK, 0), -1);
    fd = openat(t->to, "new", O_RDONLY);
    assert_int_equal(fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)), 1);
    assert_int_equal(fgetxattr(fd, "trusted.overlay.origin", value, sizeof(value)), -1);
    (void)close(fd);
    fd = openat(t->from, "new", O_RDONLY);
    assert_int_equal(fsetxattr(fd, "trusted.overlay.redirect", "old", 3, 0), 0);
    (void)close(fd);
    assert_int_equal(jb_remove_tree(t->to, "gone"), 0);
    assert_ok(copy(t, JB_UNSET, JB_UNSET, &sum, &err), &err);
    assert_true(sum.linked_below);
}

/* Whoever may write a file may set user.overlay.* on it: a copy of what root's overlay wrote leaves it behind. */
static void what_only_looks_like_an_overlays_mark(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    char value[8];
    int fd = openat(t->from, ".", O_RDONLY);
    if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0 ||
        fsetxattr(fd, "user.overlay.redirect", "/etc", 4, 0) < 0)
        skip();
    (void)close(fd);
    struct jb_copy what = {.from = t->from,
                           .to = t->to,
                           .max_bytes = JB_UNSET,
                           .max_files = JB_UNSET,
                           .space = JB_OVERLAY_TRUSTED};
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    fd = openat(t->to, ".", O_RDONLY);
    assert_int_equal(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)), -1);
    assert_int_equal(fgetxattr(fd, "user.overlay.redirect", value, sizeof(value)), -1);
    assert_false(sum.linked_below);
    what.space = JB_OVERLAY_USER;
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    assert_int_equal(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)), 1);
    assert_true(sum.linked_below);
    (void)close(fd);
}

static void limits(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    test_write(t->path, "from/a", "a");
    test_write(t->path, "from/b", "b");
    test_write(t->path, "from/c", "c");
    assert_int_equal(copy(t, JB_UNSET, 2, &sum, &err), -EFBIG);
    assert_contains(err.text, "there are more than 2 files");
    test_write(t->path, "to2/.x", "");
    sum = (struct jb_copied){0};
    jb_autoclose int to = open_dir(t->path, "to2");
    const struct trees other = {t->path, t->from, to};
    assert_int_equal(copy(&other, 4096, JB_UNSET, &sum, &err), -EFBIG);
    assert_contains(err.text, "the files are more than 4.00 KiB");
}

static bool is_b(void *ctx, const char *path)
{
    (void)ctx;
    return jb_streq(path, "d/b");
}

static void skipping_and_depth(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    test_write(t->path, "from/d/a", "a");
    test_write(t->path, "from/d/b/c", "c");
    const struct jb_copy what = {
        .from = t->from, .to = t->to, .max_bytes = JB_UNSET, .max_files = JB_UNSET, .skip = is_b};
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    assert_int_equal(sum.files, 2);
    assert_int_equal(faccessat(t->to, "d/b", F_OK, 0), -1);
    int at = dup(t->from);
    for (unsigned i = 0; i < JB_COPY_DEPTH + 5; i++) {
        assert_int_equal(mkdirat(at, "n", 0755), 0);
        int next = openat(at, "n", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)close(at);
        at = next;
    }
    (void)close(at);
    sum = (struct jb_copied){0};
    assert_int_equal(jb_remove_tree(t->to, "d"), 0);
    assert_int_equal(jb_copy_tree(&what, &sum, &err), -ELOOP);
    assert_contains(err.text, "folders are more than 200 deep");
}

/* --- as root of a user namespace --- */

static int copy_inside(void *ctx, struct jb_error *err)
{
    struct jb_copied sum = {0};
    if (geteuid() != 0)
        return jb_fail(err, EPERM, "not root");
    return copy(ctx, JB_UNSET, JB_UNSET, &sum, err);
}

static int fails(void *ctx, struct jb_error *err)
{
    (void)ctx;
    return jb_fail(err, EXDEV, "words of the child");
}

static int dies(void *ctx, struct jb_error *err)
{
    (void)ctx;
    (void)err;
    abort();
}

static void a_child_says_how_it_went(void **state)
{
    struct jb_error err = {0};
    (void)state;
    assert_int_equal(jb_idmap_inside(NULL, fails, NULL, &err), -EXDEV);
    assert_string_equal(err.text, "words of the child");
    jb_error_clear(&err);
    assert_int_equal(jb_idmap_inside(NULL, dies, NULL, &err), -EIO);
    assert_contains(err.text, "the helper died");
}

/* An ordinary user cannot read a file of mode 0; root of his own namespace can. */
static void ones_own_files_whatever_their_mode(void **state)
{
    struct trees *t = *state;
    struct jb_error err = {0};
    test_write(t->path, "from/secret", "s");
    assert_int_equal(fchmodat(t->from, "secret", 0, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 &&
            (chown(t->path, 4321, 4321) < 0 || fchown(t->from, 4321, 4321) < 0 ||
             fchown(t->to, 4321, 4321) < 0 || fchownat(t->from, "secret", 4321, 4321, 0) < 0 ||
             setresgid(4321, 4321, 4321) < 0 || setresuid(4321, 4321, 4321) < 0))
            _exit(errno == EPERM ? 77 : 1);       /* root of a box has not the capabilities */
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* another id took it, and with it the own /proc */
        const struct jb_idmap map = {.uid = geteuid(), .gid = getegid()};
        int r = jb_idmap_inside(&map, copy_inside, t, &err);
        if (r == -EPERM || r == -ENOSPC || r == -ENOSYS) /* no user namespaces for ordinary users here */
            _exit(77);
        _exit(r == 0 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
    struct stat st = look(t->to, "secret");
    assert_int_equal(st.st_mode & 07777, 0);
    assert_int_equal(st.st_size, 1);
}

/* A place that is no layer gets nothing of how one is read, and need not be able to keep it; all else it gets. */
static void what_no_layer_needs(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    char value[8];
    int fd = openat(t->from, ".", O_RDONLY);
    if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0 || fsetxattr(fd, "user.note", "n", 1, 0) < 0)
        skip();
    (void)close(fd);
    struct jb_copy what = {
        .from = t->from, .to = t->to, .max_bytes = JB_UNSET, .max_files = JB_UNSET, .plain = true};
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    fd = openat(t->to, ".", O_RDONLY);
    assert_int_equal(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)), -1);
    assert_int_equal(fgetxattr(fd, "user.note", value, sizeof(value)), 1);
    what.plain = false;
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    assert_int_equal(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)), 1);
    (void)close(fd);
}

/* fuse-overlayfs says with names what the kernel's overlay says with attributes and devices. */
static void what_fuse_overlayfs_leaves(void **state)
{
    struct trees *t = *state;
    struct jb_copied sum = {0};
    struct jb_error err = {0};
    char value[8];
    test_write(t->path, "from/new/.wh..wh..opq", "");
    test_write(t->path, "from/new/.wh.gone", "");
    test_write(t->path, "from/new/.wh..hidden", "");
    test_write(t->path, "from/new/file", "x");
    if (mknodat(t->from, "new/.wh..opq", S_IFCHR, 0) < 0)
        skip();
    int fd = openat(t->from, "new", O_RDONLY);
    if (fsetxattr(fd, "user.fuseoverlayfs.opaque", "y", 1, 0) < 0)
        skip();
    (void)close(fd);
    const struct jb_copy what = {
        .from = t->from, .to = t->to, .max_bytes = JB_UNSET, .max_files = JB_UNSET, .from_fuse = true};
    assert_ok(jb_copy_tree(&what, &sum, &err), &err);
    fd = openat(t->to, "new", O_RDONLY);
    assert_int_equal(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)), 1);
    assert_int_equal(fgetxattr(fd, "user.fuseoverlayfs.opaque", value, sizeof(value)), -1);
    (void)close(fd);
    static const char *const gone[] = {"new/gone", "new/.hidden"};
    for (size_t i = 0; i < JB_ARRAY_LEN(gone); i++) {
        struct stat st = look(t->to, gone[i]);
        assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
    }
    assert_true(S_ISREG(look(t->to, "new/file").st_mode));
    static const char *const marks[] = {"new/.wh..wh..opq", "new/.wh.gone", "new/.wh..hidden",
                                        "new/.wh..opq"};
    for (size_t i = 0; i < JB_ARRAY_LEN(marks); i++)
        assert_int_equal(faccessat(t->to, marks[i], F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(sum.left_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_comes_along, setup, teardown),
        cmocka_unit_test_setup_teardown(what_an_overlay_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(what_only_looks_like_an_overlays_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(what_no_layer_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fuse_overlayfs_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(skipping_and_depth, setup, teardown),
        cmocka_unit_test(a_child_says_how_it_went),
        cmocka_unit_test_setup_teardown(ones_own_files_whatever_their_mode, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
