/*
 * control.h - the control socket of a box: how others ask its supervisor for something.
 *
 * Owns: a struct jb_control holds the listening socket and its peers. Runs in: the supervisor; jb_control_ask in any
 * client. Privilege: that of the box's folder; who may ask is decided by the kernel's word on the peer.
 *
 * boxes/ID/control is a SOCK_SEQPACKET socket, made after GO, gone with the folder. One request a connection: a packet
 * of JSON, and one back.
 *
 *   {"verb": "status"}                               {"ok": true, "phase": "running", "pid": 71, "wall_s": 3.2, "usage": {"cpu_us": n, ...}, ...}
 *   {"verb": "pause" | "resume" | "cancel"}          {"ok": true}
 *   {"verb": "cancel", "once": true}                 {"ok": true}; only the first takes effect: a job in its grace keeps it
 *   {"verb": "signal", "signal": 10, "main": true}   {"ok": true}
 *   {"verb": "update", "memory_bytes": n, "cpus": n, "pids": n, "wall_time_ns": n, "cpu_time_ns": n}
 *                                                    {"ok": true, "changes": {"memory_bytes": {"old": n, "new": n}}}
 *   {"verb": "exec"} with descriptors                see execs.h: the connection stays
 *   {"verb": "destroy", "exit_code": n}              {"ok": true}, and when there is a record, a packet with it as a file
 *   anything that cannot be                          {"error": "..."}
 *
 * The supervisor carries it out in its own loop, so that a box has one owner.
 */
#ifndef JB_JOB_CONTROL_H
#define JB_JOB_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id.h"

#define JB_CONTROL_NAME   "control"
#define JB_CONTROL_PEERS  8    /* at once; one more drops the oldest */
#define JB_CONTROL_PACKET 8192 /* bytes of a request or an answer */

struct jb_peer {
    int fd;
    uid_t uid;
    pid_t pid; /* 0: in a PID namespace that we cannot see into */
};

struct jb_control {
    int listen_fd; /* -1: nobody can ask */
    struct jb_peer peers[JB_CONTROL_PEERS];
    size_t n;
};
#define JB_CONTROL_INIT ((struct jb_control){.listen_fd = -1})

/* `owner`: whose job it is. He reaches the socket of a box that root's queue started for him by the box's id, and sees
 * nothing else there. */
int jb_control_open(int box_fd, uid_t owner, struct jb_control *ret, struct jb_error *err);
void jb_control_close(struct jb_control *control);

/* Takes a new peer. One that is neither root, nor `owner`, nor this process's own user is told so and let go. */
void jb_control_accept(struct jb_control *control, uid_t owner);
/* Forgets peer `i`, whose descriptor is closed. */
void jb_control_drop(struct jb_control *control, size_t i);

enum jb_verb {
    JB_VERB_STATUS,
    JB_VERB_PAUSE,
    JB_VERB_RESUME,
    JB_VERB_CANCEL,
    JB_VERB_SIGNAL,
    JB_VERB_UPDATE,
    JB_VERB_EXEC,
    JB_VERB_DESTROY,
    JB_VERB_MAX,
};
const char *jb_verb_name(enum jb_verb verb);

/* What is to be changed; JB_UNSET: as it is. */
struct jb_wish {
    uint64_t memory, cpus, pids, wall_ns, cpu_ns;
};

struct jb_ask {
    enum jb_verb verb;
    int signal; /* 1 to 64 */
    bool main_only;
    bool once;     /* do nothing when it is being ended already */
    int exit_code; /* that the box's record is to have: 0 to 255 */
    struct jb_wish wish;
};

/* Reads a request; -EINVAL says what is wrong with it. Unknown members are an error. */
int jb_ask_parse(const char *text, size_t len, struct jb_ask *ret, struct jb_error *err);

/* Sends an answer, if the peer can take it at once. */
void jb_control_answer(const struct jb_peer *peer, const json_t *answer);

/*
 * A connection to the supervisor of a box; where many come at once, when there is room in line. -ENOENT: no such box, or
 * it has no socket (yet); -ETIMEDOUT: it takes nobody in.
 */
int jb_control_connect(int boxes_fd, const struct jb_id *id, int *ret_fd, struct jb_error *err);

/*
 * Asks the supervisor of a box; *ret_answer is the caller's. `timeout_ms`: for it to take us in, and again to answer.
 * -ENOENT: no such box, or it has no socket (yet); -ETIMEDOUT: it did not in time: it is stopped, or busy; -EREMOTEIO: it
 * answered that it cannot, and `err` is its text.
 */
int jb_control_ask(int boxes_fd, const struct jb_id *id, const json_t *request, unsigned timeout_ms,
                   json_t **ret_answer, struct jb_error *err);

#endif
