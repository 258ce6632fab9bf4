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

/* An attribute of the overlay: of root's, or of an ordinary user's. Its length, or negative: there is none. */
ssize_t jb_overlay_attribute(int fd, const char *name, char *buf, size_t len);

/* The folder, opened for reading, shows nothing of below; by the kernel's mark, which fuse-overlayfs sets too where it can. */
bool jb_is_opaque(int fd);

#endif
