/*
 * efficiency.c - jobbox efficiency: what was asked for and what was used, and what would have done.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 *
 * The figures of a record are those of the box's groups: whatever a job started, waited for or not, is in them.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/id.h"
#include "base/units.h"

#define LEAST_WALL 1.0 /* seconds: below, start and exit are most of it */
#define SPARE      1.2 /* of memory, over the greatest peak */
#define MIB        1048576.0
#define HALF_GIB   536870912.0

static const char usage[] =
    "Usage: jobbox efficiency [OPTION]... ID\n"
    "       jobbox efficiency [OPTION]... --user LIST | --account LIST | --name LIST ...\n"
    "Says how much of what a job was granted it used, and suggests what to ask for. With a filter: by user "
    "and name of\n"
    "the job, the most wasteful first.\n\n" JB_ASK_FILTER_HELP
    "      --as FORM          table, csv, json; also --csv, --json\n"
    "      --width N          of the table, 0: as wide as it gets. --color auto|always|never. --raw: plain "
    "numbers\n" JB_ASK_WHICH_HELP "  -h, --help             this text\n";

/* What is known of one job, or of many that are alike; NaN: unknown. */
struct use {
    double jobs, cpus, cpus_used, memory, memory_peak, wall, wall_limit;
    bool oom, timeout;
};

/* Upwards to what people would write: whole 64 MiB below 1 GiB, half GiB above, whole GiB from 8 on. */
static double round_memory(double bytes)
{
    double step = bytes < 2 * HALF_GIB ? 64 * MIB : bytes < 16 * HALF_GIB ? HALF_GIB : 2 * HALF_GIB;
    return ceil(bytes / step) * step;
}

static double round_wall(double seconds)
{
    double step = seconds < 600 ? 60 : seconds < 36000 ? 600 : 3600;
    return ceil(seconds / step) * step;
}

/* NaN: what was asked for is right, or nobody knows. */
static double better_cpus(const struct use *u)
{
    if (!(u->wall >= LEAST_WALL) || !(u->cpus > 1) || !(u->cpus_used >= 0))
        return NAN;
    double enough = ceil(u->cpus_used * 1.1);
    enough = enough < 1 ? 1 : enough;
    return enough < u->cpus && u->cpus_used < 0.8 * u->cpus ? enough : NAN;
}

static double better_memory(const struct use *u)
{
    if (u->oom && u->memory > 0)
        return round_memory(u->memory * 1.5);
    if (!(u->memory_peak >= 0))
        return NAN;
    double enough = round_memory(u->memory_peak * SPARE);
    if (isnan(u->memory))
        return enough;
    return enough < 0.8 * u->memory ? enough : NAN;
}

static double better_wall(const struct use *u)
{
    if (u->timeout && u->wall_limit > 0)
        return round_wall(u->wall_limit * 2);
    if (!(u->wall >= 0) || u->oom)
        return NAN;
    double enough = round_wall(u->wall * 1.5);
    return enough < 0.5 * u->wall_limit ? enough : NAN;
}

/* As a spec has it. */
static char *spec_size(double bytes, char *buf, size_t len)
{
    double mib = bytes / MIB;
    if (fmod(mib, 1024) == 0)
        (void)snprintf(buf, len, "%.0fGiB", mib / 1024);
    else
        (void)snprintf(buf, len, "%.0fMiB", mib);
    return buf;
}

static int suggestion(const struct use *u, struct jb_buf *into)
{
    char buf[64];
    double cpus = better_cpus(u);
    double memory = better_memory(u);
    double wall = better_wall(u);
    const char *comma = "";
    int r = jb_buf_puts(into, "");
    if (r == 0 && !isnan(cpus)) {
        r = jb_buf_printf(into, "cpus: %.0f", cpus);
        comma = ", ";
    }
    if (r == 0 && !isnan(memory)) {
        r = jb_buf_printf(into, "%smemory: %s", comma, spec_size(memory, buf, sizeof(buf)));
        comma = ", ";
    }
    if (r == 0 && !isnan(wall))
        r = jb_buf_printf(into, "%swall_time: %s", comma,
                          jb_format_duration((uint64_t)(wall * 1e9), buf, sizeof(buf)));
    return r;
}

static double figure(int64_t value, double scale)
{
    return value == JB_NONE ? NAN : (double)value * scale;
}

static struct use use_of(struct jb_index *index, const struct jb_row *row)
{
    const int64_t *v = row->v;
    const char *reason = jb_index_text(index, v[JB_COL_REASON]);
    struct use u = {
        .jobs = 1,
        .cpus = figure(v[JB_COL_CPU_COUNT], 1),
        .memory = figure(v[JB_COL_MEMORY], 1),
        .memory_peak = figure(v[JB_COL_MEMORY_PEAK], 1),
        .wall = figure(v[JB_COL_WALL], 1e-6),
        .wall_limit = figure(v[JB_COL_WALL_LIMIT], 1e-6),
        .oom = jb_streq(reason, "oom"),
        .timeout = jb_streq(reason, "timeout"),
    };
    u.cpus_used = u.wall >= 0.05
                      ? (figure(v[JB_COL_CPU_USER], 1e-6) + figure(v[JB_COL_CPU_SYSTEM], 1e-6)) / u.wall
                      : NAN;
    return u;
}

