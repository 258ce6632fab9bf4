/*
 * readback.c - what the kernel says the box's limits are, and whether that is what was planned.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: reading the box's groups.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define CPU_PERIOD_US 100000
#define NO_LIMIT      (UINT64_C(1) << 62) /* v1 writes "none" as the largest page count */

static uint64_t whole_pages(uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes - bytes % page;
}

/* A number of a file that a kernel may lack. */
static int read_number(const struct jb_kdir *dir, const char *file, uint64_t *ret)
{
    int r = jb_kread_u64(dir, file, ret);
    if (r == -ENOENT) {
        *ret = JB_UNSET;
        return 0;
    }
    return r;
}

static int read_set(const struct jb_kdir *dir, const char *effective, const char *plain, struct jb_cpus *ret)
{
    jb_autofree char *list = NULL;
    int r = jb_kread_all(dir, effective, &list);
    if (r == -ENOENT)
        r = jb_kread_all(dir, plain, &list);
    if (r < 0)
        return r;
    list[strcspn(list, "\n")] = '\0';
    return jb_cpus_parse(list, ret);
}

static int read_cpuset(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    bool v1 = g->version == 1;
    int r =
        read_set(&g->dir, v1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective", "cpuset.cpus", &back->cpus);
    if (r == 0)
        r = read_set(&g->dir, v1 ? "cpuset.effective_mems" : "cpuset.mems.effective", "cpuset.mems",
                     &back->mems);
    back->has_cpus = back->has_mems = r == 0;
    return r;
}

static int read_cpu_v1(const struct jb_kdir *dir, struct jb_cg_readback *back)
{
    uint64_t shares;
    uint64_t period;
    char quota[32];
    int r = jb_kread_u64(dir, "cpu.shares", &shares);
    if (r < 0)
        return r;
    back->cpu_weight = jb_cg_weight_of_shares(shares);
    r = jb_kread_line(dir, "cpu.cfs_quota_us", quota, sizeof(quota));
    if (r == -ENOENT) /* a kernel without bandwidth control */
        return 0;
    if (r < 0 || jb_streq(quota, "-1"))
        return r;
    uint64_t us;
    r = jb_parse_u64(quota, UINT64_MAX / CPU_PERIOD_US, &us);
    if (r == 0)
        r = jb_kread_u64(dir, "cpu.cfs_period_us", &period);
    if (r == 0 && period == 0)
        r = -EINVAL;
    if (r == 0)
        back->cpu_max_us = us * CPU_PERIOD_US / period;
    return r;
}

static int read_cpu_v2(const struct jb_kdir *dir, struct jb_cg_readback *back)
{
    char line[64];
    int r = jb_kread_u64(dir, "cpu.weight", &back->cpu_weight);
    if (r == 0)
        r = jb_kread_line(dir, "cpu.max", line, sizeof(line));
    if (r == -ENOENT)
        return 0;
    char *space = r == 0 ? strchr(line, ' ') : NULL;
    if (!space)
        return r < 0 ? r : -EINVAL;
    *space = '\0';
    if (jb_streq(line, "max"))
        return 0;
    uint64_t us;
    uint64_t period;
    r = jb_parse_u64(line, UINT64_MAX / CPU_PERIOD_US, &us);
    if (r == 0)
        r = jb_parse_u64(space + 1, UINT64_MAX, &period);
    if (r == 0 && period == 0)
        r = -EINVAL;
    if (r == 0)
        back->cpu_max_us = us * CPU_PERIOD_US / period;
    return r;
}

static int read_cpu(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    return g->version == 1 ? read_cpu_v1(&g->dir, back) : read_cpu_v2(&g->dir, back);
}

static int read_memory(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    if (g->version == 2) {
        int r = jb_kread_u64(&g->dir, "memory.max", &back->memory_max);
        return r < 0 ? r : read_number(&g->dir, "memory.swap.max", &back->swap_max);
    }
    uint64_t both = JB_UNSET;
    int r = jb_kread_u64(&g->dir, "memory.limit_in_bytes", &back->memory_max);
    if (r == 0)
        r = read_number(&g->dir, "memory.memsw.limit_in_bytes", &both);
    if (r < 0)
        return r;
    if (back->memory_max >= NO_LIMIT)
        back->memory_max = JB_UNSET;
    else if (both < NO_LIMIT && both >= back->memory_max)
        back->swap_max = both - back->memory_max;
    return 0;
}

static int read_pids(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    return jb_kread_u64(&g->dir, "pids.max", &back->pids_max);
}

static int io_entry(struct jb_cg_readback *back, unsigned major, unsigned minor, struct jb_cg_io_limits **ret)
{
    for (size_t i = 0; i < back->n_io; i++)
        if (back->io[i].major == major && back->io[i].minor == minor) {
            *ret = &back->io[i];
            return 0;
        }
    if (back->n_io == JB_CG_IO_DEVICES_MAX)
        return -E2BIG;
    *ret = &back->io[back->n_io++];
    **ret = (struct jb_cg_io_limits){major, minor, JB_UNSET, JB_UNSET, JB_UNSET, JB_UNSET};
    return 0;
}

/* Cuts "major:minor rest" in place; NULL when the line is something else. */
static char *cut_device(char *line, unsigned *major, unsigned *minor)
{
    char *colon = strchr(line, ':');
    char *space = colon ? strchr(colon, ' ') : NULL;
    if (!space)
        return NULL;
    *colon = *space = '\0';
    uint64_t a;
    uint64_t b;
    if (jb_parse_u64(line, UINT32_MAX, &a) < 0 || jb_parse_u64(colon + 1, UINT32_MAX, &b) < 0)
        return NULL;
    *major = (unsigned)a;
    *minor = (unsigned)b;
    return space + 1;
}

static uint64_t *io_field(struct jb_cg_io_limits *io, size_t which)
{
    uint64_t *const fields[] = {&io->rbps, &io->wbps, &io->riops, &io->wiops};
    return fields[which];
}

static int read_io_v1(const struct jb_kdir *dir, struct jb_cg_readback *back)
{
    static const char *const files[] = {"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
                                        "blkio.throttle.read_iops_device",
                                        "blkio.throttle.write_iops_device"};
    for (size_t f = 0; f < JB_ARRAY_LEN(files); f++) {
        jb_autofree char *text = NULL;
        int r = jb_kread_all(dir, files[f], &text);
        if (r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        char *save = NULL;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            unsigned major = 0;
            unsigned minor = 0;
            const char *value = cut_device(line, &major, &minor);
            struct jb_cg_io_limits *io = NULL;
            r = value ? io_entry(back, major, minor, &io) : 0;
            if (r < 0)
                return r;
            if (io && jb_parse_u64(value, UINT64_MAX, io_field(io, f)) < 0)
                return -EINVAL;
        }
    }
    return 0;
}

static int read_io_v2(const struct jb_kdir *dir, struct jb_cg_readback *back)
{
    static const char *const words[] = {"rbps=", "wbps=", "riops=", "wiops="};
    jb_autofree char *text = NULL;
    int r = jb_kread_all(dir, "io.max", &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned major = 0;
        unsigned minor = 0;
        char *rest = cut_device(line, &major, &minor);
        struct jb_cg_io_limits *io = NULL;
        char *inner = NULL;
        r = rest ? io_entry(back, major, minor, &io) : 0;
        if (r < 0)
            return r;
        for (char *word = io ? strtok_r(rest, " ", &inner) : NULL; word; word = strtok_r(NULL, " ", &inner))
            for (size_t f = 0; f < JB_ARRAY_LEN(words); f++)
                if (jb_starts_with(word, words[f]) && !jb_streq(word + strlen(words[f]), "max") &&
                    jb_parse_u64(word + strlen(words[f]), UINT64_MAX, io_field(io, f)) < 0)
                    return -EINVAL;
    }
    return 0;
}

static int read_io(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    return g->version == 1 ? read_io_v1(&g->dir, back) : read_io_v2(&g->dir, back);
}

/* A group that still has everything says so in one line: then nothing is limited. */
static int read_devices(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    jb_autofree char *text = NULL;
    int r = jb_kread_all(&g->dir, "devices.list", &text);
    char *save = NULL;
    bool all = false;
    for (char *line = r == 0 ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        if (back->n_devices == JB_CG_DEVICES_MAX)
            return -E2BIG;
        r = jb_cg_device_parse(line, &back->devices[back->n_devices]);
        if (r < 0)
            return r;
        all = all || r == 0;
        back->n_devices += r == 1;
    }
    back->has_devices = r >= 0 && !all;
    return r < 0 ? r : 0;
}

static int read_huge(const struct jb_cg_group *g, struct jb_cg_readback *back)
{
    for (const uint64_t *page = jb_cg_huge_sizes; *page; page++) {
        char name[16];
        char file[64];
        uint64_t max;
        (void)snprintf(file, sizeof(file), "hugetlb.%s.%s", jb_cg_huge_name(*page, name, sizeof(name)),
                       g->version == 1 ? "limit_in_bytes" : "max");
        int r = jb_kread_u64(&g->dir, file, &max);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r == 0 && max != JB_UNSET && max < NO_LIMIT)
            back->huge[back->n_huge++] = (struct jb_cg_huge_limit){.page = *page, .max = max};
    }
    return 0;
}

