/*
 * build.c - the first process of a box.
 *
 * Owns: the namespaces it was cloned into and everything it mounts in them. Runs in: the box,
 * single-threaded, as a copy of the supervisor with its privilege, until it becomes the job's identity and
 * executes jobbox-init.
 *
 * Order matters. The file system comes first, while the supervisor makes the cgroups; they are joined before anything
 * of the job exists, and the cgroup namespace is made after that, so that its root is the box's own group. The identity
 * is dropped when nothing is left to mount, and the system call filter comes last, because it refuses what came before.
 */
#include "box/build.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "box/identity.h"
#include "box/message.h"
#include "box/net.h"
#include "box/rootfs.h"

static _Noreturn void give_up(const struct jb_build *b, const struct jb_error *err)
{
    struct jb_msg msg = {.type = JB_MSG_FAILED, .errnum = err->errnum};
    (void)snprintf(msg.text, sizeof(msg.text), "%s%s", err->text,
                   err->errnum == ENOSYS ? ": a call of Linux 5.12 is missing, or a system call filter hides "
                                           "it, as those of containers do; "
                                           "jobbox doctor says which"
                                         : "");
    (void)jb_msg_send(b->control, &msg, strlen(msg.text) + 1, NULL, 0);
    _exit(1);
}

static int write_map(const char *path, const char *text, struct jb_error *err)
{
    int r = jb_write_at(AT_FDCWD, path, text);
    return r < 0 ? jb_fail_errno(err, r, "%s", path) : 0;
}

/* One id each way: what an ordinary user may map without any helper. */
static int map_ids(const struct jb_plan *plan, struct jb_error *err)
{
    char text[64];
    if (!plan->userns)
        return 0;
    int r = write_map("/proc/self/setgroups", "deny", err);
    (void)snprintf(text, sizeof(text), "%u %u 1", (unsigned)plan->uid, (unsigned)plan->submitter_uid);
    if (r == 0)
        r = write_map("/proc/self/uid_map", text, err);
    (void)snprintf(text, sizeof(text), "%u %u 1", (unsigned)plan->gid, (unsigned)plan->submitter_gid);
    if (r == 0)
        r = write_map("/proc/self/gid_map", text, err);
    return r < 0 ? jb_wrap(err, "mapping ids into the user namespace") : 0;
}

/*
 * Without a cpuset this is the pin. With one, a task keeps its old affinity when it enters on newer kernels: it is set to
 * all CPUs there are, of which the cpuset leaves those granted, now and when the grant is changed later.
 */
static int pin(const struct jb_plan *plan, struct jb_error *err)
{
    struct jb_cpus all;
    memset(&all, 0xff, sizeof(all));
    const struct jb_cpus *cpus = plan->pin_by_affinity ? &plan->grant.cpus : &all;
    if (sched_setaffinity(0, sizeof(cpus->w), (const cpu_set_t *)(const void *)cpus->w) < 0)
        return jb_fail_errno(err, errno, "binding to the granted CPUs");
    return 0;
}

/*
 * The supervisor makes the groups while we build the file system. Each is joined by writing "0" to its `tasks` file:
 * a single-threaded process moving itself needs no lock that has to wait for all CPUs.
 */
