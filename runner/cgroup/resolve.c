/*
 * resolve.c - which file and value a wished setting becomes, by controller version.
 *
 * Owns: the list it returns. Runs in: the client (printing a plan) and the supervisor. Privilege: none; pure.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define NAME_LEN_MAX  64
#define CPU_PERIOD_US 100000
#define CPU_QUOTA_MIN 1000 /* the kernel takes no less */
#define SHARES_MIN    2
#define WEIGHT_MAX    10000

bool jb_cg_name_valid(const char *name)
{
    size_t len = name ? strlen(name) : 0;
    if (len == 0 || len > NAME_LEN_MAX || name[0] == '.' || name[0] == '-')
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

uint64_t jb_cg_shares_of_weight(uint64_t weight)
{
    uint64_t shares = weight * 1024 / 100;
    return shares < SHARES_MIN ? SHARES_MIN : shares;
}

uint64_t jb_cg_weight_of_shares(uint64_t shares)
{
    uint64_t weight = (shares * 100 + 512) / 1024;
    return weight == 0 ? 1 : weight;
}

void jb_cg_plan_free(struct jb_cg_plan *plan)
{
    free(plan->name);
    free(plan->parent);
    free(plan->settings);
    free(plan->devices);
    *plan = (struct jb_cg_plan){0};
}

void jb_cg_writes_free(struct jb_cg_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(writes[i].long_value);
    free(writes);
}

struct writes {
    const struct jb_cg_layout *layout;
    const struct jb_cg_plan *plan;
    struct jb_cg_write *items;
    size_t len;
};

static void writes_free(struct writes *w)
{
    jb_cg_writes_free(w->items, w->len);
}

static struct jb_cg_write *grow(struct writes *w, enum jb_controller c, const char *file)
{
    struct jb_cg_write *items = realloc(w->items, (w->len + 1) * sizeof(*items));
    if (!items)
        return NULL;
    w->items = items;
    struct jb_cg_write *item = &items[w->len++];
    *item = (struct jb_cg_write){.controller = c};
    (void)snprintf(item->file, sizeof(item->file), "%s", file);
    return item;
}

static int emit(struct writes *w, enum jb_controller c, const char *file, const char *fmt, ...)
    JB_PRINTF(4, 5);
static int emit(struct writes *w, enum jb_controller c, const char *file, const char *fmt, ...)
{
    struct jb_cg_write *item = grow(w, c, file);
    if (!item)
        return -ENOMEM;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(item->value, sizeof(item->value), fmt, ap);
    va_end(ap);
    return 0;
}

static int emit_list(struct writes *w, const char *file, const struct jb_cpus *set)
{
    jb_autofree char *list = jb_cpus_list(set);
    struct jb_cg_write *item = list ? grow(w, JB_CTL_CPUSET, file) : NULL;
    if (!item)
        return -ENOMEM;
    if (strlen(list) < sizeof(item->value))
        (void)snprintf(item->value, sizeof(item->value), "%s", list);
    else
        item->long_value = jb_take_ptr(list);
    return 0;
}

/* The plan's value for a key, JB_UNSET when it has none. */
static uint64_t planned(const struct jb_cg_plan *plan, enum jb_cg_key key)
{
    for (size_t i = 0; i < plan->n_settings; i++)
        if (plan->settings[i].key == key)
            return plan->settings[i].value;
    return JB_UNSET;
}

static int put_set(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err)
{
    if (jb_cpus_empty(&s->set))
        return jb_fail(err, EINVAL, "%s: the set is empty; a box needs at least one member", file);
    return emit_list(w, file, &s->set);
}

static int put_weight(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err)
{
    if (s->value < 1 || s->value > WEIGHT_MAX)
        return jb_fail(err, EINVAL, "%s: CPU weight %" PRIu64 " is out of range; give 1 to %d", file,
                       s->value, WEIGHT_MAX);
    bool v1 = w->layout->ctl[JB_CTL_CPU].version == 1;
    return emit(w, JB_CTL_CPU, file, "%" PRIu64, v1 ? jb_cg_shares_of_weight(s->value) : s->value);
}

static int put_cpu_max(struct writes *w, const struct jb_cg_setting *s, const char *file,
                       struct jb_error *err)
{
    if (s->value < CPU_QUOTA_MIN)
        return jb_fail(err, EINVAL,
                       "%s: a CPU limit of %" PRIu64 " µs per 100 ms is less than the kernel takes; give "
                       "0.01 CPUs or more",
                       file, s->value);
    if (w->layout->ctl[JB_CTL_CPU].version == 2)
        return emit(w, JB_CTL_CPU, file, "%" PRIu64 " %d", s->value, CPU_PERIOD_US);
    int r = emit(w, JB_CTL_CPU, "cpu.cfs_period_us", "%d", CPU_PERIOD_US);
    return r < 0 ? r : emit(w, JB_CTL_CPU, file, "%" PRIu64, s->value);
}

static int put_memory(struct writes *w, const struct jb_cg_setting *s, const char *file,
                      JB_UNUSED struct jb_error *err)
{
    int r = emit(w, JB_CTL_MEMORY, file, "%" PRIu64, s->value);
    if (r < 0 || w->layout->ctl[JB_CTL_MEMORY].version == 1)
        return r;
    r = emit(w, JB_CTL_MEMORY, "memory.oom.group", "1");
    if (r == 0)
        w->items[w->len - 1].optional = true; /* Linux < 4.19: the kernel kills one process at a time */
    return r;
}

static int put_swap(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err)
{
    if (w->layout->no_swap_limit)
        return jb_fail(err, ENOTSUP,
                       "%s: this kernel does not count swap per cgroup, so swap cannot be limited; boot with "
                       "swapaccount=1, or let the job do without: allow_degraded: [memory]",
                       file);
    if (w->layout->ctl[JB_CTL_MEMORY].version == 2)
        return emit(w, JB_CTL_MEMORY, file, "%" PRIu64, s->value);
    uint64_t memory = planned(w->plan, JB_CG_MEMORY_MAX);
    if (memory == JB_UNSET)
        return jb_fail(err, EINVAL, "%s: cgroup v1 limits swap only together with memory; limit memory too",
                       file);
    uint64_t sum;
    if (__builtin_add_overflow(memory, s->value, &sum) || sum > INT64_MAX)
        return jb_fail(err, ERANGE, "%s: memory and swap together are more than the kernel can count", file);
    return emit(w, JB_CTL_MEMORY, file, "%" PRIu64, sum);
}

const uint64_t jb_cg_huge_sizes[] = {
    UINT64_C(64) << 10,  UINT64_C(512) << 10,
    UINT64_C(1) << 20,   UINT64_C(2) << 20,
    UINT64_C(4) << 20,   UINT64_C(8) << 20,
    UINT64_C(16) << 20,  UINT64_C(32) << 20,
    UINT64_C(256) << 20, UINT64_C(512) << 20,
    UINT64_C(1) << 30,   UINT64_C(2) << 30,
    UINT64_C(16) << 30,  0,
};

const char *jb_cg_huge_name(uint64_t page, char *buf, size_t len)
{
    static const char *const units[] = {"KB", "MB", "GB"};
    size_t unit = 0;
    for (page >>= 10; page >= 1024 && unit + 1 < JB_ARRAY_LEN(units); unit++)
        page >>= 10;
    (void)snprintf(buf, len, "%" PRIu64 "%s", page, units[unit]);
    return buf;
}

/* Of v1's soft limit nobody can say what it does; it is no substitute. */
static int put_high(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err)
{
    if (w->layout->ctl[JB_CTL_MEMORY].version != 2)
        return jb_fail(
            err, ENOTSUP,
            "%s: cgroup v1 cannot slow a job down before its memory limit; leave memory_high out, or "
            "let the job do without: allow_degraded: [memory]",
            file);
    return emit(w, JB_CTL_MEMORY, file, "%" PRIu64, s->value);
}

/*
 * Two limits: of what is in use, which ends a job with SIGBUS when it touches more, and of what is reserved, which lets
 * its mmap fail. Kernels before 5.7 lack the second.
 */
static int put_huge(struct writes *w, const struct jb_cg_setting *s, JB_UNUSED const char *file,
                    JB_UNUSED struct jb_error *err)
{
    bool v1 = w->layout->ctl[JB_CTL_HUGETLB].version == 1;
    char name[16];
    char path[64];
    int r = 0;
    (void)jb_cg_huge_name(s->page, name, sizeof(name));
    for (int reserved = 0; r == 0 && reserved < 2; reserved++) {
        (void)snprintf(path, sizeof(path), "hugetlb.%s.%s%s", name, reserved ? "rsvd." : "",
                       v1 ? "limit_in_bytes" : "max");
        r = emit(w, JB_CTL_HUGETLB, path, "%" PRIu64, s->value);
        if (r == 0)
            w->items[w->len - 1].optional = reserved == 1;
    }
    return r;
}

static int put_partition(struct writes *w, JB_UNUSED const struct jb_cg_setting *s, const char *file,
                         struct jb_error *err)
{
    if (w->layout->ctl[JB_CTL_CPUSET].version != 2)
        return jb_fail(err, ENOTSUP, "%s: cgroup v1 has no cpuset partitions", file);
    return emit(w, JB_CTL_CPUSET, file, "isolated");
}

static int put_pids(struct writes *w, const struct jb_cg_setting *s, const char *file,
                    JB_UNUSED struct jb_error *err)
{
    return emit(w, JB_CTL_PIDS, file, "%" PRIu64, s->value);
}

static int put_io(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err)
{
    static const char *const words[] = {"rbps", "wbps", "riops", "wiops"};
    if (s->value == 0)
        return jb_fail(err, EINVAL, "%s: an I/O limit of 0 for device %u:%u would stop the job for ever",
                       file, s->major, s->minor);
    if (w->layout->ctl[JB_CTL_IO].version == 2)
        return emit(w, JB_CTL_IO, file, "%u:%u %s=%" PRIu64, s->major, s->minor,
                    words[s->key - JB_CG_IO_RBPS], s->value);
    return emit(w, JB_CTL_IO, file, "%u:%u %" PRIu64, s->major, s->minor, s->value);
}

static const struct {
    const char *v1, *v2;
    int (*put)(struct writes *w, const struct jb_cg_setting *s, const char *file, struct jb_error *err);
    enum jb_controller controller;
    bool is_set;
} keys[JB_CG_KEY_MAX] = {
    [JB_CG_CPUSET_CPUS] = {"cpuset.cpus", "cpuset.cpus", put_set, JB_CTL_CPUSET, true},
    [JB_CG_CPUSET_MEMS] = {"cpuset.mems", "cpuset.mems", put_set, JB_CTL_CPUSET, true},
    [JB_CG_CPU_WEIGHT] = {"cpu.shares", "cpu.weight", put_weight, JB_CTL_CPU, false},
    [JB_CG_CPU_MAX] = {"cpu.cfs_quota_us", "cpu.max", put_cpu_max, JB_CTL_CPU, false},
    [JB_CG_MEMORY_MAX] = {"memory.limit_in_bytes", "memory.max", put_memory, JB_CTL_MEMORY, false},
    [JB_CG_SWAP_MAX] = {"memory.memsw.limit_in_bytes", "memory.swap.max", put_swap, JB_CTL_MEMORY, false},
    [JB_CG_PIDS_MAX] = {"pids.max", "pids.max", put_pids, JB_CTL_PIDS, false},
    [JB_CG_MEMORY_HIGH] = {"memory.high", "memory.high", put_high, JB_CTL_MEMORY, false},
    [JB_CG_HUGE_MAX] = {"hugetlb", "hugetlb", put_huge, JB_CTL_HUGETLB, false},
    [JB_CG_PARTITION] = {"cpuset.cpus.partition", "cpuset.cpus.partition", put_partition, JB_CTL_CPUSET,
                         false},
    [JB_CG_IO_RBPS] = {"blkio.throttle.read_bps_device", "io.max", put_io, JB_CTL_IO, false},
    [JB_CG_IO_WBPS] = {"blkio.throttle.write_bps_device", "io.max", put_io, JB_CTL_IO, false},
    [JB_CG_IO_RIOPS] = {"blkio.throttle.read_iops_device", "io.max", put_io, JB_CTL_IO, false},
    [JB_CG_IO_WIOPS] = {"blkio.throttle.write_iops_device", "io.max", put_io, JB_CTL_IO, false},
};

static int resolve_one(struct writes *w, const struct jb_cg_setting *s, struct jb_error *err)
{
    if ((unsigned)s->key >= JB_CG_KEY_MAX)
        return jb_fail(err, EINVAL, "cgroup setting %d is not known", (int)s->key);
    if (!keys[s->key].is_set && s->value == JB_UNSET)
        return 0;
    enum jb_controller c = keys[s->key].controller;
    const struct jb_cg_controller *ctl = &w->layout->ctl[c];
    const char *file = ctl->version == 1 ? keys[s->key].v1 : keys[s->key].v2;
    if (ctl->version == 0)
        return jb_fail(err, ENOTSUP, "%s cannot be set: %s", file, ctl->why);
    if (!w->plan->use[c])
        return jb_fail(err, EINVAL, "%s is to be set but the plan makes no %s group", file,
                       jb_controller_name(c));
    jb_error_clear(err);
    int r = keys[s->key].put(w, s, file, err);
    return r < 0 && err && err->errnum == 0 ? jb_fail_errno(err, r, "%s", file) : r;
}

/* Everything is taken away first; what is left out of the rules stays away. */
static int resolve_devices(struct writes *w, struct jb_error *err)
{
    const struct jb_cg_plan *plan = w->plan;
    if (!plan->limit_devices || !plan->use[JB_CTL_DEVICES])
        return 0;
    int r = emit(w, JB_CTL_DEVICES, "devices.deny", "a");
    for (size_t i = 0; r == 0 && i < plan->n_devices; i++) {
        char text[JB_CG_DEVICE_TEXT];
        r = emit(w, JB_CTL_DEVICES, "devices.allow", "%s", jb_cg_device_text(&plan->devices[i], text));
    }
    return r < 0 ? jb_fail_errno(err, r, "devices.allow") : 0;
}

int jb_cg_resolve(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cg_write **ret,
                  size_t *ret_n, struct jb_error *err)
{
    struct writes w __attribute__((cleanup(writes_free))) = {.layout = layout, .plan = plan};
    /* memory and swap together may never be below memory alone: swap comes last, whatever the plan's order */
    for (int swap = 0; swap < 2; swap++)
        for (size_t i = 0; i < plan->n_settings; i++) {
            if ((plan->settings[i].key == JB_CG_SWAP_MAX) != (swap == 1))
                continue;
            int r = resolve_one(&w, &plan->settings[i], err);
            if (r < 0)
                return r;
        }
    int r = resolve_devices(&w, err);
    if (r < 0)
        return r;
    *ret = jb_take_ptr(w.items);
    *ret_n = w.len;
    w.len = 0;
    return 0;
}

char *jb_cg_path(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, enum jb_controller c)
{
    const struct jb_cg_controller *ctl = &layout->ctl[c];
    const char *parent = plan->parent ? plan->parent : ctl->own;
    if (!plan->use[c] || ctl->version == 0 || !parent)
        return NULL;
    return jb_asprintf("%s%s/%s", ctl->mount, jb_streq(parent, "/") ? "" : parent, plan->name);
}
