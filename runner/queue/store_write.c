/*
 * store_write.c - changes to the store.
 *
 * Owns: see store.h. Runs in: jobboxd. Privilege: the state directory's.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "queue/store_sql.h"

static char *join(const struct jb_strv *list)
{
    struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (size_t i = 0; r == 0 && i < list->len; i++)
        r = jb_buf_printf(&buf, "%s%s", i ? "," : "", list->items[i]);
    if (r == 0)
        return buf.data;
    jb_buf_free(&buf);
    return NULL;
}

int jb_qstore_add_job(struct jb_qstore *store, struct jb_qjob *job, const struct jb_qstore_extra *x,
                      struct jb_error *err)
{
    jb_autofree char *retry_on = join(&job->retry_on);
    if (!retry_on)
        return jb_fail_errno(err, ENOMEM, "the queue's store");
    sqlite3_stmt *s = jb_sql_bind(
        store, JB_SQL_ADD_JOB,
        "uuttttttttt"
        "iudduuuu"
        "uuudu"
        "uuutdttdu",
        (uint64_t)job->uid, (uint64_t)job->gid, x->groups, job->user, x->home, x->cwd, x->env, job->name,
        job->account, x->spec, x->file, job->priority, (uint64_t)job->need.pus, (int)job->need.shared,
        (int)job->need.devices, job->need.memory, job->need.scratch, job->need.pids, job->wall_us,
        job->submitted_us, job->begin_us, job->deadline_us, (int)job->is_array, job->array_limit,
        job->retry_max, job->retry_backoff_us, job->retry_memory_micro, retry_on, (int)job->notify, x->mail,
        x->program, (int)job->own_stdout, (uint64_t)job->n_tasks);
    int r = jb_sql_done(store, s, err);
    if (r < 0)
        return r;
    job->num = (uint64_t)sqlite3_last_insert_rowid(store->db);
    for (size_t i = 0; r == 0 && i < job->n_deps; i++)
        r = jb_sql_done(store,
                        jb_sql_bind(store, JB_SQL_ADD_DEP, "uudd", job->num, job->deps[i].on,
                                    (int)job->deps[i].kind, (int)job->deps[i].met),
                        err);
    return r;
}

int jb_qstore_add_task(struct jb_qstore *store, struct jb_qtask *t, struct jb_error *err)
{
    int r = jb_sql_done(store,
                        jb_sql_bind(store, JB_SQL_ADD_TASK, "uuddu", t->job->num, t->index, (int)t->state,
                                    (int)t->held, t->memory),
                        err);
    if (r == 0)
        t->id = (uint64_t)sqlite3_last_insert_rowid(store->db);
    return r;
}

int jb_qstore_save_task(struct jb_qstore *store, const struct jb_qtask *t, struct jb_error *err)
{
    int ending = t->asked_to_end ? JB_ENDING_CANCEL : t->requeue ? JB_ENDING_REQUEUE : JB_ENDING_NOT;
    return jb_sql_done(store,
                       jb_sql_bind(store, JB_SQL_SAVE_TASK,
                                   "ddduuuutut"
                                   "u",
                                   (int)t->state, (int)t->held, ending, (uint64_t)t->tries, t->eligible_us,
                                   t->not_before_us, t->memory, t->attempt.text[0] ? t->attempt.text : NULL,
                                   t->started_us, t->why, t->id),
                       err);
}

int jb_qstore_save_priority(struct jb_qstore *store, const struct jb_qjob *job, struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_PRIORITY, "iu", job->priority, job->num), err);
}

int jb_qstore_dep_met(struct jb_qstore *store, const struct jb_qjob *job, const struct jb_dep *dep,
                      struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_DEP_MET, "uud", job->num, dep->on, (int)dep->kind),
                       err);
}

int jb_qstore_attempt(struct jb_qstore *store, const struct jb_qtask *t, uint64_t now_us,
                      const struct jb_journal_mark *mark, struct jb_error *err)
{
    return jb_sql_done(store,
                       jb_sql_bind(store, JB_SQL_ATTEMPT, "tuuuuu", t->attempt.text, t->id,
                                   (uint64_t)t->tries, now_us, (uint64_t)mark->month, mark->offset),
                       err);
}

int jb_qstore_attempt_ended(struct jb_qstore *store, const struct jb_id *attempt, const struct jb_end *e,
                            struct jb_error *err)
{
    return jb_sql_done(store,
                       jb_sql_bind(store, JB_SQL_ATTEMPT_ENDED, "utddtrrutt", e->ended_us, e->reason,
                                   e->exit_code, e->signal, e->cpus, e->wall_s, e->cpu_s, e->memory_peak,
                                   e->error, attempt->text),
                       err);
}

int jb_qstore_attempt_undone(struct jb_qstore *store, const struct jb_id *attempt, struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_ATTEMPT_UNDONE, "t", attempt->text), err);
}

int jb_qstore_task_ended(struct jb_qstore *store, const struct jb_qtask *t, const struct jb_end *e,
                         struct jb_error *err)
{
    int r = jb_sql_done(store,
                        jb_sql_bind(store, JB_SQL_TASK_ENDED, "uutddtu", (uint64_t)t->tries, e->ended_us,
                                    e->reason, e->exit_code, e->signal, e->error, t->id),
                        err);
    return r < 0 ? r : jb_sql_done(store, jb_sql_bind(store, JB_SQL_END, "t", e->reason), err);
}

int jb_qstore_event(struct jb_qstore *store, uint64_t num, uint64_t task, uint64_t at_us, const char *what,
                    const char *detail, struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_EVENT, "uuutt", num, task, at_us, what, detail), err);
}

int jb_qstore_event_undone(struct jb_qstore *store, uint64_t num, uint64_t task, const char *detail,
                           struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_EVENT_UNDONE, "uut", num, task, detail), err);
}

int jb_qstore_usage(struct jb_qstore *store, const char *account, const char *user, double used,
                    uint64_t at_us, struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_USAGE, "ttru", account, user, used, at_us), err);
}

int jb_qstore_set(struct jb_qstore *store, const char *key, const char *value, struct jb_error *err)
{
    return jb_sql_done(store, jb_sql_bind(store, JB_SQL_SET, "tt", key, value), err);
}

int jb_qstore_forget(struct jb_qstore *store, const struct jb_old_task *task, struct jb_error *err)
{
    static const enum jb_sql of_task[] = {JB_SQL_FORGET_ATTEMPTS, JB_SQL_FORGET_TASK};
    static const enum jb_sql of_job[] = {JB_SQL_FORGET_DEPS, JB_SQL_FORGET_EVENTS, JB_SQL_FORGET_JOB};
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(of_task); i++)
        r = jb_sql_done(store, jb_sql_bind(store, of_task[i], "u", task->id), err);
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(of_job); i++)
        r = jb_sql_done(store, jb_sql_bind(store, of_job[i], "u", task->job), err);
    return r;
}
