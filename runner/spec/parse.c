/*
 * parse.c - from the text of a spec to struct jb_spec: the table of keys, and what keys say about each other.
 *
 * Owns: the spec under construction. Runs in: the client, unprivileged. Privilege: none.
 */
#include <errno.h>
#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/forms.h"
#include "spec/words.h"

#define MIB UINT64_C(1048576)

/* A key by its place in struct jb_spec; what more a reader wants to know comes behind. */
#define FIELD(word, which, reader, member, ...)                                                              \
    {                                                                                                        \
        .name = (word), .key = JB_KEY_##which, .read = (reader), .offset = offsetof(struct jb_spec, member), \
        __VA_ARGS__                                                                                          \
    }
#define WORDS(table)  .names = (table), .n_names = JB_ARRAY_LEN(table)
#define NESTED(table) .fields = (table), .n_names = JB_ARRAY_LEN(table)

static const struct jb_field io_fields[] = {
    FIELD("read_bps", MAX, jb_read_size, resources.io_read_bps, .min = 1),
    FIELD("write_bps", MAX, jb_read_size, resources.io_write_bps, .min = 1),
    FIELD("read_iops", MAX, jb_read_count, resources.io_read_iops, .min = 1, .max = UINT32_MAX - 1),
    FIELD("write_iops", MAX, jb_read_count, resources.io_write_iops, .min = 1, .max = UINT32_MAX - 1),
};

/* pids counts the init of the box; 0.01 CPUs and 1 MiB are about the least a kernel can hold a job to. */
static const struct jb_field resources_fields[] = {
    FIELD("cpus", CPUS, jb_read_count, resources.cpus, .min = 1, .max = JB_CPUS_MAX),
    FIELD("cpu_unit", CPU_UNIT, jb_read_enum, resources.cpu_unit, WORDS(jb_words_cpu_unit)),
    FIELD("locality", LOCALITY, jb_read_enum, resources.locality, WORDS(jb_words_locality)),
    FIELD("strict", STRICT, jb_read_bool, resources.strict),
    FIELD("cpu_kind", CPU_KIND, jb_read_enum, resources.cpu_kind, WORDS(jb_words_cpu_kind)),
    FIELD("cpu_set", CPU_SET, jb_read_cpus, resources.cpu_set, .min = 1),
    FIELD("exclusive", EXCLUSIVE, jb_form_exclusive, resources.exclusive),
    FIELD("cpu_limit", CPU_LIMIT, jb_form_cpu_limit, resources.cpu_limit_micro, .min = 10000,
          .max = JB_CPUS_MAX * UINT64_C(1000000)),
    FIELD("cpu_weight", CPU_WEIGHT, jb_read_count, resources.cpu_weight, .min = 1, .max = 10000),
    FIELD("memory", MEMORY, jb_read_size, resources.memory, .min = MIB),
    FIELD("memory_high", MEMORY_HIGH, jb_read_size, resources.memory_high, .min = MIB),
    FIELD("swap", SWAP, jb_read_size, resources.swap),
    FIELD("pids", PIDS, jb_read_count, resources.pids, .min = 2, .max = 4194304),
    FIELD("scratch", SCRATCH, jb_read_size, resources.scratch, .min = MIB),
    FIELD("scratch_inodes", SCRATCH_INODES, jb_read_count, resources.scratch_inodes, .min = 16),
    FIELD("io", IO, jb_read_map, resources, NESTED(io_fields)),
    FIELD("hugepages", HUGEPAGES, jb_form_hugepages, resources.hugepages),
    FIELD("devices", DEVICES, jb_form_devices, resources.devices),
};

static const struct jb_field warn_fields[] = {
    FIELD("at", MAX, jb_form_warn_at, limits.warn),
    FIELD("signal", MAX, jb_read_enum, limits.warn.signal, WORDS(jb_words_signal)),
    FIELD("to", MAX, jb_read_enum, limits.warn.to, WORDS(jb_words_warn_to)),
};

