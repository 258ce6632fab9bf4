/*
 * execs.h - commands that are executed in a box beside its own, or in one that has none of its own.
 *
 * Owns: a struct jb_execs holds the commands that run, their groups and descriptors. Runs in: the supervisor, in its loop.
 * Privilege: as the box's. Internal to job/.
 *
 * A client sends {"verb": "exec"} over the control socket, and with it the request (exec_ask.h) and its own standard
 * input, output and error. The connection stays: the supervisor says {"ok": true, "exec": n} when the command runs, and
 * at the end what the record says of it; the client may say {"signal": n} or {"rows": n, "cols": n}. A client that is gone
 * ends its command.
 *
 * What the client gave is never handed into the box: the command has pipes or a terminal of the box, and the supervisor
 * carries between them, counted and capped like the output of a job.
 */
#ifndef JB_JOB_EXECS_H
#define JB_JOB_EXECS_H

#include <jansson.h>
#include <poll.h>

#include "cgroup/child.h"
#include "job/exec/exec_ask.h"
#include "job/loop.h"
#include "job/pump.h"

#define JB_EXECS_MAX      32   /* at once, in one box */
#define JB_EXECS_RECORDED 1000 /* in one record; what comes after is counted */
#define JB_EXEC_FDS       4    /* that come with a request: itself, stdin, stdout, stderr */

/* What a command's poll entries are for. */
enum {
    JB_EXEC_P_MEMBER,
    JB_EXEC_P_PEER,
    JB_EXEC_P_PIDFD,
    JB_EXEC_P_LEFT,
    JB_EXEC_P_IN_FROM,
    JB_EXEC_P_IN_TO,
    JB_EXEC_P_OUT_FROM,
    JB_EXEC_P_OUT_TO,
    JB_EXEC_P_ERR_FROM,
    JB_EXEC_P_ERR_TO,
    JB_EXEC_P_MAX,
};

enum jb_exec_phase {
    JB_EXEC_ENTERING, /* a process is on its way into the box */
    JB_EXEC_RUNNING,
    JB_EXEC_CLEARING, /* the command has ended; what it started is being ended */
    JB_EXEC_DRAINING, /* all dead; what it wrote is on its way */
    JB_EXEC_OVER,
};

/* Streams of one command; exec_io.c. */
struct jb_exec_io {
    struct jb_box_io job; /* the command's ends, until it has them; owned */
    struct jb_pump in, out, err;
    int in_to, out_to, err_to; /* owned; in_to: the pipe's or terminal's writing end */
};
#define JB_EXEC_IO_INIT                       \
    ((struct jb_exec_io){.job = {-1, -1, -1}, \
                         .in = JB_PUMP_INIT,  \
                         .out = JB_PUMP_INIT, \
                         .err = JB_PUMP_INIT, \
                         .in_to = -1,         \
                         .out_to = -1,        \
                         .err_to = -1})

struct jb_exec {
    unsigned seq; /* from 1, in its box */
    enum jb_exec_phase phase;
    struct jb_box box;   /* its member; pid is known with ENTERED */
    pid_t helper;        /* 0: reaped */
    struct jb_plan plan; /* the box's, but for what is this command's own; freed field by field */
    struct jb_exec_ask ask;
    struct jb_cg_child group;
    struct jb_cg_usage before; /* the group's, before the command */
    struct jb_exec_io io;
    int peer; /* -1: the client is gone */
    struct jb_asker by;
    bool entered, ready, clean, left; /* left: something of it could not be killed */
    /* monotonic; JB_UNSET: none */
    uint64_t deadline;    /* its own timeout, then the grace, then when it is killed from outside */
    uint64_t look, pause; /* while clearing */
    struct pollfd
        rest; /* while clearing: ready when something of what is left is gone; fd -1: nothing tells */
    uint64_t clear_until, drain_until;
    uint64_t carried; /* bytes, when it was last looked at while draining */
    bool truncated;   /* not all of its output came out */
    uint64_t early;   /* signals that came before the command was there, by their bits */
    unsigned step;    /* 0: not asked to end, 1: asked, 2: killed, 3: from outside too */
    uint64_t started_ns, wall_ns, started_us, ended_us;
    int exit_code, signal; /* -1, 0: none */
    enum jb_end_reason reason;
    bool reason_set;
    char error[JB_MSG_TEXT];
    bool has_rusage;
    struct jb_msg rusage;
    uint64_t max_rss; /* bytes; JB_UNSET: not known */
    uint64_t out_bytes, err_bytes;
    struct jb_cg_usage used;
};

struct jb_execs {
    struct jb_exec *items[JB_EXECS_MAX];
    size_t n;
    unsigned seq;
    unsigned unlisted; /* ended, and not in the list */
    json_t *ended;     /* entries of the record, owned */
    struct jb_msg sum; /* of what all of them used */
    uint64_t out_bytes, err_bytes;
    bool truncated;
};

/* --- exec_begin.c --- */

/*
 * A peer asks for a command; takes over `fds` in any case, and the peer's descriptor on success (it is -1 then). Returns
 * the answer for one that cannot be had, else NULL.
 */
json_t *jb_execs_begin(struct jb_loop *l, struct jb_peer *peer, int fds[JB_MSG_FDS], size_t n);
/* Its helper is ended and waited for. */
void jb_exec_free(struct jb_exec *e);
extern const struct jb_cg_usage jb_exec_unknown_cpu; /* nothing counts CPU time here */

/* --- execs.c --- */

/* JB_EXEC_P_MAX entries for each command that runs. Returns how many there are. */
size_t jb_execs_poll(const struct jb_loop *l, struct pollfd *ret);
void jb_execs_turn(struct jb_loop *l, const struct pollfd *fds);
uint64_t jb_execs_next(const struct jb_loop *l);
void jb_execs_shift(struct jb_loop *l, uint64_t ns); /* the box was paused for so long */

/* The box has ended: all of them are brought to their end, and told why. */
void jb_execs_finish(struct jb_loop *l, enum jb_end_reason why);

/* --- exec_io.c --- */

/*
 * Opens the pipes between `theirs` (stdin, stdout, stderr of the client; taken over) and the command. `as`: the plan whose
 * submitter may open what theirs are of; NULL: we may. `pipes_only`: theirs are somebody else's, who may not hold us up;
 * -ENOTSUP: they are no pipes, or cannot be opened once more.
 */
int jb_exec_io_open(const int theirs[3], const struct jb_plan *as, bool pipes_only, bool tty,
                    struct jb_exec_io *ret, struct jb_error *err);
/* The command has a terminal: carries between it (taken over) and the client. */
int jb_exec_io_terminal(struct jb_exec_io *io, int master_fd);
void jb_exec_io_handed_over(struct jb_exec_io *io);
void jb_exec_io_poll(const struct jb_exec_io *io, struct pollfd *ret);
/* Carries what can be carried. Returns 1 when output had to be cut off. */
int jb_exec_io_move(struct jb_exec_io *io, const struct pollfd *fds, uint64_t *budget);
/* Nothing is left to be carried to the client; `kept`: others may still hold the writing ends. */
bool jb_exec_io_drained(const struct jb_exec_io *io, bool kept);
void jb_exec_io_close(struct jb_exec_io *io);

/* --- exec_note.c --- */

/* What the record says of it; the caller's. NULL: out of memory. */
json_t *jb_exec_entry(const struct jb_exec *e);
/* At its start and at its end: the event, and the line in box.jsonl for a recovery. */
void jb_exec_note_start(struct jb_loop *l, const struct jb_exec *e);
void jb_exec_note_end(struct jb_loop *l, struct jb_exec *e);

#endif
