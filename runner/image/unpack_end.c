/*
 * unpack_end.c - what of a layer can only be written when all of it was read.
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

static int mark_opaque(const struct jb_reader *rd, int fd)
{
    if (rd->u->owners && !rd->u->mapped && fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return -errno;
    /* what a box in a user namespace can see */
    if ((!rd->u->owners || rd->u->mapped || rd->u->harmless) &&
        fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0)
        return -errno;
    return 0;
}

static int apply_opaque(struct jb_reader *rd, const char *path, struct jb_error *err)
{
    struct stat st;
    if (jb_tree_lookup(rd->u->below, rd->u->n_below, path, &st) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    const char *name = ".";
    int parent = *path ? jb_unpack_parent(rd, path, &name, err) : rd->u->dir_fd;
    if (parent < 0)
        return parent;
    bool made = *path && mkdirat(parent, name, 0700) == 0;
    int r = made ? jb_unpack_implied(rd, path, err) : 0;
    if (r < 0)
        return r;
    jb_autoclose int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) /* something else has the name now, and hides what is below by itself */
        return errno == ENOTDIR || errno == ELOOP ? 0 : jb_unpack_failed(path, errno, err);
    r = mark_opaque(rd, fd);
    if (r == -ENOTSUP || r == -EPERM)
        return jb_fail_errno(
            err, r, "the image store's file system cannot hold the attribute that marks a folder as opaque");
    return r < 0 ? jb_unpack_failed(path, r, err) : 0;
}

/* Beside new content of the same name a whiteout says that nothing of what is below belongs to it. */
static int apply_whiteout(struct jb_reader *rd, const char *path, struct jb_error *err)
{
    struct stat st;
    const char *name;
    if (jb_tree_lookup(rd->u->below, rd->u->n_below, path, &st) < 0)
        return 0;
    int parent = jb_unpack_parent(rd, path, &name, err);
    if (parent < 0)
        return parent;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISDIR(st.st_mode) ? apply_opaque(rd, path, err) : 0;
    return mknodat(parent, name, S_IFCHR | 0, makedev(0, 0)) < 0 ? jb_unpack_failed(path, errno, err) : 0;
}

/* What is in a directory before the directory; of two that say something of the same, the later one first. */
static int inner_first(const void *a, const void *b)
{
    const struct jb_unpack_dir *x = a;
    const struct jb_unpack_dir *y = b;
    int d = strcmp(y->path, x->path);
    return d ? d : (y->order > x->order) - (y->order < x->order);
}

static int apply_dir(struct jb_reader *rd, const struct jb_unpack_dir *dir, struct jb_error *err)
{
    const struct timespec times[2] = {dir->mtime, dir->mtime};
    jb_autoclose int fd = jb_open_at(rd->u->dir_fd, *dir->path ? dir->path : ".",
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, JB_WALK_IN_ROOT);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) /* it gave way to something else */
        return 0;
    int r = fd < 0 ? fd : 0;
    /* the layer's own folder is opened by the user as himself */
    bool enter = !rd->u->owners || (rd->u->mapped && !*dir->path);
    mode_t mode = enter ? dir->mode | 0700 : dir->mode;
    if (r == 0 && rd->u->owners && !enter)
        r = jb_unpack_give(rd, fd, "", dir->uid, dir->gid);
    if (r == 0 && (fchmod(fd, mode) < 0 || futimens(fd, times) < 0))
        r = -errno;
    return r < 0 ? jb_unpack_failed(dir->path, r, err) : 0;
}

int jb_unpack_finish(struct jb_reader *rd, struct jb_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < rd->opaques.len; i++)
        r = apply_opaque(rd, rd->opaques.items[i], err);
    for (size_t i = 0; r == 0 && i < rd->whiteouts.len; i++)
        r = apply_whiteout(rd, rd->whiteouts.items[i], err);
    if (rd->n_dirs > 1)
        qsort(rd->dirs, rd->n_dirs, sizeof(*rd->dirs), inner_first);
    for (size_t i = 0; r == 0 && i < rd->n_dirs; i++)
        if (i == 0 || !jb_streq(rd->dirs[i].path, rd->dirs[i - 1].path))
            r = apply_dir(rd, &rd->dirs[i], err);
    return r;
}
