/*
 * netaddr.h - ranges of IPv4 and IPv6 addresses as text.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; pure.
 */
#ifndef JB_BASE_NETADDR_H
#define JB_BASE_NETADDR_H

#include <stdbool.h>
#include <stdint.h>

#define JB_NETWORK_TEXT 52

struct jb_network_range {
    bool six;             /* IPv6, in address6 */
    uint32_t address;     /* IPv4, in host byte order */
    uint8_t address6[16]; /* in network byte order */
    unsigned length;      /* bits, 0 to 32, or to 128 */
};

/*
 * "192.168.0.0/16", strictly: four decimal numbers without leading zeros; or "2001:db8::/32"; no bit set behind the length.
 * -EINVAL.
 */
int jb_network_parse(const char *text, struct jb_network_range *ret);

/* The same as text, in the shortest form. */
const char *jb_network_text(const struct jb_network_range *range, char buf[JB_NETWORK_TEXT]);

#endif
