/*
 * supervise.h - from GO to the end: limits, signals, output.
 *
 * Owns: nothing; the box, cgroups and streams are the caller's. Runs in: the supervisor. Privilege: none of
 * its own.
 */
#ifndef JB_JOB_SUPERVISE_H
#define JB_JOB_SUPERVISE_H

#include "base/clock.h"
#include "box/box.h"
#include "cgroup/cgroup.h"
#include "job/control.h"
#include "job/events.h"
#include "job/streams.h"
#include "record/record.h"

/* Connections of those who asked for a box's end, to be answered when there is a record. */
#define JB_MOURNERS 4
struct jb_mourners {
    int fds[JB_MOURNERS];
    size_t n;
};

struct jb_supervise {
    const struct jb_plan *plan;
    struct jb_box *box;
    const struct jb_cgroup *cgroup; /* NULL: none */
    struct jb_streams *streams;
    uint64_t cpu_before_us;       /* CPU time of the groups that is not the job's: building the box */
    const struct jb_clock *clock; /* NULL: the kernel's */
    int signal_fd;                /* signals for us and the job; -1: none are taken */
    int winch_fd;                 /* terminal whose size the job's follows; -1: none */
    struct jb_events *events;     /* NULL: none are kept */
    int box_fd;                   /* where the control socket is made; -1: none, nobody can ask */
    int file_fd; /* box.jsonl, for the commands that are executed in the box; -1: none is kept */
    int lock_fd; /* closed in every child at once; -1: none */
    /* With plan->stands, called once when the box can be asked for something; < 0 cancels it. NULL: nobody waits. */
    int (*standing)(void *ctx);
    void *standing_ctx;
    struct jb_mourners *mourners; /* who asked for the end and wants to know of it; NULL: nobody can */
    /*
     * Changes limits of the running job, and the plan with them; *ret_changes: an object of {"old", "new"} by what was
     * changed, the caller's. All or nothing. NULL: they cannot be changed.
     */
    int (*update)(void *ctx, const struct jb_wish *wish, json_t **ret_changes, struct jb_error *err);
    void *update_ctx;
    void (*ends)(void *update_ctx, uint64_t ends_ns); /* when its wall time will be over; NULL: who cares */
    /*
     * Called once when the job has lived for a moment: for what a job that is over at once does not need. The control
     * socket and the first events are made then too. A failure ends the supervision. NULL: nothing of the caller's.
     */
    int (*settled)(void *ctx, struct jb_error *err);
    void *settled_ctx;
};

/* Says GO: the job starts. */
int jb_supervise_go(const struct jb_supervise *s, struct jb_error *err);

/*
 * Returns when the job and everything it started has ended, its output is carried and `ret` is filled (reason, code,
 * signal, limit, times, rusage, output; the caller frees `limit` and `killed_by`). jobbox-init still stands when it
 * can: the box's files may be looked at. An error means that the supervision itself failed.
 */
int jb_supervise(struct jb_supervise *s, struct jb_outcome *ret, struct jb_error *err);

#endif
