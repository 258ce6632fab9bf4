/*
 * init.c - jobbox-init: PID 1 of a box, and the reaper of each command that enters a box later.
 *
 * Owns: the job's processes, as their reaper of last resort; the control socket. Runs in: the box, as its
 * first process or as a member, with the job's identity, no capability beyond the job's, and the job's seccomp filter.
 *
 * Theory of operation. The supervisor executes this program as the last step of building a box. It says
 * READY, waits for GO, starts the job in a session of its own and says STARTED. From then on it reaps
 * whatever dies, and passes on signals that the supervisor asks for. When the job's main process has ended it
 * kills everything else in the PID namespace, reaps it all, says ENDED with the resource usage of the lot,
 * and leaves: at once, or when told QUIT if somebody wants to look into the box. If the supervisor is gone it
 * leaves too, and the kernel kills the namespace.
 *
 * A box that stands has no job of its own: its PID 1 reaps orphans until it is told END and nothing else is left.
 *
 * A member is the same program beside others in the same PID namespace. It is the reaper of whatever its command leaves
 * without a parent, kills these and no other process, and reports likewise. Should it be killed, by a command that runs as
 * the same user, PID 1 has the orphans, and the supervisor finds them by their cgroup.
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

#define KILL_TIME 2000 /* ms that a member gives its orphans to die; the supervisor has stronger means */
#define LOOK_TIME \
    1000 /* ms to the next look at what has not ended, when nothing tells that it is worth one */

struct init {
    const char *options;
    int signals; /* signalfd */
    int master;  /* the job's terminal, -1: none */
    pid_t job;   /* 0: none */
    int status;  /* wait status of the job's main process */
    bool ended;
};

static bool asked(const char *options, enum jb_init_option option)
{
    return strlen(options) > (size_t)option && options[option] == JB_INIT_LETTERS[option];
}

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

/*
 * A folder of PATH that may not be searched makes execvp say EACCES, also when there is no such command anywhere: that is
 * "not found", as shells have it. No allocation: this runs in the vforked child.
 */
