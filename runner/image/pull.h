/*
 * pull.h - images into the store, and out of it.
 *
 * Owns: nothing beyond the call. Runs in: the client, with children for everything that reads what strangers made.
 * Privilege: that of the store.
 */
#ifndef JB_IMAGE_PULL_H
#define JB_IMAGE_PULL_H

#include "image/child.h"
#include "image/policy.h"
#include "image/store.h"

/* What all of them need. */
struct jb_image_job {
    const struct jb_istore *store;
    const struct jb_image_policy *policy;
    const struct jb_image_ui *ui; /* may be NULL */
    const char *name;             /* name:tag to give it; NULL: none */
};

struct jb_pull_options {
    const char *source;   /* docker://, oci:, docker-archive:, oci-archive:, dir: */
    const char *authfile; /* NULL: skopeo's own */
    bool insecure;        /* plain HTTP, or certificates that nobody vouches for */
};

struct jb_image_added {
    struct jb_digest digest;
    size_t layers;     /* of the image */
    size_t new_layers; /* of them made now */
    bool already;      /* the image was here */
};

/* Fetches and unpacks what is not here. On failure nothing is added; layers fetched as a whole are there for the next try. */
int jb_image_pull(const struct jb_image_job *job, const struct jb_pull_options *options,
                  struct jb_image_added *ret, struct jb_error *err);

/* An image of one layer from a directory, a tar, or a squashfs or erofs file. */
int jb_image_import(const struct jb_image_job *job, const char *path, struct jb_image_added *ret,
                    struct jb_error *err);

/*
 * An image from a directory over another image. `raw`: the directory is an upper of overlayfs, whose whiteouts take away
 * from `base`. `base` NULL: over nothing. `config`: an OCI configuration instead of the base's; NULL: the base's.
 */
struct jb_image_tree {
    int dir_fd;
    bool raw;
    const struct jb_istore_image *base;
    const json_t *config;
    const char *source; /* where it is from, for people */
    /* Runs the reading of the tree where its owners are what they are to be in the image; NULL: they are so here. */
    int (*inside)(void *ctx, int (*fn)(void *ctx, struct jb_error *err), void *fn_ctx, struct jb_error *err);
    void *inside_ctx;
};
int jb_image_add_tree(const struct jb_image_job *job, const struct jb_image_tree *tree,
                      struct jb_image_added *ret, struct jb_error *err);

enum jb_export_format { JB_EXPORT_OCI_ARCHIVE, JB_EXPORT_TAR, JB_EXPORT_FORMAT_MAX };

/* Into `out_fd`: all layers as an OCI layout in a tar, or what they are together as a tar. */
int jb_image_export(const struct jb_image_job *job, const struct jb_istore_image *image,
                    enum jb_export_format format, int out_fd, struct jb_error *err);

/* --- inside of runner/image --- */

/* A layer being made in a work. */
struct jb_layer_wish {
    int tar_fd;
    const struct jb_digest *blob, *diff_id; /* NULL: whatever they turn out to be */
    uint64_t size;                          /* of the file, for progress */
    const int *below;                       /* the top one first */
    size_t n_below;
    const struct jb_digest *below_chain; /* NULL: nothing is below */
    const char *what;                    /* "layer 2 of 5" */
};
/* Unpacks into `name` of the work, sums it up and writes layer.json. */
int jb_layer_make(const struct jb_image_job *job, const struct jb_istore_work *work, const char *name,
                  const struct jb_layer_wish *wish, struct jb_istore_layer *ret, struct jb_error *err);

/* The trees of an image's layers, opened, the top one first; *ret is the caller's, with n_layers descriptors. */
int jb_image_open_layers(const struct jb_istore *store, const struct jb_istore_image *image, int **ret,
                         struct jb_error *err);
void jb_image_close_layers(int *fds, size_t n);

#endif
