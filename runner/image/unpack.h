/*
 * unpack.h - a tar that a stranger made becomes a layer, or is refused.
 *
 * Owns: nothing beyond the call. Runs in: a child of its own, which dies with its parent and has limits; the caller only
 * looks at what it reports. Privilege: the store's owner's.
 *
 * Nothing is written outside of the given directory, whatever the tar says: every name is resolved by the kernel with the
 * directory as its root. Device nodes are left out; whiteouts of the tar become overlayfs's.
 */
#ifndef JB_IMAGE_UNPACK_H
#define JB_IMAGE_UNPACK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "image/ref.h"

struct jb_unpack_limits {
    uint64_t bytes;   /* of all files of a layer, holes included */
    uint64_t entries; /* of a layer */
    uint64_t ratio;   /* of what comes out of the compression to what went in */
    uint64_t time_ns; /* for one layer */
};

struct jb_unpack {
    int tar_fd;                      /* from its start; compressed or not */
    const struct jb_digest *blob;    /* what the file's digest must be; NULL: anything */
    const struct jb_digest *diff_id; /* and the tar's, uncompressed */
    int dir_fd;                      /* empty; opened for reading */
    const int *below;                /* the layers below, the top one first, opened for reading */
    size_t n_below;
    bool owners; /* give files their owners, directories what trusted.* says; needs real root ... */
    bool
        mapped; /* ... or root of a user namespace: what it has no id for is root's, and user.* says what is opaque */
    bool
        harmless; /* others can reach the files: take away set-user-id, set-group-id, capabilities, and from all but
                      root what lets them change one */
    struct jb_unpack_limits limits;
};

/* Shared with the child; figures grow while it works. */
struct jb_unpack_state {
    _Atomic uint64_t in, out, entries; /* bytes read of the file; bytes of the tar; entries done */
    uint64_t devices;                  /* left out */
    uint64_t harmless;                 /* files that lost bits or capabilities */
    uint64_t closed;                   /* what others could have changed */
    struct jb_digest blob, diff_id;    /* what they are; set on success */
};

/* Does it, here: for the child, and for tests. */
int jb_unpack_run(const struct jb_unpack *unpack, struct jb_unpack_state *state, struct jb_error *err);

/*
 * Whether a tar of so many bytes can be unpacked within a limit on the bytes of its files: headers and padding are no
 * content, but not for ever.
 */
bool jb_unpack_may_fit(uint64_t tar_bytes, uint64_t limit);

/* -E2BIG with the words: `what` says whose, and ends with its verb; images.`key` of the site allows `limit`. */
int jb_unpack_too_much(struct jb_error *err, const char *what, uint64_t limit, const char *key);

#endif
