/*
 * fusemount.c - a root that fuse-overlayfs serves, made without fuse-overlayfs: mounted here, and handed out to be served.
 *
 * Owns: nothing beyond struct jb_rootfs. Runs in: the box's first process, single-threaded. Privilege: CAP_SYS_ADMIN in
 * its user namespace.
 *
 * The kernel lets a user namespace mount a FUSE file system whose descriptor was opened in it. So the first process opens
 * /dev/fuse and mounts, and the supervisor starts the program outside of the box's PID namespace, with that descriptor
 * (runner/job/helper/fusehelper.h). What the program is to see of files goes along as copies of mounts that are attached nowhere:
 * the image read-only, and the scratch. Whoever looks into the root before it is served waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box/rootfs.h"

static int mount_fuse(struct jb_rootfs *fs, int dev, int lower, struct jb_error *err)
{
    struct stat st;
    char fd[16];
    char mode[16];
    char uid[16];
    char gid[16];
    if (fstat(lower, &st) < 0)
        return jb_fail_errno(err, errno, "image");
    (void)snprintf(fd, sizeof(fd), "%d", dev);
    (void)snprintf(mode, sizeof(mode), "%o", (unsigned)(S_IFDIR | (st.st_mode & 07777)));
    (void)snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
    (void)snprintf(gid, sizeof(gid), "%u", (unsigned)getegid());
    /* the kernel checks modes; the program does not know who asks. All of the box may, nobody outside of it */
    const struct jb_mount_option options[] = {{"source", "fuse-overlayfs"},
                                              {"fd", fd},
                                              {"rootmode", mode},
                                              {"user_id", uid},
                                              {"group_id", gid},
                                              {"default_permissions", NULL},
                                              {"allow_other", NULL}};
    return fs->api->make(fs->api->ctx, "fuse", options, JB_ARRAY_LEN(options), JB_ATTR_PLAIN, err);
}

/* Read-only copies in the place of the descriptors. */
static int copy_lowers(struct jb_rootfs *fs, const struct jb_op *op, const int *lowers, size_t n, int *copies,
                       struct jb_error *err)
{
    bool deep = op->flags & JB_OPF_RECURSIVE;
    for (size_t i = 0; i < n; i++) {
        copies[i] = fs->api->clone(fs->api->ctx, lowers[i], deep);
        int r = copies[i] < 0 ? copies[i]
                              : fs->api->setattr(fs->api->ctx, copies[i],
                                                 JB_ATTR_PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, deep);
        if (r < 0)
            return jb_fail_errno(err, r, "a copy of the image's mount");
    }
    return 0;
}

int jb_rootfs_fuse(struct jb_rootfs *fs, const struct jb_op *op, const int *lowers, size_t n,
                   struct jb_error *err)
{
    jb_autoclose int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (dev < 0)
        return jb_fail_errno(err, errno, "/dev/fuse");
    jb_autoclose int fd = mount_fuse(fs, dev, lowers[0], err);
    if (fd < 0)
        return fd;
    jb_autofree int *all = malloc((JB_FUSE_LOWERS + n) * sizeof(*all));
    if (!all)
        return jb_fail_errno(err, ENOMEM, "fuse-overlayfs");
    memset(all, 0xff, (JB_FUSE_LOWERS + n) * sizeof(*all)); /* -1: not open */
    int r = copy_lowers(fs, op, lowers, n, all + JB_FUSE_LOWERS, err);
    if (r == 0) {
        all[JB_FUSE_DEV] = jb_take_fd(&dev);
        all[JB_FUSE_MOUNT] = fs->api->clone(fs->api->ctx, fd, false);
        if (all[JB_FUSE_MOUNT] == -EINVAL) /* before Linux 6.15 what is attached nowhere cannot be copied */
            all[JB_FUSE_MOUNT] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        all[JB_FUSE_SCRATCH] = fs->api->clone(fs->api->ctx, fs->scratch_fd, false);
        all[JB_FUSE_USERNS] = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        for (size_t i = 0; r == 0 && i < JB_FUSE_LOWERS; i++)
            if (all[i] < 0)
                r = jb_fail_errno(err, errno, "what fuse-overlayfs is to have");
    }
    if (r == 0)
        r = fs->served(fs->served_ctx, all, JB_FUSE_LOWERS + n, err);
    for (size_t i = 0; i < JB_FUSE_LOWERS + n; i++)
        jb_close(&all[i]);
    return r < 0 ? r : jb_take_fd(&fd);
}
