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
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "base/units.h"
#include "record/chain.h"
#include "record/record.h"

#define RETRIES   100
#define MONTH_LEN (sizeof("2026-01") - 1)
#define BATCH_S   1

static void month_name(uint64_t wall_us, unsigned back, char *buf, size_t len)
{
    struct jb_utc utc = jb_utc(wall_us);
    int months = utc.year * 12 + utc.month - 1 - (int)back;
    (void)snprintf(buf, len, "%04d-%02d.jsonl", months / 12, months % 12 + 1);
}

static int open_journal(int state_fd, const char *name, int flags, int *ret_dir, int *ret)
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
    *ret_dir = jb_take_fd(&dir);
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

/* Of a batch one waits for the disk: who comes a second after the last who did. A clock that was set back makes it sooner. */
static bool is_due(enum jb_sync sync, struct jb_chain *chain)
{
    int64_t now = (int64_t)(jb_wall_us(NULL) / 1000000);
    if (sync == JB_SYNC_BATCH && now >= chain->flushed && now - chain->flushed < BATCH_S)
        return false;
    chain->flushed = now;
    return true;
}

/* What goes elsewhere is what the journal has: whoever keeps it can hold a journal against it later. */
static void set_link(json_t *record, const char *line, size_t len)
{
    struct jb_chain_link link;
    if (!record || !jb_chain_parse(line, len - 1, &link))
        return;
    json_t *chain =
        json_pack("{s:s, s:I, s:o, s:s}", "writer", link.writer, "seq", (json_int_t)link.seq, "prev",
                  link.prev[0] ? json_string(link.prev) : json_null(), "sha256", link.sha256);
    (void)json_object_set_new(record, "chain", chain);
}

static int append_locked(int dir, int fd, const char *name, enum jb_sync sync, const char *line, size_t len,
                         json_t *record, off_t *ret_start, bool *ret_due)
{
    struct stat st;
    struct jb_chain chain;
    jb_autoclose int state = -1;
    jb_autofree char *linked = NULL;
    JB_CRASH_POINT(journal_locked);
    if (fstat(fd, &st) < 0)
        return -errno;
    int whole = ends_in_newline(fd, st.st_size);
    int r = whole < 0 ? whole : jb_chain_lock(dir, &state);
    if (r == 0)
        r = jb_chain_load(dir, state, name, fd, st.st_size, &chain);
    if (r == 0)
        r = jb_chain_add(&chain, line, len, &linked, &len);
    if (r < 0)
        return r;
    jb_autofree char *text = malloc(len + 1);
    if (!text || !linked)
        return -ENOMEM;
    text[0] = '\n';
    memcpy(text + 1, linked, len);
    const char *start = whole ? text + 1 : text;
    size_t size = whole ? len : len + 1;
    ssize_t n;
    do
        n = write(fd, start, size);
    while (n < 0 && errno == EINTR);
    r = n < 0 ? -errno : (size_t)n < size ? -ENOSPC : 0;
    JB_CRASH_POINT(journal_written);
    struct stat now;
    if (r < 0)
        (void)!ftruncate(fd, st.st_size);
    else if (fstat(fd, &now) == 0 && now.st_nlink == 0) /* removed meanwhile: the record is in no journal */
        r = -ENOENT;
    if (r < 0)
        return r;
    (void)snprintf(chain.file, sizeof(chain.file), "%s", name);
    chain.end = st.st_size + (off_t)size;
    *ret_due = is_due(sync, &chain);
    jb_chain_save(state, &chain);
    JB_CRASH_POINT(chain_noted);
    set_link(record, linked, len);
    *ret_start = st.st_size;
    return 0;
}

/* Opened and locked, and still the file of that name: one that logrotate(8) has moved is read, compressed and deleted. */
static int open_locked(int state_fd, const char *name, int *ret_dir, int *ret_fd)
{
    for (unsigned i = 0; i < RETRIES; i++) {
        jb_autoclose int dir = -1;
        jb_autoclose int fd = -1;
        struct stat ours = {0};
        struct stat named = {0};
        int r = open_journal(state_fd, name, O_RDWR | O_CREAT | O_APPEND, &dir, &fd);
        if (r == 0)
            r = jb_lock_wait(fd);
        if (r == 0 && fstat(fd, &ours) < 0)
            r = -errno;
        if (r < 0)
            return r;
        if (fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) < 0 || named.st_ino != ours.st_ino ||
            named.st_dev != ours.st_dev)
            continue;
        *ret_dir = jb_take_fd(&dir);
        *ret_fd = jb_take_fd(&fd);
        return 0;
    }
    return -EBUSY;
}

int jb_journal_write(int state_fd, enum jb_sync sync, const char *line, size_t len, json_t *record,
                     int *ret_fd, struct jb_error *err)
{
    off_t start = 0;
    bool due = true;
    char name[32];
    month_name(jb_wall_us(NULL), 0, name, sizeof(name));
    jb_autoclose int dir = -1;
    jb_autoclose int fd = -1;
    int r = open_locked(state_fd, name, &dir, &fd);
    if (r == 0)
        r = append_locked(dir, fd, name, sync, line, len, record, &start, &due);
    if (r < 0)
        return jb_fail_errno(err, r, "writing the record to journal/%s", name);
    jb_unlock(fd); /* the next one need not wait for our disk */
    if (sync != JB_SYNC_NEVER)
        (void)sync_file_range(fd, start, 0, SYNC_FILE_RANGE_WRITE);
    *ret_fd = due ? jb_take_fd(&fd) : -1;
    return 0;
}

int jb_journal_sync(int fd, enum jb_sync sync, struct jb_error *err)
{
    if (fd >= 0 && sync != JB_SYNC_NEVER && fdatasync(fd) < 0)
        return jb_fail_errno(err, errno,
                             "putting the record on the disk; whether it stays there nobody can say");
    JB_CRASH_POINT(journal_synced);
    return 0;
}

int jb_journal_append(int state_fd, enum jb_sync sync, json_t *record, struct jb_error *err)
{
    (void)json_object_del(record, "chain"); /* of another time */
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(record, &line, &len, err);
    jb_autoclose int fd = -1;
    if (r == 0)
        r = jb_journal_write(state_fd, sync, line, len, record, &fd, err);
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

/* YYYY-MM.jsonl, also as logrotate(8) calls it before it compresses it: with .1 or -20261101 behind. */
static bool is_month(const char *name)
{
    static const char form[] = "dddd-dd.jsonl";
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != form[i])
            return false;
    const char *rest = name + sizeof(form) - 1;
    return *rest == '\0' ||
           ((*rest == '.' || *rest == '-') && rest[1] && strspn(rest + 1, "0123456789") == strlen(rest + 1));
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
        if (is_month(e->d_name) &&
            (strncmp(e->d_name, first, MONTH_LEN) >= 0 || strncmp(e->d_name, made, MONTH_LEN) >= 0) &&
            (r = month_has(fd, e->d_name, id)) < 0)
            return jb_fail_errno(err, r, "reading journal/%s", e->d_name);
    return r;
}
