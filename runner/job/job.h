/*
 * job.h - one attempt from spec to record, and the recovery of those whose supervisor died.
 *
 * Owns: nothing beyond the call. Runs in: the supervisor, which is the calling process. Privilege: root, or
 * none with a user namespace.
 */
#ifndef JB_JOB_JOB_H
#define JB_JOB_JOB_H

#include <jansson.h>

#include "job/state.h"
#include "plan/plan.h"

/* From a queue: what is decided already. */
struct jb_job_queued {
    struct jb_id id; /* of this attempt */
    struct jb_plan_queue plan;
    const char *queue; /* see struct jb_origin */
    uint64_t task;
    uint64_t submitted_us, eligible_us; /* wall clock */
};

struct jb_image_ui;

struct jb_job_options {
    const struct jb_spec *spec;
    const struct jb_site *site;
    const struct jb_submitter *submitter;
    struct jb_state *state;             /* opened */
    const char *origin;                 /* "cli", ... */
    const struct jb_job_queued *queued; /* NULL: from no queue */
    const struct jb_image_ui *image_ui; /* for what is unpacked first; NULL: nothing is said */
    int out_fd, err_fd;                 /* where output goes that the spec does not redirect */
    /* Instead of these: gives a regular file, which stays its own, once there is output (to stderr, with `err`). NULL: not so. */
    int (*late_output)(void *ctx, bool err);
    void *late_ctx;
    bool tty;
    int tty_fd;       /* with tty: our own terminal for input and size */
    bool wait;        /* when what it wants is taken, rather than be refused */
    uint64_t wait_ns; /* with wait: at most so long; JB_UNSET: for ever */
    /* Called while waiting: with what for and who has it, each time it changes; with NULL when the wait is over. May be
     * NULL. */
    void (*notice)(void *ctx, const char *text);
    void *notice_ctx;
    bool changes;             /* what the job changes is to be found, also when the spec does not ask */
    const char *changes_path; /* where to, as `changes` in the spec; NULL: as it says */
    int changes_fd;           /* with changes and no path anywhere: the list as text; -1: nowhere */
    const char *over;    /* the files of a box that ended, which come in below this one's own; NULL: none */
    const char *over_id; /* that box */
    bool stands;         /* a box without a command of its own, until somebody destroys it: boxes.h */
    /* Called once it can be asked for something; < 0: nobody wants it any more, and it is cancelled. May be NULL. */
    int (*standing)(void *ctx, const struct jb_id *id);
    void *standing_ctx;
};

/* What went wrong before the job could start decides the exit code. */
enum jb_job_failure {
    JB_JOB_RAN,       /* there is a record, also when the box could not be made */
    JB_JOB_BAD_SPEC,  /* the spec contradicts itself, the site or this host's policy: 125 */
    JB_JOB_NO_BOX,    /* resources, privilege, disk, kernel: 124 */
    JB_JOB_CANCELLED, /* by a signal, while it waited: 123 */
};

/*
 * Runs the job to its end. On success *ret_record is the finished record (caller decrefs), already in the
 * journal. On failure *ret_failure says which kind; nothing is left behind. Warnings that do not change the
 * result (a sink that failed) are put into `warning`, which may be empty.
 */
int jb_job_run(const struct jb_job_options *options, json_t **ret_record, enum jb_job_failure *ret_failure,
               struct jb_error *warning, struct jb_error *err);

/* The plan that jb_job_run would carry out now, without a claim; state may be unopened (an empty ledger
 * then). */
int jb_job_plan(const struct jb_job_options *options, struct jb_host *host, struct jb_plan **ret,
                enum jb_job_failure *ret_failure, struct jb_error *err);

/*
 * Finishes every dead box: processes killed, usage read, record written once, cgroups and scratch removed,
 * CPUs free. Returns how many. A box that cannot be finished is reported in `err` (the first one) and left
 * for the next try; the others are finished all the same and the number is still returned, with err->errnum
 * set.
 */
int jb_sweep(struct jb_state *state, const struct jb_site *site, struct jb_error *err);
/* What a start does: where many boxes live only some are looked at, others each time. */
int jb_sweep_some(struct jb_state *state, const struct jb_site *site, struct jb_error *err);

#endif
