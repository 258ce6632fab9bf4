/*
 * loop.h - what the parts of the supervisor's loop share: supervise.c (waiting, messages, output), acts.c (steps of the
 * lifecycle), limits.c (deadlines and warnings), requests.c (what others ask for). Internal to job/.
 *
 * Owns: a struct jb_loop lives for one call of jb_supervise. Runs in: the supervisor. Privilege: none of its own.
 */
#ifndef JB_JOB_LOOP_H
#define JB_JOB_LOOP_H

#include <signal.h>
#include <sys/signalfd.h>

#include "job/control.h"
#include "job/lifecycle.h"
#include "job/supervise.h"

/* Looks that were taken are paid for, a second each, up to here; 0: none yet. */
struct jb_looks {
    uint64_t paid_until;
};

struct jb_loop {
    struct jb_supervise *s;
    struct jb_outcome *out;
    enum jb_phase phase;
    uint64_t phase_deadline; /* of GRACE, KILLED, DESTROYED */
    /* monotonic, JB_UNSET: none; all but the last two stand still while the job is paused */
    uint64_t started;
    uint64_t wall_deadline, wall_warn, idle_deadline, cpu_check;
    uint64_t oom_check, oom_pause; /* after an event: when to look again, and how long to wait then */
    uint64_t scratch_base;         /* bytes that are taken before the job begins; JB_UNSET: not looked yet */
    uint64_t scratch_check;        /* when to look at how full it is */
    bool scratch_bytes_full, scratch_files_full; /* when it was looked at last */
    bool cpu_warned;
    struct jb_looks looks, looks_before; /* with the next one paid for, and without */
    int oom_fd;
    short oom_events;
    /* when the last wait began: deadlines are judged by it, after all that the wait found, however late we came to run */
    uint64_t looked_at;
    uint64_t paused_at, paused_ns; /* JB_UNSET: not paused now; all earlier pauses */
    bool frozen;                   /* by the freezer, else the pause is SIGSTOP */
    struct {
        int number;
        bool main_only;
    } signal;                      /* that JB_CAUSE_SIGNAL and JB_CAUSE_WARN send */
    struct signalfd_siginfo asked; /* to go, when the job was dead already; ssi_signo 0: not */
    uint64_t settle_at;            /* when the job has lived for a moment; JB_UNSET: it has */
    struct jb_control control;
    struct jb_execs *execs; /* owned; NULL: nobody ever asked for a command */
    bool stood;             /* whoever waits for that was told */
    bool reason_set;
    bool flush; /* events are to be written at once */
    char limit[96], killed_by[64];
};

static inline uint64_t jb_loop_now(const struct jb_loop *l)
{
    return jb_mono_ns(l->s->clock);
}

/* By which deadlines go: it stands still in a pause, whose length is added to them when it ends. */
static inline uint64_t jb_loop_running(const struct jb_loop *l)
{
    return l->paused_at == JB_UNSET ? jb_loop_now(l) : l->paused_at;
}

static inline uint64_t jb_after(uint64_t start, uint64_t ns)
{
    return ns == JB_UNSET || start > JB_UNSET - ns ? JB_UNSET : start + ns;
}

/* Who caused something: a process that asked, or one that sent a signal. */
struct jb_asker {
    uid_t uid;
    pid_t pid;
    const char *how; /* "socket", "SIGTERM" */
};

/*
 * Carries out what the table says; `by` may be NULL, `at` JB_UNSET means now. The log has it first. -EBUSY: the table
 * has no entry, nothing was done.
 */
int jb_loop_handle(struct jb_loop *l, enum jb_cause cause, const struct jb_asker *by, uint64_t at);

/* The first cause of an end is the one that the record names. Texts may be NULL. */
void jb_loop_because(struct jb_loop *l, enum jb_end_reason reason, const char *limit, const char *killed_by);

/* ,"by":{...} for the log, or "". Returns buf. */
#define JB_ASKER_TEXT 128
const char *jb_asker_text(const struct jb_asker *by, char buf[JB_ASKER_TEXT]);

/*
 * For when the job is dead and its output on its way: of the signals only those mean anything then that ask us to go,
 * which `asked` has afterwards, and the one that wants us to stop. True: we were stopped, and go on.
 */
bool jb_loop_late_signal(struct jb_loop *l);

/* Output had to be cut off: that is the end of the job. */
void jb_loop_output_cut(struct jb_loop *l);

/* --- limits.c --- */

void jb_limits_start(struct jb_loop *l);                     /* the job is about to start */
void jb_limits_started(struct jb_loop *l, uint64_t mono_ns); /* wall time counts from here */
void jb_limits_output(struct jb_loop *l);                    /* there was some */
void jb_limits_shift(struct jb_loop *l, uint64_t ns);        /* it was paused for so long */
void jb_limits_changed(struct jb_loop *l);                   /* the plan has other limits now */
uint64_t jb_limits_next(const struct jb_loop *l);            /* when to look */
void jb_limits_check(struct jb_loop *l);
void jb_limits_oom_event(struct jb_loop *l);
bool jb_limits_scratch(struct jb_loop *l, bool last); /* looks at it; true: it is at its cap */
void jb_limits_oom_last(struct jb_loop *l);           /* the job is dead: was it that? */

/*
 * When to look again at a counter of CPU time that has `left_ns` to go on `cpus` CPUs: at the earliest moment it can get
 * there, but on the whole not more than once a second.
 */
uint64_t jb_limits_next_look(uint64_t now, uint64_t left_ns, unsigned cpus, struct jb_looks *looks);

/* --- requests.c --- */

/* Answers a peer. */
void jb_requests_serve(struct jb_loop *l, struct jb_peer *peer);
/* SIGTSTP: the job is paused, the supervisor stops, and both go on with SIGCONT. */
void jb_requests_stop(struct jb_loop *l, const struct jb_asker *by);

#endif
