/*
 * same.c - see same.h.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: reading both files.
 */
#include "job/kept/same.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CHUNK 65536

static int open_file(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    (void)close(fd);
    return -EINVAL;
}

int jb_content_differs(int a_dir, enum jb_overlay_space space, int b_dir, const char *name)
{
    char value[8];
    jb_autoclose int a = open_file(a_dir, name);
    if (a < 0)
        return a;
    if (jb_overlay_attribute(a, space, "metacopy", value, 0) >= 0) /* its content is the one below */
        return 0;
    jb_autoclose int b = open_file(b_dir, name);
    jb_autofree char *buf = malloc(2 * CHUNK);
    if (b < 0 || !buf)
        return b < 0 ? b : -ENOMEM;
    for (;;) {
        ssize_t n = read(a, buf, CHUNK);
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        for (ssize_t got = 0, m; got < n; got += m) {
            m = read(b, buf + CHUNK + got, (size_t)(n - got));
            if (m <= 0)
                return m < 0 ? -errno : 1;
        }
        if (memcmp(buf, buf + CHUNK, (size_t)n) != 0)
            return 1;
    }
}

int jb_target_differs(int a_dir, int b_dir, const char *name)
{
    char a[PATH_MAX];
    char b[PATH_MAX];
    ssize_t n = readlinkat(a_dir, name, a, sizeof(a));
    ssize_t m = readlinkat(b_dir, name, b, sizeof(b));
    if (n < 0 || m < 0)
        return -errno;
    return n != m || memcmp(a, b, (size_t)n) != 0;
}
