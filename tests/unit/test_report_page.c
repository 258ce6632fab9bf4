/*
 * test_report_page.c - the page's hours of busy cores against sums made hour by hour, and its steps of time where clocks change.
 */
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "report/page_sums.h"

#define HOUR (INT64_C(3600) * 1000000)
#define DAY  (24 * HOUR)
/* 2026-10-25 00:00 in Berlin, a day of 25 hours */
#define CHANGE (INT64_C(1792879200) * 1000000)

static void zone(const char *tz)
{
    assert_int_equal(setenv("TZ", tz, 1), 0);
    tzset();
}

static void parts_of_hours_and_whole_ones(void **state)
{
    (void)state;
    zone("UTC0");
    const struct {
        int64_t cores, started, ended;
    } jobs[] = {
        {1, 0, HOUR},                       /* one hour, to its last moment */
        {2, HOUR / 2, HOUR},                /* half of one */
        {3, HOUR / 4, HOUR / 2},            /* within one */
        {4, HOUR + HOUR / 2, 5 * HOUR + 1}, /* parts at both ends */
        {5, -7 * HOUR, 2 * HOUR},           /* from before the report */
        {6, 22 * HOUR, 99 * HOUR},          /* to beyond it */
        {7, -9 * HOUR, 900 * HOUR},         /* all of it */
        {8, 3 * HOUR, 3 * HOUR},            /* no time at all */
        {9, -5 * HOUR, -HOUR},              /* over before */
        {9, 50 * HOUR, 60 * HOUR},          /* not there yet */
    };
    struct jb_page_busy busy;
    double wanted[24] = {0};
    assert_int_equal(jb_page_busy_init(&busy, DAY, 2 * DAY, 2), 0);
    assert_int_equal(busy.hours, 24);
    for (size_t i = 0; i < JB_ARRAY_LEN(jobs); i++) {
        jb_page_busy_add(&busy, 1, jobs[i].cores, DAY + jobs[i].started, DAY + jobs[i].ended);
        for (int64_t h = 0; h < 24; h++) {
            int64_t from = jobs[i].started > h * HOUR ? jobs[i].started : h * HOUR;
            int64_t to = jobs[i].ended < (h + 1) * HOUR ? jobs[i].ended : (h + 1) * HOUR;
            wanted[h] += from < to ? (double)jobs[i].cores * (double)(to - from) / (double)HOUR : 0;
        }
    }
    jb_page_busy_settle(&busy);
    for (size_t h = 0; h < 24; h++) {
        assert_true(busy.part[h] == 0); /* the other account */
        assert_true(fabs(busy.part[24 + h] - wanted[h]) < 1e-9);
    }
    assert_int_equal(busy.unknown, 0);
    jb_page_busy_add(&busy, 0, JB_NONE, DAY, 2 * DAY);
    jb_page_busy_add(&busy, 0, 1, JB_NONE, 2 * DAY);
    jb_page_busy_add(&busy, 0, 1, DAY, JB_NONE);
    jb_page_busy_add(&busy, 0, 1, 2 * DAY, DAY);
    assert_int_equal(busy.unknown, 4);
    jb_page_busy_free(&busy);
}

static void by_hour_of_the_day_the_same(void **state)
{
    (void)state;
    zone("Europe/Berlin");
    struct jb_page_busy busy;
    struct jb_page_wide wide;
    int64_t from = CHANGE - 3 * DAY;
    int64_t to = CHANGE + 4 * DAY;
    assert_int_equal(jb_page_busy_init(&busy, from, to, 1), 0);
    assert_int_equal(jb_page_wide_init(&wide, &busy, from, to, 3), 0);
    assert_int_equal(wide.rows.span, JB_SPAN_DAY);
    for (int64_t i = 0; i < 500; i++) {
        int64_t started = from + i * 7919 % 600 * (HOUR / 4) - 20 * HOUR;
        int64_t ended = started + i * 104729 % 3000 * (HOUR / 60);
        const size_t groups[2] = {(size_t)i % 2, 2};
        jb_page_busy_add(&busy, 0, i % 9 + 1, started, ended);
        jb_page_wide_add(&wide, &busy, groups, i % 9 + 1, started, ended);
    }
    jb_page_busy_settle(&busy);
    size_t slots = wide.rows.n * 24;
    jb_autofree double *wanted = calloc(slots, sizeof(*wanted));
    assert_non_null(wanted);
    double all = 0;
    for (size_t h = 0; h < busy.hours; h++) {
        wanted[wide.slot[h]] += busy.part[h];
        all += busy.part[h];
    }
    assert_true(all > 1000);
    for (size_t i = 0; i < slots; i++) {
        assert_true(fabs(wide.sum[2 * slots + i] - wanted[i]) < 1e-6);
        assert_true(fabs(wide.sum[i] + wide.sum[slots + i] - wanted[i]) < 1e-6);
    }
    jb_page_wide_free(&wide);
    jb_page_busy_free(&busy);
}

