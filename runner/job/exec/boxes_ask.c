/*
 * boxes_ask.c - commands in a box, and its end, from the client's side.
 *
 * Owns: the connection, for the call. Runs in: any client. Privilege: none; the box's supervisor decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box/message.h"
#include "job/control.h"
#include "job/exec/boxes.h"
#include "job/exec/execs.h"
#include "record/record.h"

#define RECORD_MAX (16U << 20)
#define ANSWER_MAX (64U << 10)

/* A packet of JSON with descriptors. */
static int send_json(int fd, const json_t *json, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(JB_MSG_FDS * sizeof(int))];
    } control;
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (!text)
        return -ENOMEM;
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n > 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    int r = sendmsg(fd, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
    free(text);
    return r;
}

static int gone(const struct jb_id *id, struct jb_error *err)
{
    return jb_fail(err, ECONNRESET, "box %s: it ended, or its supervisor died, before it answered", id->text);
}

/* Waits for one packet; *ret is the caller's. 0: it is there; 1: nothing to be read just now. */
static int receive_json(int fd, const struct jb_id *id, json_t **ret, struct jb_error *err)
{
    jb_autofree char *text = malloc(ANSWER_MAX);
    ssize_t n = text ? recv(fd, text, ANSWER_MAX, 0) : -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0)
        return gone(id, err);
    json_t *answer = json_loadb(text, (size_t)n, 0, NULL);
    const char *error = json_string_value(json_object_get(answer, "error"));
    bool is_entry = json_is_string(json_object_get(answer, "reason"));
    if (!json_is_object(answer) || (error && !is_entry)) {
        int r = jb_fail(err, EREMOTEIO, "box %s: %s", id->text, error ? error : "its answer makes no sense");
        json_decref(answer);
        return r;
    }
    *ret = answer;
    return 0;
}

static void say_size(int fd, int tty_fd)
{
    struct winsize size;
    if (tty_fd < 0 || ioctl(tty_fd, TIOCGWINSZ, &size) < 0)
        return;
    json_t *json = json_pack("{s:i, s:i}", "rows", size.ws_row, "cols", size.ws_col);
    (void)send_json(fd, json, NULL, 0);
    json_decref(json);
}

static void pass_signal(int fd, const struct jb_boxes_exec *exec)
{
    struct signalfd_siginfo info;
    if (read(exec->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH) {
        say_size(fd, exec->tty_fd);
        return;
    }
    json_t *json = json_pack("{s:i}", "signal", (int)info.ssi_signo);
    (void)send_json(fd, json, NULL, 0);
    json_decref(json);
}

/* The end of the command, and all that it wrote: what is relayed may still be in the pipes. */
static int await_entry(int fd, const struct jb_id *id, const struct jb_boxes_exec *exec,
                       struct jb_exec_io *io, json_t **ret_entry, struct jb_error *err)
{
    uint64_t any = JB_UNSET;
    json_t *entry = NULL;
    while (!entry || !jb_exec_io_drained(io, false)) {
        struct pollfd fds[JB_EXEC_P_MAX] = {[JB_EXEC_P_PIDFD] = {.fd = -1}, [JB_EXEC_P_LEFT] = {.fd = -1}};
        json_t *answer = NULL;
        fds[JB_EXEC_P_MEMBER] = (struct pollfd){.fd = entry ? -1 : fd, .events = POLLIN};
        fds[JB_EXEC_P_PEER] = (struct pollfd){.fd = entry ? -1 : exec->signal_fd, .events = POLLIN};
        jb_exec_io_poll(io, fds);
        if (poll(fds, JB_ARRAY_LEN(fds), -1) < 0)
            continue;
        (void)jb_exec_io_move(io, fds, &any);
        if (fds[JB_EXEC_P_PEER].revents)
            pass_signal(fd, exec);
        int r = fds[JB_EXEC_P_MEMBER].revents ? receive_json(fd, id, &answer, err) : 1;
        if (r < 0)
            return r;
        if (r == 0 && json_is_string(json_object_get(answer, "reason"))) {
            entry = answer;
            jb_pump_close(&io->in); /* nobody reads it any more */
            continue;
        }
        json_decref(answer);
    }
    *ret_entry = entry;
    return 0;
}

/* The streams as the supervisor gets them: the caller's, or pipes to them. */
static int open_streams(const struct jb_boxes_exec *exec, struct jb_exec_io *ret, int fds[3],
                        struct jb_error *err)
{
    const int streams[3] = {exec->in, exec->out, exec->err};
    int copies[3];
    *ret = JB_EXEC_IO_INIT;
    memcpy(fds, streams, sizeof(streams));
    if (!exec->relay)
        return 0;
    for (int i = 0; i < 3; i++)
        copies[i] = fcntl(streams[i], F_DUPFD_CLOEXEC, 3);
    int r = jb_exec_io_open(copies, NULL, false, false, ret, err);
    if (r == 0)
        memcpy(fds, (const int[]){ret->job.in, ret->job.out, ret->job.err}, 3 * sizeof(int));
    return r;
}

/* A pipe whose reader is gone is an errno here, until `old` is back. */
static void block_sigpipe(sigset_t *ret_old)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, ret_old);
}

