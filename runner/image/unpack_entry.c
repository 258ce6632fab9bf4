/*
 * unpack_entry.c - what an entry of a tar means, written.
 *
 * Owns: descriptors below the layer's directory. Runs in: see unpack.h. Privilege: see unpack.h.
 */
#include "image/unpack_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "image/tree.h"

#define WHITEOUT    ".wh."
#define OPAQUE_MARK ".wh..wh..opq"
#define AUFS_PREFIX ".wh..wh."

/* --- names --- */

/* The entry's path without "/" and "./" in front, "//" and "." in between. "..", and what is too long, is refused. */
static int clean_path(const char *name, char ret[PATH_MAX], struct jb_error *err)
{
    char shown[JB_UNPACK_SHOWN];
    size_t len = 0;
    unsigned depth = 0;
    if (!name)
        return jb_fail(err, EBADMSG, "the layer has an entry without a name; the image was refused");
    for (const char *p = name + strspn(name, "/"); *p; p += strspn(p, "/")) {
        size_t part = strcspn(p, "/");
        if (part == 2 && p[0] == '.' && p[1] == '.')
            return jb_fail(err, EPERM, "the layer's entry \"%s\" climbs with \"..\"; the image was refused",
                           jb_tree_show(name, shown, sizeof(shown)));
        if (part > NAME_MAX || len + part + 2 > PATH_MAX || ++depth > JB_TREE_DEPTH)
            return jb_fail(
                err, ENAMETOOLONG,
                "the layer's entry \"%s\" is longer or deeper than a path may be; the image was refused",
                jb_tree_show(name, shown, sizeof(shown)));
        if (part != 1 || p[0] != '.') {
            if (len)
                ret[len++] = '/';
            memcpy(ret + len, p, part);
            len += part;
        }
        p += part;
    }
    ret[len] = '\0';
    return 0;
}

static int add_dir(struct jb_reader *rd, const char *path, const struct stat *st, struct jb_error *err)
{
    if (rd->n_dirs == rd->cap_dirs) {
        size_t cap = rd->cap_dirs ? rd->cap_dirs * 2 : 256;
        struct jb_unpack_dir *grown = realloc(rd->dirs, cap * sizeof(*grown));
        if (!grown)
            return jb_fail_errno(err, ENOMEM, "unpacking");
        rd->dirs = grown;
        rd->cap_dirs = cap;
    }
    rd->dirs[rd->n_dirs] = (struct jb_unpack_dir){.path = strdup(path),
                                                  .order = rd->n_dirs,
                                                  .mode = st->st_mode & 07777,
                                                  .uid = st->st_uid,
                                                  .gid = st->st_gid,
                                                  .mtime = st->st_mtim};
    return rd->dirs[rd->n_dirs++].path ? 0 : jb_fail_errno(err, ENOMEM, "unpacking");
}

/*
 * In a store that others reach nobody but root may change what all are to have: neither by its mode nor as its owner, who
 * could change that. What an owner could read, his group still can.
 */
static bool close_to_others(const struct jb_reader *rd, struct stat *st)
{
    const struct stat was = *st;
    if (!rd->u->harmless)
        return false;
    if (st->st_uid != 0 && !S_ISLNK(st->st_mode))
        st->st_mode |= (st->st_mode & 0500) >> 3;
    if (!S_ISLNK(st->st_mode))
        st->st_mode &= ~022U;
    st->st_uid = 0;
    return st->st_mode != was.st_mode || st->st_uid != was.st_uid;
}

/* A directory that the layer does not name itself looks as it does below; where it is new, as directories do. */
int jb_unpack_implied(struct jb_reader *rd, const char *path, struct jb_error *err)
{
    struct stat st;
    if (jb_tree_lookup(rd->u->below, rd->u->n_below, path, &st) < 0 || !S_ISDIR(st.st_mode))
        st = (struct stat){.st_mode = S_IFDIR | 0755};
    (void)close_to_others(rd, &st);
    return add_dir(rd, path, &st, err);
}

