/*
 * when.h - moments as people write them.
 *
 * Owns: nothing. Runs in: every process. Privilege: none. Local time is that of the process's time zone.
 */
#ifndef JB_BASE_WHEN_H
#define JB_BASE_WHEN_H

#include <stdint.h>

/*
 * "2026-12-31T18:00:00Z" and with an offset, as RFC 3339; "2026-12-31", "2026-12-31 18:00", "2026-12-31T18:00:30" in
 * local time; "18:00" and "18:00:30": the next such time of day after `now_us`; "now", "now+2h30m" and "+2h30m". The
 * answer is wall clock, in microseconds. -EINVAL when it is none of these.
 */
int jb_parse_when(const char *text, uint64_t now_us, uint64_t *ret_us);

#endif
