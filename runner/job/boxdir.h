/*
 * boxdir.h - what a box's directory holds: enough to finish the box without its supervisor.
 *
 * Owns: nothing. Runs in: the supervisor (writing), whoever recovers (reading). Privilege: the runtime directory's.
 *
 * box.jsonl is only appended to, one write a line; a last line without its end was never written. In order:
 *   {"plan": {...}}      how to find what the box made outside of its directory; before any of it is made
 *   {"record": {...}}    the record as far as it is known: before anything is made, and again when the isolation has
 *                        been read back and the job is about to start
 *   {"finished": {...}}  the finished record: before teardown, and before the journal has it
 * An attempt begins with the first line. What died before that has touched nothing and leaves no record.
 */
#ifndef JB_JOB_BOXDIR_H
#define JB_JOB_BOXDIR_H

#include <jansson.h>

#include "cgroup/cgroup.h"
#include "plan/plan.h"

/* Makes box.jsonl with plan and first record in one write. *ret_fd: for the others, the caller's. */
int jb_boxdir_begin(int box_fd, const struct jb_plan *plan, const json_t *record, int *ret_fd,
                    struct jb_error *err);
/* `line`: the record as jb_record_line gives it. */
int jb_boxdir_save_record(int fd, const char *line, size_t len, struct jb_error *err);
int jb_boxdir_save_finished(int fd, const char *line, size_t len, struct jb_error *err);

/* What recovery needs. Release with jb_boxdir_found_free. */
struct jb_boxdir_found {
    int fd;                      /* box.jsonl, to go on with; -1: not there */
    json_t *record;              /* NULL: the box had not got as far as a plan */
    bool finished;               /* the record is */
    struct jb_cg_layout cgroups; /* as they were for the supervisor: the finder may sit elsewhere */
    struct jb_cg_plan cgroup;
    bool scratch_on_disk;
};
int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err);
void jb_boxdir_found_free(struct jb_boxdir_found *found);

/* Removes the box's scratch directory below the state directory; absent is success. */
int jb_boxdir_remove_scratch(int state_fd, const struct jb_id *id, struct jb_error *err);

#endif
