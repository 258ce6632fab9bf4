/*
 * build.c - the first process of a box.
 *
 * Owns: the namespaces it was cloned into and everything it mounts in them. Runs in: the box,
 * single-threaded, as a copy of the supervisor with its privilege, until it becomes the job's identity and
 * executes jobbox-init.
 *
 * Order matters. The file system comes first, while the supervisor makes the cgroups; they are joined before anything
 * of the job exists, and the cgroup namespace is made after that, so that its root is the box's own group. The identity
 * is dropped when nothing is left to mount, and the system call filter comes last, because it refuses what came before.
 */
#include "box/build.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "box/message.h"
#include "box/net.h"
#include "box/rootfs.h"
#include "box/settle.h"
#include "box/tap.h"

static int write_map(const char *path, const char *text, struct jb_error *err)
{
    int r = jb_write_at(AT_FDCWD, path, text);
    return r < 0 ? jb_fail_errno(err, r, "%s", path) : 0;
}

/* Ranges are mapped from outside. With them comes the right to set groups: none of the submitter's stay. */
static int await_maps(const struct jb_build *b, struct jb_error *err)
{
    struct jb_msg msg;
    int fds[JB_MSG_FDS];
    size_t n = 0;
    if (jb_msg_receive(b->control, &msg, fds, &n) != 1 || msg.type != JB_MSG_MAPPED)
        return jb_fail(err, EPIPE, "the supervisor is gone");
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "becoming root of the user namespace");
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0
               ? jb_fail_errno(err, errno, "asking to die with the supervisor")
               : 0;
}

/* One id each way: what an ordinary user may map without any helper. */
static int map_ids(const struct jb_build *b, struct jb_error *err)
{
    const struct jb_plan *plan = b->parts->plan;
    char text[64];
    if (!plan->userns)
        return 0;
    if (plan->ids.uids.count > 0)
        return await_maps(b, err);
    int r = write_map("/proc/self/setgroups", "deny", err);
    (void)snprintf(text, sizeof(text), "%u %u 1", (unsigned)plan->uid, (unsigned)plan->submitter_uid);
    if (r == 0)
        r = write_map("/proc/self/uid_map", text, err);
    (void)snprintf(text, sizeof(text), "%u %u 1", (unsigned)plan->gid, (unsigned)plan->submitter_gid);
    if (r == 0)
        r = write_map("/proc/self/gid_map", text, err);
    return r < 0 ? jb_wrap(err, "mapping ids into the user namespace") : 0;
}

/*
 * The supervisor makes the groups while we build the file system. Each is joined by writing "0" to its `tasks` file:
 * a single-threaded process moving itself needs no lock that has to wait for all CPUs.
 */
