/*
 * host.c - probing the host and the submitter.
 *
 * Owns: nothing beyond the results. Runs in: the client. Privilege: none; reading only.
 */
#include "plan/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <net/route.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kfile.h"

#define SUBIDS_MAX       (4U << 20)
#define ETC_MAX          65536 /* bytes of such a file */
#define FUSE_SUPER_MAGIC 0x65735546

/*
 * What of /proc and /sys a job has no business with. Files are covered by /dev/null, directories by an empty one. The
 * last two lists are for jobs that are uid 0 on the host: they check the uid, not a capability, so anybody else is kept
 * out by their modes. What is read-only there stays visible.
 */
static const char *const mask_files[] = {"/proc/keys", "/proc/sched_debug"};
static const char *const mask_dirs[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware",
                                        "/sys/devices/virtual/powercap"};
static const char *const root_mask_files[] = {"/proc/kcore",      "/proc/timer_list", "/proc/latency_stats",
                                              "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup"};
static const char *const root_readonly[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus",
                                            "/proc/fs"};

static int add_all(const char *const *paths, size_t n, struct jb_strv *ret)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = jb_strv_add(ret, paths[i]);
    return r;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_root(const char *path, struct jb_host *host)
{
    jb_autodir DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        int r = 0;
        if (S_ISDIR(st.st_mode)) {
            r = jb_strv_add(&host->root_dirs, e->d_name);
        } else if (S_ISLNK(st.st_mode)) {
            char target[256];
            ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
            if (n < 0)
                continue;
            target[n] = '\0';
            r = jb_strv_printf(&host->root_links, "%s=%s", e->d_name, target);
        }
        if (r < 0)
            return r;
    }
    if (host->root_dirs.len)
        qsort(host->root_dirs.items, host->root_dirs.len, sizeof(char *), by_text);
    if (host->root_links.len)
        qsort(host->root_links.items, host->root_links.len, sizeof(char *), by_text);
    return 0;
}

int jb_host_probe_disks(struct jb_host *host)
{
    struct jb_kdir sys = {.fd = -1};
    (void)jb_kdir_open("/sys", &sys);
    int r = jb_disks_find(&sys, &host->mounts, &host->disks);
    jb_kdir_close(&sys);
    return r;
}

int jb_host_probe(bool privileged, bool want_mounts, struct jb_host *ret, struct jb_error *err)
{
    struct jb_host host = {.device_program = -ENOTSUP};
    struct utsname uts;
    if (uname(&uts) < 0)
        return jb_fail_errno(err, errno, "uname");
    (void)snprintf(host.name, sizeof(host.name), "%s", uts.nodename);
    (void)snprintf(host.kernel, sizeof(host.kernel), "%s", uts.release);
    struct jb_kdir proc = {.fd = -1};
    int r = jb_kdir_open("/proc", &proc);
    if (r < 0)
        return jb_fail_errno(err, r, "/proc: jobbox needs it");
    char line[64] = "";
    if (jb_kread_line(&proc, "sys/kernel/random/boot_id", line, sizeof(line)) == 0)
        (void)snprintf(host.boot_id, sizeof(host.boot_id), "%s", line);
    jb_kdir_close(&proc);
    if (want_mounts)
        r = jb_mounts_read(&host.mounts, err);
    if (r == 0)
        r = jb_cg_layout_probe(NULL, &host.cgroups, err);
    if (r < 0) {
        jb_host_free(&host);
        return r;
    }
    r = add_all(mask_files, JB_ARRAY_LEN(mask_files), &host.mask_files);
    if (r == 0)
        r = add_all(mask_dirs, JB_ARRAY_LEN(mask_dirs), &host.mask_dirs);
    if (r == 0 && privileged)
        r = add_all(root_mask_files, JB_ARRAY_LEN(root_mask_files), &host.root_mask_files);
    if (r == 0 && privileged)
        r = add_all(root_readonly, JB_ARRAY_LEN(root_readonly), &host.readonly_paths);
    if (r == 0 && !privileged)
        r = read_root("/", &host);
    if (r < 0) {
        jb_host_free(&host);
        return jb_fail_errno(err, r, "reading facts about this host");
    }
    *ret = host;
    return 0;
}

