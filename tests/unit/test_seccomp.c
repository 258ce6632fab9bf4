/*
 * test_seccomp.c - the default profile: the program itself, run here instruction by instruction, and in the kernel.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box/seccomp.h"

#define X32_BIT 0x40000000U
#define ALLOWED SECCOMP_RET_ALLOW
#define ABSENT  (SECCOMP_RET_ERRNO | ENOSYS)
#define REFUSED (SECCOMP_RET_ERRNO | EPERM)

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

static const struct jb_seccomp_profile *profile(void)
{
    assert_string_equal(jb_seccomp_profiles[0].name, "default");
    return &jb_seccomp_profiles[0];
}

/* What the kernel would do with this call. Only what seccomp_gen emits is understood. */
static uint32_t verdict(uint32_t arch, uint32_t nr, unsigned argument, uint64_t value)
{
    const struct jb_seccomp_profile *p = profile();
    struct seccomp_data data = {.nr = (int)nr, .arch = arch};
    uint32_t a = 0;
    data.args[argument] = value;
    for (unsigned pc = 0; pc < p->len; pc++) {
        const struct sock_filter *i = &p->code[pc];
        bool yes = false;
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(data));
            memcpy(&a, (const char *)&data + i->k, 4);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            continue;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            yes = a == i->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            yes = a >= i->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            yes = a > i->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            yes = a & i->k;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %u has code %x", pc, i->code);
        }
        pc += yes ? i->jt : i->jf;
    }
    fail_msg("call %u runs off the end", nr);
    return 0;
}

static void calls_by_number(void **state)
{
    (void)state;
    static const uint32_t in[] = {SYS_read,
                                  SYS_write,
                                  SYS_execve,
                                  SYS_openat,
                                  SYS_mmap,
                                  SYS_futex,
                                  SYS_clone,
                                  SYS_ioctl,
                                  SYS_wait4,
                                  SYS_kill,
                                  SYS_exit_group,
                                  SYS_getrandom,
                                  SYS_socket,
                                  SYS_prctl,
                                  SYS_setsid,
                                  SYS_statx,
                                  SYS_sched_setaffinity};
    static const uint32_t out[] = {SYS_mount,
                                   SYS_umount2,
                                   SYS_pivot_root,
                                   SYS_unshare,
                                   SYS_setns,
                                   SYS_init_module,
                                   SYS_finit_module,
                                   SYS_delete_module,
                                   SYS_kexec_load,
                                   SYS_bpf,
                                   SYS_perf_event_open,
                                   SYS_io_uring_setup,
                                   SYS_io_uring_enter,
                                   SYS_userfaultfd,
                                   SYS_keyctl,
                                   SYS_add_key,
                                   SYS_request_key,
                                   SYS_open_by_handle_at,
                                   SYS_kcmp,
                                   SYS_fanotify_init,
                                   SYS_reboot,
                                   SYS_swapon,
                                   SYS_quotactl,
                                   SYS_settimeofday,
                                   SYS_clock_settime,
                                   SYS_clone3,
                                   SYS_fsopen,
                                   SYS_fsmount,
                                   SYS_move_mount,
                                   SYS_open_tree,
                                   SYS_mount_setattr,
                                   SYS_acct};
    for (size_t i = 0; i < JB_ARRAY_LEN(in); i++)
        if (verdict(NATIVE, in[i], 0, 0) != ALLOWED)
            fail_msg("call %u is not allowed", in[i]);
    for (size_t i = 0; i < JB_ARRAY_LEN(out); i++)
        if (verdict(NATIVE, out[i], 0, 0) != ABSENT)
            fail_msg("call %u is not absent", out[i]);
}

/* Calls of kernels to come, and those of the other ABIs, do not slip through. */
static void unknown_numbers_and_architectures(void **state)
{
    (void)state;
    for (uint32_t nr = 600; nr < 3000; nr++)
        assert_int_equal(verdict(NATIVE, nr, 0, 0), ABSENT);
    static const uint32_t far[] = {UINT32_MAX, INT32_MAX, X32_BIT, X32_BIT | 1, X32_BIT | 59, X32_BIT | 520};
    for (size_t i = 0; i < JB_ARRAY_LEN(far); i++)
        assert_int_equal(verdict(NATIVE, far[i], 0, 0), ABSENT);
    static const uint32_t archs[] = {0, UINT32_MAX, AUDIT_ARCH_S390X, AUDIT_ARCH_MIPS};
    for (size_t i = 0; i < JB_ARRAY_LEN(archs); i++)
        for (uint32_t nr = 0; nr < 500; nr++)
            assert_int_equal(verdict(archs[i], nr, 0, 0), ABSENT);
}

