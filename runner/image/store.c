/*
 * store.c - what is in the image store, found and added.
 *
 * Owns: see store.h. Runs in: the client. Privilege: see store.h.
 */
#include "image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"

#define IMAGE_MAX (12U << 20)
#define REF_MAX   (16U << 10)

static const char *const dirs[] = {"refs", "images", "layers", "blobs", "blobs/sha256", "tmp"};
static const char *const files[] = {"lock", "fetches"};

const char *jb_istore_kind_name(enum jb_istore_kind kind)
{
    static const char *const names[] = {
        [JB_ISTORE_BLOB] = "blob", [JB_ISTORE_LAYER] = "layer", [JB_ISTORE_IMAGE] = "image"};
    return (size_t)kind < JB_ARRAY_LEN(names) ? names[kind] : NULL;
}

static int make_all(int fd, bool shared, struct jb_error *err)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(dirs); i++)
        if (mkdirat(fd, dirs[i], shared ? 0755 : 0700) < 0 && errno != EEXIST)
            return jb_fail_errno(err, errno, "making %s of the image store", dirs[i]);
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++) {
        jb_autoclose int file = openat(fd, files[i], O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file < 0)
            return jb_fail_errno(err, errno, "making %s of the image store", files[i]);
    }
    return 0;
}

/* The folder itself; its parents are the state directory's, or the administrator's. */
static int make_dir(const struct jb_istore_where *where, struct jb_error *err)
{
    jb_autofree char *copy = strdup(where->path);
    if (!copy)
        return jb_fail_errno(err, ENOMEM, "image store");
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if (mkdir(copy, where->shared ? 0755 : 0700) < 0 && errno != EEXIST)
            return jb_fail_errno(err, errno, "making %s for the image store", copy);
    }
    if (mkdir(where->path, where->shared ? 0755 : 0700) < 0 && errno != EEXIST)
        return jb_fail_errno(err, errno, "making the image store %s", where->path);
    return 0;
}

int jb_istore_open(const struct jb_istore_where *where, struct jb_istore *ret, struct jb_error *err)
{
    jb_autoistore struct jb_istore store = JB_ISTORE_INIT;
    store.writable = where->make;
    store.privileged = where->privileged;
    store.shared = where->shared;
    store.mapped = where->mapped;
    store.uid = where->uid;
    store.gid = where->gid;
    store.path = strdup(where->path);
    if (!store.path)
        return jb_fail_errno(err, ENOMEM, "image store");
    int r = jb_open_owned_dir(AT_FDCWD, where->path, where->owner, &store.fd, err);
    if (r == -ENOENT && where->make) {
        jb_error_clear(err);
        r = make_dir(where, err);
        if (r == 0)
            r = jb_open_owned_dir(AT_FDCWD, where->path, where->owner, &store.fd, err);
    }
    if (r == 0 && where->make)
        r = make_all(store.fd, where->shared, err);
    if (r < 0)
        return jb_wrap(err, "image store");
    *ret = store;
    store = JB_ISTORE_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_istore_close(struct jb_istore *store)
{
    jb_close(&store->fd);
    free(store->path);
    *store = JB_ISTORE_INIT;
}

void jb_istore_image_free(struct jb_istore_image *image)
{
    free(image->source);
    free(image->added);
    free(image->manifest);
    free(image->config);
    free(image->layers);
    if (image->lock_fd > 0)
        (void)close(image->lock_fd);
    *image = (struct jb_istore_image){.lock_fd = -1};
}

/* --- finding --- */

static char *copy_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? strdup(text) : NULL;
}

static bool read_layer(const json_t *item, struct jb_istore_layer *ret)
{
    ret->size = (uint64_t)json_integer_value(json_object_get(item, "size"));
    return jb_digest_set(&ret->chain, json_string_value(json_object_get(item, "chain"))) &&
           jb_digest_set(&ret->diff_id, json_string_value(json_object_get(item, "diff_id"))) &&
           jb_digest_set(&ret->blob, json_string_value(json_object_get(item, "blob")));
}

