/*
 * store.c - opening, transactions, writing.
 *
 * Owns: see store.h. Runs in: jobboxd. Privilege: the state directory's.
 */
#include "queue/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "queue/store_sql.h"

#define VERSION 1

static const char schema[] =
    "CREATE TABLE jobs(num INTEGER PRIMARY KEY AUTOINCREMENT, uid INT, gid INT, groups TEXT, user TEXT, home "
    "TEXT,"
    " cwd TEXT, env TEXT, name TEXT, account TEXT, spec TEXT, file TEXT, priority INT, pus INT, shared INT,"
    " devices INT, memory INT, scratch INT, pids INT, wall_us INT, submitted_us INT, begin_us INT, "
    "deadline_us INT,"
    " is_array INT, array_limit INT, retry_max INT, retry_backoff_us INT, retry_memory INT, retry_on TEXT,"
    " notify INT, mail TEXT, program TEXT, own_stdout INT, n_tasks INT);"
    "CREATE TABLE tasks(id INTEGER PRIMARY KEY AUTOINCREMENT, job INT NOT NULL, idx INT, state INT NOT NULL,"
    " held INT, ending INT, tries INT, eligible_us INT, not_before_us INT, memory INT, attempt TEXT, "
    "started_us INT,"
    " ended_us INT, reason TEXT, exit_code INT, signal INT, why TEXT);"
    "CREATE INDEX tasks_left ON tasks(job) WHERE state < 2;"
    "CREATE INDEX tasks_job ON tasks(job, ended_us);"
    "CREATE INDEX tasks_ended ON tasks(ended_us) WHERE state = 2;"
    "CREATE INDEX jobs_uid ON jobs(uid, num);"
    "CREATE TABLE attempts(id TEXT PRIMARY KEY, task INT NOT NULL, n INT, begun_us INT, month INT, offset "
    "INT,"
    " ended_us INT, reason TEXT, exit_code INT, signal INT, cpus TEXT, wall_s REAL, cpu_s REAL, memory_peak "
    "INT,"
    " error TEXT) WITHOUT ROWID;"
    "CREATE INDEX attempts_task ON attempts(task);"
    "CREATE INDEX attempts_left ON attempts(month, offset) WHERE ended_us IS NULL;"
    "CREATE TABLE deps(job INT NOT NULL, on_job INT, kind INT, met INT);"
    "CREATE INDEX deps_job ON deps(job, on_job);"
    "CREATE TABLE events(seq INTEGER PRIMARY KEY, job INT, task INT, at_us INT, what TEXT, detail TEXT);"
    "CREATE INDEX events_job ON events(job);"
    "CREATE TABLE usage(account TEXT, user TEXT, used REAL, at_us INT, PRIMARY KEY(account, user)) WITHOUT "
    "ROWID;"
    "CREATE TABLE ends(reason TEXT PRIMARY KEY, n INT) WITHOUT ROWID;"
    "CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

