/*
 * mountapi.h - the few mount verbs a box is built from; real, or a test's own.
 *
 * Owns: nothing; mount descriptors belong to the caller. Runs in: the box's first process. Privilege:
 * CAP_SYS_ADMIN in its user namespace. Kernel: the descriptor-based mount calls, Linux 5.12.
 */
#ifndef JB_BOX_MOUNTAPI_H
#define JB_BOX_MOUNTAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct jb_mount_option {
    const char *key;
    const char *value; /* NULL: a flag */
};

struct jb_mountapi {
    /* A new file system, not attached anywhere. `attr`: MOUNT_ATTR_*. Returns a descriptor. The error holds
     * the kernel's own words where it gives any. */
    int (*make)(void *ctx, const char *fstype, const struct jb_mount_option *options, size_t n, uint64_t attr,
                struct jb_error *err);
    /*
     * The same by mount(2), for what the descriptor-based calls of older kernels cannot be told: `options` is one string
     * of less than a page, without the attributes. Names in it that are relative begin in /proc/self/fd, so that a
     * descriptor's number is a name. `name` in `dirfd`: an empty directory to mount on for a moment.
     */
    int (*make_by_string)(void *ctx, const char *fstype, const char *options, int dirfd, const char *name,
                          uint64_t attr, struct jb_error *err);
    /*
     * A block device, read-only, of the file `fd`; it goes by itself when nothing uses it any more. *ret_path: its name,
     * of 32 bytes. Returns a descriptor that keeps it.
     */
    int (*loop)(void *ctx, int fd, char *ret_path, struct jb_error *err);
    /* A copy of what is mounted at fd (O_PATH), not attached anywhere. */
    int (*clone)(void *ctx, int fd, bool recursive);
    int (*setattr)(void *ctx, int mount_fd, uint64_t set, bool recursive);
    /* Attaches a mount to the place that `at_fd` (O_PATH) stands for. */
    int (*attach)(void *ctx, int mount_fd, int at_fd);
    /* No mount event goes out of this namespace any more. */
    int (*make_private)(void *ctx);
    /* root_fd becomes "/", the old root is detached, the working directory is the new root. */
    int (*pivot)(void *ctx, int root_fd);
    void *ctx;
};

/* The kernel's. */
extern const struct jb_mountapi jb_mountapi_kernel;

#endif
