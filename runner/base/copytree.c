/*
 * copytree.c - copies trees.
 *
 * Owns: see copytree.h. Runs in: see copytree.h. Privilege: see copytree.h.
 */
#include "base/copytree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/limits.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/overlaymarks.h"
#include "base/str.h"
#include "base/units.h"

#define CHUNK     (128U << 10)
#define BLOCK     512 /* of st_blocks */
#define XATTR_MAX (64U << 10)

/* A file of several names, by the first that was met. */
struct link {
    dev_t dev;
    ino_t ino;
    char path[];
};

struct copying {
    const struct jb_copy *copy;
    struct jb_copied *sum;
    struct jb_buf path; /* from the root of the copy on; "" */
    void *links;        /* tsearch(3) of struct link */
    dev_t dev;
    char *buf; /* CHUNK, for data and attributes */
};

static int by_inode(const void *a, const void *b)
{
    const struct link *x = a;
    const struct link *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

static int failed(const struct copying *c, int r, struct jb_error *err)
{
    if (r == -ENOTSUP)
        return jb_fail(
            err, ENOTSUP,
            "copying /%s: Operation not supported: the file system of the copy keeps no user attributes, "
            "which say what of the image is hidden (a tmpfs keeps them from Linux 6.6 on)",
            c->path.len ? c->path.data : "");
    return jb_fail_errno(err, r, "copying /%s", c->path.len ? c->path.data : "");
}

/* --- attributes --- */

static bool is_overlays(const char *name)
{
    return jb_starts_with(name, "trusted.overlay.") || jb_starts_with(name, "user.overlay.");
}

/*
 * What says how a layer is to be read goes along; what only ties it to the layers that it was made over does not. Names
 * with the word twice are of an overlay in the box.
 */
static bool is_wanted(struct copying *c, const char *name)
{
    if (c->copy->from_fuse && jb_starts_with(name, JB_FUSE_XATTRS))
        return false;
    if (!is_overlays(name))
        return true;
    if (!jb_overlay_means(c->copy->space, name))
        return false;
    const char *what = strchr(name, '.') + strlen(".overlay.");
    if (jb_streq(what, "redirect") || jb_streq(what, "metacopy")) {
        c->sum->linked_below = true;
        return true;
    }
    return (jb_streq(what, "opaque") && !c->copy->plain) || jb_starts_with(what, "overlay.");
}

/* A label of the host's security module is its own matter; an attribute of the job's own is not to be lost. */
static bool may_be_lost(const char *name)
{
    return jb_starts_with(name, "security.") && !jb_streq(name, "security.capability");
}

/* Under which name it is set; NULL: not at all. What a job of root's wrote as user.overlay.* meant nothing there. */
static const char *name_for_user(const char *name, char *room, size_t len)
{
    static const char mark[] = "trusted.overlay.";
    if (jb_starts_with(name, mark)) {
        (void)snprintf(room, len, "user.overlay.%s", name + sizeof(mark) - 1);
        return room;
    }
    return jb_starts_with(name, "user.overlay.") || jb_starts_with(name, "trusted.") ||
                   jb_starts_with(name, "security.")
               ? NULL
               : name;
}

/* True when what the attribute says of a folder could be said by a mark. */
static bool mark_opaque(const struct copying *c, int to, const char *name)
{
    if (!c->copy->to_fuse || !jb_streq(name, "user.overlay.opaque"))
        return false;
    int fd = openat(to, JB_FUSE_OPAQUE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0700);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* ACLs last: they may take from an ordinary owner the right to set the others. */
static int copy_xattrs(struct copying *c, int from, int to)
{
    char room[XATTR_NAME_MAX + 1];
    jb_autofree char *names = NULL;
    ssize_t len = flistxattr(from, NULL, 0);
    if (len <= 0)
        return len == 0 || errno == ENOTSUP ? 0 : -errno;
    names = malloc((size_t)len + 1);
    if (!names)
        return -ENOMEM;
    len = flistxattr(from, names, (size_t)len);
    if (len < 0)
        return -errno;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        const char *as = c->copy->for_user ? name_for_user(name, room, sizeof(room)) : name;
        if (!as || !is_wanted(c, name))
            continue;
        ssize_t n = fgetxattr(from, name, c->buf, XATTR_MAX);
        if (n < 0 && errno == ENODATA)
            continue;
        if (n < 0)
            return -errno;
        if (fsetxattr(to, as, c->buf, (size_t)n, 0) < 0 && !may_be_lost(name) &&
            !(errno == ENOTSUP && mark_opaque(c, to, as)))
            return -errno;
    }
    return 0;
}

/*
 * Owner first: giving a file away takes its set-id bits and capabilities. Attributes before the mode: an ordinary owner
 * sets none on what he may not write to. Times last: all else changes them.
 */
static int copy_about(struct copying *c, int from, int to, const struct stat *st)
{
    const struct timespec times[] = {st->st_atim, st->st_mtim};
    mode_t mode = st->st_mode & 07777;
    struct stat made;
    if (c->copy->for_user ? fstat(to, &made) < 0 : fchown(to, st->st_uid, st->st_gid) < 0)
        return -errno;
    if (c->copy->for_user && (made.st_uid != st->st_uid || made.st_gid != st->st_gid) &&
        !S_ISDIR(st->st_mode))
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    int r = copy_xattrs(c, from, to);
    if (r < 0)
        return r;
    return fchmod(to, mode) < 0 || futimens(to, times) < 0 ? -errno : 0;
}

/* --- files --- */

static int copy_range(struct copying *c, int from, int to, off_t at, off_t end)
{
    while (at < end) {
        size_t want = end - at < (off_t)CHUNK ? (size_t)(end - at) : CHUNK;
        ssize_t n = pread(from, c->buf, want, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (ssize_t done = 0, some; done < n; done += some) {
            some = pwrite(to, c->buf + done, (size_t)(n - done), at + done);
            if (some < 0)
                return -errno;
        }
        at += n;
    }
    return 0;
}

/* Holes stay holes, where the file system tells of them. */
static int copy_data(struct copying *c, int from, int to, off_t size)
{
    off_t at = 0;
    while (at < size) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? size : lseek(from, data, SEEK_HOLE);
        if (data < 0)
            data = at;
        if (hole < 0 || hole > size)
            hole = size;
        int r = copy_range(c, from, to, data, hole);
        if (r < 0)
            return r;
        at = hole;
    }
    return ftruncate(to, size) < 0 ? -errno : 0;
}

static int copy_file(struct copying *c, int from_dir, int to_dir, const char *name, const struct stat *st)
{
    struct stat now;
    jb_autoclose int from =
        openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
    if (from < 0 && errno == EPERM)
        from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0 || fstat(from, &now) < 0)
        return -errno;
    if (now.st_ino != st->st_ino || !S_ISREG(now.st_mode))
        return -EAGAIN;
    jb_autoclose int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    int r = copy_data(c, from, to, st->st_size);
    return r < 0 ? r : copy_about(c, from, to, st);
}

