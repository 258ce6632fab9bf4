/*
 * pick.h - inside of runner/queue: which jobs a request means, and the words that requests and replies share.
 *
 * Owns: the list of a struct jb_picked, the caller's to free. Runs in: jobboxd. Privilege: jobboxd's; who may do what is
 * asked of jb_conn_may_see and jb_conn_may_act.
 */
#ifndef JB_QUEUE_PICK_H
#define JB_QUEUE_PICK_H

#include "queue/server.h"

/* Tasks that have not ended, and for jobs of which all have: their numbers. */
struct jb_picked {
    struct jb_qtask **tasks;
    size_t n, cap;
    uint64_t num, task; /* what one text named, JB_UNSET: not one job, not one task */
};

/* What was asked for by an id that has ended. */
struct jb_ended_pick {
    const char *id; /* of the request */
    uint64_t num, task;
};

/* What a request with ids, names, users names. Zeroed before; freed by jb_picks_free. */
struct jb_picks {
    struct jb_picked all; /* each task once */
    uint32_t *from; /* for each of them which id of the request it is by; JB_PICK_GROUP: by name, user, all */
    struct jb_ended_pick *ended; /* only when wanted: else they are failures */
    size_t n_ended;
    bool want_ended;
    struct jb_error failed; /* the first id, or name, that means nothing or that the peer may not act on */
};
#define JB_PICK_GROUP UINT32_MAX

/* What one id names, in p->num and p->task. One that the peer may not know of is the same as none. */
int jb_pick_named(struct jb_server *s, const struct jb_conn *c, const char *id, struct jb_picked *p,
                  struct jb_error *err);
/* And what is left of it in the queue, in p->tasks: of an array that may be many. -ENOMEM. */
int jb_pick_left(struct jb_server *s, struct jb_picked *p);
/* Both. */
int jb_pick_id(struct jb_server *s, const struct jb_conn *c, const char *id, struct jb_picked *p,
               struct jb_error *err);

/*
 * By `ids`, `names`, `users`, `all`: what is left of them in the queue, and only what the peer may act on. One id that
 * means nothing keeps nobody from acting on the others: it is noted in ret->failed.
 */
int jb_pick_all(struct jb_server *s, const struct jb_conn *c, const json_t *request, struct jb_picks *ret,
                struct jb_error *err);
void jb_picks_free(struct jb_picks *picks);

/* A member of a request; NULL or false when it is not there, or is something else. */
const char *jb_request_text(const json_t *request, const char *key);
bool jb_request_flag(const json_t *request, const char *key);

/* The beginning of every reply that is not a refusal. */
json_t *jb_reply_ok(void);

/*
 * look.c: of what was picked, the rows of its first `limit` tasks as they are stored or, for those left, as they are. The
 * caller's.
 */
int jb_look_rows(struct jb_server *s, const struct jb_picked *p, size_t limit, json_t **ret,
                 struct jb_error *err);

/* look.c: requests that change nothing. */
typedef int jb_request_fn(struct jb_server *s, struct jb_conn *c, const json_t *request,
                          struct jb_error *err);
jb_request_fn jb_look_list;
jb_request_fn jb_look_show;
jb_request_fn jb_look_logs;
jb_request_fn jb_look_wait;
jb_request_fn jb_look_stats;
jb_request_fn jb_look_explain;
jb_request_fn jb_look_metrics;

/* kept.c: what was kept of jobs that ended. */
jb_request_fn jb_kept_requested_list;
jb_request_fn jb_kept_requested_discard;
jb_request_fn jb_kept_requested_take;

#endif
