/*
 * retry.c - whether what has ended is tried again: how often, how long after, with how much memory.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's.
 */
#include <stdio.h>

#include "base/str.h"
#include "queue/queue.h"

#define BACKOFF_MAX_US UINT64_C(86400000000)

static bool is_wanted(const struct jb_qtask *t, const struct jb_end *end)
{
    const struct jb_qjob *job = t->job;
    char code[16];
    (void)snprintf(code, sizeof(code), "exit:%d", end->exit_code);
    return !t->asked_to_end && job->retry_max != JB_UNSET &&
           (jb_strv_has(&job->retry_on, end->reason) ||
            (jb_streq(end->reason, "failed") && jb_strv_has(&job->retry_on, code)));
}

static uint64_t backoff(const struct jb_qjob *job, uint64_t retry)
{
    unsigned doublings = retry - 1 < 20 ? (unsigned)(retry - 1) : 20;
    uint64_t wait = job->retry_backoff_us;
    return wait > BACKOFF_MAX_US >> doublings ? BACKOFF_MAX_US : wait << doublings;
}

/* What was too little is made more, as far as the site and the machine go. */
static void grow_memory(const struct jb_queue *q, struct jb_qtask *t)
{
    uint64_t was = t->memory != JB_UNSET ? t->memory : t->job->need.memory;
    if (t->job->retry_memory_micro == JB_UNSET || was == 0)
        return;
    double more = (double)was * ((double)t->job->retry_memory_micro / 1e6);
    uint64_t most = q->machine.memory ? q->machine.memory : UINT64_C(1) << 62;
    if (q->site->memory.max < most)
        most = q->site->memory.max;
    t->memory = more > (double)most ? most : (uint64_t)more;
}

int jb_queue_retry(struct jb_queue *q, struct jb_qtask *t, const struct jb_end *end, bool *ret_again,
                   uint64_t *ret_wait_us, struct jb_error *err)
{
    uint64_t requeues = 0;
    bool wanted = is_wanted(t, end);
    int r = wanted ? jb_qstore_requeues(q->store, t->id, &requeues, err) : 0;
    if (r < 0)
        return r;
    uint64_t retry = t->tries > requeues ? t->tries - requeues : 1;
    *ret_again = wanted && retry <= t->job->retry_max;
    *ret_wait_us = *ret_again ? backoff(t->job, retry) : 0;
    if (*ret_again && jb_streq(end->reason, "oom"))
        grow_memory(q, t);
    return 0;
}
