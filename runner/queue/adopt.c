/*
 * adopt.c - beginning: what the store says, what runs, and what ended while nobody was there.
 *
 * Owns: nothing beyond struct jb_queue. Runs in: jobboxd. Privilege: jobboxd's.
 *
 * A task that the store calls running is one of these:
 *   its supervisor lives     it is adopted: its end is seen by its lock, and read from the journal
 *   its record is there      it has ended meanwhile
 *   neither, after a sweep   nothing of the job ever ran: it goes back to the queue as if it had not been started
 * Nothing is started by others meanwhile (jb_nursery_wait_old), so each task runs once.
 *
 * After a power cut the store may have lost what was not flushed: starts and ends. The records of the journal are
 * flushed, each names queue and task, and those that the store does not know are learned from there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/str.h"
#include "job/job.h"
#include "queue/capacity.h"
#include "queue/queue.h"
#include "queue/tail.h"

struct loading {
    struct jb_queue *q;
    struct jb_qjob *job; /* the last one that tasks were for */
};

static int load_job(void *ctx, struct jb_qjob *job)
{
    struct loading *l = ctx;
    int r = jb_fair_find(&l->q->fair, job->account, job->user, &job->share);
    return r < 0 ? r : jb_map_put(&l->q->jobs, job->num, job);
}

static int load_dep(void *ctx, uint64_t num, const struct jb_dep *dep)
{
    struct loading *l = ctx;
    struct jb_qjob *job = jb_map_get(&l->q->jobs, num);
    struct jb_dep *grown = job ? realloc(job->deps, (job->n_deps + 1) * sizeof(*grown)) : NULL;
    if (!grown)
        return job ? -ENOMEM : 0;
    job->deps = grown;
    job->deps[job->n_deps++] = *dep;
    job->unmet += !dep->met;
    return jb_queue_await(l->q, job, dep);
}

static int load_task(void *ctx, uint64_t num, struct jb_qtask *t)
{
    struct loading *l = ctx;
    struct jb_qjob *job = jb_map_get(&l->q->jobs, num);
    if (!job)
        return -EUCLEAN;
    if ((job->n_left & (job->n_left - 1)) == 0) { /* grows at powers of two */
        struct jb_qtask **grown =
            realloc(job->tasks, (job->n_left ? job->n_left * 2 : 1) * sizeof(struct jb_qtask *));
        if (!grown)
            return -ENOMEM;
        job->tasks = grown;
    }
    t->job = job;
    t->at = job->n_left;
    job->tasks[job->n_left++] = t;
    job->n_running += t->state == JB_TASK_RUNNING;
    int r = jb_map_put(&l->q->tasks, t->id, t);
    return r < 0 ? r : jb_qlist_add(t->state == JB_TASK_RUNNING ? &l->q->running : &l->q->pending, t);
}

static int load_usage(void *ctx, const char *account, const char *user, double used, uint64_t at_us)
{
    struct loading *l = ctx;
    uint32_t item;
    int r = jb_fair_find(&l->q->fair, account, user, &item);
    if (r == 0)
        jb_fair_set(&l->q->fair, item, used, at_us);
    return r;
}

static int learn(void *ctx, const json_t *record)
{
    struct jb_queue *q = ctx;
    return jb_fair_learn(&q->fair, record, jb_wall_us(NULL));
}

static int begin_store(struct jb_queue *q, struct jb_error *err)
{
    jb_autofree char *path = jb_asprintf("%s/queue.db", q->state->state_dir);
    jb_autofree char *drained = NULL;
    struct loading loading = {.q = q};
    const struct jb_qstore_loader loader = {&loading, load_job, load_task, load_dep, load_usage};
    struct jb_id id;
    int r = path ? jb_qstore_open(path, &q->store, err) : jb_fail_errno(err, ENOMEM, "the queue");
    if (r == 0)
        r = jb_qstore_get(q->store, "queue", &q->id, err);
    if (r == 0)
        r = jb_qstore_get(q->store, "drained", &drained, err);
    if (r == 0 && drained && *drained)
        q->drained = jb_take_ptr(drained);
    if (r == 0 && !q->id) { /* a new one */
        r = jb_id_new(jb_wall_us(NULL), &id);
        q->id = strdup(id.text);
        if (r == 0)
            r = jb_qstore_begin(q->store, err);
        if (r == 0)
            r = jb_qstore_set(q->store, "queue", q->id, err);
        if (r == 0)
            r = jb_qstore_commit(q->store, true, err);
        const struct jb_journal_mark all = {0};
        if (r == 0) /* fair from the first: who used much before the queue was there stands back */
            r = jb_tail_read(q->state->state_fd, &all, NULL, learn, q, err);
        return r;
    }
    return r == 0 ? jb_qstore_load(q->store, &loader, err) : r;
}

