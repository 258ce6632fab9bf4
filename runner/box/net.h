/*
 * net.h - the box's own network: loopback, and the way out where the plan has one.
 *
 * Owns: nothing. Runs in: the box's first process, but for jb_net_counters. Privilege: CAP_NET_ADMIN in the user namespace
 * that the network belongs to.
 */
#ifndef JB_BOX_NET_H
#define JB_BOX_NET_H

#include <stdint.h>
#include <sys/types.h>

#include "plan/plan.h"

/* Brings `lo` up, in a network namespace of the box's own. */
int jb_net_loopback(const struct jb_plan *plan, struct jb_error *err);

/*
 * Where the plan has a helper, and it has made its interface: gives that its address, brings it up, and makes a route for
 * each range of addresses that is allowed. There is no other route, and the job may make none.
 */
int jb_net_configure(const struct jb_plan *plan, struct jb_error *err);

/* Bytes over the way out of the network that `pid` is on, as the kernel has counted them. -ENODEV: it has none. */
int jb_net_counters(pid_t pid, uint64_t *ret_received, uint64_t *ret_sent);

#endif
