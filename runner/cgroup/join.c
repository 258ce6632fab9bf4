/*
 * join.c - how processes get into the groups of a box.
 *
 * Owns: nothing; the descriptors are those of the struct jb_cgroup. Runs in: the supervisor, which hands them on, and
 * the box's first process, which joins. Privilege: write access to the groups.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "cgroup/internal.h"

/* All CPUs wished; the kernel keeps those of the cpuset. */
static int reset_affinity(void)
{
    unsigned long all[JB_CPUS_MAX / (8 * sizeof(unsigned long))];
    memset(all, 0xff, sizeof(all));
    return sched_setaffinity(0, sizeof(all), (const cpu_set_t *)(const void *)all) < 0 ? -errno : 0;
}

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

int jb_cgroup_join_self(const struct jb_cgroup *cg, bool also_v2, enum jb_controller *ret_which)
{
    for (size_t i = 0; i < cg->n_groups; i++) {
        const struct jb_cg_group *g = &cg->groups[i];
        if (g->version == 2 && !also_v2)
            continue;
        *ret_which = first_of(g);
        if (g->join_fd < 0)
            return -EBADF;
        ssize_t n;
        do
            n = write(g->join_fd, "0", 1);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return -errno;
    }
    if (!cg->of[JB_CTL_CPUSET])
        return 0;
    *ret_which = JB_CTL_CPUSET;
    return reset_affinity();
}
