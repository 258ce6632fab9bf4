/*
 * dev.c - a /dev of the box's own: six devices, own pseudo-terminals, own shared memory.
 *
 * Owns: nothing beyond what it mounts. Runs in: the box's first process. Privilege: CAP_SYS_ADMIN in its user
 * namespace; with CAP_MKNOD outside of one it makes nodes, else it binds the host's after checking each.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box/rootfs.h"

static const struct {
    const char *name;
    unsigned major, minor;
} nodes[] = {
    {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
    const char *name, *target;
} links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

/* The host's own node at `name` in `dir`, after a look at whether it is the device it should be. */
static int bind_node(struct jb_rootfs *fs, int source, mode_t type, dev_t number, int dir, const char *name,
                     const char *host, struct jb_error *err)
{
    struct stat st;
    if (source < 0 || fstat(source, &st) < 0)
        return jb_fail_errno(err, errno, "%s", host);
    if ((st.st_mode & S_IFMT) != type || st.st_rdev != number)
        return jb_fail(err, EINVAL, "%s of the host is not the device it should be (%u:%u)", host,
                       major(number), minor(number));
    jb_autoclose int at = openat(dir, name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    jb_autoclose int place = at < 0 ? -1 : openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0)
        return jb_fail_errno(err, errno, "%s in the box", host);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, source, false);
    int r = fd < 0 ? fd : fs->api->attach(fs->api->ctx, fd, place);
    return r < 0 ? jb_fail_errno(err, r, "binding %s", host) : 0;
}

static int bind_own(struct jb_rootfs *fs, int dev, size_t i, struct jb_error *err)
{
    char host[32];
    (void)snprintf(host, sizeof(host), "/dev/%s", nodes[i].name);
    jb_autoclose int source = open(host, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return bind_node(fs, source, S_IFCHR, makedev(nodes[i].major, nodes[i].minor), dev, nodes[i].name, host,
                     err);
}

static int make_nodes(struct jb_rootfs *fs, int dev, struct jb_error *err)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(nodes); i++) {
        if (fs->plan->userns) {
            int r = bind_own(fs, dev, i, err);
            if (r < 0)
                return r;
        } else if (mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0) {
            return jb_fail_errno(err, errno, "/dev/%s in the box", nodes[i].name);
        }
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(links); i++)
        if (symlinkat(links[i].target, dev, links[i].name) < 0)
            return jb_fail_errno(err, errno, "/dev/%s in the box", links[i].name);
    return 0;
}

static int mount_below(struct jb_rootfs *fs, int dev, const char *name, const char *fstype,
                       const struct jb_mount_option *options, size_t n, struct jb_error *err)
{
    uint64_t attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    if (strcmp(fstype, "devpts") != 0)
        attr |= MOUNT_ATTR_NODEV;
    if (mkdirat(dev, name, 0755) < 0)
        return jb_fail_errno(err, errno, "/dev/%s in the box", name);
    jb_autoclose int at = openat(dev, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return jb_fail_errno(err, errno, "/dev/%s in the box", name);
    jb_autoclose int fd = fs->api->make(fs->api->ctx, fstype, options, n, attr, err);
    if (fd < 0)
        return jb_wrap(err, "/dev/%s in the box", name);
    int r = fs->api->attach(fs->api->ctx, fd, at);
    return r < 0 ? jb_fail_errno(err, r, "/dev/%s in the box", name) : 0;
}

int jb_rootfs_dev(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    /* for nodes and links: what holds for the scratch is not to be had here once more */
    const struct jb_mount_option dev_options[] = {{"mode", "0755"}, {"size", "64k"}, {"nr_inodes", "4096"}};
    /* group 5 is "tty" by agreement; it does not exist in a user namespace */
    const struct jb_mount_option pts_options[] = {{"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}};
    struct jb_mount_option shm_options[3] = {{"mode", "1777"}};
    char size[32];
    char inodes[32];
    size_t n_shm = 1;
    if (op->bytes != JB_UNSET) {
        (void)snprintf(size, sizeof(size), "%" PRIu64, op->bytes);
        shm_options[n_shm++] = (struct jb_mount_option){"size", size};
    }
    if (fs->plan->scratch_inodes != JB_UNSET) {
        (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, fs->plan->scratch_inodes);
        shm_options[n_shm++] = (struct jb_mount_option){"nr_inodes", inodes};
    }

    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_STRICT, err);
    if (at < 0)
        return at;
    jb_autoclose int dev = fs->api->make(fs->api->ctx, "tmpfs", dev_options, JB_ARRAY_LEN(dev_options),
                                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
    if (dev < 0)
        return dev;
    int r = fs->api->attach(fs->api->ctx, dev, at);
    if (r < 0)
        return jb_fail_errno(err, r, "/dev in the box");
    r = make_nodes(fs, dev, err);
    if (r == 0)
        r = mount_below(fs, dev, "pts", "devpts", pts_options, fs->plan->userns ? 2 : 3, err);
    if (r == 0)
        r = mount_below(fs, dev, "shm", "tmpfs", shm_options, n_shm, err);
    return r;
}

/* The box's /dev is its own file system and on it are no links but ours. The host's may lead through some. */
int jb_rootfs_device(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const struct jb_device_node *d = op->device;
    const char *slash = strrchr(op->target, '/');
    jb_autofree char *parent = slash ? strndup(op->target + 1, (size_t)(slash - op->target - 1)) : NULL;
    jb_autoclose int dir = -1;
    mode_t type = d->type == 'b' ? S_IFBLK : S_IFCHR;
    if (!parent)
        return jb_fail_errno(err, ENOMEM, "%s in the box", op->target);
    int r = jb_mkdir_p(fs->root_fd, parent, 0755, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &dir);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s in the box", op->target);
    if (fs->plan->userns) {
        jb_autoclose int source = open(op->source, O_PATH | O_CLOEXEC);
        return bind_node(fs, source, type, makedev(d->major, d->minor), dir, slash + 1, op->source, err);
    }
    if (mknodat(dir, slash + 1, type | d->mode, makedev(d->major, d->minor)) < 0)
        return jb_fail_errno(err, errno, "making %s in the box", op->target);
    uid_t uid = d->uid == (uid_t)-1 ? fs->plan->uid : d->uid;
    gid_t gid = d->gid == (gid_t)-1 ? fs->plan->gid : d->gid;
    if (fchownat(dir, slash + 1, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(dir, slash + 1, d->mode, 0) < 0) /* a change of owner takes the special bits */
        return jb_fail_errno(err, errno, "giving %s in the box to the job", op->target);
    return 0;
}
