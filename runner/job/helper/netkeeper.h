/*
 * netkeeper.h - pasta, in the hands of a keeper.
 *
 * Owns: struct jb_netkeeper borrows all. Runs in: see keeper.h. Privilege: see keeper.h.
 *
 * pasta goes into the background when its interface is there, lets go of what it could be told by, and stays until somebody
 * kills it: the end of its keeper's PID namespace does.
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

/* 0 and the keeper's pid, a child to be waited for. */
int jb_netkeeper_start(const struct jb_netkeeper *netkeeper, pid_t *ret);

#endif
