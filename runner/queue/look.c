/*
 * look.c - what peers ask to be told: jobs, their output, their end, the state of the queue.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's; nothing is changed here.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "queue/pick.h"
#include "record/record.h"

#define LIST_MAX      10000
#define RUNS_MAX      100 /* tasks of a job whose attempts are told at once */
#define EXPLAINED_MAX 100

static json_t *moment(uint64_t us)
{
    return us ? jb_json_time(us) : json_null();
}

/* What keeps it from being looked at at all, in a word; NULL: nothing but room, which jobbox explain tells. */
static const char *waits_for(const struct jb_qtask *t, uint64_t now_us)
{
    if (t->state == JB_TASK_RUNNING || t->held)
        return NULL;
    if (t->job->unmet)
        return "dependency";
    if (t->job->begin_us > now_us)
        return "begin";
    return t->not_before_us > now_us && !t->refused ? "retry" : NULL;
}

static json_t *task_json(const struct jb_qtask *t, uint64_t now_us)
{
    const struct jb_qjob *job = t->job;
    json_t *o = json_object();
    const char *state = t->state == JB_TASK_RUNNING ? "running" : t->held ? "held" : "pending";
    const struct {
        const char *key;
        json_t *value;
    } items[] = {
        {"job", json_integer((json_int_t)job->num)},
        {"index", jb_json_u64(t->index)},
        {"task", json_integer((json_int_t)t->id)},
        {"uid", json_integer((json_int_t)job->uid)},
        {"user", jb_json_text(job->user)},
        {"name", jb_json_text(job->name)},
        {"account", jb_json_text(job->account)},
        {"priority", json_integer(job->priority)},
        {"cpus", json_integer(job->need.pus)},
        {"memory_bytes",
         job->need.memory ? jb_json_u64(t->memory != JB_UNSET ? t->memory : job->need.memory) : json_null()},
        {"wall_time_s", jb_json_seconds_us(job->wall_us)},
        {"submitted", moment(job->submitted_us)},
        {"state", json_string(state)},
        {"attempts", json_integer(t->tries)},
        {"eligible", moment(t->eligible_us)},
        {"started", moment(t->state == JB_TASK_RUNNING ? t->started_us : 0)},
        {"ended", json_null()},
        {"reason", json_null()},
        {"exit_code", json_null()},
        {"signal", json_null()},
        {"why", jb_json_text(t->why)},
        {"id", jb_json_text(t->attempt.text[0] ? t->attempt.text : NULL)},
        {"begin", moment(job->begin_us)},
        {"deadline", moment(job->deadline_us == JB_UNSET ? 0 : job->deadline_us)},
        {"own_stdout", json_boolean(job->own_stdout)},
        {"not_before", moment(t->not_before_us)},
        {"waits_for", jb_json_text(waits_for(t, now_us))},
        {"ending", json_boolean(t->asked_to_end)},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(items); i++)
        (void)jb_json_set(o, items[i].key, items[i].value);
    return o;
}

/* Where the text begins to say who holds what is wanted: "..., none free now; held by ...". */
static size_t before_holders(const char *text)
{
    const char *by = strstr(text, "held by ");
    const char *to = strstr(text, "promised to ");
    const char *at = by && (!to || by < to) ? by : to;
    size_t n = strlen(text);
    for (size_t i = 1; at && text + i < at; i++)
        if ((text[i - 1] == ';' || text[i - 1] == ':') && text[i] == ' ')
            n = i - 1;
    return n;
}

/*
 * Details of how a job fares are for who may act on it. Where jobs are private those of others are not in them: what a
 * refused start says of the holders is the operators' to read.
 */
static void veil(const struct jb_server *s, const struct jb_conn *c, uid_t uid, json_t *o, const char *key)
{
    const char *text = jb_request_text(o, key);
    if (!text || jb_conn_is_operator(s, c))
        return;
    if (c->uid != uid)
        (void)json_object_set_new(o, key, json_null());
    else if (s->q->site->queue.private_jobs)
        (void)json_object_set_new(o, key, json_stringn(text, before_holders(text)));
}

