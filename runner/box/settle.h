/*
 * settle.h - inside of runner/box: from a process with the supervisor's privilege in the box to jobbox-init.
 *
 * Owns: nothing; all is borrowed. Runs in: the box's first process, and each that enters the box later.
 */
#ifndef JB_BOX_SETTLE_H
#define JB_BOX_SETTLE_H

#include "box/box.h"

struct jb_settle {
    const struct jb_plan *plan; /* identity, CPUs, argv, env, workdir */
    struct jb_box_io io;
    int control;         /* the box's end of the message socket */
    int init_fd;         /* jobbox-init */
    const char *options; /* for it: JB_INIT_LETTERS */
};

/* Never returns: becomes the job's identity and executes jobbox-init, or says JB_MSG_FAILED and exits. */
_Noreturn void jb_settle_run(const struct jb_settle *settle);

/* Says JB_MSG_FAILED and exits. */
_Noreturn void jb_settle_give_up(int control, const struct jb_error *err);

#endif
