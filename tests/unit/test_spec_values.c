/*
 * test_spec_values.c - what a right spec turns into: values, defaults, positions, names, JSON.
 */
#include "support.h"

#include <signal.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "spec/spec.h"

static struct jb_spec *parse(const char *text)
{
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    if (jb_spec_parse("job.yaml", text, strlen(text), &spec, &diags) < 0) {
        jb_autofree char *said = jb_diags_format(&diags);
        fail_msg("%s", said);
    }
    return spec;
}

/* The faults of a text, allocated. */
static char *faults(const char *text)
{
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    assert_int_equal(jb_spec_parse("job.yaml", text, strlen(text), &spec, &diags), -EINVAL);
    char *said = jb_diags_format(&diags);
    jb_diags_free(&diags);
    return said;
}

static const char full[] =
    "version: 1\n"
    "name: build-zlib\n"
    "image: debian:12\n"
    "script: |\n"
    "  make check\n"
    "workdir: /work/./src//\n"
    "user: 1000:100\n"
    "env: { CFLAGS: -O2, N: 010, B: yes, EMPTY: \"\" }\n"
    "pass_env: [LANG, \"CI_*\"]\n"
    "resources:\n"
    "  cpus: 4\n"
    "  cpu_unit: thread\n"
    "  locality: l3\n"
    "  strict: true\n"
    "  cpu_kind: performance\n"
    "  exclusive: false\n"
    "  memory_high: 7GiB\n"
    "  hugepages: { 1GiB: 0, 2MiB: 64MiB }\n"
    "  cpu_limit: 3.5\n"
    "  cpu_weight: 200\n"
    "  memory: 8GiB\n"
    "  swap: 0\n"
    "  pids: 64\n"
    "  scratch: 10G\n"
    "  scratch_inodes: 5000\n"
    "  io: { read_bps: 200MiB, write_bps: 1K, read_iops: 7, write_iops: \"8\" }\n"
    "  devices: [/dev//fuse, vendor.com/gpu=0]\n"
    "limits: { wall_time: 2h, cpu_time: 1:30, output: 256MiB, grace: 250ms, idle: 2-12:00:00,\n"
    "  signal: INT, warn: { at: 90%, signal: USR2, to: main } }\n"
    "mounts:\n"
    "  - { source: data, target: /data, mode: rw }\n"
    "  - { source: /srv, target: /srv/ }\n"
    "  - { tmpfs: 1GiB, target: /tmp }\n"
    "network: host\n"
    "hostname: build-7\n"
    "reproducible: true\n"
    "stdin: in.txt\n"
    "stdout: logs/%j.out\n"
    "stderr: merge\n"
    "changes: changed.json\n"
    "artifacts:\n"
    "  - { path: \"build/*.log\", to: results/ }\n"
    "keep: on_failure\n"
    "priority: -3\n"
    "depends_on: [ { job: 41 }, { job: 42, when: any } ]\n"
    "array: 1-100%10\n"
    "retry: { max: 2, on: [oom, exit:75] }\n"
    "begin: now\n"
    "deadline: 2030-01-01\n"
    "notify: { mail: user@example.org }\n"
    "account: astro\n"
    "labels: { ticket: \"4711\", b: x }\n"
    "allow_degraded: [memory, cpuset]\n";

static void test_full_what(void **state)
{
    (void)state;
    jb_autospec struct jb_spec *spec = parse(full);
    assert_int_equal(spec->version, 1);
    assert_string_equal(spec->name, "build-zlib");
    assert_string_equal(spec->image, "debian:12");
    assert_string_equal(spec->script, "make check\n");
    assert_int_equal(spec->command.len, 0);
    assert_string_equal(spec->workdir, "/work/src");
    assert_int_equal(spec->user_kind, JB_USER_IDS);
    assert_int_equal(spec->uid, 1000);
    assert_int_equal(spec->gid, 100);
    assert_int_equal(spec->env.len, 4);
    assert_string_equal(spec->env.items[0], "CFLAGS=-O2");
    assert_string_equal(spec->env.items[1], "N=010");
    assert_string_equal(spec->env.items[2], "B=yes");
    assert_string_equal(spec->env.items[3], "EMPTY=");
    assert_int_equal(spec->pass_env.len, 2);
    assert_int_equal(spec->n_mounts, 3);
    assert_string_equal(spec->mounts[0].source, "data");
    assert_int_equal(spec->mounts[0].mode, JB_MOUNT_RW);
    assert_int_equal(spec->mounts[0].pos.line, 31);
    assert_int_equal(spec->mounts[0].pos.column, 5);
    assert_string_equal(spec->mounts[1].target, "/srv");
    assert_int_equal(spec->mounts[1].mode, JB_MOUNT_RO);
    assert_true(spec->mounts[2].is_tmpfs);
    assert_null(spec->mounts[2].source);
    assert_int_equal(spec->mounts[2].mode, JB_MOUNT_RW);
    assert_int_equal(spec->mounts[2].tmpfs_bytes, UINT64_C(1) << 30);
    assert_int_equal(spec->network, JB_NETWORK_HOST);
    assert_string_equal(spec->stdin_path, "in.txt");
    assert_string_equal(spec->stdout_path, "logs/%j.out");
    assert_null(spec->stderr_path);
    assert_true(spec->stderr_merge);
    assert_int_equal(spec->n_artifacts, 1);
    assert_string_equal(spec->artifacts[0].path, "build/*.log");
    assert_string_equal(spec->artifacts[0].to, "results/");
}

