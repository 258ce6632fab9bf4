/*
 * test_confine.c - what a process can still do that reads what others wrote.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/confine.h"

struct seen {
    int result;
    uid_t uid[3];
    gid_t gid[3];
    int groups;
    uint32_t caps;
    int no_new_privs, death_signal;
    unsigned open_fds; /* beyond 0, 1, 2 */
    int fork_errno, shadow_errno;
    bool kept; /* the descriptor to be kept works */
};

static void look(struct seen *s, int keep_fd)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {{0}};
    (void)getresuid(&s->uid[0], &s->uid[1], &s->uid[2]);
    (void)getresgid(&s->gid[0], &s->gid[1], &s->gid[2]);
    s->groups = getgroups(0, NULL);
    (void)syscall(SYS_capget, &header, caps);
    s->caps = caps[0].permitted | caps[0].effective | caps[0].inheritable | caps[1].permitted |
              caps[1].effective | caps[1].inheritable;
    s->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    (void)prctl(PR_GET_PDEATHSIG, &s->death_signal);
    for (int fd = 3; fd < 200; fd++)
        s->open_fds += fcntl(fd, F_GETFD) >= 0;
    s->kept = pwrite(keep_fd, "x", 1, 0) == 1;
    int fd = open("/etc/shadow", O_RDONLY);
    s->shadow_errno = fd < 0 ? errno : 0;
    pid_t pid = fork();
    s->fork_errno = pid < 0 ? errno : 0;
    if (pid == 0)
        _exit(0);
}

/* A child that confines itself and looks around. */
static void run(bool drop, struct seen *ret)
{
    struct seen *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s, MAP_FAILED);
    int keep = memfd_create("keep", MFD_CLOEXEC);
    int others[2];
    assert_true(keep >= 0);
    assert_int_equal(pipe(others),
                     0); /* one below and one above what is kept would be left by a careless loop */
    int low = fcntl(keep, F_DUPFD, 20);
    pid_t self = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        s->result = jb_confine(self, low, drop);
        look(s, low);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(keep);
    (void)close(low);
    (void)close(others[0]);
    (void)close(others[1]);
    *ret = *s;
    (void)munmap(s, sizeof(*s));
}

/* Root of a box, or of a container, may lack the right to be another. */
static bool becomes_nobody(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct own[2] = {{0}};
    const uint32_t needed = 1U << CAP_SETUID | 1U << CAP_SETGID;
    return getuid() == 0 && syscall(SYS_capget, &header, own) == 0 && (own[0].effective & needed) == needed;
}

static void test_no_privilege_is_left(void **state)
{
    (void)state;
    struct seen s;
    run(true, &s);
    assert_int_equal(s.result, 0);
    assert_int_equal(s.caps, 0);
    assert_int_equal(s.no_new_privs, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s.uid[i], becomes_nobody() ? 65534 : getuid());
        assert_int_equal(s.gid[i], becomes_nobody() ? 65534 : getgid());
    }
    if (becomes_nobody()) {
        assert_int_equal(s.groups, 0);
        assert_int_equal(s.shadow_errno, EACCES);
    }
}

static void test_nothing_is_left_but_one_descriptor(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        struct seen s;
        run(drop, &s);
        assert_int_equal(s.result, 0);
        assert_int_equal(s.open_fds, 1);
        assert_true(s.kept);
        assert_int_equal(s.death_signal, SIGKILL);       /* also after another identity */
        if ((drop && becomes_nobody()) || getuid() != 0) /* root itself is bound by no number of processes */
            assert_int_equal(s.fork_errno, EAGAIN);
    }
}

/* Where root has no nobody to become it keeps its id, and no capability. */
static void test_user_namespace_without_nobody(void **state)
{
    (void)state;
    struct seen *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s, MAP_FAILED);
    char map[64];
    (void)snprintf(map, sizeof(map), "0 %u 1", (unsigned)getuid());
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWUSER) < 0)
            _exit(77);
        int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, map, strlen(map)) < 0)
            _exit(77);
        int keep = memfd_create("keep", MFD_CLOEXEC);
        s->result = jb_confine(getppid(), keep, true);
        look(s, keep);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("SKIP: no user namespace can be made here\n");
        (void)munmap(s, sizeof(*s));
        skip();
    }
    assert_int_equal(s->result, 0);
    assert_int_equal(s->caps, 0);
    assert_int_equal(s->uid[0], 0);
    assert_int_equal(s->no_new_privs, 1);
    (void)munmap(s, sizeof(*s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_privilege_is_left),
        cmocka_unit_test(test_nothing_is_left_but_one_descriptor),
        cmocka_unit_test(test_user_namespace_without_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