/* 1: it is another name of a file that is there, and was made one; 0: the first name, which is noted. */
static int copy_link(struct copying *c, int to_dir, const char *name, const struct stat *st)
{
    size_t len = c->path.len + 1;
    struct link *link = malloc(sizeof(*link) + len);
    if (!link)
        return -ENOMEM;
    link->dev = st->st_dev;
    link->ino = st->st_ino;
    memcpy(link->path, c->path.data, len);
    struct link **found = tsearch(link, &c->links, by_inode);
    if (found && *found == link)
        return 0;
    free(link);
    if (!found)
        return -ENOMEM;
    const char *first = (*found)->path;
    const char *slash = strrchr(first, '/');
    jb_autofree char *parent = slash ? strndup(first, (size_t)(slash - first)) : strdup(".");
    jb_autoclose int dir =
        parent ? jb_open_at(c->copy->to, parent, O_PATH | O_DIRECTORY, 0, JB_WALK_STRICT) : -ENOMEM;
    if (dir < 0)
        return dir;
    return linkat(dir, slash ? slash + 1 : first, to_dir, name, 0) < 0 ? -errno : 1;
}

static int copy_symlink(const struct copying *c, int from_dir, int to_dir, const char *name,
                        const struct stat *st)
{
    char target[PATH_MAX];
    const struct timespec times[] = {st->st_atim, st->st_mtim};
    ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    if (symlinkat(target, to_dir, name) < 0)
        return -errno;
    if (!c->copy->for_user && fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    (void)utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

/* Fifos, and whiteouts; the latter anybody may make. */
static int copy_node(const struct copying *c, int to_dir, const char *name, const struct stat *st)
{
    const struct timespec times[] = {st->st_atim, st->st_mtim};
    if (mknodat(to_dir, name, S_ISFIFO(st->st_mode) ? S_IFIFO | 0600 : S_IFCHR, 0) < 0)
        return -errno;
    if (!S_ISFIFO(st->st_mode))
        return 0;
    if (!c->copy->for_user && fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (fchmodat(to_dir, name, st->st_mode & 0777, 0) < 0)
        return -errno;
    (void)utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

/* --- the walk --- */

static int count(struct copying *c, const struct stat *st, struct jb_error *err)
{
    const struct jb_copy *copy = c->copy;
    char text[32];
    c->sum->files++;
    c->sum->bytes += (uint64_t)st->st_blocks * BLOCK;
    if (copy->max_files != JB_UNSET && c->sum->files > copy->max_files)
        return jb_fail(err, EFBIG, "there are more than %" PRIu64 " files", copy->max_files);
    if (copy->max_bytes != JB_UNSET && c->sum->bytes > copy->max_bytes)
        return jb_fail(err, EFBIG, "the files are more than %s",
                       jb_format_size(copy->max_bytes, text, sizeof(text)));
    return 0;
}

static int copy_children(struct copying *c, int from, int to, unsigned depth, struct jb_error *err);

/* NOLINTNEXTLINE(misc-no-recursion): at most JB_COPY_DEPTH deep */
static int copy_folder(struct copying *c, int from_dir, int to_dir, const char *name, const struct stat *st,
                       unsigned depth, struct jb_error *err)
{
    if (depth >= JB_COPY_DEPTH)
        return jb_fail(err, ELOOP, "folders are more than %d deep", JB_COPY_DEPTH);
    jb_autoclose int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || (mkdirat(to_dir, name, 0700) < 0 && errno != EEXIST))
        return failed(c, errno, err);
    jb_autoclose int to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return failed(c, errno, err);
    int r = copy_children(c, from, to, depth + 1, err);
    if (r < 0)
        return r;
    r = copy_about(c, from, to, st);
    return r < 0 ? failed(c, r, err) : 0;
}

/* A mark of fuse-overlayfs becomes what it stands for; where that is there already, it says the same. */
static int copy_mark(struct copying *c, int to, const char *name, const struct stat *st)
{
    const char *deleted = jb_fuse_deleted(name);
    if (jb_streq(name, JB_FUSE_OPAQUE))
        return fsetxattr(to, "user.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
    if (!deleted || !S_ISREG(st->st_mode))
        return 0;
    c->sum->files++;
    return mknodat(to, deleted, S_IFCHR, 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): at most JB_COPY_DEPTH deep */
static int copy_entry(struct copying *c, int from, int to, const char *name, unsigned depth,
                      struct jb_error *err)
{
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(c, errno, err);
    if (c->copy->from_fuse && jb_fuse_is_mark(name)) {
        int marked = copy_mark(c, to, name, &st);
        return marked < 0 ? failed(c, marked, err) : 0;
    }
    bool folder = S_ISDIR(st.st_mode);
    bool whiteout = c->copy->space != JB_OVERLAY_NONE && jb_is_whiteout(&st); /* else a device like any */
    bool plain = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) || S_ISFIFO(st.st_mode);
    if ((!folder && !whiteout && !plain) || st.st_dev != c->dev) {
        c->sum->left_out++;
        return 0;
    }
    /* whiteouts are links of one another where there are many */
    int r = plain && st.st_nlink > 1 ? copy_link(c, to, name, &st) : 0;
    if (r != 0)
        return r < 0 ? failed(c, r, err) : count(c, &(struct stat){0}, err);
    r = count(c, &st, err);
    if (r < 0)
        return r;
    if (folder)
        return copy_folder(c, from, to, name, &st, depth, err);
    r = S_ISREG(st.st_mode)   ? copy_file(c, from, to, name, &st)
        : S_ISLNK(st.st_mode) ? copy_symlink(c, from, to, name, &st)
                              : copy_node(c, to, name, &st);
    return r < 0 ? failed(c, r, err) : 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): at most JB_COPY_DEPTH deep */
static int copy_children(struct copying *c, int from, int to, unsigned depth, struct jb_error *err)
{
    int own = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) {
        int saved = errno;
        jb_close(&own);
        return failed(c, saved, err);
    }
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = c->path.len;
        if (jb_streq(e->d_name, ".") || jb_streq(e->d_name, ".."))
            continue;
        if ((len > 0 && jb_buf_puts(&c->path, "/") < 0) || jb_buf_puts(&c->path, e->d_name) < 0)
            return failed(c, ENOMEM, err);
        bool skip = c->copy->skip && c->copy->skip(c->copy->skip_ctx, c->path.data);
        int r = skip ? 0 : copy_entry(c, from, to, e->d_name, depth, err);
        if (r < 0)
            return r;
        c->path.len = len;
        c->path.data[len] = '\0';
    }
    return 0;
}

int jb_copy_tree(const struct jb_copy *copy, struct jb_copied *sum, struct jb_error *err)
{
    struct stat st = {0};
    struct copying c = {.copy = copy, .sum = sum, .buf = malloc(CHUNK)};
    jb_autoclose int from = openat(copy->from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int to = openat(copy->to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = !c.buf ? -ENOMEM : from < 0 || to < 0 || fstat(from, &st) < 0 ? -errno : 0;
    if (r < 0) {
        r = jb_fail_errno(err, r, "copying");
    } else {
        c.dev = st.st_dev;
        r = copy_children(&c, from, to, 0, err);
        if (r == 0 && (r = copy_about(&c, from, to, &st)) < 0)
            r = failed(&c, r, err);
    }
    tdestroy(c.links, free);
    jb_buf_free(&c.path);
    free(c.buf);
    return r;
}
