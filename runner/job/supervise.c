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
#include "job/supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/str.h"

enum state { RUNNING, GRACE, KILLED, DESTROYED, ENDED, STATE_MAX };
enum event { LIMIT, HARD_LIMIT, CANCEL, DEADLINE, INIT_ENDED, INIT_GONE, EVENT_MAX };

/* How long init may take to report that all is dead after SIGKILL, before the box is destroyed from outside.
 */
#define KILL_TIME    (2 * JB_NS_PER_S)
#define DESTROY_TIME (10 * JB_NS_PER_S)
/* How long output may take to drain to a slow reader once the job is dead. */
#define DRAIN_TIME (5 * JB_NS_PER_S)

struct loop {
    struct jb_supervise *s;
    struct jb_outcome *out;
    enum state state;
    uint64_t state_deadline; /* of GRACE, KILLED, DESTROYED; JB_UNSET: none */
    uint64_t started;        /* monotonic */
    uint64_t wall_deadline, idle_deadline, cpu_check;
    uint64_t oom_check, oom_pause; /* after an event: when to look again, and how long to wait then */
    int oom_fd;
    short oom_events;
    bool reason_set;
    char limit[96], killed_by[64];
};

static uint64_t now(const struct loop *l)
{
    return jb_mono_ns(l->s->clock);
}

static uint64_t after(uint64_t start, uint64_t ns)
{
    return ns == JB_UNSET || start > JB_UNSET - ns ? JB_UNSET : start + ns;
}

static void signal_job(const struct loop *l, int sig)
{
    struct jb_msg msg = {.type = JB_MSG_SIGNAL, .value = sig};
    (void)jb_box_tell(l->s->box, &msg);
}

/* --- actions of the table: carried out on the way into the next state --- */

static void ask_to_end(struct loop *l)
{
    signal_job(l, SIGTERM);
    signal_job(l, SIGCONT); /* a stopped process acts on nothing else */
    l->state_deadline = after(now(l), l->s->plan->grace_ns);
}

static void kill_all(struct loop *l)
{
    signal_job(l, SIGKILL);
    l->state_deadline = after(now(l), KILL_TIME);
}

static void destroy(struct loop *l)
{
    if (l->s->cgroup)
        (void)jb_cgroup_kill(l->s->cgroup, DESTROY_TIME, NULL);
    jb_box_kill(l->s->box);
    l->state_deadline = after(now(l), DESTROY_TIME);
}

static void finish(struct loop *l)
{
    l->state_deadline = JB_UNSET;
}

static const struct {
    void (*action)(struct loop *l); /* NULL: the event changes nothing in this state */
    enum state next;
} table[STATE_MAX][EVENT_MAX] = {
    [RUNNING] = {[LIMIT] = {ask_to_end, GRACE},
                 [HARD_LIMIT] = {kill_all, KILLED},
                 [CANCEL] = {ask_to_end, GRACE},
                 [INIT_ENDED] = {finish, ENDED},
                 [INIT_GONE] = {finish, ENDED}},
    [GRACE] = {[HARD_LIMIT] = {kill_all, KILLED},
               [CANCEL] = {kill_all, KILLED},
               [DEADLINE] = {kill_all, KILLED},
               [INIT_ENDED] = {finish, ENDED},
               [INIT_GONE] = {finish, ENDED}},
    [KILLED] =
        {[DEADLINE] = {destroy, DESTROYED}, [INIT_ENDED] = {finish, ENDED}, [INIT_GONE] = {finish, ENDED}},
    [DESTROYED] =
        {[DEADLINE] = {finish, ENDED}, [INIT_ENDED] = {finish, ENDED}, [INIT_GONE] = {finish, ENDED}},
};

static void handle(struct loop *l, enum event event)
{
    if (!table[l->state][event].action)
        return;
    enum state next = table[l->state][event].next;
    table[l->state][event].action(l);
    l->state = next;
}

