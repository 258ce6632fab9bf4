/*
 * guard.c - see the header.
 *
 * Owns: nothing. Runs in: limit -i, the box's PID 1 (guard_note: outside). Privilege: root, given up in guard_privilege.
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_BOX 124
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what)
{
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    _exit(EXIT_BOX);
}

/* Covers `path`; what is not there needs none. */
static void cover(const char *source, const char *path, unsigned long flags)
{
    if (mount(source, path, NULL, MS_BIND, NULL) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return;
        die(path);
    }
    if (flags && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0)
        die(path);
}

static void private_folders(void)
{
    static const struct {
        const char *path;
        mode_t mode;
    } folders[] = {{"/var/tmp", 01777}, {"/run", 0755}, {"/work", 0755}};
    static char source[] = "/tmp/folder0";
    for (size_t i = 0; i < COUNT(folders); i++) {
        source[sizeof(source) - 2] = (char)('0' + i);
        if (mkdir(source, folders[i].mode) < 0 || (mkdir(folders[i].path, 0755) < 0 && errno != EEXIST))
            die(folders[i].path);
        cover(source, folders[i].path, 0);
    }
}

static void hosts(void)
{
    static const char text[] = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
    int fd = open("/tmp/hosts", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, sizeof(text) - 1) != sizeof(text) - 1)
        die("/tmp/hosts");
    close(fd);
    if (mkdir("/etc", 0755) < 0 && errno != EEXIST)
        die("/etc");
    fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        die("/etc/hosts");
    close(fd);
    cover("/tmp/hosts", "/etc/hosts", 0);
}

void guard_files(void)
{
    static const char *const read_only[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus",
                                            "/proc/fs"};
    static const char *const files[] = {"/proc/kcore",      "/proc/timer_list", "/proc/latency_stats",
                                        "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup",
                                        "/proc/keys",       "/proc/sched_debug"};
    static const char *const folders[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware",
                                          "/sys/devices/virtual/powercap"};
    const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    private_folders();
    hosts();
    for (size_t i = 0; i < COUNT(read_only); i++)
        cover(read_only[i], read_only[i], flags);
    for (size_t i = 0; i < COUNT(files); i++)
        cover("/dev/null", files[i], 0);
    if (mkdir("/tmp/empty", 0555) < 0)
        die("/tmp/empty");
    for (size_t i = 0; i < COUNT(folders); i++)
        cover("/tmp/empty", folders[i], flags);
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
    if (setgroups(0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
        syscall(SYS_setresuid, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0)
        die("giving up capabilities");
}

/* A filter of the kind that isolators have: a 64-bit, little-endian caller, and a list of calls that are refused. */
static void filter_calls(void)
{
    static const uint16_t refused[] = {
        SYS_acct,
        SYS_add_key,
        SYS_bpf,
        SYS_clock_adjtime,
        SYS_clock_settime,
        SYS_delete_module,
        SYS_finit_module,
        SYS_init_module,
        SYS_fsconfig,
        SYS_fsmount,
        SYS_fsopen,
        SYS_fspick,
        SYS_kexec_load,
        SYS_keyctl,
        SYS_mount,
        SYS_mount_setattr,
        SYS_move_mount,
        SYS_name_to_handle_at,
        SYS_open_tree,
        SYS_open_by_handle_at,
        SYS_pivot_root,
        SYS_perf_event_open,
        SYS_quotactl,
        SYS_reboot,
        SYS_request_key,
        SYS_setdomainname,
        SYS_sethostname,
        SYS_setns,
        SYS_settimeofday,
        SYS_swapoff,
        SYS_swapon,
        SYS_syslog,
        SYS_umount2,
        SYS_unshare,
        SYS_userfaultfd,
        SYS_vhangup,
        SYS_io_uring_setup,
        SYS_io_uring_enter,
        SYS_ptrace,
        SYS_kcmp,
    };
    struct sock_filter filter[3 + 2 * COUNT(refused) + 1] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __AUDIT_ARCH_64BIT, 0, 2 * COUNT(refused) + 1),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    struct sock_filter *next = filter + 3;
    for (size_t i = 0; i < COUNT(refused); i++) {
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], 0, 1);
        *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    *next = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {COUNT(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        die("filter of system calls");
}

void guard_privilege(void)
{
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1}) < 0)
        die("RLIMIT_CORE");
    drop_capabilities();
    filter_calls();
}

int guard_run(char **argv, char **envp)
{
    pid_t command = 0;
    errno = posix_spawn(&command, argv[0], NULL, NULL, argv, envp);
    if (errno != 0)
        die(argv[0]);
    int status = 0;
    for (;;) {
        int one = 0;
        pid_t ended = waitpid(-1, &one, 0);
        if (ended == command)
            status = one;
        if (ended < 0 && errno != EINTR)
            break;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void guard_note(const char *path, const char *line)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0 || write(fd, line, strlen(line)) < 0 || fdatasync(fd) < 0)
        die(path);
    close(fd);
}