static int join_cgroups(struct jb_build *b, struct jb_error *err)
{
    struct jb_msg msg;
    int fds[JB_MSG_FDS];
    size_t n = 0;
    if (jb_msg_receive(b->control, &msg, fds, &n) != 1 || msg.type != JB_MSG_JOIN || n == 0)
        return jb_fail(err, EPIPE, "the supervisor is gone");
    b->init_fd = fds[--n];
    for (size_t i = 0; i < n; i++) {
        if (write(fds[i], "0", 1) != 1)
            return jb_fail_errno(err, errno, "joining the box's %s cgroup",
                                 jb_controller_name((enum jb_controller)msg.text[i]));
        (void)close(fds[i]);
        JB_CRASH_POINT(group_joined);
    }
    if ((b->parts->plan->namespaces & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
        return jb_fail_errno(err, errno, "making a cgroup namespace");
    JB_CRASH_POINT(groups_joined);
    return 0;
}

/* A layer that cannot be told of is one whose changes are not seen: there is nothing else to be done about it. */
static void tell_layer(void *ctx, const char *upper, const char *target, const int *lowers, size_t n)
{
    const struct jb_build *b = ctx;
    struct jb_msg msg = {.type = JB_MSG_LAYER};
    size_t at = 0;
    int len = snprintf(msg.text, sizeof(msg.text), "%s%c%s", upper, '\0', target);
    if (len < 0 || (size_t)len >= sizeof(msg.text))
        return;
    do {
        size_t some = n - at < JB_MSG_FDS ? n - at : JB_MSG_FDS;
        msg.value = at > 0;
        if (jb_msg_send(b->control, &msg, (size_t)len + 1, lowers + at, some) < 0)
            return;
        at += some;
    } while (at < n);
}

static int tell_fuse(void *ctx, const int *fds, size_t n, struct jb_error *err)
{
    const struct jb_build *b = ctx;
    struct jb_msg msg = {.type = JB_MSG_FUSE, .value = (int32_t)n};
    int r = 0;
    for (size_t at = 0; r == 0 && at < n; at += JB_MSG_FDS)
        r = jb_msg_send(b->control, &msg, 0, fds + at, n - at < JB_MSG_FDS ? n - at : JB_MSG_FDS);
    JB_CRASH_POINT(fuse_awaited);
    return r < 0 ? jb_fail_errno(err, r, "handing out what fuse-overlayfs is to serve") : 0;
}

static int build_root(const struct jb_build *b, struct jb_error *err)
{
    struct jb_rootfs fs = {
        .api = &jb_mountapi_kernel,
        .plan = b->parts->plan,
        .stage = b->parts->dir,
        .scratch_fd = -1,
        .root_fd = -1,
        .null_fd = -1,
        .empty_fd = -1,
        .layered = b->parts->plan->changes || b->parts->plan->keep != JB_KEEP_NEVER ? tell_layer : NULL,
        .layered_ctx = (void *)b,
        .served = tell_fuse,
        .served_ctx = (void *)b};
    int r = jb_rootfs_build(&fs, err);
    struct jb_msg msg = {.type = JB_MSG_SCRATCH};
    if (r == 0)
        (void)jb_msg_send(b->control, &msg, 0, &fs.scratch_fd, 1);
    JB_CRASH_POINT(scratch_told);
    jb_close(&fs.scratch_fd);
    jb_close(&fs.root_fd);
    jb_close(&fs.null_fd);
    jb_close(&fs.empty_fd);
    free(fs.own);
    return r;
}

static int tell_namespaces(const struct jb_build *b, struct jb_error *err)
{
    struct jb_msg msg = {.type = JB_MSG_NETNS};
    jb_autoclose int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    jb_autoclose int user = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (net < 0 || user < 0)
        return jb_fail_errno(err, errno, "/proc/self/ns");
    const int fds[] = {net, user};
    int r = jb_msg_send(b->control, &msg, 0, fds, b->parts->plan->userns ? 2 : 1);
    JB_CRASH_POINT(helper_awaited);
    return r < 0 ? jb_fail_errno(err, r, "handing out the box's namespaces") : 0;
}

static int name_host(const struct jb_plan *plan, struct jb_error *err)
{
    if (sethostname(plan->hostname, strlen(plan->hostname)) < 0)
        return jb_fail_errno(err, errno, "hostname %s", plan->hostname);
    return 0;
}

static int prepare(struct jb_build *b, struct jb_error *err)
{
    JB_CRASH_POINT(first_born);
    if (b->parts->lock_fd >= 0)
        (void)close(b->parts->lock_fd);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "asking to die with the supervisor");
    JB_CRASH_POINT(first_tied);
    int r = map_ids(b, err);
    JB_CRASH_POINT(ids_mapped);
    /* not before: it takes /proc/self/uid_map away from us */
    if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = jb_fail_errno(err, errno, "PR_SET_DUMPABLE");
    if (r == 0)
        r = jb_net_loopback(b->parts->plan, err);
    JB_CRASH_POINT(loopback_up);
    if (r == 0)
        r = jb_tap_make(b->parts->plan, err);
    if (r == 0 && b->parts->plan->network == JB_NETWORK_USER)
        r = tell_namespaces(b, err);
    if (r == 0)
        r = name_host(b->parts->plan, err);
    (void)umask(0);
    if (r == 0)
        r = build_root(b, err);
    (void)umask(022);
    if (r == 0)
        r = join_cgroups(b, err);
    if (r == 0) /* the helper has been there by now */
        r = jb_net_configure(b->parts->plan, err);
    return r;
}

_Noreturn void jb_build_run(const struct jb_build *build)
{
    struct jb_build b = *build;
    const struct jb_plan *plan = b.parts->plan;
    struct jb_error err = {0};
    char options[] = JB_INIT_LETTERS;
    const bool asked[JB_INIT_OPTIONS] = {
        [JB_INIT_TTY] = plan->tty, [JB_INIT_WAITS] = b.parts->waits, [JB_INIT_STANDS] = plan->stands};
    for (size_t i = 0; i < JB_INIT_OPTIONS; i++)
        options[i] = asked[i] ? options[i] : '-';
    if (prepare(&b, &err) < 0)
        jb_settle_give_up(b.control, &err);
    const struct jb_settle settle = {
        .plan = plan, .io = b.parts->io, .control = b.control, .init_fd = b.init_fd, .options = options};
    jb_settle_run(&settle);
}
