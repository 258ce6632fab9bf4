/*
 * when.c - moments as people write them.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/when.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/units.h"

#define US_PER_S UINT64_C(1000000)

/* Exactly `n` digits at *p, at most `max`. */
static bool digits(const char **p, int n, int max, int *ret)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*p)[i]))
            return false;
        value = value * 10 + ((*p)[i] - '0');
    }
    *p += n;
    *ret = value;
    return value <= max;
}

static bool accept(const char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

/* HH:MM[:SS] */
static bool clock_time(const char **p, struct tm *tm)
{
    if (!digits(p, 2, 23, &tm->tm_hour) || !accept(p, ':') || !digits(p, 2, 59, &tm->tm_min))
        return false;
    return !accept(p, ':') || digits(p, 2, 60, &tm->tm_sec);
}

/* "Z" or "+02:00": seconds east of UTC. */
static bool offset(const char **p, long *ret)
{
    int hours;
    int minutes;
    if (accept(p, 'Z')) {
        *ret = 0;
        return true;
    }
    int sign = accept(p, '-') ? -1 : accept(p, '+') ? 1 : 0;
    if (sign == 0 || !digits(p, 2, 23, &hours) || !accept(p, ':') || !digits(p, 2, 59, &minutes))
        return false;
    *ret = sign * (hours * 3600L + minutes * 60L);
    return true;
}

/* Digits behind a point, as microseconds. */
static uint64_t fraction(const char **p)
{
    uint64_t us = 0;
    uint64_t unit = US_PER_S;
    for (; isdigit((unsigned char)**p); ++*p) {
        unit /= 10;
        us += unit * (uint64_t)(**p - '0');
    }
    return us;
}

static int as_us(time_t t, uint64_t *ret)
{
    if (t < 0)
        return -EINVAL;
    *ret = (uint64_t)t * US_PER_S;
    return 0;
}

static int date_time(const char *p, uint64_t *ret)
{
    struct tm tm = {.tm_isdst = -1};
    long east = 0;
    if (!digits(&p, 4, 9999, &tm.tm_year) || !accept(&p, '-') || !digits(&p, 2, 12, &tm.tm_mon) ||
        !accept(&p, '-') || !digits(&p, 2, 31, &tm.tm_mday) || tm.tm_mon < 1 || tm.tm_mday < 1)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int day = tm.tm_mday;
    bool has_offset = false;
    uint64_t us = 0;
    if (*p) {
        if ((!accept(&p, 'T') && !accept(&p, ' ')) || !clock_time(&p, &tm))
            return -EINVAL;
        if (accept(&p, '.'))
            us = fraction(&p);
        has_offset = *p != '\0';
        if (has_offset && (!offset(&p, &east) || *p))
            return -EINVAL;
    }
    time_t t = has_offset ? timegm(&tm) : mktime(&tm);
    if (tm.tm_mday != day) /* not the 31st of a short month */
        return -EINVAL;
    int r = as_us(t - east, ret);
    if (r == 0)
        *ret += us;
    return r;
}

static int time_of_day(const char *p, uint64_t now_us, uint64_t *ret)
{
    time_t now = (time_t)(now_us / US_PER_S);
    struct tm tm;
    if (!localtime_r(&now, &tm))
        return -EINVAL;
    tm.tm_sec = 0;
    if (!clock_time(&p, &tm) || *p)
        return -EINVAL;
    tm.tm_isdst = -1;
    time_t t = mktime(&tm);
    if (t <= now) {
        tm.tm_mday++;
        tm.tm_isdst = -1;
        t = mktime(&tm);
    }
    return as_us(t, ret);
}

int jb_parse_when(const char *text, uint64_t now_us, uint64_t *ret_us)
{
    uint64_t ns = 0;
    if (jb_streq(text, "now")) {
        *ret_us = now_us;
        return 0;
    }
    const char *plus = jb_starts_with(text, "now+") ? text + 4 : text[0] == '+' ? text + 1 : NULL;
    if (plus) {
        if (jb_parse_duration(plus, &ns) < 0)
            return -EINVAL;
        *ret_us = now_us + ns / JB_NS_PER_US;
        return 0;
    }
    return strlen(text) > 4 && text[4] == '-' ? date_time(text, ret_us) : time_of_day(text, now_us, ret_us);
}
