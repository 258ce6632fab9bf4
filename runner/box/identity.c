/*
 * identity.c - switching credentials, for a moment or for good.
 *
 * Owns: nothing. Runs in: see identity.h. Privilege: root where identities differ.
 */
#include "box/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box/seccomp.h"

static int set_fs_ids(uid_t uid, gid_t gid)
{
    (void)setfsgid(gid);
    (void)setfsuid(uid);
    /* the calls do not fail visibly: ask again */
    return (uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid ? 0 : -EPERM;
}

/*
 * fsuid rather than seteuid: the kernel drops the capabilities that override file permissions from the
 * effective set with it, and nobody can signal or trace us in between.
 */
static int as_ids(uid_t to_uid, gid_t to_gid, const gid_t *to_groups, size_t n_groups, int (*fn)(void *ctx),
                  void *ctx, struct jb_error *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (uid == to_uid && gid == to_gid)
        return fn(ctx);
    int n = getgroups(0, NULL);
    jb_autofree gid_t *groups = n < 0 ? NULL : calloc((size_t)n + 1, sizeof(*groups));
    if (!groups || getgroups(n, groups) != n)
        return jb_fail_errno(err, errno, "reading our groups");
    if (setgroups(n_groups, to_groups) < 0)
        return jb_fail_errno(err, errno, "taking the submitter's groups");
    int r = set_fs_ids(to_uid, to_gid);
    int result = r == 0 ? fn(ctx) : r;
    int back = set_fs_ids(uid, gid);
    if (setgroups((size_t)n, groups) < 0 || back < 0) {
        if (result >= 0 && r == 0)
            (void)close(result);
        return jb_fail(err, EPERM, "could not take our own identity back");
    }
    return r < 0 ? jb_fail_errno(err, r, "taking the submitter's identity") : result;
}

int jb_as_submitter(const struct jb_plan *plan, int (*fn)(void *ctx), void *ctx, struct jb_error *err)
{
    if (plan->userns)
        return fn(ctx);
    return as_ids(plan->submitter_uid, plan->submitter_gid, plan->submitter_groups, plan->n_submitter_groups,
                  fn, ctx, err);
}

int jb_as_user(const struct jb_submitter *who, int (*fn)(void *ctx), void *ctx, struct jb_error *err)
{
    if (!who->privileged)
        return fn(ctx);
    return as_ids(who->uid, who->gid, who->groups, who->n_groups, fn, ctx, err);
}

struct open_args {
    const char *path;
    int flags;
};

static int do_open(void *ctx)
{
    const struct open_args *args = ctx;
    int fd = open(args->path, args->flags | O_CLOEXEC | O_NOCTTY, 0666);
    return fd < 0 ? -errno : fd;
}

int jb_open_as_submitter(const struct jb_plan *plan, const char *path, int flags, struct jb_error *err)
{
    struct open_args args = {path, flags};
    return jb_as_submitter(plan, do_open, &args, err);
}

static int drop_bounding(uint64_t keep)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if (keep >> bit & 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) < 0)
            return errno == EINVAL ? 0 : -errno; /* beyond the last capability of this kernel */
    }
    return 0;
}

/* With uid 0 the permitted and effective sets stay what we say; for others the kernel empties them at
 * setresuid. */
static int set_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return -errno;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int jb_drop_capability(unsigned bit)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    data[bit / 32].effective &= ~(1U << bit % 32);
    data[bit / 32].permitted &= ~(1U << bit % 32);
    data[bit / 32].inheritable &= ~(1U << bit % 32);
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int jb_raise_capability(unsigned bit)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    data[bit / 32].effective |= 1U << bit % 32;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int jb_become_job(const struct jb_plan *plan, struct jb_error *err)
{
    uint64_t have = plan->caps;
    if (have) { /* the bounding set of a container may hold fewer */
        for (unsigned bit = 0; bit < 64; bit++)
            if ((have >> bit & 1) && prctl(PR_CAPBSET_READ, bit, 0, 0, 0) != 1)
                have &= ~(UINT64_C(1) << bit);
    }
    int r = drop_bounding(have);
    if (r < 0)
        return jb_fail_errno(err, r, "dropping capabilities from the bounding set");
    /* in a user namespace with one mapped id setgroups is denied by the kernel, and there is nothing to set
     */
    if (!plan->userns && setgroups(plan->n_groups, plan->groups) < 0)
        return jb_fail_errno(err, errno, "setting the job's groups");
    if (setresgid(plan->gid, plan->gid, plan->gid) < 0)
        return jb_fail_errno(err, errno, "setting gid %u", (unsigned)plan->gid);
    if (setresuid(plan->uid, plan->uid, plan->uid) < 0)
        return jb_fail_errno(err, errno, "setting uid %u", (unsigned)plan->uid);
    r = set_capabilities(have);
    if (r < 0)
        return jb_fail_errno(err, r, "setting the job's capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "no_new_privs");
    r = jb_seccomp_install(plan->seccomp);
    return r < 0 ? jb_fail_errno(err, r, "seccomp profile \"%s\"", plan->seccomp) : 0;
}