static int join_cgroups(struct jb_build *b, struct jb_error *err)
{
    struct jb_msg msg;
    int fds[JB_MSG_FDS];
    size_t n = 0;
    if (jb_msg_receive(b->control, &msg, fds, &n) != 1 || msg.type != JB_MSG_JOIN || n == 0)
        return jb_fail(err, EPIPE, "the supervisor is gone");
    b->init_fd = fds[--n];
    for (size_t i = 0; i < n; i++) {
        if (write(fds[i], "0", 1) != 1)
            return jb_fail_errno(err, errno, "joining the box's %s cgroup",
                                 jb_controller_name((enum jb_controller)msg.text[i]));
        (void)close(fds[i]);
        JB_CRASH_POINT(group_joined);
    }
    if ((b->parts->plan->namespaces & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
        return jb_fail_errno(err, errno, "making a cgroup namespace");
    JB_CRASH_POINT(groups_joined);
    return 0;
}

/*
 * No core files. A limit of 0 does not stop a core_pattern that is a pipe, a program on the host fed by the
 * job; 1 is what the kernel itself takes as "no, not even a pipe".
 */
static int limit_cores(struct jb_error *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) < 0)
        return jb_fail_errno(err, errno, "RLIMIT_CORE");
    limit.rlim_max = limit.rlim_max < 1 ? limit.rlim_max : 1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_CORE, &limit) < 0 ? jb_fail_errno(err, errno, "RLIMIT_CORE") : 0;
}

/* Stays with all that the job executes; nothing of it is set-id, which would take it away. */
static int same_addresses(struct jb_error *err)
{
    int now = personality(0xffffffff);
    if (now < 0 || personality((unsigned long)now | ADDR_NO_RANDOMIZE) < 0)
        return jb_fail_errno(err, errno, "turning off the randomisation of addresses");
    return 0;
}

static int enter_workdir(const struct jb_plan *plan, struct jb_error *err)
{
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int fd =
        root < 0 ? -errno : jb_open_at(root, plan->workdir, O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
    if (fd < 0)
        return jb_fail_errno(err, fd, "workdir %s", plan->workdir);
    if (fchdir(fd) < 0)
        return jb_fail_errno(err, errno, "workdir %s (may the job's user enter it?)", plan->workdir);
    return 0;
}

static int build_root(const struct jb_build *b, struct jb_error *err)
{
    struct jb_rootfs fs = {.api = &jb_mountapi_kernel,
                           .plan = b->parts->plan,
                           .stage = b->parts->dir,
                           .scratch_fd = -1,
                           .root_fd = -1,
                           .null_fd = -1,
                           .empty_fd = -1};
    int r = jb_rootfs_build(&fs, err);
    struct jb_msg msg = {.type = JB_MSG_SCRATCH};
    if (r == 0)
        (void)jb_msg_send(b->control, &msg, 0, &fs.scratch_fd, 1);
    JB_CRASH_POINT(scratch_told);
    jb_close(&fs.scratch_fd);
    jb_close(&fs.root_fd);
    jb_close(&fs.null_fd);
    jb_close(&fs.empty_fd);
    free(fs.own);
    return r;
}

/* 0, 1, 2 for the job; the control socket at its agreed number; jobbox-init above, closed by its own exec. */
static int arrange_fds(const struct jb_build *b, int *ret_init, struct jb_error *err)
{
    int wanted[] = {b->parts->io.in, b->parts->io.out, b->parts->io.err, b->control};
    int init = fcntl(b->init_fd, F_DUPFD_CLOEXEC, 16);
    if (init < 0)
        return jb_fail_errno(err, errno, "arranging descriptors");
    for (size_t i = 0; i < JB_ARRAY_LEN(wanted); i++) { /* out of the way of 0 to 3 first */
        wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 16);
        if (wanted[i] < 0)
            return jb_fail_errno(err, errno, "arranging descriptors");
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(wanted); i++)
        if (dup2(wanted[i], (int)i) < 0)
            return jb_fail_errno(err, errno, "arranging descriptors");
    if (jb_close_between(4, (unsigned)init - 1) < 0 || jb_close_between((unsigned)init + 1, ~0U) < 0)
        return jb_fail_errno(err, errno, "closing inherited descriptors");
    *ret_init = init;
    return 0;
}

