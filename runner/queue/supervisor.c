/*
 * supervisor.c - one attempt of a queued job, in a child of the nursery.
 *
 * Owns: the attempt. Runs in: a child of the nursery, which is the supervisor. Privilege: jobboxd's; the job's and the
 * submitter's own things are done with the submitter's identity (box/identity.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/str.h"
#include "job/job.h"
#include "queue/launch.h"
#include "queue/store.h"

static uint64_t number(const json_t *request, const char *key)
{
    const json_t *value = json_object_get(request, key);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value)
                                                                    : JB_UNSET;
}

static const char *text(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

int jb_nursery_submitter(const struct jb_nursery_ctx *ctx, const json_t *request, struct jb_submitter *ret)
{
    const json_t *groups = json_object_get(request, "groups");
    const json_t *env = json_object_get(request, "env");
    size_t n = json_array_size(groups);
    struct jb_submitter s = {
        .uid = (uid_t)number(request, "uid"),
        .gid = (gid_t)number(request, "gid"),
        .groups = calloc(n + 1, sizeof(gid_t)),
        .user = strdup(text(request, "user") ? text(request, "user") : "?"),
        .home = strdup(text(request, "home") ? text(request, "home") : "/"),
        .cwd = strdup(text(request, "cwd") ? text(request, "cwd") : "/"),
        .privileged = ctx->self->privileged,
    };
    int r = s.groups && s.user && s.home && s.cwd ? 0 : -ENOMEM;
    for (; r == 0 && s.n_groups < n; s.n_groups++)
        s.groups[s.n_groups] = (gid_t)json_integer_value(json_array_get(groups, s.n_groups));
    for (size_t i = 0; r == 0 && i < json_array_size(env); i++)
        r = jb_strv_add(&s.env, json_string_value(json_array_get(env, i)));
    if (r < 0)
        jb_submitter_free(&s);
    else
        *ret = s;
    return r;
}

/*
 * logs/<task>/<attempt>.out and .err below the state directory, each made for its first byte: most of a short job's way to
 * the disk would be empty files.
 */
struct logs {
    int root_fd; /* logs/ */
    int fd[2];
    uint64_t task;
    unsigned attempt;
};
#define LOGS_INIT ((struct logs){.root_fd = -1, .fd = {-1, -1}})

static const char *const log_ends[2] = {"out", "err"};

static void logs_close(struct logs *l)
{
    jb_close(&l->root_fd);
    jb_close(&l->fd[0]);
    jb_close(&l->fd[1]);
}

/* That they cannot be made is told before anything runs, as far as it can be known; what the power took the end of is gone. */
static int logs_begin(const struct jb_state *state, const json_t *request, struct logs *ret,
                      struct jb_error *err)
{
    struct logs l = LOGS_INIT;
    char name[32];
    l.task = number(request, "task");
    l.attempt = (unsigned)number(request, "attempt");
    int r = jb_mkdir_p(state->state_fd, "logs", 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &l.root_fd);
    if (r < 0)
        return jb_fail_errno(err, r, "%s/logs", state->state_dir);
    (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)l.task);
    jb_autoclose int at = jb_open_at(l.root_fd, name, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    for (int i = 0; at >= 0 && i < 2; i++) {
        (void)snprintf(name, sizeof(name), "%u.%s", l.attempt, log_ends[i]);
        if (unlinkat(at, name, 0) < 0 && errno != ENOENT) {
            logs_close(&l);
            return jb_fail_errno(err, errno, "%s/logs/%llu/%s", state->state_dir, (unsigned long long)l.task,
                                 name);
        }
    }
    if (at < 0 && at != -ENOENT) {
        logs_close(&l);
        return jb_fail_errno(err, at, "%s/logs/%llu", state->state_dir, (unsigned long long)l.task);
    }
    *ret = l;
    return 0;
}

static int log_open(void *ctx, bool err)
{
    struct logs *l = ctx;
    char name[32];
    jb_autoclose int at = -1;
    (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)l->task);
    int r = jb_mkdir_p(l->root_fd, name, 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &at);
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), "%u.%s", l->attempt, log_ends[err]);
    l->fd[err] = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return l->fd[err] < 0 ? -errno : l->fd[err];
}

static void answer_end(const struct jb_nursery_ctx *ctx, const json_t *request, const json_t *record)
{
    struct jb_end end = {0};
    if (jb_end_from_record(record, &end) < 0)
        return; /* the daemon finds the record itself */
    jb_nursery_answer(ctx, json_pack("{s:O, s:O, s:o}", "task", json_object_get(request, "task"), "id",
                                     json_object_get(request, "id"), "end", jb_end_to_json(&end)));
    jb_end_free(&end);
    JB_CRASH_POINT(end_answered);
}

