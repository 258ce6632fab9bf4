/*
 * task.h - jobs and tasks as the daemon keeps them in memory.
 *
 * Owns: nothing; the structs belong to struct jb_queue. Runs in: jobboxd. Privilege: none of its own.
 *
 * A job is what was submitted: one spec, one number. It has one task, or, as an array, one for each index. Only jobs
 * with a task that has not ended are in memory; all of them are in the store (queue/store.h).
 */
#ifndef JB_QUEUE_TASK_H
#define JB_QUEUE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/id.h"
#include "base/units.h"
#include "queue/schedule.h"
#include "spec/spec.h"

/* Stored as these numbers: only ever add. */
enum jb_task_state { JB_TASK_PENDING, JB_TASK_RUNNING, JB_TASK_DONE, JB_TASK_STATE_MAX };

enum jb_dep_kind { JB_DEP_SUCCESS, JB_DEP_FAILURE, JB_DEP_ANY, JB_DEP_SINGLETON, JB_DEP_MAX };
const char *jb_dep_name(enum jb_dep_kind kind);

struct jb_dep {
    uint64_t on; /* number of a job */
    enum jb_dep_kind kind;
    bool met;
};

struct jb_qtask;

struct jb_qjob {
    uint64_t num;
    uid_t uid;
    gid_t gid;
    char *user;
    char *name;
    char *account;  /* NULL: none */
    uint32_t share; /* of struct jb_fair */
    int64_t priority;
    struct jb_need need;
    uint64_t wall_us; /* JB_UNSET: no limit */
    uint64_t submitted_us;
    uint64_t begin_us;    /* 0: at once */
    uint64_t deadline_us; /* JB_UNSET: none */
    uint64_t array_limit; /* how many at once; JB_UNSET: any */
    bool is_array;
    uint64_t retry_max, retry_backoff_us, retry_memory_micro;
    struct jb_strv retry_on;
    unsigned notify; /* bits 1 << enum jb_notify_on */
    bool own_stdout; /* its output goes where the spec says, not into our logs */
    struct jb_dep *deps;
    size_t n_deps;
    size_t unmet;   /* of them */
    size_t n_tasks; /* all there ever were */
    size_t n_left;  /* not ended */
    size_t n_running;
    size_t n_bad;            /* ended otherwise than completed */
    uint32_t group;          /* where a pass has its array, if it is looked at */
    struct jb_qtask **tasks; /* those not ended, in no order */
};

struct jb_qtask {
    uint64_t id;    /* in the store; names its logs */
    uint64_t index; /* of an array; JB_UNSET: no array */
    struct jb_qjob *job;
    size_t at;   /* in job->tasks */
    size_t slot; /* in the queue's list of its state */
    enum jb_task_state state;
    bool held;
    bool asked_to_end; /* cancelled while it runs */
    bool adopted;      /* started by a daemon that is gone: its end is seen by its lock */
    bool lost;         /* its supervisor is gone, and how it ended is not known yet */
    bool swept_for;    /* ... a sweep has begun since
                           */
    bool in_ledger;    /* ... its box was there at the last look */
    bool requeue;      /* when its attempt ends it goes back to the queue */
    uint64_t asked_us; /* when it was last asked to end */
    bool asked;        /* ... and has heard it, as far as it is known */
    struct {
        unsigned month;
        uint64_t offset;
    } mark;                 /* where the journal ended when the attempt began */
    uint32_t tries;         /* attempts begun */
    uint64_t eligible_us;   /* since when only resources are missing; 0: not yet */
    uint64_t not_before_us; /* a retry that waits; or placement that was refused and is tried again then */
    bool refused;           /* ... the latter, of which `why` says more */
    uint64_t memory;        /* grown by retries; JB_UNSET: as the spec says */
    unsigned refusals;      /* ... one after the other */
    uint64_t started_us;
    uint64_t held_memory; /* of its box, as of the last pass; 0: not known, or none */
    uint32_t held_pus;
    uint64_t ends_ns; /* of its box too, by CLOCK_MONOTONIC; 0: not known */
    bool begin_due;   /* who wants to know of its begin is still to be told */
    struct jb_id attempt;
    char *why;  /* the last refusal, or why it is held; NULL */
    char *cpus; /* granted, when known */
};

/* "41", or "41_7" for a task of an array. Returns buf. */
#define JB_TASK_NAME 48
char *jb_task_name(const struct jb_qtask *task, char *buf, size_t len);
char *jb_task_name_of(uint64_t num, uint64_t index, char *buf, size_t len);

#endif