static void print_line(const char *what, double used, double granted, enum jb_unit unit, const char *no_limit)
{
    char a[64];
    char b[64];
    if (isnan(used))
        (void)printf("%-8s unknown", what);
    else
        (void)printf("%-8s %s used", what, jb_format_figure(used, unit, false, a, sizeof(a)));
    if (isnan(granted))
        (void)printf(", %s\n", no_limit);
    else if (isnan(used) || granted <= 0)
        (void)printf(" of %s\n", jb_format_figure(granted, unit, false, b, sizeof(b)));
    else
        (void)printf(" of %s granted (%.0f %%)\n", jb_format_figure(granted, unit, false, b, sizeof(b)),
                     100 * used / granted);
}

static void print_one(struct jb_ask *ask, const struct jb_row *row, const struct use *u, const char *better)
{
    char id[JB_ID_LEN + 1];
    jb_autobuf struct jb_buf name = {0};
    jb_line_id_text(row->v[JB_COL_ID_HI], row->v[JB_COL_ID_LO], id);
    (void)jb_escape(&name, JB_ESCAPE_PLAIN, jb_index_text(ask->index, row->v[JB_COL_NAME]));
    (void)printf("%s %s: %s\n", id, name.data ? name.data : "",
                 jb_index_text(ask->index, row->v[JB_COL_REASON]));
    print_line("CPUs", u->cpus_used, u->cpus, JB_UNIT_COUNT, "how many were granted is unknown");
    print_line("memory", u->memory_peak, u->memory, JB_UNIT_BYTES, "no limit");
    print_line("time", u->wall, u->wall_limit, JB_UNIT_SECONDS, "no limit");
    if (u->oom)
        (void)puts("It ran out of memory: how much it needs is not known, only that it is more.");
    if (u->timeout)
        (void)puts("Its time was up: how long it takes is not known, only that it is longer.");
    if (u->wall < LEAST_WALL)
        (void)puts("It ran for less than a second: that says little about CPUs.");
    if (*better)
        (void)printf("Next time: { %s }\n", better);
    else
        (void)puts("Nothing better to ask for.");
}

static int print_json(const struct jb_row *row, const struct use *u)
{
    char id[JB_ID_LEN + 1];
    const struct {
        const char *name;
        double value;
    } values[] = {
        {"cpus", u->cpus},
        {"cpus_used", u->cpus_used},
        {"memory_bytes", u->memory},
        {"memory_peak_bytes", u->memory_peak},
        {"wall_s", u->wall},
        {"wall_time_s", u->wall_limit},
        {"better_cpus", better_cpus(u)},
        {"better_memory_bytes", better_memory(u)},
        {"better_wall_time_s", better_wall(u)},
    };
    char buf[64];
    jb_line_id_text(row->v[JB_COL_ID_HI], row->v[JB_COL_ID_LO], id);
    (void)printf("{\"id\":\"%s\"", id);
    for (size_t i = 0; i < JB_ARRAY_LEN(values); i++)
        (void)printf(",\"%s\":%s", values[i].name,
                     isnan(values[i].value)
                         ? "null"
                         : jb_format_figure(values[i].value, JB_UNIT_COUNT, true, buf, sizeof(buf)));
    (void)puts("}");
    return 0;
}

static int one(struct jb_ask *ask, const char *id)
{
    struct jb_error err = {0};
    jb_autobuf struct jb_buf better = {0};
    struct jb_row row;
    uint64_t number;
    int code = jb_ask_open(ask);
    if (code)
        return code;
    if (jb_index_find(ask->index, id, &number, &err) < 0 ||
        jb_index_row(ask->index, number, ~UINT64_C(0) >> (64 - JB_COL_MAX), &row, &err) < 0)
        return jb_ask_fail(&err);
    struct use u = use_of(ask->index, &row);
    if (suggestion(&u, &better) < 0)
        return jb_cli_usage("efficiency", "out of memory");
    if (ask->as && jb_streq(ask->as, "json"))
        return print_json(&row, &u);
    print_one(ask, &row, &u, better.data);
    return 0;
}

/* --- many --- */

static const char *const asked[] = {"jobs",        "core_hours", "cpus",     "cpus_used", "cpus_used_p95",
                                    "mem_granted", "mem_peak",   "wall_p95", "oom",       "timeout",
                                    "cpu_eff",     "mem_eff",    "wall_max"};
enum {
    JOBS,
    CORE_HOURS,
    CPUS,
    CPUS_USED,
    CPUS_P95,
    GRANTED,
    PEAK,
    WALL_P95,
    OOM,
    TIMEOUT,
    CPU_EFF,
    MEM_EFF,
    WALL_MAX,
    N_ASKED
};

