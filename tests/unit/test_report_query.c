/*
 * test_report_query.c - figures of groups against sums made by hand, filters, periods of the calendar in several zones.
 */
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "report/prices.h"
#include "report/query.h"

#define JOBS  3000
#define USERS 7

struct world {
    char *dir, *file;
    struct jb_index *index;
};

static unsigned wall_of(unsigned n)
{
    return n * 7919 % 5003;
}

static void zone(const char *tz)
{
    assert_int_equal(setenv("TZ", tz, 1), 0);
    tzset();
}

static void write_journal(const char *dir)
{
    jb_autobuf struct jb_buf text = {0};
    for (unsigned n = 0; n < JOBS; n++) {
        char memory[32] = "null";
        if (n % 3)
            (void)snprintf(memory, sizeof(memory), "%u", 1u << 30);
        assert_int_equal(jb_buf_printf(&text,
                                       "{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DP%08u\",\"job\":"
                                       "\"01M887DSDZF5ETQ2DP%08u\",\"attempt\":"
                                       "%u,\"name\":\"job\",\"user\":\"u%u\",\"account\":%s,\"labels\":%s,"
                                       "\"host\":\"h\",\"times\":{\"ended\":"
                                       "\"2026-%02u-%02uT%02u:30:00Z\",\"wall_s\":%u,\"wait_s\":%u},"
                                       "\"granted\":{\"cores\":1,\"cpu_count\":2,"
                                       "\"memory_bytes\":%s},\"used\":{\"cpu_user_s\":%s,\"cpu_system_s\":0,"
                                       "\"memory_peak_bytes\":%u},\"end\":"
                                       "{\"reason\":\"%s\"}}\n",
                                       n, n / 2 * 2, n % 2 + 1, n % USERS, n % 2 ? "\"astro\"" : "null",
                                       n % 5 ? "{\"k\":\"v\"}" : "{\"k\":\"w\",\"x\":\"y z\"}", n % 12 + 1,
                                       n % 28 + 1, n % 24, wall_of(n), n % 11, memory, n % 4 ? "1" : "null",
                                       1u << 28, n % 10 ? "completed" : "oom"),
                         0);
    }
    test_write(dir, "journal/2026.jsonl", text.data);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct jb_error err = {0};
    jb_autostrv struct jb_strv journals = {0};
    w->dir = test_tmpdir();
    w->file = jb_asprintf("%s/index.db", w->dir);
    write_journal(w->dir);
    assert_int_equal(jb_strv_printf(&journals, "%s/journal", w->dir), 0);
    const struct jb_index_spec spec = {w->file, &journals};
    assert_ok(jb_index_get(&spec, &w->index, &err), &err);
    zone("UTC0");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    jb_index_free(w->index);
    test_tmpdir_remove(w->dir);
    free(w->file);
    free(w);
    return 0;
}

/* `by` and `columns` with commas. The measures stay the caller's. */
static void run(const struct world *w, const char *by, const char *columns, struct jb_query *q,
                struct jb_measure *measures, struct jb_result *result)
{
    struct jb_error err = {0};
    char list[256];
    char *rest = NULL;
    (void)snprintf(list, sizeof(list), "%s", columns);
    for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        assert_ok(jb_measure_parse(word, &measures[q->n_measures++], &err), &err);
    if (by)
        assert_ok(jb_group_key_parse(by, &q->keys[q->n_keys++], &err), &err);
    q->measures = measures;
    assert_ok(jb_query_run(w->index, q, result, &err), &err);
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void groups_are_what_a_loop_says(void **state)
{
    const struct world *w = *state;
    struct jb_measure m[8];
    struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1};
    jb_autoresult struct jb_result result = {0};
    run(w, "user", "jobs,wall,wait,cpu_time_known,mem_eff,oom,wall_p90,wall_min", &q, m, &result);
    assert_int_equal(result.n_groups, USERS);
    for (unsigned u = 0; u < USERS; u++) {
        double wall = 0;
        double wait = 0;
        double peak = 0;
        double granted = 0;
        unsigned jobs = 0;
        unsigned known = 0;
        unsigned oom = 0;
        int walls[JOBS];
        for (unsigned n = u; n < JOBS; n += USERS) {
            walls[jobs++] = (int)wall_of(n);
            wall += wall_of(n);
            wait += n % 11;
            known += n % 4 != 0;
            oom += n % 10 == 0;
            peak += n % 3 ? (double)wall_of(n) * (1 << 28) : 0;
            granted += n % 3 ? (double)wall_of(n) * (1 << 30) : 0;
        }
        qsort(walls, jobs, sizeof(*walls), by_number);
        const double *v = result.groups[u].values;
        char name[8];
        (void)snprintf(name, sizeof(name), "u%u", u);
        assert_string_equal(result.groups[u].keys[0], name);
        assert_true(v[0] == jobs && result.groups[u].jobs == jobs);
        assert_true(fabs(v[1] - wall) < 1e-6);
        assert_true(fabs(v[2] - wait / jobs) < 1e-9);
        assert_true(v[3] == known);
        assert_true(fabs(v[4] - peak / granted) < 1e-9);
        assert_true(v[5] == oom);
        assert_true(v[6] == walls[(unsigned)ceil(0.9 * jobs) - 1]);
        assert_true(v[7] == walls[0]);
    }
    assert_true(result.total.values[0] == JOBS);
    assert_true(result.total.jobs == JOBS);
}

