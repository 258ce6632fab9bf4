/*
 * tap.c - a tap interface and its filter, and permanent neighbours.
 *
 * Owns: nothing. Runs in: see tap.h. Privilege: see tap.h.
 */
#include "box/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define TUN "/dev/net/tun"

#define MAC_LEN 6

static const uint8_t pasta[MAC_LEN] = {0x9a, 0x55, 0x9a, 0x55, 0x9a, 0x55}; /* as it calls itself */

int jb_tap_make(const struct jb_plan *plan, struct jb_error *err)
{
    struct ifreq request = {.ifr_name = JB_NET_DEVICE, .ifr_flags = IFF_TAP | IFF_NO_PI};
    union {
        struct tun_filter head; /* the addresses follow it */
        uint8_t bytes[sizeof(struct tun_filter) + MAC_LEN];
    } filter = {.head.count = 1};
    if (plan->network != JB_NETWORK_USER || plan->net.program != JB_NET_PASTA)
        return 0;
    memcpy(filter.bytes + sizeof(filter.head), pasta, MAC_LEN);
    jb_autoclose int fd = open(TUN, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETTXFILTER, &filter) < 0 ||
        ioctl(fd, TUNSETPERSIST, 1) < 0) /* until pasta has it, and after it */
        return jb_fail_errno(err, errno, "making " JB_NET_DEVICE " in the box with " TUN);
    return 0;
}

/* A message of the kernel's to say that somebody is where, for ever, and what it answers. */
struct neighbour {
    struct nlmsghdr head;
    struct ndmsg what;
    uint8_t attributes[RTA_SPACE(sizeof(struct in6_addr)) + RTA_SPACE(MAC_LEN)];
};

static void add_attribute(struct neighbour *n, unsigned short type, const void *data, size_t len)
{
    struct rtattr attribute = {.rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(len)};
    uint8_t *at = (uint8_t *)n + n->head.nlmsg_len;
    memcpy(at, &attribute, sizeof(attribute));
    memcpy(at + RTA_LENGTH(0), data, len);
    n->head.nlmsg_len += (uint32_t)RTA_SPACE(len);
}

static int settle(int fd, int family, const char *text, size_t address_len)
{
    struct in6_addr address;
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        struct neighbour copy;
    } answer;
    struct neighbour n = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(n.what)),
                 .nlmsg_type = RTM_NEWNEIGH,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
        .what = {.ndm_family = (uint8_t)family,
                 .ndm_ifindex = (int)if_nametoindex(JB_NET_DEVICE),
                 .ndm_state = NUD_PERMANENT},
    };
    (void)inet_pton(family, text, &address); /* our own constants */
    add_attribute(&n, NDA_DST, &address, address_len);
    add_attribute(&n, NDA_LLADDR, pasta, MAC_LEN);
    if (send(fd, &n, n.head.nlmsg_len, 0) < 0)
        return -errno;
    ssize_t len = recv(fd, &answer, sizeof(answer), 0);
    if (len < 0)
        return -errno;
    return len < (ssize_t)NLMSG_LENGTH(sizeof(answer.error)) || answer.head.nlmsg_type != NLMSG_ERROR
               ? -EBADMSG
               : answer.error.error;
}

int jb_tap_hops(const struct jb_plan *plan, struct jb_error *err)
{
    if (plan->network != JB_NETWORK_USER || plan->net.program != JB_NET_PASTA)
        return 0;
    jb_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int r = fd < 0 ? -errno : 0;
    if (r == 0 && plan->net.four)
        r = settle(fd, AF_INET, JB_TAP_HOP, sizeof(struct in_addr));
    if (r == 0 && plan->net.six)
        r = settle(fd, AF_INET6, JB_TAP_HOP6, sizeof(struct in6_addr));
    return r < 0 ? jb_fail_errno(err, r, "the way through " JB_NET_DEVICE " in the box") : 0;
}
