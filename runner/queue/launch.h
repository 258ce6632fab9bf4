/*
 * launch.h - the nursery: a small process beside the daemon whose children are the supervisors.
 *
 * Owns: the nursery process and two sockets. Runs in: jobboxd; the nursery and its children are processes of their own.
 * Privilege: jobboxd's.
 *
 * The nursery is forked before the daemon has grown: it has the site, the libraries and nothing else, so that a
 * supervisor costs a fork of a few pages instead of an exec. Requests go to it one after the other over a stream;
 * whatever the daemon learns comes back as packets. When the daemon goes, the nursery carries out what it was told
 * already and ends; its supervisors go on.
 *
 * Each supervisor holds a lock (OFD) on the byte of queue.locks in the runtime directory that stands for its task, from
 * before it is forked until it is dead. The nursery holds one on queue.nursery. So a daemon that begins knows: once
 * nobody holds the latter nothing more will be started by those who were before, and a task whose byte is free has no
 * supervisor.
 */
#ifndef JB_QUEUE_LAUNCH_H
#define JB_QUEUE_LAUNCH_H

#include <jansson.h>
#include <sys/types.h>

#include "job/state.h"
#include "machine/machine.h"
#include "site/site.h"

#define JB_LOCKS_NAME   "queue.locks"
#define JB_NURSERY_NAME "queue.nursery"

struct jb_nursery {
    pid_t pid;
    int ask_fd;    /* stream: requests */
    int answer_fd; /* packets: answers, non-blocking */
};
#define JB_NURSERY_INIT ((struct jb_nursery){.pid = -1, .ask_fd = -1, .answer_fd = -1})

/* Moves this process into a delegated scope of its own, where systemd gives one; what is started from then on has its
 * boxes there. */
void jb_queue_take_place(const struct jb_site *site, const struct jb_submitter *self);

/* The machine as those boxes may have it; by a process that need not be there itself. */
int jb_queue_machine(const struct jb_site *site, const struct jb_state *state,
                     const struct jb_submitter *self, struct jb_machine *ret, struct jb_error *err);

/* Waits until the nursery of a daemon before this one has ended. -ETIMEDOUT after ten seconds. */
int jb_nursery_wait_old(int runtime_fd, struct jb_error *err);

/* `state`: opened; `self`: the daemon's own identity. Both are used by the children later on: they must stay. */
int jb_nursery_begin(const struct jb_site *site, const struct jb_state *state,
                     const struct jb_submitter *self, struct jb_nursery *ret, struct jb_error *err);
void jb_nursery_end(struct jb_nursery *nursery);

/*
 * Sends a request, one of:
 *   {"do": "start", "task", "id", "job", "attempt", "index", "spec", "file", "uid", "gid", "groups", "user", "home",
 *    "cwd", "env", "submitted_us", "eligible_us", "memory", "queue"}
 *   {"do": "signal", "task", "signal"}         to the supervisor, if it is one of ours and lives
 *   {"do": "control", "token", "uid", "id", "request"} asks a box for something; "uid": for whom, absent: itself
 *   {"do": "kept", "token", "id", "dir", "uid", "gid", "groups", "user", "home", "any"}  see kept.c
 *   {"do": "sweep"}                            finishes boxes whose supervisors died
 *   {"do": "notify", "argv", "input", "uid", "gid", "groups", "user", "home"}
 * -EPIPE: the nursery is dead.
 */
int jb_nursery_ask(const struct jb_nursery *nursery, const json_t *request, struct jb_error *err);

/*
 * The next answer, or NULL when there is none now; -EPIPE when the nursery is dead.
 *   {"task", "id", "end": {...}}           ended, with what jb_end_from_json reads; its record is in the journal
 *   {"task", "id", "failure", "errnum", "error"}  ended without a record: "busy", "spec", "box", "cancelled"
 *   {"task", "id", "died": wait status}    the supervisor was killed
 *   {"control": token, "answer": {...}} or {"control": token, "errnum", "error"}
 *   {"swept": true}
 */
int jb_nursery_hear(const struct jb_nursery *nursery, json_t **ret);

/* Whether a task has a supervisor: 1, 0, or -errno. */
int jb_supervisor_lives(int runtime_fd, uint64_t task);

/* --- inside (nursery.c, supervisor.c) --- */

struct jb_nursery_ctx {
    const struct jb_site *site;
    const struct jb_state *state;
    const struct jb_submitter *self;
    int ask_fd, answer_fd;
};
_Noreturn void jb_nursery_run(const struct jb_nursery_ctx *ctx);

/* In the child: carries out one start request to its end, and answers. */
void jb_supervisor_run(const struct jb_nursery_ctx *ctx, const json_t *request);
/* In a child too. */
void jb_nursery_control(const struct jb_nursery_ctx *ctx, const json_t *request);
void jb_nursery_kept(const struct jb_nursery_ctx *ctx, const json_t *request);
void jb_nursery_notify(const struct jb_nursery_ctx *ctx, const json_t *request);

/* Whom a request is about. The daemon vouches for it: it has it from the kernel. */
int jb_nursery_submitter(const struct jb_nursery_ctx *ctx, const json_t *request, struct jb_submitter *ret);

/* Sends a packet; one that is too long is cut down by the caller. Lost when nobody listens. */
void jb_nursery_answer(const struct jb_nursery_ctx *ctx, json_t *answer);

#endif
