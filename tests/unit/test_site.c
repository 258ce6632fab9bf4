/*
 * test_site.c - the site's file: the documented one is the defaults, wrong ones say so, strangers' ones are refused.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "site/site.h"

#define DATA SOURCE_DIR "/tests/data/site"

static char *read_file(const char *path, size_t *len)
{
    char *text = NULL;
    assert_int_equal(jb_read_at(AT_FDCWD, path, JB_SPEC_FILE_MAX, &text, len), 0);
    return text;
}

static struct jb_site *parse_file(const char *path)
{
    struct jb_diags diags = {0};
    struct jb_site *site = NULL;
    size_t len = 0;
    jb_autofree char *text = read_file(path, &len);
    if (jb_site_parse(path, text, len, &site, &diags) < 0) {
        jb_autofree char *said = jb_diags_format(&diags);
        fail_msg("%s", said);
    }
    return site;
}

static void same_text(const char *a, const char *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a)
        assert_string_equal(a, b);
}

static void same_list(const struct jb_strv *a, const struct jb_strv *b)
{
    assert_int_equal(a->len, b->len);
    for (size_t i = 0; i < a->len; i++)
        assert_string_equal(a->items[i], b->items[i]);
}

static void same_site(const struct jb_site *a, const struct jb_site *b)
{
    same_text(a->paths.runtime, b->paths.runtime);
    same_text(a->paths.state, b->paths.state);
    same_text(a->paths.cgroup_parent, b->paths.cgroup_parent);
    const struct jb_bound *const bounds[][2] = {
        {&a->cpus, &b->cpus},           {&a->memory, &b->memory},
        {&a->swap, &b->swap},           {&a->pids, &b->pids},
        {&a->scratch, &b->scratch},     {&a->scratch_inodes, &b->scratch_inodes},
        {&a->wall_time, &b->wall_time}, {&a->cpu_time, &b->cpu_time},
        {&a->output, &b->output},       {&a->grace, &b->grace},
        {&a->idle, &b->idle},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(bounds); i++)
        assert_memory_equal(bounds[i][0], bounds[i][1], sizeof(struct jb_bound));
    assert_true(jb_cpus_equal(&a->reserved_cpus, &b->reserved_cpus));
    assert_int_equal(a->scratch_backend, b->scratch_backend);
    assert_int_equal(a->overlay, b->overlay);
    assert_int_equal(a->cgroups.backend, b->cgroups.backend);
    assert_int_equal(a->cgroups.systemd, b->cgroups.systemd);
    same_text(a->cgroups.slice, b->cgroups.slice);
    assert_int_equal(a->binds.n_allow, b->binds.n_allow);
    assert_int_equal(a->binds.any, b->binds.any);
    same_list(&a->binds.deny, &b->binds.deny);
    same_list(&a->host_image.hide, &b->host_image.hide);
    assert_memory_equal(&a->policy, &b->policy, sizeof(a->policy));
    assert_int_equal(a->images.kernel_mount, b->images.kernel_mount);
    same_text(a->images.shared, b->images.shared);
    assert_int_equal(a->images.max_size, b->images.max_size);
    assert_int_equal(a->images.max_entries, b->images.max_entries);
    assert_int_equal(a->images.max_ratio, b->images.max_ratio);
    assert_int_equal(a->images.unpack_ns, b->images.unpack_ns);
    assert_memory_equal(a->allow_degraded, b->allow_degraded, sizeof(a->allow_degraded));
    same_list(&a->network.allow, &b->network.allow);
    assert_int_equal(a->network.dns, b->network.dns);
    assert_int_equal(a->network.host_loopback, b->network.host_loopback);
    assert_int_equal(a->artifacts.max_bytes, b->artifacts.max_bytes);
    assert_int_equal(a->artifacts.max_files, b->artifacts.max_files);
    assert_int_equal(a->kept.max_count, b->kept.max_count);
    assert_int_equal(a->kept.max_bytes, b->kept.max_bytes);
    assert_int_equal(a->kept.max_files, b->kept.max_files);
    assert_int_equal(a->kept.max_age, b->kept.max_age);
    same_list(&a->env, &b->env);
    assert_int_equal(a->n_sinks, b->n_sinks);
    assert_int_equal(a->journal_sync, b->journal_sync);
}

/* The file that documents every key says what is built in, and names every key that there is. */
static void test_documented_defaults(void **state)
{
    (void)state;
    jb_autosite struct jb_site *built_in = NULL;
    jb_autosite struct jb_site *file = parse_file(SOURCE_DIR "/configs/jobbox.conf.yaml");
    assert_int_equal(jb_site_default(&built_in), 0);
    assert_null(built_in->file);
    same_site(file, built_in);
    assert_int_equal(built_in->cpus.deflt, 1);
    assert_int_equal(built_in->pids.deflt, 4096);
    assert_int_equal(built_in->scratch.deflt, UINT64_C(2) << 30);
    assert_int_equal(built_in->grace.max, 300 * JB_NS_PER_S);
    assert_int_equal(built_in->memory.deflt, JB_UNSET);
    assert_true(jb_strv_has(&built_in->binds.deny, "/proc"));

    /* what the parser lists as known must stand in the file as a key */
    static const char *const askers[] = {"x: 1\n",
                                         "resources: { x: 1 }\n",
                                         "limits: { x: 1 }\n",
                                         "paths: { x: 1 }\n",
                                         "binds: { x: 1 }\n",
                                         "policy: { x: 1 }\n",
                                         "scratch: { x: 1 }\n",
                                         "cgroups: { x: 1 }\n",
                                         "host_image: { x: 1 }\n",
                                         "devices: { x: 1 }\n",
                                         "artifacts: { x: 1 }\n",
                                         "kept: { x: 1 }\n",
                                         "network: { x: 1 }\n",
                                         "queue: { x: 1 }\n",
                                         "journal: { x: 1 }\n"};
    size_t len = 0;
    size_t keys = 0;
    jb_autofree char *text = read_file(SOURCE_DIR "/configs/jobbox.conf.yaml", &len);
    for (size_t i = 0; i < JB_ARRAY_LEN(askers); i++) {
        struct jb_diags diags = {0};
        struct jb_site *none = NULL;
        assert_int_equal(jb_site_parse("x", askers[i], strlen(askers[i]), &none, &diags), -EINVAL);
        char *words = strstr(diags.items[0].text, "write one of ");
        assert_non_null(words);
        for (char *save = NULL, *word = strtok_r(words + strlen("write one of "), ", ", &save); word;
             word = strtok_r(NULL, ", ", &save)) {
            jb_autofree char *key = jb_asprintf("\n%s%s:", i == 0 ? "" : "  ", word);
            if (!jb_streq(word, "or") && !strstr(text, key))
                fail_msg("%s is not documented in configs/jobbox.conf.yaml", word);
            keys++;
        }
        jb_diags_free(&diags);
    }
    assert_true(keys >= 30);
}

