/*
 * boxdir.h - what a box's directory holds: enough to finish the box without its supervisor.
 *
 * Owns: nothing. Runs in: the supervisor (writing), whoever recovers (reading). Privilege: the runtime directory's.
 *
 * box.jsonl is only appended to, one write a line; a last line without its end was never written. In order:
 *   {"plan": {...}}      how to find what the box made outside of its directory; before any of it is made
 *   {"record": {...}}    the record as far as it is known: while the box is built, and again when the isolation has been
 *                        read back and the job is about to start
 *   {"finished": {...}}  the finished record: before teardown, and before the journal has it
 * Nothing of a job runs before its first record is here: a box that died without one has things to remove, and no
 * record to leave.
 */
#ifndef JB_JOB_BOXDIR_H
#define JB_JOB_BOXDIR_H

#include <jansson.h>

#include "cgroup/cgroup.h"
#include "plan/plan.h"

/* Makes box.jsonl with the plan's line. *ret_fd: for the others, the caller's. */
int jb_boxdir_begin(int box_fd, const struct jb_plan *plan, int *ret_fd, struct jb_error *err);
/* `line`: the record as jb_record_line gives it. */
int jb_boxdir_save_record(int fd, const char *line, size_t len, struct jb_error *err);
int jb_boxdir_save_finished(int fd, const char *line, size_t len, struct jb_error *err);

/* What recovery needs. Release with jb_boxdir_found_free. */
struct jb_boxdir_found {
    int fd;                      /* box.jsonl, to go on with; -1: not there */
    bool planned;                /* there may be groups and scratch to remove */
    json_t *record;              /* NULL: nothing of the job has run */
    bool finished;               /* the record is */
    struct jb_cg_layout cgroups; /* as they were for the supervisor: the finder may sit elsewhere */
    struct jb_cg_plan cgroup;
    bool scratch_on_disk;
};
int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err);
void jb_boxdir_found_free(struct jb_boxdir_found *found);

/* The record is in the journal: the file goes, and with it what recovery would act on. */
void jb_boxdir_end(int box_fd);

/* Removes the box's scratch directory below the state directory; absent is success. */
int jb_boxdir_remove_scratch(int state_fd, const struct jb_id *id, struct jb_error *err);

#endif
