/*
 * requests.c - what peers ask for, one function for each.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's; who may do what is asked of jb_conn_may_see and _may_act.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "job/control.h"
#include "queue/server.h"

#define LIST_MAX   10000
#define PREFIX_MIN 8

static const char *text(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

static bool flag(const json_t *request, const char *key)
{
    return json_is_true(json_object_get(request, key));
}

bool jb_conn_is_admin(const struct jb_server *s, const struct jb_conn *c)
{
    return c->uid == 0 || c->uid == s->q->self->uid || jb_strv_has(&s->q->site->queue.admins, c->user);
}

bool jb_conn_is_operator(const struct jb_server *s, const struct jb_conn *c)
{
    return jb_conn_is_admin(s, c) || jb_strv_has(&s->q->site->queue.operators, c->user);
}

bool jb_conn_may_act(const struct jb_server *s, const struct jb_conn *c, uid_t uid)
{
    return c->uid == uid || jb_conn_is_operator(s, c);
}

bool jb_conn_may_see(const struct jb_server *s, const struct jb_conn *c, uid_t uid)
{
    return !s->q->site->queue.private_jobs || jb_conn_may_act(s, c, uid);
}

static json_t *ok(void)
{
    return json_pack("{s:i, s:b}", "v", JB_PROTOCOL, "ok", true);
}

/* --- which tasks are meant --- */

/* Tasks that have not ended, and for jobs of which all have: their numbers. */
struct picked {
    struct jb_qtask **tasks;
    size_t n, cap;
    uint64_t num, task; /* what one text named, JB_UNSET: not one job, not one task */
};

static int pick(struct picked *p, struct jb_qtask *t)
{
    for (size_t i = 0; i < p->n && p->n < 64; i++)
        if (p->tasks[i] == t)
            return 0;
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct jb_qtask **grown = realloc(p->tasks, cap * sizeof(struct jb_qtask *));
        if (!grown)
            return -ENOMEM;
        p->tasks = grown;
        p->cap = cap;
    }
    p->tasks[p->n++] = t;
    return 0;
}

/* "41", "41_7": the number, and the index or JB_UNSET. */
static bool parse_number(const char *id, uint64_t *ret_num, uint64_t *ret_index)
{
    char digits[24];
    size_t n = strspn(id, "0123456789");
    if (n == 0 || n >= sizeof(digits) || (id[n] != '\0' && id[n] != '_'))
        return false;
    memcpy(digits, id, n);
    digits[n] = '\0';
    *ret_index = JB_UNSET;
    return jb_parse_u64(digits, INT64_MAX, ret_num) == 0 &&
           (id[n] == '\0' || jb_parse_u64(id + n + 1, INT64_MAX, ret_index) == 0);
}

static int absent(const char *id, struct jb_error *err)
{
    return jb_fail(err, ENOENT, "%.40s: there is no such job; jobbox ps lists them", id);
}

