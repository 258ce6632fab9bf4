/*
 * overlaytry.h - whether the kernel takes an overlay over a directory, asked before anything of a job is made.
 *
 * Owns: nothing that outlives a call. Runs in: the client; what is mounted, in a child that ends at once, and with it its
 * namespaces. Privilege: the client's.
 */
#ifndef JB_BOX_OVERLAYTRY_H
#define JB_BOX_OVERLAYTRY_H

#include <stdbool.h>

#include "base/error.h"

/* On a file system of this kind an overlay of root's works; of others it is to be tried. False also when it is not known. */
bool jb_overlay_is_sure(const char *dir);

struct jb_overlay_tried {
    int result;         /* 0, or -errno with the kernel's words in `said` */
    bool submounts;     /* it was refused because of what is mounted below the directory */
    bool no_attributes; /* a tmpfs keeps none of a user's attributes here */
    struct jb_error said;
};

/* Mounts an overlay over `dir`, with a tmpfs above it. Fails only where that cannot be tried. */
int jb_overlay_try(const char *dir, bool userns, struct jb_overlay_tried *ret, struct jb_error *err);

/* The kind of file system that `fd` is on, where that takes no upper layer of an overlay; NULL: it does, or is not known. */
const char *jb_overlay_no_upper(int fd);

#endif
