/*
 * streams.h - where a job's stdin comes from and its output goes.
 *
 * Owns: the descriptors of a struct jb_streams. Runs in: the supervisor. Privilege: files are opened with the
 * submitter's credentials.
 */
#ifndef JB_JOB_STREAMS_H
#define JB_JOB_STREAMS_H

#include "box/box.h"
#include "job/pump.h"
#include "plan/plan.h"

/* Files that are made when there is output for them. */
struct jb_late_output {
    int (*open)(void *ctx, bool err);
    void *ctx;
};

struct jb_streams {
    struct jb_box_io job;    /* what the job gets; owned until jb_streams_handed_over */
    struct jb_pump out, err; /* the job's output; err stays unused when merged */
    struct jb_pump in;       /* with a terminal: ours to the job's */
    int out_file, err_file;  /* owned; -1: jobbox's own descriptor */
    uint64_t budget;         /* bytes of output left, JB_UNSET: no cap */
    struct jb_late_output late;
};

/* Opens all files and makes the pipes. `out_fd`, `err_fd`: jobbox's own, for what the spec does not redirect.
 */
int jb_streams_open(const struct jb_plan *plan, int out_fd, int err_fd, struct jb_streams *ret,
                    struct jb_error *err);

/* What the spec does not redirect goes to files that are made for their first byte. `streams` must not move afterwards. */
void jb_streams_late(struct jb_streams *streams, const struct jb_plan *plan,
                     const struct jb_late_output *late);

/* The box holds the job's ends now: close ours, so that end of file can be seen. */
void jb_streams_handed_over(struct jb_streams *streams);

/* With a terminal: carry between it and ours (stdin_fd may be -1). Takes master_fd over. */
int jb_streams_terminal(struct jb_streams *streams, int master_fd, int stdin_fd, int stdout_fd,
                        struct jb_error *err);

/* A file of the host for output, as the submitter; its folder is made when it is missing. The caller closes it. */
int jb_stream_create(const struct jb_plan *plan, const char *path, int *ret, struct jb_error *err);

void jb_streams_close(struct jb_streams *streams);

#endif
