/*
 * rootfs.h - inside of runner/box: carrying out the plan's mount operations.
 *
 * Owns: descriptors of the root under construction. Runs in: the box's first process. Privilege:
 * CAP_SYS_ADMIN in its user namespace.
 */
#ifndef JB_BOX_ROOTFS_H
#define JB_BOX_ROOTFS_H

#include "base/fd.h"
#include "box/mountapi.h"
#include "plan/plan.h"

struct jb_rootfs {
    const struct jb_mountapi *api;
    const struct jb_plan *plan;
    const char *stage;     /* absolute path of a directory to mount on, seen by this namespace alone */
    int scratch_fd;        /* file system of the upper layers; O_PATH on its root */
    int root_fd;           /* the root under construction */
    int null_fd, empty_fd; /* what covers a file, a directory; opened when first needed, -1 until then */
    unsigned layers;       /* overlays made so far: names their upper and work directories */
    dev_t *own; /* owned: file systems made for this box; in all others there are the host's files */
    size_t n_own;
    unsigned binds; /* scratch directories handed out so far */
    /* Told of each directory of the scratch that is written to, where it is shown, and what it lies over. NULL: nobody. */
    void (*layered)(void *ctx, const char *upper, const char *target, const int *lowers, size_t n);
    void *layered_ctx;
};

/* Carries out all operations. The error names the operation and its paths. Descriptors are left open in `fs`.
 */
int jb_rootfs_build(struct jb_rootfs *fs, struct jb_error *err);

/* dev.c: fills a fresh /dev. */
int jb_rootfs_dev(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);

/* dev.c: one granted device. */
int jb_rootfs_device(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);

/* hook.c: one program of a granted device. */
int jb_rootfs_hook(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);

/*
 * The place in the root where something is to be mounted, made when absent (`file`: an empty file, else a
 * directory). System places allow no symlink in the way; the submitter's targets may use those of the image,
 * within the root. Returns an O_PATH descriptor.
 */
int jb_rootfs_place(struct jb_rootfs *fs, const char *target, bool file, enum jb_walk walk,
                    struct jb_error *err);

/* The same for a place that must be there already: -ENOENT otherwise. */
int jb_rootfs_find(struct jb_rootfs *fs, const char *target, enum jb_walk walk);

#endif
