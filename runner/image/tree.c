/*
 * tree.c - walks over layers.
 *
 * Owns: see tree.h. Runs in: see tree.h. Privilege: see tree.h.
 */
#include "image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <sha2.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/overlaymarks.h"
#include "base/str.h"

#define XATTRS_MOST 65536

char *jb_tree_show(const char *name, char *buf, size_t len)
{
    size_t i = 0;
    for (; name[i] && i + 1 < len; i++)
        buf[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    buf[i] = '\0';
    if (name[i] && len > 4)
        memcpy(buf + len - 4, "...", 4);
    return buf;
}

/* --- one path --- */

/* Does this layer say what `path` is? 1: it has it; 0: it says nothing, look further down; -ENOENT: it hides it. */
static int look_in(int layer, const char *path, struct stat *ret)
{
    char part[NAME_MAX + 1];
    bool opaque = false; /* the directory, or one that it is in */
    jb_autoclose int at = openat(layer, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 || fstat(at, ret) < 0)
        return -errno;
    for (const char *p = path + strspn(path, "/"); *p; p += strspn(p, "/")) {
        size_t len = strcspn(p, "/");
        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        (void)snprintf(part, sizeof(part), "%.*s", (int)len, p);
        p += len;
        opaque |= jb_is_opaque(at);
        if (fstatat(at, part, ret, AT_SYMLINK_NOFOLLOW) < 0)
            return errno != ENOENT ? -errno : opaque ? -ENOENT : 0;
        if (jb_is_whiteout(ret))
            return -ENOENT;
        if (!p[strspn(p, "/")])
            return 1;
        if (!S_ISDIR(ret->st_mode))
            return -ENOENT;
        int next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return -errno;
        jb_close(&at);
        at = next;
    }
    return 1;
}

int jb_tree_lookup(const int *layers, size_t n, const char *path, struct stat *ret)
{
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        int r = look_in(layers[i], path, &st);
        if (r == 1) {
            *ret = st;
            return (int)i;
        }
        if (r < 0)
            return r;
    }
    return -ENOENT;
}

/* --- everything --- */

struct inode {
    dev_t dev;
    ino_t ino;
    char *path;
};

/* Files with several names, by inode. */
struct inodes {
    struct inode *slots;
    size_t cap, len; /* cap: a power of two */
};

struct walk {
    bool (*skip)(void *ctx, const char *name);
    int (*visit)(void *ctx, const struct jb_tree_entry *entry, struct jb_error *err);
    void *ctx;
    bool raw;
    dev_t dev;
    struct inodes seen;
    struct jb_buf path;
};

static struct inode *slot_of(const struct inodes *set, dev_t dev, ino_t ino)
{
    size_t at = ((size_t)ino * 0x9e3779b97f4a7c15ULL) >> 32;
    for (;; at++) {
        struct inode *slot = &set->slots[at & (set->cap - 1)];
        if (!slot->path || (slot->dev == dev && slot->ino == ino))
            return slot;
    }
}

static int grow(struct inodes *set)
{
    struct inodes bigger = {.cap = set->cap ? set->cap * 2 : 256, .len = set->len};
    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < set->cap; i++)
        if (set->slots[i].path)
            *slot_of(&bigger, set->slots[i].dev, set->slots[i].ino) = set->slots[i];
    free(set->slots);
    *set = bigger;
    return 0;
}

/* *ret: the path it had before, NULL when it is new. */
static int remember(struct inodes *set, const struct stat *st, const char *path, const char **ret)
{
    *ret = NULL;
    if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
        return 0;
    if (set->len * 2 >= set->cap && grow(set) < 0)
        return -ENOMEM;
    struct inode *slot = slot_of(set, st->st_dev, st->st_ino);
    if (slot->path) {
        *ret = slot->path;
        return 0;
    }
    *slot = (struct inode){st->st_dev, st->st_ino, strdup(path)};
    set->len++;
    return slot->path ? 0 : -ENOMEM;
}

static void forget(struct inodes *set)
{
    for (size_t i = 0; i < set->cap; i++)
        free(set->slots[i].path);
    free(set->slots);
}

struct name {
    char *text;
    size_t layer; /* of those that the directory is in */
};

struct names {
    struct name *items;
    size_t len, cap;
};

static int add_name(struct names *names, const char *text, size_t layer)
{
    if (names->len == names->cap) {
        size_t cap = names->cap ? names->cap * 2 : 64;
        struct name *grown = realloc(names->items, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        names->items = grown;
        names->cap = cap;
    }
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    names->items[names->len++] = (struct name){copy, layer};
    return 0;
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->len; i++)
        free(names->items[i].text);
    free(names->items);
}

static int by_name(const void *a, const void *b)
{
    const struct name *x = a;
    const struct name *y = b;
    int d = strcmp(x->text, y->text);
    return d ? d : (x->layer > y->layer) - (x->layer < y->layer);
}

