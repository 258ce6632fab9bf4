/*
 * overlaymarks.h - what an overlay leaves in its upper layer for what cannot be said by a file.
 *
 * Owns: nothing. Runs in: whoever reads such a layer. Privilege: none; attributes of root's overlays are seen by root alone.
 *
 * The kernel's has a device 0:0 for what was deleted, and attributes (opaque, redirect, metacopy). fuse-overlayfs has marks
 * beside these: names that begin with ".wh." are its own, and no job can see or make one through it. ".wh..wh..opq" says
 * that its folder shows nothing of below; ".wh.NAME", where no whiteout device could be made, that NAME was deleted; what
 * begins so and is no plain file means nothing.
 */
#ifndef JB_BASE_OVERLAYMARKS_H
#define JB_BASE_OVERLAYMARKS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/str.h"

#define JB_FUSE_MARK   ".wh."
#define JB_FUSE_OPAQUE ".wh..wh..opq"
#define JB_FUSE_XATTRS "user.fuseoverlayfs."

static inline bool jb_fuse_is_mark(const char *name)
{
    return jb_starts_with(name, JB_FUSE_MARK);
}

/* The name that such a mark deletes; NULL: it is another mark, or none. */
static inline const char *jb_fuse_deleted(const char *name)
{
    const char *what = name + sizeof(JB_FUSE_MARK) - 1;
    return jb_fuse_is_mark(name) && *what && !jb_fuse_is_mark(what) ? what : NULL;
}

bool jb_is_whiteout(const struct stat *st);

/*
 * Whose attributes mean something: an overlay reads either trusted.overlay.* or, mounted in a user namespace, user.overlay.*.
 * To the other one these are attributes like any, and whoever may write a file may set user.overlay.* on it.
 */
enum jb_overlay_space {
    JB_OVERLAY_ANY, /* layers of the image store, which have the marks for both */
    JB_OVERLAY_TRUSTED,
    JB_OVERLAY_USER,
    JB_OVERLAY_NONE, /* no overlay writes there */
};

/* "trusted.overlay.x" is an attribute of an overlay, and means something in this space. */
bool jb_overlay_means(enum jb_overlay_space space, const char *name);

/* An attribute of the overlay. Its length, or negative: there is none. */
ssize_t jb_overlay_attribute(int fd, enum jb_overlay_space space, const char *name, char *buf, size_t len);

/* The folder, opened for reading, shows nothing of below; by the kernel's mark, which fuse-overlayfs sets too where it can. */
bool jb_is_opaque(int fd); /* in any space */
bool jb_is_opaque_in(int fd, enum jb_overlay_space space);

#endif
