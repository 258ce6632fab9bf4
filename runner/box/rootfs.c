/*
 * rootfs.c - the plan's mount operations, one function for each kind.
 *
 * Owns: descriptors of the root under construction. Runs in: the box's first process, single-threaded.
 * Privilege: CAP_SYS_ADMIN in its user namespace. Everything of the image and of the submitter is hostile
 * here: places are found by descriptor beneath the new root, never by a path string from "/".
 */
#include "box/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "box/identity.h"
#include "box/loopdev.h"

#define ATTR_PLAIN  (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define FD_PATH     64
#define OPTION_PAGE 4096 /* what mount(2) takes of options, with the byte at its end */

static const char *fd_path(char buf[FD_PATH], int fd, const char *name)
{
    (void)snprintf(buf, FD_PATH, "/proc/self/fd/%d%s%s", fd, name ? "/" : "", name ? name : "");
    return buf;
}

int jb_rootfs_find(struct jb_rootfs *fs, const char *target, enum jb_walk walk)
{
    return jb_open_at(fs->root_fd, target + strspn(target, "/"), O_PATH, 0, walk);
}

/* The file system of a mount that this box made: what is made in it is made in the box. */
static int note_own(struct jb_rootfs *fs, int fd, struct jb_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "a mount of the box");
    for (size_t i = 0; i < fs->n_own; i++)
        if (fs->own[i] == st.st_dev)
            return 0;
    dev_t *grown = realloc(fs->own, (fs->n_own + 1) * sizeof(*grown));
    if (!grown)
        return jb_fail_errno(err, ENOMEM, "a mount of the box");
    fs->own = grown;
    fs->own[fs->n_own++] = st.st_dev;
    return 0;
}

/*
 * Whether `fd` lies in something of the host's, that is in a bind. There the submitter may make what he could make
 * himself, and no more: it is done with his credentials.
 */
static bool is_hosts(const struct jb_rootfs *fs, int fd)
{
    struct stat st;
    if (fs->plan->userns || fs->plan->submitter_uid == geteuid() || fstat(fd, &st) < 0)
        return false;
    for (size_t i = 0; i < fs->n_own; i++)
        if (fs->own[i] == st.st_dev)
            return false;
    return true;
}

/* What is to be made below a directory that is there. */
struct making {
    int at;
    const char *path;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int *ret;
    int flags; /* of a file */
};

static int make_dirs(void *ctx)
{
    const struct making *m = ctx;
    return jb_mkdir_p(m->at, m->path, m->mode, m->uid, m->gid, JB_WALK_STRICT, m->ret);
}

static int make_file(void *ctx)
{
    const struct making *m = ctx;
    int fd = openat(m->at, m->path, m->flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, m->mode);
    return fd < 0 ? -errno : fd;
}

struct looking {
    const struct jb_rootfs *fs;
    const char *path;
    enum jb_walk walk;
    const char *rest;
};

/* The deepest directory on the way to `path` that is there, and what of the path is left below it. */
static int deepest(void *ctx)
{
    struct looking *l = ctx;
    const char *path = l->path;
    size_t len = strlen(path);
    for (;;) {
        char upto[PATH_MAX];
        (void)snprintf(upto, sizeof(upto), "%.*s", (int)len, len ? path : "");
        int fd = len == 0 ? openat(l->fs->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)
                          : jb_open_at(l->fs->root_fd, upto, O_PATH | O_DIRECTORY, 0, l->walk);
        if (fd >= 0 || len == 0 || fd != -ENOENT) {
            l->rest = path + len + strspn(path + len, "/");
            return fd < 0 && len == 0 ? -errno : fd;
        }
        while (len > 0 && path[len - 1] != '/')
            len--;
        while (len > 0 && path[len - 1] == '/')
            len--;
    }
}

/*
 * mkdir -p in the root. From the deepest directory there is on by descriptor and without symlinks, so that nobody who
 * has a hand in a bind can lead it elsewhere between the look and the making.
 */
