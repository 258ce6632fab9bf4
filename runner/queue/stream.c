/*
 * stream.c - what a job wrote, to whoever may read it.
 *
 * Owns: the descriptors of logs that are being sent. Runs in: jobboxd. Privilege: jobboxd's; only files below logs/ of
 * the state directory are opened, by number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "queue/server.h"

#define PIECE 32768

static char *base64(const unsigned char *data, size_t len)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((len + 2) / 3 * 4 + 1);
    char *p = text;
    for (size_t i = 0; text && i < len; i += 3) {
        unsigned word = (unsigned)data[i] << 16 | (i + 1 < len ? (unsigned)data[i + 1] << 8 : 0U) |
                        (i + 2 < len ? data[i + 2] : 0U);
        *p++ = letters[word >> 18];
        *p++ = letters[word >> 12 & 63];
        *p++ = i + 1 < len ? letters[word >> 6 & 63] : '=';
        *p++ = i + 2 < len ? letters[word & 63] : '=';
    }
    if (text)
        *p = '\0';
    return text;
}

static int open_log(const struct jb_server *s, uint64_t task, uint32_t attempt, const char *end)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "logs/%llu/%u.%s", (unsigned long long)task, attempt, end);
    return jb_open_at(s->q->state->state_fd, path, O_RDONLY | O_NONBLOCK, 0, JB_WALK_STRICT);
}

/* Where the last `lines` lines of a file begin. */
static off_t tail_offset(int fd, int64_t lines)
{
    char data[PIECE];
    struct stat st;
    if (lines < 0 || fstat(fd, &st) < 0)
        return 0;
    int64_t seen = 0;
    off_t at = st.st_size;
    bool last = true;
    while (at > 0) {
        size_t want = at > PIECE ? PIECE : (size_t)at;
        ssize_t n = pread(fd, data, want, at - (off_t)want);
        if (n <= 0)
            return at;
        for (ssize_t i = n; i-- > 0;) {
            bool end = data[i] == '\n' && !(last && at - (off_t)want + i == st.st_size - 1);
            last = last && data[i] != '\n';
            if (end && ++seen >= lines)
                return at - (off_t)want + i + 1;
        }
        at -= (off_t)want;
    }
    return lines == 0 ? st.st_size : 0;
}

void jb_logs_end(struct jb_conn *c)
{
    jb_close(&c->logs.fd[0]);
    jb_close(&c->logs.fd[1]);
    c->logs.on = false;
}

int jb_logs_begin(struct jb_server *s, struct jb_conn *c, const struct jb_logs_wish *wish,
                  struct jb_error *err)
{
    if (c->logs.on)
        return jb_fail(err, EBUSY, "one log at a time on a connection");
    const struct jb_qtask *t = jb_map_get(&s->q->tasks, wish->task);
    c->logs.on = true;
    c->logs.follow = wish->follow;
    c->logs.task = wish->task;
    c->logs.attempt = wish->attempt;
    c->logs.last = t ? t->tries : wish->attempt;
    c->logs.ended = !t;
    static const char *const ends[] = {"out", "err"};
    for (int i = 0; i < 2; i++) {
        c->logs.fd[i] = open_log(s, wish->task, wish->attempt, ends[i]);
        if (wish->from[i] >= 0)
            c->logs.offset[i] = wish->from[i];
        else
            c->logs.offset[i] = c->logs.fd[i] >= 0 ? tail_offset(c->logs.fd[i], wish->tail) : 0;
    }
    return 0;
}

/* What is missing is looked for again: a log is made for its first byte. */
static void open_missing(const struct jb_server *s, struct jb_conn *c)
{
    static const char *const ends[] = {"out", "err"};
    for (int i = 0; i < 2; i++)
        if (c->logs.fd[i] < 0 && c->logs.attempt > 0)
            c->logs.fd[i] = open_log(s, c->logs.task, c->logs.attempt, ends[i]);
}

/* Who follows much at once and reads slowly has less of each on its way. */
static bool may_send(const struct jb_conn *c)
{
    size_t waits = c->out.len - c->sent;
    return waits == 0 || (waits < JB_STREAM_PAUSE && (c->uid == 0 || c->name->held < JB_HELD_MAX / 2));
}

/* Sends what is there. True: there is more, but what was sent has to be read first. */
static bool pump(struct jb_conn *c)
{
    unsigned char data[PIECE];
    bool more = true;
    while (more && may_send(c) && !c->closing) {
        more = false;
        for (int i = 0; i < 2; i++) {
            ssize_t n = c->logs.fd[i] < 0 ? 0 : pread(c->logs.fd[i], data, sizeof(data), c->logs.offset[i]);
            if (n <= 0)
                continue;
            c->logs.offset[i] += n;
            more = true;
            jb_autofree char *text = base64(data, (size_t)n);
            jb_conn_send(c, json_pack("{s:s, s:s, s:s, s:i, s:I}", "event", "output", "stream",
                                      i ? "stderr" : "stdout", "base64", text ? text : "", "attempt",
                                      (int)c->logs.attempt, "end", (json_int_t)c->logs.offset[i]));
        }
    }
    return more;
}

/* The attempt after the one that has been sent as a whole: a retry writes new files. */
static bool next_attempt(struct jb_conn *c)
{
    if (!c->logs.follow || c->logs.attempt >= c->logs.last)
        return false;
    jb_close(&c->logs.fd[0]);
    jb_close(&c->logs.fd[1]);
    c->logs.attempt++;
    c->logs.offset[0] = c->logs.offset[1] = 0;
    return true;
}

void jb_logs_more(struct jb_server *s, struct jb_conn *c)
{
    const struct jb_qtask *t = jb_map_get(&s->q->tasks, c->logs.task);
    bool ended = c->logs.ended; /* before the look: what it wrote last is there by now */
    bool more;
    if (t)
        c->logs.last = t->tries;
    do {
        open_missing(s, c);
        more = pump(c);
    } while (!more && next_attempt(c));
    if (more || (c->logs.follow && !ended))
        return;
    jb_logs_end(c);
    jb_conn_send(c, json_pack("{s:i, s:b, s:b}", "v", JB_PROTOCOL, "ok", true, "done", true));
}
