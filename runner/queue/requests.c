/*
 * requests.c - what peers ask for that changes something, and the table of all requests.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's; who may do what is asked of jb_conn_may_act.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "job/control.h"
#include "queue/pick.h"

#define GROUPS_MAX      65536 /* of a user, as the kernel has it */
#define PRIORITY_MAX    1000000
#define PRIORITY_WANTED "a priority is a whole number from -1000000 to 1000000"

static bool is_priority(const json_t *value)
{
    json_int_t n = json_integer_value(value);
    return json_is_integer(value) && n >= -PRIORITY_MAX && n <= PRIORITY_MAX;
}

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

/* Who a submission of this peer is from; the rest is the caller's to fill. */
static struct jb_submission submission_by(const struct jb_conn *c)
{
    return (struct jb_submission){
        .uid = c->uid,
        .gid = c->gid,
        .groups = c->groups,
        .n_groups = c->n_groups,
        .user = c->user,
        .home = c->home,
    };
}

/* A submission of this peer, checked as far as a request's members go. */
static int submission_of(const struct jb_conn *c, const json_t *request, struct jb_submission *ret,
                         struct jb_error *err)
{
    const json_t *spec = json_object_get(request, "spec");
    const char *file = jb_request_text(request, "file");
    const char *cwd = jb_request_text(request, "cwd");
    const json_t *priority = json_object_get(request, "priority");
    if (!json_is_string(spec) || !cwd || cwd[0] != '/' || strlen(cwd) > 4096)
        return jb_fail(err, EINVAL, "a submission needs \"spec\" and an absolute \"cwd\"");
    if (priority && !is_priority(priority))
        return jb_fail(err, EINVAL, PRIORITY_WANTED);
    *ret = submission_by(c);
    ret->spec = json_string_value(spec);
    ret->spec_len = json_string_length(spec);
    ret->file = file && *file && strlen(file) < 4096 ? file : "job";
    ret->cwd = cwd;
    ret->env = json_object_get(request, "env");
    ret->hold = jb_request_flag(request, "hold");
    ret->has_priority = priority != NULL;
    ret->priority = json_integer_value(priority);
    return 0;
}

/* ret_lowered may be NULL: that the job asked for a priority which is the operators' to give, and has 0. */
static int submit(struct jb_server *s, const struct jb_conn *c, const struct jb_submission *sub,
                  struct jb_qjob **ret, bool *ret_lowered, char **ret_diags, struct jb_error *err)
{
    int r = jb_queue_submit(s->q, sub, s->now_us, ret, ret_diags, err);
    bool lowered = r == 0 && (*ret)->priority > 0 && !jb_conn_is_operator(s, c);
    if (lowered)
        r = jb_queue_priority(s->q, *ret, 0, "the site's rules", s->now_us, err);
    if (ret_lowered)
        *ret_lowered = lowered;
    return r;
}

/* What the submitter should know of a job that is taken: one line, or none. */
static void warn_of(const struct jb_server *s, const struct jb_qjob *job, bool lowered, json_t *reply)
{
    const struct jb_budget_state *budget =
        jb_budgets_of(&s->q->budgets, s->q->site, s->q->state->state_dir, job->account, s->now_us);
    bool over = budget && budget->verdict != JB_BUDGET_OK;
    jb_autofree char *text = jb_asprintf(
        "%s%s%s", lowered ? "only operators of this queue give priorities above 0: the job has 0" : "",
        lowered && over ? "; " : "", over ? budget->text : "");
    if (text && *text)
        (void)json_object_set_new(reply, "warning", jb_json_text(text));
}

