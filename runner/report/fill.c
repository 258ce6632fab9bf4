/*
 * fill.c - lines of journals into the columns of the index.
 *
 * Owns: the segment that is being filled. Runs in: whoever fills an index. Privilege: the user's.
 */
#include "report/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "report/source.h"

#define HASHED   64          /* bytes of a line by which it is known again */
#define NOT_UTF8 JB_LINE_MAX /* its row in the table of totals */

static int64_t *column(const struct jb_fill *fill, enum jb_col col)
{
    return fill->columns + (size_t)col * JB_SEGMENT;
}

static void start_segment(struct jb_fill *fill, int64_t number)
{
    fill->segment = (struct jb_segment){.number = number, .from = INT64_MAX, .to = INT64_MIN};
}

static int load_last(struct jb_fill *fill, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_SEGMENTS, err);
    if (!stmt)
        return -EIO;
    struct jb_segment last = {.number = -1, .n = JB_SEGMENT};
    int code;
    while ((code = jb_store_step(stmt)) == SQLITE_ROW)
        last = (struct jb_segment){sqlite3_column_int64(stmt, 0), (size_t)sqlite3_column_int64(stmt, 1),
                                   sqlite3_column_int64(stmt, 2), sqlite3_column_int64(stmt, 3)};
    (void)sqlite3_reset(stmt);
    if (code != SQLITE_DONE)
        return jb_store_failed(fill->store, "reading", err);
    start_segment(fill, last.number + 1);
    if (last.n >= JB_SEGMENT)
        return 0;
    fill->segment = last;
    for (enum jb_col c = 0; c < JB_COL_MAX; c++) {
        int r = jb_store_column_get(fill->store, last.number, c, last.n, column(fill, c), err);
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_fill_begin(struct jb_store *store, struct jb_fill *ret, struct jb_error *err)
{
    struct jb_fill fill = {.store = store};
    fill.columns = malloc(sizeof(int64_t) * JB_COL_MAX * JB_SEGMENT);
    int r = fill.columns ? jb_texts_init(&fill.texts) : -ENOMEM;
    if (r < 0)
        r = jb_fail_errno(err, r, "index");
    else
        r = load_last(&fill, err);
    if (r < 0)
        jb_fill_free(&fill);
    else
        *ret = fill;
    return r;
}

void jb_fill_free(struct jb_fill *fill)
{
    jb_texts_free(&fill->texts);
    free(fill->columns);
    *fill = (struct jb_fill){0};
}

static int write_segment(struct jb_fill *fill, struct jb_error *err)
{
    const struct jb_segment *s = &fill->segment;
    if (!fill->dirty)
        return 0;
    for (enum jb_col c = 0; c < JB_COL_MAX; c++) {
        int r = jb_store_column_set(fill->store, s->number, c, s->n, column(fill, c), err);
        if (r < 0)
            return r;
    }
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_SEGMENT_SET, err);
    if (!stmt)
        return -EIO;
    const int64_t values[] = {s->number, (int64_t)s->n, s->from, s->to};
    for (size_t i = 0; i < JB_ARRAY_LEN(values); i++)
        (void)sqlite3_bind_int64(stmt, (int)i + 1, values[i]);
    int r = jb_store_step(stmt) == SQLITE_DONE ? 0 : jb_store_failed(fill->store, "filling", err);
    (void)sqlite3_reset(stmt);
    fill->dirty = false;
    return r;
}

static int set_texts(struct jb_fill *fill, struct jb_line *line, struct jb_error *err)
{
    bool any_bad = false;
    for (enum jb_col c = JB_COL_NAME; c <= JB_COL_JOB; c++) {
        const struct jb_slice *text = &line->text[c];
        bool bad = false;
        line->row.v[c] = 0;
        if (text->len == 0)
            continue;
        int r = jb_texts_id(&fill->texts, fill->store, text, c == JB_COL_LABELS, &line->row.v[c], &bad, err);
        if (r < 0)
            return r;
        any_bad = any_bad || bad;
    }
    fill->not_utf8 += any_bad;
    return 0;
}

