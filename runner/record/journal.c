/*
 * journal.c - appending to and looking into the journal.
 *
 * Owns: nothing. Runs in: supervisors. Privilege: that of the state directory.
 */
#include "record/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "base/units.h"
#include "record/record.h"

static void month_name(uint64_t wall_us, unsigned back, char *buf, size_t len)
{
    struct jb_utc utc = jb_utc(wall_us);
    int months = utc.year * 12 + utc.month - 1 - (int)back;
    (void)snprintf(buf, len, "%04d-%02d.jsonl", months / 12, months % 12 + 1);
}

static int open_journal(int state_fd, const char *name, int flags, int *ret)
{
    jb_autoclose int dir = jb_open_at(state_fd, "journal", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir == -ENOENT && (flags & O_CREAT)) {
        if (mkdirat(state_fd, "journal", 0750) < 0 && errno != EEXIST)
            return -errno;
        dir = jb_open_at(state_fd, "journal", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    }
    if (dir < 0)
        return dir;
    int fd = jb_open_at(dir, name, flags, 0640, JB_WALK_STRICT);
    if (fd < 0)
        return fd;
    *ret = fd;
    return 0;
}

/* Whoever died in the middle of a write left a line without an end; ours must not become part of it. */
static int ends_in_newline(int fd, off_t size)
{
    char last;
    if (size == 0)
        return 1;
    ssize_t n = pread(fd, &last, 1, size - 1);
    return n < 0 ? -errno : n == 1 && last == '\n';
}

static int append_locked(int fd, const char *line, size_t len, off_t *ret_start)
{
    struct stat st;
    JB_CRASH_POINT(journal_locked);
    if (fstat(fd, &st) < 0)
        return -errno;
    int whole = ends_in_newline(fd, st.st_size);
    if (whole < 0)
        return whole;
    jb_autofree char *text = malloc(len + 1);
    if (!text)
        return -ENOMEM;
    text[0] = '\n';
    memcpy(text + 1, line, len);
    const char *start = whole ? text + 1 : text;
    size_t size = whole ? len : len + 1;
    ssize_t n;
    do
        n = write(fd, start, size);
    while (n < 0 && errno == EINTR);
    int r = n < 0 ? -errno : (size_t)n < size ? -ENOSPC : 0;
    JB_CRASH_POINT(journal_written);
    struct stat now;
    if (r < 0)
        (void)!ftruncate(fd, st.st_size);
    else if (fstat(fd, &now) == 0 && now.st_nlink == 0) /* removed meanwhile: the record is in no journal */
        r = -ENOENT;
    else
        *ret_start = st.st_size;
    return r;
}

int jb_journal_write(int state_fd, enum jb_sync sync, const char *line, size_t len, int *ret_fd,
                     struct jb_error *err)
{
    off_t start = 0;
    char name[32];
    month_name(jb_wall_us(NULL), 0, name, sizeof(name));
    jb_autoclose int fd = -1;
    int r = open_journal(state_fd, name, O_RDWR | O_CREAT | O_APPEND, &fd);
    if (r == 0)
        r = jb_lock_wait(fd);
    if (r == 0)
        r = append_locked(fd, line, len, &start);
    if (r < 0)
        return jb_fail_errno(err, r, "writing the record to journal/%s", name);
    jb_unlock(fd); /* the next one need not wait for our disk */
    if (sync == JB_SYNC_ALWAYS)
        (void)sync_file_range(fd, start, 0, SYNC_FILE_RANGE_WRITE);
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

int jb_journal_sync(int fd, enum jb_sync sync, struct jb_error *err)
{
    if (sync == JB_SYNC_ALWAYS && fdatasync(fd) < 0)
        return jb_fail_errno(err, errno,
                             "putting the record on the disk; whether it stays there nobody can say");
    JB_CRASH_POINT(journal_synced);
    return 0;
}

int jb_journal_append(int state_fd, enum jb_sync sync, const json_t *record, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(record, &line, &len, err);
    jb_autoclose int fd = -1;
    if (r == 0)
        r = jb_journal_write(state_fd, sync, line, len, &fd, err);
    return r < 0 ? r : jb_journal_sync(fd, sync, err);
}

static int file_has(int fd, const char *id)
{
    struct stat st;
    char needle[96];
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return 0;
    /* a record begins so; a label that is called "id" does not count */
    (void)snprintf(needle, sizeof(needle), "{\"record_version\":%d,\"id\":\"%s\"", JB_RECORD_VERSION, id);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    /* a torn line does not count: its record was not written */
    const char *at = memmem(map, (size_t)st.st_size, needle, strlen(needle));
    int found = at && memchr(at, '\n', (size_t)((const char *)map + st.st_size - at));
    (void)munmap(map, (size_t)st.st_size);
    return found;
}

static bool is_month(const char *name)
{
    return strlen(name) == strlen("2026-01.jsonl") && strspn(name, "0123456789") == 4 && name[4] == '-' &&
           strspn(name + 5, "0123456789") == 2 && jb_streq(name + 7, ".jsonl");
}

static int month_has(int dir, const char *name, const char *id)
{
    jb_autoclose int fd = jb_open_at(dir, name, O_RDONLY, 0, JB_WALK_STRICT);
    return fd == -ENOENT ? 0 : fd < 0 ? fd : file_has(fd, id);
}

int jb_journal_has(int state_fd, const char *id, struct jb_error *err)
{
    char first[32];
    char made[32];
    month_name(jb_wall_us(NULL), 1, first, sizeof(first));
    month_name(jb_id_wall_us(id), 0, made, sizeof(made));
    jb_autoclose int fd = jb_open_at(state_fd, "journal", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (fd == -ENOENT)
        return 0;
    int list = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    jb_autodir DIR *dir = list < 0 ? NULL : fdopendir(list);
    if (!dir)
        return jb_fail_errno(err, fd < 0 ? fd : errno, "reading journal");
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        if (is_month(e->d_name) && (strcmp(e->d_name, first) >= 0 || strcmp(e->d_name, made) >= 0) &&
            (r = month_has(fd, e->d_name, id)) < 0)
            return jb_fail_errno(err, r, "reading journal/%s", e->d_name);
    return r;
}