static void test_over_the_defaults(void **state)
{
    (void)state;
    jb_autosite struct jb_site *s = parse_file(DATA "/good/cluster.yaml");
    assert_string_equal(s->file, DATA "/good/cluster.yaml");
    assert_string_equal(s->paths.runtime, "/run/batch");
    assert_string_equal(s->paths.state, "/srv/jobbox");
    assert_string_equal(s->paths.cgroup_parent, "/jobbox.slice");
    assert_int_equal(s->cpus.deflt, 2);
    assert_int_equal(s->cpus.max, 64);
    assert_int_equal(s->memory.deflt, UINT64_C(4) << 30);
    assert_int_equal(s->swap.deflt, JB_UNSET);
    assert_int_equal(s->pids.deflt, 4096); /* untouched */
    assert_int_equal(s->pids.max, 10000);
    assert_int_equal(s->scratch.deflt, JB_UNSET);
    assert_int_equal(s->wall_time.max, 172800 * JB_NS_PER_S);
    assert_int_equal(s->grace.deflt, 0);
    assert_int_equal(s->grace.max, JB_UNSET);
    assert_true(jb_cpus_has(&s->reserved_cpus, 32) && jb_cpus_count(&s->reserved_cpus) == 2);
    assert_int_equal(s->scratch_backend, JB_SCRATCH_DISK);
    assert_int_equal(s->overlay, JB_SITE_OVERLAY_FUSE);
    assert_false(s->binds.any);
    assert_int_equal(s->binds.n_allow, 2);
    assert_string_equal(s->binds.allow[1].path, "/scratch");
    assert_true(s->binds.allow[1].rw);
    assert_false(s->binds.allow[0].rw);
    assert_int_equal(s->binds.deny.len, 5); /* the built-in three stay */
    assert_true(jb_strv_has(&s->binds.deny, "/sys") && jb_strv_has(&s->binds.deny, "/etc/shadow"));
    assert_int_equal(s->host_image.hide.len, 2);
    assert_false(s->policy.root_in_box || s->policy.any_ids || s->policy.host_network);
    assert_true(s->allow_degraded[JB_DEGRADE_IO]);
    assert_string_equal(jb_env_get(&s->env, "LANG"), "C.UTF-8");
    assert_int_equal(s->n_sinks, 2);
    assert_int_equal(s->sinks[0].kind, JB_SINK_FILE);
    assert_string_equal(s->sinks[0].path, "/var/log/jobs.jsonl");
    assert_int_equal(s->sinks[1].kind, JB_SINK_PROGRAM);
    assert_string_equal(s->sinks[1].argv.items[1], "--json");
    assert_int_equal(s->journal_sync, JB_SYNC_NEVER);
}

static int parse_text(const char *text, struct jb_site **ret, struct jb_diags *diags)
{
    return jb_site_parse("x", text, strlen(text), ret, diags);
}

