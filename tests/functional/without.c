/*
 * without.c - runs a program as if the kernel were older, or its calls were filtered as in a container: the system calls
 * named fail, with ENOSYS or another error.
 *
 * Usage: without CALL[=ERRNO]... -- PROGRAM [ARGUMENT...]
 *
 * Owns: nothing. Runs in: tests. Privilege: that of the caller; without CAP_SYS_ADMIN also no_new_privs.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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

static void usage(const char *word)
{
    (void)fprintf(stderr,
                  "without: what is \"%s\"? usage: without CALL[=ERRNO]... -- PROGRAM [ARGUMENT...]\n", word);
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

int main(int argc, char **argv)
{
    struct sock_filter code[2 + 2 * N_CALLS];
    unsigned short n = 0;
    int i = 1;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (; i < argc && strcmp(argv[i], "--") != 0 && n < 2 * N_CALLS; i++) {
        size_t len = strcspn(argv[i], "=");
        unsigned errnum = argv[i][len] ? error_of(argv[i] + len + 1) : ENOSYS;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(argv[i], len), 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errnum);
    }
    if (i + 1 >= argc || strcmp(argv[i], "--") != 0)
        usage(i < argc ? argv[i] : "");
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)) {
        perror("without: seccomp");
        return 2;
    }
    (void)execvp(argv[i + 1], argv + i + 1);
    perror(argv[i + 1]);
    return 127;
}
