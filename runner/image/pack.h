/*
 * pack.h - layers, or what they are together, as a tar.
 *
 * Owns: nothing beyond the call. Runs in: the client, or a child of it. Privilege: none of its own.
 */
#ifndef JB_IMAGE_PACK_H
#define JB_IMAGE_PACK_H

#include "image/ref.h"

struct jb_pack {
    const int *layers; /* the top one first, opened for reading */
    size_t n;
    bool raw;       /* the one layer as it is: whiteouts become ".wh." entries. Else all of them together */
    bool as_root;   /* what belongs to whoever calls belongs to root in the tar */
    bool no_nobody; /* so is what is of somebody who has no id in this user namespace */
    uint64_t max_bytes,
        max_entries; /* of all files, holes included; -E2BIG before more is written. 0: no limit */
};

struct jb_packed {
    struct jb_digest digest; /* of the tar */
    uint64_t size;
    uint64_t left_out; /* devices and sockets */
    uint64_t marks;    /* left out too: what has a name that would be read as a whiteout */
};

/* The same layers give the same bytes. */
int jb_pack_run(const struct jb_pack *pack, int out_fd, struct jb_packed *ret, struct jb_error *err);

/* A tar of plain files below `dir_fd`, for image layouts. */
int jb_pack_plain(int dir_fd, int out_fd, struct jb_error *err);

#endif
