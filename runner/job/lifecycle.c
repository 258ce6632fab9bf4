/*
 * lifecycle.c - the table of phases and events.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none.
 */
#include "job/lifecycle.h"

#include <stddef.h>

#define TO(s, p)                 \
    {                            \
        JB_ACT_##s, JB_PHASE_##p \
    }
#define ON(c, s, p) [JB_CAUSE_##c] = TO(s, p)
/* Whatever the phase: without init there is nothing left to wait for. */
#define AT_END ON(INIT_ENDED, FINISH, ENDED), ON(INIT_GONE, FINISH, ENDED)

static const struct jb_transition table[JB_PHASE_MAX][JB_CAUSE_MAX] = {
    [JB_PHASE_STARTING] = {ON(STARTED, NOTE, RUNNING), ON(LIMIT, ASK, GRACE), ON(HARD_LIMIT, KILL, KILLED),
                           ON(CANCEL, ASK, GRACE), ON(PAUSE, FREEZE, PAUSED), ON(SIGNAL, SEND, STARTING),
                           ON(WARN, SEND, STARTING), ON(UPDATE, CHANGE, STARTING), AT_END},
    [JB_PHASE_RUNNING] = {ON(LIMIT, ASK, GRACE), ON(HARD_LIMIT, KILL, KILLED), ON(CANCEL, ASK, GRACE),
                          ON(PAUSE, FREEZE, PAUSED), ON(SIGNAL, SEND, RUNNING), ON(WARN, SEND, RUNNING),
                          ON(UPDATE, CHANGE, RUNNING), AT_END},
    /* it may have been frozen before it could say that it runs */
    [JB_PHASE_PAUSED] = {ON(STARTED, NOTE, PAUSED), ON(LIMIT, ASK, GRACE), ON(HARD_LIMIT, KILL, KILLED),
                         ON(CANCEL, ASK, GRACE), ON(RESUME, THAW, RUNNING), ON(SIGNAL, SEND, PAUSED),
                         ON(WARN, SEND, PAUSED), ON(UPDATE, CHANGE, PAUSED), AT_END},
    [JB_PHASE_GRACE] = {ON(HARD_LIMIT, KILL, KILLED), ON(CANCEL, KILL, KILLED), ON(DEADLINE, KILL, KILLED),
                        ON(SIGNAL, SEND, GRACE), AT_END},
    [JB_PHASE_KILLED] = {ON(DEADLINE, DESTROY, DESTROYED), AT_END},
    [JB_PHASE_DESTROYED] = {ON(DEADLINE, FINISH, ENDED), AT_END},
};

struct jb_transition jb_lifecycle(enum jb_phase phase, enum jb_cause cause)
{
    if ((unsigned)phase >= JB_PHASE_MAX || (unsigned)cause >= JB_CAUSE_MAX)
        return (struct jb_transition){JB_ACT_NONE, phase};
    return table[phase][cause];
}

const char *jb_phase_name(enum jb_phase phase)
{
    static const char *const names[JB_PHASE_MAX] = {
        [JB_PHASE_STARTING] = "starting", [JB_PHASE_RUNNING] = "running", [JB_PHASE_PAUSED] = "paused",
        [JB_PHASE_GRACE] = "grace",       [JB_PHASE_KILLED] = "killed",   [JB_PHASE_DESTROYED] = "destroyed",
        [JB_PHASE_ENDED] = "ended",
    };
    return (unsigned)phase < JB_PHASE_MAX ? names[phase] : NULL;
}

const char *jb_cause_name(enum jb_cause cause)
{
    static const char *const names[JB_CAUSE_MAX] = {
        [JB_CAUSE_STARTED] = "started",
        [JB_CAUSE_LIMIT] = "limit",
        [JB_CAUSE_HARD_LIMIT] = "hard_limit",
        [JB_CAUSE_CANCEL] = "cancel",
        [JB_CAUSE_DEADLINE] = "deadline",
        [JB_CAUSE_PAUSE] = "pause",
        [JB_CAUSE_RESUME] = "resume",
        [JB_CAUSE_SIGNAL] = "signal",
        [JB_CAUSE_WARN] = "warn",
        [JB_CAUSE_UPDATE] = "update",
        [JB_CAUSE_INIT_ENDED] = "init_ended",
        [JB_CAUSE_INIT_GONE] = "init_gone",
    };
    return (unsigned)cause < JB_CAUSE_MAX ? names[cause] : NULL;
}
