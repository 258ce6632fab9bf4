/*
 * page_sums.h - what the page is drawn from: sparse sums of all records that pass. Within report/ only.
 *
 * Owns: the sums. Runs in: jobbox-report. Privilege: none.
 *
 * The page filters without the records. So each sum is kept by what it can be filtered by, as coarsely as a page may be large:
 * cells by step, account, user and reason for most of it; core-hours by account and reason, but by finer steps; busy cores by
 * account, for each hour; by user, and by account and reason, for each hour of the day in longer spans. What a record does not have is in no sum, and is counted.
 */
#ifndef JB_REPORT_PAGE_SUMS_H
#define JB_REPORT_PAGE_SUMS_H

#include "report/memo.h"
#include "report/page.h"

#define JB_PAGE_STEPS  800   /* fine ones, at most */
#define JB_PAGE_CELLS  18000 /* more, and the steps of cells become coarser */
#define JB_PAGE_WIDE   75000 /* numbers of busy cores by user and by reason */
#define JB_PAGE_SAMPLE 2000
#define JB_PAGE_JOBS   300
#define JB_PAGE_EFF    20 /* bins of 5 % */
#define JB_PAGE_WAIT   8  /* up to 1 s, 10 s, 1 min, 10 min, 1 h, 6 h, 1 d, and beyond */

enum jb_page_by { JB_PAGE_ACCOUNT, JB_PAGE_USER, JB_PAGE_REASON, JB_PAGE_BY_MAX };

/* Who is told apart: the greatest by core-hours, and in the last place all others together. */
struct jb_page_names {
    int64_t *ids; /* texts of the index; 0: none */
    size_t n;
    size_t others; /* how many share place n; 0: there is no such place */
    struct jb_memo place;
};

enum jb_page_figure {
    JB_PAGE_CORE_HOURS,
    JB_PAGE_USED,
    JB_PAGE_CPU_EFF,
    JB_PAGE_MEM_EFF,
    JB_PAGE_WAITED,
    JB_PAGE_COST,
    JB_PAGE_FIGURES,
};

struct jb_page_cell {
    uint16_t step, by[JB_PAGE_BY_MAX];
    uint32_t jobs;
    uint32_t unknown[JB_PAGE_FIGURES];
    double sum[JB_PAGE_FIGURES], of[JB_PAGE_FIGURES]; /* `of`: of shares, what they are of */
    uint32_t eff[JB_PAGE_EFF], wait[JB_PAGE_WAIT];
};

/* Times from one up to the next. */
struct jb_page_steps {
    enum jb_span span;
    int64_t *from; /* n + 1 */
    size_t n;
};

/* A record that was picked, by what it was picked for. */
struct jb_page_pick {
    double key;
    uint64_t row;
};

/* The `cap` picks with the greatest keys; the least is the first. */
struct jb_page_heap {
    struct jb_page_pick *list;
    size_t n, cap;
};

/* Cores that boxes held, in each hour. */
struct jb_page_busy {
    int64_t from; /* µs */
    size_t hours;
    size_t accounts;
    double *part; /* core-hours in hours of which a job had a part; by account, then hour */
    double *
        whole; /* how many cores more than in the hour before a job held for all of the hour; hours + 1 each */
    uint64_t unknown;
};

/* The same by other groups, whose hours would be too many: for each hour of the day in rows of whole spans. */
struct jb_page_wide {
    struct jb_page_steps rows; /* none: even years would be too many */
    uint16_t *slot;            /* by hour of struct jb_page_busy: row * 24 + hour of the day */
    uint32_t *hours;           /* by slot, how many */
    size_t groups;
    double *sum; /* core-hours by group, slot */
};

struct jb_page_sums {
    const struct jb_page_wish *wish;
    struct jb_metric_ctx metrics;
    struct jb_measure figures[JB_PAGE_FIGURES];
    size_t n_figures; /* without a cost where there are no prices */
    struct jb_page_names names[JB_PAGE_BY_MAX];
    int64_t from, to;       /* the times that are shown, µs; from == to: no record */
    uint64_t jobs, outside; /* outside: at times that are none, such as the year 1970 */
    struct jb_page_steps fine, coarse;
    uint16_t *coarse_of; /* by fine step */
    struct jb_page_cell *cells;
    size_t n_cells, cap_cells;
    struct jb_memo cell_of;
    double *series; /* core-hours by account, reason, fine step */
    struct jb_page_busy busy;
    struct jb_page_wide wide; /* groups: the users, then account * reasons + reason */
    struct jb_page_heap sample, top;
    uint64_t no_memory; /* jobs that have no place in the sample: no limit or no peak is known */
};

/* The number of places, with that of the others. */
static inline size_t jb_page_places(const struct jb_page_names *names)
{
    return names->n + (names->others > 0);
}

int jb_page_sum(const struct jb_page_wish *wish, struct jb_page_sums *ret, struct jb_error *err);
void jb_page_sums_free(struct jb_page_sums *sums);

/* The steps that [from, to) lies in, whole ones. -E2BIG: more than JB_PAGE_STEPS. */
int jb_page_steps_make(enum jb_span span, int64_t from, int64_t to, struct jb_page_steps *ret);
size_t jb_page_step(const struct jb_page_steps *steps, int64_t at); /* that a time in them is in */

/* page_names.c: who is told apart, and from when to when there are records. */
int jb_page_rank(struct jb_page_sums *sums, struct jb_error *err);
size_t jb_page_place(struct jb_page_names *names, int64_t id);

/* page_busy.c */
int jb_page_busy_init(struct jb_page_busy *busy, int64_t from, int64_t to, size_t accounts);
void jb_page_busy_add(struct jb_page_busy *busy, size_t account, int64_t cores, int64_t started,
                      int64_t ended);
void jb_page_busy_settle(struct jb_page_busy *busy); /* `part` becomes the core-hours of each hour */
void jb_page_busy_free(struct jb_page_busy *busy);

/* Which slot, row * 24 + hour of the day, each hour is in, and how many hours each slot has. -ENOMEM. */
int jb_page_slots(const struct jb_page_busy *busy, const struct jb_page_steps *rows, uint16_t **ret_slot,
                  uint32_t **ret_hours);
int jb_page_wide_init(struct jb_page_wide *wide, const struct jb_page_busy *busy, int64_t from, int64_t to,
                      size_t groups);
void jb_page_wide_add(struct jb_page_wide *wide, const struct jb_page_busy *busy, const size_t group[2],
                      int64_t cores, int64_t started, int64_t ended);
void jb_page_wide_free(struct jb_page_wide *wide);

/* page_data.c: the sums as JSON that may stand in an element of HTML. */
int jb_page_data(FILE *out, struct jb_page_sums *sums, struct jb_error *err);

#endif