static int list(int fd, size_t layer, struct names *ret)
{
    jb_autoclose int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir)
        return -errno;
    (void)jb_take_fd(&copy);
    const struct dirent *entry;
    while ((errno = 0, entry = readdir(dir))) {
        if (jb_streq(entry->d_name, ".") || jb_streq(entry->d_name, ".."))
            continue;
        int r = add_name(ret, entry->d_name, layer);
        if (r < 0)
            return r;
    }
    return -errno;
}

static int walk_dir(struct walk *w, const int *fds, size_t n, unsigned depth, struct jb_error *err);

/* A directory that several layers have is entered in all of them, down to the first that is opaque. */
static int enter(struct walk *w, const int *fds, const struct name *same, size_t n_same, unsigned depth,
                 struct jb_error *err)
{
    jb_autofree int *into = malloc(n_same * sizeof(*into));
    size_t n = 0;
    int r = 0;
    if (!into)
        return jb_fail_errno(err, ENOMEM, "walking a layer");
    for (size_t i = 0; r == 0 && i < n_same; i++) {
        struct stat st;
        int fd = openat(fds[same[i].layer], same[i].text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP) && i > 0)
            break;
        if (fd < 0 || fstat(fd, &st) < 0) {
            r = jb_fail_errno(err, errno, "%s", w->path.data);
            jb_close(&fd);
            break;
        }
        if (st.st_dev != w->dev) { /* something is mounted here */
            (void)close(fd);
            break;
        }
        into[n++] = fd;
        if (!w->raw && jb_is_opaque(fd))
            break;
    }
    if (r == 0 && n > 0)
        r = walk_dir(w, into, n, depth + 1, err);
    for (size_t i = 0; i < n; i++)
        (void)close(into[i]);
    return r;
}

static int tell(struct walk *w, int dirfd, const char *name, const struct stat *st, struct jb_error *err)
{
    struct jb_tree_entry entry = {.path = w->path.data, .dirfd = dirfd, .name = name, .st = *st};
    entry.whiteout = jb_is_whiteout(st);
    if (S_ISDIR(st->st_mode) && w->raw) {
        jb_autoclose int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        entry.opaque = fd >= 0 && jb_is_opaque(fd);
    }
    if (!entry.whiteout && remember(&w->seen, st, w->path.data, &entry.hardlink) < 0)
        return jb_fail_errno(err, ENOMEM, "walking a layer");
    return w->visit(w->ctx, &entry, err);
}

