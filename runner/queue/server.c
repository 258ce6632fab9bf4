/*
 * server.c - the daemon's loop over its sockets.
 *
 * Owns: see server.h. Runs in: jobboxd. Privilege: jobboxd's.
 *
 * Nothing a peer sends can make the daemon wait: reads and writes do not block, requests are bounded, and whoever sends
 * half a request, does not read what it asked for, or sits there for nothing, is cut off after a while. However much one
 * user asks at once, of each turn he has a part only: others are answered, and jobs started, in between.
 */
#include "queue/server.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "queue/capacity.h"
#include "record/record.h"

#define EVENTS     256
#define READ_SIZE  65536
#define US_PER_S   UINT64_C(1000000)
#define MACHINE_US UINT64_C(10000000)
#define BACK_US    UINT64_C(100000) /* a clock that is only slowed down does not go back */
#define BUFFER     65536            /* a buffer that is empty and larger than this is given back */

/* Room for `len` bytes more that wait for a user, or are half of what he asks. */
static bool may_hold(struct jb_conn *c, size_t len)
{
    c->name->held += len;
    return c->uid == 0 || c->name->held <= JB_HELD_MAX;
}

static void give_back(struct jb_buf *buf)
{
    buf->len = 0;
    if (buf->cap > BUFFER)
        jb_buf_free(buf);
}

void jb_conn_send(struct jb_conn *c, json_t *line)
{
    jb_autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text || c->out.len - c->sent > JB_OUTPUT_MAX || !may_hold(c, strlen(text) + 1) ||
        jb_buf_puts(&c->out, text) < 0 || jb_buf_puts(&c->out, "\n") < 0)
        c->closing = true;
}

void jb_conn_fail(struct jb_conn *c, int errnum, const char *fmt, ...)
{
    struct jb_error err = {0};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    json_t *text = json_string(err.text);
    jb_conn_send(c, json_pack("{s:i, s:b, s:{s:i, s:o}}", "v", JB_PROTOCOL, "ok", false, "error", "errno",
                              abs(errnum), "text", text ? text : json_string("?")));
}

static void drop(struct jb_server *s, struct jb_conn *c)
{
    (void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    (void)close(c->fd);
    jb_logs_end(c);
    jb_map_free(&c->waits);
    jb_buf_free(&c->in);
    jb_buf_free(&c->out);
    free(c->groups);
    s->conns[c->at] = s->conns[--s->n];
    s->conns[c->at]->at = c->at;
    free(c);
}

static void name_free(struct jb_name *name)
{
    if (!name)
        return;
    free(name->user);
    free(name->home);
    free(name);
}

/* Names cost a look into files or a network: once for each user. */
static struct jb_name *name_of(struct jb_server *s, uid_t uid)
{
    char buf[4096];
    char number[16];
    struct passwd pw;
    struct passwd *found = NULL;
    for (size_t i = 0; i < s->n_names; i++)
        if (s->names[i]->uid == uid)
            return s->names[i];
    struct jb_name **grown = realloc(s->names, (s->n_names + 1) * sizeof(struct jb_name *));
    if (!grown)
        return NULL;
    s->names = grown;
    struct jb_name *name = calloc(1, sizeof(*name));
    if (!name)
        return NULL;
    (void)snprintf(number, sizeof(number), "%u", (unsigned)uid);
    bool known = getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == 0 && found;
    name->uid = uid;
    name->user = strdup(known ? pw.pw_name : number);
    name->home = strdup(known && pw.pw_dir && pw.pw_dir[0] == '/' ? pw.pw_dir : "/");
    if (!name->user || !name->home) {
        name_free(name);
        return NULL;
    }
    s->names[s->n_names++] = name;
    return name;
}

/* The kernel says who it is: not one word of the peer's is believed. */
static int identify(struct jb_server *s, struct jb_conn *c)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return -errno;
    c->uid = who.uid;
    c->gid = who.gid;
    len = 0;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 && errno != ERANGE)
        return -errno;
    c->groups = calloc(len / sizeof(gid_t) + 1, sizeof(gid_t));
    if (!c->groups)
        return -ENOMEM;
    if (len > 0 && getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, c->groups, &len) < 0)
        return -errno;
    c->n_groups = len / sizeof(gid_t);
    c->name = name_of(s, c->uid);
    if (!c->name)
        return -ENOMEM;
    c->user = c->name->user;
    c->home = c->name->home;
    return s->own && c->uid != 0 && c->uid != geteuid() ? -EPERM : 0;
}

