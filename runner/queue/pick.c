/*
 * pick.c - which jobs a request means, and what a peer may do to them.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's.
 */
#include "queue/pick.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define PREFIX_MIN 8

const char *jb_request_text(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

bool jb_request_flag(const json_t *request, const char *key)
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

json_t *jb_reply_ok(void)
{
    return json_pack("{s:i, s:b}", "v", JB_PROTOCOL, "ok", true);
}

static int pick(struct jb_picked *p, struct jb_qtask *t)
{
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

/* By the beginning of an attempt's id, of those that run first; what the peer may not know of is not there. */
static int find_attempt(struct jb_server *s, const struct jb_conn *c, const char *id, uint64_t *ret_num,
                        uint64_t *ret_task, struct jb_error *err)
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
        if (!t || !jb_starts_with(t->attempt.text, prefix) || !jb_conn_may_see(s, c, t->job->uid))
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
    bool any = !s->q->site->queue.private_jobs || jb_conn_is_operator(s, c);
    return n < PREFIX_MIN
               ? absent(id, err)
               : jb_qstore_find_attempt(s->q->store, prefix, any ? JB_UNSET : c->uid, ret_num, ret_task, err);
}

int jb_pick_named(struct jb_server *s, const struct jb_conn *c, const char *id, struct jb_picked *p,
                  struct jb_error *err)
{
    uint64_t num = JB_UNSET;
    uint64_t index = JB_UNSET;
    uint64_t task = JB_UNSET;
    uid_t uid = 0;
    int r = 0;
    if (!parse_number(id, &num, &index)) {
        r = find_attempt(s, c, id, &num, &task, err);
        if (r < 0)
            return r == -ENOENT ? absent(id, err) : r;
    }
    const struct jb_qjob *job = jb_map_get(&s->q->jobs, num);
    if (job)
        uid = job->uid;
    else
        r = jb_qstore_owner(s->q->store, num, &uid, err);
    if (r == -ENOENT || (r == 0 && !jb_conn_may_see(s, c, uid)))
        return absent(id, err);
    if (r == 0 && index != JB_UNSET) /* of an array, also one that has ended */
        r = jb_qstore_task_of(s->q->store, num, index, &task, err);
    if (r == -ENOENT)
        return absent(id, err);
    p->num = num;
    p->task = task;
    return r;
}

int jb_pick_left(struct jb_server *s, struct jb_picked *p)
{
    int r = 0;
    if (p->task != JB_UNSET) {
        struct jb_qtask *t = jb_map_get(&s->q->tasks, p->task);
        return t ? pick(p, t) : 0;
    }
    const struct jb_qjob *job = jb_map_get(&s->q->jobs, p->num);
    for (size_t i = 0; r == 0 && job && i < job->n_left; i++)
        r = pick(p, job->tasks[i]);
    return r;
}

int jb_pick_id(struct jb_server *s, const struct jb_conn *c, const char *id, struct jb_picked *p,
               struct jb_error *err)
{
    int r = jb_pick_named(s, c, id, p, err);
    if (r == 0 && jb_pick_left(s, p) < 0)
        r = jb_fail_errno(err, ENOMEM, "the queue");
    return r;
}

void jb_picks_free(struct jb_picks *picks)
{
    free(picks->all.tasks);
    free(picks->from);
    free(picks->ended);
    *picks = (struct jb_picks){0};
}

/* A failure of one id or name; the first one is told. */
static void note_failure(struct jb_picks *p, const struct jb_error *why)
{
    if (!p->failed.errnum)
        p->failed = *why;
}

/* Each task once, whatever names it. */
static int add(struct jb_picks *p, struct jb_map *seen, struct jb_qtask *t, uint32_t from)
{
    size_t cap = p->all.cap;
    if (jb_map_get(seen, t->id))
        return 0;
    if (jb_map_put(seen, t->id, t) < 0 || pick(&p->all, t) < 0)
        return -ENOMEM;
    if (p->all.cap != cap) {
        uint32_t *grown = realloc(p->from, p->all.cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        p->from = grown;
    }
    p->from[p->all.n - 1] = from;
    return 0;
}

/* What the ids of a request have named so far. */
struct named {
    struct jb_map jobs;  /* as a whole, by number */
    struct jb_map tasks; /* one by one, by id */
};

/* True: for the first time. -ENOMEM. */
static int first_time(struct named *named, const struct jb_picked *one)
{
    struct jb_map *map = one->task == JB_UNSET ? &named->jobs : &named->tasks;
    uint64_t key = one->task == JB_UNSET ? one->num : one->task;
    if (jb_map_get(map, key))
        return false;
    return jb_map_put(map, key, named) < 0 ? -ENOMEM : true;
}

static int add_ended(struct jb_picks *p, const char *id, const struct jb_picked *one)
{
    if ((p->n_ended & (p->n_ended - 1)) == 0) { /* grows at powers of two */
        struct jb_ended_pick *grown = realloc(p->ended, (p->n_ended ? p->n_ended * 2 : 1) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        p->ended = grown;
    }
    p->ended[p->n_ended++] = (struct jb_ended_pick){.id = id, .num = one->num, .task = one->task};
    return 0;
}

/* A job that is named as a whole has its tasks. */
static void drop_within(struct jb_picks *p, const struct named *named)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_ended; i++)
        if (p->ended[i].task == JB_UNSET || !jb_map_get(&named->jobs, p->ended[i].num))
            p->ended[n++] = p->ended[i];
    p->n_ended = n;
}

static int pick_one(struct jb_server *s, const struct jb_conn *c, const char *id, uint32_t from,
                    struct jb_picks *p, struct named *named, struct jb_map *seen)
{
    struct jb_picked one = {.num = JB_UNSET, .task = JB_UNSET};
    struct jb_error why = {0};
    int r = jb_pick_named(s, c, id, &one, &why);
    int full = r == 0 ? first_time(named, &one) : 0;
    if (r == 0 && full <= 0)
        return full;
    if (r == 0)
        full = jb_pick_left(s, &one);
    if (r == 0 && one.n > 0 && !jb_conn_may_act(s, c, one.tasks[0]->job->uid))
        r = jb_fail(&why, EPERM, "%s: it is the job of %s, and you are no operator of this queue", id,
                    one.tasks[0]->job->user);
    else if (r == 0 && one.n == 0 && !p->want_ended)
        r = jb_fail(&why, ESRCH, "%s: it has ended already", id);
    if (r < 0)
        note_failure(p, &why);
    if (r == 0 && full == 0 && one.n == 0)
        full = add_ended(p, id, &one);
    for (size_t k = 0; r == 0 && full == 0 && k < one.n; k++)
        full = add(p, seen, one.tasks[k], from);
    free(one.tasks);
    return full;
}

static int pick_ids(struct jb_server *s, const struct jb_conn *c, const json_t *ids, struct jb_picks *p,
                    struct jb_map *seen)
{
    struct named named = {0};
    size_t i;
    const json_t *item;
    int r = 0;
    json_array_foreach(ids, i, item)
    {
        const char *id = json_string_value(item) ? json_string_value(item) : "";
        r = pick_one(s, c, id, (uint32_t)i, p, &named, seen);
        if (r < 0)
            break;
    }
    drop_within(p, &named);
    jb_map_free(&named.jobs);
    jb_map_free(&named.tasks);
    return r;
}

static bool among(const json_t *list, const char *text)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        if (json_string_value(item) && jb_streq(json_string_value(item), text))
            return true;
    }
    return false;
}

