/*
 * child.c - making, counting, ending the group of one command.
 *
 * Owns: see child.h. Runs in: the box's supervisor. Privilege: that of the box's groups.
 */
#include "cgroup/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/units.h"
#include "cgroup/internal.h"

/* A child of a v1 cpuset is empty and lets nobody in; one of the memory controller would hide who was killed. */
static bool is_fit(const struct jb_cg_group *g)
{
    unsigned bad = 1U << JB_CTL_CPUSET | 1U << JB_CTL_MEMORY;
    return g && g->dir.fd >= 0 && (g->version == 2 || !(g->controllers & bad));
}

static const struct jb_cg_group *choose(const struct jb_cgroup *cg)
{
    static const enum jb_controller order[] = {JB_CTL_CPUACCT, JB_CTL_CPU, JB_CTL_PIDS};
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    if (v2)
        return v2;
    for (size_t i = 0; i < JB_ARRAY_LEN(order); i++)
        if (is_fit(cg->of[order[i]]))
            return cg->of[order[i]];
    return NULL;
}

int jb_cg_child_make(const struct jb_cgroup *cg, const char *name, struct jb_cg_child *ret,
                     struct jb_error *err)
{
    const struct jb_cg_group *g = choose(cg);
    struct jb_cg_child child = JB_CG_CHILD_INIT;
    if (!g)
        return -ENOTSUP;
    child.parent = g->inner.fd >= 0 ? g->inner : g->dir;
    child.version = g->version;
    (void)snprintf(child.name, sizeof(child.name), "%s", name);
    int r = jb_cg_hit(&child.parent, "mkdir", name);
    if (r == 0 && mkdirat(child.parent.fd, name, 0755) < 0)
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "making the group %s below the box's", name);
    JB_CRASH_POINT(member_group_made);
    child.dir.fault = child.parent.fault;
    child.dir.fd = openat(child.parent.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child.dir.fd >= 0 && child.version == 1)
        child.join_fd = openat(child.dir.fd, "tasks", O_WRONLY | O_CLOEXEC);
    if (child.dir.fd < 0 || (child.version == 1 && child.join_fd < 0)) {
        r = jb_fail_errno(err, errno, "opening the group %s below the box's", name);
        jb_cg_child_end(&child);
        return r;
    }
    *ret = child;
    return 0;
}

int jb_cg_child_clone_fd(const struct jb_cg_child *child)
{
    return child->version == 2 ? child->dir.fd : -1;
}

int jb_cg_child_join_fd(const struct jb_cg_child *child)
{
    return child->join_fd;
}

/* As the box itself is read, for a box of this one group. */
int jb_cg_child_usage(const struct jb_cg_child *child, struct jb_cg_usage *ret)
{
    if (child->dir.fd < 0)
        return -ENOENT;
    struct jb_cgroup one = {.n_groups = 1};
    one.groups[0] = (struct jb_cg_group){.version = child->version,
                                         .dir = child->dir,
                                         .parent.fd = -1,
                                         .inner.fd = -1,
                                         .join_fd = -1,
                                         .controllers = 1U << JB_CTL_CPUACCT};
    if (child->version == 1)
        one.of[JB_CTL_CPUACCT] = &one.groups[0];
    return jb_cgroup_usage_cpu(&one, ret, NULL);
}

/*
 * Where the kernel says whether anything is in the group or below it; *ret becomes that file, which is ready with POLLPRI as
 * soon as it says something else than was read here.
 */
static int populated(const struct jb_cg_child *child, int *ret)
{
    char text[256];
    uint64_t value = 0;
    int r = jb_cg_hit(&child->dir, "read", "cgroup.events");
    jb_autoclose int fd = r < 0 ? r : openat(child->dir.fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return r < 0 ? r : -errno;
    text[n] = '\0';
    r = jb_keyed_u64(text, "populated", &value);
    if (r == 0)
        *ret = jb_take_fd(&fd);
    return r < 0 ? r : value != 0;
}

int jb_cg_child_strike(const struct jb_cg_child *child, struct pollfd *ret_event)
{
    jb_autoclose int events = -1;
    jb_autoclose int pidfd = -1;
    if (ret_event)
        *ret_event = (struct pollfd){.fd = -1};
    if (child->dir.fd < 0)
        return 0;
    if (child->version == 2) {
        int some = populated(child, &events);
        if (some <= 0)
            return some;
        if (ret_event)
            *ret_event = (struct pollfd){.fd = jb_take_fd(&events), .events = POLLPRI};
        if (jb_kwrite(&child->dir, "cgroup.kill", "1") == 0)
            return some;
    }
    int n = jb_cg_strike(&child->parent, child->name, &pidfd);
    if (ret_event &&
        pidfd >= 0) { /* sooner than when all are gone: there may be more than one strike reaches */
        jb_close(&ret_event->fd);
        *ret_event = (struct pollfd){.fd = jb_take_fd(&pidfd), .events = POLLIN};
    }
    return n;
}

static int remove_one(void *ctx, const struct jb_kdir *parent, const char *name)
{
    (void)ctx;
    (void)unlinkat(parent->fd, name, AT_REMOVEDIR);
    return 0;
}

void jb_cg_child_end(struct jb_cg_child *child)
{
    if (child->dir.fd >= 0 && unlinkat(child->parent.fd, child->name, AT_REMOVEDIR) < 0)
        (void)jb_cg_walk(&child->parent, child->name, remove_one, NULL);
    jb_close(&child->dir.fd);
    jb_close(&child->join_fd);
    *child = JB_CG_CHILD_INIT;
}