static int do_submit(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    jb_autofree char *diags = NULL;
    struct jb_submission sub;
    struct jb_qjob *job = NULL;
    bool lowered = false;
    int r = submission_of(c, request, &sub, err);
    if (r == 0)
        r = submit(s, c, &sub, &job, &lowered, &diags, err);
    if (r < 0 && diags) {
        jb_conn_send(c, json_pack("{s:i, s:b, s:{s:i, s:s, s:s}}", "v", JB_PROTOCOL, "ok", false, "error",
                                  "errno", EINVAL, "text", err->text, "diagnostics", diags));
        return 0;
    }
    if (r != 0)
        return r;
    json_t *reply = jb_reply_ok();
    (void)json_object_update_new(reply, json_pack("{s:I, s:I, s:s}", "job", (json_int_t)job->num, "tasks",
                                                  (json_int_t)job->n_tasks, "name", job->name));
    warn_of(s, job, lowered, reply);
    jb_conn_send(c, reply);
    return 0;
}

/* --- what is done to each of the tasks picked --- */

typedef int act_fn(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct jb_qtask *t,
                   struct jb_error *err);

/* How it went: those that it was done to, and the first failure. */
struct outcome {
    json_t *done;
    struct jb_error failed;
};

static void note(struct outcome *o, const struct jb_error *why)
{
    if (!o->failed.errnum)
        o->failed = *why;
}

/*
 * Does it to each, by its number: one may go because of another. What cannot be done to some tasks of an array, or of a
 * group, is no failure when it was done to others; what could be done to nothing that an id names, is.
 */
static int act_on(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                  const struct jb_picks *p, act_fn *act, struct outcome *o)
{
    jb_autofree uint64_t *ids = calloc(p->all.n + 1, sizeof(*ids));
    char name[JB_TASK_NAME];
    struct jb_error unfit = {0};
    size_t done = 0;
    for (size_t i = 0; ids && i < p->all.n; i++)
        ids[i] = p->all.tasks[i]->id;
    for (size_t i = 0; ids && i < p->all.n; i++) {
        struct jb_error one = {0};
        struct jb_error named = {0};
        struct jb_qtask *t = jb_map_get(&s->q->tasks, ids[i]);
        if (i > 0 && p->from[i] != p->from[i - 1]) {
            unfit = (struct jb_error){0};
            done = 0;
        }
        if (t) {
            (void)jb_task_name(t, name, sizeof(name));
            if (act(s, c, request, t, &one) == 0) {
                (void)json_array_append_new(o->done, json_string(name));
                done++;
            } else {
                (void)jb_fail(&named, one.errnum, "%s: %s", name, one.text);
            }
        }
        if (s->q->broken)
            return -EIO;
        if (named.errnum && one.errnum != EINVAL)
            note(o, &named);
        else if (named.errnum && !unfit.errnum)
            unfit = named;
        bool last = i + 1 == p->all.n || p->from[i + 1] != p->from[i];
        if (last && done == 0 && unfit.errnum && p->from[i] != JB_PICK_GROUP)
            note(o, &unfit);
    }
    return ids ? 0 : -ENOMEM;
}

/* The answer: an error when nothing at all was done and something failed. */
static int tell_outcome(struct jb_conn *c, struct outcome *o, json_t *more, int r, struct jb_error *err)
{
    bool nothing = json_array_size(o->done) + json_array_size(more) == 0;
    if (r < 0)
        r = jb_fail_errno(err, r, "the queue");
    else if (nothing && o->failed.errnum)
        r = jb_fail(err, o->failed.errnum, "%s", o->failed.text);
    if (r < 0) {
        json_decref(o->done);
        json_decref(more);
        return r;
    }
    json_t *reply = jb_reply_ok();
    (void)json_object_set_new(reply, "jobs", o->done);
    if (more)
        (void)json_object_set_new(reply, "submitted", more);
    if (o->failed.errnum)
        (void)json_object_set_new(reply, "failed", json_string(o->failed.text));
    jb_conn_send(c, reply);
    return 0;
}

