/*
 * index.c - reading the index.
 *
 * Owns: a connection that cannot write. Runs in: jobbox-report, jobboxd. Privilege: the user's.
 */
#include "report/index.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "report/store.h"

#define KEPT 4096 /* texts */

struct kept_text {
    int64_t id;
    char *text;
};

struct jb_index {
    struct jb_store store;
    struct jb_segment *segments;
    size_t n_segments;
    struct kept_text *texts; /* KEPT, by the number's last bits */
    int64_t *row_columns; /* of the segment that jb_index_row looked at last; JB_COL_MAX times JB_SEGMENT */
    int64_t row_segment;
    uint64_t row_have;
};

/*
 * What is read now is what will be seen, without a transaction that would keep others from filling: rows are only added, and a
 * column that has more of them meanwhile begins with the same ones.
 */
static int load_segments(struct jb_index *index, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(&index->store, JB_SQL_SEGMENTS, err);
    size_t cap = 0;
    int code;
    if (!stmt)
        return -EIO;
    while ((code = jb_store_step(stmt)) == SQLITE_ROW) {
        if (index->n_segments == cap) {
            cap = cap ? 2 * cap : 64;
            struct jb_segment *grown = realloc(index->segments, cap * sizeof(*grown));
            if (!grown)
                return jb_fail_errno(err, ENOMEM, "index");
            index->segments = grown;
        }
        struct jb_segment s = {sqlite3_column_int64(stmt, 0), (size_t)sqlite3_column_int64(stmt, 1),
                               sqlite3_column_int64(stmt, 2), sqlite3_column_int64(stmt, 3)};
        if (s.n > JB_SEGMENT || s.number != (int64_t)index->n_segments)
            return jb_fail(err, EBADMSG,
                           "the index is damaged; make it again with: jobbox journal index --rebuild");
        index->segments[index->n_segments++] = s;
    }
    (void)sqlite3_reset(stmt);
    return code == SQLITE_DONE ? 0 : jb_store_failed(&index->store, "reading", err);
}

int jb_index_open(const char *file, struct jb_index **ret, struct jb_error *err)
{
    jb_autoindex struct jb_index *index = calloc(1, sizeof(*index));
    if (!index || !(index->texts = calloc(KEPT, sizeof(*index->texts))))
        return jb_fail_errno(err, ENOMEM, "index");
    index->row_segment = -1;
    if (access(file, R_OK) < 0)
        return jb_fail_errno(err, errno, "index %s", file);
    int r = jb_store_open(file, false, &index->store, err);
    if (r == 0)
        r = load_segments(index, err);
    if (r < 0)
        return r;
    *ret = jb_take_ptr(index);
    return 0;
}

void jb_index_free(struct jb_index *index)
{
    if (!index)
        return;
    jb_store_close(&index->store);
    for (size_t i = 0; index->texts && i < KEPT; i++)
        free(index->texts[i].text);
    free(index->texts);
    free(index->segments);
    free(index->row_columns);
    free(index);
}

const char *jb_index_text(struct jb_index *index, int64_t id)
{
    struct kept_text *slot = &index->texts[(uint64_t)id % KEPT];
    if (id <= 0)
        return "";
    if (slot->id == id)
        return slot->text;
    sqlite3_stmt *stmt = jb_store_sql(&index->store, JB_SQL_TEXT_BY_ID, NULL);
    if (!stmt)
        return "";
    (void)sqlite3_bind_int64(stmt, 1, id);
    char *text = jb_store_step(stmt) == SQLITE_ROW
                     ? jb_asprintf("%s", (const char *)sqlite3_column_text(stmt, 0))
                     : NULL;
    (void)sqlite3_reset(stmt);
    if (!text)
        return "";
    free(slot->text);
    *slot = (struct kept_text){id, text};
    return text;
}

int64_t jb_index_text_id(struct jb_index *index, const char *text)
{
    sqlite3_stmt *stmt = jb_store_sql(&index->store, JB_SQL_TEXT_BY_VALUE, NULL);
    if (!stmt)
        return 0;
    (void)sqlite3_bind_text(stmt, 1, text, -1, SQLITE_STATIC);
    int64_t id = jb_store_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    (void)sqlite3_reset(stmt);
    return id;
}

uint64_t jb_index_rows(const struct jb_index *index)
{
    uint64_t n = 0;
    for (size_t i = 0; i < index->n_segments; i++)
        n += index->segments[i].n;
    return n;
}

