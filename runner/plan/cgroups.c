/*
 * cgroups.c - which controllers a box uses, with which values, and what it may do without.
 *
 * Owns: the cgroup part of the plan under construction. Runs in: the client. Privilege: none; pure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "plan/make.h"

#define CPU_PERIOD_US 100000

/* What each controller is for: the limit that fails without it, or accounting alone. */
static const struct {
    enum jb_controller controller;
    enum jb_degradable degradable;
    const char *limit; /* what cannot be done without it */
} limiting[] = {
    {JB_CTL_CPUSET, JB_DEGRADE_CPUSET, "pin the job to its CPUs"},
    {JB_CTL_CPU, JB_DEGRADE_CPU, "limit the job's CPU share"},
    {JB_CTL_MEMORY, JB_DEGRADE_MEMORY, "limit the job's memory"},
    {JB_CTL_PIDS, JB_DEGRADE_PIDS, "limit the number of processes"},
    {JB_CTL_IO, JB_DEGRADE_IO, "limit the job's I/O"},
    {JB_CTL_HUGETLB, JB_DEGRADE_HUGEPAGES, "limit the job's huge pages"},
};

static bool wants_io(const struct jb_spec *spec)
{
    return spec->resources.io_read_bps != JB_UNSET || spec->resources.io_write_bps != JB_UNSET ||
           spec->resources.io_read_iops != JB_UNSET || spec->resources.io_write_iops != JB_UNSET;
}

static void wanted(const struct jb_plan *plan, const struct jb_spec *spec, bool ret[JB_CTL_MAX])
{
    ret[JB_CTL_CPUSET] = true;
    ret[JB_CTL_PIDS] = plan->pids_max != JB_UNSET;
    ret[JB_CTL_MEMORY] = plan->memory_max != JB_UNSET || spec->resources.memory_high != JB_UNSET;
    ret[JB_CTL_HUGETLB] = spec->resources.n_hugepages > 0;
    ret[JB_CTL_CPU] = spec->resources.cpu_limit_micro != JB_UNSET || spec->resources.cpu_weight != JB_UNSET;
    ret[JB_CTL_IO] = wants_io(spec);
}

/* The limit on CPU time is kept by looking at a counter of the box; without one it would not be kept at all. */
static int cpu_time_counted(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    static const enum jb_controller counters[] = {JB_CTL_UNIFIED, JB_CTL_CPUACCT};
    const struct jb_cg_layout *layout = &in->host->cgroups;
    char where[512];
    if (plan->cpu_ns == JB_UNSET)
        return 0;
    for (size_t i = 0; i < JB_ARRAY_LEN(counters); i++)
        if (layout->ctl[counters[i]].version != 0 && layout->ctl[counters[i]].writable)
            return 0;
    if (jb_make_degrade(plan, in, JB_DEGRADE_CPU,
                        "no group that counts CPU time can be made: cpu_time is not kept"))
        return 0;
    return jb_fail(err, EACCES,
                   "%s: no cgroup that counts CPU time can be made here. Start jobbox where its cgroup can "
                   "be written, or "
                   "say that the job may do without: allow_degraded: [cpu]",
                   jb_spec_where(in->spec, JB_KEY_CPU_TIME, where, sizeof(where)));
}

/* Says everything that is missing in one go, with the words that would allow it. */
static int choose_controllers(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_cg_layout *layout = &in->host->cgroups;
    bool want[JB_CTL_MAX] = {false};
    jb_autobuf struct jb_buf missing = {0};
    jb_autobuf struct jb_buf names = {0};
    const char *why = NULL; /* of what was added last: one reason often holds for all */
    wanted(plan, in->spec, want);
    for (size_t i = 0; i < JB_ARRAY_LEN(limiting); i++) {
        enum jb_controller c = limiting[i].controller;
        const struct jb_cg_controller *ctl = &layout->ctl[c];
        bool can = ctl->version != 0 && ctl->writable;
        plan->cgroup.use[c] = can;
        if (can || !want[c] || jb_make_degrade(plan, in, limiting[i].degradable, ctl->why))
            continue;
        bool same = why && jb_streq(why, ctl->why);
        int r = why && !same ? jb_buf_printf(&missing, ": %s; ", why) : 0;
        if (r == 0)
            r = jb_buf_printf(&missing, "%s %s", same ? "," : "cannot", limiting[i].limit);
        why = ctl->why;
        if (r == 0)
            r = jb_buf_printf(&names, "%s%s", names.len ? ", " : "",
                              jb_degradable_name(limiting[i].degradable));
        if (r < 0)
            return jb_fail_errno(err, r, "plan");
    }
    if (missing.len)
        return jb_fail(
            err, EACCES,
            "%s: %s. Start jobbox where its cgroup can be written, or say that the job may do without: "
            "allow_degraded: [%s]",
            missing.data, why, names.data);
    int r = cpu_time_counted(plan, in, err);
    if (r < 0)
        return r;
    /* a controller with nothing to limit is not worth its group unless it counts something */
    plan->cgroup.use[JB_CTL_CPU] = plan->cgroup.use[JB_CTL_CPU] && want[JB_CTL_CPU];
    plan->cgroup.use[JB_CTL_HUGETLB] = plan->cgroup.use[JB_CTL_HUGETLB] && want[JB_CTL_HUGETLB];
    if (layout->ctl[JB_CTL_IO].version == 1) /* what it counts is not what the job did */
        plan->cgroup.use[JB_CTL_IO] = plan->cgroup.use[JB_CTL_IO] && want[JB_CTL_IO];
    for (enum jb_controller c = JB_CTL_CPUACCT; c <= JB_CTL_UNIFIED; c += JB_CTL_UNIFIED - JB_CTL_CPUACCT)
        plan->cgroup.use[c] = layout->ctl[c].version != 0 && layout->ctl[c].writable;
    return 0;
}

