/*
 * test_base_glob.c - patterns of paths: what matches, where a walk can stop, and what a hostile pattern costs.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/glob.h"
#include "base/str.h"

/* As a walk goes: one name after another. */
static bool matches(const char *pattern, const char *path)
{
    struct jb_glob glob;
    assert_int_equal(jb_glob_make(pattern, &glob), 0);
    char *copy = strdup(path);
    char *rest = NULL;
    uint64_t state = jb_glob_start(&glob);
    for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest))
        state = jb_glob_step(&glob, state, name);
    bool result = jb_glob_matches(&glob, state);
    free(copy);
    jb_glob_free(&glob);
    return result;
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool match;
    } cases[] = {
        {"a", "a", true},
        {"a", "ab", false},
        {"", "", true},
        {"*", "a", true},
        {"*", ".a", false},
        {".*", ".a", true},
        {"?a", ".a", false},
        {"[.]a", ".a", false},
        {"*.log", "x.log", true},
        {"*.log", "x.logs", false},
        {"*.log", ".log", false},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxbyycd", false},
        {"a*b*c", "abcbc", true},
        {"**", "ab", true},
        {"?", "ab", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[^a-c]x", "ax", false},
        {"[]]x", "]x", true},
        {"[!]]x", "ax", true},
        {"[a-]x", "-x", true},
        {"[\\]]x", "]x", true},
        {"[a\\-c]x", "bx", false},
        {"[", "[", true},
        {"[a", "[a", true},
        {"[a", "a", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a\\", "a\\", true},
        {"x[*]", "x*", true},
        {"\xc3\xa4*", "\xc3\xa4h", true},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++)
        if (jb_glob_name(cases[i].pattern, cases[i].name) != cases[i].match)
            fail_msg("\"%s\" against \"%s\"", cases[i].pattern, cases[i].name);
}

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool match;
    } cases[] = {
        {"/w/a", "w/a", true},
        {"/w//./a/", "w/a", true},
        {"/w/a", "w/a/b/c", true}, /* a folder, and what is in it */
        {"/w/a", "w", false},
        {"/w/*", "w/.hidden", false},
        {"/w/**", "w/.hidden/x", true},
        {"/w/**/x", "w/x", true},
        {"/w/**/x", "w/a/b/x", true},
        {"/w/**/x", "w/a/b/y", false},
        {"/w/**/x/**/y", "w/x/y", true},
        {"/w/**/x/**/y", "w/a/x/b/c/y", true},
        {"/w/**/x/**/y", "w/a/y", false},
        {"/w/**/**/x", "w/x", true},
        {"**", "a", true},
        {"/w/a**b", "w/axb", true}, /* no component of its own: two stars of one name */
        {"/w/a**b", "w/a/b", false},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++)
        if (matches(cases[i].pattern, cases[i].path) != cases[i].match)
            fail_msg("\"%s\" against \"%s\"", cases[i].pattern, cases[i].path);
}

static void only_what_can_match_is_walked(void **state)
{
    (void)state;
    struct jb_glob glob;
    assert_int_equal(jb_glob_make("/w/x*/b", &glob), 0);
    uint64_t at = jb_glob_start(&glob);
    assert_string_equal(jb_glob_only(&glob, at), "w");
    assert_int_equal(jb_glob_step(&glob, at, "etc"), 0);
    at = jb_glob_step(&glob, at, "w");
    assert_null(jb_glob_only(&glob, at)); /* to be listed */
    assert_int_equal(jb_glob_step(&glob, at, "y"), 0);
    at = jb_glob_step(&glob, at, "xy");
    assert_string_equal(jb_glob_only(&glob, at), "b");
    jb_glob_free(&glob);
}

/* `text` so many times. */
static void many(const char *text, int times, struct jb_buf *ret)
{
    for (int i = 0; i < times; i++)
        assert_int_equal(jb_buf_puts(ret, text), 0);
}

static void what_is_no_pattern(void **state)
{
    (void)state;
    struct jb_glob glob;
    jb_autobuf struct jb_buf deep = {0};
    assert_int_equal(jb_glob_make("///", &glob), -EINVAL);
    many("/a", JB_GLOB_PARTS_MAX, &deep);
    assert_int_equal(jb_glob_make(deep.data, &glob), 0);
    jb_glob_free(&glob);
    assert_true(matches(deep.data, deep.data));
    many("/a", 1, &deep);
    assert_int_equal(jb_glob_make(deep.data, &glob), -E2BIG);
}

/* A matcher that tries each star anew would be here until the sun is cold. */
static void hostile_patterns_end(void **state)
{
    (void)state;
    jb_autobuf struct jb_buf pattern = {0};
    jb_autobuf struct jb_buf name = {0};
    jb_autobuf struct jb_buf stars = {0};
    jb_autobuf struct jb_buf path = {0};
    many("*a", 120, &pattern);
    many("b", 1, &pattern);
    many("a", 255, &name);
    assert_false(jb_glob_name(pattern.data, name.data));
    many("/**/a", 30, &stars);
    many("/b", 1, &stars);
    many("/a", 400, &path);
    assert_false(matches(stars.data, path.data));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(paths),
        cmocka_unit_test(only_what_can_match_is_walked),
        cmocka_unit_test(what_is_no_pattern),
        cmocka_unit_test(hostile_patterns_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