static void veil_rows(const struct jb_server *s, const struct jb_conn *c, json_t *list)
{
    size_t i;
    size_t k;
    json_t *one;
    json_t *run;
    json_array_foreach(list, i, one)
    {
        uid_t uid = (uid_t)json_integer_value(json_object_get(one, "uid"));
        veil(s, c, uid, one, "why");
        json_array_foreach(json_object_get(one, "runs"), k, run)
        {
            veil(s, c, uid, run, "error");
        }
    }
}

static bool wanted_state(const char *state, const struct jb_qtask *t)
{
    const char *is = t->state == JB_TASK_RUNNING ? "running" : t->held ? "held" : "pending";
    return !state || jb_streq(state, "active") || jb_streq(state, "all") || jb_streq(state, is);
}

int jb_look_list(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const char *state = jb_request_text(request, "state");
    const char *user = jb_request_text(request, "user");
    const json_t *limit_json = json_object_get(request, "limit");
    size_t limit = json_is_integer(limit_json) && json_integer_value(limit_json) > 0 &&
                           json_integer_value(limit_json) < LIST_MAX
                       ? (size_t)json_integer_value(limit_json)
                       : LIST_MAX;
    bool all = jb_request_flag(request, "all") || user;
    json_t *list = json_array();
    json_t *reply = jb_reply_ok();
    const struct jb_qlist *const lists[] = {&s->q->running, &s->q->pending};
    size_t more = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->len; i++) {
            const struct jb_qtask *t = lists[k]->items[i];
            if (!t || (!all && t->job->uid != c->uid) || (user && !jb_streq(user, t->job->user)) ||
                !jb_conn_may_see(s, c, t->job->uid) || !wanted_state(state, t))
                continue;
            if (json_array_size(list) < limit)
                (void)json_array_append_new(list, task_json(t, s->now_us));
            else
                more++;
        }
    int r = 0;
    if (state && (jb_streq(state, "done") || jb_streq(state, "all"))) {
        bool own = !all || (s->q->site->queue.private_jobs && !jb_conn_is_operator(s, c));
        struct jb_qstore_query query = {.uid = own ? c->uid : JB_UNSET,
                                        .num = JB_UNSET,
                                        .task = JB_UNSET,
                                        .state = JB_TASK_DONE,
                                        .before = JB_UNSET,
                                        .user = user,
                                        .limit =
                                            limit + 1}; /* whether there are more; how many is not counted */
        json_t *done = NULL;
        r = jb_qstore_list(s->q->store, &query, &done, err);
        size_t i;
        json_t *one;
        json_array_foreach(done, i, one)
        {
            if (json_array_size(list) < limit)
                (void)json_array_append(list, one);
            else
                more++;
        }
        json_decref(done);
    }
    veil_rows(s, c, list);
    (void)json_object_set_new(reply, "jobs", list);
    (void)json_object_set_new(reply, "more", json_integer((json_int_t)more));
    (void)json_object_set_new(reply, "drained", jb_json_text(s->q->drained));
    if (r == 0)
        jb_conn_send(c, reply);
    else
        json_decref(reply);
    return r;
}

int jb_look_rows(struct jb_server *s, const struct jb_picked *p, size_t limit, json_t **ret,
                 struct jb_error *err)
{
    const struct jb_qstore_query query = {.uid = JB_UNSET,
                                          .num = p->task == JB_UNSET ? p->num : JB_UNSET,
                                          .task = p->task,
                                          .state = -1,
                                          .before = JB_UNSET,
                                          .limit = limit};
    json_t *list = NULL;
    int r = jb_qstore_list(s->q->store, &query, &list, err);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        uint64_t id = (uint64_t)json_integer_value(json_object_get(json_array_get(list, i), "task"));
        const struct jb_qtask *t = jb_map_get(&s->q->tasks, id);
        if (t)
            (void)json_array_set_new(list, i, task_json(t, s->now_us));
    }
    if (r == 0)
        *ret = list;
    return r;
}

