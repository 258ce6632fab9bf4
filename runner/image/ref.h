/*
 * ref.h - how images of the store are named: name:tag, name@digest, digest.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 */
#ifndef JB_IMAGE_REF_H
#define JB_IMAGE_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define JB_DIGEST_LEN 71 /* "sha256:" and 64 hexadecimal digits */
#define JB_HEX_LEN    64

/* "sha256:..." with its end; "" where there is none. */
struct jb_digest {
    char text[JB_DIGEST_LEN + 1];
};

/* Only sha256, only lower-case digits. */
bool jb_digest_valid(const char *text);
/* The digits of a valid digest. */
const char *jb_digest_hex(const struct jb_digest *digest);
/* From text; false when it is none. */
bool jb_digest_set(struct jb_digest *ret, const char *text);
/* The digest of some bytes. */
void jb_digest_of(const void *data, size_t len, struct jb_digest *ret);

#define JB_REF_MAX 384 /* "name:tag" with its end */

struct jb_ref {
    char name[JB_REF_MAX];   /* "name:tag"; "": by digest alone */
    bool tag_said;           /* else the tag is "latest" */
    struct jb_digest digest; /* "": the name alone says which */
};

/*
 * name[:tag][@sha256:...] or sha256:... A name is words of lower-case letters and digits, with ". _ -" between them and
 * "/" between words; no registry. -EINVAL when the text is no such name; `err` says why.
 */
int jb_ref_parse(const char *text, struct jb_ref *ret, struct jb_error *err);

/* "name:tag" as the name of a file, and back. Both fit into JB_REF_MAX. False when it is none. */
void jb_ref_to_file(const char *name, char ret[JB_REF_MAX]);
bool jb_ref_from_file(const char *file, char ret[JB_REF_MAX]);

/*
 * A name for what a source such as docker://registry.example:5000/team/app:1.2 or oci:/images/app:1 is: "team/app:1.2",
 * "app:1". -EINVAL when none can be made of it.
 */
int jb_ref_suggest(const char *source, char ret[JB_REF_MAX]);

#endif
