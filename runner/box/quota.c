/*
 * quota.c - project quotas through the file system's descriptors.
 *
 * Owns: nothing. Runs in: the supervisor, and whoever recovers. Privilege: CAP_SYS_ADMIN.
 *
 * The calls of XFS are taken, which ext4 answers as well.
 */
#include "box/quota.h"

#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/units.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#define BLOCK 512 /* what the limits are counted in */

static int call(int fd, unsigned command, uint32_t project, void *data)
{
    return syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), project, data) < 0 ? -errno : 0;
}

static int enforced(void *ctx, int fd)
{
    struct fs_quota_stat state = {.qs_version = FS_QSTAT_VERSION};
    (void)ctx;
    int r = call(fd, Q_XGETQSTAT, 0, &state);
    return r < 0 ? r : (state.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
}

static int project_get(void *ctx, int dir_fd, uint32_t *ret)
{
    struct fsxattr attr;
    (void)ctx;
    if (ioctl(dir_fd, FS_IOC_FSGETXATTR, &attr) < 0)
        return -errno;
    *ret = attr.fsx_projid;
    return 0;
}

static int project_set(void *ctx, int dir_fd, uint32_t project)
{
    struct fsxattr attr;
    (void)ctx;
    if (ioctl(dir_fd, FS_IOC_FSGETXATTR, &attr) < 0)
        return -errno;
    attr.fsx_projid = project;
    attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    return ioctl(dir_fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

static int usage(void *ctx, int fd, uint32_t project, bool *ret_used)
{
    struct fs_disk_quota quota = {0};
    (void)ctx;
    int r = call(fd, Q_XGETQUOTA, project, &quota);
    if (r == -ENOENT || r == -ESRCH) { /* nothing is known of it */
        *ret_used = false;
        return 0;
    }
    if (r == 0)
        *ret_used = quota.d_blk_hardlimit || quota.d_ino_hardlimit || quota.d_bcount || quota.d_icount;
    return r;
}

static int limit(void *ctx, int fd, uint32_t project, uint64_t bytes, uint64_t inodes)
{
    struct fs_disk_quota quota = {
        .d_version = FS_DQUOT_VERSION,
        .d_flags = FS_PROJ_QUOTA,
        .d_fieldmask = FS_DQ_BHARD | FS_DQ_IHARD | FS_DQ_BSOFT | FS_DQ_ISOFT,
        .d_id = project,
        .d_blk_hardlimit = bytes / BLOCK,
        .d_ino_hardlimit = inodes,
    };
    (void)ctx;
    return call(fd, Q_XSETQLIM, project, &quota);
}

const struct jb_quota_api jb_quota_kernel = {
    .enforced = enforced,
    .project_get = project_get,
    .project_set = project_set,
    .usage = usage,
    .limit = limit,
};

/* One that counts nothing: its box is gone, or there was none. Where to begin says the folder's own number. */
static int find_project(const struct jb_quota_api *api, int dir_fd, uint64_t start, uint32_t *ret)
{
    for (uint32_t i = 0; i < JB_QUOTA_COUNT; i++) {
        uint32_t project = JB_QUOTA_FIRST + (uint32_t)((start + i) % JB_QUOTA_COUNT);
        bool used = true;
        int r = api->usage(api->ctx, dir_fd, project, &used);
        if (r < 0 || !used) {
            *ret = project;
            return r;
        }
    }
    return -ENOSPC;
}

int jb_quota_give(const struct jb_quota_api *api, int dir_fd, uint64_t bytes, uint64_t inodes,
                  struct jb_error *err)
{
    struct stat st;
    uint32_t project = 0;
    if (fstat(dir_fd, &st) < 0)
        return jb_fail_errno(err, errno, "project quota");
    int r = find_project(api, dir_fd, st.st_ino, &project);
    if (r == -ENOSPC)
        return jb_fail(err, ENOSPC, "project quota: all %u projects that jobbox takes are in use",
                       JB_QUOTA_COUNT);
    if (r == 0) /* first the limit: a project that has one is taken */
        r = api->limit(api->ctx, dir_fd, project, bytes == JB_UNSET ? 0 : bytes,
                       inodes == JB_UNSET ? 0 : inodes);
    if (r == 0)
        r = api->project_set(api->ctx, dir_fd, project);
    if (r == 0)
        return 0;
    (void)api->limit(api->ctx, dir_fd, project, 0, 0);
    return jb_fail_errno(err, r, "project quota");
}

int jb_quota_take(const struct jb_quota_api *api, int dir_fd, struct jb_error *err)
{
    uint32_t project = 0;
    int r = api->project_get(api->ctx, dir_fd, &project);
    if (r == -ENOTTY || r == -EOPNOTSUPP || r == -EINVAL)
        return 0; /* a file system without any */
    if (r == 0 && project >= JB_QUOTA_FIRST && project - JB_QUOTA_FIRST < JB_QUOTA_COUNT) {
        r = api->limit(api->ctx, dir_fd, project, 0, 0);
        if (r == -ESRCH || r == -ENOENT || r == -ENOSYS || r == -ENOTTY || r == -EOPNOTSUPP)
            r = 0; /* they have been turned off since */
    }
    return r < 0 ? jb_fail_errno(err, r, "project quota") : 0;
}