static int add(struct jb_plan *plan, struct jb_cg_setting setting)
{
    struct jb_cg_plan *cg = &plan->cgroup;
    struct jb_cg_setting *grown = realloc(cg->settings, (cg->n_settings + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    cg->settings = grown;
    cg->settings[cg->n_settings++] = setting;
    return 0;
}

static int add_number(struct jb_plan *plan, enum jb_controller c, enum jb_cg_key key, uint64_t value)
{
    if (!plan->cgroup.use[c] || value == JB_UNSET)
        return 0;
    return add(plan, (struct jb_cg_setting){.key = key, .value = value});
}

/* "zfs on /tank, zfs on /home and 3 more". Caller frees; NULL: out of memory. */
static char *untold(const struct jb_strv *list)
{
    const size_t shown = list->len > 3 ? 2 : list->len;
    jb_autobuf struct jb_buf text = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < shown; i++)
        r = jb_buf_printf(&text, "%s%.100s", i ? ", " : "", list->items[i]);
    if (r == 0 && shown < list->len)
        r = jb_buf_printf(&text, " and %zu more", list->len - shown);
    return r == 0 ? jb_take_ptr(text.data) : NULL;
}

/* What a file system of unknown disks takes in is not limited: that is said before anything runs. */
static int check_disks(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_disks *disks = &in->host->disks;
    if (disks->unknown.len == 0)
        return 0;
    jb_autofree char *names = untold(&disks->unknown);
    jb_autofree char *why =
        names ? jb_asprintf("the disks of %s are not known: io is not kept there", names) : NULL;
    if (!why)
        return -ENOMEM;
    return jb_make_degrade(plan, in, JB_DEGRADE_IO, why) ? 0 : -EXDEV;
}

/* The I/O limits hold for every disk that the job can reach through a mount. */
static int add_io(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_disks *disks = &in->host->disks;
    const uint64_t values[] = {in->spec->resources.io_read_bps, in->spec->resources.io_write_bps,
                               in->spec->resources.io_read_iops, in->spec->resources.io_write_iops};
    int r = check_disks(plan, in);
    if (r == 0 && disks->len > JB_CG_IO_DEVICES_MAX)
        r = -E2BIG;
    for (size_t i = 0; r == 0 && i < disks->len; i++)
        for (size_t k = 0; r == 0 && k < JB_ARRAY_LEN(values); k++)
            if (values[k] != JB_UNSET)
                r = add(plan, (struct jb_cg_setting){.key = JB_CG_IO_RBPS + (enum jb_cg_key)k,
                                                     .value = values[k],
                                                     .major = disks->items[i].major,
                                                     .minor = disks->items[i].minor});
    return r < 0 ? r : disks->len == 0 ? -ENODEV : 0;
}

/* Only v2 slows a job down at a mark below its limit. */
static int add_high(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_cg_controller *memory = &in->host->cgroups.ctl[JB_CTL_MEMORY];
    uint64_t high = in->spec->resources.memory_high;
    if (high == JB_UNSET || !plan->cgroup.use[JB_CTL_MEMORY])
        return 0;
    if (memory->version != 2 &&
        jb_make_degrade(plan, in, JB_DEGRADE_MEMORY, "cgroup v1 has no memory.high: memory_high is not kept"))
        return 0;
    return memory->version != 2 ? -EOPNOTSUPP : add_number(plan, JB_CTL_MEMORY, JB_CG_MEMORY_HIGH, high);
}

static int add_hugepages(struct jb_plan *plan, const struct jb_spec *spec)
{
    int r = 0;
    for (size_t i = 0; r == 0 && plan->cgroup.use[JB_CTL_HUGETLB] && i < spec->resources.n_hugepages; i++)
        r = add(plan, (struct jb_cg_setting){.key = JB_CG_HUGE_MAX,
                                             .page = spec->resources.hugepages[i].page,
                                             .value = spec->resources.hugepages[i].bytes});
    return r;
}

/* No isolation of CPUs is had from anything but the cpuset controller of v2. */
static int check_partition(const struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_cg_controller *cpuset = &in->host->cgroups.ctl[JB_CTL_CPUSET];
    char where[512];
    if (!in->spec->resources.partition || (plan->cgroup.use[JB_CTL_CPUSET] && cpuset->version == 2))
        return 0;
    return jb_fail(
        err, ENOTSUP,
        "%s: a partition needs the cpuset controller of cgroup v2, and here %s; exclusive: true does without",
        jb_spec_where(in->spec, JB_KEY_EXCLUSIVE, where, sizeof(where)),
        cpuset->version == 1 ? "cpusets are v1" : cpuset->why);
}

static int add_settings(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_spec *spec = in->spec;
    int r = 0;
    if (plan->cgroup.use[JB_CTL_CPUSET]) {
        r = add(plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_MEMS, .set = plan->grant.mems});
        if (r == 0)
            r = add(plan, (struct jb_cg_setting){.key = JB_CG_CPUSET_CPUS, .set = plan->grant.cpus});
        if (r == 0 && spec->resources.partition)
            r = add(plan, (struct jb_cg_setting){.key = JB_CG_PARTITION, .value = 1});
    }
    uint64_t quota = JB_UNSET;
    if (spec->resources.cpu_limit_micro != JB_UNSET)
        quota = spec->resources.cpu_limit_micro * (CPU_PERIOD_US / 1000) / 1000;
    if (r == 0)
        r = add_number(plan, JB_CTL_CPU, JB_CG_CPU_WEIGHT, spec->resources.cpu_weight);
    if (r == 0)
        r = add_number(plan, JB_CTL_CPU, JB_CG_CPU_MAX, quota);
    if (r == 0)
        r = add_number(plan, JB_CTL_MEMORY, JB_CG_MEMORY_MAX, plan->memory_max);
    /* where the kernel does not count swap, the memory limit alone is what can be had, if that is said to be enough */
    bool no_swap_limit =
        in->host->cgroups.no_swap_limit &&
        jb_make_degrade(plan, in, JB_DEGRADE_MEMORY, "this kernel does not limit swap: swapaccount=0");
    if (r == 0 && plan->memory_max != JB_UNSET && !no_swap_limit)
        r = add_number(plan, JB_CTL_MEMORY, JB_CG_SWAP_MAX, plan->swap_max);
    if (r == 0)
        r = add_high(plan, in);
    if (r == 0)
        r = add_hugepages(plan, spec);
    if (r == 0)
        r = add_number(plan, JB_CTL_PIDS, JB_CG_PIDS_MAX, plan->pids_max);
    if (r == 0 && wants_io(spec) && plan->cgroup.use[JB_CTL_IO])
        r = add_io(plan, in);
    if (r == -ENODEV &&
        jb_make_degrade(plan, in, JB_DEGRADE_IO, "no file system here lies on a disk of its own"))
        r = 0;
    return r;
}

