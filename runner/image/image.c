/*
 * image.c - from the spec's `image` to what can be the lower layers of a box.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "image/pull.h"
#include "image/store.h"
#include "image/tree.h"

const char *jb_image_kind_name(enum jb_image_kind kind)
{
    static const char *const names[] = {[JB_IMAGE_HOST] = "host",
                                        [JB_IMAGE_DIR] = "directory",
                                        [JB_IMAGE_FILE] = "file",
                                        [JB_IMAGE_STORE] = "store"};
    return (size_t)kind < JB_ARRAY_LEN(names) ? names[kind] : NULL;
}

const char *jb_image_format_name(enum jb_image_format format)
{
    static const char *const names[] = {[JB_IMAGE_SQUASHFS] = "squashfs", [JB_IMAGE_EROFS] = "erofs"};
    return (size_t)format < JB_ARRAY_LEN(names) ? names[format] : NULL;
}

enum jb_image_format jb_image_format_of(int fd)
{
    static const struct {
        enum jb_image_format format;
        off_t at;
        unsigned char magic[4];
    } formats[] = {
        {JB_IMAGE_SQUASHFS, 0, {'h', 's', 'q', 's'}},
        {JB_IMAGE_EROFS, 1024, {0xe2, 0xe1, 0xf5, 0xe0}},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(formats); i++) {
        unsigned char got[4];
        if (pread(fd, got, sizeof(got), formats[i].at) == (ssize_t)sizeof(got) &&
            memcmp(got, formats[i].magic, sizeof(got)) == 0)
            return formats[i].format;
    }
    return JB_IMAGE_NO_FORMAT;
}

void jb_image_free(struct jb_image *image)
{
    free(image->ref);
    free(image->path);
    jb_strv_free(&image->layers);
    jb_oci_config_free(&image->config);
    free(image->groups);
    if (image->lock_fd > 0)
        (void)close(image->lock_fd);
    *image = (struct jb_image){0};
}

char *jb_image_store_path(const struct jb_image_where *where)
{
    if (where->privileged && where->policy->shared)
        return strdup(where->policy->shared);
    return jb_asprintf("%s/images", where->state_dir);
}

/* --- whom an image wants to be run as --- */

/* The line of `name` in a file like /etc/passwd, cut into fields; or of the number, where `by_id`. */
static bool find_line(char *text, const char *name, bool by_id, char *fields[4])
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t n = 0;
        for (char *p = line; n < 4 && p; n++) {
            fields[n] = p;
            p = strchr(p, ':');
            if (p)
                *p++ = '\0';
        }
        if (n >= 3 && jb_streq(fields[by_id ? 2 : 0], name)) {
            if (n < 4)
                fields[3] = fields[2] + strlen(fields[2]);
            return true;
        }
    }
    return false;
}

static char *read_in(const int *layers, size_t n, const char *path)
{
    struct stat st;
    char *text = NULL;
    int at = jb_tree_lookup(layers, n, path, &st);
    if (at < 0 || !S_ISREG(st.st_mode))
        return NULL;
    jb_autoclose int fd = jb_open_at(layers[at], path, O_RDONLY | O_NONBLOCK, 0, JB_WALK_STRICT);
    return fd >= 0 && jb_read_fd(fd, 1U << 20, &text, NULL) == 0 ? text : NULL;
}

static bool to_id(const char *text, uint64_t *ret)
{
    return jb_parse_u64(text, UINT32_MAX - 1, ret) == 0;
}

enum { GROUPS_MAX = 1024 };

static bool has_member(char *members, const char *name)
{
    char *rest = NULL;
    for (char *one = strtok_r(members, ",", &rest); one; one = strtok_r(NULL, ",", &rest))
        if (jb_streq(one, name))
            return true;
    return false;
}

static bool is_known_group(const struct jb_image *image, uint64_t gid)
{
    bool known = gid == image->gid;
    for (size_t i = 0; i < image->n_groups; i++)
        known |= gid == image->groups[i];
    return known;
}