static bool too_many(const struct jb_server *s, uid_t uid)
{
    size_t n = 0;
    for (size_t i = 0; uid != 0 && i < s->n; i++)
        n += s->conns[i]->uid == uid;
    return s->n >= JB_CONNECTIONS || n >= JB_CONNECTIONS_UID;
}

static void accept_one(struct jb_server *s, int fd)
{
    struct jb_conn *c = calloc(1, sizeof(*c));
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct jb_conn **grown = realloc(s->conns, cap * sizeof(struct jb_conn *));
        if (grown) {
            s->conns = grown;
            s->cap = cap;
        }
    }
    if (!c || s->n == s->cap) {
        free(c);
        (void)close(fd);
        return;
    }
    *c = (struct jb_conn){.fd = fd, .active_us = s->mono_us, .logs = {.fd = {-1, -1}}, .events = EPOLLIN};
    int r = identify(s, c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (r < 0 || too_many(s, c->uid) || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        static const char busy[] =
            "{\"v\":1,\"ok\":false,\"error\":{\"errno\":11,\"text\":\"too many connections\"}}\n";
        if (r == 0)
            (void)send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        s->refused++;
        free(c->groups);
        free(c);
        (void)close(fd);
        return;
    }
    c->at = s->n;
    s->conns[s->n++] = c;
}

static void accept_all(struct jb_server *s)
{
    for (int i = 0; i < EVENTS; i++) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        accept_one(s, fd);
    }
}

/* It has to read what it was told before it is told more. */
static bool has_to_read(const struct jb_conn *c)
{
    return c->out.len - c->sent > JB_OUTPUT_MAX / 2;
}

/* Or its user has had his part of this turn. */
static bool has_to_wait(const struct jb_conn *c)
{
    return c->name->busy_us >= JB_TURN_US || has_to_read(c);
}

/* Whole lines of what has come in, as many as its user's part of the turn is enough for. */
static void take_lines(struct jb_server *s, struct jb_conn *c)
{
    size_t begin = 0;
    c->backlog = false;
    while (!c->closing) {
        char *end = begin < c->in.len ? memchr(c->in.data + begin, '\n', c->in.len - begin) : NULL;
        c->backlog = end && has_to_wait(c);
        if (!end || c->backlog)
            break;
        size_t len = (size_t)(end - (c->in.data + begin));
        uint64_t begun = jb_mono_ns(NULL);
        s->requests++;
        jb_request(s, c, c->in.data + begin, len);
        c->name->busy_us += (jb_mono_ns(NULL) - begun) / JB_NS_PER_US;
        begin += len + 1;
    }
    if (begin > 0) {
        memmove(c->in.data, c->in.data + begin, c->in.len - begin);
        c->in.len -= begin;
        c->began_us = 0;
    }
    if (c->in.len == 0)
        give_back(&c->in);
    if (c->in.len > 0 && c->began_us == 0 && !c->backlog)
        c->began_us = s->mono_us;
    if (c->in.len >= JB_REQUEST_MAX && !c->backlog) {
        jb_conn_fail(c, EMSGSIZE, "a request is at most %u bytes long", JB_REQUEST_MAX);
        c->closing = true;
    }
}

static void read_some(struct jb_server *s, struct jb_conn *c)
{
    char data[READ_SIZE];
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        c->closing = true;
        c->out.len = c->sent = 0; /* nobody is there to read it */
        return;
    }
    c->active_us = s->mono_us;
    if (!may_hold(c, (size_t)n) || jb_buf_add(&c->in, data, (size_t)n) < 0)
        c->closing = true;
    else
        take_lines(s, c);
}

/* What was left in turns before, beginning with another one each time. */
static void take_backlog(struct jb_server *s)
{
    size_t first = s->backlog_at++;
    for (size_t i = 0; i < s->n; i++) {
        struct jb_conn *c = s->conns[(first + i) % s->n];
        if (c->backlog && !has_to_wait(c))
            take_lines(s, c);
    }
}

/* Nobody has had anything of this turn yet. */
static void begin_shares(struct jb_server *s)
{
    for (size_t i = 0; i < s->n_names; i++)
        s->names[i]->busy_us = s->names[i]->held = 0;
    for (size_t i = 0; i < s->n; i++)
        s->conns[i]->name->held += s->conns[i]->in.cap + s->conns[i]->out.cap;
}

