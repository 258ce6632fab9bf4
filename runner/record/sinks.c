/*
 * sinks.c - where else a record goes.
 *
 * Owns: nothing. Runs in: the supervisor, after the journal has the record. Privilege: the supervisor's;
 * sinks are the administrator's programs and files, started with an environment of PATH alone.
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
#include "record/journal.h"
#include "record/record.h"

#define PROGRAM_TIME (10 * JB_NS_PER_S)

static int to_file(const char *path, const char *line, size_t len)
{
    jb_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    return fd < 0 ? -errno : jb_write_all(fd, line, len);
}

static int await_exit(pid_t pid, int pidfd)
{
    struct pollfd fds = {.fd = pidfd, .events = POLLIN};
    uint64_t deadline = jb_mono_ns(NULL) + PROGRAM_TIME;
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
static int to_program(char *const *argv, const char *line, size_t len)
{
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *env[] = {path, NULL};
    jb_autoclose int in = -1;
    int r = jb_sealed_memfd("record", line, len, false, &in);
    if (r < 0)
        return r;
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
    r = -posix_spawn(&pid, argv[0], &actions, &attr, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    if (r < 0)
        return r;
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -errno;
    }
    return await_exit(pid, pidfd);
}

int jb_sinks_emit(const struct jb_site *site, const json_t *record, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int result = 0;
    if (site->n_sinks == 0)
        return 0;
    int r = jb_record_line(record, &line, &len, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < site->n_sinks; i++) {
        const struct jb_site_sink *sink = &site->sinks[i];
        const char *name = sink->kind == JB_SINK_FILE ? sink->path
                           : sink->argv.len           ? sink->argv.items[0]
                                                      : "?";
        r = 0;
        if (sink->kind == JB_SINK_FILE)
            r = to_file(sink->path, line, len);
        else if (sink->kind == JB_SINK_PROGRAM)
            r = to_program(sink->argv.items, line, len);
        if (r == -EPROTO && result == 0)
            result =
                jb_fail(err, EPROTO, "sink %s: it ended with a failure; the journal has the record", name);
        else if (r < 0 && result == 0)
            result = jb_fail_errno(err, r, "sink %s (the journal has the record)", name);
    }
    return result;
}
