/*
 * json.c - JSON values that may be unknown.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/json.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

json_t *jb_json_u64(uint64_t value)
{
    if (value == JB_UNSET || value > INT64_MAX)
        return json_null();
    return json_integer((json_int_t)value);
}

json_t *jb_json_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *value = json_string(text);
    if (value)
        return value;
    jb_autofree char *copy = strdup(text); /* not UTF-8 */
    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(copy);
}

json_t *jb_json_seconds_us(uint64_t us)
{
    return us == JB_UNSET ? json_null() : json_real((double)us / 1e6);
}

json_t *jb_json_seconds_ns(uint64_t ns)
{
    return ns == JB_UNSET ? json_null() : jb_json_seconds_us(ns / JB_NS_PER_US);
}

json_t *jb_json_time(uint64_t wall_us)
{
    char text[JB_TIME_TEXT];
    return wall_us == JB_UNSET ? json_null() : json_string(jb_format_time(wall_us, text, sizeof(text)));
}

json_t *jb_json_cpus(const struct jb_cpus *set)
{
    jb_autofree char *list = jb_cpus_list(set);
    return list ? json_string(list) : NULL;
}

bool jb_json_set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new_nocheck(object, key, value) == 0;
}
