/*
 * queue.c - jobs and tasks in memory; their ends.
 *
 * Owns: see queue.h. Runs in: jobboxd. Privilege: jobboxd's.
 */
#include "queue/queue.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/str.h"
#include "queue/tail.h"
#include "record/record.h"

#define ASK_AGAIN_US  UINT64_C(10000000) /* longer than a box may take to answer */
#define BEGUN_US      1000000            /* who runs for so long has found a place */
#define REFUSALS_MAX  3                  /* who finds no place is looked at again after at most 2^3 seconds */
#define NOTED_AT_ONCE 60.0 /* CPU seconds; less is lost with a daemon that is killed within seconds */

char *jb_task_name_of(uint64_t num, uint64_t index, char *buf, size_t len)
{
    if (index == JB_UNSET)
        (void)snprintf(buf, len, "%llu", (unsigned long long)num);
    else
        (void)snprintf(buf, len, "%llu_%llu", (unsigned long long)num, (unsigned long long)index);
    return buf;
}

char *jb_task_name(const struct jb_qtask *task, char *buf, size_t len)
{
    return jb_task_name_of(task->job->num, task->index, buf, len);
}

int jb_qlist_add(struct jb_qlist *list, struct jb_qtask *task)
{
    if (list->len == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct jb_qtask **grown = realloc(list->items, cap * sizeof(struct jb_qtask *));
        if (!grown)
            return -ENOMEM;
        list->items = grown;
        list->cap = cap;
    }
    task->slot = list->len;
    list->items[list->len++] = task;
    return 0;
}

void jb_qlist_remove(struct jb_qlist *list, struct jb_qtask *task)
{
    list->items[task->slot] = NULL;
    list->holes++;
}

void jb_qlist_pack(struct jb_qlist *list)
{
    size_t n = 0;
    if (list->holes == 0)
        return;
    for (size_t i = 0; i < list->len; i++)
        if (list->items[i]) {
            list->items[i]->slot = n;
            list->items[n++] = list->items[i];
        }
    list->len = n;
    list->holes = 0;
}

void jb_qtask_free(struct jb_qtask *task)
{
    if (!task)
        return;
    free(task->why);
    free(task->cpus);
    free(task);
}

void jb_qjob_free(struct jb_qjob *job)
{
    if (!job)
        return;
    for (size_t i = 0; i < job->n_left; i++)
        jb_qtask_free(job->tasks[i]);
    free(job->tasks);
    free(job->user);
    free(job->name);
    free(job->account);
    free(job->deps);
    jb_strv_free(&job->retry_on);
    free(job);
}

int jb_queue_begin_change(struct jb_queue *q, struct jb_error *err)
{
    int r = jb_qstore_begin(q->store, err);
    if (r < 0)
        q->broken = true;
    return r;
}

int jb_queue_event(struct jb_queue *q, const struct jb_qtask *t, uint64_t now_us, const char *what,
                   const char *detail, struct jb_error *err)
{
    return jb_qstore_event(q->store, t->job->num, t->id, now_us, what, detail, err);
}

/* What a store that failed leaves: memory is ahead of the disk. */
static int kept(struct jb_queue *q, int r)
{
    if (r < 0)
        q->broken = true;
    return r;
}

int jb_queue_add(struct jb_queue *q, struct jb_qjob *job)
{
    int r = jb_map_put(&q->jobs, job->num, job);
    for (size_t i = 0; r == 0 && i < job->n_deps; i++)
        r = jb_queue_await(q, job, &job->deps[i]);
    for (size_t i = 0; r == 0 && i < job->n_left; i++) {
        struct jb_qtask *t = job->tasks[i];
        r = jb_map_put(&q->tasks, t->id, t);
        if (r == 0)
            r = jb_qlist_add(t->state == JB_TASK_RUNNING ? &q->running : &q->pending, t);
    }
    q->dirty = true;
    return r;
}

static void set_why(struct jb_qtask *t, const char *why)
{
    free(t->why);
    t->why = why ? strdup(why) : NULL;
}

void jb_queue_begun(struct jb_queue *q, struct jb_qtask *t)
{
    if (t->begin_due)
        jb_queue_notify(q, t, JB_NOTIFY_BEGIN, NULL);
    t->begin_due = false;
}

