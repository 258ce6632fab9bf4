/*
 * enqueue.c - from a submission to a job in the queue.
 *
 * Owns: nothing beyond its calls. Runs in: jobboxd. Privilege: jobboxd's; the text of a spec is a stranger's.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"
#include "plan/plan.h"
#include "queue/array.h"
#include "queue/capacity.h"
#include "queue/passed.h"
#include "queue/queue.h"

#define DEPS_MAX   1000U
#define NOTIFY_MAX 4096U
#define US(ns)     ((ns) == JB_UNSET ? JB_UNSET : (ns) / JB_NS_PER_US)

/* The name of its file without the ending, as `jobbox run` takes it. */
static char *name_of(const struct jb_spec *spec)
{
    const char *slash = strrchr(spec->file, '/');
    const char *base = slash ? slash + 1 : spec->file;
    const char *dot = strrchr(base, '.');
    if (spec->name)
        return strdup(spec->name);
    if (base[0] == '(')
        return strdup("job");
    char *name = strndup(base, dot && dot != base ? (size_t)(dot - base) : strnlen(base, 64));
    for (char *c = name; c && *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '_';
    if (name && (!*name || *name == '-' || *name == '.')) {
        free(name);
        name = strdup("job");
    }
    return name;
}

/* What it takes from others, by the site's defaults; and whether it could ever be had. */
static int need_of(const struct jb_queue *q, const struct jb_spec *spec, struct jb_need *ret,
                   struct jb_error *err)
{
    struct jb_request request;
    struct jb_grant grant;
    const struct jb_ledger empty = {0};
    int r = jb_plan_request(spec, q->site, &request, err);
    if (r == 0)
        r = jb_place(&q->machine, &empty, &request, &grant, err);
    if (r < 0)
        return r;
    *ret = (struct jb_need){
        .pus = (uint32_t)jb_cpus_count(request.exclusive ? &grant.held : &grant.cpus),
        .shared = !request.exclusive,
        .devices = spec->resources.devices.len > 0,
        .memory = request.memory == JB_UNSET ? 0 : request.memory,
        .scratch = spec->resources.scratch == JB_UNSET ? 0 : spec->resources.scratch,
        .pids = spec->resources.pids == JB_UNSET ? 0 : spec->resources.pids,
    };
    return 0;
}

static int no_room(const struct jb_spec *spec, enum jb_key key, uint64_t asked, uint64_t most, bool is_size,
                   struct jb_error *err)
{
    char where[512];
    char a[48];
    char b[48];
    if (asked <= most)
        return 0;
    (void)snprintf(a, sizeof(a), "%llu", (unsigned long long)asked);
    (void)snprintf(b, sizeof(b), "%llu", (unsigned long long)most);
    return jb_fail(err, ERANGE, "%s: %s wanted, and all jobs of this host together have %s; ask for less",
                   jb_spec_where(spec, key, where, sizeof(where)),
                   is_size ? jb_format_size(asked, a, sizeof(a)) : a,
                   is_size ? jb_format_size(most, b, sizeof(b)) : b);
}

static int over_limit(const struct jb_spec *spec, uint32_t pus, uint64_t most, const char *of,
                      struct jb_error *err)
{
    char where[512];
    if (most == JB_UNSET || pus <= most)
        return 0;
    return jb_fail(err, EPERM, "%s: %u hardware threads, and this site allows %s %llu at once; ask for less",
                   jb_spec_where(spec, spec->resources.cpu_set_said ? JB_KEY_CPU_SET : JB_KEY_CPUS, where,
                                 sizeof(where)),
                   (unsigned)pus, of, (unsigned long long)most);
}

/* What could never start is refused now, and does not wait for ever: CPUs and memory were placed already. */
static int ever_fits(const struct jb_queue *q, const struct jb_spec *spec, const struct jb_need *need,
                     struct jb_error *err)
{
    struct jb_need whole;
    jb_queue_whole(q, &whole);
    int r = no_room(spec, JB_KEY_SCRATCH, need->scratch, whole.scratch, true, err);
    if (r == 0)
        r = no_room(spec, JB_KEY_PIDS, need->pids, whole.pids, false, err);
    if (r == 0)
        r = over_limit(spec, need->pus, q->site->queue.user_limits.cpus, "each user", err);
    if (r == 0 && spec->account)
        r = over_limit(spec, need->pus, q->site->queue.account_limits.cpus, "each account", err);
    return r;
}

static int times_of(const struct jb_queue *q, const struct jb_spec *spec, uint64_t now_us,
                    struct jb_qjob *job, struct jb_error *err)
{
    char where[512];
    uint64_t wall =
        spec->limits.wall_time_ns != JB_UNSET ? spec->limits.wall_time_ns : q->site->wall_time.deflt;
    if (q->site->wall_time.max != JB_UNSET && wall == JB_UNSET)
        wall = q->site->wall_time.max;
    if (q->site->wall_time.max != JB_UNSET && wall > q->site->wall_time.max)
        return jb_fail(err, EPERM, "%s: it is more than this site allows; ask for less",
                       jb_spec_where(spec, JB_KEY_WALL_TIME, where, sizeof(where)));
    job->wall_us = US(wall);
    job->deadline_us = JB_UNSET;
    if (spec->begin && jb_parse_when(spec->begin, now_us, &job->begin_us) < 0)
        return jb_fail(err, EINVAL, "%s: not a time",
                       jb_spec_where(spec, JB_KEY_BEGIN, where, sizeof(where)));
    if (spec->deadline && jb_parse_when(spec->deadline, now_us, &job->deadline_us) < 0)
        return jb_fail(err, EINVAL, "%s: not a time",
                       jb_spec_where(spec, JB_KEY_DEADLINE, where, sizeof(where)));
    if (job->deadline_us != JB_UNSET && job->begin_us >= job->deadline_us)
        return jb_fail(err, EINVAL, "%s: it is not later than begin, so the job could never run",
                       jb_spec_where(spec, JB_KEY_DEADLINE, where, sizeof(where)));
    if (job->deadline_us != JB_UNSET && job->deadline_us <= now_us)
        return jb_fail(err, EINVAL, "%s: it has passed already",
                       jb_spec_where(spec, JB_KEY_DEADLINE, where, sizeof(where)));
    return 0;
}

static int add_dep(const char *where, struct jb_qjob *job, const struct jb_dep *dep, struct jb_error *err)
{
    if (job->n_deps >= DEPS_MAX)
        return dep->kind == JB_DEP_SINGLETON
                   ? jb_fail(
                         err, E2BIG,
                         "%s: more than %u earlier jobs named %s have not ended; submit it when they have",
                         where, DEPS_MAX, job->name)
                   : jb_fail(err, E2BIG,
                             "%s: more than %u jobs to wait for; put a job in between that waits for some of "
                             "them",
                             where, DEPS_MAX);
    struct jb_dep *grown = realloc(job->deps, (job->n_deps + 1) * sizeof(*grown));
    if (!grown)
        return jb_fail_errno(err, ENOMEM, "the queue");
    job->deps = grown;
    job->deps[job->n_deps++] = *dep;
    job->unmet += !dep->met;
    return 0;
}

static int singleton(struct jb_queue *q, const char *where, struct jb_qjob *job, struct jb_error *err)
{
    const struct jb_qjob *other;
    int r = 0;
    for (size_t at = 0; r == 0 && (other = jb_map_next(&q->jobs, &at));)
        if (other->uid == job->uid && jb_streq(other->name, job->name))
            r = add_dep(where, job, &(struct jb_dep){.on = other->num, .kind = JB_DEP_SINGLETON}, err);
    return r;
}

/*
 * A dependency on a job of somebody else, or on none, is the same to who may not know. The store counts the tasks of a job
 * one by one: only what is over is asked of it.
 */
static int dep_on(struct jb_queue *q, const char *where, uint64_t num, enum jb_dep_kind kind,
                  struct jb_qjob *job, struct jb_error *err)
{
    const struct jb_qjob *other = jb_map_get(&q->jobs, num);
    uint64_t tasks = 0;
    uint64_t left = other ? other->n_left : 0;
    uint64_t bad = 0;
    uid_t uid = other ? other->uid : 0;
    int r = other ? 0 : jb_qstore_outcome(q->store, num, &tasks, &left, &bad, &uid, err);
    if (r == -ENOENT || (r == 0 && q->site->queue.private_jobs && uid != job->uid && job->uid != 0))
        return jb_fail(err, ENOENT, "%s: there is no job %llu", where, (unsigned long long)num);
    if (r == 0 && left == 0 && kind != JB_DEP_ANY && (kind == JB_DEP_FAILURE) != (bad > 0))
        return jb_fail(err, EINVAL, "%s: job %llu has ended already, and not with %s", where,
                       (unsigned long long)num, jb_dep_name(kind));
    return r < 0 ? r : add_dep(where, job, &(struct jb_dep){.on = num, .kind = kind, .met = left == 0}, err);
}

/* Each once, however often it is named. */
static int deps_of(struct jb_queue *q, const struct jb_spec *spec, struct jb_qjob *job, struct jb_error *err)
{
    static const enum jb_dep_kind kinds[] = {
        [JB_WHEN_SUCCESS] = JB_DEP_SUCCESS, [JB_WHEN_FAILURE] = JB_DEP_FAILURE, [JB_WHEN_ANY] = JB_DEP_ANY};
    struct jb_map seen[JB_DEP_MAX] = {0};
    char where[512];
    int r = 0;
    (void)jb_spec_where(spec, JB_KEY_DEPENDS_ON, where, sizeof(where));
    for (size_t i = 0; r == 0 && i < spec->n_depends_on; i++) {
        const struct jb_spec_dependency *d = &spec->depends_on[i];
        enum jb_dep_kind kind = d->singleton ? JB_DEP_SINGLETON : kinds[d->when];
        uint64_t on = d->singleton ? 0 : d->job;
        if (jb_map_get(&seen[kind], on))
            continue;
        if (jb_map_put(&seen[kind], on, job) < 0)
            r = jb_fail_errno(err, ENOMEM, "the queue");
        else
            r = d->singleton ? singleton(q, where, job, err) : dep_on(q, where, on, kind, job, err);
    }
    for (size_t k = 0; k < JB_ARRAY_LEN(seen); k++)
        jb_map_free(&seen[k]);
    return r;
}

static int notify_of(const struct jb_queue *q, const struct jb_spec *spec, struct jb_qjob *job,
                     struct jb_qstore_extra *x, struct jb_error *err)
{
    char where[512];
    (void)jb_spec_where(spec, JB_KEY_NOTIFY, where, sizeof(where));
    if (spec->notify.mail && q->site->queue.mail.len == 0)
        return jb_fail(err, EPERM, "%s: this site sends no mail; leave it out", where);
    if (spec->notify.program.len && !q->site->queue.notify_programs)
        return jb_fail(err, EPERM, "%s: this site runs no programs for notifications; leave it out", where);
    for (enum jb_notify_on n = 0; n < JB_NOTIFY_MAX; n++)
        job->notify |= spec->notify.on[n] ? 1U << n : 0U;
    if (!spec->notify.mail && !spec->notify.program.len)
        job->notify = 0;
    x->mail = spec->notify.mail ? strdup(spec->notify.mail) : NULL;
    if (spec->notify.program.len) {
        json_t *argv = json_array();
        for (size_t i = 0; i < spec->notify.program.len; i++)
            (void)json_array_append_new(argv, jb_json_text(spec->notify.program.items[i]));
        x->program = json_dumps(argv, JSON_COMPACT);
        json_decref(argv);
        if (x->program &&
            strlen(x->program) > NOTIFY_MAX) /* it is kept for each task that somebody is told of */
            return jb_fail(err, E2BIG, "%s: program has more than %u bytes; put it into a script", where,
                           NOTIFY_MAX);
    }
    return 0;
}

/* The site's limits on what one may have in the queue. */
static int limits_of(const struct jb_queue *q, const struct jb_qjob *job, struct jb_error *err)
{
    const struct jb_site_limits *user = &q->site->queue.user_limits;
    const struct jb_site_limits *account = &q->site->queue.account_limits;
    const struct jb_qjob *other;
    uint64_t of_user = job->n_tasks;
    uint64_t of_account = job->n_tasks;
    if (job->n_tasks > q->site->queue.array)
        return jb_fail(err, EPERM, "an array of %zu is more than this site allows (%llu); submit it in parts",
                       job->n_tasks, (unsigned long long)q->site->queue.array);
    if (user->queued == JB_UNSET && account->queued == JB_UNSET)
        return 0;
    for (size_t at = 0; (other = jb_map_next(&q->jobs, &at));) {
        of_user += other->uid == job->uid ? other->n_left : 0;
        of_account +=
            job->account && other->account && jb_streq(other->account, job->account) ? other->n_left : 0;
    }
    if (of_user > user->queued)
        return jb_fail(err, EPERM,
                       "you would have %llu jobs in the queue, and this site allows %llu; wait for some",
                       (unsigned long long)of_user, (unsigned long long)user->queued);
    if (job->account && of_account > account->queued)
        return jb_fail(
            err, EPERM,
            "account %s would have %llu jobs in the queue, and this site allows %llu; wait for some",
            job->account, (unsigned long long)of_account, (unsigned long long)account->queued);
    return 0;
}

static char *groups_of(const struct jb_submission *s)
{
    struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (size_t i = 0; r == 0 && i < s->n_groups; i++)
        r = jb_buf_printf(&buf, "%s%u", i ? "," : "", (unsigned)s->groups[i]);
    return r == 0 ? buf.data : NULL;
}

static bool has_group(const struct jb_submission *s, const char *group)
{
    struct group entry;
    struct group *found = NULL;
    uint64_t gid;
    char buf[65536];
    if (getgrnam_r(group, &entry, buf, sizeof(buf), &found) == 0 && found)
        gid = entry.gr_gid;
    else if (jb_parse_u64(group, UINT32_MAX - 1, &gid) < 0)
        return false;
    bool has = s->gid == gid;
    for (size_t i = 0; !has && i < s->n_groups; i++)
        has = s->groups[i] == gid;
    return has;
}

static bool is_member(const struct jb_queue *q, const struct jb_submission *s,
                      const struct jb_site_account *account)
{
    if (s->uid == 0 || s->uid == q->self->uid || jb_strv_has(&q->site->queue.admins, s->user) ||
        jb_strv_has(&account->members, s->user))
        return true;
    for (size_t i = 0; i < account->members.len; i++)
        if (account->members.items[i][0] == '@' && has_group(s, account->members.items[i] + 1))
            return true;
    return false;
}

/* Whether the submitter may use the account, where the site lists them; what is his otherwise. */
static int account_of(const struct jb_queue *q, const struct jb_submission *s, const struct jb_spec *spec,
                      struct jb_error *err)
{
    jb_autobuf struct jb_buf own = {0};
    char where[512];
    bool listed = false;
    if (!spec->account || q->site->queue.any_account)
        return 0;
    for (size_t i = 0; i < q->site->queue.n_accounts; i++) {
        const struct jb_site_account *account = &q->site->queue.accounts[i];
        bool asked = jb_streq(account->name, spec->account);
        bool member = is_member(q, s, account);
        if (asked && member)
            return 0;
        listed = listed || asked;
        if (member && own.len < 200 && jb_buf_printf(&own, "%s%s", own.len ? ", " : "", account->name) < 0)
            return jb_fail_errno(err, ENOMEM, "the queue");
    }
    (void)jb_spec_where(spec, JB_KEY_ACCOUNT, where, sizeof(where));
    return jb_fail(err, EPERM, "%s: %s account %s; %s%s", where,
                   listed ? "you are not in" : "this site has no", spec->account, own.len ? "yours: " : "",
                   own.len ? own.data : "leave it out, or ask whoever administers this queue");
}

/* Everything about the job but its tasks. */
static int describe(struct jb_queue *q, const struct jb_submission *s, const struct jb_spec *spec,
                    uint64_t now_us, struct jb_qjob *job, struct jb_qstore_extra *x, struct jb_error *err)
{
    *x = (struct jb_qstore_extra){
        .spec = strndup(s->spec, s->spec_len),
        .file = strdup(s->file),
        .home = strdup(s->home),
        .cwd = strdup(s->cwd),
        .groups = groups_of(s),
        .env = jb_passed_env(&spec->pass_env, s->env),
    };
    job->uid = s->uid;
    job->gid = s->gid;
    job->user = strdup(s->user);
    job->name = name_of(spec);
    job->account = spec->account ? strdup(spec->account) : NULL;
    job->priority = s->has_priority ? s->priority : spec->priority;
    job->submitted_us = now_us;
    job->is_array = spec->array != NULL;
    job->n_tasks = 1;
    job->array_limit = JB_UNSET;
    if (spec->array)
        job->n_tasks = (size_t)jb_array_count(spec->array, &job->array_limit);
    if (spec->array && s->one_index)
        job->n_tasks = 1;
    job->retry_max = spec->retry_max;
    job->retry_backoff_us = spec->retry_backoff_ns / JB_NS_PER_US;
    job->retry_memory_micro = spec->retry_memory_micro;
    job->own_stdout = spec->stdout_path != NULL;
    if (!x->spec || !x->file || !x->home || !x->cwd || !x->groups || !job->user || !job->name ||
        jb_strv_copy(&job->retry_on, &spec->retry_on) < 0)
        return jb_fail_errno(err, ENOMEM, "the queue");
    int r = account_of(q, s, spec, err);
    if (r == 0)
        r = need_of(q, spec, &job->need, err);
    if (r == 0)
        r = ever_fits(q, spec, &job->need, err);
    if (r == 0)
        r = times_of(q, spec, now_us, job, err);
    if (r == 0)
        r = notify_of(q, spec, job, x, err);
    if (r == 0)
        r = limits_of(q, job, err);
    if (r == 0)
        r = deps_of(q, spec, job, err);
    if (r == 0 && jb_fair_find(&q->fair, job->account, job->user, &job->share) < 0)
        r = jb_fail_errno(err, ENOMEM, "the queue");
    return r;
}

static int make_tasks(struct jb_qjob *job, const struct jb_spec *spec, const struct jb_submission *s,
                      struct jb_error *err)
{
    struct jb_array_walk walk;
    jb_array_begin(spec->array ? spec->array : "", &walk);
    job->tasks = calloc(job->n_tasks, sizeof(struct jb_qtask *));
    for (size_t i = 0; job->tasks && i < job->n_tasks; i++) {
        struct jb_qtask *t = calloc(1, sizeof(*t));
        if (!t)
            return jb_fail_errno(err, ENOMEM, "the queue");
        *t = (struct jb_qtask){.index = JB_UNSET, .job = job, .at = i, .held = s->hold, .memory = JB_UNSET};
        if (spec->array && s->one_index)
            t->index = s->index;
        else if (spec->array)
            (void)jb_array_next(&walk, &t->index);
        job->tasks[i] = t;
        job->n_left++;
    }
    return job->tasks ? 0 : jb_fail_errno(err, ENOMEM, "the queue");
}

/* What the box would refuse is refused now, as far as it can be known: policy and identity. */
static int check_policy(const struct jb_queue *q, const struct jb_submission *s, const struct jb_spec *spec,
                        struct jb_error *err)
{
    char where[512];
    bool foreign = q->self->uid == 0 && s->uid != 0;
    if (foreign && spec->user_kind == JB_USER_ROOT_IN_BOX)
        return jb_fail(
            err, EPERM,
            "%s: root in a box of the system's queue would be root of this host; use jobbox run, or a queue "
            "of your own (jobbox submit --own)",
            jb_spec_where(spec, JB_KEY_USER, where, sizeof(where)));
    return 0;
}

int jb_queue_submit(struct jb_queue *q, const struct jb_submission *s, uint64_t now_us,
                    struct jb_qjob **ret_job, char **ret_diags, struct jb_error *err)
{
    jb_autospec struct jb_spec *spec = NULL;
    struct jb_diags diags = {0};
    struct jb_qstore_extra x = {0};
    int r = jb_spec_parse(s->file, s->spec, s->spec_len, &spec, &diags);
    if (r < 0) {
        *ret_diags = jb_diags_format(&diags);
        jb_diags_free(&diags);
        return jb_fail(err, -r, "%s: the spec has faults", s->file);
    }
    r = check_policy(q, s, spec, err);
    if (r < 0)
        return r;
    struct jb_qjob *job = calloc(1, sizeof(*job));
    if (!job)
        return jb_fail_errno(err, ENOMEM, "the queue");
    r = describe(q, s, spec, now_us, job, &x, err);
    if (r == 0)
        r = make_tasks(job, spec, s, err);
    if (r < 0) {
        jb_qstore_extra_free(&x);
        jb_qjob_free(job);
        return r;
    }
    r = jb_queue_begin_change(q, err);
    if (r == 0)
        r = jb_qstore_add_job(q->store, job, &x, err);
    for (size_t i = 0; r == 0 && i < job->n_left; i++)
        r = jb_qstore_add_task(q->store, job->tasks[i], err);
    if (r == 0)
        r = jb_qstore_event(q->store, job->num, JB_UNSET, now_us, "submitted", NULL, err);
    if (r == 0 && jb_queue_add(q, job) < 0)
        r = jb_fail_errno(err, ENOMEM, "the queue");
    jb_qstore_extra_free(&x);
    if (r < 0) { /* half of it may be in the transaction */
        q->broken = true;
        return r;
    }
    bool eligible = !s->hold && job->unmet == 0 && job->begin_us <= now_us && q->site->n_budgets == 0;
    for (size_t i = 0; eligible && i < job->n_left; i++) /* else a pass finds out when it is */
        job->tasks[i]->eligible_us = now_us;
    q->durable = true;
    q->counts.submitted += job->n_tasks;
    JB_CRASH_POINT(job_noted);
    *ret_job = job;
    return 0;
}
