/*
 * period.c - spans of the calendar, and words for them.
 *
 * Owns: nothing. Runs in: jobbox-report, jobboxd. Privilege: none.
 *
 * All steps are done on the fields of the calendar and left to mktime(3), never by adding seconds: days have 23 and 25 hours too.
 */
#include "report/period.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "report/line.h"

#define US INT64_C(1000000)

static struct tm fields_of(int64_t at)
{
    struct tm tm = {0};
    time_t s = (time_t)(at >= 0 ? at / US : -((-at + US - 1) / US));
    (void)localtime_r(&s, &tm);
    return tm;
}

/* Midnight, where there is one; else the first moment of that day. */
static int64_t moment_of(int year, int month, int day, int hour, int minute, int second)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second,
                    .tm_isdst = -1};
    return (int64_t)mktime(&tm) * US;
}

const char *jb_span_name(enum jb_span span)
{
    static const char *const names[] = {"hour", "day", "week", "month", "year"};
    return (size_t)span < JB_ARRAY_LEN(names) ? names[span] : NULL;
}

/* The `n`th span from the one that `at` is in. Not for hours. */
static int64_t begin_of(enum jb_span span, int64_t at, int n)
{
    struct tm tm = fields_of(at);
    int year = tm.tm_year + 1900;
    switch (span) {
    case JB_SPAN_YEAR:
        return moment_of(year + n, 1, 1, 0, 0, 0);
    case JB_SPAN_MONTH:
        return moment_of(year, tm.tm_mon + 1 + n, 1, 0, 0, 0);
    case JB_SPAN_WEEK:
        return moment_of(year, tm.tm_mon + 1, tm.tm_mday - (tm.tm_wday + 6) % 7 + 7 * n, 0, 0, 0);
    default:
        return moment_of(year, tm.tm_mon + 1, tm.tm_mday + n, 0, 0, 0);
    }
}

void jb_span_of(enum jb_span span, int64_t at, int64_t *ret_from, int64_t *ret_to)
{
    if (span == JB_SPAN_HOUR) { /* by the clock on the wall, whose hours all have 3600 seconds */
        struct tm tm = fields_of(at);
        int64_t s = at / US;
        *ret_from = (s - tm.tm_min * 60 - tm.tm_sec) * US;
        *ret_to = *ret_from + 3600 * US;
        return;
    }
    *ret_from = begin_of(span, at, 0);
    *ret_to = begin_of(span, at, 1);
}

char *jb_span_text(enum jb_span span, int64_t from, char *buf, size_t len)
{
    struct tm tm = fields_of(from);
    int year = tm.tm_year + 1900;
    char zone[16];
    char week[16];
    switch (span) {
    case JB_SPAN_HOUR:
        (void)strftime(zone, sizeof(zone), "%z", &tm);
        (void)snprintf(buf, len, "%04d-%02d-%02d %02d:%02d%s", year, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                       tm.tm_min, zone);
        break;
    case JB_SPAN_WEEK:
        (void)strftime(week, sizeof(week), "%G-W%V", &tm);
        (void)snprintf(buf, len, "%s", week);
        break;
    case JB_SPAN_MONTH:
        (void)snprintf(buf, len, "%04d-%02d", year, tm.tm_mon + 1);
        break;
    case JB_SPAN_YEAR:
        (void)snprintf(buf, len, "%04d", year);
        break;
    default:
        (void)snprintf(buf, len, "%04d-%02d-%02d", year, tm.tm_mon + 1, tm.tm_mday);
        break;
    }
    return buf;
}

/* --- words --- */

