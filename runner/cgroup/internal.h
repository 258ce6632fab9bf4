/*
 * internal.h - what the files of cgroup/ and their tests share: the groups held, and how groups are made.
 *
 * Owns: the descriptors and strings of a struct jb_cgroup. Runs in: the supervisor. Privilege: that of the
 * files.
 */
#ifndef JB_CGROUP_INTERNAL_H
#define JB_CGROUP_INTERNAL_H

#include "cgroup/cgroup.h"

/*
 * One directory that the box owns: a v1 hierarchy may carry several controllers, v2 carries all of its own. Where v2
 * limits, it has two levels: `dir` has the limits and counts, the processes are in the one below. A group with
 * processes can pass no controller on, so that is the only way to give a job groups of its own, and what the job sees
 * as the root of its cgroup namespace has no limits that could be written.
 */
#define JB_CG_INNER "job"
#define JB_CG_LEAF \
    "supervisor" /* where a supervisor steps down to from a delegated v2 group: beside its box */

struct jb_cg_group {
    struct jb_kdir parent; /* O_PATH */
    struct jb_kdir dir;    /* O_RDONLY, so that it can be listed; -1 until made or opened */
    char *mount;           /* mount point of the hierarchy; NULL when opened by path */
    char *below; /* the parent's path: below mount, "/" for the mount itself; whole when mount is NULL */
    int version;
    struct jb_kdir inner; /* v2 with limits: where the processes are; -1: in `dir` itself */
    int join_fd;          /* v1 `tasks`, v2 `cgroup.procs`, for writing; -1 when it may not be written */
    unsigned controllers; /* 1 << enum jb_controller */
    bool made;            /* by us: ours to sweep when creation fails */
};

/*
 * How groups are made, filled and removed. `make` sets group->made as soon as the directory may exist because
 * of it, whatever it returns; -EEXIST means that it was there before. All return 0 or -errno.
 */
struct jb_cg_ops {
    int (*make)(struct jb_cg_group *group, const char *name, struct jb_error *err);
    int (*set)(const struct jb_cg_group *group, const char *name, enum jb_controller c, const char *file,
               const char *value);
    int (*remove)(const struct jb_cg_group *group, const struct jb_kdir *parent, const char *name);
};
extern const struct jb_cg_ops jb_cg_ops_direct;
extern const struct jb_cg_ops jb_cg_ops_libcgroup;

struct jb_cgroup {
    char *name;
    struct jb_cg_group groups[JB_CTL_MAX];
    size_t n_groups;
    struct jb_cg_group *of[JB_CTL_MAX]; /* into groups; NULL: the box has none for it */
    const struct jb_cg_ops *ops_v1, *ops_v2;
    unsigned asked; /* 1 << enum jb_cg_key: what the plan sets, for what is read back only then */
    const struct jb_kfault *fault; /* NULL outside tests; not owned */
    const char *block;             /* NULL outside tests: /sys/dev/block; not owned */
};

/* jb_cgroup_create with the groups made by `ops` (NULL: as the layout says) and faults injected (NULL: none).
 */
int jb_cgroup_create_with(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                          const struct jb_cg_ops *ops, const struct jb_kfault *fault, struct jb_cgroup **ret,
                          struct jb_error *err);

/* The layout that these two texts describe; `writable` and what needs a look at the mounts is not filled. */
int jb_cg_layout_parse(const char *cgroup_text, const char *mountinfo_text, struct jb_cg_layout *ret,
                       struct jb_error *err);

const struct jb_cg_ops *jb_cg_group_ops(const struct jb_cgroup *cg, const struct jb_cg_group *group);

/* The v2 group of the box, NULL when there is none. */
const struct jb_cg_group *jb_cg_v2(const struct jb_cgroup *cg);

/* "/sys/fs/cgroup/memory/own/jobbox-x", for messages. Returns buf. */
const char *jb_cg_group_text(const struct jb_cgroup *cg, const struct jb_cg_group *group, char *buf,
                             size_t len);

/* Asks the fault of `dir` as jb_kread_* do, for the calls that are neither read nor write. */
int jb_cg_hit(const struct jb_kdir *dir, const char *verb, const char *path);

/*
 * The program itself: 1 when the access asked for is allowed by a rule, else 0. Caller frees *ret. The layout of what it
 * reads is struct bpf_cgroup_dev_ctx of the kernel.
 */
struct bpf_insn;
int jb_cg_device_program(const struct jb_cg_device *devices, size_t n, struct bpf_insn **ret, size_t *ret_n);

/* One line of devices.list: 1 a rule, 0 the whole ("a *:* rwm"), -EINVAL. Cuts `line` in place. */
int jb_cg_device_parse(char *line, struct jb_cg_device *ret);

/* True when `word` is one of the words of `text`, which are separated by any of `separators`. */
bool jb_cg_has_word(const char *text, const char *word, const char *separators);

/*
 * Bytes read and written, operations to read and to write, of the text of io.stat, which is cut in place. `block` is
 * /sys/dev/block, where it says which devices lie on which; its fd is -1 where there is none: then each is by itself.
 */
#define JB_CG_IO_FIGURES 4
int jb_cg_io_count(const struct jb_kdir *block, char *text, uint64_t ret[JB_CG_IO_FIGURES]);

/* v2 weight to v1 shares; its inverse gives the same weight back for 1-10000. */
uint64_t jb_cg_shares_of_weight(uint64_t weight);
uint64_t jb_cg_weight_of_shares(uint64_t shares);

/*
 * Calls visit(ctx, parent, name) for `name` in `parent` and every directory below it, children before their
 * parent, with a number of descriptors that does not grow with the depth. Directories that cannot be entered
 * get their permissions back first. A directory that vanishes meanwhile is skipped; the walk stops at the
 * first negative return of visit.
 */
int jb_cg_walk(const struct jb_kdir *parent, const char *name,
               int (*visit)(void *ctx, const struct jb_kdir *parent, const char *name), void *ctx);

/*
 * SIGKILL to what is in `name` and below it, as far as one batch for each group goes; how many were seen, or -errno.
 * *ret_pidfd becomes that of one of them, where there can be one. Caller closes.
 */
int jb_cg_strike(const struct jb_kdir *parent, const char *name, int *ret_pidfd);

/* Writes resolved values into the groups, in this order; the error names the file and what to do. */
int jb_cg_write_values(const struct jb_cgroup *cg, const struct jb_cg_write *writes, size_t n,
                       struct jb_error *err);

#endif
