/*
 * test_base_fd.c - whole reads and writes, replacement, owned directories, locks, sealed files.
 */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

struct dir {
    char *path;
    int fd;
};

static int setup(void **state)
{
    struct dir *d = calloc(1, sizeof(*d));
    d->path = test_tmpdir();
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(d->fd >= 0);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct dir *d = *state;
    (void)close(d->fd);
    test_tmpdir_remove(d->path);
    free(d);
    return 0;
}

static void whole_files_are_read_up_to_a_limit(void **state)
{
    const struct dir *d = *state;
    jb_autofree char *big = malloc(100001);
    jb_autofree char *got = NULL;
    size_t len = 0;
    memset(big, 'x', 100000);
    big[100000] = '\0';
    test_write(d->path, "big", big);
    assert_int_equal(jb_read_at(d->fd, "big", 100000, &got, &len), 0);
    assert_int_equal(len, 100000);
    assert_string_equal(got, big);
    char *none = NULL;
    assert_int_equal(jb_read_at(d->fd, "big", 99999, &none, NULL), -EFBIG);
    assert_int_equal(jb_read_at(d->fd, "absent", 10, &none, NULL), -ENOENT);
    assert_int_equal(jb_read_at(d->fd, ".", 10, &none, NULL), -EISDIR);
    assert_null(none);
    test_write(d->path, "empty", "");
    assert_int_equal(jb_read_at(d->fd, "empty", 0, &none, &len), 0);
    assert_string_equal(none, "");
    assert_int_equal(len, 0);
    free(none);
}

