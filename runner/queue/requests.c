/*
 * requests.c - what peers ask for that changes something, and the table of all requests.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's; who may do what is asked of jb_conn_may_act.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "job/control.h"
#include "queue/pick.h"

static int do_hello(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    json_t *reply = jb_reply_ok();
    (void)request;
    (void)err;
    (void)json_object_update_new(reply, json_pack("{s:s, s:s, s:s, s:I, s:s, s:b, s:b}", "server", "jobboxd",
                                                  "version", JOBBOX_VERSION, "queue", s->q->id, "uid",
                                                  (json_int_t)c->uid, "user", c->user, "operator",
                                                  jb_conn_is_operator(s, c), "own", s->own));
    jb_conn_send(c, reply);
    return 0;
}

static int do_submit(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *spec = json_object_get(request, "spec");
    const char *file = jb_request_text(request, "file");
    const char *cwd = jb_request_text(request, "cwd");
    const json_t *priority = json_object_get(request, "priority");
    jb_autofree char *diags = NULL;
    struct jb_qjob *job = NULL;
    if (!json_is_string(spec) || !cwd || cwd[0] != '/' || strlen(cwd) > 4096)
        return jb_fail(err, EINVAL, "a submission needs \"spec\" and an absolute \"cwd\"");
    struct jb_submission sub = {
        .spec = json_string_value(spec),
        .spec_len = json_string_length(spec),
        .file = file && *file && strlen(file) < 4096 ? file : "job",
        .uid = c->uid,
        .gid = c->gid,
        .groups = c->groups,
        .n_groups = c->n_groups,
        .user = c->user,
        .home = c->home,
        .cwd = cwd,
        .env = json_object_get(request, "env"),
        .hold = jb_request_flag(request, "hold"),
        .has_priority = json_is_integer(priority),
        .priority = json_integer_value(priority),
    };
    int r = jb_queue_submit(s->q, &sub, s->now_us, &job, &diags, err);
    if (r < 0 && diags) {
        jb_conn_send(c, json_pack("{s:i, s:b, s:{s:i, s:s, s:s}}", "v", JB_PROTOCOL, "ok", false, "error",
                                  "errno", EINVAL, "text", err->text, "diagnostics", diags));
        return 0;
    }
    if (r < 0)
        return r;
    /* above 0 is the operators' to give: a user may only step back */
    if (job->priority > 0 && !jb_conn_is_operator(s, c))
        r = jb_queue_priority(s->q, job, 0, "the site's rules", s->now_us, err);
    json_t *reply = jb_reply_ok();
    (void)json_object_update_new(reply, json_pack("{s:I, s:I, s:s}", "job", (json_int_t)job->num, "tasks",
                                                  (json_int_t)job->n_tasks, "name", job->name));
    const struct jb_budget_state *budget =
        jb_budgets_of(&s->q->budgets, s->q->site, s->q->state->state_dir, job->account, s->now_us);
    if (budget && budget->verdict != JB_BUDGET_OK)
        (void)json_object_set_new(reply, "warning", jb_json_text(budget->text));
    jb_conn_send(c, reply);
    return r;
}

/* What is done to each of the tasks picked; how many it was done to is the answer. */
static int for_each(struct jb_server *s, struct jb_conn *c, const json_t *request,
                    int (*act)(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t,
                               struct jb_error *err),
                    struct jb_error *err)
{
    struct jb_picked p = {0};
    json_t *reply = jb_reply_ok();
    json_t *done = json_array();
    struct jb_error first = {0};
    char name[JB_TASK_NAME];
    int r = jb_pick_all(s, c, request, &p, err);
    jb_autofree uint64_t *ids = calloc(p.n + 1, sizeof(*ids));
    for (size_t i = 0; ids && i < p.n; i++)
        ids[i] = p.tasks[i]->id; /* one may go because of another */
    for (size_t i = 0; r == 0 && ids && i < p.n; i++) {
        struct jb_error one = {0};
        struct jb_qtask *t = jb_map_get(&s->q->tasks, ids[i]);
        if (!t)
            continue;
        json_t *shown = json_string(jb_task_name(t, name, sizeof(name)));
        if (act(s, c, t, &one) < 0) {
            if (s->q->broken)
                r = -EIO;
            if (!first.errnum)
                (void)jb_fail(&first, one.errnum, "%s: %s", json_string_value(shown), one.text);
            json_decref(shown);
        } else {
            (void)json_array_append_new(done, shown);
        }
    }
    if (r == 0 && first.errnum && json_array_size(done) == 0)
        r = jb_fail(err, first.errnum, "%s", first.text);
    (void)json_object_set_new(reply, "jobs", done);
    if (first.errnum)
        (void)json_object_set_new(reply, "failed", json_string(first.text));
    if (r == 0)
        jb_conn_send(c, reply);
    else
        json_decref(reply);
    free(p.tasks);
    return r;
}

