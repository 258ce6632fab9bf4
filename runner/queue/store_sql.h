/*
 * store_sql.h - inside of the store: its connection and its statements.
 *
 * Owns: see store.h. Runs in: jobboxd. Privilege: the state directory's.
 */
#ifndef JB_QUEUE_STORE_SQL_H
#define JB_QUEUE_STORE_SQL_H

#include <sqlite3.h>

#include "queue/store.h"

/* tasks.ending: what was asked of a running one. Stored as these numbers. */
enum { JB_ENDING_NOT, JB_ENDING_CANCEL, JB_ENDING_REQUEUE };

enum jb_sql {
    JB_SQL_BEGIN,
    JB_SQL_COMMIT,
    JB_SQL_ADD_JOB,
    JB_SQL_ADD_TASK,
    JB_SQL_SAVE_TASK,
    JB_SQL_TASK_ENDED,
    JB_SQL_PRIORITY,
    JB_SQL_ADD_DEP,
    JB_SQL_DEP_MET,
    JB_SQL_ATTEMPT,
    JB_SQL_ATTEMPT_ENDED,
    JB_SQL_ATTEMPT_UNDONE,
    JB_SQL_EVENT,
    JB_SQL_EVENT_UNDONE,
    JB_SQL_USAGE,
    JB_SQL_END,
    JB_SQL_SET,
    JB_SQL_GET,
    JB_SQL_EXTRA,
    JB_SQL_NOTIFY,
    JB_SQL_JOBS,
    JB_SQL_TASKS,
    JB_SQL_DEPS,
    JB_SQL_USAGES,
    JB_SQL_MARK,
    JB_SQL_OUTCOME,
    JB_SQL_FIRST_BAD,
    JB_SQL_OWNER,
    JB_SQL_TASK_OF,
    JB_SQL_FIND,
    JB_SQL_LIST,
    JB_SQL_LIST_TASK,
    JB_SQL_LIST_JOB,
    JB_SQL_ATTEMPTS,
    JB_SQL_REQUEUES,
    JB_SQL_EVENTS,
    JB_SQL_ENDS,
    JB_SQL_OLD,
    JB_SQL_FORGET_ATTEMPTS,
    JB_SQL_FORGET_TASK,
    JB_SQL_FORGET_DEPS,
    JB_SQL_FORGET_EVENTS,
    JB_SQL_FORGET_JOB,
    JB_SQL_MAX,
};

struct jb_qstore {
    sqlite3 *db;
    char *path;
    int log_fd; /* the write-ahead log, to flush it; -1: not opened yet */
    bool open;  /* a transaction is */
    sqlite3_stmt *statements[JB_SQL_MAX];
};

/* What SQLite said last. */
int jb_sql_fail(struct jb_qstore *store, struct jb_error *err);
/* The statement, prepared once; NULL: SQLite says why not. */
sqlite3_stmt *jb_sql_get(struct jb_qstore *store, enum jb_sql which);
/*
 * Binds by `form`: u uint64_t (JB_UNSET and what is too large: NULL), i int64_t, d int, r double (negative: NULL),
 * t const char * (NULL: NULL; must stay until the statement was run).
 */
sqlite3_stmt *jb_sql_bind(struct jb_qstore *store, enum jb_sql which, const char *form, ...);
/* Runs a bound statement that gives no rows. */
int jb_sql_done(struct jb_qstore *store, sqlite3_stmt *s, struct jb_error *err);

#endif
