/*
 * layout.h - where the cgroup hierarchies of this host are, and where this process sits in each.
 *
 * Owns: the strings of a struct jb_cg_layout. Runs in: every process. Privilege: none; reading only.
 *
 * This is data: the plan is computed from it, tests write one by hand, `jobbox plan` prints from it.
 */
#ifndef JB_CGROUP_LAYOUT_H
#define JB_CGROUP_LAYOUT_H

#include <stdbool.h>

#include "base/error.h"

/* The controllers jobbox uses. CPUACCT and DEVICES exist on v1 only. UNIFIED is the v2 tree itself (kill, cpu.stat,
 * PSI). */
enum jb_controller {
    JB_CTL_CPUSET,
    JB_CTL_CPU,
    JB_CTL_CPUACCT,
    JB_CTL_MEMORY,
    JB_CTL_PIDS,
    JB_CTL_IO, /* blkio on v1 */
    JB_CTL_UNIFIED,
    JB_CTL_DEVICES, /* v1 only; on v2 a program on the box's group does it */
    JB_CTL_HUGETLB,
    JB_CTL_MAX,
};
const char *jb_controller_name(enum jb_controller c); /* "cpuset", ..., "unified" */

struct jb_cg_controller {
    int version;   /* 1, 2, or 0: not on this host */
    char *mount;   /* mount point of its hierarchy, "/sys/fs/cgroup/memory"; NULL when version is 0 */
    char *own;     /* cgroup of this process as seen below mount, "/process/abc"; "/" is the mount itself */
    bool writable; /* a child can be made below own (access checked, not tried) */
    char why[256]; /* when version is 0 or !writable: the reason, for a message */
};

/* Who makes, fills and removes v1 groups. v2 groups are always made by jobbox itself. */
enum jb_cg_backend {
    JB_CG_BACKEND_DIRECT,    /* mkdirat and writes on held descriptors */
    JB_CG_BACKEND_LIBCGROUP, /* libcgroup: reads the mount table again for every value */
};

struct jb_cg_layout {
    struct jb_cg_controller ctl[JB_CTL_MAX];
    bool unified_only;  /* pure v2: no v1 controller is mounted */
    bool no_swap_limit; /* the kernel counts memory for each group but not swap (swapaccount=0) */
    enum jb_cg_backend backend;
};

/*
 * Reads /proc/self/cgroup, /proc/self/mountinfo (below `procfs`, "/proc" when NULL) and the mounts they name.
 * A host without any cgroup is not an error: every version is 0 then, with the reason.
 */
int jb_cg_layout_probe(const char *procfs, struct jb_cg_layout *ret, struct jb_error *err);
void jb_cg_layout_free(struct jb_cg_layout *layout);

/*
 * Makes `parent` (an absolute path below every mount, delegated by the site) the place where boxes are made:
 * `own` is replaced in every hierarchy and `writable` and `why` say what holds there. -EINVAL when it is no
 * clean path.
 */
int jb_cg_layout_reparent(struct jb_cg_layout *layout, const char *parent, struct jb_error *err);

/*
 * Holds the v1 mount points against what libcgroup finds. -EXDEV naming the first controller that differs,
 * -ENOTSUP when libcgroup does not work here. Changes nothing in layout.
 */
int jb_cg_layout_crosscheck(const struct jb_cg_layout *layout, struct jb_error *err);

#endif
