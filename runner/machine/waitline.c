/*
 * waitline.c - the line of those who wait for resources.
 *
 * Owns: the tickets of the file while joining and leaving. Runs in: every jobbox process that starts a job.
 * Privilege: that of the runtime directory.
 *
 * Tickets lie in slots that are used again; the lock lies on a byte of the number, far beyond the end of the file, and
 * not on the slot. With the lock on the slot a waiter could fall asleep on a slot that has changed hands to somebody
 * who stands behind it, and both would sleep for ever.
 */
#include "machine/waitline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "machine/refuse.h"

#define LOCKS_AT (INT64_C(1) << 40) /* where the bytes begin that stand for numbers */
#define SHOWN    4
#define ID_SHOWN 12

off_t jb_waitline_byte(uint64_t number)
{
    return (off_t)(LOCKS_AT + (int64_t)number);
}

static uint64_t sum_of(const struct jb_ticket *t)
{
    uint64_t sum = UINT64_C(14695981039346656037);
    const unsigned char *byte = (const unsigned char *)t;
    for (size_t i = sizeof(t->sum); i < sizeof(*t); i++)
        sum = (sum ^ byte[i]) * UINT64_C(1099511628211);
    return sum;
}

static bool sound(const struct jb_ticket *t)
{
    return t->number != 0 && t->number < UINT64_C(1) << 60 && t->sum == sum_of(t) &&
           jb_id_valid(t->id.text) && memchr(t->name, '\0', sizeof(t->name)) &&
           memchr(t->wants, '\0', sizeof(t->wants));
}

void jb_ticket_wants(const struct jb_request *request, struct jb_ticket *ticket)
{
    char cpus[64];
    char size[32];
    char list[48];
    bool memory = request->memory != JB_UNSET;
    if (!request->cpu_set_said)
        (void)jb_refuse_units(request, request->cpus, cpus, sizeof(cpus));
    else if (jb_cpus_format(&request->cpu_set, list, sizeof(list)) >= 0)
        (void)snprintf(cpus, sizeof(cpus), "CPUs %s", list);
    else
        (void)snprintf(cpus, sizeof(cpus), "%u CPUs", jb_cpus_count(&request->cpu_set));
    (void)snprintf(ticket->wants, sizeof(ticket->wants), "%s%s%s", cpus, memory ? " and " : "",
                   memory ? jb_format_size(request->memory, size, sizeof(size)) : "");
}

int jb_waitline_open(int runtime_fd, struct jb_error *err)
{
    jb_autoclose int fd = openat(runtime_fd, JB_WAITLINE_NAME,
                                 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    struct stat st;
    if (fd < 0 && errno == ELOOP)
        return jb_fail(err, ELOOP,
                       "%s in the runtime directory is a symlink; jobbox does not follow it: remove it",
                       JB_WAITLINE_NAME);
    if (fd < 0 || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s in the runtime directory", JB_WAITLINE_NAME);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return jb_fail(err, EPERM,
                       "%s in the runtime directory: not a file of uid %u that only it can write; remove it",
                       JB_WAITLINE_NAME, (unsigned)geteuid());
    return jb_take_fd(&fd);
}

/* All tickets of the file, as they lie. */
static int read_slots(int fd, struct jb_ticket **ret, size_t *ret_n)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    size_t n = (size_t)st.st_size / JB_TICKET_SIZE;
    if (n > JB_WAITLINE_MAX)
        n = JB_WAITLINE_MAX;
    jb_autofree struct jb_ticket *items = calloc(n ? n : 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    ssize_t got = pread(fd, items, n * JB_TICKET_SIZE, 0);
    if (got < 0)
        return -errno;
    *ret = jb_take_ptr(items);
    *ret_n = (size_t)got / JB_TICKET_SIZE;
    return 0;
}

/* Sleepers hold shared locks for a moment; only the waiter itself has an exclusive one. */
static int alive(int fd, uint64_t number)
{
    struct flock fl = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = jb_waitline_byte(number), .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
        return -errno;
    return fl.l_type != F_UNLCK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct jb_ticket *)a)->number;
    uint64_t y = ((const struct jb_ticket *)b)->number;
    return x < y ? -1 : x > y;
}

/* Those alive move to the front, in order. */
static int pick(int fd, struct jb_ticket *items, size_t n, size_t *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int r = sound(&items[i]) ? alive(fd, items[i].number) : 0;
        if (r < 0)
            return r;
        if (r > 0)
            items[len++] = items[i];
    }
    if (len)
        qsort(items, len, sizeof(*items), by_number);
    *ret_len = len;
    return 0;
}

