/*
 * changes.c - walking the upper layers.
 *
 * Owns: see changes.h. Runs in: the supervisor. Privilege: see changes.h.
 *
 * An overlay writes to its upper: a whiteout (a character device 0:0) for what was deleted; the whole of what was
 * changed; a directory with the attribute `opaque` where one was made in the place of a deleted one; a directory with
 * `redirect` where one was renamed; a file with `metacopy` whose content is still that of below. fuse-overlayfs has marks
 * beside these (base/overlaymarks.h).
 */
#include "job/kept/changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/overlaymarks.h"
#include "job/kept/same.h"

#define LOWERS_MAX 512 /* layers below one directory */

/* The directories below one of the upper, the top one first; none: nothing is seen there. */
struct below {
    int *fds;
    size_t n;
};

struct names {
    char **items;
    size_t n;
};

struct walk {
    struct jb_changes *c;
    struct jb_buf path;       /* in the box */
    const struct below *root; /* of the layer, for redirects */
    size_t seen, text;
    bool marking; /* before GO: all that is there is noted, nothing compared */
    const struct jb_box_layer *layer;
};

static void below_free(struct below *b)
{
    for (size_t i = 0; i < b->n; i++)
        (void)close(b->fds[i]);
    free(b->fds);
    *b = (struct below){0};
}
#define autobelow __attribute__((cleanup(below_free)))

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct names){0};
}
#define autonames __attribute__((cleanup(names_free)))

const char *jb_change_name(enum jb_change change)
{
    static const char *const names[JB_CHANGE_MAX] = {
        [JB_CHANGE_ADDED] = "added",
        [JB_CHANGE_MODIFIED] = "modified",
        [JB_CHANGE_DELETED] = "deleted",
        [JB_CHANGE_REPLACED] = "replaced",
    };
    return (unsigned)change < JB_CHANGE_MAX ? names[change] : NULL;
}

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFBLK:
        return "block device";
    default:
        return "character device";
    }
}

/* A folder that is not an overlay's has no marks. */
static enum jb_overlay_space space_of(const struct walk *w)
{
    return w->layer->n_lowers == 0 ? JB_OVERLAY_NONE : w->c->space;
}

/* Anybody may make such a node, where no overlay keeps it to itself. */
static bool is_whiteout(const struct walk *w, const struct stat *st)
{
    return space_of(w) != JB_OVERLAY_NONE && jb_is_whiteout(st);
}

static bool is_opaque(const struct walk *w, int fd)
{
    return (w->layer->fuse && faccessat(fd, JB_FUSE_OPAQUE, F_OK, AT_SYMLINK_NOFOLLOW) == 0) ||
           jb_is_opaque_in(fd, space_of(w));
}

/* --- entries --- */

static json_t *describe(const struct stat *st)
{
    json_t *what = json_pack("{s:s, s:o}", "type", type_name(st->st_mode), "mode",
                             json_sprintf("%04o", (unsigned)st->st_mode & 07777));
    if (what && S_ISREG(st->st_mode))
        (void)json_object_set_new(what, "size", json_integer((json_int_t)st->st_size));
    return what;
}

static int push(struct walk *w, json_t *entry)
{
    w->text += w->path.len + 64;
    return entry && json_array_append_new(w->c->list, entry) == 0 ? 0 : -ENOMEM;
}

static bool is_full(struct walk *w)
{
    if (json_array_size(w->c->list) < JB_CHANGES_LISTED && w->text < JB_CHANGES_TEXT &&
        w->seen < JB_CHANGES_SEEN)
        return false;
    w->c->truncated = true;
    return true;
}

