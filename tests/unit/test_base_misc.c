/*
 * test_base_misc.c - ids, clocks, JSON values, kernel files with faults.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/json.h"
#include "base/units.h"

static void ids_are_valid_and_sort_by_time(void **state)
{
    (void)state;
    struct jb_id last = {""};
    for (uint64_t ms = 1700000000000; ms < 1700000000300; ms++) {
        struct jb_id id;
        assert_int_equal(jb_id_new(ms * 1000, &id), 0);
        assert_true(jb_id_valid(id.text));
        assert_true(strcmp(last.text, id.text) < 0);
        last = id;
    }
    struct jb_id a;
    struct jb_id b;
    assert_int_equal(jb_id_new(0, &a), 0);
    assert_int_equal(jb_id_new(0, &b), 0);
    assert_memory_equal(a.text, "0000000000", 10);
    assert_string_not_equal(a.text, b.text); /* 80 random bits */
    assert_int_equal(jb_id_new(((UINT64_C(1) << 48) - 1) * 1000, &a), 0);
    assert_memory_equal(a.text, "7ZZZZZZZZZ", 10);
    assert_true(jb_id_valid(a.text));
}

static void ids_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FA",   /* 25 */
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAVX", /* 27 */
                                      "81ARZ3NDEKTSV4RRFFQ69G5FAV",  /* beyond 48 bits */
                                      "01arz3ndektsv4rrffq69g5fav",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAI", /* I L O U are not in the alphabet */
                                      "01ARZ3NDEKTSV4RRFFQ69G5FA/",
                                      "../../../../../etc/passwd0"};
    assert_true(jb_id_valid("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++)
        assert_false(jb_id_valid(bad[i]));
}

static uint64_t fixed_mono(void *ctx)
{
    return *(const uint64_t *)ctx;
}

static void clocks(void **state)
{
    (void)state;
    char buf[JB_TIME_TEXT];
    assert_string_equal(jb_format_time(0, buf, sizeof(buf)), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(jb_format_time(UINT64_C(1709251199123456), buf, sizeof(buf)),
                        "2024-02-29T23:59:59.123456Z");
    uint64_t at = 42;
    const struct jb_clock fake = {.mono_ns = fixed_mono, .ctx = &at};
    assert_int_equal(jb_mono_ns(&fake), 42);
    uint64_t before = jb_mono_ns(NULL);
    assert_true(jb_mono_ns(NULL) >= before);
    assert_true(jb_wall_us(&fake) > UINT64_C(1600000000000000)); /* what is not faked is the kernel's */
}

static char *dump(json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    assert_non_null(text);
    json_decref(value);
    return text;
}

static void json_unknown_is_null(void **state)
{
    (void)state;
    assert_true(json_is_null(jb_json_u64(JB_UNSET)));
    assert_true(json_is_null(jb_json_u64((uint64_t)INT64_MAX + 1)));
    assert_true(json_is_null(jb_json_text(NULL)));
    assert_true(json_is_null(jb_json_seconds_us(JB_UNSET)));
    assert_true(json_is_null(jb_json_seconds_ns(JB_UNSET)));
    assert_true(json_is_null(jb_json_time(JB_UNSET)));
}

static void json_values(void **state)
{
    (void)state;
    struct jb_cpus set;
    assert_int_equal(jb_cpus_parse("1-2,5", &set), 0);
    const struct {
        json_t *value;
        const char *text;
    } cases[] = {
        {jb_json_u64(0), "0"},
        {jb_json_u64(INT64_MAX), "9223372036854775807"},
        {jb_json_text("a\"b"), "\"a\\\"b\""},
        {jb_json_text("gr\xc3\xbc"), "\"gr\xc3\xbc\""},
        {jb_json_text("x\xff\xfey"), "\"x??y\""},
        {jb_json_seconds_us(1500000), "1.5"},
        {jb_json_seconds_us(0), "0.0"},
        {jb_json_seconds_ns(1000), "1e-6"},
        {jb_json_time(0), "\"1970-01-01T00:00:00.000000Z\""},
        {jb_json_cpus(&set), "\"1-2,5\""},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        jb_autofree char *text = dump(cases[i].value);
        assert_string_equal(text, cases[i].text);
    }
    json_t *object = json_object();
    assert_true(jb_json_set(object, "a", json_integer(1)));
    assert_false(jb_json_set(object, "b", NULL)); /* out of memory further down */
    json_decref(object);
}

struct kfiles {
    char *path;
    struct jb_kdir dir;
};

static int kfiles_setup(void **state)
{
    struct kfiles *k = calloc(1, sizeof(*k));
    k->path = test_tmpdir();
    assert_int_equal(jb_kdir_open(k->path, &k->dir), 0);
    *state = k;
    return 0;
}

static int kfiles_teardown(void **state)
{
    struct kfiles *k = *state;
    jb_kdir_close(&k->dir);
    assert_int_equal(k->dir.fd, -1);
    test_tmpdir_remove(k->path);
    free(k);
    return 0;
}

static void kernel_files_are_read(void **state)
{
    struct kfiles *k = *state;
    char line[8];
    uint64_t n;
    test_write(k->path, "max", "max\n");
    test_write(k->path, "number", "123\n");
    test_write(k->path, "bare", "123");
    test_write(k->path, "words", "12 34\n");
    test_write(k->path, "empty", "");
    test_write(k->path, "seven", "1234567\nmore\n");
    test_write(k->path, "eight", "12345678");
    test_write(k->path, "stat", "usage_usec 100\nuser_usec 60\nuser 7\nbad x\nhuge 18446744073709551616\n");
    assert_int_equal(jb_kread_u64(&k->dir, "max", &n), 0);
    assert_true(n == JB_UNSET);
    assert_int_equal(jb_kread_u64(&k->dir, "number", &n), 0);
    assert_int_equal(n, 123);
    assert_int_equal(jb_kread_u64(&k->dir, "bare", &n), 0);
    assert_int_equal(jb_kread_u64(&k->dir, "words", &n), -EINVAL);
    assert_int_equal(jb_kread_u64(&k->dir, "empty", &n), -EINVAL);
    assert_int_equal(jb_kread_u64(&k->dir, "absent", &n), -ENOENT);
    assert_int_equal(jb_kread_line(&k->dir, "seven", line, sizeof(line)), 0);
    assert_string_equal(line, "1234567");
    assert_int_equal(jb_kread_line(&k->dir, "eight", line, sizeof(line)), -ENAMETOOLONG);
    assert_int_equal(jb_kread_line(&k->dir, "empty", line, sizeof(line)), 0);
    assert_string_equal(line, "");
    assert_int_equal(jb_kread_keyed(&k->dir, "stat", "user_usec", &n), 0);
    assert_int_equal(n, 60);
    assert_int_equal(jb_kread_keyed(&k->dir, "stat", "user", &n), 0); /* the whole key, not a prefix */
    assert_int_equal(n, 7);
    assert_int_equal(jb_kread_keyed(&k->dir, "stat", "system_usec", &n), -ENODATA);
    assert_int_equal(jb_kread_keyed(&k->dir, "stat", "bad", &n), -EINVAL);
    assert_int_equal(jb_kread_keyed(&k->dir, "stat", "huge", &n), -ERANGE);
    assert_int_equal(jb_keyed_u64("a 1", "a", &n), 0);
    assert_int_equal(jb_keyed_u64("", "a", &n), -ENODATA);
}

static void kernel_files_are_written(void **state)
{
    struct kfiles *k = *state;
    jb_autofree char *text = NULL;
    test_write(k->path, "f", "old old");
    assert_int_equal(jb_kwrite(&k->dir, "f", "new"), 0);
    assert_int_equal(jb_kread_all(&k->dir, "f", &text), 0);
    assert_string_equal(text, "new old"); /* as kernel files want it: no truncation, no creation */
    assert_int_equal(jb_kwrite(&k->dir, "absent", "x"), -ENOENT);
    assert_int_equal(jb_kdir_open("/nonexistent", &(struct jb_kdir){.fd = -1}), -ENOENT);
}

static void faults_hit_the_nth_access(void **state)
{
    struct kfiles *k = *state;
    struct test_fault fault;
    uint64_t n;
    char *text = NULL;
    test_write(k->path, "f", "5\n");
    for (unsigned at = 1; at <= 4; at++) {
        test_fault_init(&fault, at, ENXIO);
        k->dir.fault = &fault.fault;
        assert_int_equal(jb_kread_u64(&k->dir, "f", &n), at == 1 ? -ENXIO : 0);
        assert_int_equal(jb_kwrite(&k->dir, "f", "5\n"), at == 2 ? -ENXIO : 0);
        assert_int_equal(jb_kread_all(&k->dir, "f", &text), at == 3 ? -ENXIO : 0);
        free(text);
        text = NULL;
        assert_int_equal(jb_kread_keyed(&k->dir, "f", "k", &n), at == 4 ? -ENXIO : -ENODATA);
        assert_int_equal(fault.seen, 4);
    }
    k->dir.fault = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_valid_and_sort_by_time),
        cmocka_unit_test(ids_that_are_none),
        cmocka_unit_test(clocks),
        cmocka_unit_test(json_unknown_is_null),
        cmocka_unit_test(json_values),
        cmocka_unit_test_setup_teardown(kernel_files_are_read, kfiles_setup, kfiles_teardown),
        cmocka_unit_test_setup_teardown(kernel_files_are_written, kfiles_setup, kfiles_teardown),
        cmocka_unit_test_setup_teardown(faults_hit_the_nth_access, kfiles_setup, kfiles_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