static int load_columns(struct jb_index *index, const struct jb_segment *s, uint64_t want, int64_t *into,
                        struct jb_error *err)
{
    for (enum jb_col c = 0; c < JB_COL_MAX; c++) {
        if (!(want >> c & 1))
            continue;
        int r = jb_store_column_get(&index->store, s->number, c, s->n, into + (size_t)c * JB_SEGMENT, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_index_scan(struct jb_index *index, uint64_t want, int64_t from, int64_t to,
                  int (*each)(const struct jb_block *block, void *ctx), void *ctx, struct jb_error *err)
{
    jb_autofree int64_t *columns = malloc(sizeof(int64_t) * JB_COL_MAX * JB_SEGMENT);
    if (!columns)
        return jb_fail_errno(err, ENOMEM, "index");
    for (size_t i = 0; i < index->n_segments; i++) {
        const struct jb_segment *s = &index->segments[i];
        if (s->n == 0 || (from != JB_NONE && s->to < from) || (to != JB_NONE && s->from >= to))
            continue;
        int r = load_columns(index, s, want, columns, err);
        if (r < 0)
            return r;
        struct jb_block block = {.n = s->n, .first = (uint64_t)s->number * JB_SEGMENT};
        for (enum jb_col c = 0; c < JB_COL_MAX; c++)
            block.col[c] = want >> c & 1 ? columns + (size_t)c * JB_SEGMENT : NULL;
        r = each(&block, ctx);
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_index_row(struct jb_index *index, uint64_t number, uint64_t want, struct jb_row *ret,
                 struct jb_error *err)
{
    int64_t segment = (int64_t)(number / JB_SEGMENT);
    size_t at = number % JB_SEGMENT;
    if ((size_t)segment >= index->n_segments || at >= index->segments[segment].n)
        return jb_fail(err, ENOENT, "the index has no row %llu", (unsigned long long)number);
    if (!index->row_columns) {
        index->row_columns = malloc(sizeof(int64_t) * JB_COL_MAX * JB_SEGMENT);
        if (!index->row_columns)
            return jb_fail_errno(err, ENOMEM, "index");
    }
    if (segment != index->row_segment)
        index->row_have = 0;
    index->row_segment = segment;
    int r = load_columns(index, &index->segments[segment], want & ~index->row_have, index->row_columns, err);
    if (r < 0)
        return r;
    index->row_have |= want;
    for (enum jb_col c = 0; c < JB_COL_MAX; c++)
        ret->v[c] = want >> c & 1 ? index->row_columns[(size_t)c * JB_SEGMENT + at] : JB_NONE;
    return 0;
}

/* An id that begins so and is the least of them. */
static bool least(const char *prefix, char id[JB_ID_LEN + 1])
{
    size_t n = 0;
    for (; prefix[n] && n < JB_ID_LEN; n++)
        id[n] = (char)(prefix[n] >= 'a' && prefix[n] <= 'z' ? prefix[n] - 'a' + 'A' : prefix[n]);
    bool whole = prefix[n] == '\0' && n > 0;
    for (; n < JB_ID_LEN; n++)
        id[n] = '0';
    id[n] = '\0';
    return whole;
}

int jb_index_find(struct jb_index *index, const char *prefix, uint64_t *ret_number, struct jb_error *err)
{
    char id[JB_ID_LEN + 1];
    char found[2][JB_ID_LEN + 1];
    size_t len = strlen(prefix);
    int64_t hi;
    int64_t lo;
    size_t n = 0;
    if (!least(prefix, id) || !jb_line_id(id, JB_ID_LEN, &hi, &lo))
        return jb_fail(err, ENOENT, "no record's id begins with \"%.32s\"", prefix);
    sqlite3_stmt *stmt = jb_store_sql(&index->store, JB_SQL_SEEN_FROM, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, hi);
    (void)sqlite3_bind_int64(stmt, 2, lo);
    int code;
    while ((code = jb_store_step(stmt)) == SQLITE_ROW && n < 2) {
        jb_line_id_text(sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1), found[n]);
        if (strncmp(found[n], id, len) != 0)
            break;
        if (n == 0)
            *ret_number = (uint64_t)sqlite3_column_int64(stmt, 2);
        n++;
    }
    (void)sqlite3_reset(stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return jb_store_failed(&index->store, "reading", err);
    if (n == 0)
        return jb_fail(err, ENOENT, "no record's id begins with \"%s\"", prefix);
    if (n > 1)
        return jb_fail(err, ENOTUNIQ, "several records' ids begin with \"%s\": %s, %s ...", prefix, found[0],
                       found[1]);
    return 0;
}

int jb_index_file(struct jb_index *index, int64_t source, char **ret, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(&index->store, JB_SQL_FILE_OF, err);
    char *found = NULL;
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, source);
    while (!found && jb_store_step(stmt) == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(stmt, 0);
        if (path && access(path, R_OK) == 0 && !(found = jb_asprintf("%s", path)))
            break;
    }
    (void)sqlite3_reset(stmt);
    if (!found)
        return jb_fail(err, ENOENT, "the journal that had it is not where it was, or may not be read");
    *ret = found;
    return 0;
}

/* --- what was not counted --- */

static void read_totals(struct jb_index *index, struct jb_index_health *ret)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(index->store.db, "SELECT kind, n FROM total", -1, &stmt, NULL) == SQLITE_OK)
        while (jb_store_step(stmt) == SQLITE_ROW) {
            int kind = sqlite3_column_int(stmt, 0);
            if (kind >= 0 && kind < JB_LINE_MAX)
                ret->lines[kind] = (uint64_t)sqlite3_column_int64(stmt, 1);
            else if (kind == JB_LINE_MAX)
                ret->not_utf8 = (uint64_t)sqlite3_column_int64(stmt, 1);
        }
    (void)sqlite3_finalize(stmt);
}

static void read_odd(struct jb_index *index, struct jb_index_health *ret)
{
    static const char sql[] =
        "SELECT kind, at, (SELECT min(path) FROM file f WHERE f.source = odd.source) FROM odd "
        "UNION ALL SELECT 1, done, (SELECT min(path) FROM file f WHERE f.source = source.id) "
        "FROM source WHERE tail > 0";
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(index->store.db, sql, -1, &stmt, NULL) == SQLITE_OK)
        while (jb_store_step(stmt) == SQLITE_ROW) {
            int kind = sqlite3_column_int(stmt, 0);
            const char *path = (const char *)sqlite3_column_text(stmt, 2);
            if (kind > 0 && kind < JB_LINE_MAX && !ret->first[kind][0])
                (void)snprintf(ret->first[kind], sizeof(ret->first[kind]), "%.200s, byte %lld",
                               path ? path : "?", (long long)sqlite3_column_int64(stmt, 1));
        }
    (void)sqlite3_finalize(stmt);
    if (sqlite3_prepare_v2(index->store.db, "SELECT count(*) FROM source WHERE tail > 0", -1, &stmt, NULL) ==
            SQLITE_OK &&
        jb_store_step(stmt) == SQLITE_ROW)
        ret->lines[JB_LINE_TORN] += (uint64_t)sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
}

static void read_problems(struct jb_index *index, struct jb_index_health *ret)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(index->store.db,
                           "SELECT problem FROM file WHERE problem IS NOT NULL ORDER BY path", -1, &stmt,
                           NULL) == SQLITE_OK)
        while (jb_store_step(stmt) == SQLITE_ROW)
            if (ret->unread++ == 0)
                (void)snprintf(ret->unread_first, sizeof(ret->unread_first), "%s",
                               (const char *)sqlite3_column_text(stmt, 0));
    (void)sqlite3_finalize(stmt);
}

