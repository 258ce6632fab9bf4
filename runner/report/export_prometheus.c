/*
 * export_prometheus.c - the groups of a report as Prometheus text.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: none.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "base/cleanup.h"
#include "report/escape.h"
#include "report/export.h"
#include "report/sheet.h"

static const char *const units[] = {
    [JB_UNIT_COUNT] = "",       [JB_UNIT_SECONDS] = "_seconds", [JB_UNIT_HOURS] = "",
    [JB_UNIT_BYTES] = "_bytes", [JB_UNIT_JOULES] = "_joules",   [JB_UNIT_FRACTION] = "_ratio",
    [JB_UNIT_MONEY] = "",
};

/* What names may have: letters, digits, '_'. */
static void tame(char *text)
{
    for (char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) || (unsigned char)*p >= 0x80)
            *p = '_';
}

/* Sums over everything that there ever was only grow; within a period they are what they are. */
static bool is_counter(const struct jb_query *query, const struct jb_measure *measure)
{
    return measure->agg == JB_AGG_SUM && query->filter.from == JB_NONE && query->filter.to == JB_NONE;
}

static int put_labels(struct jb_buf *line, const struct jb_query *query, const struct jb_group *group)
{
    char name[128];
    int r = 0;
    for (size_t k = 0; r == 0 && k < query->n_keys; k++) {
        (void)jb_group_key_name(&query->keys[k], name, sizeof(name));
        tame(name);
        r = jb_buf_printf(line, "%s%s=\"", k ? "," : "{", name);
        if (r == 0)
            r = jb_escape(line, JB_ESCAPE_LABEL, group->keys[k] ? group->keys[k] : "");
        if (r == 0)
            r = jb_buf_puts(line, "\"");
    }
    return r == 0 && query->n_keys > 0 ? jb_buf_puts(line, "}") : r;
}

static int put_sample(FILE *out, const char *name, const struct jb_query *query, const struct jb_group *group,
                      double value)
{
    jb_autobuf struct jb_buf line = {0};
    char number[64];
    if (isnan(value))
        return 0;
    int r = jb_buf_puts(&line, name);
    if (r == 0)
        r = put_labels(&line, query, group);
    if (r == 0)
        (void)fprintf(out, "%s %s\n", line.data,
                      jb_format_figure(value, JB_UNIT_COUNT, true, number, sizeof(number)));
    return r;
}

int jb_export_prometheus(FILE *out, const struct jb_query *query, size_t shown,
                         const struct jb_result *result, struct jb_error *err)
{
    for (size_t m = 0; m < shown; m++) {
        const struct jb_measure *measure = &query->measures[m];
        char name[128];
        char whole[192];
        bool counter = is_counter(query, measure);
        (void)jb_measure_name(measure, name, sizeof(name));
        tame(name);
        (void)snprintf(whole, sizeof(whole), "jobbox_%s%s%s", name, units[jb_measure_unit(measure)],
                       counter ? "_total" : "");
        (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", whole, measure->metric->what, whole,
                      counter ? "counter" : "gauge");
        int r =
            query->n_keys == 0 ? put_sample(out, whole, query, &result->total, result->total.values[m]) : 0;
        for (size_t i = 0; r == 0 && i < result->n_groups; i++)
            r = put_sample(out, whole, query, &result->groups[i], result->groups[i].values[m]);
        if (r < 0)
            return jb_fail_errno(err, r, "report");
    }
    return 0;
}