int jb_queue_finish(struct jb_queue *q, struct jb_qtask *t, const struct jb_end *end, uint64_t now_us,
                    struct jb_error *err)
{
    struct jb_qjob *job = t->job;
    bool good = jb_streq(end->reason, "completed");
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_task_ended(q->store, t, end, err);
    if (r == 0)
        r = jb_queue_event(q, t, now_us, "ended", end->reason, err);
    if (r < 0)
        return kept(q, r);
    jb_queue_notify(q, t, JB_NOTIFY_END, end);
    if (!good)
        jb_queue_notify(q, t, JB_NOTIFY_FAIL, end);
    if (q->ended)
        q->ended(q->ended_ctx, t, end);
    jb_qlist_remove(t->state == JB_TASK_RUNNING ? &q->running : &q->pending, t);
    if (t->state == JB_TASK_RUNNING) {
        job->n_running--;
        q->full_until_us = 0;
    }
    jb_map_remove(&q->tasks, t->id);
    job->tasks[t->at] = job->tasks[--job->n_left];
    job->tasks[t->at]->at = t->at;
    job->n_bad += !good;
    jb_qtask_free(t);
    q->dirty = true;
    JB_CRASH_POINT(task_noted_ended);
    if (job->n_left > 0)
        return 0;
    const struct jb_over over = {.num = job->num, .bad = job->n_bad > 0};
    jb_map_remove(&q->jobs, over.num);
    jb_qjob_free(job);
    return kept(q, jb_queue_tell(q, &over, now_us, err));
}

/* --- ends of attempts --- */

static int put_back(struct jb_queue *q, struct jb_qtask *t, uint64_t not_before_us, struct jb_error *err)
{
    q->full_until_us = 0;
    jb_qlist_remove(&q->running, t);
    t->job->n_running--;
    t->state = JB_TASK_PENDING;
    t->adopted = false;
    t->asked_to_end = false;
    t->not_before_us = not_before_us;
    t->started_us = 0;
    if (jb_qlist_add(&q->pending, t) < 0)
        return jb_fail_errno(err, ENOMEM, "the queue");
    q->dirty = true;
    return jb_qstore_save_task(q->store, t, err);
}

/* An end makes room: whoever was refused is looked at again. */
static void wake_refused(struct jb_queue *q)
{
    for (size_t i = 0; i < q->pending.len; i++) {
        struct jb_qtask *t = q->pending.items[i];
        if (t && t->refused) {
            t->refused = false;
            t->refusals = 0;
            t->not_before_us = 0;
        }
        if (i > 4096) /* the others by time */
            break;
    }
    q->dirty = true;
}

static int save_usage(struct jb_queue *q, uint32_t share, struct jb_error *err)
{
    struct jb_fair_item *item = &q->fair.items[share];
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_usage(q->store, item->account, item->user, item->used, item->at_us, err);
    item->dirty = false;
    return r;
}

int jb_queue_save_usage(struct jb_queue *q, struct jb_error *err)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < q->fair.len; i++)
        if (q->fair.items[i].dirty)
            r = save_usage(q, i, err);
    return kept(q, r);
}

int jb_queue_attempt_ended(struct jb_queue *q, struct jb_qtask *t, const struct jb_end *end, uint64_t now_us,
                           struct jb_error *err)
{
    char detail[96];
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_attempt_ended(q->store, &t->attempt, end, err);
    if (r < 0)
        return kept(q, r);
    double used = end->wall_s > 0 ? end->wall_s * (double)end->cpu_count : 0;
    if (used > 0)
        jb_fair_add(&q->fair, t->job->share, used, now_us);
    if (used > NOTED_AT_ONCE) {
        r = save_usage(q, t->job->share, err);
        if (r < 0)
            return kept(q, r);
    }
    JB_CRASH_POINT(attempt_noted_ended);
    jb_queue_begun(q, t);
    t->refusals = 0;
    wake_refused(q);
    bool again = t->requeue;
    t->requeue = false;
    uint64_t wait = 0;
    bool retry = false;
    if (!again)
        r = jb_queue_retry(q, t, end, &retry, &wait, err);
    if (r < 0)
        return kept(q, r);
    if (!again && !retry)
        return jb_queue_finish(q, t, end, now_us, err);
    (void)snprintf(detail, sizeof(detail), "after %s", end->reason);
    r = jb_queue_event(q, t, now_us, again ? "requeued" : "retry", detail, err);
    if (r == 0)
        r = put_back(q, t, now_us + wait, err);
    return kept(q, r);
}

