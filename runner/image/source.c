/*
 * source.c - reading OCI layouts, asking skopeo.
 *
 * Owns: see source.h. Runs in: see source.h. Privilege: see source.h.
 */
#include "image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "image/tree.h"

#define ARGV_MOST 16
#define BLOBS     "../../blobs" /* from a work */
#define MORE      (16U << 20)   /* that a fetch may write beside the layers */
#define ASK_TIME  (300 * JB_NS_PER_S)

static const char *const by_skopeo[] = {"docker://", "docker-archive:", "oci-archive:", "dir:"};

void jb_source_free(struct jb_image_source *source)
{
    if (source->layout_fd > 0)
        (void)close(source->layout_fd);
    free(source->reference);
    free(source->authfile);
    free(source->manifest);
    free(source->config);
    jb_oci_manifest_free(&source->parts);
    jb_oci_config_free(&source->settings);
    *source = (struct jb_image_source){.layout_fd = -1};
}

/* --- OCI layouts --- */

static int open_blob_at(int dirfd, const char *dir, const struct jb_digest *digest, struct jb_error *err)
{
    char path[96];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/sha256/%s", dir, jb_digest_hex(digest));
    jb_autoclose int fd = jb_open_at(dirfd, path, O_RDONLY | O_NONBLOCK, 0, JB_WALK_STRICT);
    if (fd < 0)
        return jb_fail_errno(err, fd, "blob %s", digest->text);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "blob %s is no file", digest->text);
    return jb_take_fd(&fd);
}

/* A small blob, held against its digest. */
static int read_blob(int layout_fd, const struct jb_oci_blob *blob, char **ret, size_t *ret_len,
                     struct jb_error *err)
{
    struct jb_digest got;
    jb_autofree char *text = NULL;
    jb_autoclose int fd = open_blob_at(layout_fd, "blobs", &blob->digest, err);
    if (fd < 0)
        return fd;
    int r = jb_read_fd(fd, JB_OCI_JSON_MAX, &text, ret_len);
    if (r < 0)
        return jb_fail_errno(err, r, "blob %s", blob->digest.text);
    jb_digest_of(text, *ret_len, &got);
    if (!jb_streq(got.text, blob->digest.text))
        return jb_fail(err, EBADMSG, "blob %s has the digest %s; it was damaged or replaced",
                       blob->digest.text, got.text);
    *ret = jb_take_ptr(text);
    return 0;
}

/* Of an index the one with this name, or the only one; of several platforms, ours. */
static const struct jb_oci_choice *choose(const struct jb_oci_index *index, const char *name)
{
    const struct jb_oci_choice *found = NULL;
    if (!name)
        return jb_oci_choose(index);
    for (size_t i = 0; i < index->len && !found; i++)
        if (jb_streq(index->items[i].name, name))
            found = &index->items[i];
    return found;
}

/* Of one name for several platforms the first that fits is meant; of several images none is. */
static int check_one(const struct jb_oci_index *index, struct jb_error *err)
{
    jb_autobuf struct jb_buf names = {0};
    char shown[JB_REF_MAX];
    bool several = false;
    const struct jb_oci_choice *first = jb_oci_choose(index);
    for (size_t i = 0; first && i < index->len; i++) {
        const struct jb_oci_choice *c = &index->items[i];
        if (!jb_oci_fits(c))
            continue;
        if (!jb_streq(c->manifest.digest.text, first->manifest.digest.text))
            several |= !jb_streq(c->name, first->name) || !c->arch[0] || !first->arch[0];
        if (c->name[0] && jb_buf_printf(&names, "%s%s", names.len ? ", " : "",
                                        jb_tree_show(c->name, shown, sizeof(shown))) < 0)
            return jb_fail_errno(err, ENOMEM, "index.json");
    }
    if (!several)
        return 0;
    return jb_fail(err, EINVAL, "it has several images%s%.400s; write oci:DIR:TAG for one of them",
                   names.len ? ": " : ", without tags; give them some", names.len ? names.data : "");
}

