/*
 * period.h - days, weeks and months of people: words for them, and which one a moment belongs to.
 *
 * Owns: nothing. Runs in: jobbox-report, jobboxd. Privilege: none. Everything is by the zone of the environment (TZ), so that a
 * month ends at the midnight of those who read the report.
 */
#ifndef JB_REPORT_PERIOD_H
#define JB_REPORT_PERIOD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum jb_span { JB_SPAN_HOUR, JB_SPAN_DAY, JB_SPAN_WEEK, JB_SPAN_MONTH, JB_SPAN_YEAR, JB_SPAN_MAX };
const char *jb_span_name(enum jb_span span); /* "day" */

/* The span that `at` (µs) is in: from *ret_from up to *ret_to, which is in the next. Weeks begin on Monday. */
void jb_span_of(enum jb_span span, int64_t at, int64_t *ret_from, int64_t *ret_to);

/* Its name: "2026-10-25 02:00+0200", "2026-10-25", "2026-W43", "2026-10", "2026". Returns buf. */
char *jb_span_text(enum jb_span span, int64_t from, char *buf, size_t len);

/*
 * A period: "2026", "2026-10", "2026-W43", "2026-10-25", "2026-10-25T14:30[:05]" (a moment; also with Z or +02:00), "now", "today",
 * "yesterday", "this week|month|year", "last week|month|year", "12 hours|days|weeks|months ago" (a moment), "monday", "october".
 * Words by `now` (µs). What is only a moment has *ret_from == *ret_to.
 */
int jb_period_parse(const char *text, int64_t now, int64_t *ret_from, int64_t *ret_to, struct jb_error *err);

/*
 * The two options of a report: from the beginning of `from` to the end of `to` (NULL: not said). `from` alone, when it is a period
 * in words that has an end ("last month", "yesterday"), is that period; otherwise it goes on to now and beyond: *ret_to is
 * JB_NONE. -EINVAL also when it ends before it begins.
 */
int jb_period_range(const char *from, const char *to, int64_t now, int64_t *ret_from, int64_t *ret_to,
                    struct jb_error *err);

#endif