#if defined(__x86_64__)
static void calls_of_32_bit_programs(void **state)
{
    (void)state;
    static const uint32_t in[] = {1 /* exit */, 3 /* read */, 4 /* write */, 11 /* execve */,
                                  20 /* getpid */};
    static const uint32_t out[] = {
        21 /* mount */,       52 /* umount2 */, 88 /* reboot */,   102 /* socketcall */,
        217 /* pivot_root */, 288 /* keyctl */, 310 /* unshare */, 357 /* bpf */};
    for (size_t i = 0; i < JB_ARRAY_LEN(in); i++)
        assert_int_equal(verdict(AUDIT_ARCH_I386, in[i], 0, 0), ALLOWED);
    for (size_t i = 0; i < JB_ARRAY_LEN(out); i++)
        assert_int_equal(verdict(AUDIT_ARCH_I386, out[i], 0, 0), ABSENT);
    assert_int_equal(verdict(AUDIT_ARCH_I386, 54, 1, TIOCSTI), REFUSED);
}
#endif

static void arguments(void **state)
{
    (void)state;
    static const uint64_t namespaces[] = {
        CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,    CLONE_NEWNET,
        CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWUSER | SIGCHLD};
    for (size_t i = 0; i < JB_ARRAY_LEN(namespaces); i++)
        assert_int_equal(verdict(NATIVE, SYS_clone, 0, namespaces[i]), REFUSED);
    assert_int_equal(verdict(NATIVE, SYS_clone, 0, CLONE_VM | CLONE_VFORK | SIGCHLD), ALLOWED);
    assert_int_equal(verdict(NATIVE, SYS_ioctl, 1, TIOCSTI), REFUSED);
    assert_int_equal(verdict(NATIVE, SYS_ioctl, 1, UINT64_C(1) << 32 | TIOCSTI),
                     REFUSED); /* the kernel drops it too */
    assert_int_equal(verdict(NATIVE, SYS_ioctl, 1, TIOCGWINSZ), ALLOWED);
    assert_int_equal(verdict(NATIVE, SYS_socket, 0, AF_VSOCK), REFUSED);
    assert_int_equal(verdict(NATIVE, SYS_socket, 0, AF_ALG), REFUSED);
    assert_int_equal(verdict(NATIVE, SYS_prlimit64, 0, 1), REFUSED);
    assert_int_equal(verdict(NATIVE, SYS_prlimit64, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(NATIVE, SYS_socket, 0, AF_UNIX), ALLOWED);
    assert_int_equal(verdict(NATIVE, SYS_socket, 0, AF_INET6), ALLOWED);
}

static bool gives(long result, int errnum)
{
    return result == -1 && errno == errnum;
}

/* In the kernel, in a child: the number of the first check that fails, 0 when all hold. */
static int try_in_kernel(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return 1;
    if (jb_seccomp_install("default") != 0)
        return 2;
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2)
        return 3;
    if (!gives(syscall(SYS_mount, "x", "/", "tmpfs", 0, NULL), ENOSYS))
        return 4;
    if (!gives(syscall(SYS_unshare, CLONE_NEWUSER), ENOSYS))
        return 5;
    if (!gives(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL), EPERM))
        return 6;
    if (!gives(ioctl(0, TIOCSTI, "x"), EPERM))
        return 7;
    if (!gives(syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0), EPERM))
        return 8;
    if (!gives(syscall(1023), ENOSYS))
        return 9;
    if (syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) < 0)
        return 10;
    pid_t pid = fork();
    if (pid == 0)
        _exit(5);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 5)
        return 11;
    return 0;
}

static void in_the_kernel(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(try_in_kernel());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void profiles_by_name(void **state)
{
    (void)state;
    assert_true(profile()->len > 10);
    assert_true(profile()->len <= BPF_MAXINSNS);
    assert_int_equal(jb_seccomp_install("none"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_by_number),
        cmocka_unit_test(unknown_numbers_and_architectures),
#if defined(__x86_64__)
        cmocka_unit_test(calls_of_32_bit_programs),
#endif
        cmocka_unit_test(arguments),
        cmocka_unit_test(in_the_kernel),
        cmocka_unit_test(profiles_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
