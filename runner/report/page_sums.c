/*
 * page_sums.c - all records that pass, into the sums of a page.
 *
 * Owns: the sums. Runs in: jobbox-report. Privilege: none.
 *
 * Twice over the index: once for who is told apart and from when to when, once for the sums. When the cells become too many, the
 * second begins again with coarser steps; it notices early.
 */
#include "report/page_sums.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define US INT64_C(1000000)

struct summing {
    struct jb_page_sums *sums;
    bool last;   /* no coarser steps are left */
    size_t step; /* fine, of the record before */
    double out[JB_PAGE_FIGURES][JB_SEGMENT], den[JB_PAGE_FIGURES][JB_SEGMENT];
    struct jb_error *err;
};

/* --- steps of time --- */

int jb_page_steps_make(enum jb_span span, int64_t from, int64_t to, struct jb_page_steps *ret)
{
    struct jb_page_steps s = {.span = span, .from = calloc(JB_PAGE_STEPS + 2, sizeof(*s.from))};
    int64_t at = from;
    int64_t next;
    if (!s.from)
        return -ENOMEM;
    for (; at < to && s.n <= JB_PAGE_STEPS; at = next) {
        jb_span_of(span, at, &s.from[s.n], &next);
        if (next <= at) /* a zone that turns back further than an hour */
            next = at + 3600 * US;
        s.from[++s.n] = next;
    }
    if (s.n > JB_PAGE_STEPS) {
        free(s.from);
        return -E2BIG;
    }
    *ret = s;
    return 0;
}

size_t jb_page_step(const struct jb_page_steps *steps, int64_t at)
{
    size_t low = 0;
    size_t high = steps->n - 1;
    while (low < high) {
        size_t mid = (low + high + 1) / 2;
        if (at >= steps->from[mid])
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

/* The finest steps of which a reader can still tell one from the next; each is within one of any coarser span that is used. */
static int make_fine(struct jb_page_sums *sums)
{
    static const struct {
        enum jb_span span;
        size_t most;
    } spans[] = {{JB_SPAN_HOUR, 200}, {JB_SPAN_DAY, JB_PAGE_STEPS}, {JB_SPAN_MONTH, JB_PAGE_STEPS}};
    int r = -E2BIG;
    for (size_t i = 0; r == -E2BIG && i < JB_ARRAY_LEN(spans); i++) {
        free(sums->fine.from);
        sums->fine = (struct jb_page_steps){0};
        r = jb_page_steps_make(spans[i].span, sums->from, sums->to, &sums->fine);
        if (r == 0 && sums->fine.n > spans[i].most)
            r = -E2BIG;
    }
    return r;
}

static int make_coarse(struct jb_page_sums *sums, enum jb_span span)
{
    free(sums->coarse.from);
    free(sums->coarse_of);
    sums->coarse = (struct jb_page_steps){0};
    sums->coarse_of = calloc(sums->fine.n + 1, sizeof(*sums->coarse_of));
    int r = sums->coarse_of ? jb_page_steps_make(span, sums->from, sums->to, &sums->coarse) : -ENOMEM;
    for (size_t i = 0, c = 0; r == 0 && i < sums->fine.n; i++) {
        while (c + 1 < sums->coarse.n && sums->fine.from[i] >= sums->coarse.from[c + 1])
            c++;
        sums->coarse_of[i] = (uint16_t)c;
    }
    return r;
}

static size_t step_of(struct summing *s, int64_t at)
{
    const struct jb_page_steps *fine = &s->sums->fine;
    if (at >= fine->from[s->step] && at < fine->from[s->step + 1])
        return s->step;
    return s->step = jb_page_step(fine, at);
}

/* --- picks --- */

static void sift_down(struct jb_page_heap *h, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < h->n; c++)
            if (h->list[c].key < h->list[least].key)
                least = c;
        if (least == i)
            return;
        struct jb_page_pick t = h->list[i];
        h->list[i] = h->list[least];
        h->list[least] = t;
        i = least;
    }
}

