/*
 * line.h - one line of a journal, read into the columns of the index without building a tree of it.
 *
 * Owns: nothing; texts point into the line. Runs in: whoever fills an index. Privilege: none; pure functions.
 *
 * The line may be anything: what is not a record of a version that we know is told apart, never believed.
 */
#ifndef JB_REPORT_LINE_H
#define JB_REPORT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JB_NONE INT64_MIN /* not known, as JB_UNSET; columns are signed */

enum jb_col {
#define JB_COL(name, kind) JB_COL_##name,
#include "report/columns.def"
#undef JB_COL
    JB_COL_MAX,
};
_Static_assert(JB_COL_MAX <= 64, "a set of columns is a uint64_t");

enum jb_col_kind {
    JB_KIND_TEXT,
    JB_KIND_TIME,
    JB_KIND_SPAN,
    JB_KIND_BYTES,
    JB_KIND_COUNT,
    JB_KIND_MILLIJOULE,
    JB_KIND_ID,
    JB_KIND_PLACE,
};
enum jb_col_kind jb_col_kind(enum jb_col col);

/* One record. Texts are ids of the index that it came from. */
struct jb_row {
    int64_t v[JB_COL_MAX];
};

enum jb_line_kind {
    JB_LINE_RECORD,
    JB_LINE_TORN,    /* no JSON object: cut off, overwritten, binary */
    JB_LINE_FOREIGN, /* JSON, but no record: no record_version, no id that jobbox could have given */
    JB_LINE_FUTURE,  /* a record of a later version */
    JB_LINE_DOUBLED, /* its id was there before; the index says so */
    JB_LINE_MAX,
};
const char *jb_line_kind_name(enum jb_line_kind kind); /* "torn", for messages */

struct jb_slice {
    const char *at; /* raw JSON: between the quotes, or all of an object */
    size_t len;
    bool escaped; /* there are backslashes in it */
};

struct jb_line {
    struct jb_row row; /* all but texts and SOURCE, OFFSET, LENGTH */
    struct jb_slice text[JB_COL_MAX];
};

/*
 * `line` must have a '\n' at line[len], which is not part of it. *ret is filled when the result is JB_LINE_RECORD. Values that
 * make no sense (a negative size, a number beyond 2^62, a text where a number should be) are JB_NONE.
 */
enum jb_line_kind jb_line_scan(const char *line, size_t len, struct jb_line *ret);

/* RFC 3339 in any zone, to µs. False when it is none. */
bool jb_line_time(const char *text, size_t len, int64_t *ret_us);

/* A ULID as two numbers, and back into JB_ID_LEN + 1 bytes. */
bool jb_line_id(const char *text, size_t len, int64_t *ret_hi, int64_t *ret_lo);
void jb_line_id_text(int64_t hi, int64_t lo, char *buf);

/*
 * What a slice says, as UTF-8 without NUL; bytes that are none become U+FFFD. `buf` needs 3 * len + 1 bytes. Returns its
 * length.
 */
size_t jb_slice_decode(const struct jb_slice *slice, char *buf);

#endif