/* At most LIST_MAX of its tasks: an answer that took long to make, everybody else would wait for. */
static int rows_to_show(struct jb_server *s, const struct jb_picked *p, json_t **ret, uint64_t *ret_more,
                        struct jb_error *err)
{
    json_t *list = NULL;
    uint64_t all = 0;
    uint64_t left;
    uint64_t bad;
    uid_t uid;
    int r = jb_look_rows(s, p, LIST_MAX, &list, err);
    if (r == 0 && json_array_size(list) == LIST_MAX)
        r = jb_qstore_outcome(s->q->store, p->num, &all, &left, &bad, &uid, err);
    if (r < 0) {
        json_decref(list);
        return r;
    }
    *ret_more = all > LIST_MAX ? all - LIST_MAX : 0;
    *ret = list;
    return 0;
}

int jb_look_show(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
    struct jb_qstore_extra x = {0};
    json_t *list = NULL;
    json_t *events = NULL;
    uint64_t more = 0;
    json_t *reply = jb_reply_ok();
    const char *id = jb_request_text(request, "id");
    int r = jb_pick_named(s, c, id ? id : "", &p, err);
    if (r == 0)
        r = rows_to_show(s, &p, &list, &more, err);
    uid_t uid = (uid_t)json_integer_value(json_object_get(json_array_get(list, 0), "uid"));
    for (size_t i = 0; r == 0 && i < json_array_size(list) && i < RUNS_MAX; i++) {
        json_t *one = json_array_get(list, i);
        json_t *attempts = NULL;
        r = jb_qstore_attempts(s->q->store, (uint64_t)json_integer_value(json_object_get(one, "task")),
                               &attempts, err);
        if (r == 0)
            (void)json_object_set_new(one, "runs", attempts);
    }
    bool may_read = r == 0 && jb_conn_may_act(s, c, uid);
    if (may_read)
        r = jb_qstore_events(s->q->store, p.num, &events, err);
    if (r == 0 && may_read)
        r = jb_qstore_get_extra(s->q->store, p.num, &x, err);
    if (r == 0) {
        size_t n = json_array_size(list);
        veil_rows(s, c, list);
        (void)json_object_set_new(reply, "jobs", json_incref(list));
        (void)json_object_set_new(reply, "without_runs",
                                  json_integer((json_int_t)(n > RUNS_MAX ? n - RUNS_MAX : 0)));
        (void)json_object_set_new(reply, "more", jb_json_u64(more));
        if (may_read) {
            (void)json_object_set_new(reply, "events", json_incref(events));
            (void)json_object_set_new(reply, "spec", json_string(x.spec));
            (void)json_object_set_new(reply, "file", jb_json_text(x.file));
            (void)json_object_set_new(reply, "cwd", jb_json_text(x.cwd));
        }
        jb_conn_send(c, json_incref(reply));
    }
    jb_qstore_extra_free(&x);
    json_decref(reply);
    json_decref(list);
    json_decref(events);
    return r;
}

/* What the client has already, by the `end` of the last pieces that it got. */
static int64_t had_of(const json_t *request, const char *stream)
{
    const json_t *at = json_object_get(json_object_get(request, "from"), stream);
    return json_is_integer(at) && json_integer_value(at) >= 0 ? json_integer_value(at) : -1;
}

