/*
 * policy.h - what the site decides about images.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; plain data. Source: `images` of the site config.
 */
#ifndef JB_IMAGE_POLICY_H
#define JB_IMAGE_POLICY_H

#include <stdint.h>

/* Which image files the kernel may mount: its file system code trusts what it reads. */
enum jb_kernel_mount {
    JB_KERNEL_MOUNT_OWNED, /* those that belong to root and that nobody else can write */
    JB_KERNEL_MOUNT_ANY,
    JB_KERNEL_MOUNT_NEVER,
    JB_KERNEL_MOUNT_MAX,
};

struct jb_image_policy {
    enum jb_kernel_mount kernel_mount;
    char *shared;         /* root's store is here and everybody may use it; NULL: it is root's alone */
    uint64_t max_size;    /* bytes of the files of one layer */
    uint64_t max_entries; /* of one layer */
    uint64_t max_ratio;
    uint64_t unpack_ns; /* for one layer */
};

#endif