/* Files that few jobs have a use for: not worth a look where nothing was written to them. */
static int read_asked(const struct jb_cgroup *cg, struct jb_cg_readback *back)
{
    const struct jb_cg_group *cpuset = cg->of[JB_CTL_CPUSET];
    const struct jb_cg_group *memory = cg->of[JB_CTL_MEMORY];
    int r = 0;
    if (cpuset && (cg->asked & 1U << JB_CG_PARTITION))
        r = jb_kread_line(&cpuset->dir, "cpuset.cpus.partition", back->partition, sizeof(back->partition));
    if (r == 0 && memory && (cg->asked & 1U << JB_CG_MEMORY_HIGH))
        r = jb_kread_u64(&memory->dir, "memory.high", &back->memory_high);
    return r;
}

int jb_cgroup_readback(const struct jb_cgroup *cg, struct jb_cg_readback *ret, struct jb_error *err)
{
    static int (*const readers[JB_CTL_MAX])(const struct jb_cg_group *, struct jb_cg_readback *) = {
        [JB_CTL_CPUSET] = read_cpuset, [JB_CTL_CPU] = read_cpu, [JB_CTL_MEMORY] = read_memory,
        [JB_CTL_PIDS] = read_pids,     [JB_CTL_IO] = read_io,   [JB_CTL_DEVICES] = read_devices,
        [JB_CTL_HUGETLB] = read_huge,
    };
    struct jb_cg_readback back = {
        .cpu_weight = JB_UNSET,
        .cpu_max_us = JB_UNSET,
        .memory_max = JB_UNSET,
        .swap_max = JB_UNSET,
        .pids_max = JB_UNSET,
        .memory_high = JB_UNSET,
    };
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        const struct jb_cg_group *g = cg->of[c];
        if (!g)
            continue;
        back.version[c] = g->version;
        int r = readers[c] ? readers[c](g, &back) : 0;
        char text[512];
        if (r < 0)
            return jb_fail_errno(err, r, "reading the %s limits of %s back",
                                 jb_controller_name((enum jb_controller)c),
                                 jb_cg_group_text(cg, g, text, sizeof(text)));
    }
    int r = read_asked(cg, &back);
    if (r < 0)
        return jb_fail_errno(err, r, "reading the limits of %s back", cg->name);
    *ret = back;
    return 0;
}

