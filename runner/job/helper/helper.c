/*
 * helper.c - a helper's pipes, its start and its end.
 *
 * Owns: see helper.h. Runs in: the supervisor. Privilege: the supervisor's.
 */
#include "job/helper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"

#define START_TIME (20 * JB_NS_PER_S)
#define END_TIME   (2 * JB_NS_PER_S)

int jb_helper_open(struct jb_helper *helper, struct jb_helper_ends *ret)
{
    int pair[2];
    struct jb_helper_ends ends = JB_HELPER_ENDS_INIT;
    if (pipe2(pair, O_CLOEXEC) < 0)
        return -errno;
    ends.ready_in = pair[0];
    ends.ready_out = pair[1];
    int r = pipe2(pair, O_CLOEXEC) < 0 ? -errno : 0;
    if (r == 0) {
        ends.life_in = pair[0];
        helper->life_fd = pair[1];
        ends.said = memfd_create("said", MFD_CLOEXEC);
        r = ends.said < 0 ? -errno : 0;
    }
    if (r < 0) {
        jb_close(&helper->life_fd);
        jb_helper_close(&ends);
        return r;
    }
    *ret = ends;
    return 0;
}

void jb_helper_close(struct jb_helper_ends *ends)
{
    int *const all[] = {&ends->ready_in, &ends->ready_out, &ends->life_in, &ends->said};
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        jb_close(all[i]);
}

int jb_helper_await(struct jb_helper_ends *ends, pid_t pid)
{
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fds[] = {{.fd = ends->ready_in, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    uint64_t deadline = jb_mono_ns(NULL) + START_TIME;
    jb_close(&ends->ready_out); /* or its end would not be seen */
    for (;;) {
        char byte;
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline)
            return -ETIMEDOUT;
        if (poll(fds, pidfd < 0 ? 1 : 2, (int)((deadline - now) / JB_NS_PER_MS) + 1) <= 0)
            continue;
        if (fds[0].revents)
            return read(ends->ready_in, &byte, 1) == 1 ? 0 : -EIO;
        return -EIO;
    }
}

void jb_helper_said(const struct jb_helper_ends *ends, char *buf, size_t len)
{
    ssize_t n = pread(ends->said, buf, len - 1, 0);
    buf[n < 0 ? 0 : n] = '\0';
    for (char *c = buf; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    for (char *end = buf + (n < 0 ? 0 : n); end > buf && end[-1] == ' ';)
        *--end = '\0';
}

bool jb_helper_is_gone(const struct jb_helper *helper, uint64_t within_ns)
{
    jb_autoclose int pidfd = helper->pid > 0 ? (int)syscall(SYS_pidfd_open, helper->pid, 0) : -1;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return pidfd >= 0 && poll(&p, 1, (int)(within_ns / JB_NS_PER_MS)) > 0;
}

bool jb_helper_end(struct jb_helper *helper)
{
    if (helper->pid <= 0)
        return false;
    jb_close(&helper->life_fd);
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, helper->pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&p, 1, (int)(END_TIME / JB_NS_PER_MS)) <= 0)
        (void)kill(helper->pid, SIGKILL); /* our own unreaped child: the number cannot be another's */
    while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *helper = JB_HELPER_INIT;
    return true;
}
