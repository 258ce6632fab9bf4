/*
 * nethelper.c - slirp4netns, or pasta and its keeper, from start to end.
 *
 * Owns: see nethelper.h. Runs in: the supervisor. Privilege: the supervisor's.
 */
#include "job/helper/nethelper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/str.h"
#include "job/helper/netkeeper.h"

#define SAID_MAX 300
#define ABOVE    16 /* our own copies are out of the way of its numbers */

/* Its descriptors, from 3 on. */
enum { F_READY = 3, F_LIFE, F_NETNS, F_USERNS, F_MAX };

static int spawn_slirp(const struct jb_plan *plan, const int fds[F_MAX], pid_t *ret)
{
    char mtu[16];
    const char *argv[20] = {plan->net.helper, "--enable-seccomp", "-r", "3", "-e", "4", "--netns-type=path"};
    size_t n = 7;
    char *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigset_t all;
    (void)snprintf(mtu, sizeof(mtu), "--mtu=%d", JB_NET_MTU);
    argv[n++] = mtu;
    if (!plan->userns) /* for its sandbox it becomes uid 0, which a user's namespace may not have */
        argv[n++] = "--enable-sandbox";
    if (!plan->net.host_loopback)
        argv[n++] = "--disable-host-loopback";
    if (!plan->net.dns)
        argv[n++] = "--disable-dns";
    if (fds[F_USERNS] >= 0)
        argv[n++] = "--userns-path=/proc/self/fd/6";
    argv[n++] = "/proc/self/fd/5";
    argv[n++] = JB_NET_DEVICE;
    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 1; i < F_MAX; i++)
        if (fds[i] >= 0)
            (void)posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setpgroup(&attr, 0); /* what is typed at a terminal is not for it */
    (void)posix_spawnattr_setflags(&attr,
                                   POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int r = -posix_spawn(ret, argv[0], &actions, &attr, (char *const *)argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    return r;
}

static int spawn(const struct jb_plan *plan, const int fds[F_MAX], pid_t *ret)
{
    const struct jb_netkeeper keeper = {.plan = plan,
                                        .said = fds[1],
                                        .ready = fds[F_READY],
                                        .life = fds[F_LIFE],
                                        .netns_fd = fds[F_NETNS],
                                        .userns_fd = fds[F_USERNS]};
    return plan->net.program == JB_NET_PASTA ? jb_netkeeper_start(&keeper, ret) : spawn_slirp(plan, fds, ret);
}

static int failed(const struct jb_plan *plan, const struct jb_helper_ends *ends, int r, struct jb_error *err)
{
    char text[SAID_MAX];
    jb_helper_said(ends, text, sizeof(text));
    return jb_fail(err, -r, "network: user: %s did not make an interface in the box's network%s%s",
                   plan->net.helper, *text ? ": " : "", text);
}

/* The same descriptors, above the numbers that the program is to get them at. */
static int lift(int *fd)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, ABOVE);
    if (up < 0)
        return -errno;
    jb_close(fd);
    *fd = up;
    return 0;
}

static int start(const struct jb_plan *plan, struct jb_box *box, struct jb_helper_ends *ends,
                 struct jb_helper *helper)
{
    int *const lifted[] = {&ends->ready_out, &ends->life_in, &ends->said, &box->netns_fd, &box->userns_fd};
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(lifted); i++)
        r = *lifted[i] < 0 ? 0 : lift(lifted[i]);
    const int fds[F_MAX] = {
        -1, ends->said, ends->said, ends->ready_out, ends->life_in, box->netns_fd, box->userns_fd};
    if (r == 0)
        r = spawn(plan, fds, &helper->pid);
    return r < 0 ? r : jb_helper_await(ends, helper->pid);
}

int jb_nethelper_start(const struct jb_plan *plan, struct jb_box *box, struct jb_helper *ret,
                       struct jb_error *err)
{
    struct jb_helper helper = JB_HELPER_INIT;
    struct jb_helper_ends ends;
    if (plan->network != JB_NETWORK_USER)
        return 0;
    int r = jb_box_await_namespaces(box, err);
    if (r < 0)
        return r;
    r = jb_helper_open(&helper, &ends);
    if (r < 0)
        return jb_fail_errno(err, r, "network: user");
    r = start(plan, box, &ends, &helper);
    jb_close(&box->netns_fd);
    jb_close(&box->userns_fd);
    if (r < 0) {
        (void)jb_helper_end(&helper);
        jb_close(&helper.life_fd);
        r = failed(plan, &ends, r, err);
    }
    jb_helper_close(&ends);
    if (r < 0)
        return r;
    *ret = helper;
    JB_CRASH_POINT(helper_started);
    return 0;
}

void jb_nethelper_end(struct jb_helper *helper)
{
    if (jb_helper_end(helper))
        JB_CRASH_POINT(helper_ended);
}