/* NOLINTBEGIN(readability-non-const-parameter): ret is set */
static int make_place(struct jb_rootfs *fs, const char *path, mode_t mode, bool job_owned, enum jb_walk walk,
                      int *ret, struct jb_error *err)
{
    struct looking look = {.fs = fs, .path = path, .walk = walk};
    jb_autoclose int at = jb_as_submitter(fs->plan, deepest, &look, err);
    if (at < 0)
        return at;
    const char *rest = look.rest;
    bool hosts = is_hosts(fs, at);
    bool give = job_owned && !hosts;
    struct making m = {.at = at,
                       .path = *rest ? rest : ".",
                       .mode = mode,
                       .uid = give ? fs->plan->uid : (uid_t)-1,
                       .gid = give ? fs->plan->gid : (gid_t)-1,
                       .ret = ret};
    return hosts ? jb_as_submitter(fs->plan, make_dirs, &m, err) : make_dirs(&m);
}
/* NOLINTEND(readability-non-const-parameter) */

/* A new file in the directory `at`: -EEXIST when there is one. */
static int make_file_in(struct jb_rootfs *fs, int at, const char *name, int flags, mode_t mode,
                        bool *ret_hosts, struct jb_error *err)
{
    struct making m = {.at = at, .path = name, .mode = mode, .flags = flags};
    *ret_hosts = is_hosts(fs, at);
    return *ret_hosts ? jb_as_submitter(fs->plan, make_file, &m, err) : make_file(&m);
}

int jb_rootfs_place(struct jb_rootfs *fs, const char *target, bool file, enum jb_walk walk,
                    struct jb_error *err)
{
    const char *path = target + strspn(target, "/");
    int fd = jb_open_at(fs->root_fd, path, O_PATH | (file ? 0 : O_DIRECTORY), 0, walk);
    if (fd >= 0)
        return fd;
    if (fd != -ENOENT)
        return jb_fail_errno(err, fd, "%s in the box%s", target,
                             fd == -ELOOP ? " (a symlink is in the way; it must be an ordinary directory)"
                                          : "");
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX] = "";
    bool hosts;
    if (file && slash)
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    jb_autoclose int at = -1;
    int r = make_place(fs, file ? parent : path, 0755, false, walk, &at, err);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s in the box", target);
    if (!file)
        return jb_take_fd(&at);
    jb_autoclose int made = make_file_in(fs, at, slash ? slash + 1 : path, O_WRONLY, 0644, &hosts, err);
    if (made < 0)
        return jb_fail_errno(err, made, "making %s in the box", target);
    fd = jb_open_at(fs->root_fd, path, O_PATH, 0, walk);
    return fd < 0 ? jb_fail_errno(err, fd, "%s in the box", target) : fd;
}

static int attach(struct jb_rootfs *fs, int mount_fd, int at_fd, const char *what, struct jb_error *err)
{
    int r = fs->api->attach(fs->api->ctx, mount_fd, at_fd);
    return r < 0 ? jb_fail_errno(err, r, "attaching %s", what) : 0;
}

/* Attaches `mount_fd` to a directory of the root that belongs to jobbox, made when absent. */
static int attach_system(struct jb_rootfs *fs, int mount_fd, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_STRICT, err);
    return at < 0 ? at : attach(fs, mount_fd, at, op->target, err);
}

static int open_stage(const char *path, struct jb_error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? jb_fail_errno(err, errno, "%s", path) : fd;
}

/* The scratch's own root: a place for the box's root, an empty directory for masks. */
static int furnish_scratch(struct jb_rootfs *fs, struct jb_error *err)
{
    if (mkdirat(fs->scratch_fd, "root", 0755) < 0 || mkdirat(fs->scratch_fd, "empty", 0555) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    return 0;
}

static int stage_scratch(struct jb_rootfs *fs, int *mount_fd, struct jb_error *err)
{
    jb_autoclose int stage = open_stage(fs->stage, err);
    if (stage < 0)
        return stage;
    int r = attach(fs, *mount_fd, stage, "the scratch", err);
    if (r < 0)
        return r;
    fs->scratch_fd = jb_take_fd(mount_fd);
    return furnish_scratch(fs, err);
}

static int op_scratch_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char size[32];
    char inodes[32];
    struct jb_mount_option options[3] = {{"mode", "0755"}};
    size_t n = 1;
    if (op->bytes != JB_UNSET) {
        (void)snprintf(size, sizeof(size), "%" PRIu64, op->bytes);
        options[n++] = (struct jb_mount_option){"size", size};
    }
    if (op->inodes != JB_UNSET) {
        (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, op->inodes);
        options[n++] = (struct jb_mount_option){"nr_inodes", inodes};
    }
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "tmpfs", options, n, ATTR_PLAIN, err);
    if (fd < 0)
        return fd;
    int r = note_own(fs, fd, err);
    return r < 0 ? r : stage_scratch(fs, &fd, err);
}