/* The first cause is the one that counts. */
static void because(struct loop *l, enum jb_end_reason reason, const char *limit, const char *killed_by)
{
    if (l->reason_set)
        return;
    l->reason_set = true;
    l->out->reason = reason;
    (void)snprintf(l->limit, sizeof(l->limit), "%s", limit ? limit : "");
    (void)snprintf(l->killed_by, sizeof(l->killed_by), "%s", killed_by ? killed_by : "");
}

static void hit_duration(struct loop *l, enum jb_end_reason reason, const char *name, uint64_t ns)
{
    char text[48];
    char limit[96];
    (void)snprintf(limit, sizeof(limit), "%s %s", name, jb_format_duration(ns, text, sizeof(text)));
    because(l, reason, limit, "jobbox");
    handle(l, LIMIT);
}

/*
 * The kernel has no event for a cgroup's CPU time. The earliest moment at which the limit can be reached is
 * known, though: when all granted CPUs are busy until then.
 */
static void check_cpu_time(struct loop *l, uint64_t at)
{
    const struct jb_plan *plan = l->s->plan;
    uint64_t used_us = l->s->cgroup ? jb_cgroup_cpu_us(l->s->cgroup) : JB_UNSET;
    uint64_t before = l->s->cpu_before_us;
    uint64_t used = used_us == JB_UNSET || used_us < before ? 0 : (used_us - before) * JB_NS_PER_US;
    uint64_t least = plan->cpu_ns / 20;
    least = least > JB_NS_PER_S ? JB_NS_PER_S : least < 50 * JB_NS_PER_MS ? 50 * JB_NS_PER_MS : least;
    if (used >= plan->cpu_ns) {
        l->cpu_check = JB_UNSET;
        hit_duration(l, JB_END_CPU_TIMEOUT, "cpu_time", plan->cpu_ns);
        return;
    }
    unsigned cpus = jb_cpus_count(&plan->grant.cpus);
    uint64_t earliest = (plan->cpu_ns - used) / (cpus ? cpus : 1);
    l->cpu_check = after(at, earliest > least ? earliest : least);
}

static void memory_limit_text(const struct loop *l, char *buf, size_t len)
{
    char size[48];
    if (l->s->plan->memory_max == JB_UNSET)
        (void)snprintf(buf, len, "memory of an outer limit");
    else
        (void)snprintf(buf, len, "memory %s", jb_format_size(l->s->plan->memory_max, size, sizeof(size)));
}

static bool was_oom(const struct loop *l)
{
    uint64_t kills = l->s->cgroup ? jb_cgroup_oom_kills(l->s->cgroup) : JB_UNSET;
    return kills != JB_UNSET && kills > 0;
}

/* A part of a job killed for memory leaves the rest in no known state: all of it ends. */
static void check_oom(struct loop *l)
{
    char limit[96];
    if (!was_oom(l))
        return;
    memory_limit_text(l, limit, sizeof(limit));
    because(l, JB_END_OOM, limit, "kernel");
    handle(l, HARD_LIMIT);
}

/*
 * On v1 the event comes when the kernel begins to look for a victim, before the kill is counted; and it may find memory
 * instead. So the count is looked at again for a second, at growing intervals.
 */
static void look_for_oom(struct loop *l)
{
    check_oom(l);
    if (was_oom(l) || l->oom_pause > JB_NS_PER_S)
        l->oom_check = JB_UNSET;
    else
        l->oom_check = after(now(l), l->oom_pause);
    l->oom_pause *= 2;
}

static void check_deadlines(struct loop *l)
{
    uint64_t at = now(l);
    if (at >= l->wall_deadline) {
        l->wall_deadline = JB_UNSET;
        hit_duration(l, JB_END_TIMEOUT, "wall_time", l->s->plan->wall_ns);
    }
    if (at >= l->idle_deadline) {
        l->idle_deadline = JB_UNSET;
        hit_duration(l, JB_END_IDLE_TIMEOUT, "idle", l->s->plan->idle_ns);
    }
    if (at >= l->cpu_check)
        check_cpu_time(l, at);
    if (at >= l->oom_check)
        look_for_oom(l);
    if (at >= l->state_deadline) {
        l->state_deadline = JB_UNSET;
        handle(l, DEADLINE);
    }
}