static int read_layout(struct jb_image_source *s, const char *name, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len;
    jb_autoclose int fd = jb_open_at(s->layout_fd, "index.json", O_RDONLY | O_NONBLOCK, 0, JB_WALK_STRICT);
    int r = fd < 0 ? fd : jb_read_fd(fd, JB_OCI_JSON_MAX, &text, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "index.json: this is no OCI layout");
    for (int level = 0; level < 4; level++) {
        jb_autochoices struct jb_oci_index index = {0};
        r = jb_oci_index_parse(text, len, &index, err);
        if (r == 0 && level == 0 && !name)
            r = check_one(&index, err);
        if (r < 0)
            return r;
        const struct jb_oci_choice *choice = choose(&index, level == 0 ? name : NULL);
        if (!choice)
            return jb_fail(err, ENOENT, "it has no image %s%s for linux/%s", level == 0 && name ? name : "",
                           level == 0 && name ? "," : "", jb_oci_arch());
        free(jb_take_ptr(text));
        r = read_blob(s->layout_fd, &choice->manifest, &text, &len, err);
        if (r < 0)
            return r;
        if (!jb_oci_is_index(text, len)) {
            s->digest = choice->manifest.digest;
            s->manifest = jb_take_ptr(text);
            return 0;
        }
    }
    return jb_fail(err, ELOOP, "its indexes point to each other");
}

