/*
 * json.c - a spec as canonical JSON: what was said and nothing else, keys in alphabetical order.
 *
 * Owns: the JSON it returns. Runs in: the client and the supervisor. Privilege: none.
 *
 * Sizes are bytes, durations seconds, whatever unit the spec was written in.
 */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/words.h"

static void unref(json_t **value)
{
    json_decref(*value);
}
#define autojson __attribute__((cleanup(unref))) json_t

static bool said(const struct jb_spec *spec, enum jb_key key)
{
    return spec->pos[key].line != 0;
}

/* The object under construction; `ok` turns false when memory is short and stays so. */
struct out {
    const struct jb_spec *spec;
    json_t *object;
    bool ok;
};

/* Sets name when the key was said. Owns value. */
static void put(struct out *out, const char *name, enum jb_key key, json_t *value)
{
    if (!said(out->spec, key))
        json_decref(value);
    else if (!jb_json_set(out->object, name, value))
        out->ok = false;
}

/* The same for values that say themselves whether they were said. */
static void put_u64(struct out *out, const char *name, uint64_t value)
{
    if (value != JB_UNSET && !jb_json_set(out->object, name, jb_json_u64(value)))
        out->ok = false;
}

static json_t *texts(const struct jb_strv *list)
{
    autojson *array = json_array();
    for (size_t i = 0; i < list->len; i++)
        if (json_array_append_new(array, jb_json_text(list->items[i])) < 0)
            return NULL;
    return jb_take_ptr(array);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* KEY=value texts as an object, sorted by key. */
static json_t *pairs(const struct jb_strv *list)
{
    jb_autofree char **keys = calloc(list->len + 1, sizeof(char *));
    autojson *object = json_object();
    bool ok = keys != NULL;
    for (size_t i = 0; ok && i < list->len; i++)
        ok = (keys[i] = strndup(list->items[i], strcspn(list->items[i], "="))) != NULL;
    if (ok)
        qsort(keys, list->len, sizeof(char *), by_text);
    for (size_t i = 0; ok && i < list->len; i++)
        ok = jb_json_set(object, keys[i], jb_json_text(jb_env_get(list, keys[i])));
    for (size_t i = 0; keys && i < list->len; i++)
        free(keys[i]);
    return ok ? jb_take_ptr(object) : NULL;
}

static json_t *degraded(const struct jb_spec *spec)
{
    jb_autostrv struct jb_strv names = {0};
    for (enum jb_degradable d = 0; d < JB_DEGRADE_MAX; d++)
        if (spec->allow_degraded[d] && jb_strv_add(&names, jb_words_degradable[d]) < 0)
            return NULL;
    if (names.len > 0)
        qsort(names.items, names.len, sizeof(char *), by_text);
    return texts(&names);
}

static json_t *artifacts(const struct jb_spec *spec)
{
    autojson *array = json_array();
    for (size_t i = 0; i < spec->n_artifacts; i++) {
        const struct jb_spec_artifact *a = &spec->artifacts[i];
        autojson *item = json_object();
        struct out out = {spec, item, item != NULL};
        put_u64(&out, "max_bytes", a->max_bytes);
        put_u64(&out, "max_files", a->max_files);
        if (!out.ok || !jb_json_set(item, "path", jb_json_text(a->path)) ||
            !jb_json_set(item, "to", jb_json_text(a->to)) ||
            !jb_json_set(item, "when", jb_json_text(jb_words_artifact_when[a->when])) ||
            json_array_append(array, item) < 0)
            return NULL;
    }
    return jb_take_ptr(array);
}

static json_t *depends_on(const struct jb_spec *spec)
{
    autojson *array = json_array();
    for (size_t i = 0; i < spec->n_depends_on; i++) {
        const struct jb_spec_dependency *d = &spec->depends_on[i];
        autojson *item = d->singleton ? json_string("singleton") : json_object();
        if (d->singleton) {
            if (json_array_append(array, item) < 0)
                return NULL;
            continue;
        }
        if (!jb_json_set(item, "job", jb_json_u64(d->job)) ||
            !jb_json_set(item, "when", jb_json_text(jb_words_when[d->when])) ||
            json_array_append(array, item) < 0)
            return NULL;
    }
    return jb_take_ptr(array);
}

static json_t *mounts(const struct jb_spec *spec)
{
    autojson *array = json_array();
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct jb_spec_mount *m = &spec->mounts[i];
        autojson *item = json_object();
        bool ok = m->is_tmpfs || (jb_json_set(item, "mode", jb_json_text(jb_words_mount_mode[m->mode])) &&
                                  jb_json_set(item, "source", jb_json_text(m->source)));
        ok = ok && jb_json_set(item, "target", jb_json_text(m->target));
        ok = ok && (!m->is_tmpfs || jb_json_set(item, "tmpfs", jb_json_u64(m->tmpfs_bytes)));
        if (!ok || json_array_append(array, item) < 0)
            return NULL;
    }
    return jb_take_ptr(array);
}

