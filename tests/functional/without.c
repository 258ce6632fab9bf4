/*
 * without.c - runs a program as if the kernel were older, or its calls were filtered as in a container: the system calls
 * named fail, with ENOSYS or another error; files of that name are not there; a file system knows no option of that name.
 *
 * Usage: without CALL[=ERRNO]|file:NAME|option:KEY... -- PROGRAM [ARGUMENT...]
 *
 * Owns: nothing. Runs in: tests; with file: and option: it stays, as the parent of the program, and answers for the kernel.
 * Each name that it refuses is then a line of the file that WITHOUT_REFUSED names.
 * Privilege: that of the caller; without CAP_SYS_ADMIN also no_new_privs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned nr;
} calls[] = {
    {"bpf", SYS_bpf},
    {"clone3", SYS_clone3},
    {"close_range", SYS_close_range},
    {"faccessat2", SYS_faccessat2},
    {"fsconfig", SYS_fsconfig},
    {"fsmount", SYS_fsmount},
    {"fsopen", SYS_fsopen},
    {"memfd_create", SYS_memfd_create},
    {"mount_setattr", SYS_mount_setattr},
    {"move_mount", SYS_move_mount},
    {"open_tree", SYS_open_tree},
    {"openat2", SYS_openat2},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"pidfd_open", SYS_pidfd_open},
    {"pidfd_send_signal", SYS_pidfd_send_signal},
};
#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

static const struct {
    const char *name;
    unsigned errnum;
} errors[] = {{"ENOSYS", ENOSYS}, {"EPERM", EPERM}, {"EINVAL", EINVAL}};

/* What is judged by a name that the caller hands in: which calls, and which of their arguments is the name. */
static const struct kind {
    const char *prefix;
    int errnum;
    struct {
        int nr;
        int argument;
    } calls[2];
} kinds[] = {
    {"file:", ENOENT, {{SYS_openat, 1}, {SYS_openat2, 1}}},
    {"option:", EINVAL, {{SYS_fsconfig, 2}, {SYS_fsconfig, 2}}},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct wish {
    const struct kind *kind;
    const char *name;
};
#define MAX_WISHES 8

static void usage(const char *word)
{
    (void)fprintf(stderr,
                  "without: what is \"%s\"? usage: without CALL[=ERRNO]|file:NAME|option:KEY... -- "
                  "PROGRAM [ARGUMENT...]\n",
                  word);
    exit(2);
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static unsigned number_of(const char *word, size_t len)
{
    for (size_t i = 0; i < N_CALLS; i++)
        if (strlen(calls[i].name) == len && memcmp(calls[i].name, word, len) == 0)
            return calls[i].nr;
    usage(word);
    return 0;
}

static unsigned error_of(const char *word)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(errors[i].name, word) == 0)
            return errors[i].errnum;
    usage(word);
    return 0;
}