static int for_each(struct jb_server *s, struct jb_conn *c, const json_t *request, act_fn *act,
                    struct jb_error *err)
{
    struct jb_picks p = {0};
    int r = jb_pick_all(s, c, request, &p, err);
    if (r == 0) {
        struct outcome o = {.done = json_array(), .failed = p.failed};
        r = tell_outcome(c, &o, NULL, act_on(s, c, request, &p, act, &o), err);
    }
    jb_picks_free(&p);
    return r;
}

static int cancel_one(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct jb_qtask *t,
                      struct jb_error *err)
{
    (void)request;
    return jb_queue_cancel(s->q, t, c->user, s->now_us, err);
}

static int hold_one(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct jb_qtask *t,
                    struct jb_error *err)
{
    (void)request;
    return jb_queue_hold(s->q, t, true, c->user, s->now_us, err);
}

static int release_one(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                       struct jb_qtask *t, struct jb_error *err)
{
    (void)request;
    return jb_queue_hold(s->q, t, false, c->user, s->now_us, err);
}

static int requeue_one(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                       struct jb_qtask *t, struct jb_error *err)
{
    (void)request;
    return jb_queue_requeue(s->q, t, c->user, s->now_us, err);
}

static int priority_one(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                        struct jb_qtask *t, struct jb_error *err)
{
    json_int_t value = json_integer_value(json_object_get(request, "priority"));
    return t->job->priority == value ? 0 : jb_queue_priority(s->q, t->job, value, c->user, s->now_us, err);
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

static int do_priority(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *value = json_object_get(request, "priority");
    if (!is_priority(value))
        return jb_fail(err, EINVAL, PRIORITY_WANTED);
    if (json_integer_value(value) > 0 && !jb_conn_is_operator(s, c))
        return jb_fail(err, EPERM, "only operators of this queue give priorities above 0");
    return for_each(s, c, request, priority_one, err);
}

/* Of whom a job is that somebody else submits once more. */
struct owner {
    char *user, *home;
    gid_t *groups;
};

static void owner_free(struct owner *owner)
{
    free(owner->user);
    free(owner->home);
    free(owner->groups);
}

/*
 * For an operator: the job stays its owner's, with the groups and the home that he has by now. Who has no account any more
 * is nobody to run a job for, and who has got his uid by now is somebody else.
 */
static int submission_for(uid_t uid, const char *user, const char *id, struct owner *owner,
                          struct jb_submission *ret, struct jb_error *err)
{
    char buf[4096];
    struct passwd pw;
    struct passwd *found = NULL;
    int n = GROUPS_MAX;
    if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) != 0 || !found || !jb_streq(pw.pw_name, user))
        return jb_fail(err, EPERM,
                       "%s: no account %.64s has uid %u here; only its owner can submit it once more", id,
                       user, (unsigned)uid);
    owner->user = strdup(pw.pw_name);
    owner->home = strdup(pw.pw_dir && pw.pw_dir[0] == '/' ? pw.pw_dir : "/");
    owner->groups = calloc(GROUPS_MAX, sizeof(gid_t));
    if (!owner->user || !owner->home || !owner->groups)
        return jb_fail_errno(err, ENOMEM, "the queue");
    if (getgrouplist(pw.pw_name, pw.pw_gid, owner->groups, &n) < 0)
        return jb_fail(err, E2BIG, "%s: %s is in more than %d groups", id, pw.pw_name, GROUPS_MAX);
    *ret = (struct jb_submission){
        .uid = uid,
        .gid = pw.pw_gid,
        .groups = owner->groups,
        .n_groups = (size_t)n,
        .user = owner->user,
        .home = owner->home,
    };
    return 0;
}

/*
 * The spec of what has ended is submitted once more: of an array the one task, when one was named or there was but one. It
 * keeps its priority, as far as that is the peer's to give.
 */
