/*
 * group.c - records into groups, and the figures of each.
 *
 * Owns: the groups while they grow. Runs in: jobbox-report, jobboxd. Privilege: none.
 *
 * A block at a time: the group of each row first, then each measure over all rows.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report/group.h"

/* Of one group and one measure. */
struct sums {
    double a, b; /* sum, of what; or least and greatest */
    uint64_t n;
};

/* All values of one measure whose result is a percentile. */
struct values {
    float *value;
    uint32_t *group;
    size_t n, cap;
};

struct groups {
    const struct jb_query *q;
    struct jb_metric_ctx metrics;
    int64_t *keys;     /* n_keys for each group: text id, beginning of a span, or number in `words` */
    struct sums *sums; /* n_measures for each group; the first group is the total */
    uint64_t *jobs;
    size_t n, cap;
    uint32_t *table; /* group + 1, by the hash of its keys */
    size_t table_cap;
    struct jb_row_keys row_keys;
    struct values *values; /* n_measures */
    uint32_t of_row[JB_SEGMENT];
    double out[JB_SEGMENT], den[JB_SEGMENT];
    struct jb_error *err;
};

/* --- groups by their keys --- */

static uint64_t hash_keys(const int64_t *keys, size_t n)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (uint64_t)keys[i]) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    return h;
}

static size_t table_at(const struct groups *g, const int64_t *keys)
{
    size_t n = g->q->n_keys;
    size_t i = hash_keys(keys, n) & (g->table_cap - 1);
    while (g->table[i] && memcmp(g->keys + (g->table[i] - 1) * n, keys, n * sizeof(*keys)) != 0)
        i = (i + 1) & (g->table_cap - 1);
    return i;
}

static int grow_table(struct groups *g)
{
    size_t cap = g->table_cap ? 2 * g->table_cap : 256;
    uint32_t *old = g->table;
    g->table = calloc(cap, sizeof(*g->table));
    if (!g->table) {
        g->table = old;
        return -ENOMEM;
    }
    g->table_cap = cap;
    free(old);
    for (size_t i = 1; i < g->n; i++)
        g->table[table_at(g, g->keys + i * g->q->n_keys)] = (uint32_t)i + 1;
    return 0;
}

static int grow_groups(struct groups *g)
{
    size_t cap = g->cap ? 2 * g->cap : 64;
    size_t n_keys = g->q->n_keys ? g->q->n_keys : 1;
    size_t n_measures = g->q->n_measures ? g->q->n_measures : 1;
    int64_t *keys = realloc(g->keys, cap * n_keys * sizeof(*keys));
    g->keys = keys ? keys : g->keys;
    struct sums *sums = realloc(g->sums, cap * n_measures * sizeof(*sums));
    g->sums = sums ? sums : g->sums;
    uint64_t *jobs = realloc(g->jobs, cap * sizeof(*jobs));
    g->jobs = jobs ? jobs : g->jobs;
    if (!keys || !sums || !jobs)
        return -ENOMEM;
    memset(sums + g->cap * n_measures, 0, (cap - g->cap) * n_measures * sizeof(*sums));
    memset(jobs + g->cap, 0, (cap - g->cap) * sizeof(*jobs));
    memset(keys + g->cap * n_keys, 0, (cap - g->cap) * n_keys * sizeof(*keys));
    g->cap = cap;
    return 0;
}

static int group_of(struct groups *g, const struct jb_block *block, uint32_t row, uint32_t *ret)
{
    int64_t keys[JB_KEYS_MAX];
    for (size_t k = 0; k < g->q->n_keys; k++) {
        int r = jb_row_key(&g->row_keys, k, block, row, &keys[k]);
        if (r < 0)
            return r;
    }
    if (2 * (g->n + 1) > g->table_cap && grow_table(g) < 0)
        return -ENOMEM;
    size_t at = table_at(g, keys);
    if (!g->table[at]) {
        if (g->n == g->cap && grow_groups(g) < 0)
            return -ENOMEM;
        memcpy(g->keys + g->n * g->q->n_keys, keys, g->q->n_keys * sizeof(*keys));
        g->table[at] = (uint32_t)++g->n;
    }
    *ret = g->table[at] - 1;
    return 0;
}

/* --- figures --- */

static void add_sum(struct sums *s, enum jb_agg agg, double x, double of)
{
    switch (agg) {
    case JB_AGG_MIN:
        s->a = s->n == 0 || x < s->a ? x : s->a;
        break;
    case JB_AGG_MAX:
        s->a = s->n == 0 || x > s->a ? x : s->a;
        break;
    default:
        s->a += x;
        s->b += of;
        break;
    }
    s->n++;
}

