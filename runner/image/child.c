/*
 * child.c - starting, watching and ending what the image verbs run beside themselves.
 *
 * Owns: see child.h. Runs in: see child.h. Privilege: see child.h.
 */
#include "image/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"

#define TICK_MS     100
#define WORDS_MAX   (16U << 10)
#define MEMORY_MOST (UINT64_C(2) << 30) /* of a worker that reads what strangers made */

/* One child, and what it writes. */
struct watch {
    pid_t pid;
    int pidfd;
    int out_fd, words_fd; /* -1: not wanted, or at their end */
    struct jb_buf *out;
    size_t out_max;
    struct jb_buf words;
    uint64_t deadline_ns; /* JB_UNSET: none */
    const char *what;
    uint64_t (*done)(void *ctx);
    void *done_ctx;
    uint64_t total, done_max;
    void (*stop)(void *ctx); /* see struct jb_worker */
    void *stop_ctx;
    bool stopped;
};

void jb_image_say(const struct jb_image_ui *ui, const char *fmt, ...)
{
    va_list ap;
    char *line = NULL;
    if (!ui || !ui->say)
        return;
    va_start(ap, fmt);
    if (vasprintf(&line, fmt, ap) >= 0) {
        ui->say(ui->ctx, line);
        free(line);
    }
    va_end(ap);
}

static int take(int *fd, struct jb_buf *into, size_t max)
{
    char buf[8192];
    ssize_t n = read(*fd, buf, sizeof(buf));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        jb_close(fd);
        return 0;
    }
    size_t room = into && into->len < max ? max - into->len : 0;
    if ((size_t)n > room)
        return -EFBIG;
    return jb_buf_add(into, buf, (size_t)n);
}

static bool exited(const struct watch *w)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == w->pid;
}

static int stop(struct watch *w, struct jb_error *err)
{
    if (!w->stop)
        return jb_fail(err, ECANCELED, "stopped");
    w->stop(w->stop_ctx);
    w->stopped = true;
    return 0;
}

/* Until it has ended and all it wrote is here. The child is killed when this fails, and reaped either way. */
static int look_after(struct watch *w, const struct jb_image_ui *ui, int *ret_status, struct jb_error *err)
{
    int r = 0;
    for (bool ended = false; r == 0 && (!ended || w->out_fd >= 0 || w->words_fd >= 0);) {
        struct pollfd fds[] = {{.fd = w->out_fd, .events = POLLIN},
                               {.fd = w->words_fd, .events = POLLIN},
                               {.fd = ended ? -1 : w->pidfd, .events = POLLIN},
                               {.fd = ui && !w->stopped ? ui->signal_fd : -1, .events = POLLIN}};
        int n = poll(fds, JB_ARRAY_LEN(fds), TICK_MS);
        if (n < 0 && errno != EINTR)
            r = jb_fail_errno(err, errno, "waiting");
        if (r == 0 && fds[3].revents)
            r = stop(w, err);
        if (r == 0 && fds[0].revents && take(&w->out_fd, w->out, w->out_max) < 0)
            r = jb_fail(err, EFBIG, "it answers with more than %zu bytes", w->out_max);
        if (r == 0 && fds[1].revents && take(&w->words_fd, &w->words, WORDS_MAX) < 0)
            w->words.len = 0; /* only the last ones are wanted */
        ended = ended || exited(w);
        if (ended && n == 0) /* whoever it left behind does not hold us up */
            jb_close(&w->out_fd), jb_close(&w->words_fd);
        if (r == 0 && !ended && w->deadline_ns != JB_UNSET && jb_mono_ns(NULL) > w->deadline_ns)
            r = -ETIMEDOUT;
        if (r == 0 && w->done_max && w->done(w->done_ctx) > w->done_max)
            r = -E2BIG;
        if (r == 0 && ui && ui->progress && w->what && !ended)
            ui->progress(ui->ctx, w->what, w->done ? w->done(w->done_ctx) : 0, w->total);
    }
    if (r < 0)
        (void)kill(w->pid, SIGKILL);
    while (waitpid(w->pid, ret_status, 0) < 0 && errno == EINTR) {
    }
    if (ui && ui->progress && w->what)
        ui->progress(ui->ctx, NULL, 0, 0);
    return r;
}