/* The groups that have `name` in their last field. */
static int add_groups(struct jb_image *image, char *text, const char *name, struct jb_error *err)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        uint64_t gid;
        (void)strsep(&line, ":");
        (void)strsep(&line, ":");
        const char *number = strsep(&line, ":");
        char *members = strsep(&line, ":");
        if (!members || !to_id(number, &gid) || !has_member(members, name) || is_known_group(image, gid))
            continue;
        if (image->n_groups == GROUPS_MAX)
            return jb_fail(err, EINVAL, "the image's /etc/group has \"%.100s\" in more than %d groups", name,
                           GROUPS_MAX);
        gid_t *more = reallocarray(image->groups, image->n_groups + 1, sizeof(*more));
        if (!more)
            return jb_fail_errno(err, ENOMEM, "image");
        image->groups = more;
        image->groups[image->n_groups++] = (gid_t)gid;
    }
    return 0;
}

int jb_image_user(const int *layers, size_t n, const char *text, struct jb_image *image, struct jb_error *err)
{
    char *user_line[4];
    char *group_line[4];
    uint64_t uid;
    uint64_t gid = 0;
    jb_autofree char *user = strndup(text, strcspn(text, ":"));
    const char *group = strchr(text, ':');
    jb_autofree char *passwd = read_in(layers, n, "etc/passwd");
    jb_autofree char *groups = read_in(layers, n, "etc/group");
    if (!user)
        return jb_fail_errno(err, ENOMEM, "image");
    bool number = to_id(user, &uid);
    bool known = passwd && find_line(passwd, user, number, user_line);
    if (known && (!to_id(user_line[2], &uid) || !to_id(user_line[3], &gid)))
        known = number;
    if (!number && !known)
        return jb_fail(err, EINVAL,
                       "the image wants to be run as \"%.100s\", and its /etc/passwd has no such user", text);
    if (group && !to_id(group + 1, &gid) &&
        (!groups || !find_line(groups, group + 1, false, group_line) || !to_id(group_line[2], &gid)))
        return jb_fail(err, EINVAL,
                       "the image wants to be run as \"%.100s\", and its /etc/group has no such group", text);
    image->uid = (uid_t)uid;
    image->gid = (gid_t)gid;
    return known && !group && groups ? add_groups(image, groups, user_line[0], err) : 0;
}

/* --- the store --- */

static int take_user(const struct jb_istore *store, const struct jb_istore_image *found,
                     struct jb_image *image, struct jb_error *err)
{
    int *fds = NULL;
    int r = jb_image_open_layers(store, found, &fds, err);
    if (r < 0)
        return r;
    r = jb_image_user(fds, found->n_layers, image->config.user, image, err);
    image->has_user = r == 0;
    jb_image_close_layers(fds, found->n_layers);
    return r;
}

/* Fills the image from what the store has; the lock goes with it. */
static int take(const struct jb_spec *spec, const struct jb_image_where *where, const struct jb_istore *store,
                struct jb_istore_image *found, struct jb_image *image, struct jb_error *err)
{
    int r = jb_oci_config_parse(found->config, strlen(found->config), &image->config, err);
    for (size_t i = found->n_layers; r == 0 && i-- > 0;)
        if (jb_strv_take(&image->layers, jb_istore_layer_path(store, &found->layers[i].chain)) < 0)
            r = jb_fail_errno(err, ENOMEM, "image");
    if (r == 0 && image->config.user && where->privileged && where->uid == 0 &&
        spec->pos[JB_KEY_USER].line == 0)
        r = take_user(store, found, image, err);
    if (r < 0)
        return r;
    image->kind = JB_IMAGE_STORE;
    image->digest = found->digest;
    image->path = strdup(image->layers.items[0]);
    image->lock_fd = found->lock_fd;
    found->lock_fd = -1;
    return image->path ? 0 : jb_fail_errno(err, ENOMEM, "image");
}

static int look_in(const struct jb_spec *spec, const struct jb_image_where *where, const char *path,
                   uid_t owner, const struct jb_ref *ref, struct jb_image *image, struct jb_error *err)
{
    jb_autoistore struct jb_istore store = JB_ISTORE_INIT;
    jb_autoimage struct jb_istore_image found = {.lock_fd = -1};
    const struct jb_istore_where there = {.path = path, .owner = owner};
    int r = jb_istore_open(&there, &store, err);
    if (r == 0)
        r = jb_istore_find(&store, ref, &found, err);
    return r == 0 ? take(spec, where, &store, &found, image, err) : r;
}

