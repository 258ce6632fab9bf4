/*
 * walk.c - visits a group and those that the job made below it, however many and however deep.
 *
 * Owns: one descriptor and a stack of names while it runs. Runs in: the supervisor. Privilege: that of the
 * groups.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/internal.h"

/* One directory on the way down: its children not yet visited, and its own name in the directory above. */
struct level {
    struct jb_strv children;
    size_t next;
};

struct walk {
    struct jb_kdir here; /* the directory whose children are visited */
    struct level *levels;
    size_t depth, cap;
};

static void walk_free(struct walk *w)
{
    for (size_t i = 0; i < w->depth; i++)
        jb_strv_free(&w->levels[i].children);
    free(w->levels);
    jb_kdir_close(&w->here);
}

int jb_cg_hit(const struct jb_kdir *dir, const char *verb, const char *path)
{
    return dir->fault && dir->fault->hit ? dir->fault->hit(dir->fault->ctx, verb, path) : 0;
}

/* The directory `name` for listing; a job may have taken the permissions away from its owner. */
static int enter(const struct jb_kdir *parent, const char *name)
{
    int r = jb_cg_hit(parent, "open", name);
    if (r < 0)
        return r;
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent->fd, name, flags);
    if (fd < 0 && errno == EACCES && fchmodat(parent->fd, name, 0755, 0) == 0)
        fd = openat(parent->fd, name, flags);
    return fd < 0 ? -errno : fd;
}

static int list(int dirfd, struct jb_strv *ret)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    jb_autodir DIR *dir = fdopendir(fd);
    if (!dir) {
        jb_close(&fd);
        return -ENOMEM;
    }
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = jb_strv_add(ret, e->d_name);
    return r;
}

/* Goes down into `name`: it becomes `here` and its children the top level. Gone meanwhile: 1. */
static int descend(struct walk *w, const char *name)
{
    jb_autoclose int fd = enter(&w->here, name);
    if (fd == -ENOENT)
        return 1;
    if (fd < 0)
        return fd;
    if (w->depth == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 8;
        struct level *levels = realloc(w->levels, cap * sizeof(*levels));
        if (!levels)
            return -ENOMEM;
        w->levels = levels;
        w->cap = cap;
    }
    w->levels[w->depth] = (struct level){0};
    int r = list(fd, &w->levels[w->depth].children);
    if (r < 0) {
        jb_strv_free(&w->levels[w->depth].children);
        return r == -ENOENT ? 1 : r;
    }
    w->depth++;
    (void)close(w->here.fd);
    w->here.fd = jb_take_fd(&fd);
    return 0;
}

static int ascend(struct walk *w)
{
    int fd = openat(w->here.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)close(w->here.fd);
    w->here.fd = fd;
    jb_strv_free(&w->levels[--w->depth].children);
    return 0;
}

int jb_cg_walk(const struct jb_kdir *parent, const char *name,
               int (*visit)(void *ctx, const struct jb_kdir *parent, const char *name), void *ctx)
{
    struct stat st;
    int seen = jb_cg_hit(parent, "stat", name);
    if (seen < 0)
        return seen;
    if (fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (st.st_nlink == 2) /* no directory below it: the common case, told by one call */
        return visit(ctx, parent, name);
    struct walk w __attribute__((cleanup(walk_free))) = {
        .here = {.fd = fcntl(parent->fd, F_DUPFD_CLOEXEC, 3), .fault = parent->fault},
    };
    if (w.here.fd < 0)
        return -errno;
    int r = descend(&w, name);
    while (r == 0 && w.depth > 0) {
        struct level *top = &w.levels[w.depth - 1];
        if (top->next < top->children.len) {
            r = descend(&w, top->children.items[top->next]);
            if (r == 1) { /* vanished: the next one */
                w.levels[w.depth - 1].next++;
                r = 0;
            }
            continue;
        }
        r = ascend(&w);
        if (r == 0) {
            struct level *above = w.depth ? &w.levels[w.depth - 1] : NULL;
            const char *left = above && above->children.items ? above->children.items[above->next++] : name;
            r = visit(ctx, &w.here, left);
        }
    }
    return r == 1 ? 0 : r;
}
