/*
 * json.h - what jansson leaves to say: numbers that may be unknown.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_JSON_H
#define JB_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cpus.h"

/* Values; JB_UNSET and NULL become null. */
json_t *jb_json_u64(uint64_t value);
json_t *jb_json_text(const char *text);  /* invalid UTF-8 bytes become '?' */
json_t *jb_json_seconds_us(uint64_t us); /* seconds with six decimals */
json_t *jb_json_seconds_ns(uint64_t ns);
json_t *jb_json_time(uint64_t wall_us);          /* RFC 3339 */
json_t *jb_json_cpus(const struct jb_cpus *set); /* "0-3" */

/* Sets object[key] = value and owns value; false when out of memory (value NULL included). */
bool jb_json_set(json_t *object, const char *key, json_t *value);

#endif
