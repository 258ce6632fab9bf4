/*
 * place.c - places in the box's root: found beneath it by descriptor, made where they are absent.
 *
 * Owns: nothing beyond struct jb_rootfs. Runs in: the box's first process, single-threaded. Privilege: CAP_SYS_ADMIN in
 * its user namespace. Everything of the image and of the submitter is hostile here.
 */
#include "box/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box/identity.h"

const char *jb_rootfs_fd_path(char buf[JB_FD_PATH], int fd, const char *name)
{
    (void)snprintf(buf, JB_FD_PATH, "/proc/self/fd/%d%s%s", fd, name ? "/" : "", name ? name : "");
    return buf;
}

int jb_rootfs_find(struct jb_rootfs *fs, const char *target, enum jb_walk walk)
{
    return jb_open_at(fs->root_fd, target + strspn(target, "/"), O_PATH, 0, walk);
}

/* The file system of a mount that this box made: what is made in it is made in the box. */
int jb_rootfs_note_own(struct jb_rootfs *fs, int fd, struct jb_error *err)
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
int jb_rootfs_make_place(struct jb_rootfs *fs, const char *path, mode_t mode, bool job_owned,
                         enum jb_walk walk, int *ret, struct jb_error *err)
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
int jb_rootfs_make_file(struct jb_rootfs *fs, int at, const char *name, int flags, mode_t mode,
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
    int r = jb_rootfs_make_place(fs, file ? parent : path, 0755, false, walk, &at, err);
    if (r < 0)
        return jb_fail_errno(err, r, "making %s in the box", target);
    if (!file)
        return jb_take_fd(&at);
    jb_autoclose int made =
        jb_rootfs_make_file(fs, at, slash ? slash + 1 : path, O_WRONLY, 0644, &hosts, err);
    if (made < 0)
        return jb_fail_errno(err, made, "making %s in the box", target);
    fd = jb_open_at(fs->root_fd, path, O_PATH, 0, walk);
    return fd < 0 ? jb_fail_errno(err, fd, "%s in the box", target) : fd;
}

int jb_rootfs_attach(struct jb_rootfs *fs, int mount_fd, int at_fd, const char *what, struct jb_error *err)
{
    int r = fs->api->attach(fs->api->ctx, mount_fd, at_fd);
    return r < 0 ? jb_fail_errno(err, r, "attaching %s", what) : 0;
}

int jb_rootfs_source(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    if (!(op->flags & JB_OPF_AS_SUBMITTER)) {
        int fd = open(op->source, O_PATH | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    return jb_open_as_submitter(fs->plan, op->source, O_PATH, err);
}
