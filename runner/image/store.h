/*
 * store.h - the image store: layers that are shared and never change, images made of them, names for images.
 *
 * Owns: descriptors of the store's directory and of what is locked in it. Runs in: the client. Privilege: that of the
 * store's directory; users of somebody else's store only read.
 *
 *   lock             held while something is decided about what there is; never for long
 *   fetches          locked in one byte for each digest that somebody fetches or unpacks now
 *   refs/NAME        the digest of an image; NAME is name:tag with "%" for "/". Of what was unpacked for boxes a second line
 *                    has the file it is from, which may be another one than that of the image: several can be the same
 *   images/HEX       an image: its manifest and configuration, and its layers; locked (shared) by boxes that use it
 *   layers/HEX/fs    a layer as overlayfs wants it; HEX is of the layer and all below it (jb_oci_chain)
 *   layers/HEX/layer.json
 *   blobs/sha256/HEX layers as fetched, until they are unpacked
 *   tmp/ID           what one process is making, locked by it; whoever finds one unlocked removes it
 *
 * Everything appears complete or not at all, by rename: layers before the image, the image before its name. Removal goes
 * the other way. So a store is right whenever one looks, whatever was killed.
 */
#ifndef JB_IMAGE_STORE_H
#define JB_IMAGE_STORE_H

#include <jansson.h>

#include "base/id.h"
#include "image/oci.h"

struct jb_istore {
    int fd; /* -1: not open */
    char *path;
    bool writable;   /* ours */
    bool privileged; /* real root's: layers have their owners, and trusted.* attributes say what is opaque */
    bool
        mapped; /* this process is root of a user namespace with the user's ranges: layers have their owners too */
    unsigned uid, gid; /* with `mapped`: who its root is outside */
    bool shared;       /* others use it too: no file of a layer may do harm outside of a box */
};
#define JB_ISTORE_INIT ((struct jb_istore){.fd = -1})

/*
 * Opens the store at the absolute `path`, which must be a directory of `owner`'s; with `make`, makes what is missing and
 * can be written to. -ENOENT when there is none.
 */
struct jb_istore_where {
    const char *path;
    unsigned owner;
    bool make, privileged, shared;
    bool mapped; /* see struct jb_istore; `owner` as this process sees him */
    unsigned uid, gid;
};
int jb_istore_open(const struct jb_istore_where *where, struct jb_istore *ret, struct jb_error *err);
void jb_istore_close(struct jb_istore *store);
#define jb_autoistore __attribute__((cleanup(jb_istore_close)))

struct jb_istore_layer {
    struct jb_digest chain;   /* its name in the store */
    struct jb_digest diff_id; /* of the tar */
    struct jb_digest blob;    /* of the tar as it was fetched, perhaps compressed */
    uint64_t size;            /* of the blob */
};

struct jb_istore_image {
    struct jb_digest digest;        /* of the manifest */
    char *source;                   /* where from, for people */
    char *added;                    /* RFC 3339 */
    char *manifest, *config;        /* as they were fetched */
    struct jb_istore_layer *layers; /* the lowest one first */
    size_t n_layers;
    int lock_fd; /* -1, or: as long as it is open nobody removes the image or its layers */
};
void jb_istore_image_free(struct jb_istore_image *image);
#define jb_autoimage __attribute__((cleanup(jb_istore_image_free)))

/* The image that `ref` names, locked against removal. -ENOENT when there is none; no words then. */
int jb_istore_find(const struct jb_istore *store, const struct jb_ref *ref, struct jb_istore_image *ret,
                   struct jb_error *err);
/* The same by what a person types: a name, a digest, or how the digits of one begin (at least six). */
int jb_istore_find_text(const struct jb_istore *store, const char *text, struct jb_istore_image *ret,
                        struct jb_error *err);
/* The digest behind name:tag; -ENOENT. */
int jb_istore_ref(const struct jb_istore *store, const char *name, struct jb_digest *ret);

