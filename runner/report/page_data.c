/*
 * page_data.c - the sums of a page as JSON.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: none.
 *
 * Numbers stand in long lists, one for each figure: a third of the bytes that objects would take. Sums have five digits that count,
 * so what is added up of them is right to about one part in a million. Texts are made harmless for a reader first, then
 * for JSON, then for HTML: the page's parser of HTML sees no angle bracket.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "report/escape.h"
#include "report/page_sums.h"
#include "report/sheet.h"

#define US       1e-6
#define WORD_MAX 160 /* bytes */

struct writer {
    FILE *out;
    struct jb_page_sums *sums;
    struct jb_buf plain, json;
    struct jb_page_steps rows; /* of the busy cores */
    struct jb_error *err;
};

static int put_text(struct writer *w, const char *text)
{
    if (!text)
        return fputs("null", w->out) < 0 ? -EIO : 0;
    w->plain.len = w->json.len = 0;
    int r = jb_escape(&w->plain, JB_ESCAPE_PLAIN, text);
    if (r == 0)
        r = jb_escape(&w->json, JB_ESCAPE_JSON, w->plain.len ? w->plain.data : "");
    for (size_t i = 0; r == 0 && i < w->json.len; i++) {
        char c = w->json.data[i];
        if (c == '<' || c == '>' || c == '&')
            (void)fprintf(w->out, "\\u%04x", (unsigned)c);
        else
            (void)fputc(c, w->out);
    }
    return r;
}

/* A text of the index; 0: none. What is longer than any name that jobbox gives is cut: a page of such names would be large. */
static int put_word(struct writer *w, int64_t id)
{
    const char *text = id > 0 ? jb_index_text(w->sums->wish->index, id) : NULL;
    size_t cut = WORD_MAX;
    if (!text || strlen(text) <= WORD_MAX)
        return put_text(w, text);
    while (cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80)
        cut--;
    jb_autofree char *copy = jb_asprintf("%.*s\u2026", (int)cut, text);
    return copy ? put_text(w, copy) : -ENOMEM;
}

static void put_number(struct writer *w, double value, bool first)
{
    (void)fprintf(w->out, isnan(value) ? "%snull" : "%s%.5g", first ? "" : ",", value);
}

static void put_list_begin(struct writer *w, const char *name)
{
    (void)fprintf(w->out, ",\n\"%s\":[", name);
}

static void put_list_end(struct writer *w)
{
    (void)fputc(']', w->out);
}

/* --- names and times --- */

static int put_names(struct writer *w)
{
    static const char *const words[] = {
        [JB_PAGE_ACCOUNT] = "account", [JB_PAGE_USER] = "user", [JB_PAGE_REASON] = "reason"};
    int r = 0;
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++) {
        const struct jb_page_names *names = &w->sums->names[b];
        put_list_begin(w, words[b]);
        for (size_t i = 0; r == 0 && i < names->n; i++) {
            (void)fputs(i ? "," : "", w->out);
            r = put_word(w, names->ids[i]);
        }
        put_list_end(w);
        (void)fprintf(w->out, ",\"%s_others\":%zu", words[b], names->others);
    }
    return r;
}

static void put_steps(struct writer *w, const char *name, const struct jb_page_steps *steps)
{
    char buf[64];
    (void)fprintf(w->out, ",\n\"%s\":{\"span\":\"%s\",\"names\":[", name, jb_span_name(steps->span));
    for (size_t i = 0; i < steps->n; i++)
        (void)fprintf(w->out, "%s\"%s\"", i ? "," : "",
                      jb_span_text(steps->span, steps->from[i], buf, sizeof(buf)));
    (void)fputs("]}", w->out);
}

static void zone_name(int64_t at, char *buf, size_t len)
{
    struct tm tm = {0};
    time_t s = (time_t)(at / 1000000);
    (void)localtime_r(&s, &tm);
    (void)strftime(buf, len, "%Z", &tm);
}