/* An overlay writes with the rights of whoever mounted it, and this one lets them pass every quota. */
static int give_up_resources(struct jb_error *err)
{
    int r = jb_drop_capability(CAP_SYS_RESOURCE);
    return r < 0 ? jb_fail_errno(err, r, "giving up CAP_SYS_RESOURCE, which knows no quota") : 0;
}

static int op_scratch_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int source = open_stage(op->source, err);
    if (source < 0)
        return source;
    bool quota = op->bytes != JB_UNSET || op->inodes != JB_UNSET;
    int r = quota ? give_up_resources(err) : 0;
    if (r < 0)
        return r;
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "%s", op->source);
    r = fs->api->setattr(fs->api->ctx, fd, ATTR_PLAIN, false);
    if (r < 0)
        return jb_fail_errno(err, r, "%s", op->source);
    return stage_scratch(fs, &fd, err);
}

/* The file holds a little more than was asked for. What is too much is taken: it is reserved, not written. */
static int trim_scratch(int dir, uint64_t bytes, struct jb_error *err)
{
    struct statfs st;
    if (fstatfs(dir, &st) < 0)
        return jb_fail_errno(err, errno, "the scratch's file system");
    uint64_t room = (uint64_t)st.f_bavail * (uint64_t)st.f_bsize;
    if (room <= bytes)
        return 0;
    jb_autoclose int fd = openat(dir, ".room", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)(room - bytes)) < 0)
        return jb_fail_errno(err, errno, "the scratch's file system");
    return 0;
}