static void flush(struct jb_server *s, struct jb_conn *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            c->closing = true;
            c->sent = c->out.len;
            break;
        }
        c->sent += (size_t)n;
        c->active_us = s->mono_us;
    }
    bool left = c->sent < c->out.len;
    JB_CRASH_POINT(peer_told);
    if (!left) {
        give_back(&c->out);
        c->sent = 0;
    }
    c->settled = c->out.len;
    uint32_t events = (c->backlog || has_to_read(c) ? 0U : EPOLLIN) | (left ? EPOLLOUT : 0U);
    if (events != c->events) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        (void)epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->events = events;
    }
}

/* Why a peer has to go, or false. */
static bool outstayed(const struct jb_server *s, const struct jb_conn *c)
{
    uint64_t idle = s->mono_us > c->active_us ? s->mono_us - c->active_us : 0;
    bool waits = c->waits.len > 0 || c->logs.on || c->token || c->backlog;
    if (c->began_us && s->mono_us - c->began_us > JB_PARTIAL_S * US_PER_S)
        return true;
    if (c->sent < c->out.len)
        return idle > JB_STUCK_S * US_PER_S;
    return !waits && idle > JB_SILENT_S * US_PER_S;
}

/* Somebody waits for this task. */
static void task_ended(void *ctx, const struct jb_qtask *t, const struct jb_end *end)
{
    struct jb_server *s = ctx;
    char name[JB_TASK_NAME];
    for (size_t i = 0; i < s->n; i++) {
        struct jb_conn *c = s->conns[i];
        if (c->logs.on && c->logs.task == t->id) {
            c->logs.ended = true;
            c->logs.last = t->tries;
        }
        if (c->waits.len == 0 || !jb_map_get(&c->waits, t->id))
            continue;
        jb_map_remove(&c->waits, t->id);
        if (c->exit_code == 0)
            c->exit_code = jb_end_code(end->reason, end->exit_code, end->signal);
        json_t *how = jb_end_to_json(end);
        if (!jb_conn_may_act(s, c, t->job->uid)) /* of others' jobs how they ended, and no more */
            (void)json_object_set_new(how, "error", json_null());
        jb_conn_send(c, json_pack("{s:s, s:s, s:o}", "event", "ended", "job",
                                  jb_task_name(t, name, sizeof(name)), "end", how));
        if (c->waits.len == 0)
            jb_conn_send(c, json_pack("{s:i, s:b, s:b, s:I}", "v", JB_PROTOCOL, "ok", true, "done", true,
                                      "exit_code", (json_int_t)c->exit_code));
    }
}

/* The wall clock may have been set back: what is noted as to come by it would come late. */
static void take_time(struct jb_server *s)
{
    uint64_t now = jb_wall_us(NULL);
    if (now + BACK_US < s->now_us)
        jb_queue_clock_back(s->q, s->now_us - now);
    s->now_us = now;
    s->mono_us = jb_mono_ns(NULL) / JB_NS_PER_US;
}

int jb_server_begin(struct jb_server *s, struct jb_queue *q, int listen_fd, int wake_fd, bool own,
                    struct jb_error *err)
{
    *s = (struct jb_server){.q = q, .listen_fd = listen_fd, .own = own};
    take_time(s);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listen = {.events = EPOLLIN, .data.ptr = &s->listen_fd};
    struct epoll_event wake = {.events = EPOLLIN, .data.ptr = NULL};
    struct epoll_event answers = {.events = EPOLLIN, .data.ptr = &q->nursery};
    if (s->epoll_fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, listen_fd, &listen) < 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, q->nursery.answer_fd, &answers) < 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, wake_fd, &wake) < 0)
        return jb_fail_errno(err, errno, "epoll");
    q->ended = task_ended;
    q->ended_ctx = s;
    return 0;
}

void jb_server_end(struct jb_server *s)
{
    while (s->n > 0)
        drop(s, s->conns[s->n - 1]);
    free(s->conns);
    for (size_t i = 0; i < s->n_names; i++)
        name_free(s->names[i]);
    free(s->names);
    jb_close(&s->epoll_fd);
}

void jb_server_give_up(struct jb_server *s, const struct jb_error *why)
{
    for (size_t i = 0; i < s->n; i++) {
        struct jb_conn *c = s->conns[i];
        if (c->out.len <= c->settled || c->sent > c->settled)
            continue;
        c->out.len = c->settled;
        if (c->waits.len == 0 && !c->logs.on) { /* those ask the next one, and get what they did not now */
            jb_autofree char *text = jb_asprintf("jobboxd cannot go on, and nothing was done: %s", why->text);
            jb_conn_send(c, json_pack("{s:i, s:b, s:{s:i, s:o, s:b}}", "v", JB_PROTOCOL, "ok", 0, "error",
                                      "errno", why->errnum ? why->errnum : EIO, "text", jb_json_text(text),
                                      "again", 1));
        }
        flush(s, c);
    }
}

