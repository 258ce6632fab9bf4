/*
 * probe.c - what a job of the functional tests does that no shell can: attempts, measured loads, daemons.
 *
 * Owns: nothing. Runs in: boxes of the tests, as the job. Privilege: the job's. Static, without libjobbox.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Says on a line what came of an attempt; only the three errors of a refusal count as one. */
static int attempt(const char *name, long result)
{
    int errnum = result < 0 ? errno : 0;
    int refused = errnum == EPERM || errnum == ENOSYS || errnum == EACCES;
    (void)printf("%s %s\n", name, refused ? "refused" : errnum ? strerrorname_np(errnum) : "ALLOWED");
    return refused ? 0 : 1;
}

static int ptrace_init(void)
{
    long r = ptrace(PTRACE_SEIZE, 1, NULL, NULL);
    return attempt("ptrace-init", r);
}

static int write_to_init(void)
{
    char byte = 0;
    struct iovec local = {&byte, 1};
    struct iovec remote = {(void *)0x400000, 1};
    return attempt("process_vm_writev-init", process_vm_writev(1, &local, 1, &remote, 1, 0));
}

static int namespaces(void)
{
    int bad = attempt("unshare-mount", unshare(CLONE_NEWNS));
    bad += attempt("unshare-user", unshare(CLONE_NEWUSER));
    bad += attempt("unshare-net", unshare(CLONE_NEWNET));
    bad += attempt("unshare-pid", unshare(CLONE_NEWPID));
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    bad += attempt("clone-user", child);
    bad += attempt("clone3", syscall(SYS_clone3, NULL, 0));
    bad += attempt("setns", syscall(SYS_setns, -1, CLONE_NEWNS));
    return bad;
}

