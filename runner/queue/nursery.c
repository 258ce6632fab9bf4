/*
 * nursery.c - the process whose children are the supervisors.
 *
 * Owns: its children, until they end. Runs in: the nursery, one thread. Privilege: jobboxd's.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "job/control.h"
#include "job/job.h"
#include "queue/launch.h"
#include "queue/news.h"

#define REQUEST_MAX (8U << 20)
#define CONTROL_MS  5000
#define NOTIFY_S    60
#define KEPT_UID \
    4 /* at once for one user: a copy takes its time, and a connection is soon closed and made anew */
#define KEPT_S \
    3600 /* for one: a folder that does not answer must not be waited for until the host is rebooted */

/* questions to boxes at once: each is a process, for CONTROL_MS where the box does not answer */
#define CONTROL_UID  32  /* for one user; root may ask more */
#define CONTROL_ALL  224 /* for all of them */
#define CONTROL_ROOT 256 /* root can still ask when users have taken theirs */

enum child_kind { CHILD_SUPERVISOR, CHILD_SWEEP, CHILD_KEPT, CHILD_CONTROL, CHILD_NEWS, CHILD_OTHER };

struct child {
    pid_t pid;
    enum child_kind kind;
    uint64_t task;
    uid_t uid; /* CHILD_KEPT, CHILD_CONTROL: who asked; CHILD_NEWS: whose job it is of */
    struct jb_id id;
};

struct nursery {
    const struct jb_nursery_ctx *ctx;
    struct child *children;
    size_t n, cap;
    int signal_fd, lock_fd;
    sigset_t old;
    bool sweeping, sweep_again;
    struct jb_news news;
};

void jb_nursery_answer(const struct jb_nursery_ctx *ctx, json_t *answer)
{
    jb_autofree char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (text)
        (void)send(ctx->answer_fd, text, strlen(text), MSG_NOSIGNAL);
    json_decref(answer);
}

