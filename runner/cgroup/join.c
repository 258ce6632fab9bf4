/*
 * join.c - how processes get into the groups of a box.
 *
 * Owns: nothing; the descriptors are those of the struct jb_cgroup. Runs in: the supervisor, which hands them on, and
 * the box's first process, which joins. Privilege: write access to the groups.
 */
#include "cgroup/internal.h"

static enum jb_controller first_of(const struct jb_cg_group *g)
{
    return (enum jb_controller)__builtin_ctz(g->controllers);
}

size_t jb_cgroup_join_fds(const struct jb_cgroup *cg, bool also_v2, int fds[JB_CTL_MAX],
                          enum jb_controller which[JB_CTL_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < cg->n_groups; i++) {
        if (cg->groups[i].version == 2 && !also_v2)
            continue;
        which[n] = first_of(&cg->groups[i]);
        fds[n++] = cg->groups[i].join_fd;
    }
    return n;
}