/* By the beginning of an attempt's id, of those that run first. */
static int find_attempt(struct jb_server *s, const char *id, uint64_t *ret_num, uint64_t *ret_task,
                        struct jb_error *err)
{
    char prefix[JB_ID_LEN + 1];
    size_t n = strlen(id);
    const struct jb_qtask *found = NULL;
    if (n == 0 || n > JB_ID_LEN)
        return absent(id, err);
    for (size_t i = 0; i <= n; i++)
        prefix[i] = (char)toupper((unsigned char)id[i]);
    if (strspn(prefix, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != n)
        return absent(id, err);
    for (size_t i = 0; i < s->q->running.len; i++) {
        const struct jb_qtask *t = s->q->running.items[i];
        if (!t || !jb_starts_with(t->attempt.text, prefix))
            continue;
        if (found)
            return jb_fail(err, ENOTUNIQ,
                           "%.40s: several attempts have an id that begins so; give more of it", id);
        found = t;
    }
    if (found) {
        *ret_num = found->job->num;
        *ret_task = found->id;
        return 0;
    }
    return n < PREFIX_MIN ? absent(id, err)
                          : jb_qstore_find_attempt(s->q->store, prefix, ret_num, ret_task, err);
}

/* One id, which the peer may know of; one that it may not is the same as none. */
static int pick_id(struct jb_server *s, const struct jb_conn *c, const char *id, struct picked *p,
                   struct jb_error *err)
{
    uint64_t num = JB_UNSET;
    uint64_t index = JB_UNSET;
    uint64_t task = JB_UNSET;
    uint64_t total = 0;
    uint64_t left = 0;
    uint64_t bad = 0;
    uid_t uid = 0;
    int r = 0;
    if (!parse_number(id, &num, &index)) {
        r = find_attempt(s, id, &num, &task, err);
        if (r < 0)
            return r == -ENOENT ? absent(id, err) : r;
    }
    const struct jb_qjob *job = jb_map_get(&s->q->jobs, num);
    if (job)
        uid = job->uid;
    else
        r = jb_qstore_outcome(s->q->store, num, &total, &left, &bad, &uid, err);
    if (r == -ENOENT || (r == 0 && !jb_conn_may_see(s, c, uid)))
        return absent(id, err);
    p->num = num;
    p->task = task;
    if (index != JB_UNSET && r == 0) { /* of an array, also one that has ended */
        json_t *list = NULL;
        const struct jb_qstore_query query = {
            .uid = JB_UNSET, .num = num, .task = JB_UNSET, .state = -1, .before = JB_UNSET, .limit = 0};
        for (size_t i = 0; job && i < job->n_left; i++)
            if (job->tasks[i]->index == index)
                p->task = task = job->tasks[i]->id;
        if (task == JB_UNSET)
            r = jb_qstore_list(s->q->store, &query, &list, err);
        for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
            const json_t *one = json_array_get(list, i);
            if (json_integer_value(json_object_get(one, "index")) == (json_int_t)index)
                p->task = task = (uint64_t)json_integer_value(json_object_get(one, "task"));
        }
        json_decref(list);
        if (r == 0 && task == JB_UNSET)
            return absent(id, err);
    }
    for (size_t i = 0; r == 0 && job && i < job->n_left; i++)
        if (task == JB_UNSET || job->tasks[i]->id == task)
            r = pick(p, job->tasks[i]);
    return r;
}

/* By `ids`, `names`, `users`, `all`: what is left of them in the queue, and only what the peer may act on. */
static int pick_all(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct picked *p,
                    struct jb_error *err)
{
    const json_t *ids = json_object_get(request, "ids");
    const json_t *names = json_object_get(request, "names");
    const json_t *users = json_object_get(request, "users");
    size_t i;
    const json_t *item;
    struct jb_qjob *job;
    p->num = p->task = JB_UNSET;
    json_array_foreach(ids, i, item)
    {
        const char *id = json_string_value(item);
        size_t before = p->n;
        int r = pick_id(s, c, id ? id : "", p, err);
        if (r < 0)
            return r;
        if (p->n > before && !jb_conn_may_act(s, c, p->tasks[before]->job->uid))
            return jb_fail(err, EPERM, "%s: it is the job of %s, and you are no operator of this queue", id,
                           p->tasks[before]->job->user);
        if (p->n == before)
            return jb_fail(err, ESRCH, "%s: it has ended already", id);
    }
    if (!json_array_size(names) && !json_array_size(users) && !flag(request, "all"))
        return 0;
    if (json_array_size(users) && !jb_conn_is_operator(s, c))
        return jb_fail(err, EPERM, "only operators act on the jobs of other users");
    for (size_t at = 0; (job = jb_map_next(&s->q->jobs, &at));) {
        bool mine = json_array_size(users) ? false : job->uid == c->uid;
        bool wanted = !json_array_size(names);
        json_array_foreach(users, i, item)
        {
            mine = mine || (json_string_value(item) && jb_streq(json_string_value(item), job->user));
        }
        json_array_foreach(names, i, item)
        {
            wanted = wanted || (json_string_value(item) && jb_streq(json_string_value(item), job->name));
        }
        for (size_t k = 0; mine && wanted && k < job->n_left; k++)
            if (pick(p, job->tasks[k]) < 0)
                return jb_fail_errno(err, ENOMEM, "the queue");
    }
    return 0;
}

/* --- requests --- */

static json_t *moment(uint64_t us)
{
    return us ? jb_json_time(us) : json_null();
}

static json_t *task_json(const struct jb_qtask *t)
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
        {"ending", json_boolean(t->asked_to_end)},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(items); i++)
        (void)jb_json_set(o, items[i].key, items[i].value);
    return o;
}

