/*
 * queue.h - the queue itself: jobs and tasks in memory, and what happens to them.
 *
 * Owns: everything of a struct jb_queue. Runs in: jobboxd, one thread. Privilege: jobboxd's.
 *
 * Memory follows the store: each change is made in both, in the transaction of the present turn of the daemon's loop,
 * and nothing leaves the daemon (no answer, no start) before that is committed. A change that the store refuses cannot
 * be taken back in memory: *err is set, `broken` too, and the daemon ends and begins anew from the disk.
 */
#ifndef JB_QUEUE_QUEUE_H
#define JB_QUEUE_QUEUE_H

#include <jansson.h>

#include "job/state.h"
#include "machine/machine.h"
#include "queue/budgets.h"
#include "queue/fair.h"
#include "queue/launch.h"
#include "queue/map.h"
#include "queue/store.h"
#include "queue/task.h"

/* A list whose members know their places; NULL where one was taken out. */
struct jb_qlist {
    struct jb_qtask **items;
    size_t len, cap, holes;
};

/* A job that is over, and how: others may wait for it. */
struct jb_over {
    uint64_t num;
    bool bad;
};

struct jb_queue_counts {
    uint64_t submitted, started, passes;
    double wait_s; /* of those started */
    double pass_s;
};

struct jb_queue {
    const struct jb_site *site;
    struct jb_state *state;
    const struct jb_submitter *self;
    struct jb_qstore *store;
    struct jb_machine machine;
    uint32_t pus, threads; /* hardware threads in all, and of a core */
    struct jb_nursery nursery;
    struct jb_fair fair;
    struct jb_budgets budgets;
    struct jb_map jobs, tasks; /* by number, by id */
    struct jb_map awaited;     /* by number: who waits for its end (depend.c) */
    struct jb_over *over;      /* whose dependents are still to be told */
    size_t n_over;
    bool telling;
    struct jb_qlist pending, running;
    char *id;      /* of this queue, in records */
    char *drained; /* why; NULL: it starts jobs */
    bool stopping; /* starts nothing more */
    bool dirty;    /* somebody may be able to start */
    bool durable;  /* this turn's commit has to be on the disk before its answers go out */
    bool broken;
    bool lost; /* a running task's supervisor is gone, and its end is not known yet */
    bool sweeping;
    uint64_t next_sort_us, next_mark_us, next_tick_us, next_usage_us, next_purge_us;
    uint64_t full_until_us; /* until then no pass is worth its while; 0: not known */
    uint64_t wake_us;       /* when the next pass may start somebody; JB_UNSET: nothing known */
    json_t *launches;       /* requests for the nursery, to be sent after the commit */
    struct jb_queue_counts counts;
    void (*ended)(void *ctx, const struct jb_qtask *task, const struct jb_end *end);
    void *ended_ctx;
};

/* Opens the store, loads it, begins the nursery and takes over what runs. */
int jb_queue_begin(struct jb_queue *q, const struct jb_site *site, struct jb_state *state,
                   const struct jb_submitter *self, struct jb_error *err);
void jb_queue_end(struct jb_queue *q);

/* What is submitted; owns nothing. */
struct jb_submission {
    const char *spec; /* text */
    size_t spec_len;
    const char *file;
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
    const char *user, *home, *cwd;
    const json_t *env; /* list of KEY=value, or NULL */
    bool hold;
    bool has_priority;
    int64_t priority; /* instead of the spec's; who may raise it decides the caller */
    bool one_index;   /* of an array only the task with ... */
    uint64_t index;
};
/*
 * -EINVAL: the spec; its complaints, a line each, are *ret_diags (caller frees). -EPERM: the site's policy or limits.
 * -ENOENT: a dependency. On success *ret_job is in the queue.
 */
int jb_queue_submit(struct jb_queue *q, const struct jb_submission *s, uint64_t now_us,
                    struct jb_qjob **ret_job, char **ret_diags, struct jb_error *err);

int jb_queue_cancel(struct jb_queue *q, struct jb_qtask *task, const char *who, uint64_t now_us,
                    struct jb_error *err);
int jb_queue_hold(struct jb_queue *q, struct jb_qtask *task, bool hold, const char *who, uint64_t now_us,
                  struct jb_error *err);
int jb_queue_priority(struct jb_queue *q, struct jb_qjob *job, int64_t priority, const char *who,
                      uint64_t now_us, struct jb_error *err);
/* Ends what runs and puts it back, or puts back what has ended. */
int jb_queue_requeue(struct jb_queue *q, struct jb_qtask *task, const char *who, uint64_t now_us,
                     struct jb_error *err);
