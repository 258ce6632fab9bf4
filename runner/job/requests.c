/*
 * requests.c - what others ask a supervisor for, carried out in its loop.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none of its own; who may ask was decided when the peer came.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "job/exec/execs.h"
#include "job/loop.h"

static json_t *failed(const char *text)
{
    return json_pack("{s:o}", "error", jb_json_text(text));
}

/* For those who may not open the groups themselves. */
static json_t *usage(const struct jb_loop *l)
{
    struct jb_cg_usage u;
    if (!l->s->cgroup || jb_cgroup_usage(l->s->cgroup, &u, NULL) < 0)
        return json_null();
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu_us", jb_json_u64(u.cpu_total_us),
                  "memory_bytes", jb_json_u64(jb_cgroup_memory_now(l->s->cgroup)), "pids",
                  jb_json_u64(jb_cgroup_pids_now(l->s->cgroup)), "read_bytes", jb_json_u64(u.read_bytes),
                  "written_bytes", jb_json_u64(u.written_bytes), "memory_some_us",
                  jb_json_u64(u.psi_memory_some_us), "memory_full_us", jb_json_u64(u.psi_memory_full_us));
    jb_cg_usage_free(&u);
    return json ? json : json_null();
}

static json_t *status(const struct jb_loop *l)
{
    const struct jb_plan *plan = l->s->plan;
    uint64_t at = jb_loop_now(l);
    uint64_t paused = l->paused_ns + (l->paused_at == JB_UNSET ? 0 : at - l->paused_at);
    uint64_t cpu_us = l->s->cgroup ? jb_cgroup_cpu_us(l->s->cgroup) : JB_UNSET;
    if (cpu_us != JB_UNSET)
        cpu_us -= l->s->cpu_before_us < cpu_us ? l->s->cpu_before_us : cpu_us;
    return json_pack("{s:b, s:s, s:b, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "ok", 1,
                     "phase", jb_phase_name(l->phase), "stands", plan->stands, "execs",
                     l->execs ? (int)l->execs->n : 0, "pid", (int)getpid(), "started",
                     jb_json_time(l->out->started_us), "wall_s", jb_json_seconds_ns(at - l->started),
                     "paused_s", jb_json_seconds_ns(paused), "cpu_s", jb_json_seconds_us(cpu_us),
                     "wall_time_s", jb_json_seconds_ns(plan->wall_ns), "cpu_time_s",
                     jb_json_seconds_ns(plan->cpu_ns), "memory_max_bytes", jb_json_u64(plan->memory_max),
                     "cpus", jb_json_cpus(&plan->grant.cpus), "usage", usage(l));
}

static json_t *pause_or_resume(struct jb_loop *l, enum jb_cause cause, const struct jb_asker *by)
{
    bool pause = cause == JB_CAUSE_PAUSE;
    if ((l->phase == JB_PHASE_PAUSED) == pause && (pause || l->phase == JB_PHASE_RUNNING))
        return failed(pause ? "it is paused already" : "it is not paused");
    if (jb_loop_handle(l, cause, by, JB_UNSET) < 0)
        return failed(l->phase == JB_PHASE_STARTING ? "it has just started and is not paused"
                                                    : "it is about to end and cannot be paused or resumed");
    return json_pack("{s:b, s:s}", "ok", 1, "means", l->frozen || !pause ? "freezer" : "SIGSTOP");
}

static json_t *cancel(struct jb_loop *l, const struct jb_ask *ask, const struct jb_asker *by)
{
    char who[64];
    if (ask->once && l->phase >= JB_PHASE_GRACE)
        return json_pack("{s:b}", "ok", 1);
    (void)snprintf(who, sizeof(who), "cancel from pid %d uid %u", (int)by->pid, (unsigned)by->uid);
    jb_loop_because(l, JB_END_CANCELLED, NULL, who);
    if (jb_loop_handle(l, JB_CAUSE_CANCEL, by, JB_UNSET) < 0)
        return failed("it was killed already");
    return json_pack("{s:b}", "ok", 1);
}

static json_t *send_signal(struct jb_loop *l, const struct jb_ask *ask, const struct jb_asker *by)
{
    /* it would stop the job behind our back, and its clocks would go on */
    if (ask->signal == SIGSTOP)
        return failed("STOP is not sent to jobs; use jobbox pause");
    l->signal.number = ask->signal;
    l->signal.main_only = ask->main_only;
    if (jb_loop_handle(l, JB_CAUSE_SIGNAL, by, JB_UNSET) < 0)
        return failed("it was killed already");
    return json_pack("{s:b, s:b}", "ok", 1, "delayed", l->phase == JB_PHASE_PAUSED && l->frozen);
}

