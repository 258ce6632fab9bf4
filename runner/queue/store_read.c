/*
 * store_read.c - what is in the store: all that has not ended, and lists for people.
 *
 * Owns: see store.h. Runs in: jobboxd. Privilege: the state directory's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "queue/store_sql.h"

static uint64_t number(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? JB_UNSET : (uint64_t)sqlite3_column_int64(s, i);
}

/* An unknown moment is 0 in memory. */
static uint64_t moment(sqlite3_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s, i);
}

static const char *text(sqlite3_stmt *s, int i)
{
    return (const char *)sqlite3_column_text(s, i);
}

static char *copy(sqlite3_stmt *s, int i)
{
    const char *t = text(s, i);
    return t ? strdup(t) : NULL;
}

/* Calls row() for each row of a bound statement. */
static int each(struct jb_qstore *store, sqlite3_stmt *s, int (*row)(void *ctx, sqlite3_stmt *s), void *ctx,
                struct jb_error *err)
{
    int step = SQLITE_ERROR;
    int r = 0;
    while (s && r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW)
        r = row(ctx, s);
    if (r == 0 && step != SQLITE_DONE)
        r = jb_sql_fail(store, err);
    else if (r < 0 && err && !err->errnum)
        (void)jb_fail_errno(err, r, "reading the queue's store");
    if (s)
        (void)sqlite3_reset(s);
    return r;
}

static int one_value(void *ctx, sqlite3_stmt *s)
{
    char **ret = ctx;
    *ret = copy(s, 0);
    return 0;
}

int jb_qstore_get(struct jb_qstore *store, const char *key, char **ret, struct jb_error *err)
{
    *ret = NULL;
    return each(store, jb_sql_bind(store, JB_SQL_GET, "t", key), one_value, ret, err);
}

void jb_qstore_extra_free(struct jb_qstore_extra *x)
{
    char **const all[] = {&x->spec, &x->file, &x->home, &x->cwd, &x->groups, &x->env, &x->mail, &x->program};
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        free(jb_take_ptr(*all[i]));
}

static int extra_row(void *ctx, sqlite3_stmt *s)
{
    struct jb_qstore_extra *x = ctx;
    char **const all[] = {&x->spec, &x->file, &x->home, &x->cwd, &x->groups, &x->env, &x->mail, &x->program};
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++)
        *all[i] = copy(s, (int)i);
    return 0;
}

int jb_qstore_get_extra(struct jb_qstore *store, uint64_t num, struct jb_qstore_extra *ret,
                        struct jb_error *err)
{
    struct jb_qstore_extra x = {0};
    int r = each(store, jb_sql_bind(store, JB_SQL_EXTRA, "u", num), extra_row, &x, err);
    if (r == 0 && !x.spec)
        r = jb_fail(err, ENOENT, "the queue's store has no job %llu", (unsigned long long)num);
    if (r < 0)
        jb_qstore_extra_free(&x);
    else
        *ret = x;
    return r;
}

int jb_qstore_get_notify(struct jb_qstore *store, uint64_t num, struct jb_qstore_extra *ret,
                         struct jb_error *err)
{
    *ret = (struct jb_qstore_extra){0};
    int r = each(store, jb_sql_bind(store, JB_SQL_NOTIFY, "u", num), extra_row, ret, err);
    if (r < 0)
        jb_qstore_extra_free(ret);
    return r;
}

static int job_row(void *ctx, sqlite3_stmt *s)
{
    const struct jb_qstore_loader *l = ctx;
    struct jb_qjob *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    j->num = number(s, 0);
    j->uid = (uid_t)number(s, 1);
    j->gid = (gid_t)number(s, 2);
    j->user = copy(s, 3);
    j->name = copy(s, 4);
    j->account = copy(s, 5);
    j->priority = sqlite3_column_int64(s, 6);
    j->need = (struct jb_need){
        .pus = (uint32_t)moment(s, 7),
        .shared = sqlite3_column_int(s, 8),
        .devices = sqlite3_column_int(s, 9),
        .memory = moment(s, 10),
        .scratch = moment(s, 11),
        .pids = moment(s, 12),
    };
    j->wall_us = number(s, 13);
    j->submitted_us = moment(s, 14);
    j->begin_us = moment(s, 15);
    j->deadline_us = number(s, 16);
    j->is_array = sqlite3_column_int(s, 17);
    j->array_limit = number(s, 18);
    j->retry_max = number(s, 19);
    j->retry_backoff_us = moment(s, 20);
    j->retry_memory_micro = number(s, 21);
    const char *on = text(s, 22);
    while (on && *on) {
        size_t n = strcspn(on, ",");
        if (jb_strv_addn(&j->retry_on, on, n) < 0)
            return -ENOMEM;
        on += n + (on[n] == ',');
    }
    j->notify = (unsigned)sqlite3_column_int(s, 23);
    j->own_stdout = sqlite3_column_int(s, 24);
    j->n_tasks = (size_t)moment(s, 25);
    j->n_bad = (size_t)moment(s, 26);
    return l->job(l->ctx, j);
}

