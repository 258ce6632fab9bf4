/*
 * attempt.h - inside of runner/job: one attempt while its supervisor carries it from claim to release.
 *
 * Owns: the box, its cgroups, its directory and its grant, through struct jb_job_attempt. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 *
 * Order. What can be refused is refused before anything is made (prepare.c). The claim comes first, with the plan on
 * disk, so that whatever is made afterwards can be found and removed by somebody else. The record follows while the
 * box is being built (assemble.c); the job waits for it. Teardown runs the other way; the record is on disk before it
 * starts and in the journal before the claim is given back (conclude.c).
 */
#ifndef JB_JOB_ATTEMPT_H
#define JB_JOB_ATTEMPT_H

#include "box/box.h"
#include "cgroup/scope.h"
#include "job/events.h"
#include "job/helper/fusehelper.h"
#include "job/helper/nethelper.h"
#include "job/job.h"
#include "job/kept/changes.h"
#include "job/notes.h"
#include "job/streams.h"
#include "job/supervise.h"
#include "job/wait.h"
#include "record/record.h"

/* Everything one attempt holds. */
struct jb_job_attempt {
    const struct jb_job_options *o;
    struct jb_id id;
    struct jb_host host;
    struct jb_plan *plan;
    int image_fd;                 /* keeps the image's layers in the store; -1: none */
    int box_fd, lock_fd, file_fd; /* directory, ledger slot, box.jsonl */
    struct jb_buf plan_line;      /* how box.jsonl begins */
    struct jb_note note;          /* the same in the state directory */
    char *box_dir;
    struct jb_cgroup *cgroup;
    struct jb_box box;
    struct jb_helper helper; /* of the network */
    struct jb_helper fuse;   /* serves the root */
    struct jb_streams streams;
    json_t *record;
    struct jb_outcome outcome;
    uint64_t begun_ns;
    uint64_t ends_ns; /* as the ledger has it */
    struct jb_origin origin;
    struct jb_events events;
    struct jb_wait wait;
    struct jb_cg_usage before; /* CPU time that building the box took */
    struct jb_mourners mourners;
    struct jb_changes changes;
    struct jb_scope scope; /* where this process went to make room for the box */
    bool has_host, claimed, streams_open, box_up, has_before;
};

/*
 * From the spec to a claim, with the plan in the box's file; waits for resources where the options say so. On failure
 * *ret_failure says whose fault it is, and the caller gives back.
 */
int jb_job_prepare(struct jb_job_attempt *a, int signal_fd, enum jb_job_failure *ret_failure,
                   struct jb_error *err);

/* Everything up to the point where nothing but GO is missing, read back and compared. */
int jb_job_assemble(struct jb_job_attempt *a, struct jb_error *err);

/* The record as it is now, into the box's file and the notes of attempts. */
int jb_job_save_record(struct jb_job_attempt *a, struct jb_error *err);

/*
 * The record is completed and appended, the groups removed while it goes to the disk, the claim given back. The finished
 * record in the box's own file stands in for what may not come to its end.
 */
int jb_job_conclude(struct jb_job_attempt *a, struct jb_error *warning, struct jb_error *err);

/* Before the plan was on disk there was no attempt: nothing to record, only to give back. */
void jb_job_give_back(struct jb_job_attempt *a);

/* jobbox-init is to stay until all has been looked at that is gone with it: the job's files, its network. */
bool jb_job_init_waits(const struct jb_plan *plan);

void jb_job_attempt_free(struct jb_job_attempt *a);

#endif
