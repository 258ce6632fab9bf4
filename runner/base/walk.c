/*
 * walk.c - paths that cannot leave their root: openat2, its fallback, mkdir -p and removal beneath a dirfd.
 *
 * Owns: nothing. Runs in: every process. Privilege: none of its own; callers cross trust boundaries with it.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

static int openat2_once(int dirfd, const char *path, int flags, mode_t mode, enum jb_walk walk)
{
    static const uint64_t resolve[] = {
        [JB_WALK_BENEATH] = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
        [JB_WALK_IN_ROOT] = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        [JB_WALK_STRICT] = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0,
        .resolve = resolve[walk],
    };
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

int jb_open_at_walk(int dirfd, const char *path, int flags, mode_t mode)
{
    char part[NAME_MAX + 1];
    jb_autoclose int held = -1;
    int at = dirfd;
    const char *p = path;
    for (;;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(part, p, len);
        part[len] = '\0';
        if (jb_streq(part, ".."))
            return -EXDEV;
        p += len;
        bool last = p[strspn(p, "/")] == '\0';
        int slash = *p == '/' && !(flags & O_CREAT) ? O_DIRECTORY : 0; /* "name/" means a directory */
        int want = last ? flags | slash | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW;
        int fd = openat(at, len ? part : ".", want | O_CLOEXEC, mode);
        if (fd < 0)
            return errno == ENOTDIR && !last ? -ELOOP : -errno;
        jb_close(&held);
        held = fd;
        at = fd;
        if (!last)
            continue;
        /* O_PATH with O_NOFOLLOW gives the symlink itself; only who says so himself wants that */
        struct stat st;
        if ((flags & O_PATH) && !(flags & O_NOFOLLOW) && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode))
            return -ELOOP;
        return jb_take_fd(&held);
    }
}

int jb_open_at(int dirfd, const char *path, int flags, mode_t mode, enum jb_walk walk)
{
    if (walk != JB_WALK_IN_ROOT && path[0] == '/')
        return -EXDEV;
    int fd;
    int tries = 0;
    do /* EAGAIN: a rename raced the walk; the kernel asks for another try */
        fd = openat2_once(dirfd, path, flags, mode, walk);
    while ((fd == -EAGAIN && ++tries < 64) || fd == -EINTR);
    if (fd == -ENOSYS || fd == -EPERM)
        return jb_open_at_walk(dirfd, path, flags, mode);
    return fd;
}

int jb_mkdir_p(int dirfd, const char *path, mode_t mode, uid_t uid, gid_t gid, enum jb_walk walk, int *ret_fd)
{
    char part[NAME_MAX + 1];
    jb_autoclose int at = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return -errno;
    const char *start = path + strspn(path, "/");
    for (const char *p = start; *p;) {
        size_t len = strcspn(p, "/");
        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(part, p, len);
        part[len] = '\0';
        bool made = mkdirat(at, part, mode) == 0;
        if (!made && errno != EEXIST)
            return -errno;
        int fd;
        if (made || walk == JB_WALK_STRICT) { /* not openat: a component may be ".." */
            fd = jb_open_at(at, part, O_PATH | O_DIRECTORY, 0, JB_WALK_STRICT);
        } else { /* what is there may be a symlink: resolve the whole prefix from the root again */
            char prefix[PATH_MAX];
            size_t upto = (size_t)(p - start) + len;
            if (upto >= sizeof(prefix))
                return -ENAMETOOLONG;
            memcpy(prefix, start, upto);
            prefix[upto] = '\0';
            fd = jb_open_at(dirfd, prefix, O_PATH | O_DIRECTORY, 0, walk);
        }
        if (fd < 0)
            return fd;
        jb_close(&at);
        at = fd;
        if (made && (uid != (uid_t)-1 || gid != (gid_t)-1) && fchownat(at, "", uid, gid, AT_EMPTY_PATH) < 0)
            return -errno;
        p += len;
        p += strspn(p, "/");
    }
    if (ret_fd)
        *ret_fd = jb_take_fd(&at);
    return 0;
}

/*
 * Deeper directories than this are first moved up to the top of the tree: whoever made it may have nested more
 * of them than a process can hold descriptors or stack frames.
 */
#define HELD_MAX 32

struct removal {
    dev_t dev;
    int top; /* the tree's own directory; borrowed */
    bool moved;
};

static int remove_entry(struct removal *rm, int dirfd, const char *name, unsigned depth);

static int remove_children(struct removal *rm, int fd, unsigned depth)
{
    jb_autoclose int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own < 0)
        return -errno;
    jb_autodir DIR *dir = fdopendir(own);
    if (!dir)
        return -errno;
    (void)jb_take_fd(&own);
    int result = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (jb_streq(e->d_name, ".") || jb_streq(e->d_name, ".."))
            continue;
        int r = remove_entry(rm, dirfd(dir), e->d_name, depth + 1);
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

/* Under a name that nobody can have put there before. */
static int move_up(struct removal *rm, int dirfd, const char *name)
{
    uint64_t number;
    char to[32];
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
        return -EIO;
    (void)snprintf(to, sizeof(to), ".removed-%016" PRIx64, number);
    if (renameat(dirfd, name, rm->top, to) < 0)
        return -errno;
    rm->moved = true;
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): at most HELD_MAX deep */
static int remove_entry(struct removal *rm, int dirfd, const char *name, unsigned depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM && errno != EBUSY)
        return -errno;
    jb_autoclose int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != rm->dev)
        return -EXDEV;
    if ((st.st_mode & 0300) != 0300)
        (void)fchmod(fd, 0700);
    if (depth >= HELD_MAX)
        return move_up(rm, dirfd, name);
    int r = 0;
    if (depth == 0)
        rm->top = fd;
    do { /* what was moved to the top may have come behind the reader */
        rm->moved = rm->moved && depth > 0;
        int children = remove_children(rm, fd, depth);
        r = r < 0 ? r : children;
    } while (depth == 0 && rm->moved);
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return r < 0 ? r : -errno;
}

int jb_remove_tree(int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    struct removal rm = {.dev = st.st_dev, .top = -1};
    return remove_entry(&rm, dirfd, name, 0);
}
