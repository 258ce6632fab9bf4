/*
 * print.c - a plan as JSON and as text: everything that would be done, in the order in which it would be
 * done.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "plan/plan.h"

static const struct {
    unsigned flag;
    const char *name;
} namespaces[] = {
    {CLONE_NEWUSER, "user"}, {CLONE_NEWNS, "mount"},    {CLONE_NEWPID, "pid"},       {CLONE_NEWIPC, "ipc"},
    {CLONE_NEWUTS, "uts"},   {CLONE_NEWNET, "network"}, {CLONE_NEWCGROUP, "cgroup"},
};

static const struct {
    unsigned flag;
    const char *name;
} op_flags[] = {
    {JB_OPF_RW, "rw"},
    {JB_OPF_RECURSIVE, "recursive"},
    {JB_OPF_OPTIONAL, "if-present"},
    {JB_OPF_OR_RO_BIND, "or-read-only"},
    {JB_OPF_AS_SUBMITTER, "as-submitter"},
    {JB_OPF_JOB_OWNED, "of-the-job"},
    {JB_OPF_IN_UPPER, "in-upper"},
    {JB_OPF_IN_ROOT, "through-links"},
    {JB_OPF_NO_EXEC, "no-exec"},
    {JB_OPF_ROOTS_OWN, "of-root"},
    {JB_OPF_FUSE, "fuse-overlayfs"},
};

static json_t *namespaces_json(const struct jb_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < JB_ARRAY_LEN(namespaces); i++)
        if (plan->namespaces & namespaces[i].flag)
            (void)json_array_append_new(list, json_string(namespaces[i].name));
    return list;
}

static json_t *strv_json(const struct jb_strv *strv)
{
    json_t *list = json_array();
    for (size_t i = 0; i < strv->len; i++)
        (void)json_array_append_new(list, jb_json_text(strv->items[i]));
    return list;
}

static json_t *ops_json(const struct jb_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_ops; i++) {
        const struct jb_op *op = &plan->ops[i];
        bool sized =
            op->kind == JB_OP_SCRATCH_TMPFS || op->kind == JB_OP_TMPFS ||
            ((op->kind == JB_OP_SCRATCH_DIR || op->kind == JB_OP_SCRATCH_LOOP) && op->bytes != JB_UNSET);
        json_t *item = json_pack("{s:s}", "op", jb_op_name(op->kind));
        json_t *flags = json_array();
        for (size_t f = 0; f < JB_ARRAY_LEN(op_flags); f++)
            if (op->flags & op_flags[f].flag)
                (void)json_array_append_new(flags, json_string(op_flags[f].name));
        if (op->source)
            (void)jb_json_set(item, "source", jb_json_text(op->source));
        if (op->kind == JB_OP_ROOT_OVERLAY && op->text)
            (void)jb_json_set(item, "mounted_as", json_string(op->text));
        if (op->over)
            (void)jb_json_set(item, "over", jb_json_text(op->over));
        if (op->n_lowers) {
            json_t *lowers = json_array();
            for (size_t l = 0; l < op->n_lowers; l++)
                (void)json_array_append_new(lowers, jb_json_text(op->lowers[l]));
            (void)jb_json_set(item, "lowers", lowers);
        }
        if (op->target)
            (void)jb_json_set(item, "target", jb_json_text(op->target));
        if (sized)
            (void)jb_json_set(item, "bytes", jb_json_u64(op->bytes));
        if (op->mode)
            (void)jb_json_set(item, "mode", json_sprintf("%04o", (unsigned)op->mode));
        if (op->device)
            (void)jb_json_set(item, "device",
                              json_sprintf("%c %u:%u %s", op->device->type, op->device->major,
                                           op->device->minor, op->device->access));
        (void)jb_json_set(item, "flags", flags);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *caps_json(uint64_t caps)
{
    json_t *list = json_array();
    for (unsigned bit = 0; jb_cap_name(bit); bit++)
        if (caps >> bit & 1)
            (void)json_array_append_new(list, json_string(jb_cap_name(bit)));
    return list;
}

static json_t *degraded_json(const struct jb_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_degraded; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:o}", "what",
                                                    jb_degradable_name(plan->degraded[i].what), "why",
                                                    jb_json_text(plan->degraded[i].why)));
    return list;
}

/* {controller: {path, files: [{file, value}]}} */
static json_t *cgroups_json(const struct jb_plan *plan)
{
    struct jb_cg_write *writes = NULL;
    size_t n = 0;
    json_t *all = json_object();
    if (jb_cg_resolve(plan->cgroups, &plan->cgroup, &writes, &n, NULL) < 0)
        n = 0;
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++) {
        jb_autofree char *path = jb_cg_path(plan->cgroups, &plan->cgroup, c);
        if (!path)
            continue;
        json_t *files = json_array();
        for (size_t i = 0; i < n; i++)
            if (writes[i].controller == c)
                (void)json_array_append_new(
                    files, json_pack("{s:s, s:s}", "file", writes[i].file, "value",
                                     writes[i].long_value ? writes[i].long_value : writes[i].value));
        (void)jb_json_set(all, jb_controller_name(c),
                          json_pack("{s:i, s:o, s:o}", "version", plan->cgroups->ctl[c].version, "path",
                                    jb_json_text(path), "files", files));
    }
    jb_cg_writes_free(writes, n);
    return all;
}

