/*
 * group.h - what grouping is made of: the keys of a row, and percentiles. Within report/ only.
 *
 * Owns: what it remembers of texts and times. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#ifndef JB_REPORT_GROUP_H
#define JB_REPORT_GROUP_H

#include "report/memo.h"
#include "report/query.h"

struct jb_key_span {
    int64_t from, to;
};

/* From a row to the numbers of its keys: a text's id, the beginning of a span, or a number in `words`. */
struct jb_row_keys {
    struct jb_index *index;
    const struct jb_query *q;
    /* from a quarter of an hour to where its span begins; from a set of labels to a word */
    struct jb_memo seen[JB_KEYS_MAX];
    struct jb_key_span last[JB_KEYS_MAX];
    struct jb_strv words;        /* values of labels and ids of jobs; number 0 is none */
    struct jb_memo word_numbers; /* by their hash */
};
int jb_row_keys_init(struct jb_row_keys *keys, struct jb_index *index, const struct jb_query *query);
void jb_row_keys_free(struct jb_row_keys *keys);

/* The columns that the keys of a query are read from. */
uint64_t jb_row_keys_want(const struct jb_query *query);

/* Key `k` of a row. -ENOMEM. */
int jb_row_key(struct jb_row_keys *keys, size_t k, const struct jb_block *block, uint32_t row, int64_t *ret);
/* What such a number stands for, perhaps in buf; NULL: the row has none. */
const char *jb_row_keys_text(const struct jb_row_keys *keys, size_t k, int64_t key, char *buf, size_t len);

/* The value that this share (0 to 100) of them does not exceed, by the nearest rank; NaN of none. Changes their order. */
double jb_percentile(float *values, size_t n, double p);

#endif
