/*
 * identity.h - credentials: opening as the submitter, and becoming the job for good.
 *
 * Owns: nothing. Runs in: jb_open_as_submitter in any process of the supervisor's identity; jb_become_job in
 * the box's first process, once. Privilege: root where the two identities differ.
 */
#ifndef JB_BOX_IDENTITY_H
#define JB_BOX_IDENTITY_H

#include "plan/plan.h"

/*
 * Opens a path that the submitter named, with his uid, gid and groups deciding, in a single-threaded process.
 * The caller's own identity is restored. `flags` as open(2) plus O_CLOEXEC; created files get mode 0666 &
 * ~umask. Returns a descriptor or -errno (`err` is filled only when the identity could not be switched).
 */
int jb_open_as_submitter(const struct jb_plan *plan, const char *path, int flags, struct jb_error *err);

/* Calls fn(ctx) with the submitter's credentials; its return value is passed on. */
int jb_as_submitter(const struct jb_plan *plan, int (*fn)(void *ctx), void *ctx, struct jb_error *err);

/* The same before there is a plan. Somebody without privilege is himself already. */
int jb_as_user(const struct jb_submitter *who, int (*fn)(void *ctx), void *ctx, struct jb_error *err);

/* Groups, gid, uid, capabilities, bounding set, no_new_privs, seccomp: no way back. */
int jb_become_job(const struct jb_plan *plan, struct jb_error *err);

/* This process does without that capability from now on. */
int jb_drop_capability(unsigned bit);

/* One that it may have is in force: for what is read between jb_as_user and its end. */
int jb_raise_capability(unsigned bit);

#endif