static bool number_at(const char *text, size_t n, int *ret)
{
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *ret = value;
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool iso_week(const char *text, int year, int64_t *from, int64_t *to)
{
    int week;
    if (strlen(text) != 8 || !number_at(text + 6, 2, &week) || week < 1 || week > 53)
        return false;
    /* the week with the 4th of January is the first */
    int64_t first = begin_of(JB_SPAN_WEEK, moment_of(year, 1, 4, 12, 0, 0), 0);
    *from = begin_of(JB_SPAN_WEEK, first, week - 1);
    *to = begin_of(JB_SPAN_WEEK, first, week);
    char name[16];
    return jb_streq(jb_span_text(JB_SPAN_WEEK, *from, name, sizeof(name)), text);
}

/* "T14:30", "T14:30:05", with or without a zone, behind a date. */
static bool clock_time(const char *date, const int ymd[3], int64_t *from, int64_t *to)
{
    const char *text = date + 10;
    int hour;
    int minute;
    int second = 0;
    size_t len = strlen(text);
    if ((text[0] != 'T' && text[0] != ' ') || len < 6 || !number_at(text + 1, 2, &hour) || text[3] != ':' ||
        !number_at(text + 4, 2, &minute) || hour > 23 || minute > 59)
        return false;
    bool has_seconds = len >= 9 && text[6] == ':' && number_at(text + 7, 2, &second) && second <= 60;
    size_t used = has_seconds ? 9 : 6;
    *from = *to = moment_of(ymd[0], ymd[1], ymd[2], hour, minute, second);
    if (text[used] == '\0')
        return true;
    char whole[48];
    (void)snprintf(whole, sizeof(whole), "%.10sT%02d:%02d:%02d%.12s", date, hour, minute, second,
                   text + used);
    return jb_line_time(whole, strlen(whole), from) && (*to = *from, true);
}

static bool date(const char *text, int64_t *from, int64_t *to)
{
    int ymd[3] = {0, 1, 1};
    size_t len = strlen(text);
    if (len < 4 || !number_at(text, 4, &ymd[0]) || ymd[0] < 1970)
        return false;
    enum jb_span span = JB_SPAN_YEAR;
    if (len > 4 && text[4] == '-' && text[5] == 'W')
        return iso_week(text, ymd[0], from, to);
    if (len >= 7 && text[4] == '-' && number_at(text + 5, 2, &ymd[1]) && ymd[1] >= 1 && ymd[1] <= 12)
        span = JB_SPAN_MONTH;
    else if (len != 4)
        return false;
    if (span == JB_SPAN_MONTH && len > 7) {
        if (len < 10 || text[7] != '-' || !number_at(text + 8, 2, &ymd[2]) || ymd[2] < 1 ||
            ymd[2] > days_in(ymd[0], ymd[1]))
            return false;
        span = JB_SPAN_DAY;
        if (len > 10)
            return clock_time(text, ymd, from, to);
    }
    *from = moment_of(ymd[0], ymd[1], ymd[2], 0, 0, 0);
    *to = begin_of(span, *from, 1);
    return true;
}

static int span_word(const char *text, size_t len)
{
    for (int i = 0; i < JB_SPAN_MAX; i++) {
        const char *name = jb_span_name(i);
        size_t n = strlen(name);
        if (strncmp(text, name, n) == 0 && (len == n || (len == n + 1 && text[n] == 's')))
            return i;
    }
    return -1;
}

/* "3 days ago", "3days". */
static bool ago(const char *text, int64_t now, int64_t *from, int64_t *to)
{
    char *rest;
    if (!isdigit((unsigned char)text[0]))
        return false;
    long n = strtol(text, &rest, 10);
    while (*rest == ' ')
        rest++;
    size_t len = strcspn(rest, " ");
    int span = span_word(rest, len);
    if (span < 0 || n > 100000 || !jb_streq(rest + len, " ago"))
        return false;
    struct tm tm = fields_of(now);
    if (span == JB_SPAN_HOUR) {
        *from = *to = now - n * 3600 * US;
        return true;
    }
    static const int months[] = {0, 0, 0, 1, 12};
    static const int days[] = {0, 1, 7, 0, 0};
    int month = tm.tm_mon + 1 - (int)n * months[span];
    *from = *to = moment_of(tm.tm_year + 1900, month, tm.tm_mday - (int)n * days[span], tm.tm_hour, tm.tm_min,
                            tm.tm_sec);
    return true;
}

static bool relative(const char *text, int64_t now, int64_t *from, int64_t *to)
{
    static const struct {
        const char *word;
        int step;
    } words[] = {{"this ", 0}, {"last ", -1}, {"previous ", -1}};
    static const struct {
        const char *word;
        int step;
    } days[] = {{"today", 0}, {"yesterday", -1}};
    for (size_t i = 0; i < JB_ARRAY_LEN(days); i++)
        if (jb_streq(text, days[i].word)) {
            *from = begin_of(JB_SPAN_DAY, now, days[i].step);
            *to = begin_of(JB_SPAN_DAY, now, days[i].step + 1);
            return true;
        }
    for (size_t i = 0; i < JB_ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i].word);
        int span = strncmp(text, words[i].word, n) == 0 ? span_word(text + n, strlen(text + n)) : -1;
        if (span == JB_SPAN_HOUR) {
            jb_span_of(JB_SPAN_HOUR, now + words[i].step * 3600 * US, from, to);
            return true;
        }
        if (span > 0) {
            *from = begin_of(span, now, words[i].step);
            *to = begin_of(span, now, words[i].step + 1);
            return true;
        }
    }
    return false;
}

