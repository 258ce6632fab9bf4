/*
 * test_base_when.c - moments: what is taken, what is refused.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/when.h"

#define NOW UINT64_C(1785600000000000) /* 2026-08-01T16:00:00Z */
#define S   UINT64_C(1000000)

static int in_berlin(void **state)
{
    (void)state;
    (void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    return 0;
}

static void taken(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } cases[] = {
        {"now", NOW},
        {"now+90", NOW + 90 * S},
        {"+2h30m", NOW + 9000 * S},
        {"2026-08-01T16:00:00Z", NOW},
        {"2026-08-01T18:00:00+02:00", NOW},
        {"2026-08-01T11:30:00-04:30", NOW},
        {"2026-08-01T16:00:00.25Z", NOW + 250000},
        {"2026-08-01 18:00", NOW},
        {"2026-08-01T18:00:00", NOW},
        {"2026-08-02", NOW + 6 * 3600 * S},
        {"18:00:01", NOW + S},
        {"18:00", NOW + 86400 * S}, /* it is that time now: the next one */
        {"17:59", NOW + (86400 - 60) * S},
        {"23:00", NOW + 5 * 3600 * S},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        assert_int_equal(jb_parse_when(cases[i].text, NOW, &got), 0);
        if (got != cases[i].us)
            fail_msg("%s: %llu, expected %llu", cases[i].text, (unsigned long long)got,
                     (unsigned long long)cases[i].us);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "soon",
        "25:00",
        "18:60",
        "18",
        "now+",
        "now+-1h",
        "now 1h",
        "2026-13-01",
        "2026-02-30",
        "2026-1-1",
        "2026-08-01T",
        "2026-08-01T18",
        "2026-08-01T18:00x",
        "2026-08-01T18:00+2",
        "2026-08-01T18:00Zx",
        "1h",
        "-5m",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        uint64_t got = 7;
        if (jb_parse_when(cases[i], NOW, &got) != -EINVAL)
            fail_msg("%s was taken", cases[i]);
        assert_int_equal(got, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(taken, in_berlin),
        cmocka_unit_test_setup(refused, in_berlin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
