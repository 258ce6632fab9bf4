/*
 * scratch.h - scratch that is on disk: a folder for each box, with a cap that the kernel holds.
 *
 * Owns: scratch/ID below the state directory. Runs in: the supervisor, and whoever recovers. Privilege: root's for a
 * cap, else the state directory's.
 *
 * There are two ways to a cap. Where the file system keeps project quotas, the folder gets a project. Elsewhere a sparse
 * file in it, scratch/ID/image, holds a file system of just that size; the box's first process mounts it, in the box's
 * mount namespace alone, so that it is gone with the box whatever dies.
 */
#ifndef JB_JOB_SCRATCH_H
#define JB_JOB_SCRATCH_H

#include "plan/plan.h"

/* How a cap can be had below the state directory; state_fd -1: it is not there yet. Why not goes into `why`. */
enum jb_scratch_cap jb_scratch_probe(int state_fd, bool privileged, char why[JB_SCRATCH_WHY]);

/* What the plan wants on disk; nothing where scratch is in memory. */
int jb_scratch_make(int state_fd, const struct jb_plan *plan, struct jb_error *err);

/* Removes the box's scratch; absent is success. No process of the box is alive. */
int jb_scratch_remove(int state_fd, const struct jb_id *id, struct jb_error *err);

#endif
