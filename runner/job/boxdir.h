/*
 * boxdir.h - what a box's directory holds: enough to finish the box without its supervisor.
 *
 * Owns: nothing. Runs in: the supervisor (writing), whoever recovers (reading). Privilege: the runtime directory's.
 *
 * box.jsonl is only appended to, one write a line; a last line without its end was never written. In order:
 *   {"plan": {...}}      how to find what the box made outside of its directory; before any of it is made
 *   {"record": {...}}    the record as far as it is known: while the box is built, and again when the isolation has been
 *                        read back and the job is about to start
 *   {"exec": {...}}      a command executed in the box, as it is known when it starts, and again when it has ended
 *   {"finished": {...}}  the finished record: before teardown, and before the journal has it
 * Nothing of a job runs before its first record is here: a box that died without one has things to remove, and no
 * record to leave.
 */
#ifndef JB_JOB_BOXDIR_H
#define JB_JOB_BOXDIR_H

#include <jansson.h>

#include "base/str.h"
#include "cgroup/cgroup.h"
#include "plan/plan.h"

#define JB_BOX_FILE "box.jsonl"

/* Makes box.jsonl with the plan's line, which is appended to `ret_line` too. *ret_fd: for the others, the caller's. */
int jb_boxdir_begin(int box_fd, const struct jb_plan *plan, int *ret_fd, struct jb_buf *ret_line,
                    struct jb_error *err);
/* {"record": ...} as a line, from the record as jb_record_line gives it; appended to `ret`. -ENOMEM. */
int jb_boxdir_record_line(const char *line, size_t len, struct jb_buf *ret);
/* `line`: the record as jb_record_line gives it. */
int jb_boxdir_save_record(int fd, const char *line, size_t len, struct jb_error *err);
int jb_boxdir_save_finished(int fd, const char *line, size_t len, struct jb_error *err);

/* `line`: the entry of the record for one command, as JSON. */
int jb_boxdir_save_exec(int fd, const char *line, size_t len, struct jb_error *err);

/* What recovery needs. Release with jb_boxdir_found_free. */
struct jb_boxdir_found {
    int fd;         /* box.jsonl, to go on with; -1: not there */
    bool planned;   /* there may be groups and scratch to remove */
    json_t *record; /* NULL: nothing of the job has run */
    json_t *execs;  /* array of the commands executed in it, as far as they are known; NULL: none */
    bool finished;  /* the record is */
    struct jb_cg_layout cgroups; /* as they were for the supervisor: the finder may sit elsewhere */
    struct jb_cg_plan cgroup;
    bool scratch_on_disk;
    /* the first line that is whole and makes no sense all the same, and why; "": none. Such lines count for nothing */
    char damage[200];
};
/* -EPERM when the folder or the file is not our own: nothing of it is believed then. */
int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err);
/* The same of a live box, whose supervisor goes on writing: nothing is changed, and ret->fd is -1. */
int jb_boxdir_look(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err);
/* The same from lines that were kept elsewhere: adds to `found` what it does not know yet. */
void jb_boxdir_learn(const char *lines, struct jb_boxdir_found *found);
void jb_boxdir_found_free(struct jb_boxdir_found *found);

/*
 * A box with processes that hang in the kernel, so that not even SIGKILL ends them, is marked: whoever tries to finish it
 * later has only a short look whether they have gone, and holds nobody up.
 */
void jb_boxdir_set_stuck(int box_fd);
bool jb_boxdir_is_stuck(int box_fd);

/* The record is in the journal: the file goes, and with it what recovery would act on. */
void jb_boxdir_end(int box_fd);

#endif
