/*
 * limit.c - the least program that runs one command in a box: what `jobbox run` is measured against.
 *
 * Owns: one cgroup per hierarchy below its own, and one set of namespaces; all gone when it ends.
 * Runs in: scripts/bench, as root. Privilege: root, all of it, the command included (no capability is
 * dropped).
 *
 *   limit [-v] [-i] [-j FILE] IMAGE_DIR PROGRAM [ARGUMENT...]
 *
 * It does what a box costs and nothing else: five controllers (v1, or those that a v2 leaf has) with one CPU,
 * 64 MiB and 64 processes, a v2 leaf, mount/PID/IPC/UTS/network/cgroup namespaces with lo up, an overlay over
 * IMAGE_DIR with a tmpfs upper, /proc, /dev, /sys, /tmp, the figures read, everything removed. No spec, no
 * time limit, no recovery. Plain system calls, so that it builds against any libc; no libjobbox.
 *
 * Alone that isolates less than a job is isolated. -i does the rest of it too (guard.h): private folders and covers
 * over what is root's, no capabilities, a filter of system calls, the command below a PID 1; -j FILE appends a
 * line of the figures to FILE, on disk before it ends.
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_BOX       124
#define INTO_CGROUP    0x200000000ULL /* CLONE_INTO_CGROUP, which not every libc names */
#define NAMESPACES     (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)
#define MEMORY_MAX     "67108864"
#define PIDS_MAX       "64"
#define RMDIR_TRIES    200
#define RMDIR_PAUSE_NS 200000

enum controller { CPUSET, MEMORY, CPU, CPUACCT, PIDS, UNIFIED, N_CONTROLLERS };

static const char *const controller_names[N_CONTROLLERS] = {"cpuset", "memory", "cpu", "cpuacct", "pids", ""};

/* clone3's argument, in the size that CLONE_INTO_CGROUP needs (struct clone_args of linux/sched.h). */
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
        cgroup;
};

/* One hierarchy: where we are in it, and the leaf made there. */
struct group {
    char mount[256];
    char own[512];
    int own_fd, leaf_fd, join_fd;
    bool made;
};