static int differ(struct jb_error *err, const char *what, uint64_t planned, uint64_t got)
{
    char text[32] = "no limit";
    if (got != JB_UNSET)
        (void)snprintf(text, sizeof(text), "%" PRIu64, got);
    return jb_fail(err, EIO,
                   "%s is %s in the kernel but %" PRIu64 " was set; the job is not started without its limit",
                   what, text, planned);
}

static int differ_set(struct jb_error *err, const char *what, const struct jb_cpus *planned,
                      const struct jb_cpus *got)
{
    jb_autofree char *wish = jb_cpus_list(planned);
    jb_autofree char *have = jb_cpus_list(got);
    return jb_fail(err, EIO, "%s are %.400s in the kernel but %.400s were granted; was one taken offline?",
                   what, have ? have : "?", wish ? wish : "?");
}

static int verify_number(const struct jb_cg_readback *got, const struct jb_cg_setting *s,
                         struct jb_error *err)
{
    const struct {
        const char *what;
        uint64_t got;
        bool bytes;
    } table[JB_CG_KEY_MAX] = {
        [JB_CG_CPU_WEIGHT] = {"the CPU weight", got->cpu_weight, false},
        [JB_CG_CPU_MAX] = {"the CPU limit (µs per 100 ms)", got->cpu_max_us, false},
        [JB_CG_MEMORY_MAX] = {"the memory limit", got->memory_max, true},
        [JB_CG_SWAP_MAX] = {"the swap limit", got->swap_max, true},
        [JB_CG_PIDS_MAX] = {"the process limit", got->pids_max, false},
        [JB_CG_MEMORY_HIGH] = {"memory.high", got->memory_high, true},
    };
    if (s->value == JB_UNSET)
        return 0;
    uint64_t have = table[s->key].got;
    bool same = have == s->value;
    if (table[s->key].bytes && have != JB_UNSET) {
        uint64_t page =
            (uint64_t)sysconf(_SC_PAGESIZE); /* v1 rounds memory and the sum with swap each on its own */
        uint64_t down = whole_pages(s->value);
        same = have == down || (s->key == JB_CG_SWAP_MAX && have == down + page && down != s->value);
    }
    return same ? 0 : differ(err, table[s->key].what, s->value, have);
}

static int verify_io(const struct jb_cg_readback *got, const struct jb_cg_setting *s, struct jb_error *err)
{
    static const char *const words[] = {"read bytes", "write bytes", "read operations", "write operations"};
    size_t which = (size_t)(s->key - JB_CG_IO_RBPS);
    uint64_t have = JB_UNSET;
    for (size_t i = 0; i < got->n_io; i++) {
        if (got->io[i].major != s->major || got->io[i].minor != s->minor)
            continue;
        struct jb_cg_io_limits io = got->io[i];
        have = *io_field(&io, which);
        break;
    }
    if (have == s->value)
        return 0;
    char what[96];
    (void)snprintf(what, sizeof(what), "the I/O limit of device %u:%u (%s a second)", s->major, s->minor,
                   words[which]);
    return differ(err, what, s->value, have);
}

