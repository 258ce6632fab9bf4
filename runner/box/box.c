/*
 * box.c - making and unmaking a box, seen from the supervisor.
 *
 * Owns: the first process, the message socket. Runs in: the supervisor. Privilege: as the plan says.
 */
#include "box/box.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/units.h"
#include "box/build.h"
#include "box/idmap.h"
#include "box/message.h"

#define CLOSE_TIME (10 * JB_NS_PER_S)

/*
 * As fork(2), into new namespaces and, where there is a descriptor for it, into the v2 group at once. System call filters
 * cannot look into what clone3 is asked for, so those of containers often answer that there is no such call: then the
 * older one does it, and the process joins the v2 group with the others (`outside`).
 */
/* NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes to ret_pidfd */
static pid_t clone_box(const struct jb_plan *plan, int cgroup_fd, int *ret_pidfd, bool *outside)
{
    unsigned flags = (plan->namespaces & ~(unsigned)CLONE_NEWCGROUP) | CLONE_PIDFD;
    struct clone_args args = {
        .flags = flags,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid >= 0 || (errno != ENOSYS && errno != EPERM))
        return pid;
    *outside = true;
    return (pid_t)syscall(SYS_clone, (unsigned long)flags | SIGCHLD, NULL, ret_pidfd, NULL, 0UL);
}

static int clone_failed(const struct jb_plan *plan, int errnum, struct jb_error *err)
{
    if (plan->userns && (errnum == EPERM || errnum == ENOSPC || errnum == EUSERS))
        return jb_fail_errno(
            err, errnum,
            "making a user namespace: this host does not let ordinary users have one (see "
            "/proc/sys/user/max_user_namespaces and kernel.unprivileged_userns_clone); run as root");
    return jb_fail_errno(err, errnum, "making the box's namespaces");
}

static int await_ready(struct jb_box *box, struct jb_error *err)
{
    for (;;) {
        struct jb_msg msg;
        int r = jb_box_listen(box, &msg);
        if (r < 0)
            return jb_fail_errno(err, r, "waiting for the box");
        if (r == 0)
            return jb_fail(
                err, EIO,
                "the box's first process died while it was being built (memory limit too small, or "
                "killed from outside)");
        switch (msg.type) {
        case JB_MSG_READY:
            return 0;
        case JB_MSG_SCRATCH:
        case JB_MSG_LAYER:
            break;
        case JB_MSG_EXEC_FAILED:
            return jb_fail_errno(err, msg.errnum, "opening a terminal in the box");
        default:
            return jb_fail(err, msg.errnum ? msg.errnum : EIO, "%s", msg.text);
        }
    }
}

int jb_box_launch(const struct jb_box_parts *parts, struct jb_box *ret, struct jb_error *err)
{
    int pair[2];
    struct jb_box box = JB_BOX_INIT;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return jb_fail_errno(err, errno, "socketpair");
    box.control = pair[0];
    jb_autoclose int theirs = pair[1];
    int cgroup_fd = parts->cgroup ? jb_cgroup_v2_fd(parts->cgroup) : -1;
    box.pid = clone_box(parts->plan, cgroup_fd, &box.pidfd, &box.outside);
    if (box.pid == 0) {
        /* or it would never see end of file from a supervisor that died before they were tied together */
        (void)close(box.control);
        const struct jb_build build = {.parts = parts, .control = theirs};
        jb_build_run(&build);
    }
    if (box.pid < 0) {
        int saved = errno;
        jb_close(&box.control);
        return clone_failed(parts->plan, saved, err);
    }
    JB_CRASH_POINT(box_cloned);
    const struct jb_idmap ids = jb_idmap_of(parts->plan);
    int r = jb_idmap_write(&ids, box.pid, err);
    const struct jb_msg mapped = {.type = JB_MSG_MAPPED};
    if (r == 0 && parts->plan->ids.uids.count > 0)
        (void)jb_box_tell(&box, &mapped); /* a box that died meanwhile says why itself */
    if (r < 0) {
        jb_box_kill(&box);
        jb_box_close(&box);
        return r;
    }
    *ret = box;
    return 0;
}

