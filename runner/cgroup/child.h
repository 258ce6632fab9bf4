/*
 * child.h - a group below a box's own, for one command in it: to find all that it started, and to count it.
 *
 * Owns: a struct jb_cg_child holds the group's descriptors. Runs in: the box's supervisor. Privilege: that of the box's
 * groups.
 *
 * It is in the v2 tree where the box has a group there, else in one v1 hierarchy, of those that count CPU time if it can
 * be. It limits nothing: limits are the box's. Where a box has no group at all there is none.
 */
#ifndef JB_CGROUP_CHILD_H
#define JB_CGROUP_CHILD_H

#include "cgroup/cgroup.h"

struct jb_cg_child {
    struct jb_kdir parent; /* borrowed from the box's group */
    struct jb_kdir dir;    /* -1: there is none */
    char name[32];
    int version;
    int join_fd;
};
#define JB_CG_CHILD_INIT ((struct jb_cg_child){.parent.fd = -1, .dir.fd = -1, .join_fd = -1})

/* Makes the group. -ENOTSUP (without an error text): the box has none that it could be in. */
int jb_cg_child_make(const struct jb_cgroup *cg, const char *name, struct jb_cg_child *ret,
                     struct jb_error *err);

/* To be born in it (v2), else -1; to join it by writing "0" (v1), else -1. Borrowed. */
int jb_cg_child_clone_fd(const struct jb_cg_child *child);
int jb_cg_child_join_fd(const struct jb_cg_child *child);

/* CPU time of what is and was in it; all other figures JB_UNSET. */
int jb_cg_child_usage(const struct jb_cg_child *child, struct jb_cg_usage *ret);

/*
 * SIGKILL to all that is in it, at once where the kernel can. Returns how many were there, or -errno; never waits: call
 * it again until it is 0. *ret_event is then what becomes ready when it is worth to do so; fd -1: nothing does. Caller
 * closes. NULL: not wanted.
 */
struct pollfd;
int jb_cg_child_strike(const struct jb_cg_child *child, struct pollfd *ret_event);

/* Removes the group and any below it; what still holds processes stays, and goes with the box. Closes everything. */
void jb_cg_child_end(struct jb_cg_child *child);

#endif