/* 1 when the id is new, 0 when it was there. */
static int note_seen(struct jb_fill *fill, const struct jb_line *line, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_SEEN_ADD, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, line->row.v[JB_COL_ID_HI]);
    (void)sqlite3_bind_int64(stmt, 2, line->row.v[JB_COL_ID_LO]);
    (void)sqlite3_bind_int64(stmt, 3, fill->segment.number * JB_SEGMENT + (int64_t)fill->segment.n);
    int r = jb_store_step(stmt) == SQLITE_DONE ? sqlite3_changes(fill->store->db) > 0
                                               : jb_store_failed(fill->store, "filling", err);
    (void)sqlite3_reset(stmt);
    return r;
}

static int add_row(struct jb_fill *fill, const struct jb_row *row, struct jb_error *err)
{
    struct jb_segment *s = &fill->segment;
    for (enum jb_col c = 0; c < JB_COL_MAX; c++)
        column(fill, c)[s->n] = row->v[c];
    s->n++;
    s->from = row->v[JB_COL_AT] < s->from ? row->v[JB_COL_AT] : s->from;
    s->to = row->v[JB_COL_AT] > s->to ? row->v[JB_COL_AT] : s->to;
    fill->dirty = true;
    if (s->n < JB_SEGMENT)
        return 0;
    int r = write_segment(fill, err);
    start_segment(fill, s->number + 1);
    return r;
}

static int note_odd(struct jb_fill *fill, enum jb_line_kind kind, int64_t source, uint64_t at,
                    struct jb_error *err)
{
    if (fill->counts[kind]++ > 0)
        return 0;
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_ODD_ADD, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int(stmt, 1, (int)kind);
    (void)sqlite3_bind_int64(stmt, 2, source);
    (void)sqlite3_bind_int64(stmt, 3, (int64_t)at);
    int r = jb_store_step(stmt) == SQLITE_DONE ? 0 : jb_store_failed(fill->store, "filling", err);
    (void)sqlite3_reset(stmt);
    return r;
}

static int add_line(struct jb_fill *fill, const char *text, size_t len, int64_t source, uint64_t at,
                    struct jb_error *err)
{
    struct jb_line line;
    if (len == 0) /* what closed a torn line, or an editor's */
        return 0;
    enum jb_line_kind kind = jb_line_scan(text, len, &line);
    if (kind != JB_LINE_RECORD)
        return note_odd(fill, kind, source, at, err);
    int r = note_seen(fill, &line, err);
    if (r <= 0)
        return r < 0 ? r : note_odd(fill, JB_LINE_DOUBLED, source, at, err);
    r = set_texts(fill, &line, err);
    if (r < 0)
        return r;
    line.row.v[JB_COL_SOURCE] = source;
    line.row.v[JB_COL_OFFSET] = (int64_t)at;
    line.row.v[JB_COL_LENGTH] = (int64_t)len;
    fill->counts[JB_LINE_RECORD]++;
    return add_row(fill, &line.row, err);
}

static int64_t fnv(int64_t from, const char *text, size_t len)
{
    uint64_t h = (uint64_t)from;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return (int64_t)h;
}

/* A journal is known by its first record wherever it lies; one that begins with anything else by its path too. */
static int64_t head_of(const char *path, const char *line, size_t len)
{
    struct jb_line scanned;
    int64_t h = (int64_t)UINT64_C(0xcbf29ce484222325);
    if (jb_line_scan(line, len, &scanned) != JB_LINE_RECORD)
        h = fnv(h, path, strlen(path) + 1);
    return fnv(h, line, len);
}

/* How far a journal is in: the first byte after, and the last line before that, by which it is known again. */
struct reached {
    int64_t id;
    uint64_t done, last_at;
    int64_t last_hash;
};