static int cancel_one(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t, struct jb_error *err)
{
    return jb_queue_cancel(s->q, t, c->user, s->now_us, err);
}

static int hold_one(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t, struct jb_error *err)
{
    return jb_queue_hold(s->q, t, true, c->user, s->now_us, err);
}

static int release_one(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t, struct jb_error *err)
{
    return jb_queue_hold(s->q, t, false, c->user, s->now_us, err);
}

static int requeue_one(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t, struct jb_error *err)
{
    return jb_queue_requeue(s->q, t, c->user, s->now_us, err);
}

static int do_cancel(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    return for_each(s, c, request, cancel_one, err);
}

static int do_hold(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    return for_each(s, c, request, hold_one, err);
}

static int do_release(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    return for_each(s, c, request, release_one, err);
}

/* What runs is ended and put back; what has ended is submitted once more, under a new number. */
static int do_requeue(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *ids = json_object_get(request, "ids");
    struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = json_string_value(json_array_get(ids, 0));
    int r = jb_pick_id(s, c, id ? id : "", &p, err);
    size_t left = p.n;
    free(p.tasks);
    if (r < 0)
        return r;
    if (left > 0)
        return for_each(s, c, request, requeue_one, err);
    struct jb_qstore_extra x = {0};
    json_t *list = NULL;
    r = jb_look_rows(s, &p, &list, err);
    uid_t uid = (uid_t)json_integer_value(json_object_get(json_array_get(list, 0), "uid"));
    json_decref(list);
    if (r == 0 && uid != c->uid)
        r = jb_fail(err, EPERM, "%s: only its owner can submit it once more", id);
    if (r == 0)
        r = jb_qstore_get_extra(s->q->store, p.num, &x, err);
    if (r < 0)
        return r;
    json_t *again = json_pack("{s:s, s:s, s:s, s:o}", "spec", x.spec, "file", x.file, "cwd", x.cwd, "env",
                              x.env ? json_loads(x.env, 0, NULL) : json_array());
    r = again ? do_submit(s, c, again, err) : jb_fail_errno(err, ENOMEM, "the queue");
    json_decref(again);
    jb_qstore_extra_free(&x);
    return r;
}

static int do_priority(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *value = json_object_get(request, "priority");
    struct jb_picked p = {0};
    if (!json_is_integer(value) || llabs(json_integer_value(value)) > 1000000)
        return jb_fail(err, EINVAL, "a priority is a whole number from -1000000 to 1000000");
    if (json_integer_value(value) > 0 && !jb_conn_is_operator(s, c))
        return jb_fail(err, EPERM, "only operators of this queue give priorities above 0");
    int r = jb_pick_all(s, c, request, &p, err);
    for (size_t i = 0; r == 0 && i < p.n; i++)
        if (p.tasks[i]->job->priority != json_integer_value(value))
            r = jb_queue_priority(s->q, p.tasks[i]->job, json_integer_value(value), c->user, s->now_us, err);
    free(p.tasks);
    if (r == 0)
        jb_conn_send(c, jb_reply_ok());
    return r;
}

static int do_drain(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    bool off = jb_request_flag(request, "off");
    const char *reason = jb_request_text(request, "reason");
    jb_autofree char *why =
        off ? NULL : jb_asprintf("%.200s (%s)", reason ? reason : "no reason given", c->user);
    if (!jb_conn_is_admin(s, c))
        return jb_fail(err, EPERM, "only administrators of this queue drain the host");
    if (!off && !why)
        return jb_fail_errno(err, ENOMEM, "drain");
    int r = jb_queue_drain(s->q, why, err);
    if (r == 0) {
        json_t *reply = jb_reply_ok();
        (void)json_object_set_new(reply, "drained", jb_json_text(why));
        (void)json_object_set_new(reply, "running",
                                  json_integer((json_int_t)(s->q->running.len - s->q->running.holes)));
        jb_conn_send(c, reply);
    }
    return r;
}

