/*
 * wait.h - from the ledger to the right to take something from it: dead boxes first, then those who wait, then we.
 *
 * Owns: a place in the line, alloc.lock between jb_wait_lock and jb_wait_unlock. Runs in: the supervisor, before its
 * attempt begins. Privilege: that of the runtime directory.
 *
 * The line is strict: who comes later gets nothing before those who came earlier, also what they cannot use. So nobody
 * starves, however much he asks for. Who does not wait is refused while others do, as if he had come last and left.
 * What can never be granted is refused at once and never waits.
 *
 * A look at the ledger goes like this, and is repeated by a waiter whenever jb_wait_next says so:
 *
 *   jb_wait_lock      alloc.lock, and the ledger without boxes whose supervisor is dead (of many boxes: without those
 *                     found to be; see jb_ledger_glance. With `whole` without any)
 *   (place, plan)
 *   jb_wait_turn      is it ours to take, or others' first? Gets in line if need be
 *   (claim)
 *   jb_wait_done      out of the line, when the claim was had
 *   jb_wait_unlock
 *
 * Nobody polls. The first of the line sleeps until the ledger changes, every other one until the one before him goes.
 */
#ifndef JB_JOB_WAIT_H
#define JB_JOB_WAIT_H

#include "job/job.h"
#include "machine/waitline.h"

struct jb_wait {
    const struct jb_job_options *o;
    struct jb_id id;
    bool waits;           /* --wait, and not of no time */
    bool last;            /* time is up: one more look */
    bool whole;           /* every box of the ledger is to be tested */
    uint64_t deadline_ns; /* monotonic; JB_UNSET: none */
    struct jb_waitline_place place;
    uint64_t ahead;        /* number of the waiter before us; 0: we are the first */
    int bell_fd;           /* the first's */
    uint64_t seen;         /* what the ledger was at the last look */
    size_t hopeless;       /* dead boxes that could not be finished */
    uint64_t submitted_us; /* wall clock: when we got in line. 0: never did */
    uint64_t begun_ns;     /* the same, monotonic */
    bool told;
};

void jb_wait_begin(const struct jb_job_options *options, const struct jb_id *id, struct jb_wait *ret);
/* Out of the line, if still in it. */
void jb_wait_end(struct jb_wait *w);

/*
 * Takes alloc.lock and reads the ledger. Boxes found dead are finished first: their CPUs count as free, and what still
 * runs on them is killed before anybody gets them. On failure the lock is not held.
 */
int jb_wait_lock(struct jb_wait *w, struct jb_ledger *ret, struct jb_error *err);
void jb_wait_unlock(struct jb_wait *w);

/*
 * `fits`: what placement said, 0 or -EBUSY with `err`. 0: take it now. -EBUSY: not now, and `err` says who holds what
 * and who is before us; who waits is in line from here on.
 */
int jb_wait_turn(struct jb_wait *w, int fits, struct jb_error *err);

/* Taken: leaves the line. Returns how long it was waited, in ns. */
uint64_t jb_wait_done(struct jb_wait *w);

/*
 * After -EBUSY: sleeps until another look makes sense (0). -EBUSY: no more waiting, `err` is to be reported, with how
 * long it was waited. -ECANCELED: a signal to cancel came through `signal_fd`.
 */
int jb_wait_next(struct jb_wait *w, int signal_fd, struct jb_error *err);

#endif
