/*
 * isolation.c - what is really in force, from the kernel's own files about jobbox-init.
 *
 * Owns: nothing. Runs in: the supervisor, between READY and GO. Privilege: none beyond the supervisor's.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kfile.h"
#include "box/box.h"

#define OVERLAY_MAGIC 0x794c7630
#define FUSE_MAGIC    0x65735546
#define TMPFS_MAGIC_  0x01021994

/* Text behind "Name:\t" in /proc/PID/status, up to the end of the line. */
static int status_field(const char *status, const char *name, char *buf, size_t len)
{
    size_t n = strlen(name);
    for (const char *line = status; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, name, n) != 0 || line[n] != ':')
            continue;
        const char *value = line + n + 1;
        value += strspn(value, " \t");
        size_t size = strcspn(value, "\n");
        if (size >= len)
            return -ENAMETOOLONG;
        memcpy(buf, value, size);
        buf[size] = '\0';
        return 0;
    }
    return -ENODATA;
}

static int status_hex(const char *status, const char *name, uint64_t *ret)
{
    char text[64];
    int r = status_field(status, name, text, sizeof(text));
    if (r < 0)
        return r;
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 16);
    return errno || *end ? -EINVAL : 0;
}

static int status_int(const char *status, const char *name)
{
    char text[64];
    uint64_t value;
    if (status_field(status, name, text, sizeof(text)) < 0)
        return -1;
    return jb_parse_u64(text, 1000000, &value) < 0 ? -1 : (int)value;
}

static int status_cpus(const char *status, const char *name, struct jb_cpus *ret)
{
    jb_autofree char *text = malloc(JB_CPUS_TEXT);
    int r = text ? status_field(status, name, text, JB_CPUS_TEXT) : -ENOMEM;
    return r < 0 ? r : jb_cpus_parse(text, ret);
}

/*
 * Asked of a pidfd (Linux 6.11: PIDFD_GET_..._NAMESPACE, numbers 1 to 10) a namespace costs a tenth of what its file below
 * /proc does, for which the kernel makes a name first.
 */
#define NS_IOCTL(number) _IO(0xFF, number)

static const struct {
    const char *name;
    unsigned long ask;
    size_t own; /* offset of the flag */
} namespaces[] = {
    {"ns/user", NS_IOCTL(9), offsetof(struct jb_isolation, userns)},
    {"ns/mnt", NS_IOCTL(3), offsetof(struct jb_isolation, mount)},
    {"ns/pid", NS_IOCTL(5), offsetof(struct jb_isolation, pid)},
    {"ns/ipc", NS_IOCTL(2), offsetof(struct jb_isolation, ipc)},
    {"ns/uts", NS_IOCTL(10), offsetof(struct jb_isolation, uts)},
    {"ns/net", NS_IOCTL(4), offsetof(struct jb_isolation, net)},
    {"ns/cgroup", NS_IOCTL(1), offsetof(struct jb_isolation, cgroup)},
};
_Static_assert(JB_ARRAY_LEN(namespaces) == JB_NAMESPACES,
               "as many namespaces as struct jb_own_namespaces has room for");

static int namespace_id(int pidfd, int proc_fd, size_t i, uint64_t *ret)
{
    struct stat st;
    jb_autoclose int fd = pidfd < 0 ? -1 : ioctl(pidfd, namespaces[i].ask, 0);
    if ((fd >= 0 ? fstat(fd, &st) : fstatat(proc_fd, namespaces[i].name, &st, 0)) < 0)
        return -errno;
    *ret = st.st_ino;
    return 0;
}

int jb_own_namespaces(struct jb_own_namespaces *ret, struct jb_error *err)
{
    jb_autoclose int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    for (size_t i = 0; i < JB_ARRAY_LEN(namespaces); i++) {
        int r = namespace_id(pidfd, self, i, &ret->ids[i]);
        if (r < 0)
            return jb_fail_errno(err, r, "/proc/self/%s", namespaces[i].name);
    }
    return 0;
}

