/*
 * enter.c - a process that enters a box that stands: for a command beside the box's own.
 *
 * Owns: what it makes until the struct jb_box is the caller's. Runs in: the supervisor, then two processes of its own.
 * Privilege: as the box's first process had: root, or what the owner of a user namespace has in it.
 *
 * Theory of operation. A helper is cloned into the command's group. It joins the others, enters the box's namespaces by
 * the descriptor of jobbox-init, and clones the member, for only a child can be in another PID namespace. The member is
 * the supervisor's child, not the helper's: the supervisor waits for it, and it dies with the supervisor. The helper
 * says who the member is, and is gone. The member settles just as the box's first process did. Neither can be traced
 * by what runs in the box: the helper is not in its PID namespace, and both are not dumpable before they are there.
 */
#include "box/enter.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "box/build.h"
#include "box/message.h"
#include "box/settle.h"

/* NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes to ret_pidfd */
static pid_t clone_one(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = flags | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD, /* of a brother it is the kernel's choice */
    };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int tie(struct jb_error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "asking to die with the supervisor");
    return 0;
}

static int join(const struct jb_enter_parts *parts, struct jb_error *err)
{
    for (size_t i = 0; i < parts->n_join; i++)
        if (write(parts->join_fds[i], "0", 1) != 1)
            return jb_fail_errno(err, errno, "joining the box's cgroups");
    return 0;
}

static _Noreturn void be_member(const struct jb_enter_parts *parts, int control, int init_fd)
{
    struct jb_error err = {0};
    char options[] = JB_INIT_LETTERS;
    options[JB_INIT_WAITS] = options[JB_INIT_STANDS] = '-';
    if (!parts->plan->tty)
        options[JB_INIT_TTY] = '-';
    if (!parts->keep)
        options[JB_INIT_KEEPS] = '-';
    if (tie(&err) < 0)
        jb_settle_give_up(control, &err);
    JB_CRASH_POINT(member_born);
    (void)umask(022);
    const struct jb_settle settle = {
        .plan = parts->plan, .io = parts->io, .control = control, .init_fd = init_fd, .options = options};
    jb_settle_run(&settle);
}

static _Noreturn void be_helper(const struct jb_enter_parts *parts, int control, int init_fd)
{
    struct jb_error err = {0};
    int pidfd = -1;
    if (parts->lock_fd >= 0)
        (void)close(parts->lock_fd);
    int r = tie(&err);
    if (r == 0)
        r = join(parts, &err);
    if (r == 0 && setns(parts->box->pidfd, (int)parts->plan->namespaces) < 0)
        r = jb_fail_errno(&err, errno, "entering the box's namespaces");
    if (r < 0)
        jb_settle_give_up(control, &err);
    pid_t pid = clone_one(CLONE_PARENT, -1, &pidfd);
    if (pid == 0)
        be_member(parts, control, init_fd);
    if (pid < 0) {
        (void)jb_fail_errno(&err, errno, "starting a process in the box");
        jb_settle_give_up(control, &err);
    }
    struct jb_msg msg = {.type = JB_MSG_ENTERED, .value = pid};
    (void)jb_msg_send(control, &msg, 0, &pidfd, 1);
    _exit(0);
}

int jb_box_enter(const struct jb_enter_parts *parts, struct jb_box *ret, pid_t *ret_helper,
                 struct jb_error *err)
{
    int pair[2];
    jb_autoclose int init_fd = -1;
    jb_autoclose int pidfd = -1;
    int r = jb_sealed_memfd("jobbox-init", jb_init_image, (size_t)(jb_init_image_end - jb_init_image), true,
                            &init_fd);
    if (r < 0)
        return jb_fail_errno(err, r, "jobbox-init");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return jb_fail_errno(err, errno, "socketpair");
    struct jb_box box = JB_BOX_INIT;
    box.control = pair[0];
    jb_autoclose int theirs = pair[1];
    pid_t helper = clone_one(0, parts->cgroup_fd, &pidfd);
    if (helper == 0) {
        (void)close(box.control);
        be_helper(parts, theirs, init_fd);
    }
    if (helper < 0) {
        r = jb_fail_errno(err, errno, "starting a process for the box");
        jb_close(&box.control);
        return r;
    }
    JB_CRASH_POINT(member_helped);
    *ret = box;
    *ret_helper = helper;
    return 0;
}