static void test_full_how(void **state)
{
    (void)state;
    jb_autospec struct jb_spec *spec = parse(full);
    const __typeof__(spec->resources) *r = &spec->resources;
    assert_int_equal(r->cpus, 4);
    assert_int_equal(r->cpu_unit, JB_CPU_UNIT_THREAD);
    assert_int_equal(r->locality, JB_LOCALITY_L3);
    assert_true(r->locality_said && r->strict && r->exclusive_said);
    assert_false(r->exclusive || r->cpu_set_said);
    assert_int_equal(r->cpu_kind, JB_CPU_KIND_PERFORMANCE);
    assert_int_equal(r->cpu_limit_micro, 3500000);
    assert_int_equal(r->cpu_weight, 200);
    assert_int_equal(r->memory, UINT64_C(8) << 30);
    assert_int_equal(r->memory_high, UINT64_C(7) << 30);
    assert_int_equal(r->n_hugepages, 2);
    assert_int_equal(r->hugepages[0].page, UINT64_C(2) << 20); /* the smallest first */
    assert_int_equal(r->hugepages[0].bytes, UINT64_C(64) << 20);
    assert_int_equal(r->hugepages[1].page, UINT64_C(1) << 30);
    assert_int_equal(r->hugepages[1].bytes, 0);
    assert_false(r->partition);
    assert_int_equal(r->swap, 0);
    assert_int_equal(r->pids, 64);
    assert_int_equal(r->scratch, UINT64_C(10) << 30);
    assert_int_equal(r->scratch_inodes, 5000);
    assert_int_equal(r->io_read_bps, UINT64_C(200) << 20);
    assert_int_equal(r->io_write_bps, 1024);
    assert_int_equal(r->io_read_iops, 7);
    assert_int_equal(r->io_write_iops, 8);
    assert_string_equal(r->devices.items[0], "/dev/fuse");
    assert_int_equal(spec->limits.wall_time_ns, 7200 * JB_NS_PER_S);
    assert_int_equal(spec->limits.cpu_time_ns, 90 * JB_NS_PER_S);
    assert_int_equal(spec->limits.output_bytes, UINT64_C(256) << 20);
    assert_int_equal(spec->limits.grace_ns, 250 * JB_NS_PER_MS);
    assert_int_equal(spec->limits.idle_ns, 216000 * JB_NS_PER_S);
    assert_int_equal(jb_job_signal_number(spec->limits.signal), SIGINT);
    assert_int_equal(spec->limits.warn.percent, 90);
    assert_int_equal(jb_job_signal_number(spec->limits.warn.signal), SIGUSR2);
    assert_int_equal(spec->limits.warn.to, JB_WARN_MAIN);
    assert_int_equal(spec->keep, JB_KEEP_ON_FAILURE);
    assert_int_equal(spec->priority, -3);
    assert_int_equal(spec->n_depends_on, 2);
    assert_int_equal(spec->depends_on[0].when, JB_WHEN_SUCCESS);
    assert_int_equal(spec->depends_on[1].job, 42);
    assert_int_equal(spec->depends_on[1].when, JB_WHEN_ANY);
    assert_string_equal(spec->array, "1-100%10");
    assert_int_equal(spec->retry_max, 2);
    assert_string_equal(spec->retry_on.items[1], "exit:75");
    assert_string_equal(spec->account, "astro");
    assert_string_equal(spec->labels.items[0], "ticket=4711");
    for (enum jb_degradable d = 0; d < JB_DEGRADE_MAX; d++)
        assert_int_equal(spec->allow_degraded[d], d == JB_DEGRADE_MEMORY || d == JB_DEGRADE_CPUSET);
}

