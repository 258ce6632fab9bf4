/*
 * settle.c - the last steps before jobbox-init: CPUs, core files, descriptors, identity, working directory.
 *
 * Owns: the calling process, which it turns into the job's. Runs in: the box, single-threaded: its first process, and
 * each that enters it later. Privilege: the supervisor's in the box's namespaces, until it is dropped here.
 *
 * One file for both, so that a command that is executed in a box later can be nothing that the box's own job is not.
 */
#include "box/settle.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
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

_Noreturn void jb_settle_give_up(int control, const struct jb_error *err)
{
    struct jb_msg msg = {.type = JB_MSG_FAILED, .errnum = err->errnum};
    (void)snprintf(msg.text, sizeof(msg.text), "%s%s", err->text,
                   err->errnum == ENOSYS ? ": " JB_MSG_CALL_MISSING : "");
    (void)jb_msg_send(control, &msg, strlen(msg.text) + 1, NULL, 0);
    _exit(1);
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

/*
 * Without a group that counts processes a job could take the host down with it. In a user namespace of its own the kernel
 * counts for each id in it (Linux 5.14), which is no limit of the box but holds a bomb.
 */
static int limit_processes(const struct jb_plan *plan, struct jb_error *err)
{
    struct rlimit limit;
    if (!plan->userns || plan->cgroup.use[JB_CTL_PIDS] || plan->pids_max == JB_UNSET)
        return 0;
    if (getrlimit(RLIMIT_NPROC, &limit) < 0)
        return jb_fail_errno(err, errno, "RLIMIT_NPROC");
    if (limit.rlim_max > plan->pids_max)
        limit.rlim_max = plan->pids_max;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NPROC, &limit) < 0 ? jb_fail_errno(err, errno, "RLIMIT_NPROC") : 0;
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

/* 0, 1, 2 for the job; the control socket at its agreed number; jobbox-init above, closed by its own exec. */
static int arrange_fds(const struct jb_settle *s, int *ret_init, struct jb_error *err)
{
    int wanted[] = {s->io.in, s->io.out, s->io.err, s->control};
    int init = fcntl(s->init_fd, F_DUPFD_CLOEXEC, 16);
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

static int settle(const struct jb_settle *s, int *ret_init, struct jb_error *err)
{
    int r = pin(s->plan, err);
    JB_CRASH_POINT(pinned);
    if (r == 0)
        r = limit_cores(err);
    JB_CRASH_POINT(cores_limited);
    if (r == 0)
        r = limit_processes(s->plan, err);
    if (r == 0 && s->plan->reproducible)
        r = same_addresses(err);
    if (r == 0)
        r = arrange_fds(s, ret_init, err);
    JB_CRASH_POINT(fds_arranged);
    if (r == 0)
        r = jb_become_job(s->plan, err);
    JB_CRASH_POINT(job_become);
    if (r == 0)
        r = enter_workdir(s->plan, err);
    JB_CRASH_POINT(workdir_entered);
    /* the identity change cleared it: all of the box ends with its supervisor, whatever ends that */
    if (r == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        r = jb_fail_errno(err, errno, "asking to die with the supervisor");
    return r;
}

_Noreturn void jb_settle_run(const struct jb_settle *s)
{
    struct jb_error err = {0};
    const struct jb_plan *plan = s->plan;
    int control = s->control;
    int init = -1;
    int r = settle(s, &init, &err);
    if (init >= 0)
        control = JB_CONTROL_FD;
    jb_autofree char **argv = r < 0 ? NULL : calloc(plan->argv.len + 3, sizeof(*argv));
    if (argv) {
        argv[0] = (char *)"jobbox-init";
        argv[1] = (char *)s->options;
        if (plan->argv.len)
            memcpy(argv + 2, plan->argv.items, plan->argv.len * sizeof(*argv));
        (void)execveat(init, "", argv, plan->env.items, AT_EMPTY_PATH);
    }
    if (r == 0)
        (void)jb_fail_errno(&err, errno, "starting jobbox-init");
    jb_settle_give_up(control, &err);
}
