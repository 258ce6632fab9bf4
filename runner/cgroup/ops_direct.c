/*
 * ops_direct.c - groups made, filled and removed through held descriptors: v2, and v1 where start time
 * counts.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: write access to the starter's own cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cgroup/internal.h"

static int make(struct jb_cg_group *group, const char *name, struct jb_error *err)
{
    int r = jb_cg_hit(&group->parent, "mkdir", name);
    if (r == 0 && mkdirat(group->parent.fd, name, 0755) < 0)
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "making the group");
    group->made = true;
    return 0;
}

static int set(const struct jb_cg_group *group, JB_UNUSED const char *name, JB_UNUSED enum jb_controller c,
               const char *file, const char *value)
{
    return jb_kwrite(&group->dir, file, value);
}

static int remove_group(JB_UNUSED const struct jb_cg_group *group, const struct jb_kdir *parent,
                        const char *name)
{
    int r = jb_cg_hit(parent, "rmdir", name);
    if (r == 0 && unlinkat(parent->fd, name, AT_REMOVEDIR) < 0)
        r = -errno;
    return r;
}

const struct jb_cg_ops jb_cg_ops_direct = {.make = make, .set = set, .remove = remove_group};