static void replacing_is_whole(void **state)
{
    const struct dir *d = *state;
    jb_autofree char *got = NULL;
    struct stat st;
    assert_int_equal(jb_replace_at(d->fd, "f", "one", 3, 0600), 0);
    jb_autoclose int old = openat(d->fd, "f", O_RDONLY | O_CLOEXEC);
    assert_int_equal(jb_replace_at(d->fd, "f", "two", 3, 0600), 0);
    assert_int_equal(jb_read_fd(old, 10, &got, NULL), 0);
    assert_string_equal(got, "one"); /* who had it open keeps what there was */
    assert_int_equal(fstatat(d->fd, "f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(faccessat(d->fd, ".f.new", F_OK, 0), -1); /* nothing beside it */
    /* a directory in its place: the temporary goes again */
    assert_int_equal(mkdirat(d->fd, "g", 0755), 0);
    assert_int_equal(jb_replace_at(d->fd, "g", "x", 1, 0600), -EISDIR);
    assert_int_equal(faccessat(d->fd, ".g.new", F_OK, 0), -1);
    /* a symlink planted where the temporary goes is not written through */
    test_write(d->path, "victim", "safe");
    assert_int_equal(symlinkat("victim", d->fd, ".h.new"), 0);
    assert_int_equal(jb_replace_at(d->fd, "h", "x", 1, 0600), -ELOOP);
    jb_autofree char *victim = NULL;
    assert_int_equal(jb_read_at(d->fd, "victim", 10, &victim, NULL), 0);
    assert_string_equal(victim, "safe");
}

static void owned_directories_only(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    int fd = -1;
    assert_int_equal(mkdirat(d->fd, "mine", 0700), 0);
    assert_int_equal(symlinkat("mine", d->fd, "link"), 0);
    test_write(d->path, "file", "");
    assert_ok(jb_open_owned_dir(d->fd, "mine", getuid(), &fd, &err), &err);
    (void)close(fd);
    fd = -1;
    assert_int_equal(jb_open_owned_dir(d->fd, "link", getuid(), &fd, &err), -ENOTDIR);
    assert_contains(err.text, "symlink");
    assert_int_equal(jb_open_owned_dir(d->fd, "file", getuid(), &fd, &err), -ENOTDIR);
    assert_int_equal(jb_open_owned_dir(d->fd, "absent", getuid(), &fd, &err), -ENOENT);
    assert_int_equal(jb_open_owned_dir(d->fd, "mine", getuid() + 1, &fd, &err), -EPERM);
    assert_contains(err.text, "belongs to uid");
    static const mode_t shared[] = {0770, 0702, 01777};
    for (size_t i = 0; i < JB_ARRAY_LEN(shared); i++) {
        assert_int_equal(fchmodat(d->fd, "mine", shared[i], 0), 0);
        assert_int_equal(jb_open_owned_dir(d->fd, "mine", getuid(), &fd, &err), -EPERM);
        assert_contains(err.text, "lets others write");
    }
    assert_int_equal(fd, -1);
}

/* What a child sees of a lock that we hold or do not: exit status of jb_lock_held and jb_lock_try. */
static int in_child(const struct dir *d, int (*fn)(int fd))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
        int r = fd < 0 ? -errno : fn(fd);
        _exit(r < 0 ? -r : r ? 200 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void locks_hold_between_processes(void **state)
{
    const struct dir *d = *state;
    test_write(d->path, "lock", "");
    int fd = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(in_child(d, jb_lock_held), 0);
    assert_int_equal(in_child(d, jb_lock_try), 0);
    assert_int_equal(jb_lock_try(fd), 0);  /* the child's went with it */
    assert_int_equal(jb_lock_held(fd), 0); /* ours does not conflict with us */
    assert_int_equal(in_child(d, jb_lock_held), 200);
    assert_int_equal(in_child(d, jb_lock_try), EAGAIN);
    /* unlike POSIX locks it survives the closing of another descriptor of the file, and belongs to this one */
    jb_autoclose int other = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(jb_lock_held(other), 1);
    jb_close(&other);
    assert_int_equal(in_child(d, jb_lock_held), 200);
    (void)close(fd);
    assert_int_equal(in_child(d, jb_lock_held), 0);
}

static void a_waiter_gets_the_lock_of_a_killed_holder(void **state)
{
    const struct dir *d = *state;
    int ready[2];
    char byte;
    test_write(d->path, "lock", "");
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int held = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
        if (jb_lock_wait(held) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    jb_autoclose int fd = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(jb_lock_try(fd), -EAGAIN);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(jb_lock_wait(fd), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void sealed_files_stay_as_they_are(void **state)
{
    (void)state;
    jb_autofree char *got = NULL;
    jb_autoclose int fd = -1;
    assert_int_equal(jb_sealed_memfd("t", "hello", 5, false, &fd), 0);
    assert_int_equal(jb_read_fd(fd, 10, &got, NULL), 0);
    assert_string_equal(got, "hello");
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), -1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void one_write_without_creation(void **state)
{
    const struct dir *d = *state;
    assert_int_equal(jb_write_at(d->fd, "absent", "x"), -ENOENT);
    assert_int_equal(jb_write_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
    jb_autoclose int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(jb_write_all(full, "x", 1), -ENOSPC);
    assert_int_equal(jb_write_all(-1, "x", 0), 0);
}

/* Both ways: those in the range are closed, those around it are not. */
static void a_range_is_closed(void **state)
{
    (void)state;
    int (*const ways[])(unsigned, unsigned) = {jb_close_between, jb_close_listed};
    for (size_t i = 0; i < JB_ARRAY_LEN(ways); i++) {
        for (int fd = 100; fd < 106; fd++)
            assert_int_equal(dup2(STDERR_FILENO, fd), fd);
        assert_int_equal(ways[i](101, 104), 0);
        assert_true(fcntl(100, F_GETFD) >= 0 && fcntl(105, F_GETFD) >= 0);
        for (int fd = 101; fd < 105; fd++)
            assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_int_equal(ways[i](100, ~0U), 0);
        assert_int_equal(fcntl(105, F_GETFD), -1);
    }
}

/* The soft limit after raising it to `wanted` from `soft`, below a hard one of 300. */
static rlim_t raised(rlim_t soft, uint64_t wanted)
{
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = 300};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(jb_files_raise(wanted), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_max, 300);
    return limit.rlim_cur;
}

/* In a child: a hard limit does not come back. */
static void a_limit_of_files_is_raised_and_never_lowered(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(raised(100, 200) == 200 && raised(250, 200) == 250 && raised(100, 65536) == 300 &&
                      raised(300, 65536) == 300
                  ? 0
                  : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_files_are_read_up_to_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(replacing_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(owned_directories_only, setup, teardown),
        cmocka_unit_test_setup_teardown(locks_hold_between_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_waiter_gets_the_lock_of_a_killed_holder, setup, teardown),
        cmocka_unit_test(sealed_files_stay_as_they_are),
        cmocka_unit_test(a_range_is_closed),
        cmocka_unit_test(a_limit_of_files_is_raised_and_never_lowered),
        cmocka_unit_test_setup_teardown(one_write_without_creation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
