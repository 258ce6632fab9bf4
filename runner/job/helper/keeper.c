/*
 * keeper.c - the way into a PID namespace that dies with the supervisor.
 *
 * Owns: see keeper.h. Runs in: see keeper.h. Privilege: see keeper.h.
 */
#include "job/helper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

static int place_of(int which)
{
    return JB_KEEPER_FIRST + which;
}

static int join_groups(const struct jb_keeper *k)
{
    for (size_t i = 0; i < k->n_join; i++)
        if (write(k->join[i], "0", 1) != 1)
            return -errno;
    return 0;
}

/*
 * Only what the keeper is to have, and behind it `pids`: locks of the supervisor's must not outlive it here. All are out of
 * the way before the first one gets its number.
 */
static int take_descriptors(const struct jb_keeper *k, int pids)
{
    int end = place_of((int)k->n);
    jb_autofree int *from = malloc((k->n + 1) * sizeof(*from));
    if (!from)
        return -ENOMEM;
    for (size_t i = 0; i <= k->n; i++) {
        int fd = i < k->n ? k->fds[i] : pids;
        from[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, end + 1);
        if (fd >= 0 && from[i] < 0)
            return -errno;
    }
    for (size_t i = 0; i <= k->n; i++) {
        if (from[i] < 0)
            (void)close(place_of((int)i));
        else if (dup3(from[i], place_of((int)i), O_CLOEXEC) < 0)
            return -errno;
    }
    return jb_close_between((unsigned)end + 1, ~0U);
}

static _Noreturn void enter(const struct jb_keeper *k, int pids)
{
    int pids_at = place_of((int)k->n);
    int r = join_groups(k);
    if (r == 0)
        r = take_descriptors(k, pids);
    if (r == 0 && k->userns >= 0 && setns(place_of(k->userns), CLONE_NEWUSER) < 0)
        r = -errno;
    if (r == 0 && unshare((int)(CLONE_NEWPID | k->namespaces)) < 0)
        r = -errno;
    pid_t pid = r < 0 ? -1 : (pid_t)syscall(SYS_clone, (unsigned long)CLONE_PARENT, 0UL, 0UL, 0UL, 0UL);
    if (pid == 0) {
        /* the supervisor's child: where it stands still with the box it cannot see the pipe closed */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (k->userns >= 0)
            (void)close(place_of(k->userns));
        (void)close(pids_at);
        k->keep(k->ctx);
        _exit(1);
    }
    if (pid < 0)
        (void)dprintf(place_of(k->said), "a process for it: %s", strerrordesc_np(r < 0 ? -r : errno));
    _exit(pid < 0 || write(pids_at, &pid, sizeof(pid)) != (ssize_t)sizeof(pid));
}

int jb_keeper_start(const struct jb_keeper *keeper, pid_t *ret)
{
    int pids[2];
    pid_t pid = -1;
    if (pipe2(pids, O_CLOEXEC) < 0)
        return -errno;
    jb_autoclose int from = pids[0];
    jb_autoclose int to = pids[1];
    pid_t first = fork();
    if (first < 0)
        return -errno;
    if (first == 0)
        enter(keeper, to);
    jb_close(&to);
    ssize_t n = read(from, &pid, sizeof(pid)); /* our own child, which ends at once */
    while (waitpid(first, NULL, 0) < 0 && errno == EINTR) {
    }
    if (n != (ssize_t)sizeof(pid))
        return -ECHILD;
    *ret = pid;
    return 0;
}