/* The one running task that `id` of a request names, for who may act on it. */
static int pick_running(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                        const struct jb_qtask **ret, struct jb_error *err)
{
    struct jb_picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = jb_request_text(request, "id");
    int r = jb_pick_id(s, c, id ? id : "", &p, err);
    if (r == 0 && p.n > 0 && !jb_conn_may_act(s, c, p.tasks[0]->job->uid))
        r = jb_fail(err, EPERM, "%s: it is the job of %s, and you are no operator of this queue", id,
                    p.tasks[0]->job->user);
    if (r == 0 && (p.n != 1 || p.tasks[0]->state != JB_TASK_RUNNING))
        r = jb_fail(err, ESRCH, "%s: it does not run", id);
    if (r == 0)
        *ret = p.tasks[0];
    free(p.tasks);
    return r;
}

/* Where the box of a running job is: its owner asks the supervisor himself, which knows him by the kernel's word. */
static int do_box(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const struct jb_qtask *task = NULL;
    int r = pick_running(s, c, request, &task, err);
    if (r < 0)
        return r;
    json_t *reply = jb_reply_ok();
    (void)json_object_set_new(reply, "id", json_string(task->attempt.text));
    (void)json_object_set_new(reply, "runtime", jb_json_text(s->q->state->runtime_dir));
    jb_conn_send(c, reply);
    return 0;
}

/* pause, resume, signal, update of a running job: its box's supervisor carries it out. */
static int do_control(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const struct jb_qtask *task = NULL;
    json_t *what = json_object_get(request, "request");
    jb_autofree char *line = what ? json_dumps(what, JSON_COMPACT) : NULL;
    struct jb_ask ask;
    int r = pick_running(s, c, request, &task, err);
    if (r == 0)
        r = line ? jb_ask_parse(line, strlen(line), &ask, err)
                 : jb_fail(err, EINVAL, "\"request\" is missing");
    if (r == 0 && c->token)
        r = jb_fail(err, EBUSY, "one question to a box at a time on a connection");
    if (r == 0) {
        c->token = ++s->tokens;
        (void)json_array_append_new(s->q->launches, json_pack("{s:s, s:I, s:s, s:O}", "do", "control",
                                                              "token", (json_int_t)c->token, "id",
                                                              task->attempt.text, "request", what));
    }
    return r;
}

static const struct {
    const char *op;
    jb_request_fn *run;
} ops[] = {
    {"hello", do_hello},
    {"submit", do_submit},
    {"list", jb_look_list},
    {"show", jb_look_show},
    {"logs", jb_look_logs},
    {"wait", jb_look_wait},
    {"cancel", do_cancel},
    {"hold", do_hold},
    {"release", do_release},
    {"requeue", do_requeue},
    {"priority", do_priority},
    {"drain", do_drain},
    {"stats", jb_look_stats},
    {"explain", jb_look_explain},
    {"control", do_control},
    {"box", do_box},
    {"metrics", jb_look_metrics},
    {"kept", jb_kept_requested_list},
    {"discard", jb_kept_requested_discard},
    {"take", jb_kept_requested_take},
};

/* "GET /metrics HTTP/1.1": a scraper that speaks HTTP over the socket, from the first line on. */
static bool http(struct jb_server *s, struct jb_conn *c, const char *line, size_t len)
{
    if (c->json || len < 14 || strncmp(line, "GET /metrics ", 13) != 0)
        return false;
    jb_autofree char *all = jb_metrics_text(s);
    if (!all || jb_buf_printf(&c->out,
                              "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                              "Content-Length: %zu\r\n\r\n%s",
                              strlen(all), all) < 0)
        c->out.len = c->sent;
    c->closing = true;
    return true;
}

void jb_request(struct jb_server *s, struct jb_conn *c, const char *line, size_t len)
{
    struct jb_error err = {0};
    if (http(s, c, line, len))
        return;
    c->json = true;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    const char *op = jb_request_text(request, "op");
    const json_t *version = json_object_get(request, "v");
    size_t i = 0;
    while (op && i < JB_ARRAY_LEN(ops) && !jb_streq(op, ops[i].op))
        i++;
    if (!json_is_object(request) || !op) {
        jb_conn_fail(c, EINVAL, "a request is a JSON object on one line, with \"v\" and \"op\"");
        c->closing = true; /* it may be anything: the next line too */
    } else if (json_integer_value(version) != JB_PROTOCOL) {
        jb_conn_fail(c, EPROTONOSUPPORT, "this jobboxd (%s) speaks version %d of the protocol",
                     JOBBOX_VERSION, JB_PROTOCOL);
    } else if (i == JB_ARRAY_LEN(ops)) {
        jb_conn_fail(c, EOPNOTSUPP, "this jobboxd (%s) does not know \"%.40s\"", JOBBOX_VERSION, op);
    } else if (ops[i].run(s, c, request, &err) < 0) {
        jb_conn_fail(c, err.errnum ? err.errnum : EIO, "%s", err.text);
    }
    json_decref(request);
}
