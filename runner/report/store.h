/*
 * store.h - the tables of the index: statements, columns as numbers of few bytes, texts by number. Within report/ only.
 *
 * Owns: the SQLite connection. Runs in: whoever reads or fills an index. Privilege: the user's.
 */
#ifndef JB_REPORT_STORE_H
#define JB_REPORT_STORE_H

#include <sqlite3.h>

#include "report/index.h"

#define JB_INDEX_FORMAT 2

enum jb_statement {
    JB_SQL_TEXT_BY_ID,
    JB_SQL_TEXT_BY_VALUE,
    JB_SQL_TEXT_ADD,
    JB_SQL_SEEN_ADD,
    JB_SQL_SEEN_FROM,
    JB_SQL_COLUMN,
    JB_SQL_COLUMN_SET,
    JB_SQL_SEGMENTS,
    JB_SQL_SEGMENT_SET,
    JB_SQL_SOURCE_BY_HEAD,
    JB_SQL_SOURCE_ADD,
    JB_SQL_SOURCE_SET,
    JB_SQL_FILE_GET,
    JB_SQL_FILE_SET,
    JB_SQL_FILE_OF,
    JB_SQL_ODD_ADD,
    JB_SQL_MAX,
};

struct jb_store {
    sqlite3 *db;
    sqlite3_stmt *sql[JB_SQL_MAX];
};

struct jb_segment {
    int64_t number;
    size_t n;
    int64_t from, to; /* least and greatest JB_COL_AT */
};

/* Opens or makes (`write`) the file. -EBADMSG: another format, or no database. */
int jb_store_open(const char *file, bool write, struct jb_store *ret, struct jb_error *err);
void jb_store_close(struct jb_store *store);

int jb_store_begin(struct jb_store *store, struct jb_error *err);
int jb_store_commit(struct jb_store *store, struct jb_error *err);

/* "reading the index: text of SQLite". Returns a negative errno that fits. */
int jb_store_failed(const struct jb_store *store, const char *doing, struct jb_error *err);

/* The prepared statement, reset. NULL: `err` says why. */
sqlite3_stmt *jb_store_sql(struct jb_store *store, enum jb_statement which, struct jb_error *err);

/*
 * sqlite3_step(3). Who may only read and comes between two who write can take their journal for that of one who died, which he
 * may not undo: he looks again.
 */
int jb_store_step(sqlite3_stmt *stmt);

/* Column `col` of a segment: `n` numbers into `out`. */
int jb_store_column_get(struct jb_store *store, int64_t segment, enum jb_col col, size_t n, int64_t *out,
                        struct jb_error *err);
int jb_store_column_set(struct jb_store *store, int64_t segment, enum jb_col col, size_t n, const int64_t *in,
                        struct jb_error *err);

/* Numbers of as few bytes as do, and back. `buf` needs JB_PACKED(n) bytes. Unpacking takes the first n numbers, and fails when
 * there are fewer. */
#define JB_PACKED(n) (16 + 8 * (n))
size_t jb_pack(const int64_t *in, size_t n, unsigned char *buf);
bool jb_unpack(const unsigned char *buf, size_t len, size_t n, int64_t *out);

#endif
