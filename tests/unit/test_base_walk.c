/*
 * test_base_walk.c - walks that cannot leave their root: openat2 against its fallback, mkdir -p, removal.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define NOBODY 65534

struct tree {
    char *path;
    int fd; /* of path/root */
};

static void link_to(const struct tree *t, const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, t->fd, name), 0);
}

/* root/ holds files and every kind of symlink; outside is what must never be reached. */
static int setup(void **state)
{
    struct tree *t = calloc(1, sizeof(*t));
    t->path = test_tmpdir();
    test_write(t->path, "outside/secret", "secret");
    test_write(t->path, "root/file", "file");
    test_write(t->path, "root/dir/inner", "inner");
    test_write(t->path, "root/outside/secret", "decoy");
    jb_autofree char *root = jb_asprintf("%s/root", t->path);
    jb_autofree char *absolute = jb_asprintf("%s/outside", t->path);
    t->fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->fd >= 0);
    link_to(t, "dir", "relative");
    link_to(t, "dir/inner", "to_file");
    link_to(t, "../outside", "dotdot");
    link_to(t, "dir/../../outside/secret", "through");
    link_to(t, absolute, "absolute");
    link_to(t, "/outside", "rooted");
    link_to(t, "loop_b", "loop_a");
    link_to(t, "loop_a", "loop_b");
    link_to(t, "nowhere", "dangling");
    link_to(t, "/proc/self/root", "magic");
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tree *t = *state;
    (void)close(t->fd);
    test_tmpdir_remove(t->path);
    free(t);
    return 0;
}

/* What is read through `fd`, or the error. */
static void expect(int fd, int want, const char *text, const char *path)
{
    char buf[32] = "";
    if (want < 0) {
        if (fd >= 0)
            (void)close(fd);
        if (fd != want)
            fail_msg("%s: %d instead of %d", path, fd, want);
        return;
    }
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(-fd));
    if (text) {
        assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
        assert_string_equal(buf, text);
    }
    (void)close(fd);
}

static void each_mode_stays_inside(void **state)
{
    const struct tree *t = *state;
    static const struct {
        const char *path;
        int beneath, in_root, strict; /* 0: opens */
        const char *text;             /* behind it, where it opens (in_root) */
    } cases[] = {
        {"file", 0, 0, 0, "file"},
        {"dir/inner", 0, 0, 0, "inner"},
        {"./dir//inner", 0, 0, 0, "inner"},
        {"absent", -ENOENT, -ENOENT, -ENOENT, NULL},
        {"file/x", -ENOTDIR, -ENOTDIR, -ENOTDIR, NULL},
        {"dir/../file", 0, 0, 0, "file"},
        {"../outside/secret", -EXDEV, 0, -EXDEV, "decoy"},
        {"dir/../../outside/secret", -EXDEV, 0, -EXDEV, "decoy"},
        {"/outside/secret", -EXDEV, 0, -EXDEV, "decoy"},
        {"relative/inner", 0, 0, -ELOOP, "inner"},
        {"to_file", 0, 0, -ELOOP, "inner"},
        {"dotdot/secret", -EXDEV, 0, -ELOOP, "decoy"},
        {"through", -EXDEV, 0, -ELOOP, "decoy"},
        {"absolute/secret", -EXDEV, -ENOENT, -ELOOP, NULL},
        {"rooted/secret", -EXDEV, 0, -ELOOP, "decoy"},
        {"loop_a", -ELOOP, -ELOOP, -ELOOP, NULL},
        {"loop_a/x", -ELOOP, -ELOOP, -ELOOP, NULL},
        {"dangling", -ENOENT, -ENOENT, -ELOOP, NULL},
        {"magic/etc", -EXDEV, -ENOENT, -ELOOP, NULL},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        const char *path = cases[i].path;
        expect(jb_open_at(t->fd, path, O_RDONLY, 0, JB_WALK_BENEATH), cases[i].beneath,
               cases[i].beneath ? NULL : cases[i].text, path);
        expect(jb_open_at(t->fd, path, O_RDONLY, 0, JB_WALK_IN_ROOT), cases[i].in_root, cases[i].text, path);
        expect(jb_open_at(t->fd, path, O_RDONLY, 0, JB_WALK_STRICT), cases[i].strict,
               cases[i].strict ? NULL : cases[i].text, path);
    }
}

static void magic_links_are_refused(void **state)
{
    (void)state;
    jb_autoclose int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(self >= 0);
    static const char *const links[] = {"root", "cwd", "exe", "root/etc", "fd/0"};
    static const enum jb_walk modes[] = {JB_WALK_BENEATH, JB_WALK_IN_ROOT, JB_WALK_STRICT};
    for (size_t m = 0; m < JB_ARRAY_LEN(modes); m++)
        for (size_t i = 0; i < JB_ARRAY_LEN(links); i++) {
            int fd = jb_open_at(self, links[i], O_PATH, 0, modes[m]);
            if (fd >= 0)
                (void)close(fd);
            assert_int_equal(fd, -ELOOP);
        }
    for (size_t i = 0; i < JB_ARRAY_LEN(links); i++)
        assert_int_equal(jb_open_at_walk(self, links[i], O_PATH, 0), -ELOOP);
}

