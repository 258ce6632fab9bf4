/*
 * record.c - building the record of an attempt.
 *
 * Owns: nothing. Runs in: the supervisor, or whoever recovers a box. Privilege: none.
 */
#include "record/record.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

#define LINE_GUESS     8192 /* bytes of a record; most are half of that */
#define CHECK_SLACK_US 5000 /* readings are not taken at one moment, and split by ticks on some kernels */

static const char *const reason_names[] = {
    [JB_END_COMPLETED] = "completed",
    [JB_END_FAILED] = "failed",
    [JB_END_SIGNALED] = "signaled",
    [JB_END_TIMEOUT] = "timeout",
    [JB_END_CPU_TIMEOUT] = "cpu_timeout",
    [JB_END_IDLE_TIMEOUT] = "idle_timeout",
    [JB_END_OOM] = "oom",
    [JB_END_OUTPUT_LIMIT] = "output_limit",
    [JB_END_SCRATCH_FULL] = "scratch_full",
    [JB_END_CANCELLED] = "cancelled",
    [JB_END_BOX_ERROR] = "box_error",
    [JB_END_SUPERVISOR_LOST] = "supervisor_lost",
    [JB_END_HOST_RESTARTED] = "host_restarted",
};

const char *jb_end_reason_name(enum jb_end_reason reason)
{
    return (size_t)reason < JB_ARRAY_LEN(reason_names) ? reason_names[reason] : NULL;
}

static int out_of_memory(struct jb_error *err)
{
    return jb_fail_errno(err, ENOMEM, "record");
}

static json_t *make_granted(const struct jb_plan *plan)
{
    const struct jb_grant *g = &plan->grant;
    json_t *granted = json_object();
    json_t *straddles = json_object();
    const char *kind = g->kind == JB_CPU_KIND_ANY ? NULL : jb_cpu_kind_name(g->kind);
    bool ok = jb_json_set(straddles, "l3", json_boolean(g->straddles_l3)) &&
              jb_json_set(straddles, "numa", json_boolean(g->straddles_numa)) &&
              jb_json_set(straddles, "package", json_boolean(g->straddles_package));
    ok = jb_json_set(granted, "straddles", straddles) && ok;
    ok = ok && jb_json_set(granted, "cpus", jb_json_cpus(&g->cpus)) &&
         jb_json_set(granted, "cpu_count", json_integer(jb_cpus_count(&g->cpus))) &&
         jb_json_set(granted, "cores", json_integer(g->cores)) &&
         jb_json_set(granted, "l3s", json_integer(g->l3s)) &&
         jb_json_set(granted, "numa_nodes", json_integer(g->numa_nodes)) &&
         jb_json_set(granted, "packages", json_integer(g->packages)) &&
         jb_json_set(granted, "memory_nodes", jb_json_cpus(&g->mems)) &&
         jb_json_set(granted, "kind", jb_json_text(kind)) &&
         jb_json_set(granted, "exclusive", json_boolean(g->exclusive)) &&
         jb_json_set(granted, "memory_bytes", jb_json_u64(plan->memory_max)) &&
         jb_json_set(granted, "swap_bytes",
                     jb_json_u64(plan->memory_max == JB_UNSET ? JB_UNSET : plan->swap_max)) &&
         jb_json_set(granted, "pids", jb_json_u64(plan->pids_max)) &&
         jb_json_set(granted, "scratch_bytes", jb_json_u64(plan->scratch_bytes)) &&
         jb_json_set(granted, "scratch_inodes", jb_json_u64(plan->scratch_inodes)) &&
         jb_json_set(granted, "devices", jb_devices_json(plan->devices)) &&
         jb_json_set(granted, "wall_time_s", jb_json_seconds_ns(plan->wall_ns)) &&
         jb_json_set(granted, "cpu_time_s", jb_json_seconds_ns(plan->cpu_ns)) &&
         jb_json_set(granted, "output_bytes", jb_json_u64(plan->output_bytes));
    if (ok)
        return granted;
    json_decref(granted);
    return NULL;
}