int jb_waitline_read(int runtime_fd, struct jb_waitline *ret, struct jb_error *err)
{
    struct jb_waitline line = {0};
    struct stat st;
    size_t n = 0;
    if (fstatat(runtime_fd, JB_WAITLINE_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return jb_fail_errno(err, errno, "%s in the runtime directory", JB_WAITLINE_NAME);
        *ret = line;
        return 0;
    }
    if (S_ISREG(st.st_mode) && st.st_size == 0) {
        *ret = line;
        return 0;
    }
    jb_autoclose int fd = jb_waitline_open(runtime_fd, err);
    if (fd < 0)
        return fd;
    int r = read_slots(fd, &line.items, &n);
    if (r == 0)
        r = pick(fd, line.items, n, &line.len);
    if (r < 0) {
        jb_waitline_free(&line);
        return jb_fail_errno(err, r, "reading who waits");
    }
    line.stale = line.len == 0;
    *ret = line;
    return 0;
}

void jb_waitline_free(struct jb_waitline *line)
{
    free(line->items);
    *line = (struct jb_waitline){0};
}

void jb_waitline_tidy(int runtime_fd)
{
    jb_autoclose int fd = jb_waitline_open(runtime_fd, NULL);
    if (fd >= 0 && ftruncate(fd, 0) < 0)
        return; /* the next reader finds dead tickets and is only a little slower */
}

/* A slot of a dead or gone waiter, and a number later than any in the file, be its waiter alive or not. */
static int choose(int fd, size_t *ret_slot, uint64_t *ret_number)
{
    jb_autofree struct jb_ticket *items = NULL;
    size_t n = 0;
    uint64_t last = 0;
    int r = read_slots(fd, &items, &n);
    size_t slot = n;
    for (size_t i = n; r == 0 && i-- > 0;) {
        bool is = sound(&items[i]);
        int living = is ? alive(fd, items[i].number) : 0;
        if (living < 0)
            return living;
        if (is && items[i].number > last)
            last = items[i].number;
        if (!living)
            slot = i;
    }
    if (r == 0 && slot >= JB_WAITLINE_MAX)
        r = -ENOSPC;
    *ret_slot = slot;
    *ret_number = last + 1;
    return r;
}

static int store(int fd, size_t slot, const struct jb_ticket *ticket)
{
    ssize_t n = pwrite(fd, ticket, sizeof(*ticket), (off_t)(slot * JB_TICKET_SIZE));
    if (n < 0)
        return -errno;
    return (size_t)n == sizeof(*ticket) ? 0 : -ENOSPC;
}

/* A number whose ticket was lost may still be held by somebody: a later one will do. */
static int take_number(int fd, uint64_t *number)
{
    for (;; ++*number) {
        struct flock fl = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = jb_waitline_byte(*number), .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
    }
}

int jb_waitline_join(int runtime_fd, struct jb_ticket *ticket, struct jb_waitline_place *ret,
                     struct jb_error *err)
{
    struct jb_waitline_place place = {0};
    jb_autoclose int fd = jb_waitline_open(runtime_fd, err);
    if (fd < 0)
        return fd;
    int r = choose(fd, &place.slot, &place.number);
    if (r == -ENOSPC)
        return jb_fail(err, r, "cannot wait: %d jobs do already", JB_WAITLINE_MAX);
    if (r == 0)
        r = take_number(fd, &place.number);
    if (r == 0) {
        ticket->number = place.number;
        ticket->sum = sum_of(ticket);
        r = store(fd, place.slot, ticket);
    }
    if (r < 0)
        return jb_fail_errno(err, r, "getting in line");
    place.fd = jb_take_fd(&fd);
    *ret = place;
    return 0;
}

void jb_waitline_leave(int runtime_fd, struct jb_waitline_place *place)
{
    struct jb_waitline rest = {0};
    if (place->fd < 0)
        return;
    (void)store(place->fd, place->slot,
                &(struct jb_ticket){0}); /* else the lock goes, and the ticket is a dead one */
    jb_close(&place->fd);
    if (jb_waitline_read(runtime_fd, &rest, NULL) == 0 && rest.stale)
        jb_waitline_tidy(runtime_fd);
    jb_waitline_free(&rest);
    *place = JB_WAITLINE_PLACE_INIT;
}

int jb_waitline_say(const struct jb_waitline *line, size_t n, struct jb_buf *ret)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < n && i < SHOWN; i++) {
        const struct jb_ticket *t = &line->items[i];
        char name[sizeof(t->name)];
        memcpy(name, t->name, sizeof(name));
        for (char *c = name; *c; c++) /* nothing that could garble a terminal */
            if (*c < ' ' || *c == 0x7f)
                *c = '?';
        r = jb_buf_printf(ret, "%s%.*s (%s, uid %u) %s", i ? "; " : "", ID_SHOWN, t->id.text,
                          *name ? name : "unnamed", (unsigned)t->uid, t->wants);
    }
    if (r == 0 && n > SHOWN)
        r = jb_buf_printf(ret, "; and %zu more", n - SHOWN);
    return r;
}
