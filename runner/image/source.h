/*
 * source.h - inside of runner/image: where an image is fetched from.
 *
 * Owns: what a struct jb_image_source holds. Runs in: the client. Privilege: the user's.
 *
 * An OCI layout is read as it is. Everything else is fetched by skopeo: manifest and configuration as they are, then
 * the layers that are wanted, into the blobs of the store. Nothing that comes is believed: the caller holds every byte
 * against the digest by which it was asked for.
 */
#ifndef JB_IMAGE_SOURCE_H
#define JB_IMAGE_SOURCE_H

#include "image/pull.h"

struct jb_image_source {
    const struct jb_pull_options *options;
    int layout_fd;   /* of an OCI layout; -1: skopeo */
    char *reference; /* for skopeo, of the very image */
    char *
        authfile; /* for skopeo, absolute: it does not always run here; NULL: it knows itself where to look */
    char *manifest, *config;
    struct jb_digest digest; /* of the manifest */
    struct jb_oci_manifest parts;
    struct jb_oci_config settings;
};

/* Finds the image for this machine and reads what it is made of. */
int jb_source_open(const struct jb_pull_options *options, const struct jb_image_ui *ui,
                   struct jb_image_source *ret, struct jb_error *err);
void jb_source_free(struct jb_image_source *source);
#define jb_autosource __attribute__((cleanup(jb_source_free)))

/*
 * Sees to it that the blobs of layers can be opened; `have[i]`: not needed. Nothing is done for a layout. What is in the
 * store's blobs already is not fetched again.
 */
int jb_source_fetch(const struct jb_image_source *source, const struct jb_istore_work *work, const bool *have,
                    const struct jb_image_ui *ui, struct jb_error *err);

/* One of the layers from `from` on is of this blob and not in `have`. */
bool jb_source_wants(const struct jb_image_source *source, const bool *have, size_t from,
                     const struct jb_digest *blob);

/* A blob for reading; -ENOENT. */
int jb_source_blob(const struct jb_image_source *source, const struct jb_istore *store,
                   const struct jb_digest *digest, struct jb_error *err);

#endif
