/*
 * exec_io.c - between a client's streams and those of its command.
 *
 * Owns: see struct jb_exec_io. Runs in: the supervisor. Privilege: that of whoever asks for the command.
 *
 * The client's descriptors are shared with whoever else has them: their flags are not ours to change. So what can be
 * opened once more is, non-blocking for us alone; a file keeps its own descriptor, for its position is shared on purpose.
 *
 * A supervisor of root's must not be held up by whose box it is: files of a file system that he serves himself, sockets, and
 * what cannot be opened again block whoever touches them. Of him only pipes are taken; jb_boxes_exec makes them for its
 * caller.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box/identity.h"
#include "job/exec/execs.h"

/*
 * Takes over `fd`. Whoever has a descriptor may not be allowed to open what it is of, or only for something else, or has
 * it by O_PATH: so it is opened with his credentials, never with ours.
 */
static int own_copy(int fd, int mode, const struct jb_plan *as, bool pipes_only)
{
    struct stat st;
    char path[32];
    if (!pipes_only && (fstat(fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode)))
        return fd;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const int flags = mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int own = as ? jb_open_as_submitter(as, path, flags, NULL) : open(path, flags);
    if (own < 0)
        return pipes_only ? -1 : fd;
    (void)close(fd);
    return own;
}

/* What the kernel calls it, which asks no file system. */
static bool is_pipe(int fd)
{
    static const char name[] = "pipe:[";
    char path[32];
    char found[sizeof(name)];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, found, sizeof(found));
    return n >= (ssize_t)(sizeof(name) - 1) && memcmp(found, name, sizeof(name) - 1) == 0;
}

/* All three or none; they are taken over in any case. */
static int own_copies(const int theirs[3], const struct jb_plan *as, bool pipes_only, int ret[3])
{
    static const int modes[] = {O_RDONLY, O_WRONLY, O_WRONLY};
    bool good = true;
    for (int i = 0; i < 3; i++)
        good = good && (!pipes_only || is_pipe(theirs[i]));
    for (int i = 0; i < 3; i++) {
        ret[i] = good ? own_copy(theirs[i], modes[i], as, pipes_only) : -1;
        if (ret[i] < 0)
            (void)close(theirs[i]);
    }
    if (ret[0] >= 0 && ret[1] >= 0 && ret[2] >= 0)
        return 0;
    for (int i = 0; i < 3; i++)
        jb_close(&ret[i]);
    return -ENOTSUP;
}

/* Not made non-blocking: it is read only when poll says so. */
static int pump_in(struct jb_pump *pump, int from, int to)
{
    *pump = (struct jb_pump){.from = from, .to = to, .buffer = malloc(JB_PUMP_BUFFER)};
    return pump->buffer ? 0 : -ENOMEM;
}

static int open_out(struct jb_pump *pump, int to, int *ret_job)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    int r = jb_pump_init(pump, fds[0], to);
    if (r < 0) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        return r;
    }
    *ret_job = fds[1];
    return 0;
}

static int open_in(struct jb_exec_io *io)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    io->job.in = fds[0];
    io->in_to = fds[1];
    io->in.to = fds[1];
    return 0;
}

static int open_null(struct jb_exec_io *io)
{
    io->job.in = open("/dev/null", O_RDWR | O_CLOEXEC);
    io->job.out = io->job.in < 0 ? -1 : fcntl(io->job.in, F_DUPFD_CLOEXEC, 3);
    io->job.err = io->job.in < 0 ? -1 : fcntl(io->job.in, F_DUPFD_CLOEXEC, 3);
    return io->job.out < 0 || io->job.err < 0 ? -errno : 0;
}

