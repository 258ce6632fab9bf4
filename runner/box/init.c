/*
 * init.c - jobbox-init: PID 1 of a box.
 *
 * Owns: the job's processes, as their reaper of last resort; the control socket. Runs in: the box, as its
 * first process, with the job's identity, no capability beyond the job's, and the job's seccomp filter.
 *
 * Theory of operation. The supervisor executes this program as the last step of building a box. It says
 * READY, waits for GO, starts the job in a session of its own and says STARTED. From then on it reaps
 * whatever dies, and passes on signals that the supervisor asks for. When the job's main process has ended it
 * kills everything else in the PID namespace, reaps it all, says ENDED with the resource usage of the lot,
 * and leaves: at once, or when told QUIT if somebody wants to look into the box. If the supervisor is gone it
 * leaves too, and the kernel kills the namespace.
 *
 * A separate static program without libjobbox: what a job can reach through /proc/1 is this and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "box/proto.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

struct init {
    int signals; /* signalfd */
    int master;  /* the job's terminal, -1: none */
    pid_t job;
    int status; /* wait status of the job's main process */
    bool ended;
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void tell(struct jb_msg *msg, int fd)
{
    struct iovec iov = {.iov_base = msg, .iov_len = JB_MSG_HEAD};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    while (sendmsg(JB_CONTROL_FD, &header, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

/* Returns the packet's type, 0 when the supervisor is gone. */
static uint32_t listen_one(struct jb_msg *msg)
{
    ssize_t n;
    do
        n = recv(JB_CONTROL_FD, msg, sizeof(*msg), 0);
    while (n < 0 && errno == EINTR);
    return n < (ssize_t)JB_MSG_HEAD ? 0 : msg->type;
}

static int open_terminal(void)
{
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlock = 0;
    if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlock) < 0) {
        close(master);
        return -1;
    }
    return master;
}

static bool asked(const char *options, enum jb_init_option option)
{
    return strlen(options) > (size_t)option && options[option] == JB_INIT_LETTERS[option];
}

/* Runs in the vforked child: what it leaves in *ret_errnum the parent sees. */
static _Noreturn void become_job(const struct init *in, char **argv, volatile int32_t *ret_errnum)
{
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < 65; sig++)
        (void)signal(sig, SIG_DFL);
    (void)setsid();
    if (in->master >= 0) {
        int slave = ioctl(in->master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
        if (slave >= 0 && ioctl(slave, TIOCSCTTY, 0) == 0)
            for (int fd = 0; fd < 3; fd++)
                (void)dup2(slave, fd);
        if (slave > 2)
            close(slave);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], argv);
    *ret_errnum = errno;
    _exit(errno == ENOENT ? 127 : 126);
}

/* 0 when the job runs; else the errno that execve gave. */
static int32_t start(struct init *in, char **argv)
{
    volatile int32_t errnum = 0;
    /* the child only makes calls and execs, or fails, before we go on: nothing is copied */
    pid_t pid = vfork();
    if (pid == 0)
        become_job(in, argv, &errnum);
    in->job = pid;
    return pid < 0 ? errno : errnum;
}

static void reap(struct init *in)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == in->job) {
            in->status = status;
            in->ended = true;
        }
    }
}

static void obey(const struct init *in, const struct jb_msg *msg)
{
    struct winsize size = {.ws_row = (unsigned short)msg->value, .ws_col = (unsigned short)msg->value2};
    switch (msg->type) {
    case JB_MSG_SIGNAL:
        (void)kill(msg->value2 ? in->job : -1, msg->value);
        break;
    case JB_MSG_WINCH:
        if (in->master >= 0)
            (void)ioctl(in->master, TIOCSWINSZ, &size);
        break;
    default:
        break;
    }
}

