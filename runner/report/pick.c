/*
 * pick.c - single records, in an order.
 *
 * Owns: the list while it grows. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report/query.h"

struct found {
    double by;
    uint64_t row;
};

struct picking {
    struct jb_metric_ctx metrics;
    const struct jb_measure *measure;
    struct found *list;
    size_t n, cap;
    double out[JB_SEGMENT], den[JB_SEGMENT];
    struct jb_error *err;
};

static int add_rows(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx)
{
    struct picking *p = ctx;
    if (p->cap - p->n < n) {
        size_t cap = p->cap ? 2 * p->cap : 2 * (size_t)JB_SEGMENT;
        struct found *grown = realloc(p->list, cap * sizeof(*grown));
        if (!grown)
            return jb_fail_errno(p->err, ENOMEM, "report");
        p->list = grown;
        p->cap = cap;
    }
    bool ratio = p->measure && jb_metric_is_ratio(p->measure->metric);
    if (p->measure)
        jb_metric_eval(p->measure->metric, &p->metrics, block, rows, n, p->out, p->den);
    for (size_t i = 0; i < n; i++) {
        double by = !p->measure ? (double)block->col[JB_COL_AT][rows[i]]
                    : ratio     ? (p->den[i] > 0 ? p->out[i] / p->den[i] : NAN)
                                : p->out[i];
        p->list[p->n++] = (struct found){by, block->first + rows[i]};
    }
    return 0;
}

/* What is not known comes first here, so that it is the first to be left out. */
static int by_value(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    if (isnan(x->by) != isnan(y->by))
        return isnan(x->by) ? -1 : 1;
    if (!isnan(x->by) && x->by != y->by)
        return x->by < y->by ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static size_t count_unknown(const struct picking *p)
{
    size_t n = 0;
    while (n < p->n && isnan(p->list[n].by))
        n++;
    return n;
}

/* Known ones in the order that is wanted, then the others. */
static void put(const struct picking *p, bool last, bool descending, size_t limit, uint64_t *rows, size_t *n)
{
    size_t unknown = count_unknown(p);
    size_t known = p->n - unknown;
    size_t take = limit && limit < known ? limit : known;
    size_t begin = last ? p->n - take : unknown;
    *n = 0;
    for (size_t i = 0; i < take; i++)
        rows[(*n)++] = p->list[descending ? begin + take - 1 - i : begin + i].row;
    for (size_t i = 0; i < unknown && (!limit || *n < limit); i++)
        rows[(*n)++] = p->list[i].row;
}

int jb_query_pick(struct jb_index *index, const struct jb_filter *filter, const struct jb_measure *measure,
                  const struct jb_prices *prices, bool last, bool descending, size_t limit, uint64_t **ret,
                  size_t *ret_n, struct jb_error *err)
{
    struct picking *p = calloc(1, sizeof(*p));
    if (!p)
        return jb_fail_errno(err, ENOMEM, "report");
    p->measure = measure;
    p->err = err;
    jb_metric_ctx_init(index, prices, &p->metrics);
    int r = jb_query_rows(index, filter, measure ? jb_metric_want(measure->metric) : 0, add_rows, p, err);
    uint64_t *rows = r == 0 ? malloc((p->n + 1) * sizeof(*rows)) : NULL;
    if (r == 0 && !rows)
        r = jb_fail_errno(err, ENOMEM, "report");
    if (rows) {
        if (p->n > 1)
            qsort(p->list, p->n, sizeof(*p->list), by_value);
        put(p, last, descending, limit, rows, ret_n);
        *ret = rows;
    }
    free(p->list);
    free(p);
    return r;
}

double jb_query_value(struct jb_index *index, const struct jb_measure *measure,
                      const struct jb_prices *prices, const struct jb_row *row)
{
    struct jb_metric_ctx ctx;
    struct jb_block block = {.n = 1};
    const uint32_t first = 0;
    double out = NAN;
    double den = NAN;
    jb_metric_ctx_init(index, prices, &ctx);
    for (enum jb_col c = 0; c < JB_COL_MAX; c++)
        block.col[c] = &row->v[c];
    jb_metric_eval(measure->metric, &ctx, &block, &first, 1, &out, &den);
    if (!jb_metric_is_ratio(measure->metric))
        return out;
    return den > 0 ? out / den : NAN;
}
