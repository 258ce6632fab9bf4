/*
 * unpack_reader.h - inside of runner/image: a layer's tar while it is read.
 *
 * Owns: what a struct jb_reader holds. Runs in: the worker that unpacks. Privilege: see unpack.h.
 *
 * unpack.c reads, unpack_entry.c writes what each entry means, unpack_end.c what can only be known at the end.
 */
#ifndef JB_IMAGE_UNPACK_READER_H
#define JB_IMAGE_UNPACK_READER_H

#include <limits.h>
#include <sys/stat.h>

#include <sha2.h>

#include "base/str.h"
#include "image/archive.h"
#include "image/unpack.h"

#define JB_UNPACK_CHUNK (64U << 10)
#define JB_UNPACK_SHOWN 120 /* of a name, in an error */

/* What a directory gets when nothing is written into it any more. */
struct jb_unpack_dir {
    char *path;
    size_t order; /* the last one said counts */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
};

struct jb_reader {
    const struct jb_unpack *u;
    struct jb_unpack_state *state;
    struct jb_archive_calls lib;
    struct archive *outer, *inner;
    SHA2_CTX blob_sha, diff_sha;
    uint8_t in_buf[JB_UNPACK_CHUNK], out_buf[JB_UNPACK_CHUNK];
    uint64_t in, out, bytes, entries;
    struct jb_error why; /* of a callback that failed */
    /* the directory that the last entry was in */
    char parent[PATH_MAX];
    int parent_fd;
    struct jb_unpack_dir *dirs;
    size_t n_dirs, cap_dirs;
    struct jb_strv whiteouts, opaques;
};

/* What went wrong in the library, or in a callback of ours. */
int jb_unpack_lib_failed(struct jb_reader *rd, struct archive *a, struct jb_error *err);
int jb_unpack_failed(const char *path, int errnum, struct jb_error *err);

/* The directory that `path` is in, made if need be; *ret_name: the last part. The descriptor is the reader's. */
int jb_unpack_parent(struct jb_reader *rd, const char *path, const char **ret_name, struct jb_error *err);
/* A directory that the layer does not name itself: looks as it does below, or as new ones do. */
int jb_unpack_implied(struct jb_reader *rd, const char *path, struct jb_error *err);

/* One entry of the tar into the layer's folder. */
int jb_unpack_entry(struct jb_reader *rd, struct archive_entry *e, struct jb_error *err);
/* Whiteouts, opaque folders, and what all folders look like. */
int jb_unpack_finish(struct jb_reader *rd, struct jb_error *err);

/* unpack_entry.c: an owner for what is at `name`, or `at` itself (""); one without an id here is left out. */
int jb_unpack_give(const struct jb_reader *rd, int at, const char *name, uid_t uid, gid_t gid);

#endif
