/*
 * execs.c - the commands executed in a box, from request to entry in the record.
 *
 * Owns: struct jb_execs of the loop. Runs in: the supervisor, in its loop; nothing here waits but jb_execs_finish.
 * Privilege: as the box's.
 *
 * Theory of operation. Each command has a member in the box: jobbox-init as its reaper, which starts it, reports its end
 * and kills what it left. Before GO the member is read back and compared with the plan, as the box itself was. After the
 * end its group is emptied by the supervisor, for a command may have killed its own reaper; only when nothing is left, and
 * what it wrote is carried, is the client told.
 */
#include "job/exec/execs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "box/enter.h"

#define KILL_TIME  (2 * JB_NS_PER_S)  /* for the member to report after SIGKILL */
#define CLEAR_TIME (10 * JB_NS_PER_S) /* for the kernel to end what is left */
#define DRAIN_TIME (5 * JB_NS_PER_S)  /* for a reader that takes nothing */
#define LOOK_TIME  JB_NS_PER_S        /* the latest next look at what is left, whatever the kernel tells */
#define LOOK_FIRST JB_NS_PER_MS       /* growing to it where the kernel tells nothing */

#define SIGNAL_MAX 64

static void because(struct jb_exec *e, enum jb_end_reason reason, const char *error)
{
    if (!e->reason_set)
        e->reason = reason;
    if (!e->error[0] && error)
        (void)snprintf(e->error, sizeof(e->error), "%s", error);
    e->reason_set = true;
}

static uint64_t signal_bit(int sig)
{
    return UINT64_C(1) << (sig - 1);
}

static void tell_signal(const struct jb_exec *e, int sig, bool main_only)
{
    struct jb_msg msg = {.type = JB_MSG_SIGNAL, .value = sig, .value2 = main_only};
    (void)jb_box_tell(&e->box, &msg);
}

/* Kills the command from inside; its member then ends the rest and reports. */
static void kill_inside(struct jb_loop *l, struct jb_exec *e)
{
    tell_signal(e, SIGKILL, false);
    e->step = 2;
    e->deadline = jb_after(jb_loop_running(l), KILL_TIME);
}

static void ask_to_end(struct jb_loop *l, struct jb_exec *e)
{
    if (e->step > 0 || e->phase >= JB_EXEC_CLEARING)
        return;
    if (e->phase == JB_EXEC_ENTERING || e->plan.grace_ns == 0) {
        kill_inside(l, e);
        if (e->phase == JB_EXEC_ENTERING)
            jb_box_kill(&e->box);
        return;
    }
    tell_signal(e, e->plan.end_signal, false);
    tell_signal(e, SIGCONT, false);
    e->step = 1;
    e->deadline = jb_after(jb_loop_running(l), e->plan.grace_ns);
}

static void clear(struct jb_loop *l, struct jb_exec *e)
{
    uint64_t now = jb_loop_now(l);
    if (e->phase >= JB_EXEC_CLEARING)
        return;
    e->phase = JB_EXEC_CLEARING;
    e->ended_us = jb_wall_us(l->s->clock);
    if (e->wall_ns == JB_UNSET && e->started_us != JB_UNSET)
        e->wall_ns = now - e->started_ns;
    e->deadline = JB_UNSET;
    e->look = now;
    e->pause = LOOK_FIRST;
    e->clear_until = jb_after(now, CLEAR_TIME);
}

static void client_gone(struct jb_loop *l, struct jb_exec *e)
{
    jb_close(&e->peer);
    jb_close(&e->io.in.from);
    if (e->phase >= JB_EXEC_CLEARING)
        return;
    because(e, JB_END_CANCELLED, "the client is gone");
    ask_to_end(l, e);
}

static void on_deadline(struct jb_loop *l, struct jb_exec *e)
{
    e->deadline = JB_UNSET;
    switch (e->step) {
    case 0:
        if (e->phase == JB_EXEC_ENTERING)
            because(e, JB_END_BOX_ERROR, "it did not get into the box in time");
        because(e, JB_END_TIMEOUT, "its timeout was up");
        ask_to_end(l, e);
        break;
    case 1:
        kill_inside(l, e);
        break;
    default: /* its member does not answer */
        e->step = 3;
        (void)jb_cg_child_strike(&e->group, NULL);
        jb_box_kill(&e->box);
        e->deadline = jb_after(jb_loop_now(l), KILL_TIME);
        if (e->phase == JB_EXEC_ENTERING) /* whoever is on the way finds that nobody listens any more */
            jb_close(&e->box.control);
        if (e->phase == JB_EXEC_ENTERING && e->helper > 0)
            (void)kill(e->helper, SIGKILL);
        if (e->phase == JB_EXEC_ENTERING)
            clear(l, e);
        break;
    }
}

