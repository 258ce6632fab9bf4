/*
 * plan.h - everything resolved before anything is touched: pure data, printable.
 *
 * Owns: a struct jb_plan owns all it points to through its arena, but for what is marked borrowed.
 * Runs in: the client, unprivileged. Privilege: none. Source: spec, site, host, submitter, image and grant.
 */
#ifndef JB_PLAN_PLAN_H
#define JB_PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/id.h"
#include "base/netaddr.h"
#include "cgroup/cgroup.h"
#include "devices/devices.h"
#include "image/image.h"
#include "machine/place.h"
#include "plan/binds.h"
#include "plan/host.h"
#include "site/site.h"
#include "spec/spec.h"

struct json_t;

/* One step of building the box's file system, carried out in order by the box's first process. */
enum jb_op_kind {
    JB_OP_SCRATCH_TMPFS, /* bytes, inodes: tmpfs that holds the upper layers */
    JB_OP_SCRATCH_DIR,   /* source: a fresh directory on disk that holds them; bytes, inodes: of its quota */
    JB_OP_SCRATCH_LOOP, /* source: a directory on disk; JB_SCRATCH_IMAGE in it is their file system: bytes, inodes */
    JB_OP_ROOT_OVERLAY, /* source (a file when text names its file system), or lowers from the top down: what the box's root lies over */
    JB_OP_ROOT_TMPFS,   /* a small tmpfs as root, to be composed (user namespace over submounts) */
    JB_OP_OVERLAY,      /* source: lower directory, shown at target, writes thrown away */
    JB_OP_BIND,         /* source shown at target; see flags */
    JB_OP_SCRATCH_BIND, /* a fresh directory of the scratch at target: mode */
    JB_OP_TMPFS,        /* fresh tmpfs at target: bytes, mode */
    JB_OP_SYMLINK,      /* target -> source (text) */
    JB_OP_DIR,          /* target made if absent: mode; owned by the job */
    JB_OP_TEXT,         /* a file with `text` over target, whatever the image has there: mode */
    JB_OP_FILE,         /* target gets `text`: mode; owned by the job */
    JB_OP_PROC,
    JB_OP_SYSFS,
    JB_OP_DEV,       /* tmpfs with null zero full random urandom tty, pts, ptmx, shm, fd links */
    JB_OP_DEVICE,    /* a granted device at target: made, or in a user namespace source bound */
    JB_OP_HOOK,      /* a device's program, run beside the finished root before it is entered */
    JB_OP_MASK_FILE, /* /dev/null over target */
    JB_OP_MASK_DIR,  /* an empty read-only directory over target */
    JB_OP_READONLY,  /* target remounted read-only in place */
    JB_OP_PIVOT,     /* the new root becomes "/", the old one is gone */
    JB_OP_MAX,
};
const char *jb_op_name(enum jb_op_kind kind);

enum jb_op_flags {
    JB_OPF_RW = 1 << 0,         /* bind: writable */
    JB_OPF_RECURSIVE = 1 << 1,  /* bind: with what is mounted below */
    JB_OPF_OPTIONAL = 1 << 2,   /* a source or target that is not there is no error */
    JB_OPF_OR_RO_BIND = 1 << 3, /* overlay: where the kernel refuses this lower, show it read-only instead */
    JB_OPF_AS_SUBMITTER = 1 << 4, /* the source path comes from the submitter: opened with his credentials */
    JB_OPF_JOB_OWNED = 1 << 5,    /* scratch-bind: belongs to the job */
    JB_OPF_IN_UPPER =
        1 << 6, /* scratch-bind: onto a directory of the root's upper, which hides the image's */
    JB_OPF_IN_ROOT =
        1 << 7, /* bind: symlinks of the image on the way to target are followed, within the root */
    JB_OPF_ROOTS_OWN =
        1 << 9, /* root-overlay of a file: only while it is root's and nobody else can write it */
    JB_OPF_NO_EXEC = 1 << 8, /* bind: nothing there can be executed */
    JB_OPF_FUSE = 1 << 10,   /* root-overlay: of fuse-overlayfs, not of the kernel */
};

struct jb_op {
    enum jb_op_kind kind;
    unsigned flags;
    const char *source;
    const char *target; /* absolute, in the box */
    const char *text;
    const char *const *lowers; /* root-overlay: instead of source; absolute directories, the top one first */
    size_t n_lowers;
    const char
        *over; /* what another box left for this place: between it and what it lies over; may not be there */
    uint64_t bytes, inodes;
    mode_t mode;
    const struct jb_device_node *device; /* of the plan's devices */
    const struct jb_device_hook *hook;
};

