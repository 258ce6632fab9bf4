/*
 * cgroup.h - the cgroups of one box: create, join, read, kill, remove; v1, v2 and hybrid behind one set of
 * verbs.
 *
 * Owns: a struct jb_cgroup holds directory descriptors and the names of the groups it made.
 * Runs in: the supervisor; join in the box's first process. Privilege: write access to the starter's own
 * cgroups.
 *
 * What is wished is a list of (key, value). Which file of which controller version a key becomes is decided
 * here, by tables, from the layout alone, so that a plan can be printed without touching anything.
 */
#ifndef JB_CGROUP_CGROUP_H
#define JB_CGROUP_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cpus.h"
#include "base/error.h"
#include "base/kfile.h"
#include "base/str.h"
#include "cgroup/layout.h"

enum jb_cg_key {
    JB_CG_CPUSET_CPUS, /* list text */
    JB_CG_CPUSET_MEMS, /* list text */
    JB_CG_CPU_WEIGHT,  /* 1-10000, v2 meaning; v1: shares = weight * 1024 / 100 */
    JB_CG_CPU_MAX,     /* µs of CPU time per 100 ms, JB_UNSET: none */
    JB_CG_MEMORY_MAX,  /* bytes */
    JB_CG_SWAP_MAX,    /* bytes of swap beside memory; v1: memsw = memory + swap */
    JB_CG_PIDS_MAX,
    JB_CG_MEMORY_HIGH, /* bytes from which the kernel slows the job down and takes back what it can; v2 only */
    JB_CG_HUGE_MAX,    /* bytes in huge pages of one size: `page` is set */
    JB_CG_PARTITION,   /* the cpuset is an isolated partition; v2 only. After JB_CG_CPUSET_CPUS */
    JB_CG_IO_RBPS,     /* per device: `device` is set */
    JB_CG_IO_WBPS,
    JB_CG_IO_RIOPS,
    JB_CG_IO_WIOPS,
    JB_CG_KEY_MAX,
};

struct jb_cg_setting {
    enum jb_cg_key key;
    uint64_t value;        /* numbers */
    struct jb_cpus set;    /* cpuset keys */
    uint32_t major, minor; /* I/O keys: whole-disk device */
    uint64_t page;         /* JB_CG_HUGE_MAX: bytes of one page, one of jb_cg_huge_sizes */
};

/* The sizes of huge pages that there are, on any architecture, in bytes; the last is 0. */
extern const uint64_t jb_cg_huge_sizes[];
/* "2MB", as file names have it. Returns buf. */
const char *jb_cg_huge_name(uint64_t page, char *buf, size_t len);

/* What may be done with a device. */
struct jb_cg_device {
    char type; /* 'b' or 'c' */
    uint32_t major;
    int64_t minor;  /* -1: all of that major number */
    char access[4]; /* of "rwm", in this order */
};
#define JB_CG_DEVICES_MAX 256 /* rules of one box */

/* What a box asks of cgroups; part of the plan. */
struct jb_cg_plan {
    char *name;           /* one path component, "jobbox-<id>" */
    char *parent;         /* NULL: the starter's own cgroup in each hierarchy; else this path in every one */
    bool use[JB_CTL_MAX]; /* controllers to make a group in (UNIFIED: the v2 leaf) */
    struct jb_cg_setting *settings; /* in the order to be written */
    size_t n_settings;
    bool limit_devices;  /* no devices but these: with use[JB_CTL_DEVICES] by v1, with device_program by v2 */
    bool device_program; /* a program on the box's v2 group: jb_cgroup_devices_attach */
    struct jb_cg_device *devices; /* each type and number once */
    size_t n_devices;
};
void jb_cg_plan_free(struct jb_cg_plan *plan);

/* One file to be written, resolved against a layout; for the plan's printer, and what create works from. */
struct jb_cg_write {
    enum jb_controller controller;
    char file[64];
    char value[256];  /* longer cpu lists: `long_value` */
    char *long_value; /* NULL unless needed */
    bool optional;    /* a kernel that lacks the file does without */
};
/* Resolves settings into files and values. -ENOTSUP with the reason when the layout has no file for one. */
int jb_cg_resolve(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cg_write **ret,
                  size_t *ret_n, struct jb_error *err);
void jb_cg_writes_free(struct jb_cg_write *writes, size_t n);

/* Full path of the box's group in a controller's hierarchy, allocated; NULL when not used. */
char *jb_cg_path(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, enum jb_controller c);

/* The created groups of one box. Zero is not valid; made by jb_cgroup_create or jb_cgroup_open. */
struct jb_cgroup;

/* True for a name that is one harmless path component: 1-64 of [A-Za-z0-9._-], no leading dot or dash. */
bool jb_cg_name_valid(const char *name);

/*
 * Makes the groups and writes the values. All or nothing: on failure every group it made is gone again and
 * the error names the file, the value and what to do. -EEXIST when a group of that name is there already: it
 * is left alone. A v1 cpuset for which the plan names no CPUs or memory nodes gets those of its parent. Which
 * code makes v1 groups is layout->backend.
 */
