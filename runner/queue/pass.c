/*
 * pass.c - one look at who can start, from struct jb_queue to the scheduler and back.
 *
 * Owns: nothing beyond its calls. Runs in: jobboxd. Privilege: jobboxd's.
 *
 * Sorting a long queue is the dear part. Between two sortings the pending list is in the order of the last one, with
 * later comers at its end; a pass then looks at the first of it only. How long a sorting holds grows with what it cost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/str.h"
#include "queue/capacity.h"
#include "queue/queue.h"
#include "queue/tail.h"

#define DEPTH       64     /* how many of those that cannot start have room set aside */
#define QUICK       300    /* candidates of a pass that does not sort */
#define QUICK_LOOK  200000 /* among so many */
#define SORT_WORTH  200    /* a sorting holds for so many times what it cost */
#define ALWAYS_SORT 500    /* shorter queues are sorted whenever something changed */
#define FULL_US     500000 /* for so long a full machine stays full, if nothing of ours ends */

/* The arrays of one pass. */
struct pass {
    struct jb_queue *q;
    uint64_t now_us;
    uint64_t now_ns; /* the same moment, by CLOCK_MONOTONIC */
    struct jb_sched_input in;
    struct jb_sched_job *jobs;
    struct jb_qtask **tasks;          /* those behind jobs */
    struct jb_sched_running *running; /* tasks of the queue, then boxes of others */
    struct jb_ledger ledger;
    struct jb_sched_group *groups;
    struct jb_qjob **group_jobs;
    size_t n_groups;
    struct jb_sched_window windows[JB_SCHED_WINDOWS];
    struct jb_sched_verdict *verdicts;
    uint32_t *order;
    size_t limit;
    size_t n_others; /* of running: boxes that are not of the queue */
    bool quick;
};

static void pass_free(struct pass *p)
{
    jb_ledger_free(&p->ledger);
    free(p->jobs);
    free(p->tasks);
    free(p->running);
    free(p->groups);
    free(p->group_jobs);
    free(p->verdicts);
    free(p->order);
}

/* Which windows a job may use. */
static uint32_t windows_of(const struct jb_queue *q, const struct jb_qjob *job)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < q->site->queue.n_windows && i < JB_SCHED_WINDOWS; i++) {
        const struct jb_site_window *w = &q->site->queue.windows[i];
        if (jb_strv_has(&w->users, job->user) || (job->account && jb_strv_has(&w->accounts, job->account)))
            bits |= 1U << i;
    }
    return bits;
}

static uint32_t group_of(struct pass *p, struct jb_qjob *job)
{
    if (job->array_limit == JB_UNSET)
        return UINT32_MAX;
    if (job->group < p->n_groups && p->group_jobs[job->group] == job)
        return job->group;
    if ((p->n_groups & (p->n_groups - 1)) == 0) {
        size_t cap = p->n_groups ? p->n_groups * 2 : 1;
        struct jb_sched_group *groups = realloc(p->groups, cap * sizeof(*groups));
        if (groups)
            p->groups = groups;
        struct jb_qjob **jobs = groups ? realloc(p->group_jobs, cap * sizeof(struct jb_qjob *)) : NULL;
        if (!jobs)
            return UINT32_MAX - 1; /* looked at by the caller */
        p->group_jobs = jobs;
    }
    uint32_t max = job->array_limit < UINT32_MAX ? (uint32_t)job->array_limit : UINT32_MAX;
    p->group_jobs[p->n_groups] = job;
    p->groups[p->n_groups] = (struct jb_sched_group){.max = max, .running = (uint32_t)job->n_running};
    job->group = (uint32_t)p->n_groups;
    return (uint32_t)p->n_groups++;
}

static struct jb_need need_of(const struct jb_qtask *t)
{
    struct jb_need need = t->job->need;
    if (t->memory != JB_UNSET)
        need.memory = t->memory;
    return need;
}

/* What its account has used beyond a hard budget of this month, in words; NULL: nothing. */
static const char *over_budget(struct jb_queue *q, const struct jb_qtask *t, uint64_t now_us)
{
    const struct jb_budget_state *state =
        jb_budgets_of(&q->budgets, q->site, q->state->state_dir, t->job->account, now_us);
    return state && state->verdict == JB_BUDGET_HARD ? state->text : NULL;
}