static int op_scratch_loop(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char path[JB_LOOP_PATH];
    jb_autoclose int dir = open_stage(op->source, err);
    if (dir < 0)
        return dir;
    jb_autoclose int image = openat(dir, JB_SCRATCH_IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (image < 0)
        return jb_fail_errno(err, errno, "%s/" JB_SCRATCH_IMAGE, op->source);
    jb_autoclose int loop = jb_loop_attach(image, path, err);
    if (loop < 0)
        return jb_wrap(err, "scratch");
    JB_CRASH_POINT(loop_attached);
    const struct jb_mount_option options[] = {
        {"source", path}, {"noinit_itable", NULL}, {"nodelalloc", NULL}};
    jb_autoclose int fd =
        fs->api->make(fs->api->ctx, "ext4", options, JB_ARRAY_LEN(options), ATTR_PLAIN, err);
    int r = fd < 0 ? fd : note_own(fs, fd, err);
    if (r == 0)
        r = stage_scratch(fs, &fd, err);
    return r < 0 ? r : trim_scratch(fs->scratch_fd, op->bytes, err);
}

/* An upper's root shows as the merged root: it takes the lower's mode and owner. */
static int make_layer(struct jb_rootfs *fs, int lower, char upper[16], char work[16], struct jb_error *err)
{
    struct stat st;
    (void)snprintf(upper, 16, "upper%u", fs->layers);
    (void)snprintf(work, 16, "work%u", fs->layers);
    fs->layers++;
    if (fstat(lower, &st) < 0)
        return jb_fail_errno(err, errno, "image");
    if (mkdirat(fs->scratch_fd, upper, 0755) < 0 || mkdirat(fs->scratch_fd, work, 0700) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
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
    return fs->api->make_by_string(fs->api->ctx, "overlay", text.data, fs->scratch_fd, "root", ATTR_PLAIN,
                                   err);
}

/* Through descriptors: no name can hold a character that the kernel would misread. `lowers`: the top one first. */
static int make_overlay(struct jb_rootfs *fs, const int *lowers, size_t n,
                        int (*furnish)(struct jb_rootfs *, const int *, size_t, struct jb_error *),
                        struct jb_error *err)
{
    char upper[16];
    char work[16];
    int r = make_layer(fs, lowers[0], upper, work, err);
    if (r == 0 && furnish)
        r = furnish(fs, lowers, n, err);
    if (r < 0)
        return r;
    jb_autofree struct jb_mount_option *options = calloc(n + 3, sizeof(*options));
    jb_autofree char(*paths)[FD_PATH] = calloc(n + 2, sizeof(*paths));
    if (!options || !paths)
        return jb_fail_errno(err, ENOMEM, "overlay");
    for (size_t i = 0; i < n; i++)
        options[i] =
            (struct jb_mount_option){n > 1 ? "lowerdir+" : "lowerdir", fd_path(paths[i], lowers[i], NULL)};
    options[n] = (struct jb_mount_option){"upperdir", fd_path(paths[n], fs->scratch_fd, upper)};
    options[n + 1] = (struct jb_mount_option){"workdir", fd_path(paths[n + 1], fs->scratch_fd, work)};
    options[n + 2] = (struct jb_mount_option){"userxattr", NULL};
    r = fs->api->make(fs->api->ctx, "overlay", options, n + (fs->plan->userns ? 3 : 2), ATTR_PLAIN, err);
    if (r != -EINVAL || n == 1)
        return r;
    jb_error_clear(err);
    return overlay_by_string(fs, lowers, n, upper, work, err);
}

static int open_source(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    if (!(op->flags & JB_OPF_AS_SUBMITTER)) {
        int fd = open(op->source, O_PATH | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    return jb_open_as_submitter(fs->plan, op->source, O_PATH, err);
}

static int root_at(struct jb_rootfs *fs, int mount_fd, struct jb_error *err)
{
    jb_autoclose int at = openat(fs->scratch_fd, "root", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at < 0)
        return jb_fail_errno(err, errno, "the box's root");
    return attach(fs, mount_fd, at, "the box's root", err);
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
                                        ATTR_PLAIN | MOUNT_ATTR_RDONLY, err);
    if (fd < 0)
        return jb_wrap(err, "image %s", op->source);
    if (mkdirat(fs->scratch_fd, "image", 0755) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    jb_autoclose int at = openat(fs->scratch_fd, "image", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = at < 0 ? jb_fail_errno(err, errno, "preparing the scratch") : attach(fs, fd, at, "the image", err);
    return r < 0 ? r : jb_take_fd(&fd);
}

static void tell_layer(struct jb_rootfs *fs, const char *kind, unsigned number, const char *target,
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
        fds[i] = op->text ? mount_file(fs, op, err) : open_source(fs, &one, err);
        if (fds[i] < 0 && op->text)
            return fds[i];
        if (fds[i] < 0)
            return jb_fail_errno(err, fds[i], "image %s", one.source);
    }
    int fd = make_overlay(fs, fds, n, furnish_upper, err);
    if (fd >= 0)
        tell_layer(fs, "upper", fs->layers - 1, "/", fds, n);
    if (fd >= 0)
        return fd;
    return n > 1 ? jb_wrap(err, "overlay over the %zu layers below %s", n, op->lowers[0])
                 : jb_wrap(err, "overlay over %s", one.source);
}

static int op_root_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
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
    return note_own(fs, fs->root_fd, err);
}

static int op_root_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    (void)op;
    const struct jb_mount_option options[] = {{"mode", "0755"}, {"size", "16m"}, {"nr_inodes", "4096"}};
    jb_autoclose int fd =
        fs->api->make(fs->api->ctx, "tmpfs", options, JB_ARRAY_LEN(options), ATTR_PLAIN, err);
    if (fd < 0)
        return fd;
    int r = root_at(fs, fd, err);
    if (r < 0)
        return r;
    fs->root_fd = jb_take_fd(&fd);
    return note_own(fs, fs->root_fd, err);
}

static int bind_fd(struct jb_rootfs *fs, int source, const struct jb_op *op, int at, struct jb_error *err)
{
    bool recursive = op->flags & JB_OPF_RECURSIVE;
    uint64_t attr = ATTR_PLAIN | (op->flags & JB_OPF_RW ? 0U : MOUNT_ATTR_RDONLY) |
                    (op->flags & JB_OPF_NO_EXEC ? MOUNT_ATTR_NOEXEC : 0U);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, source, recursive);
    if (fd < 0)
        return jb_fail_errno(err, fd, "copying the mount of %s", op->source);
    int r = fs->api->setattr(fs->api->ctx, fd, attr, recursive);
    if (r < 0)
        return jb_fail_errno(err, r, "mount attributes of %s", op->source);
    return attach(fs, fd, at, op->target, err);
}

/* The spec's path passed the rules; symlinks may have led elsewhere. */
static int check_opened(struct jb_rootfs *fs, const struct jb_op *op, int source, struct jb_error *err)
{
    char link[FD_PATH];
    char path[PATH_MAX];
    if (!(op->flags & JB_OPF_AS_SUBMITTER))
        return 0;
    ssize_t n = readlink(fd_path(link, source, NULL), path, sizeof(path) - 1);
    if (n < 0)
        return jb_fail_errno(err, errno, "%s", op->source);
    path[n] = '\0';
    const char *why = jb_bind_refusal(&fs->plan->binds, path, op->flags & JB_OPF_RW);
    return why ? jb_fail(err, EPERM, "%s is %s, which may not be bound: %s", op->source, path, why) : 0;
}

static int op_bind(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int source = open_source(fs, op, err);
    if (source == -ENOENT && (op->flags & JB_OPF_OPTIONAL))
        return 0;
    struct stat st;
    if (source < 0 || fstat(source, &st) < 0)
        return jb_fail_errno(err, source < 0 ? source : errno, "%s", op->source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode))
        return jb_fail(err, EINVAL,
                       "%s is neither a directory nor a file; devices are asked for under "
                       "resources.devices",
                       op->source);
    int r = check_opened(fs, op, source, err);
    if (r < 0)
        return r;
    enum jb_walk walk = op->flags & (JB_OPF_AS_SUBMITTER | JB_OPF_IN_ROOT) ? JB_WALK_IN_ROOT : JB_WALK_STRICT;
    jb_autoclose int at = jb_rootfs_place(fs, op->target, !S_ISDIR(st.st_mode), walk, err);
    if (at < 0)
        return op->flags & JB_OPF_OPTIONAL && !(op->flags & JB_OPF_AS_SUBMITTER) ? 0 : at;
    return bind_fd(fs, source, op, at, err);
}