static int put_head(struct writer *w)
{
    const struct jb_page_wish *wish = w->sums->wish;
    char made[64];
    char zone[32];
    (void)fprintf(w->out, "{\"jobbox\":\"%s\",\"made\":", JOBBOX_VERSION);
    int r = put_text(w, jb_format_local(wish->now, false, made, sizeof(made)));
    zone_name(wish->now, zone, sizeof(zone));
    (void)fputs(",\"zone\":", w->out);
    if (r == 0)
        r = put_text(w, zone);
    (void)fprintf(w->out, ",\"jobs\":%" PRIu64 ",\"outside\":%" PRIu64 ",\"currency\":", w->sums->jobs,
                  w->sums->outside);
    return r == 0 ? put_text(w, wish->prices ? wish->currency : NULL) : r;
}

/* What was asked for, for whoever is given the page. */
static int put_asked(struct writer *w)
{
    const struct jb_filter *f = w->sums->wish->filter;
    bool any = false;
    int r = 0;
    put_list_begin(w, "asked");
    for (size_t b = 0; b <= JB_BY_LABEL; b++) {
        const struct jb_group_key key = {.by = (enum jb_by)b};
        const struct jb_strv *list = b == JB_BY_LABEL ? &f->labels : &f->texts[b];
        char name[64];
        for (size_t i = 0; r == 0 && i < list->len; i++) {
            (void)fprintf(w->out, "%s[\"%s\",", any ? "," : "", jb_group_key_name(&key, name, sizeof(name)));
            r = put_text(w, list->items[i]);
            (void)fputc(']', w->out);
            any = true;
        }
    }
    put_list_end(w);
    char buf[64];
    const struct jb_page_sums *sums = w->sums;
    const int64_t bounds[] = {f->from, f->to};
    put_list_begin(w, "bounds");
    for (size_t i = 0; r == 0 && i < 2; i++) {
        (void)fputs(i ? "," : "", w->out);
        r = put_text(w, bounds[i] == JB_NONE ? NULL : jb_format_local(bounds[i], false, buf, sizeof(buf)));
    }
    put_list_end(w);
    put_list_begin(w, "period");
    if (sums->jobs > 0) {
        (void)fprintf(w->out, "\"%s\"", jb_span_text(JB_SPAN_DAY, sums->from, buf, sizeof(buf)));
        (void)fprintf(w->out, ",\"%s\"", jb_span_text(JB_SPAN_DAY, sums->to - 1, buf, sizeof(buf)));
    }
    put_list_end(w);
    return r;
}

/* --- cells --- */

static void put_cell_numbers(struct writer *w)
{
    static const char *const words[] = {"account_of", "user_of", "reason_of"};
    const struct jb_page_cell *cells = w->sums->cells;
    size_t n = w->sums->n_cells;
    put_list_begin(w, "step_of");
    for (size_t i = 0; i < n; i++)
        (void)fprintf(w->out, "%s%u", i ? "," : "", cells[i].step);
    put_list_end(w);
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++) {
        put_list_begin(w, words[b]);
        for (size_t i = 0; i < n; i++)
            (void)fprintf(w->out, "%s%u", i ? "," : "", cells[i].by[b]);
        put_list_end(w);
    }
    put_list_begin(w, "jobs_of");
    for (size_t i = 0; i < n; i++)
        (void)fprintf(w->out, "%s%u", i ? "," : "", cells[i].jobs);
    put_list_end(w);
}

