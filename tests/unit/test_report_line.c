/*
 * test_report_line.c - lines of journals: records read right, and everything that is none told apart.
 */
#include "support.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "report/line.h"
#include "report/store.h"

#define ID "01M887DSDZF5ETQ2DPW6RR7Z65"

static enum jb_line_kind scan(const char *text, struct jb_line *ret)
{
    jb_autofree char *line = jb_asprintf("%s\n", text);
    assert_non_null(line);
    return jb_line_scan(line, strlen(text), ret);
}

static void a_record_is_read(void **state)
{
    (void)state;
    struct jb_line line;
    static const char text[] =
        "{\"record_version\":1,\"id\":\"" ID "\",\"job\":\"" ID
        "\",\"attempt\":2,\"array_index\":null,\"name\":\"x\","
        "\"user\":\"ann\",\"uid\":1000,\"labels\":{\"a\":\"b\"},\"new_key\":[{\"deep\":[1,2,{}]},\"\\\"\"],"
        "\"times\":{\"submitted\":\"2026-11-25T02:09:17.247259Z\",\"wait_s\":0.5,\"wall_s\":12.345678,"
        "\"ended\":"
        "\"2026-11-25T02:09:30Z\"},\"granted\":{\"cpu_count\":4,\"cores\":2,\"memory_bytes\":"
        "9223372036854771712,\"devices\":"
        "[{\"name\":\"a\"},{\"name\":\"b\"}]},\"used\":{\"cpu_user_s\":-1.0,\"cpu_system_s\":1e1,\"memory_"
        "peak_bytes\":null,"
        "\"pressure\":{\"cpu\":{\"some_s\":0.25}},\"energy_j\":1.5},\"end\":{\"reason\":\"completed\",\"exit_"
        "code\":0}}";
    char buf[512];
    int64_t when;
    jb_autofree char *whole = jb_asprintf("%s\n", text); /* slices point into it */
    assert_int_equal(jb_line_scan(whole, strlen(text), &line), JB_LINE_RECORD);
    const int64_t *v = line.row.v;
    assert_int_equal(v[JB_COL_ATTEMPT], 2);
    assert_int_equal(v[JB_COL_ARRAY_INDEX], JB_NONE);
    assert_int_equal(v[JB_COL_UID], 1000);
    assert_int_equal(v[JB_COL_GID], JB_NONE);
    assert_int_equal(v[JB_COL_WAIT], 500000);
    assert_int_equal(v[JB_COL_WALL], 12345678);
    assert_int_equal(v[JB_COL_DEVICES], 2);
    assert_int_equal(v[JB_COL_MEMORY], JB_NONE);   /* 8 EiB is how a kernel says "no limit" */
    assert_int_equal(v[JB_COL_CPU_USER], JB_NONE); /* less than nothing is not known */
    assert_int_equal(v[JB_COL_CPU_SYSTEM], 10000000);
    assert_int_equal(v[JB_COL_CPU_PRESSURE], 250000);
    assert_int_equal(v[JB_COL_ENERGY], 1500);
    assert_int_equal(v[JB_COL_EXIT_CODE], 0);
    assert_true(jb_line_time("2026-11-25T02:09:30Z", 20, &when));
    assert_int_equal(v[JB_COL_AT], when);
    assert_int_equal(line.text[JB_COL_JOB].len, 0); /* the same as the id */
    assert_int_equal(jb_slice_decode(&line.text[JB_COL_LABELS], buf), strlen("{\"a\":\"b\"}"));
    jb_line_id_text(v[JB_COL_ID_HI], v[JB_COL_ID_LO], buf);
    assert_string_equal(buf, ID);
}

/* Every prefix of a record is torn, and none is read beyond its end. */
static void torn_at_every_byte(void **state)
{
    (void)state;
    static const char text[] =
        "{\"record_version\":1,\"id\":\"" ID
        "\",\"name\":\"a\\\\\\\"\\u00e9\",\"times\":{\"wall_s\":1.5e1,\"x\":[true,false,null]}}";
    struct jb_line line;
    assert_int_equal(scan(text, &line), JB_LINE_RECORD);
    for (size_t n = 0; n < strlen(text); n++) {
        jb_autofree char *part = calloc(1, n + 2); /* no more than is said, so that a sanitizer sees */
        memcpy(part, text, n);
        part[n] = '\n';
        assert_int_equal(jb_line_scan(part, n, &line), JB_LINE_TORN);
    }
}

