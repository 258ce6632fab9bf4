/*
 * schedule.c - order, and what is decided for each.
 *
 * Owns: nothing beyond its calls. Runs in: see schedule.h. Privilege: none.
 */
#include "queue/schedule.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "queue/room.h"

#define SOON_US UINT64_C(60000000)

const char *jb_sched_why_name(enum jb_sched_why why)
{
    static const char *const names[JB_WHY_MAX] = {
        [JB_WHY_START] = "starts",         [JB_WHY_CPUS] = "cpus",         [JB_WHY_MEMORY] = "memory",
        [JB_WHY_SCRATCH] = "scratch",      [JB_WHY_PIDS] = "pids",         [JB_WHY_PRIORITY] = "priority",
        [JB_WHY_WINDOW] = "reservation",   [JB_WHY_USER] = "user_limit",   [JB_WHY_ACCOUNT] = "account_limit",
        [JB_WHY_ARRAY] = "array_limit",    [JB_WHY_DEADLINE] = "deadline", [JB_WHY_NEVER] = "too_large",
        [JB_WHY_DRAINED] = "host_drained",
    };
    return (unsigned)why < JB_WHY_MAX ? names[why] : NULL;
}

/* What a job is sorted by. */
struct rank {
    int64_t priority;
    double account, user; /* used of what is promised: less goes first */
    uint64_t submitted_us, number;
    uint32_t index;
};

static int by_rank(const void *a, const void *b)
{
    const struct rank *x = a;
    const struct rank *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    if (x->account != y->account)
        return x->account < y->account ? -1 : 1;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->submitted_us != y->submitted_us)
        return x->submitted_us < y->submitted_us ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

int jb_sched_order(const struct jb_sched_input *in, uint32_t *order, struct jb_error *err)
{
    jb_autofree struct rank *ranks = calloc(in->n_jobs + 1, sizeof(*ranks));
    if (!ranks)
        return jb_fail_errno(err, ENOMEM, "scheduling");
    for (size_t i = 0; i < in->n_jobs; i++) {
        const struct jb_sched_job *j = &in->jobs[i];
        const struct jb_sched_share *s = &in->shares[j->share];
        const struct jb_sched_limit *a = &in->accounts[s->account];
        ranks[i] = (struct rank){
            .priority = j->priority,
            .account = a->usage / a->share,
            .user = s->usage / s->share,
            .submitted_us = j->submitted_us,
            .number = j->number,
            .index = (uint32_t)i,
        };
    }
    qsort(ranks, in->n_jobs, sizeof(*ranks), by_rank);
    for (size_t i = 0; i < in->n_jobs; i++)
        order[i] = ranks[i].index;
    return 0;
}

bool jb_sched_within(const struct jb_sched_limit *limit, uint32_t pus)
{
    return limit->running < limit->max_running &&
           (limit->max_pus == UINT32_MAX || (uint64_t)limit->pus + pus <= limit->max_pus);
}

bool jb_sched_limited(const struct jb_sched_verdict *verdicts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (verdicts[i].why == JB_WHY_ARRAY || verdicts[i].why == JB_WHY_USER ||
            verdicts[i].why == JB_WHY_ACCOUNT)
            return true;
    return false;
}

static void count(const struct jb_sched_input *in, const struct jb_sched_job *job, int by)
{
    const struct jb_sched_share *s = &in->shares[job->share];
    struct jb_sched_limit *const limits[] = {&in->accounts[s->account], &in->users[s->user]};
    for (size_t i = 0; i < JB_ARRAY_LEN(limits); i++) {
        limits[i]->running += (uint32_t)by;
        limits[i]->pus += (uint32_t)by * job->need.pus;
    }
    if (job->group != UINT32_MAX)
        in->groups[job->group].running += (uint32_t)by;
}

/* What is in the way of a job other than room. */
static enum jb_sched_why barred(const struct jb_sched_input *in, const struct jb_sched_job *job)
{
    const struct jb_sched_share *s = &in->shares[job->share];
    if (in->drained)
        return JB_WHY_DRAINED;
    if (job->group != UINT32_MAX && in->groups[job->group].running >= in->groups[job->group].max)
        return JB_WHY_ARRAY;
    if (!jb_sched_within(&in->users[s->user], job->need.pus))
        return JB_WHY_USER;
    if (!jb_sched_within(&in->accounts[s->account], job->need.pus))
        return JB_WHY_ACCOUNT;
    if (job->deadline_us != JB_UNSET && job->wall_us != JB_UNSET &&
        in->now_us + job->wall_us > job->deadline_us)
        return JB_WHY_DEADLINE;
    return JB_WHY_START;
}

static enum jb_sched_why never(const struct jb_need *capacity, const struct jb_need *need)
{
    return need->pus > capacity->pus || need->memory > capacity->memory ||
                   need->scratch > capacity->scratch || need->pids > capacity->pids
               ? JB_WHY_NEVER
               : JB_WHY_START;
}

/* Whoever runs holds his room until his wall time is over. */
static int occupy(const struct jb_sched_input *in, struct jb_room *room, struct jb_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < in->n_running; i++) {
        const struct jb_sched_running *run = &in->running[i];
        uint64_t wall = run->wall_us != JB_UNSET ? run->wall_us : in->assume_us;
        uint64_t end = run->started_us + wall;
        if (end <= in->now_us) /* it is being ended, or the guess was wrong */
            end = in->now_us + SOON_US;
        r = jb_room_take(room, in->now_us, end, &run->need, run->windows, err);
    }
    return r;
}

int jb_sched_decide(const struct jb_sched_input *in, const uint32_t *order, size_t n, bool stop_full,
                    struct jb_sched_verdict *verdicts, struct jb_error *err)
{
    jb_autoroom struct jb_room room = {0};
    size_t blocked = 0;
    size_t started = 0;
    int r = jb_room_begin(in, &room, err);
    if (r == 0)
        r = occupy(in, &room, err);
    size_t i = 0;
    for (; r == 0 && i < n; i++) {
        const struct jb_sched_job *job = &in->jobs[order[i]];
        struct jb_sched_verdict *v = &verdicts[order[i]];
        *v = (struct jb_sched_verdict){.why = barred(in, job), .start_us = JB_UNSET};
        if (v->why == JB_WHY_START)
            v->why = never(&in->capacity, &job->need);
        if (v->why != JB_WHY_START)
            continue;
        if (stop_full && blocked >= in->depth && jb_room_full(&room)) {
            v->why = JB_WHY_CPUS;
            break;
        }
        uint64_t end = job->wall_us == JB_UNSET ? JB_UNSET : in->now_us + job->wall_us;
        v->why = jb_room_fits(&room, 0, end, job);
        if (v->why == JB_WHY_START) {
            v->start_us = in->now_us;
            r = jb_room_take(&room, in->now_us, end, &job->need, job->windows, err);
            count(in, job, 1);
            verdicts[order[i]].start_us = in->now_us;
            started++;
        } else if (blocked++ < in->depth) {
            r = jb_room_set_aside(&room, job, &v->start_us, err);
        }
    }
    for (size_t k = i; k < n; k++) /* stopped early: nothing is free */
        verdicts[order[k]] = (struct jb_sched_verdict){.why = in->drained ? JB_WHY_DRAINED : JB_WHY_CPUS,
                                                       .start_us = JB_UNSET};
    for (size_t k = 0; k < i; k++)
        if (verdicts[order[k]].why == JB_WHY_START)
            count(in, &in->jobs[order[k]], -1);
    return r < 0 ? r : (int)started;
}