static int write_many(struct jb_ask *ask, const struct jb_result *result, struct jb_error *err)
{
    struct jb_sheet_column columns[] = {
        {"user", "user", JB_CELL_TEXT, JB_UNIT_COUNT},
        {"name", "name", JB_CELL_TEXT, JB_UNIT_COUNT},
        {"jobs", "jobs", JB_CELL_NUMBER, JB_UNIT_COUNT},
        {"core_hours", "core-h", JB_CELL_NUMBER, JB_UNIT_HOURS},
        {"cpus", "CPUs", JB_CELL_NUMBER, JB_UNIT_COUNT},
        {"cpus_used", "used", JB_CELL_NUMBER, JB_UNIT_COUNT},
        {"cpu_eff", "CPU eff", JB_CELL_NUMBER, JB_UNIT_FRACTION},
        {"mem_granted", "memory", JB_CELL_NUMBER, JB_UNIT_BYTES},
        {"mem_peak", "peak", JB_CELL_NUMBER, JB_UNIT_BYTES},
        {"mem_eff", "mem eff", JB_CELL_NUMBER, JB_UNIT_FRACTION},
        {"suggestion", "better", JB_CELL_TEXT, JB_UNIT_COUNT},
    };
    static const int from[] = {JOBS, CORE_HOURS, CPUS, CPUS_USED, CPU_EFF, GRANTED, PEAK, MEM_EFF};
    struct jb_sheet_style style;
    struct jb_sheet *sheet;
    (void)jb_ask_style(ask, &style);
    int r = jb_sheet_begin(ask->out, &style, columns, JB_ARRAY_LEN(columns), &sheet, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < result->n_groups; i++) {
        const struct jb_group *g = &result->groups[i];
        const double *v = g->values;
        struct jb_cell cells[JB_ARRAY_LEN(columns)] = {{.text = g->keys[0]}, {.text = g->keys[1]}};
        jb_autobuf struct jb_buf better = {0};
        struct use u = {.jobs = v[JOBS],
                        .cpus = v[CPUS],
                        .cpus_used = v[CPUS_P95],
                        .memory = v[GRANTED],
                        .memory_peak = v[PEAK],
                        .wall = v[WALL_MAX],
                        .wall_limit = NAN,
                        .oom = v[OOM] > 0,
                        .timeout = v[TIMEOUT] > 0};
        for (size_t k = 0; k < JB_ARRAY_LEN(from); k++)
            cells[2 + k].number = v[from[k]];
        r = suggestion(&u, &better);
        cells[JB_ARRAY_LEN(columns) - 1].text = better.len ? better.data : NULL;
        r = r < 0 ? jb_fail_errno(err, r, "efficiency") : jb_sheet_row(sheet, cells, false, err);
    }
    int end = jb_sheet_end(sheet, r < 0 ? NULL : err);
    return r < 0 ? r : end;
}

static int many(struct jb_ask *ask)
{
    struct jb_error err = {0};
    struct jb_measure measures[N_ASKED + 1];
    jb_autoresult struct jb_result result = {0};
    int code = jb_ask_open(ask);
    if (code)
        return code;
    for (size_t i = 0; i < N_ASKED; i++)
        if (jb_measure_parse(asked[i], &measures[i], &err) < 0)
            return jb_ask_fail(&err);
    const struct jb_query query = {
        .filter = ask->filter,
        .keys = {{.by = JB_BY_USER}, {.by = JB_BY_NAME}},
        .n_keys = 2,
        .measures = measures,
        .n_measures = N_ASKED,
        .sort = CORE_HOURS,
    };
    if (jb_query_run(ask->index, &query, &result, &err) < 0)
        return jb_ask_fail(&err);
    code = jb_ask_out(ask);
    if (code)
        return code;
    return write_many(ask, &result, &err) < 0 ? jb_ask_fail(&err) : jb_ask_done(ask);
}

int jb_cmd_efficiency(int argc, char **argv)
{
    static const struct option options[] = {JB_ASK_WHICH, JB_ASK_FILTER, JB_ASK_FORM, {0}};
    jb_autoask struct jb_ask ask = JB_ASK_INIT("efficiency");
    struct jb_sheet_style style;
    bool filter = false;
    int code = 0;
    int c;
    opterr = 0;
    while (code == 0 && (c = getopt_long(argc, argv, ":c:o:h", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(usage, stdout), 0;
        filter = filter || (c >= JB_ASK_FROM && c <= JB_ASK_LABEL);
        code = jb_ask_option(&ask, c, argv);
    }
    if (code)
        return code;
    ask.out = stdout;
    if (!jb_ask_style(&ask, &style))
        return jb_cli_usage("efficiency", "--as is table, csv or json");
    if (optind + 1 == argc && !filter)
        return one(&ask, argv[optind]);
    if (optind == argc && filter)
        return many(&ask);
    return jb_cli_usage("efficiency", filter ? "either an id or a filter"
                                             : "of which job? Give its id, or --user, --name, --from ...");
}
