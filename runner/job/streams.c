/*
 * streams.c - opening what the spec says, as the submitter.
 *
 * Owns: see streams.h. Runs in: the supervisor. Privilege: the submitter's, for files.
 */
#include "job/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "box/identity.h"

static int make_parent(void *ctx)
{
    const char *path = ctx;
    const char *slash = strrchr(path, '/');
    jb_autofree char *parent = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
    if (!parent)
        return -ENOMEM;
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? -errno : jb_mkdir_p(root, parent, 0777, (uid_t)-1, (gid_t)-1, JB_WALK_IN_ROOT, NULL);
}

/* A missing folder is made: a job must not be lost because nobody had made logs/. */
int jb_stream_create(const struct jb_plan *plan, const char *path, int *ret, struct jb_error *err)
{
    /* not to hang on a FIFO that nobody reads; the pump knows how to wait */
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK;
    int fd = jb_open_as_submitter(plan, path, flags, err);
    if (fd == -ENOENT) {
        int r = jb_as_submitter(plan, make_parent, (void *)path, err);
        fd = r < 0 ? r : jb_open_as_submitter(plan, path, flags, err);
    }
    if (fd == -ENXIO)
        return jb_fail(err, ENXIO, "output file %s: it is a FIFO or a device, and nobody reads it", path);
    if (fd < 0)
        return jb_fail_errno(err, fd, "output file %s", path);
    *ret = fd;
    return 0;
}

static int open_stdin(const struct jb_plan *plan, int *ret, struct jb_error *err)
{
    const char *path = plan->stdin_.kind == JB_STREAM_FILE ? plan->stdin_.path : "/dev/null";
    /* not to hang on a FIFO that nobody writes to */
    int fd = jb_open_as_submitter(plan, path, O_RDONLY | O_NONBLOCK, err);
    if (fd < 0)
        return jb_fail_errno(err, fd, "stdin file %s", path);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        (void)close(fd);
        return jb_fail_errno(err, errno, "stdin file %s", path);
    }
    *ret = fd;
    return 0;
}

/*
 * A terminal that polls writable may have room for a byte only, and a longer write waits for whoever reads it. So ours
 * is opened once more, non-blocking for us alone. Returns the new descriptor, or -1: `own` has to do as it is.
 */
static int reopen_terminal(int own)
{
    char path[32];
    if (own < 0 || !isatty(own))
        return -1;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* One direction: a pipe, and a pump from it to the file or to our own descriptor. */
static int open_direction(const struct jb_plan *plan, const struct jb_plan_stream *stream, int own, int *file,
                          struct jb_pump *pump, int *ret_job, struct jb_error *err)
{
    int pipe_fds[2];
    int r = 0;
    if (stream->kind == JB_STREAM_FILE)
        r = jb_stream_create(plan, stream->path, file, err);
    if (r < 0)
        return r;
    if (stream->kind == JB_STREAM_INHERIT)
        *file = reopen_terminal(own);
    int to = *file >= 0 ? *file : stream->kind == JB_STREAM_NULL ? -1 : own;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "pipe");
    r = jb_pump_init(pump, pipe_fds[0], to);
    if (r < 0) {
        (void)close(pipe_fds[0]);
        (void)close(pipe_fds[1]);
        return jb_fail_errno(err, r, "pipe");
    }
    *ret_job = pipe_fds[1];
    return 0;
}

static bool same_file(const struct jb_plan *plan)
{
    return plan->stderr_.kind == JB_STREAM_FILE && plan->stdout_.kind == JB_STREAM_FILE &&
           jb_streq(plan->stderr_.path, plan->stdout_.path);
}

int jb_streams_open(const struct jb_plan *plan, int out_fd, int err_fd, struct jb_streams *ret,
                    struct jb_error *err)
{
    struct jb_streams s = {.job = {-1, -1, -1},
                           .out = JB_PUMP_INIT,
                           .err = JB_PUMP_INIT,
                           .in = JB_PUMP_INIT,
                           .out_file = -1,
                           .err_file = -1,
                           .budget = plan->output_bytes};
    int r = open_stdin(plan, &s.job.in, err);
    if (r == 0 && plan->tty) { /* jobbox-init puts the terminal in the place of these */
        s.job.out = open("/dev/null", O_WRONLY | O_CLOEXEC);
        s.job.err = s.job.out < 0 ? -1 : fcntl(s.job.out, F_DUPFD_CLOEXEC, 3);
        if (s.job.err < 0)
            r = jb_fail_errno(err, errno, "/dev/null");
    } else if (r == 0) {
        r = open_direction(plan, &plan->stdout_, out_fd, &s.out_file, &s.out, &s.job.out, err);
        if (r == 0 && (plan->stderr_.kind == JB_STREAM_MERGE || same_file(plan)))
            s.job.err = fcntl(s.job.out, F_DUPFD_CLOEXEC, 3);
        else if (r == 0)
            r = open_direction(plan, &plan->stderr_, err_fd, &s.err_file, &s.err, &s.job.err, err);
    }
    if (r < 0) {
        jb_streams_close(&s);
        return r;
    }
    *ret = s;
    return 0;
}

static int late_out(void *ctx)
{
    const struct jb_late_output *late = ctx;
    return late->open(late->ctx, false);
}

static int late_err(void *ctx)
{
    const struct jb_late_output *late = ctx;
    return late->open(late->ctx, true);
}

void jb_streams_late(struct jb_streams *streams, const struct jb_plan *plan,
                     const struct jb_late_output *late)
{
    streams->late = *late;
    if (plan->stdout_.kind == JB_STREAM_INHERIT && streams->out.from >= 0) {
        streams->out.late = late_out;
        streams->out.late_ctx = &streams->late;
    }
    if (plan->stderr_.kind == JB_STREAM_INHERIT && streams->err.from >= 0) {
        streams->err.late = late_err;
        streams->err.late_ctx = &streams->late;
    }
}

void jb_streams_handed_over(struct jb_streams *streams)
{
    jb_close(&streams->job.in);
    jb_close(&streams->job.out);
    jb_close(&streams->job.err);
}

int jb_streams_terminal(struct jb_streams *streams, int master_fd, int stdin_fd, int stdout_fd,
                        struct jb_error *err)
{
    int write_end = fcntl(master_fd, F_DUPFD_CLOEXEC, 3);
    if (write_end < 0) {
        (void)close(master_fd);
        return jb_fail_errno(err, errno, "terminal");
    }
    streams->out_file = write_end;                  /* closed with the streams */
    streams->err_file = reopen_terminal(stdout_fd); /* likewise */
    int r = jb_pump_init(&streams->out, master_fd, streams->err_file >= 0 ? streams->err_file : stdout_fd);
    if (r < 0) {
        (void)close(master_fd);
        return jb_fail_errno(err, r, "terminal");
    }
    int own = stdin_fd < 0 ? -1 : fcntl(stdin_fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return 0;
    /* not made non-blocking: that would change the terminal for whoever shares it; poll says when there is
     * input */
    streams->in = (struct jb_pump){.from = own, .to = write_end, .buffer = malloc(JB_PUMP_BUFFER)};
    if (!streams->in.buffer) {
        jb_close(&streams->in.from);
        return jb_fail_errno(err, ENOMEM, "terminal");
    }
    return 0;
}

void jb_streams_close(struct jb_streams *streams)
{
    jb_streams_handed_over(streams);
    jb_pump_close(&streams->out);
    jb_pump_close(&streams->err);
    jb_pump_close(&streams->in);
    jb_close(&streams->out_file);
    jb_close(&streams->err_file);
}
