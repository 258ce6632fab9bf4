/*
 * netns.c - making a network namespace in a thread.
 *
 * Owns: see netns.h. Runs in: the supervisor; jb_netns_loopback_up in the box's first process too.
 * Privilege: CAP_SYS_ADMIN and CAP_NET_ADMIN in the user namespace.
 */
#include "box/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define THREAD_STACK 65536

int jb_netns_loopback_up(void)
{
    jb_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static void *make(void *arg)
{
    struct jb_netns *ns = arg;
    if (unshare(CLONE_NEWNET) < 0 || jb_netns_loopback_up() < 0)
        return NULL;
    ns->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return NULL;
}

void jb_netns_begin(struct jb_netns *ns)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t old;
    *ns = JB_NETNS_INIT;
    if (pthread_attr_init(&attr) != 0)
        return;
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK);
    /* signals are the supervisor's */
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    ns->running = pthread_create(&ns->thread, &attr, make, ns) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
}

int jb_netns_end(struct jb_netns *ns)
{
    if (ns->running)
        (void)pthread_join(ns->thread, NULL);
    ns->running = false;
    return ns->fd;
}

void jb_netns_close(struct jb_netns *ns)
{
    (void)jb_netns_end(ns);
    jb_close(&ns->fd);
}
