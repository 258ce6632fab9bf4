/*
 * fd.c - whole reads and writes, locks, sealed files.
 *
 * Owns: nothing. Runs in: every process. Privilege: none of its own.
 */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

int jb_read_fd(int fd, size_t max, char **ret, size_t *ret_len)
{
    size_t cap = 4096;
    size_t len = 0;
    jb_autofree char *data = malloc(cap);
    if (!data)
        return -ENOMEM;
    for (;;) {
        if (len + 1 >= cap) {
            char *grown = realloc(data, cap * 2);
            if (!grown)
                return -ENOMEM;
            data = grown;
            cap *= 2;
        }
        ssize_t n = read(fd, data + len, cap - len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return -EFBIG;
    }
    data[len] = '\0';
    *ret = jb_take_ptr(data);
    if (ret_len)
        *ret_len = len;
    return 0;
}

int jb_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
    jb_autoclose int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    return jb_read_fd(fd, max, ret, ret_len);
}

int jb_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int jb_write_at(int dirfd, const char *path, const char *text)
{
    jb_autoclose int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    ssize_t n = write(fd, text, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

int jb_replace_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    char tmp[NAME_MAX + 1];
    int n = snprintf(tmp, sizeof(tmp), ".%s.new", name);
    if (n < 0 || (size_t)n >= sizeof(tmp))
        return -ENAMETOOLONG;
    jb_autoclose int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    int r = jb_write_all(fd, data, len);
    if (r == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dirfd, tmp, 0);
    return r;
}

int jb_open_owned_dir(int dirfd, const char *path, uid_t uid, int *ret_fd, struct jb_error *err)
{
    jb_autoclose int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOTDIR || errno == ELOOP)
            return jb_fail(err, ENOTDIR,
                           "%s: is a symlink or not a directory; jobbox does not follow it: remove it", path);
        return jb_fail_errno(err, errno, "%s", path);
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s", path);
    if (st.st_uid != uid)
        return jb_fail(err, EPERM,
                       "%s: belongs to uid %u, not to uid %u; jobbox does not trust it: remove it", path,
                       (unsigned)st.st_uid, (unsigned)uid);
    if (st.st_mode & 022)
        return jb_fail(err, EPERM, "%s: mode %04o lets others write; chmod go-w it", path,
                       (unsigned)(st.st_mode & 07777));
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

static int lock(int fd, int cmd, struct flock *fl)
{
    int r;
    do
        r = fcntl(fd, cmd, fl);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int jb_lock_try(int fd)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r = lock(fd, F_OFD_SETLK, &fl);
    return r == -EACCES ? -EAGAIN : r;
}

int jb_lock_wait(int fd)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return lock(fd, F_OFD_SETLKW, &fl);
}

void jb_unlock(int fd)
{
    struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)lock(fd, F_OFD_SETLK, &fl);
}

int jb_lock_held(int fd)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r = lock(fd, F_OFD_GETLK, &fl);
    return r < 0 ? r : fl.l_type != F_UNLCK;
}

int jb_close_listed(unsigned first, unsigned last)
{
    jb_autodir DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -ENOSYS;
    for (struct dirent *e; (e = readdir(dir));) {
        char *end;
        unsigned long fd = strtoul(e->d_name, &end, 10);
        if (*end == '\0' && end != e->d_name && fd >= first && fd <= last && fd != (unsigned long)dirfd(dir))
            (void)close((int)fd);
    }
    return 0;
}

int jb_close_between(unsigned first, unsigned last)
{
    if (close_range(first, last, 0) == 0)
        return 0;
    return errno == ENOSYS || errno == EPERM ? jb_close_listed(first, last) : -errno;
}

int jb_sealed_memfd(const char *name, const void *data, size_t len, bool executable, int *ret_fd)
{
#ifndef MFD_EXEC
#define MFD_NOEXEC_SEAL 0x0008U
#define MFD_EXEC        0x0010U
#endif
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    jb_autoclose int fd = memfd_create(name, flags | (executable ? MFD_EXEC : MFD_NOEXEC_SEAL));
    if (fd < 0 && errno == EINVAL) /* Linux < 6.3 does not know the exec flags */
        fd = memfd_create(name, flags);
    if (fd < 0)
        return -errno;
    int r = jb_write_all(fd, data, len);
    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

int jb_files_raise(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    rlim_t most = limit.rlim_max < wanted ? limit.rlim_max : (rlim_t)wanted;
    if (limit.rlim_cur >= most)
        return 0;
    limit.rlim_cur = most;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}
