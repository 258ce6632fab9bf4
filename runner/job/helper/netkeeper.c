/*
 * netkeeper.c - pasta, in a PID namespace with a keeper.
 *
 * Owns: see netkeeper.h. Runs in: see netkeeper.h. Privilege: see netkeeper.h.
 */
#include "job/helper/netkeeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/program.h"
#include "base/str.h"
#include "job/helper/keeper.h"

/* What the keeper has, at numbers of its own; everything else of the supervisor's is closed. */
enum { K_SAID = JB_KEEPER_FIRST, K_READY, K_LIFE, K_NETNS, K_USERNS, K_MAX };

#define NETNS_PATH "/proc/self/fd/6"
_Static_assert(K_NETNS == 6, "NETNS_PATH");

static size_t arguments(const struct jb_plan *plan, const char *argv[40])
{
    /* nothing that listens is forwarded, in neither direction */
    static const char *const always[] = {"--quiet", "--netns-only", "--no-dhcp", "--no-dhcpv6", "--no-ra",
                                         "-t",      "none",         "-u",        "none",        "-T",
                                         "none",    "-U",           "none",      "--netns",     NETNS_PATH,
                                         "-I",      JB_NET_DEVICE};
    static const char *const four[] = {"-a", JB_NET_ADDRESS, "-n", "32", "-g", JB_NET_GATEWAY};
    static const char *const six[] = {"-a", JB_NET_ADDRESS6, "-g", JB_NET_GATEWAY6};
    size_t n = 0;
    argv[n++] = plan->net.helper;
    for (size_t i = 0; i < JB_ARRAY_LEN(always); i++)
        argv[n++] = always[i];
    for (size_t i = 0; plan->net.four && i < JB_ARRAY_LEN(four); i++)
        argv[n++] = four[i];
    for (size_t i = 0; plan->net.six && i < JB_ARRAY_LEN(six); i++)
        argv[n++] = six[i];
    if (!plan->net.six)
        argv[n++] = "-4";
    if (!plan->net.four)
        argv[n++] = "-6";
    if (!plan->net.host_loopback)
        argv[n++] = "--no-map-gw";
    if (!plan->userns) { /* as nobody, which it would become, it may not enter a network of root's */
        argv[n++] = "--runas";
        argv[n++] = "0";
    }
    argv[n++] = plan->net.dns ? "--dns-forward" : "-D";
    argv[n++] = plan->net.dns ? JB_NET_PASTA_DNS : "none";
    argv[n] = NULL;
    return n;
}

/* In the box's user namespace we may do all; a program that is not root's would lose it when it starts. */
static int keep_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    for (size_t i = 0; i < 2; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    for (unsigned cap = 0; cap < 64; cap++)
        if (data[cap / 32].permitted & 1U << cap % 32)
            (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    return 0;
}

static int spawn(const struct jb_plan *plan, pid_t *ret)
{
    const char *argv[40];
    char *env[] = {NULL};
    (void)arguments(plan, argv);
    return jb_program_spawn((char *const *)argv, env, K_SAID, K_NETNS, ret);
}

/* Until pasta is in the background, which it goes to when all is well. */
static bool comes_up(pid_t pid)
{
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN}, {.fd = K_LIFE, .events = POLLIN}};
    int status = -1;
    if (pidfd < 0)
        return false;
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    return !fds[1].revents && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static void keep(const void *ctx)
{
    const struct jb_plan *plan = ctx;
    pid_t pid = -1;
    struct pollfd life = {.fd = K_LIFE, .events = POLLIN};
    (void)prctl(PR_SET_NAME, "jobbox-net");
    (void)setpgid(0, 0); /* what is typed at a terminal is not for it */
    int r = plan->userns ? keep_capabilities() : 0;
    if (r == 0)
        r = spawn(plan, &pid);
    if (r < 0)
        (void)dprintf(K_SAID, "%s", strerrordesc_np(-r));
    if (r < 0 || !comes_up(pid) || write(K_READY, "1", 1) != 1)
        _exit(1);
    (void)close(K_READY);
    while (poll(&life, 1, -1) < 0 && errno == EINTR) {
    }
    _exit(0);
}

int jb_netkeeper_start(const struct jb_netkeeper *k, pid_t *ret)
{
    const int fds[K_MAX - K_SAID] = {k->said, k->ready, k->life, k->netns_fd, k->userns_fd};
    const struct jb_keeper keeper = {.fds = fds,
                                     .n = JB_ARRAY_LEN(fds),
                                     .said = 0,
                                     .userns = k->userns_fd < 0 ? -1 : K_USERNS - K_SAID,
                                     .keep = keep,
                                     .ctx = k->plan};
    return jb_keeper_start(&keeper, ret);
}
