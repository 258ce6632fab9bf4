/*
 * mountapi.c - the mount verbs on the kernel's descriptor-based calls.
 *
 * Owns: nothing. Runs in: the box's first process. Privilege: CAP_SYS_ADMIN in its user namespace.
 */
#include "box/mountapi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The context descriptor hands out lines such as "e overlay: ..." that say more than errno. */
static int kernel_words(int fs_fd, const char *fstype, int errnum, struct jb_error *err)
{
    char words[512];
    ssize_t n = read(fs_fd, words, sizeof(words) - 1);
    if (n > 2) {
        words[n] = '\0';
        words[strcspn(words, "\n")] = '\0';
        return jb_fail_errno(err, errnum, "mounting %s (%s)", fstype, words + 2);
    }
    return jb_fail_errno(err, errnum, "mounting %s", fstype);
}

static int make(void *ctx, const char *fstype, const struct jb_mount_option *options, size_t n, uint64_t attr,
                struct jb_error *err)
{
    (void)ctx;
    jb_autoclose int fs = fsopen(fstype, FSOPEN_CLOEXEC);
    if (fs < 0)
        return jb_fail_errno(err, errno, "file system type %s", fstype);
    for (size_t i = 0; i < n; i++) {
        unsigned how = options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (fsconfig(fs, how, options[i].key, options[i].value, 0) < 0)
            return kernel_words(fs, fstype, errno, err);
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return kernel_words(fs, fstype, errno, err);
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
    return fd < 0 ? kernel_words(fs, fstype, errno, err) : fd;
}

/* MOUNT_ATTR_* as mount(2) has them; only those that are used. */
static unsigned long old_flags(uint64_t attr)
{
    return (attr & MOUNT_ATTR_NOSUID ? MS_NOSUID : 0U) | (attr & MOUNT_ATTR_NODEV ? MS_NODEV : 0U) |
           (attr & MOUNT_ATTR_RDONLY ? MS_RDONLY : 0U) | (attr & MOUNT_ATTR_NOEXEC ? MS_NOEXEC : 0U);
}

/* In /proc/self/fd. mount(2) attaches at once: what is wanted is a copy that is not. */
static int mount_and_copy(const char *fstype, const char *options, const char *at, uint64_t attr,
                          struct jb_error *err)
{
    if (mount(fstype, at, fstype, old_flags(attr), options) < 0)
        return jb_fail_errno(err, errno, "mounting %s", fstype);
    int fd = open_tree(AT_FDCWD, at, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int saved = errno;
    if (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        saved = errno;
    else if (fd >= 0)
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return jb_fail_errno(err, saved, "mounting %s", fstype);
}

static int make_by_string(void *ctx, const char *fstype, const char *options, int dirfd, const char *name,
                          uint64_t attr, struct jb_error *err)
{
    (void)ctx;
    char at[PATH_MAX];
    (void)snprintf(at, sizeof(at), "%d/%s", dirfd, name);
    jb_autoclose int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (back < 0 || chdir("/proc/self/fd") < 0)
        return jb_fail_errno(err, errno, "mounting %s: /proc/self/fd", fstype);
    int fd = mount_and_copy(fstype, options, at, attr, err);
    if (fchdir(back) < 0 && fd >= 0) {
        int saved = errno;
        (void)close(fd);
        return jb_fail_errno(err, saved, "mounting %s: going back", fstype);
    }
    return fd;
}

/* Between the free number and its use somebody else may take it. */
static int loop(void *ctx, int fd, char *ret_path, struct jb_error *err)
{
    static const int tries = 64;
    (void)ctx;
    jb_autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return jb_fail_errno(
            err, errno,
            "/dev/loop-control (without loop devices the site can say images.kernel_mount: never)");
    struct loop_config config = {.fd = (uint32_t)fd,
                                 .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};
    for (int i = 0; i < tries; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return jb_fail_errno(err, errno, "asking for a loop device");
        (void)snprintf(ret_path, 32, "/dev/loop%d", number);
        jb_autoclose int device = open(ret_path, O_RDONLY | O_CLOEXEC);
        if (device < 0)
            return jb_fail_errno(err, errno, "%s", ret_path);
        if (ioctl(device, LOOP_CONFIGURE, &config) == 0)
            return jb_take_fd(&device);
        if (errno != EBUSY)
            return jb_fail_errno(err, errno, "setting up %s", ret_path);
    }
    return jb_fail(err, EBUSY, "all loop devices are taken again and again");
}

static int clone_mount(void *ctx, int fd, bool recursive)
{
    (void)ctx;
    int got = open_tree(fd, "",
                        AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));
    return got < 0 ? -errno : got;
}

static int set_attributes(void *ctx, int mount_fd, uint64_t set, bool recursive)
{
    (void)ctx;
    struct mount_attr attr = {.attr_set = set};
    return mount_setattr(mount_fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof(attr)) <
                   0
               ? -errno
               : 0;
}

static int attach(void *ctx, int mount_fd, int at_fd)
{
    (void)ctx;
    return move_mount(mount_fd, "", at_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno
                                                                                                      : 0;
}

static int make_private(void *ctx)
{
    (void)ctx;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

static int pivot(void *ctx, int root_fd)
{
    (void)ctx;
    if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return -errno;
    /* both roots are at "/" now, the old one on top: detaching it leaves the new one */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

const struct jb_mountapi jb_mountapi_kernel = {
    .make = make,
    .make_by_string = make_by_string,
    .loop = loop,
    .clone = clone_mount,
    .setattr = set_attributes,
    .attach = attach,
    .make_private = make_private,
    .pivot = pivot,
};