static int tell_namespaces(const struct jb_build *b, struct jb_error *err)
{
    struct jb_msg msg = {.type = JB_MSG_NETNS};
    jb_autoclose int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    jb_autoclose int user = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (net < 0 || user < 0)
        return jb_fail_errno(err, errno, "/proc/self/ns");
    const int fds[] = {net, user};
    int r = jb_msg_send(b->control, &msg, 0, fds, b->parts->plan->userns ? 2 : 1);
    JB_CRASH_POINT(namespaces_told);
    return r < 0 ? jb_fail_errno(err, r, "handing out the box's namespaces") : 0;
}

static int name_host(const struct jb_plan *plan, struct jb_error *err)
{
    if (sethostname(plan->hostname, strlen(plan->hostname)) < 0)
        return jb_fail_errno(err, errno, "hostname %s", plan->hostname);
    return 0;
}

static int prepare(struct jb_build *b, int *ret_init, struct jb_error *err)
{
    JB_CRASH_POINT(first_born);
    if (b->parts->lock_fd >= 0)
        (void)close(b->parts->lock_fd);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "asking to die with the supervisor");
    JB_CRASH_POINT(first_tied);
    int r = map_ids(b->parts->plan, err);
    JB_CRASH_POINT(ids_mapped);
    /* not before: it takes /proc/self/uid_map away from us */
    if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = jb_fail_errno(err, errno, "PR_SET_DUMPABLE");
    if (r == 0)
        r = jb_net_loopback(b->parts->plan, err);
    JB_CRASH_POINT(loopback_up);
    if (r == 0 && b->parts->plan->network == JB_NETWORK_USER)
        r = tell_namespaces(b, err);
    if (r == 0)
        r = name_host(b->parts->plan, err);
    (void)umask(0);
    if (r == 0)
        r = build_root(b, err);
    (void)umask(022);
    if (r == 0)
        r = join_cgroups(b, err);
    if (r == 0) /* the helper has been there by now */
        r = jb_net_configure(b->parts->plan, err);
    if (r == 0)
        r = pin(b->parts->plan, err);
    JB_CRASH_POINT(pinned);
    if (r == 0)
        r = limit_cores(err);
    JB_CRASH_POINT(cores_limited);
    if (r == 0 && b->parts->plan->reproducible)
        r = same_addresses(err);
    if (r == 0)
        r = arrange_fds(b, ret_init, err);
    JB_CRASH_POINT(fds_arranged);
    if (r == 0)
        r = jb_become_job(b->parts->plan, err);
    JB_CRASH_POINT(job_become);
    if (r == 0)
        r = enter_workdir(b->parts->plan, err);
    JB_CRASH_POINT(workdir_entered);
    return r;
}

_Noreturn void jb_build_run(const struct jb_build *build)
{
    struct jb_build b = *build;
    struct jb_error err = {0};
    int init = -1;
    char options[] = JB_INIT_LETTERS;
    if (!b.parts->plan->tty)
        options[JB_INIT_TTY] = '-';
    if (!b.parts->waits)
        options[JB_INIT_WAITS] = '-';
    if (prepare(&b, &init, &err) < 0) {
        struct stat st;
        if (fstat(JB_CONTROL_FD, &st) == 0 && S_ISSOCK(st.st_mode) && init >= 0)
            b.control = JB_CONTROL_FD;
        give_up(&b, &err);
    }
    b.control = JB_CONTROL_FD;
    /* the identity change cleared it: the box ends with its supervisor, whatever ends that */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        (void)jb_fail_errno(&err, errno, "asking to die with the supervisor");
        give_up(&b, &err);
    }
    jb_autofree char **argv = calloc(b.parts->plan->argv.len + 3, sizeof(*argv));
    if (argv) {
        argv[0] = (char *)"jobbox-init";
        argv[1] = options;
        memcpy(argv + 2, b.parts->plan->argv.items, b.parts->plan->argv.len * sizeof(*argv));
        (void)execveat(init, "", argv, b.parts->plan->env.items, AT_EMPTY_PATH);
    }
    (void)jb_fail_errno(&err, errno, "starting jobbox-init");
    give_up(&b, &err);
}