static void unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Gone with its parent. */
static void settle_child(pid_t parent)
{
    (void)signal(SIGPIPE, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(126);
}

static _Noreturn void execute(const struct jb_tool *p, int out, int words, pid_t parent)
{
    unblock_signals(); /* it starts as a program would */
    settle_child(parent);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (dup2(p->stdin_fd >= 0 ? p->stdin_fd : null, 0) < 0 || dup2(out >= 0 ? out : null, 1) < 0 ||
        dup2(words, 2) < 0 || (p->cwd_fd >= 0 && fchdir(p->cwd_fd) < 0))
        _exit(126);
    (void)execvp(p->argv[0], (char *const *)p->argv);
    _exit(127);
}

/* "time=... level=fatal msg=\"...\"" is how Go programs speak: the message is enough. */
static void last_words(struct jb_buf *buf)
{
    while (buf->len > 0 && strchr("\n\r ", buf->data[buf->len - 1]))
        buf->data[--buf->len] = '\0';
    char *line = buf->len ? strrchr(buf->data, '\n') : NULL;
    line = line ? line + 1 : buf->data;
    char *msg = line ? strstr(line, "msg=\"") : NULL;
    size_t len = msg ? strlen(msg + 5) : line ? strlen(line) : 0;
    if (msg && len > 0 && msg[4 + len] == '"')
        msg[4 + len] = '\0', len--;
    if (line)
        memmove(buf->data, msg ? msg + 5 : line, len + 1);
    buf->len = len;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)buf->data[i] < 0x20)
            buf->data[i] = '?';
}

static int judge(const struct jb_tool *p, struct watch *w, int status, struct jb_error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return jb_fail(err, ENOENT, "%s is not installed; jobbox needs it for this (package %s)", p->argv[0],
                       jb_streq(p->argv[0], "skopeo")       ? "skopeo"
                       : jb_streq(p->argv[0], "unsquashfs") ? "squashfs-tools"
                                                            : "erofs-utils");
    last_words(&w->words);
    return jb_fail(err, EIO, "%s: %.1500s", p->argv[0],
                   w->words.len ? w->words.data : "failed without saying why");
}

int jb_tool_run(const struct jb_tool *program, const struct jb_image_ui *ui, struct jb_error *err)
{
    struct watch w = {.out_fd = -1, .words_fd = -1, .out = program->out, .out_max = program->out_max};
    int out[2] = {-1, -1};
    int words[2];
    int status = 0;
    if (pipe2(words, O_CLOEXEC) < 0 || (program->out && pipe2(out, O_CLOEXEC) < 0))
        return jb_fail_errno(err, errno, "%s", program->argv[0]);
    w.what = program->what;
    w.done = program->done;
    w.done_ctx = program->done_ctx;
    w.total = program->total;
    w.done_max = program->done ? program->done_max : 0;
    w.deadline_ns = program->time_ns ? jb_mono_ns(NULL) + program->time_ns : JB_UNSET;
    pid_t parent = getpid();
    w.pid = fork();
    if (w.pid == 0)
        execute(program, out[1], words[1], parent);
    int saved = errno;
    jb_close(&out[1]);
    jb_close(&words[1]);
    w.out_fd = out[0];
    w.words_fd = words[0];
    w.pidfd = w.pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, w.pid, 0);
    int r = w.pid < 0 ? jb_fail_errno(err, saved, "%s", program->argv[0]) : look_after(&w, ui, &status, err);
    if (r == -ETIMEDOUT)
        r = jb_fail(err, ETIMEDOUT, "%s took too long and was ended (images.unpack_time of the site)",
                    program->argv[0]);
    if (r == -E2BIG)
        r = jb_fail(err, E2BIG,
                    "%s wrote more than %" PRIu64
                    " bytes (images.max_size of the site); the image was refused",
                    program->argv[0], program->done_max);
    if (r == 0)
        r = judge(program, &w, status, err);
    jb_close(&w.pidfd);
    jb_close(&w.out_fd);
    jb_close(&w.words_fd);
    jb_buf_free(&w.words);
    return r;
}

/* --- workers --- */

void *jb_shared_new(size_t len)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void jb_shared_free(void *memory, size_t len)
{
    if (memory)
        (void)munmap(memory, len);
}

/* How it ended, told by itself. */
struct answer {
    int result;
    struct jb_error err;
};

