/*
 * kill.c - ends every process in a box's groups and removes the groups.
 *
 * Owns: nothing beyond its calls. Runs in: the supervisor, and whoever recovers a dead box.
 * Privilege: that of the groups; to signal what is in them.
 *
 * Membership in the box's groups is the only thing that makes a process a target. A process id read from
 * cgroup.procs may belong to somebody else a moment later, so each is pinned by a pidfd and looked up once
 * more before the signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define BATCH        64           /* processes pinned at a time */
#define PROCS_CHUNK  8192         /* bytes of cgroup.procs looked at in one go */
#define LOOK_NS      JB_NS_PER_S  /* the latest next look, whatever the processes that are waited for do */
#define NAP_FIRST_NS JB_NS_PER_MS /* growing naps where nothing sends an event */

/* The first process ids in name/cgroup.procs; a count, or -errno. A group that is gone or threaded has none.
 */
static int read_procs(const struct jb_kdir *parent, const char *name, pid_t *pids, size_t max)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", name);
    int r = jb_cg_hit(parent, "read", path);
    if (r < 0)
        return r;
    jb_autoclose int fd = openat(parent->fd, path, O_RDONLY | O_CLOEXEC);
    char text[PROCS_CHUNK + 1];
    ssize_t n = fd < 0 ? -1 : read(fd, text, PROCS_CHUNK);
    if (n < 0)
        return errno == ENOENT || errno == ENODEV || errno == EOPNOTSUPP ? 0 : -errno;
    text[n] = '\0';
    int count = 0;
    for (char *p = text, *end; *p && (size_t)count < max; p = end + (*end == '\n')) {
        uint64_t pid = strtoull(p, &end, 10);
        if (end == p || (*end != '\n' && n == PROCS_CHUNK)) /* cut in the middle of a number: next round */
            break;
        pids[count++] = (pid_t)pid;
    }
    return count;
}