struct limit {
    struct group groups[N_CONTROLLERS];
    char name[32]; /* of the leaf, the same in every hierarchy */
    char cpu[16];  /* the one CPU, as cpuset.cpus takes it */
    int cpu_number;
    bool verbose, guarded;
    const char *note; /* where the figures go, or NULL */
};

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *format, ...)
{
    int saved = errno;
    va_list args;
    fputs("limit: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(saved));
    _exit(EXIT_BOX);
}

/* A small kernel file as text, without its last newline. Returns its length or -1. */
static ssize_t read_text(int dirfd, const char *path, char *buf, size_t len)
{
    int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    ssize_t n;
    while (used < len - 1 && (n = read(fd, buf + used, len - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    while (used > 0 && buf[used - 1] == '\n')
        used--;
    buf[used] = '\0';
    return (ssize_t)used;
}

static int write_text(int dirfd, const char *path, const char *text)
{
    int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? -1 : 0;
}

/* Whether `word` is one of the comma-separated words of `list`. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
            return true;
    }
    return false;
}

/* "ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS": notes cgroup mounts. */
static void note_mount(struct limit *l, char *line)
{
    char *tail = strstr(line, " - cgroup");
    if (!tail)
        return;
    char point[256] = "";
    char type[16];
    char options[256];
    if (sscanf(line, "%*s %*s %*s %*s %255s", point) != 1 ||
        sscanf(tail + 3, "%15s %*s %255s", type, options) != 2)
        return;
    if (strcmp(type, "cgroup2") == 0)
        memcpy(l->groups[UNIFIED].mount, point, sizeof(point));
    else
        for (int c = 0; c < UNIFIED; c++)
            if (has_word(options, controller_names[c]))
                memcpy(l->groups[c].mount, point, sizeof(point));
}

/* "ID:CONTROLLERS:PATH": where we are in a hierarchy. Only mounts of a whole hierarchy are understood. */
static void note_own(struct limit *l, const char *line)
{
    const char *list = strchr(line, ':');
    const char *path = list ? strchr(list + 1, ':') : NULL;
    if (!path)
        return;
    char names[128];
    snprintf(names, sizeof(names), "%.*s", (int)(path - list - 1), list + 1);
    for (int c = 0; c < N_CONTROLLERS; c++) {
        struct group *g = &l->groups[c];
        bool ours = c == UNIFIED ? names[0] == '\0' : has_word(names, controller_names[c]);
        if (ours && g->mount[0]) {
            char mount[sizeof(g->mount)];
            memcpy(mount, g->mount, sizeof(mount));
            snprintf(g->own, sizeof(g->own), "%s%s", mount, path + 1);
        }
    }
}

static void find_groups(struct limit *l)
{
    static char text[65536];
    if (read_text(AT_FDCWD, "/proc/self/mountinfo", text, sizeof(text)) < 0)
        die("/proc/self/mountinfo");
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        note_mount(l, line);
    if (read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)) < 0)
        die("/proc/self/cgroup");
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        note_own(l, line);
}

static void remove_groups(struct limit *l)
{
    for (int c = N_CONTROLLERS - 1; c >= 0; c--) {
        struct group *g = &l->groups[c];
        /* a dead task leaves its group a moment after it was waited for */
        for (int i = 0; g->made && unlinkat(g->own_fd, l->name, AT_REMOVEDIR) < 0; i++) {
            if (errno != EBUSY || i == RMDIR_TRIES)
                die("cannot remove %s/%s", g->own, l->name);
            nanosleep(&(struct timespec){.tv_nsec = RMDIR_PAUSE_NS}, NULL);
        }
        g->made = false;
    }
}

static void make_group(struct limit *l, int c)
{
    struct group *g = &l->groups[c];
    for (int other = 0; other < c; other++)
        if (l->groups[other].made && strcmp(l->groups[other].own, g->own) == 0) {
            g->leaf_fd = l->groups[other].leaf_fd; /* mounted together, as cpu,cpuacct often are */
            g->own_fd = l->groups[other].own_fd;
            return;
        }
    g->own_fd = open(g->own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->own_fd < 0 || mkdirat(g->own_fd, l->name, 0755) < 0)
        die("cannot make %s/%s", g->own, l->name);
    g->made = true;
    g->leaf_fd = openat(g->own_fd, l->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->leaf_fd >= 0 && c != UNIFIED)
        g->join_fd = openat(g->leaf_fd, "tasks", O_WRONLY | O_CLOEXEC);
    if (g->leaf_fd < 0 || (c != UNIFIED && g->join_fd < 0)) {
        int saved = errno;
        remove_groups(l);
        errno = saved;
        die("cannot open %s/%s", g->own, l->name);
    }
}

/* One value: into the v1 file when the controller is v1, else into the v2 file when the leaf has it. */
static void set(struct limit *l, enum controller c, const char *v1, const char *v2, const char *value,
                bool may_lack)
{
    bool is_v1 = l->groups[c].own[0] != '\0';
    const struct group *g = &l->groups[is_v1 ? c : UNIFIED];
    const char *file = is_v1 ? v1 : v2;
    if (g->own[0] && write_text(g->leaf_fd, file, value) == 0)
        return;
    if (!is_v1 || (may_lack && errno == ENOENT)) {
        if (l->verbose)
            fprintf(stderr, "limit: %s=%s is not set: this host does not offer it here\n", file, value);
        return;
    }
    int saved = errno;
    remove_groups(l);
    errno = saved;
    die("cannot write %s to %s/%s/%s", value, g->own, l->name, file);
}

static void make_groups(struct limit *l)
{
    snprintf(l->name, sizeof(l->name), "limit-%ld", (long)getpid());
    for (int c = 0; c < N_CONTROLLERS; c++)
        if (l->groups[c].own[0])
            make_group(l, c);

    char cpus[256] = "";
    char mems[256] = "";
    const struct group *g = &l->groups[l->groups[CPUSET].own[0] ? CPUSET : UNIFIED];
    bool is_v1 = g == &l->groups[CPUSET];
    if (g->own[0]) {
        read_text(g->own_fd, is_v1 ? "cpuset.cpus" : "cpuset.cpus.effective", cpus, sizeof(cpus));
        read_text(g->own_fd, is_v1 ? "cpuset.mems" : "cpuset.mems.effective", mems, sizeof(mems));
    }
    l->cpu_number = cpus[0] ? (int)strtol(cpus, NULL, 10) : sched_getcpu(); /* the first of "0-3,8" */
    snprintf(l->cpu, sizeof(l->cpu), "%d", l->cpu_number);
    set(l, CPUSET, "cpuset.cpus", "cpuset.cpus", l->cpu, false);
    set(l, CPUSET, "cpuset.mems", "cpuset.mems", mems, false);
    set(l, MEMORY, "memory.limit_in_bytes", "memory.max", MEMORY_MAX, false);
    if (l->groups[MEMORY].own[0]) /* v1 counts memory and swap together: the same value is no swap */
        set(l, MEMORY, "memory.memsw.limit_in_bytes", "", MEMORY_MAX, true);
    else
        set(l, MEMORY, "", "memory.swap.max", "0", true);
    set(l, CPU, "cpu.shares", "cpu.weight", l->groups[CPU].own[0] ? "1024" : "100", false);
    set(l, PIDS, "pids.max", "pids.max", PIDS_MAX, false);
}

static void mount_at(const char *type, const char *target, unsigned long flags, const char *options)
{
    if (mount(type, target, type, flags, options) < 0)
        die("cannot mount %s on %s", type, target);
}

/* The overlay root: lower is the image, upper and work are on a tmpfs that hides the host's /tmp from here
 * on. */
static void enter_root(const char *image)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        die("cannot make mounts private");
    if (chdir(image) < 0)
        die("%s", image);
    mount_at("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=755");
    if (mkdir("/tmp/upper", 0755) < 0 || mkdir("/tmp/work", 0755) < 0 || mkdir("/tmp/root", 0755) < 0)
        die("cannot make the upper");
    mount_at("overlay", "/tmp/root", 0, "lowerdir=.,upperdir=/tmp/upper,workdir=/tmp/work");
    if (chdir("/tmp/root") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        die("cannot pivot to %s", image);
}

static void fill_dev(void)
{
    static const struct {
        const char *path;
        unsigned major, minor;
    } nodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                 {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    static const struct {
        const char *to, *path;
    } links[] = {{"/proc/self/fd", "/dev/fd"},
                 {"/proc/self/fd/0", "/dev/stdin"},
                 {"/proc/self/fd/1", "/dev/stdout"},
                 {"/proc/self/fd/2", "/dev/stderr"},
                 {"pts/ptmx", "/dev/ptmx"}};
    mount_at("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k");
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            die("%s", nodes[i].path);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (symlink(links[i].to, links[i].path) < 0)
            die("%s", links[i].path);
    if (mkdir("/dev/pts", 0755) < 0 || mkdir("/dev/shm", 01777) < 0)
        die("/dev");
    mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
    mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
}

static void lo_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        die("cannot bring lo up");
    close(fd);
}

/* PID 1 of the box. */
static void child(const struct limit *l, const char *image, char **argv) __attribute__((noreturn));
static void child(const struct limit *l, const char *image, char **argv)
{
    /* `tasks`, by the one thread itself: cgroup.procs takes a lock that waits for RCU when it was idle */
    for (int c = 0; c < UNIFIED; c++)
        if (l->groups[c].join_fd >= 0 && write(l->groups[c].join_fd, "0", 1) != 1)
            die("cannot join %s/%s", l->groups[c].own, l->name);
    cpu_set_t cpu;
    CPU_ZERO(&cpu);
    CPU_SET(l->cpu_number, &cpu);
    if (sched_setaffinity(0, sizeof(cpu), &cpu) < 0) /* the old affinity survives the move */
        die("cannot set affinity to CPU %s", l->cpu);
    if (unshare(CLONE_NEWCGROUP) < 0) /* now, so that the leaf is its root in every hierarchy */
        die("cannot make a cgroup namespace");
    if (sethostname("limit", 5) < 0)
        die("sethostname");
    lo_up();
    umask(0);
    enter_root(image);
    mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    fill_dev();
    mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
    mount_at("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    if (l->guarded)
        guard_files();
    umask(022);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    static char path[] = "PATH=/bin:/usr/bin";
    if (l->guarded) {
        guard_privilege();
        _exit(guard_run(argv, (char *[]){path, NULL}));
    }
    execve(argv[0], argv, (char *[]){path, NULL});
    die("cannot execute %s", argv[0]);
}

static int run_child(const struct limit *l, const char *image, char **argv)
{
    const struct group *v2 = &l->groups[UNIFIED];
    struct clone3_args args = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    if (v2->own[0]) {
        args.flags |= INTO_CGROUP;
        args.cgroup = (uint64_t)v2->leaf_fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        child(l, image, argv);
    if (pid < 0) {
        fprintf(stderr, "limit: clone3: %s\n", strerror(errno));
        return EXIT_BOX;
    }
    int status = 0;
    while (waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Reads what a record needs. A file that this kernel does not have is passed over. */
static void read_usage(const struct limit *l)
{
    static const struct {
        enum controller c;
        const char *file;
    } files[] = {
        {MEMORY, "memory.max_usage_in_bytes"},
        {MEMORY, "memory.memsw.max_usage_in_bytes"},
        {MEMORY, "memory.oom_control"},
        {CPU, "cpu.stat"},
        {CPUACCT, "cpuacct.usage_percpu"},
        {PIDS, "pids.peak"},
        {UNIFIED, "cpu.stat"},
        {UNIFIED, "memory.peak"},
        {UNIFIED, "memory.events"},
        {UNIFIED, "pids.peak"},
        {UNIFIED, "cpu.pressure"},
        {UNIFIED, "memory.pressure"},
        {UNIFIED, "io.pressure"},
    };
    static char line[16384];
    size_t len = 0;
    char text[1024];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const struct group *g = &l->groups[files[i].c];
        if (!g->own[0] || read_text(g->leaf_fd, files[i].file, text, sizeof(text)) < 0)
            continue;
        for (char *c = text; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        if (l->verbose)
            fprintf(stderr, "%s/%s/%s: %s\n", g->own, l->name, files[i].file, text);
        len += (size_t)snprintf(line + len, sizeof(line) - len, "%s: %s; ", files[i].file, text);
    }
    line[len] = '\n';
    if (l->note)
        guard_note(l->note, line);
}

int main(int argc, char **argv)
{
    struct limit l = {0};
    int option;
    while ((option = getopt(argc, argv, "+vij:")) != -1)
        switch (option) {
        case 'v':
            l.verbose = true;
            break;
        case 'i':
            l.guarded = true;
            break;
        case 'j':
            l.note = optarg;
            break;
        default:
            return 125;
        }
    argv += optind;
    argc -= optind;
    if (argc < 2) {
        fputs("usage: limit [-v] [-i] [-j FILE] IMAGE_DIR PROGRAM [ARGUMENT...]\n", stderr);
        return 125;
    }
    for (int c = 0; c < N_CONTROLLERS; c++)
        l.groups[c].own_fd = l.groups[c].leaf_fd = l.groups[c].join_fd = -1;
    signal(SIGINT, SIG_IGN); /* the command ends, then we tidy up */
    signal(SIGTERM, SIG_IGN);
    find_groups(&l);
    make_groups(&l);
    int code = run_child(&l, argv[0], argv + 1);
    read_usage(&l);
    remove_groups(&l);
    return code;
}