/* It was not placed after all: back to its place, and again a little later or when somebody ends. */
static int refused(struct jb_queue *q, struct jb_qtask *t, const char *why, uint64_t now_us,
                   struct jb_error *err)
{
    unsigned doublings = t->refusals < REFUSALS_MAX ? t->refusals++ : REFUSALS_MAX;
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_attempt_undone(q->store, &t->attempt, err);
    if (r == 0) /* it has not been started after all */
        r = jb_qstore_event_undone(q->store, t->job->num, t->id, t->attempt.text, err);
    q->counts.started--;
    q->counts.wait_s -= (double)(t->started_us - t->job->submitted_us) / 1e6;
    t->begin_due = false;
    t->tries--;
    t->attempt.text[0] = '\0';
    t->requeue = false; /* it is back already */
    set_why(t, why);
    t->refused = true;
    if (r == 0)
        r = put_back(q, t, now_us + (UINT64_C(1000000) << doublings), err);
    return kept(q, r);
}

static int failed(struct jb_queue *q, struct jb_qtask *t, const char *failure, const char *error,
                  uint64_t now_us, struct jb_error *err)
{
    struct jb_end end = {
        .exit_code = -1, .wall_s = -1, .cpu_s = -1, .memory_peak = JB_UNSET, .ended_us = now_us};
    bool cancelled = jb_streq(failure, "cancelled") || t->asked_to_end;
    (void)snprintf(end.reason, sizeof(end.reason), "%s", cancelled ? "cancelled" : "box_error");
    end.error = error ? strdup(error) : NULL;
    t->begin_due = false;
    int r = jb_streq(failure, "spec") ? 0 : -1; /* a spec that cannot be does not get better */
    if (r == 0) {
        r = jb_queue_begin_change(q, err);
        if (r == 0)
            r = jb_qstore_attempt_ended(q->store, &t->attempt, &end, err);
        if (r == 0)
            r = jb_queue_finish(q, t, &end, now_us, err);
    } else {
        r = jb_queue_attempt_ended(q, t, &end, now_us, err);
    }
    jb_end_free(&end);
    return kept(q, r);
}

int jb_queue_heard(struct jb_queue *q, const json_t *answer, uint64_t now_us, struct jb_error *err)
{
    const json_t *task_json = json_object_get(answer, "task");
    const char *id = json_string_value(json_object_get(answer, "id"));
    const char *failure = json_string_value(json_object_get(answer, "failure"));
    const json_t *end_json = json_object_get(answer, "end");
    if (json_object_get(answer, "swept")) {
        q->sweeping = false;
        return jb_queue_find_lost(q, now_us, true, err);
    }
    struct jb_qtask *t =
        json_is_integer(task_json) ? jb_map_get(&q->tasks, (uint64_t)json_integer_value(task_json)) : NULL;
    if (!t || t->state != JB_TASK_RUNNING || !id || !jb_streq(t->attempt.text, id))
        return 0; /* of an attempt that is dealt with */
    if (end_json) {
        struct jb_end end;
        if (jb_end_from_json(end_json, &end) < 0)
            return 0;
        JB_CRASH_POINT(attempt_heard);
        int r = jb_queue_attempt_ended(q, t, &end, now_us, err);
        jb_end_free(&end);
        return r;
    }
    const char *error = json_string_value(json_object_get(answer, "error"));
    JB_CRASH_POINT(failure_heard);
    if (failure && jb_streq(failure, "busy") && !t->asked_to_end)
        return refused(q, t, error, now_us, err);
    if (failure)
        return failed(q, t, failure, error, now_us, err);
    t->lost = true; /* killed: its box is recovered, and then its record tells */
    q->lost = true;
    return jb_queue_find_lost(q, now_us, false, err);
}

/* --- what people do --- */