/* Whatever the fallback opens, the strict walk of the kernel opens too, and the same file. */
static void fallback_is_as_strict_as_strict(void **state)
{
    const struct tree *t = *state;
    static const char *const paths[] = {"file",
                                        "dir",
                                        "dir/",
                                        "dir/inner",
                                        "./dir/./inner",
                                        "dir//inner",
                                        ".",
                                        "absent",
                                        "absent/x",
                                        "file/x",
                                        "../outside",
                                        "dir/../file",
                                        "relative",
                                        "relative/inner",
                                        "to_file",
                                        "dotdot",
                                        "dotdot/secret",
                                        "through",
                                        "absolute",
                                        "rooted",
                                        "loop_a",
                                        "dangling",
                                        "magic",
                                        "magic/etc",
                                        "dir/absent",
                                        "file/",
                                        "relative/",
                                        "to_file/x"};
    static const int flags[] = {
        O_RDONLY,           O_PATH, O_RDONLY | O_DIRECTORY, O_PATH | O_DIRECTORY, O_RDONLY | O_NOFOLLOW,
        O_PATH | O_NOFOLLOW};
    for (size_t i = 0; i < JB_ARRAY_LEN(paths); i++)
        for (size_t f = 0; f < JB_ARRAY_LEN(flags); f++) {
            struct stat a;
            struct stat b;
            jb_autoclose int kernel = jb_open_at(t->fd, paths[i], flags[f], 0, JB_WALK_STRICT);
            jb_autoclose int ours = jb_open_at_walk(t->fd, paths[i], flags[f], 0);
            if (ours < 0)
                continue; /* stricter is fine: it takes no ".." at all */
            if (kernel < 0)
                fail_msg("%s with flags %x: the fallback opens what openat2 refuses (%s)", paths[i],
                         (unsigned)flags[f], strerror(-kernel));
            assert_int_equal(fstat(kernel, &a), 0);
            assert_int_equal(fstat(ours, &b), 0);
            assert_int_equal(a.st_ino, b.st_ino);
        }
    /* and it does open what has neither symlink nor ".." */
    static const char *const plain[] = {"file", "dir", "dir/inner", "./dir/./inner", "dir//inner", "."};
    for (size_t i = 0; i < JB_ARRAY_LEN(plain); i++)
        expect(jb_open_at_walk(t->fd, plain[i], O_RDONLY, 0), 0, NULL, plain[i]);
}

static void files_are_created_inside_only(void **state)
{
    const struct tree *t = *state;
    const int flags = O_WRONLY | O_CREAT | O_EXCL;
    expect(jb_open_at(t->fd, "dir/new", flags, 0600, JB_WALK_STRICT), 0, NULL, "dir/new");
    expect(jb_open_at(t->fd, "dir/new", flags, 0600, JB_WALK_STRICT), -EEXIST, NULL, "dir/new");
    expect(jb_open_at_walk(t->fd, "dir/new2", flags, 0600), 0, NULL, "dir/new2");
    expect(jb_open_at(t->fd, "dotdot/new", flags, 0600, JB_WALK_BENEATH), -EXDEV, NULL, "dotdot/new");
    expect(jb_open_at_walk(t->fd, "dotdot/new", flags, 0600), -ELOOP, NULL, "dotdot/new");
    expect(jb_open_at(t->fd, "dotdot/new", flags, 0600, JB_WALK_IN_ROOT), 0, NULL, "dotdot/new");
    assert_int_equal(faccessat(t->fd, "outside/new", F_OK, 0), 0);
    assert_int_equal(faccessat(t->fd, "../outside/new", F_OK, 0), -1);
}

