/*
 * store.h - the jobs of a queue on disk: SQLite, in the state directory.
 *
 * Owns: the connection and its statements. Runs in: jobboxd, which is the only writer. Privilege: the state directory's.
 *
 * Everything happens in transactions: jb_qstore_begin, changes, jb_qstore_commit. A durable commit is on the disk when it
 * returns; one that is not survives the death of the daemon, and may be lost with the power: then the journal of records
 * says what was started and how it ended (queue/adopt.h). A function that fails leaves the transaction to be rolled back
 * as a whole: memory and disk would differ otherwise, so the daemon ends and begins anew from the disk.
 */
#ifndef JB_QUEUE_STORE_H
#define JB_QUEUE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "queue/task.h"

struct jb_qstore;

/* `path`: the file; made when absent, mode 0600. A file of a newer version is refused (-ENOTSUP). */
int jb_qstore_open(const char *path, struct jb_qstore **ret, struct jb_error *err);
void jb_qstore_close(struct jb_qstore *store);

int jb_qstore_begin(struct jb_qstore *store, struct jb_error *err); /* nothing when one is open */
int jb_qstore_commit(struct jb_qstore *store, bool durable, struct jb_error *err);
bool jb_qstore_dirty(const struct jb_qstore *store); /* a transaction is open */

/* What is kept of a job beside what struct jb_qjob has: all that its supervisor needs. */
struct jb_qstore_extra {
    char *spec; /* its text */
    char *file; /* the name it was given */
    char *home;
    char *cwd;
    char *groups;  /* "4,20" */
    char *env;     /* JSON list of KEY=value, those that pass_env names */
    char *mail;    /* NULL: none */
    char *program; /* JSON list; NULL: none */
};
void jb_qstore_extra_free(struct jb_qstore_extra *extra);

/* Gives the job its number. */
int jb_qstore_add_job(struct jb_qstore *store, struct jb_qjob *job, const struct jb_qstore_extra *extra,
                      struct jb_error *err);
/* Gives the task its id. */
int jb_qstore_add_task(struct jb_qstore *store, struct jb_qtask *task, struct jb_error *err);
int jb_qstore_get_extra(struct jb_qstore *store, uint64_t num, struct jb_qstore_extra *ret,
                        struct jb_error *err);
/* Of that what telling somebody needs: home, groups, mail, program. It is asked for with each task that ends. */
int jb_qstore_get_notify(struct jb_qstore *store, uint64_t num, struct jb_qstore_extra *ret,
                         struct jb_error *err);

/* The task as it is now: state, flags, tries, times, attempt, why. */
int jb_qstore_save_task(struct jb_qstore *store, const struct jb_qtask *task, struct jb_error *err);
int jb_qstore_save_priority(struct jb_qstore *store, const struct jb_qjob *job, struct jb_error *err);
int jb_qstore_dep_met(struct jb_qstore *store, const struct jb_qjob *job, const struct jb_dep *dep,
                      struct jb_error *err);

/* An attempt begins: where the journal ended then, so that its record can be looked for from there on. */
struct jb_journal_mark {
    unsigned month; /* 202601 */
    uint64_t offset;
};
int jb_qstore_attempt(struct jb_qstore *store, const struct jb_qtask *task, uint64_t now_us,
                      const struct jb_journal_mark *mark, struct jb_error *err);

/* How an attempt ended: from its record, or why there is none. */
struct jb_end {
    char reason[24];      /* of the record; "refused": the job itself cannot be; "cancelled" */
    int exit_code;        /* -1: none */
    int signal;           /* 0: none */
    char *error;          /* owned; NULL: none */
    char *cpus;           /* owned; granted; NULL */
    double wall_s, cpu_s; /* < 0: not known */
    uint64_t memory_peak; /* JB_UNSET */
    uint64_t cpu_count;
    uint64_t ended_us;
};
void jb_end_free(struct jb_end *end);
json_t *jb_end_to_json(const struct jb_end *end);
int jb_end_from_json(const json_t *json, struct jb_end *ret);
/* From a record of the journal. */
int jb_end_from_record(const json_t *record, struct jb_end *ret);

int jb_qstore_attempt_ended(struct jb_qstore *store, const struct jb_id *attempt, const struct jb_end *end,
                            struct jb_error *err);
/* The attempt never began: it is forgotten. */
int jb_qstore_attempt_undone(struct jb_qstore *store, const struct jb_id *attempt, struct jb_error *err);
/* The task is over. */
int jb_qstore_task_ended(struct jb_qstore *store, const struct jb_qtask *task, const struct jb_end *end,
                         struct jb_error *err);