/* Until the job's main process has ended. */
static void watch(struct init *in)
{
    struct pollfd fds[2] = {{.fd = JB_CONTROL_FD, .events = POLLIN}, {.fd = in->signals, .events = POLLIN}};
    struct signalfd_siginfo info;
    struct jb_msg msg;
    while (!in->ended) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            (void)!read(in->signals, &info, sizeof(info));
        reap(in);
        if (fds[0].revents && !in->ended) {
            if (listen_one(&msg) == 0)
                _exit(1);
            obey(in, &msg);
        }
    }
}

/* What the job left behind must be dead and counted before the end is told. */
static void kill_rest(void)
{
    pid_t pid;
    (void)kill(-1, SIGKILL);
    do
        pid = waitpid(-1, NULL, 0);
    while (pid > 0 || (pid < 0 && errno == EINTR));
}

static void tell_end(const struct init *in, uint64_t ended_ns)
{
    struct rusage used;
    (void)getrusage(RUSAGE_CHILDREN, &used);
    struct jb_msg msg = {
        .type = JB_MSG_ENDED,
        .value = in->status,
        .mono_ns = ended_ns,
        .user_us = (uint64_t)used.ru_utime.tv_sec * 1000000U + (uint64_t)used.ru_utime.tv_usec,
        .system_us = (uint64_t)used.ru_stime.tv_sec * 1000000U + (uint64_t)used.ru_stime.tv_usec,
        .minor_faults = (uint64_t)used.ru_minflt,
        .major_faults = (uint64_t)used.ru_majflt,
        .voluntary_switches = (uint64_t)used.ru_nvcsw,
        .involuntary_switches = (uint64_t)used.ru_nivcsw,
        .read_blocks = (uint64_t)used.ru_inblock,
        .written_blocks = (uint64_t)used.ru_oublock,
    };
    tell(&msg, -1);
}

int main(int argc, char **argv)
{
    struct init in = {.master = -1};
    struct jb_msg msg = {.type = JB_MSG_READY};
    sigset_t all;
    if (argc < 3)
        return 125;
    JB_CRASH_POINT(init_begun);
    /* the job must not trace the process that reaps it */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NAME, "jobbox-init", 0, 0, 0);
    (void)fcntl(JB_CONTROL_FD, F_SETFD, FD_CLOEXEC);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)signal(SIGCHLD,
                 SIG_DFL); /* ignored by whoever started jobbox, it would keep the job's end from us */
    in.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (in.signals < 0)
        return 1;
    if (asked(argv[1], JB_INIT_TTY) && (in.master = open_terminal()) < 0) {
        msg.type = JB_MSG_EXEC_FAILED;
        msg.errnum = errno;
        tell(&msg, -1);
        return 1;
    }
    tell(&msg, in.master);
    JB_CRASH_POINT(ready_told);
    if (listen_one(&msg) != JB_MSG_GO)
        return 1;
    JB_CRASH_POINT(go_heard);
    int32_t errnum = start(&in, argv + 2);
    JB_CRASH_POINT(job_started);
    msg = (struct jb_msg){
        .type = errnum ? JB_MSG_EXEC_FAILED : JB_MSG_STARTED, .errnum = errnum, .mono_ns = now_ns()};
    tell(&msg, -1);
    JB_CRASH_POINT(started_told);
    for (int fd = 0; fd < 3;
         fd++) /* the supervisor sees end of file when the last of the job's own copies goes */
        close(fd);
    if (in.job > 0)
        watch(&in);
    else /* not even a fork */
        in.status = 126 << 8;
    uint64_t ended_ns = now_ns();
    JB_CRASH_POINT(job_ended);
    kill_rest();
    JB_CRASH_POINT(rest_killed);
    tell_end(&in, ended_ns);
    JB_CRASH_POINT(end_told);
    while (asked(argv[1], JB_INIT_WAITS) && listen_one(&msg) != 0 && msg.type != JB_MSG_QUIT) {
    }
    JB_CRASH_POINT(quit_heard);
    return 0;
}