static void mkdir_p_makes_what_is_missing(void **state)
{
    const struct tree *t = *state;
    struct stat st;
    jb_autoclose int fd = -1;
    mode_t old = umask(0);
    assert_int_equal(jb_mkdir_p(t->fd, "a//b/c/", 0751, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &fd), 0);
    (void)umask(old);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    assert_int_equal(fstatat(t->fd, "a/b/c", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(jb_mkdir_p(t->fd, "a/b", 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, NULL), 0);
    assert_int_equal(fstatat(t->fd, "a/b", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0751); /* what exists is left alone */
    assert_int_equal(jb_mkdir_p(t->fd, "file/x", 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, NULL), -ENOTDIR);
    assert_int_equal(jb_mkdir_p(t->fd, "file", 0700, (uid_t)-1, (gid_t)-1, JB_WALK_BENEATH, NULL), -ENOTDIR);
    jb_autoclose int own = -1;
    assert_int_equal(jb_mkdir_p(t->fd, "", 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &own), 0);
    assert_int_equal(jb_mkdir_p(t->fd, "own", 0700, getuid(), getgid(), JB_WALK_STRICT, NULL), 0);
}

static void mkdir_p_stays_inside(void **state)
{
    const struct tree *t = *state;
    static const struct {
        const char *path;
        int beneath, strict;
    } cases[] = {
        {"../outside/made", -EXDEV, -EXDEV},        {"../made", -EXDEV, -EXDEV},
        {"dir/../../outside/made", -EXDEV, -EXDEV}, {"dotdot/made", -EXDEV, -ELOOP},
        {"absolute/made", -EXDEV, -ELOOP},          {"loop_a/made", -ELOOP, -ELOOP},
        {"dangling/made", -ENOENT, -ELOOP},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        int r = jb_mkdir_p(t->fd, cases[i].path, 0755, (uid_t)-1, (gid_t)-1, JB_WALK_BENEATH, NULL);
        if (r != cases[i].beneath)
            fail_msg("%s beneath: %d", cases[i].path, r);
        r = jb_mkdir_p(t->fd, cases[i].path, 0755, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, NULL);
        if (r >= 0 || (r != cases[i].strict && r != -ENOTDIR))
            fail_msg("%s strict: %d", cases[i].path, r);
    }
    assert_int_equal(jb_mkdir_p(t->fd, "relative/made", 0755, (uid_t)-1, (gid_t)-1, JB_WALK_BENEATH, NULL),
                     0);
    assert_int_equal(faccessat(t->fd, "dir/made", F_OK, 0), 0);
    assert_int_equal(jb_mkdir_p(t->fd, "rooted/made", 0755, (uid_t)-1, (gid_t)-1, JB_WALK_IN_ROOT, NULL), 0);
    assert_int_equal(faccessat(t->fd, "outside/made", F_OK, 0), 0);
    assert_int_equal(faccessat(t->fd, "../outside/made", F_OK, 0), -1);
    assert_int_equal(faccessat(t->fd, "../made", F_OK, 0), -1);
}

static void removal_follows_no_symlink(void **state)
{
    const struct tree *t = *state;
    jb_autoclose int top = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(jb_remove_tree(top, "root"), 0);
    assert_int_equal(faccessat(top, "root", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(faccessat(top, "outside/secret", F_OK, 0), 0);
    assert_int_equal(jb_remove_tree(top, "root"), 0); /* absent is success */
    assert_int_equal(symlinkat("outside", top, "link"), 0);
    assert_int_equal(jb_remove_tree(top, "link"), 0);
    assert_int_equal(faccessat(top, "outside/secret", F_OK, 0), 0);
    assert_int_equal(jb_remove_tree(top, "outside/secret"), 0); /* a file is a tree too */
    assert_int_equal(jb_remove_tree(top, "outside/secret/x"), 0);
}

/* A job can make a tree far deeper than there are descriptors, and than a path can name. */
static void removal_of_a_very_deep_tree(void **state)
{
    const struct tree *t = *state;
    jb_autoclose int at = fcntl(t->fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(mkdirat(t->fd, "deep", 0755), 0);
    for (int i = 0; i < 6000; i++) {
        const char *name = i ? "d" : "deep";
        if (i) {
            assert_int_equal(mkdirat(at, name, 0755), 0);
            assert_int_equal(mkdirat(at, "e", i % 7 ? 0755 : 0), 0);
        }
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        jb_close(&at);
        at = next;
    }
    jb_close(&at);
    assert_int_equal(jb_remove_tree(t->fd, "deep"), 0);
    assert_int_equal(faccessat(t->fd, "deep", F_OK, 0), -1);
}

/* In a child without privilege: root reads and removes whatever the modes say. */
static void removal_of_unreadable_directories(void **state)
{
    const struct tree *t = *state;
    assert_int_equal(fchmod(t->fd, 0777), 0);
    if (getuid() == 0) {
        assert_int_equal(chmod(t->path, 0755), 0);
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* root without capabilities, as in a box, is held by the modes already */
        if (getuid() == 0 &&
            (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0) &&
            errno != EPERM)
            _exit(9);
        if (mkdirat(t->fd, "locked", 0755) < 0 || mkdirat(t->fd, "locked/unreadable", 0755) < 0 ||
            mkdirat(t->fd, "locked/unwritable", 0755) < 0 || mkdirat(t->fd, "locked/unwritable/x", 0) < 0 ||
            mkdirat(t->fd, "locked/unreadable/y", 0755) < 0)
            _exit(8);
        if (fchmodat(t->fd, "locked/unreadable", 0, 0) < 0 ||
            fchmodat(t->fd, "locked/unwritable", 0555, 0) < 0 || fchmodat(t->fd, "locked", 0100, 0) < 0)
            _exit(7);
        int r = jb_remove_tree(t->fd, "locked");
        _exit(r < 0 ? 6 : faccessat(t->fd, "locked", F_OK, 0) == 0 ? 5 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_mode_stays_inside, setup, teardown),
        cmocka_unit_test(magic_links_are_refused),
        cmocka_unit_test_setup_teardown(fallback_is_as_strict_as_strict, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_created_inside_only, setup, teardown),
        cmocka_unit_test_setup_teardown(mkdir_p_makes_what_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(mkdir_p_stays_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_follows_no_symlink, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_of_a_very_deep_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_of_unreadable_directories, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