int jb_queue_drain(struct jb_queue *q, const char *why, struct jb_error *err); /* NULL: no more */

/* Whether the box of an adopted task has heard that it is to end. */
void jb_queue_asked(struct jb_queue *q, uint64_t task, bool heard);
/* An answer of the nursery. */
int jb_queue_heard(struct jb_queue *q, const json_t *answer, uint64_t now_us, struct jb_error *err);

/* Time goes by: deadlines, adopted tasks, boxes of others. Then, when somebody may start, a pass. */
int jb_queue_tick(struct jb_queue *q, uint64_t now_us, struct jb_error *err);
/* Some of the jobs that ended longer ago than the site keeps them, with what they wrote, are forgotten. */
int jb_queue_purge(struct jb_queue *q, uint64_t now_us, struct jb_error *err);
int jb_queue_pass(struct jb_queue *q, uint64_t now_us, struct jb_error *err);
/* Nothing to do and nothing to wait for. */
bool jb_queue_idle(const struct jb_queue *q);
/* The wall clock was set back by so much: looks and attempts that were put off by it do not wait for that time again. */
void jb_queue_clock_back(struct jb_queue *q, uint64_t by_us);

/* What accounts and users have used, as far as the store does not have it yet; some seconds' worth at most. */
int jb_queue_save_usage(struct jb_queue *q, struct jb_error *err);

/* Commits; then tells the nursery. */
int jb_queue_commit(struct jb_queue *q, struct jb_error *err);

/*
 * Why tasks that have not ended do not start, and when they may: {"why", "text", "start", "ahead", ...} of each in `ret`,
 * which has room for n; the caller's. All in one look at all that waits.
 */
int jb_queue_explain(struct jb_queue *q, struct jb_qtask *const *tasks, size_t n, uint64_t now_us,
                     json_t **ret, struct jb_error *err);

/* --- inside --- */

int jb_qlist_add(struct jb_qlist *list, struct jb_qtask *task);
/* Whoever wants to know that it has begun is told, once. */
void jb_queue_begun(struct jb_queue *q, struct jb_qtask *task);
void jb_qlist_remove(struct jb_qlist *list, struct jb_qtask *task);
void jb_qlist_pack(struct jb_qlist *list);

/*
 * retry.c. Whether an attempt that ended so, for its own reasons, is followed by another one, and how long after. The
 * task's memory grows where it is to. What requeue put back does not count as a retry.
 */
int jb_queue_retry(struct jb_queue *q, struct jb_qtask *t, const struct jb_end *end, bool *ret_again,
                   uint64_t *ret_wait_us, struct jb_error *err);
int jb_queue_begin_change(struct jb_queue *q, struct jb_error *err);
int jb_queue_event(struct jb_queue *q, const struct jb_qtask *task, uint64_t now_us, const char *what,
                   const char *detail, struct jb_error *err);
/* The task is over: out of memory with it, and its job when that was the last one. */
int jb_queue_finish(struct jb_queue *q, struct jb_qtask *task, const struct jb_end *end, uint64_t now_us,
                    struct jb_error *err);
/* An attempt of it has ended as its record says: another one, or the end. */
int jb_queue_attempt_ended(struct jb_queue *q, struct jb_qtask *task, const struct jb_end *end,
                           uint64_t now_us, struct jb_error *err);
/* Puts a new job with its tasks into memory. Owns `job` from success on. */
int jb_queue_add(struct jb_queue *q, struct jb_qjob *job);
void jb_qjob_free(struct jb_qjob *job);
void jb_qtask_free(struct jb_qtask *task);
/* depend.c. Notes that the job waits for another. -ENOMEM. */
int jb_queue_await(struct jb_queue *q, const struct jb_qjob *job, const struct jb_dep *dep);
/* A job is over: those that wait for it may start, or cannot any more and are over too. */
int jb_queue_tell(struct jb_queue *q, const struct jb_over *over, uint64_t now_us, struct jb_error *err);
void jb_queue_await_free(struct jb_queue *q);
/* adopt.c */
int jb_queue_adopt(struct jb_queue *q, uint64_t now_us, struct jb_error *err);
int jb_queue_find_lost(struct jb_queue *q, uint64_t now_us, bool swept, struct jb_error *err);
/* notify.c */
void jb_queue_notify(struct jb_queue *q, const struct jb_qtask *task, enum jb_notify_on what,
                     const struct jb_end *end);

#endif
