/*
 * image.c - from the spec's `image` to a directory that can be the lower layer of a box.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

const char *jb_image_kind_name(enum jb_image_kind kind)
{
    static const char *const names[] = {[JB_IMAGE_HOST] = "host", [JB_IMAGE_DIR] = "directory"};
    return (size_t)kind < JB_ARRAY_LEN(names) ? names[kind] : NULL;
}

void jb_image_free(struct jb_image *image)
{
    free(image->ref);
    free(image->path);
    *image = (struct jb_image){0};
}

/* A name without a slash that no file answers to is meant for the image store. */
static int not_found(const struct jb_spec *spec, const char *where, int errnum, struct jb_error *err)
{
    if (errnum == ENOENT && !strchr(spec->image, '/'))
        return jb_fail(
            err, ENOENT,
            "%s: there is no directory \"%s\" here, and named images are not available in this version; "
            "write \"host\" or the path of a directory",
            where, spec->image);
    return jb_fail_errno(err, errnum, "%s: image \"%s\" cannot be opened", where, spec->image);
}

static int check_root(int fd, const struct jb_spec *spec, const char *where, struct jb_error *err)
{
    static const char *const mount_points[] = {"proc", "sys", "dev", "tmp", "run"};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s: image \"%s\"", where, spec->image);
    if (S_ISREG(st.st_mode))
        return jb_fail(
            err, ENOTSUP,
            "%s: image files (squashfs, erofs) are not available in this version; \"%s\" is a file, "
            "unpack it and name the directory",
            where, spec->image);
    if (!S_ISDIR(st.st_mode))
        return jb_fail(err, ENOTDIR, "%s: image \"%s\" is not a directory", where, spec->image);
    for (size_t i = 0; i < JB_ARRAY_LEN(mount_points); i++) {
        if (fstatat(fd, mount_points[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (!S_ISDIR(st.st_mode))
            return jb_fail(
                err, EINVAL,
                "%s: image \"%s\": /%s is a %s; jobbox mounts there and it must be an ordinary directory",
                where, spec->image, mount_points[i], S_ISLNK(st.st_mode) ? "symlink" : "file");
    }
    return 0;
}

int jb_image_resolve(const struct jb_spec *spec, const char *cwd, struct jb_image *ret, struct jb_error *err)
{
    struct jb_image image = {.kind = JB_IMAGE_HOST};
    char where[512];
    if (jb_streq(spec->image, "host")) {
        image.ref = strdup("host");
        image.path = strdup("/");
        if (!image.ref || !image.path) {
            jb_image_free(&image);
            return jb_fail_errno(err, ENOMEM, "image");
        }
        *ret = image;
        return 0;
    }
    (void)jb_spec_where(spec, JB_KEY_IMAGE, where, sizeof(where));
    jb_autofree char *full =
        spec->image[0] == '/' ? strdup(spec->image) : jb_asprintf("%s/%s", cwd, spec->image);
    if (!full)
        return jb_fail_errno(err, ENOMEM, "image");
    jb_autoclose int fd = open(full, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return not_found(spec, where, errno, err);
    int r = check_root(fd, spec, where, err);
    if (r < 0)
        return r;
    if (faccessat(AT_FDCWD, full, R_OK | X_OK, AT_EACCESS) < 0) /* by descriptor it takes faccessat2 */
        return jb_fail_errno(err, errno, "%s: image \"%s\" cannot be read", where, spec->image);
    image.kind = JB_IMAGE_DIR;
    image.ref = strdup(spec->image);
    image.path = realpath(full, NULL);
    if (!image.ref || !image.path) {
        int saved = errno;
        jb_image_free(&image);
        return jb_fail_errno(err, saved, "%s: image \"%s\"", where, spec->image);
    }
    if (jb_streq(image.path, "/")) { /* the host by another name: it needs the host's treatment */
        image.kind = JB_IMAGE_HOST;
    }
    *ret = image;
    return 0;
}