static int in_the_way(const char *path, int errnum, struct jb_error *err)
{
    char shown[JB_UNPACK_SHOWN];
    (void)jb_tree_show(path, shown, sizeof(shown));
    if (errnum == ENOTDIR || errnum == EEXIST || errnum == ELOOP || errnum == EXDEV)
        return jb_fail(
            err, EPERM,
            "the layer's entry \"%s\" leads through something that is no folder of it; the image was refused",
            shown);
    return jb_fail_errno(err, errnum, "unpacking \"%s\"", shown);
}

static int make_parents(struct jb_reader *rd, const char *parent, const char *path, struct jb_error *err)
{
    char part[PATH_MAX];
    jb_autoclose int at = openat(rd->u->dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return in_the_way(path, errno, err);
    for (const char *end = parent; end;) {
        end = strchr(end, '/');
        size_t len = end ? (size_t)(end - parent) : strlen(parent);
        if (end)
            end++;
        (void)snprintf(part, sizeof(part), "%.*s", (int)len, parent);
        const char *slash = strrchr(part, '/');
        int next = jb_open_at(rd->u->dir_fd, part, O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
        if (next == -ENOENT) {
            if (mkdirat(at, slash ? slash + 1 : part, 0700) < 0)
                return in_the_way(path, errno, err);
            int r = jb_unpack_implied(rd, part, err);
            if (r < 0)
                return r;
            next = jb_open_at(rd->u->dir_fd, part, O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
        }
        if (next < 0)
            return in_the_way(path, -next, err);
        jb_close(&at);
        at = next;
    }
    return jb_take_fd(&at);
}

/* The directory that `path` is in, made if need be; *ret_name: the last part. The descriptor is the reader's. */
int jb_unpack_parent(struct jb_reader *rd, const char *path, const char **ret_name, struct jb_error *err)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    (void)snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
    if (rd->parent_fd >= 0 && jb_streq(parent, rd->parent))
        return rd->parent_fd;
    jb_close(&rd->parent_fd);
    int fd = jb_open_at(rd->u->dir_fd, *parent ? parent : ".", O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
    if (fd == -ENOENT)
        fd = make_parents(rd, parent, path, err);
    else if (fd < 0)
        fd = in_the_way(path, -fd, err);
    if (fd < 0)
        return fd;
    (void)snprintf(rd->parent, sizeof(rd->parent), "%s", parent);
    rd->parent_fd = fd;
    return fd;
}

/* --- entries --- */

int jb_unpack_failed(const char *path, int errnum, struct jb_error *err)
{
    char shown[JB_UNPACK_SHOWN];
    return jb_fail_errno(err, errnum, "unpacking \"%s\"", jb_tree_show(path, shown, sizeof(shown)));
}

/* A directory that is gone is not what has its name at the end, or what that leads to. */
static void forget(struct jb_reader *rd, const char *path)
{
    size_t len = strlen(path);
    size_t kept = 0;
    for (size_t i = 0; i < rd->n_dirs; i++) {
        struct jb_unpack_dir *dir = &rd->dirs[i];
        if (strncmp(dir->path, path, len) == 0 && (!dir->path[len] || dir->path[len] == '/')) {
            free(dir->path);
            continue;
        }
        dir->order = kept;
        rd->dirs[kept++] = *dir;
    }
    rd->n_dirs = kept;
}

/* What has the name now goes; a directory only where none is to be. `name`: the last part of `path`, in `parent`. */
static int clear(struct jb_reader *rd, int parent, const char *path, const char *name, bool for_dir)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISDIR(st.st_mode) && for_dir)
        return 1;
    int r = S_ISDIR(st.st_mode) ? jb_remove_tree(parent, name) : unlinkat(parent, name, 0) < 0 ? -errno : 0;
    if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) { /* names may lead elsewhere now */
        rd->parent[0] = '\0', jb_close(&rd->parent_fd);
        forget(rd, path);
    }
    return r;
}

