/*
 * source.c - journals as streams of lines.
 *
 * Owns: the descriptor, the buffer, the decompressor. Runs in: whoever reads journals. Privilege: the user's.
 */
#include "report/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CHUNK          (1u << 20)
#define LINE_MAX_BYTES (64u << 20) /* a line that is longer is none of ours */

static bool ends_in(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);
    return a >= b && jb_streq(text + a - b, end);
}

static const char *decompressor(const char *path)
{
    static const struct {
        const char *end, *program;
    } kinds[] = {{".gz", "gzip"}, {".zst", "zstd"}, {".xz", "xz"}, {".bz2", "bzip2"}};
    for (size_t i = 0; i < JB_ARRAY_LEN(kinds); i++)
        if (ends_in(path, kinds[i].end))
            return kinds[i].program;
    return NULL;
}

static int decompress(struct jb_lines *source, int in, struct jb_error *err)
{
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char decode[] = "-dc";
    char *argv[] = {(char *)source->program, decode, NULL};
    char *env[] = {path, NULL};
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return jb_fail_errno(err, errno, "pipe");
    (void)fcntl(ends[0], F_SETPIPE_SZ, CHUNK);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    (void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    int r = -posix_spawnp(&source->child, source->program, &actions, NULL, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    if (r < 0) {
        source->child = 0;
        (void)close(ends[0]);
        return jb_fail_errno(err, r, "it is compressed, and %s cannot be started", source->program);
    }
    source->fd = ends[0];
    return 0;
}

int jb_lines_open(const char *path, struct jb_lines *ret, struct jb_error *err)
{
    struct jb_lines source = {.fd = -1, .program = decompressor(path), .cap = 2 * CHUNK};
    struct stat st;
    jb_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return jb_fail_errno(err, errno, "opening %s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "%s is no file", path);
    source.buf = malloc(source.cap);
    if (!source.buf)
        return jb_fail_errno(err, ENOMEM, "%s", path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    int r = 0;
    if (source.program)
        r = decompress(&source, fd, err);
    else
        source.fd = jb_take_fd(&fd);
    if (r < 0) {
        free(source.buf);
        return jb_wrap(err, "%s", path);
    }
    *ret = source;
    return 0;
}

void jb_lines_close(struct jb_lines *source)
{
    if (source->child > 0) {
        (void)kill(source->child, SIGKILL);
        (void)waitpid(source->child, NULL, 0);
    }
    if (source->buf) {
        jb_close(&source->fd);
        free(source->buf);
    }
    *source = (struct jb_lines){.fd = -1};
}

/* The end of a stream is the end of its data only when the program says so. */
static int finish(struct jb_lines *source, struct jb_error *err)
{
    int status = 0;
    source->over = true;
    if (source->child <= 0)
        return 0;
    pid_t pid = waitpid(source->child, &status, 0);
    source->child = 0;
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return jb_fail(err, EBADMSG, "%s says that it is damaged", source->program);
    return 0;
}

static int fill(struct jb_lines *source, struct jb_error *err)
{
    if (source->begin > 0 && source->end > source->begin)
        memmove(source->buf, source->buf + source->begin, source->end - source->begin);
    source->end -= source->begin;
    source->begin = 0;
    if (source->cap - source->end <= CHUNK) {
        char *grown = realloc(source->buf, 2 * source->cap);
        if (!grown)
            return jb_fail_errno(err, ENOMEM, "a line");
        source->buf = grown;
        source->cap *= 2;
    }
    ssize_t n;
    do
        n = read(source->fd, source->buf + source->end, CHUNK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return jb_fail_errno(err, errno, "reading");
    if (n == 0)
        return finish(source, err);
    source->end += (size_t)n;
    return 0;
}

/* Of a line without an end for too long its beginning is forgotten: what is left is torn all the same. */
static void shorten(struct jb_lines *source)
{
    size_t drop = source->end - source->begin - CHUNK;
    source->at += drop;
    source->begin += drop;
}

int jb_lines_next(struct jb_lines *source, const char **ret_line, size_t *ret_len, uint64_t *ret_at,
                  struct jb_error *err)
{
    size_t looked = 0;
    for (;;) {
        const char *line = source->buf + source->begin;
        const char *end = memchr(line + looked, '\n', source->end - source->begin - looked);
        if (end) {
            *ret_line = line;
            *ret_len = (size_t)(end - line);
            *ret_at = source->at;
            source->begin += *ret_len + 1;
            source->at += *ret_len + 1;
            return 1;
        }
        looked = source->end - source->begin;
        if (source->over) {
            *ret_len = looked;
            *ret_at = source->at;
            return 0;
        }
        if (looked > LINE_MAX_BYTES) {
            shorten(source);
            looked = CHUNK;
        }
        int r = fill(source, err);
        if (r < 0)
            return r;
    }
}

int jb_lines_skip(struct jb_lines *source, uint64_t to, struct jb_error *err)
{
    if (source->child == 0 && !source->program) {
        struct stat st;
        if (fstat(source->fd, &st) < 0 || lseek(source->fd, (off_t)to, SEEK_SET) < 0)
            return jb_fail_errno(err, errno, "reading");
        source->begin = source->end = 0;
        source->at = to;
        source->over = false;
        return (uint64_t)st.st_size >= to;
    }
    while (source->at < to) {
        size_t have = source->end - source->begin;
        size_t drop = to - source->at < have ? (size_t)(to - source->at) : have;
        source->begin += drop;
        source->at += drop;
        if (source->at < to && source->over)
            return 0;
        int r = source->at < to ? fill(source, err) : 0;
        if (r < 0)
            return r;
    }
    return 1;
}

static bool is_journal(const char *name)
{
    const char *at = strstr(name, ".jsonl");
    return at && at > name && name[0] != '.' && (at[6] == '\0' || at[6] == '.' || at[6] == '-') &&
           !ends_in(name, "~") && !ends_in(name, ".tmp");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int jb_lines_list(const char *path, struct jb_strv *into, struct jb_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return jb_fail_errno(err, errno, "journal %s", path);
    if (!S_ISDIR(st.st_mode))
        return jb_strv_add(into, path) < 0 ? jb_fail_errno(err, ENOMEM, "%s", path) : 0;
    jb_autodir DIR *dir = opendir(path);
    if (!dir)
        return jb_fail_errno(err, errno, "reading the folder %s", path);
    size_t from = into->len;
    for (struct dirent *e; (e = readdir(dir));)
        if (is_journal(e->d_name) && jb_strv_printf(into, "%s/%s", path, e->d_name) < 0)
            return jb_fail_errno(err, ENOMEM, "%s", path);
    if (into->len > from)
        qsort(into->items + from, into->len - from, sizeof(*into->items), by_name);
    return 0;
}
