/*
 * limits.c - the limits that jobbox itself keeps, as absolute monotonic deadlines, and the warnings ahead of them.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none of its own.
 *
 * CPU time. The kernel has no event for a group's CPU time. The earliest moment at which the limit can be reached is
 * known, though: when all granted CPUs are busy until then. The supervisor looks then, and no more often than once a
 * second on the whole: each look takes a second of what has passed, and a few may be taken ahead, for the last bit of
 * the way. A job that uses most of its CPUs is seen at the limit; any other may pass it by what the CPUs it uses can do
 * in one second.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "job/exec/execs.h"
#include "job/loop.h"

#define LOOKS_AHEAD UINT64_C(7)
#define LOOK_LEAST  (50 * JB_NS_PER_MS) /* between two looks, also when taken ahead */

static void hit_duration(struct jb_loop *l, enum jb_end_reason reason, const char *name, uint64_t ns)
{
    char text[48];
    char limit[96];
    (void)snprintf(limit, sizeof(limit), "%s %s", name, jb_format_duration(ns, text, sizeof(text)));
    (void)jb_events_add(l->s->events, JB_UNSET, "limit", ",\"limit\":\"%s\"", limit);
    jb_loop_because(l, reason, limit, "jobbox");
    (void)jb_loop_handle(l, JB_CAUSE_LIMIT, NULL, JB_UNSET);
}

static void warn(struct jb_loop *l, const char *name, uint64_t limit_ns)
{
    const struct jb_plan *plan = l->s->plan;
    char text[48];
    (void)jb_events_add(l->s->events, JB_UNSET, "warning", ",\"limit\":\"%s %s\"", name,
                        jb_format_duration(limit_ns, text, sizeof(text)));
    l->signal.number = plan->warn.signal;
    l->signal.main_only = plan->warn.main_only;
    (void)jb_loop_handle(l, JB_CAUSE_WARN, NULL, JB_UNSET);
}

uint64_t jb_limits_next_look(uint64_t now, uint64_t left_ns, unsigned cpus, struct jb_looks *looks)
{
    uint64_t earliest = left_ns / (cpus ? cpus : 1);
    if (looks->paid_until != 0 && earliest < LOOK_LEAST)
        earliest = LOOK_LEAST;
    uint64_t next = jb_after(now, earliest);
    if (looks->paid_until > next && looks->paid_until - next > LOOKS_AHEAD * JB_NS_PER_S)
        next = looks->paid_until - LOOKS_AHEAD * JB_NS_PER_S;
    looks->paid_until = jb_after(looks->paid_until > next ? looks->paid_until : next, JB_NS_PER_S);
    return next;
}

static uint64_t cpu_used(const struct jb_loop *l)
{
    uint64_t used_us = l->s->cgroup ? jb_cgroup_cpu_us(l->s->cgroup) : JB_UNSET;
    uint64_t before = l->s->cpu_before_us;
    return used_us == JB_UNSET || used_us < before ? 0 : (used_us - before) * JB_NS_PER_US;
}

static void check_cpu_time(struct jb_loop *l, uint64_t at)
{
    const struct jb_plan *plan = l->s->plan;
    uint64_t used = cpu_used(l);
    uint64_t point = l->cpu_warned ? JB_UNSET : jb_plan_warn_point(plan, plan->cpu_ns);
    if (used >= plan->cpu_ns) {
        l->cpu_check = JB_UNSET;
        hit_duration(l, JB_END_CPU_TIMEOUT, "cpu_time", plan->cpu_ns);
        return;
    }
    if (used >= point) {
        l->cpu_warned = true;
        point = JB_UNSET;
        warn(l, "cpu_time", plan->cpu_ns);
    }
    uint64_t target = point < plan->cpu_ns ? point : plan->cpu_ns;
    l->looks_before = l->looks;
    l->cpu_check = jb_limits_next_look(at, target - used, jb_cpus_count(&plan->grant.cpus), &l->looks);
}

