/*
 * test_base_units.c - sizes, durations and counts: what is taken, what is refused, and the way back.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define KIB UINT64_C(1024)
#define S   JB_NS_PER_S

struct good {
    const char *text;
    uint64_t value;
};

static void sizes_taken(void **state)
{
    (void)state;
    static const struct good cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"512B", 512},
        {"512K", 512 * KIB},
        {"512KiB", 512 * KIB},
        {"8GiB", 8 * KIB * KIB * KIB},
        {"8G", 8 * KIB * KIB * KIB},
        {"1.5G", 3 * KIB * KIB * KIB / 2},
        {"0.5KiB", 512},
        {"2MiB", 2 * KIB * KIB},
        {"3T", 3 * KIB * KIB * KIB * KIB},
        {"1.0", 1},
        {"4611686018427387904", UINT64_C(1) << 62},
        {"4194304T", UINT64_C(1) << 62},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        uint64_t got = 1;
        if (jb_parse_size(cases[i].text, &got) != 0 || got != cases[i].value)
            fail_msg("\"%s\" gives %llu", cases[i].text, (unsigned long long)got);
    }
}

static void sizes_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      " ",          "0x10", "1e3", " 1",     "1 ",   "1 K", "-1",
                                      "+1",    "8GB",        "8KB",  "8k",  "8gib",   "8Gib", "1.5", "1.",
                                      "1.K",   ".5K",        "K",    "1KK", "1.2.3K", "1,5G", "inf", "nan",
                                      "1_000", "1.1234567K", "1P",   "1Ki", "max",    "1K\n"};
    static const char *const big[] = {"4611686018427387905",
                                      "4194305T",
                                      "4194304.5T",
                                      "18446744073709551616",
                                      "99999999999999999999999999",
                                      "18446744073709551615K"};
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        uint64_t got = 77;
        if (jb_parse_size(bad[i], &got) != -EINVAL || got != 77)
            fail_msg("\"%s\" is taken as %llu", bad[i], (unsigned long long)got);
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(big); i++) {
        uint64_t got = 77;
        if (jb_parse_size(big[i], &got) != -ERANGE || got != 77)
            fail_msg("\"%s\" is taken as %llu", big[i], (unsigned long long)got);
    }
}

static void durations_taken(void **state)
{
    (void)state;
    static const struct good cases[] = {
        {"0", 0},
        {"90", 90 * S},
        {"90s", 90 * S},
        {"15m", 900 * S},
        {"1h30m", 5400 * S},
        {"1h1s", 3601 * S},
        {"2d", 172800 * S},
        {"2d12h", 216000 * S},
        {"250ms", 250 * JB_NS_PER_MS},
        {"1s500ms", 1500 * JB_NS_PER_MS},
        {"1.5s", 1500 * JB_NS_PER_MS},
        {"0.5h", 1800 * S},
        {"0.25d", 21600 * S},
        /* as Slurm writes them */
        {"05:00", 300 * S},
        {"5:30", 330 * S},
        {"90:00", 5400 * S}, /* minutes may pass 59 when they lead */
        {"12:00:00", 43200 * S},
        {"100:00:01", 360001 * S},
        {"2-12", 216000 * S},
        {"2-12:30", 217800 * S},
        {"2-12:00:00", 216000 * S},
        {"0-0", 0},
        {"36600d", UINT64_C(36600) * 86400 * S},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        uint64_t got = 1;
        if (jb_parse_duration(cases[i].text, &got) != 0 || got != cases[i].value)
            fail_msg("\"%s\" gives %llu", cases[i].text, (unsigned long long)got);
    }
}

static void durations_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        " ",       "0x10",   "1e3",      " 1",     "1 ",    "-1",
                                      "+1",      "1.5",     "m",      "1m1h",     "1h1h",   "30m1h", "1x",
                                      "1hm",     "1h 30m",  "1:60",   "1:2:60",   "1:60:0", "1:",    ":1",
                                      "1:2:3:4", "1-24",    "1-0:60", "1-0:0:60", "1-",     "-1:00", "1--2",
                                      "1-2-3",   "12:3s",   "1w",     "1y",       "1S",     "1.h",   "inf",
                                      "1h30",    "forever", "1\n"};
    static const char *const big[] = {"36601d",        "3162240001", "9999999999999999999999",
                                      "100000000000d", "876600h1d",  "1000000-00"};
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        uint64_t got = 77;
        if (jb_parse_duration(bad[i], &got) != -EINVAL || got != 77)
            fail_msg("\"%s\" is taken as %llu", bad[i], (unsigned long long)got);
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(big); i++) {
        uint64_t got = 77;
        int r = jb_parse_duration(big[i], &got);
        if (r >= 0 || got != 77)
            fail_msg("\"%s\" is taken as %llu", big[i], (unsigned long long)got);
    }
    uint64_t got;
    assert_int_equal(jb_parse_duration("36601d", &got), -ERANGE);
    assert_int_equal(jb_parse_duration("3162240001", &got), -ERANGE);
}