int jb_look_logs(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
    json_t *list = NULL;
    const json_t *tail = json_object_get(request, "tail");
    const json_t *attempt = json_object_get(request, "attempt");
    const char *id = jb_request_text(request, "id");
    int r = jb_pick_named(s, c, id ? id : "", &p, err);
    if (r == 0)
        r = jb_look_rows(s, &p, 2, &list, err); /* whether there is one only */
    const json_t *one = json_array_get(list, 0);
    uid_t uid = (uid_t)json_integer_value(json_object_get(one, "uid"));
    if (r == 0 && !jb_conn_may_act(s, c, uid))
        r = jb_fail(err, EPERM, "%s: what it wrote is for its owner and the operators of this queue", id);
    else if (r == 0 && json_array_size(list) > 1)
        r = jb_fail(err, EINVAL, "%s: an array has a log for each task; name one, such as %s_%lld", id, id,
                    (long long)json_integer_value(json_object_get(one, "index")));
    else if (r == 0 && json_is_true(json_object_get(one, "own_stdout")))
        r = jb_fail(err, EINVAL, "%s: its spec sends its output to a file of its own (stdout:); look there",
                    id);
    json_int_t had = json_integer_value(json_object_get(one, "attempts"));
    json_int_t wanted = json_is_integer(attempt) ? json_integer_value(attempt) : had;
    if (r == 0 && json_is_integer(attempt) && (wanted < 1 || wanted > had))
        r = jb_fail(err, ENOENT, "%s: there is no attempt %lld of it; it has had %lld", id, (long long)wanted,
                    (long long)had);
    if (r == 0) {
        const struct jb_logs_wish wish = {
            .task = (uint64_t)json_integer_value(json_object_get(one, "task")),
            .attempt = (uint32_t)wanted,
            .from = {had_of(request, "stdout"), had_of(request, "stderr")},
            .tail = json_is_integer(tail) ? json_integer_value(tail) : -1,
            .follow = jb_request_flag(request, "follow"),
        };
        r = jb_logs_begin(s, c, &wish, err);
    }
    json_decref(list);
    return r;
}

/* The exit code of a job that has ended, from its row. */
static int row_code(const json_t *one)
{
    const json_t *code = json_object_get(one, "exit_code");
    return jb_end_code(jb_request_text(one, "reason"),
                       json_is_integer(code) ? (int)json_integer_value(code) : -1,
                       (int)json_integer_value(json_object_get(one, "signal")));
}

/* Of what one id names: what is left is waited for, of what has ended there may be an exit code. */
static int wait_for(struct jb_server *s, struct jb_conn *c, struct jb_picked *p, struct jb_error *err)
{
    json_t *list = NULL;
    struct jb_end bad = {0};
    int r = jb_pick_left(s, p);
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = jb_map_put(&c->waits, p->tasks[i]->id, c);
    if (r < 0)
        return jb_fail_errno(err, ENOMEM, "waiting");
    if (c->exit_code != 0)
        return 0;
    if (p->task == JB_UNSET) { /* an array may be large */
        r = jb_qstore_first_bad(s->q->store, p->num, &bad, err);
        c->exit_code = r == 0 && bad.reason[0] ? jb_end_code(bad.reason, bad.exit_code, bad.signal) : 0;
    } else if (p->n == 0) {
        r = jb_look_rows(s, p, 1, &list, err);
        c->exit_code = r == 0 ? row_code(json_array_get(list, 0)) : 0;
        json_decref(list);
    }
    return r;
}

int jb_look_wait(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *ids = json_object_get(request, "ids");
    struct jb_map seen = {0}; /* whole jobs, each of which is looked at once */
    size_t i;
    const json_t *item;
    int r = 0;
    c->exit_code = 0;
    json_array_foreach(ids, i, item)
    {
        struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
        const char *id = json_string_value(item);
        r = jb_pick_named(s, c, id ? id : "", &p, err);
        bool again = r == 0 && p.task == JB_UNSET && jb_map_get(&seen, p.num);
        if (r == 0 && p.task == JB_UNSET && !again && jb_map_put(&seen, p.num, s) < 0)
            r = jb_fail_errno(err, ENOMEM, "waiting");
        if (r == 0 && !again)
            r = wait_for(s, c, &p, err);
        free(p.tasks);
        if (r < 0)
            break;
    }
    jb_map_free(&seen);
    if (r < 0) {
        jb_map_free(&c->waits);
        return r;
    }
    if (c->waits.len == 0)
        jb_conn_send(c, json_pack("{s:i, s:b, s:b, s:I}", "v", JB_PROTOCOL, "ok", true, "done", true,
                                  "exit_code", (json_int_t)c->exit_code));
    return 0;
}

