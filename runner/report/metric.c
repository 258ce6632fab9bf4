/*
 * metric.c - the table of figures, and each of them for one row.
 *
 * Owns: nothing. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#include "report/metric.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "record/record.h"
#include "report/prices.h"

enum form {
    ONE,     /* 1 */
    COLUMN,  /* a */
    SUM_OF,  /* a + b */
    PRODUCT, /* a * b */
    USED_CORES,
    RATIO_OF,  /* (a + b) / (c * d); a * d / (c * d) when b is none; (a + b) / c when d is */
    REASON_IS, /* whether the reason is number a */
    NOT_COMPLETED,
    RETRY,
    COST,
};

struct rule {
    struct jb_metric metric;
    enum form form;
    int a, b, c, d; /* columns, or a reason */
    double scale;
};

#define US   1e-6
#define HOUR (US / 3600)
#define GIB  (HOUR / (1024.0 * 1024 * 1024))
#define NO   JB_COL_MAX
#define S(x) JB_COL_##x

static const struct rule rules[] = {
    {{"jobs", "jobs", "attempts that ended", JB_UNIT_COUNT, JB_AGG_SUM}, ONE, NO, NO, NO, NO, 1},
    {{"core_hours", "core-h", "cores granted, times wall time", JB_UNIT_HOURS, JB_AGG_SUM},
     PRODUCT,
     S(CORES),
     S(WALL),
     NO,
     NO,
     HOUR},
    {{"core_hours_used", "used core-h", "CPU time, in hours of whole cores", JB_UNIT_HOURS, JB_AGG_SUM},
     USED_CORES,
     S(CPU_USER),
     S(CPU_SYSTEM),
     S(CORES),
     S(CPU_COUNT),
     HOUR},
    {{"cpu_hours", "CPU-h", "CPUs (hardware threads) granted, times wall time", JB_UNIT_HOURS, JB_AGG_SUM},
     PRODUCT,
     S(CPU_COUNT),
     S(WALL),
     NO,
     NO,
     HOUR},
    {{"cpu_time", "CPU time", "user and system time", JB_UNIT_SECONDS, JB_AGG_SUM},
     SUM_OF,
     S(CPU_USER),
     S(CPU_SYSTEM),
     NO,
     NO,
     US},
    {{"cpu_user", "user", "user time", JB_UNIT_SECONDS, JB_AGG_SUM}, COLUMN, S(CPU_USER), NO, NO, NO, US},
    {{"cpu_system", "system", "system time", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(CPU_SYSTEM),
     NO,
     NO,
     NO,
     US},
    {{"cpu_eff", "CPU eff", "CPU time of the CPU time that was granted", JB_UNIT_FRACTION, JB_AGG_RATIO},
     RATIO_OF,
     S(CPU_USER),
     S(CPU_SYSTEM),
     S(CPU_COUNT),
     S(WALL),
     1},
    {{"cpus_used", "CPUs used", "CPUs that were busy, on average", JB_UNIT_COUNT, JB_AGG_RATIO},
     RATIO_OF,
     S(CPU_USER),
     S(CPU_SYSTEM),
     S(WALL),
     NO,
     1},
    {{"mem_hours", "GiB-h", "memory granted, times wall time", JB_UNIT_HOURS, JB_AGG_SUM},
     PRODUCT,
     S(MEMORY),
     S(WALL),
     NO,
     NO,
     GIB},
    {{"mem_peak_hours", "peak GiB-h", "peak memory, times wall time", JB_UNIT_HOURS, JB_AGG_SUM},
     PRODUCT,
     S(MEMORY_PEAK),
     S(WALL),
     NO,
     NO,
     GIB},
    {{"mem_eff", "mem eff", "peak memory of the memory that was granted, weighed by wall time",
      JB_UNIT_FRACTION, JB_AGG_RATIO},
     RATIO_OF,
     S(MEMORY_PEAK),
     NO,
     S(MEMORY),
     S(WALL),
     1},
    {{"mem_peak", "peak mem", "the greatest peak memory", JB_UNIT_BYTES, JB_AGG_MAX},
     COLUMN,
     S(MEMORY_PEAK),
     NO,
     NO,
     NO,
     1},
    {{"mem_granted", "memory", "the greatest memory limit", JB_UNIT_BYTES, JB_AGG_MAX},
     COLUMN,
     S(MEMORY),
     NO,
     NO,
     NO,
     1},
    {{"mem_anon", "peak anon", "the greatest peak of anonymous memory", JB_UNIT_BYTES, JB_AGG_MAX},
     COLUMN,
     S(MEMORY_ANON),
     NO,
     NO,
     NO,
     1},
    {{"swap_peak", "peak swap", "the greatest peak of swap", JB_UNIT_BYTES, JB_AGG_MAX},
     COLUMN,
     S(SWAP_PEAK),
     NO,
     NO,
     NO,
     1},
    {{"wait", "wait", "mean time from submission to the box", JB_UNIT_SECONDS, JB_AGG_AVG},
     COLUMN,
     S(WAIT),
     NO,
     NO,
     NO,
     US},
    {{"wall", "wall", "wall time, pauses included", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(WALL),
     NO,
     NO,
     NO,
     US},
    {{"setup", "setup", "mean time to build the box", JB_UNIT_SECONDS, JB_AGG_AVG},
     COLUMN,
     S(SETUP),
     NO,
     NO,
     NO,
     US},
    {{"teardown", "teardown", "mean time to take it down", JB_UNIT_SECONDS, JB_AGG_AVG},
     COLUMN,
     S(TEARDOWN),
     NO,
     NO,
     NO,
     US},
    {{"paused", "paused", "time that jobs stood still", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(PAUSED),
     NO,
     NO,
     NO,
     US},
    {{"cores", "cores", "the most cores of a job", JB_UNIT_COUNT, JB_AGG_MAX},
     COLUMN,
     S(CORES),
     NO,
     NO,
     NO,
     1},
    {{"cpus", "CPUs", "the most CPUs (hardware threads) of a job", JB_UNIT_COUNT, JB_AGG_MAX},
     COLUMN,
     S(CPU_COUNT),
     NO,
     NO,
     NO,
     1},
    {{"energy", "energy", "joules", JB_UNIT_JOULES, JB_AGG_SUM}, COLUMN, S(ENERGY), NO, NO, NO, 1e-3},
    {{"read", "read", "bytes read from disks", JB_UNIT_BYTES, JB_AGG_SUM},
     COLUMN,
     S(READ_BYTES),
     NO,
     NO,
     NO,
     1},
    {{"written", "written", "bytes written to disks", JB_UNIT_BYTES, JB_AGG_SUM},
     COLUMN,
     S(WRITTEN_BYTES),
     NO,
     NO,
     NO,
     1},
    {{"output", "output", "bytes of standard output", JB_UNIT_BYTES, JB_AGG_SUM},
     COLUMN,
     S(OUTPUT_BYTES),
     NO,
     NO,
     NO,
     1},
    {{"scratch_peak", "scratch", "the greatest use of scratch", JB_UNIT_BYTES, JB_AGG_MAX},
     COLUMN,
     S(SCRATCH_PEAK),
     NO,
     NO,
     NO,
     1},
    {{"pids_peak", "pids", "the most processes and threads", JB_UNIT_COUNT, JB_AGG_MAX},
     COLUMN,
     S(PIDS_PEAK),
     NO,
     NO,
     NO,
     1},
    {{"throttled", "throttled", "time held back by a CPU limit", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(THROTTLED),
     NO,
     NO,
     NO,
     US},
    {{"cpu_pressure", "CPU press", "time in which some process waited for a CPU", JB_UNIT_SECONDS,
      JB_AGG_SUM},
     COLUMN,
     S(CPU_PRESSURE),
     NO,
     NO,
     NO,
     US},
    {{"mem_pressure", "mem press", "time in which all waited for memory", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(MEMORY_PRESSURE),
     NO,
     NO,
     NO,
     US},
    {{"io_pressure", "I/O press", "time in which all waited for disks", JB_UNIT_SECONDS, JB_AGG_SUM},
     COLUMN,
     S(IO_PRESSURE),
     NO,
     NO,
     NO,
     US},
    {{"device_hours", "device-h", "devices granted, times wall time", JB_UNIT_HOURS, JB_AGG_SUM},
     PRODUCT,
     S(DEVICES),
     S(WALL),
     NO,
     NO,
     HOUR},
    {{"oom_kills", "OOM kills", "processes killed for memory", JB_UNIT_COUNT, JB_AGG_SUM},
     COLUMN,
     S(OOM_KILLS),
     NO,
     NO,
     NO,
     1},
    {{"degraded", "degraded", "things that boxes did without", JB_UNIT_COUNT, JB_AGG_SUM},
     COLUMN,
     S(DEGRADED),
     NO,
     NO,
     NO,
     1},
    {{"retries", "retries", "attempts after the first", JB_UNIT_COUNT, JB_AGG_SUM},
     RETRY,
     S(ATTEMPT),
     NO,
     NO,
     NO,
     1},
    {{"not_completed", "not ok", "jobs with any other end than completed", JB_UNIT_COUNT, JB_AGG_SUM},
     NOT_COMPLETED,
     JB_END_COMPLETED,
     NO,
     NO,
     NO,
     1},
    {{"completed", "completed", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_COMPLETED,
     NO,
     NO,
     NO,
     1},
    {{"failed", "failed", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_FAILED,
     NO,
     NO,
     NO,
     1},
    {{"signaled", "signaled", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_SIGNALED,
     NO,
     NO,
     NO,
     1},
    {{"timeout", "timeout", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_TIMEOUT,
     NO,
     NO,
     NO,
     1},
    {{"cpu_timeout", "CPU t/o", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_CPU_TIMEOUT,
     NO,
     NO,
     NO,
     1},
    {{"idle_timeout", "idle t/o", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_IDLE_TIMEOUT,
     NO,
     NO,
     NO,
     1},
    {{"oom", "oom", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM}, REASON_IS, JB_END_OOM, NO, NO, NO, 1},
    {{"output_limit", "output lim", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_OUTPUT_LIMIT,
     NO,
     NO,
     NO,
     1},
    {{"scratch_full", "scratch full", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_SCRATCH_FULL,
     NO,
     NO,
     NO,
     1},
    {{"cancelled", "cancelled", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_CANCELLED,
     NO,
     NO,
     NO,
     1},
    {{"box_error", "box error", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_BOX_ERROR,
     NO,
     NO,
     NO,
     1},
    {{"supervisor_lost", "lost", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_SUPERVISOR_LOST,
     NO,
     NO,
     NO,
     1},
    {{"host_restarted", "restarted", "jobs that ended so", JB_UNIT_COUNT, JB_AGG_SUM},
     REASON_IS,
     JB_END_HOST_RESTARTED,
     NO,
     NO,
     NO,
     1},
    {{"cost", "cost", "by the site's prices", JB_UNIT_MONEY, JB_AGG_SUM}, COST, NO, NO, NO, NO, 1},
};

const struct jb_metric *jb_metric_at(size_t i)
{
    return i < JB_ARRAY_LEN(rules) ? &rules[i].metric : NULL;
}

static const struct rule *rule_of(const struct jb_metric *metric)
{
    return (const struct rule *)((const char *)metric - offsetof(struct rule, metric));
}

static const struct jb_metric *find(const char *text, size_t len)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(rules); i++)
        if (strlen(rules[i].metric.name) == len && strncmp(rules[i].metric.name, text, len) == 0)
            return &rules[i].metric;
    return NULL;
}

static const struct {
    const char *name;
    enum jb_agg agg;
} suffixes[] = {{"sum", JB_AGG_SUM},
                {"avg", JB_AGG_AVG},
                {"min", JB_AGG_MIN},
                {"max", JB_AGG_MAX},
                {"known", JB_AGG_KNOWN}};

static bool parse_suffix(const char *text, struct jb_measure *ret)
{
    char *rest;
    for (size_t i = 0; i < JB_ARRAY_LEN(suffixes); i++)
        if (jb_streq(text, suffixes[i].name)) {
            ret->agg = suffixes[i].agg;
            return true;
        }
    if (text[0] != 'p' || text[1] < '0' || text[1] > '9')
        return false;
    ret->percentile = strtod(text + 1, &rest);
    ret->agg = JB_AGG_PERCENTILE;
    return *rest == '\0' && ret->percentile >= 0 && ret->percentile <= 100;
}

int jb_measure_parse(const char *text, struct jb_measure *ret, struct jb_error *err)
{
    const char *names[JB_ARRAY_LEN(rules)];
    struct jb_measure m = {.metric = find(text, strlen(text))};
    const char *last = strrchr(text, '_');
    if (m.metric) {
        m.agg = m.metric->agg;
    } else if (last && (m.metric = find(text, (size_t)(last - text))) && !parse_suffix(last + 1, &m)) {
        return jb_fail(err, EINVAL,
                       "\"%s\" ends in nothing that is known; write _sum, _avg, _min, _max, _known or _p95",
                       text);
    }
    if (m.metric && m.agg == JB_AGG_SUM && m.metric->agg == JB_AGG_RATIO)
        return jb_fail(err, EINVAL, "\"%s\": a sum of shares means nothing; write %s", text, m.metric->name);
    if (m.metric) {
        *ret = m;
        return 0;
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(rules); i++)
        names[i] = rules[i].metric.name;
    const char *near = jb_did_you_mean(text, names, JB_ARRAY_LEN(names));
    return near ? jb_fail(err, EINVAL, "\"%s\" is no column; did you mean %s?", text, near)
                : jb_fail(err, EINVAL, "\"%s\" is no column; see jobbox report --list-columns", text);
}

char *jb_measure_name(const struct jb_measure *measure, char *buf, size_t len)
{
    const char *suffix = NULL;
    for (size_t i = 0; i < JB_ARRAY_LEN(suffixes); i++)
        if (measure->agg == suffixes[i].agg && measure->agg != measure->metric->agg)
            suffix = suffixes[i].name;
    if (measure->agg == JB_AGG_PERCENTILE)
        (void)snprintf(buf, len, "%s_p%g", measure->metric->name, measure->percentile);
    else
        (void)snprintf(buf, len, "%s%s%s", measure->metric->name, suffix ? "_" : "", suffix ? suffix : "");
    return buf;
}

enum jb_unit jb_measure_unit(const struct jb_measure *measure)
{
    return measure->agg == JB_AGG_KNOWN ? JB_UNIT_COUNT : measure->metric->unit;
}

bool jb_metric_is_ratio(const struct jb_metric *metric)
{
    return rule_of(metric)->form == RATIO_OF;
}

uint64_t jb_metric_want(const struct jb_metric *metric)
{
    const struct rule *rule = rule_of(metric);
    const int columns[] = {rule->a, rule->b, rule->c, rule->d};
    uint64_t want = 0;
    if (rule->form == REASON_IS || rule->form == NOT_COMPLETED)
        return UINT64_C(1) << JB_COL_REASON;
    if (rule->form == COST)
        return UINT64_C(1) << JB_COL_ACCOUNT | UINT64_C(1) << JB_COL_AT | UINT64_C(1) << JB_COL_CORES |
               UINT64_C(1) << JB_COL_MEMORY | UINT64_C(1) << JB_COL_MEMORY_PEAK |
               UINT64_C(1) << JB_COL_DEVICES | UINT64_C(1) << JB_COL_WALL;
    for (size_t i = 0; i < JB_ARRAY_LEN(columns); i++)
        if (columns[i] != NO)
            want |= UINT64_C(1) << columns[i];
    return want;
}

void jb_metric_ctx_init(struct jb_index *index, const struct jb_prices *prices, struct jb_metric_ctx *ret)
{
    *ret = (struct jb_metric_ctx){.prices = prices, .index = index};
    _Static_assert(JB_END_MAX <= JB_ARRAY_LEN(ret->reasons), "every reason has a place");
    for (int i = 0; i < JB_END_MAX; i++)
        ret->reasons[i] = jb_index_text_id(index, jb_end_reason_name(i));
}

static double number(int64_t v)
{
    return v == JB_NONE ? NAN : (double)v;
}

static double product(const struct jb_block *b, int x, int y, uint32_t i)
{
    return number(b->col[x][i]) * number(b->col[y][i]);
}

static double sum(const struct jb_block *b, int x, int y, uint32_t i)
{
    return number(b->col[x][i]) + number(b->col[y][i]);
}

/* Of a job that is shorter start and exit are most of its CPU time: its share says nothing. */
#define LEAST_WALL_US 50000

static void eval_ratio(const struct rule *r, const struct jb_block *b, const uint32_t *rows, size_t n,
                       double *out, double *den)
{
    const int64_t *wall = b->col[JB_COL_WALL];
    for (size_t i = 0; i < n; i++) {
        bool cpu = r->b != NO;
        out[i] = cpu ? sum(b, r->a, r->b, rows[i]) : product(b, r->a, r->d, rows[i]);
        den[i] = r->d == NO ? number(b->col[r->c][rows[i]]) : product(b, r->c, r->d, rows[i]);
        if (cpu && wall[rows[i]] < LEAST_WALL_US)
            out[i] = den[i] = NAN;
    }
}

static void eval_simple(const struct rule *r, const struct jb_block *b, const uint32_t *rows, size_t n,
                        double *out)
{
    switch (r->form) {
    case COLUMN:
        for (size_t i = 0; i < n; i++)
            out[i] = number(b->col[r->a][rows[i]]) * r->scale;
        break;
    case SUM_OF:
        for (size_t i = 0; i < n; i++)
            out[i] = sum(b, r->a, r->b, rows[i]) * r->scale;
        break;
    case PRODUCT:
        for (size_t i = 0; i < n; i++)
            out[i] = product(b, r->a, r->b, rows[i]) * r->scale;
        break;
    case USED_CORES:
        for (size_t i = 0; i < n; i++)
            out[i] = sum(b, r->a, r->b, rows[i]) * number(b->col[r->c][rows[i]]) /
                     number(b->col[r->d][rows[i]]) * r->scale;
        break;
    case RETRY:
        for (size_t i = 0; i < n; i++)
            out[i] = b->col[r->a][rows[i]] > 1;
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = 1;
        break;
    }
}

void jb_metric_eval(const struct jb_metric *metric, const struct jb_metric_ctx *ctx,
                    const struct jb_block *block, const uint32_t *rows, size_t n, double *out, double *den)
{
    const struct rule *rule = rule_of(metric);
    switch (rule->form) {
    case RATIO_OF:
        eval_ratio(rule, block, rows, n, out, den);
        break;
    case REASON_IS:
        for (size_t i = 0; i < n; i++)
            out[i] =
                ctx->reasons[rule->a] != 0 && block->col[JB_COL_REASON][rows[i]] == ctx->reasons[rule->a];
        break;
    case NOT_COMPLETED:
        for (size_t i = 0; i < n; i++)
            out[i] = block->col[JB_COL_REASON][rows[i]] != ctx->reasons[rule->a];
        break;
    case COST:
        for (size_t i = 0; i < n; i++)
            out[i] = jb_prices_cost(ctx->prices, ctx->index, block, rows[i]);
        break;
    default:
        eval_simple(rule, block, rows, n, out);
        break;
    }
}
