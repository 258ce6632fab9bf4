/*
 * pack.c - writes tars.
 *
 * Owns: see pack.h. Runs in: see pack.h. Privilege: see pack.h.
 */
#include "image/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sha2.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/archive.h"
#include "image/tree.h"
#include "image/unpack.h"

#define CHUNK (128U << 10)

struct writer {
    const struct jb_pack *pack;
    struct jb_archive_calls lib;
    struct archive *tar;
    int out_fd;
    SHA2_CTX sha;
    struct jb_packed done;
    uint64_t bytes, entries;
    int failed; /* of write(2) */
    uint8_t buf[CHUNK];
};

static ssize_t write_out(struct archive *a, void *ctx, const void *data, size_t len)
{
    struct writer *w = ctx;
    (void)a;
    int r = jb_write_all(w->out_fd, data, len);
    if (r < 0) {
        w->failed = r;
        return -1;
    }
    SHA256Update(&w->sha, data, len);
    w->done.size += len;
    return (ssize_t)len;
}

static int lib_failed(struct writer *w, const char *path, struct jb_error *err)
{
    if (w->failed)
        return jb_fail_errno(err, w->failed, "writing the tar");
    const char *words = w->lib.error_string(w->tar);
    return jb_fail(err, EIO, "writing %s into a tar: %s", path, words ? words : "failed");
}

struct add_xattr {
    struct writer *w;
    struct archive_entry *entry;
};

static int add_xattr(void *ctx, const char *name, const void *value, size_t len)
{
    struct add_xattr *to = ctx;
    to->w->lib.entry_xattr_add_entry(to->entry, name, value, len);
    return 0;
}

/* A hole costs nothing where it is, and all of its size in a tar. */
static int count(struct writer *w, uint64_t bytes, struct jb_error *err)
{
    const struct jb_pack *p = w->pack;
    if (p->max_entries && ++w->entries > p->max_entries)
        return jb_unpack_too_much(err, "the layer's entries are", p->max_entries, "max_entries");
    if (p->max_bytes && (bytes > p->max_bytes || (w->bytes += bytes) > p->max_bytes))
        return jb_unpack_too_much(err, "the layer's files have", p->max_bytes, "max_size");
    return 0;
}

/* An entry of its own for what a tar can say only by a name. */
static int put_mark(struct writer *w, const char *path, struct jb_error *err)
{
    int r = count(w, 0, err);
    if (r < 0)
        return r;
    struct archive_entry *entry = w->lib.entry_new();
    if (!entry)
        return jb_fail_errno(err, ENOMEM, "tar");
    w->lib.entry_set_pathname(entry, path);
    w->lib.entry_set_mode(entry, S_IFREG);
    w->lib.entry_set_size(entry, 0);
    r = w->lib.write_header(w->tar, entry);
    w->lib.entry_free(entry);
    return r < JB_ARCHIVE_WARN ? lib_failed(w, path, err) : 0;
}

static int put_whiteout(struct writer *w, const char *path, struct jb_error *err)
{
    const char *slash = strrchr(path, '/');
    jb_autofree char *mark =
        jb_asprintf("%.*s.wh.%s", slash ? (int)(slash - path) + 1 : 0, path, slash ? slash + 1 : path);
    return mark ? put_mark(w, mark, err) : jb_fail_errno(err, ENOMEM, "tar");
}

