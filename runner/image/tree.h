/*
 * tree.h - walks over layers: what is there, what hides what.
 *
 * Owns: nothing beyond the call. Runs in: the client, and the child that unpacks. Privilege: none of its own; follows no
 * symlink and leaves no layer.
 *
 * A layer is a directory as overlayfs takes it: a character device 0:0 takes a name away from what is below, and a
 * directory with trusted.overlay.opaque or user.overlay.opaque shows nothing of what is below.
 */
#ifndef JB_IMAGE_TREE_H
#define JB_IMAGE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"
#include "image/ref.h"

#define JB_TREE_DEPTH 256 /* folders in folders */

/*
 * What `path` (relative, no symlink on the way is followed) is in the layers taken together, the top one first.
 * Returns the number of the layer that has it, or -ENOENT.
 */
int jb_tree_lookup(const int *layers, size_t n, const char *path, struct stat *ret);

struct jb_tree_entry {
    const char *path; /* from the root on; "" for the root itself */
    int dirfd;        /* where `name` is, opened for reading */
    const char *name; /* "." for the root */
    struct stat st;
    bool whiteout, opaque;
    const char *hardlink; /* the path under which the same file came before; NULL: none */
};

/*
 * Calls visit() for each entry: a directory before what is in it, names in order of their bytes. With `raw`, for one layer
 * as it is, whiteouts included; otherwise for the layers taken together. What is mounted in a layer is not entered, and
 * what skip() says true to (NULL: nothing) is as if it were not there. A negative return of visit() ends the walk.
 */
int jb_tree_walk(const int *layers, size_t n, bool raw, bool (*skip)(void *ctx, const char *name),
                 int (*visit)(void *ctx, const struct jb_tree_entry *entry, struct jb_error *err), void *ctx,
                 struct jb_error *err);

struct jb_tree_sums {
    struct jb_digest digest; /* over names, kinds, modes, owners, times, attributes, contents */
    uint64_t entries, bytes;
    uint64_t privileged_files; /* set-user-id, set-group-id or with capabilities */
};
/* One layer as it is. */
/* `was` not NULL: what is root's in this user namespace was his whose ids it has, when the layer was summed up. */
struct jb_tree_owner {
    unsigned uid, gid;
};
int jb_tree_sum(int layer, const struct jb_tree_owner *was, struct jb_tree_sums *ret, struct jb_error *err);

/* A name as it may be shown: what a terminal would act on becomes "?", at most `len` bytes. Returns buf. */
char *jb_tree_show(const char *name, char *buf, size_t len);

/* Calls each() for the attributes of a file that belong to its content, in order of their names. */
int jb_tree_xattrs(int fd, int (*each)(void *ctx, const char *name, const void *value, size_t len),
                   void *ctx);

#endif