enum jb_stream_kind {
    JB_STREAM_INHERIT, /* jobbox's own descriptor (pumped, never handed in) */
    JB_STREAM_FILE,
    JB_STREAM_NULL,
    JB_STREAM_MERGE, /* stderr goes where stdout goes */
};

struct jb_plan_stream {
    enum jb_stream_kind kind;
    const char *path; /* absolute host path, opened with the submitter's credentials */
};

struct jb_plan_artifact {
    const char *path; /* absolute glob in the box */
    const char *to;   /* absolute host path; ends in '/' when a folder */
    enum jb_artifact_when when;
    uint64_t max_bytes, max_files; /* of this one; JB_UNSET: only what holds for all */
};

struct jb_degraded {
    enum jb_degradable what;
    const char *why;
    bool by_site; /* else by the spec */
};

struct jb_plan {
    struct jb_arena arena;

    struct jb_id id;
    const char *name;
    const char *spec_file;
    char spec_sha256[65];
    const char *job;          /* its number in the queue; NULL: it is in none */
    unsigned attempt;         /* from 1 */
    uint64_t array_index;     /* JB_UNSET: not of an array */
    const char *account;      /* NULL: none */
    struct json_t *requested; /* owned: what the spec says */
    struct json_t *labels;    /* owned */

    /* who asked, and who the job is */
    uid_t submitter_uid;
    gid_t submitter_gid;
    const gid_t *submitter_groups;
    size_t n_submitter_groups;
    const char *submitter_user;
    const char *submitter_cwd;
    uid_t uid; /* in the box, before any map */
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
    struct { /* of a user namespace that has more than one; count 0: it has one, the submitter's */
        struct jb_id_range uids, gids; /* what 1 and those above it are on the host */
        const char *uid_program, *gid_program;
    } ids;
    bool userns;         /* a user namespace: uid and gid map to the submitter's */
    uint64_t caps;       /* capabilities the job keeps, by bit; 0: none */
    const char *seccomp; /* profile name */

    const char *host_name;
    const char *boot_id;

    enum jb_image_kind image_kind;
    const char *image_ref;
    const char *image_path;
    bool composed; /* the root is put together from one overlay for each folder */
    struct {
        const char *program; /* fuse-overlayfs, which serves the root; NULL: the kernel's overlay does */
        bool squash;         /* all files are the job's own in its eyes */
    } fuse;
    const char *root_why;     /* why that is, or what of the image cannot be changed; NULL: nothing to say */
    const char *image_digest; /* NULL: none */

    struct jb_grant grant;
    struct jb_devices *devices; /* owned; NULL: none */
    struct jb_cg_plan cgroup;
    const struct jb_cg_layout *cgroups; /* borrowed from the host facts */
    bool no_cgroups;                    /* none is used at all */
    bool pin_by_affinity;               /* cpuset is degraded: sched_setaffinity only */
    bool reserved_memory;               /* memory is promised in the ledger */

    enum jb_network network;
    const char *hostname;
    struct { /* JB_NETWORK_USER */
        enum jb_net_program { JB_NET_SLIRP, JB_NET_PASTA } program;
        const char *helper; /* the program that carries packets out: its path */
        bool four, six;     /* addresses that it has */
        const struct jb_network_range *allow;
        size_t n_allow;
        bool
            host_loopback; /* what listens on the host's 127.0.0.1 can be reached, at the gateway's address */
        bool dns;
    } net;
    bool reproducible; /* no randomised addresses, and lxcfs where it is there */
    bool lxcfs;
    unsigned namespaces; /* CLONE_NEW* bits */

    struct jb_bind_policy binds; /* for what the binds really lead to */
    struct jb_op *ops;
    size_t n_ops;
    const char *workdir;
    bool stands;         /* without a command: for those that are executed in it later */
    struct jb_strv argv; /* owned; empty when it stands */
    struct jb_strv env;  /* owned */
    const char *script;  /* NULL: none */

    struct jb_plan_stream stdin_, stdout_, stderr_;
    enum jb_keep keep;   /* whether the box's files stay when it has ended */
    const char *over;    /* absolute: the files of a box that ended, shown below this one's own; NULL: none */
    const char *over_id; /* that box */
    bool changes;        /* what the job changed is to be found */
    const char *changes_path; /* host path to write it to, as the streams'; NULL: only counted, and told */
    bool tty;

