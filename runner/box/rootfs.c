/*
 * rootfs.c - the plan's mount operations, one function for each kind.
 *
 * Owns: descriptors of the root under construction. Runs in: the box's first process, single-threaded.
 * Privilege: CAP_SYS_ADMIN in its user namespace. Everything of the image and of the submitter is hostile
 * here: places are found by descriptor beneath the new root, never by a path string from "/".
 */
#include "box/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"

/* Attaches `mount_fd` to a directory of the root that belongs to jobbox, made when absent. */
static int attach_system(struct jb_rootfs *fs, int mount_fd, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_STRICT, err);
    return at < 0 ? at : jb_rootfs_attach(fs, mount_fd, at, op->target, err);
}

int jb_rootfs_bind(struct jb_rootfs *fs, int source, const struct jb_op *op, int at, struct jb_error *err)
{
    bool recursive = op->flags & JB_OPF_RECURSIVE;
    uint64_t attr = JB_ATTR_PLAIN | (op->flags & JB_OPF_RW ? 0U : MOUNT_ATTR_RDONLY) |
                    (op->flags & JB_OPF_NO_EXEC ? MOUNT_ATTR_NOEXEC : 0U);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, source, recursive);
    if (fd < 0)
        return jb_fail_errno(err, fd, "copying the mount of %s", op->source);
    int r = fs->api->setattr(fs->api->ctx, fd, attr, recursive);
    if (r < 0)
        return jb_fail_errno(err, r, "mount attributes of %s", op->source);
    return jb_rootfs_attach(fs, fd, at, op->target, err);
}

/* The spec's path passed the rules; symlinks may have led elsewhere. */
static int check_opened(struct jb_rootfs *fs, const struct jb_op *op, int source, struct jb_error *err)
{
    char link[JB_FD_PATH];
    char path[PATH_MAX];
    if (!(op->flags & JB_OPF_AS_SUBMITTER))
        return 0;
    ssize_t n = readlink(jb_rootfs_fd_path(link, source, NULL), path, sizeof(path) - 1);
    if (n < 0)
        return jb_fail_errno(err, errno, "%s", op->source);
    path[n] = '\0';
    const char *why = jb_bind_refusal(&fs->plan->binds, path, op->flags & JB_OPF_RW);
    return why ? jb_fail(err, EPERM, "%s is %s, which may not be bound: %s", op->source, path, why) : 0;
}

static int op_bind(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int source = jb_rootfs_source(fs, op, err);
    if (source == -ENOENT && (op->flags & JB_OPF_OPTIONAL))
        return 0;
    struct stat st;
    if (source < 0 || fstat(source, &st) < 0)
        return jb_fail_errno(err, source < 0 ? source : errno, "%s", op->source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode))
        return jb_fail(err, EINVAL,
                       "%s is neither a directory nor a file; devices are asked for under "
                       "resources.devices",
                       op->source);
    int r = check_opened(fs, op, source, err);
    if (r < 0)
        return r;
    enum jb_walk walk = op->flags & (JB_OPF_AS_SUBMITTER | JB_OPF_IN_ROOT) ? JB_WALK_IN_ROOT : JB_WALK_STRICT;
    jb_autoclose int at = jb_rootfs_place(fs, op->target, !S_ISDIR(st.st_mode), walk, err);
    if (at < 0)
        return op->flags & JB_OPF_OPTIONAL && !(op->flags & JB_OPF_AS_SUBMITTER) ? 0 : at;
    return jb_rootfs_bind(fs, source, op, at, err);
}

static int op_scratch_bind(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char name[16];
    if (op->flags &
        JB_OPF_OPTIONAL) { /* an image may have a symlink here, to a directory that is the box's anyway */
        jb_autoclose int there = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
        if (there == -ELOOP)
            return 0;
    }
    (void)snprintf(name, sizeof(name), "dir%u", fs->binds++);
    if (mkdirat(fs->scratch_fd, name, 0755) < 0 || fchmodat(fs->scratch_fd, name, op->mode, 0) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    if ((op->flags & JB_OPF_JOB_OWNED) && fchownat(fs->scratch_fd, name, fs->plan->uid, fs->plan->gid, 0) < 0)
        return jb_fail_errno(err, errno, "giving %s to the job", op->target);
    int r = op->over ? jb_rootfs_fill(fs, op, name, err) : 0;
    if (r < 0)
        return r;
    jb_autoclose int source = openat(fs->scratch_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int fd = source < 0 ? -errno : fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "preparing the scratch");
    jb_rootfs_tell_layer(fs, "dir", fs->binds - 1, op->target, NULL, 0);
    return attach_system(fs, fd, op, err);
}

static int op_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char size[32];
    char mode[16];
    (void)snprintf(size, sizeof(size), "%" PRIu64, op->bytes);
    (void)snprintf(mode, sizeof(mode), "%04o", (unsigned)op->mode);
    char inodes[32];
    (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, fs->plan->scratch_inodes);
    const struct jb_mount_option options[] = {{"mode", mode}, {"size", size}, {"nr_inodes", inodes}};
    size_t n = JB_ARRAY_LEN(options) - (fs->plan->scratch_inodes == JB_UNSET ? 1 : 0);
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_IN_ROOT, err);
    if (at < 0)
        return at;
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "tmpfs", options, n, JB_ATTR_PLAIN, err);
    int r = fd < 0 ? fd : jb_rootfs_note_own(fs, fd, err);
    return r < 0 ? r : jb_rootfs_attach(fs, fd, at, op->target, err);
}