static int read_image(const char *text, size_t len, const char *hex, struct jb_istore_image *ret,
                      struct jb_error *err)
{
    jb_autoimage struct jb_istore_image image = {.lock_fd = -1};
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *list = json_object_get(root, "layers");
    size_t n = json_array_size(list);
    bool ok = jb_digest_set(&image.digest, json_string_value(json_object_get(root, "digest"))) &&
              jb_streq(jb_digest_hex(&image.digest), hex) && n > 0 && n <= JB_OCI_LAYERS_MAX;
    image.source = copy_text(root, "source");
    image.added = copy_text(root, "added");
    image.manifest = copy_text(root, "manifest");
    image.config = copy_text(root, "config");
    image.layers = ok ? calloc(n, sizeof(*image.layers)) : NULL;
    ok = ok && image.source && image.added && image.manifest && image.config && image.layers;
    for (size_t i = 0; ok && i < n; i++)
        ok = read_layer(json_array_get(list, i), &image.layers[i]);
    image.n_layers = n;
    json_decref(root);
    if (!ok)
        return jb_fail(err, EUCLEAN,
                       "image %.12s of the store is damaged; \"jobbox image rm\" it and fetch it again", hex);
    *ret = image;
    image = (struct jb_istore_image){.lock_fd = -1}; /* NOLINT(clang-analyzer-deadcode.DeadStores) */
    return 0;
}

/* A removed one may still be open here: only one that has its name counts. */
static int lock_shared(int fd)
{
    struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    struct stat st;
    int r;
    do
        r = fcntl(fd, F_OFD_SETLKW, &fl);
    while (r < 0 && errno == EINTR);
    if (r < 0 || fstat(fd, &st) < 0)
        return -errno;
    return st.st_nlink > 0 ? 0 : -ENOENT;
}

static int open_image(const struct jb_istore *store, const char *hex, struct jb_istore_image *ret,
                      struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    char path[16 + JB_HEX_LEN];
    (void)snprintf(path, sizeof(path), "images/%s", hex);
    jb_autoclose int fd = jb_open_at(store->fd, path, O_RDONLY, 0, JB_WALK_STRICT);
    int r = fd < 0 ? fd : lock_shared(fd);
    if (r == -ENOENT)
        return r;
    if (r == 0)
        r = jb_read_fd(fd, IMAGE_MAX, &text, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "%s/%s", store->path, path);
    r = read_image(text, len, hex, ret, err);
    if (r == 0)
        ret->lock_fd = jb_take_fd(&fd);
    return r;
}

static int read_ref(const struct jb_istore *store, const char *name, char **ret)
{
    char file[JB_REF_MAX];
    jb_ref_to_file(name, file);
    jb_autofree char *path = jb_asprintf("refs/%s", file);
    jb_autoclose int fd = path ? jb_open_at(store->fd, path, O_RDONLY, 0, JB_WALK_STRICT) : -ENOMEM;
    return fd < 0 ? fd : jb_read_fd(fd, REF_MAX, ret, NULL);
}

int jb_istore_ref(const struct jb_istore *store, const char *name, struct jb_digest *ret)
{
    jb_autofree char *text = NULL;
    int r = read_ref(store, name, &text);
    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = '\0';
    return jb_digest_set(ret, text) ? 0 : -EUCLEAN;
}

char *jb_istore_ref_source(const struct jb_istore *store, const char *name)
{
    jb_autofree char *text = NULL;
    const char *line = read_ref(store, name, &text) < 0 ? NULL : strchr(text, '\n');
    size_t len = line ? strlen(++line) : 0;
    return len > 1 ? strndup(line, len - 1) : NULL; /* what follows is one line, whatever is in it */
}