/* Any percentile of any data: against sorting. */
static void percentiles_are_ranks(void **state)
{
    const struct world *w = *state;
    static const char *const asked[] = {"wall_p0",  "wall_p1",   "wall_p50",
                                        "wall_p99", "wall_p100", "wait_p50"};
    int walls[JOBS];
    int waits[JOBS];
    for (unsigned n = 0; n < JOBS; n++) {
        walls[n] = (int)wall_of(n);
        waits[n] = (int)(n % 11);
    }
    qsort(walls, JOBS, sizeof(*walls), by_number);
    qsort(waits, JOBS, sizeof(*waits), by_number);
    static const unsigned ranks[] = {0, 29, 1499, 2969, 2999, 1499};
    for (size_t i = 0; i < JB_ARRAY_LEN(asked); i++) {
        struct jb_measure m[1];
        struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1};
        jb_autoresult struct jb_result result = {0};
        run(w, NULL, asked[i], &q, m, &result);
        const int *list = i == 5 ? waits : walls;
        assert_true(result.total.values[0] == list[ranks[i]]);
    }
}

static void null_is_a_group_and_never_zero(void **state)
{
    const struct world *w = *state;
    struct jb_measure m[3];
    struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1};
    jb_autoresult struct jb_result result = {0};
    run(w, "account", "jobs,energy,cost", &q, m, &result);
    assert_int_equal(result.n_groups, 2);
    assert_string_equal(result.groups[0].keys[0], "astro");
    assert_null(result.groups[1].keys[0]);
    assert_true(result.groups[1].values[0] == (double)JOBS / 2);
    assert_true(isnan(result.groups[0].values[1]));
    assert_true(isnan(result.total.values[2]));
}

static void labels_and_jobs(void **state)
{
    const struct world *w = *state;
    struct jb_measure m[2];
    struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1};
    jb_autoresult struct jb_result result = {0};
    run(w, "label:x", "jobs", &q, m, &result);
    assert_int_equal(result.n_groups, 2);
    assert_string_equal(result.groups[0].keys[0], "y z");
    assert_true(result.groups[0].values[0] == (double)JOBS / 5);
    assert_null(result.groups[1].keys[0]);
    struct jb_query j = {.filter = JB_FILTER_INIT, .sort = -1};
    jb_autoresult struct jb_result jobs = {0};
    run(w, "job", "jobs,retries", &j, m, &jobs);
    assert_int_equal(jobs.n_groups, JOBS / 2); /* two attempts each */
    assert_true(jobs.groups[7].values[0] == 2 && jobs.groups[7].values[1] == 1);
}

static double count(const struct world *w, const struct jb_filter *filter)
{
    struct jb_measure m[1];
    struct jb_query q = {.filter = *filter, .sort = -1};
    jb_autoresult struct jb_result result = {0};
    run(w, NULL, "jobs", &q, m, &result);
    return result.total.values[0];
}

static void filters(void **state)
{
    const struct world *w = *state;
    jb_autofilter struct jb_filter f = JB_FILTER_INIT;
    assert_int_equal(jb_strv_add(&f.texts[JB_BY_USER], "u[12]"), 0);
    assert_true(count(w, &f) == 429 + 429);
    assert_int_equal(jb_strv_add(&f.texts[JB_BY_USER], "u3"), 0);
    assert_true(count(w, &f) == 429 + 429 + 429);
    assert_int_equal(jb_strv_add(&f.texts[JB_BY_REASON], "oom"), 0);
    unsigned n = 0;
    for (unsigned i = 0; i < JOBS; i++)
        n += i % 10 == 0 && i % USERS >= 1 && i % USERS <= 3;
    assert_true(count(w, &f) == n);
    jb_autofilter struct jb_filter l = JB_FILTER_INIT;
    assert_int_equal(jb_strv_add(&l.labels, "k=w"), 0);
    assert_int_equal(jb_strv_add(&l.labels, "x"), 0);
    assert_true(count(w, &l) == (double)JOBS / 5);
    assert_int_equal(jb_strv_add(&l.texts[JB_BY_ACCOUNT], ""), 0); /* none */
    assert_true(count(w, &l) == (double)JOBS / 10);
    jb_autofilter struct jb_filter j = JB_FILTER_INIT;
    assert_int_equal(jb_strv_add(&j.texts[JB_BY_JOB], "01M887DSDZF5ETQ2DP00000010"), 0);
    assert_true(count(w, &j) == 2);
}

