/*
 * metric.h - the figures of a report: what each is made of, and how those of many jobs become one.
 *
 * Owns: nothing. Runs in: jobbox-report, jobboxd. Privilege: none; pure functions.
 *
 * A figure that a record does not have counts for nothing: not as 0, and not in a mean. Where no record has it, the result is
 * NaN, which is shown as unknown.
 */
#ifndef JB_REPORT_METRIC_H
#define JB_REPORT_METRIC_H

#include "report/index.h"

enum jb_unit {
    JB_UNIT_COUNT,
    JB_UNIT_SECONDS,
    JB_UNIT_HOURS, /* of a core, a GiB, a device */
    JB_UNIT_BYTES,
    JB_UNIT_JOULES,
    JB_UNIT_FRACTION, /* 1 is 100 % */
    JB_UNIT_MONEY,
};

enum jb_agg {
    JB_AGG_DEFAULT,
    JB_AGG_SUM,
    JB_AGG_AVG,
    JB_AGG_MIN,
    JB_AGG_MAX,
    JB_AGG_RATIO, /* of two sums, over the jobs that have both */
    JB_AGG_PERCENTILE,
    JB_AGG_KNOWN, /* how many jobs have the figure */
};

struct jb_metric {
    const char *name, *title, *what; /* as --columns has it; as a table has it; a line of help */
    enum jb_unit unit;
    enum jb_agg agg; /* what the name alone means */
};

/* All of them, in the order of the help; NULL beyond the last. */
const struct jb_metric *jb_metric_at(size_t i);

struct jb_measure {
    const struct jb_metric *metric;
    enum jb_agg agg;
    double percentile; /* 0 to 100 */
};

/* "wait", "wait_p95", "mem_peak_avg", "wall_max". Complains with what it could have been. */
int jb_measure_parse(const char *text, struct jb_measure *ret, struct jb_error *err);
/* As it was written. Returns buf. */
char *jb_measure_name(const struct jb_measure *measure, char *buf, size_t len);
enum jb_unit jb_measure_unit(const struct jb_measure *measure);

/* The columns that a metric reads. */
uint64_t jb_metric_want(const struct jb_metric *metric);

struct jb_prices; /* prices.h */

/* What turns texts into numbers for metrics that ask for them. */
struct jb_metric_ctx {
    int64_t reasons[16];            /* by enum jb_end_reason: the text id */
    const struct jb_prices *prices; /* NULL: no cost is known */
    struct jb_index *index;
};
void jb_metric_ctx_init(struct jb_index *index, const struct jb_prices *prices, struct jb_metric_ctx *ret);

/*
 * The figure of each selected row, NaN when it is not known. For ratios `den` gets what it is of, and `out` the upper part;
 * otherwise `den` is not touched.
 */
void jb_metric_eval(const struct jb_metric *metric, const struct jb_metric_ctx *ctx,
                    const struct jb_block *block, const uint32_t *rows, size_t n, double *out, double *den);
bool jb_metric_is_ratio(const struct jb_metric *metric);

#endif