static void answer_failure(const struct jb_nursery_ctx *ctx, const json_t *request, const char *failure,
                           const struct jb_error *err)
{
    char shown[1024];
    (void)snprintf(shown, sizeof(shown), "%s", err->text);
    json_t *error = json_string(shown);
    jb_nursery_answer(ctx,
                      json_pack("{s:O, s:O, s:s, s:i, s:o}", "task", json_object_get(request, "task"), "id",
                                json_object_get(request, "id"), "failure", failure, "errnum", err->errnum,
                                "error", error ? error : json_string("the box could not be made")));
}

static int parse(const json_t *request, struct jb_spec **ret, struct jb_error *err)
{
    struct jb_diags diags = {0};
    const char *yaml = text(request, "spec");
    const char *file = text(request, "file");
    int r = jb_spec_parse(file ? file : "job", yaml ? yaml : "", yaml ? strlen(yaml) : 0, ret, &diags);
    if (r == 0) {
        uint64_t memory = number(request, "memory");
        if (memory != JB_UNSET)
            (*ret)->resources.memory = memory;
        return 0;
    }
    jb_autofree char *all = jb_diags_format(&diags);
    jb_diags_free(&diags);
    return jb_fail(err, -r, "%s", all ? all : "the spec cannot be read");
}

static int run(const struct jb_nursery_ctx *ctx, const json_t *request, json_t **ret_record,
               enum jb_job_failure *ret_failure, struct jb_error *err)
{
    jb_autostate struct jb_state state = JB_STATE_INIT;
    jb_autospec struct jb_spec *spec = NULL;
    struct jb_submitter who = {0};
    struct jb_error warning = {0};
    struct logs logs = LOGS_INIT;
    struct jb_job_queued queued = {
        .plan = {.job = number(request, "job"),
                 .attempt = (unsigned)number(request, "attempt"),
                 .array_index = number(request, "index")},
        .queue = text(request, "queue"),
        .task = number(request, "task"),
        .submitted_us = number(request, "submitted_us"),
        .eligible_us = number(request, "eligible_us"),
    };
    (void)snprintf(queued.id.text, sizeof(queued.id.text), "%s",
                   text(request, "id") ? text(request, "id") : "");
    *ret_failure = JB_JOB_BAD_SPEC;
    int r = parse(request, &spec, err);
    if (r < 0)
        return r;
    *ret_failure = JB_JOB_NO_BOX;
    if (jb_nursery_submitter(ctx, request, &who) < 0)
        return jb_fail_errno(err, ENOMEM, "starting a job");
    r = jb_state_paths(ctx->site, ctx->self, &state, err);
    if (r == 0) /* of its own: locks on shared descriptors would be shared too */
        r = jb_state_open(&state, ctx->self, err);
    if (r == 0)
        r = logs_begin(&state, request, &logs, err);
    const struct jb_job_options options = {
        .spec = spec,
        .site = ctx->site,
        .submitter = &who,
        .state = &state,
        .origin = "queue",
        .queued = &queued,
        .out_fd = -1,
        .err_fd = -1,
        .late_output = log_open,
        .late_ctx = &logs,
        .changes_fd = -1,
        .tty_fd = -1,
    };
    if (r == 0)
        r = jb_job_run(&options, ret_record, ret_failure, &warning, err);
    logs_close(&logs);
    if (warning.errnum)
        (void)fprintf(stderr, "jobboxd: %s: %s\n", queued.id.text, warning.text);
    jb_submitter_free(&who);
    return r;
}

void jb_supervisor_run(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    static const char *const failures[] = {[JB_JOB_RAN] = "box",
                                           [JB_JOB_BAD_SPEC] = "spec",
                                           [JB_JOB_NO_BOX] = "box",
                                           [JB_JOB_CANCELLED] = "cancelled"};
    struct jb_error err = {0};
    enum jb_job_failure failure = JB_JOB_NO_BOX;
    json_t *record = NULL;
    char name[16];
    (void)snprintf(name, sizeof(name), "jobbox:%llu", (unsigned long long)number(request, "job"));
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    (void)umask(022);
    JB_CRASH_POINT(queued_begun);
    int r = run(ctx, request, &record, &failure, &err);
    if (r == 0) {
        answer_end(ctx, request, record);
        json_decref(record);
    } else if (r == -EBUSY) {
        answer_failure(ctx, request, "busy", &err);
    } else {
        answer_failure(ctx, request, failures[failure], &err);
    }
}
