/*
 * netkeeper.h - a process that keeps pasta, and takes it along when it ends.
 *
 * Owns: struct jb_netkeeper borrows all. Runs in: the supervisor, and a child of it. Privilege: that of the box's user
 * namespace where it has one, else the supervisor's.
 *
 * Theory of operation. pasta goes into the background when its interface is there, lets go of what it could be told by, and
 * stays until somebody kills it. So it runs in a PID namespace of its own, whose first process - the keeper - lives by a pipe
 * of the supervisor's: when that is closed, by whom ever, the keeper ends, and the kernel kills all that is in the namespace.
 * A first child enters the box's user namespace, to be allowed a PID namespace, and clones the keeper as the supervisor's
 * child, so that the supervisor waits for it.
 */
#ifndef JB_JOB_NETKEEPER_H
#define JB_JOB_NETKEEPER_H

#include <sys/types.h>

#include "plan/plan.h"

struct jb_netkeeper {
    const struct jb_plan *plan;
    int said;                /* where pasta writes */
    int ready;               /* gets one byte when the interface is there; closed without: it failed */
    int life;                /* the end of it here is read: closed there, all ends */
    int netns_fd, userns_fd; /* the box's; userns_fd -1: none */
};

/* All descriptors above the numbers that pasta gets some at. 0 and the keeper's pid, a child to be waited for. */
int jb_netkeeper_start(const struct jb_netkeeper *keeper, pid_t *ret);

#endif
