/*
 * acts.c - the steps of the lifecycle: what is done on the way from one phase into the next.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none of its own.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "job/loop.h"

/* How long init may take to report that all is dead after SIGKILL, before the box is destroyed from outside. */
#define KILL_TIME    (2 * JB_NS_PER_S)
#define DESTROY_TIME (10 * JB_NS_PER_S)
/* How long the kernel may take to freeze everything before we go on without its word. */
#define FREEZE_TIME (JB_NS_PER_S / 2)

const char *jb_asker_text(const struct jb_asker *by, char buf[JB_ASKER_TEXT])
{
    buf[0] = '\0';
    if (by)
        (void)snprintf(buf, JB_ASKER_TEXT, ",\"by\":{\"uid\":%u,\"pid\":%d,\"how\":\"%s\"}",
                       (unsigned)by->uid, (int)by->pid, by->how);
    return buf;
}

static void send_signal(struct jb_loop *l, int sig, bool main_only)
{
    struct jb_msg msg = {.type = JB_MSG_SIGNAL, .value = sig, .value2 = main_only};
    const char *name = sigabbrev_np(sig);
    char number[16];
    (void)snprintf(number, sizeof(number), "%d", sig);
    (void)jb_events_add(l->s->events, JB_UNSET, "signal", ",\"signal\":\"%s\",\"to\":\"%s\"",
                        name ? name : number, main_only ? "main" : "all");
    l->flush = true;
    (void)jb_box_tell(l->s->box, &msg);
}

/* Time runs again. */
static void thaw(struct jb_loop *l)
{
    if (l->paused_at == JB_UNSET)
        return;
    uint64_t at = jb_loop_now(l);
    uint64_t ns = at > l->paused_at ? at - l->paused_at : 0;
    if (l->frozen)
        (void)jb_cgroup_freeze(l->s->cgroup, false, 0, NULL);
    else
        send_signal(l, SIGCONT, false);
    l->frozen = false;
    l->paused_at = JB_UNSET;
    l->paused_ns += ns;
    jb_limits_shift(l, ns);
}

/* With the freezer the job cannot know; without one everything in it gets SIGSTOP at once. */
static void freeze(struct jb_loop *l)
{
    l->paused_at = jb_loop_now(l);
    int r = l->s->cgroup ? jb_cgroup_freeze(l->s->cgroup, true, FREEZE_TIME, NULL) : -ENOTSUP;
    l->frozen = r == 0 || r == -ETIMEDOUT;
    if (!l->frozen)
        send_signal(l, SIGSTOP, false);
}

/* A box that stands ends when nothing runs in it any more. */
static void tell_end(const struct jb_loop *l)
{
    struct jb_msg msg = {.type = JB_MSG_END};
    if (l->s->plan->stands)
        (void)jb_box_tell(l->s->box, &msg);
}

static void ask_to_end(struct jb_loop *l)
{
    bool paused = l->paused_at != JB_UNSET;
    bool stopped = paused && !l->frozen;
    send_signal(l, l->s->plan->end_signal, false);
    if (!stopped)
        send_signal(l, SIGCONT, false); /* a stopped process acts on nothing else */
    thaw(l);
    tell_end(l);
    l->phase_deadline = jb_after(jb_loop_now(l), l->s->plan->grace_ns);
}

static void kill_all(struct jb_loop *l)
{
    send_signal(l, SIGKILL, false);
    thaw(l);
    tell_end(l);
    l->phase_deadline = jb_after(jb_loop_now(l), KILL_TIME);
}

/* Others may ask meanwhile: the loop waits, not this. */
static void destroy(struct jb_loop *l)
{
    if (l->s->cgroup)
        (void)jb_cgroup_kill(l->s->cgroup, 0, NULL);
    jb_box_kill(l->s->box);
    l->phase_deadline = jb_after(jb_loop_now(l), DESTROY_TIME);
}

static void send_one(struct jb_loop *l)
{
    send_signal(l, l->signal.number, l->signal.main_only);
}

static void finish(struct jb_loop *l)
{
    l->out->stuck = l->phase == JB_PHASE_DESTROYED && l->phase_deadline == JB_UNSET;
    l->phase_deadline = JB_UNSET;
    if (l->paused_at != JB_UNSET)
        l->paused_ns += jb_loop_now(l) - l->paused_at;
    l->paused_at = JB_UNSET;
}

static void (*const acts[])(struct jb_loop *l) = {
    [JB_ACT_NONE] = NULL,       [JB_ACT_NOTE] = NULL,     [JB_ACT_ASK] = ask_to_end, [JB_ACT_KILL] = kill_all,
    [JB_ACT_DESTROY] = destroy, [JB_ACT_FREEZE] = freeze, [JB_ACT_THAW] = thaw,      [JB_ACT_SEND] = send_one,
    [JB_ACT_CHANGE] = NULL,     [JB_ACT_FINISH] = finish,
};

int jb_loop_handle(struct jb_loop *l, enum jb_cause cause, const struct jb_asker *by, uint64_t at)
{
    struct jb_transition t = jb_lifecycle(l->phase, cause);
    char who[JB_ASKER_TEXT];
    if (t.act == JB_ACT_NONE)
        return -EBUSY;
    if (t.next != l->phase || by)
        (void)jb_events_add(l->s->events, at, "state", ",\"from\":\"%s\",\"to\":\"%s\",\"cause\":\"%s\"%s",
                            jb_phase_name(l->phase), jb_phase_name(t.next), jb_cause_name(cause),
                            jb_asker_text(by, who));
    l->flush = l->flush || t.act != JB_ACT_FINISH;
    if (acts[t.act])
        acts[t.act](l);
    l->phase = t.next;
    return 0;
}

void jb_loop_because(struct jb_loop *l, enum jb_end_reason reason, const char *limit, const char *killed_by)
{
    if (l->reason_set)
        return;
    l->reason_set = true;
    l->out->reason = reason;
    (void)snprintf(l->limit, sizeof(l->limit), "%s", limit ? limit : "");
    (void)snprintf(l->killed_by, sizeof(l->killed_by), "%s", killed_by ? killed_by : "");
}
