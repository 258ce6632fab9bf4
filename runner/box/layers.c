/*
 * layers.c - overlays: the root over an image, and folders of the host over themselves.
 *
 * Owns: nothing beyond struct jb_rootfs. Runs in: the box's first process, single-threaded. Privilege: CAP_SYS_ADMIN in
 * its user namespace. Everything of the image and of the submitter is hostile here.
 */
#include "box/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box/identity.h"

#define OPTION_PAGE 4096 /* what mount(2) takes of options, with the byte at its end */

/* An upper's root shows as the merged root: it takes the lower's mode and owner. */
static int make_layer(struct jb_rootfs *fs, const struct jb_op *op, int lower, char upper[16], char work[16],
                      struct jb_error *err)
{
    struct stat st;
    (void)snprintf(upper, 16, "upper%u", fs->layers);
    (void)snprintf(work, 16, "work%u", fs->layers);
    fs->layers++;
    if (fstat(lower, &st) < 0)
        return jb_fail_errno(err, errno, "image");
    if (mkdirat(fs->scratch_fd, upper, 0755) < 0 || mkdirat(fs->scratch_fd, work, 0700) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    int r = op->over ? jb_rootfs_fill(fs, op, upper, err) : 0;
    if (r != 0)
        return r < 0 ? r : 0;
    if (fs->plan->userns) /* foreign owners are not ours to give */
        return 0;
    if ((st.st_uid != 0 || st.st_gid != 0) && fchownat(fs->scratch_fd, upper, st.st_uid, st.st_gid, 0) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    if ((st.st_mode & 07777) != 0755 && fchmodat(fs->scratch_fd, upper, st.st_mode & 07777, 0) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    return 0;
}

/*
 * More than one lower for a kernel before 6.5, which knows no `lowerdir+`, and whose descriptor-based calls take no value
 * of more than 255 bytes. Numbers of descriptors are names without a character that would have to be escaped, and
 * short: all layers that an overlay may have fit into the page of mount(2).
 */
static int overlay_by_string(struct jb_rootfs *fs, const int *lowers, size_t n, const char *upper,
                             const char *work, struct jb_error *err)
{
    jb_autobuf struct jb_buf text = {0};
    int r = jb_buf_puts(&text, "lowerdir=");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = jb_buf_printf(&text, "%s%d", i ? ":" : "", lowers[i]);
    if (r == 0)
        r = jb_buf_printf(&text, ",upperdir=%d/%s,workdir=%d/%s%s", fs->scratch_fd, upper, fs->scratch_fd,
                          work, fs->plan->userns ? ",userxattr" : "");
    if (r < 0)
        return jb_fail_errno(err, r, "overlay");
    if (text.len >= OPTION_PAGE)
        return jb_fail(err, E2BIG, "%zu layers are more than this kernel's mount options can name", n);
    return fs->api->make_by_string(fs->api->ctx, "overlay", text.data, fs->scratch_fd, "root", JB_ATTR_PLAIN,
                                   err);
}

/* Through descriptors: no name can hold a character that the kernel would misread. `lowers`: the top one first. */
static int make_overlay(struct jb_rootfs *fs, const struct jb_op *op, const int *lowers, size_t n,
                        int (*furnish)(struct jb_rootfs *, const int *, size_t, struct jb_error *),
                        struct jb_error *err)
{
    char upper[16];
    char work[16];
    int r = make_layer(fs, op, lowers[0], upper, work, err);
    if (r == 0 && furnish)
        r = furnish(fs, lowers, n, err);
    if (r < 0)
        return r;
    if (op->flags & JB_OPF_FUSE)
        return jb_rootfs_fuse(fs, op, lowers, n, err);
    jb_autofree struct jb_mount_option *options = calloc(n + 3, sizeof(*options));
    jb_autofree char(*paths)[JB_FD_PATH] = calloc(n + 2, sizeof(*paths));
    if (!options || !paths)
        return jb_fail_errno(err, ENOMEM, "overlay");
    for (size_t i = 0; i < n; i++)
        options[i] = (struct jb_mount_option){n > 1 ? "lowerdir+" : "lowerdir",
                                              jb_rootfs_fd_path(paths[i], lowers[i], NULL)};
    options[n] = (struct jb_mount_option){"upperdir", jb_rootfs_fd_path(paths[n], fs->scratch_fd, upper)};
    options[n + 1] =
        (struct jb_mount_option){"workdir", jb_rootfs_fd_path(paths[n + 1], fs->scratch_fd, work)};
    options[n + 2] = (struct jb_mount_option){"userxattr", NULL};
    r = fs->api->make(fs->api->ctx, "overlay", options, n + (fs->plan->userns ? 3 : 2), JB_ATTR_PLAIN, err);
    if (r != -EINVAL || n == 1)
        return r;
    jb_error_clear(err);
    return overlay_by_string(fs, lowers, n, upper, work, err);
}

static int root_at(struct jb_rootfs *fs, int mount_fd, struct jb_error *err)
{
    jb_autoclose int at = openat(fs->scratch_fd, "root", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at < 0)
        return jb_fail_errno(err, errno, "the box's root");
    return jb_rootfs_attach(fs, mount_fd, at, "the box's root", err);
}

/* Whether an image has something at that path of its own: of that type, and of another. */
static void image_has(const int *lowers, size_t n, const char *path, mode_t type, bool *ret_right,
                      bool *ret_wrong)
{
    *ret_right = false;
    *ret_wrong = false;
    for (size_t i = 0; i < n && !*ret_right && !*ret_wrong; i++) {
        struct stat st;
        jb_autoclose int fd = jb_open_at(lowers[i], path, O_PATH | O_NOFOLLOW, 0, JB_WALK_STRICT);
        if (fd == -ENOENT)
            continue;
        bool seen = fd >= 0 && fstat(fd, &st) == 0;
        *ret_right = seen && (st.st_mode & S_IFMT) == type;
        *ret_wrong = !*ret_right;
    }
}

/*
 * In a user namespace the folders of an image may be somebody's that is not mapped, and nothing can be made in them. What
 * the upper has from the beginning shows all the same: an empty file, for the box's own to be mounted on. Where it cannot
 * be had the box does without that file.
 */
static void furnish_place(int upper, const char *path, const int *lowers, size_t n)
{
    bool right;
    bool wrong;
    char parent[NAME_MAX + 1];
    size_t len = strcspn(path, "/");
    if (!path[len] || strchr(path + len + 1, '/') || len >= sizeof(parent)) /* one folder deep */
        return;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)len, path);
    image_has(lowers, n, path, S_IFREG, &right, &wrong);
    if (right)
        return;
    image_has(lowers, n, parent, S_IFDIR, &right, &wrong);
    if (wrong || (mkdirat(upper, parent, 0755) < 0 && errno != EEXIST))
        return;
    int fd = openat(upper, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0)
        (void)close(fd);
}

/* Directories of the upper that hide what the image has in their place. */
static int furnish_upper(struct jb_rootfs *fs, const int *lowers, size_t n, struct jb_error *err)
{
    jb_autoclose int upper =
        openat(fs->scratch_fd, "upper0", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (upper < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    for (size_t i = 0; i < fs->plan->n_ops; i++) {
        const struct jb_op *op = &fs->plan->ops[i];
        if (op->kind == JB_OP_TEXT && fs->plan->userns)
            furnish_place(upper, op->target + 1, lowers, n);
        if (!(op->flags & JB_OPF_IN_UPPER))
            continue;
        if (op->over && faccessat(upper, op->target + 1, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue; /* it is what the other box had there */
        const char *name = op->target + 1;
        bool owned = op->flags & JB_OPF_JOB_OWNED;
        if (mkdirat(upper, name, 0755) < 0)
            return jb_fail_errno(err, errno, "making %s", op->target);
        jb_autoclose int fd = openat(upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchmod(fd, op->mode) < 0 || fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ||
            (owned && fchown(fd, fs->plan->uid, fs->plan->gid) < 0))
            return jb_fail_errno(err, errno, "making %s", op->target);
    }
    return 0;
}

/* The plan looked at the file; what is mounted is what is opened now. */
static int check_file(const struct jb_op *op, int fd, struct jb_error *err)
{
    struct stat st;
    enum jb_image_format format = jb_image_format_of(fd);
    if (fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "image %s", op->source);
    if (!S_ISREG(st.st_mode) || format == JB_IMAGE_NO_FORMAT ||
        strcmp(jb_image_format_name(format), op->text) != 0)
        return jb_fail(err, EINVAL, "image %s is no %s file any more", op->source, op->text);
    if ((op->flags & JB_OPF_ROOTS_OWN) && (st.st_uid != 0 || (st.st_mode & 022)))
        return jb_fail(err, EPERM, "image %s is not root's alone any more; it is not mounted", op->source);
    return 0;
}

/* An image file as a mount of this namespace: an overlay takes nothing that is not attached. */
static int mount_file(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char device[32];
    jb_autoclose int file = op->flags & JB_OPF_AS_SUBMITTER
                                ? jb_open_as_submitter(fs->plan, op->source, O_RDONLY | O_NONBLOCK, err)
                                : open(op->source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return jb_fail_errno(err, file < -1 ? file : errno, "image %s", op->source);
    int r = check_file(op, file, err);
    if (r < 0)
        return r;
    jb_autoclose int loop = fs->api->loop(fs->api->ctx, file, device, err);
    if (loop < 0)
        return jb_wrap(err, "image %s", op->source);
    const struct jb_mount_option options[] = {{"source", device}, {"ro", NULL}};
    jb_autoclose int fd = fs->api->make(fs->api->ctx, op->text, options, JB_ARRAY_LEN(options),
                                        JB_ATTR_PLAIN | MOUNT_ATTR_RDONLY, err);
    if (fd < 0)
        return jb_wrap(err, "image %s", op->source);
    if (mkdirat(fs->scratch_fd, "image", 0755) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    jb_autoclose int at = openat(fs->scratch_fd, "image", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = at < 0 ? jb_fail_errno(err, errno, "preparing the scratch")
               : jb_rootfs_attach(fs, fd, at, "the image", err);
    return r < 0 ? r : jb_take_fd(&fd);
}

void jb_rootfs_tell_layer(struct jb_rootfs *fs, const char *kind, unsigned number, const char *target,
                          const int *lowers, size_t n)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "%s%u", kind, number);
    if (fs->layered)
        fs->layered(fs->layered_ctx, name, target, lowers, n);
}

/* All of them open at once: the descriptors are their names. */
static int overlay_over(struct jb_rootfs *fs, const struct jb_op *op, int *fds, size_t n,
                        struct jb_error *err)
{
    struct jb_op one = *op;
    for (size_t i = 0; i < n; i++) {
        one.source = op->n_lowers ? op->lowers[i] : op->source;
        fds[i] = op->text ? mount_file(fs, op, err) : jb_rootfs_source(fs, &one, err);
        if (fds[i] < 0 && op->text)
            return fds[i];
        if (fds[i] < 0)
            return jb_fail_errno(err, fds[i], "image %s", one.source);
    }
    int fd = make_overlay(fs, op, fds, n, furnish_upper, err);
    if (fd >= 0)
        jb_rootfs_tell_layer(fs, "upper", fs->layers - 1, "/", fds, n);
    if (fd >= 0)
        return fd;
    return n > 1 ? jb_wrap(err, "overlay over the %zu layers below %s", n, op->lowers[0])
                 : jb_wrap(err, "overlay over %s", one.source);
}

int jb_rootfs_root_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    size_t n = op->n_lowers ? op->n_lowers : 1;
    jb_autofree int *fds = malloc(n * sizeof(*fds));
    if (!fds)
        return jb_fail_errno(err, ENOMEM, "overlay");
    memset(fds, 0xff, n * sizeof(*fds)); /* -1: not open */
    jb_autoclose int fd = overlay_over(fs, op, fds, n, err);
    for (size_t i = 0; i < n; i++)
        jb_close(&fds[i]);
    int r = fd < 0 ? fd : root_at(fs, fd, err);
    if (r < 0)
        return r;
    fs->root_fd = jb_take_fd(&fd);
    return jb_rootfs_note_own(fs, fs->root_fd, err);
}

int jb_rootfs_root_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    (void)op;
    const struct jb_mount_option options[] = {{"mode", "0755"}, {"size", "16m"}, {"nr_inodes", "4096"}};
    jb_autoclose int fd =
        fs->api->make(fs->api->ctx, "tmpfs", options, JB_ARRAY_LEN(options), JB_ATTR_PLAIN, err);
    if (fd < 0)
        return fd;
    int r = root_at(fs, fd, err);
    if (r < 0)
        return r;
    fs->root_fd = jb_take_fd(&fd);
    return jb_rootfs_note_own(fs, fs->root_fd, err);
}

int jb_rootfs_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int lower = open(op->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (lower < 0 && (op->flags & JB_OPF_OPTIONAL)) /* a file, or nothing we may enter */
        return 0;
    if (lower < 0)
        return jb_fail_errno(err, errno, "%s", op->source);
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_STRICT, err);
    if (at < 0)
        return at;
    jb_autoclose int fd = make_overlay(fs, op, &lower, 1, NULL, err);
    if (fd >= 0)
        jb_rootfs_tell_layer(fs, "upper", fs->layers - 1, op->target, &lower, 1);
    if (fd >= 0)
        return jb_rootfs_note_own(fs, fd, err) < 0 ? -ENOMEM : jb_rootfs_attach(fs, fd, at, op->target, err);
    if (!(op->flags & JB_OPF_OR_RO_BIND))
        return jb_wrap(err, "overlay over %s", op->source);
    jb_error_clear(err);
    return jb_rootfs_bind(fs, lower, op, at, err);
}
