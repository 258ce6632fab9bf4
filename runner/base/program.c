/*
 * program.c - finding and running a program.
 *
 * Owns: the child while it runs. Runs in: the supervisor. Privilege: the caller's.
 */
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"

#define SAID_MAX 300 /* bytes of what a failing program said that go into the error */

static const char *const folders[] = {"/usr/sbin", "/sbin",           "/usr/bin",
                                      "/bin",      "/usr/local/sbin", "/usr/local/bin"};

int jb_program_find(const char *name, char buf[JB_PROGRAM_PATH])
{
    for (size_t i = 0; i < JB_ARRAY_LEN(folders); i++) {
        (void)snprintf(buf, JB_PROGRAM_PATH, "%s/%s", folders[i], name);
        if (access(buf, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

int jb_program_spawn(char *const *argv, char *const *env, int said, int kept, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, said, 1);
    (void)posix_spawn_file_actions_adddup2(&actions, said, 2);
    if (kept >= 0)
        (void)posix_spawn_file_actions_adddup2(&actions, kept, kept); /* which clears CLOEXEC */
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int r = -posix_spawn(ret, argv[0], &actions, &attr, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    return r;
}

static int spawn(char *const *argv, int said, pid_t *ret)
{
    char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin";
    char *env[] = {path, NULL};
    return jb_program_spawn(argv, env, said, -1, ret);
}

/* *ret_late: it was killed for taking too long. */
static int await(pid_t pid, uint64_t timeout_ns, int *ret_status, bool *ret_late)
{
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    uint64_t deadline = jb_mono_ns(NULL) + timeout_ns;
    int n = pidfd < 0 ? 1 : 0; /* without one it is waited for as long as it takes */
    while (n <= 0) {
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline)
            break;
        n = poll(&p, 1, (int)((deadline - now) / JB_NS_PER_MS) + 1);
    }
    *ret_late = n <= 0;
    if (*ret_late)
        (void)kill(pid, SIGKILL); /* our own unreaped child: the number cannot be another's */
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* The first line that is not empty. */
static void hear(int said, char buf[SAID_MAX])
{
    char text[SAID_MAX];
    ssize_t n = pread(said, text, sizeof(text) - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    const char *line = text + strspn(text, " \n\t\r");
    size_t len = strcspn(line, "\n\r");
    (void)snprintf(buf, SAID_MAX, "%.*s", (int)len, line);
}

int jb_program_run(char *const *argv, uint64_t timeout_ns, struct jb_error *err)
{
    char text[SAID_MAX];
    int status = 0;
    bool late = false;
    pid_t pid;
    jb_autoclose int said = memfd_create("said", MFD_CLOEXEC);
    if (said < 0)
        return jb_fail_errno(err, errno, "%s", argv[0]);
    int r = spawn(argv, said, &pid);
    if (r < 0)
        return jb_fail_errno(err, r, "starting %s", argv[0]);
    r = await(pid, timeout_ns, &status, &late);
    if (r < 0)
        return jb_fail_errno(err, r, "waiting for %s", argv[0]);
    hear(said, text);
    if (late)
        return jb_fail(err, ETIMEDOUT, "%s took longer than %llu s and was killed", argv[0],
                       (unsigned long long)(timeout_ns / JB_NS_PER_S));
    if (WIFSIGNALED(status))
        return jb_fail(err, EIO, "%s died of signal %d%s%s", argv[0], WTERMSIG(status), *text ? ": " : "",
                       text);
    if (WEXITSTATUS(status) != 0)
        return jb_fail(err, EIO, "%s failed with exit code %d%s%s", argv[0], WEXITSTATUS(status),
                       *text ? ": " : "", text);
    return 0;
}