int jb_box_join(const struct jb_box *box, const struct jb_cgroup *cgroup, struct jb_error *err)
{
    int fds[JB_CTL_MAX + 1];
    enum jb_controller which[JB_CTL_MAX];
    struct jb_msg msg = {.type = JB_MSG_JOIN};
    jb_autoclose int init_fd = -1;
    int r = jb_sealed_memfd("jobbox-init", jb_init_image, (size_t)(jb_init_image_end - jb_init_image), true,
                            &init_fd);
    if (r < 0)
        return jb_fail_errno(err, r, "jobbox-init");
    size_t n = cgroup ? jb_cgroup_join_fds(cgroup, box->outside, fds, which) : 0;
    fds[n] = init_fd;
    msg.value = (int32_t)n;
    for (size_t i = 0; i < n; i++)
        msg.text[i] = (char)which[i];
    r = jb_msg_send(box->control, &msg, n, fds, n + 1);
    JB_CRASH_POINT(groups_handed);
    return r < 0 && r != -EPIPE ? jb_fail_errno(err, r, "handing the cgroups to the box") : 0;
}

int jb_box_await_namespaces(struct jb_box *box, struct jb_error *err)
{
    struct jb_msg msg;
    int r = jb_box_listen(box, &msg);
    if (r > 0 && msg.type == JB_MSG_NETNS && box->netns_fd >= 0)
        return 0;
    if (r > 0 && msg.type == JB_MSG_FAILED)
        return jb_fail(err, msg.errnum ? msg.errnum : EIO, "%s", msg.text);
    return jb_fail_errno(err, r < 0 ? r : EIO, "waiting for the box's network namespace");
}

int jb_box_await_fuse(struct jb_box *box, struct jb_error *err)
{
    struct jb_msg msg = {0};
    int r = 1;
    do
        r = jb_box_listen(box, &msg);
    while (r > 0 &&
           (msg.type == JB_MSG_LAYER || (msg.type == JB_MSG_FUSE && box->n_fuse_fds < (size_t)msg.value)));
    if (r > 0 && msg.type == JB_MSG_FUSE && box->n_fuse_fds > JB_FUSE_LOWERS)
        return 0;
    if (r > 0 && msg.type == JB_MSG_FAILED)
        return jb_fail(err, msg.errnum ? msg.errnum : EIO, "%s", msg.text);
    return jb_fail_errno(err, r < 0 ? r : EIO, "waiting for the box's root");
}

void jb_box_close_fuse(struct jb_box *box)
{
    for (size_t i = 0; i < box->n_fuse_fds; i++)
        (void)close(box->fuse_fds[i]);
    free(box->fuse_fds);
    box->fuse_fds = NULL;
    box->n_fuse_fds = 0;
}

int jb_box_await(struct jb_box *box, struct jb_error *err)
{
    int r = await_ready(box, err);
    if (r < 0) {
        jb_box_kill(box);
        jb_box_close(box);
    }
    return r;
}

int jb_box_tell(const struct jb_box *box, const struct jb_msg *msg)
{
    return jb_msg_send(box->control, msg, 0, NULL, 0);
}

/* A new layer, as the last one; NULL: out of memory. */
static struct jb_box_layer *new_layer(struct jb_box *box, const struct jb_msg *msg)
{
    size_t len = strnlen(msg->text, sizeof(msg->text) - 1);
    const char *target = len + 1 < sizeof(msg->text) ? msg->text + len + 1 : "";
    struct jb_box_layer *grown = reallocarray(box->layers, box->n_layers + 1, sizeof(*grown));
    if (!grown)
        return NULL;
    box->layers = grown;
    struct jb_box_layer *layer = &grown[box->n_layers];
    *layer = (struct jb_box_layer){.target = strdup(target), .fuse = box->fuse && strcmp(target, "/") == 0};
    layer->squashed = layer->fuse && box->squashed;
    (void)snprintf(layer->upper, sizeof(layer->upper), "%s", msg->text);
    box->n_layers += layer->target != NULL;
    return layer->target ? layer : NULL;
}

