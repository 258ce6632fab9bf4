/*
 * copytree.h - a copy of a tree with all that a file system knows of it, under limits.
 *
 * Owns: nothing beyond the call. Runs in: whoever may read and make what is in the tree: the box's first process, and a
 * child of the supervisor. Privilege: that of root, or of root in a user namespace to which all owners in the tree belong;
 * with `for_user` none, but that all of `from` can be read.
 *
 * Directories, files with their holes and hard links, symlinks and FIFOs, with mode, owner, times and extended attributes,
 * and what an overlay leaves in its upper: whiteouts, and attributes that say what is opaque, renamed or has its content
 * below. Sockets and device nodes are left out. No symlink is followed and no mount is entered.
 */
#ifndef JB_BASE_COPYTREE_H
#define JB_BASE_COPYTREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/overlaymarks.h"

#define JB_COPY_DEPTH 200 /* folders in folders */

struct jb_copy {
    int from, to;                              /* directories; `to` may have something in it already */
    uint64_t max_bytes, max_files;             /* JB_UNSET: no limit */
    bool (*skip)(void *ctx, const char *path); /* relative to `from`; NULL: nothing is left out */
    void *skip_ctx;
    /*
     * The copy is made by somebody who can give nothing away: owners, what is set-id for another one, capabilities and
     * other attributes of root's are left behind, and what says how a layer of root's is to be read becomes what says so
     * to an ordinary user's overlay.
     */
    bool for_user;
    bool
        from_fuse; /* `from` is a layer of fuse-overlayfs: its marks become those of an ordinary user's overlay */
    bool to_fuse; /* `to` is to be one: what is opaque says so by a mark where it can have no attributes */
    enum jb_overlay_space
        space;  /* of the overlay that wrote `from`; what only looks like its attributes stays behind */
    bool plain; /* `to` is no layer of anything: what says how one is to be read is left behind */
};

struct jb_copied {
    uint64_t bytes, files; /* on the disk; entries of every kind */
    uint64_t left_out;     /* sockets and devices */
    bool linked_below;     /* some file or folder has its content below the layer, under another name */
};

/* Adds to *sum. -EFBIG when a limit was passed; what was copied until then stays. */
int jb_copy_tree(const struct jb_copy *copy, struct jb_copied *sum, struct jb_error *err);

#endif
