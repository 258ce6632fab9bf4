/*
 * notes.c - slots of the file `attempts`.
 *
 * Owns: see notes.h. Runs in: see notes.h. Privilege: see notes.h.
 */
#include "job/notes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"

#define NAME      "attempts"
#define SUM_WIDTH 16
#define TRIES     64

/* A mixture of two slots, as a power failure may leave it, is not taken for one. */
static uint64_t sum_of(const char *data, size_t len)
{
    uint64_t sum = UINT64_C(0x9e3779b97f4a7c15) ^ len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, data + i, len - i < 8 ? len - i : 8);
        sum = (sum ^ word) * UINT64_C(0xff51afd7ed558ccd);
        sum ^= sum >> 32;
    }
    return sum;
}

static int open_file(int state_fd, int flags)
{
    int fd = jb_open_at(state_fd, NAME, O_RDWR | O_NOCTTY | O_NONBLOCK | flags, 0600, JB_WALK_STRICT);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022))
        return fd;
    (void)close(fd);
    return -EPERM;
}

static off_t offset_of(size_t slot)
{
    return (off_t)(slot * JB_NOTE_SLOT);
}

static int take(int fd, size_t slot)
{
    struct flock fl = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset_of(slot), .l_len = JB_NOTE_SLOT};
    if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static void give(int fd, size_t slot)
{
    struct flock fl = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = offset_of(slot), .l_len = JB_NOTE_SLOT};
    (void)fcntl(fd, F_OFD_SETLK, &fl);
}

/* 1: something is in it. */
static int filled(int fd, size_t slot)
{
    char first = '\0';
    ssize_t n = pread(fd, &first, 1, offset_of(slot));
    return n < 0 ? -errno : n == 1 && first != '\0';
}

/* Each line with its sum; the NUL at the end goes in with it. */
static int add_sums(struct jb_buf *buf, const char *lines, size_t len)
{
    int r = 0;
    for (const char *end; r == 0 && len > 0 && (end = memchr(lines, '\n', len));
         len -= (size_t)(end + 1 - lines), lines = end + 1) {
        r = jb_buf_printf(buf, "%0*" PRIx64, SUM_WIDTH, sum_of(lines, (size_t)(end - lines)));
        if (r == 0)
            r = jb_buf_add(buf, lines, (size_t)(end + 1 - lines));
    }
    return r;
}

/* The wished slot, and then some that its neighbours do not try first. */
static int take_empty(int fd, size_t wish, size_t *ret)
{
    for (size_t i = 0; i < TRIES; i++) {
        size_t slot = (wish + i * i * 61) % JB_NOTE_SLOTS;
        int r = take(fd, slot);
        if (r == -EAGAIN)
            continue;
        if (r == 0)
            r = filled(fd, slot);
        if (r == 0) {
            *ret = slot;
            return 0;
        }
        give(fd, slot);
        if (r < 0)
            return r;
    }
    return -ENOSPC;
}

static int put(int fd, size_t slot, const char *lines, size_t len, size_t *ret_len)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = add_sums(&buf, lines, len);
    if (r == 0 && buf.len + 1 > JB_NOTE_SLOT)
        r = -EMSGSIZE;
    if (r < 0)
        return r;
    ssize_t n = pwrite(fd, buf.data, buf.len + 1, offset_of(slot));
    if (n == (ssize_t)buf.len + 1) {
        *ret_len = buf.len;
        return 0;
    }
    r = n < 0 ? -errno : -ENOSPC;
    (void)!pwrite(fd, "", 1, offset_of(slot));
    return r;
}

int jb_note_begin(int state_fd, size_t wish, const char *lines, size_t len, struct jb_note *ret,
                  struct jb_error *err)
{
    struct jb_note a = JB_NOTE_INIT;
    jb_autoclose int fd = open_file(state_fd, O_CREAT);
    int r = fd < 0 ? fd : take_empty(fd, wish, &a.slot);
    if (r == 0)
        r = put(fd, a.slot, lines, len, &a.len);
    JB_CRASH_POINT(attempt_noted);
    if (r < 0)
        return jb_fail_errno(err, r, "noting the attempt in " NAME " of the state directory");
    a.fd = jb_take_fd(&fd);
    *ret = a;
    return 0;
}

void jb_note_add(struct jb_note *a, const char *line, size_t len)
{
    jb_autobuf struct jb_buf buf = {0};
    if (a->fd < 0 || add_sums(&buf, line, len) < 0 || a->len + buf.len + 1 > JB_NOTE_SLOT)
        return;
    /* on failure a line is torn, and does not count */
    if (pwrite(a->fd, buf.data, buf.len + 1, offset_of(a->slot) + (off_t)a->len) == (ssize_t)buf.len + 1)
        a->len += buf.len;
}