/* A namespace is the box's own when it is another one than ours. */
static int read_namespaces(int pidfd, const struct jb_kdir *dir, const struct jb_own_namespaces *ours,
                           struct jb_isolation *got)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(namespaces); i++) {
        uint64_t id = 0;
        int r = namespace_id(pidfd, dir->fd, i, &id);
        if (r < 0)
            return r;
        *(bool *)((char *)got + namespaces[i].own) = id != ours->ids[i];
    }
    return 0;
}

static void read_root(const struct jb_kdir *dir, struct jb_isolation *got)
{
    jb_autoclose int root = openat(dir->fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    const char *name = "";
    if (root >= 0 && fstatfs(root, &fs) == 0)
        name = (unsigned long)fs.f_type == OVERLAY_MAGIC  ? "overlay"
               : (unsigned long)fs.f_type == TMPFS_MAGIC_ ? "tmpfs"
               : (unsigned long)fs.f_type == FUSE_MAGIC   ? "fuse"
                                                          : "";
    (void)snprintf(got->root_fstype, sizeof(got->root_fstype), "%s", name);
}

static int read_status(const char *status, struct jb_isolation *got)
{
    const struct {
        const char *name;
        uint64_t *ret;
    } caps[] = {
        {"CapInh", &got->cap_inh}, {"CapPrm", &got->cap_prm}, {"CapEff", &got->cap_eff},
        {"CapBnd", &got->cap_bnd}, {"CapAmb", &got->cap_amb},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(caps); i++) {
        int r = status_hex(status, caps[i].name, caps[i].ret);
        if (r < 0)
            return r;
    }
    got->no_new_privs = status_int(status, "NoNewPrivs") == 1;
    got->seccomp_mode = status_int(status, "Seccomp");
    got->seccomp_filters = status_int(status, "Seccomp_filters");
    char ids[64];
    int r = status_field(status, "Uid", ids, sizeof(ids));
    if (r == 0)
        got->uid = (uint32_t)strtoul(ids, NULL, 10);
    if (r == 0)
        r = status_field(status, "Gid", ids, sizeof(ids));
    if (r == 0)
        got->gid = (uint32_t)strtoul(ids, NULL, 10);
    if (r == 0)
        r = status_cpus(status, "Cpus_allowed_list", &got->cpus);
    return r < 0 ? r : status_cpus(status, "Mems_allowed_list", &got->mems);
}

/* Its lines, with the blanks that align them taken out. */
static void read_uid_map(const struct jb_kdir *dir, struct jb_isolation *got)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    if (jb_kread_all(dir, "uid_map", &text) < 0)
        return;
    for (const char *p = text; *p && len + 3 < sizeof(got->uid_map); p++) {
        bool blank = *p == ' ' || *p == '\t';
        if (*p == '\n') {
            if (!p[1])
                break;
            got->uid_map[len++] = ',';
            got->uid_map[len++] = ' ';
        } else if (!blank) {
            got->uid_map[len++] = *p;
        } else if (len > 0 && got->uid_map[len - 1] != ' ') {
            got->uid_map[len++] = ' ';
        }
    }
}

static void read_personality(const struct jb_kdir *dir, struct jb_isolation *got)
{
    char line[32];
    if (jb_kread_line(dir, "personality", line, sizeof(line)) == 0)
        got->same_addresses = strtoul(line, NULL, 16) & ADDR_NO_RANDOMIZE;
}

/* What the file system of the scratch says of itself. */
static void read_scratch(int scratch_fd, struct jb_isolation *got)
{
    struct statfs fs;
    got->scratch_bytes = JB_UNSET;
    got->scratch_inodes = JB_UNSET;
    if (scratch_fd < 0 || fstatfs(scratch_fd, &fs) < 0)
        return;
    if (fs.f_blocks > 0)
        got->scratch_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
    if (fs.f_files > 0)
        got->scratch_inodes = fs.f_files;
    if ((unsigned long)fs.f_type != TMPFS_MAGIC_) { /* what it takes for itself is nobody's */
        got->scratch_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
        got->scratch_inodes = fs.f_ffree;
    }
}

