/*
 * query.h - questions to the index: which records, grouped by what, which figures.
 *
 * Owns: the results. Runs in: jobbox-report, jobboxd. Privilege: none.
 *
 * Texts in results are as somebody wrote them: whoever prints them makes them harmless for where they go
 * (report/escape.h).
 */
#ifndef JB_REPORT_QUERY_H
#define JB_REPORT_QUERY_H

#include "report/metric.h"
#include "report/period.h"

#define JB_KEYS_MAX 6

enum jb_by {
    JB_BY_USER,
    JB_BY_ACCOUNT,
    JB_BY_HOST,
    JB_BY_IMAGE,
    JB_BY_NAME,
    JB_BY_REASON,
    JB_BY_ORIGIN,
    JB_BY_JOB,   /* all attempts of one */
    JB_BY_LABEL, /* the value of one label */
    JB_BY_HOUR, /* of the time at which a record counts (JB_COL_AT), in the zone of the environment; as enum jb_span */
    JB_BY_DAY,
    JB_BY_WEEK,
    JB_BY_MONTH,
    JB_BY_YEAR,
    JB_BY_MAX,
};

struct jb_group_key {
    enum jb_by by;
    const char *label; /* for JB_BY_LABEL; borrowed */
};

/* "user", "label:KEY". `text` must outlive the key. */
int jb_group_key_parse(const char *text, struct jb_group_key *ret, struct jb_error *err);
/* "user", "label:KEY". Returns buf. */
char *jb_group_key_name(const struct jb_group_key *key, char *buf, size_t len);

/* Which records: all of the conditions hold; of one condition's patterns any. */
struct jb_filter {
    int64_t from, to; /* JB_COL_AT in [from, to) µs; JB_NONE: no bound */
    struct jb_strv
        texts[JB_BY_LABEL]; /* by enum jb_by: patterns as of fnmatch(3). "" matches what is null. Owned */
    struct jb_strv labels;  /* "KEY=PATTERN" or "KEY": all must hold. Owned */
};
#define JB_FILTER_INIT ((struct jb_filter){.from = JB_NONE, .to = JB_NONE})
void jb_filter_free(struct jb_filter *filter);
#define jb_autofilter __attribute__((cleanup(jb_filter_free)))

/*
 * Calls `each` with the rows of a block that pass. `want`: columns that it reads, as bits. Blocks come in order of indexing: the
 * order of the journals, which is that of time as far as the journals' is.
 */
typedef int jb_rows_fn(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx);
int jb_query_rows(struct jb_index *index, const struct jb_filter *filter, uint64_t want, jb_rows_fn *each,
                  void *ctx, struct jb_error *err);

/* --- groups --- */

struct jb_query {
    struct jb_filter filter;
    struct jb_group_key keys[JB_KEYS_MAX];
    size_t n_keys; /* 0: all in one group */
    const struct jb_measure *measures;
    size_t n_measures;
    /* order: by a measure (its number), or by the keys when it is -1; groups that are the same go by their keys */
    int sort;
    bool ascending;
    size_t top;                     /* 0: all */
    const struct jb_prices *prices; /* NULL: "cost" is unknown */
};

struct jb_group {
    char **keys;    /* n_keys texts; NULL: the records have none (no account, no such label) */
    int64_t *times; /* n_keys: where a span of time begins (µs); JB_NONE for other keys */
    double *values; /* n_measures; NaN: unknown */
    uint64_t jobs;
};

struct jb_result {
    size_t n_keys, n_measures;
    struct jb_group *groups; /* in order */
    size_t n_groups;
    size_t all_groups;     /* before `top` */
    struct jb_group total; /* of all that passed the filter; keys and times are NULL */
};

int jb_query_run(struct jb_index *index, const struct jb_query *query, struct jb_result *ret,
                 struct jb_error *err);
void jb_result_free(struct jb_result *result);
#define jb_autoresult __attribute__((cleanup(jb_result_free)))

/* --- single records --- */

/*
 * The numbers of the rows that pass, for jb_index_row: ordered by `measure` (NULL: by the time at which they count), at most `limit`
 * (0: all). `last`: of those the greatest, or latest; they are in ascending order either way, unless `descending`. Rows without
 * the figure come last. Caller frees.
 */
int jb_query_pick(struct jb_index *index, const struct jb_filter *filter, const struct jb_measure *measure,
                  const struct jb_prices *prices, bool last, bool descending, size_t limit, uint64_t **ret,
                  size_t *ret_n, struct jb_error *err);

/* The value of a label of a row's JB_COL_LABELS. NULL: it has none. Caller frees. */
char *jb_query_label(struct jb_index *index, int64_t labels, const char *key);

/* One figure of one row (all of jb_metric_want filled), or NaN. */
double jb_query_value(struct jb_index *index, const struct jb_measure *measure,
                      const struct jb_prices *prices, const struct jb_row *row);

#endif
