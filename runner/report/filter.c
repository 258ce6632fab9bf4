/*
 * filter.c - which records a question is about.
 *
 * Owns: what it remembers of texts while it looks. Runs in: jobbox-report, jobboxd. Privilege: none.
 *
 * A pattern is tried once on each text that occurs, not on each record.
 */
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report/memo.h"
#include "report/query.h"

struct by_text {
    enum jb_by by;
    enum jb_col col;
};
static const struct by_text columns[] = {
    {JB_BY_USER, JB_COL_USER},     {JB_BY_ACCOUNT, JB_COL_ACCOUNT}, {JB_BY_HOST, JB_COL_HOST},
    {JB_BY_IMAGE, JB_COL_IMAGE},   {JB_BY_NAME, JB_COL_NAME},       {JB_BY_REASON, JB_COL_REASON},
    {JB_BY_ORIGIN, JB_COL_ORIGIN}, {JB_BY_JOB, JB_COL_JOB},
};

struct pass {
    struct jb_index *index;
    const struct jb_filter *filter;
    struct jb_memo memo[JB_BY_LABEL + 1]; /* 1: passes, 2: does not; the last for sets of labels */
    jb_rows_fn *each;
    void *ctx;
    uint32_t rows[JB_SEGMENT];
    struct jb_error *err;
};

void jb_filter_free(struct jb_filter *filter)
{
    for (size_t i = 0; i < JB_BY_LABEL; i++)
        jb_strv_free(&filter->texts[i]);
    jb_strv_free(&filter->labels);
    *filter = JB_FILTER_INIT;
}

static bool matches_any(const struct jb_strv *patterns, const char *text)
{
    for (size_t i = 0; i < patterns->len; i++)
        if (fnmatch(patterns->items[i], text, 0) == 0)
            return true;
    return false;
}

static bool labels_match(const struct jb_strv *wanted, const char *json)
{
    json_t *labels = json_loads(json, 0, NULL);
    bool ok = true;
    for (size_t i = 0; ok && i < wanted->len; i++) {
        const char *equals = strchr(wanted->items[i], '=');
        jb_autofree char *key = equals ? strndup(wanted->items[i], (size_t)(equals - wanted->items[i]))
                                       : strdup(wanted->items[i]);
        const char *value = key ? json_string_value(json_object_get(labels, key)) : NULL;
        ok = value && (!equals || fnmatch(equals + 1, value, 0) == 0);
    }
    json_decref(labels);
    return ok;
}

/* 1, 0 or -ENOMEM. */
static int remembered(struct pass *p, enum jb_by by, int64_t id)
{
    bool fresh;
    int64_t *slot = jb_memo_get(&p->memo[by], id, &fresh);
    if (!slot)
        return -ENOMEM;
    if (fresh) {
        const char *text = jb_index_text(p->index, id);
        bool ok = by == JB_BY_LABEL ? labels_match(&p->filter->labels, text)
                                    : matches_any(&p->filter->texts[by], text);
        *slot = ok ? 1 : 2;
    }
    return *slot == 1;
}

/* A job that is its own id has no text of it. */
static bool is_job(const struct pass *p, const struct jb_block *block, uint32_t row)
{
    char id[32];
    jb_line_id_text(block->col[JB_COL_ID_HI][row], block->col[JB_COL_ID_LO][row], id);
    return matches_any(&p->filter->texts[JB_BY_JOB], id);
}

static int by_text(struct pass *p, const struct jb_block *block, const struct by_text *column, size_t *n)
{
    const int64_t *ids = block->col[column->col];
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        uint32_t row = p->rows[i];
        int r = column->by == JB_BY_JOB && ids[row] == 0 ? is_job(p, block, row)
                                                         : remembered(p, column->by, ids[row]);
        if (r < 0)
            return r;
        p->rows[kept] = row;
        kept += (size_t)r;
    }
    *n = kept;
    return 0;
}

static int pass_block(const struct jb_block *block, void *ctx)
{
    struct pass *p = ctx;
    const struct jb_filter *f = p->filter;
    const int64_t *at = block->col[JB_COL_AT];
    static const struct by_text labels = {JB_BY_LABEL, JB_COL_LABELS};
    size_t n = 0;
    int r = 0;
    for (uint32_t i = 0; i < block->n; i++) {
        p->rows[n] = i;
        n += (f->from == JB_NONE || at[i] >= f->from) && (f->to == JB_NONE || at[i] < f->to);
    }
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(columns); i++)
        if (f->texts[columns[i].by].len > 0)
            r = by_text(p, block, &columns[i], &n);
    if (r == 0 && f->labels.len > 0)
        r = by_text(p, block, &labels, &n);
    if (r < 0)
        return jb_fail_errno(p->err, r, "report");
    return n > 0 ? p->each(block, p->rows, n, p->ctx) : 0;
}

int jb_query_rows(struct jb_index *index, const struct jb_filter *filter, uint64_t want, jb_rows_fn *each,
                  void *ctx, struct jb_error *err)
{
    jb_autofree struct pass *p = calloc(1, sizeof(*p));
    if (!p)
        return jb_fail_errno(err, ENOMEM, "report");
    *p = (struct pass){.index = index, .filter = filter, .each = each, .ctx = ctx, .err = err};
    want |= UINT64_C(1) << JB_COL_AT;
    for (size_t i = 0; i < JB_ARRAY_LEN(columns); i++)
        if (filter->texts[columns[i].by].len > 0)
            want |= UINT64_C(1) << columns[i].col;
    if (filter->texts[JB_BY_JOB].len > 0)
        want |= UINT64_C(1) << JB_COL_ID_HI | UINT64_C(1) << JB_COL_ID_LO;
    if (filter->labels.len > 0)
        want |= UINT64_C(1) << JB_COL_LABELS;
    int r = jb_index_scan(index, want, filter->from, filter->to, pass_block, p, err);
    for (size_t i = 0; i < JB_ARRAY_LEN(p->memo); i++)
        jb_memo_free(&p->memo[i]);
    return r;
}