/* 0: may start as far as it is concerned; otherwise not, and *wake is brought forward to when that changes by time. */
static bool waits(struct jb_queue *q, const struct jb_qtask *t, uint64_t now_us, uint64_t *wake)
{
    uint64_t until = 0;
    if (t->held || t->job->unmet)
        return true;
    if (t->job->begin_us > now_us)
        until = t->job->begin_us;
    if (t->not_before_us > now_us && t->not_before_us > until)
        until = t->not_before_us;
    if (over_budget(q, t, now_us) && now_us + JB_BUDGETS_SECONDS * UINT64_C(1000000) > until)
        until = now_us + JB_BUDGETS_SECONDS * UINT64_C(1000000);
    if (until && until < *wake)
        *wake = until;
    return until != 0;
}

static int collect(struct pass *p, struct jb_error *err)
{
    struct jb_queue *q = p->q;
    size_t n = 0;
    size_t look = p->quick && q->pending.len > QUICK_LOOK ? QUICK_LOOK : q->pending.len;
    for (size_t i = 0; i < look && n < p->limit; i++) {
        struct jb_qtask *t = q->pending.items[i];
        if (p->quick && (t->job->array_limit <= t->job->n_running ||
                         jb_fair_at_limit(&q->fair, t->job->share, t->job->need.pus)))
            continue; /* nor are those behind it kept waiting by it */
        if (waits(q, t, p->now_us, &q->wake_us))
            continue;
        if (t->eligible_us == 0)
            t->eligible_us = p->now_us;
        uint32_t group = group_of(p, t->job);
        if (group == UINT32_MAX - 1)
            return jb_fail_errno(err, ENOMEM, "scheduling");
        p->tasks[n] = t;
        p->jobs[n++] = (struct jb_sched_job){
            .need = need_of(t),
            .priority = t->job->priority,
            .submitted_us = t->job->submitted_us,
            .wall_us = t->job->wall_us,
            .deadline_us = t->job->deadline_us,
            .share = t->job->share,
            .group = group,
            .windows = windows_of(q, t->job),
            .number = t->id,
        };
    }
    p->in.n_jobs = n;
    return 0;
}

static struct jb_qtask *running_of(const struct jb_queue *q, const char *id)
{
    for (size_t i = 0; i < q->running.len; i++)
        if (q->running.items[i] && jb_streq(q->running.items[i]->attempt.text, id))
            return q->running.items[i];
    return NULL;
}

/* What a running task holds, which `jobbox update` may have changed; shared CPUs are nobody's. */
static struct jb_need held_by(const struct jb_qtask *t)
{
    struct jb_need need = need_of(t);
    if (t->held_pus && !need.shared)
        need.pus = t->held_pus;
    if (t->held_memory)
        need.memory = t->held_memory;
    return need;
}

/* What is left until a moment that the ledger names; nothing when it is past: a pause, or an end under way. */
static uint64_t left_us(const struct pass *p, uint64_t ends_ns)
{
    return ends_ns > p->now_ns ? (ends_ns - p->now_ns) / JB_NS_PER_US : 0;
}

/* From its start on: what its box says, as that may be longer or shorter by now than what was asked for. */
static uint64_t wall_of(const struct pass *p, const struct jb_qtask *t)
{
    if (!t->ends_ns)
        return t->job->wall_us;
    return left_us(p, t->ends_ns) + (p->now_us > t->started_us ? p->now_us - t->started_us : 0);
}

