/*
 * gc.c - what nobody needs goes; what is there is looked at.
 *
 * Owns: a work of the store while it goes on. Runs in: the client. Privilege: that of the store.
 *
 * What is dead is decided under the store's lock and moved out of sight there, by rename; removal takes its time
 * afterwards. Who adds an image pins its parts under the same lock first: either we see the pin, or he sees that the
 * part is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "image/image.h"
#include "image/store.h"
#include "image/tree.h"

#define PINS_MAX (4U << 20)

/* A set of names; sorted when it is asked. */
struct set {
    struct jb_strv names;
    bool sorted;
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has(struct set *set, const char *name)
{
    if (!set->names.len)
        return false;
    if (!set->sorted)
        qsort(set->names.items, set->names.len, sizeof(char *), compare);
    set->sorted = true;
    return bsearch(&name, set->names.items, set->names.len, sizeof(char *), compare) != NULL;
}

static int add(struct set *set, const char *name)
{
    set->sorted = false;
    return jb_strv_add(&set->names, name);
}

struct collection {
    const struct jb_istore *store;
    struct jb_istore_gc *gc;
    struct jb_istore_work work;
    struct set kept[JB_ISTORE_KIND_MAX];
    unsigned moved;
};

/* In tmp/, before an id: what could not be removed, as there are files of ids in it that were this user's and are no more. */
#define STUCK ".stuck."

/* What cannot be removed goes out of the way: else every later collection would take it over, each time a level deeper. */
static void collection_free(struct collection *c)
{
    char from[8 + JB_ID_LEN];
    char to[8 + sizeof(STUCK) + JB_ID_LEN];
    (void)snprintf(from, sizeof(from), "tmp/%s", c->work.id.text);
    (void)snprintf(to, sizeof(to), "tmp/" STUCK "%s", c->work.id.text);
    bool begun = c->work.fd >= 0;
    for (size_t i = 0; i < JB_ISTORE_KIND_MAX; i++)
        jb_strv_free(&c->kept[i].names);
    jb_istore_work_end(&c->work);
    if (begun) /* there is nothing of that name as a rule */
        (void)renameat(c->store->fd, from, c->store->fd, to);
}

/* Tries once more what could not be removed, and counts what still cannot. */
static void clear_stuck(const struct jb_istore *store, struct jb_istore_gc *gc)
{
    jb_autoclose int fd = jb_open_at(store->fd, "tmp", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    jb_autoclose int list = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = list < 0 ? NULL : fdopendir(list);
    const struct dirent *entry;
    if (dir)
        (void)jb_take_fd(&list);
    while (dir && (entry = readdir(dir)))
        if (jb_starts_with(entry->d_name, STUCK) &&
            (gc->dry || (jb_remove_tree(fd, entry->d_name) < 0 &&
                         faccessat(fd, entry->d_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)))
            gc->stuck++; /* and is still there: another collection may have been faster */
}

static int read_pins(struct collection *c, int work_fd)
{
    jb_autofree char *text = NULL;
    char *rest = NULL;
    int r = jb_read_at(work_fd, "pins", PINS_MAX, &text, NULL);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (char *line = strtok_r(text, "\n", &rest); line && r >= 0; line = strtok_r(NULL, "\n", &rest)) {
        char *space = strchr(line, ' ');
        for (enum jb_istore_kind kind = 0; space && kind < JB_ISTORE_KIND_MAX; kind++)
            if (strncmp(line, jb_istore_kind_name(kind), (size_t)(space - line)) == 0)
                r = add(&c->kept[kind], space + 1);
    }
    return r < 0 ? r : 0;
}

/* Works of the living are pins; those of the dead are taken over, to be removed. Under the store's lock. */
static int look_at_works(struct collection *c, struct jb_strv *ret_dead, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int r = jb_istore_names(c->store, "tmp", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        if (c->work.fd >= 0 && jb_streq(names.items[i], c->work.id.text))
            continue;
        jb_autofree char *path = jb_asprintf("tmp/%s", names.items[i]);
        jb_autoclose int fd =
            path ? jb_open_at(c->store->fd, path, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT) : -1;
        jb_autoclose int lock = fd < 0 ? -1 : openat(fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        bool dead = lock < 0 || jb_lock_try(lock) == 0;
        int made = dead ? jb_strv_add(ret_dead, names.items[i]) : read_pins(c, fd);
        if (made < 0)
            r = jb_fail_errno(err, made, "tmp/%s of the image store", names.items[i]);
    }
    return r;
}

/* By rename into our own work, so that two collections do not stumble over each other. */
static int move(struct collection *c, const char *path, struct jb_error *err)
{
    char to[32];
    (void)snprintf(to, sizeof(to), "dead%u", c->moved++);
    if (renameat(c->store->fd, path, c->work.fd, to) < 0 && errno != ENOENT)
        return jb_fail_errno(err, errno, "%s/%s", c->store->path, path);
    return 0;
}

static int move_works(struct collection *c, const struct jb_strv *dead, struct jb_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < dead->len; i++) {
        jb_autofree char *path = jb_asprintf("tmp/%s", dead->items[i]);
        r = path ? move(c, path, err) : jb_fail_errno(err, ENOMEM, "image store");
        c->gc->works += r == 0;
    }
    return r;
}

/* What was unpacked from an image file for boxes serves nobody when the file has changed, or is gone. */
static bool outlived(const struct jb_istore *store, const char *name)
{
    char now[JB_REF_MAX];
    struct stat st;
    if (!jb_starts_with(name, JB_IMAGE_UNPACKED "/"))
        return false;
    jb_autofree char *source = jb_istore_ref_source(store, name);
    return !source || stat(source, &st) < 0 || (jb_image_unpacked_name(&st, now), !jb_streq(now, name));
}

static int read_refs(struct collection *c, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    char name[JB_REF_MAX];
    struct jb_digest digest;
    int r = jb_istore_names(c->store, "refs", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        if (!jb_ref_from_file(names.items[i], name) || jb_istore_ref(c->store, name, &digest) < 0)
            continue;
        if (!c->gc->keep_images && outlived(c->store, name)) {
            jb_autofree char *path = jb_asprintf("refs/%s", names.items[i]);
            if (!c->gc->dry && path)
                (void)unlinkat(c->store->fd, path, 0);
        } else if (add(&c->kept[JB_ISTORE_IMAGE], jb_digest_hex(&digest)) < 0) {
            r = jb_fail_errno(err, ENOMEM, "image store");
        }
    }
    return r;
}

/* A box that uses the image holds its file locked. What cannot be read is no image: nothing can use it. */
static int judge_image(struct collection *c, const char *hex, struct jb_error *err)
{
    char path[16 + JB_HEX_LEN];
    struct jb_istore_image image = {.lock_fd = -1};
    struct jb_ref ref = {0};
    struct jb_error why = {0};
    bool keep = has(&c->kept[JB_ISTORE_IMAGE], hex) || c->gc->keep_images;
    (void)snprintf(path, sizeof(path), "images/%.64s", hex);
    jb_autoclose int fd = keep ? -1 : openat(c->store->fd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        bool used = jb_lock_try(fd) == -EAGAIN;
        /* asked when its lock is ours: what a box that ends leaves is there before it lets go of its image */
        keep = used || (c->gc->wanted && c->gc->wanted(c->gc->wanted_ctx, hex));
        c->gc->in_use += keep;
        if (keep && !used)
            jb_unlock(fd);
    }
    if (!keep) {
        c->gc->images++; /* not moved: whoever waits for its lock must see that it is gone */
        if (!c->gc->dry && unlinkat(c->store->fd, path, 0) < 0 && errno != ENOENT)
            return jb_fail_errno(err, errno, "%s/%s", c->store->path, path);
        return 0;
    }
    jb_autofree char *digest = jb_asprintf("sha256:%s", hex);
    int r = digest && jb_digest_set(&ref.digest, digest) ? jb_istore_find(c->store, &ref, &image, &why)
                                                         : -EUCLEAN;
    for (size_t i = 0; r == 0 && i < image.n_layers; i++)
        if (add(&c->kept[JB_ISTORE_LAYER], jb_digest_hex(&image.layers[i].chain)) < 0)
            r = jb_fail_errno(err, ENOMEM, "image store");
    jb_istore_image_free(&image);
    return r == -EUCLEAN || r == -ENOENT ? 0 : r;
}

static int judge_images(struct collection *c, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int r = jb_istore_names(c->store, "images", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++)
        r = judge_image(c, names.items[i], err);
    return r;
}

static uint64_t size_of_layer(const struct jb_istore *store, const char *hex)
{
    struct jb_digest chain;
    jb_autofree char *digest = jb_asprintf("sha256:%s", hex);
    if (!digest || !jb_digest_set(&chain, digest))
        return 0;
    json_t *about = jb_istore_layer_json(store, &chain);
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(about, "bytes"));
    json_decref(about);
    return bytes;
}

static int judge_layers(struct collection *c, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int r = jb_istore_names(c->store, "layers", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        if (has(&c->kept[JB_ISTORE_LAYER], names.items[i]))
            continue;
        jb_autofree char *path = jb_asprintf("layers/%s", names.items[i]);
        c->gc->layers++;
        c->gc->bytes += size_of_layer(c->store, names.items[i]);
        if (!c->gc->dry)
            r = path ? move(c, path, err) : jb_fail_errno(err, ENOMEM, "image store");
    }
    return r;
}

static int judge_blobs(struct collection *c, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int r = jb_istore_names(c->store, "blobs/sha256", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        struct stat st;
        if (has(&c->kept[JB_ISTORE_BLOB], names.items[i]))
            continue;
        jb_autofree char *path = jb_asprintf("blobs/sha256/%s", names.items[i]);
        if (!path)
            return jb_fail_errno(err, ENOMEM, "image store");
        c->gc->blobs++;
        if (fstatat(c->store->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            c->gc->bytes += (uint64_t)st.st_blocks * 512;
        if (!c->gc->dry)
            r = move(c, path, err);
    }
    return r;
}

/* A name that was being written when its writer died. */
static void clear_half_names(const struct jb_istore *store)
{
    int fd = openat(store->fd, "refs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    jb_autodir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] == '.' && !jb_streq(entry->d_name, ".") && !jb_streq(entry->d_name, ".."))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
}

static int decide(struct collection *c, struct jb_error *err)
{
    jb_autostrv struct jb_strv dead = {0};
    jb_autoclose int lock = jb_istore_lock(c->store, err);
    if (lock < 0)
        return lock;
    int r = look_at_works(c, &dead, err);
    if (r == 0 && !c->gc->dry)
        r = move_works(c, &dead, err);
    if (c->gc->dry)
        c->gc->works = dead.len;
    if (r == 0)
        r = read_refs(c, err);
    if (r == 0)
        r = judge_images(c, err);
    if (r == 0)
        r = judge_layers(c, err);
    if (r == 0)
        r = judge_blobs(c, err);
    if (r == 0 && !c->gc->dry)
        clear_half_names(c->store);
    return r;
}

int jb_istore_collect(const struct jb_istore *store, struct jb_istore_gc *gc, struct jb_error *err)
{
    struct collection c = {.store = store, .gc = gc, .work = JB_ISTORE_WORK_INIT};
    int r = gc->dry ? 0 : jb_istore_work_begin(store, &c.work, err);
    if (r == 0)
        r = decide(&c, err);
    collection_free(&c);
    clear_stuck(store, gc);
    return r;
}

int jb_istore_clear(const struct jb_istore *store, struct jb_error *err)
{
    struct jb_istore_gc gc = {0};
    struct collection c = {.store = store, .gc = &gc, .work = JB_ISTORE_WORK_INIT};
    jb_autostrv struct jb_strv names = {0};
    jb_autostrv struct jb_strv dead = {0};
    int r = jb_istore_names(store, "tmp", &names, err);
    if (r < 0 || names.len == 0)
        return r;
    r = jb_istore_work_begin(store, &c.work, err);
    if (r == 0) {
        jb_autoclose int lock = jb_istore_lock(store, err);
        r = lock < 0 ? lock : look_at_works(&c, &dead, err);
        if (r == 0)
            r = move_works(&c, &dead, err);
    }
    collection_free(&c);
    return r;
}

/* --- verify --- */

struct check {
    const struct jb_istore *store;
    bool deep;
    void (*say)(void *ctx, const char *what);
    void *ctx;
    int wrong;
    struct set sound; /* layers that were looked at */
};

static void complain(struct check *c, const char *fmt, ...) JB_PRINTF(2, 3);
static void complain(struct check *c, const char *fmt, ...)
{
    va_list ap;
    char *line = NULL;
    va_start(ap, fmt);
    if (vasprintf(&line, fmt, ap) >= 0) {
        c->say(c->ctx, line);
        free(line);
    }
    va_end(ap);
    c->wrong++;
}

/* What is wrong with a layer. */
static int look_at_layer(const struct check *c, const char *hex, const struct jb_digest *chain,
                         struct jb_error *err)
{
    struct jb_tree_sums sums;
    jb_autofree char *path = jb_asprintf("layers/%s/fs", hex);
    if (!path)
        return jb_fail_errno(err, ENOMEM, "image store");
    json_t *about = jb_istore_layer_json(c->store, chain);
    const char *tree = json_string_value(json_object_get(about, "tree"));
    const char *named = json_string_value(json_object_get(about, "chain"));
    bool mapped = json_is_true(json_object_get(about, "mapped"));
    const struct jb_tree_owner was = {c->store->uid, c->store->gid};
    jb_autoclose int fd = jb_open_at(c->store->fd, path, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    int r = 0;
    if (!tree || !named || !jb_streq(named, chain->text))
        r = jb_fail(err, EBADMSG, "layer.json is missing or damaged");
    else if (fd < 0)
        r = jb_fail(err, EBADMSG, "its files are missing");
    else if (c->deep && mapped && !c->store->mapped)
        r = jb_fail(err, EPERM,
                    "its files belong to ids that /etc/subuid and /etc/subgid do not give you any more");
    else if (c->deep)
        r = jb_tree_sum(fd, c->store->mapped && !mapped ? &was : NULL, &sums, err);
    if (r == 0 && c->deep && tree && !jb_streq(sums.digest.text, tree))
        r = jb_fail(err, EBADMSG, "its files are not those that were unpacked");
    json_decref(about);
    return r;
}

static void check_layer(struct check *c, const char *hex)
{
    struct jb_digest chain;
    struct jb_error why = {0};
    jb_autofree char *digest = jb_asprintf("sha256:%s", hex);
    if (!digest || !jb_digest_set(&chain, digest)) {
        complain(c, "layers/%s is no layer", hex);
        return;
    }
    if (look_at_layer(c, hex, &chain, &why) == 0)
        (void)add(&c->sound, hex);
    else if (jb_istore_has_layer(c->store, &chain)) /* or it was removed meanwhile */
        complain(c, "layer %.12s: %s", hex, why.text);
}

static void check_image(struct check *c, const char *hex)
{
    struct jb_istore_image image = {.lock_fd = -1};
    struct jb_ref ref = {0};
    struct jb_error why = {0};
    struct jb_digest got;
    jb_autofree char *digest = jb_asprintf("sha256:%s", hex);
    if (!digest || !jb_digest_set(&ref.digest, digest)) {
        complain(c, "images/%s is no image", hex);
        return;
    }
    int r = jb_istore_find(c->store, &ref, &image, &why);
    if (r == -ENOENT) /* removed just now */
        return;
    if (r < 0) {
        complain(c, "%s", why.text);
        return;
    }
    jb_digest_of(image.manifest, strlen(image.manifest), &got);
    if (!jb_streq(got.text, image.digest.text))
        complain(c, "image %.12s: its manifest is not the one that was fetched", hex);
    for (size_t i = 0; i < image.n_layers; i++)
        if (!has(&c->sound, jb_digest_hex(&image.layers[i].chain)) &&
            !jb_istore_has_layer(c->store, &image.layers[i].chain))
            complain(c, "image %.12s: layer %zu of %zu (%.12s) is missing", hex, i + 1, image.n_layers,
                     jb_digest_hex(&image.layers[i].chain));
    jb_istore_image_free(&image);
}

static void check_ref(struct check *c, const char *file)
{
    char name[JB_REF_MAX];
    struct jb_digest digest;
    if (!jb_ref_from_file(file, name)) {
        complain(c, "refs/%s is no name", file);
        return;
    }
    int r = jb_istore_ref(c->store, name, &digest);
    if (r == -ENOENT)
        return;
    if (r < 0)
        complain(c, "%s: the name is damaged", name);
    else if (!jb_istore_has_image(c->store, &digest) && jb_istore_ref(c->store, name, &digest) == 0 &&
             !jb_istore_has_image(c->store, &digest))
        complain(c, "%s: its image %.19s is missing", name, digest.text);
}

int jb_istore_verify(const struct jb_istore *store, bool deep, void (*say)(void *ctx, const char *what),
                     void *ctx, struct jb_error *err)
{
    static const struct {
        const char *dir;
        void (*check)(struct check *c, const char *name);
    } parts[] = {{"layers", check_layer}, {"images", check_image}, {"refs", check_ref}};
    struct check c = {.store = store, .deep = deep, .say = say, .ctx = ctx};
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(parts); i++) {
        jb_autostrv struct jb_strv names = {0};
        r = jb_istore_names(store, parts[i].dir, &names, err);
        for (size_t n = 0; r == 0 && n < names.len; n++)
            parts[i].check(&c, names.items[n]);
    }
    jb_strv_free(&c.sound.names);
    return r < 0 ? r : c.wrong;
}