    uint64_t wall_ns, cpu_ns, grace_ns, idle_ns; /* JB_UNSET: none */
    int end_signal;                              /* asks the job to end, before its grace */
    struct {
        int signal;       /* 0: no warning */
        bool main_only;   /* else to every process */
        unsigned percent; /* of the limit; 0: left_ns before it */
        uint64_t left_ns;
    } warn; /* ahead of wall and CPU time */
    uint64_t output_bytes;
    uint64_t pids_max, memory_max, swap_max, scratch_bytes, scratch_inodes;
    enum jb_scratch_cap scratch_cap; /* of scratch on disk */

    struct jb_plan_artifact *artifacts;
    size_t n_artifacts;
    uint64_t artifact_bytes_max, artifact_files_max; /* of all of them */

    struct jb_degraded degraded[JB_DEGRADE_MAX];
    size_t n_degraded;
};

/* What the queue knows of an attempt. */
struct jb_plan_queue {
    uint64_t job;         /* its number */
    unsigned attempt;     /* from 1 */
    uint64_t array_index; /* JB_UNSET: not of an array */
};

struct jb_plan_input {
    const struct jb_spec *spec;
    const struct jb_site *site;
    const struct jb_host *host;
    const struct jb_submitter *submitter;
    const struct jb_image *image;
    const struct jb_grant *grant;
    struct jb_devices *devices; /* NULL: none; the plan's own from success on */
    const struct jb_id *id;
    const char *runtime_dir; /* absolute; hidden in the box */
    const char *state_dir;
    const struct jb_plan_queue *queue; /* NULL: the job comes from no queue */
    bool tty;                          /* the job gets a terminal of its own */
    bool json;                         /* stdout is wanted for the record: the job's goes to stderr */
    bool changes;             /* what the job changes is to be found, also when the spec does not say so */
    const char *changes_path; /* where to, over what the spec says; NULL: as it says */
    const char *over;         /* see struct jb_plan; NULL: none */
    const char *over_id;
    bool stands; /* the box has no command of its own; what the spec says of one is not looked at */
};

/* The wish for cores that a spec and a site make together. Fails when the site's maximum is passed (-EPERM).
 */
int jb_plan_request(const struct jb_spec *spec, const struct jb_site *site, struct jb_request *ret,
                    struct jb_error *err);

/*
 * Computes the plan. Errors name the key with file:line:column where a key is at fault. -EPERM: policy or
 * missing privilege; -ENOTSUP: this host or this version cannot; -EINVAL: the spec contradicts itself.
 */
int jb_plan_make(const struct jb_plan_input *input, struct jb_plan **ret, struct jb_error *err);
void jb_plan_free(struct jb_plan *plan);
static inline void jb_cleanup_plan(struct jb_plan **plan)
{
    jb_plan_free(*plan);
}
#define jb_autoplan __attribute__((cleanup(jb_cleanup_plan)))

/* The whole plan as JSON (caller decrefs), and as text for people (caller frees). */
struct json_t *jb_plan_to_json(const struct jb_plan *plan);
int jb_plan_to_text(const struct jb_plan *plan, char **ret, struct jb_error *err);

#define JB_SCRATCH_IMAGE "image"

/* The network that JB_NETWORK_USER is on, as its helper has it. */
#define JB_NET_DEVICE  "tap0"
#define JB_NET_ADDRESS "10.0.2.100"
#define JB_NET_MASK    "255.255.255.0"
#define JB_NET_GATEWAY "10.0.2.2"
#define JB_NET_DNS     "10.0.2.3"
/* pasta hands on whatever it is sent: what is not a service of its own must lead nowhere, so that is link-local. */
#define JB_NET_PASTA_DNS "169.254.2.3"
#define JB_NET_ADDRESS6  "fd6a:6f62:626f:78::100"
#define JB_NET_GATEWAY6  "fd6a:6f62:626f:78::2"
#define JB_NET_MTU       1500

/* Scratch takes room on a disk, in a folder of its own that is to be removed. */
bool jb_plan_scratch_on_disk(const struct jb_plan *plan);
/* What the kernel says of free space on the scratch is about this box alone. */
bool jb_plan_scratch_is_own(const struct jb_plan *plan);

/* How much of a limit (ns) is used up when the job is to be warned; JB_UNSET: there is no limit, or no warning. */
uint64_t jb_plan_warn_point(const struct jb_plan *plan, uint64_t limit_ns);

/* Capability names by bit ("chown"), NULL beyond the known ones. */
const char *jb_cap_name(unsigned bit);

#endif