static int find_source(struct jb_fill *fill, int64_t head, struct reached *ret, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_SOURCE_BY_HEAD, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, head);
    int code = jb_store_step(stmt);
    if (code == SQLITE_ROW)
        *ret = (struct reached){sqlite3_column_int64(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1),
                                (uint64_t)sqlite3_column_int64(stmt, 2), sqlite3_column_int64(stmt, 3)};
    (void)sqlite3_reset(stmt);
    if (code == SQLITE_ROW)
        return 0;
    stmt = jb_store_sql(fill->store, JB_SQL_SOURCE_ADD, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, head);
    code = jb_store_step(stmt);
    (void)sqlite3_reset(stmt);
    *ret = (struct reached){.id = sqlite3_last_insert_rowid(fill->store->db)};
    return code == SQLITE_DONE ? 0 : jb_store_failed(fill->store, "filling", err);
}

static int save_source(struct jb_fill *fill, const struct reached *to, size_t tail, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_SOURCE_SET, err);
    if (!stmt)
        return -EIO;
    const int64_t values[] = {(int64_t)to->done, (int64_t)tail, (int64_t)to->last_at, to->last_hash, to->id};
    for (size_t i = 0; i < JB_ARRAY_LEN(values); i++)
        (void)sqlite3_bind_int64(stmt, (int)i + 1, values[i]);
    int r = jb_store_step(stmt) == SQLITE_DONE ? 0 : jb_store_failed(fill->store, "filling", err);
    (void)sqlite3_reset(stmt);
    return r;
}

static int64_t stamp(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int save_file(struct jb_fill *fill, const char *path, const struct stat *st, int64_t source,
                     const char *problem, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_FILE_SET, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)st->st_ino);
    (void)sqlite3_bind_int64(stmt, 3, st->st_size);
    (void)sqlite3_bind_int64(stmt, 4, stamp(st));
    (void)sqlite3_bind_int64(stmt, 5, source);
    (void)sqlite3_bind_text(stmt, 6, problem, -1, SQLITE_STATIC); /* NULL: none */
    int r = jb_store_step(stmt) == SQLITE_DONE ? 0 : jb_store_failed(fill->store, "filling", err);
    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
    return r;
}

int jb_fill_is_new(struct jb_fill *fill, const char *path, struct jb_error *err)
{
    struct stat st;
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_FILE_GET, err);
    if (!stmt)
        return -EIO;
    if (stat(path, &st) < 0)
        return 1;
    (void)sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
    int code = jb_store_step(stmt);
    bool same = code == SQLITE_ROW && sqlite3_column_int64(stmt, 0) == (int64_t)st.st_ino &&
                sqlite3_column_int64(stmt, 1) == st.st_size && sqlite3_column_int64(stmt, 2) == stamp(&st) &&
                sqlite3_column_type(stmt, 3) == SQLITE_NULL;
    (void)sqlite3_reset(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? !same : jb_store_failed(fill->store, "reading", err);
}

/* The source that a path had when it was looked at last; 0: none. */
static int64_t source_of(struct jb_fill *fill, const char *path)
{
    sqlite3_stmt *stmt = jb_store_sql(fill->store, JB_SQL_FILE_GET, NULL);
    int64_t source = 0;
    if (!stmt)
        return 0;
    (void)sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
    if (jb_store_step(stmt) == SQLITE_ROW)
        source = sqlite3_column_int64(stmt, 4);
    (void)sqlite3_reset(stmt);
    return source;
}

/* The beginning has the id: all of the line would cost as much as reading it. */
static int64_t hash_line(const char *line, size_t len)
{
    return fnv((int64_t)(UINT64_C(0xcbf29ce484222325) ^ len), line, len < HASHED ? len : HASHED);
}

/* Whether the line that was the last one is there: then the file goes on from it. 1, 0, or negative: it cannot be read. */
static int goes_on(struct jb_lines *file, const struct reached *from, struct jb_error *read_err)
{
    const char *line;
    size_t len;
    uint64_t at;
    if (from->done == 0)
        return 1;
    int r = jb_lines_skip(file, from->last_at, read_err);
    if (r > 0)
        r = jb_lines_next(file, &line, &len, &at, read_err);
    return r <= 0 ? r : at + len + 1 == from->done && hash_line(line, len) == from->last_hash;
}