int jb_exec_io_open(const int theirs[3], const struct jb_plan *as, bool pipes_only, bool tty,
                    struct jb_exec_io *ret, struct jb_error *err)
{
    int fds[3];
    if (own_copies(theirs, as, pipes_only, fds) < 0)
        return jb_fail(err, ENOTSUP,
                       "the streams of a command in a box that another user's process looks after have to be "
                       "pipes with somebody at their other ends");
    struct jb_exec_io io = JB_EXEC_IO_INIT;
    io.out_to = fds[1];
    io.err_to = fds[2];
    int r = pump_in(&io.in, fds[0], -1);
    if (r == 0 && tty) /* its terminal comes with READY */
        r = open_null(&io);
    if (r == 0 && !tty)
        r = open_in(&io);
    if (r == 0 && !tty)
        r = open_out(&io.out, io.out_to, &io.job.out);
    if (r == 0 && !tty)
        r = open_out(&io.err, io.err_to, &io.job.err);
    if (r < 0) {
        jb_exec_io_close(&io);
        return jb_fail_errno(err, r, "pipes for the command");
    }
    *ret = io;
    return 0;
}

int jb_exec_io_terminal(struct jb_exec_io *io, int master_fd)
{
    io->in_to = fcntl(master_fd, F_DUPFD_CLOEXEC, 3);
    int r = io->in_to < 0 ? -errno : jb_pump_init(&io->out, master_fd, io->out_to);
    if (r < 0)
        (void)close(master_fd);
    io->in.to = io->in_to;
    return r;
}

void jb_exec_io_handed_over(struct jb_exec_io *io)
{
    jb_close(&io->job.in);
    jb_close(&io->job.out);
    jb_close(&io->job.err);
}

void jb_exec_io_poll(const struct jb_exec_io *io, struct pollfd *ret)
{
    static const struct pollfd none = {.fd = -1};
    ret[JB_EXEC_P_IN_FROM] = ret[JB_EXEC_P_IN_TO] = none;
    if (io->in.to >= 0)
        jb_pump_poll(&io->in, &ret[JB_EXEC_P_IN_FROM], &ret[JB_EXEC_P_IN_TO]);
    jb_pump_poll(&io->out, &ret[JB_EXEC_P_OUT_FROM], &ret[JB_EXEC_P_OUT_TO]);
    jb_pump_poll(&io->err, &ret[JB_EXEC_P_ERR_FROM], &ret[JB_EXEC_P_ERR_TO]);
}

/* End of the client's input is the end of the command's, but on a terminal, where a key says that. */
static void end_input(struct jb_exec_io *io)
{
    if (io->in.from >= 0 || jb_pump_active(&io->in) || io->in_to < 0 || io->job.in >= 0)
        return;
    io->in.to = -1;
    jb_close(&io->in_to);
}

int jb_exec_io_move(struct jb_exec_io *io, const struct pollfd *fds, uint64_t *budget)
{
    uint64_t any = JB_UNSET;
    int cut = 0;
    if (fds[JB_EXEC_P_IN_FROM].revents || fds[JB_EXEC_P_IN_TO].revents)
        (void)jb_pump_move(&io->in, &any);
    end_input(io);
    if (jb_pump_active(&io->out))
        cut |= jb_pump_move(&io->out, budget);
    if (jb_pump_active(&io->err))
        cut |= jb_pump_move(&io->err, budget);
    return cut;
}

static bool drained(const struct jb_pump *pump, bool kept)
{
    struct pollfd from = {.fd = pump->from, .events = POLLIN};
    if (!jb_pump_active(pump))
        return true;
    return kept && pump->start == pump->end && (poll(&from, 1, 0) <= 0 || !(from.revents & POLLIN));
}

bool jb_exec_io_drained(const struct jb_exec_io *io, bool kept)
{
    return drained(&io->out, kept) && drained(&io->err, kept);
}

void jb_exec_io_close(struct jb_exec_io *io)
{
    jb_exec_io_handed_over(io);
    jb_pump_close(&io->in);
    jb_pump_close(&io->out);
    jb_pump_close(&io->err);
    jb_close(&io->in_to);
    jb_close(&io->out_to);
    jb_close(&io->err_to);
}