/* --- messages --- */

/* The scratch is the box's own, and was told to nobody else. */
static int verify(const struct jb_loop *l, const struct jb_exec *e, struct jb_error *err)
{
    struct jb_box member = e->box;
    member.scratch_fd = l->s->box->scratch_fd;
    struct jb_isolation got;
    struct jb_own_namespaces ours;
    int r = jb_own_namespaces(&ours, err);
    if (r == 0)
        r = jb_box_isolation(&member, &ours, &got, err);
    return r == 0 ? jb_isolation_verify(&e->plan, &got, err) : r;
}

/* Whoever reads the terminal's size first finds it set. */
static void resize(const struct jb_exec *e)
{
    const struct winsize size = {.ws_row = (unsigned short)e->ask.rows,
                                 .ws_col = (unsigned short)e->ask.cols};
    if (e->plan.tty && e->io.in_to >= 0 && e->ask.rows && e->ask.cols)
        (void)ioctl(e->io.in_to, TIOCSWINSZ, &size);
}

/* Both are said, in any order: the member stands, and we know which process it is. */
static void go(struct jb_loop *l, struct jb_exec *e)
{
    struct jb_error err = {0};
    struct jb_msg msg = {.type = JB_MSG_GO};
    if (e->reason_set) /* asked to end meanwhile */
        jb_box_kill(&e->box);
    if (!e->entered || !e->ready || e->reason_set)
        return;
    int r = verify(l, e, &err);
    if (r == 0 && e->plan.tty)
        r = jb_exec_io_terminal(&e->io, jb_take_fd(&e->box.master_fd));
    if (r < 0) {
        because(e, JB_END_BOX_ERROR, err.text[0] ? err.text : "it has no terminal");
        jb_box_kill(&e->box);
        return;
    }
    resize(e);
    if (jb_cg_child_usage(&e->group, &e->before) < 0)
        e->before = jb_exec_unknown_cpu;
    (void)jb_box_tell(&e->box, &msg);
    JB_CRASH_POINT(member_told);
}

static void on_started(struct jb_loop *l, struct jb_exec *e, uint64_t mono_ns)
{
    e->phase = e->phase == JB_EXEC_ENTERING ? JB_EXEC_RUNNING : e->phase;
    e->started_ns = mono_ns;
    e->started_us = jb_wall_us(l->s->clock);
    if (e->step == 0)
        e->deadline = jb_after(mono_ns, e->ask.timeout_ns); /* none: JB_UNSET */
    jb_exec_note_start(l, e);
    const struct jb_peer peer = {.fd = e->peer};
    json_t *answer = json_pack("{s:b, s:i}", "ok", 1, "exec", (int)e->seq);
    if (e->peer >= 0)
        jb_control_answer(&peer, answer);
    json_decref(answer);
    for (int sig = 1; e->early && sig <= SIGNAL_MAX; sig++)
        if (e->early & signal_bit(sig))
            tell_signal(e, sig, false);
}

/*
 * What a limit of the box, or somebody's word, ended is not said to have ended by itself, however it went. Only a box that
 * is destroyed lets its commands have the end that they come to.
 */
static void blame_box(struct jb_loop *l, struct jb_exec *e)
{
    jb_limits_oom_last(l); /* the kernel's event and the death it tells of come in any order */
    if (l->reason_set && l->out->reason != JB_END_COMPLETED && l->out->reason != JB_END_FAILED)
        because(e, l->out->reason, "the box has ended");
}

static void on_ended(struct jb_loop *l, struct jb_exec *e, const struct jb_msg *msg)
{
    e->has_rusage = true;
    e->rusage = *msg;
    e->clean = msg->value2 == 0;
    if (WIFSIGNALED(msg->value))
        e->signal = WTERMSIG(msg->value);
    else
        e->exit_code = WEXITSTATUS(msg->value);
    if (e->started_us != JB_UNSET && msg->mono_ns > e->started_ns)
        e->wall_ns = msg->mono_ns - e->started_ns;
    blame_box(l, e);
    because(e, e->signal ? JB_END_SIGNALED : e->exit_code == 0 ? JB_END_COMPLETED : JB_END_FAILED, NULL);
    clear(l, e);
}