static void a_day_of_25_hours_has_two_of_one(void **state)
{
    (void)state;
    zone("Europe/Berlin");
    struct jb_page_busy busy;
    struct jb_page_steps days;
    jb_autofree uint16_t *slot = NULL;
    jb_autofree uint32_t *hours = NULL;
    assert_int_equal(jb_page_steps_make(JB_SPAN_DAY, CHANGE - 1, CHANGE + 26 * HOUR, &days), 0);
    assert_int_equal(days.n, 3);
    assert_int_equal(days.from[1], CHANGE);
    assert_int_equal(days.from[2], CHANGE + 25 * HOUR);
    assert_int_equal(jb_page_step(&days, CHANGE - 1), 0);
    assert_int_equal(jb_page_step(&days, CHANGE), 1);
    assert_int_equal(jb_page_step(&days, CHANGE + 25 * HOUR - 1), 1);
    assert_int_equal(jb_page_step(&days, CHANGE + 25 * HOUR), 2);
    assert_int_equal(jb_page_busy_init(&busy, CHANGE - DAY, CHANGE + 49 * HOUR, 1), 0);
    assert_int_equal(jb_page_slots(&busy, &days, &slot, &hours), 0);
    for (size_t h = 0; h < 24; h++)
        assert_int_equal(hours[24 + h], h == 2 ? 2 : 1);
    assert_int_equal(slot[24 + 2], 24 + 2);
    assert_int_equal(slot[24 + 3], 24 + 2);
    assert_int_equal(slot[24 + 4], 24 + 3);
    jb_page_busy_free(&busy);
    free(days.from);
}

static void more_steps_than_a_page_has_are_refused(void **state)
{
    (void)state;
    zone("UTC0");
    struct jb_page_steps steps;
    assert_int_equal(jb_page_steps_make(JB_SPAN_HOUR, 0, JB_PAGE_STEPS * HOUR, &steps), 0);
    assert_int_equal(steps.n, JB_PAGE_STEPS);
    free(steps.from);
    assert_int_equal(jb_page_steps_make(JB_SPAN_HOUR, 0, JB_PAGE_STEPS * HOUR + 1, &steps), -E2BIG);
    assert_int_equal(jb_page_steps_make(JB_SPAN_DAY, 5, 5, &steps), 0);
    assert_int_equal(steps.n, 0);
    free(steps.from);
    /* groups that are too many get longer rows, and at last none */
    struct jb_page_busy busy;
    struct jb_page_wide wide;
    assert_int_equal(jb_page_busy_init(&busy, 0, 365 * DAY, 1), 0);
    assert_int_equal(jb_page_wide_init(&wide, &busy, 0, 365 * DAY, 100), 0);
    assert_int_equal(wide.rows.span, JB_SPAN_MONTH);
    jb_page_wide_free(&wide);
    assert_int_equal(jb_page_wide_init(&wide, &busy, 0, 365 * DAY, JB_PAGE_WIDE), 0);
    assert_int_equal(wide.rows.n, 0);
    const size_t groups[2] = {0, 1};
    jb_page_wide_add(&wide, &busy, groups, 4, DAY, 2 * DAY); /* goes nowhere */
    jb_page_wide_free(&wide);
    jb_page_busy_free(&busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_hours_and_whole_ones),
        cmocka_unit_test(by_hour_of_the_day_the_same),
        cmocka_unit_test(a_day_of_25_hours_has_two_of_one),
        cmocka_unit_test(more_steps_than_a_page_has_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