/* Those who run, into the counts of their users and accounts too; what they use now counts as used. */
static void collect_running(struct pass *p)
{
    struct jb_queue *q = p->q;
    size_t n = 0;
    for (size_t i = 0; i < p->ledger.len; i++) {
        struct jb_holding h;
        jb_ledger_get(&p->ledger, i, &h);
        struct jb_qtask *t = running_of(q, p->ledger.items[i].id.text);
        uint32_t pus = (uint32_t)jb_cpus_count(h.exclusive ? &h.held : &h.cpus);
        uint64_t memory = h.memory == JB_UNSET ? 0 : h.memory;
        if (t) {
            t->held_pus = pus;
            t->held_memory = memory;
            t->ends_ns = h.ends_ns;
        } else { /* of others */
            p->running[n++] = (struct jb_sched_running){
                .need = {.pus = pus, .shared = !h.exclusive, .memory = memory},
                .started_us = p->now_us,
                .wall_us = h.ends_ns ? left_us(p, h.ends_ns) : JB_UNSET,
                .group = UINT32_MAX,
            };
        }
    }
    p->n_others = n;
    for (size_t i = 0; i < q->running.len; i++) {
        const struct jb_qtask *t = q->running.items[i];
        if (!t)
            continue;
        struct jb_sched_share *s = &q->fair.shares[t->job->share];
        struct jb_need need = held_by(t);
        double used =
            p->now_us > t->started_us ? (double)need.pus * (double)(p->now_us - t->started_us) / 1e6 : 0;
        p->running[n++] = (struct jb_sched_running){
            .need = need,
            .started_us = t->started_us,
            .wall_us = wall_of(p, t),
            .share = t->job->share,
            .group = UINT32_MAX,
            .windows = windows_of(q, t->job),
        };
        s->usage += used;
        q->fair.accounts[s->account].usage += used;
        q->fair.accounts[s->account].running++;
        q->fair.accounts[s->account].pus += need.pus;
        q->fair.users[s->user].running++;
        q->fair.users[s->user].pus += need.pus;
    }
    p->in.n_running = n;
}

/*
 * Somebody runs of whom nobody knows for how long, or somebody before it has no room set aside for he may not start yet:
 * when there is room is a guess.
 */
static bool guesses(const struct pass *p, size_t ahead)
{
    for (size_t i = 0; i < p->in.n_running; i++)
        if (p->running[i].wall_us == JB_UNSET)
            return true;
    for (size_t i = 0; i < ahead; i++)
        if (p->verdicts[p->order[i]].start_us == JB_UNSET && p->verdicts[p->order[i]].why != JB_WHY_NEVER)
            return true;
    return false;
}

static int prepare(struct pass *p, bool all, struct jb_error *err)
{
    struct jb_queue *q = p->q;
    jb_qlist_pack(&q->pending);
    jb_qlist_pack(&q->running);
    p->quick = !all && q->pending.len > QUICK;
    p->limit = p->quick ? QUICK : q->pending.len;
    p->now_ns = jb_mono_ns(NULL);
    int r = jb_ledger_read(&q->state->ledger, &p->ledger, err);
    if (r < 0)
        return r;
    p->jobs = calloc(p->limit + 1, sizeof(*p->jobs));
    p->tasks = calloc(p->limit + 1, sizeof(struct jb_qtask *));
    p->running = calloc(q->running.len + p->ledger.len + 1, sizeof(*p->running));
    p->verdicts = calloc(p->limit + 1, sizeof(*p->verdicts));
    p->order = calloc(p->limit + 1, sizeof(*p->order));
    if (!p->jobs || !p->tasks || !p->running || !p->verdicts || !p->order)
        return jb_fail_errno(err, ENOMEM, "scheduling");
    jb_fair_refresh(&q->fair, p->now_us);
    q->wake_us = JB_UNSET;
    jb_queue_whole(q, &p->in.capacity);
    collect_running(p);
    r = collect(p, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < q->site->queue.n_windows && i < JB_SCHED_WINDOWS; i++) {
        const struct jb_site_window *w = &q->site->queue.windows[i];
        p->windows[p->in.n_windows++] =
            (struct jb_sched_window){.from_us = w->from_us,
                                     .to_us = w->to_us,
                                     .pus = w->cpus == JB_UNSET ? UINT32_MAX : (uint32_t)w->cpus};
        if (w->from_us > p->now_us && w->from_us < q->wake_us)
            q->wake_us = w->from_us;
        if (w->to_us > p->now_us && w->to_us < q->wake_us)
            q->wake_us = w->to_us;
    }
    p->in.now_us = p->now_us;
    p->in.drained = q->drained != NULL;
    p->in.assume_us = q->site->queue.assume_wall / JB_NS_PER_US;
    p->in.depth = DEPTH;
    p->in.jobs = p->jobs;
    p->in.running = p->running;
    p->in.shares = q->fair.shares;
    p->in.n_shares = q->fair.len;
    p->in.accounts = q->fair.accounts;
    p->in.n_accounts = q->fair.n_accounts;
    p->in.users = q->fair.users;
    p->in.n_users = q->fair.n_users;
    p->in.groups = p->groups;
    p->in.n_groups = p->n_groups;
    p->in.windows = p->windows;
    return 0;
}

