/*
 * box.h - the isolation itself: namespaces, overlay root and init of one job.
 *
 * Owns: a struct jb_box holds the first process, its control socket and descriptors into the box.
 * Runs in: the supervisor; the building itself in the box's first process (build.c). Privilege: root, or none
 * with a user namespace; the plan says which.
 */
#ifndef JB_BOX_BOX_H
#define JB_BOX_BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "box/proto.h"
#include "cgroup/cgroup.h"
#include "plan/plan.h"

struct jb_mountapi;

struct jb_box_io {
    int in, out, err; /* become 0, 1, 2 of the job; borrowed. Ignored with plan->tty */
};

/* A directory of the scratch that the box writes to; jb_box_close frees it. */
struct jb_box_layer {
    char upper[32]; /* its name there */
    char *target;   /* where it is shown, in the box */
    int *lowers;    /* what it lies over, the top one first; none for a fresh directory */
    size_t n_lowers;
    bool fuse;     /* fuse-overlayfs writes there, which has marks of its own (base/overlaymarks.h) ... */
    bool squashed; /* ... and whose owners are not those of what it lies over */
};

struct jb_box {
    pid_t pid;               /* jobbox-init, in the caller's PID namespace */
    int pidfd;               /* of it */
    bool outside;            /* born outside of the v2 group: it is to be joined like the others */
    int control;             /* JB_MSG socket */
    int scratch_fd;          /* the upper layers' file system, for measuring; -1: none */
    int master_fd;           /* the job's terminal; -1: none */
    int netns_fd, userns_fd; /* where a helper is to go; -1: none */
    int *fuse_fds;           /* JB_FUSE_*: what fuse-overlayfs is to serve the root with; NULL: none */
    size_t n_fuse_fds;
    bool fuse;                   /* it serves the root ... */
    bool squashed;               /* ... and shows all of it as the job's own */
    struct jb_box_layer *layers; /* with plan->changes or plan->keep: in the order in which they were made */
    size_t n_layers;
};
#define JB_BOX_INIT                    \
    ((struct jb_box){.pid = -1,        \
                     .pidfd = -1,      \
                     .control = -1,    \
                     .scratch_fd = -1, \
                     .master_fd = -1,  \
                     .netns_fd = -1,   \
                     .userns_fd = -1})

/* What a box is built from; all borrowed. */
struct jb_box_parts {
    const struct jb_plan *plan;
    const char
        *dir; /* absolute path of a directory of this box alone, a mount point that only the box sees */
    const struct jb_cgroup
        *cgroup; /* begun: its v2 leaf is entered at once, the rest with jb_box_join; NULL: none */
    int lock_fd; /* closed in the box at once: the lock must go with the supervisor, not with its children; -1: none */
    bool waits; /* jobbox-init stays after ENDED, until QUIT, so that the box can be looked into */
    struct jb_box_io io;
};

/* Starts building the box: returns when its first process runs. On failure nothing runs. */
int jb_box_launch(const struct jb_box_parts *parts, struct jb_box *ret, struct jb_error *err);

/*
 * What the first process waits for when its file system stands: the groups, complete now, to join (NULL: none), and
 * jobbox-init. To be called once after launch. A box that died meanwhile is no error here; jb_box_await says why.
 */
int jb_box_join(const struct jb_box *box, const struct jb_cgroup *cgroup, struct jb_error *err);

/* Waits for the descriptors of a box's namespaces, where the plan has a network with a helper: before jb_box_join. */
int jb_box_await_namespaces(struct jb_box *box, struct jb_error *err);

/* The same for what fuse-overlayfs is to serve the root with, where the plan says that it does; after the above. */
int jb_box_await_fuse(struct jb_box *box, struct jb_error *err);

/* Closes that. */
void jb_box_close_fuse(struct jb_box *box);

/*
 * Waits until jobbox-init stands and waits for GO: nothing of the job has run. On failure the first process is dead
 * and reaped, the box closed, and the error says which step failed and why.
 */
int jb_box_await(struct jb_box *box, struct jb_error *err);

/* Sends a message (head only). -EPIPE when the box is gone. */
int jb_box_tell(const struct jb_box *box, const struct jb_msg *msg);

/* Receives one message; a descriptor that came along is put where it belongs in `box`, and so is the
 * process id of a member. 0: end of file. */
int jb_box_listen(struct jb_box *box, struct jb_msg *ret);

/* Kills jobbox-init, and with it every process of the PID namespace; waits for it. */
void jb_box_kill(struct jb_box *box);

/*
 * Waits for jobbox-init to leave (after ENDED, or QUIT where it waits, or kill) and closes everything. -ETIMEDOUT: a
 * process of the box hangs in the kernel, so that init cannot end; it is left to whoever takes over orphans.
 */
int jb_box_close_within(struct jb_box *box, uint64_t timeout_ns);

/* The same, with patience for a host that is very busy. */
int jb_box_close(struct jb_box *box);

/* What isolation is in force, read from the kernel while jobbox-init stands at READY. */
struct jb_isolation {
    bool userns, mount, pid, ipc, uts, net, cgroup; /* a namespace of its own */
    char root_fstype[16];                           /* "overlay", "tmpfs"; "" unknown */
    bool no_new_privs;
    int seccomp_mode;    /* 0 none, 2 filter; -1 unknown */
    int seccomp_filters; /* -1 unknown */
    uint64_t cap_eff, cap_prm, cap_bnd, cap_amb, cap_inh;
    uint32_t uid, gid;         /* real ids, as this namespace sees them */
    char uid_map[96];          /* of a user namespace of its own: "0 1000 1, 1 100000 65536"; "" */
    bool same_addresses;       /* they are not randomised */
    struct jb_cpus cpus, mems; /* allowed lists */
    uint64_t scratch_bytes,
        scratch_inodes; /* all that the scratch can hold; JB_UNSET: not known, or not its own */
};

/* The supervisor's own namespaces, to tell the box's from; they can be read while the box is built. */
#define JB_NAMESPACES 7
struct jb_own_namespaces {
    uint64_t ids[JB_NAMESPACES];
};
int jb_own_namespaces(struct jb_own_namespaces *ret, struct jb_error *err);

int jb_box_isolation(const struct jb_box *box, const struct jb_own_namespaces *ours, struct jb_isolation *ret,
                     struct jb_error *err);

/* Compares with the plan; -EIO naming the first thing that is weaker than planned. */
int jb_isolation_verify(const struct jb_plan *plan, const struct jb_isolation *got, struct jb_error *err);

#endif
