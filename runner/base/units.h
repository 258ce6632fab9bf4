/*
 * units.h - sizes, durations and counts as people write them; strict both ways.
 *
 * Owns: nothing. Runs in: every process. Privilege: none. All functions are pure.
 */
#ifndef JB_BASE_UNITS_H
#define JB_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* "not said" in any uint64_t wish, limit or figure. Printed as null, never as a number. */
#define JB_UNSET UINT64_MAX

#define JB_NS_PER_S  UINT64_C(1000000000)
#define JB_NS_PER_MS UINT64_C(1000000)
#define JB_NS_PER_US UINT64_C(1000)

/*
 * "4096", "8GiB", "1.5G", "512K": bytes. K M G T and KiB MiB GiB TiB are the same powers of 1024; KB, MB ...
 * are refused as ambiguous. Decimals only with a unit. -EINVAL when not a size, -ERANGE above 2^62.
 */
int jb_parse_size(const char *text, uint64_t *ret_bytes);

/*
 * "90", "90s", "15m", "1h30m", "2d", "250ms", "2-12:00:00", "12:00:00", "05:00" (Slurm's min:sec):
 * nanoseconds. A bare number is seconds. -EINVAL when not a duration, -ERANGE above 100 years.
 */
int jb_parse_duration(const char *text, uint64_t *ret_ns);

/* Decimal digits only, no sign, no space, no leading zero (but "0" itself), at most `max`. */
int jb_parse_u64(const char *text, uint64_t max, uint64_t *ret);

/* A non-negative decimal such as "3.5", at most six decimals, in millionths. */
int jb_parse_micro(const char *text, uint64_t *ret_millionths);

/* "1.50 GiB", "512 B": for people. Returns buf. */
char *jb_format_size(uint64_t bytes, char *buf, size_t len);

/* "1h30m", "250ms", "2d12h": for people; jb_parse_duration reads it back. Returns buf. */
char *jb_format_duration(uint64_t ns, char *buf, size_t len);

#endif