int jb_index_health(struct jb_index *index, struct jb_index_health *ret, struct jb_error *err)
{
    *ret = (struct jb_index_health){0};
    read_totals(index, ret);
    read_odd(index, ret);
    read_problems(index, ret);
    int code = sqlite3_errcode(index->store.db) & 0xff;
    return code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW
               ? 0
               : jb_store_failed(&index->store, "reading", err);
}

int jb_index_health_text(const struct jb_index_health *health, char **ret, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    uint64_t n = 0;
    const char *comma = "";
    int r = jb_buf_puts(&buf, "");
    for (int k = 1; k < JB_LINE_MAX; k++)
        n += health->lines[k];
    if (n > 0)
        r = jb_buf_printf(&buf, "%llu line%s of the journals %s not counted: ", (unsigned long long)n,
                          n == 1 ? "" : "s", n == 1 ? "is" : "are");
    for (int k = 1; r == 0 && k < JB_LINE_MAX; k++) {
        if (health->lines[k] == 0)
            continue;
        r = jb_buf_printf(&buf, "%s%llu %s (%s%s)", comma, (unsigned long long)health->lines[k],
                          jb_line_kind_name(k), health->lines[k] > 1 ? "first: " : "", health->first[k]);
        comma = ", ";
    }
    if (r == 0 && health->not_utf8 > 0)
        r = jb_buf_printf(&buf, "%s%llu record%s text that is not UTF-8", n ? "; " : "",
                          (unsigned long long)health->not_utf8, health->not_utf8 == 1 ? " has" : "s have");
    if (r == 0 && health->unread > 0)
        r = jb_buf_printf(&buf, "%s%llu journal%s not read to the end: %s", n || health->not_utf8 ? "; " : "",
                          (unsigned long long)health->unread, health->unread == 1 ? " was" : "s were",
                          health->unread_first);
    if (r < 0)
        return jb_fail_errno(err, r, "index");
    *ret = jb_take_ptr(buf.data);
    return 0;
}