static void on_oom_event(struct loop *l)
{
    uint64_t count;
    if (l->oom_events == POLLIN)
        (void)!read(l->oom_fd, &count, sizeof(count));
    l->oom_pause = JB_NS_PER_MS;
    look_for_oom(l);
    if (l->reason_set && l->out->reason == JB_END_OOM)
        jb_close(&l->oom_fd);
}

static void cancel(struct loop *l, const struct signalfd_siginfo *info)
{
    char who[64];
    const char *name = sigabbrev_np((int)info->ssi_signo);
    if (info->ssi_pid)
        (void)snprintf(who, sizeof(who), "SIG%s from pid %u uid %u", name ? name : "?", info->ssi_pid,
                       info->ssi_uid);
    else
        (void)snprintf(who, sizeof(who), "SIG%s", name ? name : "?");
    because(l, JB_END_CANCELLED, NULL, who);
    handle(l, CANCEL);
}

static void resize_terminal(const struct loop *l)
{
    struct winsize size;
    if (l->s->winch_fd < 0 || ioctl(l->s->winch_fd, TIOCGWINSZ, &size) < 0)
        return;
    struct jb_msg msg = {.type = JB_MSG_WINCH, .value = size.ws_row, .value2 = size.ws_col};
    (void)jb_box_tell(l->s->box, &msg);
}

