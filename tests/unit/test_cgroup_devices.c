/*
 * test_cgroup_devices.c - which devices a box may open: the program for v2 carried out here, and given to the kernel
 * where it takes it; the lines of v1.
 */
#include "support.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/internal.h"

static const struct jb_cg_device rules[] = {
    {'c', 1, 3, "rw"},         {'c', 136, -1, "rwm"}, {'b', 8, 16, "r"},
    {'c', 4095, 1048575, "m"}, {'b', 259, -1, "w"},
};

/* The few instructions that such a program is made of; anything else, or a jump out of it, fails the test. */
static uint64_t carry_out(const struct bpf_insn *code, size_t n, const struct bpf_cgroup_dev_ctx *ctx)
{
    uint64_t r[11] = {0};
    size_t at = 0;
    for (size_t steps = 0; steps < 10000; steps++, at++) {
        assert_true(at < n);
        const struct bpf_insn *i = &code[at];
        uint64_t *dst = &r[i->dst_reg];
        switch (i->code) {
        case BPF_LDX | BPF_MEM | BPF_W:
            assert_int_equal(i->src_reg, 1);
            assert_true(i->off >= 0 && (size_t)i->off + 4 <= sizeof(*ctx));
            *dst = *(const uint32_t *)(const void *)((const char *)ctx + i->off);
            break;
        case BPF_ALU | BPF_MOV | BPF_X:
            *dst = (uint32_t)r[i->src_reg];
            break;
        case BPF_ALU64 | BPF_MOV | BPF_K:
            *dst = (uint64_t)(int64_t)i->imm;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            *dst = (uint32_t)*dst & (uint32_t)i->imm;
            break;
        case BPF_ALU | BPF_RSH | BPF_K:
            *dst = (uint32_t)*dst >> i->imm;
            break;
        case BPF_JMP | BPF_JNE | BPF_K:
            if (*dst != (uint64_t)(int64_t)i->imm)
                at += (size_t)i->off;
            break;
        case BPF_JMP | BPF_EXIT:
            return r[0];
        default:
            fail_msg("instruction %zu has code 0x%x", at, i->code);
        }
    }
    fail_msg("the program does not end");
    return 0;
}

static bool ruled(char type, unsigned major, unsigned minor, const char *access, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct jb_cg_device *d = &rules[i];
        bool whole = true;
        for (const char *c = access; *c; c++)
            whole = whole && strchr(d->access, *c);
        if (d->type == type && d->major == major && (d->minor < 0 || d->minor == minor) && whole)
            return true;
    }
    return false;
}

static bool let_through(const struct bpf_insn *code, size_t n, char type, unsigned major, unsigned minor,
                        const char *access)
{
    uint32_t bits = (strchr(access, 'r') ? BPF_DEVCG_ACC_READ : 0U) |
                    (strchr(access, 'w') ? BPF_DEVCG_ACC_WRITE : 0U) |
                    (strchr(access, 'm') ? BPF_DEVCG_ACC_MKNOD : 0U);
    struct bpf_cgroup_dev_ctx ctx = {
        .access_type = bits << 16 | (type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
        .major = major,
        .minor = minor,
    };
    uint64_t r = carry_out(code, n, &ctx);
    assert_true(r <= 1);
    return r == 1;
}

static void the_program_says_what_the_rules_say(void **state)
{
    static const unsigned majors[] = {0, 1, 8, 136, 137, 259, 4095};
    static const unsigned minors[] = {0, 3, 4, 16, 255, 1048575};
    static const char *const accesses[] = {"r", "w", "m", "rw", "rm", "wm", "rwm"};
    (void)state;
    for (size_t n = 0; n <= JB_ARRAY_LEN(rules); n++) {
        jb_autofree struct bpf_insn *code = NULL;
        size_t len = 0;
        assert_int_equal(jb_cg_device_program(rules, n, &code, &len), 0);
        for (size_t type = 0; type < 2; type++)
            for (size_t a = 0; a < JB_ARRAY_LEN(majors); a++)
                for (size_t b = 0; b < JB_ARRAY_LEN(minors); b++)
                    for (size_t c = 0; c < JB_ARRAY_LEN(accesses); c++)
                        assert_int_equal(
                            let_through(code, len, "bc"[type], majors[a], minors[b], accesses[c]),
                            ruled("bc"[type], majors[a], minors[b], accesses[c], n));
    }
}

static void the_kernel_takes_the_program(void **state)
{
    (void)state;
    int r = jb_cg_devices_probe();
    if (r < 0) {
        print_message("skipped: this kernel takes no such program from this process: %s\n",
                      strerrordesc_np(-r));
        skip();
    }
}

static void lines_of_v1(void **state)
{
    static const char *const lines[] = {"c 1:3 rw", "c 136:* rwm", "b 8:16 r", "c 4095:1048575 m",
                                        "b 259:* w"};
    static const char *const bad[] = {"",        "c",          "c 1 rw",    "x 1:3 rw",  "c 1:3",
                                      "c 1:3 ",  "c 1:3 rwx",  "c :3 rw",   "c 1: rw",   "c *:3 rw",
                                      "c1:3 rw", "c 1:3 rwmr", "c -1:3 rw", "c 1:-3 rw", "c 1:3 rw "};
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(lines); i++) {
        char text[JB_CG_DEVICE_TEXT];
        struct jb_cg_device d;
        jb_autofree char *line = strdup(lines[i]);
        assert_string_equal(jb_cg_device_text(&rules[i], text), lines[i]);
        assert_int_equal(jb_cg_device_parse(line, &d), 1);
        assert_int_equal(d.type, rules[i].type);
        assert_int_equal(d.major, rules[i].major);
        assert_int_equal(d.minor, rules[i].minor);
        assert_string_equal(d.access, rules[i].access);
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        struct jb_cg_device d;
        jb_autofree char *line = strdup(bad[i]);
        assert_int_equal(jb_cg_device_parse(line, &d), -EINVAL);
    }
    char all[] = "a *:* rwm";
    struct jb_cg_device d;
    assert_int_equal(jb_cg_device_parse(all, &d), 0);
}