static json_t *update(struct jb_loop *l, const struct jb_ask *ask, const struct jb_asker *by)
{
    struct jb_error err = {0};
    json_t *changes = NULL;
    char who[JB_ASKER_TEXT];
    if (!l->s->update)
        return failed("its limits cannot be changed here");
    if (jb_lifecycle(l->phase, JB_CAUSE_UPDATE).act == JB_ACT_NONE)
        return failed("it is about to end and its limits cannot be changed");
    uint64_t at = jb_loop_now(l);
    uint64_t paused = l->paused_ns + (l->paused_at == JB_UNSET ? 0 : at - l->paused_at);
    if (ask->wish.wall_ns <= at - l->started - paused)
        return failed("it has run for longer than that already; to end it, use jobbox cancel");
    if (l->s->update(l->s->update_ctx, &ask->wish, &changes, &err) < 0)
        return failed(err.text);
    jb_limits_changed(l);
    char *text = json_dumps(changes, JSON_COMPACT);
    (void)jb_events_add(l->s->events, JB_UNSET, "update", ",\"changes\":%s%s", text ? text : "null",
                        jb_asker_text(by, who));
    free(text);
    l->flush = true;
    return json_pack("{s:b, s:o}", "ok", 1, "changes", changes);
}

/* The connection stays until there is a record: see jb_mourners. */
static json_t *destroy(struct jb_loop *l, const struct jb_ask *ask, struct jb_peer *peer,
                       const struct jb_asker *by)
{
    struct jb_mourners *m = l->s->mourners;
    char who[64];
    if (!l->s->plan->stands)
        return failed(
            "it was not made by jobbox create and ends with its own command; to end it, use jobbox cancel");
    if (m && m->n == JB_MOURNERS)
        return failed("others have asked for that already");
    (void)snprintf(who, sizeof(who), "destroy from pid %d uid %u", (int)by->pid, (unsigned)by->uid);
    if (!l->reason_set) {
        l->out->exit_code = ask->exit_code;
        jb_loop_because(l, ask->exit_code ? JB_END_FAILED : JB_END_COMPLETED, NULL, NULL);
        (void)jb_loop_handle(l, JB_CAUSE_CANCEL, by, JB_UNSET);
    }
    json_t *answer = json_pack("{s:b}", "ok", 1);
    if (!m)
        return answer;
    jb_control_answer(peer, answer);
    json_decref(answer);
    m->fds[m->n++] = peer->fd;
    peer->fd = -1;
    return NULL;
}

static json_t *serve(struct jb_loop *l, struct jb_peer *peer, const char *text, size_t len, int *fds,
                     size_t *n_fds)
{
    struct jb_error err = {0};
    struct jb_ask ask;
    const struct jb_asker by = {.uid = peer->uid, .pid = peer->pid, .how = "socket"};
    if (jb_ask_parse(text, len, &ask, &err) < 0)
        return failed(err.text);
    switch (ask.verb) {
    case JB_VERB_STATUS:
        return status(l);
    case JB_VERB_PAUSE:
        return pause_or_resume(l, JB_CAUSE_PAUSE, &by);
    case JB_VERB_RESUME:
        return pause_or_resume(l, JB_CAUSE_RESUME, &by);
    case JB_VERB_CANCEL:
        return cancel(l, &ask, &by);
    case JB_VERB_SIGNAL:
        return send_signal(l, &ask, &by);
    case JB_VERB_DESTROY:
        return destroy(l, &ask, peer, &by);
    case JB_VERB_EXEC: {
        size_t n = *n_fds;
        *n_fds = 0;
        return jb_execs_begin(l, peer, fds, n);
    }
    default:
        return update(l, &ask, &by);
    }
}

/* Every descriptor that came along, however many were sent: the kernel cuts off what has no room. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes to text */
static ssize_t receive(int fd, char *text, size_t len, int fds[JB_MSG_FDS], size_t *ret_n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(JB_MSG_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = len};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *ret_n = 0;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        *ret_n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), *ret_n * sizeof(int));
    }
    return n;
}

void jb_requests_serve(struct jb_loop *l, struct jb_peer *peer)
{
    char text[JB_CONTROL_PACKET];
    int fds[JB_MSG_FDS];
    size_t n_fds = 0;
    ssize_t n = receive(peer->fd, text, sizeof(text), fds, &n_fds);
    json_t *answer = n > 0 ? serve(l, peer, text, (size_t)n, fds, &n_fds) : NULL;
    for (size_t i = 0; i < n_fds; i++)
        (void)close(fds[i]);
    if (answer)
        jb_control_answer(peer, answer);
    json_decref(answer);
}

/* The kernel's own way, so that its rules hold: a process group that nobody could continue is not stopped. */
static void stop_self(void)
{
    sigset_t set;
    sigset_t old;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    (void)sigprocmask(SIG_UNBLOCK, &set, &old);
    (void)kill(getpid(), SIGTSTP);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
}

void jb_requests_stop(struct jb_loop *l, const struct jb_asker *by)
{
    bool ours = l->phase != JB_PHASE_PAUSED && jb_loop_handle(l, JB_CAUSE_PAUSE, by, JB_UNSET) == 0;
    (void)jb_events_flush(l->s->events, NULL);
    stop_self();
    if (ours)
        (void)jb_loop_handle(l, JB_CAUSE_RESUME, by, JB_UNSET);
}