static void put_figures(struct writer *w)
{
    static const char *const words[] = {"core_hours", "used", "cpu", "mem", "wait", "cost"};
    const struct jb_page_cell *cells = w->sums->cells;
    for (size_t f = 0; f < w->sums->n_figures; f++) {
        put_list_begin(w, words[f]);
        /* shares: CPU time in hours, memory in GiB-hours; the product of bytes and microseconds has too many digits */
        double scale = f == JB_PAGE_CPU_EFF ? US / 3600 : f == JB_PAGE_MEM_EFF ? US / 3600 / (1 << 30) : 1;
        for (size_t i = 0; i < w->sums->n_cells; i++)
            put_number(w, cells[i].sum[f] * scale, i == 0);
        put_list_end(w);
        if (!jb_metric_is_ratio(w->sums->figures[f].metric))
            continue;
        (void)fprintf(w->out, ",\n\"%s_of\":[", words[f]);
        for (size_t i = 0; i < w->sums->n_cells; i++)
            put_number(w, cells[i].of[f] * scale, i == 0);
        put_list_end(w);
    }
    /* cell, figure, how many jobs do not have it */
    bool any = false;
    put_list_begin(w, "unknown");
    for (size_t i = 0; i < w->sums->n_cells; i++)
        for (size_t f = 0; f < w->sums->n_figures; f++)
            if (cells[i].unknown[f] > 0) {
                (void)fprintf(w->out, "%s%zu,%zu,%u", any ? "," : "", i, f, cells[i].unknown[f]);
                any = true;
            }
    put_list_end(w);
}

static const uint32_t *bins_of(const struct jb_page_cell *cell, bool wait)
{
    return wait ? cell->wait : cell->eff;
}

/* Of each cell how many bins are filled; of each of these its number and count, as one number. */
static void put_bins(struct writer *w, bool wait)
{
    const struct jb_page_cell *cells = w->sums->cells;
    const char *name = wait ? "wait" : "eff";
    size_t n_bins = wait ? JB_PAGE_WAIT : JB_PAGE_EFF;
    bool any = false;
    (void)fprintf(w->out, ",\n\"%s_filled\":[", name);
    for (size_t i = 0; i < w->sums->n_cells; i++) {
        size_t filled = 0;
        for (size_t b = 0; b < n_bins; b++)
            filled += bins_of(&cells[i], wait)[b] > 0;
        (void)fprintf(w->out, "%s%zu", i ? "," : "", filled);
    }
    (void)fprintf(w->out, "],\n\"%s_bins\":[", name);
    for (size_t i = 0; i < w->sums->n_cells; i++)
        for (size_t b = 0; b < n_bins; b++) {
            uint64_t jobs = bins_of(&cells[i], wait)[b];
            if (jobs == 0)
                continue;
            (void)fprintf(w->out, "%s%" PRIu64, any ? "," : "", jobs * n_bins + b);
            any = true;
        }
    put_list_end(w);
}

/* --- core-hours by fine steps: account, reason, then steps (as distances) and values in turn --- */

static void put_series(struct writer *w)
{
    size_t accounts = jb_page_places(&w->sums->names[JB_PAGE_ACCOUNT]);
    size_t reasons = jb_page_places(&w->sums->names[JB_PAGE_REASON]);
    bool any = false;
    put_list_begin(w, "series");
    for (size_t i = 0; i < accounts * reasons; i++) {
        const double *line = w->sums->series + i * w->sums->fine.n;
        size_t last = 0;
        bool begun = false;
        for (size_t t = 0; t < w->sums->fine.n; t++) {
            if (!(line[t] > 0))
                continue;
            if (!begun)
                (void)fprintf(w->out, "%s\n[%zu,%zu", any ? "," : "", i / reasons, i % reasons);
            (void)fprintf(w->out, ",%zu,%.4g", t - last, line[t]);
            last = t;
            begun = any = true;
        }
        if (begun)
            put_list_end(w);
    }
    put_list_end(w);
}

/* --- busy cores --- */

/* Averages of cores by slot, from core-hours; null where there is no such hour. */
static void put_cores(struct writer *w, const double *sum, const uint32_t *hours, size_t slots)
{
    for (size_t i = 0; i < slots; i++) {
        /* what is added and taken away again leaves a rest of the last digit */
        double cores = hours[i] ? round(sum[i] / hours[i] * 100) / 100 : NAN;
        (void)fprintf(w->out, isnan(cores) ? "%snull" : "%s%.3g", i ? "," : "", fabs(cores));
    }
}