/* What it needs is open; what it reads may try anything. */
static void confine(uint64_t time_ns)
{
    uint64_t seconds = time_ns / JB_NS_PER_S + 1;
    const struct rlimit cpu = {seconds, seconds + 1};
    const struct rlimit none = {0, 0};
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CPU, &cpu);
    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ /* its shadow counts, and is larger */
    const struct rlimit memory = {MEMORY_MOST, MEMORY_MOST};
    (void)setrlimit(RLIMIT_DATA, &memory);
#endif
}

static _Noreturn void work(const struct jb_worker *worker, struct answer *answer, pid_t parent)
{
    if (!worker->stop) /* or what means "stop" stays held back, and it is told */
        unblock_signals();
    settle_child(parent);
    if (worker->confined)
        confine(worker->time_ns);
    answer->result = worker->run(worker->ctx, &answer->err);
    _exit(0);
}

static int hear(const struct answer *answer, int status, struct jb_error *err)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return jb_fail(err, EIO, "the process that reads the image died (signal %d); the image was refused",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (answer->result < 0 && err)
        *err = answer->err;
    return answer->result;
}

int jb_worker_run(const struct jb_worker *worker, const struct jb_image_ui *ui, struct jb_error *err)
{
    char limit[32];
    int status = 0;
    struct answer *answer = jb_shared_new(sizeof(*answer));
    if (!answer)
        return jb_fail_errno(err, ENOMEM, "starting a worker");
    (void)fflush(NULL);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        work(worker, answer, parent);
    int saved = errno;
    struct watch w = {.pid = pid,
                      .pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0),
                      .out_fd = -1,
                      .words_fd = -1,
                      .deadline_ns = worker->time_ns ? jb_mono_ns(NULL) + worker->time_ns : JB_UNSET,
                      .what = worker->what,
                      .done = worker->done,
                      .done_ctx = worker->done_ctx,
                      .total = worker->total,
                      .stop = worker->stop,
                      .stop_ctx = worker->ctx};
    int r = pid < 0 ? jb_fail_errno(err, saved, "starting a worker") : look_after(&w, ui, &status, err);
    jb_close(&w.pidfd);
    if (r == -ETIMEDOUT)
        r = jb_fail(err, ETIMEDOUT,
                    "a layer took longer than %s (images.unpack_time of the site); the image was refused",
                    jb_format_duration(worker->time_ns, limit, sizeof(limit)));
    else if (r == 0)
        r = hear(answer, status, err);
    if (r < 0 && w.stopped)
        r = jb_fail(err, ECANCELED, "stopped");
    jb_shared_free(answer, sizeof(*answer));
    return r;
}

struct unpacking {
    const struct jb_unpack *unpack;
    struct jb_unpack_state *state; /* shared */
};

static int do_unpack(void *ctx, struct jb_error *err)
{
    const struct unpacking *u = ctx;
    return jb_unpack_run(u->unpack, u->state, err);
}

static uint64_t unpacked(void *ctx)
{
    return atomic_load(&((struct jb_unpack_state *)ctx)->in);
}

int jb_unpack_child(const struct jb_unpack *unpack, const char *what, uint64_t total,
                    const struct jb_image_ui *ui, struct jb_unpack_state *ret, struct jb_error *err)
{
    struct unpacking u = {.unpack = unpack, .state = jb_shared_new(sizeof(*u.state))};
    const struct jb_worker worker = {.run = do_unpack,
                                     .ctx = &u,
                                     .time_ns = unpack->limits.time_ns,
                                     .confined = true,
                                     .what = what,
                                     .done = unpacked,
                                     .done_ctx = u.state,
                                     .total = total};
    if (!u.state)
        return jb_fail_errno(err, ENOMEM, "unpacking");
    int r = jb_worker_run(&worker, ui, err);
    if (r == 0)
        memcpy(ret, u.state, sizeof(*ret));
    jb_shared_free(u.state, sizeof(*u.state));
    return r;
}

int jb_image_wait(int (*try)(void *ctx, struct jb_error *err), void *ctx, const struct jb_image_ui *ui,
                  struct jb_error *err)
{
    for (;;) {
        int r = try(ctx, err);
        if (r != -EAGAIN)
            return r;
        struct pollfd stop = {.fd = ui ? ui->signal_fd : -1, .events = POLLIN};
        if (poll(&stop, 1, TICK_MS) > 0)
            return jb_fail(err, ECANCELED, "stopped");
    }
}