int jb_cgroup_create(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                     struct jb_error *err);

/*
 * The same in two steps, so that the box can be built while its limits are written. begin makes the v2 group, which is
 * enough for clone3; complete makes the v1 groups and writes the values. When complete fails, kill what is in the
 * groups and call jb_cgroup_destroy: what was made is known to it.
 */
int jb_cgroup_begin(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                    struct jb_error *err);
int jb_cgroup_complete(struct jb_cgroup *cg, const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                       struct jb_error *err);

/* Opens groups that an earlier process made (recovery); missing ones are skipped. -ENOENT when none is left.
 */
int jb_cgroup_open(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                   struct jb_error *err);

/*
 * The same by full paths, as jb_cg_path gave them when the box was made: an earlier process may have sat in
 * another cgroup than this one. NULL: not used. versions[c] is 1 or 2 where paths[c] is set.
 */
int jb_cgroup_open_paths(const char *const paths[JB_CTL_MAX], const int versions[JB_CTL_MAX],
                         struct jb_cgroup **ret, struct jb_error *err);

void jb_cgroup_free(struct jb_cgroup *cg); /* closes descriptors only; NULL is fine */

/*
 * Descriptor of the v2 group that processes go into, for clone3(CLONE_INTO_CGROUP); -1 when there is none. Owned by cg.
 * Where v2 has limits it is the group below the one that has them: see internal.h.
 */
int jb_cgroup_v2_fd(const struct jb_cgroup *cg);

/* I/O limits of one device as the kernel has them; JB_UNSET: none. */
struct jb_cg_io_limits {
    uint32_t major, minor;
    uint64_t rbps, wbps, riops, wiops;
};
#define JB_CG_IO_DEVICES_MAX 1024 /* of one box */

/* The limit of huge pages of one size as the kernel has it. */
struct jb_cg_huge_limit {
    uint64_t page, max; /* bytes */
};
#define JB_CG_HUGE_SIZES_MAX 16

/*
 * The files to write "0" to in order to join, for a process that does not hold `cg`; borrowed. `which` names the
 * controller of each. Returns how many.
 */
size_t jb_cgroup_join_fds(const struct jb_cgroup *cg, bool also_v2, int fds[JB_CTL_MAX],
                          enum jb_controller which[JB_CTL_MAX]);

/* What the kernel says the settings are now, by reading the files back. JB_UNSET: no limit, or not known. */
struct jb_cg_readback {
    int version[JB_CTL_MAX]; /* 0: not in force for this box */
    bool has_cpus, has_mems;
    struct jb_cpus cpus, mems; /* effective */
    uint64_t cpu_weight;
    uint64_t cpu_max_us; /* per 100 ms */
    uint64_t memory_max, swap_max, pids_max;
    uint64_t memory_high; /* JB_UNSET too when the plan has none: it is not looked at then */
    struct jb_cg_huge_limit huge[JB_CG_HUGE_SIZES_MAX];
    size_t n_huge;
    char
        partition[192]; /* cpuset.cpus.partition, with the reason where it is invalid; empty: not asked for */
    struct jb_cg_io_limits io[JB_CG_IO_DEVICES_MAX];
    size_t n_io;
    bool
        has_devices; /* `devices` are all that the box may use; version[JB_CTL_DEVICES]: 1 cgroup, 2 program */
    struct jb_cg_device devices[JB_CG_DEVICES_MAX];
    size_t n_devices;
};
int jb_cgroup_readback(const struct jb_cgroup *cg, struct jb_cg_readback *ret, struct jb_error *err);

/* Compares read-back with the plan; -EIO naming the first value the kernel did not take. */
int jb_cgroup_verify(const struct jb_cg_plan *plan, const struct jb_cg_readback *got, struct jb_error *err);

/*
 * v2: puts the program that lets nothing but the plan's devices through on the box's group, asks the kernel which
 * programs are there, and notes in `back` that ours is among them. To be called when the box's own nodes are made.
 * Nothing to do without plan->device_program.
 */
int jb_cgroup_devices_attach(const struct jb_cgroup *cg, const struct jb_cg_plan *plan,
                             struct jb_cg_readback *back, struct jb_error *err);

/* Whether this kernel takes such a program from this process: 0, or -errno. Loads a small one and drops it. */
int jb_cg_devices_probe(void);

/* "c 10:229 rw". Returns buf. */
#define JB_CG_DEVICE_TEXT 48
const char *jb_cg_device_text(const struct jb_cg_device *device, char buf[JB_CG_DEVICE_TEXT]);

/*
 * -EIO when no process is in the box's v2 group, though one should be by now: limits that hold for nobody are none.
 * (v1 groups are joined by a write, which fails aloud.)
 */
int jb_cgroup_inhabited(const struct jb_cgroup *cg, struct jb_error *err);