static void offer(struct jb_page_heap *h, double key, uint64_t row)
{
    if (h->n == h->cap) {
        if (key <= h->list[0].key)
            return;
        h->list[0] = (struct jb_page_pick){key, row};
        sift_down(h, 0);
        return;
    }
    size_t i = h->n++;
    h->list[i] = (struct jb_page_pick){key, row};
    for (; i > 0 && h->list[(i - 1) / 2].key > h->list[i].key; i = (i - 1) / 2) {
        struct jb_page_pick t = h->list[i];
        h->list[i] = h->list[(i - 1) / 2];
        h->list[(i - 1) / 2] = t;
    }
}

/* The same record has the same chance in every report; less than 2^53, so that a double is exact. */
static double chance(int64_t hi, int64_t lo)
{
    uint64_t z = (uint64_t)hi * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)lo;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ z >> 31) >> 11);
}

/* --- sums --- */

static struct jb_page_cell *cell_of(struct jb_page_sums *sums, size_t step, const size_t *places)
{
    int64_t key = (int64_t)step;
    bool fresh;
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++)
        key = key * 256 + (int64_t)places[b];
    int64_t *at = jb_memo_get(&sums->cell_of, key, &fresh);
    if (!at)
        return NULL;
    if (!fresh)
        return &sums->cells[*at];
    if (sums->n_cells == sums->cap_cells) {
        size_t cap = sums->cap_cells ? 2 * sums->cap_cells : 1024;
        struct jb_page_cell *grown = realloc(sums->cells, cap * sizeof(*grown));
        if (!grown)
            return NULL;
        sums->cells = grown;
        sums->cap_cells = cap;
    }
    *at = (int64_t)sums->n_cells;
    struct jb_page_cell *cell = &sums->cells[sums->n_cells++];
    *cell = (struct jb_page_cell){.step = (uint16_t)step};
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++)
        cell->by[b] = (uint16_t)places[b];
    return cell;
}

static size_t wait_bin(double seconds)
{
    static const double ends[] = {1, 10, 60, 600, 3600, 21600, 86400};
    size_t i = 0;
    while (i < JB_ARRAY_LEN(ends) && seconds >= ends[i])
        i++;
    return i;
}

static void add_to_cell(struct summing *s, struct jb_page_cell *cell, size_t i)
{
    cell->jobs++;
    for (size_t f = 0; f < s->sums->n_figures; f++) {
        bool ratio = jb_metric_is_ratio(s->sums->figures[f].metric);
        if (isnan(s->out[f][i]) || (ratio && !(s->den[f][i] > 0))) {
            cell->unknown[f]++;
            continue;
        }
        cell->sum[f] += s->out[f][i];
        cell->of[f] += ratio ? s->den[f][i] : 0;
    }
    double eff = s->out[JB_PAGE_CPU_EFF][i] / s->den[JB_PAGE_CPU_EFF][i];
    if (!isnan(eff) && s->den[JB_PAGE_CPU_EFF][i] > 0)
        cell->eff[eff < 1 ? (size_t)(eff * JB_PAGE_EFF) : JB_PAGE_EFF - 1]++;
    if (!isnan(s->out[JB_PAGE_WAITED][i]))
        cell->wait[wait_bin(s->out[JB_PAGE_WAITED][i])]++;
}