int jb_istore_find(const struct jb_istore *store, const struct jb_ref *ref, struct jb_istore_image *ret,
                   struct jb_error *err)
{
    struct jb_digest digest = ref->digest;
    if (digest.text[0])
        return open_image(store, jb_digest_hex(&digest), ret, err);
    for (int tries = 0;; tries++) { /* a name may be given to another image while we look */
        int r = jb_istore_ref(store, ref->name, &digest);
        if (r == -ENOENT)
            return r;
        if (r < 0)
            return jb_fail_errno(err, r, "the name %s in the image store %s", ref->name, store->path);
        r = open_image(store, jb_digest_hex(&digest), ret, err);
        if (r != -ENOENT || tries == 8)
            return r;
    }
}

static int find_prefix(const struct jb_istore *store, const char *text, struct jb_istore_image *ret,
                       struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    const char *found = NULL;
    const char *digits = jb_starts_with(text, "sha256:") ? text + strlen("sha256:") : text;
    if (strlen(digits) < 6 || strspn(digits, "0123456789abcdef") != strlen(digits))
        return -ENOENT;
    int r = jb_istore_names(store, "images", &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        if (!jb_starts_with(names.items[i], digits))
            continue;
        if (found)
            return jb_fail(err, ENOTUNIQ, "several images begin with %s; write more of its digits", digits);
        found = names.items[i];
    }
    return r < 0 ? r : found ? open_image(store, found, ret, err) : -ENOENT;
}