static void counts(void **state)
{
    (void)state;
    uint64_t got = 5;
    assert_int_equal(jb_parse_u64("0", 10, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(jb_parse_u64("10", 10, &got), 0);
    assert_int_equal(got, 10);
    assert_int_equal(jb_parse_u64("18446744073709551615", UINT64_MAX, &got), 0);
    assert_true(got == UINT64_MAX);
    got = 5;
    assert_int_equal(jb_parse_u64("11", 10, &got), -ERANGE);
    assert_int_equal(jb_parse_u64("18446744073709551616", UINT64_MAX, &got), -ERANGE);
    assert_int_equal(jb_parse_u64("7", 3, &got), -ERANGE); /* a single digit above a small maximum */
    static const char *const bad[] = {"",   "01",  "00",  "-1",  "+1", " 1",
                                      "1 ", "0x1", "1.0", "1e1", "a",  "1\n"};
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++)
        assert_int_equal(jb_parse_u64(bad[i], UINT64_MAX, &got), -EINVAL);
    assert_int_equal(got, 5);
}

static void millionths(void **state)
{
    (void)state;
    uint64_t got = 5;
    assert_int_equal(jb_parse_micro("3.5", &got), 0);
    assert_int_equal(got, 3500000);
    assert_int_equal(jb_parse_micro("0.000001", &got), 0);
    assert_int_equal(got, 1);
    assert_int_equal(jb_parse_micro("16", &got), 0);
    assert_int_equal(got, 16000000);
    static const char *const bad[] = {"", "3.", ".5", "-1", "1.0000001", "1e3", "3.5 ", "3,5"};
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++)
        assert_int_equal(jb_parse_micro(bad[i], &got), -EINVAL);
    assert_int_equal(jb_parse_micro("1000000000001", &got), -ERANGE);
}

static void printed_for_people(void **state)
{
    (void)state;
    char buf[48];
    assert_string_equal(jb_format_size(0, buf, sizeof(buf)), "0 B");
    assert_string_equal(jb_format_size(1023, buf, sizeof(buf)), "1023 B");
    assert_string_equal(jb_format_size(1024, buf, sizeof(buf)), "1.00 KiB");
    assert_string_equal(jb_format_size(1536 * KIB * KIB, buf, sizeof(buf)), "1.50 GiB");
    assert_string_equal(jb_format_size(64 * KIB * KIB, buf, sizeof(buf)), "64.0 MiB");
    assert_string_equal(jb_format_duration(250 * JB_NS_PER_MS, buf, sizeof(buf)), "250ms");
    assert_string_equal(jb_format_duration(1500 * JB_NS_PER_MS, buf, sizeof(buf)), "1.50s");
    assert_string_equal(jb_format_duration(5400 * S, buf, sizeof(buf)), "1h30m");
    assert_string_equal(jb_format_duration(216000 * S, buf, sizeof(buf)), "2d12h");
}

/* What is printed can be written into a spec again, and means the same up to what was rounded away. */
static void printed_durations_are_read_back(void **state)
{
    (void)state;
    char buf[48];
    for (uint64_t ns = JB_NS_PER_MS; ns < UINT64_C(40) * 86400 * S; ns = ns * 17 / 10 + 12345678) {
        uint64_t got;
        assert_int_equal(jb_parse_duration(jb_format_duration(ns, buf, sizeof(buf)), &got), 0);
        uint64_t off = got > ns ? got - ns : ns - got;
        assert_true(off <= ns / 24);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_taken),
        cmocka_unit_test(sizes_refused),
        cmocka_unit_test(durations_taken),
        cmocka_unit_test(durations_refused),
        cmocka_unit_test(counts),
        cmocka_unit_test(millionths),
        cmocka_unit_test(printed_for_people),
        cmocka_unit_test(printed_durations_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
