/*
 * tap.h - pasta's interface in the box, through which frames go to its hardware address alone.
 *
 * Owns: nothing; the interface is gone with the network. Runs in: the box's first process. Privilege: CAP_NET_ADMIN in the
 * user namespace that the network belongs to, and to open /dev/net/tun.
 *
 * Routes do not hold a job that names the interface itself (SO_BINDTODEVICE, IP_PKTINFO): the kernel takes every address of
 * IPv4 for a neighbour then, as those of the link are in IPv6, and pasta says of every address that it is there, and goes
 * to it. So nobody is asked here where a neighbour is: all routes lead over hops that are known, and a frame to anybody
 * else is dropped. slirp4netns answers for its own services only.
 */
#ifndef JB_BOX_TAP_H
#define JB_BOX_TAP_H

#include "plan/plan.h"

#define JB_TAP_HOP  "192.0.0.8" /* the dummy address of RFC 7600: no host has it */
#define JB_TAP_HOP6 "fe80::6a6f:6262:6f78:1"

/* Makes it, for pasta to take over. Before pasta is told of the network. */
int jb_tap_make(const struct jb_plan *plan, struct jb_error *err);

/* Says where the hops are. When the interface is up. */
int jb_tap_hops(const struct jb_plan *plan, struct jb_error *err);

#endif