static json_t *make_origin(const struct jb_origin *origin)
{
    if (!origin->queue)
        return json_pack("{s:s}", "kind", origin->kind);
    return json_pack("{s:s, s:{s:s, s:I}}", "kind", origin->kind, "ids", "queue", origin->queue, "task",
                     (json_int_t)origin->task);
}

static bool set_identity(json_t *record, const struct jb_plan *plan, const struct jb_origin *origin)
{
    return jb_json_set(record, "record_version", json_integer(JB_RECORD_VERSION)) &&
           jb_json_set(record, "id", json_string(plan->id.text)) &&
           jb_json_set(record, "job", jb_json_text(plan->job ? plan->job : plan->id.text)) &&
           jb_json_set(record, "attempt", json_integer(plan->attempt)) &&
           jb_json_set(record, "array_index", jb_json_u64(plan->array_index)) &&
           jb_json_set(record, "name", jb_json_text(plan->name)) &&
           jb_json_set(record, "user", jb_json_text(plan->submitter_user)) &&
           jb_json_set(record, "uid", json_integer((json_int_t)plan->submitter_uid)) &&
           jb_json_set(record, "gid", json_integer((json_int_t)plan->submitter_gid)) &&
           jb_json_set(record, "account", jb_json_text(plan->account)) &&
           jb_json_set(record, "labels", json_incref(plan->labels)) &&
           jb_json_set(record, "host", jb_json_text(plan->host_name)) &&
           jb_json_set(record, "boot_id", jb_json_text(plan->boot_id)) &&
           jb_json_set(record, "submit_host", jb_json_text(plan->host_name)) &&
           jb_json_set(record, "jobbox_version", json_string(JOBBOX_VERSION)) &&
           jb_json_set(record, "spec_file", jb_json_text(plan->spec_file)) &&
           jb_json_set(record, "spec_sha256",
                       jb_json_text(plan->spec_sha256[0] ? plan->spec_sha256 : NULL)) &&
           jb_json_set(record, "image",
                       json_pack("{s:o, s:s, s:o, s:o}", "ref", jb_json_text(plan->image_ref), "kind",
                                 jb_image_kind_name(plan->image_kind), "path", jb_json_text(plan->image_path),
                                 "digest", jb_json_text(plan->image_digest))) &&
           jb_json_set(record, "origin", make_origin(origin));
}

static json_t *make_times(const struct jb_origin *origin)
{
    json_t *times = json_object();
    static const char *const later[] = {"started", "ended",    "destroyed", "setup_s",
                                        "wall_s",  "paused_s", "teardown_s"};
    bool ok = jb_json_set(times, "submitted", jb_json_time(origin->submitted_us)) &&
              jb_json_set(times, "eligible",
                          jb_json_time(origin->eligible_us ? origin->eligible_us : origin->submitted_us)) &&
              jb_json_set(times, "setup_started", jb_json_time(origin->setup_started_us)) &&
              jb_json_set(times, "wait_s", jb_json_seconds_us(origin->wait_ns / JB_NS_PER_US));
    for (size_t i = 0; ok && i < JB_ARRAY_LEN(later); i++)
        ok = jb_json_set(times, later[i], json_null());
    if (ok)
        return times;
    json_decref(times);
    return NULL;
}

int jb_record_draft(const struct jb_plan *plan, const struct jb_origin *origin, json_t **ret,
                    struct jb_error *err)
{
    json_t *record = json_object();
    bool ok = set_identity(record, plan, origin) && jb_json_set(record, "times", make_times(origin)) &&
              jb_json_set(record, "requested", json_incref(plan->requested)) &&
              jb_json_set(record, "granted", make_granted(plan)) &&
              jb_json_set(record, "used", json_null()) && jb_json_set(record, "end", json_null()) &&
              jb_json_set(record, "isolation", json_null()) && jb_json_set(record, "output", json_null()) &&
              jb_json_set(record, "artifacts", json_array()) && jb_json_set(record, "changes", json_null()) &&
              jb_json_set(record, "kept", json_null()) &&
              jb_json_set(record, "entered", plan->over_id ? json_string(plan->over_id) : json_null()) &&
              jb_json_set(record, "execs", json_array()) && jb_json_set(record, "warnings", json_array());
    if (!ok) {
        json_decref(record);
        return out_of_memory(err);
    }
    *ret = record;
    return 0;
}

