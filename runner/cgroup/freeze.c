/*
 * freeze.c - stops a box's processes where they stand, and lets them go on.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: that of the groups.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cgroup/internal.h"

/* The kernel wakes whoever polls cgroup.events. */
static int wait_frozen(const struct jb_kdir *dir, uint64_t deadline)
{
    jb_autoclose int fd = openat(dir->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        char text[256];
        uint64_t frozen = 0;
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        if (n < 0)
            return -errno;
        text[n] = '\0';
        int r = jb_keyed_u64(text, "frozen", &frozen);
        if (r < 0 || frozen)
            return r;
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline)
            return -ETIMEDOUT;
        uint64_t left = deadline - now;
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        struct timespec ts = {.tv_sec = (time_t)(left / JB_NS_PER_S), .tv_nsec = (long)(left % JB_NS_PER_S)};
        if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
            return -errno;
    }
}

int jb_cgroup_freeze(const struct jb_cgroup *cg, bool frozen, uint64_t timeout_ns, struct jb_error *err)
{
    const struct jb_cg_group *g = jb_cg_v2(cg);
    if (!g)
        return jb_fail(err, ENOTSUP, "the box is in no v2 group, so it cannot be frozen");
    int r = jb_kwrite(&g->dir, "cgroup.freeze", frozen ? "1" : "0");
    if (r == -ENOENT) /* Linux < 5.2 */
        return jb_fail(err, ENOTSUP, "this kernel cannot freeze v2 groups");
    if (r == 0 && frozen)
        r = wait_frozen(&g->dir, jb_mono_ns(NULL) + timeout_ns);
    return r < 0 ? jb_fail_errno(err, r, "%s the box", frozen ? "freezing" : "thawing") : 0;
}