static int verify_huge(const struct jb_cg_readback *got, const struct jb_cg_setting *s, struct jb_error *err)
{
    char name[16];
    char what[64];
    uint64_t have = JB_UNSET;
    for (size_t i = 0; i < got->n_huge; i++)
        if (got->huge[i].page == s->page)
            have = got->huge[i].max;
    if (have == s->value)
        return 0;
    (void)snprintf(what, sizeof(what), "the limit of huge pages of %s",
                   jb_cg_huge_name(s->page, name, sizeof(name)));
    return differ(err, what, s->value, have);
}

/* The kernel takes the word even when it makes no partition, and says so, with the reason, to who reads it back. */
static int verify_partition(const struct jb_cg_readback *got, struct jb_error *err)
{
    if (jb_streq(got->partition, "isolated"))
        return 0;
    const char *reason = strchr(got->partition, '(');
    size_t len = reason ? strcspn(++reason, ")") : 0;
    return jb_fail(
        err, EIO,
        "exclusive: partition: the kernel makes no isolated partition of the box's CPUs: %.*s. Boxes "
        "must be made below a group that is a partition itself (paths.cgroup_parent of the site config); "
        "exclusive: true does without",
        (int)(len ? len : strlen(got->partition)), len ? reason : got->partition);
}

static bool has_device(const struct jb_cg_device *list, size_t n, const struct jb_cg_device *device)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].type == device->type && list[i].major == device->major &&
            list[i].minor == device->minor && jb_streq(list[i].access, device->access))
            return true;
    return false;
}

/* Neither more nor less; a program on v2 is compared where it is attached. */
static int verify_devices(const struct jb_cg_plan *plan, const struct jb_cg_readback *got,
                          struct jb_error *err)
{
    char text[JB_CG_DEVICE_TEXT];
    if (!plan->limit_devices || !plan->use[JB_CTL_DEVICES])
        return 0;
    if (!got->has_devices)
        return jb_fail(err, EIO,
                       "the box's devices are not limited in the kernel though they were; the job is not "
                       "started without that");
    for (size_t i = 0; i < got->n_devices; i++)
        if (!has_device(plan->devices, plan->n_devices, &got->devices[i]))
            return jb_fail(err, EIO, "the box may use the device %s in the kernel, which it was not granted",
                           jb_cg_device_text(&got->devices[i], text));
    for (size_t i = 0; i < plan->n_devices; i++)
        if (!has_device(got->devices, got->n_devices, &plan->devices[i]))
            return jb_fail(err, EIO, "the box may not use the device %s in the kernel, though it was granted",
                           jb_cg_device_text(&plan->devices[i], text));
    return 0;
}

int jb_cgroup_verify(const struct jb_cg_plan *plan, const struct jb_cg_readback *got, struct jb_error *err)
{
    for (size_t i = 0; i < plan->n_settings; i++) {
        const struct jb_cg_setting *s = &plan->settings[i];
        int r = 0;
        if (s->key == JB_CG_CPUSET_CPUS)
            r = got->has_cpus && jb_cpus_equal(&got->cpus, &s->set)
                    ? 0
                    : differ_set(err, "the box's CPUs", &s->set, &got->cpus);
        else if (s->key == JB_CG_CPUSET_MEMS)
            r = got->has_mems && jb_cpus_equal(&got->mems, &s->set)
                    ? 0
                    : differ_set(err, "the box's memory nodes", &s->set, &got->mems);
        else if (s->key == JB_CG_PARTITION)
            r = verify_partition(got, err);
        else if (s->key == JB_CG_HUGE_MAX)
            r = s->value == JB_UNSET ? 0 : verify_huge(got, s, err);
        else if (s->key >= JB_CG_IO_RBPS)
            r = s->value == JB_UNSET ? 0 : verify_io(got, s, err);
        else
            r = verify_number(got, s, err);
        if (r < 0)
            return r;
    }
    return verify_devices(plan, got, err);
}

int jb_cgroup_inhabited(const struct jb_cgroup *cg, struct jb_error *err)
{
    uint64_t populated = 1;
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    int r = v2 ? jb_kread_keyed(&v2->dir, "cgroup.events", "populated", &populated) : 0;
    if (r < 0)
        return jb_fail_errno(err, r, "reading whether anything is in the group %s", cg->name);
    if (populated == 0)
        return jb_fail(err, EIO,
                       "no process of the box is in its cgroup %s: its limits would hold for nobody",
                       cg->name);
    return 0;
}