static void sorted_and_cut(void **state)
{
    const struct world *w = *state;
    struct jb_measure m[2];
    struct jb_query q = {.filter = JB_FILTER_INIT, .sort = 0, .top = 3};
    jb_autoresult struct jb_result result = {0};
    run(w, "user", "wall,jobs", &q, m, &result);
    assert_int_equal(result.n_groups, 3);
    assert_int_equal(result.all_groups, USERS);
    assert_true(result.groups[0].values[0] >= result.groups[1].values[0]);
    assert_true(result.groups[1].values[0] >= result.groups[2].values[0]);
    assert_true(result.total.values[1] == JOBS); /* of all, not of those that are shown */
}

static void picked_in_order(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    struct jb_measure m;
    jb_autofree uint64_t *rows = NULL;
    jb_autofilter struct jb_filter f = JB_FILTER_INIT;
    size_t n;
    assert_ok(jb_measure_parse("wall", &m, &err), &err);
    assert_ok(jb_query_pick(w->index, &f, &m, NULL, true, true, 5, &rows, &n, &err), &err);
    assert_int_equal(n, 5);
    double last = INFINITY;
    for (size_t i = 0; i < n; i++) {
        struct jb_row row;
        assert_ok(jb_index_row(w->index, rows[i], jb_metric_want(m.metric), &row, &err), &err);
        double value = jb_query_value(w->index, &m, NULL, &row);
        assert_true(value <= last && value == wall_of((unsigned)rows[i]));
        last = value;
    }
    assert_true(last >= 4990);
}

static void prices_by_account_and_time(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    struct jb_site_price list[] = {
        {.core_hour = 1000000},
        {.account = (char *)"astro", .core_hour = 2000000},
        {.account = (char *)"astro",
         .from = (char *)"2026-10",
         .to = (char *)"2026-11",
         .core_hour = 5000000},
    };
    struct jb_site site = {.prices = list, .n_prices = 3};
    jb_autoprices struct jb_prices *prices = NULL;
    assert_ok(jb_prices_make(&site, &prices, &err), &err);
    double expect = 0;
    for (unsigned n = 0; n < JOBS; n++)
        expect += wall_of(n) / 3600.0 * (n % 2 == 0 ? 1 : n % 12 == 9 || n % 12 == 10 ? 5 : 2);
    struct jb_measure m[1];
    struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1, .prices = prices};
    jb_autoresult struct jb_result result = {0};
    run(w, NULL, "cost", &q, m, &result);
    assert_true(fabs(result.total.values[0] - expect) < 1e-6);
}

static void what_is_no_column(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_measure m;
    struct jb_group_key key;
    char name[64];
    assert_int_equal(jb_measure_parse("cpu_ef", &m, &err), -EINVAL);
    assert_contains(err.text, "did you mean cpu_eff?");
    assert_int_equal(jb_measure_parse("wait_p101", &m, &err), -EINVAL);
    assert_int_equal(jb_measure_parse("wait_most", &m, &err), -EINVAL);
    assert_int_equal(jb_measure_parse("cpu_eff_sum", &m, &err), -EINVAL);
    assert_int_equal(jb_group_key_parse("usr", &key, &err), -EINVAL);
    assert_contains(err.text, "did you mean user");
    assert_ok(jb_measure_parse("wait_p99.5", &m, &err), &err);
    assert_string_equal(jb_measure_name(&m, name, sizeof(name)), "wait_p99.5");
}

/* --- the calendar --- */

static int64_t moment(const char *rfc3339)
{
    int64_t at;
    assert_true(jb_line_time(rfc3339, strlen(rfc3339), &at));
    return at;
}

