/*
 * devices.c - which devices a box may open: the rules as text, and as a program on its v2 group.
 *
 * Owns: the program while it is put in place; afterwards it is the group's and goes with it. Runs in: the supervisor.
 * Privilege: CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, for the program.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

const char *jb_cg_device_text(const struct jb_cg_device *d, char buf[JB_CG_DEVICE_TEXT])
{
    if (d->minor < 0)
        (void)snprintf(buf, JB_CG_DEVICE_TEXT, "%c %" PRIu32 ":* %s", d->type, d->major, d->access);
    else
        (void)snprintf(buf, JB_CG_DEVICE_TEXT, "%c %" PRIu32 ":%" PRId64 " %s", d->type, d->major, d->minor,
                       d->access);
    return buf;
}

int jb_cg_device_parse(char *line, struct jb_cg_device *ret)
{
    struct jb_cg_device d = {.type = line[0], .minor = -1};
    uint64_t number = 0;
    if (jb_starts_with(line, "a "))
        return 0;
    char *colon = (d.type == 'b' || d.type == 'c') && line[1] == ' ' ? strchr(line, ':') : NULL;
    char *space = colon ? strchr(colon, ' ') : NULL;
    if (!space)
        return -EINVAL;
    *colon = *space = '\0';
    size_t n = strspn(space + 1, "rwm");
    if (jb_parse_u64(line + 2, UINT32_MAX, &number) < 0 || n == 0 || n >= sizeof(d.access) || space[1 + n])
        return -EINVAL;
    d.major = (uint32_t)number;
    memcpy(d.access, space + 1, n);
    if (!jb_streq(colon + 1, "*")) {
        if (jb_parse_u64(colon + 1, UINT32_MAX, &number) < 0)
            return -EINVAL;
        d.minor = (int64_t)number;
    }
    *ret = d;
    return 1;
}

/* --- the program --- */

#define RULE_INSNS 7
#define HEAD_INSNS 6

static struct bpf_insn insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
    return (struct bpf_insn){
        .code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

static int32_t access_bits(const char *access)
{
    return (strchr(access, 'r') ? BPF_DEVCG_ACC_READ : 0) | (strchr(access, 'w') ? BPF_DEVCG_ACC_WRITE : 0) |
           (strchr(access, 'm') ? BPF_DEVCG_ACC_MKNOD : 0);
}

/*
 * r2 type, r3 access, r4 major, r5 minor; then for each rule: on to the next unless type and numbers are its own and no
 * access is asked for beyond its own; else yes. No rule: no.
 */
int jb_cg_device_program(const struct jb_cg_device *devices, size_t n, struct bpf_insn **ret, size_t *ret_n)
{
    struct bpf_insn *code = calloc(HEAD_INSNS + n * (RULE_INSNS + 1) + 2, sizeof(*code));
    size_t at = 0;
    if (!code)
        return -ENOMEM;
    const int16_t access = offsetof(struct bpf_cgroup_dev_ctx, access_type);
    code[at++] = insn(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, access, 0);
    code[at++] = insn(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
    code[at++] = insn(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
    code[at++] = insn(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
    code[at++] =
        insn(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
    code[at++] =
        insn(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
    for (size_t i = 0; i < n; i++) {
        const struct jb_cg_device *d = &devices[i];
        size_t next = at + (d->minor < 0 ? RULE_INSNS : RULE_INSNS + 1);
        int32_t type = d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
        code[at] = insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, (int16_t)(next - at - 1), type);
        at++;
        code[at] = insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, (int16_t)(next - at - 1), (int32_t)d->major);
        at++;
        if (d->minor >= 0) {
            code[at] =
                insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, (int16_t)(next - at - 1), (int32_t)d->minor);
            at++;
        }
        code[at++] = insn(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
        code[at++] = insn(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, ~access_bits(d->access));
        code[at] = insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_1, 0, (int16_t)(next - at - 1), 0);
        at++;
        code[at++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1);
        code[at++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    }
    code[at++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
    code[at++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    *ret = code;
    *ret_n = at;
    return 0;
}

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
    int r = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
    return r < 0 ? -errno : r;
}

static int load(const struct jb_cg_device *devices, size_t n)
{
    jb_autofree struct bpf_insn *code = NULL;
    size_t len = 0;
    int r = jb_cg_device_program(devices, n, &code, &len);
    if (r < 0)
        return r;
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uint64_t)(uintptr_t)code,
        .insn_cnt = (uint32_t)len,
        .license = (uint64_t)(uintptr_t) "Apache-2.0",
    };
    (void)snprintf(attr.prog_name, sizeof(attr.prog_name), "jobbox_devices");
    return bpf(BPF_PROG_LOAD, &attr);
}

int jb_cg_devices_probe(void)
{
    const struct jb_cg_device null = {.type = 'c', .major = 1, .minor = 3, .access = "rw"};
    jb_autoclose int fd = load(&null, 1);
    return fd < 0 ? fd : 0;
}

static int program_id(int fd, uint32_t *ret)
{
    struct bpf_prog_info info = {0};
    union bpf_attr attr = {0};
    attr.info.bpf_fd = (uint32_t)fd;
    attr.info.info_len = sizeof(info);
    attr.info.info = (uint64_t)(uintptr_t)&info;
    int r = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
    if (r == 0)
        *ret = info.id;
    return r;
}

/* 1: the program of that id is on the group; 0: it is not. */
static int attached(int group_fd, uint32_t id)
{
    uint32_t ids[64];
    union bpf_attr attr = {0};
    attr.query.target_fd = (uint32_t)group_fd;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_cnt = JB_ARRAY_LEN(ids);
    attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
    int r = bpf(BPF_PROG_QUERY, &attr);
    for (uint32_t i = 0; r == 0 && i < attr.query.prog_cnt; i++)
        if (ids[i] == id)
            return 1;
    return r;
}

int jb_cgroup_devices_attach(const struct jb_cgroup *cg, const struct jb_cg_plan *plan,
                             struct jb_cg_readback *back, struct jb_error *err)
{
    const struct jb_cg_group *g = jb_cg_v2(cg);
    char text[512];
    uint32_t id = 0;
    if (!plan->device_program)
        return 0;
    if (!g)
        return jb_fail(err, ENOTSUP, "limiting the box's devices: it has no v2 group");
    jb_autoclose int fd = load(plan->devices, plan->n_devices);
    if (fd < 0)
        return jb_fail_errno(err, fd, "limiting the box's devices: loading the program (BPF)");
    union bpf_attr attr = {0};
    attr.target_fd = (uint32_t)g->dir.fd;
    attr.attach_bpf_fd = (uint32_t)fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    int r = bpf(BPF_PROG_ATTACH, &attr);
    if (r < 0)
        return jb_fail_errno(err, r, "limiting the box's devices: putting the program (BPF) on %s",
                             jb_cg_group_text(cg, g, text, sizeof(text)));
    r = program_id(fd, &id);
    if (r == 0)
        r = attached(g->dir.fd, id);
    if (r < 0)
        return jb_fail_errno(err, r, "limiting the box's devices: asking which programs (BPF) are on %s",
                             jb_cg_group_text(cg, g, text, sizeof(text)));
    if (r == 0)
        return jb_fail(err, EIO,
                       "the program that limits the box's devices is not on %s; the job is not started",
                       jb_cg_group_text(cg, g, text, sizeof(text)));
    back->version[JB_CTL_DEVICES] = 2;
    back->has_devices = true;
    back->n_devices = plan->n_devices;
    memcpy(back->devices, plan->devices, plan->n_devices * sizeof(*plan->devices));
    return 0;
}
