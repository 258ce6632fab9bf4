/*
 * message.c - sending and receiving packets with descriptors.
 *
 * Owns: nothing. Runs in: the supervisor and the box's first process. Privilege: none.
 */
#include "box/message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(JB_MSG_FDS * sizeof(int))];
};

int jb_msg_send(int control, const struct jb_msg *msg, size_t text_len, const int *fds, size_t n_fds)
{
    struct iovec iov = {.iov_base = (void *)msg, .iov_len = JB_MSG_HEAD + text_len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    union control buf;
    ssize_t n;
    if (n_fds > JB_MSG_FDS || text_len > sizeof(msg->text))
        return -E2BIG;
    if (n_fds > 0) {
        memset(&buf, 0, sizeof(buf));
        header.msg_control = buf.bytes;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    do
        n = sendmsg(control, &header, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static size_t take_fds(struct msghdr *header, int fds[JB_MSG_FDS])
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), n * sizeof(int));
    }
    return n;
}

int jb_msg_receive(int control, struct jb_msg *ret, int fds[JB_MSG_FDS], size_t *ret_n_fds)
{
    struct jb_msg msg;
    struct iovec iov = {.iov_base = &msg, .iov_len = sizeof(msg)};
    union control buf;
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf.bytes, .msg_controllen = sizeof(buf.bytes)};
    ssize_t n;
    bool reset = false;
    *ret_n_fds = 0;
    memset(&msg, 0, sizeof(msg));
    /* a peer that ended with something of ours unread is told first, and once; its last words come after that */
    do
        n = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return 0;
    if (n < 0)
        return -errno;
    *ret_n_fds = take_fds(&header, fds);
    msg.text[sizeof(msg.text) - 1] = '\0';
    *ret = msg;
    return n < (ssize_t)JB_MSG_HEAD ? -EBADMSG : 1;
}
