/*
 * test_base_str.c - buffers, lists, environments, near words, path words, arenas.
 */
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/str.h"

static void buf_grows_and_ends_in_nul(void **state)
{
    (void)state;
    jb_autobuf struct jb_buf buf = {0};
    assert_int_equal(jb_buf_puts(&buf, ""), 0);
    assert_non_null(buf.data);
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(jb_buf_printf(&buf, "%03d,", i), 0);
    assert_int_equal(buf.len, 4000);
    assert_int_equal(strlen(buf.data), 4000);
    assert_memory_equal(buf.data, "000,001,", 8);
    assert_memory_equal(buf.data + 3996, "999,", 5);
    assert_int_equal(jb_buf_add(&buf, "a\0b", 3), 0);
    assert_int_equal(buf.len, 4003);
    assert_int_equal(buf.data[4003], '\0');
    assert_int_equal(jb_buf_add(&buf, "x", SIZE_MAX / 2), -ENOMEM); /* an absurd length is no overflow */
    assert_int_equal(buf.len, 4003);
    jb_buf_free(&buf);
    assert_null(buf.data);
}

static void strv_holds_copies(void **state)
{
    (void)state;
    jb_autostrv struct jb_strv list = {0};
    jb_autostrv struct jb_strv copy = {0};
    char text[] = "one";
    assert_int_equal(jb_strv_add(&list, text), 0);
    text[0] = 'x';
    assert_int_equal(jb_strv_addn(&list, "twofold", 3), 0);
    assert_int_equal(jb_strv_printf(&list, "%d", 3), 0);
    assert_int_equal(jb_strv_take(&list, strdup("four")), 0);
    assert_int_equal(jb_strv_take(&list, NULL), -ENOMEM);
    assert_int_equal(list.len, 4);
    assert_string_equal(list.items[0], "one");
    assert_string_equal(list.items[1], "two");
    assert_null(list.items[4]);
    assert_true(jb_strv_has(&list, "3"));
    assert_false(jb_strv_has(&list, "fou"));
    assert_int_equal(jb_strv_copy(&copy, &list), 0);
    assert_int_equal(copy.len, 4);
    assert_ptr_not_equal(copy.items[3], list.items[3]);
    assert_string_equal(copy.items[3], "four");
}

static void env_set_replaces_whole_keys(void **state)
{
    (void)state;
    jb_autostrv struct jb_strv env = {0};
    assert_null(jb_env_get(&env, "A"));
    assert_int_equal(jb_env_set(&env, "A", "1"), 0);
    assert_int_equal(jb_env_set(&env, "AB", "2"), 0);
    assert_int_equal(jb_env_set(&env, "A", "3=4"), 0);
    assert_int_equal(env.len, 2);
    assert_string_equal(env.items[0], "A=3=4");
    assert_string_equal(jb_env_get(&env, "A"), "3=4");
    assert_string_equal(jb_env_get(&env, "AB"), "2");
    assert_int_equal(jb_env_set(&env, "E", ""), 0);
    assert_string_equal(jb_env_get(&env, "E"), "");
    jb_env_unset(&env, "nothing");
    jb_env_unset(&env, "A");
    assert_int_equal(env.len, 2);
    assert_null(jb_env_get(&env, "A"));
    assert_string_equal(env.items[0], "AB=2");
    assert_null(env.items[2]);
    jb_env_unset(&env, "E");
    jb_env_unset(&env, "AB");
    assert_int_equal(env.len, 0);
}

static void edit_distance_counts_slips(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t d;
    } cases[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "", 3},
        {"memory", "memory", 0},
        {"memroy", "memory", 1}, /* two neighbours swapped are one slip */
        {"memor", "memory", 1},
        {"mmemory", "memory", 1},
        {"cpu", "cpus", 1},
        {"kitten", "sitting", 3},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        assert_int_equal(jb_edit_distance(cases[i].a, cases[i].b), cases[i].d);
        assert_int_equal(jb_edit_distance(cases[i].b, cases[i].a), cases[i].d);
    }
    char at_limit[65];
    char over[66];
    memset(at_limit, 'a', 64);
    memset(over, 'a', 65);
    at_limit[64] = over[65] = '\0';
    assert_int_equal(jb_edit_distance(at_limit, at_limit), 0);
    assert_int_equal(jb_edit_distance(over, over), SIZE_MAX);
    assert_int_equal(jb_edit_distance("a", over), SIZE_MAX);
}