int jb_look_stats(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct jb_queue *q = s->q;
    json_t *ends = NULL;
    json_t *shares = json_array();
    (void)request;
    int r = jb_qstore_ends(q->store, &ends, err);
    if (r < 0) {
        json_decref(shares);
        return r;
    }
    jb_fair_refresh(&q->fair, s->now_us);
    double total = 0;
    for (size_t i = 0; i < q->fair.len; i++)
        total += q->fair.shares[i].usage;
    for (size_t i = 0; i < q->fair.len; i++) {
        const struct jb_sched_share *share = &q->fair.shares[i];
        const char *user = q->fair.items[i].user;
        if (q->site->queue.private_jobs && !jb_conn_is_operator(s, c) && !jb_streq(user, c->user))
            continue;
        (void)json_array_append_new(
            shares,
            json_pack("{s:s, s:s, s:f, s:f, s:f}", "account", q->fair.items[i].account, "user", user, "used",
                      share->usage, "of_all", total > 0 ? share->usage / total : 0.0, "share", share->share));
    }
    json_t *reply = jb_reply_ok();
    (void)json_object_update_new(
        reply,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:o, s:o, s:I, s:o}", "pending",
                  (json_int_t)(q->pending.len - q->pending.holes), "running",
                  (json_int_t)(q->running.len - q->running.holes), "cpus", (json_int_t)q->pus, "submitted",
                  (json_int_t)q->counts.submitted, "started", (json_int_t)q->counts.started, "wait_s_mean",
                  q->counts.started ? q->counts.wait_s / (double)q->counts.started : 0.0, "pass_ms_mean",
                  q->counts.passes ? q->counts.pass_s * 1e3 / (double)q->counts.passes : 0.0, "connections",
                  (json_int_t)s->n, "ends", ends, "shares", shares, "requests", (json_int_t)s->requests,
                  "drained", jb_json_text(q->drained)));
    jb_conn_send(c, reply);
    return 0;
}

static void veil_explanation(const struct jb_server *s, const struct jb_conn *c, uid_t uid, json_t *why)
{
    const char *code = jb_request_text(why, "why");
    if (!code || (!jb_streq(code, "placement") && !jb_streq(code, "budget")))
        return;
    veil(s, c, uid, why, "text");
    if (json_is_null(json_object_get(why, "text")))
        (void)json_object_set_new(why, "text", json_string("more of it is for its owner and the operators"));
}

int jb_look_explain(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = jb_request_text(request, "id");
    json_t *whys[EXPLAINED_MAX];
    json_t *reply = jb_reply_ok();
    json_t *list = json_array();
    char name[JB_TASK_NAME];
    int r = jb_pick_id(s, c, id ? id : "", &p, err);
    if (r == 0 && p.n == 0)
        r = jb_fail(err, ESRCH, "%s: it has ended already; jobbox show says how", id);
    size_t n = p.n < EXPLAINED_MAX ? p.n : EXPLAINED_MAX;
    if (r == 0)
        r = jb_queue_explain(s->q, p.tasks, n, s->now_us, whys, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const struct jb_qtask *t = p.tasks[i];
        json_t *why = whys[i];
        veil_explanation(s, c, t->job->uid, why);
        (void)json_object_set_new(why, "job", json_string(jb_task_name(t, name, sizeof(name))));
        (void)json_object_set_new(why, "submitted", moment(t->job->submitted_us));
        (void)json_object_set_new(why, "eligible", moment(t->eligible_us));
        json_t *deps = json_array();
        for (size_t k = 0; k < t->job->n_deps; k++)
            if (!t->job->deps[k].met)
                (void)json_array_append_new(deps,
                                            json_pack("{s:I, s:s}", "job", (json_int_t)t->job->deps[k].on,
                                                      "when", jb_dep_name(t->job->deps[k].kind)));
        (void)json_object_set_new(why, "depends_on", deps);
        (void)json_array_append_new(list, why);
    }
    (void)json_object_set_new(reply, "jobs", list);
    if (r == 0)
        jb_conn_send(c, reply);
    else
        json_decref(reply);
    free(p.tasks);
    return r;
}

int jb_look_metrics(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    jb_autofree char *all = jb_metrics_text(s);
    json_t *reply = jb_reply_ok();
    (void)request;
    if (!all) {
        json_decref(reply);
        return jb_fail_errno(err, ENOMEM, "metrics");
    }
    (void)json_object_set_new(reply, "text", jb_json_text(all));
    jb_conn_send(c, reply);
    return 0;
}