static void on_message(struct jb_loop *l, struct jb_exec *e)
{
    struct jb_msg msg;
    if (jb_box_listen(&e->box, &msg) <= 0) {
        blame_box(l, e);
        if (l->reason_set) /* it was destroyed, and the grace was up */
            because(e, JB_END_CANCELLED, "the box has ended");
        because(e, JB_END_BOX_ERROR,
                e->phase == JB_EXEC_ENTERING
                    ? "the process that was to execute it died (memory limit too small, or killed)"
                    : "its reaper in the box was killed");
        jb_close(&e->box.control);
        clear(l, e);
        return;
    }
    switch (msg.type) {
    case JB_MSG_ENTERED:
    case JB_MSG_READY:
        e->entered = e->entered || msg.type == JB_MSG_ENTERED;
        e->ready = e->ready || msg.type == JB_MSG_READY;
        go(l, e);
        break;
    case JB_MSG_STARTED:
        on_started(l, e, msg.mono_ns);
        break;
    case JB_MSG_EXEC_FAILED:
        if (!e->ready)
            because(e, JB_END_BOX_ERROR, "it has no terminal: opening one in the box failed");
        because(e, JB_END_FAILED,
                msg.errnum == ENOENT ? "command not found in the box" : strerrordesc_np(msg.errnum));
        break;
    case JB_MSG_ENDED:
        on_ended(l, e, &msg);
        break;
    case JB_MSG_FAILED:
        because(e, JB_END_BOX_ERROR, msg.text);
        break;
    default:
        break;
    }
}

static void on_peer(struct jb_loop *l, struct jb_exec *e)
{
    char text[256];
    ssize_t n = recv(e->peer, text, sizeof(text), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    json_t *said = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    if (!json_is_object(said)) {
        client_gone(l, e);
        return;
    }
    json_int_t sig = json_integer_value(json_object_get(said, "signal"));
    json_int_t rows = json_integer_value(json_object_get(said, "rows"));
    json_int_t cols = json_integer_value(json_object_get(said, "cols"));
    if (sig > 0 && sig <= SIGNAL_MAX && sig != SIGSTOP && e->phase == JB_EXEC_RUNNING)
        tell_signal(e, (int)sig, false);
    else if (sig > 0 && sig <= SIGNAL_MAX && sig != SIGSTOP && e->phase == JB_EXEC_ENTERING)
        e->early |= signal_bit((int)sig);
    if (rows > 0 && rows < 10000 && cols > 0 && cols < 10000) {
        e->ask.rows = (unsigned)rows;
        e->ask.cols = (unsigned)cols;
        resize(e);
    }
    json_decref(said);
}

/* --- ending --- */

/* True when helper and member are gone and waited for. */
static bool reap(struct jb_exec *e)
{
    struct rusage ru;
    int status;
    if (e->helper > 0 && waitpid(e->helper, &status, WNOHANG) != 0)
        e->helper = 0;
    if (e->box.pid > 0 && wait4(e->box.pid, &status, WNOHANG, &ru) == e->box.pid) {
        e->max_rss = (uint64_t)ru.ru_maxrss * 1024;
        e->box.pid = -1;
    }
    return e->helper <= 0 && e->box.pid <= 0;
}

static void add_sum(struct jb_execs *x, const struct jb_exec *e)
{
    const struct jb_msg *from = &e->rusage;
    struct jb_msg *to = &x->sum;
    if (!e->has_rusage)
        return;
    to->user_us += from->user_us;
    to->system_us += from->system_us;
    to->minor_faults += from->minor_faults;
    to->major_faults += from->major_faults;
    to->voluntary_switches += from->voluntary_switches;
    to->involuntary_switches += from->involuntary_switches;
    to->read_blocks += from->read_blocks;
    to->written_blocks += from->written_blocks;
}

static void read_used(struct jb_exec *e)
{
    if (jb_cg_child_usage(&e->group, &e->used) < 0) {
        e->used = jb_exec_unknown_cpu;
        return;
    }
    jb_cg_usage_subtract(&e->used, &e->before);
}

/* What tells that something of it is gone, beside the member's pidfd: a process of its group, the group, or the helper. */
static void watch_rest(struct jb_exec *e, uint64_t now)
{
    if (e->rest.fd < 0 && e->helper > 0)
        e->rest = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, e->helper, 0), .events = POLLIN};
    bool told = e->rest.fd >= 0 || (e->box.pid > 0 && e->box.pidfd >= 0);
    e->pause = told || e->pause > LOOK_TIME ? LOOK_TIME : e->pause;
    e->look = jb_after(now, e->pause);
    e->pause *= 2;
}

