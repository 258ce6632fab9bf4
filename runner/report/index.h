/*
 * index.h - the index: what reports need of all records, in one SQLite file. A cache of the journals, never the truth.
 *
 * Owns: the file that it is told, and the lock beside it (FILE.lock). Runs in: jobbox-report, jobboxd. Privilege: the
 * user's. Any number of processes may read while one fills.
 *
 * The records are kept by columns (columns.def), JB_SEGMENT of them together, so that a report reads the figures that it
 * wants and no others. Texts are kept once and named by numbers. Each journal is known by its first line, so that it may be
 * renamed or compressed (.gz, .zst, .xz, .bz2 are read with the programs of these names) without being counted again.
 */
#ifndef JB_REPORT_INDEX_H
#define JB_REPORT_INDEX_H

#include "base/error.h"
#include "base/str.h"
#include "report/line.h"

#define JB_SEGMENT 8192 /* rows */

struct jb_index;

/*
 * What an index is made of. `journals`: folders with journals, or single files. A file that no folder has any more stays in
 * the index until it is rebuilt.
 */
struct jb_index_spec {
    const char *file;               /* of the index; its folder must be there */
    const struct jb_strv *journals; /* borrowed */
};

/*
 * Brings the file up to date, makes it if it is not there or of another format, and waits for others who do. `rebuild`:
 * from nothing; who reads the old one meanwhile goes on with it. *ret_new: how many records came in; may be NULL.
 * -EACCES, -EROFS, -EPERM: we may not write there; read what there is, or use another file.
 */
int jb_index_update(const struct jb_index_spec *spec, bool rebuild, uint64_t *ret_new, struct jb_error *err);

/* Opens it to read; takes no lock that keeps others from reading. -ENOENT: there is none. -EBADMSG: it is none, or damaged. */
int jb_index_open(const char *file, struct jb_index **ret, struct jb_error *err);

/*
 * The usual way: updates where we may, otherwise reads what is there if nothing is missing in it, otherwise keeps an index
 * of our own below $XDG_CACHE_HOME/jobbox (or ~/.cache/jobbox).
 */
int jb_index_get(const struct jb_index_spec *spec, struct jb_index **ret, struct jb_error *err);

void jb_index_free(struct jb_index *index);
static inline void jb_cleanup_index(struct jb_index **index)
{
    jb_index_free(*index);
}
#define jb_autoindex __attribute__((cleanup(jb_cleanup_index)))

/* The text of a TEXT column. "" for 0. UTF-8, but otherwise whatever somebody wrote. Good until 4096 others were asked. */
const char *jb_index_text(struct jb_index *index, int64_t id);

/* The number of a text, 0 when no record has it. */
int64_t jb_index_text_id(struct jb_index *index, const char *text);

/* --- what was not counted --- */

struct jb_index_health {
    uint64_t lines[JB_LINE_MAX]; /* by kind */
    char first[JB_LINE_MAX]
              [256];        /* "FILE, byte N" of the first of each kind that is no record; "" when none */
    uint64_t unread;        /* files that could not be read, or shrank since they were */
    char unread_first[512]; /* which, and why */
    uint64_t not_utf8;      /* records with bytes that are no UTF-8 in a text that the index keeps */
};
int jb_index_health(struct jb_index *index, struct jb_index_health *ret, struct jb_error *err);

/* One line for a warning, or "" when every line is a record. Caller frees. */
int jb_index_health_text(const struct jb_index_health *health, char **ret, struct jb_error *err);

/* --- reading rows --- */

uint64_t jb_index_rows(const struct jb_index *index); /* including an unfilled last segment */

struct jb_block {
    size_t n;                       /* rows, at most JB_SEGMENT */
    uint64_t first;                 /* number of the first of them; numbers go in order of indexing */
    const int64_t *col[JB_COL_MAX]; /* NULL: was not asked for */
};

/*
 * Calls `each` with the columns of `want` (bit JB_COL_X) for all segments that may have records counted in [from, to) µs
 * (JB_NONE: no bound). Arrays are good within the call. A negative result ends it and is returned.
 */
int jb_index_scan(struct jb_index *index, uint64_t want, int64_t from, int64_t to,
                  int (*each)(const struct jb_block *block, void *ctx), void *ctx, struct jb_error *err);

/* One row by its number, the columns of `want` (others: JB_NONE). Rows of one segment in sequence are cheap. */
int jb_index_row(struct jb_index *index, uint64_t number, uint64_t want, struct jb_row *ret,
                 struct jb_error *err);

/* The row whose id begins so, in either case of letters. -ENOENT, -ENOTUNIQ. */
int jb_index_find(struct jb_index *index, const char *prefix, uint64_t *ret_number, struct jb_error *err);

/* Where the line of a row is: the file that had it when it was last seen. Caller frees. -ENOENT: in none that is known. */
int jb_index_file(struct jb_index *index, int64_t source, char **ret, struct jb_error *err);

#endif
