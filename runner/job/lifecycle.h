/*
 * lifecycle.h - the life of a job after GO: phases, events, and what each event does in each phase.
 *
 * Owns: nothing; pure data. Runs in: the supervisor. Privilege: none.
 *
 * The table is the whole of it: what is not in it does not happen. An event without an entry changes nothing; a
 * request without one is refused.
 */
#ifndef JB_JOB_LIFECYCLE_H
#define JB_JOB_LIFECYCLE_H

enum jb_phase {
    JB_PHASE_STARTING, /* GO was said, the command is not known to run yet */
    JB_PHASE_RUNNING,
    JB_PHASE_PAUSED,    /* all its processes are frozen; its clocks stand still */
    JB_PHASE_GRACE,     /* it was asked to end */
    JB_PHASE_KILLED,    /* SIGKILL was sent to all of it */
    JB_PHASE_DESTROYED, /* killed from outside too, by cgroup and by its PID namespace */
    JB_PHASE_ENDED,
    JB_PHASE_MAX,
};

enum jb_cause {
    JB_CAUSE_STARTED,    /* the command runs */
    JB_CAUSE_LIMIT,      /* a limit that leaves the job its grace: wall time, CPU time, idle */
    JB_CAUSE_HARD_LIMIT, /* one that does not: memory, output */
    JB_CAUSE_CANCEL,     /* somebody wants it to end */
    JB_CAUSE_DEADLINE,   /* the time of the phase is up */
    JB_CAUSE_PAUSE,
    JB_CAUSE_RESUME,
    JB_CAUSE_SIGNAL, /* somebody sends the job a signal */
    JB_CAUSE_WARN,   /* a limit is near and the job wants to know */
    JB_CAUSE_UPDATE, /* somebody changes its limits */
    JB_CAUSE_INIT_ENDED,
    JB_CAUSE_INIT_GONE, /* jobbox-init died without a word */
    JB_CAUSE_MAX,
};

/* What is done on the way into the next phase. */
enum jb_act {
    JB_ACT_NONE, /* no entry */
    JB_ACT_NOTE, /* nothing but the log */
    JB_ACT_ASK,  /* thaws, sends the signal that asks to end */
    JB_ACT_KILL, /* thaws, SIGKILL by jobbox-init */
    JB_ACT_DESTROY,
    JB_ACT_FREEZE,
    JB_ACT_THAW,
    JB_ACT_SEND,   /* one signal */
    JB_ACT_CHANGE, /* the caller changes the limits itself */
    JB_ACT_FINISH,
};

struct jb_transition {
    enum jb_act act;
    enum jb_phase next;
};

/* act JB_ACT_NONE: no entry. */
struct jb_transition jb_lifecycle(enum jb_phase phase, enum jb_cause cause);

/* "running", "hard_limit": as the event log writes them. NULL beyond the last. */
const char *jb_phase_name(enum jb_phase phase);
const char *jb_cause_name(enum jb_cause cause);

#endif
