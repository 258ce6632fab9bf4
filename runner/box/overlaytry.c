/*
 * overlaytry.c - an overlay, mounted to see that it can be.
 *
 * Owns: nothing that outlives a call. Runs in: see overlaytry.h. Privilege: the client's.
 */
#include "box/overlaytry.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "box/mountapi.h"

#define PLACE "/tmp" /* exists everywhere; hidden while we look, and not ours to look into */

bool jb_overlay_is_sure(const char *dir)
{
    static const unsigned long sure[] = {
        0xEF53 /* ext */,          0x58465342 /* xfs */,   0x9123683E /* btrfs */,
        0x01021994 /* tmpfs */,    0xF2F52010 /* f2fs */,  0x2FC12FC1 /* zfs */,
        0x73717368 /* squashfs */, 0xE0F5E1E2 /* erofs */, 0xCA451A4E /* bcachefs */};
    struct statfs fs;
    if (statfs(dir, &fs) < 0)
        return false;
    for (size_t i = 0; i < JB_ARRAY_LEN(sure); i++)
        if ((unsigned long)fs.f_type == sure[i])
            return true;
    return false;
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

/* A directory is opened in the namespace of mounts that the overlay is to be in: the kernel takes no other's. */
static int own_mounts(const char *dir, bool userns, int *ret_lower, struct jb_error *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int r = userns && unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
    if (r == 0 && userns)
        r = map_self(uid, gid);
    if (r == 0 && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
        r = -errno;
    jb_autoclose int lower =
        r == 0 ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1; /* nothing covers it yet */
    if (r == 0 && lower < 0)
        return jb_fail_errno(err, errno, "%s", dir);
    if (r == 0 && (mount("tmpfs", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") < 0 ||
                   mkdir(PLACE "/upper", 0755) < 0 || mkdir(PLACE "/work", 0755) < 0))
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "namespaces to try it in");
    *ret_lower = jb_take_fd(&lower);
    return 0;
}

const char *jb_overlay_no_upper(int fd)
{
    static const struct {
        unsigned long type;
        const char *name;
    } without[] = {{0x6969, "NFS"},        {0x65735546, "FUSE"},       {0xFF534D42, "CIFS"},
                   {0xFE534D42, "SMB"},    {0x01021997, "9p"},         {0x00C36400, "Ceph"},
                   {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},       {0x19830326, "BeeGFS"},
                   {0x5346414F, "AFS"},    {0x794C7630, "an overlay"}, {0x4D44, "FAT"},
                   {0x2011BAB0, "exFAT"}};
    struct statfs fs;
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return NULL;
    for (size_t i = 0; i < JB_ARRAY_LEN(without); i++)
        if ((unsigned long)fs.f_type == without[i].type)
            return without[i].name;
    return NULL;
}

static void in_child(const char *dir, bool userns, struct jb_overlay_tried *t)
{
    char lower[64];
    jb_autoclose int fd = -1;
    t->result = own_mounts(dir, userns, &fd, &t->said);
    if (t->result < 0)
        return;
    (void)snprintf(lower, sizeof(lower), "/proc/self/fd/%d", fd);
    const struct jb_mount_option options[] = {
        {"lowerdir", lower}, {"upperdir", PLACE "/upper"}, {"workdir", PLACE "/work"}, {"userxattr", NULL}};
    const struct jb_mountapi *api = &jb_mountapi_kernel;
    jb_autoclose int merged =
        api->make(api->ctx, "overlay", options, JB_ARRAY_LEN(options) - (userns ? 0 : 1), 0, &t->said);
    t->result = merged < 0 ? merged : 0;
    /* of a directory the kernel gives no copy without what is mounted below it, for that would show what is covered */
    jb_autoclose int alone = merged < 0 ? api->clone(api->ctx, fd, false) : -1;
    t->submounts = merged < 0 && alone == -EINVAL;
    t->no_attributes = userns && setxattr(PLACE "/upper", "user.overlay.try", "y", 1, 0) < 0;
}

int jb_overlay_try(const char *dir, bool userns, struct jb_overlay_tried *ret, struct jb_error *err)
{
    int pipes[2];
    struct jb_overlay_tried tried = {0};
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "trying an overlay");
    jb_autoclose int from = pipes[0];
    jb_autoclose int to = pipes[1];
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "trying an overlay");
    if (pid == 0) {
        in_child(dir, userns, &tried);
        _exit(write(to, &tried, sizeof(tried)) != (ssize_t)sizeof(tried));
    }
    jb_close(&to);
    ssize_t n = read(from, &tried, sizeof(tried)); /* less than a pipe holds: all at once, or nothing */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (n != (ssize_t)sizeof(tried))
        return jb_fail(err, EIO, "trying an overlay over %s: no answer", dir);
    *ret = tried;
    return 0;
}