static bool has_pid(const pid_t *pids, int n, pid_t pid)
{
    for (int i = 0; i < n; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

/* Processes that have been told to die. Their pidfds say when they have. */
struct dying {
    struct pollfd fds[BATCH];
    pid_t pids[BATCH];
    size_t n, max;
};

static void dying_end(struct dying *d)
{
    for (size_t i = 0; i < d->n; i++)
        jb_close(&d->fds[i].fd);
    d->n = 0;
}

/* Takes over the descriptor. A process is in one group of each hierarchy, and waited for once. */
static void dying_add(struct dying *d, pid_t pid, int *pidfd)
{
    if (*pidfd < 0 || d->n == d->max || has_pid(d->pids, (int)d->n, pid))
        return;
    d->pids[d->n] = pid;
    d->fds[d->n++] = (struct pollfd){.fd = jb_take_fd(pidfd), .events = POLLIN};
}

struct strike {
    uint64_t seen; /* processes found, those that cannot be signalled included */
    pid_t example;
    int error; /* first signal that was refused */
    struct dying dying;
};

/* A filter that hides the calls on pidfds leaves what there was before them: the membership is looked at twice. */
static int signal_member(int pidfd, pid_t pid)
{
    int r = pidfd >= 0 ? (int)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) : -1;
    if (r == 0 || (pidfd >= 0 && errno != ENOSYS && errno != EPERM))
        return r;
    return kill(pid, SIGKILL);
}

/* Kills what name/cgroup.procs lists, as far as one batch goes. */
static int strike(void *ctx, const struct jb_kdir *parent, const char *name)
{
    struct strike *s = ctx;
    pid_t before[BATCH];
    pid_t after[BATCH * 4];
    int fds[BATCH];
    int n = read_procs(parent, name, before, BATCH);
    if (n <= 0)
        return n;
    pid_t example = before[0];
    for (int i = 0; i < n; i++) { /* 0: a process outside of our PID namespace; never a target of kill */
        fds[i] = before[i] > 0 && before[i] != getpid() ? (int)syscall(SYS_pidfd_open, before[i], 0) : -1;
        if (fds[i] < 0 && errno != ENOSYS && errno != EPERM)
            before[i] = 0; /* gone */
    }
    int m = read_procs(parent, name, after, JB_ARRAY_LEN(after));
    for (int i = 0; i < n; i++) {
        bool member = before[i] > 0 && before[i] != getpid() && has_pid(after, m, before[i]);
        if (member && signal_member(fds[i], before[i]) < 0 && errno != ESRCH && s->error == 0)
            s->error = errno;
        if (member)
            dying_add(&s->dying, before[i], &fds[i]);
        jb_close(&fds[i]);
    }
    s->seen += (uint64_t)n;
    s->example = example;
    return 0;
}

int jb_cg_strike(const struct jb_kdir *parent, const char *name, int *ret_pidfd)
{
    struct strike found = {.dying.max = 1};
    int r = jb_cg_walk(parent, name, strike, &found);
    if (r == 0 && found.dying.n > 0)
        *ret_pidfd = jb_take_fd(&found.dying.fds[0].fd);
    dying_end(&found.dying);
    if (r < 0 && r != -ENOENT && r != -ENODEV)
        return r;
    return found.seen > INT32_MAX ? INT32_MAX : (int)found.seen;
}

static uint64_t left(uint64_t deadline)
{
    uint64_t now = jb_mono_ns(NULL);
    return now >= deadline ? 0 : deadline - now;
}

/*
 * Until half of them are dead: with one that the kernel holds back the others are not kept waiting, and of many not each is
 * a reason to look. Never longer than to the next look: a process may also have been moved away.
 */
static void wait_dying(struct dying *d, uint64_t deadline)
{
    uint64_t next = jb_mono_ns(NULL) + LOOK_NS;
    uint64_t until = next < deadline ? next : deadline;
    for (size_t alive = d->n; alive > d->n / 2 && left(until) > 0;) {
        uint64_t rest = left(until);
        struct timespec ts = {.tv_sec = (time_t)(rest / JB_NS_PER_S), .tv_nsec = (long)(rest % JB_NS_PER_S)};
        if (ppoll(d->fds, d->n, &ts, NULL) <= 0)
            continue;
        for (size_t i = 0; i < d->n; i++)
            if (d->fds[i].revents) {
                jb_close(&d->fds[i].fd);
                alive--;
            }
    }
}

/*
 * Until it is worth to look again. Where no process can be waited for (it is outside of our PID namespace, a filter hides
 * pidfds, or the tree changed under the walk) nothing sends an event, and there are a few short naps and then long ones.
 */
static void pause_until_next(struct dying *d, uint64_t *nap_ns, uint64_t deadline)
{
    if (d->n > 0) {
        wait_dying(d, deadline);
        return;
    }
    uint64_t rest = left(deadline);
    uint64_t ns = *nap_ns < rest ? *nap_ns : rest;
    struct timespec ts = {.tv_sec = (time_t)(ns / JB_NS_PER_S), .tv_nsec = (long)(ns % JB_NS_PER_S)};
    (void)nanosleep(&ts, NULL);
    *nap_ns = *nap_ns * 2 > LOOK_NS ? LOOK_NS : *nap_ns * 2;
}

/* Waits until the v2 group holds no process. The kernel wakes us; false when the deadline passes first. */
static int wait_unpopulated(const struct jb_cg_group *g, uint64_t deadline)
{
    int r = jb_cg_hit(&g->dir, "read", "cgroup.events");
    if (r < 0)
        return r;
    jb_autoclose int fd = openat(g->dir.fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        char text[256];
        uint64_t populated;
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        if (n < 0)
            return errno == ENODEV ? 0 : -errno;
        text[n] = '\0';
        r = jb_keyed_u64(text, "populated", &populated);
        if (r < 0 || populated == 0)
            return r;
        uint64_t rest = left(deadline);
        if (rest == 0)
            return -ETIMEDOUT;
        struct timespec ts = {.tv_sec = (time_t)(rest / JB_NS_PER_S), .tv_nsec = (long)(rest % JB_NS_PER_S)};
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
            return -errno;
    }
}

/* One round of SIGKILL over every hierarchy; `found` says what was still there. */
static int strike_all(const struct jb_cgroup *cg, struct strike *found)
{
    dying_end(&found->dying);
    *found = (struct strike){.dying.max = BATCH};
    for (size_t i = 0; i < cg->n_groups; i++) {
        const struct jb_cg_group *g = &cg->groups[i];
        if (g->dir.fd < 0)
            continue;
        int r = jb_cg_walk(&g->parent, cg->name, strike, found);
        if (r < 0 && r != -ENOENT && r != -ENODEV)
            return r;
        if (r < 0) /* the tree changed under the walk: not known to be empty */
            found->seen++;
    }
    return 0;
}

/* Without an atomic kill the tree is first kept from growing: no new process, and a stand-still where
 * possible. */
static void hold_still(const struct jb_cgroup *cg, const struct jb_cg_group *v2)
{
    if (v2)
        (void)jb_kwrite(&v2->dir, "cgroup.freeze", "1");
    if (cg->of[JB_CTL_PIDS])
        (void)jb_kwrite(&cg->of[JB_CTL_PIDS]->dir, "pids.max", "0");
}

static int not_all_died(const struct jb_cgroup *cg, const struct strike *found, struct jb_error *err)
{
    if (found->error)
        return jb_fail(err, found->error,
                       "%s: process %d may not be killed (%s); run as the user that started it or root",
                       cg->name, (int)found->example, strerrordesc_np(found->error));
    return jb_fail(err, ETIMEDOUT,
                   "%s: process %d and %" PRIu64
                   " more did not end after SIGKILL; a process waiting in the kernel (state "
                   "D in ps) ends when its disk or network file system answers",
                   cg->name, (int)found->example, found->seen - 1);
}

static void strike_end(struct strike *s)
{
    dying_end(&s->dying);
}

int jb_cgroup_kill(const struct jb_cgroup *cg, uint64_t timeout_ns, struct jb_error *err)
{
    uint64_t deadline = jb_mono_ns(NULL) + timeout_ns;
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    int r = v2 ? jb_kwrite(&v2->dir, "cgroup.kill", "1") : -ENOENT;
    JB_CRASH_POINT(group_killed);
    if (r == 0) {
        r = wait_unpopulated(v2, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            return jb_fail_errno(err, r, "%s: waiting for the box's processes to end", cg->name);
    } else {
        hold_still(cg, v2);
    }
    struct strike found __attribute__((cleanup(strike_end))) = {0};
    for (uint64_t nap = NAP_FIRST_NS;;) {
        r = strike_all(cg, &found);
        if (r < 0)
            return jb_fail_errno(err, r, "%s: looking for the box's processes", cg->name);
        if (found.seen == 0) {
            JB_CRASH_POINT(groups_empty);
            return 0;
        }
        if (left(deadline) == 0)
            return not_all_died(cg, &found, err);
        pause_until_next(&found.dying, &nap, deadline);
    }
}

struct census {
    uint64_t count;
};

static int count_one(void *ctx, const struct jb_kdir *parent, const char *name)
{
    struct census *c = ctx;
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", name);
    jb_autofree char *text = NULL;
    int r = jb_kread_all(parent, path, &text);
    if (r == -ENOENT || r == -ENODEV || r == -EOPNOTSUPP)
        return 0;
    if (r < 0)
        return r;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        c->count++;
    return 0;
}

int jb_cgroup_population(const struct jb_cgroup *cg, struct jb_error *err)
{
    uint64_t most = 0;
    for (size_t i = 0; i < cg->n_groups; i++) {
        struct census c = {0};
        if (cg->groups[i].dir.fd < 0)
            continue;
        int r = jb_cg_walk(&cg->groups[i].parent, cg->name, count_one, &c);
        char text[512];
        if (r < 0 && r != -ENOENT && r != -ENODEV)
            return jb_fail_errno(err, r, "counting processes in %s",
                                 jb_cg_group_text(cg, &cg->groups[i], text, sizeof(text)));
        if (c.count > most)
            most = c.count;
    }
    return most > INT32_MAX ? INT32_MAX : (int)most;
}

struct removal {
    const struct jb_cg_ops *ops;
    const struct jb_cg_group *group;
    int busy; /* of the walk: what kept a group from going; the walk goes on all the same */
};

/* What keeps a group from going is on its way to its death, or still has to be killed, which is not done here. */
static int wait_member(void *ctx, const struct jb_kdir *parent, const char *name)
{
    struct dying *d = ctx;
    pid_t pids[BATCH] = {0};
    int n = read_procs(parent, name, pids, BATCH);
    for (int i = 0; i < n; i++) {
        jb_autoclose int fd = pids[i] > 0 ? (int)syscall(SYS_pidfd_open, pids[i], 0) : -1;
        dying_add(d, pids[i], &fd);
    }
    return n < 0 ? n : 0;
}

static void wait_members(const struct jb_cgroup *cg, const struct jb_cg_group *g, uint64_t *nap_ns,
                         uint64_t deadline)
{
    struct dying members = {.max = BATCH};
    (void)jb_cg_walk(&g->parent, cg->name, wait_member, &members);
    pause_until_next(&members, nap_ns, deadline);
    dying_end(&members);
}

static int remove_one(void *ctx, const struct jb_kdir *parent, const char *name)
{
    struct removal *rm = ctx;
    int r = rm->ops->remove(rm->group, parent, name);
    if (r == -EBUSY || r == -ENOTEMPTY) {
        rm->busy = -EBUSY;
        return 0;
    }
    return r == -ENOENT ? 0 : r;
}

/* The CPUs of a partition are back in the group above when this returns; after a mere removal they come back some time. */
static void end_partition(const struct jb_cgroup *cg, const struct jb_cg_group *g)
{
    static const char file[] = "cpuset.cpus.partition";
    char line[192];
    if (g->version != 2 || !(g->controllers & 1U << JB_CTL_CPUSET) ||
        (g->made && !(cg->asked & 1U << JB_CG_PARTITION)))
        return;
    if (jb_kread_line(&g->dir, file, line, sizeof(line)) == 0 && !jb_streq(line, "member"))
        (void)jb_kwrite(&g->dir, file, "member");
}

static int remove_group(const struct jb_cgroup *cg, const struct jb_cg_group *g, uint64_t deadline,
                        struct jb_error *err)
{
    struct removal rm = {.ops = jb_cg_group_ops(cg, g), .group = g};
    end_partition(cg, g);
    if (g->inner.fd >= 0)
        (void)rm.ops->remove(rm.group, &g->dir, JB_CG_INNER);
    /* most jobs make no groups of their own: there is nothing else to look for below */
    int r = rm.ops->remove(rm.group, &g->parent, cg->name);
    if (r == 0 || r == -ENOENT)
        return 0;
    for (uint64_t nap = NAP_FIRST_NS;; wait_members(cg, g, &nap, deadline)) {
        rm.busy = 0;
        r = jb_cg_walk(&g->parent, cg->name, remove_one, &rm);
        if (r == 0)
            r = rm.busy;
        bool again = r == -EBUSY || r == -ENOENT || r == -ENODEV; /* the latter two: changed under the walk */
        if (!again || left(deadline) == 0)
            break;
    }
    char text[512];
    pid_t pid = 0;
    if (r == -EBUSY && read_procs(&g->parent, cg->name, &pid, 1) > 0)
        return jb_fail(err, EBUSY, "%s still holds process %d and others; kill the box first",
                       jb_cg_group_text(cg, g, text, sizeof(text)), (int)pid);
    return r < 0 ? jb_fail_errno(err, r, "%s cannot be removed", jb_cg_group_text(cg, g, text, sizeof(text)))
                 : 0;
}

int jb_cgroup_destroy(struct jb_cgroup *cg, uint64_t timeout_ns, struct jb_error *err)
{
    uint64_t deadline = jb_mono_ns(NULL) + timeout_ns;
    int failed = 0;
    for (size_t i = 0; i < cg->n_groups; i++) {
        const struct jb_cg_group *g = &cg->groups[i];
        if (g->parent.fd < 0)
            continue;
        int r = remove_group(cg, g, deadline, failed ? NULL : err);
        JB_CRASH_POINT(group_removed);
        if (r < 0 && !failed)
            failed = r;
    }
    JB_CRASH_POINT(groups_removed);
    return failed;
}

void jb_cgroup_remove_leaf(const struct jb_cgroup *cg)
{
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    struct stat st;
    if (v2 && v2->parent.fd >= 0 && fstatat(v2->parent.fd, JB_CG_LEAF, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_uid == geteuid())
        (void)unlinkat(v2->parent.fd, JB_CG_LEAF, AT_REMOVEDIR); /* busy: another job's supervisor is in it */
}
