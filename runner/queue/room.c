/*
 * room.c - steps of what is free.
 *
 * Owns: see room.h. Runs in: see schedule.h. Privilege: none.
 */
#include "queue/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* The step in force at `at_us`: the last one that begins no later. */
static size_t find(const struct jb_room *room, uint64_t at_us)
{
    size_t low = 0;
    size_t high = room->len;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (room->steps[mid].at_us <= at_us)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Makes a step begin at `at_us`. Returns its index, or -ENOMEM. */
static ssize_t split(struct jb_room *room, uint64_t at_us)
{
    size_t i = find(room, at_us);
    if (room->steps[i].at_us == at_us)
        return (ssize_t)i;
    if (room->len == room->cap) {
        size_t cap = room->cap ? room->cap * 2 : 64;
        struct jb_room_step *grown = realloc(room->steps, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        room->steps = grown;
        room->cap = cap;
    }
    memmove(&room->steps[i + 2], &room->steps[i + 1], (room->len - i - 1) * sizeof(*room->steps));
    room->steps[i + 1] = room->steps[i];
    room->steps[i + 1].at_us = at_us;
    room->len++;
    return (ssize_t)i + 1;
}

int jb_room_begin(const struct jb_sched_input *in, struct jb_room *ret, struct jb_error *err)
{
    struct jb_room room = {.in = in, .cap = 64};
    room.steps = calloc(room.cap, sizeof(*room.steps));
    if (!room.steps)
        return jb_fail_errno(err, ENOMEM, "scheduling");
    room.steps[0] = (struct jb_room_step){
        .at_us = in->now_us,
        .pus = in->capacity.pus,
        .memory = (int64_t)in->capacity.memory,
        .scratch = (int64_t)in->capacity.scratch,
        .pids = (int64_t)in->capacity.pids,
    };
    room.len = 1;
    room.now = room.steps[0];
    *ret = room;
    for (size_t w = 0; w < in->n_windows && w < JB_SCHED_WINDOWS; w++) {
        const struct jb_sched_window *win = &in->windows[w];
        if (win->to_us <= in->now_us)
            continue;
        ssize_t from = split(ret, win->from_us > in->now_us ? win->from_us : in->now_us);
        ssize_t to = from < 0 ? from : split(ret, win->to_us);
        if (to < 0)
            return jb_fail_errno(err, ENOMEM, "scheduling");
        from = (ssize_t)find(ret, win->from_us > in->now_us ? win->from_us : in->now_us);
        for (ssize_t i = from; i < to; i++)
            ret->steps[i].windows |= 1U << w;
    }
    return 0;
}

void jb_room_free(struct jb_room *room)
{
    free(room->steps);
    *room = (struct jb_room){0};
}

static void subtract(struct jb_room_step *step, const struct jb_need *need, uint32_t windows)
{
    if (need->shared) {
        step->shared = need->pus > step->shared ? need->pus : step->shared;
    } else {
        step->pus -= (int64_t)need->pus;
        for (unsigned w = 0; windows; w++, windows >>= 1)
            step->used[w] += windows & 1 ? need->pus : 0;
    }
    step->memory -= (int64_t)need->memory;
    step->scratch -= (int64_t)need->scratch;
    step->pids -= (int64_t)need->pids;
}

int jb_room_take(struct jb_room *room, uint64_t from_us, uint64_t to_us, const struct jb_need *need,
                 uint32_t windows, struct jb_error *err)
{
    ssize_t from = split(room, from_us);
    ssize_t to = from < 0 ? from : to_us == JB_UNSET ? (ssize_t)room->len : split(room, to_us);
    if (from < 0 || to < 0)
        return jb_fail_errno(err, ENOMEM, "scheduling");
    for (ssize_t i = from; i < to; i++)
        subtract(&room->steps[i], need, windows);
    if (from_us == room->in->now_us)
        subtract(&room->now, need, windows);
    return 0;
}

/* What of a step is kept for others than the job. */
static int64_t kept(const struct jb_room *room, const struct jb_room_step *step,
                    const struct jb_sched_job *job)
{
    uint32_t closed = step->windows & ~job->windows;
    int64_t sum = 0;
    for (unsigned w = 0; closed; w++, closed >>= 1) {
        if (!(closed & 1))
            continue;
        uint32_t pus = room->in->windows[w].pus;
        if (pus == UINT32_MAX)
            return INT64_MAX;
        sum += pus > step->used[w] ? pus - step->used[w] : 0;
    }
    return sum;
}

static enum jb_sched_why fits_step(const struct jb_room *room, const struct jb_room_step *step,
                                   const struct jb_sched_job *job)
{
    const struct jb_need *need = &job->need;
    int64_t kept_back = step->windows ? kept(room, step, job) : 0;
    if (kept_back == INT64_MAX)
        return JB_WHY_WINDOW;
    int64_t pus = step->pus - (need->shared ? 0 : (int64_t)step->shared);
    if (pus < (int64_t)need->pus)
        return JB_WHY_CPUS;
    if (pus - kept_back < (int64_t)need->pus)
        return JB_WHY_WINDOW;
    if (need->memory && step->memory < (int64_t)need->memory)
        return JB_WHY_MEMORY;
    if (need->scratch && step->scratch < (int64_t)need->scratch)
        return JB_WHY_SCRATCH;
    if (need->pids && step->pids < (int64_t)need->pids)
        return JB_WHY_PIDS;
    return JB_WHY_START;
}

/* The first step from `i` on that has no room for the job; room->len when all have. */
static size_t obstacle(const struct jb_room *room, size_t i, uint64_t end_us, const struct jb_sched_job *job,
                       enum jb_sched_why *ret_why)
{
    for (; i < room->len && (end_us == JB_UNSET || room->steps[i].at_us < end_us); i++) {
        *ret_why = fits_step(room, &room->steps[i], job);
        if (*ret_why != JB_WHY_START)
            return i;
    }
    *ret_why = JB_WHY_START;
    return room->len;
}

enum jb_sched_why jb_room_fits(const struct jb_room *room, size_t i, uint64_t end_us,
                               const struct jb_sched_job *job)
{
    enum jb_sched_why why;
    (void)obstacle(room, i, end_us, job, &why);
    if (why == JB_WHY_START || why == JB_WHY_WINDOW || i > 0)
        return why;
    /* perhaps it would fit now, but for those before it */
    struct jb_room_step alone = room->now;
    alone.windows = room->steps[0].windows;
    enum jb_sched_why now = fits_step(room, &alone, job);
    return now == JB_WHY_START ? JB_WHY_PRIORITY : now;
}

int jb_room_set_aside(struct jb_room *room, const struct jb_sched_job *job, uint64_t *ret_us,
                      struct jb_error *err)
{
    for (size_t i = 1; i < room->len;) {
        uint64_t at = room->steps[i].at_us;
        uint64_t end = job->wall_us == JB_UNSET ? JB_UNSET : at + job->wall_us;
        enum jb_sched_why why;
        size_t bad = obstacle(room, i, end, job, &why);
        if (why != JB_WHY_START) { /* a later start before the obstacle would meet it too */
            i = bad + 1;
            continue;
        }
        int r = jb_room_take(room, at, end, &job->need, job->windows, err);
        if (r == 0)
            *ret_us = at;
        return r;
    }
    return 0;
}

bool jb_room_full(const struct jb_room *room)
{
    return room->steps[0].pus <= 0;
}