int jb_box_isolation(const struct jb_box *box, const struct jb_own_namespaces *ours, struct jb_isolation *ret,
                     struct jb_error *err)
{
    struct jb_isolation got = {0};
    struct jb_kdir dir = {.fd = -1};
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/%d", (int)box->pid);
    int r = jb_kdir_open(path, &dir);
    if (r < 0)
        return jb_fail_errno(err, r, "%s", path);
    jb_autofree char *status = NULL;
    r = jb_kread_all(&dir, "status", &status);
    if (r == 0)
        r = read_status(status, &got);
    if (r == 0)
        r = read_namespaces(box->pidfd, &dir, ours, &got);
    read_root(&dir, &got);
    read_personality(&dir, &got);
    if (got.userns)
        read_uid_map(&dir, &got);
    read_scratch(box->scratch_fd, &got);
    jb_kdir_close(&dir);
    if (r < 0)
        return jb_fail_errno(err, r, "reading back the box's isolation from %s", path);
    *ret = got;
    return 0;
}

static int weaker(struct jb_error *err, const char *what)
{
    return jb_fail(err, EIO, "read back from the kernel: %s; the job was not started", what);
}

#define SLACK_BYTES  (UINT64_C(64) << 10) /* sizes are rounded to blocks */
#define SLACK_INODES 4096                 /* and tables of inodes to groups */

static bool wider(uint64_t planned, uint64_t got, uint64_t slack)
{
    return planned != JB_UNSET && (got == JB_UNSET || got > planned + slack);
}

/* Only what the plan did not degrade. */
static bool scratch_has_cap(const struct jb_plan *plan)
{
    return plan->n_ops > 0 && jb_plan_scratch_is_own(plan);
}

int jb_isolation_verify(const struct jb_plan *plan, const struct jb_isolation *got, struct jb_error *err)
{
    const struct {
        unsigned flag;
        bool own;
        const char *what;
    } spaces[] = {
        {CLONE_NEWUSER, got->userns, "no user namespace of its own"},
        {CLONE_NEWNS, got->mount, "no mount namespace of its own"},
        {CLONE_NEWPID, got->pid, "no PID namespace of its own"},
        {CLONE_NEWIPC, got->ipc, "no IPC namespace of its own"},
        {CLONE_NEWUTS, got->uts, "no UTS namespace of its own"},
        {CLONE_NEWNET, got->net, "no network namespace of its own"},
        {CLONE_NEWCGROUP, got->cgroup, "no cgroup namespace of its own"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(spaces); i++)
        if ((plan->namespaces & spaces[i].flag) && !spaces[i].own)
            return weaker(err, spaces[i].what);
    if (!got->no_new_privs)
        return weaker(err, "no_new_privs is not set");
    if (got->seccomp_mode != 2)
        return weaker(err, "no system call filter");
    if ((got->cap_eff | got->cap_prm | got->cap_inh | got->cap_amb | got->cap_bnd) & ~plan->caps)
        return weaker(err, "more capabilities than planned");
    uint32_t uid = plan->userns ? plan->submitter_uid : plan->uid;
    if (got->uid != uid)
        return weaker(err, "another user than planned");
    if (wider(plan->scratch_bytes, got->scratch_bytes, SLACK_BYTES) && scratch_has_cap(plan))
        return weaker(err, "the scratch can hold more than planned");
    if (wider(plan->scratch_inodes, got->scratch_inodes, plan->scratch_inodes / 16 + SLACK_INODES) &&
        scratch_has_cap(plan))
        return weaker(err, "the scratch can hold more files than planned");
    if (plan->reproducible && !got->same_addresses)
        return weaker(err, "addresses are randomised");
    if (!jb_cpus_equal(&got->cpus, &plan->grant.cpus))
        return weaker(err, "the job may run on other CPUs than it was granted");
    return 0;
}
