/*
 * pull.c - an image from elsewhere into the store.
 *
 * Owns: a work of the store while it goes on. Runs in: the client. Privilege: that of the store.
 *
 * Order. What the image is made of comes first; then it is pinned, so that no collection takes a layer away that is here
 * already; then others who fetch the same are waited for; then what is missing is fetched and unpacked, lowest layer
 * first, each under the lock of its digest; then everything goes to the disk, and only then the layers, the image and
 * the name appear.
 */
#include "image/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "image/source.h"

struct pull {
    const struct jb_image_job *job;
    struct jb_image_source source;
    struct jb_istore_work work;
    struct jb_istore_image image; /* under construction */
    bool *have;                   /* the store has the layer */
    int *fds;                     /* trees, the top one first: filled from the end */
    size_t made;
    bool fetched;
};

struct lock_wish {
    const struct jb_istore *store;
    const struct jb_digest *digest;
    int fd;
};

static int try_lock(void *ctx, struct jb_error *err)
{
    struct lock_wish *w = ctx;
    return jb_istore_fetch_lock(w->store, w->digest, false, &w->fd, err);
}

/* The lock of a digest, waiting as long as somebody else has it. Returns the descriptor. */
static int lock(const struct pull *p, const struct jb_digest *digest, const char *what, struct jb_error *err)
{
    struct lock_wish wish = {p->job->store, digest, -1};
    int r = try_lock(&wish, err);
    if (r == -EAGAIN) {
        jb_image_say(p->job->ui, "somebody else fetches this %s now; waiting for it", what);
        r = jb_image_wait(try_lock, &wish, p->job->ui, err);
    }
    return r < 0 ? r : wish.fd;
}

static int describe(struct pull *p, struct jb_error *err)
{
    char now[JB_TIME_TEXT];
    const struct jb_image_source *s = &p->source;
    size_t n = s->parts.n_layers;
    p->image.digest = s->digest;
    p->image.source = strdup(s->options->source);
    p->image.added = strdup(jb_format_time(jb_wall_us(NULL), now, sizeof(now)));
    p->image.manifest = strdup(s->manifest);
    p->image.config = strdup(s->config);
    p->image.layers = calloc(n, sizeof(*p->image.layers));
    p->image.n_layers = n;
    p->have = calloc(n, sizeof(*p->have));
    p->fds = malloc(n * sizeof(*p->fds));
    for (size_t i = 0; p->fds && i < n; i++)
        p->fds[i] = -1;
    if (!p->image.source || !p->image.added || !p->image.manifest || !p->image.config || !p->image.layers ||
        !p->have || !p->fds)
        return jb_fail_errno(err, ENOMEM, "image");
    for (size_t i = 0; i < n; i++) {
        struct jb_istore_layer *l = &p->image.layers[i];
        l->diff_id = s->settings.diff_ids[i];
        l->blob = s->parts.layers[i].digest;
        l->size = s->parts.layers[i].size;
        jb_oci_chain(i ? &p->image.layers[i - 1].chain : NULL, &l->diff_id, &l->chain);
    }
    return 0;
}

static int pin(struct pull *p, struct jb_error *err)
{
    size_t n = p->image.n_layers;
    jb_autofree struct jb_digest *digests = calloc(2 * n, sizeof(*digests));
    if (!digests)
        return jb_fail_errno(err, ENOMEM, "image");
    for (size_t i = 0; i < n; i++) {
        digests[i] = p->image.layers[i].chain;
        digests[n + i] = p->image.layers[i].blob;
    }
    int r = jb_istore_pin(&p->work, JB_ISTORE_IMAGE, &p->image.digest, 1, err);
    if (r == 0)
        r = jb_istore_pin(&p->work, JB_ISTORE_LAYER, digests, n, err);
    return r == 0 ? jb_istore_pin(&p->work, JB_ISTORE_BLOB, digests + n, n, err) : r;
}

static int look(struct pull *p)
{
    int missing = 0;
    for (size_t i = 0; i < p->image.n_layers; i++) {
        p->have[i] = jb_istore_has_layer(p->job->store, &p->image.layers[i].chain);
        missing += !p->have[i];
    }
    return missing;
}

static void drop_blob(const struct pull *p, size_t i)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", jb_digest_hex(&p->image.layers[i].blob));
    (void)unlinkat(p->job->store->fd, path, 0);
}

/* The layer is in the store. Its blob goes, unless a layer above is of the same one: many images have an empty one twice. */
static void note_layer(struct pull *p, size_t i)
{
    p->have[i] = true;
    if (p->source.layout_fd < 0 && !jb_source_wants(&p->source, p->have, 0, &p->image.layers[i].blob))
        drop_blob(p, i);
}

static int unpack(struct pull *p, size_t i, const char *name, struct jb_error *err)
{
    char what[48];
    struct jb_istore_layer made;
    const struct jb_istore_layer *l = &p->image.layers[i];
    size_t n = p->image.n_layers;
    jb_autoclose int fd = jb_source_blob(&p->source, p->job->store, &l->blob, err);
    if (fd < 0)
        return fd;
    (void)snprintf(what, sizeof(what), "unpacking layer %zu of %zu", i + 1, n);
    const struct jb_layer_wish wish = {
        .tar_fd = fd,
        .blob = &l->blob,
        .diff_id = &l->diff_id,
        .size = l->size,
        .below = p->fds + (n - i),
        .n_below = i,
        .below_chain = i ? &p->image.layers[i - 1].chain : NULL,
        .what = what,
    };
    int r = jb_layer_make(p->job, &p->work, name, &wish, &made, err);
    return r < 0 ? jb_wrap(err, "layer %zu of %zu (%.19s)", i + 1, n, l->blob.text) : 0;
}

