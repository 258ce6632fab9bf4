/*
 * disk.c - what a disk has: loaded into jobboxd and its supervisors (LD_PRELOAD), for the test of a power cut.
 *
 * Of each file below JBT_DISK_FROM there is a copy below JBT_DISK_TO as it was when it was flushed last (fsync, fdatasync),
 * and none while it never was. What was written since is lost with the power. New names, renames and removals are taken to
 * be there at once, as a file system keeps them that writes its metadata ahead of the data.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): the names of the C library's */

/* Where `path` has its copy; false when it is none of ours. */
static int copy_name(const char *path, char copy[PATH_MAX])
{
    const char *from = getenv("JBT_DISK_FROM");
    const char *to = getenv("JBT_DISK_TO");
    size_t len = from ? strlen(from) : 0;
    return to && len > 0 && strncmp(path, from, len) == 0 && path[len] == '/' &&
           snprintf(copy, PATH_MAX, "%s%s", to, path + len) < PATH_MAX;
}

static int fd_name(int fd, char path[PATH_MAX])
{
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = '\0';
    return n > 0;
}

/* dir_fd and name as one path; links in it are of no interest here. */
static int full_name(int dir_fd, const char *name, char path[PATH_MAX])
{
    char dir[PATH_MAX];
    if (name[0] == '/' || dir_fd == AT_FDCWD)
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    return fd_name(dir_fd, dir) && snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static void make_parents(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
}

static void copy_data(int from, int to)
{
    char data[65536];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(from, data, sizeof(data), at)) > 0) {
        if (write(to, data, (size_t)n) != n)
            abort();
        at += n;
    }
}

static void flushed(int fd)
{
    char path[PATH_MAX];
    char copy[PATH_MAX];
    char fresh[PATH_MAX + 32];
    struct stat st;
    int saved = errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !fd_name(fd, path) || !copy_name(path, copy))
        return;
    make_parents(copy);
    (void)snprintf(fresh, sizeof(fresh), "%s.fresh.%d", copy, (int)getpid());
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st.st_mode & 07777);
    if (from >= 0 && to >= 0)
        copy_data(from, to);
    (void)close(from);
    (void)close(to);
    if (rename(fresh, copy) < 0)
        abort();
    errno = saved;
}

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))real("fdatasync");
    int r = next(fd);
    if (r == 0)
        flushed(fd);
    return r;
}

int fsync(int fd)
{
    int (*next)(int) = (int (*)(int))real("fsync");
    int r = next(fd);
    if (r == 0)
        flushed(fd);
    return r;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    int (*next)(int, const char *, int, const char *) =
        (int (*)(int, const char *, int, const char *))real("renameat");
    char path[PATH_MAX];
    char old[PATH_MAX];
    char new[PATH_MAX];
    int known = full_name(from_fd, from, path) && copy_name(path, old) && full_name(to_fd, to, path) &&
                copy_name(path, new);
    int r = next(from_fd, from, to_fd, to);
    if (r == 0 && known) {
        make_parents(new);
        int saved = errno;
        if (next(AT_FDCWD, old, AT_FDCWD, new) < 0) /* the name is there, what was never flushed is not */
            (void)!truncate(new, 0);
        errno = saved;
    }
    return r;
}

int unlinkat(int dir_fd, const char *name, int flags)
{
    int (*next)(int, const char *, int) = (int (*)(int, const char *, int))real("unlinkat");
    char path[PATH_MAX];
    char copy[PATH_MAX];
    int known = full_name(dir_fd, name, path) && copy_name(path, copy);
    int r = next(dir_fd, name, flags);
    if (r == 0 && known) {
        int saved = errno;
        (void)next(AT_FDCWD, copy, flags);
        errno = saved;
    }
    return r;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}
/* NOLINTEND(bugprone-reserved-identifier) */
