/*
 * wait.c - waiting for resources in order of arrival.
 *
 * Owns: a place in the line. Runs in: the supervisor, before its attempt begins. Privilege: that of the runtime
 * directory.
 */
#include "job/wait.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "machine/bell.h"

#define SWEEPS      4                 /* supervisors may go on dying meanwhile */
#define TICK        (5 * JB_NS_PER_S) /* what no bell rings for: CPUs that come online, memory that is added */
#define DEAF_TICK   JB_NS_PER_S       /* where there is no bell */
#define FIRST_AGAIN JB_NS_PER_MS      /* the bell rings a moment before a lock is free */
#define LAST_AGAIN  (100 * JB_NS_PER_MS) /* ten times longer each time, up to this */

void jb_wait_begin(const struct jb_job_options *options, const struct jb_id *id, struct jb_wait *ret)
{
    *ret = (struct jb_wait){
        .o = options,
        .id = *id,
        .waits = options->wait && options->wait_ns > 0,
        .deadline_ns = JB_UNSET,
        .place = JB_WAITLINE_PLACE_INIT,
        .bell_fd = -1,
    };
}

void jb_wait_end(struct jb_wait *w)
{
    if (w->place.fd >= 0) {
        bool locked = jb_ledger_lock(&w->o->state->ledger, NULL) == 0;
        jb_waitline_leave(w->o->state->runtime_fd, &w->place);
        if (locked)
            jb_wait_unlock(w);
    }
    if (w->told && w->o->notice)
        w->o->notice(w->o->notice_ctx, NULL);
    w->told = false;
    jb_close(&w->bell_fd);
}

/* Which boxes live, what they have, and how many are dead, in one number; their order does not matter. */
static uint64_t fingerprint(const struct jb_ledger *ledger)
{
    uint64_t sum = ledger->dead * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < ledger->len; i++) {
        uint64_t one = UINT64_C(14695981039346656037);
        for (const char *c = ledger->items[i].id.text; *c; c++)
            one = (one ^ (unsigned char)*c) * UINT64_C(1099511628211);
        sum += one ^ ledger->items[i].sum;
    }
    return sum;
}

int jb_wait_lock(struct jb_wait *w, struct jb_ledger *ret, struct jb_error *err)
{
    struct jb_ledger_dir *dir = &w->o->state->ledger;
    struct jb_ledger ledger = {0};
    bool in_vain = false;
    for (int sweeps = 0;; sweeps++) {
        int r = jb_ledger_lock(dir, err);
        if (r < 0)
            return r;
        r = w->whole ? jb_ledger_read(dir, &ledger, err) : jb_ledger_glance(dir, &ledger, err);
        if (r < 0) {
            jb_ledger_unlock(dir);
            return r;
        }
        /* what does not die of SIGKILL hangs in the kernel: it is on nobody's CPU, and must not keep them from others */
        if (in_vain || ledger.dead < w->hopeless)
            w->hopeless = ledger.dead;
        if (ledger.dead <= w->hopeless || sweeps == SWEEPS)
            break;
        jb_ledger_unlock(dir);
        jb_ledger_free(&ledger);
        in_vain = jb_sweep(w->o->state, w->o->site, NULL) <= 0;
    }
    if (w->waits)
        w->seen = fingerprint(&ledger);
    *ret = ledger;
    return 0;
}

void jb_wait_unlock(struct jb_wait *w)
{
    jb_ledger_unlock(&w->o->state->ledger);
}

/* How many of the line are before us: all of it, when we are not in it. */
static size_t count_ahead(const struct jb_wait *w, const struct jb_waitline *line)
{
    size_t n = 0;
    while (n < line->len && (w->place.fd < 0 || line->items[n].number < w->place.number))
        n++;
    return n;
}

/* Adds to what placement said, if it said no, who is before us. */
static int say_ahead(const struct jb_wait *w, int fits, const struct jb_waitline *line, size_t ahead,
                     struct jb_error *err)
{
    jb_autobuf struct jb_buf who = {0};
    jb_autofree char *held = NULL;
    int r = jb_waitline_say(line, ahead, &who);
    if (r == 0 && fits < 0 && err)
        r = (held = strdup(err->text)) ? 0 : -ENOMEM;
    if (r < 0)
        return jb_fail_errno(err, r, "waiting");
    const char *verb = ahead == 1 ? "waits" : "wait";
    const char *hint = w->waits ? "" : "; get in line with --wait";
    if (held)
        return jb_fail(err, EBUSY, "%s; before it %s %s%s", held, verb, who.data, hint);
    return jb_fail(err, EBUSY, "%s: what it wants is free, but before it %s %s%s", w->o->spec->file, verb,
                   who.data, hint);
}

static int join(struct jb_wait *w, struct jb_error *err)
{
    struct jb_ticket ticket = {
        .id = w->id, .uid = (uint32_t)w->o->submitter->uid, .since_us = jb_wall_us(NULL)};
    struct jb_request request;
    int r = jb_plan_request(w->o->spec, w->o->site, &request, err);
    if (r < 0)
        return r;
    jb_ticket_wants(&request, &ticket);
    (void)snprintf(ticket.name, sizeof(ticket.name), "%s", w->o->spec->name ? w->o->spec->name : "");
    r = jb_waitline_join(w->o->state->runtime_fd, &ticket, &w->place, err);
    if (r < 0)
        return r;
    w->submitted_us = ticket.since_us;
    w->begun_ns = jb_mono_ns(NULL);
    if (w->o->wait_ns != JB_UNSET)
        w->deadline_ns = w->begun_ns + w->o->wait_ns;
    return 0;
}