static int op_symlink(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    if (symlinkat(op->source, fs->root_fd, op->target + strspn(op->target, "/")) < 0)
        return jb_fail_errno(err, errno, "%s in the box", op->target);
    return 0;
}

/* A directory for the job: made with the job as owner, left alone when it is there. */
static int op_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const char *path = op->target + strspn(op->target, "/");
    if (!*path)
        return 0;
    jb_autoclose int there = jb_open_at(fs->root_fd, path, O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
    if (there >= 0)
        return 0;
    if (there != -ENOENT)
        return jb_fail_errno(err, there, "%s in the box", op->target);
    int r = jb_rootfs_make_place(fs, path, op->mode, true, JB_WALK_IN_ROOT, NULL, err);
    return r < 0 ? jb_fail_errno(err, r, "making %s in the box", op->target) : 0;
}

static int op_file(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const char *path = op->target + strspn(op->target, "/");
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX] = "";
    bool hosts = false;
    if (slash)
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    jb_autoclose int at = -1;
    int r = jb_rootfs_make_place(fs, parent, 0755, false, JB_WALK_STRICT, &at, err);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s in the box", op->target);
    jb_autoclose int fd =
        jb_rootfs_make_file(fs, at, slash ? slash + 1 : path, O_WRONLY, op->mode, &hosts, err);
    if (fd < 0)
        return jb_fail_errno(err, fd, "making %s in the box", op->target);
    r = jb_write_all(fd, op->text, strlen(op->text));
    if (r == 0 && fchmod(fd, op->mode) < 0)
        r = -errno;
    if (r == 0 && !hosts && fchown(fd, fs->plan->uid, fs->plan->gid) < 0)
        r = -errno;
    return r < 0 ? jb_fail_errno(err, r, "writing %s in the box", op->target) : 0;
}

/* The place for a file that covers what is there. Where the image has a symlink, that goes: it may lead anywhere. */
static int cover_place(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    int at = jb_rootfs_place(fs, op->target, true, JB_WALK_STRICT, err);
    if (at != -ELOOP)
        return at;
    const char *path = op->target + 1;
    const char *slash = strrchr(path, '/');
    jb_autofree char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!parent)
        return jb_fail_errno(err, ENOMEM, "%s in the box", op->target);
    jb_autoclose int dir = jb_open_at(fs->root_fd, parent, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir < 0 || unlinkat(dir, slash ? slash + 1 : path, 0) < 0)
        return at;
    jb_error_clear(err);
    return jb_rootfs_place(fs, op->target, true, JB_WALK_STRICT, err);
}

/* A file of the scratch over what the image has: no copy of that, and nothing that could be written through. */
static int op_text(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char name[16];
    jb_autoclose int at = cover_place(fs, op, err);
    if (at < 0 && (op->flags & JB_OPF_OPTIONAL) &&
        (at == -ELOOP || at == -EACCES || at == -EPERM || at == -EROFS)) {
        jb_error_clear(err);
        return 0;
    }
    struct stat st;
    if (at < 0 || fstat(at, &st) < 0)
        return at < 0 ? at : jb_fail_errno(err, errno, "%s in the box", op->target);
    if (!S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "%s in the box is not an ordinary file", op->target);
    (void)snprintf(name, sizeof(name), "text%u", fs->binds++);
    jb_autoclose int file = openat(fs->scratch_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, op->mode);
    int r = file < 0 ? -errno : jb_write_all(file, op->text, strlen(op->text));
    if (r == 0 && fchmod(file, op->mode) < 0)
        r = -errno;
    jb_autoclose int source = r < 0 ? -1 : openat(fs->scratch_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    jb_autoclose int fd = source < 0 ? (r < 0 ? r : -errno) : fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "%s in the box", op->target);
    return jb_rootfs_attach(fs, fd, at, op->target, err);
}

/*
 * A user namespace is shown /proc and /sys by the kernel only where the namespace around it sees all of them, which it does
 * not in a container whose runtime hides parts.
 */