static const struct jb_field limits_fields[] = {
    FIELD("wall_time", WALL_TIME, jb_read_duration, limits.wall_time_ns, .min = 1),
    FIELD("cpu_time", CPU_TIME, jb_read_duration, limits.cpu_time_ns, .min = 1),
    FIELD("output", OUTPUT, jb_read_size, limits.output_bytes, .min = 1),
    FIELD("grace", GRACE, jb_read_duration, limits.grace_ns),
    FIELD("idle", IDLE, jb_read_duration, limits.idle_ns, .min = 1),
    FIELD("signal", SIGNAL, jb_read_enum, limits.signal, WORDS(jb_words_signal)),
    FIELD("warn", WARN, jb_read_map, limits, NESTED(warn_fields)),
};

static const struct jb_field spec_fields[] = {
    FIELD("version", VERSION, jb_form_version, version),
    FIELD("name", NAME, jb_form_name, name),
    FIELD("image", IMAGE, jb_read_line, image, .max = PATH_MAX - 1),
    FIELD("command", COMMAND, jb_read_argv, command),
    FIELD("script", SCRIPT, jb_form_script, script),
    FIELD("workdir", WORKDIR, jb_form_workdir, workdir),
    FIELD("user", USER, jb_form_user, user_kind),
    FIELD("env", ENV, jb_read_env, env),
    FIELD("pass_env", PASS_ENV, jb_form_pass_env, pass_env),
    FIELD("resources", RESOURCES, jb_read_map, resources, NESTED(resources_fields)),
    FIELD("limits", LIMITS, jb_read_map, limits, NESTED(limits_fields)),
    FIELD("mounts", MOUNTS, jb_form_mounts, mounts),
    FIELD("network", NETWORK, jb_read_enum, network, WORDS(jb_words_network)),
    FIELD("hostname", HOSTNAME, jb_form_hostname, hostname),
    FIELD("reproducible", REPRODUCIBLE, jb_read_bool, reproducible),
    FIELD("stdin", STDIN, jb_form_stream, stdin_path),
    FIELD("stdout", STDOUT, jb_form_stream, stdout_path),
    FIELD("stderr", STDERR, jb_form_stderr, stderr_path),
    FIELD("artifacts", ARTIFACTS, jb_form_artifacts, artifacts),
    FIELD("changes", CHANGES, jb_form_stream, changes_path),
    FIELD("keep", KEEP, jb_read_enum, keep, WORDS(jb_words_keep)),
    FIELD("priority", PRIORITY, jb_form_priority, priority),
    FIELD("depends_on", DEPENDS_ON, jb_form_depends_on, depends_on),
    FIELD("array", ARRAY, jb_form_array, array),
    FIELD("retry", RETRY, jb_form_retry, retry_max),
    FIELD("begin", BEGIN, jb_form_when, begin),
    FIELD("deadline", DEADLINE, jb_form_when, deadline),
    FIELD("notify", NOTIFY, jb_form_notify, notify),
    FIELD("account", ACCOUNT, jb_form_name, account),
    FIELD("labels", LABELS, jb_form_labels, labels),
    FIELD("allow_degraded", ALLOW_DEGRADED, jb_read_degraded, allow_degraded),
};

void jb_spec_free(struct jb_spec *spec)
{
    if (!spec)
        return;
    free(spec->hostname);
    struct jb_strv *const lists[] = {&spec->command,           &spec->env,      &spec->pass_env,
                                     &spec->resources.devices, &spec->retry_on, &spec->labels,
                                     &spec->notify.program};
    char *const texts[] = {spec->file,        spec->name,        spec->image,        spec->script,
                           spec->workdir,     spec->stdin_path,  spec->changes_path, spec->stdout_path,
                           spec->stderr_path, spec->array,       spec->account,      spec->begin,
                           spec->deadline,    spec->notify.mail, spec->text};
    for (size_t i = 0; i < JB_ARRAY_LEN(lists); i++)
        jb_strv_free(lists[i]);
    for (size_t i = 0; i < JB_ARRAY_LEN(texts); i++)
        free(texts[i]);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        free(spec->mounts[i].source);
        free(spec->mounts[i].target);
    }
    for (size_t i = 0; i < spec->n_artifacts; i++) {
        free(spec->artifacts[i].path);
        free(spec->artifacts[i].to);
    }
    free(spec->mounts);
    free(spec->artifacts);
    free(spec->depends_on);
    free(spec);
}