static void stat_of(struct jb_reader *rd, struct archive_entry *e, struct stat *ret)
{
    *ret = (struct stat){
        .st_mode = rd->lib.entry_filetype(e) | (rd->lib.entry_perm(e) & 07777),
        .st_uid = (uid_t)rd->lib.entry_uid(e),
        .st_gid = (gid_t)rd->lib.entry_gid(e),
        .st_size = rd->lib.entry_size(e),
        .st_mtim = {.tv_sec = rd->lib.entry_mtime(e), .tv_nsec = rd->lib.entry_mtime_nsec(e)},
    };
}

static int check_ids(struct jb_reader *rd, struct archive_entry *e, const char *path, struct jb_error *err)
{
    char shown[JB_UNPACK_SHOWN];
    int64_t uid = rd->lib.entry_uid(e);
    int64_t gid = rd->lib.entry_gid(e);
    if (uid >= 0 && uid < UINT32_MAX && gid >= 0 && gid < UINT32_MAX)
        return 0;
    return jb_fail(err, EINVAL, "the layer's entry \"%s\" has an owner that cannot be; the image was refused",
                   jb_tree_show(path, shown, sizeof(shown)));
}

/* Of the attributes only the program's own, and capabilities where they cannot do harm. */
static int set_xattrs(struct jb_reader *rd, struct archive_entry *e, int fd)
{
    const char *name;
    const void *value;
    size_t len;
    (void)rd->lib.entry_xattr_reset(e);
    while (rd->lib.entry_xattr_next(e, &name, &value, &len) == JB_ARCHIVE_OK) {
        if (!name)
            continue;
        bool capability = jb_streq(name, "security.capability");
        if (capability && rd->u->harmless)
            rd->state->harmless++;
        bool wanted = capability ? rd->u->owners && !rd->u->harmless
                                 : jb_starts_with(name, "user.") && !jb_starts_with(name, "user.overlay.");
        if (wanted && fsetxattr(fd, name, value, len, 0) < 0 && errno != ENOTSUP && errno != EPERM)
            return -errno;
    }
    return 0;
}

int jb_unpack_give(const struct jb_reader *rd, int at, const char *name, uid_t uid, gid_t gid)
{
    int flags = *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
    if (fchownat(at, name, uid, gid, flags) == 0)
        return 0;
    if (errno != EINVAL || !rd->u->mapped)
        return -errno;
    /* one of the two may have an id */
    if (fchownat(at, name, uid, (gid_t)-1, flags) < 0 && errno != EINVAL)
        return -errno;
    return fchownat(at, name, (uid_t)-1, gid, flags) < 0 && errno != EINVAL ? -errno : 0;
}

static mode_t mode_of(struct jb_reader *rd, const struct stat *st)
{
    mode_t mode = st->st_mode & 07777;
    if (rd->u->harmless && S_ISREG(st->st_mode) && (mode & 06000)) {
        rd->state->harmless++;
        mode &= ~06000U;
    }
    if (!rd->u->owners && S_ISREG(st->st_mode)) /* all is the user's here: he must be able to read it */
        mode |= 0400;
    return mode;
}

static int write_content(struct jb_reader *rd, int fd, off_t size, struct jb_error *err)
{
    const void *data;
    size_t len;
    int64_t at;
    int r;
    while ((r = rd->lib.read_data_block(rd->inner, &data, &len, &at)) >= JB_ARCHIVE_WARN &&
           r != JB_ARCHIVE_EOF) {
        const char *p = data;
        if (at < 0 || at > size || (off_t)len > size - at)
            return jb_fail(err, EBADMSG,
                           "the layer has a file with more content than it says; the image was refused");
        while (len > 0) {
            ssize_t n = pwrite(fd, p, len, at);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return jb_fail_errno(err, errno, "writing a file of the layer");
            p += n;
            at += n;
            len -= (size_t)n;
        }
    }
    if (r != JB_ARCHIVE_EOF)
        return jb_unpack_lib_failed(rd, rd->inner, err);
    return ftruncate(fd, size) < 0 ? jb_fail_errno(err, errno, "writing a file of the layer") : 0;
}