/* Of each row the first and the last coarse step that has a part of it. */
static void put_row_steps(struct writer *w, const char *name, const struct jb_page_steps *rows)
{
    const struct jb_page_sums *sums = w->sums;
    put_list_begin(w, name);
    for (size_t i = 0; i < rows->n; i++) {
        int64_t from = rows->from[i] < sums->from ? sums->from : rows->from[i];
        int64_t to = rows->from[i + 1] > sums->to ? sums->to : rows->from[i + 1];
        (void)fprintf(w->out, "%s%zu,%zu", i ? "," : "", jb_page_step(&sums->coarse, from),
                      jb_page_step(&sums->coarse, to - 1));
    }
    put_list_end(w);
}

/* By account, row (a day, or longer) and hour of the day. */
static int put_busy(struct writer *w)
{
    const struct jb_page_busy *busy = &w->sums->busy;
    enum jb_span span = w->sums->fine.span == JB_SPAN_HOUR ? JB_SPAN_DAY : w->sums->fine.span;
    jb_autofree uint16_t *slot = NULL;
    jb_autofree uint32_t *hours = NULL;
    int r = jb_page_steps_make(span, w->sums->from, w->sums->to, &w->rows);
    if (r == 0)
        r = jb_page_slots(busy, &w->rows, &slot, &hours);
    size_t slots = w->rows.n * 24;
    jb_autofree double *sum = r == 0 ? calloc(slots + 1, sizeof(*sum)) : NULL;
    if (!sum)
        return r < 0 ? r : -ENOMEM;
    put_steps(w, "busy_rows", &w->rows);
    put_row_steps(w, "busy_steps", &w->rows);
    put_list_begin(w, "busy");
    for (size_t a = 0; a < busy->accounts; a++) {
        memset(sum, 0, slots * sizeof(*sum));
        for (size_t h = 0; h < busy->hours; h++)
            sum[slot[h]] += busy->part[a * busy->hours + h];
        (void)fputs(a ? ",\n[" : "\n[", w->out);
        put_cores(w, sum, hours, slots);
        put_list_end(w);
    }
    put_list_end(w);
    (void)fprintf(w->out, ",\"busy_unknown\":%" PRIu64, busy->unknown);
    return 0;
}

/* By user, and by account and reason, in longer rows. A group that held nothing is an empty list. */
static void put_wide(struct writer *w)
{
    const struct jb_page_wide *wide = &w->sums->wide;
    size_t slots = wide->rows.n * 24;
    put_steps(w, "wide_rows", &wide->rows);
    put_row_steps(w, "wide_steps", &wide->rows);
    put_list_begin(w, "wide");
    for (size_t g = 0; slots > 0 && g < wide->groups; g++) {
        bool any = false;
        for (size_t i = 0; i < slots && !any; i++)
            any = wide->sum[g * slots + i] > 0;
        (void)fputs(g ? ",[" : "[", w->out);
        put_cores(w, wide->sum + g * slots, wide->hours, any ? slots : 0);
        put_list_end(w);
    }
    put_list_end(w);
}

/* --- single jobs --- */

static int by_row(const void *a, const void *b)
{
    const struct jb_page_pick *x = a;
    const struct jb_page_pick *y = b;
    return (x->row > y->row) - (x->row < y->row);
}

static double known(int64_t value, double scale)
{
    return value == JB_NONE ? NAN : (double)value * scale;
}

static double share_of(const struct jb_row *row, struct writer *w)
{
    return jb_query_value(w->sums->wish->index, &w->sums->figures[JB_PAGE_CPU_EFF], NULL, row);
}

