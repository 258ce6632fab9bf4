/*
 * nethelper.h - the program that carries a box's packets out of its network, as ordinary connections of the host.
 *
 * Owns: a struct jb_nethelper holds the child and the pipe that it lives by. Runs in: the supervisor. Privilege: the
 * supervisor's; the program gives up what it has of it when it has been in the box's network.
 *
 * It ends when the pipe's end here is closed: also when it is the kernel that closes it, because the supervisor died. So
 * there is nothing of it for a recovery to look for.
 */
#ifndef JB_JOB_NETHELPER_H
#define JB_JOB_NETHELPER_H

#include "box/box.h"
#include "plan/plan.h"

struct jb_nethelper {
    pid_t pid;   /* 0: none */
    int life_fd; /* closed: it ends; -1: none */
};
#define JB_NETHELPER_INIT ((struct jb_nethelper){.life_fd = -1})

/* Starts it in the network of a box that has been launched; returns when its interface is there. */
int jb_nethelper_start(const struct jb_plan *plan, struct jb_box *box, struct jb_nethelper *ret,
                       struct jb_error *err);

/* Ends it and waits for it. Nothing where there is none. */
void jb_nethelper_end(struct jb_nethelper *helper);

#endif