static int put_file(struct jb_reader *rd, struct archive_entry *e, const char *path, struct stat *st,
                    struct jb_error *err)
{
    const char *name;
    if (st->st_size < 0 || (uint64_t)st->st_size > rd->u->limits.bytes ||
        (rd->bytes += (uint64_t)st->st_size) > rd->u->limits.bytes)
        return jb_unpack_too_much(err, "the layer's files have", rd->u->limits.bytes, "max_size");
    int parent = jb_unpack_parent(rd, path, &name, err);
    if (parent < 0)
        return parent;
    int r = clear(rd, parent, path, name, false);
    if (r == 0 && (parent = jb_unpack_parent(rd, path, &name, err)) < 0)
        return parent;
    jb_autoclose int fd =
        r < 0 ? r : openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return jb_unpack_failed(path, r < 0 ? r : errno, err);
    r = write_content(rd, fd, st->st_size, err);
    if (r < 0)
        return r;
    const struct timespec times[2] = {st->st_mtim, st->st_mtim};
    if (rd->u->owners)
        r = jb_unpack_give(rd, fd, "", st->st_uid, st->st_gid);
    if (r == 0) /* chown takes both away */
        r = set_xattrs(rd, e, fd);
    if (r == 0 && (fchmod(fd, mode_of(rd, st)) < 0 || futimens(fd, times) < 0))
        r = -errno;
    return r < 0 ? jb_unpack_failed(path, r, err) : 0;
}

static int put_dir(struct jb_reader *rd, struct archive_entry *e, const char *path, struct stat *st,
                   struct jb_error *err)
{
    const char *name = ".";
    int r = 1;
    int parent = *path ? jb_unpack_parent(rd, path, &name, err) : rd->u->dir_fd;
    if (parent < 0)
        return parent;
    if (*path)
        r = clear(rd, parent, path, name, true);
    if (r == 0 && (parent = jb_unpack_parent(rd, path, &name, err)) < 0)
        return parent;
    if (r == 0 && mkdirat(parent, name, 0700) < 0)
        r = -errno;
    jb_autoclose int fd = r < 0 ? r : openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return jb_unpack_failed(path, r < 0 ? r : errno, err);
    r = set_xattrs(rd, e, fd);
    return r < 0 ? jb_unpack_failed(path, r, err) : add_dir(rd, path, st, err);
}