static int do_hello(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    json_t *reply = ok();
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
    const char *file = text(request, "file");
    const char *cwd = text(request, "cwd");
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
        .hold = flag(request, "hold"),
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
    json_t *reply = ok();
    (void)json_object_update_new(reply, json_pack("{s:I, s:I, s:s}", "job", (json_int_t)job->num, "tasks",
                                                  (json_int_t)job->n_tasks, "name", job->name));
    jb_conn_send(c, reply);
    return r;
}

static bool wanted_state(const char *state, const struct jb_qtask *t)
{
    const char *is = t->state == JB_TASK_RUNNING ? "running" : t->held ? "held" : "pending";
    return !state || jb_streq(state, "active") || jb_streq(state, "all") || jb_streq(state, is);
}

static int do_list(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const char *state = text(request, "state");
    const char *user = text(request, "user");
    const json_t *limit_json = json_object_get(request, "limit");
    size_t limit = json_is_integer(limit_json) && json_integer_value(limit_json) > 0 &&
                           json_integer_value(limit_json) < LIST_MAX
                       ? (size_t)json_integer_value(limit_json)
                       : LIST_MAX;
    bool all = flag(request, "all") || user;
    json_t *list = json_array();
    json_t *reply = ok();
    const struct jb_qlist *const lists[] = {&s->q->running, &s->q->pending};
    size_t more = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->len; i++) {
            const struct jb_qtask *t = lists[k]->items[i];
            if (!t || (!all && t->job->uid != c->uid) || (user && !jb_streq(user, t->job->user)) ||
                !jb_conn_may_see(s, c, t->job->uid) || !wanted_state(state, t))
                continue;
            if (json_array_size(list) < limit)
                (void)json_array_append_new(list, task_json(t));
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
                                        .limit = limit};
        json_t *done = NULL;
        r = jb_qstore_list(s->q->store, &query, &done, err);
        size_t i;
        json_t *one;
        json_array_foreach(done, i, one)
        {
            const char *of = text(one, "user");
            if (!user || (of && jb_streq(of, user)))
                (void)json_array_append(list, one);
        }
        json_decref(done);
    }
    (void)json_object_set_new(reply, "jobs", list);
    (void)json_object_set_new(reply, "more", json_integer((json_int_t)more));
    (void)json_object_set_new(reply, "drained", jb_json_text(s->q->drained));
    if (r == 0)
        jb_conn_send(c, reply);
    else
        json_decref(reply);
    return r;
}

/* Of one id: the rows of its tasks as they are stored or, for those left, as they are. */
static int rows(struct jb_server *s, const struct picked *p, json_t **ret, struct jb_error *err)
{
    const struct jb_qstore_query query = {.uid = JB_UNSET,
                                          .num = p->task == JB_UNSET ? p->num : JB_UNSET,
                                          .task = p->task,
                                          .state = -1,
                                          .before = JB_UNSET,
                                          .limit = LIST_MAX};
    json_t *list = NULL;
    int r = jb_qstore_list(s->q->store, &query, &list, err);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        uint64_t id = (uint64_t)json_integer_value(json_object_get(json_array_get(list, i), "task"));
        const struct jb_qtask *t = jb_map_get(&s->q->tasks, id);
        if (t)
            (void)json_array_set_new(list, i, task_json(t));
    }
    if (r == 0)
        *ret = list;
    return r;
}