/* Usage so far. Every figure JB_UNSET when the kernel does not give it. */
struct jb_cg_usage {
    uint64_t cpu_user_us, cpu_system_us, cpu_total_us;
    uint64_t *cpu_per_cpu_ns; /* by PU, n_per_cpu entries; NULL when unknown; owned */
    size_t n_per_cpu;
    uint64_t throttled_us, nr_throttled;
    uint64_t memory_peak, memory_peak_anon, swap_peak;
    uint64_t oom_kills;
    uint64_t pids_peak, pids_max_hits;
    uint64_t read_bytes, written_bytes, read_ops, write_ops;
    uint64_t psi_cpu_some_us, psi_memory_some_us, psi_memory_full_us, psi_io_some_us, psi_io_full_us;
};
int jb_cgroup_usage(const struct jb_cgroup *cg, struct jb_cg_usage *ret, struct jb_error *err);
/* The CPU time figures alone; all others JB_UNSET. */
int jb_cgroup_usage_cpu(const struct jb_cgroup *cg, struct jb_cg_usage *ret, struct jb_error *err);
void jb_cg_usage_free(struct jb_cg_usage *usage);
/*
 * Takes off what was used before: `usage` becomes that of the time since `before` was read, of the same groups. A figure
 * that `before` lacks stays as it is. A peak
 * that did not rise since is unknown, for the peak of the time since was lower, and nobody knows how much.
 */
void jb_cg_usage_subtract(struct jb_cg_usage *usage, const struct jb_cg_usage *before);
/* Reads until two readings of CPU time agree (at most `tries`), as needed right after a kill. */
int jb_cgroup_usage_stable(const struct jb_cgroup *cg, unsigned tries, struct jb_cg_usage *ret,
                           struct jb_error *err);

/* CPU time used so far, cheap (one read). JB_UNSET when unknown. */
uint64_t jb_cgroup_cpu_us(const struct jb_cgroup *cg);

/* OOM kills so far, cheap. JB_UNSET when unknown. */
uint64_t jb_cgroup_oom_kills(const struct jb_cgroup *cg);

/*
 * A descriptor that becomes ready (v1: eventfd readable; v2: POLLPRI on memory.events) when the kernel may
 * have killed for memory. -ENOTSUP when there is no memory group. Caller closes. *ret_events: epoll events to
 * wait for.
 */
int jb_cgroup_oom_fd(const struct jb_cgroup *cg, uint32_t *ret_events, struct jb_error *err);

/*
 * Kills every process in the box's groups and their children: cgroup.kill where it exists, else a loop of
 * SIGKILL over cgroup.procs; returns when all groups are empty, or -ETIMEDOUT after `timeout_ns` naming a
 * survivor. Without cgroup.kill the box's pids limit is set to 0 first, so that nothing new is born
 * meanwhile.
 */
int jb_cgroup_kill(const struct jb_cgroup *cg, uint64_t timeout_ns, struct jb_error *err);

/*
 * Writes settings into the groups of a live box, in an order that the kernel takes; those that the box has no group for
 * are an error. What was written before a failure stays: write the old values again.
 */
int jb_cgroup_change(const struct jb_cgroup *cg, const struct jb_cg_layout *layout,
                     const struct jb_cg_plan *plan, struct jb_error *err);

/* Bytes that the box's processes and their page cache take now; JB_UNSET when unknown. */
uint64_t jb_cgroup_memory_now(const struct jb_cgroup *cg);

/* Processes and threads of the box now; JB_UNSET when unknown. */
uint64_t jb_cgroup_pids_now(const struct jb_cgroup *cg);

/*
 * Stops every process in the box's groups where it stands, or lets them go on; no process can notice or prevent it.
 * Returns when the kernel says that all are frozen; -ETIMEDOUT when one is not after `timeout_ns` (it hangs in the
 * kernel; it will be frozen as soon as it does not). -ENOTSUP: this host has no v2 tree that the box is in.
 */
int jb_cgroup_freeze(const struct jb_cgroup *cg, bool frozen, uint64_t timeout_ns, struct jb_error *err);

/* Number of processes left in the groups, children included; the largest of the hierarchies. */
int jb_cgroup_population(const struct jb_cgroup *cg, struct jb_error *err);

/*
 * Removes the groups and any the job made below them, in every hierarchy even if one fails. A group that is
 * still busy is tried again until `timeout_ns` is over, then -EBUSY says what remains. Absent is success. cg
 * stays valid (for jb_cgroup_free, or another try).
 */
int jb_cgroup_destroy(struct jb_cgroup *cg, uint64_t timeout_ns, struct jb_error *err);

/*
 * Of a box whose supervisor died: the leaf beside it that the supervisor had stepped down to, when it is the caller's own and
 * nobody is in it. Whoever gave it the group (a step of Slurm, a container) can remove that then.
 */
void jb_cgroup_remove_leaf(const struct jb_cgroup *cg);

#endif