/* What the message carries is the layer's from here on, or closed. */
static int add_layer(struct jb_box *box, const struct jb_msg *msg, const int *fds, size_t n)
{
    struct jb_box_layer *layer =
        msg->value && box->n_layers > 0 ? &box->layers[box->n_layers - 1] : new_layer(box, msg);
    int *lowers = layer ? reallocarray(layer->lowers, layer->n_lowers + n + 1, sizeof(*lowers)) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (lowers)
            lowers[layer->n_lowers++] = fds[i];
        else
            (void)close(fds[i]);
    }
    if (!lowers)
        return -ENOMEM;
    layer->lowers = lowers;
    return 1;
}

static int add_fuse(struct jb_box *box, const int *fds, size_t n)
{
    int *grown = n ? reallocarray(box->fuse_fds, box->n_fuse_fds + n, sizeof(*grown)) : NULL;
    for (size_t i = 0; !grown && i < n; i++)
        (void)close(fds[i]);
    if (!grown)
        return n ? -ENOMEM : -EBADMSG;
    memcpy(grown + box->n_fuse_fds, fds, n * sizeof(*fds));
    box->fuse_fds = grown;
    box->n_fuse_fds += n;
    box->fuse = true;
    return 1;
}

int jb_box_listen(struct jb_box *box, struct jb_msg *ret)
{
    int fds[JB_MSG_FDS];
    size_t n_fds = 0;
    int r = jb_msg_receive(box->control, ret, fds, &n_fds);
    if (r == 1 && ret->type == JB_MSG_LAYER)
        return add_layer(box, ret, fds, n_fds);
    if (r == 1 && ret->type == JB_MSG_FUSE)
        return add_fuse(box, fds, n_fds);
    if (r == 1 && ret->type == JB_MSG_ENTERED)
        box->pid = ret->value;
    for (size_t i = 0; i < n_fds; i++) {
        int *slot = ret->type == JB_MSG_SCRATCH   ? &box->scratch_fd
                    : ret->type == JB_MSG_ENTERED ? &box->pidfd
                    : ret->type != JB_MSG_NETNS   ? &box->master_fd
                    : i == 0                      ? &box->netns_fd
                                                  : &box->userns_fd;
        jb_close(slot);
        *slot = fds[i];
    }
    return r;
}

void jb_box_kill(struct jb_box *box)
{
    if (box->pid > 0)
        (void)kill(box->pid, SIGKILL); /* our own unreaped child: the number cannot be another's */
}

/* Until it is dead: 0, or -ETIMEDOUT. Without a descriptor of it there is no way to wait for so long only. */
static int await_death(const struct jb_box *box, uint64_t timeout_ns)
{
    uint64_t deadline = jb_mono_ns(NULL) + timeout_ns;
    struct pollfd p = {.fd = box->pidfd, .events = POLLIN};
    for (int n = 0; box->pidfd >= 0 && n <= 0;) {
        uint64_t now = jb_mono_ns(NULL);
        uint64_t left = deadline > now ? deadline - now : 0;
        struct timespec ts = {.tv_sec = (time_t)(left / JB_NS_PER_S), .tv_nsec = (long)(left % JB_NS_PER_S)};
        n = ppoll(&p, 1, &ts, NULL);
        if (n == 0 && left == 0)
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
    return 0;
}

int jb_box_close_within(struct jb_box *box, uint64_t timeout_ns)
{
    int r = box->pid > 0 ? await_death(box, timeout_ns) : 0;
    if (box->pid > 0 && r == 0)
        while (waitpid(box->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    for (size_t i = 0; i < box->n_layers; i++) {
        for (size_t k = 0; k < box->layers[i].n_lowers; k++)
            (void)close(box->layers[i].lowers[k]);
        free(box->layers[i].lowers);
        free(box->layers[i].target);
    }
    jb_box_close_fuse(box);
    free(box->layers);
    box->layers = NULL;
    box->n_layers = 0;
    jb_close(&box->pidfd);
    jb_close(&box->control);
    jb_close(&box->scratch_fd);
    jb_close(&box->master_fd);
    jb_close(&box->netns_fd);
    jb_close(&box->userns_fd);
    box->pid = -1;
    return r;
}

int jb_box_close(struct jb_box *box)
{
    return jb_box_close_within(box, CLOSE_TIME);
}