/* `st`: as it is now, NULL when deleted; `was`: as it was, NULL when it was not; `from`: its name below, if renamed. */
static int add(struct walk *w, enum jb_change change, const struct stat *st, const struct stat *was,
               const char *from)
{
    if (w->marking || is_full(w))
        return 0;
    json_t *entry = json_object();
    bool ok = jb_json_set(entry, "path", jb_json_text(w->path.data)) &&
              jb_json_set(entry, "change", json_string(jb_change_name(change)));
    json_t *now = describe(st ? st : was);
    ok = ok && now && json_object_update(entry, now) == 0;
    json_decref(now);
    if (ok && st && was)
        ok = jb_json_set(entry, "was", describe(was));
    if (ok && from)
        ok = jb_json_set(entry, "from", jb_json_text(from));
    if (!ok) {
        json_decref(entry);
        return -ENOMEM;
    }
    w->c->counts[change]++;
    return push(w, entry);
}

static int cannot(struct walk *w, int r)
{
    if (w->marking || is_full(w))
        return 0;
    w->c->unread++;
    return push(w, json_pack("{s:o, s:s}", "path", jb_json_text(w->path.data), "error",
                             strerrordesc_np(-r) ?: "unknown error"));
}

/* --- what was there before the job --- */

/* A path may be there twice: in the upper of `/`, and as the root of a layer that is shown there. */
static int by_path(const void *a, const void *b)
{
    const struct jb_changes_mark *x = a;
    const struct jb_changes_mark *y = b;
    int order = strcmp(x->path, y->path);
    return order ? order : x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Of what is at this path now; NULL: the job put it there. */
static const struct jb_changes_mark *find_mark(const struct walk *w, const struct stat *st)
{
    const struct jb_changes_mark key = {.path = w->path.data, .ino = st->st_ino};
    return w->marking || !w->c->n_marks ? NULL
                                        : bsearch(&key, w->c->marks, w->c->n_marks, sizeof(key), by_path);
}

static int add_mark(struct walk *w, const struct stat *st)
{
    struct jb_changes *c = w->c;
    struct jb_changes_mark *grown = reallocarray(c->marks, c->n_marks + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    c->marks = grown;
    char *path = strdup(w->path.data);
    if (!path)
        return -ENOMEM;
    grown[c->n_marks++] = (struct jb_changes_mark){.path = path,
                                                   .ino = st->st_ino,
                                                   .mode = st->st_mode,
                                                   .uid = st->st_uid,
                                                   .gid = st->st_gid,
                                                   .ctime_s = st->st_ctim.tv_sec,
                                                   .ctime_ns = st->st_ctim.tv_nsec};
    return 0;
}

/* --- directories --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names in order; what is past the bound is left off, and said to be. */
static int read_names(struct walk *w, int fd, struct names *ret)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    jb_autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) {
        int saved = errno;
        jb_close(&own);
        return -saved;
    }
    size_t cap = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (ret->n == JB_CHANGES_FOLDER) {
            w->c->truncated = true;
            break;
        }
        if (ret->n == cap) {
            cap = cap ? cap * 2 : 32;
            char **grown = reallocarray(ret->items, cap, sizeof(*grown));
            if (!grown)
                return -ENOMEM;
            ret->items = grown;
        }
        if (!(ret->items[ret->n] = strdup(e->d_name)))
            return -ENOMEM;
        ret->n++;
    }
    if (ret->n)
        qsort(ret->items, ret->n, sizeof(*ret->items), by_name);
    return 0;
}

static int add_below(struct below *b, int fd)
{
    int *grown = b->n < LOWERS_MAX ? reallocarray(b->fds, b->n + 1, sizeof(*grown)) : NULL;
    if (!grown) {
        (void)close(fd);
        return -ENOMEM;
    }
    b->fds = grown;
    b->fds[b->n++] = fd;
    return 0;
}

/*
 * What the layers below show under a name: 1 and its stat, and for a directory those that it is made of; 0: nothing.
 * *ret_at: the layer that it is in.
 */
