/*
 * seccomp_gen.c - makes seccomp_profile.def into a filter program, when jobbox is built.
 *
 * Owns: its output, C source on standard output. Runs in: the build. Privilege: none.
 *
 * libseccomp knows every architecture's call numbers. The program is laid out here: allowed calls mostly have
 * neighbouring numbers, so a search tree over ranges of numbers is a tenth of the size of a test for each call, and
 * no call is more than eight comparisons away.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS   1024 /* call numbers looked at; all above give ENOSYS */
#define CODE_MAX  4096
#define REFUSE_OP (SECCOMP_RET_ERRNO | EPERM)
#define ABSENT_OP (SECCOMP_RET_ERRNO | ENOSYS)

static const char *const allowed[] = {
#define ALLOW(name) #name,
#include "box/seccomp_profile.def"
};

static const struct refusal {
    const char *name;
    unsigned argument;
    bool bits; /* any bit of the mask, rather than one value */
    uint32_t mask, value;
} refused[] = {
#define REFUSE(name, argument, mask, value) {#name, argument, false, mask, value},
#define REFUSE_BITS(name, argument, bits)   {#name, argument, true, bits, 0},
#include "box/seccomp_profile.def"
};

/* What is done with a call: absent, allowed, or 2 + n: looked at as allowed[n]'s refusals say. */
struct range {
    uint32_t first;
    int action;
};

struct program {
    struct sock_filter code[CODE_MAX];
    unsigned len;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "seccomp_gen: %s\n", what);
    exit(1);
}

static void emit(struct program *p, struct sock_filter one)
{
    if (p->len == CODE_MAX)
        die("the program is too long");
    p->code[p->len++] = one;
}

/* One refused value of one argument. The kernel looks at the low half of these arguments only, and so do we. */
static void emit_refusals(struct program *p, const char *name)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (strcmp(refused[i].name, name) != 0)
            continue;
        uint32_t offset = (uint32_t)offsetof(struct seccomp_data, args) + 8 * refused[i].argument;
        emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
        if (refused[i].bits) {
            emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, refused[i].mask, 0, 1));
        } else {
            if (refused[i].mask != UINT32_MAX)
                emit(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refused[i].mask));
            emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i].value, 0, 1));
        }
        emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE_OP));
    }
    emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* Where the program goes on from a leaf of the tree: the two common ends of an architecture are written once. */
enum { TO_ABSENT = 0, TO_ALLOW = 1 }; /* as in a range's action */

struct tree {
    struct program *p;
    struct jump {
        unsigned at; /* the instruction */
        bool taken;  /* its jump if the test holds; else the other one */
        int to;
    } jumps[2 * NUMBERS];
    size_t n;
};

static bool shared(const struct range *ranges, size_t n)
{
    return n == 1 && ranges[0].action < 2;
}

static void emit_tree(struct tree *t, const struct range *ranges, size_t n);

/* One side of a test: the distance to it is settled now when it is written next, later when it is a common end. */
static void emit_side(struct tree *t, unsigned at, bool taken, const struct range *ranges, size_t n)
{
    if (shared(ranges, n)) {
        t->jumps[t->n++] = (struct jump){at, taken, ranges[0].action};
        return;
    }
    unsigned skip = t->p->len - at - 1;
    if (skip > 255)
        die("a jump is too far");
    *(taken ? &t->p->code[at].jt : &t->p->code[at].jf) = (unsigned char)skip;
    emit_tree(t, ranges, n);
}

/* The accumulator holds the call number. */
static void emit_tree(struct tree *t, const struct range *ranges, size_t n)
{
    if (n == 1) {
        emit_refusals(t->p, allowed[ranges[0].action - 2]);
        return;
    }
    size_t half = n / 2;
    unsigned at = t->p->len;
    emit(t->p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ranges[half].first, 0, 0));
    emit_side(t, at, false, ranges, half);
    emit_side(t, at, true, ranges + half, n - half);
}

static void emit_ends(struct tree *t)
{
    for (int end = TO_ABSENT; end <= TO_ALLOW; end++) {
        for (size_t i = 0; i < t->n; i++) {
            const struct jump *j = &t->jumps[i];
            unsigned skip = t->p->len - j->at - 1;
            if (j->to != end)
                continue;
            if (skip > 255)
                die("a jump is too far");
            *(j->taken ? &t->p->code[j->at].jt : &t->p->code[j->at].jf) = (unsigned char)skip;
        }
        emit(t->p,
             (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, end == TO_ALLOW ? SECCOMP_RET_ALLOW : ABSENT_OP));
    }
}

static bool has_refusals(const char *name)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strcmp(refused[i].name, name) == 0)
            return true;
    return false;
}

static size_t make_ranges(uint32_t arch, struct range ranges[NUMBERS + 1])
{
    int action[NUMBERS] = {0};
    size_t n = 0;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int nr = seccomp_syscall_resolve_name_arch(arch, allowed[i]);
        /* negative: not a call of this architecture, or a newer one than this libseccomp knows: absent for jobs */
        if (nr >= 0 && nr < NUMBERS)
            action[nr] = has_refusals(allowed[i]) ? 2 + (int)i : 1;
    }
    for (uint32_t nr = 0; nr < NUMBERS; nr++)
        if (n == 0 || ranges[n - 1].action != action[nr])
            ranges[n++] = (struct range){nr, action[nr]};
    if (ranges[n - 1].action != 0)
        ranges[n++] = (struct range){NUMBERS, 0};
    return n;
}

/* One architecture: skipped when the call comes from another. */
static void emit_architecture(struct program *p, uint32_t arch, uint32_t audit)
{
    struct range ranges[NUMBERS + 1];
    struct program body = {.len = 0};
    static struct tree tree;
    tree = (struct tree){.p = &body};
    emit_tree(&tree, ranges, make_ranges(arch, ranges));
    emit_ends(&tree);
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit, 1, 0));
    emit(p, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, body.len + 1));
    emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (unsigned i = 0; i < body.len; i++)
        emit(p, body.code[i]);
}

int main(void)
{
    static const struct {
        uint32_t native, arch, audit;
    } architectures[] = {
        {SCMP_ARCH_X86_64, SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64},
        {SCMP_ARCH_X86_64, SCMP_ARCH_X86, AUDIT_ARCH_I386},
        {SCMP_ARCH_AARCH64, SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64},
        {SCMP_ARCH_AARCH64, SCMP_ARCH_ARM, AUDIT_ARCH_ARM},
        {SCMP_ARCH_PPC64LE, SCMP_ARCH_PPC64LE, AUDIT_ARCH_PPC64LE},
        {SCMP_ARCH_RISCV64, SCMP_ARCH_RISCV64, AUDIT_ARCH_RISCV64},
    };
    static struct program p;
    emit(&p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
    for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++)
        if (architectures[i].native == seccomp_arch_native())
            emit_architecture(&p, architectures[i].arch, architectures[i].audit);
    if (p.len == 1)
        die("this architecture is not known here; add it to the table");
    emit(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, ABSENT_OP));
    (void)printf("#include \"box/seccomp.h\"\nstatic const struct sock_filter default_code[] = {\n");
    for (unsigned i = 0; i < p.len; i++)
        (void)printf("    {0x%04x, %u, %u, 0x%08x},\n", p.code[i].code, p.code[i].jt, p.code[i].jf,
                     p.code[i].k);
    (void)printf(
        "};\nconst struct jb_seccomp_profile jb_seccomp_profiles[] = {\n"
        "    {\"default\", default_code, sizeof(default_code) / sizeof(default_code[0])},\n    {0},\n};\n");
    return 0;
}
