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

static int in_child(const char *dir, bool userns, struct jb_error *err)
{
    char lower[64];
    jb_autoclose int fd = -1;
    int r = own_mounts(dir, userns, &fd, err);
    if (r < 0)
        return r;
    (void)snprintf(lower, sizeof(lower), "/proc/self/fd/%d", fd);
    const struct jb_mount_option options[] = {
        {"lowerdir", lower}, {"upperdir", PLACE "/upper"}, {"workdir", PLACE "/work"}, {"userxattr", NULL}};
    const struct jb_mountapi *api = &jb_mountapi_kernel;
    jb_autoclose int merged =
        api->make(api->ctx, "overlay", options, JB_ARRAY_LEN(options) - (userns ? 0 : 1), 0, err);
    return merged < 0 ? merged : 0;
}

int jb_overlay_try(const char *dir, bool userns, struct jb_error *err)
{
    int pipes[2];
    struct jb_error said = {0};
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "trying an overlay");
    jb_autoclose int from = pipes[0];
    jb_autoclose int to = pipes[1];
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "trying an overlay");
    if (pid == 0) {
        int r = in_child(dir, userns, &said);
        if (r < 0)
            (void)!write(to, &said, sizeof(said));
        _exit(r < 0);
    }
    jb_close(&to);
    ssize_t n = read(from, &said, sizeof(said)); /* less than a pipe holds: all at once, or nothing */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(said))
        return jb_fail(err, EIO, "trying an overlay over %s: no answer", dir);
    return jb_fail(err, said.errnum ? said.errnum : EIO, "%s", said.text);
}
