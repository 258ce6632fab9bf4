/*
 * netaddr.c - reading ranges of IPv4 addresses.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; pure.
 */
#include "base/netaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/units.h"

int jb_network_parse(const char *text, struct jb_network_range *ret)
{
    char address[INET_ADDRSTRLEN];
    struct in_addr in;
    uint64_t length;
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : 0;
    if (len == 0 || len >= sizeof(address) || jb_parse_u64(slash + 1, 32, &length) < 0)
        return -EINVAL;
    memcpy(address, text, len);
    address[len] = '\0';
    if (inet_pton(AF_INET, address, &in) != 1)
        return -EINVAL;
    uint32_t value = ntohl(in.s_addr);
    uint64_t behind = (UINT64_C(1) << (32 - length)) - 1;
    if (value & behind)
        return -EINVAL;
    *ret = (struct jb_network_range){.address = value, .length = (unsigned)length};
    return 0;
}
