/*
 * host.h - the facts about this host and this submitter that a plan is computed from.
 *
 * Owns: what the two structs point to. Runs in: the client. Privilege: none; reading only.
 */
#ifndef JB_PLAN_HOST_H
#define JB_PLAN_HOST_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/program.h"
#include "base/str.h"
#include "cgroup/layout.h"
#include "machine/disks.h"
#include "machine/mounts.h"
#include "plan/subids.h"
#include "spec/spec.h"

#define JB_BOOT_ID_LEN 36
#define JB_LXCFS       "/var/lib/lxcfs"
#define JB_SCRATCH_WHY 160

/* How the kernel can be made to hold a cap on scratch that is on disk. */
enum jb_scratch_cap {
    JB_SCRATCH_CAP_NONE,
    JB_SCRATCH_CAP_QUOTA, /* a project quota of its file system */
    JB_SCRATCH_CAP_LOOP,  /* a file system of that size, in a sparse file */
};

struct jb_host {
    char name[65];
    char boot_id[JB_BOOT_ID_LEN + 1];
    char kernel[65]; /* release */
    struct jb_mounts mounts;
    struct jb_disks disks;       /* that the mounts lie on; asked only where I/O is limited */
    struct jb_cg_layout cgroups; /* of the place where the box will be */
    bool elsewhere; /* ... outside of this process's own groups, so what it may use is not the box's */
    enum jb_scratch_cap scratch_cap;     /* asked only where the site keeps scratch on disk */
    char scratch_why[JB_SCRATCH_WHY];    /* why there is none */
    struct jb_buf etc_hosts, etc_resolv; /* the host's files; read only for those who share its network */
    struct jb_id_range subuids,
        subgids; /* the submitter's; asked only where they would be used. count 0: none */
    char uid_mapper[JB_PROGRAM_PATH], gid_mapper[JB_PROGRAM_PATH]; /* where there are ranges */
    char net_slirp[JB_PROGRAM_PATH]; /* slirp4netns; "": none; looked for only where it is needed */
    char net_pasta[JB_PROGRAM_PATH]; /* pasta; likewise */
    bool routed4, routed6; /* the host has a default route of that kind: pasta takes its own from it */
    char no_tun[64];       /* why /dev/net/tun is of no use; "": it is */
    bool lxcfs;            /* asked only where it would be used */
    int device_program; /* 0: this kernel takes a program that limits devices, from us; -errno: not, or not asked */
    struct jb_strv
        root_dirs;      /* names in / that are directories, sorted (for composing a root without privilege) */
    char *root_from;    /* whose names they are: an image that no overlay takes as a whole; NULL: "/" */
    char root_why[512]; /* what the kernel said of that; or whose files of an image cannot be changed; "" */
    char fuse_program
        [JB_PROGRAM_PATH];     /* fuse-overlayfs, where the root is to be its; "": the kernel's overlay */
    bool foreign_image;        /* the image is somebody's who has no id in the box */
    struct jb_strv root_links; /* "name=target": symlinks in /, sorted */
    struct jb_strv mask_files, mask_dirs;           /* of /proc and /sys; not every kernel has each */
    struct jb_strv root_mask_files, readonly_paths; /* which only uid 0 could read, or write */
    /* of /proc: those of our lists that exist here */
};

/* `want_mounts`: the mount table is needed (image: host, I/O limits); it is the dearest part. */
int jb_host_probe(bool privileged, bool want_mounts, struct jb_host *ret, struct jb_error *err);
void jb_host_free(struct jb_host *host);

/* What a spec with such keys wants to know besides. */
int jb_host_probe_disks(struct jb_host *host);
int jb_host_probe_network(enum jb_network network, struct jb_host *host);
void jb_host_probe_lxcfs(struct jb_host *host);
#define JB_FUSE_WHY 160
/* fuse-overlayfs: its path, or why it cannot be used by this process. */
void jb_host_probe_fuse(char program[JB_PROGRAM_PATH], char lacks[JB_FUSE_WHY]);
/* The names in `dir`, for composing a root of what it has; `why`: that has to be. */
int jb_host_probe_root(const char *dir, const char *why, struct jb_host *host);
void jb_host_probe_subids(const char *user, uid_t uid, struct jb_host *host);

struct jb_submitter {
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
    char *user;         /* login name; the number as text when the name service knows none */
    char *home;         /* "/" when unknown */
    char *cwd;          /* absolute; where relative host paths of the spec start */
    bool privileged;    /* may make namespaces and mounts without a user namespace */
    struct jb_strv env; /* the environment jobbox was started with */
};

/* The calling process as submitter. -EPERM when real and effective ids differ: jobbox is never setuid. */
int jb_submitter_self(struct jb_submitter *ret, struct jb_error *err);
void jb_submitter_free(struct jb_submitter *submitter);

#endif
