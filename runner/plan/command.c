/*
 * command.c - what runs in the box: argv, environment, where its output goes, what comes out.
 *
 * Owns: those parts of the plan under construction. Runs in: the client. Privilege: none; pure.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/glob.h"
#include "plan/make.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The spec's, else what the image starts. */
static int make_argv(struct jb_plan *plan, const struct jb_plan_input *in)
{
    if (plan->stands)
        return 0;
    const struct jb_spec *spec = in->spec;
    if (!spec->script && spec->command.len)
        return jb_strv_copy(&plan->argv, &spec->command);
    if (!spec->script) {
        int r = jb_strv_copy(&plan->argv, &in->image->config.entrypoint);
        return r < 0 ? r : jb_strv_copy(&plan->argv, &in->image->config.cmd);
    }
    if (!jb_starts_with(spec->script, "#!")) {
        int r = jb_strv_add(&plan->argv, "/bin/sh");
        if (r == 0)
            r = jb_strv_add(&plan->argv, "-e");
        if (r < 0)
            return r;
    }
    return jb_strv_add(&plan->argv, JB_SCRIPT_PATH);
}

static const char *home_in_box(const struct jb_plan *plan, const struct jb_plan_input *in)
{
    if (jb_make_user_kind(in->spec) == JB_USER_ROOT_IN_BOX)
        return "/root";
    if (plan->image_kind == JB_IMAGE_HOST && plan->uid == in->submitter->uid)
        return in->submitter->home;
    return plan->uid == 0 ? "/root" : plan->workdir;
}

static int set_number(struct jb_strv *env, const char *key, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return jb_env_set(env, key, text);
}

/* What a job can find out about its grant, for make -j, OpenMP and scripts. */
static int grant_env(struct jb_plan *plan)
{
    struct jb_strv *env = &plan->env;
    jb_autofree char *list = jb_cpus_list(&plan->grant.cpus);
    if (!list)
        return -ENOMEM;
    bool whole_cores = plan->grant.cores > 0 && plan->grant.cores < jb_cpus_count(&plan->grant.cpus);
    int r = set_number(env, "JOBBOX_CPUS", jb_cpus_count(&plan->grant.cpus));
    if (r == 0 && !plan->reproducible) /* which they are is the host's matter */
        r = jb_env_set(env, "JOBBOX_CPU_LIST", list);
    if (r == 0)
        r = set_number(env, "OMP_NUM_THREADS",
                       whole_cores ? plan->grant.cores : jb_cpus_count(&plan->grant.cpus));
    if (r == 0)
        r = jb_env_set(env, "OMP_PLACES", whole_cores ? "cores" : "threads");
    if (r == 0 && plan->memory_max != JB_UNSET)
        r = set_number(env, "JOBBOX_MEMORY_BYTES", plan->memory_max);
    return r;
}

static bool passes(const struct jb_strv *patterns, const char *text)
{
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : 0;
    for (size_t i = 0; eq && i < patterns->len; i++) {
        const char *p = patterns->items[i];
        size_t plen = strlen(p);
        bool prefix = plen > 0 && p[plen - 1] == '*';
        if (prefix ? len >= plen - 1 && strncmp(text, p, plen - 1) == 0
                   : len == plen && strncmp(text, p, len) == 0)
            return true;
    }
    return false;
}