static int add_row(struct summing *s, const struct jb_block *block, uint32_t row, size_t i)
{
    struct jb_page_sums *sums = s->sums;
    size_t step = step_of(s, block->col[JB_COL_AT][row]);
    const size_t places[] = {
        [JB_PAGE_ACCOUNT] = jb_page_place(&sums->names[JB_PAGE_ACCOUNT], block->col[JB_COL_ACCOUNT][row]),
        [JB_PAGE_USER] = jb_page_place(&sums->names[JB_PAGE_USER], block->col[JB_COL_USER][row]),
        [JB_PAGE_REASON] = jb_page_place(&sums->names[JB_PAGE_REASON], block->col[JB_COL_REASON][row]),
    };
    struct jb_page_cell *cell = cell_of(sums, sums->coarse_of[step], places);
    if (!cell)
        return jb_fail_errno(s->err, ENOMEM, "report");
    if (sums->n_cells > JB_PAGE_CELLS && !s->last)
        return -E2BIG;
    add_to_cell(s, cell, i);
    double hours = s->out[JB_PAGE_CORE_HOURS][i];
    size_t reasons = jb_page_places(&sums->names[JB_PAGE_REASON]);
    if (!isnan(hours)) {
        sums->series[(places[JB_PAGE_ACCOUNT] * reasons + places[JB_PAGE_REASON]) * sums->fine.n + step] +=
            hours;
        offer(&sums->top, hours, block->first + row);
    }
    const int64_t cores = block->col[JB_COL_CORES][row];
    const size_t groups[2] = {places[JB_PAGE_USER], jb_page_places(&sums->names[JB_PAGE_USER]) +
                                                        places[JB_PAGE_ACCOUNT] * reasons +
                                                        places[JB_PAGE_REASON]};
    jb_page_busy_add(&sums->busy, places[JB_PAGE_ACCOUNT], cores, block->col[JB_COL_STARTED][row],
                     block->col[JB_COL_ENDED][row]);
    jb_page_wide_add(&sums->wide, &sums->busy, groups, cores, block->col[JB_COL_STARTED][row],
                     block->col[JB_COL_ENDED][row]);
    if (block->col[JB_COL_MEMORY][row] > 0 && block->col[JB_COL_MEMORY_PEAK][row] != JB_NONE)
        offer(&sums->sample, -chance(block->col[JB_COL_ID_HI][row], block->col[JB_COL_ID_LO][row]),
              block->first + row);
    else
        sums->no_memory++;
    return 0;
}

static int add_rows(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx)
{
    struct summing *s = ctx;
    const int64_t *at = block->col[JB_COL_AT];
    int r = 0;
    for (size_t f = 0; f < s->sums->n_figures; f++)
        jb_metric_eval(s->sums->figures[f].metric, &s->sums->metrics, block, rows, n, s->out[f], s->den[f]);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (at[rows[i]] >= s->sums->from && at[rows[i]] < s->sums->to)
            r = add_row(s, block, rows[i], i);
    return r;
}

/* Ready for another pass. */
static int begin(struct jb_page_sums *sums)
{
    size_t accounts = jb_page_places(&sums->names[JB_PAGE_ACCOUNT]);
    size_t reasons = jb_page_places(&sums->names[JB_PAGE_REASON]);
    sums->n_cells = 0;
    jb_memo_free(&sums->cell_of);
    free(sums->series);
    jb_page_busy_free(&sums->busy);
    sums->sample.n = sums->top.n = 0;
    sums->no_memory = 0;
    jb_page_wide_free(&sums->wide);
    sums->series = calloc(accounts * reasons * sums->fine.n + 1, sizeof(*sums->series));
    int r = sums->series ? jb_page_busy_init(&sums->busy, sums->from, sums->to, accounts) : -ENOMEM;
    return r < 0 ? r
                 : jb_page_wide_init(&sums->wide, &sums->busy, sums->from, sums->to,
                                     jb_page_places(&sums->names[JB_PAGE_USER]) + accounts * reasons);
}