/* The order into the list itself, so that it stays for the passes to come; those who wait for something else go last. */
static int keep_order(struct pass *p, struct jb_error *err)
{
    struct jb_queue *q = p->q;
    struct jb_qtask **sorted = calloc(q->pending.cap + 1, sizeof(struct jb_qtask *));
    size_t n = 0;
    if (!sorted)
        return jb_fail_errno(err, ENOMEM, "scheduling");
    for (size_t i = 0; i < p->in.n_jobs; i++) {
        struct jb_qtask *t = p->tasks[p->order[i]];
        q->pending.items[t->slot] = NULL;
        t->slot = n;
        sorted[n++] = t;
    }
    for (size_t i = 0; i < q->pending.len; i++)
        if (q->pending.items[i]) {
            q->pending.items[i]->slot = n;
            sorted[n++] = q->pending.items[i];
        }
    free(q->pending.items);
    q->pending.items = sorted;
    q->pending.cap++;
    return 0;
}

static json_t *number(uint64_t value)
{
    return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

/* What the nursery needs to know. */
static int make_request(struct jb_queue *q, const struct jb_qtask *t, json_t **ret, struct jb_error *err)
{
    struct jb_qstore_extra x = {0};
    json_t *groups = json_array();
    int r = jb_qstore_get_extra(q->store, t->job->num, &x, err);
    if (r < 0) {
        json_decref(groups);
        return r;
    }
    for (const char *p = x.groups; p && *p;) {
        char *end;
        (void)json_array_append_new(groups, json_integer((json_int_t)strtoul(p, &end, 10)));
        if (*end != ',')
            break;
        p = end + 1;
    }
    json_t *env = x.env ? json_loads(x.env, 0, NULL) : NULL;
    json_t *spec = json_string(x.spec);
    *ret = spec ? json_pack(
                      "{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:o, s:s, s:s, s:s, s:o, s:o, s:o, "
                      "s:o, s:s}",
                      "do", "start", "task", number(t->id), "id", t->attempt.text, "job", number(t->job->num),
                      "attempt", number(t->tries), "index", number(t->index), "spec", spec, "file", x.file,
                      "uid", (json_int_t)t->job->uid, "gid", (json_int_t)t->job->gid, "groups", groups,
                      "user", t->job->user, "home", x.home, "cwd", x.cwd, "env", env ? env : json_array(),
                      "submitted_us", number(t->job->submitted_us), "eligible_us", number(t->eligible_us),
                      "memory", number(t->memory), "queue", q->id)
                : NULL;
    jb_qstore_extra_free(&x);
    return *ret ? 0 : jb_fail(err, ENOMEM, "starting job %llu", (unsigned long long)t->job->num);
}

static int start(struct jb_queue *q, struct jb_qtask *t, const struct jb_journal_mark *mark, uint64_t now_us,
                 struct jb_error *err)
{
    json_t *request = NULL;
    int r = jb_queue_begin_change(q, err);
    if (r == 0 && jb_id_new(now_us, &t->attempt) < 0)
        r = jb_fail_errno(err, EIO, "making an id");
    if (r < 0)
        return r;
    jb_qlist_remove(&q->pending, t);
    t->state = JB_TASK_RUNNING;
    t->tries++;
    t->started_us = now_us;
    t->refused = false;
    t->not_before_us = 0;
    t->held_pus = 0;
    t->held_memory = 0;
    t->ends_ns = 0;
    free(jb_take_ptr(t->why));
    t->job->n_running++;
    if (jb_qlist_add(&q->running, t) < 0)
        return jb_fail_errno(err, ENOMEM, "the queue");
    r = jb_qstore_attempt(q->store, t, now_us, mark, err);
    if (r == 0)
        r = jb_qstore_save_task(q->store, t, err);
    if (r == 0)
        r = jb_queue_event(q, t, now_us, "started", t->attempt.text, err);
    if (r == 0)
        r = make_request(q, t, &request, err);
    if (r < 0)
        return r;
    (void)json_array_append_new(q->launches, request);
    q->counts.started++;
    q->counts.wait_s += (double)(now_us - t->job->submitted_us) / 1e6;
    t->begin_due = true; /* it may yet find no place */
    JB_CRASH_POINT(start_noted);
    return 0;
}

/* Now and then the store notes where the journal is, so that what the power takes from the store is found there. */
static int note_mark(struct jb_queue *q, const struct jb_journal_mark *mark, uint64_t now_us,
                     struct jb_error *err)
{
    char text[64];
    if (now_us < q->next_mark_us)
        return 0;
    q->next_mark_us = now_us + 10000000;
    q->durable = true;
    (void)snprintf(text, sizeof(text), "%u:%llu", mark->month, (unsigned long long)mark->offset);
    int r = jb_queue_begin_change(q, err);
    return r < 0 ? r : jb_qstore_set(q->store, "mark", text, err);
}

/* Every CPU is one task's alone, or none is to be given: whoever arrives waits, and no pass has to find that out. */
static bool is_full(const struct pass *p)
{
    const struct jb_queue *q = p->q;
    uint64_t taken = 0;
    bool shared = false;
    for (size_t i = 0; i < p->n_others + q->running.len; i++) {
        const struct jb_qtask *t = i < p->n_others ? NULL : q->running.items[i - p->n_others];
        struct jb_need need = i < p->n_others ? p->running[i].need : t ? held_by(t) : (struct jb_need){0};
        shared = shared || need.shared;
        taken += need.pus;
    }
    return q->drained || (!shared && taken >= p->in.capacity.pus);
}

int jb_queue_pass(struct jb_queue *q, uint64_t now_us, struct jb_error *err)
{
    struct pass p = {.q = q, .now_us = now_us};
    struct jb_journal_mark mark = {0};
    if (now_us >= q->wake_us)
        q->dirty = true;
    if (!q->dirty || q->stopping)
        return 0;
    q->dirty = false;
    if (now_us < q->full_until_us) {
        q->wake_us = q->full_until_us;
        return 0;
    }
    bool is_short = q->pending.len < ALWAYS_SORT;
    bool sort =
        is_short || now_us >= q->next_sort_us; /* what was used, who is free to start: it all changes */
    uint64_t begun = jb_mono_ns(NULL);
    int r = prepare(&p, sort, err);
    for (uint32_t i = 0; r == 0 && i < p.in.n_jobs; i++)
        p.order[i] = i;
    if (r == 0 && sort)
        r = jb_sched_order(&p.in, p.order, err);
    if (r == 0 && sort && !is_short)
        r = keep_order(&p, err);
    int started = r == 0 ? jb_sched_decide(&p.in, p.order, p.in.n_jobs, true, p.verdicts, err) : r;
    uint64_t cost = jb_mono_ns(NULL) - begun;
    if (sort)
        q->next_sort_us = now_us + cost / JB_NS_PER_US * SORT_WORTH;
    q->counts.passes++;
    q->counts.pass_s += (double)cost / 1e9;
    if (started > 0)
        jb_tail_mark(q->state->state_fd, now_us, &mark);
    r = started < 0 ? started : 0;
    for (size_t i = 0; r == 0 && started > 0 && i < p.in.n_jobs; i++) {
        struct jb_qtask *t = p.tasks[p.order[i]];
        if (t && p.verdicts[p.order[i]].why == JB_WHY_START)
            r = start(q, t, &mark, now_us, err);
    }
    if (r == 0 && started > 0)
        r = note_mark(q, &mark, now_us, err);
    if (!sort && q->next_sort_us < q->wake_us)
        q->wake_us = q->next_sort_us;
    q->dirty =
        started > 0 && p.quick && jb_sched_limited(p.verdicts, p.in.n_jobs); /* for those behind them */
    q->full_until_us = r == 0 && is_full(&p) ? now_us + FULL_US : 0;
    pass_free(&p);
    if (r < 0)
        q->broken = true;
    return r;
}

/* What keeps a task from being looked at at all; NULL: nothing does. */
static json_t *kept_out(struct jb_queue *q, const struct jb_qtask *task, uint64_t now_us)
{
    uint64_t wake = JB_UNSET;
    if (task->held)
        return json_pack("{s:s, s:s}", "why", "held", "text", "it is held; jobbox release lets it go on");
    if (task->job->unmet)
        return json_pack("{s:s, s:s}", "why", "dependency", "text", "jobs that it depends on have not ended");
    if (task->job->begin_us > now_us)
        return json_pack("{s:s, s:s, s:o}", "why", "begin", "text", "its begin is not there yet",
                         "not_before", jb_json_time(task->job->begin_us));
    if (over_budget(q, task, now_us))
        return json_pack("{s:s, s:o}", "why", "budget", "text", jb_json_text(over_budget(q, task, now_us)));
    if (task->refused)
        return json_pack("{s:s, s:o}", "why", "placement", "text", jb_json_text(task->why));
    if (waits(q, task, now_us, &wake))
        return json_pack("{s:s, s:s, s:o}", "why", "retry", "text", "it is tried again later", "not_before",
                         jb_json_time(task->not_before_us));
    return NULL;
}

/* What the pass says of the one that is at that place of its order; beyond the end: it was not looked at. */
static json_t *verdict_of(const struct pass *p, size_t at)
{
    static const char *const texts[JB_WHY_MAX] = {
        [JB_WHY_START] = "it is about to start",
        [JB_WHY_CPUS] = "not enough CPUs are free",
        [JB_WHY_MEMORY] = "not enough memory is free",
        [JB_WHY_SCRATCH] = "not enough scratch is free",
        [JB_WHY_PIDS] = "too few processes are left",
        [JB_WHY_PRIORITY] =
            "it would fit now, but would delay a job before it; with a shorter wall_time it may not",
        [JB_WHY_WINDOW] = "it would run into a reservation or maintenance; a shorter wall_time may help",
        [JB_WHY_USER] = "its user has as much running as the site allows",
        [JB_WHY_ACCOUNT] = "its account has as much running as the site allows",
        [JB_WHY_ARRAY] = "as many of its array run as its %limit allows",
        [JB_WHY_DEADLINE] = "with its wall_time it could not end before its deadline",
        [JB_WHY_NEVER] = "it wants more than this machine has",
        [JB_WHY_DRAINED] = "the host is drained",
    };
    bool looked = at < p->in.n_jobs;
    const struct jb_sched_verdict *v = looked ? &p->verdicts[p->order[at]] : NULL;
    enum jb_sched_why code = looked ? v->why : JB_WHY_CPUS;
    bool known = looked && v->start_us != JB_UNSET;
    json_t *why =
        json_pack("{s:s, s:s, s:I, s:o}", "why", jb_sched_why_name(code), "text", texts[code], "ahead",
                  (json_int_t)at, "start", known ? jb_json_time(v->start_us) : json_null());
    (void)json_object_set_new(why, "guess", json_boolean(known && guesses(p, at)));
    if (code == JB_WHY_DRAINED)
        (void)json_object_set_new(why, "reason", jb_json_text(p->q->drained));
    return why;
}

/* One pass for all that is asked for: it takes as long as all that waits makes it. */
static int look_ahead(struct pass *p, struct jb_qtask *const *tasks, size_t n, json_t **ret,
                      struct jb_error *err)
{
    jb_autofree size_t *at = calloc(n, sizeof(*at));
    size_t last = 0;
    if (!at)
        return jb_fail_errno(err, ENOMEM, "explaining");
    int r = prepare(p, true, err);
    if (r == 0)
        r = jb_sched_order(&p->in, p->order, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        while (!ret[i] && at[i] < p->in.n_jobs && p->tasks[p->order[at[i]]] != tasks[i])
            at[i]++;
        if (!ret[i] && at[i] < p->in.n_jobs && at[i] > last)
            last = at[i];
    }
    p->in.depth = last + 1 < 2000 ? last + 1 : 2000; /* room for all before it: a promise, not a guess */
    if (r == 0 && p->in.n_jobs)
        r = jb_sched_decide(&p->in, p->order, last + 1, false, p->verdicts, err);
    for (size_t i = 0; r >= 0 && i < n; i++)
        if (!ret[i])
            ret[i] = verdict_of(p, at[i]);
    return r < 0 ? r : 0;
}

int jb_queue_explain(struct jb_queue *q, struct jb_qtask *const *tasks, size_t n, uint64_t now_us,
                     json_t **ret, struct jb_error *err)
{
    struct pass p = {.q = q, .now_us = now_us};
    size_t open = 0;
    for (size_t i = 0; i < n; i++) {
        ret[i] = tasks[i]->state == JB_TASK_RUNNING
                     ? json_pack("{s:s, s:s}", "why", "running", "text", "it runs")
                     : kept_out(q, tasks[i], now_us);
        open += !ret[i];
    }
    int r = open ? look_ahead(&p, tasks, n, ret, err) : 0;
    pass_free(&p);
    for (size_t i = 0; r < 0 && i < n; i++)
        json_decref(ret[i]);
    return r;
}
