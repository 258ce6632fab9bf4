/*
 * image.h - a read-only root: the host itself, a directory, an image file, or a name in the image store.
 *
 * Owns: what a struct jb_image points to, and its lock. Runs in: the client, with the submitter's credentials.
 * Privilege: none; image files that the kernel may not mount are unpacked into the submitter's own store.
 */
#ifndef JB_IMAGE_IMAGE_H
#define JB_IMAGE_IMAGE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "image/oci.h"
#include "image/policy.h"
#include "spec/spec.h"

struct jb_image_ui;

enum jb_image_kind {
    JB_IMAGE_HOST,
    JB_IMAGE_DIR,
    JB_IMAGE_FILE,  /* a squashfs or erofs file that the kernel mounts */
    JB_IMAGE_STORE, /* layers of the image store */
    JB_IMAGE_KIND_MAX,
};
const char *jb_image_kind_name(enum jb_image_kind kind);

enum jb_image_format { JB_IMAGE_NO_FORMAT, JB_IMAGE_SQUASHFS, JB_IMAGE_EROFS, JB_IMAGE_FORMAT_MAX };
/* As mount(2) calls it; NULL for JB_IMAGE_NO_FORMAT. */
const char *jb_image_format_name(enum jb_image_format format);
/* By what the file begins with. The offset of `fd` stays. */
enum jb_image_format jb_image_format_of(int fd);

struct jb_image {
    enum jb_image_kind kind;
    char *ref;          /* as the spec says */
    char *path;         /* absolute: "/" for the host, the directory, the file, the uppermost layer */
    const char *fstype; /* JB_IMAGE_FILE */
    bool roots_own; /* JB_IMAGE_FILE: mounted because it is root's, which has to be so when it is opened */
    struct jb_strv layers;       /* JB_IMAGE_STORE: absolute directories, the top one first */
    struct jb_digest digest;     /* JB_IMAGE_STORE; "" otherwise */
    struct jb_oci_config config; /* what its author wants; empty where there is none */
    bool has_user;               /* uid, gid, groups: whom the image wants to be run as */
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned: those that its /etc/group has him in, and the gid not among them */
    size_t n_groups;
    int lock_fd; /* > 0: as long as it is open the image is not removed */
};

/* Where images are looked for. */
struct jb_image_where {
    const char *cwd;       /* relative paths start here */
    const char *state_dir; /* the store is in it */
    uid_t uid;
    gid_t gid;
    bool privileged; /* real root */
    const struct jb_image_policy *policy;
    bool touch; /* an image file may be unpacked into the store; else it is only said that it would be */
    const struct jb_image_ui *ui; /* for that; may be NULL */
    /*
     * Runs fn as root of a user namespace with the user's ranges of ids: there files can be given the owners that the image
     * has for them. -ENOTSUP without words: he has none. NULL: nobody has.
     */
    int (*inside)(int (*fn)(void *ctx, struct jb_error *err), void *ctx, struct jb_error *err);
};

/*
 * Finds what `spec` names. Errors carry the position of the key: -ENOENT when there is nothing, -ENOTDIR, -EACCES,
 * -EINVAL when it cannot be a root.
 */
int jb_image_resolve(const struct jb_spec *spec, const struct jb_image_where *where, struct jb_image *ret,
                     struct jb_error *err);
void jb_image_free(struct jb_image *image);

/* The path of the store of `where`. Caller frees. NULL: out of memory. */
char *jb_image_store_path(const struct jb_image_where *where);

/* Names of images that were unpacked from files begin so; the rest is made of what tells one file from another. */
#define JB_IMAGE_UNPACKED "unpacked"
void jb_image_unpacked_name(const struct stat *st, char ret[JB_REF_MAX]);

/*
 * Fills uid, gid and groups with whom "user", "uid", "user:group", ... means in the layers (opened, the top one first). Who
 * is named with a group is in no other one. -EINVAL: nobody.
 */
int jb_image_user(const int *layers, size_t n, const char *text, struct jb_image *image,
                  struct jb_error *err);

#endif
