/*
 * test_spec_files.c - every file of tests/data/spec: the right ones parse, the wrong ones say exactly what is expected.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "spec/spec.h"

#define DATA SOURCE_DIR "/tests/data/spec"

static int is_yaml(const struct dirent *e)
{
    size_t len = strlen(e->d_name);
    return len > 5 && jb_streq(e->d_name + len - 5, ".yaml");
}

/* Calls `check` for each file of a folder; returns how many there were. */
static int each(const char *folder, void (*check)(const char *name, const char *text, size_t len))
{
    struct dirent **names = NULL;
    jb_autofree char *path = jb_asprintf("%s/%s", DATA, folder);
    int n = scandir(path, &names, is_yaml, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        jb_autofree char *file = jb_asprintf("%s/%s", path, names[i]->d_name);
        jb_autofree char *text = NULL;
        size_t len = 0;
        assert_int_equal(jb_read_at(AT_FDCWD, file, JB_SPEC_FILE_MAX, &text, &len), 0);
        check(names[i]->d_name, text, len);
        free(names[i]);
    }
    free(names);
    return n;
}

static void check_good(const char *name, const char *text, size_t len)
{
    struct jb_diags diags = {0};
    jb_autospec struct jb_spec *spec = NULL;
    if (jb_spec_parse(name, text, len, &spec, &diags) < 0) {
        jb_autofree char *said = jb_diags_format(&diags);
        fail_msg("%s", said);
    }
    assert_int_equal(diags.len, 0);
    assert_string_equal(spec->file, name);
    jb_diags_free(&diags);
}

static void check_bad(const char *name, const char *text, size_t len)
{
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    jb_autofree char *file = jb_asprintf("%s/bad/%.*s.expect", DATA, (int)strlen(name) - 5, name);
    jb_autofree char *expected = NULL;
    assert_int_equal(jb_read_at(AT_FDCWD, file, JB_SPEC_FILE_MAX, &expected, NULL), 0);
    assert_int_equal(jb_spec_parse(name, text, len, &spec, &diags), -EINVAL);
    assert_null(spec);
    jb_autofree char *said = jb_diags_format(&diags);
    assert_string_equal(said, expected);
    for (size_t i = 1; i < diags.len; i++)
        assert_true(diags.items[i - 1].line < diags.items[i].line ||
                    (diags.items[i - 1].line == diags.items[i].line &&
                     diags.items[i - 1].column <= diags.items[i].column));
    jb_diags_free(&diags);
}

static void test_good(void **state)
{
    (void)state;
    assert_true(each("good", check_good) >= 25);
}

static void test_bad(void **state)
{
    (void)state;
    assert_true(each("bad", check_bad) >= 60);
}

/* A file cut off anywhere is right or wrong, but nothing else: no crash, no leak, no silence. */
static void check_cut(const char *name, const char *text, size_t len)
{
    for (size_t cut = 0; cut < len && cut < 3000; cut++) {
        struct jb_diags diags = {0};
        jb_autospec struct jb_spec *spec = NULL;
        jb_autofree char *part = malloc(cut + 1); /* exactly as long as told, for the sanitizer to see */
        assert_non_null(part);
        memcpy(part, text, cut);
        int r = jb_spec_parse(name, part, cut, &spec, &diags);
        assert_true(r == 0 ? spec && diags.len == 0 : r == -EINVAL && !spec && diags.len > 0);
        jb_diags_free(&diags);
    }
}

static void test_cut_off(void **state)
{
    (void)state;
    assert_true(each("good", check_cut) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
