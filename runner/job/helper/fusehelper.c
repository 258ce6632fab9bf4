/*
 * fusehelper.c - fuse-overlayfs, from start to end.
 *
 * Owns: see fusehelper.h. Runs in: see fusehelper.h. Privilege: see fusehelper.h.
 *
 * The keeper has a mount namespace of its own, in which everything is read-only but the scratch. The program finds the
 * image's layers and the scratch in a small tmpfs there, by names without a character that its options could misread. The
 * file system is mounted already: what it is given as a place to mount on is the descriptor.
 */
#include "job/helper/fusehelper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/program.h"
#include "base/str.h"
#include "box/mountapi.h"
#include "box/seccomp.h"
#include "job/helper/keeper.h"

#define SAID_MAX 300

/* What the keeper has: ends of pipes, then JB_FUSE_*. */
enum { K_SAID = JB_KEEPER_FIRST, K_READY, K_LIFE, K_FUSE };
#define OWN          (K_FUSE - K_SAID)
#define K_DEV        (K_FUSE + JB_FUSE_DEV)
#define K_MOUNT      (K_FUSE + JB_FUSE_MOUNT)
#define K_SCRATCH    (K_FUSE + JB_FUSE_SCRATCH)
#define K_LOWER(i)   (K_FUSE + JB_FUSE_LOWERS + (int)(i))
#define DEV_AS_PLACE "/dev/fd/6"
_Static_assert(K_DEV == 6, "DEV_AS_PLACE");

struct serve {
    const struct jb_plan *plan;
    const char *dir;
    size_t n_lowers;
};

/* --- the keeper --- */

static int attach(int mount_fd, const char *name)
{
    const struct jb_mountapi *api = &jb_mountapi_kernel;
    int r = mkdir(name, 0700) < 0 ? -errno : 0;
    jb_autoclose int at = r < 0 ? -1 : open(name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r == 0)
        r = at < 0 ? -errno : api->attach(api->ctx, mount_fd, at);
    (void)close(mount_fd);
    return r;
}

/* Where the program begins: the image's layers by their numbers, and the scratch. */
static int make_stage(const struct serve *s, struct jb_error *err)
{
    const struct jb_mountapi *api = &jb_mountapi_kernel;
    const struct jb_mount_option options[] = {{"mode", "0700"}, {"size", "1m"}};
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
    char name[16];
    int r = api->make_private(api->ctx);
    if (r == 0 && mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        r = -errno;
    jb_autoclose int at = r < 0 ? -1 : open(s->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r == 0 && at < 0)
        r = -errno;
    jb_autoclose int fd =
        r < 0 ? -1 : api->make(api->ctx, "tmpfs", options, JB_ARRAY_LEN(options), MOUNT_ATTR_NOSUID, err);
    if (r == 0)
        r = fd < 0 ? fd : api->attach(api->ctx, fd, at);
    if (r == 0 && fchdir(fd) < 0)
        r = -errno;
    if (r == 0)
        r = attach(K_SCRATCH, "s");
    for (size_t i = 0; r == 0 && i < s->n_lowers; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        r = attach(K_LOWER(i), name);
    }
    return r < 0 ? jb_fail_errno(err, r, "a place for the image's layers") : 0;
}

/* What makes it the owner of all files, in a user namespace where those are the job's or its submitter's. */
static int keep_capabilities(void)
{
    const uint64_t keep = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE |
                          UINT64_C(1) << CAP_DAC_READ_SEARCH | UINT64_C(1) << CAP_FOWNER |
                          UINT64_C(1) << CAP_FSETID | UINT64_C(1) << CAP_SETFCAP;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    for (unsigned bit = 0; bit < 64; bit++)
        if (!(keep >> bit & 1) && prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) < 0 && errno != EINVAL)
            return -errno;
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    for (unsigned i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(keep >> 32 * i);
        data[i].effective = data[i].permitted;
        data[i].inheritable = data[i].permitted;
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    for (unsigned bit = 0; bit < 64; bit++)
        if (data[bit / 32].permitted >> bit % 32 & 1)
            (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0);
    return 0;
}

/*
 * The filter of a container may answer EPERM for calls that it does not know. The program walks paths in another way only
 * where openat2 is said not to be there: of two filters that refuse, the later one says with which error.
 */
static int hide_refused_openat2(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1), /* the same number everywhere */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = JB_ARRAY_LEN(code), .filter = code};
    if (syscall(SYS_openat2, -1, NULL, NULL, (size_t)0) == 0 || errno != EPERM)
        return 0;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

static int confine(const struct serve *s)
{
    int r = keep_capabilities();
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = -errno;
    if (r == 0)
        r = hide_refused_openat2();
    return r < 0 ? r : jb_seccomp_install(s->plan->seccomp);
}