static int pass(struct jb_page_sums *sums, bool last, struct jb_error *err)
{
    jb_autofree struct summing *s = calloc(1, sizeof(*s));
    static const enum jb_col columns[] = {
        JB_COL_ACCOUNT, JB_COL_USER,   JB_COL_REASON,      JB_COL_CORES, JB_COL_STARTED,
        JB_COL_ENDED,   JB_COL_MEMORY, JB_COL_MEMORY_PEAK, JB_COL_ID_HI, JB_COL_ID_LO,
    };
    uint64_t want = 0;
    if (!s || begin(sums) < 0)
        return jb_fail_errno(err, ENOMEM, "report");
    s->sums = sums;
    s->last = last;
    s->err = err;
    for (size_t f = 0; f < sums->n_figures; f++)
        want |= jb_metric_want(sums->figures[f].metric);
    for (size_t i = 0; i < JB_ARRAY_LEN(columns); i++)
        want |= UINT64_C(1) << columns[i];
    int r = jb_query_rows(sums->wish->index, sums->wish->filter, want, add_rows, s, err);
    if (r == 0)
        jb_page_busy_settle(&sums->busy);
    return r;
}

static int sum_cells(struct jb_page_sums *sums, struct jb_error *err)
{
    static const enum jb_span spans[] = {JB_SPAN_HOUR, JB_SPAN_DAY, JB_SPAN_WEEK, JB_SPAN_MONTH,
                                         JB_SPAN_YEAR};
    int r = -E2BIG;
    for (size_t i = 0; r == -E2BIG && i < JB_ARRAY_LEN(spans); i++) {
        /* weeks do not make up months or years */
        if (spans[i] < sums->fine.span || (spans[i] == JB_SPAN_WEEK && sums->fine.span > JB_SPAN_DAY))
            continue;
        r = make_coarse(sums, spans[i]);
        if (r == 0)
            r = pass(sums, spans[i] == JB_SPAN_YEAR, err);
        else if (r != -E2BIG)
            r = jb_fail_errno(err, r, "report");
    }
    return r;
}

static int find_figures(struct jb_page_sums *sums, struct jb_error *err)
{
    static const char *const names[] = {
        [JB_PAGE_CORE_HOURS] = "core_hours", [JB_PAGE_USED] = "core_hours_used",
        [JB_PAGE_CPU_EFF] = "cpu_eff",       [JB_PAGE_MEM_EFF] = "mem_eff",
        [JB_PAGE_WAITED] = "wait",           [JB_PAGE_COST] = "cost",
    };
    int r = 0;
    sums->n_figures = sums->wish->prices ? JB_PAGE_FIGURES : JB_PAGE_COST;
    for (size_t f = 0; r == 0 && f < sums->n_figures; f++)
        r = jb_measure_parse(names[f], &sums->figures[f], err);
    return r;
}

int jb_page_sum(const struct jb_page_wish *wish, struct jb_page_sums *ret, struct jb_error *err)
{
    *ret = (struct jb_page_sums){.wish = wish, .sample.cap = JB_PAGE_SAMPLE, .top.cap = JB_PAGE_JOBS};
    jb_metric_ctx_init(wish->index, wish->prices, &ret->metrics);
    ret->sample.list = calloc(JB_PAGE_SAMPLE, sizeof(*ret->sample.list));
    ret->top.list = calloc(JB_PAGE_JOBS, sizeof(*ret->top.list));
    int r = ret->sample.list && ret->top.list ? 0 : jb_fail_errno(err, ENOMEM, "report");
    if (r == 0)
        r = find_figures(ret, err);
    if (r == 0)
        r = jb_page_rank(ret, err);
    if (r == 0 && ret->jobs > 0) {
        r = make_fine(ret);
        r = r < 0 ? jb_fail_errno(err, r, "report") : sum_cells(ret, err);
    }
    if (r < 0)
        jb_page_sums_free(ret);
    return r;
}

void jb_page_sums_free(struct jb_page_sums *sums)
{
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++) {
        free(sums->names[b].ids);
        jb_memo_free(&sums->names[b].place);
    }
    free(sums->fine.from);
    free(sums->coarse.from);
    free(sums->coarse_of);
    free(sums->cells);
    jb_memo_free(&sums->cell_of);
    free(sums->series);
    jb_page_busy_free(&sums->busy);
    jb_page_wide_free(&sums->wide);
    free(sums->sample.list);
    free(sums->top.list);
    *sums = (struct jb_page_sums){0};
}