static int keep_values(struct values *v, const struct groups *g, const uint32_t *rows, size_t n,
                       const double *x)
{
    if (v->cap - v->n < n) {
        size_t cap = v->cap ? 2 * v->cap : 4 * (size_t)JB_SEGMENT;
        float *value = realloc(v->value, cap * sizeof(*value));
        v->value = value ? value : v->value;
        uint32_t *group = realloc(v->group, cap * sizeof(*group));
        v->group = group ? group : v->group;
        if (!value || !group)
            return -ENOMEM;
        v->cap = cap;
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            continue;
        v->value[v->n] = (float)x[i];
        v->group[v->n++] = g->of_row[rows[i]];
    }
    return 0;
}

static int add_measure(struct groups *g, size_t m, const struct jb_block *block, const uint32_t *rows,
                       size_t n)
{
    const struct jb_measure *measure = &g->q->measures[m];
    bool ratio = jb_metric_is_ratio(measure->metric);
    jb_metric_eval(measure->metric, &g->metrics, block, rows, n, g->out, g->den);
    /* of single jobs a share is one number */
    bool of_jobs = ratio && measure->agg != JB_AGG_RATIO;
    for (size_t i = 0; i < n && of_jobs; i++)
        g->out[i] = g->den[i] > 0 ? g->out[i] / g->den[i] : NAN;
    if (measure->agg == JB_AGG_PERCENTILE)
        return keep_values(&g->values[m], g, rows, n, g->out);
    for (size_t i = 0; i < n; i++) {
        double of = ratio ? g->den[i] : 0;
        if (isnan(g->out[i]) || isnan(of))
            continue;
        add_sum(&g->sums[m], measure->agg, g->out[i], of);
        if (g->q->n_keys > 0)
            add_sum(&g->sums[(size_t)g->of_row[rows[i]] * g->q->n_measures + m], measure->agg, g->out[i], of);
    }
    return 0;
}

static int add_rows(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx)
{
    struct groups *g = ctx;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        uint32_t group = 0;
        if (g->q->n_keys > 0)
            r = group_of(g, block, rows[i], &group);
        g->of_row[rows[i]] = group;
        g->jobs[0]++;
        g->jobs[group] += group != 0;
    }
    for (size_t m = 0; r == 0 && m < g->q->n_measures; m++)
        r = add_measure(g, m, block, rows, n);
    return r < 0 ? jb_fail_errno(g->err, r, "report") : 0;
}

static double result_of(const struct sums *s, enum jb_agg agg)
{
    switch (agg) {
    case JB_AGG_AVG:
        return s->n ? s->a / (double)s->n : NAN;
    case JB_AGG_RATIO:
        return s->n && s->b > 0 ? s->a / s->b : NAN;
    case JB_AGG_KNOWN:
        return (double)s->n;
    default:
        return s->n ? s->a : NAN;
    }
}

/* --- percentiles --- */

/* Values into the order of their groups; then each group's own rank is found, and last that of all. */
static int set_percentiles(struct groups *g, struct values *v, size_t m, double *into)
{
    double p = g->q->measures[m].percentile;
    size_t n_measures = g->q->n_measures;
    jb_autofree size_t *begin = calloc(g->n + 2, sizeof(*begin));
    jb_autofree float *ordered = malloc((v->n + 1) * sizeof(*ordered));
    if (!begin || !ordered)
        return -ENOMEM;
    for (size_t i = 0; i < v->n; i++)
        begin[v->group[i] + 2]++;
    for (size_t i = 2; i < g->n + 2; i++)
        begin[i] += begin[i - 1];
    for (size_t i = 0; i < v->n; i++)
        ordered[begin[v->group[i] + 1]++] = v->value[i];
    for (size_t i = 1; i < g->n; i++)
        into[i * n_measures + m] = jb_percentile(ordered + begin[i], begin[i + 1] - begin[i], p);
    into[m] = jb_percentile(ordered, v->n, p);
    return 0;
}

/* --- the result --- */

static int set_keys(struct groups *g, size_t i, struct jb_group *ret)
{
    size_t n = g->q->n_keys;
    char buf[64];
    ret->keys = calloc(n + 1, sizeof(*ret->keys));
    ret->times = calloc(n + 1, sizeof(*ret->times));
    if (!ret->keys || !ret->times)
        return -ENOMEM;
    for (size_t k = 0; k < n; k++) {
        int64_t key = g->keys[i * n + k];
        ret->times[k] = g->q->keys[k].by >= JB_BY_HOUR ? key : JB_NONE;
        const char *text = jb_row_keys_text(&g->row_keys, k, key, buf, sizeof(buf));
        ret->keys[k] = text ? strdup(text) : NULL;
        if (text && !ret->keys[k])
            return -ENOMEM;
    }
    return 0;
}