static int mounts(void)
{
    int bad = attempt("mount-tmpfs", mount("none", "/tmp", "tmpfs", 0, NULL));
    bad += attempt("mount-proc", mount("none", "/tmp", "proc", 0, NULL));
    bad += attempt("mount-cgroup", mount("none", "/tmp", "cgroup", 0, "memory"));
    bad += attempt("mount-remount", mount("none", "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    bad += attempt("umount", umount2("/proc/kcore", MNT_DETACH));
    bad += attempt("pivot_root", syscall(SYS_pivot_root, "/", "/tmp"));
    bad += attempt("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    bad += attempt("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
    bad += attempt("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/", AT_FDCWD, "/tmp", 0));
    bad += attempt("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0));
    bad += attempt("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    bad += attempt("mknod-device", mknod("/tmp/memory", S_IFCHR | 0600, makedev(1, 1)));
    bad += attempt("mknod-disk", mknod("/tmp/disk", S_IFBLK | 0600, makedev(254, 0)));
    return bad;
}

static int kernel(void)
{
    struct perf_event_attr perf = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(perf)};
    char params[256] = {0};
    int bad = attempt("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    bad += attempt("add_key", syscall(SYS_add_key, "user", "a", "b", 1, KEY_SPEC_PROCESS_KEYRING));
    bad += attempt("perf_event_open", syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0));
    bad += attempt("bpf", syscall(SYS_bpf, 0, params, 64));
    bad += attempt("io_uring_setup", syscall(SYS_io_uring_setup, 1, params));
    bad += attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
    bad += attempt("init_module", syscall(SYS_init_module, NULL, 0, ""));
    bad += attempt("finit_module", syscall(SYS_finit_module, -1, "", 0));
    bad += attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    bad += attempt("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    bad += attempt("swapon", syscall(SYS_swapon, "/tmp/none", 0));
    bad += attempt("syslog", syscall(SYS_syslog, 3, params, sizeof(params)));
    bad += attempt("acct", syscall(SYS_acct, "/tmp/acct"));
    bad += attempt("quotactl", syscall(SYS_quotactl, 0, "/dev/vda", 0, NULL));
    bad += attempt("settimeofday", settimeofday(&(struct timeval){0}, NULL));
    bad += attempt("sethostname", sethostname("other", 5));
    bad += attempt("iopl", syscall(SYS_iopl, 3));
    bad += attempt("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    bad += attempt("kcmp-init", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
    return bad;
}

static int sockets_and_terminal(void)
{
    int bad = attempt("socket-alg", socket(38, SOCK_SEQPACKET, 0));
    bad += attempt("socket-vsock", socket(40, SOCK_STREAM, 0));
    bad += attempt("socket-packet", socket(AF_PACKET, SOCK_RAW, 0));
    bad += attempt("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412UL, "x"));
    bad += attempt("TIOCSTI-high", syscall(SYS_ioctl, 0, 0x100005412UL, "x"));
    bad += attempt("TIOCLINUX", syscall(SYS_ioctl, 0, 0x541cUL, "x"));
    return bad;
}

static int calls(void)
{
    int bad = ptrace_init() + write_to_init() + namespaces() + mounts() + kernel() + sockets_and_terminal();
    return bad != 0;
}

static int fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 1;
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir))
            (void)printf("%s\n", e->d_name);
    (void)closedir(dir);
    return 0;
}

static int touch(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    return 0;
}

static double cpu_seconds(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int burn(double seconds)
{
    while (cpu_seconds() < seconds)
        for (volatile int i = 0; i < 10000;)
            i = i + 1;
    return 0;
}

/* As far from the job's main process as one can get: another session, no parent, deaf to every signal. */
static int become_daemon(char **argv)
{
    if (fork() != 0)
        return 0;
    (void)setsid();
    if (fork() != 0)
        _exit(0);
    for (int sig = 1; sig < 65; sig++)
        (void)signal(sig, SIG_IGN);
    for (int fd = 0; fd < 3; fd++)
        (void)close(fd);
    (void)open("/dev/null", O_RDWR);
    (void)dup2(0, 1);
    (void)dup2(0, 2);
    execv(argv[0], argv);
    _exit(127);
}

static int loopback(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    char text[3] = "";
    int server = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&at, len) < 0 || listen(server, 1) < 0 ||
        getsockname(server, (struct sockaddr *)&at, &len) < 0 ||
        connect(client, (struct sockaddr *)&at, len) < 0) {
        perror("loopback");
        return 1;
    }
    int conn = accept(server, NULL, NULL);
    if (write(client, "hi", 2) != 2 || read(conn, text, 2) != 2)
        return 1;
    (void)puts(text);
    return 0;
}

static int sysv(const char *what, key_t key)
{
    int id = shmget(key, 4096, strcmp(what, "make") == 0 ? IPC_CREAT | IPC_EXCL | 0666 : 0);
    (void)puts(id >= 0 ? "there" : errno == ENOENT ? "absent" : strerror(errno));
    return id < 0 && errno != ENOENT;
}

static _Noreturn void bomb(void)
{
    for (;;)
        (void)fork();
}

/* Holds what it was asked to hold until it is killed. */
static int hold(size_t bytes)
{
    int r = touch(bytes);
    (void)puts("held");
    (void)fflush(stdout);
    while (r == 0)
        (void)pause();
    return r;
}

/* The first line of a file, or "-". */
static void first_line(const char *path, char *text, int len)
{
    FILE *f = fopen(path, "re");
    if (!f || !fgets(text, len, f))
        (void)snprintf(text, (size_t)len, "-");
    text[strcspn(text, "\n")] = '\0';
    if (f)
        (void)fclose(f);
}

/* Where the kernel put the pages of the mapping at `start`: "N0=16 N1=4", from numa_maps. */
static void pages_of(const void *start, char *text, size_t len)
{
    char line[1024];
    FILE *f = fopen("/proc/self/numa_maps", "re");
    size_t used = 0;
    text[0] = '\0';
    while (f && fgets(line, sizeof(line), f)) {
        char *save = NULL;
        const char *word = strtok_r(line, " \n", &save);
        if (!word || strtoul(word, NULL, 16) != (unsigned long)start)
            continue;
        for (; word; word = strtok_r(NULL, " \n", &save))
            if (word[0] == 'N' && strchr(word, '=') && used < len)
                used += (size_t)snprintf(text + used, len - used, "%s%s", used ? " " : "", word);
    }
    if (f)
        (void)fclose(f);
}

/* From every CPU that the job may run on: where it really runs, its siblings, and where memory lands that it touches. */
static int where(size_t bytes)
{
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof(all), &all) < 0)
        return 1;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;
        char path[128];
        char siblings[128];
        char pages[256];
        unsigned runs;
        unsigned node;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (!CPU_ISSET(cpu, &all))
            continue;
        char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || sched_setaffinity(0, sizeof(one), &one) < 0 || getcpu(&runs, &node) < 0)
            return 1;
        (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
        memset(memory, 1, bytes);
        pages_of(memory, pages, sizeof(pages));
        (void)munmap(memory, bytes);
        (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
                       cpu);
        first_line(path, siblings, sizeof(siblings));
        (void)printf("cpu %u runs %u siblings %s node %u pages %s\n", cpu, runs, siblings, node, pages);
    }
    return 0;
}