static void months_end_at_the_midnight_of_the_zone(void **state)
{
    (void)state;
    static const struct {
        const char *tz, *text, *from, *to;
    } cases[] = {
        {"UTC0", "2026-10", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"},
        {"Europe/Berlin", "2026-10", "2026-09-30T22:00:00Z",
         "2026-10-31T23:00:00Z"}, /* summer time ends in it */
        {"Europe/Berlin", "2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"},
        {"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, /* 25 hours */
        {"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, /* 23 hours */
        {"America/New_York", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
        {"Asia/Kathmandu", "2026-02", "2026-01-31T18:15:00Z", "2026-02-28T18:15:00Z"},
        {"UTC0", "2026-W01", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"},
        {"UTC0", "2026-W53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
        {"UTC0", "2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"},
        {"UTC0", "2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
        {"UTC0", "last month", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"},
        {"UTC0", "Last-Month", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"},
        {"UTC0", "yesterday", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
        {"UTC0", "this week", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
        {"UTC0", "last week", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
        {"UTC0", "last year", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
        {"UTC0", "december", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"},
        {"UTC0", "monday", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
        {"UTC0", "3 days ago", "2026-11-22T02:00:00Z", "2026-11-22T02:00:00Z"},
        {"Europe/Berlin", "2026-10-25T12:00", "2026-10-25T11:00:00Z", "2026-10-25T11:00:00Z"},
        {"Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T12:00:00Z", "2026-10-25T12:00:00Z"},
        {"America/New_York", "last month", "2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        int64_t from;
        int64_t to;
        zone(cases[i].tz);
        assert_ok(jb_period_parse(cases[i].text, moment("2026-11-25T02:00:00Z"), &from, &to, &err), &err);
        if (from != moment(cases[i].from) || to != moment(cases[i].to))
            fail_msg("%s in %s: %lld to %lld", cases[i].text, cases[i].tz, (long long)from, (long long)to);
    }
    static const char *const wrong[] = {"",     "2026-13",          "2026-02-29", "2026-W54", "2025-W53",
                                        "soon", "2026-10-25T25:00", "last",       "2026-1",   "20261025"};
    for (size_t i = 0; i < JB_ARRAY_LEN(wrong); i++) {
        int64_t from;
        int64_t to;
        if (jb_period_parse(wrong[i], moment("2026-11-25T02:00:00Z"), &from, &to, NULL) == 0)
            fail_msg("\"%s\" was taken", wrong[i]);
    }
    zone("UTC0");
}

static void ranges_of_two_options(void **state)
{
    (void)state;
    struct jb_error err = {0};
    int64_t now = moment("2026-11-25T02:00:00Z");
    int64_t from;
    int64_t to;
    zone("UTC0");
    assert_ok(jb_period_range("last month", NULL, now, &from, &to, &err), &err);
    assert_int_equal(from, moment("2026-10-01T00:00:00Z"));
    assert_int_equal(to, moment("2026-11-01T00:00:00Z"));
    assert_ok(jb_period_range("2026-10", NULL, now, &from, &to, &err), &err);
    assert_int_equal(to, JB_NONE);
    assert_ok(jb_period_range("2026-09", "2026-10", now, &from, &to, &err), &err);
    assert_int_equal(from, moment("2026-09-01T00:00:00Z"));
    assert_int_equal(to, moment("2026-11-01T00:00:00Z"));
    assert_int_equal(jb_period_range("2026-10", "2026-08", now, &from, &to, &err), -EINVAL);
}

/* Each record belongs to one day of the zone, and the days of a month are that month. */
static void days_of_a_zone_add_up(void **state)
{
    const struct world *w = *state;
    static const char *const zones[] = {"UTC0", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"};
    static const char *const spans[] = {"hour", "day", "week", "month", "year"};
    for (size_t z = 0; z < JB_ARRAY_LEN(zones); z++) {
        zone(zones[z]);
        for (size_t s = 0; s < JB_ARRAY_LEN(spans); s++) {
            struct jb_measure m[1];
            struct jb_query q = {.filter = JB_FILTER_INIT, .sort = -1};
            jb_autoresult struct jb_result result = {0};
            double all = 0;
            run(w, spans[s], "jobs", &q, m, &result);
            for (size_t i = 0; i < result.n_groups; i++) {
                jb_autofilter struct jb_filter f = JB_FILTER_INIT;
                all += result.groups[i].values[0];
                if (i > 0)
                    assert_true(result.groups[i - 1].times[0] < result.groups[i].times[0]);
                if (s == 0 || i % 50)
                    continue;
                jb_span_of((enum jb_span)s, result.groups[i].times[0], &f.from, &f.to);
                assert_true(count(w, &f) == result.groups[i].values[0]);
            }
            assert_true(all == JOBS);
        }
    }
    zone("UTC0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_what_a_loop_says),
        cmocka_unit_test(percentiles_are_ranks),
        cmocka_unit_test(null_is_a_group_and_never_zero),
        cmocka_unit_test(labels_and_jobs),
        cmocka_unit_test(filters),
        cmocka_unit_test(sorted_and_cut),
        cmocka_unit_test(picked_in_order),
        cmocka_unit_test(prices_by_account_and_time),
        cmocka_unit_test(what_is_no_column),
        cmocka_unit_test(months_end_at_the_midnight_of_the_zone),
        cmocka_unit_test(ranges_of_two_options),
        cmocka_unit_test(days_of_a_zone_add_up),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
