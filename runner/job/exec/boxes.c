/*
 * boxes.c - creating a box that stays, from a process that does not.
 *
 * Owns: the processes between caller and supervisor, until the box stands. Runs in: any client; the supervisor from
 * jb_boxes_create on. Privilege: as jb_job_run.
 *
 * Theory of operation. Between the caller and the supervisor is a third process, so that the supervisor is nobody's
 * child when the box stands: nobody has to wait for it. Until then each dies with its parent; a caller that is killed
 * while the box is made leaves none. The supervisor says one `struct verdict` and closes the pipe.
 */
#include "job/exec/boxes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "record/record.h"

struct verdict {
    int result;
    enum jb_job_failure failure;
    struct jb_id id;
    struct jb_error err;
};

struct creation {
    int pipe; /* to the caller; -1: it was told */
};

/* A pipe takes so much at once or fails: nobody reads half a verdict. */
static int tell(struct creation *c, const struct verdict *v)
{
    _Static_assert(sizeof(*v) <= 4096, "a verdict is written at once");
    ssize_t n = write(c->pipe, v, sizeof(*v));
    jb_close(&c->pipe);
    return n == (ssize_t)sizeof(*v) ? 0 : -EPIPE;
}

static int standing(void *ctx, const struct jb_id *id)
{
    struct creation *c = ctx;
    struct verdict v = {.failure = JB_JOB_RAN, .id = *id};
    /* from here on the box is on its own */
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
        return -errno;
    return tell(c, &v);
}

/* Nothing of the caller's stays open, whoever reads the other end of it. */
static int let_go(struct creation *c, struct jb_error *err)
{
    int null = open("/dev/null", O_RDWR);
    int pipe = fcntl(c->pipe, F_DUPFD_CLOEXEC, 3);
    if (null < 0 || pipe < 0)
        return jb_fail_errno(err, errno, "letting go of the caller's files");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(null, fd) < 0)
            return jb_fail_errno(err, errno, "/dev/null");
    if ((pipe > 3 && jb_close_between(3, (unsigned)pipe - 1) < 0) ||
        jb_close_between((unsigned)pipe + 1, ~0U) < 0)
        return jb_fail_errno(err, errno, "letting go of the caller's files");
    c->pipe = pipe;
    (void)!chdir("/"); /* where the caller stands is not to be kept busy */
    return 0;
}

/* Why a box that was begun does not stand is in its record. */
static void explain(const json_t *record, struct verdict *v)
{
    const char *error = json_string_value(jb_record_get(record, "end", "error"));
    const char *reason = json_string_value(jb_record_get(record, "end", "reason"));
    v->result = jb_fail(&v->err, EIO, "%s", error ? error : reason ? reason : "the box ended at once");
    v->failure = JB_JOB_NO_BOX;
}

static void supervise(const struct jb_job_options *given, struct creation *c)
{
    struct verdict v = {.failure = JB_JOB_NO_BOX};
    struct jb_error warning = {0};
    jb_autostate struct jb_state state = JB_STATE_INIT;
    json_t *record = NULL;
    struct jb_job_options o = *given;
    int r = let_go(c, &v.err);
    if (r == 0)
        r = jb_state_paths(o.site, o.submitter, &state, &v.err);
    if (r == 0)
        r = jb_state_open(&state, o.submitter, &v.err);
    o.state = &state;
    o.stands = true;
    o.tty = false;
    o.tty_fd = -1;
    o.out_fd = o.err_fd = o.changes_fd = -1;
    o.notice = NULL;
    o.standing = standing;
    o.standing_ctx = c;
    if (r == 0)
        r = jb_job_run(&o, &record, &v.failure, &warning, &v.err);
    v.result = r;
    if (r == 0)
        explain(record, &v);
    if (c->pipe >= 0)
        (void)tell(c, &v);
    json_decref(record);
}

/* Its death is how the supervisor learns, while the box is made, that nobody wants it any more. */
static _Noreturn void between(const struct jb_job_options *o, int write_end)
{
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    /* blocked until the supervisor takes it by a descriptor: the caller may be gone before that */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || setsid() < 0 ||
        sigprocmask(SIG_BLOCK, &term, NULL) < 0)
        _exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        struct creation c = {.pipe = write_end};
        if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 || setsid() < 0)
            _exit(1);
        supervise(o, &c);
        _exit(0);
    }
    (void)close(write_end);
    if (pid < 0)
        _exit(1);
    for (;;)
        (void)pause();
}

int jb_boxes_create(const struct jb_job_options *options, struct jb_id *ret_id,
                    enum jb_job_failure *ret_failure, struct jb_error *err)
{
    int fds[2];
    struct verdict v = {0};
    *ret_failure = JB_JOB_NO_BOX;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "pipe");
    jb_autoclose int read_end = fds[0];
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        between(options, fds[1]);
    }
    int saved = errno;
    (void)close(fds[1]);
    if (pid < 0)
        return jb_fail_errno(err, saved, "starting a supervisor");
    ssize_t n;
    do
        n = read(read_end, &v, sizeof(v));
    while (n < 0 && errno == EINTR);
    (void)kill(pid, SIGKILL); /* our own child, not waited for yet */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (n != (ssize_t)sizeof(v))
        return jb_fail(
            err, EIO, "the supervisor of the box died; its record, if there is one, comes with jobbox sweep");
    *ret_failure = v.failure;
    if (v.result < 0) {
        if (err)
            *err = v.err;
        return v.result;
    }
    *ret_id = v.id;
    return 0;
}
