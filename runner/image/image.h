/*
 * image.h - a read-only root: the host itself, a directory, an image file, or a name in the image store.
 *
 * Owns: the strings of a struct jb_image. Runs in: the client, with the submitter's credentials. Privilege:
 * none.
 */
#ifndef JB_IMAGE_IMAGE_H
#define JB_IMAGE_IMAGE_H

#include "base/error.h"
#include "spec/spec.h"

enum jb_image_kind { JB_IMAGE_HOST, JB_IMAGE_DIR, JB_IMAGE_KIND_MAX };
const char *jb_image_kind_name(enum jb_image_kind kind);

struct jb_image {
    enum jb_image_kind kind;
    char *ref;  /* as the spec says */
    char *path; /* absolute; "/" for the host */
};

/*
 * Finds what `spec` names; relative paths start at `cwd`. Errors carry the position of the key: -ENOENT when
 * there is nothing, -ENOTDIR, -EACCES, -EINVAL when the directory cannot be a root.
 */
int jb_image_resolve(const struct jb_spec *spec, const char *cwd, struct jb_image *ret, struct jb_error *err);
void jb_image_free(struct jb_image *image);

#endif