static json_t *grant_json(const struct jb_plan *plan)
{
    const struct jb_grant *g = &plan->grant;
    return json_pack("{s:o, s:i, s:o, s:b, s:o, s:o}", "cpus", jb_json_cpus(&g->cpus), "cores", (int)g->cores,
                     "memory_nodes", jb_json_cpus(&g->mems), "exclusive", g->exclusive, "memory_bytes",
                     jb_json_u64(plan->memory_max), "why", jb_json_text(g->explain));
}

/* Who keeps the box from other devices, and which ones it may open. */
static json_t *device_limit_json(const struct jb_plan *plan)
{
    const struct jb_cg_plan *cg = &plan->cgroup;
    json_t *rules = json_array();
    if (!cg->limit_devices) {
        json_decref(rules);
        return json_null();
    }
    for (size_t i = 0; i < cg->n_devices; i++) {
        char text[JB_CG_DEVICE_TEXT];
        (void)json_array_append_new(rules, json_string(jb_cg_device_text(&cg->devices[i], text)));
    }
    return json_pack("{s:i, s:o}", "version", cg->device_program ? 2 : 1, "allowed", rules);
}

static json_t *devices_json(const struct jb_plan *plan)
{
    return json_pack("{s:o, s:o, s:o}", "granted", jb_devices_json(plan->devices), "why",
                     jb_json_text(plan->devices ? plan->devices->explain : NULL), "limit",
                     device_limit_json(plan));
}

static json_t *identity_json(const struct jb_plan *plan)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < plan->n_groups; i++)
        (void)json_array_append_new(groups, json_integer((json_int_t)plan->groups[i]));
    return json_pack("{s:I, s:I, s:o, s:b, s:I, s:o, s:b, s:s}", "uid", (json_int_t)plan->uid, "gid",
                     (json_int_t)plan->gid, "groups", groups, "user_namespace", plan->userns, "submitter_uid",
                     (json_int_t)plan->submitter_uid, "caps", caps_json(plan->caps), "no_new_privs", 1,
                     "seccomp", plan->seccomp);
}

static json_t *warn_json(const struct jb_plan *plan)
{
    if (plan->warn.signal == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:s, s:s}", "wall_s",
                     jb_json_seconds_ns(jb_plan_warn_point(plan, plan->wall_ns)), "cpu_s",
                     jb_json_seconds_ns(jb_plan_warn_point(plan, plan->cpu_ns)), "signal",
                     sigabbrev_np(plan->warn.signal), "to", plan->warn.main_only ? "main" : "all");
}

static json_t *limits_json(const struct jb_plan *plan)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "wall_time_s", jb_json_seconds_ns(plan->wall_ns),
        "cpu_time_s", jb_json_seconds_ns(plan->cpu_ns), "idle_s", jb_json_seconds_ns(plan->idle_ns),
        "grace_s", jb_json_seconds_ns(plan->grace_ns), "output_bytes", jb_json_u64(plan->output_bytes),
        "scratch_bytes", jb_json_u64(plan->scratch_bytes), "scratch_inodes",
        jb_json_u64(plan->scratch_inodes), "signal", sigabbrev_np(plan->end_signal), "warn", warn_json(plan));
}

static json_t *stream_json(const struct jb_plan_stream *stream)
{
    static const char *const kinds[] = {[JB_STREAM_INHERIT] = "jobbox's own",
                                        [JB_STREAM_NULL] = "/dev/null",
                                        [JB_STREAM_MERGE] = "where stdout goes"};
    return stream->kind == JB_STREAM_FILE ? jb_json_text(stream->path) : json_string(kinds[stream->kind]);
}

