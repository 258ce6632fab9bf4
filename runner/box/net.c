/*
 * net.c - interfaces and routes of a box.
 *
 * Owns: nothing. Runs in: see net.h. Privilege: see net.h.
 */
#include "box/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kfile.h"
#include "base/str.h"
#include "box/tap.h"

static int open_socket(struct jb_error *err)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? jb_fail_errno(err, errno, "a socket in the box's network") : fd;
}

int jb_net_loopback(const struct jb_plan *plan, struct jb_error *err)
{
    if (!(plan->namespaces & CLONE_NEWNET))
        return 0;
    jb_autoclose int fd = open_socket(err);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (fd < 0)
        return fd;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return jb_fail_errno(err, errno, "bringing up the box's loopback interface");
    if (plan->network == JB_NETWORK_USER && plan->net.six) /* else its address is of no use for a second */
        (void)jb_write_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    return 0;
}

static struct sockaddr_in address(uint32_t host_order)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(host_order)};
}

static struct sockaddr_in address_text(const char *text)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    (void)inet_pton(AF_INET, text, &sa.sin_addr); /* our own constants */
    return sa;
}

/* What linux/ipv6.h has, which does not go together with the C library's headers. */
struct address6 {
    struct in6_addr address;
    uint32_t length;
    int index;
};

static int add_route6(int fd, unsigned index, const struct jb_network_range *range)
{
    struct in6_rtmsg route = {.rtmsg_dst_len = (uint16_t)range->length,
                              .rtmsg_metric = 1024,
                              .rtmsg_flags = RTF_UP | RTF_GATEWAY,
                              .rtmsg_ifindex = (int)index};
    (void)inet_pton(AF_INET6, JB_TAP_HOP6, &route.rtmsg_gateway); /* our own constant */
    memcpy(&route.rtmsg_dst, range->address6, sizeof(route.rtmsg_dst));
    return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST ? 0 : -errno;
}

static int configure6(const struct jb_plan *plan, struct jb_error *err)
{
    char shown[JB_NETWORK_TEXT];
    jb_autoclose int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return jb_fail_errno(err, errno, "an IPv6 socket in the box's network");
    struct address6 own = {.length = 128, .index = (int)if_nametoindex(JB_NET_DEVICE)};
    struct jb_network_range gateway = {.six = true, .length = 128};
    (void)inet_pton(AF_INET6, JB_NET_ADDRESS6, &own.address); /* our own constants */
    (void)inet_pton(AF_INET6, JB_NET_GATEWAY6, gateway.address6);
    int r = ioctl(fd, SIOCSIFADDR, &own) < 0 && errno != EEXIST ? -errno : 0;
    if (r < 0)
        return jb_fail_errno(err, r, "the IPv6 address of " JB_NET_DEVICE " in the box");
    if (plan->net.host_loopback)
        r = add_route6(fd, (unsigned)own.index, &gateway);
    if (r < 0)
        return jb_fail_errno(err, r, "an IPv6 route in the box");
    for (size_t i = 0; i < plan->net.n_allow; i++) {
        r = plan->net.allow[i].six ? add_route6(fd, (unsigned)own.index, &plan->net.allow[i]) : 0;
        if (r < 0)
            return jb_fail_errno(err, r, "a route to %s in the box",
                                 jb_network_text(&plan->net.allow[i], shown));
    }
    return 0;
}

/* `hop` NULL: it is a neighbour. */
static int add_route(int fd, const char *hop, const struct jb_network_range *range, struct jb_error *err)
{
    char device[] = JB_NET_DEVICE;
    char shown[JB_NETWORK_TEXT];
    uint32_t mask = range->length ? UINT32_MAX << (32 - range->length) : 0;
    struct sockaddr_in to = address(range->address);
    struct sockaddr_in bits = address(mask);
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = device};
    memcpy(&route.rt_dst, &to, sizeof(to));
    memcpy(&route.rt_genmask, &bits, sizeof(bits));
    if (hop) {
        struct sockaddr_in gateway = address_text(hop);
        route.rt_flags |= RTF_GATEWAY;
        memcpy(&route.rt_gateway, &gateway, sizeof(gateway));
    }
    if (range->length == 32)
        route.rt_flags |= RTF_HOST;
    if (ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST)
        return 0;
    return jb_fail_errno(err, errno, "a route to %s in the box", jb_network_text(range, shown));
}