static void test_defaults(void **state)
{
    (void)state;
    jb_autospec struct jb_spec *spec = parse("version: 1\ncommand: [sleep, 10, yes]\n");
    const uint64_t unset[] = {
        spec->resources.cpus,
        spec->resources.cpu_limit_micro,
        spec->resources.cpu_weight,
        spec->resources.memory,
        spec->resources.swap,
        spec->resources.pids,
        spec->resources.scratch,
        spec->resources.scratch_inodes,
        spec->resources.io_read_bps,
        spec->resources.io_write_bps,
        spec->resources.io_read_iops,
        spec->resources.io_write_iops,
        spec->limits.wall_time_ns,
        spec->limits.cpu_time_ns,
        spec->limits.output_bytes,
        spec->limits.grace_ns,
        spec->limits.idle_ns,
        spec->limits.warn.left_ns,
        spec->retry_max,
    };
    assert_int_equal(jb_job_signal_number(spec->limits.signal), SIGTERM);
    assert_int_equal(spec->limits.warn.percent, 0);
    for (size_t i = 0; i < JB_ARRAY_LEN(unset); i++)
        assert_int_equal(unset[i], JB_UNSET);
    assert_string_equal(spec->command.items[1], "10");
    assert_string_equal(spec->command.items[2], "yes");
    assert_string_equal(spec->image, "host");
    assert_true(spec->resources.exclusive);
    assert_false(spec->resources.exclusive_said || spec->resources.locality_said ||
                 spec->resources.cpu_set_said);
    assert_int_equal(spec->network, JB_NETWORK_NONE);
    assert_int_equal(spec->user_kind, JB_USER_SUBMITTER);
    assert_null(spec->name);
    assert_null(spec->stdin_path);
    for (enum jb_key key = 0; key < JB_KEY_MAX; key++)
        assert_int_equal(spec->pos[key].line != 0, key == JB_KEY_VERSION || key == JB_KEY_COMMAND);
}

/* The value behind a dotted path of a JSON object. */
static const json_t *at_path(const json_t *object, const char *path)
{
    const char *dot = strchr(path, '.');
    jb_autofree char *head = dot ? strndup(path, (size_t)(dot - path)) : strdup(path);
    const json_t *value = json_object_get(object, head);
    return dot ? at_path(value, dot + 1) : value;
}

/* Every key that the full spec says has its position, under its own path, and is in the JSON. */
static void test_keys(void **state)
{
    (void)state;
    jb_autospec struct jb_spec *spec = parse(full);
    json_t *json = jb_spec_to_json(spec);
    assert_non_null(json);
    for (enum jb_key key = 0; key < JB_KEY_MAX; key++) {
        const char *path = jb_key_path(key);
        assert_non_null(path);
        if (key == JB_KEY_COMMAND || key == JB_KEY_CPU_SET) {
            assert_int_equal(spec->pos[key].line, 0);
            assert_null(at_path(json, path));
            continue;
        }
        if (spec->pos[key].line == 0)
            fail_msg("%s has no position", path);
        if (!at_path(json, path))
            fail_msg("%s is not in the JSON", path);
        const char *line = full;
        for (unsigned i = 1; i < spec->pos[key].line; i++)
            line = strchr(line, '\n') + 1;
        const char *last = strrchr(path, '.');
        last = last ? last + 1 : path;
        assert_memory_equal(line + spec->pos[key].column - 1, last, strlen(last));
    }
    assert_null(jb_key_path(JB_KEY_MAX));
    json_decref(json);
}

/* NOLINTNEXTLINE(readability-function-size): every key, one after the other */
static void test_json(void **state)
{
    (void)state;
    jb_autospec struct jb_spec *spec = parse(full);
    json_t *json = jb_spec_to_json(spec);
    jb_autofree char *as_is = json_dumps(json, JSON_COMPACT);
    jb_autofree char *sorted = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(as_is, sorted);
    assert_contains(as_is, "\"memory\":8589934592");
    assert_contains(as_is, "\"hugepages\":{\"1GiB\":0,\"2MiB\":67108864}");
    assert_contains(as_is, "\"wall_time\":7200.0");
    assert_contains(as_is, "\"cpu_limit\":3.5");
    assert_contains(as_is, "\"user\":\"1000:100\"");
    assert_contains(as_is, "\"env\":{\"B\":\"yes\",\"CFLAGS\":\"-O2\",\"EMPTY\":\"\",\"N\":\"010\"}");
    assert_contains(as_is, "\"allow_degraded\":[\"cpuset\",\"memory\"]");
    assert_contains(as_is, "{\"target\":\"/tmp\",\"tmpfs\":1073741824}");
    assert_contains(as_is, "{\"mode\":\"rw\",\"source\":\"data\",\"target\":\"/data\"}");
    json_decref(json);

    jb_autospec struct jb_spec *least = parse("version: 1\nscript: x\nresources: { cpu_set: \"0-2,7\" }\n");
    json_t *small = jb_spec_to_json(least);
    jb_autofree char *text = json_dumps(small, JSON_COMPACT);
    assert_string_equal(text, "{\"resources\":{\"cpu_set\":\"0-2,7\"},\"script\":\"x\",\"version\":1}");
    assert_int_equal(jb_cpus_count(&least->resources.cpu_set), 4);
    json_decref(small);
}

