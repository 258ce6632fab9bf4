/*
 * seccomp_gen.c - compiles seccomp_profile.def into filter programs, when jobbox is built.
 *
 * Owns: its output, C source on standard output. Runs in: the build. Privilege: none.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>

static const char *const allowed[] = {
#define ALLOW(name) #name,
#include "box/seccomp_profile.def"
};

static const struct {
    const char *name;
    unsigned argument;
    uint64_t mask, value;
} refused[] = {
#define REFUSE(name, argument, mask, value) {#name, argument, mask, value},
#include "box/seccomp_profile.def"
};

static void die(const char *what, int r)
{
    (void)fprintf(stderr, "seccomp_gen: %s: %s\n", what, strerror(-r));
    exit(1);
}

static scmp_filter_ctx start(uint32_t action)
{
    scmp_filter_ctx ctx = seccomp_init(action);
    if (!ctx)
        die("seccomp_init", -ENOMEM);
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    if (r == 0) /* a search tree instead of a chain, where this libseccomp has it */
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0 && seccomp_arch_native() == SCMP_ARCH_X86_64)
        r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
    if (r == 0 && seccomp_arch_native() == SCMP_ARCH_AARCH64)
        r = seccomp_arch_add(ctx, SCMP_ARCH_ARM);
    if (r < 0)
        die("attributes", r);
    return ctx;
}

static void emit(scmp_filter_ctx ctx, const char *name)
{
    FILE *tmp = tmpfile();
    struct sock_filter one;
    unsigned n = 0;
    if (!tmp)
        die("tmpfile", -errno);
    int r = seccomp_export_bpf(ctx, fileno(tmp));
    if (r < 0)
        die("export", r);
    rewind(tmp);
    (void)printf("static const struct sock_filter %s[] = {\n", name);
    for (; fread(&one, sizeof(one), 1, tmp) == 1; n++)
        (void)printf("    {0x%04x, %u, %u, 0x%08x},\n", one.code, one.jt, one.jf, one.k);
    (void)printf("};\n");
    (void)fclose(tmp);
    seccomp_release(ctx);
    if (n == 0 || n > 4096)
        die(name, -E2BIG);
}

int main(void)
{
    (void)printf("#include \"box/seccomp.h\"\n");
    scmp_filter_ctx calls = start(SCMP_ACT_ERRNO(ENOSYS));
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int nr = seccomp_syscall_resolve_name(allowed[i]);
        if (nr == __NR_SCMP_ERROR) /* an older libseccomp than the list: the call stays unknown to the job */
            continue;
        int r = seccomp_rule_add(calls, SCMP_ACT_ALLOW, nr, 0);
        if (r < 0 && r != -EDOM)
            die(allowed[i], r);
    }
    emit(calls, "default_calls");
    scmp_filter_ctx arguments = start(SCMP_ACT_ALLOW);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int nr = seccomp_syscall_resolve_name(refused[i].name);
        struct scmp_arg_cmp cmp =
            SCMP_CMP64(refused[i].argument, SCMP_CMP_MASKED_EQ, refused[i].mask, refused[i].value);
        int r = seccomp_rule_add_array(arguments, SCMP_ACT_ERRNO(EPERM), nr, 1, &cmp);
        if (r < 0)
            die(refused[i].name, r);
    }
    emit(arguments, "default_arguments");
    (void)printf("const struct jb_seccomp_profile jb_seccomp_profiles[] = {\n"
                 "    {\"default\", {default_calls, sizeof(default_calls) / sizeof(default_calls[0])},\n"
                 "     {default_arguments, sizeof(default_arguments) / sizeof(default_arguments[0])}},\n"
                 "    {0},\n};\n");
    return 0;
}
