/*
 * store.c - the SQLite file of the index.
 *
 * Owns: the connection. Runs in: whoever reads or fills an index. Privilege: the user's.
 *
 * A rollback journal, not a write-ahead log: a log would want every reader to write beside the file, and does not work on
 * network file systems.
 */
#include "report/store.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

#define WAIT_MS 10000
#define RETRIES 2000

static const char schema[] =
    "CREATE TABLE meta(format INTEGER, columns INTEGER);"
    "CREATE TABLE text(id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);"
    "CREATE TABLE seen(hi INTEGER, lo INTEGER, row INTEGER, PRIMARY KEY(hi, lo)) WITHOUT ROWID;"
    "CREATE TABLE segment(number INTEGER PRIMARY KEY, n INTEGER, at_from INTEGER, at_to INTEGER);"
    "CREATE TABLE packed(key INTEGER PRIMARY KEY, data BLOB);" /* segment * 64 + column */
    "CREATE TABLE source(id INTEGER PRIMARY KEY, head INTEGER UNIQUE, done INTEGER, tail INTEGER, "
    "last_at INTEGER, last_hash INTEGER);"
    "CREATE TABLE file(path TEXT PRIMARY KEY, inode INTEGER, size INTEGER, mtime INTEGER, source INTEGER, "
    "problem TEXT) WITHOUT ROWID;"
    "CREATE TABLE odd(kind INTEGER, source INTEGER, at INTEGER, PRIMARY KEY(kind)) WITHOUT ROWID;"
    "CREATE TABLE total(kind INTEGER PRIMARY KEY, n INTEGER);";

static const char *const statements[] = {
    [JB_SQL_TEXT_BY_ID] = "SELECT value FROM text WHERE id = ?",
    [JB_SQL_TEXT_BY_VALUE] = "SELECT id FROM text WHERE value = ?",
    [JB_SQL_TEXT_ADD] = "INSERT INTO text(value) VALUES(?)",
    [JB_SQL_SEEN_ADD] = "INSERT OR IGNORE INTO seen VALUES(?, ?, ?)",
    [JB_SQL_SEEN_FROM] = "SELECT hi, lo, row FROM seen WHERE (hi, lo) >= (?, ?) ORDER BY hi, lo LIMIT 2",
    [JB_SQL_COLUMN] = "SELECT data FROM packed WHERE key = ?",
    [JB_SQL_COLUMN_SET] = "INSERT OR REPLACE INTO packed VALUES(?, ?)",
    [JB_SQL_SEGMENTS] = "SELECT number, n, at_from, at_to FROM segment ORDER BY number",
    [JB_SQL_SEGMENT_SET] = "INSERT OR REPLACE INTO segment VALUES(?, ?, ?, ?)",
    [JB_SQL_SOURCE_BY_HEAD] = "SELECT id, done, last_at, last_hash FROM source WHERE head = ?",
    [JB_SQL_SOURCE_ADD] = "INSERT INTO source(head, done, tail) VALUES(?, 0, 0)",
    [JB_SQL_SOURCE_SET] = "UPDATE source SET done = ?, tail = ?, last_at = ?, last_hash = ? WHERE id = ?",
    [JB_SQL_FILE_GET] = "SELECT inode, size, mtime, problem, source FROM file WHERE path = ?",
    [JB_SQL_FILE_SET] = "INSERT OR REPLACE INTO file VALUES(?, ?, ?, ?, ?, ?)",
    [JB_SQL_FILE_OF] = "SELECT path FROM file WHERE source = ?",
    [JB_SQL_ODD_ADD] = "INSERT OR IGNORE INTO odd VALUES(?, ?, ?)",
};

int jb_store_failed(const struct jb_store *store, const char *doing, struct jb_error *err)
{
    static const struct {
        int code, errnum;
    } codes[] = {
        {SQLITE_NOMEM, ENOMEM},    {SQLITE_FULL, ENOSPC}, {SQLITE_READONLY, EROFS},  {SQLITE_BUSY, EBUSY},
        {SQLITE_CANTOPEN, EACCES}, {SQLITE_PERM, EACCES}, {SQLITE_CORRUPT, EBADMSG}, {SQLITE_NOTADB, EBADMSG},
    };
    int code = store->db ? sqlite3_errcode(store->db) & 0xff : SQLITE_NOMEM;
    int errnum = EIO;
    for (size_t i = 0; i < JB_ARRAY_LEN(codes); i++)
        if (codes[i].code == code)
            errnum = codes[i].errnum;
    return jb_fail(err, errnum, "%s the index: %s%s", doing,
                   store->db ? sqlite3_errmsg(store->db) : "out of memory",
                   errnum == EBADMSG ? "; make it again with: jobbox journal index --rebuild" : "");
}

void jb_store_close(struct jb_store *store)
{
    for (size_t i = 0; i < JB_SQL_MAX; i++)
        (void)sqlite3_finalize(store->sql[i]);
    (void)sqlite3_close(store->db);
    *store = (struct jb_store){0};
}

int jb_store_step(sqlite3_stmt *stmt)
{
    int code = sqlite3_step(stmt);
    for (unsigned i = 0; (code & 0xff) == SQLITE_READONLY && i < RETRIES; i++) {
        const struct timespec pause = {.tv_nsec = (long)JB_NS_PER_MS};
        (void)nanosleep(&pause, NULL);
        (void)sqlite3_reset(stmt);
        code = sqlite3_step(stmt);
    }
    return code;
}