static int put_job(struct writer *w, const struct jb_row *row, bool whole)
{
    struct jb_page_sums *sums = w->sums;
    static const enum jb_col columns[] = {
        [JB_PAGE_ACCOUNT] = JB_COL_ACCOUNT, [JB_PAGE_USER] = JB_COL_USER, [JB_PAGE_REASON] = JB_COL_REASON};
    char text[64];
    jb_line_id_text(row->v[JB_COL_ID_HI], row->v[JB_COL_ID_LO], text);
    (void)fprintf(w->out, "[\"%s\",", text);
    int r = put_word(w, row->v[JB_COL_NAME]);
    (void)fprintf(w->out, ",%zu", jb_page_step(&sums->coarse, row->v[JB_COL_AT]));
    for (size_t b = 0; b < JB_PAGE_BY_MAX; b++)
        (void)fprintf(w->out, ",%zu", jb_page_place(&sums->names[b], row->v[columns[b]]));
    put_number(w, known(row->v[JB_COL_MEMORY], 1), false);
    put_number(w, known(row->v[JB_COL_MEMORY_PEAK], 1), false);
    if (r == 0 && whole) {
        (void)fputc(',', w->out);
        r = put_word(w, row->v[JB_COL_USER]);
        (void)fprintf(w->out, ",\"%s\"", jb_format_local(row->v[JB_COL_AT], false, text, sizeof(text)));
        put_number(w, known(row->v[JB_COL_CORES], 1), false);
        put_number(w, known(row->v[JB_COL_WALL], US), false);
        put_number(w, known(row->v[JB_COL_WAIT], US), false);
        put_number(w, share_of(row, w), false);
    }
    put_list_end(w);
    return r;
}

/* Rows in the order of the index: there those of one block lie together. */
static int put_jobs(struct writer *w, const char *name, struct jb_page_heap *heap, bool whole)
{
    static const enum jb_col columns[] = {
        JB_COL_AT,       JB_COL_ID_HI,      JB_COL_ID_LO,     JB_COL_NAME,   JB_COL_ACCOUNT,
        JB_COL_USER,     JB_COL_REASON,     JB_COL_CORES,     JB_COL_WALL,   JB_COL_WAIT,
        JB_COL_CPU_USER, JB_COL_CPU_SYSTEM, JB_COL_CPU_COUNT, JB_COL_MEMORY, JB_COL_MEMORY_PEAK,
    };
    uint64_t want = 0;
    int r = 0;
    for (size_t i = 0; i < JB_ARRAY_LEN(columns); i++)
        want |= UINT64_C(1) << columns[i];
    if (heap->n > 1)
        qsort(heap->list, heap->n, sizeof(*heap->list), by_row);
    put_list_begin(w, name);
    for (size_t i = 0; r == 0 && i < heap->n; i++) {
        struct jb_row row;
        r = jb_index_row(w->sums->wish->index, heap->list[i].row, want, &row, w->err);
        (void)fputs(i ? ",\n" : "\n", w->out);
        if (r == 0)
            r = put_job(w, &row, whole);
    }
    put_list_end(w);
    return r;
}

static int put_all(struct writer *w)
{
    struct jb_page_sums *sums = w->sums;
    int r = put_head(w);
    if (r == 0)
        r = put_asked(w);
    if (r == 0)
        r = put_names(w);
    put_steps(w, "fine", &sums->fine);
    put_steps(w, "coarse", &sums->coarse);
    put_list_begin(w, "coarse_of");
    for (size_t i = 0; i < sums->fine.n; i++)
        (void)fprintf(w->out, "%s%u", i ? "," : "", sums->coarse_of[i]);
    put_list_end(w);
    put_cell_numbers(w);
    put_figures(w);
    put_bins(w, false);
    put_bins(w, true);
    put_series(w);
    if (r == 0)
        r = put_busy(w);
    put_wide(w);
    (void)fprintf(w->out, ",\"no_memory\":%" PRIu64, sums->no_memory);
    if (r == 0)
        r = put_jobs(w, "sample", &sums->sample, false);
    if (r == 0)
        r = put_jobs(w, "top", &sums->top, true);
    (void)fputs("}\n", w->out);
    return r;
}

int jb_page_data(FILE *out, struct jb_page_sums *sums, struct jb_error *err)
{
    struct writer w = {.out = out, .sums = sums, .err = err};
    jb_error_clear(err);
    int r = put_all(&w);
    free(w.rows.from);
    jb_buf_free(&w.plain);
    jb_buf_free(&w.json);
    return r < 0 && !err->errnum ? jb_fail_errno(err, r, "writing the page") : r;
}
