/*
 * enter.h - one more process in a box that stands: the member, jobbox-init as the reaper of one command.
 *
 * Owns: nothing beyond the struct jb_box of the member, which is the caller's. Runs in: the supervisor; what enters runs
 * in two processes of its own. Privilege: as the box's.
 */
#ifndef JB_BOX_ENTER_H
#define JB_BOX_ENTER_H

#include "box/box.h"

/* All borrowed. */
struct jb_enter_parts {
    const struct jb_box *box; /* that stands */
    const struct jb_plan
        *plan;           /* the box's, but for argv, env, workdir, tty and identity where they differ */
    const int *join_fds; /* groups to join by writing "0" */
    size_t n_join;
    int cgroup_fd; /* v2 group to be born in; -1: none */
    int lock_fd;   /* as in struct jb_box_parts */
    bool keep;     /* what the command leaves behind is left */
    struct jb_box_io io;
};

/*
 * Starts to enter; nothing of it waits. The member says READY, as a box does, and the helper ENTERED, in any order; with
 * both the member can be looked at as a box is (jb_box_isolation), and told GO. FAILED: it could not. The helper is a
 * child to be waited for; it leaves after ENTERED or FAILED.
 */
int jb_box_enter(const struct jb_enter_parts *parts, struct jb_box *ret, pid_t *ret_helper,
                 struct jb_error *err);

#endif