static int execute(const struct jb_store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

/* 1 when the tables are ours, 0 when there are none, -EBADMSG when they are others. */
static int check_format(struct jb_store *store, struct jb_error *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = 0;
    if (sqlite3_prepare_v2(store->db, "SELECT count(*) FROM sqlite_master", -1, &stmt, NULL) != SQLITE_OK ||
        jb_store_step(stmt) != SQLITE_ROW)
        r = jb_store_failed(store, "opening", err);
    bool empty = r == 0 && sqlite3_column_int(stmt, 0) == 0;
    (void)sqlite3_finalize(stmt);
    if (r < 0 || empty)
        return r;
    r = jb_fail(
        err, EBADMSG,
        "the index is of another version of jobbox; make it again with: jobbox journal index --rebuild");
    if (sqlite3_prepare_v2(store->db, "SELECT format, columns FROM meta", -1, &stmt, NULL) == SQLITE_OK &&
        jb_store_step(stmt) == SQLITE_ROW && sqlite3_column_int(stmt, 0) == JB_INDEX_FORMAT &&
        sqlite3_column_int(stmt, 1) == JB_COL_MAX)
        r = 1;
    (void)sqlite3_finalize(stmt);
    return r;
}

int jb_store_open(const char *file, bool write, struct jb_store *ret, struct jb_error *err)
{
    struct jb_store store = {0};
    char set[128];
    /* who may write can also clear away what a writer that died left; readers do nothing else with it */
    bool may_write = write || access(file, W_OK) == 0;
    int flags = write       ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                : may_write ? SQLITE_OPEN_READWRITE
                            : SQLITE_OPEN_READONLY;
    if (sqlite3_open_v2(file, &store.db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        int r = jb_store_failed(&store, "opening", err);
        jb_store_close(&store);
        return r;
    }
    (void)sqlite3_busy_timeout(store.db, WAIT_MS);
    (void)execute(&store,
                  write ? "PRAGMA page_size=16384; PRAGMA cache_size=-65536; PRAGMA journal_mode=TRUNCATE"
                        : "PRAGMA cache_size=-16384; PRAGMA query_only=1");
    int r = check_format(&store, err);
    if (r == 0 && write) {
        (void)snprintf(set, sizeof(set), "INSERT INTO meta VALUES(%d, %d)", JB_INDEX_FORMAT, JB_COL_MAX);
        if (execute(&store, "BEGIN") != SQLITE_OK || execute(&store, schema) != SQLITE_OK ||
            execute(&store, set) != SQLITE_OK || execute(&store, "COMMIT") != SQLITE_OK)
            r = jb_store_failed(&store, "making", err);
    } else if (r == 0) {
        r = jb_fail(err, EBADMSG, "the index is empty; make it again with: jobbox journal index --rebuild");
    }
    if (r < 0) {
        jb_store_close(&store);
        return r;
    }
    *ret = store;
    return 0;
}

int jb_store_begin(struct jb_store *store, struct jb_error *err)
{
    return execute(store, "BEGIN IMMEDIATE") == SQLITE_OK ? 0 : jb_store_failed(store, "filling", err);
}

int jb_store_commit(struct jb_store *store, struct jb_error *err)
{
    return execute(store, "COMMIT") == SQLITE_OK ? 0 : jb_store_failed(store, "filling", err);
}

sqlite3_stmt *jb_store_sql(struct jb_store *store, enum jb_statement which, struct jb_error *err)
{
    if (store->sql[which]) {
        (void)sqlite3_reset(store->sql[which]);
        return store->sql[which];
    }
    if (sqlite3_prepare_v3(store->db, statements[which], -1, SQLITE_PREPARE_PERSISTENT, &store->sql[which],
                           NULL) != SQLITE_OK)
        (void)jb_store_failed(store, "reading", err);
    return store->sql[which];
}

static int64_t key_of(int64_t segment, enum jb_col col)
{
    return segment * 64 + (int64_t)col;
}

int jb_store_column_get(struct jb_store *store, int64_t segment, enum jb_col col, size_t n, int64_t *out,
                        struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(store, JB_SQL_COLUMN, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_int64(stmt, 1, key_of(segment, col));
    int code = jb_store_step(stmt);
    int r = 0;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        r = jb_store_failed(store, "reading", err);
    else if (code == SQLITE_DONE ||
             !jb_unpack(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0), n, out))
        r = jb_fail(err, EBADMSG, "the index is damaged; make it again with: jobbox journal index --rebuild");
    (void)sqlite3_reset(stmt);
    return r;
}

int jb_store_column_set(struct jb_store *store, int64_t segment, enum jb_col col, size_t n, const int64_t *in,
                        struct jb_error *err)
{
    jb_autofree unsigned char *buf = malloc(JB_PACKED(n));
    sqlite3_stmt *stmt = jb_store_sql(store, JB_SQL_COLUMN_SET, err);
    if (!buf || !stmt)
        return jb_fail_errno(err, ENOMEM, "index");
    size_t len = jb_pack(in, n, buf);
    (void)sqlite3_bind_int64(stmt, 1, key_of(segment, col));
    (void)sqlite3_bind_blob(stmt, 2, buf, (int)len, SQLITE_STATIC);
    int r = jb_store_step(stmt) == SQLITE_DONE ? 0 : jb_store_failed(store, "filling", err);
    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
    return r;
}
