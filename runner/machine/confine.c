/*
 * confine.c - see the header.
 *
 * Owns: nothing. Runs in: a child just forked. Privilege: what it was forked with, given up here.
 */
#include "machine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define MEMORY  (UINT64_C(2) << 30)
#define SECONDS 20
#define WRITES  (UINT64_C(64) << 20)
#define NOBODY  65534

static int limit(int what, rlim_t value)
{
    return setrlimit((__rlimit_resource_t)what, &(struct rlimit){value, value}) < 0 ? -errno : 0;
}

static int set_limits(void)
{
    static const struct {
        int what;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_CPU, SECONDS},
        {RLIMIT_FSIZE, WRITES},
        {RLIMIT_NPROC, 0},
#if !defined(__SANITIZE_ADDRESS__) /* its shadow memory alone is larger than any bound */
        {RLIMIT_AS, MEMORY},
#endif
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(limits); i++)
        r = limit(limits[i].what, limits[i].value);
    return r;
}

static int close_others(int keep_fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fd != keep_fd && dup2(null, fd) < 0)
            return -errno;
    unsigned keep = (unsigned)keep_fd;
    int r = keep > 3 ? jb_close_between(3, keep - 1) : 0;
    return r < 0 ? r : jb_close_between(keep < 3 ? 3 : keep + 1, ~0U);
}

static int become_nobody(void)
{
    /* groups are the first to go; a user namespace may refuse it, and then has no nobody either */
    if (setgroups(0, NULL) < 0 && errno != EPERM)
        return -errno;
    if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
        return -errno;
    return getgroups(0, NULL) == 0 ? 0 : -EPERM;
}

/* Root in a box has no right to another id. */
static bool may_change_ids(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct own[2] = {{0}};
    const uint32_t needed = 1U << CAP_SETUID | 1U << CAP_SETGID;
    return syscall(SYS_capget, &header, own) == 0 && (own[0].effective & needed) == needed;
}

static int drop_privilege(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    int r = (geteuid() == 0 || getuid() == 0) && may_change_ids() ? become_nobody() : 0;
    if (r < 0 && r != -EINVAL) /* EINVAL: this user namespace does not know that id */
        return r;
    if (syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

int jb_confine(pid_t parent, int keep_fd, bool drop)
{
    for (int sig = 1; sig < NSIG; sig++) /* the parent's handlers are not the child's business */
        (void)signal(sig, SIG_DFL);
    int r = close_others(keep_fd);
    if (r == 0)
        r = set_limits();
    if (r == 0 && drop)
        r = drop_privilege();
    if (r < 0)
        return r;
    /* last: another identity takes it away */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    if (getppid() != parent)
        _exit(1);
    return 0;
}
