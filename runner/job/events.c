/*
 * events.c - writing the event log of a box, keeping it, and finding it again.
 *
 * Owns: see events.h. Runs in: see events.h. Privilege: see events.h.
 */
#include "job/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

#define EVENTS_DIR "events"
#define LINE_MAX_  2048
#define BOX_MAX    (16U << 20)
#define HEAD       "{\"id\":\""

struct jb_stamp jb_events_add(struct jb_events *e, uint64_t mono_ns, const char *event, const char *members,
                              ...)
{
    const struct jb_clock *clock = e ? e->clock : NULL;
    struct jb_stamp stamp = {.mono_ns = jb_mono_ns(clock), .wall_us = jb_wall_us(clock)};
    if (mono_ns < stamp.mono_ns) { /* the label of an earlier moment: as far back as it is */
        uint64_t back = (stamp.mono_ns - mono_ns) / JB_NS_PER_US;
        stamp.wall_us -= back < stamp.wall_us ? back : stamp.wall_us;
        stamp.mono_ns = mono_ns;
    }
    if (!e)
        return stamp;
    char more[LINE_MAX_];
    char time[JB_TIME_TEXT];
    va_list ap;
    va_start(ap, members);
    int n = vsnprintf(more, sizeof(more), members, ap);
    va_end(ap);
    if (e->seq >= JB_EVENTS_MAX || n < 0 || (size_t)n >= sizeof(more) ||
        jb_buf_printf(&e->text,
                      HEAD "%s\",\"seq\":%u,\"time\":\"%s\",\"mono_s\":%llu.%09llu,\"event\":\"%s\"%s}\n",
                      e->id.text, e->seq, jb_format_time(stamp.wall_us, time, sizeof(time)),
                      (unsigned long long)(stamp.mono_ns / JB_NS_PER_S),
                      (unsigned long long)(stamp.mono_ns % JB_NS_PER_S), event, more) < 0)
        e->lost++;
    else
        e->seq++;
    return stamp;
}

const char *jb_events_quote(const char *text, char *buf, size_t len)
{
    size_t out = 0;
    buf[out++] = '"';
    for (; *text && out + 4 < len; text++) {
        if (*text == '"' || *text == '\\')
            buf[out++] = '\\';
        buf[out++] = *text >= ' ' && *text <= '~' ? *text : '?';
    }
    buf[out++] = '"';
    buf[out] = '\0';
    return buf;
}

/* One write; on failure the file is as it was. */
static int append(int fd, const char *text, size_t len)
{
    struct stat before;
    ssize_t n;
    if (fstat(fd, &before) < 0)
        return -errno;
    do
        n = write(fd, text, len);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return 0;
    int r = n < 0 ? -errno : -ENOSPC;
    if (n > 0)
        (void)!ftruncate(fd, before.st_size);
    return r;
}

