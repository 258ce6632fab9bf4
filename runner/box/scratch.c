/*
 * scratch.c - the file system that holds the box's upper layers: in memory, a folder on disk, or a file with one of its own.
 *
 * Owns: nothing beyond struct jb_rootfs. Runs in: the box's first process, single-threaded. Privilege: CAP_SYS_ADMIN in
 * its user namespace. Everything of the image and of the submitter is hostile here.
 */
#include "box/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/statfs.h>

#include "base/cleanup.h"
#include "base/copytree.h"
#include "base/crashpoint.h"
#include "box/identity.h"
#include "box/loopdev.h"

static int open_stage(const char *path, struct jb_error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? jb_fail_errno(err, errno, "%s", path) : fd;
}

/* The scratch's own root: a place for the box's root, an empty directory for masks. */
static int furnish_scratch(struct jb_rootfs *fs, struct jb_error *err)
{
    if (mkdirat(fs->scratch_fd, "root", 0755) < 0 || mkdirat(fs->scratch_fd, "empty", 0555) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    return 0;
}

static int stage_scratch(struct jb_rootfs *fs, int *mount_fd, struct jb_error *err)
{
    jb_autoclose int stage = open_stage(fs->stage, err);
    if (stage < 0)
        return stage;
    int r = jb_rootfs_attach(fs, *mount_fd, stage, "the scratch", err);
    if (r < 0)
        return r;
    fs->scratch_fd = jb_take_fd(mount_fd);
    return furnish_scratch(fs, err);
}

int jb_rootfs_scratch_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char size[32];
    char inodes[32];
    struct jb_mount_option options[3] = {{"mode", "0755"}};
    size_t n = 1;
    if (op->bytes != JB_UNSET) {
        (void)snprintf(size, sizeof(size), "%" PRIu64, op->bytes);
        options[n++] = (struct jb_mount_option){"size", size};
    }
    if (op->inodes != JB_UNSET) {
        (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, op->inodes);
        options[n++] = (struct jb_mount_option){"nr_inodes", inodes};
    }
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "tmpfs", options, n, JB_ATTR_PLAIN, err);
    if (fd < 0)
        return fd;
    int r = jb_rootfs_note_own(fs, fd, err);
    return r < 0 ? r : stage_scratch(fs, &fd, err);
}

/* An overlay writes with the rights of whoever mounted it, and this one lets them pass every quota. */
static int give_up_resources(struct jb_error *err)
{
    int r = jb_drop_capability(CAP_SYS_RESOURCE);
    return r < 0 ? jb_fail_errno(err, r, "giving up CAP_SYS_RESOURCE, which knows no quota") : 0;
}

int jb_rootfs_scratch_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int source = open_stage(op->source, err);
    if (source < 0)
        return source;
    bool quota = op->bytes != JB_UNSET || op->inodes != JB_UNSET;
    int r = quota ? give_up_resources(err) : 0;
    if (r < 0)
        return r;
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "%s", op->source);
    r = fs->api->setattr(fs->api->ctx, fd, JB_ATTR_PLAIN, false);
    if (r < 0)
        return jb_fail_errno(err, r, "%s", op->source);
    return stage_scratch(fs, &fd, err);
}

/* The file holds a little more than was asked for. What is too much is taken: it is reserved, not written. */
static int trim_scratch(int dir, uint64_t bytes, struct jb_error *err)
{
    struct statfs st;
    if (fstatfs(dir, &st) < 0)
        return jb_fail_errno(err, errno, "the scratch's file system");
    uint64_t room = (uint64_t)st.f_bavail * (uint64_t)st.f_bsize;
    if (room <= bytes)
        return 0;
    jb_autoclose int fd = openat(dir, ".room", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)(room - bytes)) < 0)
        return jb_fail_errno(err, errno, "the scratch's file system");
    return 0;
}

int jb_rootfs_scratch_loop(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char path[JB_LOOP_PATH];
    jb_autoclose int dir = open_stage(op->source, err);
    if (dir < 0)
        return dir;
    jb_autoclose int image = openat(dir, JB_SCRATCH_IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (image < 0)
        return jb_fail_errno(err, errno, "%s/" JB_SCRATCH_IMAGE, op->source);
    jb_autoclose int loop = jb_loop_attach(image, path, err);
    if (loop < 0)
        return jb_wrap(err, "scratch");
    JB_CRASH_POINT(loop_attached);
    const struct jb_mount_option options[] = {
        {"source", path}, {"noinit_itable", NULL}, {"nodelalloc", NULL}};
    jb_autoclose int fd =
        fs->api->make(fs->api->ctx, "ext4", options, JB_ARRAY_LEN(options), JB_ATTR_PLAIN, err);
    int r = fd < 0 ? fd : jb_rootfs_note_own(fs, fd, err);
    if (r == 0)
        r = stage_scratch(fs, &fd, err);
    return r < 0 ? r : trim_scratch(fs->scratch_fd, op->bytes, err);
}

struct filling {
    const struct jb_plan *plan;
    const struct jb_op *op;
};

/* What comes into a place of its own further down, which hides it here. */
static bool is_elsewhere(void *ctx, const char *path)
{
    const struct filling *f = ctx;
    const char *base = f->op->target ? f->op->target : "";
    size_t len = strlen(base);
    for (size_t i = 0; i < f->plan->n_ops; i++) {
        const struct jb_op *op = &f->plan->ops[i];
        if (op != f->op && op->over && op->target && strncmp(op->target, base, len) == 0 &&
            op->target[len] == '/' && jb_streq(op->target + len + 1, path))
            return true;
    }
    return false;
}

int jb_rootfs_fill(struct jb_rootfs *fs, const struct jb_op *op, const char *name, struct jb_error *err)
{
    struct filling f = {fs->plan, op};
    struct jb_copied sum = {0};
    jb_autoclose int from = open(op->over, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 && errno == ENOENT)
        return 0;
    jb_autoclose int to = openat(fs->scratch_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || to < 0)
        return jb_fail_errno(err, errno, "%s", op->over);
    const struct jb_copy copy = {.from = from,
                                 .to = to,
                                 .max_bytes = JB_UNSET,
                                 .max_files = JB_UNSET,
                                 .to_fuse = op->flags & JB_OPF_FUSE,
                                 .plain = op->kind == JB_OP_SCRATCH_BIND,
                                 .skip = is_elsewhere,
                                 .skip_ctx = &f};
    int r = jb_copy_tree(&copy, &sum, err);
    return r < 0 ? jb_wrap(err, "the files of box %s", fs->plan->over_id) : 1;
}