static int look_below(const struct walk *w, const struct below *b, const char *name, struct stat *ret,
                      size_t *ret_at, struct below *ret_sub)
{
    bool found = false;
    for (size_t i = 0; i < b->n; i++) {
        struct stat st;
        if (fstatat(b->fds[i], name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT && errno != ENOTDIR)
                return -errno;
            continue;
        }
        if (jb_is_whiteout(&st) || (found && !S_ISDIR(st.st_mode)))
            break;
        if (!found) {
            *ret = st;
            *ret_at = i;
        }
        found = true;
        if (!S_ISDIR(st.st_mode))
            break;
        int fd = openat(b->fds[i], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            fd = openat(b->fds[i], name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        bool opaque = jb_is_opaque_in(fd, space_of(w));
        int r = add_below(ret_sub, fd);
        if (r < 0)
            return r;
        if (opaque)
            break;
    }
    return found;
}

/* The directories below that a renamed one shows: by a path from the layer's root, or a name beside it. */
static int follow_redirect(const struct walk *w, const struct below *parent, const char *redirect,
                           struct stat *ret, struct below *ret_sub)
{
    jb_autofree char *path = strdup(redirect);
    autobelow struct below at = {0};
    const struct below *from = redirect[0] == '/' ? w->root : parent;
    char *save = NULL;
    int r = path ? 0 : -ENOMEM;
    for (char *part = path ? strtok_r(path, "/", &save) : NULL; part; part = strtok_r(NULL, "/", &save)) {
        autobelow struct below sub = {0};
        size_t layer;
        r = look_below(w, from, part, ret, &layer, &sub);
        if (r <= 0 || !S_ISDIR(ret->st_mode))
            return r < 0 ? r : 0;
        below_free(&at);
        at = sub;
        sub = (struct below){0};
        from = &at;
    }
    *ret_sub = at;
    at = (struct below){0};
    return r;
}

/* --- comparing --- */

static bool other_metadata(const struct walk *w, const struct stat *a, const struct stat *b)
{
    return (a->st_mode & 07777) != (b->st_mode & 07777) ||
           (!w->layer->squashed && (a->st_uid != b->st_uid || a->st_gid != b->st_gid));
}

/* Something that is no directory, over something of the same type. */
static int compare(struct walk *w, int upper, int lower, const char *name, const struct stat *st,
                   const struct stat *was)
{
    int r = other_metadata(w, st, was);
    if (r == 0 && S_ISREG(st->st_mode))
        r = st->st_size != was->st_size ? 1 : jb_content_differs(upper, space_of(w), lower, name);
    else if (r == 0 && S_ISLNK(st->st_mode))
        r = jb_target_differs(upper, lower, name);
    else if (r == 0)
        r = st->st_rdev != was->st_rdev;
    if (r < 0)
        return cannot(w, r);
    return r ? add(w, JB_CHANGE_MODIFIED, st, was, NULL) : 0;
}

/*
 * A directory that is what it was. One that was there before GO may differ from what is below by jobbox's doing; `was` NULL:
 * what is below was never seen.
 */
static int compare_folder(struct walk *w, const struct stat *st, const struct stat *was,
                          const struct jb_changes_mark *ours)
{
    bool same = ours && st->st_mode == ours->mode && st->st_uid == ours->uid && st->st_gid == ours->gid;
    if (same || (was && !other_metadata(w, st, was)))
        return 0;
    return add(w, JB_CHANGE_MODIFIED, st, was, NULL);
}

/* --- the walk --- */

static int walk_folder(struct walk *w, int upper, const struct below *below, bool hides, unsigned depth);

/* A directory of the upper; `was` NULL: there was none. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int visit_folder(struct walk *w, int upper, const char *name, const struct below *parent,
                        struct below *sub, const struct stat *st, const struct stat *was, unsigned depth)
{
    char redirect[PATH_MAX];
    struct stat other;
    const struct jb_changes_mark *ours = find_mark(w, st);
    jb_autoclose int fd = openat(upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cannot(w, -errno);
    ssize_t n = jb_overlay_attribute(fd, space_of(w), "redirect", redirect, sizeof(redirect) - 1);
    bool opaque = is_opaque(w, fd);
    int r = 0;
    if (ours && opaque) { /* it was empty when the job came: what is below was never seen */
        below_free(sub);
        r = compare_folder(w, st, NULL, ours);
    } else if (n > 0) {
        redirect[n] = '\0';
        below_free(sub);
        r = follow_redirect(w, parent, redirect, &other, sub);
        if (r >= 0)
            r = add(w, was ? JB_CHANGE_REPLACED : JB_CHANGE_ADDED, st, was, redirect);
    } else if (was && !S_ISDIR(was->st_mode)) {
        r = add(w, JB_CHANGE_REPLACED, st, was, NULL);
    } else if (!was && !ours) {
        r = add(w, JB_CHANGE_ADDED, st, NULL, NULL);
    } else {
        r = compare_folder(w, st, was, ours);
    }
    return r < 0 ? r : walk_folder(w, fd, sub, opaque, depth + 1);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static int visit(struct walk *w, int upper, const char *name, const struct below *below, unsigned depth)
{
    struct stat st;
    struct stat was = {0}; /* set where something is known to be below */
    autobelow struct below sub = {0};
    size_t at = 0;
    const char *deleted = w->layer->fuse ? jb_fuse_deleted(name) : NULL;
    w->seen++;
    if (fstatat(upper, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return cannot(w, -errno);
    if (w->layer->fuse && jb_fuse_is_mark(name) && !(deleted && S_ISREG(st.st_mode)))
        return 0;
    if (deleted)
        name = deleted;
    if (w->marking) {
        int r = add_mark(w, &st);
        return r < 0 || !S_ISDIR(st.st_mode) ? r
                                             : visit_folder(w, upper, name, below, &sub, &st, NULL, depth);
    }
    int known = look_below(w, below, name, &was, &at, &sub);
    if (known < 0)
        return cannot(w, known);
    if (is_whiteout(w, &st) || deleted)
        return known ? add(w, JB_CHANGE_DELETED, NULL, &was, NULL) : 0;
    if (S_ISDIR(st.st_mode))
        return visit_folder(w, upper, name, below, &sub, &st, known ? &was : NULL, depth);
    const struct jb_changes_mark *mark = find_mark(w, &st);
    if (mark) {
        bool same = mark->ctime_s == st.st_ctim.tv_sec && mark->ctime_ns == st.st_ctim.tv_nsec;
        return same ? 0 : add(w, JB_CHANGE_MODIFIED, &st, known ? &was : NULL, NULL);
    }
    if (!known)
        return add(w, JB_CHANGE_ADDED, &st, NULL, NULL);
    if ((st.st_mode & S_IFMT) != (was.st_mode & S_IFMT))
        return add(w, JB_CHANGE_REPLACED, &st, &was, NULL);
    return compare(w, upper, below->fds[at], name, &st, &was);
}

/* Goes into `name` with the path; what it was before comes back. */
static int with_name(struct walk *w, const char *name, size_t *ret_len)
{
    *ret_len = w->path.len;
    int r = w->path.len > 1 ? jb_buf_puts(&w->path, "/") : 0;
    return r < 0 ? r : jb_buf_puts(&w->path, name);
}

static void without_name(struct walk *w, size_t len)
{
    w->path.len = len;
    w->path.data[len] = '\0';
}

/* What was below and is hidden by a directory that was made anew. */
static int hidden(struct walk *w, const struct below *below, const struct names *upper)
{
    for (size_t i = 0; i < below->n; i++) {
        autonames struct names names = {0};
        int r = read_names(w, below->fds[i], &names);
        if (r < 0)
            return cannot(w, r);
        for (size_t k = 0; k < names.n && !is_full(w); k++) {
            struct stat was;
            autobelow struct below sub = {0};
            size_t at = 0;
            size_t len = 0;
            if (upper->n && bsearch(&names.items[k], upper->items, upper->n, sizeof(char *), by_name))
                continue;
            /* only where it is the uppermost of its name */
            if (look_below(w, below, names.items[k], &was, &at, &sub) != 1 || at != i)
                continue;
            w->seen++;
            r = with_name(w, names.items[k], &len);
            if (r == 0)
                r = add(w, JB_CHANGE_DELETED, NULL, &was, NULL);
            if (r < 0)
                return r;
            without_name(w, len);
        }
    }
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static int walk_folder(struct walk *w, int upper, const struct below *below, bool hides, unsigned depth)
{
    autonames struct names names = {0};
    if (depth > JB_CHANGES_DEPTH) {
        w->c->truncated = true;
        return 0;
    }
    int r = read_names(w, upper, &names);
    if (r < 0)
        return cannot(w, r);
    if (hides && !w->marking)
        r = hidden(w, below, &names);
    for (size_t i = 0; r == 0 && i < names.n && !is_full(w); i++) {
        size_t len = 0;
        const char *deleted = w->layer->fuse ? jb_fuse_deleted(names.items[i]) : NULL;
        r = with_name(w, deleted ? deleted : names.items[i], &len);
        if (r == 0)
            r = visit(w, upper, names.items[i], below, depth);
        if (r == 0)
            without_name(w, len);
    }
    return r;
}

/* The directory that a layer is shown as. */
static int visit_root(struct walk *w, int upper)
{
    struct stat st;
    struct stat was;
    if (fstat(upper, &st) < 0 || (w->root->n && fstat(w->root->fds[0], &was) < 0))
        return -errno;
    if (w->marking)
        return add_mark(w, &st);
    const struct jb_changes_mark *ours = find_mark(w, &st);
    return ours ? compare_folder(w, &st, w->root->n ? &was : NULL, ours) : 0;
}

static int walk_layer(struct walk *w, const struct jb_box *box, const struct jb_box_layer *layer)
{
    jb_autoclose int upper =
        openat(box->scratch_fd, layer->upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (upper < 0)
        return -errno;
    /* borrowed: not freed here */
    const struct below below = {.fds = layer->lowers, .n = layer->n_lowers};
    w->root = &below;
    w->layer = layer;
    w->path.len = 0;
    int r = jb_buf_puts(&w->path, layer->target);
    if (r == 0)
        r = visit_root(w, upper);
    return r < 0 ? r : walk_folder(w, upper, &below, false, 0);
}

static int walk_all(const struct jb_box *box, struct jb_changes *c, bool marking, struct jb_error *err)
{
    struct walk w = {.c = c, .marking = marking};
    int r = 0;
    if (box->scratch_fd < 0)
        return jb_fail(err, ENOENT, "changes: the box's scratch cannot be looked at");
    for (size_t i = 0; r == 0 && i < box->n_layers; i++)
        r = walk_layer(&w, box, &box->layers[i]);
    jb_buf_free(&w.path);
    return r < 0 ? jb_fail_errno(err, r, "looking for what the job changed") : 0;
}

int jb_changes_begin(const struct jb_box *box, enum jb_overlay_space space, struct jb_changes *ret,
                     struct jb_error *err)
{
    struct jb_changes c = {.list = json_array(), .space = space};
    int r = c.list ? walk_all(box, &c, true, err) : jb_fail_errno(err, ENOMEM, "changes");
    if (r < 0) {
        jb_changes_free(&c);
        return r;
    }
    if (c.n_marks)
        qsort(c.marks, c.n_marks, sizeof(*c.marks), by_path);
    *ret = c;
    return 0;
}

int jb_changes_find(const struct jb_box *box, struct jb_changes *changes, struct jb_error *err)
{
    return walk_all(box, changes, false, err);
}

void jb_changes_free(struct jb_changes *changes)
{
    for (size_t i = 0; i < changes->n_marks; i++)
        free(changes->marks[i].path);
    free(changes->marks);
    json_decref(changes->list);
    *changes = (struct jb_changes){0};
}
