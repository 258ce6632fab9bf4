/*
 * tail.c - the journal from a mark on.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: the state directory's.
 */
#include "queue/tail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"

static void file_name(unsigned month, char name[32])
{
    (void)snprintf(name, 32, "journal/%04u-%02u.jsonl", month / 100, month % 100);
}

void jb_tail_mark(int state_fd, uint64_t now_us, struct jb_journal_mark *ret)
{
    struct jb_utc utc = jb_utc(now_us);
    struct stat st;
    char name[32];
    ret->month = (unsigned)(utc.year * 100 + utc.month);
    file_name(ret->month, name);
    ret->offset = fstatat(state_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

static int read_file(int state_fd, unsigned month, uint64_t offset, const char *word,
                     int (*record)(void *ctx, const json_t *record), void *ctx)
{
    char name[32];
    file_name(month, name);
    jb_autoclose int fd = openat(state_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    jb_autofile FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file)
        return fd < 0 && errno == ENOENT ? 0 : -errno;
    (void)jb_take_fd(&fd);
    jb_autofree char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int r = 0;
    if (fseeko(file, (off_t)offset, SEEK_SET) < 0)
        return -errno;
    while (r == 0 && (n = getline(&line, &cap, file)) > 0) {
        if (line[n - 1] != '\n' || (word && !strstr(line, word)))
            continue;
        json_t *json = json_loadb(line, (size_t)n, 0, NULL);
        if (json)
            r = record(ctx, json);
        json_decref(json);
    }
    return r;
}

static int by_month(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a;
    unsigned y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

int jb_tail_read(int state_fd, const struct jb_journal_mark *mark, const char *word,
                 int (*record)(void *ctx, const json_t *record), void *ctx, struct jb_error *err)
{
    unsigned months[1200];
    size_t n = 0;
    int dir_fd = openat(state_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    jb_autodir DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
    if (!dir)
        return errno == ENOENT ? 0 : jb_fail_errno(err, errno, "the journal");
    for (struct dirent *e; (e = readdir(dir)) && n < JB_ARRAY_LEN(months);) {
        unsigned year;
        unsigned month;
        int end = 0;
        if (sscanf(e->d_name, "%4u-%2u.jsonl%n", &year, &month, &end) == 2 && /* NOLINT(cert-err34-c) */
            end == (int)strlen(e->d_name) && year * 100 + month >= mark->month)
            months[n++] = year * 100 + month;
    }
    qsort(months, n, sizeof(*months), by_month);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = read_file(state_fd, months[i], months[i] == mark->month ? mark->offset : 0, word, record, ctx);
    return r < 0 ? jb_fail_errno(err, r, "reading the journal") : r;
}
