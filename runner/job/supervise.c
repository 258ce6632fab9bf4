/*
 * supervise.c - the supervisor's loop: a table of states and events, absolute monotonic deadlines, one ppoll.
 *
 * Owns: nothing. Runs in: the supervisor, single-threaded. Privilege: none of its own.
 *
 * Theory of operation. jobbox-init does what must be done inside (reaping, signalling every process of the
 * job, killing the rest when the main process has ended) and tells when it is done. This side decides: it
 * waits for output, for signals from outside, for the kernel's word on memory, for deadlines, and turns each
 * into an event. A first limit asks the job to end (SIGTERM) and gives it its grace; the second step is
 * SIGKILL to all of it; if init cannot even say that everything is dead, the box is destroyed from outside,
 * by cgroup and by its PID namespace.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/str.h"
#include "job/exec/execs.h"
#include "job/loop.h"

/* How long a reader may take nothing of what is left of the output once the job is dead. */
#define DRAIN_TIME  (5 * JB_NS_PER_S)
#define SETTLE_TIME (10 * JB_NS_PER_MS)

/* Who sent a signal, as far as the kernel says: its own (a terminal's) come from nobody. */
static struct jb_asker sender(const struct signalfd_siginfo *info, char how[16])
{
    const char *name = sigabbrev_np((int)info->ssi_signo);
    (void)snprintf(how, 16, "SIG%s", name ? name : "?");
    return (struct jb_asker){.uid = info->ssi_uid, .pid = (pid_t)info->ssi_pid, .how = how};
}

static void cancel(struct jb_loop *l, const struct jb_asker *by)
{
    char who[64];
    if (by->pid)
        (void)snprintf(who, sizeof(who), "%s from pid %d uid %u", by->how, (int)by->pid, (unsigned)by->uid);
    else
        (void)snprintf(who, sizeof(who), "%s", by->how);
    jb_loop_because(l, JB_END_CANCELLED, NULL, who);
    (void)jb_loop_handle(l, JB_CAUSE_CANCEL, by, JB_UNSET);
}

static void resize_terminal(const struct jb_loop *l)
{
    struct winsize size;
    if (l->s->winch_fd < 0 || ioctl(l->s->winch_fd, TIOCGWINSZ, &size) < 0)
        return;
    struct jb_msg msg = {.type = JB_MSG_WINCH, .value = size.ws_row, .value2 = size.ws_col};
    (void)jb_box_tell(l->s->box, &msg);
}

static bool asks_to_go(uint32_t sig)
{
    return sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT;
}

