/*
 * boxdir.h - what a box's directory holds besides its lock: enough to finish the box without its supervisor.
 *
 * Owns: nothing. Runs in: the supervisor (writing), whoever recovers (reading). Privilege: the runtime
 * directory's.
 *
 *   plan.json    {"record": draft, "recovery": {...}}; written before anything is made outside of the
 * directory, replaced when the isolation has been read back and the job is about to start record.json  the
 * finished record, written before teardown and before the journal has it
 */
#ifndef JB_JOB_BOXDIR_H
#define JB_JOB_BOXDIR_H

#include <jansson.h>

#include "cgroup/cgroup.h"
#include "plan/plan.h"

int jb_boxdir_save_plan(int box_fd, const struct jb_plan *plan, const json_t *record, struct jb_error *err);
int jb_boxdir_save_record(int box_fd, const json_t *record, struct jb_error *err);

/* What recovery needs. Release with jb_boxdir_found_free. */
struct jb_boxdir_found {
    json_t *record; /* finished when `finished`; NULL: the box had not got as far as a plan */
    bool finished;
    struct jb_cg_layout cgroups; /* as they were for the supervisor: the finder may sit elsewhere */
    struct jb_cg_plan cgroup;
    bool scratch_on_disk;
};
int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err);
void jb_boxdir_found_free(struct jb_boxdir_found *found);

/* Removes the box's scratch directory below the state directory; absent is success. */
int jb_boxdir_remove_scratch(int state_fd, const struct jb_id *id, struct jb_error *err);

#endif
