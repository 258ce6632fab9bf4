/*
 * trials.c - asks the kernel by doing it, where no file says whether it can be done.
 *
 * Owns: nothing that outlives a call. Runs in: the client; what changes anything, in a child that ends at once, and
 * with it its namespaces and mounts. Privilege: the user's.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "doctor/doctor.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)
#define BAD_FD     (-2)

/* Called with arguments that cannot be right: whoever complains about them has the call. A filter says EPERM. */
static int is_there(long result)
{
    return result < 0 && (errno == ENOSYS || errno == EPERM) ? -errno : 0;
}

static int try_mount_calls(void)
{
    const long calls[] = {SYS_fsopen,    SYS_fsmount,    SYS_fsconfig,
                          SYS_open_tree, SYS_move_mount, SYS_mount_setattr};
    for (size_t i = 0; i < JB_ARRAY_LEN(calls); i++)
        if (syscall(calls[i], BAD_FD, NULL, BAD_FD, NULL, 0) < 0 && errno == ENOSYS)
            return -ENOSYS; /* EPERM is for want of privilege here, which other trials are about */
    return 0;
}

static int try_close_range(void)
{
    return is_there(syscall(SYS_close_range, ~0U, 0U, 0U)); /* first above last: EINVAL */
}

static int map_self(uid_t uid, gid_t gid)
{
    char map[64];
    int r = jb_write_at(AT_FDCWD, "/proc/self/setgroups", "deny");
    (void)snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
    if (r == 0)
        r = jb_write_at(AT_FDCWD, "/proc/self/uid_map", map);
    (void)snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
    return r == 0 ? jb_write_at(AT_FDCWD, "/proc/self/gid_map", map) : r;
}

/* In a mount namespace of its own: all over /tmp, which exists everywhere and is not ours to look into. */
static int mount_overlay(bool user)
{
    static const char *const dirs[] = {"/tmp/lower", "/tmp/lower/gone", "/tmp/upper", "/tmp/work",
                                       "/tmp/merged"};
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") < 0)
        return -errno;
    for (size_t i = 0; i < JB_ARRAY_LEN(dirs); i++)
        if (mkdir(dirs[i], 0755) < 0)
            return -errno;
    const char *options = user ? "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr"
                               : "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
    if (mount("overlay", "/tmp/merged", "overlay", 0, options) < 0)
        return -errno;
    if (mkdir("/tmp/merged/made", 0755) < 0 || rmdir("/tmp/merged/gone") < 0)
        return -errno;
    return mkdir("/tmp/merged/gone", 0755) == 0 ? 0 : errno == EIO ? -ENODATA : -errno;
}

static int in_child(enum jb_trial trial)
{
    bool user = trial == JB_TRIAL_USER_NAMESPACE || trial == JB_TRIAL_USER_OVERLAY;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int r = user && unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
    if (r == 0 && user)
        r = map_self(uid, gid);
    if (r == 0 && unshare(trial == JB_TRIAL_NAMESPACES || trial == JB_TRIAL_USER_NAMESPACE ? NAMESPACES
                                                                                           : CLONE_NEWNS) < 0)
        r = -errno;
    if (r == 0 && (trial == JB_TRIAL_OVERLAY || trial == JB_TRIAL_USER_OVERLAY))
        r = mount_overlay(user);
    return r;
}

static int try_in_child(enum jb_trial trial)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(-in_child(trial) & 0xff);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

int jb_trial_run(void *ctx, enum jb_trial trial)
{
    (void)ctx;
    switch (trial) {
    case JB_TRIAL_CLONE3:
        return is_there(syscall(SYS_clone3, NULL, (size_t)0));
    case JB_TRIAL_OPENAT2:
        return is_there(syscall(SYS_openat2, BAD_FD, NULL, NULL, (size_t)0));
    case JB_TRIAL_CLOSE_RANGE:
        return try_close_range();
    case JB_TRIAL_PIDFD_OPEN:
        return is_there(syscall(SYS_pidfd_open, 0, 0U));
    case JB_TRIAL_PIDFD_SIGNAL:
        return is_there(syscall(SYS_pidfd_send_signal, BAD_FD, 0, NULL, 0U));
    case JB_TRIAL_MOUNT_CALLS:
        return try_mount_calls();
    case JB_TRIAL_NAMESPACES:
    case JB_TRIAL_OVERLAY:
    case JB_TRIAL_USER_NAMESPACE:
    case JB_TRIAL_USER_OVERLAY:
        return try_in_child(trial);
    case JB_TRIAL_MAX:
        break;
    }
    return -EINVAL;
}