static void on_signal(struct loop *l)
{
    struct signalfd_siginfo info;
    if (read(l->s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT:
        cancel(l, &info);
        break;
    case SIGWINCH:
        resize_terminal(l);
        break;
    default:
        signal_job(l, (int)info.ssi_signo);
        break;
    }
}

static void on_ended(struct loop *l, const struct jb_msg *msg)
{
    struct jb_outcome *out = l->out;
    out->has_rusage = true;
    out->rusage = *msg;
    out->wall_ns = msg->mono_ns > l->started ? msg->mono_ns - l->started : 0;
    out->ended_us = jb_wall_us(l->s->clock);
    if (WIFSIGNALED(msg->value))
        out->signal = WTERMSIG(msg->value);
    else
        out->exit_code = WEXITSTATUS(msg->value);
    handle(l, INIT_ENDED);
}

static void on_message(struct loop *l)
{
    struct jb_msg msg;
    int r = jb_box_listen(l->s->box, &msg);
    if (r <= 0) {
        handle(l, INIT_GONE);
        return;
    }
    switch (msg.type) {
    case JB_MSG_STARTED:
        l->started = msg.mono_ns;
        l->out->started_us = jb_wall_us(l->s->clock);
        l->wall_deadline = after(l->started, l->s->plan->wall_ns);
        resize_terminal(l);
        JB_CRASH_POINT(start_heard);
        break;
    case JB_MSG_EXEC_FAILED:
        l->out->exit_code = msg.errnum == ENOENT ? 127 : 126;
        because(l, JB_END_FAILED, NULL, NULL);
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

/* `typed`: there is input for the job's terminal; ours is a blocking descriptor and must not be read without. */
static void move_output(struct loop *l, bool typed)
{
    struct jb_streams *st = l->s->streams;
    struct jb_pump *const pumps[] = {&st->out, &st->err};
    uint64_t before = st->out.bytes + st->err.bytes;
    for (size_t i = 0; i < JB_ARRAY_LEN(pumps); i++) {
        if (!jb_pump_active(pumps[i]) || jb_pump_move(pumps[i], &st->budget) == 0)
            continue;
        char limit[96];
        char size[48];
        (void)snprintf(limit, sizeof(limit), "output %s",
                       jb_format_size(l->s->plan->output_bytes, size, sizeof(size)));
        l->out->output_truncated = true;
        because(l, JB_END_OUTPUT_LIMIT, limit, "jobbox");
        handle(l, HARD_LIMIT);
    }
    if (st->out.bytes + st->err.bytes != before)
        l->idle_deadline = after(now(l), l->s->plan->idle_ns);
    uint64_t any = JB_UNSET;
    if (typed)
        (void)jb_pump_move(&st->in, &any);
}

enum { P_CONTROL, P_SIGNAL, P_OOM, P_OUT_FROM, P_OUT_TO, P_ERR_FROM, P_ERR_TO, P_IN_FROM, P_IN_TO, P_MAX };

static void wait_for(struct loop *l, struct pollfd fds[P_MAX], uint64_t deadline)
{
    const struct jb_streams *st = l->s->streams;
    fds[P_CONTROL] = (struct pollfd){.fd = l->state == ENDED ? -1 : l->s->box->control, .events = POLLIN};
    fds[P_SIGNAL] = (struct pollfd){.fd = l->s->signal_fd, .events = POLLIN};
    fds[P_OOM] = (struct pollfd){.fd = l->oom_fd, .events = l->oom_events};
    jb_pump_poll(&st->out, &fds[P_OUT_FROM], &fds[P_OUT_TO]);
    jb_pump_poll(&st->err, &fds[P_ERR_FROM], &fds[P_ERR_TO]);
    jb_pump_poll(&st->in, &fds[P_IN_FROM], &fds[P_IN_TO]);
    uint64_t at = now(l);
    uint64_t left = deadline > at ? deadline - at : 0;
    struct timespec ts = {.tv_sec = (time_t)(left / JB_NS_PER_S), .tv_nsec = (long)(left % JB_NS_PER_S)};
    if (ppoll(fds, P_MAX, deadline == JB_UNSET ? NULL : &ts, NULL) < 0)
        for (size_t i = 0; i < P_MAX; i++)
            fds[i].revents = 0;
}

static uint64_t next_deadline(const struct loop *l)
{
    const uint64_t all[] = {l->wall_deadline, l->idle_deadline, l->cpu_check, l->oom_check,
                            l->state_deadline};
    uint64_t least = JB_UNSET;
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        least = all[i] < least ? all[i] : least;
    return least;
}

static bool output_ready(const struct pollfd fds[P_MAX])
{
    for (size_t i = P_OUT_FROM; i < P_MAX; i++)
        if (fds[i].revents)
            return true;
    return false;
}

/* The job is dead; what it wrote is still on its way. */
static void drain_output(struct loop *l)
{
    struct pollfd fds[P_MAX];
    struct jb_streams *st = l->s->streams;
    uint64_t deadline = after(now(l), DRAIN_TIME);
    l->idle_deadline = JB_UNSET;
    jb_pump_close(&st->in);
    while ((jb_pump_active(&st->out) || jb_pump_active(&st->err)) && now(l) < deadline) {
        wait_for(l, fds, deadline);
        if (fds[P_SIGNAL].revents) { /* asked to go while the reader sleeps */
            on_signal(l);
            break;
        }
        move_output(l, false);
    }
    l->out->output_truncated |= st->out.start < st->out.end || st->err.start < st->err.end;
    l->out->output_truncated |= st->out.lost || st->err.lost;
}

static bool scratch_is_full(const struct loop *l)
{
    struct statfs fs;
    if (l->s->box->scratch_fd < 0 || fstatfs(l->s->box->scratch_fd, &fs) < 0)
        return false;
    /* on disk it is a folder of the host's file system, whose figures are not the job's */
    if (l->s->plan->n_ops == 0 || l->s->plan->ops[0].kind != JB_OP_SCRATCH_DIR)
        l->out->scratch_used = (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
    return fs.f_blocks > 0 && (fs.f_bavail == 0 || (fs.f_files > 0 && fs.f_ffree == 0));
}

static void conclude(struct loop *l)
{
    struct jb_outcome *out = l->out;
    char text[96];
    char size[48];
    bool full = scratch_is_full(l);
    check_oom(l); /* the kernel's event and the death it tells of come in any order */
    if (!l->reason_set && !out->has_rusage)
        because(l, JB_END_BOX_ERROR, NULL, NULL);
    if (!l->reason_set && full && (out->exit_code != 0 || out->signal)) {
        (void)snprintf(text, sizeof(text), "scratch %s",
                       jb_format_size(l->s->plan->scratch_bytes, size, sizeof(size)));
        because(l, JB_END_SCRATCH_FULL, text, NULL);
    }
    if (!l->reason_set)
        because(l,
                out->signal           ? JB_END_SIGNALED
                : out->exit_code == 0 ? JB_END_COMPLETED
                                      : JB_END_FAILED,
                NULL, NULL);
    if (out->reason == JB_END_BOX_ERROR)
        out->error = "jobbox-init was killed from outside the box";
    if (out->ended_us == JB_UNSET)
        out->ended_us = jb_wall_us(l->s->clock);
    if (out->wall_ns == JB_UNSET)
        out->wall_ns = now(l) - l->started;
    out->stdout_bytes = l->s->streams->out.bytes;
    out->stderr_bytes =
        l->s->plan->stderr_.kind == JB_STREAM_MERGE || l->s->plan->tty ? 0 : l->s->streams->err.bytes;
}

static void start_watching(struct loop *l, struct jb_error *err)
{
    uint32_t events = 0;
    l->oom_fd = l->s->cgroup ? jb_cgroup_oom_fd(l->s->cgroup, &events, err) : -1;
    if (l->oom_fd < 0) /* no memory group: nothing to watch */
        jb_error_clear(err);
    l->oom_events = events & EPOLLPRI ? POLLPRI : POLLIN;
    l->started = now(l);
    l->wall_deadline = after(l->started, l->s->plan->wall_ns); /* again from STARTED on */
    l->idle_deadline = after(l->started, l->s->plan->idle_ns);
    if (l->s->plan->cpu_ns != JB_UNSET && l->s->cgroup)
        check_cpu_time(l, l->started);
}

/* The texts live in `l` until the record has them. */
static void keep_texts(const struct loop *l, struct jb_outcome *out)
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

int jb_supervise(struct jb_supervise *s, struct jb_outcome *ret, struct jb_error *err)
{
    struct jb_outcome out = {.exit_code = -1,
                             .started_us = JB_UNSET,
                             .ended_us = JB_UNSET,
                             .destroyed_us = JB_UNSET,
                             .setup_ns = JB_UNSET,
                             .wall_ns = JB_UNSET,
                             .teardown_ns = JB_UNSET,
                             .scratch_used = JB_UNSET};
    struct loop l = {.s = s,
                     .out = &out,
                     .oom_fd = -1,
                     .state_deadline = JB_UNSET,
                     .wall_deadline = JB_UNSET,
                     .idle_deadline = JB_UNSET,
                     .cpu_check = JB_UNSET,
                     .oom_check = JB_UNSET};
    start_watching(&l, err);
    while (l.state != ENDED) {
        struct pollfd fds[P_MAX];
        wait_for(&l, fds, next_deadline(&l));
        if (fds[P_OOM].revents)
            on_oom_event(&l);
        if (fds[P_CONTROL].revents)
            on_message(&l);
        if (fds[P_SIGNAL].revents)
            on_signal(&l);
        if (output_ready(fds))
            move_output(&l, fds[P_IN_FROM].revents || fds[P_IN_TO].revents);
        if (l.state != ENDED)
            check_deadlines(&l);
    }
    drain_output(&l);
    JB_CRASH_POINT(output_drained);
    conclude(&l);
    jb_close(&l.oom_fd);
    keep_texts(&l, &out);
    *ret = out;
    return 0;
}
