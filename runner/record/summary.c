/*
 * summary.c - a finished record for people and for the shell.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "record/record.h"

/* What `jobbox run` exits with when the end is not the job's own doing. */
static const struct {
    enum jb_end_reason reason;
    int exit_code;
} exit_codes[] = {
    {JB_END_TIMEOUT, 120},        {JB_END_OOM, 121},          {JB_END_CPU_TIMEOUT, 122},
    {JB_END_IDLE_TIMEOUT, 122},   {JB_END_OUTPUT_LIMIT, 122}, {JB_END_SCRATCH_FULL, 122},
    {JB_END_CANCELLED, 123},      {JB_END_BOX_ERROR, 124},    {JB_END_SUPERVISOR_LOST, 124},
    {JB_END_HOST_RESTARTED, 124},
};

int jb_end_code(const char *reason, int exit_code, int signal)
{
    for (size_t i = 0; reason && i < JB_ARRAY_LEN(exit_codes); i++)
        if (jb_streq(reason, jb_end_reason_name(exit_codes[i].reason)))
            return exit_codes[i].exit_code;
    if (signal > 0)
        return 128 + signal;
    return exit_code >= 0 ? exit_code : 124;
}

int jb_record_exit_code(const json_t *record)
{
    const json_t *signal = jb_record_get(record, "end", "signal");
    const json_t *code = jb_record_get(record, "end", "exit_code");
    return jb_end_code(json_string_value(jb_record_get(record, "end", "reason")),
                       code ? (int)json_integer_value(code) : -1,
                       signal ? (int)json_integer_value(signal) : 0);
}

static double number(const json_t *record, const char *section, const char *key)
{
    const json_t *value = jb_record_get(record, section, key);
    return value ? json_number_value(value) : -1;
}

static const char *duration(double seconds, char *buf, size_t len)
{
    return seconds < 0 ? "unknown" : jb_format_duration((uint64_t)(seconds * 1e9), buf, len);
}

static const char *size(double bytes, char *buf, size_t len)
{
    return bytes < 0 ? "unknown" : jb_format_size((uint64_t)bytes, buf, len);
}

static int add_end(struct jb_buf *buf, const json_t *record)
{
    const json_t *code = jb_record_get(record, "end", "exit_code");
    const json_t *signal = jb_record_get(record, "end", "signal");
    const char *limit = json_string_value(jb_record_get(record, "end", "limit"));
    const char *error = json_string_value(jb_record_get(record, "end", "error"));
    int r = jb_buf_printf(buf, "jobbox: %s: %s", json_string_value(json_object_get(record, "name")),
                          json_string_value(jb_record_get(record, "end", "reason")));
    if (r == 0 && limit)
        r = jb_buf_printf(buf, " (%s)", limit);
    if (r == 0 && error)
        r = jb_buf_printf(buf, " (%s)", error);
    if (r == 0 && signal)
        r = jb_buf_printf(buf, ", signal %d", (int)json_integer_value(signal));
    else if (r == 0 && code && json_integer_value(code) != 0)
        r = jb_buf_printf(buf, ", exit code %d", (int)json_integer_value(code));
    return r == 0 ? jb_buf_puts(buf, "\n") : r;
}

static int add_usage(struct jb_buf *buf, const json_t *record)
{
    char text[4][48];
    double wall = number(record, "times", "wall_s");
    double user = number(record, "used", "cpu_user_s");
    double system = number(record, "used", "cpu_system_s");
    double cpus = number(record, "granted", "cpu_count");
    double peak = number(record, "used", "memory_peak_bytes");
    double limit = number(record, "granted", "memory_bytes");
    double cpu = user < 0 || system < 0 ? -1 : user + system;
    int r = jb_buf_printf(buf, "jobbox: wall %s, CPU %s", duration(wall, text[0], sizeof(text[0])),
                          duration(cpu, text[1], sizeof(text[1])));
    if (r == 0 && wall >= 0.05 && cpu >= 0 && cpus > 0) /* below, start and exit are most of it */
        r = jb_buf_printf(buf, " (%.0f%% of %.0f CPU%s)", 100 * cpu / (wall * cpus), cpus,
                          cpus == 1 ? "" : "s");
    if (r == 0)
        r = jb_buf_printf(buf, ", peak memory %s", size(peak, text[2], sizeof(text[2])));
    if (r == 0 && limit > 0)
        r = jb_buf_printf(buf, " of %s", size(limit, text[3], sizeof(text[3])));
    const char *list = json_string_value(jb_record_get(record, "granted", "cpus"));
    if (r == 0)
        r = jb_buf_printf(buf, ", CPUs %s\n", list ? list : "unknown");
    return r;
}

static int add_degraded(struct jb_buf *buf, const json_t *record)
{
    const json_t *list = jb_record_get(record, "isolation", "degraded");
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        int r =
            jb_buf_printf(buf, "jobbox: without %s: %s\n", json_string_value(json_object_get(item, "what")),
                          json_string_value(json_object_get(item, "why")));
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_artifacts(struct jb_buf *buf, const json_t *record)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(record, "artifacts"), i, item)
    {
        const char *error = json_string_value(json_object_get(item, "error"));
        const char *to = json_string_value(json_object_get(item, "to"));
        size_t start = buf->len;
        int r = error ? jb_buf_printf(buf, "jobbox: artifact %s: %s\n",
                                      json_string_value(json_object_get(item, "path")), error)
                      : jb_buf_printf(buf, "jobbox: artifact %s\n", to ? to : "?");
        if (r < 0)
            return r;
        /* names are the job's choice: they may neither speak to the terminal nor make lines of their own */
        for (char *c = buf->data + start; c < buf->data + buf->len - 1; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                *c = '?';
    }
    return 0;
}

static int add_kept(struct jb_buf *buf, const json_t *record)
{
    const char *error = json_string_value(jb_record_get(record, "kept", "error"));
    const json_t *bytes = jb_record_get(record, "kept", "bytes");
    const char *id = json_string_value(json_object_get(record, "id"));
    char text[32];
    if (error)
        return jb_buf_printf(buf, "jobbox: its files are not kept: %s\n", error);
    return bytes ? jb_buf_printf(buf, "jobbox: its files are kept (%s): jobbox enter %s\n",
                                 size((double)json_integer_value(bytes), text, sizeof(text)), id)
                 : 0;
}

int jb_record_summary(const json_t *record, char **ret, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = add_end(&buf, record);
    if (r == 0 && jb_record_get(record, "times", "wall_s"))
        r = add_usage(&buf, record);
    if (r == 0)
        r = add_degraded(&buf, record);
    if (r == 0)
        r = add_artifacts(&buf, record);
    if (r == 0)
        r = add_kept(&buf, record);
    if (r == 0)
        r = jb_buf_printf(&buf, "jobbox: record %s\n", json_string_value(json_object_get(record, "id")));
    if (r < 0)
        return jb_fail_errno(err, r, "summary");
    *ret = jb_take_ptr(buf.data);
    return 0;
}