static int task_row(void *ctx, sqlite3_stmt *s)
{
    const struct jb_qstore_loader *l = ctx;
    struct jb_qtask *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->id = number(s, 1);
    t->index = number(s, 2);
    t->state = (enum jb_task_state)sqlite3_column_int(s, 3);
    t->held = sqlite3_column_int(s, 4);
    t->asked_to_end = sqlite3_column_int(s, 5) == JB_ENDING_CANCEL;
    t->requeue = sqlite3_column_int(s, 5) == JB_ENDING_REQUEUE;
    t->tries = (uint32_t)sqlite3_column_int(s, 6);
    t->eligible_us = moment(s, 7);
    t->not_before_us = moment(s, 8);
    t->memory = number(s, 9);
    if (text(s, 10))
        (void)snprintf(t->attempt.text, sizeof(t->attempt.text), "%s", text(s, 10));
    t->started_us = moment(s, 11);
    t->why = copy(s, 12);
    return l->task(l->ctx, number(s, 0), t);
}

static int dep_row(void *ctx, sqlite3_stmt *s)
{
    const struct jb_qstore_loader *l = ctx;
    const struct jb_dep dep = {.on = number(s, 1),
                               .kind = (enum jb_dep_kind)sqlite3_column_int(s, 2),
                               .met = sqlite3_column_int(s, 3)};
    return l->dep(l->ctx, number(s, 0), &dep);
}

static int usage_row(void *ctx, sqlite3_stmt *s)
{
    const struct jb_qstore_loader *l = ctx;
    return l->usage(l->ctx, text(s, 0), text(s, 1), sqlite3_column_double(s, 2), moment(s, 3));
}

int jb_qstore_load(struct jb_qstore *store, const struct jb_qstore_loader *loader, struct jb_error *err)
{
    void *ctx = (void *)loader;
    int r = each(store, jb_sql_get(store, JB_SQL_USAGES), usage_row, ctx, err);
    if (r == 0)
        r = each(store, jb_sql_get(store, JB_SQL_JOBS), job_row, ctx, err);
    if (r == 0)
        r = each(store, jb_sql_get(store, JB_SQL_DEPS), dep_row, ctx, err);
    if (r == 0)
        r = each(store, jb_sql_get(store, JB_SQL_TASKS), task_row, ctx, err);
    return r;
}

static int mark_row(void *ctx, sqlite3_stmt *s)
{
    struct jb_journal_mark *mark = ctx;
    mark->month = (unsigned)sqlite3_column_int(s, 0);
    mark->offset = moment(s, 1);
    return 0;
}

int jb_qstore_oldest_mark(struct jb_qstore *store, struct jb_journal_mark *ret, struct jb_error *err)
{
    *ret = (struct jb_journal_mark){0};
    return each(store, jb_sql_get(store, JB_SQL_MARK), mark_row, ret, err);
}

static int outcome_row(void *ctx, sqlite3_stmt *s)
{
    uint64_t *o = ctx;
    if (sqlite3_column_type(s, 0) == SQLITE_NULL)
        return 0;
    o[0] = moment(s, 1);
    o[1] = moment(s, 2);
    o[2] = moment(s, 3);
    o[3] = moment(s, 0);
    return 0;
}

int jb_qstore_outcome(struct jb_qstore *store, uint64_t num, uint64_t *ret_tasks, uint64_t *ret_left,
                      uint64_t *ret_bad, uid_t *ret_uid, struct jb_error *err)
{
    uint64_t o[4] = {0};
    int r = each(store, jb_sql_bind(store, JB_SQL_OUTCOME, "u", num), outcome_row, o, err);
    if (r < 0)
        return r;
    if (o[0] == 0)
        return jb_fail(err, ENOENT, "there is no job %llu", (unsigned long long)num);
    *ret_tasks = o[0];
    *ret_left = o[1];
    *ret_bad = o[2];
    *ret_uid = (uid_t)o[3];
    return 0;
}

static int bad_row(void *ctx, sqlite3_stmt *s)
{
    struct jb_end *end = ctx;
    const char *reason = text(s, 0);
    (void)snprintf(end->reason, sizeof(end->reason), "%s", reason ? reason : "");
    end->exit_code = sqlite3_column_int(s, 1);
    end->signal = sqlite3_column_int(s, 2);
    return 0;
}