static struct jb_spec *new_spec(struct jb_reading *rd, const char *file)
{
    struct jb_spec *spec = calloc(1, sizeof(*spec));
    if (!spec) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    uint64_t *const wishes[] = {
        &spec->resources.cpus,           &spec->resources.cpu_limit_micro,
        &spec->resources.cpu_weight,     &spec->resources.memory,
        &spec->resources.memory_high,    &spec->resources.swap,
        &spec->resources.pids,           &spec->resources.scratch,
        &spec->resources.scratch_inodes, &spec->resources.io_read_bps,
        &spec->resources.io_write_bps,   &spec->resources.io_read_iops,
        &spec->resources.io_write_iops,  &spec->limits.wall_time_ns,
        &spec->limits.cpu_time_ns,       &spec->limits.output_bytes,
        &spec->limits.grace_ns,          &spec->limits.idle_ns,
        &spec->limits.warn.left_ns,      &spec->retry_max,
        &spec->retry_memory_micro,
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(wishes); i++)
        *wishes[i] = JB_UNSET;
    spec->resources.exclusive = true;
    spec->retry_backoff_ns = 10 * JB_NS_PER_S;
    spec->limits.warn.signal = JB_SIGNAL_USR1;
    jb_set_text(rd, &spec->file, file);
    jb_set_text(rd, &spec->image, "host");
    return spec;
}

static bool said(const struct jb_spec *spec, enum jb_key key)
{
    return spec->pos[key].line != 0;
}

/* A complaint about a key as a whole, which stands where `pos` says. */
static void complain_key(struct jb_reading *rd, struct jb_pos pos, enum jb_key key, const char *what)
{
    jb_complain(rd, pos, NULL, "%s: %s", jb_key_path(key), what);
}

/* What is wrong with keys taken together, each of them being right. */
static void check_whole(struct jb_reading *rd, const struct jb_spec *spec, struct jb_pos start, bool runs)
{
    const struct jb_pos *pos = spec->pos;
    if (!said(spec, JB_KEY_VERSION))
        complain_key(rd, start, JB_KEY_VERSION, "is missing; write \"version: 1\"");
    if (runs && !said(spec, JB_KEY_COMMAND) && !said(spec, JB_KEY_SCRIPT) && jb_streq(spec->image, "host"))
        complain_key(rd, start, JB_KEY_SCRIPT,
                     "is missing; say what to run with \"script:\" or \"command:\"");
    if (said(spec, JB_KEY_COMMAND) && said(spec, JB_KEY_SCRIPT))
        complain_key(rd, pos[JB_KEY_SCRIPT], JB_KEY_SCRIPT,
                     "not together with command; leave one of them out");
    if (said(spec, JB_KEY_CPUS) && said(spec, JB_KEY_CPU_SET))
        complain_key(rd, pos[JB_KEY_CPU_SET], JB_KEY_CPU_SET,
                     "not together with resources.cpus; leave one of them out");
    if (spec->resources.strict && spec->resources.locality == JB_LOCALITY_NONE)
        complain_key(rd, pos[JB_KEY_STRICT], JB_KEY_STRICT,
                     "true needs a locality to be strict about; write locality: l3, numa or package");
    if (said(spec, JB_KEY_WARN) && !spec->limits.warn.at_said)
        complain_key(rd, pos[JB_KEY_WARN], JB_KEY_WARN,
                     "needs \"at\"; write when, like { at: 90% } or { at: 5m } before the end");
    if (spec->resources.memory_high != JB_UNSET && spec->resources.memory != JB_UNSET &&
        spec->resources.memory_high > spec->resources.memory)
        complain_key(rd, pos[JB_KEY_MEMORY_HIGH], JB_KEY_MEMORY_HIGH,
                     "is more than resources.memory; write less, or leave it out");
    if (said(spec, JB_KEY_SWAP) && !said(spec, JB_KEY_MEMORY))
        complain_key(rd, pos[JB_KEY_SWAP], JB_KEY_SWAP, "needs resources.memory; say how much memory too");
    if (spec->retry_memory_micro != JB_UNSET && !said(spec, JB_KEY_MEMORY))
        complain_key(rd, pos[JB_KEY_RETRY], JB_KEY_RETRY,
                     "memory_factor needs resources.memory; say how much it begins with");
}

