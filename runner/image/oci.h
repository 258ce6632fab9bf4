/*
 * oci.h - manifests, indexes and configurations of OCI and Docker images, read with suspicion.
 *
 * Owns: what a struct points to. Runs in: the client. Privilege: none; pure functions of bytes that strangers wrote.
 */
#ifndef JB_IMAGE_OCI_H
#define JB_IMAGE_OCI_H

#include <jansson.h>

#include "base/str.h"
#include "image/ref.h"

#define JB_OCI_JSON_MAX   (4U << 20)
#define JB_OCI_LAYERS_MAX 500 /* what an overlay takes */

struct jb_oci_blob {
    struct jb_digest digest;
    uint64_t size;
};

/* What one platform's image is made of. */
struct jb_oci_manifest {
    struct jb_oci_blob config;
    struct jb_oci_blob *layers; /* the lowest one first */
    size_t n_layers;
};

/* An image for one of several platforms. */
struct jb_oci_choice {
    struct jb_oci_blob manifest;
    char os[32], arch[32], variant[16]; /* "": not said */
    char name[JB_REF_MAX];              /* org.opencontainers.image.ref.name; "": none */
};
struct jb_oci_index {
    struct jb_oci_choice *items;
    size_t len;
};

/* How the image's author wants it to be run. */
struct jb_oci_config {
    struct jb_strv env;  /* KEY=value */
    size_t env_left_out; /* items that are none; other tools take them, and they mean nothing */
    struct jb_strv entrypoint, cmd;
    char *workdir; /* absolute and clean; NULL: none */
    char *user;    /* NULL: none */
    char *os, *arch;
    struct jb_digest *diff_ids; /* of the layers, the lowest one first */
    size_t n_diff_ids;
};

/* True when the bytes are an index (or Docker's manifest list) rather than a manifest. */
bool jb_oci_is_index(const char *text, size_t len);

/* -EINVAL with the reason, -ENOTSUP for what is right but not for us (schema 1, encrypted or foreign layers). */
int jb_oci_manifest_parse(const char *text, size_t len, struct jb_oci_manifest *ret, struct jb_error *err);
int jb_oci_index_parse(const char *text, size_t len, struct jb_oci_index *ret, struct jb_error *err);
int jb_oci_config_parse(const char *text, size_t len, struct jb_oci_config *ret, struct jb_error *err);
void jb_oci_manifest_free(struct jb_oci_manifest *manifest);
void jb_oci_index_free(struct jb_oci_index *index);
void jb_oci_config_free(struct jb_oci_config *config);
#define jb_automanifest __attribute__((cleanup(jb_oci_manifest_free)))
#define jb_autochoices  __attribute__((cleanup(jb_oci_index_free)))
#define jb_autoconfig   __attribute__((cleanup(jb_oci_config_free)))

/* This machine as images name it: "amd64", "arm64", ... */
const char *jb_oci_arch(void);

/* Is for Linux on this machine, or says nothing of a platform. */
bool jb_oci_fits(const struct jb_oci_choice *choice);

/* The first that is for Linux on this machine, or says nothing of a platform; NULL: none. */
const struct jb_oci_choice *jb_oci_choose(const struct jb_oci_index *index);

/* The digest of a layer together with all below it: what is below decides what some entries mean. `below` NULL: nothing. */
void jb_oci_chain(const struct jb_digest *below, const struct jb_digest *diff_id, struct jb_digest *ret);

/*
 * A configuration with these layers, and a manifest for it, as text. `base`: a configuration to take everything but the
 * layers from, NULL: none. Caller frees. -ENOMEM, -EINVAL.
 */
int jb_oci_config_make(const json_t *base, const struct jb_digest *diff_ids, size_t n, char **ret);
int jb_oci_manifest_make(const struct jb_oci_blob *config, const struct jb_oci_blob *layers, size_t n,
                         char **ret);

#endif
