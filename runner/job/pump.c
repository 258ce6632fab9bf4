/*
 * pump.c - a buffer between two descriptors.
 *
 * Owns: the buffer and the reading end. Runs in: the supervisor. Privilege: none.
 */
#include "job/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

int jb_pump_init(struct jb_pump *pump, int from, int to)
{
    struct stat st;
    char *buffer = malloc(JB_PUMP_BUFFER);
    if (!buffer)
        return -ENOMEM;
    int flags = fcntl(from, F_GETFL);
    if (flags < 0 || fcntl(from, F_SETFL, flags | O_NONBLOCK) < 0) {
        free(buffer);
        return -errno;
    }
    *pump = (struct jb_pump){.from = from, .to = to, .buffer = buffer};
    pump->always_ready = to < 0 || (fstat(to, &st) == 0 && S_ISREG(st.st_mode));
    return 0;
}

void jb_pump_close(struct jb_pump *pump)
{
    jb_close(&pump->from);
    free(pump->buffer);
    *pump = JB_PUMP_INIT;
}

bool jb_pump_active(const struct jb_pump *pump)
{
    return pump->from >= 0 || pump->start < pump->end;
}

void jb_pump_poll(const struct jb_pump *pump, struct pollfd *ret_from, struct pollfd *ret_to)
{
    bool room = pump->start == pump->end;
    *ret_from = (struct pollfd){.fd = room ? pump->from : -1, .events = POLLIN};
    *ret_to = (struct pollfd){.fd = room || pump->always_ready ? -1 : pump->to, .events = POLLOUT};
}

static bool can_write(const struct jb_pump *pump)
{
    if (pump->always_ready)
        return true;
    struct pollfd fd = {.fd = pump->to, .events = POLLOUT};
    return poll(&fd, 1, 0) > 0;
}

/* What is made for the first byte only. */
static bool has_target(struct jb_pump *pump)
{
    if (!pump->late || pump->start == pump->end)
        return true;
    pump->to = pump->late(pump->late_ctx);
    pump->late = NULL;
    return pump->to >= 0;
}

/* Empties the buffer as far as the reader takes it. False when the reader is gone. */
static bool drain(struct jb_pump *pump)
{
    if (!has_target(pump))
        return false;
    while (pump->start < pump->end && can_write(pump)) {
        size_t len = pump->end - pump->start;
        if (pump->to < 0) {
            pump->start = pump->end;
            break;
        }
        if (!pump->always_ready &&
            len > PIPE_BUF) /* a pipe that polls writable takes this much without blocking */
            len = PIPE_BUF;
        ssize_t n = write(pump->to, pump->buffer + pump->start, len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            break;
        if (n < 0)
            return false;
        pump->start += (size_t)n;
    }
    if (pump->start == pump->end)
        pump->start = pump->end = 0;
    return true;
}

/* Takes from the job. Returns 1 when something had to be cut off. */
static int fill(struct jb_pump *pump, uint64_t *budget)
{
    ssize_t n = read(pump->from, pump->buffer, JB_PUMP_BUFFER);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) { /* end of file; EIO from a terminal whose other side is gone */
        jb_close(&pump->from);
        return 0;
    }
    size_t taken = (size_t)n;
    bool cut = *budget != JB_UNSET && taken > *budget;
    if (cut)
        taken = (size_t)*budget;
    if (*budget != JB_UNSET)
        *budget -= taken;
    pump->start = 0;
    pump->end = taken;
    pump->bytes += taken;
    return cut;
}

int jb_pump_move(struct jb_pump *pump, uint64_t *budget)
{
    int cut = 0;
    if (pump->from >= 0 && pump->start == pump->end)
        cut = fill(pump, budget);
    if (!drain(pump)) {
        pump->lost = true;
        pump->start = pump->end = 0;
        jb_close(&pump->from);
    }
    return cut;
}