static void test_where(void **state)
{
    (void)state;
    char buf[128];
    jb_autospec struct jb_spec *spec = parse("version: 1\nscript: x\nresources:\n  memory: 1GiB\n");
    assert_string_equal(jb_spec_where(spec, JB_KEY_MEMORY, buf, sizeof(buf)),
                        "job.yaml:4:3: resources.memory");
    assert_string_equal(jb_spec_where(spec, JB_KEY_PIDS, buf, sizeof(buf)), "job.yaml: resources.pids");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(jb_cpu_unit_name(JB_CPU_UNIT_THREAD), "thread");
    assert_string_equal(jb_locality_name(JB_LOCALITY_PACKAGE), "package");
    assert_string_equal(jb_cpu_kind_name(JB_CPU_KIND_ANY), "any");
    assert_string_equal(jb_network_name(JB_NETWORK_NONE), "none");
    assert_string_equal(jb_keep_name(JB_KEEP_ON_FAILURE), "on_failure");
    assert_string_equal(jb_keep_name(JB_KEEP_ALWAYS), "always");
    assert_string_equal(jb_mount_mode_name(JB_MOUNT_RW), "rw");
    assert_null(jb_cpu_unit_name(JB_CPU_UNIT_MAX));
    assert_null(jb_locality_name(JB_LOCALITY_MAX));
    assert_null(jb_cpu_kind_name(JB_CPU_KIND_MAX));
    assert_null(jb_network_name(JB_NETWORK_MAX));
    assert_null(jb_keep_name(JB_KEEP_MAX));
    assert_null(jb_mount_mode_name(JB_MOUNT_MODE_MAX));
    assert_null(jb_degradable_name(JB_DEGRADE_MAX));
    for (enum jb_degradable d = 0; d < JB_DEGRADE_MAX; d++)
        assert_non_null(jb_degradable_name(d));
}

/* Each misspelt key is answered with the right one, in every mapping. */
static void test_suggestions(void **state)
{
    (void)state;
    for (enum jb_key key = 0; key < JB_KEY_MAX; key++) {
        const char *path = jb_key_path(key);
        const char *dot = strchr(path, '.');
        const char *word = dot ? dot + 1 : path;
        if (strlen(word) < 4)
            continue;
        jb_autofree char *text = dot ? jb_asprintf("version: 1\nscript: x\n%.*s: { %.1sx%s: 1 }\n",
                                                   (int)(dot - path), path, word, word + 1)
                                     : jb_asprintf("version: 1\nscript: x\n%.1sx%s: 1\n", word, word + 1);
        jb_autofree char *said = faults(text);
        jb_autofree char *expected = jb_asprintf("unknown key; did you mean \"%s\"?\n", word);
        assert_contains(said, expected);
    }
}

static void test_alias_bomb(void **state)
{
    (void)state;
    jb_autobuf struct jb_buf buf = {0};
    assert_int_equal(jb_buf_puts(&buf, "version: 1\nscript: x\nenv:\n  A0: &a0 x\n"), 0);
    for (int i = 1; i < 500; i++)
        assert_int_equal(jb_buf_printf(&buf, "  A%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1), 0);
    jb_autofree char *said = faults(buf.data);
    assert_string_equal(
        said, "job.yaml:4:7: env.A0: anchors and aliases (&name, *name) are not supported; write the "
              "value out\n");
}

static void test_too_large(void **state)
{
    (void)state;
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    size_t len = JB_SPEC_FILE_MAX + 1;
    jb_autofree char *text = malloc(len);
    assert_non_null(text);
    memset(text, ' ', len);
    assert_int_equal(jb_spec_parse("job.yaml", text, len, &spec, &diags), -EINVAL);
    assert_string_equal(diags.items[0].text, "is larger than 1 MiB; a job spec is not");
    assert_int_equal(diags.items[0].line, 0);
    jb_diags_free(&diags);
}

/* Each escape that would move a terminal's cursor comes out harmless, and long text is cut. */
static void test_messages_are_harmless(void **state)
{
    (void)state;
    jb_autofree char *said =
        faults("version: \"\\e[2J\\x9b\\r\\n\"\nscript: x\nnetwork: \""
               "ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää\"\n");
    for (const char *p = said; *p; p++)
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    assert_contains(said, "\"\\x1b[2J\\x9b\\x0d\\n\" is not a version");
    assert_contains(said, "ä...\" is not one of none, host or user");
    assert_null(strstr(said, "\xc2\x9b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_what),
        cmocka_unit_test(test_full_how),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_where),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_alias_bomb),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_messages_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