static json_t *warn(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    bool percent = spec->limits.warn.percent > 0;
    out.ok = out.ok && jb_json_set(object, percent ? "at_percent" : "at_s",
                                   percent ? json_integer(spec->limits.warn.percent)
                                           : jb_json_seconds_ns(spec->limits.warn.left_ns));
    out.ok = out.ok && jb_json_set(object, "signal", jb_json_text(jb_words_signal[spec->limits.warn.signal]));
    out.ok = out.ok && jb_json_set(object, "to", jb_json_text(jb_words_warn_to[spec->limits.warn.to]));
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *limits(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    put(&out, "cpu_time", JB_KEY_CPU_TIME, jb_json_seconds_ns(spec->limits.cpu_time_ns));
    put(&out, "grace", JB_KEY_GRACE, jb_json_seconds_ns(spec->limits.grace_ns));
    put(&out, "idle", JB_KEY_IDLE, jb_json_seconds_ns(spec->limits.idle_ns));
    put(&out, "output", JB_KEY_OUTPUT, jb_json_u64(spec->limits.output_bytes));
    put(&out, "signal", JB_KEY_SIGNAL, jb_json_text(jb_words_signal[spec->limits.signal]));
    put(&out, "wall_time", JB_KEY_WALL_TIME, jb_json_seconds_ns(spec->limits.wall_time_ns));
    put(&out, "warn", JB_KEY_WARN, spec->pos[JB_KEY_WARN].line ? warn(spec) : json_null());
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *io(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    put_u64(&out, "read_bps", spec->resources.io_read_bps);
    put_u64(&out, "read_iops", spec->resources.io_read_iops);
    put_u64(&out, "write_bps", spec->resources.io_write_bps);
    put_u64(&out, "write_iops", spec->resources.io_write_iops);
    return out.ok ? jb_take_ptr(object) : NULL;
}

/* Names as they are; classes with a count as the mapping that they were written as. */
static json_t *devices(const struct jb_strv *list)
{
    autojson *array = json_array();
    for (size_t i = 0; i < list->len; i++) {
        const char *text = list->items[i];
        const char *count = text[0] == '/' ? NULL : strstr(text, JB_DEVICE_COUNT);
        json_t *item = count ? json_pack("{s:s%, s:I}", "class", text, (size_t)(count - text), "count",
                                         (json_int_t)strtoll(count + strlen(JB_DEVICE_COUNT), NULL, 10))
                             : jb_json_text(text);
        if (json_array_append_new(array, item) < 0)
            return NULL;
    }
    return jb_take_ptr(array);
}

/* {"1GiB": 0, "2MiB": 67108864}: most bytes in pages of that size. */
static json_t *hugepages(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    const char *names[JB_SPEC_HUGE_SIZES_MAX];
    size_t n = spec->resources.n_hugepages;
    for (size_t i = 0; i < n; i++)
        names[i] = jb_huge_page_name(spec->resources.hugepages[i].page);
    qsort(names, n, sizeof(names[0]), by_text);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (spec->resources.hugepages[j].page == jb_huge_page_size(names[i]))
                put_u64(&out, names[i], spec->resources.hugepages[j].bytes);
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *resources(const struct jb_spec *spec)
{
    const __typeof__(spec->resources) *r = &spec->resources;
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    put(&out, "cpu_kind", JB_KEY_CPU_KIND, jb_json_text(jb_words_cpu_kind[r->cpu_kind]));
    put(&out, "cpu_limit", JB_KEY_CPU_LIMIT, json_real((double)r->cpu_limit_micro / 1e6));
    put(&out, "cpu_set", JB_KEY_CPU_SET, jb_json_cpus(&r->cpu_set));
    put(&out, "cpu_unit", JB_KEY_CPU_UNIT, jb_json_text(jb_words_cpu_unit[r->cpu_unit]));
    put(&out, "cpu_weight", JB_KEY_CPU_WEIGHT, jb_json_u64(r->cpu_weight));
    put(&out, "cpus", JB_KEY_CPUS, jb_json_u64(r->cpus));
    put(&out, "devices", JB_KEY_DEVICES, devices(&r->devices));
    put(&out, "exclusive", JB_KEY_EXCLUSIVE,
        r->partition ? json_string("partition") : json_boolean(r->exclusive));
    put(&out, "hugepages", JB_KEY_HUGEPAGES, hugepages(spec));
    put(&out, "io", JB_KEY_IO, io(spec));
    put(&out, "locality", JB_KEY_LOCALITY, jb_json_text(jb_words_locality[r->locality]));
    put(&out, "memory", JB_KEY_MEMORY, jb_json_u64(r->memory));
    put(&out, "memory_high", JB_KEY_MEMORY_HIGH, jb_json_u64(r->memory_high));
    put(&out, "pids", JB_KEY_PIDS, jb_json_u64(r->pids));
    put(&out, "scratch", JB_KEY_SCRATCH, jb_json_u64(r->scratch));
    put(&out, "scratch_inodes", JB_KEY_SCRATCH_INODES, jb_json_u64(r->scratch_inodes));
    put(&out, "strict", JB_KEY_STRICT, json_boolean(r->strict));
    put(&out, "swap", JB_KEY_SWAP, jb_json_u64(r->swap));
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *retry(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    out.ok = out.ok && jb_json_set(object, "backoff", jb_json_seconds_ns(spec->retry_backoff_ns));
    put_u64(&out, "max", spec->retry_max);
    if (spec->retry_memory_micro != JB_UNSET)
        out.ok =
            out.ok && jb_json_set(object, "memory_factor", json_real((double)spec->retry_memory_micro / 1e6));
    put(&out, "on", JB_KEY_RETRY, texts(&spec->retry_on));
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *notify(const struct jb_spec *spec)
{
    autojson *object = json_object();
    json_t *on = json_array();
    struct out out = {spec, object, object != NULL};
    for (enum jb_notify_on n = 0; n < JB_NOTIFY_MAX; n++)
        if (spec->notify.on[n] && json_array_append_new(on, jb_json_text(jb_words_notify[n])) < 0)
            out.ok = false;
    if (spec->notify.mail)
        out.ok = out.ok && jb_json_set(object, "mail", jb_json_text(spec->notify.mail));
    out.ok = jb_json_set(object, "on", on) && out.ok;
    if (spec->notify.program.len)
        out.ok = out.ok && jb_json_set(object, "program", texts(&spec->notify.program));
    return out.ok ? jb_take_ptr(object) : NULL;
}

static json_t *user(const struct jb_spec *spec)
{
    char ids[32];
    (void)snprintf(ids, sizeof(ids), "%" PRIu32 ":%" PRIu32, spec->uid, spec->gid);
    return json_string(spec->user_kind == JB_USER_SUBMITTER     ? "submitter"
                       : spec->user_kind == JB_USER_ROOT_IN_BOX ? "root-in-box"
                                                                : ids);
}

json_t *jb_spec_to_json(const struct jb_spec *spec)
{
    autojson *object = json_object();
    struct out out = {spec, object, object != NULL};
    put(&out, "account", JB_KEY_ACCOUNT, jb_json_text(spec->account));
    put(&out, "allow_degraded", JB_KEY_ALLOW_DEGRADED, degraded(spec));
    put(&out, "array", JB_KEY_ARRAY, jb_json_text(spec->array));
    put(&out, "artifacts", JB_KEY_ARTIFACTS, artifacts(spec));
    put(&out, "begin", JB_KEY_BEGIN, jb_json_text(spec->begin));
    put(&out, "changes", JB_KEY_CHANGES, jb_json_text(spec->changes_path));
    put(&out, "command", JB_KEY_COMMAND, texts(&spec->command));
    put(&out, "deadline", JB_KEY_DEADLINE, jb_json_text(spec->deadline));
    put(&out, "depends_on", JB_KEY_DEPENDS_ON, depends_on(spec));
    put(&out, "env", JB_KEY_ENV, pairs(&spec->env));
    put(&out, "hostname", JB_KEY_HOSTNAME, jb_json_text(spec->hostname));
    put(&out, "image", JB_KEY_IMAGE, jb_json_text(spec->image));
    put(&out, "keep", JB_KEY_KEEP, jb_json_text(jb_words_keep[spec->keep]));
    put(&out, "labels", JB_KEY_LABELS, pairs(&spec->labels));
    put(&out, "limits", JB_KEY_LIMITS, limits(spec));
    put(&out, "mounts", JB_KEY_MOUNTS, mounts(spec));
    put(&out, "name", JB_KEY_NAME, jb_json_text(spec->name));
    put(&out, "network", JB_KEY_NETWORK, jb_json_text(jb_words_network[spec->network]));
    put(&out, "notify", JB_KEY_NOTIFY, spec->pos[JB_KEY_NOTIFY].line ? notify(spec) : json_null());
    put(&out, "pass_env", JB_KEY_PASS_ENV, texts(&spec->pass_env));
    put(&out, "priority", JB_KEY_PRIORITY, json_integer(spec->priority));
    put(&out, "reproducible", JB_KEY_REPRODUCIBLE, json_boolean(spec->reproducible));
    put(&out, "resources", JB_KEY_RESOURCES, resources(spec));
    put(&out, "retry", JB_KEY_RETRY, retry(spec));
    put(&out, "script", JB_KEY_SCRIPT, jb_json_text(spec->script));
    put(&out, "stderr", JB_KEY_STDERR, jb_json_text(spec->stderr_merge ? "merge" : spec->stderr_path));
    put(&out, "stdin", JB_KEY_STDIN, jb_json_text(spec->stdin_path));
    put(&out, "stdout", JB_KEY_STDOUT, jb_json_text(spec->stdout_path));
    put(&out, "user", JB_KEY_USER, user(spec));
    put(&out, "version", JB_KEY_VERSION, json_integer(spec->version));
    put(&out, "workdir", JB_KEY_WORKDIR, jb_json_text(spec->workdir));
    return out.ok ? jb_take_ptr(object) : NULL;
}
