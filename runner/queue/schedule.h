/*
 * schedule.h - who starts now: a pure function of those who wait, those who run, the machine, shares, limits and time.
 *
 * Owns: nothing but a struct jb_sched_plan. Runs in: jobboxd, tests and benchmarks. Privilege: none.
 *
 * Order: priority, then fair share (the account that has used least of what its share promises, within it the user),
 * then age. In this order each job starts when it fits now, and otherwise has the earliest room that it fits into set
 * aside for it; nothing behind it may delay that (conservative backfill). So a small job that ends, by its wall time,
 * before the room is needed fills the hole, and the first in line is never delayed by those behind it. Beyond `depth`
 * jobs that could not start no more room is set aside.
 *
 * A running job without a wall time is taken to end `assume_us` after its start, or soon. A waiting one without is
 * taken never to end: it starts only where it is in nobody's way.
 */
#ifndef JB_QUEUE_SCHEDULE_H
#define JB_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/units.h"

/* What a job takes away from others, or what there is. */
struct jb_need {
    uint32_t pus;    /* hardware threads; a whole core is all of its threads */
    bool shared;     /* may run where other shared ones run: takes none away from those */
    bool devices;    /* wants some, which are looked for when it is started */
    uint64_t memory; /* bytes; 0: none promised */
    uint64_t scratch;
    uint64_t pids;
};

struct jb_sched_job {
    struct jb_need need;
    int64_t priority;
    uint64_t submitted_us;
    uint64_t wall_us;     /* JB_UNSET: no limit */
    uint64_t deadline_us; /* JB_UNSET: none */
    uint32_t share;       /* of shares */
    uint32_t group;       /* of groups; UINT32_MAX: none */
    uint32_t windows;     /* bits: those whose room it may use */
    uint64_t number;      /* decides between equals */
};

struct jb_sched_running {
    struct jb_need need;
    uint64_t started_us;
    uint64_t wall_us; /* JB_UNSET: no limit */
    uint32_t share, group, windows;
};

/* A user within an account. Jobs of one account share `account`. */
struct jb_sched_share {
    uint32_t account; /* of accounts */
    uint32_t user;    /* of users */
    double usage;     /* decayed, CPU seconds, with what runs */
    double share;     /* against others of the account; > 0 */
};

/* Counts that may not be passed; UINT32_MAX: no limit. `running` and `pus` are what runs now. */
struct jb_sched_limit {
    double usage; /* of accounts: decayed, CPU seconds */
    double share; /* of accounts: against others; > 0 */
    uint32_t max_running, max_pus;
    uint32_t running, pus;
};

/* Of tasks of one array: how many at once. */
struct jb_sched_group {
    uint32_t max, running;
};

/* Room that is not for everybody for a time. */
#define JB_SCHED_WINDOWS 32
struct jb_sched_window {
    uint64_t from_us, to_us;
    uint32_t pus; /* UINT32_MAX: all, nobody starts what would run into it */
};

enum jb_sched_why {
    JB_WHY_START, /* it starts */
    JB_WHY_CPUS,  /* not enough free */
    JB_WHY_MEMORY,
    JB_WHY_SCRATCH,
    JB_WHY_PIDS,
    JB_WHY_PRIORITY, /* would fit, and delay somebody before it */
    JB_WHY_WINDOW,   /* would run into a reservation or maintenance */
    JB_WHY_USER,     /* limit of the user */
    JB_WHY_ACCOUNT,  /* limit of the account */
    JB_WHY_ARRAY,    /* limit of the array */
    JB_WHY_DEADLINE, /* could not end in time */
    JB_WHY_NEVER,    /* larger than the machine */
    JB_WHY_DRAINED,
    JB_WHY_MAX,
};
const char *jb_sched_why_name(enum jb_sched_why why);

struct jb_sched_verdict {
    enum jb_sched_why why;
    uint64_t start_us; /* the room set aside for it; JB_UNSET: none worked out */
};

struct jb_sched_input {
    uint64_t now_us;
    struct jb_need capacity; /* of the machine, less what others than the queue hold */
    bool drained;
    uint64_t assume_us;
    size_t depth;
    const struct jb_sched_job *jobs;
    size_t n_jobs;
    const struct jb_sched_running *running;
    size_t n_running;
    const struct jb_sched_share *shares;
    size_t n_shares;
    struct jb_sched_limit *accounts; /* counts are worked on during the call, and put back */
    size_t n_accounts;
    struct jb_sched_limit *users;
    size_t n_users;
    struct jb_sched_group *groups;
    size_t n_groups;
    const struct jb_sched_window *windows;
    size_t n_windows;
};

/* Another job with so many hardware threads is within what is allowed at once, after what runs already. */
bool jb_sched_within(const struct jb_sched_limit *limit, uint32_t pus);

/* A limit of an array, a user or an account keeps any of them waiting. */
bool jb_sched_limited(const struct jb_sched_verdict *verdicts, size_t n);

/* The order of `jobs`, as indices, into `order` (n_jobs of them). -ENOMEM. */
int jb_sched_order(const struct jb_sched_input *in, uint32_t *order, struct jb_error *err);

/*
 * One verdict for each job of `order` (indices into jobs; `n` of them), at the job's own index of `verdicts`, which has
 * n_jobs places. `stop_full`: once nothing is free and no more room is set aside, the rest is left at JB_WHY_CPUS without
 * a look. Returns how many start.
 */
int jb_sched_decide(const struct jb_sched_input *in, const uint32_t *order, size_t n, bool stop_full,
                    struct jb_sched_verdict *verdicts, struct jb_error *err);

#endif