static void what_is_no_record(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum jb_line_kind kind;
    } cases[] = {
        {"{}", JB_LINE_FOREIGN},
        {"[1,2]", JB_LINE_FOREIGN},
        {"42", JB_LINE_FOREIGN},
        {"{\"id\":\"" ID "\"}", JB_LINE_FOREIGN},
        {"{\"record_version\":1}", JB_LINE_FOREIGN},
        {"{\"record_version\":\"1\",\"id\":\"" ID "\"}", JB_LINE_FOREIGN},
        {"{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DPW6RR7Z6\"}", JB_LINE_FOREIGN},
        {"{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DPW6RR7Z6u\"}", JB_LINE_FOREIGN},
        {"{\"record_version\":2,\"id\":\"anything\"}", JB_LINE_FUTURE},
        {"{\"record_version\":1,\"id\":\"" ID "\"} x", JB_LINE_TORN},
        {"{\"record_version\":1,\"id\":\"" ID "\"}{\"record_version\":1}", JB_LINE_TORN},
        {"{\"record_version\":1,\"id\":\"" ID "\",}", JB_LINE_TORN},
        {"{\"record_version\":1,\"id\":\"" ID "\",\"a\":tru}", JB_LINE_TORN},
        {"not json", JB_LINE_TORN},
        {"\x1f\x8b\x08", JB_LINE_TORN},
        {"", JB_LINE_TORN},
    };
    struct jb_line line;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++)
        if (scan(cases[i].text, &line) != cases[i].kind)
            fail_msg("%s", cases[i].text);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct jb_line line;
    jb_autofree char *text = calloc(1, 200002);
    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    text[200000] = '\n';
    assert_int_equal(jb_line_scan(text, 200000, &line), JB_LINE_TORN);
}

static void texts_become_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *text;
    } cases[] = {
        {"plain", "plain"},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {"\\u00e9\\ud83d\\ude00", "\xC3\xA9\xF0\x9F\x98\x80"},
        {"\\ud83dx", "\xEF\xBF\xBDx"},
        {"\\u0000", "\xEF\xBF\xBD"},
        {"a\xFF\xC3(", "a\xEF\xBF\xBD\xEF\xBF\xBD("},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* too long for what it says */
    };
    char buf[128];
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_slice slice = {cases[i].raw, strlen(cases[i].raw), strchr(cases[i].raw, '\\') != NULL};
        (void)jb_slice_decode(&slice, buf);
        assert_string_equal(buf, cases[i].text);
    }
}

static void times_of_all_zones(void **state)
{
    (void)state;
    int64_t a;
    int64_t b;
    assert_true(jb_line_time("1970-01-01T00:00:00Z", 20, &a));
    assert_int_equal(a, 0);
    assert_true(jb_line_time("2026-03-29T03:30:00.5+02:00", 27, &a));
    assert_true(jb_line_time("2026-03-29T01:30:00.500000Z", 27, &b));
    assert_int_equal(a, b);
    static const char *const wrong[] = {"2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00",
                                        "yesterday", "2026-01-01T00:00:00+2"};
    for (size_t i = 0; i < JB_ARRAY_LEN(wrong); i++)
        assert_false(jb_line_time(wrong[i], strlen(wrong[i]), &a));
}

static void columns_pack_and_unpack(void **state)
{
    (void)state;
    static const int64_t cases[][4] = {
        {7, 7, 7, 7},
        {JB_NONE, JB_NONE, JB_NONE, JB_NONE},
        {JB_NONE, 5, 5, 5},
        {0, 254, 1, JB_NONE},
        {0, 255, 1, JB_NONE},
        {1000000, 1065534, 1000000, JB_NONE},
        {INT64_MAX, INT64_MIN + 1, 0, JB_NONE},
        {1764036557000000, 1764036559000000, JB_NONE, 1764036558000000},
    };
    unsigned char buf[JB_PACKED(4)];
    int64_t out[4];
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        size_t len = jb_pack(cases[i], 4, buf);
        assert_true(len <= sizeof(buf));
        assert_true(jb_unpack(buf, len, 4, out));
        assert_memory_equal(out, cases[i], sizeof(out));
        assert_false(jb_unpack(buf, len - 1, 4, out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read),        cmocka_unit_test(torn_at_every_byte),
        cmocka_unit_test(what_is_no_record),       cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(texts_become_utf8),       cmocka_unit_test(times_of_all_zones),
        cmocka_unit_test(columns_pack_and_unpack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
