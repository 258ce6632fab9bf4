/*
 * netaddr.h - ranges of IPv4 addresses as text.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; pure.
 */
#ifndef JB_BASE_NETADDR_H
#define JB_BASE_NETADDR_H

#include <stdint.h>

struct jb_network_range {
    uint32_t address; /* in host byte order */
    unsigned length;  /* bits, 0 to 32 */
};

/* "192.168.0.0/16", strictly: four decimal numbers without leading zeros, no bit set behind the length. -EINVAL. */
int jb_network_parse(const char *text, struct jb_network_range *ret);

#endif
