/*
 * kfile.c - reading and writing kernel files beneath a held directory.
 *
 * Owns: nothing but what the caller's jb_kdir holds. Runs in: every process. Privilege: that of the files.
 */
#include "base/kfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

#define KFILE_MAX (1U << 20)

static int fault(const struct jb_kdir *dir, const char *verb, const char *path)
{
    return dir->fault && dir->fault->hit ? dir->fault->hit(dir->fault->ctx, verb, path) : 0;
}

int jb_kdir_open(const char *path, struct jb_kdir *ret)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret = (struct jb_kdir){.fd = fd};
    return 0;
}

void jb_kdir_close(struct jb_kdir *dir)
{
    jb_close(&dir->fd);
}

int jb_kread_line(const struct jb_kdir *dir, const char *path, char *buf, size_t len)
{
    int r = fault(dir, "read", path);
    if (r < 0)
        return r;
    jb_autoclose int fd = openat(dir->fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n;
    do
        n = read(fd, buf, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    char *end = memchr(buf, '\n', (size_t)n);
    if (!end && (size_t)n == len)
        return -ENAMETOOLONG;
    if (end)
        *end = '\0';
    else
        buf[n] = '\0';
    return 0;
}

int jb_kread_all(const struct jb_kdir *dir, const char *path, char **ret)
{
    int r = fault(dir, "read", path);
    return r < 0 ? r : jb_read_at(dir->fd, path, KFILE_MAX, ret, NULL);
}

int jb_kread_u64(const struct jb_kdir *dir, const char *path, uint64_t *ret)
{
    char line[64];
    int r = jb_kread_line(dir, path, line, sizeof(line));
    if (r < 0)
        return r;
    if (strcmp(line, "max") == 0) {
        *ret = JB_UNSET;
        return 0;
    }
    return jb_parse_u64(line, UINT64_MAX, ret);
}

int jb_keyed_u64(const char *text, const char *key, uint64_t *ret)
{
    size_t len = strlen(key);
    for (const char *line = text; line && *line;) {
        const char *end = strchrnul(line, '\n');
        if (strncmp(line, key, len) == 0 && line[len] == ' ') {
            char number[32];
            size_t n = (size_t)(end - line) - len - 1;
            if (n >= sizeof(number))
                return -EINVAL;
            memcpy(number, line + len + 1, n);
            number[n] = '\0';
            return jb_parse_u64(number, UINT64_MAX, ret);
        }
        line = *end ? end + 1 : end;
    }
    return -ENODATA;
}

int jb_kread_keyed(const struct jb_kdir *dir, const char *path, const char *key, uint64_t *ret)
{
    jb_autofree char *text = NULL;
    int r = jb_kread_all(dir, path, &text);
    return r < 0 ? r : jb_keyed_u64(text, key, ret);
}

int jb_kwrite(const struct jb_kdir *dir, const char *path, const char *text)
{
    int r = fault(dir, "write", path);
    return r < 0 ? r : jb_write_at(dir->fd, path, text);
}