static void memory_limit_text(const struct jb_loop *l, char *buf, size_t len)
{
    char size[48];
    if (l->s->plan->memory_max == JB_UNSET)
        (void)snprintf(buf, len, "memory of an outer limit");
    else
        (void)snprintf(buf, len, "memory %s", jb_format_size(l->s->plan->memory_max, size, sizeof(size)));
}

static bool was_oom(const struct jb_loop *l)
{
    uint64_t kills = l->s->cgroup ? jb_cgroup_oom_kills(l->s->cgroup) : JB_UNSET;
    return kills != JB_UNSET && kills > 0;
}

/* A part of a job killed for memory leaves the rest in no known state: all of it ends. */
static void check_oom(struct jb_loop *l)
{
    char limit[96];
    if (!was_oom(l))
        return;
    memory_limit_text(l, limit, sizeof(limit));
    if (!l->reason_set)
        (void)jb_events_add(l->s->events, JB_UNSET, "limit", ",\"limit\":\"%s\"", limit);
    jb_loop_because(l, JB_END_OOM, limit, "kernel");
    (void)jb_loop_handle(l, JB_CAUSE_HARD_LIMIT, NULL, JB_UNSET);
}

/*
 * On v1 the event comes when the kernel begins to look for a victim, before the kill is counted; and it may find memory
 * instead. So the count is looked at again for a second, at growing intervals.
 */
static void look_for_oom(struct jb_loop *l)
{
    check_oom(l);
    if (was_oom(l) || l->oom_pause > JB_NS_PER_S)
        l->oom_check = JB_UNSET;
    else
        l->oom_check = jb_after(jb_loop_now(l), l->oom_pause);
    l->oom_pause *= 2;
}

void jb_limits_oom_event(struct jb_loop *l)
{
    uint64_t count;
    if (l->oom_events == POLLIN)
        (void)!read(l->oom_fd, &count, sizeof(count));
    l->oom_pause = JB_NS_PER_MS;
    look_for_oom(l);
    if (l->reason_set && l->out->reason == JB_END_OOM)
        jb_close(&l->oom_fd);
}

void jb_limits_oom_last(struct jb_loop *l)
{
    check_oom(l);
}

/*
 * There is no event for a file system that fills. Once a second is enough for a peak that is called one, and for whoever
 * waits for nothing else it costs one call.
 */
#define SCRATCH_PAUSE JB_NS_PER_S
#define NEARLY_FULL   (UINT64_C(64) << 10)

