/*
 * clock.c - the kernel's clocks behind an interface that tests can replace.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

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
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

char *jb_format_time(uint64_t wall_us, char *buf, size_t len)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || len == 0) {
        if (len)
            buf[0] = '\0';
        return buf;
    }
    (void)snprintf(buf, len, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_us % 1000000));
    return buf;
}