/* -errno of add_io that has a text of its own; 0 for all others. */
static int io_refused(const struct jb_plan_input *in, int r, struct jb_error *err)
{
    char where[512];
    (void)jb_spec_where(in->spec, JB_KEY_IO, where, sizeof(where));
    jb_autofree char *names = r == -EXDEV ? untold(&in->host->disks.unknown) : NULL;
    switch (r) {
    case -ENODEV:
        return jb_fail(
            err, ENODEV,
            "%s: no file system here lies on a disk of its own, so there is nothing to limit; leave it out "
            "or write allow_degraded: [io]",
            where);
    case -EXDEV:
        return jb_fail(
            err, ENODEV,
            "%s: nobody tells which disks %s lies on, so I/O there cannot be limited; let the limits hold "
            "for the other disks only: allow_degraded: [io]",
            where, names ? names : "a file system");
    case -E2BIG:
        return jb_fail(err, E2BIG,
                       "%s: this host has file systems on more than %d disks, which is more than a box can "
                       "have limits for; leave it out or unmount some",
                       where, JB_CG_IO_DEVICES_MAX);
    default:
        return 0;
    }
}

int jb_make_cgroups(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    int r = choose_controllers(plan, in, err);
    if (r < 0)
        return r;
    plan->cgroup.name = jb_asprintf("jobbox-%s", plan->id.text);
    if (in->site->paths.cgroup_parent)
        plan->cgroup.parent = strdup(in->site->paths.cgroup_parent);
    if (!plan->cgroup.name || (in->site->paths.cgroup_parent && !plan->cgroup.parent))
        return jb_fail_errno(err, ENOMEM, "plan");
    r = jb_make_device_limit(plan, in, err);
    if (r < 0)
        return r;
    r = check_partition(plan, in, err);
    if (r < 0)
        return r;
    r = add_settings(plan, in);
    char where[512];
    if (r == -EOPNOTSUPP)
        return jb_fail(err, ENOTSUP,
                       "%s: cgroup v1 cannot slow a job down before its memory limit; leave it out or write "
                       "allow_degraded: [memory]",
                       jb_spec_where(in->spec, JB_KEY_MEMORY_HIGH, where, sizeof(where)));
    int refused = io_refused(in, r, err);
    if (refused < 0)
        return refused;
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    plan->no_cgroups = true;
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        plan->no_cgroups = plan->no_cgroups && !plan->cgroup.use[c];
    plan->pin_by_affinity = !plan->cgroup.use[JB_CTL_CPUSET];
    plan->reserved_memory = plan->memory_max != JB_UNSET;
    return 0;
}