bool jb_limits_scratch(struct jb_loop *l, bool last)
{
    struct statfs fs;
    struct jb_outcome *out = l->out;
    l->scratch_check = last ? JB_UNSET : jb_after(jb_loop_now(l), SCRATCH_PAUSE);
    /* a folder of the host's file system without a quota has figures that are not the job's */
    if (l->s->box->scratch_fd < 0 || !jb_plan_scratch_is_own(l->s->plan) ||
        fstatfs(l->s->box->scratch_fd, &fs) < 0) {
        l->scratch_check = JB_UNSET;
        return false;
    }
    uint64_t used = (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
    if (l->scratch_base == JB_UNSET)
        l->scratch_base = l->s->plan->ops[0].kind == JB_OP_SCRATCH_LOOP ? used : 0;
    used -= used < l->scratch_base ? used : l->scratch_base; /* what an empty one has taken already */
    if (last)
        out->scratch_used = used;
    if (out->scratch_peak == JB_UNSET || used > out->scratch_peak)
        out->scratch_peak = used;
    /* a file system on a disk keeps a few blocks for its own tables */
    uint64_t least = jb_plan_scratch_on_disk(l->s->plan) ? NEARLY_FULL : 1;
    l->scratch_bytes_full = fs.f_blocks > 0 && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < least;
    l->scratch_files_full = fs.f_files > 0 && fs.f_ffree == 0;
    return l->scratch_bytes_full || l->scratch_files_full;
}

/* `start`: when the job began, moved on by all its pauses. */
static void set_wall(struct jb_loop *l, uint64_t start)
{
    const struct jb_plan *plan = l->s->plan;
    l->wall_deadline = jb_after(start, plan->wall_ns);
    l->wall_warn = jb_after(start, jb_plan_warn_point(plan, plan->wall_ns));
}

static void tell_end(const struct jb_loop *l)
{
    if (l->s->ends)
        l->s->ends(l->s->update_ctx, l->wall_deadline);
}

void jb_limits_start(struct jb_loop *l)
{
    l->started = jb_loop_now(l);
    set_wall(l, l->started); /* again from STARTED on */
    jb_limits_output(l);
    (void)jb_limits_scratch(l, false);
    if (l->s->plan->cpu_ns != JB_UNSET && l->s->cgroup)
        check_cpu_time(l, l->started);
}

void jb_limits_started(struct jb_loop *l, uint64_t mono_ns)
{
    l->started = mono_ns;
    set_wall(l, mono_ns + l->paused_ns);
    tell_end(l);
}

void jb_limits_output(struct jb_loop *l)
{
    l->idle_deadline = jb_after(jb_loop_running(l), l->s->plan->idle_ns);
}

void jb_limits_shift(struct jb_loop *l, uint64_t ns)
{
    uint64_t *const all[] = {&l->wall_deadline, &l->wall_warn, &l->idle_deadline, &l->cpu_check};
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        if (*all[i] != JB_UNSET)
            *all[i] = jb_after(*all[i], ns);
    jb_execs_shift(l, ns);
    tell_end(l);
}

void jb_limits_changed(struct jb_loop *l)
{
    const struct jb_plan *plan = l->s->plan;
    uint64_t at = jb_loop_running(l); /* a pause that lasts is added when it ends */
    uint64_t warned = l->wall_warn;
    set_wall(l, l->started + l->paused_ns);
    if (warned == JB_UNSET && l->wall_warn <= at) /* it had that warning */
        l->wall_warn = JB_UNSET;
    tell_end(l);
    l->cpu_warned = l->cpu_warned && cpu_used(l) >= jb_plan_warn_point(plan, plan->cpu_ns); /* likewise */
    if (l->cpu_check != JB_UNSET) /* a look that is not taken is not paid for */
        l->looks = l->looks_before;
    l->cpu_check = JB_UNSET;
    if (plan->cpu_ns != JB_UNSET && l->s->cgroup)
        check_cpu_time(l, at);
}

uint64_t jb_limits_next(const struct jb_loop *l)
{
    bool paused = l->paused_at != JB_UNSET;
    const uint64_t all[] = {l->oom_check,
                            l->phase_deadline,
                            paused ? JB_UNSET : l->scratch_check,
                            paused ? JB_UNSET : l->wall_deadline,
                            paused ? JB_UNSET : l->wall_warn,
                            paused ? JB_UNSET : l->idle_deadline,
                            paused ? JB_UNSET : l->cpu_check};
    uint64_t least = JB_UNSET;
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        least = all[i] < least ? all[i] : least;
    return least;
}

static void check_clocks(struct jb_loop *l, uint64_t at)
{
    if (at >= l->wall_warn) {
        l->wall_warn = JB_UNSET;
        if (at < l->wall_deadline)
            warn(l, "wall_time", l->s->plan->wall_ns);
    }
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
}

void jb_limits_check(struct jb_loop *l)
{
    uint64_t at = l->looked_at;
    if (l->paused_at == JB_UNSET)
        check_clocks(l, at);
    if (at >= l->scratch_check)
        (void)jb_limits_scratch(l, false);
    if (at >= l->oom_check)
        look_for_oom(l);
    if (at >= l->phase_deadline) {
        l->phase_deadline = JB_UNSET;
        (void)jb_loop_handle(l, JB_CAUSE_DEADLINE, NULL, JB_UNSET);
    }
}
