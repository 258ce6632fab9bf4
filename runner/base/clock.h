/*
 * clock.h - time: monotonic for every limit and duration, wall clock only as a label.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_CLOCK_H
#define JB_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Where time comes from; tests pass their own. Zero-initialised: the kernel's clocks. */
struct jb_clock {
    uint64_t (*mono_ns)(void *ctx); /* CLOCK_MONOTONIC; NULL: the kernel's */
    uint64_t (*wall_us)(void *ctx); /* µs since 1970, CLOCK_REALTIME; NULL: the kernel's */
    void *ctx;
};

uint64_t jb_mono_ns(const struct jb_clock *clock); /* clock may be NULL */
uint64_t jb_wall_us(const struct jb_clock *clock);

/* UTC, without a look at any time zone file. */
struct jb_utc {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second;
};
struct jb_utc jb_utc(uint64_t wall_us);

/* "2026-01-31T23:59:59.123456Z". buf needs JB_TIME_TEXT bytes. Returns buf. */
#define JB_TIME_TEXT 32
char *jb_format_time(uint64_t wall_us, char *buf, size_t len);

#endif