/* Whoever waits in the box until nobody else is in it does not see the end of a child of ours. */
static void tell_alone(const struct jb_loop *l)
{
    struct jb_msg msg = {.type = JB_MSG_END};
    if (l->s->plan->stands && (l->phase == JB_PHASE_GRACE || l->phase == JB_PHASE_KILLED))
        (void)jb_box_tell(l->s->box, &msg);
}

/* What was taken from the command less what waits for a reader: it grows with every byte that was carried. */
static uint64_t carried(const struct jb_exec *e)
{
    const struct jb_pump *out = &e->io.out;
    const struct jb_pump *err = &e->io.err;
    return out->bytes - (out->end - out->start) + err->bytes - (err->end - err->start);
}

static void look(struct jb_loop *l, struct jb_exec *e)
{
    uint64_t now = jb_loop_now(l);
    jb_close(&e->rest.fd);
    int left = e->ask.keep_children ? 0 : jb_cg_child_strike(&e->group, &e->rest);
    if (!e->has_rusage) /* it reports no more */
        jb_box_kill(&e->box);
    bool gone = reap(e);
    if (gone)
        tell_alone(l);
    if ((left != 0 || !gone) && now < e->clear_until) {
        watch_rest(e, now);
        return;
    }
    jb_close(&e->rest.fd);
    e->left = left != 0 || !gone || (e->group.dir.fd < 0 && !e->clean);
    e->look = JB_UNSET;
    e->phase = JB_EXEC_DRAINING;
    e->carried = carried(e);
    e->drain_until = jb_after(now, DRAIN_TIME);
    read_used(e);
    JB_CRASH_POINT(member_ended);
}

static void output_cut(struct jb_loop *l, struct jb_exec *e)
{
    e->truncated = true;
    jb_loop_output_cut(l);
}

static void move(struct jb_loop *l, struct jb_exec *e, const struct pollfd *fds)
{
    uint64_t before = e->io.out.bytes + e->io.err.bytes;
    if (jb_exec_io_move(&e->io, fds, &l->s->streams->budget))
        output_cut(l, e);
    if (e->io.out.bytes + e->io.err.bytes != before)
        jb_limits_output(l);
}

static bool all_carried(const struct jb_exec *e)
{
    return jb_exec_io_drained(&e->io, e->ask.keep_children || e->left);
}

static void over(struct jb_loop *l, struct jb_exec *e)
{
    struct jb_execs *x = l->execs;
    e->phase = JB_EXEC_OVER;
    e->out_bytes = e->io.out.bytes;
    e->err_bytes = e->io.err.bytes;
    x->out_bytes += e->out_bytes;
    x->err_bytes += e->err_bytes;
    e->truncated |= e->io.out.lost || e->io.err.lost || !all_carried(e);
    x->truncated |= e->truncated;
    add_sum(x, e);
    jb_cg_child_end(&e->group);
    JB_CRASH_POINT(member_gone);
    jb_exec_note_end(l, e);
}

/* A slow reader gets all of it; one that takes nothing for a while, or while we are asked to go, is not waited for. */
static bool is_drained(const struct jb_loop *l, struct jb_exec *e)
{
    uint64_t now = jb_loop_now(l);
    uint64_t so_far = carried(e);
    if (so_far != e->carried)
        e->drain_until = jb_after(now, DRAIN_TIME);
    e->carried = so_far;
    return e->peer < 0 || l->asked.ssi_signo || now >= e->drain_until || all_carried(e);
}

static void turn(struct jb_loop *l, struct jb_exec *e, const struct pollfd *fds)
{
    if (fds[JB_EXEC_P_MEMBER].revents)
        on_message(l, e);
    if (fds[JB_EXEC_P_PEER].revents && e->peer >= 0)
        on_peer(l, e);
    move(l, e, fds);
    uint64_t now = l->looked_at;
    if (now >= e->deadline && l->paused_at == JB_UNSET)
        on_deadline(l, e);
    if (e->phase == JB_EXEC_CLEARING &&
        (now >= e->look || fds[JB_EXEC_P_PIDFD].revents || fds[JB_EXEC_P_LEFT].revents))
        look(l, e);
    if (e->phase == JB_EXEC_DRAINING && is_drained(l, e))
        over(l, e);
}

/* --- the loop's side --- */

