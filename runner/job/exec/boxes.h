/*
 * boxes.h - boxes that outlive one command: created, commands executed in them, destroyed, each by a process that need
 * not live longer than its call.
 *
 * Owns: nothing beyond the calls. Runs in: any client. Privilege: jb_boxes_create as jb_job_run; the others ask the box's
 * supervisor, which answers root and whoever started the box.
 *
 * There are no globals here, and no signal handlers, and nothing ends the calling process. jb_boxes_create forks: the
 * supervisor goes on as a copy of the caller, so a caller with threads executes a program for it instead.
 */
#ifndef JB_JOB_BOXES_H
#define JB_JOB_BOXES_H

#include "job/exec/exec_ask.h"
#include "job/job.h"

/*
 * Makes a box that stands, and returns when it does: built, read back and compared, as a job's is before it starts. Its
 * supervisor is a process of its own session, in the caller's cgroups, with no descriptor of the caller's; from here on
 * only `limits` and jb_boxes_destroy end it. options->stands is taken as true, options->notice is not called. What fails
 * is said as by jb_job_run; *ret_id is the box's id.
 */
int jb_boxes_create(const struct jb_job_options *options, struct jb_id *ret_id,
                    enum jb_job_failure *ret_failure, struct jb_error *err);

struct jb_boxes_exec {
    const struct jb_exec_ask *ask; /* borrowed */
    int in, out, err;              /* the command's standard streams end up here; borrowed */
    int signal_fd; /* a signalfd: what comes from it is sent to the command; SIGWINCH: its terminal's size. -1: none */
    int tty_fd; /* whose size the command's terminal has; -1: none */
    /*
     * The box is looked after by root's queue, which takes nothing but pipes of anybody else: they are made, and what goes
     * through them is carried by this call.
     */
    bool relay;
};

/*
 * Executes a command in a box and waits until it has ended with all that it started. *ret_entry is what the record will
 * say of it (reason, exit_code, signal, ...); the caller's. -ENOENT: no such box; -EREMOTEIO: its supervisor refused, and
 * `err` says why; -ECONNRESET: the box ended without a word.
 */
int jb_boxes_exec(int boxes_fd, const struct jb_id *id, const struct jb_boxes_exec *exec, json_t **ret_entry,
                  struct jb_error *err);

/* The exit code for such an entry, as `jobbox run` has it for a job. */
int jb_boxes_exit_code(const json_t *entry);

/*
 * Ends a box and all that runs in it, after the grace of its spec, and waits for its record, in which `exit_code` is that
 * of the whole: 0 completed, else failed. *ret_record is the caller's.
 */
int jb_boxes_destroy(int boxes_fd, const struct jb_id *id, int exit_code, json_t **ret_record,
                     struct jb_error *err);

#endif