/* What came of it meanwhile is taken away. */
static void unblock_sigpipe(const sigset_t *old)
{
    const struct timespec now = {0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (!sigismember(old, SIGPIPE))
        (void)sigtimedwait(&set, NULL, &now);
    (void)pthread_sigmask(SIG_SETMASK, old, NULL);
}

int jb_boxes_exec(int boxes_fd, const struct jb_id *id, const struct jb_boxes_exec *exec, json_t **ret_entry,
                  struct jb_error *err)
{
    jb_autoclose int request = -1;
    jb_autoclose int fd = -1;
    struct jb_exec_io io = JB_EXEC_IO_INIT;
    sigset_t old;
    int fds[JB_EXEC_FDS];
    int r = jb_exec_ask_write(exec->ask, &request, err);
    if (r == 0)
        r = jb_control_connect(boxes_fd, id, &fd, err);
    if (r == 0)
        r = open_streams(exec, &io, fds + 1, err);
    if (r < 0)
        return r;
    fds[0] = request;
    json_t *verb = json_pack("{s:s}", "verb", jb_verb_name(JB_VERB_EXEC));
    r = send_json(fd, verb, fds, JB_ARRAY_LEN(fds));
    json_decref(verb);
    jb_exec_io_handed_over(&io);
    block_sigpipe(&old);
    r = r < 0 ? jb_fail_errno(err, r, "box %s: asking its supervisor", id->text)
              : await_entry(fd, id, exec, &io, ret_entry, err);
    unblock_sigpipe(&old);
    jb_exec_io_close(&io);
    return r;
}

int jb_boxes_exit_code(const json_t *entry)
{
    json_t *record = json_pack("{s:O}", "end", entry);
    int code = record ? jb_record_exit_code(record) : 124;
    json_decref(record);
    return code;
}

static int read_record(int fd, json_t **ret, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    int r = jb_read_fd(fd, RECORD_MAX, &text, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "reading the record");
    *ret = json_loadb(text, len, 0, NULL);
    return *ret ? 0 : jb_fail(err, EBADMSG, "the record that came makes no sense");
}

/* Blocks for as long as the box takes to end: its grace, its artifacts. */
static int await_record(int fd, const struct jb_id *id, json_t **ret_record, struct jb_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct jb_msg msg;
    int fds[JB_MSG_FDS];
    size_t n = 0;
    while (poll(&p, 1, -1) < 0 && errno == EINTR) {
    }
    int r = jb_msg_receive(fd, &msg, fds, &n);
    if (r <= 0 || msg.type != JB_MSG_ENDED)
        r = gone(id, err);
    else if (n != 1)
        r = jb_fail(err, msg.errnum ? msg.errnum : EIO, "box %s: %s", id->text,
                    msg.text[0] ? msg.text : "its record did not come along; it is in the journal");
    else
        r = read_record(fds[0], ret_record, err);
    for (size_t i = 0; i < n; i++)
        (void)close(fds[i]);
    return r;
}

int jb_boxes_destroy(int boxes_fd, const struct jb_id *id, int exit_code, json_t **ret_record,
                     struct jb_error *err)
{
    jb_autoclose int fd = -1;
    json_t *answer = NULL;
    int r = jb_control_connect(boxes_fd, id, &fd, err);
    if (r < 0)
        return r;
    json_t *request = json_pack("{s:s, s:i}", "verb", jb_verb_name(JB_VERB_DESTROY), "exit_code", exit_code);
    r = send_json(fd, request, NULL, 0);
    json_decref(request);
    if (r < 0)
        return jb_fail_errno(err, r, "box %s: asking its supervisor", id->text);
    do {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        (void)poll(&p, 1, -1);
        r = receive_json(fd, id, &answer, err);
    } while (r == 1);
    json_decref(answer);
    return r < 0 ? r : await_record(fd, id, ret_record, err);
}