static void did_you_mean_takes_only_near_words(void **state)
{
    (void)state;
    static const char *const words[] = {"cpus", "memory", "wall_time", "cpu_time"};
    assert_string_equal(jb_did_you_mean("memroy", words, 4), "memory");
    assert_string_equal(jb_did_you_mean("cpu", words, 4), "cpus");
    assert_string_equal(jb_did_you_mean("walltime", words, 4), "wall_time");
    assert_null(jb_did_you_mean("gpus_per_task", words, 4));
    assert_null(jb_did_you_mean("x", words, 4));
    assert_null(jb_did_you_mean("memory", words, 0));
}

static void path_beneath_goes_by_components(void **state)
{
    (void)state;
    assert_true(jb_path_beneath("/scratch", "/scratch"));
    assert_true(jb_path_beneath("/scratch/", "/scratch"));
    assert_true(jb_path_beneath("/scratch/a", "/scratch"));
    assert_true(jb_path_beneath("/scratch/a", "/scratch//"));
    assert_false(jb_path_beneath("/scratch2", "/scratch"));
    assert_false(jb_path_beneath("/scratch2/a", "/scratch/"));
    assert_false(jb_path_beneath("/scratc", "/scratch"));
    assert_false(jb_path_beneath("/", "/scratch"));
    assert_true(jb_path_beneath("/", "/"));
    assert_true(jb_path_beneath("/a", "/"));
    assert_true(jb_path_beneath("/a", "//"));
    assert_false(jb_path_beneath("a", "/"));
}

static void path_clean_is_lexical_and_strict(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } good[] = {
        {"/", "/"},           {"//", "/"},
        {"/.", "/"},          {"/a", "/a"},
        {"/a/", "/a"},        {"//a///b/./c//", "/a/b/c"},
        {"/a/...", "/a/..."}, {"/.a/..b", "/.a/..b"},
    };
    static const char *const bad[] = {"", "a", "./a", "..", "/..", "/a/..", "/a/../b", "/a/b/.."};
    for (size_t i = 0; i < JB_ARRAY_LEN(good); i++) {
        jb_autofree char *got = NULL;
        assert_int_equal(jb_path_clean(good[i].in, &got), 0);
        assert_string_equal(got, good[i].out);
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        char *got = NULL;
        assert_int_equal(jb_path_clean(bad[i], &got), -EINVAL);
        assert_null(got);
    }
    char long_path[PATH_MAX + 2];
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    char *got = NULL;
    assert_int_equal(jb_path_clean(long_path, &got), -ENAMETOOLONG);
}

static void arena_is_aligned_zeroed_and_keeps_texts(void **state)
{
    (void)state;
    struct jb_arena arena = {0};
    const char *first = jb_arena_strdup(&arena, "first");
    for (size_t size = 1; size < 5000; size += 37) {
        unsigned char *p = jb_arena_alloc(&arena, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, size);
    }
    unsigned char *big = jb_arena_alloc(&arena, 100000);
    assert_non_null(big);
    big[99999] = 1;
    assert_string_equal(jb_arena_printf(&arena, "%s-%d", "x", 7), "x-7");
    assert_null(jb_arena_strdup(&arena, NULL));
    assert_string_equal(first, "first");
    assert_null(jb_arena_alloc(&arena, SIZE_MAX)); /* rounding up does not wrap */
    assert_null(jb_arena_alloc(&arena, SIZE_MAX - 64));
    jb_arena_free(&arena);
    jb_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_grows_and_ends_in_nul),
        cmocka_unit_test(strv_holds_copies),
        cmocka_unit_test(env_set_replaces_whole_keys),
        cmocka_unit_test(edit_distance_counts_slips),
        cmocka_unit_test(did_you_mean_takes_only_near_words),
        cmocka_unit_test(path_beneath_goes_by_components),
        cmocka_unit_test(path_clean_is_lexical_and_strict),
        cmocka_unit_test(arena_is_aligned_zeroed_and_keeps_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