/* Routes to where all others lead through, and to the services of pasta itself, one address each. */
static int add_services(int fd, const struct jb_plan *plan, struct jb_error *err)
{
    const struct {
        bool on;
        const char *hop, *address;
    } services[] = {{true, NULL, JB_TAP_HOP},
                    {plan->net.host_loopback, JB_TAP_HOP, JB_NET_GATEWAY},
                    {plan->net.dns, JB_TAP_HOP, JB_NET_PASTA_DNS}};
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(services); i++) {
        struct jb_network_range range = {.length = 32};
        range.address = ntohl(address_text(services[i].address).sin_addr.s_addr);
        if (services[i].on)
            r = add_route(fd, services[i].hop, &range, err);
    }
    return r;
}

static int set_address(int fd, unsigned long what, const char *text)
{
    struct ifreq request = {.ifr_name = JB_NET_DEVICE};
    struct sockaddr_in sa = address_text(text);
    memcpy(&request.ifr_addr, &sa, sizeof(sa));
    return ioctl(fd, what, &request) < 0 ? -errno : 0;
}

int jb_net_configure(const struct jb_plan *plan, struct jb_error *err)
{
    if (plan->network != JB_NETWORK_USER)
        return 0;
    jb_autoclose int fd = open_socket(err);
    if (fd < 0)
        return fd;
    struct ifreq mtu = {.ifr_name = JB_NET_DEVICE, .ifr_mtu = JB_NET_MTU};
    struct ifreq up = {.ifr_name = JB_NET_DEVICE, .ifr_flags = IFF_UP | IFF_RUNNING};
    bool pasta = plan->net.program == JB_NET_PASTA;
    int r = plan->net.four ? set_address(fd, SIOCSIFADDR, JB_NET_ADDRESS) : 0;
    if (r == 0 && plan->net.four)
        r = set_address(fd, SIOCSIFNETMASK, pasta ? "255.255.255.255" : JB_NET_MASK);
    if (r == 0 && (ioctl(fd, SIOCSIFMTU, &mtu) < 0 || ioctl(fd, SIOCSIFFLAGS, &up) < 0))
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "bringing up " JB_NET_DEVICE " in the box");
    r = jb_tap_hops(plan, err);
    if (r == 0 && pasta && plan->net.four)
        r = add_services(fd, plan, err);
    for (size_t i = 0; r == 0 && i < plan->net.n_allow; i++)
        r = plan->net.allow[i].six
                ? 0
                : add_route(fd, pasta ? JB_TAP_HOP : JB_NET_GATEWAY, &plan->net.allow[i], err);
    return r == 0 && plan->net.six ? configure6(plan, err) : r;
}

int jb_net_counters(pid_t pid, uint64_t *ret_received, uint64_t *ret_sent)
{
    char path[48];
    jb_autofree char *text = NULL;
    struct jb_kdir dir = {.fd = -1};
    (void)snprintf(path, sizeof(path), "/proc/%d/net", (int)pid);
    int r = jb_kdir_open(path, &dir);
    if (r < 0)
        return r;
    r = jb_kread_all(&dir, "dev", &text);
    jb_kdir_close(&dir);
    if (r < 0)
        return r;
    const char *line = strstr(text, JB_NET_DEVICE ":");
    /* bytes packets errs drop fifo frame compressed multicast, and the same for what was sent */
    /* NOLINTNEXTLINE(cert-err34-c): a kernel file */
    if (!line || sscanf(line + sizeof(JB_NET_DEVICE), "%" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64,
                        ret_received, ret_sent) != 2)
        return -ENODEV;
    return 0;
}