size_t jb_execs_poll(const struct jb_loop *l, struct pollfd *ret)
{
    size_t n = l->execs ? l->execs->n : 0;
    for (size_t i = 0; i < n; i++) {
        const struct jb_exec *e = l->execs->items[i];
        struct pollfd *fds = ret + i * JB_EXEC_P_MAX;
        jb_exec_io_poll(&e->io, fds);
        fds[JB_EXEC_P_MEMBER] =
            (struct pollfd){.fd = e->phase >= JB_EXEC_CLEARING ? -1 : e->box.control, .events = POLLIN};
        fds[JB_EXEC_P_PEER] = (struct pollfd){.fd = e->peer, .events = POLLIN};
        fds[JB_EXEC_P_PIDFD] = (struct pollfd){
            .fd = e->phase == JB_EXEC_CLEARING && e->box.pid > 0 ? e->box.pidfd : -1, .events = POLLIN};
        fds[JB_EXEC_P_LEFT] = e->rest;
    }
    return n * JB_EXEC_P_MAX;
}

static void forget(struct jb_execs *x, size_t i)
{
    jb_exec_free(x->items[i]);
    x->n--;
    memmove(&x->items[i], &x->items[i + 1], (x->n - i) * sizeof(struct jb_exec *));
}

void jb_execs_turn(struct jb_loop *l, const struct pollfd *fds)
{
    struct jb_execs *x = l->execs;
    size_t n = x ? x->n : 0;
    for (size_t i = n; i-- > 0;) {
        turn(l, x->items[i], fds + i * JB_EXEC_P_MAX);
        if (x->items[i]->phase == JB_EXEC_OVER)
            forget(x, i);
    }
}

uint64_t jb_execs_next(const struct jb_loop *l)
{
    uint64_t least = JB_UNSET;
    for (size_t i = 0; l->execs && i < l->execs->n; i++) {
        const struct jb_exec *e = l->execs->items[i];
        const uint64_t all[] = {l->paused_at == JB_UNSET ? e->deadline : JB_UNSET, e->look,
                                e->phase == JB_EXEC_DRAINING ? e->drain_until : JB_UNSET};
        for (size_t k = 0; k < JB_ARRAY_LEN(all); k++)
            least = all[k] < least ? all[k] : least;
    }
    return least;
}

void jb_execs_shift(struct jb_loop *l, uint64_t ns)
{
    for (size_t i = 0; l->execs && i < l->execs->n; i++)
        l->execs->items[i]->deadline = jb_after(l->execs->items[i]->deadline, ns);
}

static void wait_anew(struct jb_loop *l)
{
    uint64_t until = jb_after(jb_loop_now(l), DRAIN_TIME);
    for (size_t i = 0; i < l->execs->n; i++)
        if (l->execs->items[i]->phase == JB_EXEC_DRAINING)
            l->execs->items[i]->drain_until = until;
}

/*
 * All of them are dead or about to be: jobbox-init killed them, or the box was destroyed from outside. They have to be
 * waited for before jobbox-init can leave, for the kernel keeps it until its namespace is empty.
 */
void jb_execs_finish(struct jb_loop *l, enum jb_end_reason why)
{
    struct jb_execs *x = l->execs;
    for (size_t i = 0; x && i < x->n; i++) {
        struct jb_exec *e = x->items[i];
        if (e->phase < JB_EXEC_CLEARING)
            because(e, why == JB_END_COMPLETED ? JB_END_CANCELLED : why, "the box has ended");
        jb_box_kill(&e->box);
        e->ask.keep_children = false;
    }
    while (x && x->n > 0) {
        struct pollfd fds[JB_EXECS_MAX * JB_EXEC_P_MAX + 1];
        size_t n = jb_execs_poll(l, fds);
        struct pollfd *asked = &fds[n];
        *asked = (struct pollfd){.fd = l->asked.ssi_signo ? -1 : l->s->signal_fd, .events = POLLIN};
        l->looked_at = jb_loop_now(l);
        uint64_t next = jb_execs_next(l);
        uint64_t left = next <= l->looked_at ? 0 : next - l->looked_at;
        int ms = left > JB_NS_PER_S ? 1000 : (int)((left + JB_NS_PER_MS - 1) / JB_NS_PER_MS);
        if (poll(fds, n + 1, ms) <= 0)
            for (size_t i = 0; i <= n; i++)
                fds[i].revents = 0;
        if (asked->revents && jb_loop_late_signal(l)) /* a reader may have been stopped with us */
            wait_anew(l);
        jb_execs_turn(l, fds);
    }
}