/* An answer of a box to whoever asked. */
static void pass_on(struct jb_server *s, const json_t *answer)
{
    json_int_t token = json_integer_value(json_object_get(answer, "control"));
    if (token < 0) /* a question of our own */
        jb_queue_asked(s->q, (uint64_t)-token, json_object_get(answer, "answer") != NULL);
    for (size_t i = 0; token > 0 && i < s->n; i++) {
        struct jb_conn *c = s->conns[i];
        if (c->token != token)
            continue;
        c->token = 0;
        json_t *said = json_object_get(answer, "answer");
        if (said)
            jb_conn_send(c, json_pack("{s:i, s:b, s:O}", "v", JB_PROTOCOL, "ok", true, "answer", said));
        else
            jb_conn_fail(c, (int)json_integer_value(json_object_get(answer, "errnum")), "%s",
                         json_string_value(json_object_get(answer, "error")));
    }
}

static int hear_nursery(struct jb_server *s, struct jb_error *err)
{
    for (int i = 0; i < EVENTS; i++) {
        json_t *answer = NULL;
        int r = jb_nursery_hear(&s->q->nursery, &answer);
        if (r < 0)
            return jb_fail_errno(err, r, "the process that starts jobs is gone");
        if (!answer)
            return 0;
        if (json_object_get(answer, "control"))
            pass_on(s, answer);
        else
            r = jb_queue_heard(s->q, answer, s->now_us, err);
        json_decref(answer);
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_server_patience(const struct jb_server *s)
{
    uint64_t now = jb_wall_us(NULL);
    uint64_t until = now + US_PER_S;
    bool follows = false;
    for (size_t i = 0; i < s->n && !follows; i++)
        follows = s->conns[i]->logs.on;
    if (follows)
        until = now + 50000;
    if (s->q->wake_us < until)
        until = s->q->wake_us;
    if (s->q->dirty || s->backlog)
        return 0;
    return until > now ? (int)((until - now) / 1000) + 1 : 0;
}

/* Only who waits wants to know what became of it. */
static void look_at_machine(struct jb_server *s)
{
    struct jb_error unseen = {0};
    if (s->mono_us < s->machine_us || s->q->pending.len == s->q->pending.holes)
        return;
    if (s->machine_us)
        (void)jb_queue_look_at_machine(s->q, &unseen);
    s->machine_us = s->mono_us + MACHINE_US;
}

/* One end of everything: what was changed goes to the disk, then to those who asked. */
static int settle(struct jb_server *s, struct jb_error *err)
{
    look_at_machine(s);
    int r = jb_queue_tick(s->q, s->now_us, err);
    if (r == 0)
        r = jb_queue_pass(s->q, s->now_us, err);
    if (r == 0)
        r = jb_queue_commit(s->q, err);
    if (r < 0 || s->q->broken)
        return r < 0 ? r : -EIO;
    s->backlog = false;
    for (size_t i = s->n; i-- > 0;) {
        struct jb_conn *c = s->conns[i];
        if (c->logs.on)
            jb_logs_more(s, c);
        if (c->sent < c->out.len || c->events != EPOLLIN || c->backlog)
            flush(s, c);
        if ((c->closing && c->sent == c->out.len) || outstayed(s, c))
            drop(s, c);
        else
            s->backlog = s->backlog || (c->backlog && !c->closing && !has_to_read(c));
    }
    return 0;
}

int jb_server_turn(struct jb_server *s, int timeout_ms, struct jb_error *err)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(s->epoll_fd, events, EVENTS, timeout_ms);
    if (n < 0 && errno != EINTR)
        return jb_fail_errno(err, errno, "epoll");
    take_time(s);
    begin_shares(s);
    int r = 0;
    bool newcomers = false;
    for (int i = 0; r == 0 && i < n; i++) {
        struct jb_conn *c = events[i].data.ptr;
        if (!c)
            continue;
        if (events[i].data.ptr == &s->listen_fd)
            newcomers = true;
        else if (events[i].data.ptr == &s->q->nursery)
            r = hear_nursery(s, err);
        else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !c->backlog && !has_to_wait(c))
            read_some(s, c);
    }
    if (r == 0)
        take_backlog(s);
    if (newcomers) /* after the others: a place in the list is not given twice in a turn */
        accept_all(s);
    return r == 0 ? settle(s, err) : r;
}