static void read_spec(struct jb_reading *rd, struct jb_spec *spec, const char *text, size_t len, bool runs)
{
    const struct jb_node *root = jb_read_yaml(rd, text, len);
    if (!root || root->kind == JB_NODE_BAD) {
        if (rd->failed == 0 && rd->diags->len == 0)
            jb_complain(rd, (struct jb_pos){1, 1}, NULL,
                        "the file is empty; a job needs at least \"version: 1\" and a \"script:\"");
        return;
    }
    if (root->kind != JB_NODE_MAP) {
        jb_complain(rd, root->pos, NULL, "a job is a mapping of keys; begin with \"version: 1\"");
        return;
    }
    rd->key_pos = spec->pos;
    jb_read_fields(rd, NULL, root, spec_fields, JB_ARRAY_LEN(spec_fields), spec);
    spec->resources.locality_said = said(spec, JB_KEY_LOCALITY);
    spec->resources.cpu_set_said = said(spec, JB_KEY_CPU_SET);
    spec->resources.exclusive_said = said(spec, JB_KEY_EXCLUSIVE);
    check_whole(rd, spec, root->pos, runs);
}

static int parse(const char *file, const char *text, size_t len, bool runs, struct jb_spec **ret_spec,
                 struct jb_diags *diags)
{
    struct jb_reading rd;
    jb_reading_begin(&rd, file, diags);
    jb_autospec struct jb_spec *spec = new_spec(&rd, file);
    if (len > JB_SPEC_FILE_MAX)
        jb_complain(&rd, (struct jb_pos){0}, NULL, "is larger than 1 MiB; a job spec is not");
    else if (spec)
        read_spec(&rd, spec, text, len, runs);
    int r = jb_reading_end(&rd);
    if (r < 0 || !spec)
        return r < 0 ? r : -ENOMEM;
    (void)SHA256Data((const uint8_t *)text, len, spec->sha256);
    spec->text = malloc(len + 1);
    if (!spec->text)
        return -ENOMEM;
    memcpy(spec->text, text, len);
    spec->text[len] = '\0';
    spec->text_len = len;
    *ret_spec = jb_take_ptr(spec);
    return 0;
}

int jb_spec_parse(const char *file, const char *text, size_t len, struct jb_spec **ret_spec,
                  struct jb_diags *diags)
{
    return parse(file, text, len, true, ret_spec, diags);
}

int jb_spec_parse_box(const char *file, const char *text, size_t len, struct jb_spec **ret_spec,
                      struct jb_diags *diags)
{
    return parse(file, text, len, false, ret_spec, diags);
}

const char *jb_spec_where(const struct jb_spec *spec, enum jb_key key, char *buf, size_t len)
{
    struct jb_pos pos = spec->pos[key];
    if (pos.line == 0)
        (void)snprintf(buf, len, "%s: %s", spec->file, jb_key_path(key));
    else
        (void)snprintf(buf, len, "%s:%u:%u: %s", spec->file, pos.line, pos.column, jb_key_path(key));
    return buf;
}
