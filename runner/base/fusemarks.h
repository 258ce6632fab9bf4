/*
 * fusemarks.h - what fuse-overlayfs leaves in an upper layer where the kernel's overlay has an attribute or a device.
 *
 * Owns: nothing. Runs in: whoever reads such a layer. Privilege: none.
 *
 * Names that begin with ".wh." are its own: no job can see or make one through it. ".wh..wh..opq" says that its folder shows
 * nothing of below; ".wh.NAME", where no whiteout device could be made, that NAME was deleted; what begins so and is no plain
 * file means nothing.
 */
#ifndef JB_BASE_FUSEMARKS_H
#define JB_BASE_FUSEMARKS_H

#include <stdbool.h>

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

#endif
