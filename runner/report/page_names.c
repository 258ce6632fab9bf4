/*
 * page_names.c - the accounts, users and reasons that a page tells apart, and the time that it is about.
 *
 * Owns: the lists while they grow. Runs in: jobbox-report. Privilege: none.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report/page_sums.h"

/* The first of January 2000: there was no jobbox before; a clock that was not set says 1970. And ten years from now: a single
 * record of the year 9999 would leave no room for all others. */
#define FIRST_US (INT64_C(946684800) * 1000000)
#define AHEAD_US (INT64_C(3653) * 86400 * 1000000)

static const struct {
    enum jb_col col;
    size_t most;
} bys[] = {
    [JB_PAGE_ACCOUNT] = {JB_COL_ACCOUNT, 9},
    [JB_PAGE_USER] = {JB_COL_USER, 150},
    [JB_PAGE_REASON] = {JB_COL_REASON, 20},
};

struct share {
    int64_t id;
    double hours;
    uint64_t jobs;
};

struct shares {
    struct share *list;
    size_t n, cap;
    struct jb_memo number; /* in the list, by id */
};

struct ranking {
    struct jb_page_sums *sums;
    struct shares by[JB_PAGE_BY_MAX];
    int64_t from, to;
    double hours[JB_SEGMENT];
    struct jb_error *err;
};

static int add_share(struct shares *s, int64_t id, double hours)
{
    bool fresh;
    int64_t *number = jb_memo_get(&s->number, id, &fresh);
    if (!number)
        return -ENOMEM;
    if (fresh) {
        if (s->n == s->cap) {
            size_t cap = s->cap ? 2 * s->cap : 64;
            struct share *grown = realloc(s->list, cap * sizeof(*grown));
            if (!grown)
                return -ENOMEM;
            s->list = grown;
            s->cap = cap;
        }
        *number = (int64_t)s->n;
        s->list[s->n++] = (struct share){.id = id};
    }
    struct share *share = &s->list[*number];
    share->hours += isnan(hours) ? 0 : hours;
    share->jobs++;
    return 0;
}

static int add_rows(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx)
{
    struct ranking *k = ctx;
    const int64_t *at = block->col[JB_COL_AT];
    jb_metric_eval(k->sums->figures[JB_PAGE_CORE_HOURS].metric, &k->sums->metrics, block, rows, n, k->hours,
                   NULL);
    for (size_t i = 0; i < n; i++) {
        int64_t t = at[rows[i]];
        if (t < k->sums->from || t >= k->sums->to) {
            k->sums->outside++;
            continue;
        }
        k->from = t < k->from ? t : k->from;
        k->to = t > k->to ? t : k->to;
        k->sums->jobs++;
        for (size_t b = 0; b < JB_PAGE_BY_MAX; b++)
            if (add_share(&k->by[b], block->col[bys[b].col][rows[i]], k->hours[i]) < 0)
                return jb_fail_errno(k->err, ENOMEM, "report");
    }
    return 0;
}

static int by_hours(const void *a, const void *b, void *ctx)
{
    const struct share *x = a;
    const struct share *y = b;
    (void)ctx;
    if (x->hours != y->hours)
        return x->hours < y->hours ? 1 : -1;
    if (x->jobs != y->jobs)
        return x->jobs < y->jobs ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int settle_names(struct shares *s, size_t most, struct jb_page_names *ret)
{
    if (s->n > 0)
        qsort_r(s->list, s->n, sizeof(*s->list), by_hours, NULL);
    /* one alone is told apart rather than called the others */
    size_t n = s->n > most + 1 ? most : s->n;
    ret->ids = calloc(n + 1, sizeof(*ret->ids));
    if (!ret->ids)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        bool fresh;
        int64_t *place = jb_memo_get(&ret->place, s->list[i].id, &fresh);
        if (!place)
            return -ENOMEM;
        *place = (int64_t)i;
        ret->ids[i] = s->list[i].id;
    }
    ret->n = n;
    ret->others = s->n - n;
    return 0;
}

size_t jb_page_place(struct jb_page_names *names, int64_t id)
{
    size_t at = names->place.cap ? jb_memo_at(&names->place, id) : 0;
    return names->place.cap && names->place.used[at] ? (size_t)names->place.values[at] : names->n;
}

int jb_page_rank(struct jb_page_sums *sums, struct jb_error *err)
{
    jb_autofree struct ranking *k = calloc(1, sizeof(*k));
    uint64_t want = jb_metric_want(sums->figures[JB_PAGE_CORE_HOURS].metric);
    if (!k)
        return jb_fail_errno(err, ENOMEM, "report");
    *k = (struct ranking){.sums = sums, .from = INT64_MAX, .to = INT64_MIN, .err = err};
    sums->from = FIRST_US;
    sums->to = sums->wish->now + AHEAD_US;
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++)
        want |= UINT64_C(1) << bys[b].col;
    int r = jb_query_rows(sums->wish->index, sums->wish->filter, want, add_rows, k, err);
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++) {
        if (r == 0 && settle_names(&k->by[b], bys[b].most, &sums->names[b]) < 0)
            r = jb_fail_errno(err, ENOMEM, "report");
        free(k->by[b].list);
        jb_memo_free(&k->by[b].number);
    }
    sums->from = k->from <= k->to ? k->from : 0;
    sums->to = k->from <= k->to ? k->to + 1 : 0;
    return r;
}