/* The absolute path of a layer's tree. Caller frees. NULL: out of memory. */
char *jb_istore_layer_path(const struct jb_istore *store, const struct jb_digest *chain);
bool jb_istore_has_layer(const struct jb_istore *store, const struct jb_digest *chain);
bool jb_istore_has_image(const struct jb_istore *store, const struct jb_digest *digest);
/* layer.json of a layer; NULL when it cannot be read. Caller decrefs. */
json_t *jb_istore_layer_json(const struct jb_istore *store, const struct jb_digest *chain);

/* Names in a directory of the store ("refs", "images", "layers", "tmp", "blobs/sha256"), sorted. */
int jb_istore_names(const struct jb_istore *store, const char *dir, struct jb_strv *ret,
                    struct jb_error *err);

/* --- writing --- */

/* The store's lock, for a decision. Returns a descriptor that holds it until it is closed. */
int jb_istore_lock(const struct jb_istore *store, struct jb_error *err);

/* What one process is making. */
struct jb_istore_work {
    const struct jb_istore *store;
    struct jb_id id;
    int fd, lock_fd;
};
#define JB_ISTORE_WORK_INIT ((struct jb_istore_work){.fd = -1, .lock_fd = -1})
int jb_istore_work_begin(const struct jb_istore *store, struct jb_istore_work *ret, struct jb_error *err);
/* Removes what is left in it. */
void jb_istore_work_end(struct jb_istore_work *work);
#define jb_autowork __attribute__((cleanup(jb_istore_work_end)))

/* What is pinned is not collected as long as the work lives, whether it is there yet or not. */
enum jb_istore_kind { JB_ISTORE_BLOB, JB_ISTORE_LAYER, JB_ISTORE_IMAGE, JB_ISTORE_KIND_MAX };
const char *jb_istore_kind_name(enum jb_istore_kind kind);
int jb_istore_pin(const struct jb_istore_work *work, enum jb_istore_kind kind,
                  const struct jb_digest *digests, size_t n, struct jb_error *err);

/* Waits until nobody else works on what has this digest. The lock is the descriptor's; -EAGAIN with `wait` false. */
int jb_istore_fetch_lock(const struct jb_istore *store, const struct jb_digest *digest, bool wait,
                         int *ret_fd, struct jb_error *err);

/* The directory `name` of the work becomes a layer; one that is there already stays. */
int jb_istore_put_layer(const struct jb_istore_work *work, const char *name, const struct jb_digest *chain,
                        struct jb_error *err);
/* Everything that was written is on the disk. */
int jb_istore_sync(const struct jb_istore *store, struct jb_error *err);
int jb_istore_put_image(const struct jb_istore_work *work, const struct jb_istore_image *image,
                        struct jb_error *err);
/* name:tag now means this image, which must be there. `source`: see refs/NAME; NULL: none. */
int jb_istore_tag(const struct jb_istore *store, const char *name, const struct jb_digest *digest,
                  const char *source, struct jb_error *err);
/* The source of a name. Caller frees. NULL: none. */
char *jb_istore_ref_source(const struct jb_istore *store, const char *name);
/* -ENOENT when there is no such name. */
int jb_istore_untag(const struct jb_istore *store, const char *name, struct jb_error *err);

/* --- cleaning and checking (gc.c) --- */

struct jb_istore_gc {
    bool dry;                              /* only count */
    bool keep_images;                      /* images without a name stay */
    uint64_t images, layers, blobs, works; /* removed, or to be */
    uint64_t bytes;                        /* of layers and blobs */
    uint64_t stuck;  /* works in tmp/ that cannot be removed: files of others are in them */
    uint64_t in_use; /* images without a name that a box uses, live or kept */
    /* Whether somebody else needs an image that no live box uses, by the digits of its digest. NULL: nobody. */
    bool (*wanted)(void *ctx, const char *hex);
    void *wanted_ctx;
};
int jb_istore_collect(const struct jb_istore *store, struct jb_istore_gc *gc, struct jb_error *err);
/* Works whose process is dead. */
int jb_istore_clear(const struct jb_istore *store, struct jb_error *err);

/*
 * Looks at everything. `say` gets one line for each thing that is wrong. With `deep` every file of every layer is read and
 * compared with what was unpacked. Returns how many things are wrong.
 */
int jb_istore_verify(const struct jb_istore *store, bool deep, void (*say)(void *ctx, const char *what),
                     void *ctx, struct jb_error *err);

#endif
