/*
 * depend.c - jobs that wait for the end of others.
 *
 * Owns: the lists of who waits for whom, of a struct jb_queue. Runs in: jobboxd. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "queue/queue.h"

struct jb_waiters {
    uint64_t *nums; /* of jobs; some may be over by now */
    size_t n, cap;
};

const char *jb_dep_name(enum jb_dep_kind kind)
{
    static const char *const names[] = {"success", "failure", "any", "singleton"};
    return (unsigned)kind < JB_DEP_MAX ? names[kind] : NULL;
}

static void free_waiters(struct jb_waiters *waiters)
{
    free(waiters->nums);
    free(waiters);
}

int jb_queue_await(struct jb_queue *q, const struct jb_qjob *job, const struct jb_dep *dep)
{
    struct jb_waiters *w = jb_map_get(&q->awaited, dep->on);
    if (dep->met)
        return 0;
    if (!w) {
        w = calloc(1, sizeof(*w));
        int r = w ? jb_map_put(&q->awaited, dep->on, w) : -ENOMEM;
        if (r < 0) {
            free(w);
            return r;
        }
    }
    if (w->n > 0 && w->nums[w->n - 1] == job->num) /* named twice */
        return 0;
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 4;
        uint64_t *grown = realloc(w->nums, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        w->nums = grown;
        w->cap = cap;
    }
    w->nums[w->n++] = job->num;
    return 0;
}

void jb_queue_await_free(struct jb_queue *q)
{
    struct jb_waiters *w;
    for (size_t at = 0; (w = jb_map_next(&q->awaited, &at));)
        free_waiters(w);
    jb_map_free(&q->awaited);
    free(jb_take_ptr(q->over));
}

/* A dependency on `job`, which is over. */
static bool comes_true(const struct jb_dep *dep, bool bad)
{
    return dep->kind == JB_DEP_ANY || dep->kind == JB_DEP_SINGLETON || (dep->kind == JB_DEP_FAILURE) == bad;
}

static int doom(struct jb_queue *q, struct jb_qjob *job, const struct jb_dep *dep, uint64_t now_us,
                struct jb_error *err)
{
    int r = 0;
    while (r == 0 && job->n_left > 0) {
        struct jb_qtask *t = job->tasks[job->n_left - 1];
        bool last = job->n_left == 1;
        struct jb_end end = {.reason = "cancelled",
                             .exit_code = -1,
                             .wall_s = -1,
                             .cpu_s = -1,
                             .memory_peak = JB_UNSET,
                             .ended_us = now_us};
        end.error = jb_asprintf("it waited for the %s of job %llu, which can not come any more",
                                jb_dep_name(dep->kind), (unsigned long long)dep->on);
        r = jb_queue_finish(q, t, &end, now_us, err);
        jb_end_free(&end);
        if (last) /* the job is gone with it */
            break;
    }
    return r;
}

/* What the end of `num` is to one job that waits for it. */
static int tell(struct jb_queue *q, struct jb_qjob *job, const struct jb_over *over, uint64_t now_us,
                struct jb_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < job->n_deps; i++) {
        struct jb_dep *dep = &job->deps[i];
        if (dep->on != over->num || dep->met)
            continue;
        if (!comes_true(dep, over->bad)) {
            const struct jb_dep copy = *dep;
            return doom(q, job, &copy, now_us, err);
        }
        dep->met = true;
        job->unmet--;
        q->dirty = true;
        r = jb_qstore_dep_met(q->store, job, dep, err);
    }
    return r;
}

/* Numbers, not jobs: those go meanwhile. */
static int tell_dependents(struct jb_queue *q, const struct jb_over *over, uint64_t now_us,
                           struct jb_error *err)
{
    struct jb_waiters *waiters = jb_map_get(&q->awaited, over->num);
    int r = 0;
    if (!waiters)
        return 0;
    jb_map_remove(&q->awaited, over->num);
    for (size_t i = 0; r == 0 && i < waiters->n; i++) {
        struct jb_qjob *job = jb_map_get(&q->jobs, waiters->nums[i]);
        r = job ? tell(q, job, over, now_us, err) : 0;
    }
    free_waiters(waiters);
    return r;
}

/* One end may be that of others, and theirs of more: one after the other, however long the chain is. */
int jb_queue_tell(struct jb_queue *q, const struct jb_over *over, uint64_t now_us, struct jb_error *err)
{
    if (!jb_map_get(&q->awaited, over->num))
        return 0;
    struct jb_over *grown = realloc(q->over, (q->n_over + 1) * sizeof(*grown));
    int r = 0;
    if (!grown)
        return jb_fail_errno(err, ENOMEM, "the queue");
    q->over = grown;
    q->over[q->n_over++] = *over;
    if (q->telling)
        return 0;
    q->telling = true;
    while (r == 0 && q->n_over > 0) {
        const struct jb_over next = q->over[--q->n_over];
        r = tell_dependents(q, &next, now_us, err);
    }
    q->telling = false;
    return r;
}
