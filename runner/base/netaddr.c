/*
 * netaddr.c - reading and writing ranges of IPv4 and IPv6 addresses.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; pure.
 */
#include "base/netaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

static int parse_six(const char *address, uint64_t length, struct jb_network_range *ret)
{
    struct in6_addr in;
    if (inet_pton(AF_INET6, address, &in) != 1)
        return -EINVAL;
    for (uint64_t bit = length; bit < 128; bit++)
        if (in.s6_addr[bit / 8] & 0x80 >> bit % 8)
            return -EINVAL;
    *ret = (struct jb_network_range){.six = true, .length = (unsigned)length};
    memcpy(ret->address6, &in, sizeof(in));
    return 0;
}

int jb_network_parse(const char *text, struct jb_network_range *ret)
{
    char address[INET6_ADDRSTRLEN];
    struct in_addr in;
    uint64_t length;
    bool six = strchr(text, ':') != NULL;
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : 0;
    if (len == 0 || len >= sizeof(address) || jb_parse_u64(slash + 1, six ? 128 : 32, &length) < 0)
        return -EINVAL;
    memcpy(address, text, len);
    address[len] = '\0';
    if (six)
        return parse_six(address, length, ret);
    if (inet_pton(AF_INET, address, &in) != 1)
        return -EINVAL;
    uint32_t value = ntohl(in.s_addr);
    uint64_t behind = (UINT64_C(1) << (32 - length)) - 1;
    if (value & behind)
        return -EINVAL;
    *ret = (struct jb_network_range){.address = value, .length = (unsigned)length};
    return 0;
}

const char *jb_network_text(const struct jb_network_range *range, char buf[JB_NETWORK_TEXT])
{
    char address[INET6_ADDRSTRLEN] = "";
    struct in_addr four = {.s_addr = htonl(range->address)};
    (void)inet_ntop(range->six ? AF_INET6 : AF_INET,
                    range->six ? (const void *)range->address6 : (const void *)&four, address,
                    sizeof(address));
    (void)snprintf(buf, JB_NETWORK_TEXT, "%s/%u", address, range->length);
    return buf;
}