/* One's own store first, then the one that root keeps for all. */
static int in_store(const struct jb_spec *spec, const struct jb_image_where *where, struct jb_image *image,
                    struct jb_error *err)
{
    struct jb_ref ref;
    bool others = where->privileged && where->uid != 0; /* root carries out somebody's job */
    jb_autofree char *own = jb_image_store_path(where);
    if (jb_ref_parse(spec->image, &ref, NULL) < 0)
        return -ENOENT;
    int r = others ? -ENOENT : own ? look_in(spec, where, own, where->uid, &ref, image, err) : -ENOMEM;
    if (r == -ENOENT && (!where->privileged || others) && where->policy->shared) {
        jb_error_clear(err);
        r = look_in(spec, where, where->policy->shared, 0, &ref, image, err);
    }
    return r;
}

/* --- files --- */

void jb_image_unpacked_name(const struct stat *st, char ret[JB_REF_MAX])
{
    char text[160];
    struct jb_digest digest;
    int n = snprintf(text, sizeof(text), "%ju %ju %jd %jd.%09ld %jd.%09ld", (uintmax_t)st->st_dev,
                     (uintmax_t)st->st_ino, (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec,
                     st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
    jb_digest_of(text, (size_t)n, &digest);
    (void)snprintf(ret, JB_REF_MAX, JB_IMAGE_UNPACKED "/%.32s:latest", jb_digest_hex(&digest));
}

/* Where the caller holds these back, they can be seen; they stay for him. */
static int stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* An image file on its way into the store. */
struct unpacking {
    const struct jb_image_where *where;
    const char *store, *source, *name;
    int stop_fd; /* readable when the user stops it */
    bool mapped; /* as root of a user namespace with the user's ranges */
    struct {
        bool inside; /* it was begun there */
        struct jb_image_added added;
    } * shared;
};

static int unpack_file(const struct unpacking *u, struct jb_error *err)
{
    const struct jb_image_where *where = u->where;
    jb_autoistore struct jb_istore store = JB_ISTORE_INIT;
    const struct jb_istore_where there = {.path = u->store,
                                          .owner = u->mapped ? 0 : where->uid,
                                          .make = true,
                                          .privileged = where->privileged,
                                          .shared = where->privileged && where->policy->shared,
                                          .mapped = u->mapped,
                                          .uid = where->uid,
                                          .gid = where->gid};
    int r = jb_istore_open(&there, &store, err);
    if (r < 0)
        return r;
    struct jb_image_ui ui = where->ui ? *where->ui : (struct jb_image_ui){0};
    ui.signal_fd = u->stop_fd;
    const struct jb_image_job job = {.store = &store, .policy = where->policy, .ui = &ui, .name = u->name};
    mode_t mask = umask(0);
    r = jb_image_import(&job, u->source, &u->shared->added, err);
    (void)umask(mask);
    return r;
}

static int unpack_mapped(void *ctx, struct jb_error *err)
{
    struct unpacking *u = ctx;
    u->shared->inside = true;
    u->mapped = true;
    return unpack_file(u, err);
}

static int enter_and_unpack(void *ctx, struct jb_error *err)
{
    const struct unpacking *u = ctx;
    return u->where->inside(unpack_mapped, ctx, err);
}

static void stop_unpacking(void *ctx)
{
    const uint64_t one = 1;
    (void)!write(((const struct unpacking *)ctx)->stop_fd, &one, sizeof(one));
}

/*
 * With the owners that the image has for its files, where the user has ids for them: as `jobbox image import` of the same
 * file. This process stays who it is, so a child does it, which is told when the user stops it: it takes back what it began.
 */
static int unpack_inside(struct unpacking *u, int signal_fd, struct jb_error *err)
{
    const struct jb_image_ui ui = {.signal_fd = signal_fd};
    const struct jb_worker worker = {.run = enter_and_unpack, .ctx = u, .stop = stop_unpacking};
    u->stop_fd = eventfd(0, EFD_CLOEXEC);
    int r = u->stop_fd < 0 ? jb_fail_errno(err, errno, "unpacking") : jb_worker_run(&worker, &ui, err);
    jb_close(&u->stop_fd);
    return r;
}

static int unpack_as_can(struct unpacking *u, struct jb_error *err)
{
    jb_autoclose int signal_fd = stop_signals();
    int r = u->where->inside ? unpack_inside(u, signal_fd, err) : -ENOTSUP;
    if (r == 0 || u->shared->inside || r == -ECANCELED)
        return r;
    if (err && err->errnum)
        jb_image_say(u->where->ui, "all files of the image will be your own: %s", err->text);
    jb_error_clear(err);
    u->stop_fd = signal_fd;
    return unpack_file(u, err);
}

static int unpack(const struct jb_spec *spec, const struct jb_image_where *where, const char *name,
                  struct jb_image *image, struct jb_error *err)
{
    jb_autoistore struct jb_istore store = JB_ISTORE_INIT;
    jb_autofree char *path = jb_image_store_path(where);
    struct unpacking u = {.where = where,
                          .store = path,
                          .source = image->path,
                          .name = name,
                          .stop_fd = -1,
                          .shared = jb_shared_new(sizeof(*u.shared))};
    if (!path || !u.shared) {
        jb_shared_free(u.shared, sizeof(*u.shared));
        return jb_fail_errno(err, ENOMEM, "image");
    }
    jb_image_say(where->ui, "unpacking %s, this once", image->path);
    int r = unpack_as_can(&u, err);
    const struct jb_ref ref = {.digest = u.shared->added.digest};
    jb_shared_free(u.shared, sizeof(*u.shared));
    const struct jb_istore_where there = {.path = path, .owner = where->uid, .privileged = where->privileged};
    jb_autoimage struct jb_istore_image found = {.lock_fd = -1};
    if (r == 0)
        r = jb_istore_open(&there, &store, err);
    if (r == 0)
        r = jb_istore_find(&store, &ref, &found, err);
    if (r < 0)
        return r;
    free(jb_take_ptr(image->path));
    return take(spec, where, &store, &found, image, err);
}

/* What the kernel does not mount is in the store from an earlier job, or is unpacked into it now. */
static int unpacked(const struct jb_spec *spec, const struct jb_image_where *where, const struct stat *st,
                    struct jb_image *image, struct jb_error *err)
{
    struct jb_ref ref = {0};
    if (where->privileged && where->uid != 0)
        return jb_fail(
            err, ENOTSUP,
            "the kernel mounts only files that images.kernel_mount of the site allows, and root unpacks no "
            "others; import it into the store that everybody uses, or run the job yourself");
    jb_autofree char *store = jb_image_store_path(where);
    jb_image_unpacked_name(st, ref.name);
    char *path = jb_take_ptr(image->path);
    int r = store ? look_in(spec, where, store, where->uid, &ref, image, err) : -ENOMEM;
    if (r != -ENOENT) {
        free(path);
        return r;
    }
    jb_error_clear(err);
    image->path = path;
    if (where->touch)
        return unpack(spec, where, ref.name, image, err);
    image->kind = JB_IMAGE_STORE;
    r = jb_strv_printf(&image->layers, "%s/layers (what %s is unpacked to when the job runs)", store, path);
    return r < 0 ? jb_fail_errno(err, r, "image") : 0;
}

static bool kernel_may(const struct jb_image_where *where, const struct stat *st)
{
    bool roots_own = st->st_uid == 0 && !(st->st_mode & 022);
    return where->privileged && (where->policy->kernel_mount == JB_KERNEL_MOUNT_ANY ||
                                 (where->policy->kernel_mount == JB_KERNEL_MOUNT_OWNED && roots_own));
}

static int take_file(const struct jb_spec *spec, const struct jb_image_where *where, const char *full,
                     struct jb_image *image, struct jb_error *err)
{
    struct stat st;
    char key[512];
    jb_autoclose int fd = open(full, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    (void)jb_spec_where(spec, JB_KEY_IMAGE, key, sizeof(key));
    if (fd < 0 || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s: image \"%s\" cannot be read", key, spec->image);
    enum jb_image_format format = jb_image_format_of(fd);
    if (format == JB_IMAGE_NO_FORMAT)
        return jb_fail(
            err, EINVAL,
            "%s: image \"%s\" is neither a squashfs nor an erofs file; a tar becomes an image with "
            "\"jobbox image import\"",
            key, spec->image);
    if (kernel_may(where, &st)) {
        image->kind = JB_IMAGE_FILE;
        image->fstype = jb_image_format_name(format);
        image->roots_own = where->policy->kernel_mount == JB_KERNEL_MOUNT_OWNED;
        return 0;
    }
    int r = unpacked(spec, where, &st, image, err);
    return r < 0 ? jb_wrap(err, "%s: image \"%s\"", key, spec->image) : 0;
}

/* --- directories --- */

/* A name that neither the store nor the file system knows. */
static int not_found(const struct jb_spec *spec, const char *where, int errnum, struct jb_error *err)
{
    struct jb_ref ref;
    if (errnum == ENOENT && spec->image[0] != '/' && spec->image[0] != '.' &&
        jb_ref_parse(spec->image, &ref, NULL) == 0)
        return jb_fail(
            err, ENOENT,
            "%s: there is no image \"%s\" in the store and no file or directory of that name here; "
            "\"jobbox image pull docker://...\" fetches one, \"jobbox image list\" has all",
            where, spec->image);
    return jb_fail_errno(err, errnum, "%s: image \"%s\" cannot be opened", where, spec->image);
}

static int check_root(int fd, const struct jb_spec *spec, const char *where, struct jb_error *err)
{
    static const char *const mount_points[] = {"proc", "sys", "dev", "tmp", "run"};
    struct stat st;
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

static int take_path(const struct jb_spec *spec, const struct jb_image_where *where, struct jb_image *image,
                     struct jb_error *err)
{
    char key[512];
    struct stat st;
    (void)jb_spec_where(spec, JB_KEY_IMAGE, key, sizeof(key));
    jb_autofree char *full =
        spec->image[0] == '/' ? strdup(spec->image) : jb_asprintf("%s/%s", where->cwd, spec->image);
    if (!full)
        return jb_fail_errno(err, ENOMEM, "image");
    jb_autoclose int fd = open(full, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return not_found(spec, key, errno, err);
    image->path = realpath(full, NULL);
    if (fstat(fd, &st) < 0 || !image->path)
        return jb_fail_errno(err, errno, "%s: image \"%s\"", key, spec->image);
    if (S_ISREG(st.st_mode))
        return take_file(spec, where, full, image, err);
    if (!S_ISDIR(st.st_mode))
        return jb_fail(err, ENOTDIR, "%s: image \"%s\" is neither a directory nor a file", key, spec->image);
    int r = check_root(fd, spec, key, err);
    if (r < 0)
        return r;
    if (faccessat(AT_FDCWD, full, R_OK | X_OK, AT_EACCESS) < 0) /* by descriptor it takes faccessat2 */
        return jb_fail_errno(err, errno, "%s: image \"%s\" cannot be read", key, spec->image);
    /* the host by another name needs the host's treatment */
    image->kind = jb_streq(image->path, "/") ? JB_IMAGE_HOST : JB_IMAGE_DIR;
    return 0;
}

int jb_image_resolve(const struct jb_spec *spec, const struct jb_image_where *where, struct jb_image *ret,
                     struct jb_error *err)
{
    struct jb_image image = {.kind = JB_IMAGE_HOST};
    int r = 0;
    image.ref = strdup(spec->image);
    if (!image.ref)
        return jb_fail_errno(err, ENOMEM, "image");
    if (jb_streq(spec->image, "host")) {
        image.path = strdup("/");
        r = image.path ? 0 : jb_fail_errno(err, ENOMEM, "image");
    } else {
        r = in_store(spec, where, &image, err);
        if (r == -ENOENT) {
            jb_error_clear(err);
            r = take_path(spec, where, &image, err);
        } else if (r < 0) {
            char key[512];
            r = jb_wrap(err, "%s: image \"%s\"", jb_spec_where(spec, JB_KEY_IMAGE, key, sizeof(key)),
                        spec->image);
        }
    }
    if (r < 0) {
        jb_image_free(&image);
        return r;
    }
    *ret = image;
    return 0;
}