int jb_qstore_event(struct jb_qstore *store, uint64_t num, uint64_t task, uint64_t at_us, const char *what,
                    const char *detail, struct jb_error *err);
/* It was not so after all: a late one of the task, by its detail. */
int jb_qstore_event_undone(struct jb_qstore *store, uint64_t num, uint64_t task, const char *detail,
                           struct jb_error *err);
int jb_qstore_usage(struct jb_qstore *store, const char *account, const char *user, double used,
                    uint64_t at_us, struct jb_error *err);

/* Tasks that ended before `before_us`, of jobs of which nothing is left or ended later; the longest ended first. */
struct jb_old_task {
    uint64_t id, job;
};
int jb_qstore_old(struct jb_qstore *store, uint64_t before_us, struct jb_old_task *ret, size_t max,
                  size_t *ret_n, struct jb_error *err);
/* The task and its attempts; with a job's last task the job. */
int jb_qstore_forget(struct jb_qstore *store, const struct jb_old_task *task, struct jb_error *err);

/* Settings: small facts about the queue itself. *ret: the caller's; NULL when there is none. */
int jb_qstore_set(struct jb_qstore *store, const char *key, const char *value, struct jb_error *err);
int jb_qstore_get(struct jb_qstore *store, const char *key, char **ret, struct jb_error *err);

/* Everything that has not ended, jobs before their tasks. What is handed over is the callee's. */
struct jb_qstore_loader {
    void *ctx;
    int (*job)(void *ctx, struct jb_qjob *job);
    int (*task)(void *ctx, uint64_t num, struct jb_qtask *task);
    int (*dep)(void *ctx, uint64_t num, const struct jb_dep *dep);
    int (*usage)(void *ctx, const char *account, const char *user, double used, uint64_t at_us);
};
int jb_qstore_load(struct jb_qstore *store, const struct jb_qstore_loader *loader, struct jb_error *err);

/* Where the journal ended when the oldest attempt that has not ended began; month 0: there is none. */
int jb_qstore_oldest_mark(struct jb_qstore *store, struct jb_journal_mark *ret, struct jb_error *err);

/* For dependencies on a job that may have ended: how many tasks it had, how many ended well. -ENOENT. */
int jb_qstore_outcome(struct jb_qstore *store, uint64_t num, uint64_t *ret_tasks, uint64_t *ret_left,
                      uint64_t *ret_bad, uid_t *ret_uid, struct jb_error *err);

/* Whose job it is, also when it has ended: without a look at its tasks. -ENOENT. */
int jb_qstore_owner(struct jb_qstore *store, uint64_t num, uid_t *ret, struct jb_error *err);
/* How the first of a job's tasks that ended otherwise than completed did; no reason: none. Nothing of it is to be freed. */
int jb_qstore_first_bad(struct jb_qstore *store, uint64_t num, struct jb_end *ret, struct jb_error *err);
/* The task of an array by its index. -ENOENT. */
int jb_qstore_task_of(struct jb_qstore *store, uint64_t num, uint64_t index, uint64_t *ret,
                      struct jb_error *err);

/*
 * Which task an attempt's id (or the beginning of it, at least 8 characters) belongs to, among those of `uid`, or with
 * JB_UNSET of everybody. -ENOENT, -ENOTUNIQ.
 */
int jb_qstore_find_attempt(struct jb_qstore *store, const char *prefix, uint64_t uid, uint64_t *ret_num,
                           uint64_t *ret_task, struct jb_error *err);

/* Tasks as JSON for people, newest first: at most `limit`, numbers below `before`. uid JB_UNSET: everybody's. */
struct jb_qstore_query {
    uint64_t uid;
    uint64_t num;     /* JB_UNSET: any */
    uint64_t task;    /* JB_UNSET: any */
    const char *name; /* NULL: any */
    const char *user; /* NULL: any */
    int state;        /* enum jb_task_state, -1: any */
    uint64_t before;  /* JB_UNSET: from the newest on */
    uint64_t limit;
};
int jb_qstore_list(struct jb_qstore *store, const struct jb_qstore_query *query, json_t **ret,
                   struct jb_error *err);
int jb_qstore_attempts(struct jb_qstore *store, uint64_t task, json_t **ret, struct jb_error *err);
/* Attempts of a task that is not over and were cancelled: so it is with those that requeue ended. */
int jb_qstore_requeues(struct jb_qstore *store, uint64_t task, uint64_t *ret, struct jb_error *err);
int jb_qstore_events(struct jb_qstore *store, uint64_t num, json_t **ret, struct jb_error *err);
/* Ends by reason. */
int jb_qstore_ends(struct jb_qstore *store, json_t **ret, struct jb_error *err);

#endif