int jb_qstore_first_bad(struct jb_qstore *store, uint64_t num, struct jb_end *ret, struct jb_error *err)
{
    *ret = (struct jb_end){0};
    return each(store, jb_sql_bind(store, JB_SQL_FIRST_BAD, "u", num), bad_row, ret, err);
}

static int number_row(void *ctx, sqlite3_stmt *s)
{
    *(uint64_t *)ctx = number(s, 0);
    return 0;
}

int jb_qstore_owner(struct jb_qstore *store, uint64_t num, uid_t *ret, struct jb_error *err)
{
    uint64_t uid = JB_UNSET;
    int r = each(store, jb_sql_bind(store, JB_SQL_OWNER, "u", num), number_row, &uid, err);
    if (r == 0 && uid == JB_UNSET)
        r = jb_fail(err, ENOENT, "there is no job %llu", (unsigned long long)num);
    if (r == 0)
        *ret = (uid_t)uid;
    return r;
}

int jb_qstore_task_of(struct jb_qstore *store, uint64_t num, uint64_t index, uint64_t *ret,
                      struct jb_error *err)
{
    uint64_t task = JB_UNSET;
    int r = each(store, jb_sql_bind(store, JB_SQL_TASK_OF, "uu", num, index), number_row, &task, err);
    if (r == 0 && task == JB_UNSET)
        r = jb_fail(err, ENOENT, "job %llu has no task %llu", (unsigned long long)num,
                    (unsigned long long)index);
    if (r == 0)
        *ret = task;
    return r;
}

struct found {
    uint64_t num, task;
    unsigned n;
};

static int find_row(void *ctx, sqlite3_stmt *s)
{
    struct found *f = ctx;
    f->num = number(s, 0);
    f->task = number(s, 1);
    f->n++;
    return 0;
}

int jb_qstore_find_attempt(struct jb_qstore *store, const char *prefix, uint64_t uid, uint64_t *ret_num,
                           uint64_t *ret_task, struct jb_error *err)
{
    struct found f = {0};
    int r = each(store, jb_sql_bind(store, JB_SQL_FIND, "tu", prefix, uid), find_row, &f, err);
    if (r < 0)
        return r;
    if (f.n != 1)
        return jb_fail(err, f.n ? ENOTUNIQ : ENOENT, "%.40s: %s", prefix,
                       f.n ? "several attempts have an id that begins so; give more of it"
                           : "no attempt has an id that begins so");
    *ret_num = f.num;
    *ret_task = f.task;
    return 0;
}

static json_t *count(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? json_null() : json_integer(sqlite3_column_int64(s, i));
}

static json_t *when(sqlite3_stmt *s, int i)
{
    uint64_t us = moment(s, i);
    return us ? jb_json_time(us) : json_null();
}

static json_t *real(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? json_null() : json_real(sqlite3_column_double(s, i));
}

static const char *state_name(sqlite3_stmt *s)
{
    static const char *const names[] = {"pending", "running", "done"};
    int state = sqlite3_column_int(s, 12);
    if (state == JB_TASK_PENDING && sqlite3_column_int(s, 13))
        return "held";
    return (unsigned)state < JB_ARRAY_LEN(names) ? names[state] : "unknown";
}

static int list_row(void *ctx, sqlite3_stmt *s)
{
    json_t *o = json_object();
    const struct {
        const char *key;
        json_t *value;
    } items[] = {
        {"job", count(s, 0)},
        {"index", count(s, 1)},
        {"task", count(s, 2)},
        {"uid", count(s, 3)},
        {"user", jb_json_text(text(s, 4))},
        {"name", jb_json_text(text(s, 5))},
        {"account", jb_json_text(text(s, 6))},
        {"priority", count(s, 7)},
        {"cpus", count(s, 8)},
        {"memory_bytes", moment(s, 9) ? count(s, 9) : json_null()},
        {"wall_time_s", jb_json_seconds_us(number(s, 10))},
        {"submitted", when(s, 11)},
        {"state", json_string(state_name(s))},
        {"attempts", count(s, 14)},
        {"eligible", when(s, 15)},
        {"started", when(s, 16)},
        {"ended", when(s, 17)},
        {"reason", jb_json_text(text(s, 18))},
        {"exit_code", sqlite3_column_int(s, 19) < 0 ? json_null() : count(s, 19)},
        {"signal", sqlite3_column_int(s, 20) ? count(s, 20) : json_null()},
        {"why", jb_json_text(text(s, 21))},
        {"id", jb_json_text(text(s, 22))},
        {"begin", when(s, 23)},
        {"deadline", when(s, 24)},
        {"own_stdout", json_boolean(sqlite3_column_int(s, 25))},
        {"not_before", when(s, 26)},
    };
    bool ok = o != NULL;
    for (size_t i = 0; i < JB_ARRAY_LEN(items); i++)
        ok = jb_json_set(o, items[i].key, items[i].value) && ok;
    if (!ok || json_array_append_new(ctx, o) < 0)
        return -ENOMEM;
    return 0;
}