int jb_wait_turn(struct jb_wait *w, int fits, struct jb_error *err)
{
    struct jb_waitline line = {0};
    struct jb_error trouble = {0};
    int r = jb_waitline_read(w->o->state->runtime_fd, &line, &trouble);
    if (r == 0 && line.stale)
        jb_waitline_tidy(w->o->state->runtime_fd);
    size_t ahead = r == 0 ? count_ahead(w, &line) : 0;
    if (r == 0) {
        w->ahead = ahead ? line.items[ahead - 1].number : 0;
        r = ahead ? say_ahead(w, fits, &line, ahead, err) : fits;
        if (r == -EBUSY && w->waits && w->place.fd < 0) {
            int joined = join(w, &trouble);
            r = joined < 0 ? joined : r;
        }
    }
    jb_waitline_free(&line);
    if (r < 0 && trouble.errnum && err)
        *err = trouble;
    return r;
}

uint64_t jb_wait_done(struct jb_wait *w)
{
    if (w->place.fd < 0)
        return 0;
    jb_waitline_leave(w->o->state->runtime_fd, &w->place);
    return jb_mono_ns(NULL) - w->begun_ns;
}

/* -ECANCELED when one of those came that cancel. Others are for the job, and there is none yet. */
static int take_signal(const struct jb_wait *w, int signal_fd, struct jb_error *err)
{
    struct signalfd_siginfo got;
    while (read(signal_fd, &got, sizeof(got)) == (ssize_t)sizeof(got)) {
        int sig = (int)got.ssi_signo;
        if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT)
            return jb_fail(err, ECANCELED, "%s: cancelled by SIG%s while it waited; nothing was started",
                           w->o->spec->file, sigabbrev_np(sig));
    }
    return 0;
}

/* Sleeps for `bell` (-1: none), signals, or until a moment. 1: the bell rang. */
static int doze(const struct jb_wait *w, int bell, int signal_fd, uint64_t until_ns, struct jb_error *err)
{
    struct pollfd fds[2] = {{.fd = signal_fd, .events = POLLIN}, {.fd = bell, .events = POLLIN}};
    uint64_t now = jb_mono_ns(NULL);
    uint64_t left = until_ns > now ? until_ns - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / JB_NS_PER_S), .tv_nsec = (long)(left % JB_NS_PER_S)};
    int n = ppoll(fds, 2, until_ns == JB_UNSET ? NULL : &t, NULL);
    if (n < 0)
        return errno == EINTR ? 0 : jb_fail_errno(err, errno, "waiting");
    int r = fds[0].revents ? take_signal(w, signal_fd, err) : 0;
    return r < 0 ? r : fds[1].revents != 0;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Behind another: until that one goes. */
static int until_it_goes(struct jb_wait *w, int signal_fd, struct jb_error *err)
{
    struct jb_bell_turn turn = {.lock_fd = -1, .event_fd = -1};
    bool rings = jb_bell_turn_begin(w->o->state->runtime_fd, w->ahead, &turn) == 0;
    uint64_t until = rings ? w->deadline_ns : earlier(w->deadline_ns, jb_mono_ns(NULL) + DEAF_TICK);
    int r = 0;
    while (r == 0 && (until == JB_UNSET || jb_mono_ns(NULL) < until))
        r = doze(w, rings ? turn.event_fd : -1, signal_fd, until, err);
    jb_bell_turn_end(&turn);
    return r < 0 ? r : 0;
}

/* Something else is live or dead than at our last look. What cannot be read is for the next look to tell. */
static bool changed(const struct jb_wait *w)
{
    struct jb_ledger ledger = {0};
    if (jb_ledger_read(&w->o->state->ledger, &ledger, NULL) < 0)
        return true;
    bool is = fingerprint(&ledger) != w->seen;
    jb_ledger_free(&ledger);
    return is;
}

/* The first of the line: until the ledger changes. */
static int until_it_changes(struct jb_wait *w, int signal_fd, struct jb_error *err)
{
    if (w->bell_fd < 0)
        w->bell_fd = jb_bell_ledger(&w->o->state->ledger);
    uint64_t end = earlier(w->deadline_ns, jb_mono_ns(NULL) + (w->bell_fd < 0 ? DEAF_TICK : TICK));
    uint64_t again = LAST_AGAIN + 1;
    while (!changed(w) && jb_mono_ns(NULL) < end) {
        uint64_t until = again > LAST_AGAIN ? end : earlier(end, jb_mono_ns(NULL) + again);
        int r = doze(w, w->bell_fd < 0 ? -1 : w->bell_fd, signal_fd, until, err);
        if (r < 0)
            return r;
        if (r > 0)
            jb_bell_quiet(w->bell_fd);
        again = r > 0 ? FIRST_AGAIN : again > LAST_AGAIN ? again : again * 10;
    }
    return 0;
}

static int give_up(const struct jb_wait *w, struct jb_error *err)
{
    char text[32];
    uint64_t waited = (jb_mono_ns(NULL) - w->begun_ns) / JB_NS_PER_MS * JB_NS_PER_MS;
    return jb_wrap(err, "waited %s", jb_format_duration(waited, text, sizeof(text)));
}

int jb_wait_next(struct jb_wait *w, int signal_fd, struct jb_error *err)
{
    if (!w->waits || w->place.fd < 0) /* not in line: something else is busy than what one can wait for */
        return -EBUSY;
    if (w->last)
        return give_up(w, err);
    if (w->o->notice)
        w->o->notice(w->o->notice_ctx, err ? err->text : "");
    w->told = true;
    int r = w->ahead ? until_it_goes(w, signal_fd, err) : until_it_changes(w, signal_fd, err);
    w->last = r == 0 && w->deadline_ns != JB_UNSET && jb_mono_ns(NULL) >= w->deadline_ns;
    return r;
}
