/*
 * test_queue_passed.c - which of a submitter's environment goes with his job.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/passed.h"

static char *passed(const char *const *patterns, const char *const *env)
{
    struct jb_strv list = {0};
    json_t *given = json_array();
    for (size_t i = 0; patterns[i]; i++)
        assert_int_equal(jb_strv_addn(&list, patterns[i], strlen(patterns[i])), 0);
    for (size_t i = 0; env[i]; i++)
        (void)json_array_append_new(given, json_string(env[i]));
    char *text = jb_passed_env(&list, given);
    json_decref(given);
    jb_strv_free(&list);
    return text;
}

static void expect(const char *const *patterns, const char *wanted)
{
    static const char *const env[] = {"=none", "A=1",      "AB=2", "AB_C=3", "ABC=4",
                                      "B=5",   "no value", "Z=",   NULL};
    char *text = passed(patterns, env);
    if (wanted)
        assert_string_equal(text, wanted);
    else
        assert_null(text);
    free(text);
}

static void names_and_beginnings(void **state)
{
    (void)state;
    expect((const char *[]){NULL}, NULL);
    expect((const char *[]){"A", NULL}, "[\"A=1\"]");
    expect((const char *[]){"no value", "C", NULL}, NULL);
    expect((const char *[]){"AB*", NULL}, "[\"AB=2\",\"AB_C=3\",\"ABC=4\"]");
    expect((const char *[]){"Z", "AB_*", "AB*", "ABC", "AC*", NULL},
           "[\"AB=2\",\"AB_C=3\",\"ABC=4\",\"Z=\"]");
    expect((const char *[]){"B*", "ABB*", "AB_", NULL}, "[\"B=5\"]");
    expect((const char *[]){"A*", "*", NULL},
           "[\"=none\",\"A=1\",\"AB=2\",\"AB_C=3\",\"ABC=4\",\"B=5\",\"Z=\"]");
}

/* As much of both as a request has room for: everybody else waits for it. */
static void long_lists_take_no_time(void **state)
{
    struct jb_strv list = {0};
    json_t *env = json_array();
    char text[32];
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        int n = snprintf(text, sizeof(text), i % 2 ? "A%u" : "B%u*", i);
        assert_int_equal(jb_strv_addn(&list, text, (size_t)n), 0);
    }
    for (unsigned i = 0; i < 300000; i++) {
        (void)snprintf(text, sizeof(text), "%s%u=1", i % 2 ? "A" : "C", i);
        (void)json_array_append_new(env, json_string(text));
    }
    uint64_t begun = jb_mono_ns(NULL);
    char *kept = jb_passed_env(&list, env);
    assert_true(jb_mono_ns(NULL) - begun < UINT64_C(3000000000));
    json_t *back = json_loads(kept, 0, NULL);
    assert_int_equal(json_array_size(back), 10000);
    json_decref(back);
    free(kept);
    json_decref(env);
    jb_strv_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_beginnings),
        cmocka_unit_test(long_lists_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