/* oci:PATH[:NAME]; a path may hold colons, so the longest one that is there counts. */
static int open_layout(const char *text, struct jb_image_source *s, struct jb_error *err)
{
    jb_autofree char *path = strdup(text);
    const char *name = NULL;
    if (!path)
        return jb_fail_errno(err, ENOMEM, "oci:%s", text);
    s->layout_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *colon = strrchr(path, ':');
    if (s->layout_fd < 0 && colon) {
        *colon = '\0';
        name = colon + 1;
        s->layout_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (s->layout_fd < 0)
        return jb_fail_errno(err, errno, "%s", path);
    int r = read_layout(s, name, err);
    if (r == 0 && s->manifest)
        r = jb_oci_manifest_parse(s->manifest, strlen(s->manifest), &s->parts, err);
    size_t len;
    return r == 0 ? read_blob(s->layout_fd, &s->parts.config, &s->config, &len, err) : r;
}

/* --- skopeo --- */

static void common_arguments(const struct jb_image_source *s, const char *tls, const char *auth,
                             const char **argv, size_t *n)
{
    if (s->options->insecure)
        argv[(*n)++] = tls;
    if (s->authfile) {
        argv[(*n)++] = auth;
        argv[(*n)++] = s->authfile;
    }
}

/* What stands behind `prefix` bytes, if it is a relative path, with the folder where we are in front of it. */
static char *from_here(const char *text, size_t prefix)
{
    jb_autofree char *here = text[prefix] == '/' ? NULL : getcwd(NULL, 0);
    if (text[prefix] == '/')
        return strdup(text);
    return here ? jb_asprintf("%.*s%s/%s", (int)prefix, text, here, text + prefix) : NULL;
}

/* What was said. What the environment says is skopeo's to read, unless it depends on where that runs. */
static int find_authfile(struct jb_image_source *s, struct jb_error *err)
{
    const char *named = s->options->authfile;
    const char *set = getenv("REGISTRY_AUTH_FILE");
    if (!named && set && *set && *set != '/')
        named = set;
    if (!named)
        return 0;
    s->authfile = from_here(named, 0);
    return s->authfile ? 0 : jb_fail_errno(err, errno, "%s", named);
}

/* What the source says, as bytes. */
static int ask(const struct jb_image_source *s, bool config, const struct jb_image_ui *ui, char **ret,
               size_t *ret_len, struct jb_error *err)
{
    const char *argv[ARGV_MOST] = {"skopeo", "inspect", "--raw"};
    size_t n = 3;
    jb_autobuf struct jb_buf out = {0};
    if (config)
        argv[n++] = "--config";
    common_arguments(s, "--tls-verify=false", "--authfile", argv, &n);
    argv[n++] = s->reference;
    const struct jb_tool program = {.argv = argv,
                                    .stdin_fd = -1,
                                    .out = &out,
                                    .out_max = JB_OCI_JSON_MAX,
                                    .time_ns = ASK_TIME,
                                    .what = "asking",
                                    .cwd_fd = -1};
    int r = jb_tool_run(&program, ui, err);
    if (r == 0 && (!out.data || strlen(out.data) != out.len))
        r = jb_fail(err, EINVAL, "skopeo: the answer is no text");
    if (r < 0)
        return r;
    *ret_len = out.len;
    *ret = jb_take_ptr(out.data);
    return 0;
}

/* docker://host:port/name:tag and a digest: the very image, whatever happens to the tag. */
static char *pin_reference(const char *reference, const struct jb_digest *digest)
{
    size_t len = strcspn(reference, "@");
    const char *slash = memrchr(reference, '/', len);
    const char *colon = slash ? memchr(slash, ':', len - (size_t)(slash - reference)) : NULL;
    if (colon)
        len = (size_t)(colon - reference);
    return jb_asprintf("%.*s@%s", (int)len, reference, digest->text);
}

/* Of an image for several platforms ours; other sources than registries have one. */
static int narrow(struct jb_image_source *s, const struct jb_image_ui *ui, size_t *len, struct jb_error *err)
{
    jb_autochoices struct jb_oci_index index = {0};
    int r = jb_oci_index_parse(s->manifest, *len, &index, err);
    if (r < 0)
        return r;
    const struct jb_oci_choice *choice = jb_oci_choose(&index);
    if (!choice)
        return jb_fail(err, ENOENT, "the image is not for linux/%s", jb_oci_arch());
    free(jb_take_ptr(s->manifest));
    char *pinned = pin_reference(s->reference, &choice->manifest.digest);
    free(s->reference);
    s->reference = pinned;
    if (!pinned)
        return jb_fail_errno(err, ENOMEM, "image");
    r = ask(s, false, ui, &s->manifest, len, err);
    if (r < 0)
        return r;
    jb_digest_of(s->manifest, *len, &s->digest);
    return jb_streq(s->digest.text, choice->manifest.digest.text)
               ? 0
               : jb_fail(err, EBADMSG, "the manifest has the digest %s and not %s, as the index says",
                         s->digest.text, choice->manifest.digest.text);
}

static int open_by_skopeo(struct jb_image_source *s, const struct jb_image_ui *ui, struct jb_error *err)
{
    size_t len = 0;
    struct jb_digest got;
    s->reference = strdup(s->options->source);
    int r = s->reference ? find_authfile(s, err) : jb_fail_errno(err, ENOMEM, "image");
    if (r == 0)
        r = ask(s, false, ui, &s->manifest, &len, err);
    if (r < 0)
        return r;
    jb_digest_of(s->manifest, len, &s->digest);
    bool registry = jb_starts_with(s->reference, "docker://");
    if (registry && jb_oci_is_index(s->manifest, len))
        r = narrow(s, ui, &len, err);
    if (r == 0)
        r = jb_oci_manifest_parse(s->manifest, len, &s->parts, err);
    if (r == 0 && registry) {
        char *pinned = pin_reference(s->reference, &s->digest);
        free(s->reference);
        s->reference = pinned;
        r = pinned ? 0 : jb_fail_errno(err, ENOMEM, "image");
    }
    if (r == 0)
        r = ask(s, true, ui, &s->config, &len, err);
    if (r < 0)
        return r;
    jb_digest_of(s->config, len, &got);
    return jb_streq(got.text, s->parts.config.digest.text)
               ? 0
               : jb_fail(err, EBADMSG,
                         "the image's config has the digest %s and not %s, as the manifest says", got.text,
                         s->parts.config.digest.text);
}

int jb_source_open(const struct jb_pull_options *options, const struct jb_image_ui *ui,
                   struct jb_image_source *ret, struct jb_error *err)
{
    jb_autosource struct jb_image_source s = {.options = options, .layout_fd = -1};
    int r = -ENOTSUP;
    if (jb_starts_with(options->source, "oci:"))
        r = open_layout(options->source + strlen("oci:"), &s, err);
    for (size_t i = 0; r == -ENOTSUP && i < JB_ARRAY_LEN(by_skopeo); i++)
        if (jb_starts_with(options->source, by_skopeo[i]))
            r = open_by_skopeo(&s, ui, err);
    if (r == -ENOTSUP && !(err && err->errnum))
        return jb_fail(
            err, EINVAL,
            "\"%.200s\" says no way to fetch an image; write docker://, oci:, docker-archive:, oci-archive: "
            "or dir: in front",
            options->source);
    if (r == 0 && s.config)
        r = jb_oci_config_parse(s.config, strlen(s.config), &s.settings, err);
    if (r == 0 && s.settings.n_diff_ids != s.parts.n_layers)
        r = jb_fail(err, EINVAL, "the image's config tells of %zu layers and its manifest of %zu",
                    s.settings.n_diff_ids, s.parts.n_layers);
    if (r < 0)
        return jb_wrap(err, "%.300s", options->source);
    *ret = s;
    s = (struct jb_image_source){.layout_fd = -1};
    return 0;
}

/* --- blobs --- */

static void blob_path(char *buf, size_t len, const struct jb_digest *digest)
{
    (void)snprintf(buf, len, "blobs/sha256/%s", jb_digest_hex(digest));
}

/*
 * skopeo takes a blob whose file is there for fetched. For layers that the store has unpacked an empty file of the right
 * size stands in, until the end of the fetch: what it holds would not pass for the layer.
 */
static int stand_in(const struct jb_istore *store, const struct jb_oci_blob *blob, bool *ret_made)
{
    char path[96];
    blob_path(path, sizeof(path), &blob->digest);
    jb_autoclose int fd = openat(store->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    *ret_made = fd >= 0;
    if (fd < 0)
        return errno == EEXIST ? 0 : -errno;
    return ftruncate(fd, (off_t)blob->size) < 0 ? -errno : 0;
}

bool jb_source_wants(const struct jb_image_source *source, const bool *have, size_t from,
                     const struct jb_digest *blob)
{
    for (size_t i = from; i < source->parts.n_layers; i++)
        if (!have[i] && jb_streq(source->parts.layers[i].digest.text, blob->text))
            return true;
    return false;
}

/* The last of the layers of this blob that are missing: each blob is counted once. */
static bool counts(const struct jb_image_source *source, const bool *have, size_t i)
{
    return !have[i] && !jb_source_wants(source, have, i + 1, &source->parts.layers[i].digest);
}

struct fetching {
    const struct jb_image_source *source;
    const struct jb_istore *store;
    const struct jb_istore_work *work;
    const bool *have;
};

/* Whole blobs, and those on their way, which skopeo writes beside its layout's index. */
static uint64_t fetched(void *ctx)
{
    const struct fetching *f = ctx;
    uint64_t sum = 0;
    struct stat st;
    for (size_t i = 0; i < f->source->parts.n_layers; i++) {
        char path[96];
        blob_path(path, sizeof(path), &f->source->parts.layers[i].digest);
        if (counts(f->source, f->have, i) && fstatat(f->store->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            sum += (uint64_t)st.st_size;
    }
    int fd = openat(f->work->fd, "layout", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (jb_starts_with(entry->d_name, "oci-put-blob") && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
            sum += (uint64_t)st.st_size;
    return sum;
}

/* As much as the manifest says, for each layer once: the same blob may be on its way twice. */
static uint64_t most(const struct fetching *f)
{
    uint64_t sum = MORE;
    for (size_t i = 0; i < f->source->parts.n_layers; i++)
        sum += f->have[i] ? 0 : f->source->parts.layers[i].size;
    return sum;
}

static int copy(const struct fetching *f, uint64_t total, const struct jb_image_ui *ui, struct jb_error *err)
{
    char size[32];
    const char *argv[ARGV_MOST] = {"skopeo",
                                   "copy",
                                   "--quiet",
                                   "--dest-oci-accept-uncompressed-layers",
                                   "--remove-signatures",
                                   "--dest-shared-blob-dir",
                                   BLOBS};
    size_t n = 7;
    common_arguments(f->source, "--src-tls-verify=false", "--src-authfile", argv, &n);
    /* skopeo runs elsewhere */
    jb_autofree char *reference = from_here(f->source->reference, strcspn(f->source->reference, ":") + 1);
    if (!reference)
        return jb_fail_errno(err, ENOMEM, "fetching");
    argv[n++] = reference;
    argv[n++] = "oci:layout:image";
    const struct jb_tool program = {.argv = argv,
                                    .stdin_fd = -1,
                                    .what = "fetching",
                                    .done = fetched,
                                    .done_ctx = (void *)f,
                                    .total = total,
                                    .done_max = most(f),
                                    .cwd_fd = f->work->fd};
    int r = jb_tool_run(&program, ui, err);
    return r == -E2BIG
               ? jb_fail(err, E2BIG, "more comes than the %s that the manifest says; the image was refused",
                         jb_format_size(total, size, sizeof(size)))
               : r;
}

/* skopeo leaves a manifest and a configuration of its own making among the blobs. */
static void drop_texts(const struct jb_istore_work *work)
{
    jb_autochoices struct jb_oci_index index = {0};
    jb_automanifest struct jb_oci_manifest manifest = {0};
    jb_autofree char *text = NULL;
    char path[96];
    size_t len;
    if (jb_read_at(work->fd, "layout/index.json", JB_OCI_JSON_MAX, &text, &len) < 0 ||
        jb_oci_index_parse(text, len, &index, NULL) < 0)
        return;
    free(jb_take_ptr(text));
    blob_path(path, sizeof(path), &index.items[0].manifest.digest);
    if (jb_read_at(work->store->fd, path, JB_OCI_JSON_MAX, &text, &len) < 0)
        return;
    (void)unlinkat(work->store->fd, path, 0);
    if (jb_oci_manifest_parse(text, len, &manifest, NULL) < 0)
        return;
    blob_path(path, sizeof(path), &manifest.config.digest);
    (void)unlinkat(work->store->fd, path, 0);
}

int jb_source_fetch(const struct jb_image_source *source, const struct jb_istore_work *work, const bool *have,
                    const struct jb_image_ui *ui, struct jb_error *err)
{
    const struct fetching f = {source, work->store, work, have};
    const struct jb_oci_manifest *parts = &source->parts;
    uint64_t total = 0;
    size_t wanted = 0;
    char size[32];
    if (source->layout_fd >= 0)
        return 0;
    jb_autofree bool *made = calloc(parts->n_layers, sizeof(*made));
    int r = made ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < parts->n_layers; i++) {
        /* one blob can be several layers, and only some of them be here */
        if (!jb_source_wants(source, have, 0, &parts->layers[i].digest))
            r = stand_in(work->store, &parts->layers[i], &made[i]);
        wanted += !have[i];
        total += counts(source, have, i) ? parts->layers[i].size : 0;
    }
    if (r < 0)
        return jb_fail_errno(err, r, "blobs of the image store");
    jb_image_say(ui, "fetching %zu of %zu layers, %s", wanted, parts->n_layers,
                 jb_format_size(total, size, sizeof(size)));
    r = copy(&f, total, ui, err);
    drop_texts(work);
    for (size_t i = 0; i < parts->n_layers; i++) {
        char path[96];
        blob_path(path, sizeof(path), &parts->layers[i].digest);
        if (made[i])
            (void)unlinkat(work->store->fd, path, 0);
    }
    return r;
}

int jb_source_blob(const struct jb_image_source *source, const struct jb_istore *store,
                   const struct jb_digest *digest, struct jb_error *err)
{
    return source->layout_fd >= 0 ? open_blob_at(source->layout_fd, "blobs", digest, err)
                                  : open_blob_at(store->fd, "blobs", digest, err);
}