static int end_by(struct jb_queue *q, struct jb_qtask *t, const char *what, uint64_t now_us,
                  struct jb_error *err)
{
    struct jb_end end = {.reason = "cancelled",
                         .exit_code = -1,
                         .wall_s = -1,
                         .cpu_s = -1,
                         .memory_peak = JB_UNSET,
                         .ended_us = now_us};
    end.error = jb_asprintf("%s before it started%s", what, t->tries > 0 ? " again" : "");
    int r = jb_queue_finish(q, t, &end, now_us, err);
    jb_end_free(&end);
    return r;
}

/*
 * TERM to a supervisor is a cancellation; one that is not our child is asked at its box, and whether it has heard is told
 * by its answer (jb_queue_asked). A second cancellation takes the job's grace from it: `once` is for a question that may have
 * been asked before, by an earlier daemon too.
 */
static void ask_to_end(struct jb_queue *q, struct jb_qtask *t, bool once, uint64_t now_us)
{
    json_t *request =
        t->adopted
            ? json_pack("{s:s, s:I, s:s, s:{s:s, s:b}}", "do", "control", "token", -(json_int_t)t->id, "id",
                        t->attempt.text, "request", "verb", "cancel", "once", once)
            : json_pack("{s:s, s:I, s:i}", "do", "signal", "task", (json_int_t)t->id, "signal", SIGTERM);
    t->asked_us = now_us;
    t->asked = !t->adopted;
    if (request)
        (void)json_array_append_new(q->launches, request);
}

void jb_queue_asked(struct jb_queue *q, uint64_t task, bool heard)
{
    struct jb_qtask *t = jb_map_get(&q->tasks, task);
    if (t)
        t->asked = heard;
}

int jb_queue_cancel(struct jb_queue *q, struct jb_qtask *t, const char *who, uint64_t now_us,
                    struct jb_error *err)
{
    jb_autofree char *what = jb_asprintf("cancelled by %s", who);
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_queue_event(q, t, now_us, "cancel", who, err);
    if (r < 0)
        return kept(q, r);
    q->durable = true;
    if (t->state == JB_TASK_PENDING)
        return end_by(q, t, what ? what : "cancelled", now_us, err);
    t->asked_to_end = true;
    t->requeue = false;
    r = jb_qstore_save_task(q->store, t, err);
    ask_to_end(q, t, false, now_us);
    return kept(q, r);
}

int jb_queue_hold(struct jb_queue *q, struct jb_qtask *t, bool hold, const char *who, uint64_t now_us,
                  struct jb_error *err)
{
    if (t->state != JB_TASK_PENDING)
        return jb_fail(err, EINVAL,
                       hold ? "it runs; only what waits can be held (jobbox pause freezes what runs)"
                            : "it is not held: it runs");
    if (t->held == hold)
        return hold ? 0 : jb_fail(err, EINVAL, "it is not held; jobbox explain --job says what it waits for");
    int r = jb_queue_begin_change(q, err);
    t->held = hold;
    t->eligible_us = 0;
    if (r == 0)
        r = jb_queue_event(q, t, now_us, hold ? "hold" : "release", who, err);
    if (r == 0)
        r = jb_qstore_save_task(q->store, t, err);
    q->dirty = q->durable = true;
    q->next_sort_us = 0; /* it may come first */
    return kept(q, r);
}

int jb_queue_priority(struct jb_queue *q, struct jb_qjob *job, int64_t priority, const char *who,
                      uint64_t now_us, struct jb_error *err)
{
    char detail[96];
    int r = jb_queue_begin_change(q, err);
    (void)snprintf(detail, sizeof(detail), "%lld by %s", (long long)priority, who);
    job->priority = priority;
    if (r == 0)
        r = jb_qstore_save_priority(q->store, job, err);
    if (r == 0)
        r = jb_qstore_event(q->store, job->num, JB_UNSET, now_us, "priority", detail, err);
    q->dirty = q->durable = true;
    q->next_sort_us = 0;
    return kept(q, r);
}