static const struct kind *kind_of(const char *word)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (strncmp(word, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return &kinds[i];
    return NULL;
}

static unsigned short on_call(struct sock_filter *code, unsigned short n, unsigned nr, unsigned action)
{
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    return n;
}

/* Puts the filter in force; the descriptor of whoever answers for the kernel, or 0. */
static int install(struct sock_fprog *program, unsigned flags)
{
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    if (fd < 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    if (fd < 0)
        die("without: seccomp");
    return (int)fd;
}

static void run(char **argv)
{
    (void)execvp(argv[0], argv);
    perror(argv[0]);
    _exit(127);
}

/* The string at `address` of a process; false when it cannot be read. */
static bool string_of(unsigned pid, unsigned long long address, char *text, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%u/mem", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = pread(fd, text, size - 1, (off_t)address);
    /* one that ends at the end of its mapping, with less behind it than asked for */
    if (n <= 0)
        n = pread(fd, text, 4096 - address % 4096 < size - 1 ? 4096 - address % 4096 : size - 1,
                  (off_t)address);
    (void)close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

static int verdict(const struct seccomp_notif *asked, const struct wish *wishes, size_t n_wishes, int log)
{
    for (size_t i = 0; i < n_wishes; i++) {
        const struct kind *kind = wishes[i].kind;
        for (size_t c = 0; c < 2; c++) {
            char text[4096];
            if (asked->data.nr != kind->calls[c].nr ||
                !string_of(asked->pid, asked->data.args[kind->calls[c].argument], text, sizeof(text)))
                continue;
            const char *slash = strrchr(text, '/');
            if (strcmp(slash ? slash + 1 : text, wishes[i].name) != 0)
                continue;
            (void)dprintf(log, "%s%s\n", kind->prefix, wishes[i].name);
            return kind->errnum;
        }
    }
    return 0;
}

static void answer(int listener, const struct wish *wishes, size_t n_wishes, int log)
{
    struct seccomp_notif asked = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
        return; /* it was killed meanwhile */
    struct seccomp_notif_resp said = {.id = asked.id, .error = -verdict(&asked, wishes, n_wishes, log)};
    said.flags = said.error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

/* The child has the filter and waits; its listener is fetched from it, and it goes on. */
static int stay(pid_t child, int told, int go, const struct wish *wishes, size_t n_wishes)
{
    int remote;
    int status;
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    if (pidfd < 0 || read(told, &remote, sizeof(remote)) != sizeof(remote))
        return 2;
    const char *refused = getenv("WITHOUT_REFUSED");
    int log = open(refused ? refused : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int listener = (int)syscall(SYS_pidfd_getfd, pidfd, remote, 0);
    if (listener < 0)
        die("without: pidfd_getfd");
    (void)close(go);
    for (;;) {
        struct pollfd fds[] = {{listener, POLLIN, 0}, {pidfd, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            die("without: poll");
        if (fds[0].revents & POLLIN)
            answer(listener, wishes, n_wishes, log);
        else if (fds[1].revents)
            break;
    }
    if (waitpid(child, &status, 0) < 0)
        die("without: waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_answered(struct sock_fprog *program, char **argv, const struct wish *wishes, size_t n_wishes)
{
    int told[2];
    int go[2];
    char none;
    if (pipe2(told, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
        die("without: pipe");
    pid_t child = fork();
    if (child < 0)
        die("without: fork");
    if (child > 0) {
        (void)close(told[1]);
        (void)close(go[0]);
        return stay(child, told[0], go[1], wishes, n_wishes);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)close(go[1]);
    int listener = install(program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (write(told[1], &listener, sizeof(listener)) != sizeof(listener) || read(go[0], &none, 1) != 0)
        _exit(2);
    run(argv);
    return 127;
}

int main(int argc, char **argv)
{
    struct sock_filter code[2 + 2 * (N_CALLS + 4 * MAX_WISHES)];
    struct wish wishes[MAX_WISHES];
    size_t n_wishes = 0;
    unsigned short n = 0;
    int i = 1;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const struct kind *kind = kind_of(argv[i]);
        if (kind && n_wishes < MAX_WISHES) {
            wishes[n_wishes++] = (struct wish){kind, argv[i] + strlen(kind->prefix)};
            continue;
        }
        size_t len = strcspn(argv[i], "=");
        unsigned errnum = argv[i][len] ? error_of(argv[i] + len + 1) : ENOSYS;
        if (n >= 2 * N_CALLS)
            usage(argv[i]);
        n = on_call(code, n, number_of(argv[i], len), SECCOMP_RET_ERRNO | errnum);
    }
    if (i + 1 >= argc || strcmp(argv[i], "--") != 0)
        usage(i < argc ? argv[i] : "");
    for (size_t w = 0; w < n_wishes; w++)
        for (size_t c = 0; c < 2; c++)
            n = on_call(code, n, (unsigned)wishes[w].kind->calls[c].nr, SECCOMP_RET_USER_NOTIF);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = code};
    if (n_wishes > 0)
        return run_answered(&program, argv + i + 1, wishes, n_wishes);
    (void)install(&program, 0);
    run(argv + i + 1);
    return 127;
}
