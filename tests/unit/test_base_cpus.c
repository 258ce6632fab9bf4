/*
 * test_base_cpus.c - CPU sets: the list form both ways, and the set operations against a plain array.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cpus.h"

static void lists_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        unsigned count;
    } cases[] = {
        {"", "", 0},
        {"0", "0", 1},
        {"0-3", "0-3", 4},
        {"3,2,1,0", "0-3", 4},
        {"0-3,8,10-11", "0-3,8,10-11", 7},
        {"1,1,1", "1", 1},
        {"0-5,2-3", "0-5", 6},
        {"63-64", "63-64", 2},
        {"4095", "4095", 1},
        {"0-4095", "0-4095", 4096},
        {"07", "7", 1},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_cpus set;
        assert_int_equal(jb_cpus_parse(cases[i].in, &set), 0);
        assert_int_equal(jb_cpus_count(&set), cases[i].count);
        assert_int_equal(jb_cpus_empty(&set), cases[i].count == 0);
        jb_autofree char *text = jb_cpus_list(&set);
        assert_string_equal(text, cases[i].out);
    }
}

static void bad_lists(void **state)
{
    (void)state;
    static const char *const bad[] = {",", "1,",  ",1", "1,,2", "-",    "1-",      "-1",  "3-1", "1-2-3",
                                      "a", "0x1", " 1", "1 ",   "1, 2", "0-6:2/4", "1;2", "1\n", "+1"};
    static const char *const big[] = {"4096", "0-4096", "99999999999999999999", "4294967296"};
    struct jb_cpus set;
    struct jb_cpus same;
    memset(&set, 0x5a, sizeof(set));
    same = set;
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++)
        if (jb_cpus_parse(bad[i], &set) != -EINVAL)
            fail_msg("\"%s\" is taken", bad[i]);
    for (size_t i = 0; i < JB_ARRAY_LEN(big); i++)
        if (jb_cpus_parse(big[i], &set) != -ERANGE)
            fail_msg("\"%s\" is taken", big[i]);
    assert_memory_equal(&set, &same, sizeof(set)); /* set on success only */
}

static void indices_beyond_the_set(void **state)
{
    (void)state;
    struct jb_cpus set = {0};
    jb_cpus_add(&set, JB_CPUS_MAX);
    jb_cpus_add(&set, UINT32_MAX);
    assert_true(jb_cpus_empty(&set));
    assert_false(jb_cpus_has(&set, JB_CPUS_MAX));
    jb_cpus_del(&set, JB_CPUS_MAX);
    assert_int_equal(jb_cpus_next(&set, 0), -1);
    jb_cpus_add(&set, JB_CPUS_MAX - 1);
    assert_int_equal(jb_cpus_next(&set, 0), JB_CPUS_MAX - 1);
    assert_int_equal(jb_cpus_next(&set, JB_CPUS_MAX), -1);
}

static void format_says_when_it_does_not_fit(void **state)
{
    (void)state;
    struct jb_cpus set;
    char buf[8];
    assert_int_equal(jb_cpus_parse("10-12,20", &set), 0); /* eight characters: one too many with the end */
    assert_int_equal(jb_cpus_format(&set, buf, sizeof(buf)), -ENOSPC);
    char fits[9];
    assert_int_equal(jb_cpus_format(&set, fits, sizeof(fits)), 8);
    assert_string_equal(fits, "10-12,20");
    assert_int_equal(jb_cpus_format(&set, buf, 0), -ENOSPC);
    /* the longest of all lists: every second index */
    struct jb_cpus sparse = {0};
    for (unsigned i = 0; i < JB_CPUS_MAX; i += 2)
        jb_cpus_add(&sparse, i);
    jb_autofree char *text = jb_cpus_list(&sparse);
    assert_non_null(text);
    assert_true(strlen(text) < JB_CPUS_TEXT);
}

/* A small generator of our own: the same numbers on every machine. */
static uint32_t roll(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void random_set(uint32_t *seed, bool plain[JB_CPUS_MAX], struct jb_cpus *set)
{
    *set = (struct jb_cpus){0};
    memset(plain, 0, JB_CPUS_MAX * sizeof(*plain));
    unsigned runs = roll(seed) % 30;
    for (unsigned r = 0; r < runs; r++) {
        unsigned from = roll(seed) % JB_CPUS_MAX;
        unsigned len = roll(seed) % 90;
        for (unsigned i = from; i < from + len && i < JB_CPUS_MAX; i++) {
            plain[i] = true;
            jb_cpus_add(set, i);
        }
    }
}

static void agrees_with(const struct jb_cpus *set, const bool plain[JB_CPUS_MAX])
{
    unsigned n = 0;
    int at = jb_cpus_next(set, 0);
    for (unsigned i = 0; i < JB_CPUS_MAX; i++) {
        assert_int_equal(jb_cpus_has(set, i), plain[i]);
        if (!plain[i])
            continue;
        assert_int_equal(at, i);
        at = jb_cpus_next(set, i + 1);
        n++;
    }
    assert_int_equal(at, -1);
    assert_int_equal(jb_cpus_count(set), n);
}

static void random_sets_behave_like_arrays(void **state)
{
    (void)state;
    static bool a_plain[JB_CPUS_MAX];
    static bool b_plain[JB_CPUS_MAX];
    static bool want[JB_CPUS_MAX];
    static char text[JB_CPUS_TEXT];
    uint32_t seed = 20240229;
    for (int round = 0; round < 200; round++) {
        struct jb_cpus a;
        struct jb_cpus b;
        struct jb_cpus c;
        random_set(&seed, a_plain, &a);
        random_set(&seed, b_plain, &b);
        agrees_with(&a, a_plain);
        assert_true(jb_cpus_format(&a, text, sizeof(text)) >= 0);
        assert_int_equal(jb_cpus_parse(text, &c), 0);
        assert_true(jb_cpus_equal(&a, &c));
        bool meet = false;
        bool inside = true;
        for (unsigned i = 0; i < JB_CPUS_MAX; i++) {
            meet |= a_plain[i] && b_plain[i];
            inside &= !a_plain[i] || b_plain[i];
        }
        assert_int_equal(jb_cpus_intersects(&a, &b), meet);
        assert_int_equal(jb_cpus_subset(&a, &b), inside);
        c = a;
        jb_cpus_or(&c, &b);
        for (unsigned i = 0; i < JB_CPUS_MAX; i++)
            want[i] = a_plain[i] || b_plain[i];
        agrees_with(&c, want);
        assert_true(jb_cpus_subset(&a, &c));
        c = a;
        jb_cpus_and(&c, &b);
        for (unsigned i = 0; i < JB_CPUS_MAX; i++)
            want[i] = a_plain[i] && b_plain[i];
        agrees_with(&c, want);
        c = a;
        jb_cpus_andnot(&c, &b);
        for (unsigned i = 0; i < JB_CPUS_MAX; i++)
            want[i] = a_plain[i] && !b_plain[i];
        agrees_with(&c, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_both_ways),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(indices_beyond_the_set),
        cmocka_unit_test(format_says_when_it_does_not_fit),
        cmocka_unit_test(random_sets_behave_like_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