/* Memory of huge pages, touched: says on which node they are, or why there are none. */
static int huge(size_t bytes)
{
    char pages[256];
    char *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (memory == MAP_FAILED) {
        (void)puts(strerrorname_np(errno));
        return 1;
    }
    memset(memory, 1, bytes);
    pages_of(memory, pages, sizeof(pages));
    (void)puts(pages);
    return 0;
}

/* `n` processes of `seconds` each, every second one left to whoever reaps orphans. */
static int burn_many(int n, double seconds)
{
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0 && i % 2 == 1 && fork() != 0)
            _exit(0);
        if (pid == 0)
            _exit(burn(seconds));
        if (pid < 0)
            return 1;
    }
    while (wait(NULL) > 0) {
    }
    return 0;
}

/* Runs a command and says how many microseconds of CPU time it had, as the kernel tells whoever waits for it. */
static int tell_rusage(char **argv)
{
    struct rusage used;
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid || status != 0)
        return 1;
    (void)printf("%ld\n", (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec +
                              used.ru_stime.tv_usec);
    return 0;
}

/* Writes bytes to a file, each page once, and none of them sooner or later than by ending. */
static int write_bytes(const char *path, size_t bytes)
{
    static char page[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (size_t n; fd >= 0 && bytes > 0; bytes -= n) {
        n = bytes < sizeof(page) ? bytes : sizeof(page);
        if (write(fd, page, n) != (ssize_t)n)
            return 1;
    }
    return fd < 0;
}

/* Locks the file in `dir` that stands for a CPU; says so there when another process is on that CPU too. */
static int sit_on(const char *dir, int cpu)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/cpu%d", dir, cpu);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return 1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/clash%d", dir, cpu);
    (void)open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return 1;
}

/* Looks for so long on which CPU it is. 1 when somebody else that looks is there too. */
static int alone(double seconds, const char *dir)
{
    cpu_set_t seen;
    struct timespec begun;
    struct timespec now;
    CPU_ZERO(&seen);
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        int cpu = sched_getcpu();
        if (cpu < 0 || (!CPU_ISSET(cpu, &seen) && sit_on(dir, cpu)))
            return 1;
        CPU_SET(cpu, &seen);
        (void)usleep(500);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9 < seconds);
    return 0;
}

static int winsize(void)
{
    struct winsize size = {0};
    if (ioctl(0, TIOCGWINSZ, &size) < 0)
        return 1;
    (void)printf("%ux%u\n", size.ws_row, size.ws_col);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "calls") == 0)
        return calls();
    if (strcmp(verb, "fds") == 0)
        return fds();
    if (strcmp(verb, "touch") == 0 && argc > 2)
        return touch(strtoul(argv[2], NULL, 10));
    if (strcmp(verb, "hold") == 0 && argc > 2)
        return hold(strtoul(argv[2], NULL, 10));
    if (strcmp(verb, "burn") == 0 && argc > 2)
        return burn(strtod(argv[2], NULL));
    if (strcmp(verb, "burn-many") == 0 && argc > 3)
        return burn_many((int)strtol(argv[2], NULL, 10), strtod(argv[3], NULL));
    if (strcmp(verb, "rusage") == 0 && argc > 2)
        return tell_rusage(argv + 2);
    if (strcmp(verb, "write") == 0 && argc > 3)
        return write_bytes(argv[2], strtoul(argv[3], NULL, 10));
    if (strcmp(verb, "alone") == 0 && argc > 3)
        return (argc > 4 && touch(strtoul(argv[4], NULL, 10))) || alone(strtod(argv[2], NULL), argv[3]);
    if (strcmp(verb, "daemon") == 0 && argc > 2)
        return become_daemon(argv + 2);
    if (strcmp(verb, "loopback") == 0)
        return loopback();
    if (strcmp(verb, "sysv") == 0 && argc > 3)
        return sysv(argv[2], (key_t)strtol(argv[3], NULL, 10));
    if (strcmp(verb, "bomb") == 0)
        bomb();
    if (strcmp(verb, "where") == 0 && argc > 2)
        return where(strtoul(argv[2], NULL, 10));
    if (strcmp(verb, "huge") == 0 && argc > 2)
        return huge(strtoul(argv[2], NULL, 10));
    if (strcmp(verb, "setxattr") == 0 && argc > 4)
        return setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0) < 0;
    if (strcmp(verb, "winsize") == 0)
        return winsize();
    (void)fprintf(stderr, "probe: what is \"%s\"?\n", verb);
    return 2;
}