static int read_all(int fd, void *data, size_t len)
{
    char *at = data;
    while (len > 0) {
        ssize_t n = read(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static json_t *next_request(int fd)
{
    uint32_t len;
    if (read_all(fd, &len, sizeof(len)) < 0 || len > REQUEST_MAX)
        return NULL;
    jb_autofree char *text = malloc((size_t)len + 1);
    if (!text || read_all(fd, text, len) < 0)
        return NULL;
    return json_loadb(text, len, 0, NULL);
}

/* The lock is taken here and inherited: it is held at every moment from now until the supervisor is dead. */
static int lock_task(const struct nursery *n, uint64_t task)
{
    jb_autoclose int fd =
        openat(n->ctx->state->runtime_fd, JB_LOCKS_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)task, .l_len = 1};
    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return -errno;
    return jb_take_fd(&fd);
}

static int keep(struct nursery *n, const struct child *child)
{
    if (n->n == n->cap) {
        size_t cap = n->cap ? n->cap * 2 : 32;
        struct child *grown = realloc(n->children, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        n->children = grown;
        n->cap = cap;
    }
    n->children[n->n++] = *child;
    return 0;
}

/* What a child gets rid of before it does its own work. */
static void settle_child(const struct nursery *n)
{
    (void)close(n->ctx->ask_fd);
    (void)close(n->lock_fd);
    (void)close(n->signal_fd);
    (void)sigprocmask(SIG_SETMASK, &n->old, NULL);
}

static pid_t spawn(struct nursery *n, const struct child *wish,
                   void (*run)(const struct jb_nursery_ctx *ctx, const json_t *request),
                   const json_t *request)
{
    struct child child = *wish;
    child.pid = fork();
    if (child.pid > 0 && child.kind == CHILD_SUPERVISOR)
        JB_CRASH_POINT(supervisor_born);
    if (child.pid == 0) {
        settle_child(n);
        run(n->ctx, request);
        _exit(0);
    }
    if (child.pid > 0 && keep(n, &child) < 0) {
        (void)kill(child.pid, SIGKILL);
        (void)waitpid(child.pid, NULL, 0);
        return -ENOMEM;
    }
    return child.pid < 0 ? -errno : child.pid;
}

static void start(struct nursery *n, const json_t *request)
{
    struct child child = {.kind = CHILD_SUPERVISOR,
                          .task = (uint64_t)json_integer_value(json_object_get(request, "task"))};
    const char *id = json_string_value(json_object_get(request, "id"));
    (void)snprintf(child.id.text, sizeof(child.id.text), "%s", id ? id : "");
    jb_autoclose int lock = lock_task(n, child.task);
    JB_CRASH_POINT(task_locked);
    int r = lock < 0 ? lock : spawn(n, &child, jb_supervisor_run, request);
    if (r < 0)
        jb_nursery_answer(n->ctx,
                          json_pack("{s:I, s:s, s:s, s:i, s:s}", "task", (json_int_t)child.task, "id",
                                    child.id.text, "failure", "busy", "errnum", -r, "error",
                                    r == -EAGAIN ? "an earlier attempt is not dead yet" : strerror(-r)));
}

static void sweep_now(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    jb_autostate struct jb_state state = JB_STATE_INIT;
    struct jb_error err = {0};
    (void)request;
    if (jb_state_paths(ctx->site, ctx->self, &state, &err) == 0 &&
        jb_state_open(&state, ctx->self, &err) == 0)
        (void)jb_sweep(&state, ctx->site, &err);
    if (err.errnum)
        (void)fprintf(stderr, "jobboxd: %s\n", err.text);
}

static void sweep(struct nursery *n)
{
    const struct child child = {.kind = CHILD_SWEEP};
    if (n->sweeping) {
        n->sweep_again = true;
        return;
    }
    n->sweep_again = false;
    n->sweeping = spawn(n, &child, sweep_now, NULL) > 0;
    if (!n->sweeping)
        jb_nursery_answer(n->ctx, json_pack("{s:b}", "swept", true));
}

static void pass_signal(const struct nursery *n, const json_t *request)
{
    uint64_t task = (uint64_t)json_integer_value(json_object_get(request, "task"));
    int sig = (int)json_integer_value(json_object_get(request, "signal"));
    for (size_t i = 0; i < n->n; i++)
        if (n->children[i].kind == CHILD_SUPERVISOR && n->children[i].task == task)
            (void)kill(n->children[i].pid, sig); /* ours and not reaped: the number is still its own */
}

void jb_nursery_control(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    struct jb_id id = {0};
    struct jb_error err = {0};
    json_t *answer = NULL;
    json_t *token = json_object_get(request, "token");
    const char *text = json_string_value(json_object_get(request, "id"));
    (void)snprintf(id.text, sizeof(id.text), "%s", text ? text : "");
    int r = jb_control_ask(ctx->state->ledger.boxes_fd, &id, json_object_get(request, "request"), CONTROL_MS,
                           &answer, &err);
    if (r == 0)
        jb_nursery_answer(ctx, json_pack("{s:O, s:o}", "control", token, "answer", answer));
    else
        jb_nursery_answer(ctx,
                          json_pack("{s:O, s:i, s:s}", "control", token, "errnum", -r, "error", err.text));
}

/* The program is the submitter's: everything of ours goes first. */
void jb_nursery_notify(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    const json_t *argv_json = json_object_get(request, "argv");
    const char *input = json_string_value(json_object_get(request, "input"));
    const char *home = json_string_value(json_object_get(request, "home"));
    const json_t *uid = json_object_get(request, "uid"); /* absent: as ourselves */
    gid_t groups[64];
    size_t n = 0;
    size_t len = json_array_size(argv_json);
    jb_autofree char **argv = calloc(len + 1, sizeof(*argv));
    int fd = -1;
    (void)ctx;
    if (!argv || len == 0 || !input || jb_sealed_memfd("news", input, strlen(input), false, &fd) < 0)
        return;
    for (size_t i = 0; i < len; i++)
        argv[i] = (char *)json_string_value(json_array_get(argv_json, i));
    const json_t *list = json_object_get(request, "groups");
    for (; n < json_array_size(list) && n < JB_ARRAY_LEN(groups); n++)
        groups[n] = (gid_t)json_integer_value(json_array_get(list, n));
    (void)setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0)
        return;
    if (jb_close_between(3, ~0U) < 0)
        return;
    if (uid && geteuid() == 0) {
        uid_t id = (uid_t)json_integer_value(uid);
        gid_t gid = (gid_t)json_integer_value(json_object_get(request, "gid"));
        if (setgroups(n, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(id, id, id) < 0)
            return;
    }
    jb_autofree char *home_text = NULL;
    char *env[] = {(char *)"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", NULL, NULL};
    if (home && asprintf(&home_text, "HOME=%s", home) >= 0)
        env[1] = home_text;
    if (!home || chdir(home) < 0)
        (void)!chdir("/");
    (void)prctl(PR_SET_NO_NEW_PRIVS, uid ? 1 : 0, 0, 0, 0);
    (void)alarm(NOTIFY_S);
    (void)execvpe(argv[0], argv, env);
}

static void limited_kept(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(KEPT_S);
    jb_nursery_kept(ctx, request);
}

static size_t count(const struct nursery *n, enum child_kind kind, const uid_t *uid)
{
    size_t busy = 0;
    for (size_t i = 0; i < n->n; i++)
        busy += n->children[i].kind == kind && (!uid || n->children[i].uid == *uid);
    return busy;
}

/* To who waits for the answer of a child that could not be started. */
static void refuse(const struct nursery *n, const json_t *request, int r, const char *busy)
{
    jb_nursery_answer(n->ctx, json_pack("{s:O, s:i, s:s}", "control", json_object_get(request, "token"),
                                        "errnum", -r, "error", r == -EBUSY ? busy : strerror(-r)));
}

static void begin_kept(struct nursery *n, const json_t *request)
{
    const struct child child = {.kind = CHILD_KEPT,
                                .uid = (uid_t)json_integer_value(json_object_get(request, "uid"))};
    int r = count(n, CHILD_KEPT, &child.uid) < KEPT_UID ? spawn(n, &child, limited_kept, request) : -EBUSY;
    if (r < 0)
        refuse(n, request, r,
               "the queue copies or removes 4 kept boxes of yours just now; try again when it is done");
}

/* What the daemon asks itself has no uid: it is one question for each box, and must not be lost. */
static void begin_control(struct nursery *n, const json_t *request)
{
    const json_t *uid = json_object_get(request, "uid");
    const struct child other = {.kind = CHILD_OTHER};
    const struct child child = {.kind = CHILD_CONTROL, .uid = (uid_t)json_integer_value(uid)};
    if (!uid) {
        (void)spawn(n, &other, jb_nursery_control, request);
        return;
    }
    if (child.uid != 0 && count(n, CHILD_CONTROL, &child.uid) >= CONTROL_UID)
        refuse(n, request, -EBUSY,
               "32 questions of yours wait for boxes just now; try again when they are answered");
    else if (count(n, CHILD_CONTROL, NULL) >= (child.uid == 0 ? CONTROL_ROOT : CONTROL_ALL))
        refuse(n, request, -EBUSY,
               "the queue waits for the answers of too many boxes just now; try again in some seconds");
    else {
        int r = spawn(n, &child, jb_nursery_control, request);
        if (r < 0)
            refuse(n, request, r, NULL);
    }
}

static void tell(struct nursery *n, uid_t uid, json_t *request)
{
    const struct child child = {.kind = CHILD_NEWS, .uid = uid};
    while (request) {
        json_t *next = spawn(n, &child, jb_nursery_notify, request) < 0 ? jb_news_next(&n->news, uid) : NULL;
        json_decref(request);
        request = next;
    }
}

static void begin_news(struct nursery *n, json_t *request)
{
    uid_t uid = (uid_t)json_integer_value(json_object_get(request, "whose"));
    if (jb_news_come(&n->news, uid, request))
        tell(n, uid, json_incref(request));
}

/* The daemon is gone, and so are we at once: nobody is left to start them one after the other. */
static void tell_rest(struct nursery *n)
{
    const struct child other = {.kind = CHILD_OTHER};
    for (json_t *request; (request = jb_news_any(&n->news));) {
        (void)spawn(n, &other, jb_nursery_notify, request);
        json_decref(request);
    }
}

static void carry_out(struct nursery *n, json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    if (!what)
        return;
    if (strcmp(what, "start") == 0)
        start(n, request);
    else if (strcmp(what, "signal") == 0)
        pass_signal(n, request);
    else if (strcmp(what, "sweep") == 0)
        sweep(n);
    else if (strcmp(what, "control") == 0)
        begin_control(n, request);
    else if (strcmp(what, "kept") == 0)
        begin_kept(n, request);
    else if (strcmp(what, "notify") == 0)
        begin_news(n, request);
}

static void gone(struct nursery *n, size_t i, int status)
{
    struct child child = n->children[i];
    n->children[i] = n->children[--n->n];
    if (child.kind == CHILD_SUPERVISOR)
        JB_CRASH_POINT(supervisor_reaped);
    if (child.kind == CHILD_SWEEP) {
        n->sweeping = false;
        if (n->sweep_again)
            sweep(n);
        else
            jb_nursery_answer(n->ctx, json_pack("{s:b}", "swept", true));
    } else if (child.kind == CHILD_NEWS) {
        tell(n, child.uid, jb_news_next(&n->news, child.uid));
    } else if (child.kind == CHILD_SUPERVISOR && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        jb_nursery_answer(n->ctx, json_pack("{s:I, s:s, s:i}", "task", (json_int_t)child.task, "id",
                                            child.id.text, "died", status));
    }
}

static void reap(struct nursery *n)
{
    struct signalfd_siginfo got;
    int status;
    pid_t pid;
    while (read(n->signal_fd, &got, sizeof(got)) == (ssize_t)sizeof(got)) {
    }
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < n->n; i++)
            if (n->children[i].pid == pid) {
                gone(n, i, status);
                break;
            }
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/*
 * The daemon's own things go. Held here, and by all supervisors, its lock and its socket would outlive it: no other daemon
 * could begin before the last job has ended, and whoever connects would wait for one that is dead.
 */
static void close_others(const struct jb_nursery_ctx *ctx)
{
    const struct jb_state *state = ctx->state;
    int keep[] = {STDERR_FILENO,   ctx->ask_fd,       ctx->answer_fd,
                  state->state_fd, state->runtime_fd, state->ledger.boxes_fd};
    qsort(keep, JB_ARRAY_LEN(keep), sizeof(keep[0]), by_number);
    for (size_t i = 0; i < JB_ARRAY_LEN(keep); i++) {
        unsigned first = (unsigned)keep[i] + 1;
        unsigned last = i + 1 < JB_ARRAY_LEN(keep) ? (unsigned)keep[i + 1] - 1 : ~0U;
        if (keep[i] >= 0 && first <= last)
            (void)jb_close_between(first, last);
    }
}

_Noreturn void jb_nursery_run(const struct jb_nursery_ctx *ctx)
{
    struct nursery n = {.ctx = ctx, .lock_fd = -1, .signal_fd = -1};
    sigset_t set;
    (void)prctl(PR_SET_NAME, "jobbox-nursery", 0, 0, 0);
    close_others(ctx);
    (void)setsid(); /* Ctrl-C at the daemon's terminal is not for the jobs */
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};
    sigemptyset(&n.old);
    for (size_t i = 0; i < JB_ARRAY_LEN(ignored); i++)
        (void)signal(ignored[i], i < 4 ? SIG_DFL : SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < 4; i++) /* held here, to be taken by the supervisors */
        sigaddset(&set, ignored[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    n.signal_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    n.lock_fd =
        openat(ctx->state->runtime_fd, JB_NURSERY_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (n.signal_fd < 0 || n.lock_fd < 0 || jb_lock_wait(n.lock_fd) < 0)
        _exit(1);
    jb_queue_take_place(ctx->site, ctx->self);
    struct pollfd fds[] = {{.fd = ctx->ask_fd, .events = POLLIN}, {.fd = n.signal_fd, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR)
                _exit(1);
            continue;
        }
        if (fds[1].revents)
            reap(&n);
        if (!fds[0].revents)
            continue;
        json_t *request = next_request(ctx->ask_fd);
        if (!request) { /* the daemon is gone */
            tell_rest(&n);
            _exit(0);
        }
        carry_out(&n, request);
        json_decref(request);
    }
}
