/*
 * clock.c - the kernel's clocks behind an interface that tests can replace.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/crashpoint.h"
#include "base/units.h"

uint64_t jb_mono_ns(const struct jb_clock *clock)
{
    if (clock && clock->mono_ns)
        return clock->mono_ns(clock->ctx);
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * JB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t jb_wall_us(const struct jb_clock *clock)
{
    if (clock && clock->wall_us)
        return clock->wall_us(clock->ctx);
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
#ifdef JB_CRASH_POINTS
    us += (uint64_t)jb_crash_clock_us();
#endif
    return us;
}

/* Gregorian calendar, counted in eras of 400 years that begin on 1 March, so that leap days come last. */
struct jb_utc jb_utc(uint64_t wall_us)
{
    uint64_t seconds = wall_us / 1000000;
    uint64_t days = seconds / 86400 + 719468; /* since 0000-03-01 */
    uint64_t era = days / 146097;
    uint64_t day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    struct jb_utc utc = {
        .year = (int)(year_of_era + era * 400 + (month >= 10)),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
        .hour = (int)(seconds / 3600 % 24),
        .minute = (int)(seconds / 60 % 60),
        .second = (int)(seconds % 60),
    };
    return utc;
}

char *jb_format_time(uint64_t wall_us, char *buf, size_t len)
{
    struct jb_utc t = jb_utc(wall_us);
    (void)snprintf(buf, len, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", t.year, t.month, t.day, t.hour, t.minute,
                   t.second, (unsigned)(wall_us % 1000000));
    return buf;
}
