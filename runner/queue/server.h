/*
 * server.h - who is connected to the daemon, and what each may do.
 *
 * Owns: the sockets and buffers of a struct jb_server. Runs in: jobboxd, one thread. Privilege: jobboxd's; what a peer
 * may do is decided by the kernel's word on who it is. The protocol: docs/protocol.md.
 */
#ifndef JB_QUEUE_SERVER_H
#define JB_QUEUE_SERVER_H

#include <jansson.h>

#include "base/str.h"
#include "queue/queue.h"

#define JB_PROTOCOL        1
#define JB_REQUEST_MAX     (4U << 20)  /* bytes of a request with its newline */
#define JB_OUTPUT_MAX      (16U << 20) /* that wait for a peer to read; a stream pauses long before */
#define JB_STREAM_PAUSE    (256U << 10)
#define JB_TURN_US         50000 /* of a turn for the requests of one user: the others come in between */
#define JB_HELD_MAX        (256U << 20) /* of memory for what waits on the connections of one user but root */
#define JB_CONNECTIONS     8192
#define JB_CONNECTIONS_UID 1024 /* of one user but root */
#define JB_PARTIAL_S       10   /* a request has to be whole within this time */
#define JB_SILENT_S        300  /* a peer that neither asks nor waits for anything */
#define JB_STUCK_S         30   /* a peer that does not read what it asked for */

/* A user who is connected, or was. */
struct jb_name {
    uid_t uid;
    char *user, *home;
    uint64_t busy_us; /* for how long this turn has worked on his requests */
    size_t held; /* bytes of the buffers of his connections, as of the turn's beginning and what came since */
};

struct jb_conn {
    int fd;
    size_t at; /* in the server's list */
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
    struct jb_name *name; /* of the server's cache, as ... */
    const char *user;     /* ... these */
    const char *home;
    struct jb_buf in, out;
    size_t sent;        /* of out */
    size_t settled;     /* of out: what was committed before it was written */
    uint64_t active_us; /* when something went in or out last; by the monotonic clock, as ... */
    uint64_t began_us;  /* ... the beginning of a request that is not whole yet; 0: none */
    bool writable_wanted, closing;
    bool backlog; /* whole requests of it are still to be carried out, in turns to come */
    bool json;    /* it has sent a line that is not HTTP: from then on every line is a request in JSON */
    uint32_t events;
    struct jb_map waits; /* tasks whose end it waits for */
    int64_t exit_code;   /* of those that have ended: the first that is not 0 */
    struct {             /* logs that are being sent */
        bool on, follow;
        uint64_t task;
        uint32_t attempt, last; /* the one that is sent; the last one there is */
        int fd[2];
        off_t offset[2];
        bool ended;
    } logs;
    int64_t token;      /* of a question to a box; 0: none */
    uint64_t listed_us; /* when it was told what is kept, which costs a look at the disk */
};

struct jb_server {
    struct jb_queue *q;
    int epoll_fd, listen_fd;
    bool own; /* a user's own daemon: nobody else may ask */
    struct jb_conn **conns;
    size_t n, cap;
    struct jb_name **names;
    size_t n_names;
    bool backlog;      /* of any connection */
    size_t backlog_at; /* with whose the next turn begins */
    int64_t tokens;
    uint64_t refused, requests;
    uint64_t now_us;     /* of this turn, by the wall clock */
    uint64_t mono_us;    /* by the one that nobody sets: patience with peers */
    uint64_t machine_us; /* by that too: when the machine is looked at again */
};

/* `wake_fd`: ends a turn when it is readable; the caller reads it. */
int jb_server_begin(struct jb_server *s, struct jb_queue *q, int listen_fd, int wake_fd, bool own,
                    struct jb_error *err);
void jb_server_end(struct jb_server *s);
/* The daemon cannot go on: whoever asked for something in this turn is told why, for nothing of it was done. */
void jb_server_give_up(struct jb_server *s, const struct jb_error *why);

/* One turn: waits at most `timeout_ms`, and carries out what there is. -errno only when the daemon cannot go on. */
int jb_server_turn(struct jb_server *s, int timeout_ms, struct jb_error *err);
/* How long a turn may sleep, in milliseconds. */
int jb_server_patience(const struct jb_server *s);

/* --- inside --- */

/* Appends a line to what the peer is sent once this turn is committed; owns `line`. */
void jb_conn_send(struct jb_conn *c, json_t *line);
void jb_conn_fail(struct jb_conn *c, int errnum, const char *fmt, ...) JB_PRINTF(3, 4);
/* requests.c: one request line. */
void jb_request(struct jb_server *s, struct jb_conn *c, const char *line, size_t len);
/* stream.c: the next piece of logs, as long as the peer reads. */
void jb_logs_more(struct jb_server *s, struct jb_conn *c);
struct jb_logs_wish {
    uint64_t task;
    uint32_t attempt;
    int64_t from[2]; /* bytes of standard output and error that are not sent; -1: by `tail` */
    int64_t tail;    /* the last lines; -1: all */
    bool follow;
};
int jb_logs_begin(struct jb_server *s, struct jb_conn *c, const struct jb_logs_wish *wish,
                  struct jb_error *err);
void jb_logs_end(struct jb_conn *c);

bool jb_conn_is_admin(const struct jb_server *s, const struct jb_conn *c);
bool jb_conn_is_operator(const struct jb_server *s, const struct jb_conn *c);
/* May know of a job of `uid`; may do something to it, or read what it wrote. */
bool jb_conn_may_see(const struct jb_server *s, const struct jb_conn *c, uid_t uid);
bool jb_conn_may_act(const struct jb_server *s, const struct jb_conn *c, uid_t uid);

/* metrics.c: for Prometheus. Caller frees. */
char *jb_metrics_text(struct jb_server *s);
int jb_metrics_write(struct jb_server *s, struct jb_error *err);

#endif
