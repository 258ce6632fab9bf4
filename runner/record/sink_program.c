/*
 * sink_program.c - a record for a program on standard input.
 *
 * Owns: the process that watches over the program. Runs in: the supervisor, and in that process. Privilege: the supervisor's.
 *
 * A program may take its time, and must not take the job's: a process of its own waits for it, and outlives us when need be. That
 * one holds nothing of ours open, for a lock that it shared would keep the box's CPUs from being given away.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "record/sink.h"

static int await_exit(pid_t pid, int pidfd)
{
    struct pollfd fds = {.fd = pidfd, .events = POLLIN};
    uint64_t deadline = jb_mono_ns(NULL) + JB_SINK_PROGRAM_S * JB_NS_PER_S;
    int status = 0;
    for (;;) {
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            return -ETIMEDOUT;
        }
        if (poll(&fds, 1, (int)((deadline - now) / JB_NS_PER_MS) + 1) > 0)
            break;
    }
    if (waitpid(pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPROTO;
}

/* The record waits in a sealed file: a program that does not read cannot hold us up. */
static int run(char *const *argv, int in)
{
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *env[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid;
    sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawn_file_actions_adddup2(&actions, in, 0);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int r = -posix_spawn(&pid, argv[0], &actions, &attr, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    if (r < 0)
        return r;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -errno;
    }
    return await_exit(pid, pidfd);
}

/* In the process that watches: everything but the record and the way to tell is let go. */
static _Noreturn void watch(char *const *argv, int in, int tell)
{
    enum { IN = 3, TELL = 4 };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int low_in = fcntl(in, F_DUPFD_CLOEXEC, 100);
    int low_tell = fcntl(tell, F_DUPFD_CLOEXEC, 100);
    int r = null < 0 || low_in < 0 || low_tell < 0 ? -EMFILE : 0;
    (void)setsid();
    for (int fd = 0; r == 0 && fd <= 2; fd++)
        if (dup2(null, fd) < 0)
            r = -errno;
    if (r == 0 && (dup3(low_in, IN, O_CLOEXEC) < 0 || dup3(low_tell, TELL, O_CLOEXEC) < 0))
        r = -errno;
    (void)jb_close_between(TELL + 1, ~0U);
    if (r == 0)
        r = run(argv, IN);
    (void)!write(TELL, &r, sizeof(r));
    _exit(0);
}

int jb_sink_program(char *const *argv, const char *line, size_t len)
{
    jb_autoclose int in = -1;
    int ends[2];
    int said = -EPIPE;
    int r = jb_sealed_memfd("record", line, len, false, &in);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    jb_autoclose int hear = ends[0];
    /* two forks: the one that watches is nobody's child that somebody would have to reap */
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0)
            watch(argv, in, ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    if (pid < 0)
        return -errno;
    (void)waitpid(pid, NULL, 0);
    struct pollfd fds = {.fd = hear, .events = POLLIN};
    uint64_t deadline = jb_mono_ns(NULL) + JB_SINK_PATIENCE_MS * JB_NS_PER_MS;
    for (;;) {
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline)
            return -EINPROGRESS;
        if (poll(&fds, 1, (int)((deadline - now) / JB_NS_PER_MS) + 1) > 0)
            break;
    }
    return read(hear, &said, sizeof(said)) == sizeof(said) ? said : -EPIPE;
}