/* The last month of that name that has begun, or the last day. */
static bool named(const char *text, int64_t now, int64_t *from, int64_t *to)
{
    static const char *const months[] = {"january",   "february", "march",    "april",
                                         "may",       "june",     "july",     "august",
                                         "september", "october",  "november", "december"};
    static const char *const days[] = {"sunday",   "monday", "tuesday", "wednesday",
                                       "thursday", "friday", "saturday"};
    struct tm tm = fields_of(now);
    for (int i = 0; i < 12; i++)
        if (jb_streq(text, months[i])) {
            *from = begin_of(JB_SPAN_MONTH, now, -((tm.tm_mon - i + 12) % 12));
            *to = begin_of(JB_SPAN_MONTH, *from, 1);
            return true;
        }
    for (int i = 0; i < 7; i++)
        if (jb_streq(text, days[i])) {
            *from = begin_of(JB_SPAN_DAY, now, -((tm.tm_wday - i + 7) % 7));
            *to = begin_of(JB_SPAN_DAY, *from, 1);
            return true;
        }
    return false;
}

int jb_period_parse(const char *text, int64_t now, int64_t *ret_from, int64_t *ret_to, struct jb_error *err)
{
    char word[64] = "";
    size_t n = 0;
    for (const char *p = text; *p && n < sizeof(word) - 1; p++)
        word[n++] = (char)(*p == '-' && isalpha((unsigned char)text[0]) ? ' ' : tolower((unsigned char)*p));
    word[n] = '\0';
    if (jb_streq(word, "now")) {
        *ret_from = *ret_to = now;
        return 0;
    }
    if (date(text, ret_from, ret_to) || relative(word, now, ret_from, ret_to) ||
        ago(word, now, ret_from, ret_to) || named(word, now, ret_from, ret_to))
        return 0;
    return jb_fail(err, EINVAL,
                   "\"%.60s\" is no time; write 2026-10, 2026-10-25, 2026-10-25T14:30, today, yesterday, "
                   "\"last month\", "
                   "\"this week\", \"3 days ago\", october ...",
                   text);
}

/* Words that mean a span which is over, or just going on; a date is where it begins. */
static bool is_whole(const char *text)
{
    static const char *const words[] = {"yesterday", "last ", "last-", "previous", "today"};
    for (size_t i = 0; i < JB_ARRAY_LEN(words); i++)
        if (strncasecmp(text, words[i], strlen(words[i])) == 0)
            return true;
    return isalpha((unsigned char)text[0]) && strncasecmp(text, "now", 3) != 0;
}

int jb_period_range(const char *from, const char *to, int64_t now, int64_t *ret_from, int64_t *ret_to,
                    struct jb_error *err)
{
    int64_t begin = JB_NONE;
    int64_t end = JB_NONE;
    int64_t other;
    int r = from ? jb_period_parse(from, now, &begin, &other, err) : 0;
    if (r == 0 && from && !to && is_whole(from))
        end = other;
    if (r == 0 && to)
        r = jb_period_parse(to, now, &other, &end, err);
    if (r < 0)
        return r;
    if (begin != JB_NONE && end != JB_NONE && end < begin)
        return jb_fail(err, EINVAL, "--to %s is before --from %s", to, from);
    *ret_from = begin;
    *ret_to = end;
    return 0;
}