static int op_overlay(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int lower = open(op->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (lower < 0 && (op->flags & JB_OPF_OPTIONAL)) /* a file, or nothing we may enter */
        return 0;
    if (lower < 0)
        return jb_fail_errno(err, errno, "%s", op->source);
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_STRICT, err);
    if (at < 0)
        return at;
    jb_autoclose int fd = make_overlay(fs, &lower, 1, NULL, err);
    if (fd >= 0)
        tell_layer(fs, "upper", fs->layers - 1, op->target, &lower, 1);
    if (fd >= 0)
        return note_own(fs, fd, err) < 0 ? -ENOMEM : attach(fs, fd, at, op->target, err);
    if (!(op->flags & JB_OPF_OR_RO_BIND))
        return jb_wrap(err, "overlay over %s", op->source);
    jb_error_clear(err);
    return bind_fd(fs, lower, op, at, err);
}

static int op_scratch_bind(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char name[16];
    if (op->flags &
        JB_OPF_OPTIONAL) { /* an image may have a symlink here, to a directory that is the box's anyway */
        jb_autoclose int there = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
        if (there == -ELOOP)
            return 0;
    }
    (void)snprintf(name, sizeof(name), "dir%u", fs->binds++);
    if (mkdirat(fs->scratch_fd, name, 0755) < 0 || fchmodat(fs->scratch_fd, name, op->mode, 0) < 0)
        return jb_fail_errno(err, errno, "preparing the scratch");
    if ((op->flags & JB_OPF_JOB_OWNED) && fchownat(fs->scratch_fd, name, fs->plan->uid, fs->plan->gid, 0) < 0)
        return jb_fail_errno(err, errno, "giving %s to the job", op->target);
    jb_autoclose int source = openat(fs->scratch_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int fd = source < 0 ? -errno : fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "preparing the scratch");
    tell_layer(fs, "dir", fs->binds - 1, op->target, NULL, 0);
    return attach_system(fs, fd, op, err);
}

static int op_tmpfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char size[32];
    char mode[16];
    (void)snprintf(size, sizeof(size), "%" PRIu64, op->bytes);
    (void)snprintf(mode, sizeof(mode), "%04o", (unsigned)op->mode);
    char inodes[32];
    (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, fs->plan->scratch_inodes);
    const struct jb_mount_option options[] = {{"mode", mode}, {"size", size}, {"nr_inodes", inodes}};
    size_t n = JB_ARRAY_LEN(options) - (fs->plan->scratch_inodes == JB_UNSET ? 1 : 0);
    jb_autoclose int at = jb_rootfs_place(fs, op->target, false, JB_WALK_IN_ROOT, err);
    if (at < 0)
        return at;
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "tmpfs", options, n, ATTR_PLAIN, err);
    int r = fd < 0 ? fd : note_own(fs, fd, err);
    return r < 0 ? r : attach(fs, fd, at, op->target, err);
}