static int submit_again(struct jb_server *s, const struct jb_conn *c, const struct jb_ended_pick *old,
                        json_t *submitted, struct jb_error *err)
{
    const struct jb_picked picked = {.num = old->num, .task = old->task};
    struct jb_submission sub = submission_by(c);
    struct owner owner = {0};
    struct jb_qstore_extra x = {0};
    jb_autofree char *diags = NULL;
    struct jb_qjob *job = NULL;
    json_t *list = NULL;
    int r = jb_look_rows(s, &picked, 2, &list, err);
    const json_t *row = json_array_get(list, 0);
    bool one = old->task != JB_UNSET || json_array_size(list) == 1;
    const json_t *index = one ? json_object_get(row, "index") : NULL;
    uid_t uid = (uid_t)json_integer_value(json_object_get(row, "uid"));
    if (r == 0 && !jb_conn_may_act(s, c, uid))
        r = jb_fail(err, EPERM, "%s: only its owner, and operators, can submit it once more", old->id);
    const char *user = jb_request_text(row, "user");
    if (r == 0 && uid != c->uid)
        r = submission_for(uid, user ? user : "", old->id, &owner, &sub, err);
    if (r == 0)
        r = jb_qstore_get_extra(s->q->store, old->num, &x, err);
    json_t *env = x.env ? json_loads(x.env, 0, NULL) : NULL;
    if (r == 0) {
        sub.spec = x.spec;
        sub.spec_len = strlen(x.spec);
        sub.file = x.file;
        sub.cwd = x.cwd;
        sub.env = env;
        sub.has_priority = true;
        sub.priority = json_integer_value(json_object_get(row, "priority"));
        sub.one_index = json_is_integer(index);
        sub.index = (uint64_t)json_integer_value(index);
        r = submit(s, c, &sub, &job, NULL, &diags, err);
        if (r < 0)
            r = jb_fail(err, -r, "%s: %.400s", old->id, diags ? diags : err->text);
    }
    if (r == 0 && uid != c->uid) {
        r = jb_qstore_event(s->q->store, job->num, JB_UNSET, s->now_us, "requeue", c->user, err);
        s->q->broken = s->q->broken || r < 0;
    }
    if (r == 0)
        (void)json_array_append_new(submitted, json_pack("{s:s, s:I, s:I, s:s}", "was", old->id, "job",
                                                         (json_int_t)job->num, "tasks",
                                                         (json_int_t)job->n_tasks, "name", job->name));
    json_decref(env);
    json_decref(list);
    jb_qstore_extra_free(&x);
    owner_free(&owner);
    return r;
}

/* What runs is ended and put back; what has ended is submitted once more, under a new number. */
static int do_requeue(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct jb_picks p = {.want_ended = true};
    int r = jb_pick_all(s, c, request, &p, err);
    if (r == 0) {
        struct outcome o = {.done = json_array(), .failed = p.failed};
        json_t *submitted = json_array();
        r = act_on(s, c, request, &p, requeue_one, &o);
        for (size_t i = 0; r == 0 && i < p.n_ended; i++) {
            struct jb_error one = {0};
            if (submit_again(s, c, &p.ended[i], submitted, &one) < 0)
                note(&o, &one);
            r = s->q->broken ? -EIO : 0;
        }
        r = tell_outcome(c, &o, submitted, r, err);
    }
    jb_picks_free(&p);
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
    char name[JB_TASK_NAME];
    int r = jb_pick_id(s, c, id ? id : "", &p, err);
    if (r == 0 && p.n > 0 && !jb_conn_may_act(s, c, p.tasks[0]->job->uid))
        r = jb_fail(err, EPERM, "%s: it is the job of %s, and you are no operator of this queue", id,
                    p.tasks[0]->job->user);
    if (r == 0 && p.n > 1)
        r = jb_fail(err, EINVAL, "%s: an array has a box for each task; name one, such as %s", id,
                    jb_task_name(p.tasks[0], name, sizeof(name)));
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
        (void)json_array_append_new(s->q->launches,
                                    json_pack("{s:s, s:I, s:I, s:s, s:O}", "do", "control", "token",
                                              (json_int_t)c->token, "uid", (json_int_t)c->uid, "id",
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
