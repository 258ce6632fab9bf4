/*
 * main.c - jobboxd: the daemon that keeps the queue of a host, or of a user.
 *
 * Owns: the process: its socket, its lock, its signals. Runs in: jobboxd. Privilege: root for a host's queue, a user's
 * for his own.
 *
 * It may be stopped, killed or replaced at any time: what it has acknowledged is on the disk, and what runs goes on under
 * supervisors that are processes of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "daemon/again.h"
#include "queue/client.h"
#include "queue/server.h"

#define LOCK_NAME  "jobboxd.lock"
#define LOG_NAME   "jobboxd.log"
#define LISTEN_FD  JB_AGAIN_LISTEN_FD
#define FILES_MAX  65536U
#define METRICS_US 15000000U
#define LIVED      (5 * JB_NS_PER_S) /* who begins anew after a failure and fails once more within that waits */

static const char usage[] =
    "Usage: jobboxd [OPTION]...\n"
    "Keeps the queue of this host (as root), or of one user, and starts what may run.\n\n"
    "  -c, --config FILE    site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --daemon         go to the background once the socket is there\n"
    "      --own            for one user alone: nobody else may ask; ends itself when there is nothing to "
    "do\n"
    "      --exporter FILE  write metrics for Prometheus to FILE every 15 seconds\n"
    "  -h, --help           this text\n"
    "      --version        print the version\n\n"
    "TERM and INT end it, and what runs goes on; HUP makes it read its configuration anew.\n";

struct options {
    const char *config;
    char *exporter;
    bool daemon, own;
};

static int complain(const struct jb_error *err)
{
    (void)fprintf(stderr, "jobboxd: %s\n", err->text);
    return 1;
}

/* -1: go on. */
static int parse(int argc, char **argv, struct options *ret)
{
    enum { OPT_DAEMON = 256, OPT_OWN, OPT_EXPORTER, OPT_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"daemon", no_argument, NULL, OPT_DAEMON},
        {"own", no_argument, NULL, OPT_OWN},
        {"exporter", required_argument, NULL, OPT_EXPORTER},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config = optarg;
            break;
        case OPT_DAEMON:
            ret->daemon = true;
            break;
        case OPT_OWN:
            ret->own = true;
            break;
        case OPT_EXPORTER:
            ret->exporter = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        case OPT_VERSION:
            (void)puts("jobboxd " JOBBOX_VERSION);
            return 0;
        default:
            return 125;
        }
    }
    if (optind == argc)
        return -1;
    (void)fputs("jobboxd: it takes no arguments; see jobboxd --help\n", stderr);
    return 125;
}

/* The end of a chain: what systemd listens on for us, or what an earlier self of ours did. */
static int inherited_socket(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    struct stat st;
    if (!pid || !fds || atoi(pid) != (int)getpid() || atoi(fds) < 1 || /* NOLINT(cert-err34-c) */
        fstat(LISTEN_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
        return -1;
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    int fd = fcntl(LISTEN_FD, F_DUPFD_CLOEXEC, LISTEN_FD + 1);
    (void)close(LISTEN_FD);
    int flags = fcntl(fd, F_GETFL);
    if (fd >= 0 && flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return fd;
}

static int make_socket(const struct jb_state *state, bool own, int *ret, struct jb_error *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int length = snprintf(at.sun_path, sizeof(at.sun_path), "%s/" JB_SOCKET_NAME, state->runtime_dir);
    if ((size_t)length >= sizeof(at.sun_path))
        return jb_fail(err, ENAMETOOLONG,
                       "%s/" JB_SOCKET_NAME
                       ": longer than a socket's name may be (107 bytes); take a shorter runtime "
                       "directory",
                       state->runtime_dir);
    jb_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return jb_fail_errno(err, errno, "socket");
    (void)unlinkat(state->runtime_fd, JB_SOCKET_NAME, 0); /* the lock is ours: nobody listens there */
    mode_t mask = umask(own ? 0177 : 0111);
    int r = bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
    (void)umask(mask);
    if (r == 0 && listen(fd, 1024) < 0)
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "%s", at.sun_path);
    *ret = jb_take_fd(&fd);
    return 0;
}

/*
 * One daemon for each runtime directory: -EWOULDBLOCK when there is one. The lock is the process's own: what it forks does not
 * have it, and outlives it.
 */
static int take_lock(const struct jb_state *state, int *ret)
{
    jb_autoclose int fd =
        openat(state->runtime_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_SETLK, &lock) < 0)
        return errno == EACCES || errno == EAGAIN ? -EWOULDBLOCK : -errno;
    *ret = jb_take_fd(&fd);
    return 0;
}

static void notify_manager(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len == 0 || len >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, path, len);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    jb_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

/*
 * Into the background. The first process waits until the last one says that it is ready, and ends as that says, so that
 * whoever started it can connect. Returns the descriptor to say it with, in the last process only.
 */
static int go_background(struct jb_error *err)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "fork");
    if (pid > 0) {
        char said = 1;
        (void)close(ready[1]);
        ssize_t n = read(ready[0], &said, 1);
        _exit(n == 1 ? said : 1);
    }
    (void)close(ready[0]);
    (void)setsid();
    pid = fork();
    if (pid != 0)
        _exit(pid < 0 ? 1 : 0);
    (void)!chdir("/");
    return ready[1];
}