/* A blob that was here from an earlier fetch may have been damaged since: once it is fetched anew. */
static int unpack_or_refetch(struct pull *p, size_t i, const char *name, struct jb_error *err)
{
    int r = unpack(p, i, name, err);
    if ((r != -EBADMSG && r != -ENOENT) || p->source.layout_fd >= 0)
        return r;
    jb_error_clear(err);
    drop_blob(p, i);
    r = jb_source_fetch(&p->source, &p->work, p->have, p->job->ui, err);
    return r == 0 ? unpack(p, i, name, err) : r;
}

static int open_tree(struct pull *p, size_t i, const char *name, struct jb_error *err)
{
    jb_autofree char *path = name ? jb_asprintf("%s/fs", name)
                                  : jb_asprintf("layers/%s/fs", jb_digest_hex(&p->image.layers[i].chain));
    int dirfd = name ? p->work.fd : p->job->store->fd;
    int fd = path ? jb_open_at(dirfd, path, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT) : -ENOMEM;
    if (fd < 0)
        return jb_fail_errno(err, fd, "layer %zu", i + 1);
    p->fds[p->image.n_layers - 1 - i] = fd;
    return 0;
}

/* One layer; under its lock it is there already, or becomes so. */
static int add_layer(struct pull *p, size_t i, struct jb_error *err)
{
    char name[32];
    const struct jb_digest *chain = &p->image.layers[i].chain;
    (void)snprintf(name, sizeof(name), "layer%zu", i);
    if (p->have[i])
        return open_tree(p, i, NULL, err);
    jb_autoclose int held = lock(p, chain, "layer", err);
    if (held < 0)
        return held;
    if (jb_istore_has_layer(p->job->store, chain)) {
        note_layer(p, i);
        return open_tree(p, i, NULL, err);
    }
    int r = unpack_or_refetch(p, i, name, err);
    if (r == 0)
        r = open_tree(p, i, name, err);
    if (r == 0) /* before it can be seen */
        r = jb_istore_sync(p->job->store, err);
    if (r == 0)
        r = jb_istore_put_layer(&p->work, name, chain, err);
    if (r == 0)
        note_layer(p, i);
    p->made += r == 0;
    return r;
}

/* Compressed it is less than what it will be: what is too much even so need not be fetched. */
static int check_sizes(const struct pull *p, struct jb_error *err)
{
    const struct jb_oci_manifest *parts = &p->source.parts;
    uint64_t limit = p->job->policy->max_size;
    for (size_t i = 0; i < parts->n_layers; i++)
        if (!p->have[i] && !jb_unpack_may_fit(parts->layers[i].size, limit)) {
            (void)jb_unpack_too_much(err, "the layer's bytes are", limit, "max_size");
            return jb_wrap(err, "layer %zu of %zu (%.19s)", i + 1, parts->n_layers,
                           parts->layers[i].digest.text);
        }
    return 0;
}

static int bring(struct pull *p, struct jb_error *err)
{
    int missing = look(p);
    int r = check_sizes(p, err);
    if (r == 0 && missing)
        r = jb_source_fetch(&p->source, &p->work, p->have, p->job->ui, err);
    for (size_t i = 0; r == 0 && i < p->image.n_layers; i++)
        r = add_layer(p, i, err);
    if (r == 0)
        r = jb_istore_put_image(&p->work, &p->image, err);
    return r;
}

static int carry_out(struct pull *p, const struct jb_pull_options *options, struct jb_image_added *ret,
                     struct jb_error *err)
{
    int r = jb_source_open(options, p->job->ui, &p->source, err);
    if (r == 0)
        r = describe(p, err);
    if (r == 0)
        r = jb_istore_work_begin(p->job->store, &p->work, err);
    if (r == 0)
        r = pin(p, err);
    if (r < 0)
        return r;
    if (p->source.settings.env_left_out)
        jb_image_say(p->job->ui, "left out: %zu items of the image's Env that are no KEY=value",
                     p->source.settings.env_left_out);
    jb_autoclose int held = lock(p, &p->image.digest, "image", err);
    if (held < 0)
        return held;
    bool already = jb_istore_has_image(p->job->store, &p->image.digest) && look(p) == 0;
    if (!already)
        r = bring(p, err);
    if (r == 0 && p->job->name)
        r = jb_istore_tag(p->job->store, p->job->name, &p->image.digest, NULL, err);
    if (r == 0)
        *ret = (struct jb_image_added){p->image.digest, p->image.n_layers, p->made, already};
    return r;
}

int jb_image_pull(const struct jb_image_job *job, const struct jb_pull_options *options,
                  struct jb_image_added *ret, struct jb_error *err)
{
    struct pull p = {
        .job = job, .source = {.layout_fd = -1}, .work = JB_ISTORE_WORK_INIT, .image = {.lock_fd = -1}};
    int r = jb_istore_clear(job->store, err);
    if (r == 0)
        r = carry_out(&p, options, ret, err);
    for (size_t i = 0; p.fds && i < p.image.n_layers; i++)
        jb_close(&p.fds[i]);
    free(p.fds);
    free(p.have);
    jb_istore_work_end(&p.work);
    jb_istore_image_free(&p.image);
    jb_source_free(&p.source);
    return r;
}