void jb_host_free(struct jb_host *host)
{
    jb_mounts_free(&host->mounts);
    jb_disks_free(&host->disks);
    jb_cg_layout_free(&host->cgroups);
    free(host->root_from);
    jb_buf_free(&host->etc_hosts);
    jb_buf_free(&host->etc_resolv);
    jb_strv_free(&host->root_dirs);
    jb_strv_free(&host->root_links);
    jb_strv_free(&host->mask_files);
    jb_strv_free(&host->mask_dirs);
    jb_strv_free(&host->root_mask_files);
    jb_strv_free(&host->readonly_paths);
    *host = (struct jb_host){0};
}

static int read_text(const char *path, struct jb_buf *ret)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    int r = jb_read_at(AT_FDCWD, path, ETC_MAX, &text, &len);
    return r < 0 ? 0 : jb_buf_add(ret, text, len); /* a host without one has none to show */
}

/*
 * Whether there is a way out of this host, for each kind of address: a route to everything that is up and not through lo.
 */
static void probe_routes(struct jb_host *host)
{
    jb_autobuf struct jb_buf four = {0};
    jb_autobuf struct jb_buf six = {0};
    char *rest = NULL;
    unsigned flags;
    unsigned mask;
    char device[IF_NAMESIZE + 1];
    (void)read_text("/proc/net/route", &four);
    (void)read_text("/proc/net/ipv6_route", &six);
    for (char *line = four.data ? strtok_r(four.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        /* NOLINTNEXTLINE(cert-err34-c): a kernel file */
        if (sscanf(line, "%*s 00000000 %*x %x %*d %*d %*d %x", &flags, &mask) == 2 && mask == 0 &&
            (flags & RTF_UP))
            host->routed4 = true;
    for (char *line = six.data ? strtok_r(six.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        /* NOLINTNEXTLINE(cert-err34-c): a kernel file */
        if (sscanf(line, "%*32[0] 00 %*32[0] 00 %*s %*x %*x %*x %x %16s", &flags, device) == 2 &&
            (flags & RTF_UP) && !(flags & RTF_REJECT) && strcmp(device, "lo") != 0)
            host->routed6 = true;
}

int jb_host_probe_network(enum jb_network network, struct jb_host *host)
{
    int r = 0;
    if (network == JB_NETWORK_HOST) {
        r = read_text("/etc/hosts", &host->etc_hosts);
        return r < 0 ? r : read_text("/etc/resolv.conf", &host->etc_resolv);
    }
    if (network != JB_NETWORK_USER)
        return 0;
    if (jb_program_find("slirp4netns", host->net_slirp) < 0)
        host->net_slirp[0] = '\0';
    if (jb_program_find("pasta", host->net_pasta) < 0)
        host->net_pasta[0] = '\0';
    probe_routes(host);
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        (void)snprintf(host->no_tun, sizeof(host->no_tun), "%s", strerrordesc_np(errno));
    return 0;
}

void jb_host_probe_lxcfs(struct jb_host *host)
{
    struct statfs fs;
    host->lxcfs = statfs(JB_LXCFS "/proc", &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC;
}

void jb_host_probe_fuse(char program[JB_PROGRAM_PATH], char lacks[JB_FUSE_WHY])
{
    lacks[0] = '\0';
    if (jb_program_find("fuse-overlayfs", program) < 0) {
        program[0] = '\0';
        (void)snprintf(lacks, JB_FUSE_WHY, "it is not installed (the package fuse-overlayfs has it)");
        return;
    }
    jb_autoclose int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        (void)snprintf(lacks, JB_FUSE_WHY, "/dev/fuse cannot be opened: %s (%s)", strerrordesc_np(errno),
                       errno == EACCES ? "chmod 666 /dev/fuse, as udev does with the package fuse3"
                                       : "modprobe fuse");
}

void jb_host_probe_subids(const char *user, uid_t uid, struct jb_host *host)
{
    jb_autofree char *uids = NULL;
    jb_autofree char *gids = NULL;
    if (jb_read_at(AT_FDCWD, "/etc/subuid", SUBIDS_MAX, &uids, NULL) < 0 ||
        jb_read_at(AT_FDCWD, "/etc/subgid", SUBIDS_MAX, &gids, NULL) < 0 ||
        jb_program_find("newuidmap", host->uid_mapper) < 0 ||
        jb_program_find("newgidmap", host->gid_mapper) < 0)
        return;
    host->subuids = jb_subids_find(uids, user, uid);
    host->subgids = jb_subids_find(gids, user, uid);
}

int jb_host_probe_root(const char *dir, const char *why, struct jb_host *host)
{
    jb_strv_free(&host->root_dirs);
    jb_strv_free(&host->root_links);
    (void)snprintf(host->root_why, sizeof(host->root_why), "%s", why);
    free(host->root_from);
    host->root_from = strdup(dir);
    return host->root_from ? read_root(dir, host) : -ENOMEM;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    uint64_t effective = data[0].effective | (uint64_t)data[1].effective << 32;
    uint64_t needed = UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_SETUID | UINT64_C(1) << CAP_SETGID |
                      UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_MKNOD | UINT64_C(1) << CAP_CHOWN |
                      UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_KILL |
                      UINT64_C(1) << CAP_SYS_PTRACE; /* for the box's namespaces, when they are read back */
    return (effective & needed) == needed;
}

#define INITIAL_USER_NAMESPACE 0xEFFFFFFDU /* its inode number, the same on every kernel */

/*
 * In a container with a user namespace root has all capabilities and still may make no device and set no trusted
 * attribute. Boxes are then made as for an ordinary user, in a user namespace below that one.
 */
static bool in_initial_user_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/user", &st) < 0 || st.st_ino == INITIAL_USER_NAMESPACE;
}

/* Most accounts that run jobs by hand are in the file; to ask the name service means sockets, plugins and a cache daemon. */
static bool find_in_file(uid_t uid, struct passwd *pw, char *buf, size_t len)
{
    jb_autofile FILE *file = fopen("/etc/passwd", "re");
    struct passwd *found = NULL;
    while (file && fgetpwent_r(file, pw, buf, len, &found) == 0)
        if (found->pw_uid == uid)
            return true;
    return false;
}

static int look_up_user(struct jb_submitter *s)
{
    char buf[4096];
    struct passwd pw;
    struct passwd *found = NULL;
    if (find_in_file(s->uid, &pw, buf, sizeof(buf)) ||
        (getpwuid_r(s->uid, &pw, buf, sizeof(buf), &found) == 0 && found)) {
        s->user = strdup(pw.pw_name);
        s->home = strdup(pw.pw_dir && pw.pw_dir[0] == '/' ? pw.pw_dir : "/");
    } else {
        s->user = jb_asprintf("%u", (unsigned)s->uid);
        s->home = strdup("/");
    }
    return s->user && s->home ? 0 : -ENOMEM;
}

static int look_up_groups(struct jb_submitter *s)
{
    int n = getgroups(0, NULL);
    if (n < 0)
        return -errno;
    if (n == 0)
        return 0;
    s->groups = calloc((size_t)n, sizeof(*s->groups));
    if (!s->groups)
        return -ENOMEM;
    n = getgroups(n, s->groups);
    if (n < 0)
        return -errno;
    s->n_groups = (size_t)n;
    return 0;
}

int jb_submitter_self(struct jb_submitter *ret, struct jb_error *err)
{
    struct jb_submitter s = {.uid = getuid(), .gid = getgid()};
    if (s.uid != geteuid() || s.gid != getegid())
        return jb_fail(err, EPERM,
                       "jobbox runs setuid or setgid here; it must not be installed so: remove the bit");
    s.privileged = s.uid == 0 && has_capabilities() && in_initial_user_namespace();
    int r = look_up_user(&s);
    if (r == 0)
        r = look_up_groups(&s);
    if (r == 0) {
        s.cwd = getcwd(NULL, 0);
        if (!s.cwd)
            r = -errno;
        else if (s.cwd[0] != '/')
            r = -ENOENT;
    }
    for (char **e = environ; r == 0 && e && *e; e++)
        r = jb_strv_add(&s.env, *e);
    if (r < 0) {
        jb_submitter_free(&s);
        return jb_fail_errno(err, r, "finding out who and where we are (working directory, groups)");
    }
    *ret = s;
    return 0;
}

void jb_submitter_free(struct jb_submitter *submitter)
{
    free(submitter->groups);
    free(submitter->user);
    free(submitter->home);
    free(submitter->cwd);
    jb_strv_free(&submitter->env);
    *submitter = (struct jb_submitter){0};
}