static json_t *artifacts_json(const struct jb_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_artifacts; i++)
        (void)json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:o, s:o}", "path",
                                                    jb_json_text(plan->artifacts[i].path), "to",
                                                    jb_json_text(plan->artifacts[i].to), "when",
                                                    jb_artifact_when_name(plan->artifacts[i].when),
                                                    "max_bytes", jb_json_u64(plan->artifacts[i].max_bytes),
                                                    "max_files", jb_json_u64(plan->artifacts[i].max_files)));
    return list;
}

json_t *jb_plan_to_json(const struct jb_plan *plan)
{
    json_t *root = json_object();
    bool ok =
        jb_json_set(root, "id", json_string(plan->id.text)) &&
        jb_json_set(root, "name", jb_json_text(plan->name)) && jb_json_set(root, "grant", grant_json(plan)) &&
        jb_json_set(root, "devices", devices_json(plan)) &&
        jb_json_set(root, "image",
                    json_pack("{s:s, s:o, s:o, s:o}", "kind", jb_image_kind_name(plan->image_kind), "ref",
                              jb_json_text(plan->image_ref), "path", jb_json_text(plan->image_path), "digest",
                              jb_json_text(plan->image_digest))) &&
        jb_json_set(root, "cgroups", cgroups_json(plan)) &&
        jb_json_set(root, "namespaces", namespaces_json(plan)) &&
        jb_json_set(root, "operations", ops_json(plan)) &&
        jb_json_set(root, "identity", identity_json(plan)) &&
        jb_json_set(root, "environment", strv_json(&plan->env)) &&
        jb_json_set(root, "argv", strv_json(&plan->argv)) &&
        jb_json_set(root, "workdir", jb_json_text(plan->workdir)) &&
        jb_json_set(root, "limits", limits_json(plan)) &&
        jb_json_set(root, "stdin", stream_json(&plan->stdin_)) &&
        jb_json_set(root, "stdout", stream_json(&plan->stdout_)) &&
        jb_json_set(root, "stderr", stream_json(&plan->stderr_)) &&
        jb_json_set(root, "root_why", jb_json_text(plan->root_why)) &&
        jb_json_set(root, "artifacts", artifacts_json(plan)) &&
        jb_json_set(root, "degraded", degraded_json(plan));
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

/* --- text: the same data, told in order --- */

/* What an image says, or a spec, is no line of its own here. */
static int text_text(struct jb_buf *buf, const char *text)
{
    size_t at = buf->len;
    int r = jb_buf_puts(buf, text);
    if (r == 0)
        jb_one_line(buf->data + at);
    return r;
}

static int text_value(struct jb_buf *buf, const json_t *value)
{
    if (json_is_string(value))
        return text_text(buf, json_string_value(value));
    jb_autofree char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    return dump ? jb_buf_puts(buf, json_is_null(value) ? "none" : dump) : -ENOMEM;
}

static int text_object(struct jb_buf *buf, const char *title, json_t *object)
{
    const char *key;
    json_t *value;
    int r = jb_buf_printf(buf, "%s\n", title);
    json_object_foreach(object, key, value)
    {
        if (r == 0)
            r = jb_buf_printf(buf, "  %-16s ", key);
        if (r == 0)
            r = text_value(buf, value);
        if (r == 0)
            r = jb_buf_puts(buf, "\n");
    }
    return r;
}

static int text_cgroups(struct jb_buf *buf, json_t *cgroups)
{
    const char *name;
    json_t *group;
    int r = jb_buf_puts(buf, "cgroups\n");
    json_object_foreach(cgroups, name, group)
    {
        size_t i;
        json_t *file;
        if (r == 0)
            r = jb_buf_printf(buf, "  %s (v%d) %s\n", name,
                              (int)json_integer_value(json_object_get(group, "version")),
                              json_string_value(json_object_get(group, "path")));
        json_array_foreach(json_object_get(group, "files"), i, file)
        {
            if (r == 0)
                r = jb_buf_printf(buf, "    %s = %s\n", json_string_value(json_object_get(file, "file")),
                                  json_string_value(json_object_get(file, "value")));
        }
    }
    return r;
}

static int text_ops(struct jb_buf *buf, const struct jb_plan *plan)
{
    int r = jb_buf_puts(buf, "file system, in this order\n");
    for (size_t i = 0; r == 0 && i < plan->n_ops; i++) {
        const struct jb_op *op = &plan->ops[i];
        char size[48];
        r = jb_buf_printf(buf, "  %-14s", jb_op_name(op->kind));
        if (r == 0 && op->source)
            r = jb_buf_printf(buf, " %s", op->source);
        if (r == 0 && op->kind == JB_OP_ROOT_OVERLAY && op->text)
            r = jb_buf_printf(buf, " [%s]", op->text);
        for (size_t l = 0; r == 0 && l < op->n_lowers; l++)
            r = jb_buf_printf(buf, "%s%s", l ? "\n                  over " : " ", op->lowers[l]);
        if (r == 0 && op->target)
            r = jb_buf_puts(buf, op->source ? " -> " : " ");
        if (r == 0 && op->target)
            r = text_text(buf, op->target);
        if (r == 0 &&
            (op->kind == JB_OP_SCRATCH_TMPFS || op->kind == JB_OP_SCRATCH_DIR ||
             op->kind == JB_OP_SCRATCH_LOOP || op->kind == JB_OP_TMPFS) &&
            op->bytes != JB_UNSET)
            r = jb_buf_printf(buf, " %s", jb_format_size(op->bytes, size, sizeof(size)));
        for (size_t f = 0; r == 0 && f < JB_ARRAY_LEN(op_flags); f++)
            if (op->flags & op_flags[f].flag)
                r = jb_buf_printf(buf, " [%s]", op_flags[f].name);
        if (r == 0)
            r = jb_buf_puts(buf, "\n");
    }
    return r;
}

static int text_list(struct jb_buf *buf, const char *title, json_t *list)
{
    size_t i;
    json_t *item;
    int r = jb_buf_printf(buf, "%s\n", title);
    json_array_foreach(list, i, item)
    {
        if (r == 0)
            r = jb_buf_puts(buf, "  ");
        if (r == 0)
            r = text_value(buf, item);
        if (r == 0)
            r = jb_buf_puts(buf, "\n");
    }
    return r;
}

static int text_devices(struct jb_buf *buf, const struct jb_plan *plan)
{
    const struct jb_devices *d = plan->devices;
    const struct jb_cg_plan *cg = &plan->cgroup;
    char text[JB_CG_DEVICE_TEXT];
    if (!d)
        return 0;
    int r = jb_buf_puts(buf, "devices\n");
    for (size_t i = 0; r == 0 && i < d->len; i++)
        r = jb_buf_printf(buf, "  %s%s%s\n", d->items[i].name, d->items[i].source ? ", from " : "",
                          d->items[i].source ? d->items[i].source : "");
    if (r == 0)
        r = jb_buf_printf(buf, "  %-16s %s\n  %-16s", "why", d->explain, "may open");
    for (size_t i = 0; r == 0 && i < cg->n_devices; i++)
        r = jb_buf_printf(buf, "%s %s", i ? "," : "", jb_cg_device_text(&cg->devices[i], text));
    if (r == 0)
        r = jb_buf_printf(buf, "%s\n",
                          cg->device_program  ? ", by a program (BPF) on its v2 group"
                          : cg->limit_devices ? ", by the devices cgroup"
                                              : " what is in its /dev, by nothing else");
    return r;
}

static int text_all(struct jb_buf *buf, const struct jb_plan *plan, json_t *json)
{
    int r = jb_buf_printf(buf, "job %s in box %s, image %s\n", plan->name, plan->id.text, plan->image_ref);
    if (r == 0)
        r = text_object(buf, "grant", json_object_get(json, "grant"));
    if (r == 0)
        r = text_devices(buf, plan);
    if (r == 0)
        r = text_cgroups(buf, json_object_get(json, "cgroups"));
    if (r == 0)
        r = text_list(buf, "namespaces of its own", json_object_get(json, "namespaces"));
    if (r == 0)
        r = text_ops(buf, plan);
    if (r == 0)
        r = text_object(buf, "identity", json_object_get(json, "identity"));
    if (r == 0)
        r = text_list(buf, "environment", json_object_get(json, "environment"));
    if (r == 0)
        r = text_list(buf, "argv", json_object_get(json, "argv"));
    if (r == 0)
        r = jb_buf_puts(buf, "workdir\n  ");
    if (r == 0)
        r = text_text(buf, plan->workdir);
    if (r == 0)
        r = jb_buf_puts(buf, "\n");
    if (r == 0)
        r = text_object(buf, "limits", json_object_get(json, "limits"));
    if (r == 0 && plan->n_artifacts)
        r = text_list(buf, "artifacts", json_object_get(json, "artifacts"));
    if (r == 0 && plan->n_degraded)
        r = text_list(buf, "without", json_object_get(json, "degraded"));
    return r;
}

int jb_plan_to_text(const struct jb_plan *plan, char **ret, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    json_t *json = jb_plan_to_json(plan);
    int r = json ? text_all(&buf, plan, json) : -ENOMEM;
    json_decref(json);
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    *ret = jb_take_ptr(buf.data);
    return 0;
}