static int compare_keys(const struct jb_group *a, const struct jb_group *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        int r = a->times[k] != b->times[k]   ? (a->times[k] < b->times[k] ? -1 : 1)
                : !a->keys[k] || !b->keys[k] ? !!b->keys[k] - !!a->keys[k] /* none comes last */
                                             : strcmp(a->keys[k], b->keys[k]);
        if (r != 0)
            return a->keys[k] && b->keys[k] ? r : -(!!a->keys[k] - !!b->keys[k]);
    }
    return 0;
}

static int compare_groups(const void *a, const void *b, void *ctx)
{
    const struct jb_query *q = ctx;
    const struct jb_group *x = a;
    const struct jb_group *y = b;
    if (q->sort >= 0) {
        double u = x->values[q->sort];
        double v = y->values[q->sort];
        if (isnan(u) || isnan(v)) {
            if (isnan(u) != isnan(v))
                return isnan(u) ? 1 : -1;
        } else if (u != v) {
            return (u < v) == q->ascending ? -1 : 1;
        }
    }
    return compare_keys(x, y, q->n_keys);
}

static void free_group(struct jb_group *group, size_t n_keys)
{
    for (size_t k = 0; group->keys && k < n_keys; k++)
        free(group->keys[k]);
    free(group->keys);
    free(group->times);
    free(group->values);
}

void jb_result_free(struct jb_result *result)
{
    for (size_t i = 0; i < result->n_groups; i++)
        free_group(&result->groups[i], result->n_keys);
    free(result->groups);
    free_group(&result->total, 0);
    *result = (struct jb_result){0};
}

static double *copy_values(const double *values, size_t n)
{
    double *copy = malloc((n + 1) * sizeof(*copy));
    if (copy && n > 0)
        memcpy(copy, values, n * sizeof(*copy));
    return copy;
}

static int make_result(struct groups *g, struct jb_result *ret)
{
    const struct jb_query *q = g->q;
    size_t width = q->n_measures;
    jb_autoresult struct jb_result result = {.n_keys = q->n_keys, .n_measures = width};
    jb_autofree double *values = calloc(g->n * width + 1, sizeof(*values));
    result.groups = calloc(g->n, sizeof(*result.groups));
    if (!values || !result.groups)
        return -ENOMEM;
    for (size_t m = 0; m < width; m++) {
        bool percent = q->measures[m].agg == JB_AGG_PERCENTILE;
        if (percent && (!g->values || set_percentiles(g, &g->values[m], m, values) < 0))
            return -ENOMEM;
        for (size_t i = 0; i < g->n && !percent; i++)
            values[i * width + m] = result_of(&g->sums[i * width + m], q->measures[m].agg);
    }
    result.total = (struct jb_group){.values = copy_values(values, width), .jobs = g->jobs[0]};
    for (size_t i = 1; i < g->n; i++) {
        struct jb_group *group = &result.groups[result.n_groups++];
        *group = (struct jb_group){.values = copy_values(values + i * width, width), .jobs = g->jobs[i]};
        if (!group->values || set_keys(g, i, group) < 0)
            return -ENOMEM;
    }
    if (!result.total.values)
        return -ENOMEM;
    qsort_r(result.groups, result.n_groups, sizeof(*result.groups), compare_groups, (void *)q);
    result.all_groups = result.n_groups;
    for (; q->top > 0 && result.n_groups > q->top; result.n_groups--)
        free_group(&result.groups[result.n_groups - 1], q->n_keys);
    *ret = result;
    result = (struct jb_result){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

static void groups_free(struct groups *g)
{
    for (size_t m = 0; g->values && m < g->q->n_measures; m++) {
        free(g->values[m].value);
        free(g->values[m].group);
    }
    free(g->values);
    jb_row_keys_free(&g->row_keys);
    free(g->keys);
    free(g->sums);
    free(g->jobs);
    free(g->table);
    free(g);
}

int jb_query_run(struct jb_index *index, const struct jb_query *query, struct jb_result *ret,
                 struct jb_error *err)
{
    struct groups *g = calloc(1, sizeof(*g));
    uint64_t want = jb_row_keys_want(query);
    if (!g)
        return jb_fail_errno(err, ENOMEM, "report");
    *g = (struct groups){.q = query, .n = 1, .err = err};
    jb_metric_ctx_init(index, query->prices, &g->metrics);
    for (size_t m = 0; m < query->n_measures; m++)
        want |= jb_metric_want(query->measures[m].metric);
    g->values = calloc(query->n_measures + 1, sizeof(*g->values));
    int r =
        g->values && grow_groups(g) == 0 && jb_row_keys_init(&g->row_keys, index, query) == 0 ? 0 : -ENOMEM;
    if (r < 0)
        r = jb_fail_errno(err, r, "report");
    else
        r = jb_query_rows(index, &query->filter, want, add_rows, g, err);
    if (r == 0 && make_result(g, ret) < 0)
        r = jb_fail_errno(err, ENOMEM, "report");
    groups_free(g);
    return r;
}