static void test_systemd(void **state)
{
    static const char *const bad[] = {
        "cgroups: { slice: batch }\n",         "cgroups: { slice: .slice }\n",
        "cgroups: { slice: /a.slice }\n",      "cgroups: { slice: a--b.slice }\n",
        "cgroups: { slice: -a.slice }\n",      "cgroups: { slice: a-.slice }\n",
        "cgroups: { slice: \"a b.slice\" }\n", "cgroups: { slice: [] }\n",
        "cgroups: { systemd: yes }\n",
    };
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        struct jb_site *none = NULL;
        struct jb_diags diags = {0};
        if (parse_text(bad[i], &none, &diags) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(diags.len, 1);
        jb_diags_free(&diags);
    }
    struct jb_diags diags = {0};
    jb_autosite struct jb_site *s = NULL;
    assert_int_equal(parse_text("cgroups: { systemd: require, slice: a-b.slice }\n", &s, &diags), 0);
    assert_int_equal(s->cgroups.systemd, JB_SYSTEMD_REQUIRE);
    assert_string_equal(s->cgroups.slice, "a-b.slice");
}

static void test_nothing_said(void **state)
{
    static const char *const files[] = {DATA "/good/empty.yaml", DATA "/good/comments.yaml",
                                        DATA "/good/null.yaml"};
    jb_autosite struct jb_site *built_in = NULL;
    (void)state;
    assert_int_equal(jb_site_default(&built_in), 0);
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++) {
        jb_autosite struct jb_site *site = parse_file(files[i]);
        same_site(site, built_in);
    }
}

static int is_yaml(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot && jb_streq(dot, ".yaml");
}

static void test_bad(void **state)
{
    struct dirent **names = NULL;
    int n = scandir(DATA "/bad", &names, is_yaml, alphasort);
    (void)state;
    assert_true(n >= 7);
    for (int i = 0; i < n; i++) {
        struct jb_diags diags = {0};
        struct jb_site *site = NULL;
        size_t len = 0;
        size_t expect_len = 0;
        jb_autofree char *path = jb_asprintf(DATA "/bad/%s", names[i]->d_name);
        jb_autofree char *expect =
            jb_asprintf(DATA "/bad/%.*s.expect", (int)strlen(names[i]->d_name) - 5, names[i]->d_name);
        jb_autofree char *text = read_file(path, &len);
        jb_autofree char *expected = read_file(expect, &expect_len);
        assert_int_equal(jb_site_parse(names[i]->d_name, text, len, &site, &diags), -EINVAL);
        jb_autofree char *said = jb_diags_format(&diags);
        assert_string_equal(said, expected);
        jb_diags_free(&diags);
        free(names[i]);
    }
    free(names);
}

/* Loads and gives what was said, allocated; NULL when it was loaded. */
static char *load(const char *path, int expected)
{
    struct jb_diags diags = {0};
    jb_autosite struct jb_site *site = NULL;
    assert_int_equal(jb_site_load(path, &site, &diags), expected);
    assert_int_equal(site != NULL, expected == 0);
    char *said = expected < 0 ? jb_diags_format(&diags) : NULL;
    jb_diags_free(&diags);
    return said;
}

static void test_load_named(void **state)
{
    char *dir = test_tmpdir();
    jb_autofree char *path = jb_asprintf("%s/conf", dir);
    (void)state;
    jb_autofree char *absent = load(path, -ENOENT);
    assert_contains(absent, "there is no such file");
    test_write(dir, "conf", "journal: { sync: never }\n");
    assert_null(load(path, 0));
    assert_int_equal(setenv("JOBBOX_CONFIG", path, 1), 0);
    struct jb_diags diags = {0};
    jb_autosite struct jb_site *site = NULL;
    assert_int_equal(jb_site_load(NULL, &site, &diags), 0);
    assert_int_equal(site->journal_sync, JB_SYNC_NEVER);
    assert_int_equal(unlink(path), 0);
    jb_autofree char *gone = load(NULL, -ENOENT); /* named, so it must be there */
    assert_contains(gone, path);
    jb_autofree char *folder = load(dir, -EISDIR);
    assert_contains(folder, "is a directory");
    assert_int_equal(unsetenv("JOBBOX_CONFIG"), 0);
    test_tmpdir_remove(dir);
}

/* What root reads must be root's alone; what others read is their own business. */
static void test_load_owner(void **state)
{
    char *dir = test_tmpdir();
    jb_autofree char *path = jb_asprintf("%s/conf", dir);
    bool root = geteuid() == 0;
    (void)state;
    test_write(dir, "conf", "{}\n");
    static const mode_t modes[] = {0664, 0646};
    for (size_t i = 0; i < JB_ARRAY_LEN(modes); i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        jb_autofree char *said = load(path, root ? -EPERM : 0);
        if (root)
            assert_contains(said, "can be written by others than root");
    }
    assert_int_equal(chmod(path, 0644), 0);
    if (root && chown(path, 65534, 0) == 0) { /* root without CAP_CHOWN, as in a box, cannot set this up */
        jb_autofree char *said = load(path, -EPERM);
        assert_contains(said, "belongs to uid 65534");
        assert_contains(said, "run: chown root");
    }
    test_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documented_defaults),
        cmocka_unit_test(test_over_the_defaults),
        cmocka_unit_test(test_systemd),
        cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_load_named),
        cmocka_unit_test(test_load_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