/* --- what ended meanwhile --- */

struct finding {
    struct jb_queue *q;
    uint64_t now_us;
    struct jb_error *err;
};

/* The record of an attempt of ours: the one that is running, or one that the store has lost. */
static int found(void *ctx, const json_t *record)
{
    struct finding *f = ctx;
    struct jb_queue *q = f->q;
    const json_t *ids = json_object_get(json_object_get(record, "origin"), "ids");
    const char *queue = json_string_value(json_object_get(ids, "queue"));
    const char *id = json_string_value(json_object_get(record, "id"));
    json_int_t attempt = json_integer_value(json_object_get(record, "attempt"));
    struct jb_qtask *t = jb_map_get(&q->tasks, (uint64_t)json_integer_value(json_object_get(ids, "task")));
    struct jb_end end;
    if (!t || !queue || !id || !jb_id_valid(id) || !jb_streq(queue, q->id))
        return 0;
    bool known = t->state == JB_TASK_RUNNING && jb_streq(t->attempt.text, id);
    bool forgotten = !known && attempt > (json_int_t)t->tries;
    if ((!known && !forgotten) || (known && t->adopted && !t->lost))
        return 0;
    if (jb_end_from_record(record, &end) < 0)
        return 0;
    JB_CRASH_POINT(record_found);
    int r = jb_queue_begin_change(q, f->err);
    if (r == 0 && forgotten) { /* its start was lost with the power */
        const struct jb_journal_mark mark = {0};
        if (t->state == JB_TASK_PENDING) {
            jb_qlist_remove(&q->pending, t);
            r = jb_qlist_add(&q->running, t);
            t->job->n_running++;
        }
        t->state = JB_TASK_RUNNING;
        t->tries = (uint32_t)attempt;
        (void)snprintf(t->attempt.text, sizeof(t->attempt.text), "%s", id);
        if (r == 0)
            r = jb_qstore_save_task(q->store, t, f->err);
        if (r == 0)
            r = jb_qstore_attempt(q->store, t, f->now_us, &mark, f->err);
    }
    t->lost = false;
    if (r == 0)
        r = jb_queue_attempt_ended(q, t, &end, f->now_us, f->err);
    jb_end_free(&end);
    return r;
}

static int never_began(struct jb_queue *q, struct jb_qtask *t, uint64_t now_us, struct jb_error *err)
{
    struct jb_end end = {.reason = "cancelled",
                         .exit_code = -1,
                         .wall_s = -1,
                         .cpu_s = -1,
                         .memory_peak = JB_UNSET,
                         .ended_us = now_us};
    int r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_attempt_undone(q->store, &t->attempt, err);
    if (r == 0)
        r = jb_queue_event(q, t, now_us, "start_undone", "its supervisor was gone before anything ran", err);
    if (r < 0)
        return r;
    t->lost = t->adopted = t->requeue = false;
    t->tries--;
    t->attempt.text[0] = '\0';
    if (t->asked_to_end)
        return jb_queue_finish(q, t, &end, now_us, err);
    jb_qlist_remove(&q->running, t);
    t->job->n_running--;
    t->state = JB_TASK_PENDING;
    t->started_us = 0;
    q->full_until_us = 0;
    q->dirty = true;
    r = jb_qlist_add(&q->pending, t);
    if (r == 0)
        r = jb_qstore_save_task(q->store, t, err);
    JB_CRASH_POINT(start_undone);
    return r;
}

/* Attempts that are in the ledger: somebody may be recovering them at this moment, with no record yet. */
static int in_ledger(struct jb_queue *q, struct jb_error *err)
{
    struct jb_ledger ledger = {0};
    jb_autofree struct jb_id *dead = NULL;
    size_t n = 0;
    int r = jb_ledger_read(&q->state->ledger, &ledger, err);
    if (r == 0)
        r = jb_ledger_dead(&q->state->ledger, SIZE_MAX, &dead, &n, err);
    for (size_t i = 0; r == 0 && i < q->running.len; i++) {
        struct jb_qtask *t = q->running.items[i];
        if (!t || !t->lost)
            continue;
        t->in_ledger = false;
        for (size_t k = 0; k < ledger.len; k++)
            t->in_ledger = t->in_ledger || jb_streq(ledger.items[k].id.text, t->attempt.text);
        for (size_t k = 0; k < n; k++)
            t->in_ledger = t->in_ledger || jb_streq(dead[k].text, t->attempt.text);
    }
    jb_ledger_free(&ledger);
    return r;
}

