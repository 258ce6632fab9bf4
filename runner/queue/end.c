/*
 * end.c - how an attempt ended, from the supervisor's message or from its record.
 *
 * Owns: nothing beyond the results. Runs in: jobboxd and its supervisors. Privilege: none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/when.h"
#include "queue/store.h"

void jb_end_free(struct jb_end *end)
{
    free(end->error);
    free(end->cpus);
    *end = (struct jb_end){0};
}

json_t *jb_end_to_json(const struct jb_end *e)
{
    return json_pack("{s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "reason", e->reason, "exit_code",
                     e->exit_code, "signal", e->signal, "error", jb_json_text(e->error), "cpus",
                     jb_json_text(e->cpus), "wall_s", e->wall_s < 0 ? json_null() : json_real(e->wall_s),
                     "cpu_s", e->cpu_s < 0 ? json_null() : json_real(e->cpu_s), "memory_peak_bytes",
                     jb_json_u64(e->memory_peak), "cpu_count", (json_int_t)e->cpu_count, "ended_us",
                     (json_int_t)e->ended_us);
}

static char *copy(const json_t *value)
{
    const char *text = json_string_value(value);
    return text ? strdup(text) : NULL;
}

static double real(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : -1;
}

static uint64_t whole(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value)
                                                                    : JB_UNSET;
}

int jb_end_from_json(const json_t *json, struct jb_end *ret)
{
    const char *reason = json_string_value(json_object_get(json, "reason"));
    if (!reason || strlen(reason) >= sizeof(ret->reason))
        return -EINVAL;
    *ret = (struct jb_end){
        .exit_code = (int)json_integer_value(json_object_get(json, "exit_code")),
        .signal = (int)json_integer_value(json_object_get(json, "signal")),
        .error = copy(json_object_get(json, "error")),
        .cpus = copy(json_object_get(json, "cpus")),
        .wall_s = real(json_object_get(json, "wall_s")),
        .cpu_s = real(json_object_get(json, "cpu_s")),
        .memory_peak = whole(json_object_get(json, "memory_peak_bytes")),
        .cpu_count = (uint64_t)json_integer_value(json_object_get(json, "cpu_count")),
        .ended_us = (uint64_t)json_integer_value(json_object_get(json, "ended_us")),
    };
    (void)snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
    return 0;
}

int jb_end_from_record(const json_t *record, struct jb_end *ret)
{
    const json_t *end = json_object_get(record, "end");
    const json_t *used = json_object_get(record, "used");
    const json_t *granted = json_object_get(record, "granted");
    const json_t *times = json_object_get(record, "times");
    const json_t *code = json_object_get(end, "exit_code");
    const char *reason = json_string_value(json_object_get(end, "reason"));
    const char *at = json_string_value(json_object_get(times, "ended"));
    if (!reason || strlen(reason) >= sizeof(ret->reason))
        return -EINVAL;
    double user = real(json_object_get(used, "cpu_user_s"));
    double kernel = real(json_object_get(used, "cpu_system_s"));
    *ret = (struct jb_end){
        .exit_code = json_is_integer(code) ? (int)json_integer_value(code) : -1,
        .signal = (int)json_integer_value(json_object_get(end, "signal")),
        .error = copy(json_object_get(end, "error")),
        .cpus = copy(json_object_get(granted, "cpus")),
        .wall_s = real(json_object_get(times, "wall_s")),
        .cpu_s = user < 0 || kernel < 0 ? -1 : user + kernel,
        .memory_peak = whole(json_object_get(used, "memory_peak_bytes")),
        .cpu_count = (uint64_t)json_integer_value(json_object_get(granted, "cpu_count")),
    };
    (void)snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
    if (!at)
        at = json_string_value(json_object_get(times, "destroyed"));
    if (!at || jb_parse_when(at, 0, &ret->ended_us) < 0)
        ret->ended_us = jb_wall_us(NULL);
    return 0;
}
