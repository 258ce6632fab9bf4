/*
 * record.h - the accounting of one attempt: one JSON object, built in two steps.
 *
 * Owns: nothing; json_t references belong to the caller. Runs in: the supervisor, and whoever recovers a dead
 * box. Privilege: none.
 *
 * The draft holds all that is known before the job starts; it is kept in the box's directory, so that a
 * record can be finished by somebody else when the supervisor dies. A figure that is not known is null.
 */
#ifndef JB_RECORD_RECORD_H
#define JB_RECORD_RECORD_H

#include <jansson.h>

#include "box/box.h"
#include "cgroup/cgroup.h"
#include "plan/plan.h"

#define JB_RECORD_VERSION 1

enum jb_end_reason {
    JB_END_COMPLETED,
    JB_END_FAILED,
    JB_END_SIGNALED,
    JB_END_TIMEOUT,
    JB_END_CPU_TIMEOUT,
    JB_END_IDLE_TIMEOUT,
    JB_END_OOM,
    JB_END_OUTPUT_LIMIT,
    JB_END_SCRATCH_FULL,
    JB_END_CANCELLED,
    JB_END_BOX_ERROR,
    JB_END_SUPERVISOR_LOST,
    JB_END_HOST_RESTARTED,
    JB_END_MAX,
};
const char *jb_end_reason_name(enum jb_end_reason reason);

/* How an attempt went, as far as whoever writes the record knows. */
struct jb_outcome {
    enum jb_end_reason reason;
    int exit_code;     /* -1: none */
    int signal;        /* 0: none */
    char *limit;       /* the limit that was hit, with its value; owned, NULL: none */
    char *killed_by;   /* "jobbox", "kernel", "SIGINT from ..."; owned, NULL: nobody */
    const char *error; /* with BOX_ERROR, or a command that could not be started: what failed; borrowed */
    /* wall clock, µs; JB_UNSET: did not happen, or not known */
    uint64_t started_us, ended_us, destroyed_us;
    /* monotonic durations, ns; JB_UNSET: not known */
    uint64_t setup_ns, wall_ns, paused_ns, teardown_ns; /* wall_ns includes paused_ns */
    bool has_rusage;
    struct jb_msg rusage;            /* JB_MSG_ENDED */
    uint64_t scratch_used;           /* bytes at the end */
    uint64_t scratch_peak;           /* the most that was seen */
    uint64_t net_received, net_sent; /* bytes, where the network is the box's own and leads somewhere */
    uint64_t stdout_bytes, stderr_bytes;
    bool output_truncated;
    bool stuck;        /* processes were left that did not end after SIGKILL */
    json_t *artifacts; /* array, borrowed; NULL: none collected */
    json_t
        *execs; /* array of entries, owned by whoever fills it in; NULL: no command was executed in the box */
    json_t *changes; /* counts of what the job changed, owned likewise; NULL: nobody asked */
    json_t
        *kept; /* where its files are kept, or why they are not; owned likewise, NULL: they are not to be */
    unsigned execs_unlisted; /* that are not in it, for they are too many */
};

struct jb_origin {
    const char *kind;                        /* "cli", "queue", "gitlab", "slurm" */
    uint64_t submitted_us, setup_started_us; /* wall clock */
    uint64_t eligible_us; /* since when nothing but resources was missing; 0: from the first */
    uint64_t
        wait_ns; /* between them, by the monotonic clock; of a queue, which restarts may lie in: by the wall clock */
    const char *queue; /* which queue it was in, NULL: in none; and what it is in there */
    uint64_t task;
};

int jb_record_draft(const struct jb_plan *plan, const struct jb_origin *origin, json_t **ret,
                    struct jb_error *err);

/* Puts what was read back into the draft. Either may be NULL: it stays null. */
int jb_record_isolation(json_t *record, const struct jb_plan *plan, const struct jb_isolation *isolation,
                        const struct jb_cg_readback *cgroups, struct jb_error *err);

/* The grant and the limits of the plan as they are now, in the place of what the draft says. */
int jb_record_granted(json_t *record, const struct jb_plan *plan, struct jb_error *err);

/* Completes a draft. `usage` may be NULL. */
int jb_record_finish(json_t *record, const struct jb_outcome *outcome, const struct jb_cg_usage *usage,
                     struct jb_error *err);

/* Adds a line to record.warnings: something about the figures or the record that its reader should know. */
int jb_record_warn(json_t *record, struct jb_error *err, const char *fmt, ...) JB_PRINTF(3, 4);

/* Sets the time of destruction on a finished record. */
int jb_record_destroyed(json_t *record, uint64_t destroyed_us, uint64_t teardown_ns);

/* What a client exits with for such an end. exit_code < 0, signal 0: there is none. */
int jb_end_code(const char *reason, int exit_code, int signal);
/* The same for a finished record. */
int jb_record_exit_code(const json_t *record);

/* A few lines for a person. Caller frees. */
int jb_record_summary(const json_t *record, char **ret, struct jb_error *err);

/* One line of JSON, with its newline. Caller frees. */
int jb_record_line(const json_t *record, char **ret, size_t *ret_len, struct jb_error *err);

/* record.used.cpu_user_s and the like: NULL when absent or null. */
const json_t *jb_record_get(const json_t *record, const char *section, const char *key);

#endif
