/*
 * cg_join.h - a process of a test joins a box's groups, as the box's first process does with what it is handed.
 */
#ifndef JB_TESTS_CG_JOIN_H
#define JB_TESTS_CG_JOIN_H

#include <errno.h>
#include <unistd.h>

#include "cgroup/cgroup.h"

static inline int test_cgroup_join(const struct jb_cgroup *cg, bool also_v2)
{
    int fds[JB_CTL_MAX];
    enum jb_controller which[JB_CTL_MAX];
    size_t n = jb_cgroup_join_fds(cg, also_v2, fds, which);
    for (size_t i = 0; i < n; i++)
        if (write(fds[i], "0", 1) != 1)
            return -errno;
    return 0;
}

#endif