/* Compared with the plan: neither more nor less, and never everything. */
static void verified(void **state)
{
    struct jb_cg_plan plan = {.limit_devices = true, .use[JB_CTL_DEVICES] = true};
    jb_autofree struct jb_cg_readback *got = calloc(1, sizeof(*got));
    struct jb_error err = {0};
    (void)state;
    plan.devices = (struct jb_cg_device *)rules;
    plan.n_devices = 2;
    assert_int_equal(jb_cgroup_verify(&plan, got, &err), -EIO);
    assert_contains(err.text, "not limited");
    got->has_devices = true;
    assert_int_equal(jb_cgroup_verify(&plan, got, &err), -EIO);
    assert_contains(err.text, "may not use the device c 1:3 rw");
    got->devices[0] = rules[1];
    got->devices[1] = rules[0];
    got->n_devices = 2;
    assert_ok(jb_cgroup_verify(&plan, got, &err), &err);
    got->devices[2] = rules[2];
    got->n_devices = 3;
    assert_int_equal(jb_cgroup_verify(&plan, got, &err), -EIO);
    assert_contains(err.text, "may use the device b 8:16 r");
    got->n_devices = 2;
    got->devices[0].access[2] = 'm';
    (void)snprintf(got->devices[0].access, sizeof(got->devices[0].access), "rw");
    assert_int_equal(jb_cgroup_verify(&plan, got, &err), -EIO);
}

/* On v1 everything is taken away before anything is given. */
static void written(void **state)
{
    struct jb_cg_layout layout = {0};
    struct jb_cg_plan plan = {.limit_devices = true, .use[JB_CTL_DEVICES] = true};
    struct jb_cg_write *writes = NULL;
    struct jb_error err = {0};
    size_t n = 0;
    (void)state;
    layout.ctl[JB_CTL_DEVICES].version = 1;
    plan.devices = (struct jb_cg_device *)rules;
    plan.n_devices = 2;
    assert_ok(jb_cg_resolve(&layout, &plan, &writes, &n, &err), &err);
    assert_int_equal(n, 3);
    assert_string_equal(writes[0].file, "devices.deny");
    assert_string_equal(writes[0].value, "a");
    assert_string_equal(writes[1].file, "devices.allow");
    assert_string_equal(writes[1].value, "c 1:3 rw");
    assert_string_equal(writes[2].value, "c 136:* rwm");
    jb_cg_writes_free(writes, n);
    plan.use[JB_CTL_DEVICES] = false; /* a program does it */
    plan.device_program = true;
    assert_ok(jb_cg_resolve(&layout, &plan, &writes, &n, &err), &err);
    assert_int_equal(n, 0);
    jb_cg_writes_free(writes, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_says_what_the_rules_say),
        cmocka_unit_test(the_kernel_takes_the_program),
        cmocka_unit_test(lines_of_v1),
        cmocka_unit_test(verified),
        cmocka_unit_test(written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