static int why_not(const char *name, int errnum)
{
    char path[4096];
    const char *list = getenv("PATH");
    if (errnum != EACCES || strchr(name, '/') || !list)
        return errnum;
    for (const char *dir = list, *end;; dir = end + 1) {
        end = strchrnul(dir, ':');
        size_t len = (size_t)(end - dir);
        if (len + strlen(name) + 2 <= sizeof(path)) {
            memcpy(path, dir, len);
            path[len] = '/';
            memcpy(path + len + (len > 0), name, strlen(name) + 1);
            if (access(path, F_OK) == 0)
                return errnum;
        }
        if (*end == '\0')
            return ENOENT;
    }
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
    *ret_errnum = why_not(argv[0], errno);
    _exit(*ret_errnum == ENOENT ? 127 : 126);
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

/* A member must not touch what others run in the same box. */
static void send_signal(const struct init *in, int sig, bool main_only)
{
    bool member = asked(in->options, JB_INIT_MEMBER);
    bool all = in->job <= 0 || (!main_only && !member);
    pid_t to = all ? -1 : main_only ? in->job : -in->job;
    if (kill(to, sig) < 0 && to == -in->job) /* it has not made its group yet */
        (void)kill(in->job, sig);
}

static void obey(const struct init *in, const struct jb_msg *msg)
{
    struct winsize size = {.ws_row = (unsigned short)msg->value, .ws_col = (unsigned short)msg->value2};
    switch (msg->type) {
    case JB_MSG_SIGNAL:
        send_signal(in, msg->value, msg->value2 != 0);
        break;
    case JB_MSG_WINCH:
        if (in->master >= 0)
            (void)ioctl(in->master, TIOCSWINSZ, &size);
        break;
    default:
        break;
    }
}

static bool is_alone(void)
{
    return kill(-1, 0) < 0 && errno == ESRCH;
}

/*
 * Until the job's main process has ended; where there is none, until END was told and nobody else is left. Who is left is
 * a child of ours, whose end is a signal, or of a member, which is the supervisor's child: then it tells END once more.
 */
static void watch(struct init *in)
{
    struct pollfd fds[2] = {{.fd = JB_CONTROL_FD, .events = POLLIN}, {.fd = in->signals, .events = POLLIN}};
    struct signalfd_siginfo info;
    struct jb_msg msg;
    bool ending = false;
    while (!in->ended) {
        if (poll(fds, 2, ending ? LOOK_TIME : -1) < 0)
            continue;
        if (fds[1].revents)
            (void)!read(in->signals, &info, sizeof(info));
        reap(in);
        if (fds[0].revents && !in->ended) {
            if (listen_one(&msg) == 0)
                _exit(1);
            obey(in, &msg);
            ending = ending || msg.type == JB_MSG_END;
        }
        if (ending && in->job == 0 && is_alone())
            in->ended = true;
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

/* What the kernel says are the children of this process: its command's, and those that it inherited. */
static void kill_children(void)
{
    char text[4096];
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    for (char *p = text, *end; *p; p = end) {
        long pid = strtol(p, &end, 10);
        if (end == p)
            break;
        if (*end == ' ') /* else it was cut: the next look has it */
            (void)kill((pid_t)pid, SIGKILL);
        end += *end == ' ';
    }
}

/* A member's: whatever dies leaves its own children to us, until there are none. False: some are left. */
static bool kill_orphans(const struct init *in)
{
    uint64_t give_up = now_ns() + KILL_TIME * UINT64_C(1000000);
    struct pollfd fd = {.fd = in->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    for (;;) {
        pid_t pid;
        kill_children();
        do
            pid = waitpid(-1, NULL, WNOHANG);
        while (pid > 0);
        if (pid < 0 && errno == ECHILD)
            return true;
        if (now_ns() > give_up)
            return false;
        if (poll(&fd, 1, LOOK_TIME) > 0)
            (void)!read(in->signals, &info, sizeof(info));
    }
}

/* True when nothing of the job is left. */
static bool end_rest(const struct init *in)
{
    if (!asked(in->options, JB_INIT_MEMBER)) {
        kill_rest();
        return true;
    }
    return asked(in->options, JB_INIT_KEEPS) || kill_orphans(in);
}

static void tell_end(const struct init *in, uint64_t ended_ns, bool clean)
{
    struct rusage used;
    (void)getrusage(RUSAGE_CHILDREN, &used);
    struct jb_msg msg = {
        .type = JB_MSG_ENDED,
        .value = in->status,
        .value2 = !clean,
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
    struct init in = {.master = -1, .options = argc > 1 ? argv[1] : ""};
    struct jb_msg msg = {.type = JB_MSG_READY};
    sigset_t all;
    bool member = asked(in.options, JB_INIT_MEMBER);
    bool stands = asked(in.options, JB_INIT_STANDS);
    if (argc < (stands ? 2 : 3) || (member && stands))
        return 125;
    JB_CRASH_POINT(init_begun);
    /* the job must not trace the process that reaps it */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NAME, member ? "jobbox-exec" : "jobbox-init", 0, 0, 0);
    if (member && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return 1;
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
    /* before: the job may have done much, or been frozen with us, by the time we go on */
    uint64_t started_ns = now_ns();
    int32_t errnum = stands ? 0 : start(&in, argv + 2);
    JB_CRASH_POINT(job_started);
    msg = (struct jb_msg){
        .type = errnum ? JB_MSG_EXEC_FAILED : JB_MSG_STARTED, .errnum = errnum, .mono_ns = started_ns};
    tell(&msg, -1);
    JB_CRASH_POINT(started_told);
    for (int fd = 0; fd < 3;
         fd++) /* the supervisor sees end of file when the last of the job's own copies goes */
        close(fd);
    if (in.job > 0 || stands)
        watch(&in);
    else /* not even a fork */
        in.status = 126 << 8;
    uint64_t ended_ns = now_ns();
    JB_CRASH_POINT(job_ended);
    bool clean = end_rest(&in);
    JB_CRASH_POINT(rest_killed);
    tell_end(&in, ended_ns, clean);
    JB_CRASH_POINT(end_told);
    while (asked(argv[1], JB_INIT_WAITS) && listen_one(&msg) != 0 && msg.type != JB_MSG_QUIT) {
    }
    JB_CRASH_POINT(quit_heard);
    return 0;
}