/* Without a cache for writes, whose errors would come when nobody asks any more: a full scratch is told to who writes. */
static int options_text(const struct serve *s, struct jb_buf *ret)
{
    int r = jb_buf_puts(ret, "lowerdir=");
    for (size_t i = 0; r == 0 && i < s->n_lowers; i++)
        r = jb_buf_printf(ret, "%s%zu", i ? ":" : "", i);
    if (r == 0)
        r = jb_buf_puts(ret, ",upperdir=s/upper0,workdir=s/work0,writeback=0");
    if (r == 0 && s->plan->fuse.squash)
        r = jb_buf_printf(ret, ",squash_to_uid=%u,squash_to_gid=%u", (unsigned)s->plan->uid,
                          (unsigned)s->plan->gid);
    return r;
}

static int spawn(const struct serve *s, pid_t *ret)
{
    jb_autobuf struct jb_buf options = {0};
    int r = options_text(s, &options);
    if (r < 0)
        return r;
    const char *const argv[] = {s->plan->fuse.program, "-f", "-o", options.data, DEV_AS_PLACE, NULL};
    char *env[] = {NULL};
    return jb_program_spawn((char *const *)argv, env, K_SAID, K_DEV, ret);
}

/* It answers when it serves, and when it is gone there is nobody else who holds the device. */
static bool comes_up(void)
{
    struct statx st;
    (void)close(K_DEV);
    bool up = statx(K_MOUNT, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) == 0;
    (void)close(K_MOUNT);
    return up;
}

static void keep(const void *ctx)
{
    const struct serve *s = ctx;
    struct jb_error err = {0};
    pid_t pid = -1;
    (void)prctl(PR_SET_NAME, "jobbox-fuse");
    (void)setpgid(0, 0); /* what is typed at a terminal is not for it */
    int r = make_stage(s, &err);
    if (r < 0) {
        (void)dprintf(K_SAID, "%s", err.text);
        _exit(1);
    }
    r = confine(s);
    if (r == 0)
        r = spawn(s, &pid);
    if (r < 0)
        (void)dprintf(K_SAID, "%s", strerrordesc_np(-r));
    if (r < 0 || !comes_up() || write(K_READY, "1", 1) != 1)
        _exit(1);
    (void)close(K_READY);
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fds[] = {{.fd = K_LIFE, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    _exit(0);
}

/* --- the supervisor --- */

static int start(const struct jb_plan *plan, struct jb_box *box, const char *dir,
                 const struct jb_cgroup *cgroup, struct jb_helper_ends *ends, struct jb_helper *helper)
{
    int groups[JB_CTL_MAX];
    enum jb_controller which[JB_CTL_MAX];
    size_t n = OWN + box->n_fuse_fds;
    size_t n_join = 0;
    jb_autofree int *fds = malloc(n * sizeof(*fds));
    if (!fds)
        return -ENOMEM;
    fds[0] = ends->said;
    fds[K_READY - K_SAID] = ends->ready_out;
    fds[K_LIFE - K_SAID] = ends->life_in;
    memcpy(fds + OWN, box->fuse_fds, box->n_fuse_fds * sizeof(*fds));
    size_t n_groups = cgroup ? jb_cgroup_join_fds(cgroup, true, groups, which) : 0;
    for (size_t i = 0; i < n_groups; i++)
        if (which[i] != JB_CTL_PIDS && which[i] != JB_CTL_UNIFIED)
            groups[n_join++] = groups[i];
    const struct serve serve = {.plan = plan, .dir = dir, .n_lowers = box->n_fuse_fds - JB_FUSE_LOWERS};
    const struct jb_keeper keeper = {.fds = fds,
                                     .n = n,
                                     .said = 0,
                                     .userns = OWN + JB_FUSE_USERNS,
                                     .namespaces = CLONE_NEWNS,
                                     .join = groups,
                                     .n_join = n_join,
                                     .keep = keep,
                                     .ctx = &serve};
    int r = jb_keeper_start(&keeper, &helper->pid);
    jb_box_close_fuse(box); /* or what it serves would stay when it is gone */
    return r < 0 ? r : jb_helper_await(ends, helper->pid);
}

int jb_fusehelper_start(const struct jb_plan *plan, struct jb_box *box, const char *dir,
                        const struct jb_cgroup *cgroup, struct jb_helper *ret, struct jb_error *err)
{
    char text[SAID_MAX];
    struct jb_helper helper = JB_HELPER_INIT;
    struct jb_helper_ends ends;
    if (!plan->fuse.program)
        return 0;
    box->squashed = plan->fuse.squash;
    int r = jb_box_await_fuse(box, err);
    if (r < 0)
        return r;
    r = jb_helper_open(&helper, &ends);
    if (r < 0)
        return jb_fail_errno(err, r, "fuse-overlayfs");
    r = start(plan, box, dir, cgroup, &ends, &helper);
    if (r < 0) {
        (void)jb_helper_end(&helper);
        jb_close(&helper.life_fd);
        jb_helper_said(&ends, text, sizeof(text));
        r = jb_fail(err, -r, "%s does not serve the box's root: %s", plan->fuse.program,
                    *text ? text : strerrordesc_np(-r));
    }
    jb_helper_close(&ends);
    if (r < 0)
        return r;
    *ret = helper;
    JB_CRASH_POINT(fuse_started);
    return 0;
}

void jb_fusehelper_end(struct jb_helper *helper)
{
    if (jb_helper_end(helper))
        JB_CRASH_POINT(fuse_ended);
}