int jb_istore_find_text(const struct jb_istore *store, const char *text, struct jb_istore_image *ret,
                        struct jb_error *err)
{
    struct jb_ref ref;
    int r = jb_ref_parse(text, &ref, NULL);
    if (r == 0)
        r = jb_istore_find(store, &ref, ret, err);
    if (r == -ENOENT || r == -EINVAL)
        r = find_prefix(store, text, ret, err);
    if (r == -ENOENT)
        return jb_fail(err, ENOENT, "there is no image \"%.200s\" in %s; \"jobbox image list\" has all", text,
                       store->path);
    return r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int jb_istore_names(const struct jb_istore *store, const char *dir, struct jb_strv *ret, struct jb_error *err)
{
    jb_autoclose int fd = jb_open_at(store->fd, dir, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    jb_autodir DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream)
        return jb_fail_errno(err, fd < 0 ? fd : errno, "%s/%s", store->path, dir);
    (void)jb_take_fd(&fd);
    const struct dirent *entry;
    while ((errno = 0, entry = readdir(stream)))
        if (entry->d_name[0] != '.' && jb_strv_add(ret, entry->d_name) < 0)
            return jb_fail_errno(err, ENOMEM, "image store");
    if (errno)
        return jb_fail_errno(err, errno, "%s/%s", store->path, dir);
    if (ret->len > 1)
        qsort(ret->items, ret->len, sizeof(*ret->items), by_name);
    return 0;
}

char *jb_istore_layer_path(const struct jb_istore *store, const struct jb_digest *chain)
{
    return jb_asprintf("%s/layers/%s/fs", store->path, jb_digest_hex(chain));
}

static bool is_there(const struct jb_istore *store, const char *dir, const struct jb_digest *digest)
{
    char path[16 + JB_HEX_LEN];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, jb_digest_hex(digest));
    return fstatat(store->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool jb_istore_has_layer(const struct jb_istore *store, const struct jb_digest *chain)
{
    return is_there(store, "layers", chain);
}

bool jb_istore_has_image(const struct jb_istore *store, const struct jb_digest *digest)
{
    return is_there(store, "images", digest);
}

json_t *jb_istore_layer_json(const struct jb_istore *store, const struct jb_digest *chain)
{
    jb_autofree char *text = NULL;
    jb_autofree char *path = jb_asprintf("layers/%s/layer.json", jb_digest_hex(chain));
    jb_autoclose int fd = path ? jb_open_at(store->fd, path, O_RDONLY, 0, JB_WALK_STRICT) : -ENOMEM;
    if (fd < 0 || jb_read_fd(fd, IMAGE_MAX, &text, NULL) < 0)
        return NULL;
    return json_loads(text, JSON_REJECT_DUPLICATES, NULL);
}

/* --- writing --- */

int jb_istore_lock(const struct jb_istore *store, struct jb_error *err)
{
    jb_autoclose int fd = openat(store->fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : jb_lock_wait(fd);
    return r < 0 ? jb_fail_errno(err, r, "the lock of the image store %s", store->path) : jb_take_fd(&fd);
}

int jb_istore_fetch_lock(const struct jb_istore *store, const struct jb_digest *digest, bool wait,
                         int *ret_fd, struct jb_error *err)
{
    jb_autoclose int fd = openat(store->fd, "fetches", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    char digits[16];
    (void)snprintf(digits, sizeof(digits), "%.15s", jb_digest_hex(digest));
    struct flock fl = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)strtoull(digits, NULL, 16), .l_len = 1};
    int r = fd < 0 ? -1 : 0;
    while (r == 0 && (r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl)) < 0 && errno == EINTR)
        r = 0;
    if (r < 0 && !wait && (errno == EAGAIN || errno == EACCES))
        return -EAGAIN;
    if (r < 0)
        return jb_fail_errno(err, errno, "the lock of what is fetched into %s", store->path);
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

/* Under the store's lock, so that nobody takes it for one whose process is dead before it is locked. */
static int make_work(struct jb_istore_work *work, struct jb_error *err)
{
    char path[8 + JB_ID_LEN];
    (void)snprintf(path, sizeof(path), "tmp/%s", work->id.text);
    jb_autoclose int lock = jb_istore_lock(work->store, err);
    if (lock < 0)
        return lock;
    if (mkdirat(work->store->fd, path, 0700) < 0)
        return jb_fail_errno(err, errno, "%s/%s", work->store->path, path);
    work->fd = openat(work->store->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    work->lock_fd = work->fd < 0 ? -1 : openat(work->fd, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = work->lock_fd < 0 ? -errno : jb_lock_try(work->lock_fd);
    return r < 0 ? jb_fail_errno(err, r, "%s/%s", work->store->path, path) : 0;
}

int jb_istore_work_begin(const struct jb_istore *store, struct jb_istore_work *ret, struct jb_error *err)
{
    jb_autowork struct jb_istore_work work = JB_ISTORE_WORK_INIT;
    int r = jb_id_new(jb_wall_us(NULL), &work.id);
    if (r < 0)
        return jb_fail_errno(err, r, "making an id");
    work.store = store;
    r = make_work(&work, err);
    if (r < 0)
        return r;
    *ret = work;
    work = JB_ISTORE_WORK_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_istore_work_end(struct jb_istore_work *work)
{
    if (work->fd >= 0) {
        char path[8 + JB_ID_LEN];
        (void)snprintf(path, sizeof(path), "tmp/%s", work->id.text);
        (void)jb_remove_tree(work->store->fd, path);
    }
    jb_close(&work->fd);
    jb_close(&work->lock_fd);
}

int jb_istore_pin(const struct jb_istore_work *work, enum jb_istore_kind kind,
                  const struct jb_digest *digests, size_t n, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = jb_buf_printf(&buf, "%s %s\n", jb_istore_kind_name(kind), jb_digest_hex(&digests[i]));
    if (r < 0)
        return jb_fail_errno(err, r, "image store");
    jb_autoclose int lock = jb_istore_lock(work->store, err);
    if (lock < 0)
        return lock;
    jb_autoclose int fd = openat(work->fd, "pins", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : jb_write_all(fd, buf.data, buf.len);
    return r < 0 ? jb_fail_errno(err, r, "tmp/%s of the image store", work->id.text) : 0;
}

int jb_istore_put_layer(const struct jb_istore_work *work, const char *name, const struct jb_digest *chain,
                        struct jb_error *err)
{
    char path[16 + JB_HEX_LEN];
    (void)snprintf(path, sizeof(path), "layers/%s", jb_digest_hex(chain));
    if (renameat(work->fd, name, work->store->fd, path) < 0 && errno != EEXIST && errno != ENOTEMPTY)
        return jb_fail_errno(err, errno, "%s/%s", work->store->path, path);
    return 0;
}

int jb_istore_sync(const struct jb_istore *store, struct jb_error *err)
{
    return syncfs(store->fd) < 0 ? jb_fail_errno(err, errno, "writing the image store %s", store->path) : 0;
}

static json_t *image_json(const struct jb_istore_image *image)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < image->n_layers; i++) {
        const struct jb_istore_layer *l = &image->layers[i];
        (void)json_array_append_new(layers, json_pack("{s:s, s:s, s:s, s:I}", "chain", l->chain.text,
                                                      "diff_id", l->diff_id.text, "blob", l->blob.text,
                                                      "size", (json_int_t)l->size));
    }
    return json_pack("{s:i, s:s, s:o, s:s, s:s, s:s, s:o}", "version", 1, "digest", image->digest.text,
                     "source", jb_json_text(image->source), "added", image->added, "manifest",
                     image->manifest, "config", image->config, "layers", layers);
}

int jb_istore_put_image(const struct jb_istore_work *work, const struct jb_istore_image *image,
                        struct jb_error *err)
{
    json_t *root = image_json(image);
    jb_autofree char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    char path[16 + JB_HEX_LEN];
    json_decref(root);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "image store");
    (void)snprintf(path, sizeof(path), "images/%s", jb_digest_hex(&image->digest));
    jb_autoclose int fd = openat(work->fd, "image", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                                 work->store->shared ? 0644 : 0600);
    int r = fd < 0 ? -errno : jb_write_all(fd, text, strlen(text));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    /* one that is there stays: boxes hold it by its inode. Who puts one holds the lock of its digest */
    if (r == 0 && !jb_istore_has_image(work->store, &image->digest) &&
        renameat(work->fd, "image", work->store->fd, path) < 0)
        r = -errno;
    return r < 0 ? jb_fail_errno(err, r, "%s/%s", work->store->path, path) : 0;
}

int jb_istore_tag(const struct jb_istore *store, const char *name, const struct jb_digest *digest,
                  const char *source, struct jb_error *err)
{
    char file[JB_REF_MAX];
    jb_autofree char *text = jb_asprintf("%s\n%s%s", digest->text, source ? source : "", source ? "\n" : "");
    jb_ref_to_file(name, file);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "image store");
    jb_autoclose int lock = jb_istore_lock(store, err);
    if (lock < 0)
        return lock;
    if (!jb_istore_has_image(store, digest))
        return jb_fail(err, ENOENT, "image %s is not in the store any more", digest->text);
    jb_autoclose int refs = openat(store->fd, "refs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = refs < 0 ? -errno : jb_replace_at(refs, file, text, strlen(text), store->shared ? 0644 : 0600);
    return r < 0 ? jb_fail_errno(err, r, "giving an image the name %s", name) : 0;
}

int jb_istore_untag(const struct jb_istore *store, const char *name, struct jb_error *err)
{
    char file[JB_REF_MAX];
    jb_ref_to_file(name, file);
    jb_autofree char *path = jb_asprintf("refs/%s", file);
    if (!path)
        return jb_fail_errno(err, ENOMEM, "image store");
    jb_autoclose int lock = jb_istore_lock(store, err);
    if (lock < 0)
        return lock;
    if (unlinkat(store->fd, path, 0) < 0)
        return errno == ENOENT ? -ENOENT : jb_fail_errno(err, errno, "the name %s in the image store", name);
    return 0;
}
