/*
 * test_cdi.c - the parser of CDI files, by the files of tests/data/cdi: what is read, and what is wrong with every field.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "devices/cdi.h"

#define DATA SOURCE_DIR "/tests/data/cdi"

static char *read_data(const char *name, size_t *ret_len)
{
    char *text = NULL;
    jb_autofree char *path = jb_asprintf(DATA "/%s", name);
    assert_int_equal(jb_read_at(AT_FDCWD, path, JB_SPEC_FILE_MAX, &text, ret_len), 0);
    return text;
}

static struct jb_cdi_file *good(const char *name)
{
    struct jb_diags diags = {0};
    struct jb_cdi_file *file = NULL;
    size_t len;
    jb_autofree char *text = read_data(name, &len);
    if (jb_cdi_parse(name, text, len, &file, NULL, &diags) < 0) {
        jb_autofree char *said = jb_diags_format(&diags);
        fail_msg("%s", said);
    }
    assert_int_equal(diags.len, 0);
    return file;
}

static void every_key(void **state)
{
    (void)state;
    jb_autocdi struct jb_cdi_file *file = good("good/every_key.yaml");
    assert_int_equal(file->version, 7);
    assert_string_equal(file->kind, "vendor.com/gpu");
    assert_int_equal(file->n_devices, 4);
    const struct jb_cdi_edits *all = &file->edits;
    assert_int_equal(all->env.len, 3);
    assert_string_equal(all->env.items[1], "EMPTY=");
    assert_string_equal(all->env.items[2], "EQUALS=a=b");
    assert_int_equal(all->n_nodes, 1);
    assert_true(all->nodes[0].major == JB_UNSET && all->nodes[0].mode == JB_UNSET &&
                !all->nodes[0].host_path);
    assert_int_equal(all->n_mounts, 2);
    assert_true(all->mounts[0].read_only && all->mounts[0].recursive && !all->mounts[0].no_exec);
    assert_false(all->mounts[1].read_only || all->mounts[1].recursive);
    assert_int_equal(all->n_gids, 3);
    assert_int_equal(all->gids[2], 109);

    const struct jb_cdi_node *nodes = file->devices[0].edits.nodes;
    assert_string_equal(file->devices[0].name, "0");
    assert_int_equal(file->devices[0].edits.n_nodes, 3);
    assert_string_equal(nodes[0].path, "/dev/vendor0");
    assert_string_equal(nodes[0].host_path, "/dev/char/195:0");
    assert_int_equal(nodes[0].type, JB_CDI_TYPE_CHAR);
    assert_int_equal(nodes[0].major, 195);
    assert_int_equal(nodes[0].minor, 0);
    assert_int_equal(nodes[0].mode, 0660);
    assert_int_equal(nodes[0].uid, 0);
    assert_int_equal(nodes[0].gid, 44);
    assert_string_equal(nodes[0].permissions, "rw");
    assert_int_equal(nodes[1].type, JB_CDI_TYPE_BLOCK);
    assert_int_equal(nodes[1].mode, 0640);
    assert_int_equal(nodes[2].type, JB_CDI_TYPE_UNBUFFERED);
    assert_int_equal(nodes[2].mode, 0600);
    assert_string_equal(nodes[2].permissions, "rwm");

    const struct jb_cdi_hook *hooks = file->devices[1].edits.hooks;
    assert_int_equal(file->devices[1].edits.n_hooks, 2);
    assert_int_equal(hooks[0].when, JB_CDI_HOOK_CREATE_CONTAINER);
    assert_int_equal(hooks[0].args.len, 2);
    assert_int_equal(hooks[0].timeout_s, 5);
    assert_string_equal(hooks[0].env.items[0], "A=b");
    assert_int_equal(hooks[1].when, JB_CDI_HOOK_POSTSTOP);
    assert_true(hooks[1].timeout_s == JB_UNSET);
    assert_string_equal(jb_cdi_hook_name(JB_CDI_HOOK_POSTSTOP), "poststop");
    assert_int_equal(file->devices[2].edits.intel_rdt.line, 29);
    assert_int_equal(file->devices[3].edits.net_devices.line, 32);
}

static void json_and_versions(void **state)
{
    (void)state;
    jb_autocdi struct jb_cdi_file *tabs = good("good/tabs.json");
    assert_string_equal(tabs->devices[0].edits.nodes[0].path, "/dev/net/tun");
    assert_int_equal(tabs->devices[0].edits.nodes[0].mode, 0666);
    jb_autocdi struct jb_cdi_file *oldest = good("good/oldest.json");
    assert_int_equal(oldest->version, 3);
    jb_autocdi struct jb_cdi_file *newest = good("good/newest.yaml");
    assert_int_equal(newest->version, 8);
    assert_string_equal(newest->devices[0].edits.nodes[0].path, "/dev/all");
}

static void every_field_broken(void **state)
{
    static const char *const names[] = {"head.yaml",
                                        "missing.yaml",
                                        "version.yaml",
                                        "not_a_version.json",
                                        "devices.yaml",
                                        "nodes.yaml",
                                        "mounts.yaml",
                                        "rest.yaml",
                                        "truncated.json",
                                        "empty.yaml",
                                        "a_list.json",
                                        "unsafe.yaml",
                                        "too_new_for_its_version.yaml"};
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++) {
        struct jb_diags diags = {0};
        struct jb_cdi_file *file = NULL;
        size_t len;
        jb_autofree char *bad = jb_asprintf("bad/%s", names[i]);
        jb_autofree char *expect =
            jb_asprintf("bad/%.*s.expect", (int)(strrchr(names[i], '.') - names[i]), names[i]);
        jb_autofree char *text = read_data(bad, &len);
        jb_autofree char *kind = NULL;
        assert_int_equal(jb_cdi_parse(names[i], text, len, &file, &kind, &diags), -EINVAL);
        assert_null(file);
        jb_autofree char *said = jb_diags_format(&diags);
        jb_autofree char *expected = read_data(expect, NULL);
        assert_string_equal(said, expected);
        jb_diags_free(&diags);
    }
}

static void the_kind_of_a_broken_file_is_known(void **state)
{
    static const char text[] = "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices: none\n";
    struct jb_diags diags = {0};
    struct jb_cdi_file *file = NULL;
    jb_autofree char *kind = NULL;
    (void)state;
    assert_int_equal(jb_cdi_parse("x", text, strlen(text), &file, &kind, &diags), -EINVAL);
    assert_string_equal(kind, "vendor.com/gpu");
    jb_diags_free(&diags);
}

static void names_and_kinds(void **state)
{
    static const char *const kinds[] = {"vendor.com/gpu", "v/c", "a-b.c_d/e-f_g.h", "V1.com/C2"};
    static const char *const no_kinds[] = {"",     "vendor.com", "/gpu",  "vendor.com/", "1v/c", "v/1c",
                                           "v./c", "v/c-",       "v/c/d", "v /c",        "v/c=d"};
    static const char *const names[] = {"0", "gpu0", "GPU-1:2", "a.b_c-d", "all"};
    static const char *const no_names[] = {"", "-a", "a-", "a b", "a/b", "a=b", ":a"};
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(kinds); i++)
        assert_true(jb_cdi_kind_valid(kinds[i]));
    for (size_t i = 0; i < JB_ARRAY_LEN(no_kinds); i++)
        assert_false(jb_cdi_kind_valid(no_kinds[i]));
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++)
        assert_true(jb_cdi_name_valid(names[i]));
    for (size_t i = 0; i < JB_ARRAY_LEN(no_names); i++)
        assert_false(jb_cdi_name_valid(no_names[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key),          cmocka_unit_test(json_and_versions),
        cmocka_unit_test(every_field_broken), cmocka_unit_test(the_kind_of_a_broken_file_is_known),
        cmocka_unit_test(names_and_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