void jb_note_forget(struct jb_note *a)
{
    if (a->fd >= 0)
        (void)!pwrite(a->fd, "", 1, offset_of(a->slot));
    JB_CRASH_POINT(attempt_forgotten);
    jb_note_close(a);
}

void jb_note_close(struct jb_note *a)
{
    jb_close(&a->fd);
}

/* The lines that are whole, without their sums. */
static int get(int fd, size_t slot, struct jb_buf *ret)
{
    jb_autofree char *text = malloc(JB_NOTE_SLOT + 1);
    if (!text)
        return -ENOMEM;
    ssize_t n = pread(fd, text, JB_NOTE_SLOT, offset_of(slot));
    if (n < 0)
        return -errno;
    text[n] = '\0';
    int r = 0;
    for (const char *line = text, *end; r == 0 && (end = strchr(line, '\n')); line = end + 1) {
        char sum[SUM_WIDTH + 1];
        if (end - line < SUM_WIDTH)
            break;
        (void)snprintf(sum, sizeof(sum), "%0*" PRIx64, SUM_WIDTH,
                       sum_of(line + SUM_WIDTH, (size_t)(end - line) - SUM_WIDTH));
        if (strncmp(line, sum, SUM_WIDTH) != 0)
            break;
        r = jb_buf_add(ret, line + SUM_WIDTH, (size_t)(end + 1 - line) - SUM_WIDTH);
    }
    return r;
}

/* A record begins so; a label that is called "id" does not count. */
static bool named_id(const struct jb_buf *lines, struct jb_id *ret)
{
    static const char before[] = "\n{\"record\":{\"record_version\":";
    static const char key[] = ",\"id\":\"";
    const char *at = lines->data ? strstr(lines->data, before) : NULL;
    if (at)
        at += sizeof(before) - 1 + strspn(at + sizeof(before) - 1, "0123456789");
    if (!at || !jb_starts_with(at, key))
        return false;
    (void)snprintf(ret->text, sizeof(ret->text), "%.*s", JB_ID_LEN, at + sizeof(key) - 1);
    return jb_id_valid(ret->text);
}

static int count_slots(int fd, size_t *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    size_t n = ((size_t)st.st_size + JB_NOTE_SLOT - 1) / JB_NOTE_SLOT;
    *ret = n > JB_NOTE_SLOTS ? JB_NOTE_SLOTS : n;
    return 0;
}

int jb_note_find(int state_fd, const struct jb_id *id, struct jb_note *ret, struct jb_buf *ret_lines)
{
    size_t n = 0;
    jb_autoclose int fd = open_file(state_fd, 0);
    if (fd == -ENOENT)
        return 0;
    int r = fd < 0 ? fd : count_slots(fd, &n);
    for (size_t slot = 0; r == 0 && slot < n; slot++) {
        jb_autobuf struct jb_buf lines = {0};
        struct jb_id named;
        if (filled(fd, slot) <= 0)
            continue;
        r = get(fd, slot, &lines);
        if (r < 0 || !named_id(&lines, &named) || !jb_streq(named.text, id->text))
            continue;
        (void)take(fd, slot);
        *ret = (struct jb_note){.fd = jb_take_fd(&fd), .slot = slot};
        *ret_lines = lines;
        lines = (struct jb_buf){0};
        return 1;
    }
    return r;
}

int jb_notes_each(int state_fd,
                  void (*lost)(void *ctx, struct jb_note *attempt, const struct jb_id *id,
                               const struct jb_buf *lines),
                  void *ctx)
{
    size_t n = 0;
    int held = 0;
    jb_autoclose int fd = open_file(state_fd, 0);
    if (fd == -ENOENT)
        return 0;
    int r = fd < 0 ? fd : count_slots(fd, &n);
    for (size_t slot = 0; r == 0 && slot < n; slot++) {
        jb_autobuf struct jb_buf lines = {0};
        struct jb_id id;
        if (filled(fd, slot) <= 0)
            continue;
        jb_autoclose int own = open_file(state_fd, 0); /* the lock is to be this slot's alone */
        r = own < 0 ? own : take(own, slot);
        if (r == -EAGAIN) {
            held++;
            r = 0;
            continue;
        }
        if (r < 0 || filled(own, slot) <= 0) /* finished by somebody else meanwhile */
            continue;
        r = get(own, slot, &lines);
        if (r < 0)
            continue;
        struct jb_note a = {.fd = jb_take_fd(&own), .slot = slot};
        lost(ctx, &a, named_id(&lines, &id) ? &id : NULL, &lines);
        jb_note_close(&a);
    }
    return r < 0 ? r : held;
}
