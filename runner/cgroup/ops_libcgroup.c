/*
 * ops_libcgroup.c - v1 groups made, filled and removed by libcgroup, and its view of the mounts.
 *
 * Owns: nothing; libcgroup keeps a table of mounts for the life of the process. Runs in: the supervisor.
 * Privilege: write access to the starter's own cgroups.
 *
 * What libcgroup does differently from what a box needs, and what is done about it here:
 *   it takes an existing directory for its own       the name is looked up first
 *   it may fail half way and leave directories       `made` is set before it is called; the caller sweeps
 *   its ordinary delete moves processes to the parent  only empty groups are deleted through it
 *   values of 100 bytes and more are not taken       they are written directly
 *   ECGOTHER says nothing                            the errno behind it is what is returned
 */
#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/internal.h"

#define VALUE_MAX 100 /* libcgroup cuts longer values */

static const char *const v1_names[JB_CTL_MAX] = {
    [JB_CTL_CPUSET] = "cpuset",   [JB_CTL_CPU] = "cpu",         [JB_CTL_CPUACCT] = "cpuacct",
    [JB_CTL_MEMORY] = "memory",   [JB_CTL_PIDS] = "pids",       [JB_CTL_IO] = "blkio",
    [JB_CTL_DEVICES] = "devices", [JB_CTL_HUGETLB] = "hugetlb",
};

/* libcgroup's codes that have an errno of the same meaning. */
static int errno_of(int code)
{
    static const struct {
        int code, errnum;
    } table[] = {
        {ECGROUPNOTEXIST, ENOENT},      {ECGROUPSUBSYSNOTMOUNTED, ENOTSUP},
        {ECGROUPNOTMOUNTED, ENOTSUP},   {ECGROUPNOTOWNER, EPERM},
        {ECGROUPNOTALLOWED, EACCES},    {ECGNONEMPTY, EBUSY},
        {ECGROUPVALUENOTEXIST, ENOENT}, {ECGINVAL, EINVAL},
        {ECGMAXVALUESEXCEEDED, E2BIG},
    };
    if (code == 0)
        return 0;
    if (code == ECGOTHER && cgroup_get_last_errno() > 0)
        return -cgroup_get_last_errno();
    for (size_t i = 0; i < JB_ARRAY_LEN(table); i++)
        if (table[i].code == code)
            return -table[i].errnum;
    return -EIO;
}

/* The library would print on stdout, which belongs to the job. */
static int start(void)
{
    cgroup_set_logger(NULL, CGROUP_LOG_ERROR, NULL);
    return cgroup_init();
}

static void handle_free(struct cgroup **handle)
{
    if (*handle)
        cgroup_free(handle);
}
#define autohandle __attribute__((cleanup(handle_free)))

/* libcgroup's handle for the group, its controllers added; NULL when out of memory. */
static struct cgroup *handle_of(const struct jb_cg_group *group, const char *name, unsigned controllers)
{
    if (!group->mount)
        return NULL;
    jb_autofree char *path = jb_asprintf("%s%s%s", group->below + 1, group->below[1] ? "/" : "", name);
    autohandle struct cgroup *handle = path ? cgroup_new_cgroup(path) : NULL;
    for (size_t c = 0; handle && c < JB_CTL_MAX; c++)
        if ((controllers & 1U << c) && v1_names[c] && !cgroup_add_controller(handle, v1_names[c]))
            return NULL;
    return jb_take_ptr(handle);
}

static int make(struct jb_cg_group *group, const char *name, struct jb_error *err)
{
    int r = jb_cg_hit(&group->parent, "mkdir", name);
    if (r < 0)
        return jb_fail_errno(err, r, "making the group");
    if (faccessat(group->parent.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return jb_fail_errno(err, EEXIST, "making the group");
    r = start();
    if (r != 0)
        return jb_fail(err, ENOTSUP, "libcgroup does not work here: %s", cgroup_strerror(r));
    autohandle struct cgroup *handle = handle_of(group, name, group->controllers);
    if (!handle)
        return jb_fail_errno(err, ENOMEM, "making the group");
    group->made = true;
    r = cgroup_create_cgroup(handle, 1);
    if (r != 0)
        return jb_fail(err, errno_of(r), "libcgroup could not make the group: %s (%s)", cgroup_strerror(r),
                       strerrordesc_np(-errno_of(r)));
    return 0;
}

static int set(const struct jb_cg_group *group, const char *name, enum jb_controller c, const char *file,
               const char *value)
{
    int r = jb_cg_hit(&group->dir, "write", file);
    if (r < 0)
        return r;
    if (strlen(value) >= VALUE_MAX)
        return jb_kwrite(&group->dir, file, value);
    if (faccessat(group->dir.fd, file, F_OK, 0) <
        0) /* libcgroup says "not allowed" for a file that is absent */
        return -errno;
    autohandle struct cgroup *handle = handle_of(group, name, 1U << c);
    struct cgroup_controller *controller = handle ? cgroup_get_controller(handle, v1_names[c]) : NULL;
    if (!controller)
        return -ENOMEM;
    r = cgroup_add_value_string(controller, file, value);
    return errno_of(r != 0 ? r : cgroup_modify_cgroup(handle));
}

static int remove_group(const struct jb_cg_group *group, const struct jb_kdir *parent, const char *name)
{
    char line[64];
    struct jb_kdir dir = {.fd = openat(parent->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (dir.fd < 0)
        return -errno;
    int empty = jb_kread_line(&dir, "cgroup.procs", line, sizeof(line));
    jb_kdir_close(&dir);
    if (empty == 0 && line[0] != '\0')
        return -EBUSY;
    struct stat held, here;
    bool top = fstat(group->parent.fd, &held) == 0 && fstat(parent->fd, &here) == 0 &&
               held.st_ino == here.st_ino && held.st_dev == here.st_dev;
    if (!top) /* groups that the job made are no names libcgroup was told */
        return jb_cg_ops_direct.remove(group, parent, name);
    int r = jb_cg_hit(parent, "rmdir", name);
    if (r < 0)
        return r;
    autohandle struct cgroup *handle = start() == 0 ? handle_of(group, name, group->controllers) : NULL;
    if (!handle)
        return jb_cg_ops_direct.remove(group, parent, name);
    return errno_of(cgroup_delete_cgroup_ext(handle, CGFLAG_DELETE_EMPTY_ONLY));
}

const struct jb_cg_ops jb_cg_ops_libcgroup = {.make = make, .set = set, .remove = remove_group};

int jb_cg_layout_crosscheck(const struct jb_cg_layout *layout, struct jb_error *err)
{
    int code = start();
    if (code != 0)
        return jb_fail(err, ENOTSUP, "libcgroup does not work here: %s", cgroup_strerror(code));
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        const struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version != 1)
            continue;
        jb_autofree char *point = NULL;
        code = cgroup_get_subsys_mount_point(v1_names[c], &point);
        if (code != 0)
            return jb_fail(err, EXDEV, "%s is mounted at %s but libcgroup does not find it: %s", v1_names[c],
                           ctl->mount, cgroup_strerror(code));
        if (!jb_streq(point, ctl->mount))
            return jb_fail(err, EXDEV,
                           "%s is mounted at %s but libcgroup would use %s; the older mount should go",
                           v1_names[c], ctl->mount, point);
    }
    return 0;
}