int jb_record_granted(json_t *record, const struct jb_plan *plan, struct jb_error *err)
{
    return jb_json_set(record, "granted", make_granted(plan)) ? 0 : out_of_memory(err);
}

static json_t *make_namespaces(const struct jb_isolation *got)
{
    const struct {
        bool own;
        const char *name;
    } spaces[] = {{got->userns, "user"}, {got->mount, "mount"}, {got->pid, "pid"},      {got->ipc, "ipc"},
                  {got->uts, "uts"},     {got->net, "network"}, {got->cgroup, "cgroup"}};
    json_t *list = json_array();
    for (size_t i = 0; i < JB_ARRAY_LEN(spaces); i++)
        if (spaces[i].own && json_array_append_new(list, json_string(spaces[i].name)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *make_caps(uint64_t caps)
{
    json_t *list = json_array();
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(caps >> bit & 1))
            continue;
        char number[16];
        (void)snprintf(number, sizeof(number), "cap_%u", bit);
        const char *name = jb_cap_name(bit);
        if (json_array_append_new(list, json_string(name ? name : number)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What the box has routes to; null: it has none at all, or the host's. */
static json_t *make_ranges(const struct jb_plan *plan)
{
    if (plan->network != JB_NETWORK_USER)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < plan->net.n_allow; i++) {
        char text[JB_NETWORK_TEXT];
        if (json_array_append_new(list, json_string(jb_network_text(&plan->net.allow[i], text))) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* null: not asked for. */
static json_t *make_reproducible(const struct jb_plan *plan, const struct jb_isolation *got)
{
    if (!plan->reproducible)
        return json_null();
    return json_pack("{s:b, s:b}", "address_randomisation", !got->same_addresses, "lxcfs", plan->lxcfs);
}

/* Where it lies, and what it can hold; a folder without a cap holds what its file system does. */
static json_t *make_scratch(const struct jb_plan *plan, const struct jb_isolation *got)
{
    bool own = jb_plan_scratch_is_own(plan);
    const char *kind = !jb_plan_scratch_on_disk(plan)            ? "tmpfs"
                       : plan->ops[0].kind == JB_OP_SCRATCH_LOOP ? "loop"
                       : own                                     ? "quota"
                                                                 : "folder";
    return json_pack("{s:s, s:o, s:o}", "kind", kind, "bytes",
                     jb_json_u64(own ? got->scratch_bytes : JB_UNSET), "inodes",
                     jb_json_u64(own ? got->scratch_inodes : JB_UNSET));
}

static bool set_process(json_t *section, const struct jb_plan *plan, const struct jb_isolation *got)
{
    return jb_json_set(section, "namespaces", make_namespaces(got)) &&
           jb_json_set(section, "root", jb_json_text(got->root_fstype[0] ? got->root_fstype : NULL)) &&
           jb_json_set(section, "root_why", jb_json_text(plan->root_why)) &&
           jb_json_set(section, "network",
                       json_string(!got->net                          ? "host"
                                   : plan->network == JB_NETWORK_USER ? "user"
                                                                      : "none")) &&
           jb_json_set(section, "network_allow", make_ranges(plan)) &&
           jb_json_set(section, "network_helper",
                       jb_json_text(plan->network == JB_NETWORK_USER
                                        ? plan->net.program == JB_NET_PASTA ? "pasta" : "slirp4netns"
                                        : NULL)) &&
           jb_json_set(section, "hostname", jb_json_text(plan->hostname)) &&
           jb_json_set(section, "no_new_privs", json_boolean(got->no_new_privs)) &&
           jb_json_set(section, "seccomp",
                       json_string(got->seccomp_mode == 2   ? "filter"
                                   : got->seccomp_mode == 1 ? "strict"
                                   : got->seccomp_mode == 0 ? "none"
                                                            : "unknown")) &&
           jb_json_set(section, "seccomp_filters",
                       got->seccomp_filters < 0 ? json_null() : json_integer(got->seccomp_filters)) &&
           jb_json_set(section, "caps", make_caps(got->cap_eff)) &&
           jb_json_set(section, "caps_bounding", make_caps(got->cap_bnd)) &&
           jb_json_set(section, "host_uid", json_integer(got->uid)) &&
           jb_json_set(section, "host_gid", json_integer(got->gid)) &&
           jb_json_set(section, "scratch", make_scratch(plan, got)) &&
           jb_json_set(section, "uid_map", jb_json_text(got->uid_map[0] ? got->uid_map : NULL)) &&
           jb_json_set(section, "reproducible", make_reproducible(plan, got)) &&
           jb_json_set(section, "cpus_allowed", jb_json_cpus(&got->cpus)) &&
           jb_json_set(section, "mems_allowed", jb_json_cpus(&got->mems));
}

static json_t *make_io_limits(const struct jb_cg_readback *got)
{
    json_t *list = json_array();
    for (size_t i = 0; i < got->n_io; i++) {
        const struct jb_cg_io_limits *io = &got->io[i];
        json_t *item = json_object();
        bool ok = jb_json_set(item, "device", json_sprintf("%u:%u", io->major, io->minor)) &&
                  jb_json_set(item, "read_bps", jb_json_u64(io->rbps)) &&
                  jb_json_set(item, "write_bps", jb_json_u64(io->wbps)) &&
                  jb_json_set(item, "read_iops", jb_json_u64(io->riops)) &&
                  jb_json_set(item, "write_iops", jb_json_u64(io->wiops));
        if (json_array_append_new(list, item) < 0 || !ok) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* {"2MiB": 67108864}; sizes without a limit are left out. */
static json_t *make_huge_limits(const struct jb_cg_readback *got)
{
    json_t *limits = json_object();
    for (size_t i = 0; i < got->n_huge; i++) {
        const char *page = jb_huge_page_name(got->huge[i].page);
        if (!jb_json_set(limits, page ? page : "?", jb_json_u64(got->huge[i].max))) {
            json_decref(limits);
            return NULL;
        }
    }
    return limits;
}

static bool set_cgroups(json_t *section, const struct jb_cg_readback *got)
{
    json_t *versions = json_object();
    json_t *limits = json_object();
    bool ok = true;
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++)
        ok = ok && jb_json_set(versions, jb_controller_name(c),
                               got->version[c] ? json_integer(got->version[c]) : json_null());
    ok = ok && jb_json_set(limits, "cpuset_cpus", got->has_cpus ? jb_json_cpus(&got->cpus) : json_null()) &&
         jb_json_set(limits, "cpuset_mems", got->has_mems ? jb_json_cpus(&got->mems) : json_null()) &&
         jb_json_set(limits, "cpu_weight", jb_json_u64(got->cpu_weight)) &&
         jb_json_set(limits, "cpu_max_us_per_100ms", jb_json_u64(got->cpu_max_us)) &&
         jb_json_set(limits, "memory_max_bytes", jb_json_u64(got->memory_max)) &&
         jb_json_set(limits, "swap_max_bytes", jb_json_u64(got->swap_max)) &&
         jb_json_set(limits, "cpuset_partition", jb_json_text(*got->partition ? got->partition : NULL)) &&
         jb_json_set(limits, "memory_high_bytes", jb_json_u64(got->memory_high)) &&
         jb_json_set(limits, "hugepages_bytes",
                     got->version[JB_CTL_HUGETLB] ? make_huge_limits(got) : json_null()) &&
         jb_json_set(limits, "pids_max", jb_json_u64(got->pids_max)) &&
         jb_json_set(limits, "io", make_io_limits(got));
    ok = jb_json_set(section, "cgroup_version", versions) && ok;
    return jb_json_set(section, "limits", limits) && ok;
}

/* null: the box is kept from other devices by its /dev and its lack of capabilities alone. */
static json_t *make_device_limit(const struct jb_cg_readback *got)
{
    if (!got || !got->has_devices)
        return json_null();
    json_t *limit = json_object();
    json_t *allowed = json_array();
    bool ok = jb_json_set(limit, "version", json_integer(got->version[JB_CTL_DEVICES]));
    for (size_t i = 0; i < got->n_devices; i++) {
        char text[JB_CG_DEVICE_TEXT];
        ok =
            json_array_append_new(allowed, json_string(jb_cg_device_text(&got->devices[i], text))) == 0 && ok;
    }
    ok = jb_json_set(limit, "allowed", allowed) && ok;
    if (ok)
        return limit;
    json_decref(limit);
    return NULL;
}

static json_t *make_degraded(const struct jb_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_degraded; i++) {
        const struct jb_degraded *d = &plan->degraded[i];
        json_t *item = json_pack("{s:s, s:o, s:s}", "what", jb_degradable_name(d->what), "why",
                                 jb_json_text(d->why), "allowed_by", d->by_site ? "site" : "spec");
        if (json_array_append_new(list, item) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

int jb_record_isolation(json_t *record, const struct jb_plan *plan, const struct jb_isolation *isolation,
                        const struct jb_cg_readback *cgroups, struct jb_error *err)
{
    json_t *section = json_object();
    bool ok = (!isolation || set_process(section, plan, isolation)) &&
              (!cgroups || set_cgroups(section, cgroups)) &&
              jb_json_set(section, "cpu_pin", json_string(plan->pin_by_affinity ? "affinity" : "cpuset")) &&
              jb_json_set(section, "devices", make_device_limit(cgroups)) &&
              jb_json_set(section, "degraded", make_degraded(plan));
    ok = jb_json_set(record, "isolation", section) && ok;
    return ok ? 0 : out_of_memory(err);
}

static json_t *make_per_cpu(const struct jb_cg_usage *usage)
{
    if (!usage || !usage->cpu_per_cpu_ns)
        return json_null();
    json_t *object = json_object();
    for (size_t i = 0; i < usage->n_per_cpu; i++) {
        char key[16];
        if (usage->cpu_per_cpu_ns[i] == 0)
            continue;
        (void)snprintf(key, sizeof(key), "%zu", i);
        if (!jb_json_set(object, key, jb_json_seconds_ns(usage->cpu_per_cpu_ns[i]))) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *make_pressure(const struct jb_cg_usage *u)
{
    if (!u || (u->psi_cpu_some_us == JB_UNSET && u->psi_memory_some_us == JB_UNSET &&
               u->psi_io_some_us == JB_UNSET))
        return json_null();
    return json_pack("{s:{s:o}, s:{s:o, s:o}, s:{s:o, s:o}}", "cpu", "some_s",
                     jb_json_seconds_us(u->psi_cpu_some_us), "memory", "some_s",
                     jb_json_seconds_us(u->psi_memory_some_us), "full_s",
                     jb_json_seconds_us(u->psi_memory_full_us), "io", "some_s",
                     jb_json_seconds_us(u->psi_io_some_us), "full_s", jb_json_seconds_us(u->psi_io_full_us));
}

/* A network with no interface but lo: nothing went in or out. The host's counters are not the job's. */
static json_t *make_net(const json_t *record, const struct jb_outcome *out)
{
    const json_t *network = jb_record_get(record, "isolation", "network");
    const char *name = json_is_string(network) ? json_string_value(network) : "";
    if (strcmp(name, "none") == 0)
        return json_pack("{s:i, s:i}", "rx_bytes", 0, "tx_bytes", 0);
    if (strcmp(name, "user") != 0)
        return json_null();
    return json_pack("{s:o, s:o}", "rx_bytes", jb_json_u64(out->net_received), "tx_bytes",
                     jb_json_u64(out->net_sent));
}

/* A kernel that does not count for single processes says 0 to all of them. */
static bool processes_are_counted(void)
{
    return access("/proc/self/io", F_OK) == 0;
}

/*
 * v2 counts what went to disks so far; what a job changed in files is often written when it is gone. The kernel's count for
 * processes has that, and lacks those that nobody waited for. Each is a part of the truth: the greater one is nearer to it.
 */
static uint64_t disk_bytes(uint64_t of_group, uint64_t blocks)
{
    if (blocks == JB_UNSET || (blocks == 0 && !processes_are_counted()))
        return of_group;
    return of_group == JB_UNSET || blocks * 512 > of_group ? blocks * 512 : of_group;
}

static json_t *make_used(const json_t *record, const struct jb_outcome *out, const struct jb_cg_usage *u)
{
    const struct jb_msg *ru = out->has_rusage ? &out->rusage : NULL;
    json_t *used = json_object();
    /* without a cgroup that counts, what init reaped is the next best, and all of it */
    uint64_t user = u && u->cpu_user_us != JB_UNSET ? u->cpu_user_us : ru ? ru->user_us : JB_UNSET;
    uint64_t system = u && u->cpu_system_us != JB_UNSET ? u->cpu_system_us : ru ? ru->system_us : JB_UNSET;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"memory_peak_bytes", u ? u->memory_peak : JB_UNSET},
        {"memory_peak_anon_bytes", u ? u->memory_peak_anon : JB_UNSET},
        {"swap_peak_bytes", u ? u->swap_peak : JB_UNSET},
        {"oom_kills", u ? u->oom_kills : JB_UNSET},
        {"pids_peak", u ? u->pids_peak : JB_UNSET},
        {"pids_limit_hits", u ? u->pids_max_hits : JB_UNSET},
        {"read_bytes", disk_bytes(u ? u->read_bytes : JB_UNSET, ru ? ru->read_blocks : JB_UNSET)},
        {"written_bytes", disk_bytes(u ? u->written_bytes : JB_UNSET, ru ? ru->written_blocks : JB_UNSET)},
        {"read_ops", u ? u->read_ops : JB_UNSET},
        {"write_ops", u ? u->write_ops : JB_UNSET},
        {"scratch_end_bytes", out->scratch_used},
        {"scratch_peak_bytes", out->scratch_peak},
        {"minor_faults", ru ? ru->minor_faults : JB_UNSET},
        {"major_faults", ru ? ru->major_faults : JB_UNSET},
        {"voluntary_switches", ru ? ru->voluntary_switches : JB_UNSET},
        {"involuntary_switches", ru ? ru->involuntary_switches : JB_UNSET},
    };
    bool ok = jb_json_set(used, "cpu_user_s", jb_json_seconds_us(user)) &&
              jb_json_set(used, "cpu_system_s", jb_json_seconds_us(system)) &&
              jb_json_set(used, "cpu_per_cpu_s", make_per_cpu(u)) &&
              jb_json_set(used, "throttled_s", jb_json_seconds_us(u ? u->throttled_us : JB_UNSET));
    for (size_t i = 0; ok && i < JB_ARRAY_LEN(numbers); i++)
        ok = jb_json_set(used, numbers[i].key, jb_json_u64(numbers[i].value));
    ok = ok && jb_json_set(used, "pressure", make_pressure(u)) &&
         jb_json_set(used, "energy_j", json_null()) && jb_json_set(used, "net", make_net(record, out));
    if (ok)
        return used;
    json_decref(used);
    return NULL;
}

static json_t *make_end(const struct jb_outcome *out)
{
    json_t *end = json_object();
    bool ok =
        jb_json_set(end, "reason", json_string(jb_end_reason_name(out->reason))) &&
        jb_json_set(end, "exit_code", out->exit_code < 0 ? json_null() : json_integer(out->exit_code)) &&
        jb_json_set(end, "signal", out->signal ? json_integer(out->signal) : json_null()) &&
        jb_json_set(end, "core_dumped", json_false()) &&
        jb_json_set(end, "limit", jb_json_text(out->limit)) &&
        jb_json_set(end, "killed_by", jb_json_text(out->killed_by)) &&
        jb_json_set(end, "error", jb_json_text(out->error));
    if (ok)
        return end;
    json_decref(end);
    return NULL;
}

/*
 * The kernel counts twice: in the groups, and for processes that are waited for. The groups' figure has everything that the
 * other has, and the processes that nobody waits for. If it is smaller, something ran outside of the groups.
 */
static int cross_check(json_t *record, const struct jb_outcome *out, const struct jb_cg_usage *u,
                       struct jb_error *err)
{
    if (!out->has_rusage || !u || u->cpu_total_us == JB_UNSET)
        return 0;
    uint64_t reaped = out->rusage.user_us + out->rusage.system_us;
    uint64_t slack = reaped / 50 > CHECK_SLACK_US ? reaped / 50 : CHECK_SLACK_US;
    if (reaped <= u->cpu_total_us + slack)
        return 0;
    return jb_record_warn(
        record, err,
        "CPU time: the groups have counted %.6f s, and the processes that were waited for %.6f s; "
        "used.cpu_user_s and cpu_system_s are the former, and too low",
        (double)u->cpu_total_us / 1e6, (double)reaped / 1e6);
}

int jb_record_finish(json_t *record, const struct jb_outcome *outcome, const struct jb_cg_usage *usage,
                     struct jb_error *err)
{
    json_t *times = json_object_get(record, "times");
    bool ok = jb_json_set(record, "used", make_used(record, outcome, usage)) &&
              jb_json_set(record, "end", make_end(outcome)) &&
              jb_json_set(record, "output",
                          json_pack("{s:o, s:o, s:b}", "stdout_bytes", jb_json_u64(outcome->stdout_bytes),
                                    "stderr_bytes", jb_json_u64(outcome->stderr_bytes), "truncated",
                                    outcome->output_truncated)) &&
              jb_json_set(times, "setup_s", jb_json_seconds_ns(outcome->setup_ns)) &&
              jb_json_set(times, "started", jb_json_time(outcome->started_us)) &&
              jb_json_set(times, "wall_s", jb_json_seconds_ns(outcome->wall_ns)) &&
              jb_json_set(times, "paused_s", jb_json_seconds_ns(outcome->paused_ns)) &&
              jb_json_set(times, "ended", jb_json_time(outcome->ended_us));
    if (ok && outcome->artifacts)
        ok = jb_json_set(record, "artifacts", json_incref(outcome->artifacts));
    if (ok && outcome->changes)
        ok = jb_json_set(record, "changes", json_incref(outcome->changes));
    if (ok && outcome->kept)
        ok = jb_json_set(record, "kept", json_incref(outcome->kept));
    if (ok && outcome->execs)
        ok = jb_json_set(record, "execs", json_incref(outcome->execs));
    if (ok && outcome->execs_unlisted &&
        jb_record_warn(record, err, "execs: %u more commands were executed in the box than are listed",
                       outcome->execs_unlisted) < 0)
        return -ENOMEM;
    return ok ? cross_check(record, outcome, usage, err) : out_of_memory(err);
}

int jb_record_warn(json_t *record, struct jb_error *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_t *list = json_object_get(record, "warnings");
    if (!json_is_array(list)) { /* a draft of an older version */
        list = json_array();
        if (!jb_json_set(record, "warnings", list))
            return out_of_memory(err);
    }
    return json_array_append_new(list, jb_json_text(text)) < 0 ? out_of_memory(err) : 0;
}

int jb_record_destroyed(json_t *record, uint64_t destroyed_us, uint64_t teardown_ns)
{
    json_t *times = json_object_get(record, "times");
    return jb_json_set(times, "destroyed", jb_json_time(destroyed_us)) &&
                   jb_json_set(times, "teardown_s", jb_json_seconds_ns(teardown_ns))
               ? 0
               : -ENOMEM;
}

const json_t *jb_record_get(const json_t *record, const char *section, const char *key)
{
    const json_t *value = json_object_get(json_object_get(record, section), key);
    return json_is_null(value) ? NULL : value;
}

int jb_record_line(const json_t *record, char **ret, size_t *ret_len, struct jb_error *err)
{
    size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15);
    size_t room = LINE_GUESS;
    jb_autofree char *line = malloc(room);
    size_t len = line ? json_dumpb(record, line, room - 2, flags) : 0;
    if (len > room - 2) { /* so long it would have been */
        free(line);
        room = len + 2;
        line = malloc(room);
        len = line ? json_dumpb(record, line, room - 2, flags) : 0;
    }
    if (!line || len == 0 || len > room - 2)
        return out_of_memory(err);
    line[len] = '\n';
    line[len + 1] = '\0';
    *ret_len = len + 1;
    *ret = jb_take_ptr(line);
    return 0;
}
