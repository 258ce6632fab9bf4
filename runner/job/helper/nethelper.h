/*
 * nethelper.h - the program that carries a box's packets out of its network, as ordinary connections of the host.
 *
 * Owns: see helper.h. Runs in: the supervisor. Privilege: the supervisor's; the program gives up what it has of it when it
 * has been in the box's network.
 */
#ifndef JB_JOB_NETHELPER_H
#define JB_JOB_NETHELPER_H

#include "box/box.h"
#include "job/helper/helper.h"
#include "plan/plan.h"

/* Starts it in the network of a box that has been launched; returns when its interface is there. */
int jb_nethelper_start(const struct jb_plan *plan, struct jb_box *box, struct jb_helper *ret,
                       struct jb_error *err);

/* Ends it and waits for it. Nothing where there is none. */
void jb_nethelper_end(struct jb_helper *helper);

#endif