static int finish_node(struct jb_reader *rd, int parent, const char *name, const struct stat *st)
{
    const struct timespec times[2] = {st->st_mtim, st->st_mtim};
    int r = rd->u->owners ? jb_unpack_give(rd, parent, name, st->st_uid, st->st_gid) : 0;
    if (r < 0)
        return r;
    if (!S_ISLNK(st->st_mode) && fchmodat(parent, name, st->st_mode & 07777, 0) < 0)
        return -errno;
    return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int put_node(struct jb_reader *rd, struct archive_entry *e, const char *path, struct stat *st,
                    struct jb_error *err)
{
    const char *name;
    const char *target = rd->lib.entry_symlink(e);
    bool link = S_ISLNK(st->st_mode);
    int parent = jb_unpack_parent(rd, path, &name, err);
    if (parent < 0)
        return parent;
    int r = clear(rd, parent, path, name, false);
    if (r == 0 && (parent = jb_unpack_parent(rd, path, &name, err)) < 0)
        return parent;
    if (r == 0 && link && (!target || !*target))
        r = -EINVAL;
    if (r == 0 && (link ? symlinkat(target, parent, name) : mkfifoat(parent, name, 0600)) < 0)
        r = -errno;
    if (r == 0)
        r = finish_node(rd, parent, name, st);
    return r < 0 ? jb_unpack_failed(path, r, err) : 0;
}

/* A second name for a file of the same layer; where the first one is, is resolved as every other name. */
static int put_link(struct jb_reader *rd, const char *target, const char *path, struct jb_error *err)
{
    char from[PATH_MAX] = "";
    char dir[PATH_MAX];
    char shown[JB_UNPACK_SHOWN];
    const char *name;
    struct stat st;
    struct stat old;
    int r = clean_path(target, from, err);
    if (r < 0)
        return r;
    const char *slash = strrchr(from, '/');
    (void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - from) : 0, from);
    jb_autoclose int at =
        jb_open_at(rd->u->dir_fd, *dir ? dir : ".", O_PATH | O_DIRECTORY, 0, JB_WALK_IN_ROOT);
    if (at < 0 || fstatat(at, slash ? slash + 1 : from, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
        return jb_fail(
            err, EPERM,
            "the layer's entry \"%s\" is a hard link to something that is no file of the layer; the image "
            "was refused",
            jb_tree_show(path, shown, sizeof(shown)));
    int parent = jb_unpack_parent(rd, path, &name, err);
    if (parent < 0)
        return parent;
    if (fstatat(parent, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_dev == st.st_dev &&
        old.st_ino == st.st_ino)
        return 0; /* it is already */
    r = clear(rd, parent, path, name, false);
    if (r == 0 && (parent = jb_unpack_parent(rd, path, &name, err)) < 0)
        return parent;
    if (r == 0 && linkat(at, slash ? slash + 1 : from, parent, name, 0) < 0)
        r = -errno;
    return r < 0 ? jb_unpack_failed(path, r, err) : 0;
}

/* ".wh.NAME" takes NAME away from the layers below, ".wh..wh..opq" all of a directory. Returns 1 when it was one. */
static int note_whiteout(struct jb_reader *rd, const char *path, struct jb_error *err)
{
    char shown[JB_UNPACK_SHOWN];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    int dir = slash ? (int)(slash - path) : 0;
    int r;
    if (!jb_starts_with(name, WHITEOUT))
        return 0;
    if (jb_streq(name, OPAQUE_MARK))
        r = jb_strv_addn(&rd->opaques, path, (size_t)dir);
    else if (jb_starts_with(name, AUFS_PREFIX)) /* bookkeeping of a file system that is gone */
        r = 0;
    else if (!name[4] || jb_streq(name + 4, ".") || jb_streq(name + 4, ".."))
        return jb_fail(err, EPERM, "the layer's entry \"%s\" is a whiteout of no name; the image was refused",
                       jb_tree_show(path, shown, sizeof(shown)));
    else
        r = jb_strv_printf(&rd->whiteouts, "%.*s%s%s", dir, path, slash ? "/" : "", name + 4);
    return r < 0 ? jb_fail_errno(err, r, "unpacking") : 1;
}

int jb_unpack_entry(struct jb_reader *rd, struct archive_entry *e, struct jb_error *err)
{
    char path[PATH_MAX] = "";
    struct stat st;
    const char *link = rd->lib.entry_hardlink(e);
    int r = clean_path(rd->lib.entry_pathname(e), path, err);
    if (r == 0)
        r = check_ids(rd, e, path, err);
    if (r == 0)
        r = note_whiteout(rd, path, err);
    if (r != 0)
        return r < 0 ? r : 0;
    stat_of(rd, e, &st);
    if (!*path && !S_ISDIR(st.st_mode))
        return jb_fail(err, EPERM, "the layer's root is no folder; the image was refused");
    if (link)
        return put_link(rd, link, path, err);
    rd->state->closed += close_to_others(rd, &st);
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        return put_file(rd, e, path, &st, err);
    case S_IFDIR:
        return put_dir(rd, e, path, &st, err);
    case S_IFLNK:
    case S_IFIFO:
        return put_node(rd, e, path, &st, err);
    default: /* a box has devices of its own */
        rd->state->devices++;
        return 0;
    }
}