/* By enum jb_sql. */
static const char *const sql[JB_SQL_MAX] = {
    [JB_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [JB_SQL_COMMIT] = "COMMIT",
    [JB_SQL_ADD_JOB] =
        "INSERT INTO jobs(uid, gid, groups, user, home, cwd, env, name, account, spec, file, priority, pus, "
        "shared,"
        " devices, memory, scratch, pids, wall_us, submitted_us, begin_us, deadline_us, is_array, "
        "array_limit,"
        " retry_max, retry_backoff_us, retry_memory, retry_on, notify, mail, program, own_stdout, n_tasks)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [JB_SQL_ADD_TASK] = "INSERT INTO tasks(job, idx, state, held, tries, memory) VALUES(?,?,?,?,0,?)",
    [JB_SQL_SAVE_TASK] =
        "UPDATE tasks SET state=?, held=?, ending=?, tries=?, eligible_us=?, not_before_us=?,"
        " memory=?, attempt=?, started_us=?, why=? WHERE id=?",
    [JB_SQL_TASK_ENDED] =
        "UPDATE tasks SET state=2, ending=0, tries=?, ended_us=?, reason=?, exit_code=?, signal=?,"
        " why=? WHERE id=?",
    [JB_SQL_PRIORITY] = "UPDATE jobs SET priority=? WHERE num=?",
    [JB_SQL_ADD_DEP] = "INSERT INTO deps(job, on_job, kind, met) VALUES(?,?,?,?)",
    [JB_SQL_DEP_MET] = "UPDATE deps SET met=1 WHERE job=? AND on_job=? AND kind=?",
    [JB_SQL_ATTEMPT] = "INSERT INTO attempts(id, task, n, begun_us, month, offset) VALUES(?,?,?,?,?,?)",
    [JB_SQL_ATTEMPT_ENDED] =
        "UPDATE attempts SET ended_us=?, reason=?, exit_code=?, signal=?, cpus=?, wall_s=?,"
        " cpu_s=?, memory_peak=?, error=? WHERE id=?",
    [JB_SQL_ATTEMPT_UNDONE] = "DELETE FROM attempts WHERE id=?",
    [JB_SQL_EVENT] = "INSERT INTO events(job, task, at_us, what, detail) VALUES(?,?,?,?,?)",
    [JB_SQL_USAGE] = "INSERT INTO usage VALUES(?,?,?,?) ON CONFLICT(account, user)"
                     " DO UPDATE SET used=excluded.used, at_us=excluded.at_us",
    [JB_SQL_END] = "INSERT INTO ends VALUES(?,1) ON CONFLICT(reason) DO UPDATE SET n=n+1",
    [JB_SQL_SET] = "INSERT INTO settings VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
    [JB_SQL_GET] = "SELECT value FROM settings WHERE key=?",
    [JB_SQL_EXTRA] = "SELECT spec, file, home, cwd, groups, env, mail, program FROM jobs WHERE num=?",
    [JB_SQL_NOTIFY] = "SELECT NULL, NULL, home, NULL, groups, NULL, mail, program FROM jobs WHERE num=?",
    [JB_SQL_JOBS] =
        "SELECT num, uid, gid, user, name, account, priority, pus, shared, devices, memory, scratch, pids, "
        "wall_us,"
        " submitted_us, begin_us, deadline_us, is_array, array_limit, retry_max, retry_backoff_us, "
        "retry_memory,"
        " retry_on, notify, own_stdout, n_tasks,"
        " (SELECT count(*) FROM tasks b WHERE b.job=num AND b.state=2 AND b.reason IS NOT 'completed')"
        " FROM jobs WHERE num IN (SELECT job FROM tasks WHERE state < 2) ORDER BY num",
    [JB_SQL_TASKS] =
        "SELECT job, id, idx, state, held, ending, tries, eligible_us, not_before_us, memory, attempt,"
        " started_us, why FROM tasks WHERE state < 2 ORDER BY id",
    [JB_SQL_DEPS] =
        "SELECT job, on_job, kind, met FROM deps WHERE job IN (SELECT job FROM tasks WHERE state < 2)",
    [JB_SQL_USAGES] = "SELECT account, user, used, at_us FROM usage",
    [JB_SQL_MARK] =
        "SELECT month, offset FROM attempts WHERE ended_us IS NULL ORDER BY month, offset LIMIT 1",
    [JB_SQL_OUTCOME] =
        "SELECT uid, count(t.id), sum(t.state < 2), sum(t.state = 2 AND t.reason IS NOT 'completed')"
        " FROM jobs JOIN tasks t ON t.job = num WHERE num=?",
    [JB_SQL_FIRST_BAD] = "SELECT reason, exit_code, signal FROM tasks WHERE job=? AND state=2"
                         " AND reason IS NOT 'completed' ORDER BY id LIMIT 1",
    [JB_SQL_OWNER] = "SELECT uid FROM jobs WHERE num=?",
    [JB_SQL_TASK_OF] = "SELECT id FROM tasks WHERE job=? AND idx=? LIMIT 1",
    [JB_SQL_FIND] = "SELECT t.job, t.id FROM attempts a JOIN tasks t ON t.id = a.task"
                    " WHERE a.id >= ?1 AND a.id < ?1 || '~' AND (?2 IS NULL OR"
                    " ?2 = (SELECT uid FROM jobs WHERE num = t.job)) LIMIT 2",
    [JB_SQL_LIST] =
        "SELECT j.num, t.idx, t.id, j.uid, j.user, j.name, j.account, j.priority, j.pus, j.memory, j.wall_us,"
        " j.submitted_us, t.state, t.held, t.tries, t.eligible_us, t.started_us, t.ended_us, t.reason, "
        "t.exit_code,"
        " t.signal, t.why, t.attempt, j.begin_us, j.deadline_us, j.own_stdout, t.not_before_us"
        " FROM jobs j JOIN tasks t ON t.job = j.num WHERE (?1 IS NULL OR j.uid = ?1) AND (?2 IS NULL OR "
        "j.num = ?2)"
        " AND (?3 IS NULL OR t.id = ?3) AND (?4 IS NULL OR j.name = ?4) AND (?5 < 0 OR t.state = ?5)"
        " AND (?6 IS NULL OR j.num < ?6) AND (?8 IS NULL OR j.user = ?8) ORDER BY j.num DESC, t.id DESC "
        "LIMIT ?7",
    [JB_SQL_LIST_TASK] =
        "SELECT j.num, t.idx, t.id, j.uid, j.user, j.name, j.account, j.priority, j.pus, j.memory, j.wall_us,"
        " j.submitted_us, t.state, t.held, t.tries, t.eligible_us, t.started_us, t.ended_us, t.reason, "
        "t.exit_code,"
        " t.signal, t.why, t.attempt, j.begin_us, j.deadline_us, j.own_stdout, t.not_before_us"
        " FROM tasks t JOIN jobs j ON t.job = j.num WHERE t.id = ?",
    [JB_SQL_LIST_JOB] =
        "SELECT j.num, t.idx, t.id, j.uid, j.user, j.name, j.account, j.priority, j.pus, j.memory, j.wall_us,"
        " j.submitted_us, t.state, t.held, t.tries, t.eligible_us, t.started_us, t.ended_us, t.reason, "
        "t.exit_code,"
        " t.signal, t.why, t.attempt, j.begin_us, j.deadline_us, j.own_stdout, t.not_before_us"
        " FROM jobs j JOIN tasks t ON t.job = j.num WHERE j.num = ? ORDER BY t.id LIMIT ifnull(?, -1)",
    [JB_SQL_ATTEMPTS] = "SELECT id, n, begun_us, ended_us, reason, exit_code, signal, cpus, wall_s, cpu_s,"
                        " memory_peak, error FROM attempts WHERE task=? ORDER BY n",
    [JB_SQL_REQUEUES] = "SELECT count(*) FROM attempts WHERE task=? AND reason='cancelled'",
    [JB_SQL_EVENT_UNDONE] = "DELETE FROM events WHERE seq > (SELECT max(seq) FROM events) - 5000 "
                            "AND +job=? AND task=? AND detail=?",
    [JB_SQL_EVENTS] = "SELECT task, at_us, what, detail FROM (SELECT * FROM events WHERE job=? ORDER BY seq "
                      "DESC LIMIT 1000) "
                      "ORDER BY seq", /* the newest */
    [JB_SQL_ENDS] = "SELECT reason, n FROM ends",
    [JB_SQL_OLD] = "SELECT t.id, t.job FROM tasks t WHERE t.state = 2 AND t.ended_us < ?1"
                   " AND NOT EXISTS (SELECT 1 FROM tasks u WHERE u.job = t.job AND u.state < 2)"
                   " AND NOT EXISTS (SELECT 1 FROM tasks u WHERE u.job = t.job AND u.ended_us >= ?1)"
                   " ORDER BY t.ended_us LIMIT ?2",
    [JB_SQL_FORGET_ATTEMPTS] = "DELETE FROM attempts WHERE task=?",
    [JB_SQL_FORGET_TASK] = "DELETE FROM tasks WHERE id=?",
    [JB_SQL_FORGET_DEPS] = "DELETE FROM deps WHERE job=?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE job=?1)",
    [JB_SQL_FORGET_EVENTS] =
        "DELETE FROM events WHERE job=?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE job=?1)",
    [JB_SQL_FORGET_JOB] = "DELETE FROM jobs WHERE num=?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE job=?1)",
};

int jb_sql_fail(struct jb_qstore *store, struct jb_error *err)
{
    int code = sqlite3_extended_errcode(store->db) & 0xff;
    int errnum = code == SQLITE_FULL ? ENOSPC : code == SQLITE_BUSY || code == SQLITE_LOCKED ? EBUSY : EIO;
    return jb_fail(err, errnum, "the queue's store %s: %s", store->path, sqlite3_errmsg(store->db));
}

sqlite3_stmt *jb_sql_get(struct jb_qstore *store, enum jb_sql which)
{
    if (!store->statements[which] && sqlite3_prepare_v3(store->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                                        &store->statements[which], NULL) != SQLITE_OK)
        return NULL;
    return store->statements[which];
}

sqlite3_stmt *jb_sql_bind(struct jb_qstore *store, enum jb_sql which, const char *form, ...)
{
    sqlite3_stmt *s = jb_sql_get(store, which);
    va_list ap;
    int i = 1;
    if (!s)
        return NULL;
    va_start(ap, form);
    for (const char *f = form; *f; f++, i++) {
        uint64_t number;
        const char *text;
        double real;
        switch (*f) {
        case 'u':
            number = va_arg(ap, uint64_t);
            if (number > INT64_MAX)
                (void)sqlite3_bind_null(s, i);
            else
                (void)sqlite3_bind_int64(s, i, (sqlite3_int64)number);
            break;
        case 'i':
            (void)sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
            break;
        case 'd':
            (void)sqlite3_bind_int(s, i, va_arg(ap, int));
            break;
        case 'r':
            real = va_arg(ap, double);
            if (real < 0)
                (void)sqlite3_bind_null(s, i);
            else
                (void)sqlite3_bind_double(s, i, real);
            break;
        default:
            text = va_arg(ap, const char *);
            (void)sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
            break;
        }
    }
    va_end(ap);
    return s;
}

int jb_sql_done(struct jb_qstore *store, sqlite3_stmt *s, struct jb_error *err)
{
    int r = s ? sqlite3_step(s) : SQLITE_ERROR;
    int result = r == SQLITE_DONE ? 0 : jb_sql_fail(store, err);
    if (s)
        (void)sqlite3_reset(s);
    return result;
}

static int execute(struct jb_qstore *store, const char *text, struct jb_error *err)
{
    return sqlite3_exec(store->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : jb_sql_fail(store, err);
}

/*
 * Without it a task of an array is looked for among all of them. Stores of before are given it, and an earlier jobbox keeps
 * it; where the disk is full just now it has to do without.
 */
static void add_index(struct jb_qstore *store)
{
    (void)sqlite3_exec(store->db,
                       "CREATE INDEX IF NOT EXISTS tasks_index ON tasks(job, idx) WHERE idx IS NOT NULL",
                       NULL, NULL, NULL);
}

static int prepare_schema(struct jb_qstore *store, struct jb_error *err)
{
    sqlite3_stmt *s = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        version = sqlite3_column_int(s, 0);
    (void)sqlite3_finalize(s);
    if (version < 0)
        return jb_sql_fail(store, err);
    if (version > VERSION)
        return jb_fail(
            err, ENOTSUP,
            "the queue's store %s is of a newer jobbox (version %d, this one knows %d); install that",
            store->path, version, VERSION);
    if (version == VERSION)
        return 0;
    int r = execute(store, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = execute(store, schema, err);
    return r == 0 ? execute(store, "COMMIT", err) : r;
}

int jb_qstore_open(const char *path, struct jb_qstore **ret, struct jb_error *err)
{
    struct jb_qstore *store = calloc(1, sizeof(*store));
    if (store) {
        store->path = strdup(path);
        store->log_fd = -1;
    }
    if (!store || !store->path) {
        free(store);
        return jb_fail_errno(err, ENOMEM, "the queue's store");
    }
    int fd =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); /* sqlite would take the umask's mode */
    int r = fd < 0 ? jb_fail_errno(err, errno, "the queue's store %s", path) : 0;
    if (fd >= 0)
        (void)close(fd);
    if (r == 0 &&
        sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        r = jb_sql_fail(store, err);
    if (r == 0) {
        (void)sqlite3_busy_timeout(store->db, 5000);
        r = execute(store,
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;"
                    "PRAGMA wal_autocheckpoint=4000; PRAGMA temp_store=MEMORY;",
                    err);
    }
    if (r == 0)
        r = prepare_schema(store, err);
    if (r == 0)
        add_index(store);
    if (r < 0) {
        jb_qstore_close(store);
        return r;
    }
    *ret = store;
    return 0;
}

void jb_qstore_close(struct jb_qstore *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < JB_SQL_MAX; i++)
        (void)sqlite3_finalize(store->statements[i]);
    (void)sqlite3_close(store->db);
    jb_close(&store->log_fd);
    free(store->path);
    free(store);
}

/*
 * SQLite would wait for the disk at every commit or at none, and may not be told between. With synchronous=NORMAL it
 * leaves its log to us; it is one file as long as the store is open, and SQLite holds no lock on it.
 */
static int sync_log(struct jb_qstore *store, struct jb_error *err)
{
    if (store->log_fd < 0) {
        jb_autofree char *path = jb_asprintf("%s-wal", store->path);
        store->log_fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    }
    if (store->log_fd < 0 || fdatasync(store->log_fd) < 0)
        return jb_fail_errno(err, errno, "the queue's store %s: flushing its log", store->path);
    return 0;
}

int jb_qstore_begin(struct jb_qstore *store, struct jb_error *err)
{
    if (store->open)
        return 0;
    int r = jb_sql_done(store, jb_sql_get(store, JB_SQL_BEGIN), err);
    store->open = r == 0;
    return r;
}

int jb_qstore_commit(struct jb_qstore *store, bool durable, struct jb_error *err)
{
    if (!store->open)
        return 0;
    int r = jb_sql_done(store, jb_sql_get(store, JB_SQL_COMMIT), err);
    if (r < 0)
        return r;
    store->open = false;
    return durable ? sync_log(store, err) : 0;
}

bool jb_qstore_dirty(const struct jb_qstore *store)
{
    return store->open;
}
