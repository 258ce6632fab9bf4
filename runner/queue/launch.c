/*
 * launch.c - the daemon's side of the nursery.
 *
 * Owns: see launch.h. Runs in: jobboxd. Privilege: jobboxd's.
 */
#include "queue/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define BUFFER     (1 << 20)
#define OLD_WAIT_S 10

int jb_nursery_wait_old(int runtime_fd, struct jb_error *err)
{
    jb_autoclose int fd =
        openat(runtime_fd, JB_NURSERY_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return jb_fail_errno(err, errno, JB_NURSERY_NAME);
    const struct timespec pause = {.tv_nsec = 10000000};
    for (int i = 0; i < OLD_WAIT_S * 100; i++) {
        int held = jb_lock_held(fd);
        if (held <= 0)
            return held < 0 ? jb_fail_errno(err, held, JB_NURSERY_NAME) : 0;
        (void)nanosleep(&pause, NULL);
    }
    return jb_fail(
        err, ETIMEDOUT,
        "the process that started jobs for an earlier jobboxd does not end (see who has " JB_NURSERY_NAME
        " open); end it and try again");
}

int jb_nursery_begin(const struct jb_site *site, const struct jb_state *state,
                     const struct jb_submitter *self, struct jb_nursery *ret, struct jb_error *err)
{
    int ask[2];
    int answer[2];
    const int size = BUFFER;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ask) < 0)
        return jb_fail_errno(err, errno, "socketpair");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, answer) < 0) {
        int saved = errno;
        (void)close(ask[0]);
        (void)close(ask[1]);
        return jb_fail_errno(err, saved, "socketpair");
    }
    (void)setsockopt(ask[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(answer[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ask[0]);
        (void)close(answer[0]);
        const struct jb_nursery_ctx ctx = {
            .site = site, .state = state, .self = self, .ask_fd = ask[1], .answer_fd = answer[1]};
        jb_nursery_run(&ctx);
    }
    int saved = errno;
    (void)close(ask[1]);
    (void)close(answer[1]);
    if (pid < 0) {
        (void)close(ask[0]);
        (void)close(answer[0]);
        return jb_fail_errno(err, saved, "fork");
    }
    int flags = fcntl(answer[0], F_GETFL);
    if (flags >= 0)
        (void)fcntl(answer[0], F_SETFL, flags | O_NONBLOCK);
    *ret = (struct jb_nursery){.pid = pid, .ask_fd = ask[0], .answer_fd = answer[0]};
    return 0;
}

void jb_nursery_end(struct jb_nursery *nursery)
{
    jb_close(&nursery->ask_fd);
    if (nursery->pid > 0)
        (void)waitpid(nursery->pid, NULL, 0);
    jb_close(&nursery->answer_fd);
    nursery->pid = -1;
}

int jb_nursery_ask(const struct jb_nursery *nursery, const json_t *request, struct jb_error *err)
{
    jb_autofree char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "starting a job");
    uint32_t len = (uint32_t)strlen(text);
    const struct iovec parts[] = {{&len, sizeof(len)}, {text, len}};
    size_t total = sizeof(len) + len;
    struct msghdr msg = {.msg_iov = (struct iovec *)parts, .msg_iovlen = 2};
    ssize_t n = sendmsg(nursery->ask_fd, &msg, MSG_NOSIGNAL);
    if (n < 0)
        return jb_fail_errno(err, errno, "the process that starts jobs");
    while ((size_t)n < total) { /* it reads as long as it lives */
        size_t at = (size_t)n < sizeof(len) ? 0 : (size_t)n - sizeof(len);
        const char *from = (size_t)n < sizeof(len) ? (const char *)&len + n : text + at;
        size_t left = (size_t)n < sizeof(len) ? sizeof(len) - (size_t)n : len - at;
        ssize_t more = send(nursery->ask_fd, from, left, MSG_NOSIGNAL);
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return jb_fail_errno(err, errno, "the process that starts jobs");
        n += more;
    }
    return 0;
}

int jb_nursery_hear(const struct jb_nursery *nursery, json_t **ret)
{
    char packet[32768];
    *ret = NULL;
    ssize_t n = recv(nursery->answer_fd, packet, sizeof(packet), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    *ret = json_loadb(packet, (size_t)n, 0, NULL);
    return 0;
}

int jb_supervisor_lives(int runtime_fd, uint64_t task)
{
    jb_autoclose int fd = openat(runtime_fd, JB_LOCKS_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)task, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}