static int walk_one(struct walk *w, const int *fds, const struct name *same, size_t n_same, unsigned depth,
                    struct jb_error *err)
{
    struct stat st;
    int dirfd = fds[same->layer];
    if (w->skip && w->skip(w->ctx, same->text))
        return 0;
    if (fstatat(dirfd, same->text, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return jb_fail_errno(err, errno, "%s", w->path.data);
    if (!w->raw && jb_is_whiteout(&st))
        return 0;
    int r = tell(w, dirfd, same->text, &st, err);
    return r == 0 && S_ISDIR(st.st_mode) ? enter(w, fds, same, n_same, depth, err) : r;
}

static int walk_dir(struct walk *w, const int *fds, size_t n, unsigned depth, struct jb_error *err)
{
    struct names names = {0};
    size_t base = w->path.len;
    int r = depth > JB_TREE_DEPTH
                ? jb_fail(err, ELOOP, "folders lie in each other more than %d deep", JB_TREE_DEPTH)
                : 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        if ((r = list(fds[i], i, &names)) < 0)
            r = jb_fail_errno(err, r, "%s", w->path.data);
    if (names.len > 1)
        qsort(names.items, names.len, sizeof(*names.items), by_name);
    for (size_t i = 0, next; r == 0 && i < names.len; i = next) {
        for (next = i + 1; next < names.len && jb_streq(names.items[next].text, names.items[i].text);)
            next++;
        if (jb_buf_printf(&w->path, "%s%s", base ? "/" : "", names.items[i].text) < 0)
            r = jb_fail_errno(err, ENOMEM, "walking a layer");
        else
            r = walk_one(w, fds, &names.items[i], next - i, depth, err);
        w->path.len = base;
        w->path.data[base] = '\0';
    }
    free_names(&names);
    return r;
}

int jb_tree_walk(const int *layers, size_t n, bool raw, bool (*skip)(void *ctx, const char *name),
                 int (*visit)(void *ctx, const struct jb_tree_entry *entry, struct jb_error *err), void *ctx,
                 struct jb_error *err)
{
    struct walk w = {.skip = skip, .visit = visit, .ctx = ctx, .raw = raw};
    struct stat st;
    size_t shown = 0;
    if (jb_buf_puts(&w.path, "") < 0 || fstat(layers[0], &st) < 0)
        return jb_fail_errno(err, errno, "walking a layer");
    w.dev = st.st_dev;
    int r = tell(&w, layers[0], ".", &st, err);
    while (shown < n && (shown == 0 || raw || !jb_is_opaque(layers[shown - 1])))
        shown++;
    if (r == 0)
        r = walk_dir(&w, layers, shown, 0, err);
    forget(&w.seen);
    jb_buf_free(&w.path);
    return r;
}

/* --- sums --- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool of_content(const char *name)
{
    return (jb_starts_with(name, "user.") && !jb_starts_with(name, "user.overlay.")) ||
           jb_streq(name, "security.capability");
}

int jb_tree_xattrs(int fd, int (*each)(void *ctx, const char *name, const void *value, size_t len), void *ctx)
{
    ssize_t size = flistxattr(fd, NULL, 0);
    if (size <= 0)
        return size < 0 && errno != ENOTSUP && errno != EBADF ? -errno : 0;
    jb_autofree char *all = malloc((size_t)size);
    jb_autofree char *value = malloc(XATTRS_MOST);
    jb_autostrv struct jb_strv names = {0};
    if (!all || !value)
        return -ENOMEM;
    size = flistxattr(fd, all, (size_t)size);
    for (const char *p = all; size > 0 && p < all + size; p += strlen(p) + 1)
        if (of_content(p) && jb_strv_add(&names, p) < 0)
            return -ENOMEM;
    if (names.len > 1)
        qsort(names.items, names.len, sizeof(*names.items), compare_text);
    int r = size < 0 ? -errno : 0;
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        ssize_t n = fgetxattr(fd, names.items[i], value, XATTRS_MOST);
        r = n < 0 ? -errno : each(ctx, names.items[i], value, (size_t)n);
    }
    return r;
}

struct summing {
    SHA2_CTX sha;
    struct jb_tree_sums sums;
    const struct jb_tree_owner *was;
    bool capable;
};

static void add_text(struct summing *s, const char *text)
{
    SHA256Update(&s->sha, (const uint8_t *)text, strlen(text) + 1);
}

static int sum_xattr(void *ctx, const char *name, const void *value, size_t len)
{
    struct summing *s = ctx;
    add_text(s, name);
    SHA256Update(&s->sha, value, len);
    s->capable |= jb_streq(name, "security.capability");
    return 0;
}

static int sum_file(struct summing *s, const struct jb_tree_entry *e, struct jb_error *err)
{
    static const size_t chunk = 256 << 10;
    bool dir = S_ISDIR(e->st.st_mode);
    jb_autoclose int fd =
        openat(e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (dir ? O_DIRECTORY : 0));
    jb_autofree uint8_t *buf = malloc(chunk);
    if (fd < 0 || !buf)
        return jb_fail_errno(err, errno, "reading %s", e->path);
    int r = jb_tree_xattrs(fd, sum_xattr, s);
    ssize_t n = 0;
    while (r == 0 && !dir && (n = read(fd, buf, chunk)) > 0)
        SHA256Update(&s->sha, buf, (size_t)n);
    if (r < 0 || n < 0)
        return jb_fail_errno(err, r < 0 ? r : errno, "reading %s", e->path);
    return 0;
}

static int sum_entry(void *ctx, const struct jb_tree_entry *e, struct jb_error *err)
{
    struct summing *s = ctx;
    char text[256];
    bool file = S_ISREG(e->st.st_mode);
    (void)snprintf(text, sizeof(text), "%o %u %u %jd %jd.%09ld %d", (unsigned)e->st.st_mode,
                   s->was && e->st.st_uid == 0 ? s->was->uid : (unsigned)e->st.st_uid,
                   s->was && e->st.st_gid == 0 ? s->was->gid : (unsigned)e->st.st_gid,
                   file ? (intmax_t)e->st.st_size : 0, e->whiteout ? 0 : (intmax_t)e->st.st_mtim.tv_sec,
                   e->whiteout ? 0 : e->st.st_mtim.tv_nsec, e->opaque);
    add_text(s, e->path);
    add_text(s, text);
    add_text(s, e->hardlink ? e->hardlink : "");
    s->sums.entries++;
    s->capable = false;
    if (e->hardlink)
        return 0;
    int r = 0;
    if (file || S_ISDIR(e->st.st_mode))
        r = sum_file(s, e, err);
    if (S_ISLNK(e->st.st_mode)) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(e->dirfd, e->name, target, sizeof(target));
        if (n < 0)
            return jb_fail_errno(err, errno, "reading %s", e->path);
        SHA256Update(&s->sha, (const uint8_t *)target, (size_t)n);
    }
    s->sums.bytes += file ? (uint64_t)e->st.st_size : 0;
    s->sums.privileged_files += file && ((e->st.st_mode & 06000) || s->capable);
    return r;
}

int jb_tree_sum(int layer, const struct jb_tree_owner *was, struct jb_tree_sums *ret, struct jb_error *err)
{
    struct summing s = {.was = was};
    SHA256Init(&s.sha);
    int r = jb_tree_walk(&layer, 1, true, NULL, sum_entry, &s, err);
    if (r < 0)
        return r;
    (void)snprintf(s.sums.digest.text, sizeof(s.sums.digest.text), "sha256:");
    (void)SHA256End(&s.sha, s.sums.digest.text + strlen("sha256:"));
    *ret = s.sums;
    return 0;
}