static int make_system(struct jb_rootfs *fs, const char *fstype, const char *where, uint64_t attr,
                       struct jb_error *err)
{
    int fd = fs->api->make(fs->api->ctx, fstype, NULL, 0, JB_ATTR_PLAIN | MOUNT_ATTR_NOEXEC | attr, err);
    if (fd != -EPERM || !fs->plan->userns)
        return fd;
    return jb_fail(
        err, EPERM,
        "mounting %s: Operation not permitted: parts of %s are hidden where jobbox was started; have "
        "the container's runtime leave it whole (podman run --security-opt unmask=ALL, docker run "
        "--security-opt systempaths=unconfined)",
        fstype, where);
}

static int op_proc(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int fd = make_system(fs, "proc", "/proc", 0, err);
    return fd < 0 ? fd : attach_system(fs, fd, op, err);
}

static int op_sysfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int fd = make_system(fs, "sysfs", "/sys", MOUNT_ATTR_RDONLY, err);
    return fd < 0 ? fd : attach_system(fs, fd, op, err);
}

static int op_mask_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_IN_ROOT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "hiding %s", op->target);
    if (fs->empty_fd < 0)
        fs->empty_fd = openat(fs->scratch_fd, "empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int fd = fs->empty_fd < 0 ? -errno : fs->api->clone(fs->api->ctx, fs->empty_fd, false);
    int r = fd < 0 ? fd : fs->api->setattr(fs->api->ctx, fd, JB_ATTR_PLAIN | MOUNT_ATTR_RDONLY, false);
    if (r < 0)
        return jb_fail_errno(err, r, "hiding %s", op->target);
    return jb_rootfs_attach(fs, fd, at, op->target, err);
}

/* The cover is the /dev/null that this box made itself: an image cannot have put something else there. */
static int op_mask_file(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "hiding %s", op->target);
    struct stat st;
    if (fs->null_fd < 0)
        fs->null_fd = jb_rootfs_find(fs, "/dev/null", JB_WALK_STRICT);
    if (fs->null_fd < 0 || fstat(fs->null_fd, &st) < 0 || !S_ISCHR(st.st_mode))
        return jb_fail(err, EINVAL, "hiding %s: the box's /dev/null is not a device", op->target);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, fs->null_fd, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "hiding %s", op->target);
    return jb_rootfs_attach(fs, fd, at, op->target, err);
}

static int op_read_only(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "%s in the box", op->target);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, at, false);
    int r = fd < 0 ? fd
                   : fs->api->setattr(fs->api->ctx, fd, JB_ATTR_PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY,
                                      false);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s read-only", op->target);
    return jb_rootfs_attach(fs, fd, at, op->target, err);
}

static int op_pivot(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    (void)op;
    int r = fs->api->pivot(fs->api->ctx, fs->root_fd);
    return r < 0 ? jb_fail_errno(err, r, "changing to the box's root") : 0;
}

int jb_rootfs_build(struct jb_rootfs *fs, struct jb_error *err)
{
    static int (*const run[JB_OP_MAX])(struct jb_rootfs *, const struct jb_op *, struct jb_error *) = {
        [JB_OP_SCRATCH_TMPFS] = jb_rootfs_scratch_tmpfs,
        [JB_OP_SCRATCH_DIR] = jb_rootfs_scratch_dir,
        [JB_OP_SCRATCH_LOOP] = jb_rootfs_scratch_loop,
        [JB_OP_ROOT_OVERLAY] = jb_rootfs_root_overlay,
        [JB_OP_ROOT_TMPFS] = jb_rootfs_root_tmpfs,
        [JB_OP_OVERLAY] = jb_rootfs_overlay,
        [JB_OP_BIND] = op_bind,
        [JB_OP_SCRATCH_BIND] = op_scratch_bind,
        [JB_OP_TMPFS] = op_tmpfs,
        [JB_OP_SYMLINK] = op_symlink,
        [JB_OP_DIR] = op_dir,
        [JB_OP_TEXT] = op_text,
        [JB_OP_FILE] = op_file,
        [JB_OP_PROC] = op_proc,
        [JB_OP_SYSFS] = op_sysfs,
        [JB_OP_DEV] = jb_rootfs_dev,
        [JB_OP_DEVICE] = jb_rootfs_device,
        [JB_OP_HOOK] = jb_rootfs_hook,
        [JB_OP_MASK_FILE] = op_mask_file,
        [JB_OP_MASK_DIR] = op_mask_dir,
        [JB_OP_READONLY] = op_read_only,
        [JB_OP_PIVOT] = op_pivot,
    };
    int r = fs->api->make_private(fs->api->ctx);
    if (r < 0)
        return jb_fail_errno(err, r, "making the mounts private");
    JB_CRASH_POINT(mounts_private);
    for (size_t i = 0; i < fs->plan->n_ops; i++) {
        r = run[fs->plan->ops[i].kind](fs, &fs->plan->ops[i], err);
        JB_CRASH_POINT(op_done);
        if (r < 0)
            return r;
    }
    return 0;
}