static int do_show(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
    struct jb_qstore_extra x = {0};
    json_t *list = NULL;
    json_t *events = NULL;
    json_t *reply = ok();
    const char *id = text(request, "id");
    int r = pick_id(s, c, id ? id : "", &p, err);
    if (r == 0)
        r = rows(s, &p, &list, err);
    uid_t uid = (uid_t)json_integer_value(json_object_get(json_array_get(list, 0), "uid"));
    for (size_t i = 0; r == 0 && i < json_array_size(list) && i < 100; i++) {
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
        (void)json_object_set_new(reply, "jobs", json_incref(list));
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
    free(p.tasks);
    return r;
}

static int do_logs(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
    json_t *list = NULL;
    const json_t *tail = json_object_get(request, "tail");
    const json_t *attempt = json_object_get(request, "attempt");
    const char *id = text(request, "id");
    int r = pick_id(s, c, id ? id : "", &p, err);
    if (r == 0)
        r = rows(s, &p, &list, err);
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
    if (r == 0)
        r = jb_logs_begin(
            s, c, (uint64_t)json_integer_value(json_object_get(one, "task")),
            json_is_integer(attempt) ? (uint32_t)json_integer_value(attempt)
                                     : (uint32_t)json_integer_value(json_object_get(one, "attempts")),
            json_is_integer(tail) ? json_integer_value(tail) : -1, flag(request, "follow"), err);
    json_decref(list);
    free(p.tasks);
    return r;
}

/* The exit code of a job that has ended, from its row. */
static int64_t row_code(const json_t *one)
{
    const char *reason = text(one, "reason");
    const json_t *code = json_object_get(one, "exit_code");
    const json_t *sig = json_object_get(one, "signal");
    if (!reason || jb_streq(reason, "completed"))
        return 0;
    if (jb_streq(reason, "timeout"))
        return 120;
    if (jb_streq(reason, "oom"))
        return 121;
    if (jb_streq(reason, "cancelled"))
        return 123;
    if (json_is_integer(sig))
        return 128 + json_integer_value(sig);
    return json_is_integer(code) ? json_integer_value(code) : 124;
}

static int do_wait(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    const json_t *ids = json_object_get(request, "ids");
    size_t i;
    const json_t *item;
    int r = 0;
    c->exit_code = 0;
    json_array_foreach(ids, i, item)
    {
        struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
        json_t *list = NULL;
        size_t k;
        json_t *one;
        const char *id = json_string_value(item);
        r = pick_id(s, c, id ? id : "", &p, err);
        if (r == 0)
            r = rows(s, &p, &list, err);
        json_array_foreach(list, k, one)
        {
            uint64_t task = (uint64_t)json_integer_value(json_object_get(one, "task"));
            if (json_is_null(json_object_get(one, "ended"))) {
                if (jb_map_put(&c->waits, task, c) < 0)
                    r = jb_fail_errno(err, ENOMEM, "waiting");
                continue;
            }
            if (c->exit_code == 0)
                c->exit_code = row_code(one);
        }
        json_decref(list);
        free(p.tasks);
        if (r < 0) {
            jb_map_free(&c->waits);
            return r;
        }
    }
    if (c->waits.len == 0)
        jb_conn_send(c, json_pack("{s:i, s:b, s:b, s:I}", "v", JB_PROTOCOL, "ok", true, "done", true,
                                  "exit_code", (json_int_t)c->exit_code));
    return 0;
}

/* What is done to each of the tasks picked; how many it was done to is the answer. */
static int for_each(struct jb_server *s, struct jb_conn *c, const json_t *request,
                    int (*act)(struct jb_server *s, const struct jb_conn *c, struct jb_qtask *t,
                               struct jb_error *err),
                    struct jb_error *err)
{
    struct picked p = {0};
    json_t *reply = ok();
    json_t *done = json_array();
    struct jb_error first = {0};
    char name[JB_TASK_NAME];
    int r = pick_all(s, c, request, &p, err);
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
    struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = json_string_value(json_array_get(ids, 0));
    int r = pick_id(s, c, id ? id : "", &p, err);
    size_t left = p.n;
    free(p.tasks);
    if (r < 0)
        return r;
    if (left > 0)
        return for_each(s, c, request, requeue_one, err);
    struct jb_qstore_extra x = {0};
    json_t *list = NULL;
    r = rows(s, &p, &list, err);
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
    struct picked p = {0};
    if (!json_is_integer(value) || llabs(json_integer_value(value)) > 1000000)
        return jb_fail(err, EINVAL, "a priority is a whole number from -1000000 to 1000000");
    if (json_integer_value(value) > 0 && !jb_conn_is_operator(s, c))
        return jb_fail(err, EPERM, "only operators of this queue give priorities above 0");
    int r = pick_all(s, c, request, &p, err);
    for (size_t i = 0; r == 0 && i < p.n; i++)
        if (p.tasks[i]->job->priority != json_integer_value(value))
            r = jb_queue_priority(s->q, p.tasks[i]->job, json_integer_value(value), c->user, s->now_us, err);
    free(p.tasks);
    if (r == 0)
        jb_conn_send(c, ok());
    return r;
}

static int do_drain(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    bool off = flag(request, "off");
    const char *reason = text(request, "reason");
    jb_autofree char *why =
        off ? NULL : jb_asprintf("%.200s (%s)", reason ? reason : "no reason given", c->user);
    if (!jb_conn_is_admin(s, c))
        return jb_fail(err, EPERM, "only administrators of this queue drain the host");
    if (!off && !why)
        return jb_fail_errno(err, ENOMEM, "drain");
    int r = jb_queue_drain(s->q, why, err);
    if (r == 0) {
        json_t *reply = ok();
        (void)json_object_set_new(reply, "drained", jb_json_text(why));
        (void)json_object_set_new(reply, "running",
                                  json_integer((json_int_t)(s->q->running.len - s->q->running.holes)));
        jb_conn_send(c, reply);
    }
    return r;
}

static int do_stats(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
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
    json_t *reply = ok();
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

static int do_explain(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = text(request, "id");
    json_t *why = NULL;
    json_t *reply = ok();
    json_t *list = json_array();
    char name[JB_TASK_NAME];
    int r = pick_id(s, c, id ? id : "", &p, err);
    if (r == 0 && p.n == 0)
        r = jb_fail(err, ESRCH, "%s: it has ended already; jobbox show says how", id);
    for (size_t i = 0; r == 0 && i < p.n && i < 100; i++) {
        struct jb_qtask *t = p.tasks[i];
        if (t->state == JB_TASK_RUNNING)
            why = json_pack("{s:s, s:s}", "why", "running", "text", "it runs");
        else
            r = jb_queue_explain(s->q, t, s->now_us, &why, err);
        if (r < 0)
            break;
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

/* pause, resume, signal, update of a running job: its box's supervisor carries it out. */
static int do_control(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    struct picked p = {.num = JB_UNSET, .task = JB_UNSET};
    const char *id = text(request, "id");
    json_t *what = json_object_get(request, "request");
    jb_autofree char *line = what ? json_dumps(what, JSON_COMPACT) : NULL;
    struct jb_ask ask;
    int r = pick_id(s, c, id ? id : "", &p, err);
    if (r == 0 && (p.n != 1 || p.tasks[0]->state != JB_TASK_RUNNING))
        r = jb_fail(err, ESRCH, "%s: it does not run", id);
    if (r == 0 && !jb_conn_may_act(s, c, p.tasks[0]->job->uid))
        r = jb_fail(err, EPERM, "%s: it is the job of %s, and you are no operator of this queue", id,
                    p.tasks[0]->job->user);
    if (r == 0)
        r = line ? jb_ask_parse(line, strlen(line), &ask, err)
                 : jb_fail(err, EINVAL, "\"request\" is missing");
    if (r == 0 && c->token)
        r = jb_fail(err, EBUSY, "one question to a box at a time on a connection");
    if (r == 0) {
        c->token = ++s->tokens;
        (void)json_array_append_new(s->q->launches, json_pack("{s:s, s:I, s:s, s:O}", "do", "control",
                                                              "token", (json_int_t)c->token, "id",
                                                              p.tasks[0]->attempt.text, "request", what));
    }
    free(p.tasks);
    return r;
}

static int do_metrics(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err)
{
    jb_autofree char *all = jb_metrics_text(s);
    json_t *reply = ok();
    (void)request;
    if (!all) {
        json_decref(reply);
        return jb_fail_errno(err, ENOMEM, "metrics");
    }
    (void)json_object_set_new(reply, "text", jb_json_text(all));
    jb_conn_send(c, reply);
    return 0;
}

static const struct {
    const char *op;
    int (*run)(struct jb_server *s, struct jb_conn *c, const json_t *request, struct jb_error *err);
} ops[] = {
    {"hello", do_hello},     {"submit", do_submit},   {"list", do_list},         {"show", do_show},
    {"logs", do_logs},       {"wait", do_wait},       {"cancel", do_cancel},     {"hold", do_hold},
    {"release", do_release}, {"requeue", do_requeue}, {"priority", do_priority}, {"drain", do_drain},
    {"stats", do_stats},     {"explain", do_explain}, {"control", do_control},   {"metrics", do_metrics},
};

/* "GET /metrics HTTP/1.1": a scraper that speaks HTTP over the socket. */
static bool http(struct jb_server *s, struct jb_conn *c, const char *line, size_t len)
{
    if (len < 14 || strncmp(line, "GET /metrics ", 13) != 0)
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
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    const char *op = text(request, "op");
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