int jb_events_flush(struct jb_events *e, struct jb_error *err)
{
    if (!e || e->box_fd < 0 || e->flushed == e->text.len)
        return 0;
    if (e->fd < 0)
        e->fd =
            openat(e->box_fd, JB_EVENTS_NAME, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = e->fd < 0 ? -errno : append(e->fd, e->text.data + e->flushed, e->text.len - e->flushed);
    if (r < 0)
        return jb_fail_errno(err, r, "writing " JB_EVENTS_NAME " of the box");
    e->flushed = e->text.len;
    return 0;
}

static int open_month(int state_fd, const char *name)
{
    char path[64];
    (void)snprintf(path, sizeof(path), EVENTS_DIR "/%s", name);
    int flags = O_RDWR | O_CREAT | O_APPEND;
    int fd = jb_open_at(state_fd, path, flags, 0640, JB_WALK_STRICT);
    if (fd != -ENOENT)
        return fd;
    if (mkdirat(state_fd, EVENTS_DIR, 0750) < 0 && errno != EEXIST)
        return -errno;
    return jb_open_at(state_fd, path, flags, 0640, JB_WALK_STRICT);
}

static void month_of(uint64_t wall_us, char *buf, size_t len)
{
    struct jb_utc utc = jb_utc(wall_us);
    (void)snprintf(buf, len, "%04d-%02d.jsonl", utc.year, utc.month);
}

/* Supervisors append at the same time; O_APPEND keeps each one's lines together. */
static int keep_text(int state_fd, uint64_t wall_us, const char *text, size_t len, struct jb_error *err)
{
    char name[32];
    month_of(wall_us, name, sizeof(name));
    jb_autoclose int fd = open_month(state_fd, name);
    ssize_t n = -1;
    int r = fd;
    if (r >= 0)
        do
            n = write(fd, text, len);
        while (n < 0 && errno == EINTR);
    if (r >= 0)
        r = n == (ssize_t)len ? 0 : n < 0 ? -errno : -ENOSPC;
    return r < 0 ? jb_fail_errno(err, r, "writing events/%s; the box's events are lost, its record is not",
                                 name)
                 : 0;
}

int jb_events_keep(const struct jb_events *e, int state_fd, struct jb_error *err)
{
    if (e->text.len == 0)
        return 0;
    return keep_text(state_fd, jb_wall_us(e->clock), e->text.data, e->text.len, err);
}

void jb_events_free(struct jb_events *e)
{
    jb_close(&e->fd);
    jb_buf_free(&e->text);
    *e = JB_EVENTS_INIT;
}

int jb_events_recover(const struct jb_id *id, int box_fd, int state_fd, const char *reason,
                      struct jb_error *err)
{
    struct jb_events e = JB_EVENTS_INIT;
    jb_autofree char *text = NULL;
    size_t len = 0;
    e.id = *id;
    int r = jb_read_at(box_fd, JB_EVENTS_NAME, BOX_MAX, &text, &len);
    if (r < 0 && r != -ENOENT)
        return jb_fail_errno(err, r, "reading " JB_EVENTS_NAME " of box %s", id->text);
    while (len > 0 && text[len - 1] != '\n') /* a line without its end was never written */
        len--;
    for (size_t i = 0; i < len; i++)
        e.seq += text[i] == '\n';
    r = len ? jb_buf_add(&e.text, text, len) : 0;
    if (r == 0)
        (void)jb_events_add(&e, JB_UNSET, "recovered", ",\"reason\":\"%s\"", reason);
    r = r < 0 ? jb_fail_errno(err, r, "events of box %s", id->text) : jb_events_keep(&e, state_fd, err);
    jb_events_free(&e);
    return r;
}

/* --- finding --- */

struct finding {
    const char *prefix;
    size_t prefix_len;
    struct jb_id *id;   /* "": none seen yet */
    struct jb_buf *ret; /* its lines */
    unsigned next;      /* seq of the next event that is new */
};

static int take_line(struct finding *f, const char *line, size_t len)
{
    const size_t head = strlen(HEAD);
    static const char seq_key[] = "\",\"seq\":";
    if (len < head + JB_ID_LEN + strlen(seq_key) || memcmp(line, HEAD, head) != 0)
        return 0;
    const char *id = line + head;
    if (memcmp(id, f->prefix, f->prefix_len) != 0)
        return 0;
    if (f->id->text[0] && memcmp(id, f->id->text, JB_ID_LEN) != 0)
        return -ENOTUNIQ;
    memcpy(f->id->text, id, JB_ID_LEN);
    unsigned long seq = strtoul(id + JB_ID_LEN + strlen(seq_key), NULL, 10);
    if (seq < f->next) /* recovery wrote it again */
        return 0;
    f->next = (unsigned)seq + 1;
    return jb_buf_add(f->ret, line, len);
}

static int take_lines(struct finding *f, const char *text, size_t len)
{
    int r = 0;
    const char *end;
    for (const char *line = text; r == 0 && (end = memchr(line, '\n', len - (size_t)(line - text)));
         line = end + 1)
        r = take_line(f, line, (size_t)(end + 1 - line));
    return r;
}

static int take_file(struct finding *f, int dir, const char *name)
{
    jb_autoclose int fd = jb_open_at(dir, name, O_RDONLY, 0, JB_WALK_STRICT);
    struct stat st;
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return 0;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    int r = take_lines(f, map, (size_t)st.st_size);
    (void)munmap(map, (size_t)st.st_size);
    return r;
}

/* What visit() gets is a name in the directory; names are sorted, so that the oldest month comes first. */
static int each_name(int dirfd, const char *path, const char *prefix, struct finding *f,
                     int (*visit)(struct finding *f, int dir, const char *name))
{
    jb_autoclose int dir = jb_open_at(dirfd, path, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    struct dirent **names = NULL;
    int n = scandirat(dir, ".", &names, NULL, alphasort);
    if (n < 0)
        return -errno;
    int r = 0;
    for (int i = 0; i < n; i++) {
        if (r == 0 && names[i]->d_name[0] != '.' && jb_starts_with(names[i]->d_name, prefix))
            r = visit(f, dir, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return r;
}

static int take_box(struct finding *f, int dir, const char *name)
{
    char path[JB_ID_LEN + 32];
    if (!jb_id_valid(name))
        return 0;
    (void)snprintf(path, sizeof(path), "%s/" JB_EVENTS_NAME, name);
    return take_file(f, dir, path);
}

int jb_events_find(int state_fd, int boxes_fd, const char *prefix, struct jb_id *ret_id, struct jb_buf *ret,
                   struct jb_error *err)
{
    struct jb_id id = {{0}};
    jb_autobuf struct jb_buf text = {0};
    struct finding f = {.prefix = prefix, .prefix_len = strlen(prefix), .id = &id, .ret = &text};
    if (f.prefix_len == 0 || f.prefix_len > JB_ID_LEN)
        return jb_fail(err, ENOENT, "\"%.40s\" is not the beginning of an id", prefix);
    int r = state_fd < 0 ? 0 : each_name(state_fd, EVENTS_DIR, "", &f, take_file);
    if (r == 0 && boxes_fd >= 0)
        r = each_name(boxes_fd, ".", prefix, &f, take_box);
    if (r == -ENOTUNIQ)
        return jb_fail(err, r, "%s: more than one box has an id that begins so; give more of it", prefix);
    if (r < 0)
        return jb_fail_errno(err, r, "reading the events of %s", prefix);
    if (!id.text[0])
        return jb_fail(err, ENOENT, "%s: no events of such a box are here", prefix);
    *ret_id = id;
    *ret = text;
    text = (struct jb_buf){0};
    return 0;
}