static int op_symlink(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    if (symlinkat(op->source, fs->root_fd, op->target + strspn(op->target, "/")) < 0)
        return jb_fail_errno(err, errno, "%s in the box", op->target);
    return 0;
}

/* A directory for the job: made with the job as owner, left alone when it is there. */
static int op_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const char *path = op->target + strspn(op->target, "/");
    if (!*path)
        return 0;
    jb_autoclose int there = jb_open_at(fs->root_fd, path, O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
    if (there >= 0)
        return 0;
    if (there != -ENOENT)
        return jb_fail_errno(err, there, "%s in the box", op->target);
    int r = make_place(fs, path, op->mode, true, JB_WALK_IN_ROOT, NULL, err);
    return r < 0 ? jb_fail_errno(err, r, "making %s in the box", op->target) : 0;
}

static int op_file(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const char *path = op->target + strspn(op->target, "/");
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX] = "";
    bool hosts = false;
    if (slash)
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    jb_autoclose int at = -1;
    int r = make_place(fs, parent, 0755, false, JB_WALK_STRICT, &at, err);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s in the box", op->target);
    jb_autoclose int fd = make_file_in(fs, at, slash ? slash + 1 : path, O_WRONLY, op->mode, &hosts, err);
    if (fd < 0)
        return jb_fail_errno(err, fd, "making %s in the box", op->target);
    r = jb_write_all(fd, op->text, strlen(op->text));
    if (r == 0 && fchmod(fd, op->mode) < 0)
        r = -errno;
    if (r == 0 && !hosts && fchown(fd, fs->plan->uid, fs->plan->gid) < 0)
        r = -errno;
    return r < 0 ? jb_fail_errno(err, r, "writing %s in the box", op->target) : 0;
}

/* The place for a file that covers what is there. Where the image has a symlink, that goes: it may lead anywhere. */
static int cover_place(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    int at = jb_rootfs_place(fs, op->target, true, JB_WALK_STRICT, err);
    if (at != -ELOOP)
        return at;
    const char *path = op->target + 1;
    const char *slash = strrchr(path, '/');
    jb_autofree char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!parent)
        return jb_fail_errno(err, ENOMEM, "%s in the box", op->target);
    jb_autoclose int dir = jb_open_at(fs->root_fd, parent, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir < 0 || unlinkat(dir, slash ? slash + 1 : path, 0) < 0)
        return at;
    jb_error_clear(err);
    return jb_rootfs_place(fs, op->target, true, JB_WALK_STRICT, err);
}

/* A file of the scratch over what the image has: no copy of that, and nothing that could be written through. */
static int op_text(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    char name[16];
    jb_autoclose int at = cover_place(fs, op, err);
    if (at < 0 && (op->flags & JB_OPF_OPTIONAL) &&
        (at == -ELOOP || at == -EACCES || at == -EPERM || at == -EROFS)) {
        jb_error_clear(err);
        return 0;
    }
    struct stat st;
    if (at < 0 || fstat(at, &st) < 0)
        return at < 0 ? at : jb_fail_errno(err, errno, "%s in the box", op->target);
    if (!S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "%s in the box is not an ordinary file", op->target);
    (void)snprintf(name, sizeof(name), "text%u", fs->binds++);
    jb_autoclose int file = openat(fs->scratch_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, op->mode);
    int r = file < 0 ? -errno : jb_write_all(file, op->text, strlen(op->text));
    if (r == 0 && fchmod(file, op->mode) < 0)
        r = -errno;
    jb_autoclose int source = r < 0 ? -1 : openat(fs->scratch_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    jb_autoclose int fd = source < 0 ? (r < 0 ? r : -errno) : fs->api->clone(fs->api->ctx, source, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "%s in the box", op->target);
    return attach(fs, fd, at, op->target, err);
}

static int op_proc(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "proc", NULL, 0, ATTR_PLAIN | MOUNT_ATTR_NOEXEC, err);
    return fd < 0 ? fd : attach_system(fs, fd, op, err);
}