int jb_queue_find_lost(struct jb_queue *q, uint64_t now_us, bool swept, struct jb_error *err)
{
    struct finding f = {q, now_us, err};
    struct jb_journal_mark mark;
    bool left = false;
    q->lost = false;
    /* first the ledger, then the journal: a record is there before the box has left the ledger */
    int r = in_ledger(q, err);
    if (r == 0)
        r = jb_qstore_oldest_mark(q->store, &mark, err);
    if (r == 0)
        r = jb_tail_read(q->state->state_fd, &mark, q->id, found, &f, err);
    for (size_t i = 0; r == 0 && i < q->running.len; i++) {
        struct jb_qtask *t = q->running.items[i];
        if (!t || !t->lost)
            continue;
        if (swept && t->swept_for && !t->in_ledger)
            r = never_began(q, t, now_us, err);
        else
            left = true;
    }
    if (r < 0) {
        q->broken = true;
        return r;
    }
    if (left && !q->sweeping) {
        q->sweeping = true;
        for (size_t i = 0; i < q->running.len; i++)
            if (q->running.items[i])
                q->running.items[i]->swept_for = q->running.items[i]->lost;
        (void)json_array_append_new(q->launches, json_pack("{s:s}", "do", "sweep"));
    }
    q->lost = left;
    return 0;
}

int jb_queue_adopt(struct jb_queue *q, uint64_t now_us, struct jb_error *err)
{
    struct finding f = {q, now_us, err};
    jb_autofree char *text = NULL;
    struct jb_journal_mark mark = {0};
    for (size_t i = 0; i < q->running.len; i++) {
        struct jb_qtask *t = q->running.items[i];
        int lives = jb_supervisor_lives(q->state->runtime_fd, t->id);
        if (lives < 0)
            return jb_fail_errno(err, lives, JB_LOCKS_NAME);
        t->adopted = lives > 0;
        t->lost = !t->adopted;
        q->lost = q->lost || t->lost;
    }
    JB_CRASH_POINT(supervisors_seen);
    /* boxes that died with their supervisors, also before a restart of the host: their records come first */
    (void)jb_sweep(q->state, q->site, NULL);
    JB_CRASH_POINT(queue_swept);
    int r = jb_qstore_get(q->store, "mark", &text, err);
    if (r == 0 && text)
        /* NOLINTNEXTLINE(cert-err34-c): our own text */
        (void)sscanf(text, "%u:%llu", &mark.month, (unsigned long long *)&mark.offset);
    if (r == 0 && q->tasks.len > 0)
        r = jb_tail_read(q->state->state_fd, &mark, q->id, found, &f, err);
    for (size_t i = 0; r == 0 && i < q->running.len; i++) {
        struct jb_qtask *t = q->running.items[i];
        if (t && t->lost)
            t->swept_for = true;
    }
    return r == 0 ? jb_queue_find_lost(q, now_us, true, err) : r;
}

int jb_queue_begin(struct jb_queue *q, const struct jb_site *site, struct jb_state *state,
                   const struct jb_submitter *self, struct jb_error *err)
{
    *q = (struct jb_queue){.site = site,
                           .state = state,
                           .self = self,
                           .nursery = JB_NURSERY_INIT,
                           .wake_us = JB_UNSET,
                           .dirty = true};
    q->fair.site = site;
    q->launches = json_array();
    int r = jb_queue_look_at_machine(q, err);
    if (r == 0)
        r = jb_nursery_wait_old(state->runtime_fd, err);
    JB_CRASH_POINT(daemon_alone);
    if (r == 0) /* before there is much to copy */
        r = jb_nursery_begin(site, state, self, &q->nursery, err);
    if (r < 0)
        return r;
    JB_CRASH_POINT(nursery_made);
    r = begin_store(q, err);
    JB_CRASH_POINT(store_read);
    if (r == 0)
        r = jb_queue_adopt(q, jb_wall_us(NULL), err);
    JB_CRASH_POINT(queue_adopted);
    if (r == 0) {
        q->durable = true;
        r = jb_queue_commit(q, err);
    }
    return r;
}

void jb_queue_end(struct jb_queue *q)
{
    struct jb_qjob *job;
    jb_nursery_end(&q->nursery);
    jb_qstore_close(q->store);
    for (size_t at = 0; (job = jb_map_next(&q->jobs, &at));)
        jb_qjob_free(job);
    jb_map_free(&q->jobs);
    jb_map_free(&q->tasks);
    jb_queue_await_free(q);
    free(q->pending.items);
    free(q->running.items);
    jb_fair_free(&q->fair);
    jb_budgets_free(&q->budgets);
    jb_machine_free(&q->machine);
    json_decref(q->launches);
    free(q->id);
    free(q->drained);
    *q = (struct jb_queue){.nursery = JB_NURSERY_INIT};
}