/* *to: how far it came, for all that it failed later. */
static int add_lines(struct jb_fill *fill, struct jb_lines *file, struct reached *to, size_t *ret_tail,
                     struct jb_error *read_err, struct jb_error *err)
{
    const char *line;
    size_t len = 0;
    uint64_t at;
    int r;
    while ((r = jb_lines_next(file, &line, &len, &at, read_err)) > 0) {
        r = add_line(fill, line, len, to->id, at, err);
        if (r < 0)
            return r;
        to->done = at + len + 1;
        to->last_at = at;
        to->last_hash = hash_line(line, len);
    }
    if (r == 0)
        *ret_tail = len;
    return 0;
}

/*
 * Opens a journal at the line behind those that are in, by what it is and not by its name. Two may begin with the same record: a
 * copy that went its own way is a journal of its own, and its common part counts as doubled. 1: it is there; 0: it has no line.
 * What is wrong with the file is in `bad`.
 */
static int open_at(struct jb_fill *fill, const char *path, struct jb_lines *file, struct reached *ret,
                   struct jb_error *bad, struct jb_error *err)
{
    for (int own = 0; own < 2; own++) {
        const char *line = NULL;
        size_t len = 0;
        uint64_t at;
        jb_lines_close(file);
        int r = jb_lines_open(path, file, bad);
        if (r == 0)
            r = jb_lines_next(file, &line, &len, &at, bad);
        if (r <= 0)
            return r;
        int64_t head = head_of(path, line, len);
        r = find_source(fill, own ? fnv(head, path, strlen(path)) : head, ret, err);
        if (r < 0)
            return r;
        if (ret->done == 0) { /* from the beginning; the first line is read already */
            jb_lines_close(file);
            r = jb_lines_open(path, file, bad);
            return r < 0 ? r : 1;
        }
        r = goes_on(file, ret, bad);
        if (r != 0)
            return r;
        if (own || source_of(fill, path) == ret->id)
            return jb_fail(
                bad, ESTALE,
                "%s is shorter than it was, or another; if that is right: jobbox journal index --rebuild",
                path);
    }
    return 0;
}

int jb_fill_file(struct jb_fill *fill, const char *path, struct jb_error *err)
{
    jb_autolines struct jb_lines file = {.fd = -1};
    struct jb_error bad = {0};
    struct stat st = {0};
    struct reached at = {0};
    size_t tail = 0;
    (void)stat(path, &st);
    int r = open_at(fill, path, &file, &at, &bad, err);
    if (r > 0)
        r = add_lines(fill, &file, &at, &tail, &bad, err);
    if (r < 0 && !bad.errnum)
        return r;
    if (at.id && !(bad.errnum == ESTALE)) {
        r = save_source(fill, &at, tail, err);
        if (r < 0)
            return r;
    }
    return save_file(fill, path, &st, at.id, bad.errnum ? bad.text : NULL, err);
}

static int save_counts(struct jb_fill *fill, struct jb_error *err)
{
    char sql[160];
    for (int kind = 0; kind <= NOT_UTF8; kind++) {
        uint64_t n = kind == NOT_UTF8 ? fill->not_utf8 : fill->counts[kind];
        (void)snprintf(
            sql, sizeof(sql),
            "INSERT INTO total VALUES(%d, %llu) ON CONFLICT(kind) DO UPDATE SET n = n + excluded.n", kind,
            (unsigned long long)n);
        if (n > 0 && sqlite3_exec(fill->store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
            return jb_store_failed(fill->store, "filling", err);
    }
    return 0;
}

int jb_fill_flush(struct jb_fill *fill, struct jb_error *err)
{
    int r = write_segment(fill, err);
    return r < 0 ? r : save_counts(fill, err);
}