int jb_qstore_list(struct jb_qstore *store, const struct jb_qstore_query *q, json_t **ret,
                   struct jb_error *err)
{
    json_t *list = json_array();
    sqlite3_stmt *s;
    if (q->task != JB_UNSET)
        s = jb_sql_bind(store, JB_SQL_LIST_TASK, "u", q->task);
    else if (q->num != JB_UNSET)
        s = jb_sql_bind(store, JB_SQL_LIST_JOB, "uu", q->num, q->limit);
    else
        s = jb_sql_bind(store, JB_SQL_LIST, "uuutduut", q->uid, q->num, q->task, q->name, q->state, q->before,
                        q->limit, q->user);
    int r = each(store, s, list_row, list, err);
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

static int attempt_row(void *ctx, sqlite3_stmt *s)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                          jb_json_text(text(s, 0)), "attempt", count(s, 1), "begun", when(s, 2), "ended",
                          when(s, 3), "reason", jb_json_text(text(s, 4)), "exit_code",
                          sqlite3_column_int(s, 5) < 0 ? json_null() : count(s, 5), "signal",
                          sqlite3_column_int(s, 6) ? count(s, 6) : json_null(), "cpus",
                          jb_json_text(text(s, 7)), "wall_s", real(s, 8), "cpu_s", real(s, 9),
                          "memory_peak_bytes", count(s, 10), "error", jb_json_text(text(s, 11)));
    return o && json_array_append_new(ctx, o) == 0 ? 0 : -ENOMEM;
}

int jb_qstore_attempts(struct jb_qstore *store, uint64_t task, json_t **ret, struct jb_error *err)
{
    json_t *list = json_array();
    int r = each(store, jb_sql_bind(store, JB_SQL_ATTEMPTS, "u", task), attempt_row, list, err);
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

int jb_qstore_requeues(struct jb_qstore *store, uint64_t task, uint64_t *ret, struct jb_error *err)
{
    uint64_t n = 0;
    int r = each(store, jb_sql_bind(store, JB_SQL_REQUEUES, "u", task), number_row, &n, err);
    if (r == 0)
        *ret = n;
    return r;
}

static int event_row(void *ctx, sqlite3_stmt *s)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o}", "task", count(s, 0), "time", when(s, 1), "event",
                          jb_json_text(text(s, 2)), "detail", jb_json_text(text(s, 3)));
    return o && json_array_append_new(ctx, o) == 0 ? 0 : -ENOMEM;
}

int jb_qstore_events(struct jb_qstore *store, uint64_t num, json_t **ret, struct jb_error *err)
{
    json_t *list = json_array();
    int r = each(store, jb_sql_bind(store, JB_SQL_EVENTS, "u", num), event_row, list, err);
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

static int end_row(void *ctx, sqlite3_stmt *s)
{
    return json_object_set_new(ctx, text(s, 0), json_integer(sqlite3_column_int64(s, 1)));
}

int jb_qstore_ends(struct jb_qstore *store, json_t **ret, struct jb_error *err)
{
    json_t *o = json_object();
    int r = each(store, jb_sql_get(store, JB_SQL_ENDS), end_row, o, err);
    if (r < 0)
        json_decref(o);
    else
        *ret = o;
    return r;
}

int jb_qstore_old(struct jb_qstore *store, uint64_t before_us, struct jb_old_task *ret, size_t max,
                  size_t *ret_n, struct jb_error *err)
{
    sqlite3_stmt *s = jb_sql_bind(store, JB_SQL_OLD, "uu", before_us, (uint64_t)max);
    size_t n = 0;
    int step = s ? SQLITE_ROW : SQLITE_ERROR;
    while (step == SQLITE_ROW && (step = sqlite3_step(s)) == SQLITE_ROW && n < max)
        ret[n++] = (struct jb_old_task){.id = (uint64_t)sqlite3_column_int64(s, 0),
                                        .job = (uint64_t)sqlite3_column_int64(s, 1)};
    if (s)
        (void)sqlite3_reset(s);
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return jb_sql_fail(store, err);
    *ret_n = n;
    return 0;
}