static bool only_oneself(const struct jb_conn *c, const json_t *users)
{
    size_t i;
    const json_t *item;
    json_array_foreach(users, i, item)
    {
        if (!json_string_value(item) || !jb_streq(json_string_value(item), c->user))
            return false;
    }
    return true;
}

/* All of one's own, or of some users, perhaps of some names only. */
static int pick_groups(struct jb_server *s, const struct jb_conn *c, const json_t *request,
                       struct jb_picks *p, struct jb_map *seen)
{
    const json_t *names = json_object_get(request, "names");
    const json_t *users = json_object_get(request, "users");
    struct jb_qjob *job;
    size_t before = p->all.n;
    for (size_t at = 0; (job = jb_map_next(&s->q->jobs, &at));) {
        bool whose = json_array_size(users) ? among(users, job->user) : job->uid == c->uid;
        if (!whose || !jb_conn_may_act(s, c, job->uid) ||
            (json_array_size(names) && !among(names, job->name)))
            continue;
        for (size_t k = 0; k < job->n_left; k++)
            if (add(p, seen, job->tasks[k], JB_PICK_GROUP) < 0)
                return -ENOMEM;
    }
    struct jb_error none = {0};
    const char *name = json_string_value(json_array_get(names, 0));
    if (p->all.n == before && name) {
        (void)jb_fail(&none, ESRCH, "no job in the queue is named \"%.64s\"%s", name,
                      json_array_size(names) > 1 ? " or as the others" : "");
        note_failure(p, &none);
    }
    return 0;
}

int jb_pick_all(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct jb_picks *ret,
                struct jb_error *err)
{
    const json_t *users = json_object_get(request, "users");
    struct jb_map seen = {0};
    ret->all.num = ret->all.task = JB_UNSET;
    if (json_array_size(users) && !jb_conn_is_operator(s, c) && !only_oneself(c, users))
        return jb_fail(err, EPERM, "only operators act on the jobs of other users");
    int r = pick_ids(s, c, json_object_get(request, "ids"), ret, &seen);
    if (r == 0 && (json_array_size(json_object_get(request, "names")) || json_array_size(users) ||
                   jb_request_flag(request, "all")))
        r = pick_groups(s, c, request, ret, &seen);
    jb_map_free(&seen);
    return r < 0 ? jb_fail_errno(err, r, "the queue") : 0;
}
