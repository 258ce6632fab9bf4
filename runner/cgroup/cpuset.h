/*
 * cpuset.h - which CPUs and memory nodes the place where boxes are made lets them have.
 *
 * Owns: nothing. Runs in: every process that chooses CPUs. Privilege: none; reading only.
 */
#ifndef JB_CGROUP_CPUSET_H
#define JB_CGROUP_CPUSET_H

#include "base/cpus.h"
#include "cgroup/layout.h"

struct jb_cg_cpuset {
    struct jb_cpus cpus, mems; /* in force now */
    struct jb_cpus given; /* configured: what of it is not in force is offline, or in a partition below */
};

/*
 * Of the group that `layout` says boxes are made in; of one that is yet to be made, and of one without a cpuset of its own,
 * what it inherits. -ENOENT: a box gets no cpuset there, so it may run where its starter may. Other errors name the file.
 */
int jb_cg_cpuset_of(const struct jb_cg_layout *layout, struct jb_cg_cpuset *ret, struct jb_error *err);

#endif