static void on_signal(struct jb_loop *l)
{
    struct signalfd_siginfo info;
    char how[16];
    if (read(l->s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    const struct jb_asker by = sender(&info, how);
    if (asks_to_go(info.ssi_signo)) {
        cancel(l, &by);
    } else if (info.ssi_signo == SIGWINCH) {
        resize_terminal(l);
    } else if (info.ssi_signo == SIGTSTP) {
        jb_requests_stop(l, &by);
    } else {
        l->signal.number = (int)info.ssi_signo;
        l->signal.main_only = false;
        (void)jb_loop_handle(l, JB_CAUSE_SIGNAL, &by, JB_UNSET);
    }
}

static void on_ended(struct jb_loop *l, const struct jb_msg *msg)
{
    struct jb_outcome *out = l->out;
    out->has_rusage = true;
    out->rusage = *msg;
    out->wall_ns = msg->mono_ns > l->started ? msg->mono_ns - l->started : 0;
    if (WIFSIGNALED(msg->value))
        out->signal = WTERMSIG(msg->value);
    else if (!l->s->plan->stands) /* whoever ends a box that stands says what it is to have ended with */
        out->exit_code = WEXITSTATUS(msg->value);
    struct jb_stamp ended =
        out->signal ? jb_events_add(l->s->events, msg->mono_ns, "ended", ",\"signal\":%d", out->signal)
                    : jb_events_add(l->s->events, msg->mono_ns, "ended", ",\"exit_code\":%d", out->exit_code);
    out->ended_us = ended.wall_us;
    (void)jb_loop_handle(l, JB_CAUSE_INIT_ENDED, NULL, msg->mono_ns);
}

/* Once it can be asked for something. Whoever had it made and is gone by now knows of no box, and will not end it. */
static void tell_standing(struct jb_loop *l)
{
    if (l->stood || l->phase != JB_PHASE_RUNNING || l->settle_at != JB_UNSET)
        return;
    l->stood = true;
    const struct jb_asker by = {.uid = geteuid(), .pid = getpid(), .how = "creator gone"};
    if (l->s->plan->stands && l->s->standing && l->s->standing(l->s->standing_ctx) < 0)
        cancel(l, &by);
    JB_CRASH_POINT(standing_told);
}

static void on_message(struct jb_loop *l)
{
    struct jb_msg msg;
    int r = jb_box_listen(l->s->box, &msg);
    if (r <= 0) {
        (void)jb_loop_handle(l, JB_CAUSE_INIT_GONE, NULL, JB_UNSET);
        return;
    }
    switch (msg.type) {
    case JB_MSG_STARTED:
        jb_limits_started(l, msg.mono_ns);
        l->out->started_us = jb_events_add(l->s->events, msg.mono_ns, "started", "%s", "").wall_us;
        (void)jb_loop_handle(l, JB_CAUSE_STARTED, NULL, msg.mono_ns);
        resize_terminal(l);
        l->looked_at = 0; /* its end may wait behind it: nothing is judged before the next look */
        JB_CRASH_POINT(start_heard);
        break;
    case JB_MSG_EXEC_FAILED:
        l->out->exit_code = msg.errnum == ENOENT ? 127 : 126;
        jb_loop_because(l, JB_END_FAILED, NULL, NULL);
        l->out->error = msg.errnum == ENOENT ? "command not found in the box" : strerrordesc_np(msg.errnum);
        break;
    case JB_MSG_ENDED:
        on_ended(l, &msg);
        JB_CRASH_POINT(end_heard);
        break;
    default:
        break;
    }
}

void jb_loop_output_cut(struct jb_loop *l)
{
    char limit[96];
    char size[48];
    (void)snprintf(limit, sizeof(limit), "output %s",
                   jb_format_size(l->s->plan->output_bytes, size, sizeof(size)));
    l->out->output_truncated = true;
    jb_loop_because(l, JB_END_OUTPUT_LIMIT, limit, "jobbox");
    (void)jb_events_add(l->s->events, JB_UNSET, "limit", ",\"limit\":\"%s\"", limit);
    (void)jb_loop_handle(l, JB_CAUSE_HARD_LIMIT, NULL, JB_UNSET);
}

/* `typed`: there is input for the job's terminal; ours is a blocking descriptor and must not be read without. */
static void move_output(struct jb_loop *l, bool typed)
{
    struct jb_streams *st = l->s->streams;
    struct jb_pump *const pumps[] = {&st->out, &st->err};
    uint64_t before = st->out.bytes + st->err.bytes;
    for (size_t i = 0; i < JB_ARRAY_LEN(pumps); i++)
        if (jb_pump_active(pumps[i]) && jb_pump_move(pumps[i], &st->budget))
            jb_loop_output_cut(l);
    if (st->out.bytes + st->err.bytes != before)
        jb_limits_output(l);
    uint64_t any = JB_UNSET;
    if (typed)
        (void)jb_pump_move(&st->in, &any);
}

enum {
    P_CONTROL,
    P_SIGNAL,
    P_OOM,
    P_LISTEN,
    P_OUT_FROM,
    P_OUT_TO,
    P_ERR_FROM,
    P_ERR_TO,
    P_IN_FROM,
    P_IN_TO,
    P_PEERS,
    P_EXECS = P_PEERS + JB_CONTROL_PEERS, /* where commands are executed in the box */
    P_MAX = P_EXECS + JB_EXECS_MAX * JB_EXEC_P_MAX
};

static void wait_for(struct jb_loop *l, struct pollfd fds[P_MAX], uint64_t deadline)
{
    const struct jb_streams *st = l->s->streams;
    fds[P_CONTROL] =
        (struct pollfd){.fd = l->phase == JB_PHASE_ENDED ? -1 : l->s->box->control, .events = POLLIN};
    fds[P_SIGNAL] = (struct pollfd){.fd = l->s->signal_fd, .events = POLLIN};
    fds[P_OOM] = (struct pollfd){.fd = l->oom_fd, .events = l->oom_events};
    fds[P_LISTEN] = (struct pollfd){.fd = l->control.listen_fd, .events = POLLIN};
    for (size_t i = 0; i < l->control.n; i++)
        fds[P_PEERS + i] = (struct pollfd){.fd = l->control.peers[i].fd, .events = POLLIN};
    jb_pump_poll(&st->out, &fds[P_OUT_FROM], &fds[P_OUT_TO]);
    jb_pump_poll(&st->err, &fds[P_ERR_FROM], &fds[P_ERR_TO]);
    jb_pump_poll(&st->in, &fds[P_IN_FROM], &fds[P_IN_TO]);
    nfds_t n = P_PEERS + l->control.n;
    if (l->execs && l->execs->n) {
        for (; n < P_EXECS; n++)
            fds[n] = (struct pollfd){.fd = -1};
        n += jb_execs_poll(l, fds + P_EXECS);
    }
    l->looked_at = jb_loop_now(l);
    uint64_t left = deadline > l->looked_at ? deadline - l->looked_at : 0;
    struct timespec ts = {.tv_sec = (time_t)(left / JB_NS_PER_S), .tv_nsec = (long)(left % JB_NS_PER_S)};
    if (ppoll(fds, n, deadline == JB_UNSET ? NULL : &ts, NULL) < 0)
        for (size_t i = 0; i < n; i++)
            fds[i].revents = 0;
}

/* Answered and let go; from the last to the first, for those behind move up. */
static void serve_peers(struct jb_loop *l, const struct pollfd fds[P_MAX])
{
    for (size_t i = l->control.n; i-- > 0;) {
        if (!fds[P_PEERS + i].revents)
            continue;
        jb_requests_serve(l, &l->control.peers[i]);
        jb_control_drop(&l->control, i);
    }
    if (fds[P_LISTEN].revents)
        jb_control_accept(&l->control, l->s->plan->submitter_uid);
}

static bool output_ready(const struct pollfd fds[P_MAX])
{
    for (size_t i = P_OUT_FROM; i < P_PEERS; i++)
        if (fds[i].revents)
            return true;
    return false;
}

/* What was taken from the job less what waits for a reader: it grows with every byte that was carried. */
static uint64_t carried(const struct jb_streams *st)
{
    return st->out.bytes - (st->out.end - st->out.start) + st->err.bytes - (st->err.end - st->err.start);
}

bool jb_loop_late_signal(struct jb_loop *l)
{
    struct signalfd_siginfo info;
    char how[16];
    if (read(l->s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return false;
    if (asks_to_go(info.ssi_signo))
        l->asked = info;
    if (info.ssi_signo != SIGTSTP)
        return false;
    const struct jb_asker by = sender(&info, how);
    jb_requests_stop(l, &by);
    return true;
}

/*
 * The job is dead; what it wrote is still on its way. A slow reader gets all of it; one that takes nothing for a while is
 * not waited for, as the box stands, and holds its CPUs, until the end of this.
 */
static void drain_output(struct jb_loop *l)
{
    struct pollfd fds[P_MAX];
    struct jb_streams *st = l->s->streams;
    uint64_t deadline = jb_after(jb_loop_now(l), DRAIN_TIME);
    uint64_t before = carried(st);
    l->idle_deadline = JB_UNSET;
    jb_pump_close(&st->in);
    while ((jb_pump_active(&st->out) || jb_pump_active(&st->err)) && jb_loop_now(l) < deadline) {
        if (l->asked.ssi_signo) { /* to go while the reader sleeps */
            char how[16];
            const struct jb_asker by = sender(&l->asked, how);
            cancel(l, &by);
            break;
        }
        wait_for(l, fds, deadline);
        bool stopped = fds[P_SIGNAL].revents && jb_loop_late_signal(l);
        move_output(l, false);
        if (stopped || carried(st) != before) /* its reader may have been stopped with us */
            deadline = jb_after(jb_loop_now(l), DRAIN_TIME);
        before = carried(st);
    }
    l->out->output_truncated |= st->out.start < st->out.end || st->err.start < st->err.end;
    l->out->output_truncated |= st->out.lost || st->err.lost;
}

/* The reason is not set yet when the box's own job has just ended. */
static void finish_execs(struct jb_loop *l)
{
    jb_limits_oom_last(l);
    jb_execs_finish(l, l->reason_set ? l->out->reason : JB_END_CANCELLED);
}

/* What the commands executed in the box wrote and used is the box's. */
static void add_execs(struct jb_loop *l)
{
    struct jb_execs *x = l->execs;
    struct jb_msg *sum = &l->out->rusage;
    if (!x)
        return;
    l->out->stdout_bytes += x->out_bytes;
    l->out->stderr_bytes += x->err_bytes;
    l->out->output_truncated |= x->truncated;
    sum->user_us += x->sum.user_us;
    sum->system_us += x->sum.system_us;
    sum->minor_faults += x->sum.minor_faults;
    sum->major_faults += x->sum.major_faults;
    sum->voluntary_switches += x->sum.voluntary_switches;
    sum->involuntary_switches += x->sum.involuntary_switches;
    sum->read_blocks += x->sum.read_blocks;
    sum->written_blocks += x->sum.written_blocks;
    l->out->execs = x->ended;
    l->out->execs_unlisted = x->unlisted;
    free(x);
    l->execs = NULL;
}

static void conclude(struct jb_loop *l)
{
    struct jb_outcome *out = l->out;
    char text[96];
    char size[48];
    bool full = jb_limits_scratch(l, true);
    jb_limits_oom_last(l); /* the kernel's event and the death it tells of come in any order */
    if (!l->reason_set && !out->has_rusage)
        jb_loop_because(l, JB_END_BOX_ERROR, NULL, NULL);
    if (!l->reason_set && full && (out->exit_code != 0 || out->signal)) {
        if (l->scratch_files_full && !l->scratch_bytes_full)
            (void)snprintf(text, sizeof(text), "scratch_inodes %" PRIu64, l->s->plan->scratch_inodes);
        else
            (void)snprintf(text, sizeof(text), "scratch %s",
                           jb_format_size(l->s->plan->scratch_bytes, size, sizeof(size)));
        jb_loop_because(l, JB_END_SCRATCH_FULL, text, NULL);
    }
    if (!l->reason_set)
        jb_loop_because(l,
                        out->signal           ? JB_END_SIGNALED
                        : out->exit_code == 0 ? JB_END_COMPLETED
                                              : JB_END_FAILED,
                        NULL, NULL);
    if (out->reason == JB_END_BOX_ERROR)
        out->error = "jobbox-init was killed from outside the box";
    if (out->ended_us == JB_UNSET)
        out->ended_us = jb_wall_us(l->s->clock);
    if (out->wall_ns == JB_UNSET)
        out->wall_ns = jb_loop_now(l) - l->started;
    out->paused_ns = l->paused_ns;
    out->stdout_bytes = l->s->streams->out.bytes;
    out->stderr_bytes =
        l->s->plan->stderr_.kind == JB_STREAM_MERGE || l->s->plan->tty ? 0 : l->s->streams->err.bytes;
    add_execs(l);
    (void)jb_events_add(l->s->events, JB_UNSET, "end", ",\"reason\":\"%s\"", jb_end_reason_name(out->reason));
}

/* Most of what a job's life needs is for others to look at and to ask. A job that is over at once need not pay for it. */
static int settle(struct jb_loop *l, struct jb_error *err)
{
    l->settle_at = JB_UNSET;
    int r = l->s->settled ? l->s->settled(l->s->settled_ctx, err) : 0;
    if (r < 0)
        return r;
    /* without it nobody can ask, and the job runs all the same */
    if (l->s->box_fd >= 0 && jb_control_open(l->s->box_fd, l->s->plan->submitter_uid, &l->control, err) < 0) {
        char text[256];
        (void)jb_events_add(l->s->events, JB_UNSET, "no_control", ",\"error\":%s",
                            jb_events_quote(err->text, text, sizeof(text)));
        jb_error_clear(err);
    }
    JB_CRASH_POINT(control_made);
    l->flush = true;
    return 0;
}

static void start_watching(struct jb_loop *l, struct jb_error *err)
{
    uint32_t events = 0;
    l->oom_fd = l->s->cgroup ? jb_cgroup_oom_fd(l->s->cgroup, &events, err) : -1;
    if (l->oom_fd < 0) /* no memory group: nothing to watch */
        jb_error_clear(err);
    l->oom_events = events & EPOLLPRI ? POLLPRI : POLLIN;
    l->settle_at = jb_after(jb_loop_now(l), l->s->plan->stands ? 0 : SETTLE_TIME);
    jb_limits_start(l);
}

/* The texts live in `l` until the record has them. */
static void keep_texts(const struct jb_loop *l, struct jb_outcome *out)
{
    out->limit = l->limit[0] ? strdup(l->limit) : NULL;
    out->killed_by = l->killed_by[0] ? strdup(l->killed_by) : NULL;
}

int jb_supervise_go(const struct jb_supervise *s, struct jb_error *err)
{
    struct jb_msg go = {.type = JB_MSG_GO};
    int r = jb_box_tell(s->box, &go);
    return r < 0 ? jb_fail_errno(err, r, "starting the job") : 0;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int jb_supervise(struct jb_supervise *s, struct jb_outcome *ret, struct jb_error *err)
{
    struct jb_outcome out = {.exit_code = -1,
                             .started_us = JB_UNSET,
                             .ended_us = JB_UNSET,
                             .destroyed_us = JB_UNSET,
                             .setup_ns = JB_UNSET,
                             .wall_ns = JB_UNSET,
                             .paused_ns = JB_UNSET,
                             .teardown_ns = JB_UNSET,
                             .scratch_used = JB_UNSET,
                             .scratch_peak = JB_UNSET,
                             .net_received = JB_UNSET,
                             .net_sent = JB_UNSET};
    struct jb_loop l = {.s = s,
                        .out = &out,
                        .oom_fd = -1,
                        .control = JB_CONTROL_INIT,
                        .phase_deadline = JB_UNSET,
                        .wall_deadline = JB_UNSET,
                        .wall_warn = JB_UNSET,
                        .idle_deadline = JB_UNSET,
                        .cpu_check = JB_UNSET,
                        .paused_at = JB_UNSET,
                        .oom_check = JB_UNSET,
                        .scratch_base = JB_UNSET,
                        .scratch_check = JB_UNSET};
    int r = 0;
    start_watching(&l, err);
    while (r == 0 && l.phase != JB_PHASE_ENDED) {
        struct pollfd fds[P_MAX];
        uint64_t next = earliest(jb_limits_next(&l), jb_execs_next(&l));
        wait_for(&l, fds, earliest(next, l.settle_at));
        if (fds[P_OOM].revents)
            jb_limits_oom_event(&l);
        if (fds[P_CONTROL].revents)
            on_message(&l);
        if (fds[P_SIGNAL].revents)
            on_signal(&l);
        if (l.execs) /* before new ones come in, whose entries are not filled */
            jb_execs_turn(&l, fds + P_EXECS);
        serve_peers(&l, fds);
        if (output_ready(fds))
            move_output(&l, fds[P_IN_FROM].revents || fds[P_IN_TO].revents);
        if (l.phase == JB_PHASE_ENDED)
            break;
        jb_limits_check(&l);
        if (jb_loop_now(&l) >= l.settle_at)
            r = settle(&l, err);
        if (r == 0)
            tell_standing(&l);
        if (l.flush && l.settle_at == JB_UNSET && s->events) /* losing them must not end the job */
            (void)jb_events_flush(s->events, NULL);
        l.flush = l.flush && l.settle_at != JB_UNSET;
    }
    jb_control_close(&l.control);
    finish_execs(&l);
    if (r == 0) {
        drain_output(&l);
        JB_CRASH_POINT(output_drained);
        conclude(&l);
    }
    jb_close(&l.oom_fd);
    if (r < 0) {
        json_decref(l.execs ? l.execs->ended : NULL);
        free(l.execs);
        return r;
    }
    keep_texts(&l, &out);
    *ret = out;
    return 0;
}
