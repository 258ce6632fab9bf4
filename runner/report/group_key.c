/*
 * group_key.c - what records are grouped by: its names, and each row's own.
 *
 * Owns: what it remembers of texts and times. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "report/group.h"

static const struct {
    const char *name;
    enum jb_col col;
} bys[] = {
    [JB_BY_USER] = {"user", JB_COL_USER},       [JB_BY_ACCOUNT] = {"account", JB_COL_ACCOUNT},
    [JB_BY_HOST] = {"host", JB_COL_HOST},       [JB_BY_IMAGE] = {"image", JB_COL_IMAGE},
    [JB_BY_NAME] = {"name", JB_COL_NAME},       [JB_BY_REASON] = {"reason", JB_COL_REASON},
    [JB_BY_ORIGIN] = {"origin", JB_COL_ORIGIN}, [JB_BY_JOB] = {"job", JB_COL_JOB},
    [JB_BY_LABEL] = {"label", JB_COL_LABELS},   [JB_BY_HOUR] = {"hour", JB_COL_AT},
    [JB_BY_DAY] = {"day", JB_COL_AT},           [JB_BY_WEEK] = {"week", JB_COL_AT},
    [JB_BY_MONTH] = {"month", JB_COL_AT},       [JB_BY_YEAR] = {"year", JB_COL_AT},
};

int jb_group_key_parse(const char *text, struct jb_group_key *ret, struct jb_error *err)
{
    const char *names[JB_BY_MAX];
    if (jb_starts_with(text, "label:") && text[6]) {
        *ret = (struct jb_group_key){JB_BY_LABEL, text + 6};
        return 0;
    }
    for (enum jb_by by = 0; by < JB_BY_MAX; by++) {
        names[by] = bys[by].name;
        if (by != JB_BY_LABEL && jb_streq(text, bys[by].name)) {
            *ret = (struct jb_group_key){.by = by};
            return 0;
        }
    }
    const char *near = jb_did_you_mean(text, names, JB_BY_MAX);
    return jb_fail(
        err, EINVAL,
        "\"%.60s\" is nothing to group by%s%s; write user, account, host, image, name, reason, origin, job, "
        "label:KEY, hour, day, week, month or year",
        text, near ? "; did you mean " : "", near ? near : "");
}

char *jb_group_key_name(const struct jb_group_key *key, char *buf, size_t len)
{
    (void)snprintf(buf, len, "%s%s%s", bys[key->by].name, key->label ? ":" : "",
                   key->label ? key->label : "");
    return buf;
}

char *jb_query_label(struct jb_index *index, int64_t labels, const char *key)
{
    json_t *object = labels > 0 ? json_loads(jb_index_text(index, labels), 0, NULL) : NULL;
    const char *value = json_string_value(json_object_get(object, key));
    char *copy = value ? strdup(value) : NULL;
    json_decref(object);
    return copy;
}

static enum jb_span span_of(enum jb_by by)
{
    return (enum jb_span)(by - JB_BY_HOUR);
}

/* No zone differs from UTC by anything but quarters of an hour, nor changes its mind at another moment. */
#define QUARTER_US (INT64_C(900) * 1000000)

static int key_of_time(struct jb_row_keys *g, size_t k, int64_t at, int64_t *ret)
{
    struct jb_key_span *last = &g->last[k];
    bool fresh;
    if (at >= last->from && at < last->to) {
        *ret = last->from;
        return 0;
    }
    int64_t *from = jb_memo_get(&g->seen[k], at / QUARTER_US, &fresh);
    if (!from)
        return -ENOMEM;
    if (fresh) {
        jb_span_of(span_of(g->q->keys[k].by), at, &last->from, &last->to);
        *from = last->from;
    }
    *ret = *from;
    return 0;
}

static int word_number(struct jb_row_keys *g, const char *text, int64_t *ret)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    bool fresh;
    for (const char *p = text; *p; p++)
        h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    int64_t *slot = jb_memo_get(&g->word_numbers, (int64_t)h, &fresh);
    if (!slot)
        return -ENOMEM;
    if (!fresh && jb_streq(g->words.items[*slot], text)) {
        *ret = *slot;
        return 0;
    }
    for (size_t i = 1; !fresh && i < g->words.len; i++) /* two with one hash */
        if (jb_streq(g->words.items[i], text)) {
            *ret = (int64_t)i;
            return 0;
        }
    *ret = (int64_t)g->words.len;
    if (fresh)
        *slot = *ret;
    return jb_strv_add(&g->words, text);
}

static int key_of_label(struct jb_row_keys *g, size_t k, int64_t labels, int64_t *ret)
{
    bool fresh;
    int64_t *slot = jb_memo_get(&g->seen[k], labels, &fresh);
    if (!slot)
        return -ENOMEM;
    if (fresh) {
        jb_autofree char *value = jb_query_label(g->index, labels, g->q->keys[k].label);
        int r = value ? word_number(g, value, slot) : 0;
        if (r < 0)
            return r;
    }
    *ret = *slot;
    return 0;
}

static int key_of_job(struct jb_row_keys *g, const struct jb_block *block, uint32_t row, int64_t *ret)
{
    char id[JB_ID_LEN + 1];
    int64_t job = block->col[JB_COL_JOB][row];
    if (job > 0)
        return word_number(g, jb_index_text(g->index, job), ret);
    jb_line_id_text(block->col[JB_COL_ID_HI][row], block->col[JB_COL_ID_LO][row], id);
    return word_number(g, id, ret);
}

int jb_row_key(struct jb_row_keys *g, size_t k, const struct jb_block *block, uint32_t row, int64_t *ret)
{
    enum jb_by by = g->q->keys[k].by;
    int64_t value = block->col[bys[by].col][row];
    if (by >= JB_BY_HOUR)
        return key_of_time(g, k, value, ret);
    if (by == JB_BY_LABEL)
        return key_of_label(g, k, value, ret);
    if (by == JB_BY_JOB)
        return key_of_job(g, block, row, ret);
    *ret = value;
    return 0;
}

int jb_row_keys_init(struct jb_row_keys *keys, struct jb_index *index, const struct jb_query *query)
{
    *keys = (struct jb_row_keys){.index = index, .q = query};
    return jb_strv_add(&keys->words, "");
}

void jb_row_keys_free(struct jb_row_keys *keys)
{
    for (size_t k = 0; k < JB_KEYS_MAX; k++)
        jb_memo_free(&keys->seen[k]);
    jb_memo_free(&keys->word_numbers);
    jb_strv_free(&keys->words);
}

uint64_t jb_row_keys_want(const struct jb_query *query)
{
    uint64_t want = 0;
    for (size_t k = 0; k < query->n_keys; k++) {
        want |= UINT64_C(1) << bys[query->keys[k].by].col;
        if (query->keys[k].by == JB_BY_JOB)
            want |= UINT64_C(1) << JB_COL_ID_HI | UINT64_C(1) << JB_COL_ID_LO;
    }
    return want;
}

const char *jb_row_keys_text(const struct jb_row_keys *keys, size_t k, int64_t key, char *buf, size_t len)
{
    enum jb_by by = keys->q->keys[k].by;
    if (by >= JB_BY_HOUR)
        return jb_span_text(span_of(by), key, buf, len);
    if (key == 0)
        return NULL;
    return by == JB_BY_LABEL || by == JB_BY_JOB ? keys->words.items[key] : jb_index_text(keys->index, key);
}