static void say_ready(int *fd, char code)
{
    if (*fd >= 0)
        (void)!write(*fd, &code, 1);
    jb_close(fd);
}

/* What a daemon says goes into a file of the state directory when there is no terminal or journal to take it.
 * Returns a copy of what stderr was, or negative. */
static int to_log(const struct jb_state *state)
{
    int was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = openat(state->state_fd, LOG_NAME, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(log >= 0 ? log : null, STDOUT_FILENO);
        (void)dup2(log >= 0 ? log : null, STDERR_FILENO);
        (void)close(null);
    }
    if (log >= 0)
        (void)close(log);
    return was;
}

static int take_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

enum verdict { GO_ON, STOP, AGAIN, BROKEN };

static int load_site(const struct options *o, struct jb_site **ret)
{
    struct jb_diags diags = {0};
    int r = jb_site_load(o->config, ret, &diags);
    if (r < 0) {
        jb_autofree char *text = jb_diags_format(&diags);
        (void)fputs(text ? text : "jobboxd: out of memory\n", stderr);
    }
    jb_diags_free(&diags);
    return r;
}

/* A site file with faults is no reason to end: they are told, and the one that was read before goes on to hold. */
static enum verdict read_anew(const struct options *o)
{
    jb_autosite struct jb_site *site = NULL;
    if (load_site(o, &site) == 0)
        return AGAIN;
    (void)fputs("jobboxd: the site config has faults and is not taken; the one before goes on to hold\n",
                stderr);
    return GO_ON;
}

static enum verdict heard(const struct options *o, int signal_fd)
{
    struct signalfd_siginfo got;
    if (read(signal_fd, &got, sizeof(got)) != (ssize_t)sizeof(got))
        return GO_ON;
    return got.ssi_signo == SIGHUP ? read_anew(o) : STOP;
}

static enum verdict serve(const struct options *o, struct jb_server *s, int signal_fd, struct jb_error *err)
{
    uint64_t idle_since = jb_mono_ns(NULL);
    uint64_t metrics_at = 0; /* by the monotonic clock, as idle_since */
    for (;;) {
        enum verdict verdict = heard(o, signal_fd);
        if (verdict != GO_ON)
            return verdict;
        if (jb_server_turn(s, jb_server_patience(s), err) < 0) { /* begins anew from the disk */
            if (!err->errnum)
                (void)jb_fail(err, EIO, "the queue's store cannot be changed");
            return BROKEN;
        }
        if (s->q->site->queue.metrics && s->mono_us >= metrics_at) {
            struct jb_error ignored = {0};
            if (jb_metrics_write(s, &ignored) < 0)
                (void)complain(&ignored);
            metrics_at = s->mono_us + METRICS_US;
        }
        if (!jb_queue_idle(s->q) || s->n > 0)
            idle_since = jb_mono_ns(NULL);
        if (s->own && jb_mono_ns(NULL) - idle_since > s->q->site->queue.idle)
            return STOP;
    }
}