static int set_text(struct jb_strv *env, const char *text)
{
    const char *eq = strchr(text, '=');
    jb_autofree char *key = eq ? strndup(text, (size_t)(eq - text)) : NULL;
    return key ? jb_env_set(env, key, eq + 1) : -ENOMEM;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What the job's user is called in the box; NULL: not known. One who is not the submitter has a name of the image's. */
static int name_in_box(const struct jb_plan *plan, const struct jb_plan_input *in, char **ret)
{
    uint64_t number;
    const char *text = jb_make_user_kind(in->spec) == JB_USER_ROOT_IN_BOX   ? "root"
                       : plan->uid == in->submitter->uid                    ? in->submitter->user
                       : in->image->has_user && in->image->uid == plan->uid ? in->image->config.user
                                                                            : NULL;
    *ret = NULL;
    if (!text)
        return 0;
    jb_autofree char *name =
        strndup(text, text == in->image->config.user ? strcspn(text, ":") : strlen(text));
    if (!name)
        return -ENOMEM;
    if (text != in->image->config.user || jb_parse_u64(name, UINT64_MAX, &number) < 0)
        *ret = jb_take_ptr(name);
    return 0;
}

static int make_env(struct jb_plan *plan, const struct jb_plan_input *in)
{
    static const struct {
        const char *key, *value;
    } same[] = {{"LANG", "C.UTF-8"}, {"LC_ALL", "C.UTF-8"}, {"TZ", "UTC"}};
    struct jb_strv *env = &plan->env;
    jb_autofree char *user = NULL;
    int r = name_in_box(plan, in, &user);
    const struct {
        const char *key, *value;
    } fixed[] = {
        {"PATH", DEFAULT_PATH},
        {"HOME", home_in_box(plan, in)},
        {"USER", user},
        {"LOGNAME", user},
        {"SHELL", "/bin/sh"},
        {"TMPDIR", "/tmp"},
        {"JOBBOX_NAME", plan->name},
    };
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(fixed); i++)
        if (fixed[i].value)
            r = jb_env_set(env, fixed[i].key, fixed[i].value);
    if (r == 0 && !plan->reproducible) /* another one each time */
        r = jb_env_set(env, "JOBBOX_ID", plan->id.text);
    for (size_t i = 0; r == 0 && i < in->image->config.env.len; i++)
        if (!jb_starts_with(in->image->config.env.items[i], "JOBBOX_"))
            r = set_text(env, in->image->config.env.items[i]);
    if (r == 0)
        r = grant_env(plan);
    if (r == 0 && plan->job)
        r = jb_env_set(env, "JOBBOX_JOB", plan->job);
    if (r == 0 && plan->job)
        r = set_number(env, "JOBBOX_ATTEMPT", plan->attempt);
    if (r == 0 && plan->array_index != JB_UNSET)
        r = set_number(env, "JOBBOX_ARRAY_INDEX", plan->array_index);
    const char *term = jb_env_get(&in->submitter->env, "TERM");
    if (r == 0 && plan->tty)
        r = jb_env_set(env, "TERM", term ? term : "dumb");
    for (size_t i = 0; r == 0 && i < in->site->env.len; i++)
        r = set_text(env, in->site->env.items[i]);
    for (size_t i = 0; r == 0 && plan->reproducible && i < JB_ARRAY_LEN(same); i++)
        r = jb_env_set(env, same[i].key, same[i].value);
    if (r == 0)
        r = jb_make_device_env(plan);
    for (size_t i = 0; r == 0 && i < in->submitter->env.len; i++)
        if (passes(&in->spec->pass_env, in->submitter->env.items[i]))
            r = set_text(env, in->submitter->env.items[i]);
    for (size_t i = 0; r == 0 && i < in->spec->env.len; i++)
        r = set_text(env, in->spec->env.items[i]);
    if (r == 0 && plan->reproducible && env->len > 0)
        qsort(env->items, env->len, sizeof(*env->items), by_text);
    return r;
}

static int check_pattern(const char *path)
{
    struct jb_glob glob;
    int r = jb_glob_make(path, &glob);
    if (r == 0)
        jb_glob_free(&glob);
    return r;
}

static int make_artifacts(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_spec *spec = in->spec;
    plan->n_artifacts = spec->n_artifacts;
    plan->artifact_bytes_max = in->site->artifacts.max_bytes;
    plan->artifact_files_max = in->site->artifacts.max_files;
    plan->artifacts = jb_arena_alloc(&plan->arena, (spec->n_artifacts + 1) * sizeof(*plan->artifacts));
    if (!plan->artifacts)
        return jb_fail_errno(err, ENOMEM, "plan");
    for (size_t i = 0; i < spec->n_artifacts; i++) {
        const struct jb_spec_artifact *a = &spec->artifacts[i];
        plan->artifacts[i].path = a->path[0] == '/'
                                      ? jb_arena_strdup(&plan->arena, a->path)
                                      : jb_arena_printf(&plan->arena, "%s/%s", plan->workdir, a->path);
        if (!plan->artifacts[i].path)
            return jb_fail_errno(err, ENOMEM, "plan");
        int r = check_pattern(plan->artifacts[i].path);
        if (r < 0)
            return jb_fail(err, EINVAL, "%s:%u:%u: artifacts: path \"%s\" %s", spec->file, a->pos.line,
                           a->pos.column, a->path,
                           r == -E2BIG ? "has too many folders in it; write a shorter one"
                                       : "names nothing below the root; name a file or folder");
        plan->artifacts[i].when = a->when;
        plan->artifacts[i].max_bytes = a->max_bytes;
        plan->artifacts[i].max_files = a->max_files;
        if (jb_make_host_path(plan, plan->submitter_cwd, a->to, &plan->artifacts[i].to, err) < 0)
            return jb_wrap(err, "%s:%u:%u: artifacts", spec->file, a->pos.line, a->pos.column);
    }
    return 0;
}