/* As many bytes as the header said, or the tar would be no tar. */
static int put_content(struct writer *w, int fd, uint64_t size, const char *path, struct jb_error *err)
{
    while (size > 0) {
        ssize_t n = read(fd, w->buf, size < sizeof(w->buf) ? size : sizeof(w->buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? jb_fail_errno(err, errno, "reading %s", path)
                         : jb_fail(err, EAGAIN,
                                   "%s became shorter while it was read; nothing may write there", path);
        if (w->lib.write_data(w->tar, w->buf, (size_t)n) != n)
            return lib_failed(w, path, err);
        size -= (uint64_t)n;
    }
    return 0;
}

#define NOBODY 65534 /* what the kernel shows for an id that a user namespace does not have */

static void describe(struct writer *w, const struct jb_tree_entry *e, struct archive_entry *entry)
{
    bool ours = w->pack->as_root && e->st.st_uid == geteuid();
    bool no_uid = w->pack->no_nobody && e->st.st_uid == NOBODY;
    bool no_gid = w->pack->no_nobody && e->st.st_gid == NOBODY;
    jb_autofree char *path = jb_asprintf("%s%s", *e->path ? e->path : ".", S_ISDIR(e->st.st_mode) ? "/" : "");
    w->lib.entry_set_pathname(entry, path ? path : e->path);
    w->lib.entry_set_mode(entry, e->st.st_mode);
    w->lib.entry_set_uid(entry, ours || no_uid ? 0 : e->st.st_uid);
    w->lib.entry_set_gid(entry, ours || no_gid ? 0 : e->st.st_gid);
    w->lib.entry_set_mtime(entry, e->st.st_mtim.tv_sec, e->st.st_mtim.tv_nsec);
    w->lib.entry_set_size(entry, S_ISREG(e->st.st_mode) && !e->hardlink ? e->st.st_size : 0);
    if (e->hardlink)
        w->lib.entry_set_hardlink(entry, e->hardlink);
}

static int fill(struct writer *w, const struct jb_tree_entry *e, struct archive_entry *entry, int *ret_fd,
                struct jb_error *err)
{
    describe(w, e, entry);
    if (e->hardlink)
        return 0;
    if (S_ISLNK(e->st.st_mode)) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(e->dirfd, e->name, target, sizeof(target) - 1);
        if (n < 0)
            return jb_fail_errno(err, errno, "reading %s", e->path);
        target[n] = '\0';
        w->lib.entry_set_symlink(entry, target);
        return 0;
    }
    if (!S_ISREG(e->st.st_mode) && !S_ISDIR(e->st.st_mode))
        return 0;
    struct stat st;
    jb_autoclose int fd = openat(e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "reading %s", e->path);
    if (st.st_ino != e->st.st_ino || st.st_dev != e->st.st_dev)
        return jb_fail(err, EAGAIN, "%s was replaced while it was read; nothing may write there", e->path);
    struct add_xattr to = {w, entry};
    int r = jb_tree_xattrs(fd, add_xattr, &to);
    if (r < 0)
        return jb_fail_errno(err, r, "reading the attributes of %s", e->path);
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

static int put_entry(void *ctx, const struct jb_tree_entry *e, struct jb_error *err)
{
    struct writer *w = ctx;
    jb_autoclose int fd = -1;
    if (e->whiteout)
        return put_whiteout(w, e->path, err);
    if (S_ISCHR(e->st.st_mode) || S_ISBLK(e->st.st_mode) || S_ISSOCK(e->st.st_mode)) {
        w->done.left_out++;
        return 0;
    }
    bool content = S_ISREG(e->st.st_mode) && !e->hardlink;
    int r = count(w, content ? (uint64_t)e->st.st_size : 0, err);
    if (r < 0)
        return r;
    struct archive_entry *entry = w->lib.entry_new();
    if (!entry)
        return jb_fail_errno(err, ENOMEM, "tar");
    r = fill(w, e, entry, &fd, err);
    if (r == 0 && w->lib.write_header(w->tar, entry) < JB_ARCHIVE_WARN)
        r = lib_failed(w, e->path, err);
    w->lib.entry_free(entry);
    if (r == 0 && content)
        r = put_content(w, fd, (uint64_t)e->st.st_size, e->path, err);
    if (r == 0 && e->opaque) {
        jb_autofree char *mark = jb_asprintf("%s%s.wh..wh..opq", e->path, *e->path ? "/" : "");
        r = mark ? put_mark(w, mark, err) : jb_fail_errno(err, ENOMEM, "tar");
    }
    return r;
}

/* A file may be called so, but not in a layer: there the name takes away what is below. */
static bool is_mark(void *ctx, const char *name)
{
    struct writer *w = ctx;
    bool is = jb_starts_with(name, ".wh.");
    w->done.marks += is;
    return is;
}

static int write_tar(struct writer *w, struct jb_error *err)
{
    w->tar = w->lib.write_new();
    if (!w->tar)
        return jb_fail_errno(err, ENOMEM, "tar");
    (void)w->lib.write_set_format_pax(w->tar);
    (void)w->lib.write_set_bytes_in_last_block(w->tar, 1);
    if (w->lib.write_open(w->tar, w, NULL, write_out, NULL) < JB_ARCHIVE_WARN)
        return lib_failed(w, "it", err);
    int r = jb_tree_walk(w->pack->layers, w->pack->n, w->pack->raw, is_mark, put_entry, w, err);
    if (r == 0 && w->lib.write_close(w->tar) < JB_ARCHIVE_WARN)
        r = lib_failed(w, "its end", err);
    return r;
}

int jb_pack_run(const struct jb_pack *pack, int out_fd, struct jb_packed *ret, struct jb_error *err)
{
    struct writer *w = calloc(1, sizeof(*w));
    if (!w)
        return jb_fail_errno(err, ENOMEM, "tar");
    w->pack = pack;
    w->out_fd = out_fd;
    SHA256Init(&w->sha);
    int r = jb_archive_load(&w->lib, err);
    if (r == 0)
        r = write_tar(w, err);
    if (w->tar)
        (void)w->lib.write_free(w->tar);
    (void)snprintf(w->done.digest.text, sizeof(w->done.digest.text), "sha256:");
    (void)SHA256End(&w->sha, w->done.digest.text + strlen("sha256:"));
    if (r == 0 && ret)
        *ret = w->done;
    free(w);
    return r;
}

int jb_pack_plain(int dir_fd, int out_fd, struct jb_error *err)
{
    const struct jb_pack pack = {.layers = &dir_fd, .n = 1, .as_root = true};
    return jb_pack_run(&pack, out_fd, NULL, err);
}