int jb_queue_requeue(struct jb_queue *q, struct jb_qtask *t, const char *who, uint64_t now_us,
                     struct jb_error *err)
{
    if (t->state != JB_TASK_RUNNING)
        return jb_fail(err, EINVAL, "it has not started yet");
    if (t->asked_to_end)
        return jb_fail(err, EINVAL, "it has been cancelled and is being ended; requeue it when it has ended");
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_queue_event(q, t, now_us, "requeue", who, err);
    t->requeue = true;
    if (r == 0)
        r = jb_qstore_save_task(q->store, t, err);
    ask_to_end(q, t, false, now_us);
    q->durable = true;
    return kept(q, r);
}

int jb_queue_drain(struct jb_queue *q, const char *why, struct jb_error *err)
{
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_set(q->store, "drained", why ? why : "", err);
    free(q->drained);
    q->drained = why ? strdup(why) : NULL;
    q->full_until_us = 0;
    q->dirty = q->durable = true;
    return kept(q, r);
}

int jb_queue_commit(struct jb_queue *q, struct jb_error *err)
{
    size_t i;
    json_t *request;
    bool changed = jb_qstore_dirty(q->store);
    int r = jb_qstore_commit(q->store, q->durable, err);
    q->durable = false;
    if (r < 0)
        return kept(q, r);
    if (changed)
        JB_CRASH_POINT(queue_committed);
    json_array_foreach(q->launches, i, request)
    {
        r = jb_nursery_ask(&q->nursery, request, err);
        if (r < 0)
            return kept(q, r);
        JB_CRASH_POINT(nursery_asked);
    }
    (void)json_array_clear(q->launches);
    return 0;
}

bool jb_queue_idle(const struct jb_queue *q)
{
    return q->jobs.len == 0;
}

/* --- time --- */

void jb_queue_clock_back(struct jb_queue *q, uint64_t by_us)
{
    q->next_sort_us = q->next_mark_us = q->next_tick_us = q->next_usage_us = q->next_purge_us = 0;
    q->full_until_us = 0;
    q->dirty = true;
    for (size_t i = 0; i < q->pending.len; i++) {
        struct jb_qtask *t = q->pending.items[i];
        if (!t)
            continue;
        bool waits_on = !t->refused && t->not_before_us > by_us;
        t->not_before_us = waits_on ? t->not_before_us - by_us : 0;
        t->refused = false;
    }
    for (size_t i = 0; i < q->running.len; i++)
        if (q->running.items[i])
            q->running.items[i]->asked_us = 0;
    jb_budgets_again(&q->budgets);
}

/* A second has gone by: deadlines, and those whose end nobody tells us. */
int jb_queue_tick(struct jb_queue *q, uint64_t now_us, struct jb_error *err)
{
    int r = 0;
    if (now_us < q->next_tick_us)
        return 0;
    q->next_tick_us = now_us + 500000;
    q->dirty = q->dirty || q->pending.len > q->pending.holes; /* boxes that are not ours come and go */
    for (size_t i = 0; r == 0 && i < q->running.len; i++) {
        struct jb_qtask *t = q->running.items[i];
        if (!t)
            continue;
        if (t->begin_due && now_us > t->started_us + BEGUN_US)
            jb_queue_begun(q, t);
        if (t->job->deadline_us != JB_UNSET && now_us > t->job->deadline_us && !t->asked_to_end)
            r = jb_queue_cancel(q, t, "its deadline", now_us, err);
        else if (t->adopted && !t->lost && jb_supervisor_lives(q->state->runtime_fd, t->id) == 0)
            t->lost = q->lost = true;
        else if (t->adopted && (t->asked_to_end || t->requeue) && !t->asked &&
                 now_us > t->asked_us + ASK_AGAIN_US)
            ask_to_end(q, t, true, now_us);
    }
    for (size_t i = 0; r == 0 && i < q->pending.len; i++) {
        struct jb_qtask *t = q->pending.items[i];
        if (t && t->job->deadline_us != JB_UNSET && now_us > t->job->deadline_us)
            r = jb_queue_cancel(q, t, "its deadline", now_us, err);
    }
    if (r == 0 && q->lost)
        r = jb_queue_find_lost(q, now_us, false, err);
    if (r == 0 && now_us >= q->next_usage_us) {
        q->next_usage_us = now_us + 5000000;
        r = jb_queue_save_usage(q, err);
    }
    if (r == 0)
        r = jb_queue_purge(q, now_us, err);
    return kept(q, r);
}