int jb_make_command(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    int r = make_argv(plan, in);
    if (r == 0)
        r = make_env(plan, in);
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    if (plan->argv.len == 0 && !plan->stands) {
        char where[512];
        return jb_fail(
            err, EINVAL,
            "%s: is missing, and the image %s names no program to start; say what to run with \"script:\" "
            "or \"command:\"",
            jb_spec_where(in->spec, JB_KEY_SCRIPT, where, sizeof(where)), plan->image_ref);
    }
    return make_artifacts(plan, in, err);
}

/* %j id, %n name, %a array index, %u user, %% a percent sign; the parser let nothing else pass. */
static char *expand(struct jb_plan *plan, const struct jb_plan_input *in, const char *pattern)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (const char *p = pattern; r == 0 && *p; p++) {
        if (*p != '%') {
            r = jb_buf_add(&buf, p, 1);
            continue;
        }
        switch (*++p) {
        case 'j':
            r = jb_buf_puts(&buf, plan->id.text);
            break;
        case 'n':
            r = jb_buf_puts(&buf, plan->name);
            break;
        case 'u':
            r = jb_buf_puts(&buf, in->submitter->user);
            break;
        case 'a':
            r = jb_buf_printf(&buf, "%" PRIu64, plan->array_index == JB_UNSET ? 0 : plan->array_index);
            break;
        default:
            r = jb_buf_puts(&buf, "%");
            break;
        }
    }
    return r < 0 ? NULL : jb_arena_strdup(&plan->arena, buf.data);
}

static int stream_file(struct jb_plan *plan, const struct jb_plan_input *in, enum jb_key key,
                       const char *pattern, struct jb_plan_stream *ret, struct jb_error *err)
{
    char where[512];
    const char *path = expand(plan, in, pattern);
    if (!path)
        return jb_fail_errno(err, ENOMEM, "plan");
    ret->kind = JB_STREAM_FILE;
    if (jb_streq(path, "/dev/null"))
        ret->kind = JB_STREAM_NULL;
    if (jb_make_host_path(plan, plan->submitter_cwd, path, &ret->path, err) < 0)
        return jb_wrap(err, "%s", jb_spec_where(in->spec, key, where, sizeof(where)));
    return 0;
}

int jb_make_streams(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_spec *spec = in->spec;
    int r = 0;
    plan->stdin_.kind = JB_STREAM_NULL;
    plan->stdout_.kind = JB_STREAM_INHERIT;
    plan->stderr_.kind = spec->stderr_merge ? JB_STREAM_MERGE : JB_STREAM_INHERIT;
    const char *changes = in->changes_path ? in->changes_path : spec->changes_path;
    struct jb_plan_stream file = {0};
    plan->changes = in->changes || changes;
    if (changes && (r = stream_file(plan, in, JB_KEY_CHANGES, changes, &file, err)) < 0)
        return r;
    plan->changes_path = file.path;
    if (plan->stands) { /* each command brings its own */
        plan->stdout_.kind = plan->stderr_.kind = JB_STREAM_NULL;
        return 0;
    }
    if (in->tty && (spec->stdin_path || spec->stdout_path || spec->stderr_path))
        return jb_fail(err, EINVAL,
                       "--tty: the spec names files for stdin, stdout or stderr; use one or the other");
    if (spec->stdin_path)
        r = stream_file(plan, in, JB_KEY_STDIN, spec->stdin_path, &plan->stdin_, err);
    if (r == 0 && spec->stdout_path)
        r = stream_file(plan, in, JB_KEY_STDOUT, spec->stdout_path, &plan->stdout_, err);
    if (r == 0 && spec->stderr_path)
        r = stream_file(plan, in, JB_KEY_STDERR, spec->stderr_path, &plan->stderr_, err);
    return r;
}
