/*
 * idmap.h - ranges of ids into a box's user namespace, which only a program of the administrator's may map.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none; newuidmap and newgidmap have it.
 */
#ifndef JB_BOX_IDMAP_H
#define JB_BOX_IDMAP_H

#include <sys/types.h>

#include "plan/plan.h"

/* Maps root in the box to the submitter, and the ids from 1 on to his ranges. Nothing where the plan has none. */
int jb_idmap_write(const struct jb_plan *plan, pid_t pid, struct jb_error *err);

#endif