/* BROKEN: it ran, and `err` says why it cannot go on. */
static int run(const struct options *o, struct jb_site *site, struct jb_submitter *self,
               struct jb_state *state, int signal_fd, int *ready, int *ret_listen, enum verdict *ret_verdict,
               struct jb_error *err)
{
    struct jb_queue q = {.nursery = JB_NURSERY_INIT};
    struct jb_server server = {.epoll_fd = -1};
    int r = 0;
    if (*ret_listen < 0)
        r = make_socket(state, o->own, ret_listen, err);
    jb_autoclose int asked = -1; /* stderr of whoever started it, who is told if it does not begin */
    if (r == 0 && o->daemon) {   /* out of the session that it was started in */
        jb_queue_take_place(site, self);
        asked = to_log(state);
    }
    if (r == 0) /* forks what lives as long as it does, and would hold that stderr open */
        r = jb_queue_begin(&q, site, state, self, err);
    if (r < 0) {
        if (asked >= 0)
            (void)dup2(asked, STDERR_FILENO);
        jb_queue_end(&q);
        return r;
    }
    (void)jb_files_raise(
        FILES_MAX); /* thousands of connections; after the nursery was forked, so jobs keep what they had */
    r = jb_server_begin(&server, &q, *ret_listen, signal_fd, o->own, err);
    if (r == 0) {
        say_ready(ready, 0);
        notify_manager("READY=1");
        jb_close(&asked);
        *ret_verdict = serve(o, &server, signal_fd, err);
        if (*ret_verdict == BROKEN)
            jb_server_give_up(&server, err);
        else if (jb_queue_save_usage(&q, err) < 0 || jb_queue_commit(&q, err) < 0)
            (void)complain(err);
    } else if (asked >= 0) {
        (void)dup2(asked, STDERR_FILENO);
    }
    jb_server_end(&server);
    jb_queue_end(&q);
    return r;
}

/* Jobs run, and clients wait: it is tried until it can be, but not without a pause each time. */
static enum verdict after_failure(bool lived, int listen_fd, int signal_fd, struct jb_error *err)
{
    (void)complain(err);
    bool stop = !lived && jb_again_wait(listen_fd, signal_fd, err);
    jb_error_clear(err);
    return stop ? STOP : BROKEN;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct jb_error err = {0};
    struct jb_submitter self = {0};
    struct jb_again anew = {0};
    jb_autosite struct jb_site *site = NULL;
    jb_autostate struct jb_state state = JB_STATE_INIT;
    jb_autoclose int lock = -1;
    int ready = -1;
    enum verdict verdict = STOP;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != fd)
            return 1;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    const enum jb_again_why again = jb_again_is();
    int listen_fd = inherited_socket();
    if (load_site(&o, &site) < 0)
        return 125;
    if (jb_again_note(&anew, o.config, o.exporter, o.own, o.daemon, &err) < 0)
        return complain(&err);
    o.config = anew.config;
    if (jb_submitter_self(&self, &err) < 0 || jb_state_paths(site, &self, &state, &err) < 0)
        return complain(&err);
    if (self.uid != 0)
        o.own = true;
    if (o.exporter) {
        free(site->queue.metrics);
        site->queue.metrics = strdup(anew.exporter);
    }
    if (o.daemon && !again)
        ready = go_background(&err);
    if ((o.daemon && !again && ready < 0) || jb_state_open(&state, &self, &err) < 0)
        return complain(&err);
    int r = take_lock(&state, &lock);
    if (r == -EWOULDBLOCK) { /* somebody else was faster: that one will do */
        if (!o.daemon)
            (void)fprintf(stderr, "jobboxd: one runs already for %s\n", state.runtime_dir);
        say_ready(&ready, 0);
        return o.daemon ? 0 : 1;
    }
    if (r < 0) {
        (void)jb_fail_errno(&err, r, "%s/" LOCK_NAME, state.runtime_dir);
        return complain(&err);
    }
    jb_autoclose int signal_fd = take_signals();
    const uint64_t begun = jb_mono_ns(NULL);
    r = signal_fd < 0 ? jb_fail_errno(&err, signal_fd, "signals")
                      : run(&o, site, &self, &state, signal_fd, &ready, &listen_fd, &verdict, &err);
    if ((r < 0 && again && listen_fd >= 0 && signal_fd >= 0) || verdict == BROKEN) {
        bool lived = r == 0 && (again != JB_AGAIN_FAILED || jb_mono_ns(NULL) - begun > LIVED);
        verdict = after_failure(lived, listen_fd, signal_fd, &err);
        r = 0;
    }
    if (r == 0 && verdict != STOP) {
        jb_close(&lock);
        r = jb_again_begin(&anew, verdict == BROKEN ? JB_AGAIN_FAILED : JB_AGAIN_ASKED, listen_fd, &err);
    }
    notify_manager("STOPPING=1");
    if (o.own && verdict == STOP)
        (void)unlinkat(state.runtime_fd, JB_SOCKET_NAME, 0);
    jb_submitter_free(&self);
    jb_again_free(&anew);
    return r < 0 ? complain(&err) : 0;
}
