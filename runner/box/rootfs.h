/*
 * rootfs.h - inside of runner/box: carrying out the plan's mount operations.
 *
 * Owns: descriptors of the root under construction. Runs in: the box's first process. Privilege:
 * CAP_SYS_ADMIN in its user namespace.
 */
#ifndef JB_BOX_ROOTFS_H
#define JB_BOX_ROOTFS_H

#include <sys/mount.h>

#include "base/fd.h"
#include "box/mountapi.h"
#include "box/proto.h"
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
    /* Hands out what a program needs to serve the root: JB_FUSE_*, borrowed. */
    int (*served)(void *ctx, const int *fds, size_t n, struct jb_error *err);
    void *served_ctx;
};

/* Carries out all operations. The error names the operation and its paths. Descriptors are left open in `fs`.
 */
int jb_rootfs_build(struct jb_rootfs *fs, struct jb_error *err);

/* fusemount.c: the root's mount, of a file system that somebody else is asked to serve. `lowers`: the top one first. */
int jb_rootfs_fuse(struct jb_rootfs *fs, const struct jb_op *op, const int *lowers, size_t n,
                   struct jb_error *err);

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

/* --- what its files share --- */

#define JB_ATTR_PLAIN (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define JB_FD_PATH    64

/* "/proc/self/fd/N" and, with a name, what is below it. Returns buf. */
const char *jb_rootfs_fd_path(char buf[JB_FD_PATH], int fd, const char *name);

/* What is mounted there was made for this box: files of it are not the host's. */
int jb_rootfs_note_own(struct jb_rootfs *fs, int fd, struct jb_error *err);

/* mkdir -p in the root, without symlinks from the deepest folder that is there on. *ret: its descriptor, the caller's. */
int jb_rootfs_make_place(struct jb_rootfs *fs, const char *path, mode_t mode, bool job_owned,
                         enum jb_walk walk, int *ret, struct jb_error *err);

/* A fresh file in a folder of the root: its descriptor, or -errno. */
int jb_rootfs_make_file(struct jb_rootfs *fs, int at, const char *name, int flags, mode_t mode,
                        bool *ret_hosts, struct jb_error *err);

/* Attaches a mount; `what` is for the error. */
int jb_rootfs_attach(struct jb_rootfs *fs, int mount_fd, int at_fd, const char *what, struct jb_error *err);

/* What an operation names on the host, opened with the submitter's rights where he named it. */
int jb_rootfs_source(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);

/* Tells fs->layered. */
void jb_rootfs_tell_layer(struct jb_rootfs *fs, const char *kind, unsigned number, const char *target,
                          const int *lowers, size_t n);

/* Shows `source` at `at` as the flags of the operation say. */
int jb_rootfs_bind(struct jb_rootfs *fs, int source, const struct jb_op *op, int at, struct jb_error *err);

/*
 * scratch.c: what another box left for the place of `op`, copied into `name` of the scratch: 1; 0 when it left nothing
 * there.
 */
int jb_rootfs_fill(struct jb_rootfs *fs, const struct jb_op *op, const char *name, struct jb_error *err);

/* scratch.c, layers.c: operations. */
int jb_rootfs_scratch_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);
int jb_rootfs_scratch_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);
int jb_rootfs_scratch_loop(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);
int jb_rootfs_root_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);
int jb_rootfs_root_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);
int jb_rootfs_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err);

#endif