static int op_sysfs(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int fd = fs->api->make(fs->api->ctx, "sysfs", NULL, 0,
                                        ATTR_PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, err);
    return fd < 0 ? fd : attach_system(fs, fd, op, err);
}

static int op_mask_dir(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_IN_ROOT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "hiding %s", op->target);
    if (fs->empty_fd < 0)
        fs->empty_fd = openat(fs->scratch_fd, "empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int fd = fs->empty_fd < 0 ? -errno : fs->api->clone(fs->api->ctx, fs->empty_fd, false);
    int r = fd < 0 ? fd : fs->api->setattr(fs->api->ctx, fd, ATTR_PLAIN | MOUNT_ATTR_RDONLY, false);
    if (r < 0)
        return jb_fail_errno(err, r, "hiding %s", op->target);
    return attach(fs, fd, at, op->target, err);
}

/* The cover is the /dev/null that this box made itself: an image cannot have put something else there. */
static int op_mask_file(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "hiding %s", op->target);
    struct stat st;
    if (fs->null_fd < 0)
        fs->null_fd = jb_rootfs_find(fs, "/dev/null", JB_WALK_STRICT);
    if (fs->null_fd < 0 || fstat(fs->null_fd, &st) < 0 || !S_ISCHR(st.st_mode))
        return jb_fail(err, EINVAL, "hiding %s: the box's /dev/null is not a device", op->target);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, fs->null_fd, false);
    if (fd < 0)
        return jb_fail_errno(err, fd, "hiding %s", op->target);
    return attach(fs, fd, at, op->target, err);
}

static int op_read_only(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int at = jb_rootfs_find(fs, op->target, JB_WALK_STRICT);
    if (at < 0)
        return at == -ENOENT && (op->flags & JB_OPF_OPTIONAL)
                   ? 0
                   : jb_fail_errno(err, at, "%s in the box", op->target);
    jb_autoclose int fd = fs->api->clone(fs->api->ctx, at, false);
    int r = fd < 0 ? fd
                   : fs->api->setattr(fs->api->ctx, fd, ATTR_PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY,
                                      false);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s read-only", op->target);
    return attach(fs, fd, at, op->target, err);
}

static int op_pivot(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    (void)op;
    int r = fs->api->pivot(fs->api->ctx, fs->root_fd);
    return r < 0 ? jb_fail_errno(err, r, "changing to the box's root") : 0;
}

int jb_rootfs_build(struct jb_rootfs *fs, struct jb_error *err)
{
    static int (*const run[JB_OP_MAX])(struct jb_rootfs *, const struct jb_op *, struct jb_error *) = {
        [JB_OP_SCRATCH_TMPFS] = op_scratch_tmpfs,
        [JB_OP_SCRATCH_DIR] = op_scratch_dir,
        [JB_OP_SCRATCH_LOOP] = op_scratch_loop,
        [JB_OP_ROOT_OVERLAY] = op_root_overlay,
        [JB_OP_ROOT_TMPFS] = op_root_tmpfs,
        [JB_OP_OVERLAY] = op_overlay,
        [JB_OP_BIND] = op_bind,
        [JB_OP_SCRATCH_BIND] = op_scratch_bind,
        [JB_OP_TMPFS] = op_tmpfs,
        [JB_OP_SYMLINK] = op_symlink,
        [JB_OP_DIR] = op_dir,
        [JB_OP_TEXT] = op_text,
        [JB_OP_FILE] = op_file,
        [JB_OP_PROC] = op_proc,
        [JB_OP_SYSFS] = op_sysfs,
        [JB_OP_DEV] = jb_rootfs_dev,
        [JB_OP_DEVICE] = jb_rootfs_device,
        [JB_OP_HOOK] = jb_rootfs_hook,
        [JB_OP_MASK_FILE] = op_mask_file,
        [JB_OP_MASK_DIR] = op_mask_dir,
        [JB_OP_READONLY] = op_read_only,
        [JB_OP_PIVOT] = op_pivot,
    };
    int r = fs->api->make_private(fs->api->ctx);
    if (r < 0)
        return jb_fail_errno(err, r, "making the mounts private");
    JB_CRASH_POINT(mounts_private);
    for (size_t i = 0; i < fs->plan->n_ops; i++) {
        r = run[fs->plan->ops[i].kind](fs, &fs->plan->ops[i], err);
        JB_CRASH_POINT(op_done);
        if (r < 0)
            return r;
    }
    return 0;
}
