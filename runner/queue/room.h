/*
 * room.h - inside of scheduling: what is free from now on, as steps in time.
 *
 * Owns: the steps of a struct jb_room. Runs in: see schedule.h. Privilege: none.
 */
#ifndef JB_QUEUE_ROOM_H
#define JB_QUEUE_ROOM_H

#include "queue/schedule.h"

struct jb_room_step {
    uint64_t at_us; /* until the next step's, the last one for ever */
    int64_t pus;    /* free for those who share nothing */
    int64_t memory, scratch, pids;
    uint32_t shared;                 /* hardware threads that the largest of the shared ones runs on */
    uint32_t windows;                /* bits: those that are open */
    uint32_t used[JB_SCHED_WINDOWS]; /* what those who may use a window hold of pus */
};

struct jb_room {
    const struct jb_sched_input *in;
    struct jb_room_step *steps; /* by time; the first is now */
    size_t len, cap;
    struct jb_room_step now; /* free now, nothing being set aside */
};

int jb_room_begin(const struct jb_sched_input *in, struct jb_room *ret, struct jb_error *err);
void jb_room_free(struct jb_room *room);
#define jb_autoroom __attribute__((cleanup(jb_room_free)))

/* Takes room from `from_us` until `to_us` (JB_UNSET: for ever). `windows`: bits, those that whoever takes it may use. */
int jb_room_take(struct jb_room *room, uint64_t from_us, uint64_t to_us, const struct jb_need *need,
                 uint32_t windows, struct jb_error *err);

/* Whether the job fits from step `i` on until `end_us`: JB_WHY_START, or what is in its way. */
enum jb_sched_why jb_room_fits(const struct jb_room *room, size_t i, uint64_t end_us,
                               const struct jb_sched_job *job);

/* Takes the earliest room there is for the job; *ret_us: when, JB_UNSET: never as far as can be seen. */
int jb_room_set_aside(struct jb_room *room, const struct jb_sched_job *job, uint64_t *ret_us,
                      struct jb_error *err);

/* No hardware thread is free now. */
bool jb_room_full(const struct jb_room *room);

#endif
