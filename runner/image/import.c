/*
 * import.c - images from what lies on this host.
 *
 * Owns: a work of the store while it goes on. Runs in: the client. Privilege: that of the store, and the user's to read.
 *
 * Everything goes the way of a tar: a directory is packed first, an image file unpacked by its own program and packed.
 * So there is one place that decides what of a stranger's files becomes part of a layer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "image/image.h"
#include "image/pack.h"
#include "image/pull.h"

struct import {
    const struct jb_image_job *job;
    struct jb_istore_work work;
    const struct jb_image_tree *tree; /* NULL: a tar */
    const char *source;
    int *below; /* of the base */
    size_t n_below;
};

struct packing {
    const struct jb_pack *pack;
    int out_fd;
    struct jb_packed *done; /* shared */
    const struct jb_image_tree *tree;
};

static int pack_here(void *ctx, struct jb_error *err)
{
    const struct packing *p = ctx;
    return jb_pack_run(p->pack, p->out_fd, p->done, err);
}

static int do_pack(void *ctx, struct jb_error *err)
{
    const struct packing *p = ctx;
    return p->tree && p->tree->inside ? p->tree->inside(p->tree->inside_ctx, pack_here, ctx, err)
                                      : pack_here(ctx, err);
}

/* A file of the work that has no name. */
static int anonymous(const struct import *im, struct jb_error *err)
{
    int fd = openat(im->work.fd, "tar", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return jb_fail_errno(err, errno, "importing");
    (void)unlinkat(im->work.fd, "tar", 0);
    return fd;
}

static int pack(const struct import *im, int dir_fd, bool raw, struct jb_packed *ret, struct jb_error *err)
{
    const struct jb_pack pack = {.layers = &dir_fd,
                                 .n = 1,
                                 .raw = raw,
                                 .as_root = !im->job->store->privileged && !im->job->store->mapped,
                                 .no_nobody = im->job->store->mapped && !(im->tree && im->tree->inside),
                                 .max_bytes = im->job->policy->max_size,
                                 .max_entries = im->job->policy->max_entries};
    jb_autoclose int out = anonymous(im, err);
    if (out < 0)
        return out;
    struct packing packing = {&pack, out, jb_shared_new(sizeof(*packing.done)), im->tree};
    const struct jb_worker worker = {
        .run = do_pack, .ctx = &packing, .time_ns = im->job->policy->unpack_ns, .what = "reading"};
    if (!packing.done)
        return jb_fail_errno(err, ENOMEM, "importing");
    int r = jb_worker_run(&worker, im->job->ui, err);
    if (r == 0)
        *ret = *packing.done;
    jb_shared_free(packing.done, sizeof(*packing.done));
    if (r == 0 && lseek(out, 0, SEEK_SET) < 0)
        r = jb_fail_errno(err, errno, "importing");
    return r < 0 ? r : jb_take_fd(&out);
}

/* --- the image around the layer --- */

static int compose(struct import *im, const struct jb_istore_layer *layer, struct jb_istore_image *ret,
                   struct jb_error *err)
{
    char now[JB_TIME_TEXT];
    const struct jb_istore_image *base = im->tree ? im->tree->base : NULL;
    size_t n = (base ? base->n_layers : 0) + 1;
    jb_autofree struct jb_digest *diff_ids = calloc(n, sizeof(*diff_ids));
    jb_autofree struct jb_oci_blob *blobs = calloc(n, sizeof(*blobs));
    ret->layers = calloc(n, sizeof(*ret->layers));
    ret->n_layers = n;
    ret->source = strdup(im->source);
    ret->added = strdup(jb_format_time(jb_wall_us(NULL), now, sizeof(now)));
    if (!diff_ids || !blobs || !ret->layers || !ret->source || !ret->added)
        return jb_fail_errno(err, ENOMEM, "image");
    if (base)
        memcpy(ret->layers, base->layers, base->n_layers * sizeof(*ret->layers));
    ret->layers[n - 1] = *layer;
    for (size_t i = 0; i < n; i++) {
        diff_ids[i] = ret->layers[i].diff_id;
        blobs[i] = (struct jb_oci_blob){ret->layers[i].diff_id, ret->layers[i].size};
    }
    json_t *parsed = base && !im->tree->config ? json_loads(base->config, 0, NULL) : NULL;
    int r = jb_oci_config_make(im->tree && im->tree->config ? im->tree->config : parsed, diff_ids, n,
                               &ret->config);
    json_decref(parsed);
    if (r < 0)
        return jb_fail_errno(err, r, "image");
    struct jb_oci_blob config = {.size = strlen(ret->config)};
    jb_digest_of(ret->config, config.size, &config.digest);
    r = jb_oci_manifest_make(&config, blobs, n, &ret->manifest);
    if (r < 0)
        return jb_fail_errno(err, r, "image");
    jb_digest_of(ret->manifest, strlen(ret->manifest), &ret->digest);
    return 0;
}

static int put(struct import *im, const struct jb_istore_layer *layer, struct jb_image_added *ret,
               struct jb_error *err)
{
    jb_autoimage struct jb_istore_image image = {.lock_fd = -1};
    const struct jb_istore *store = im->job->store;
    int r = compose(im, layer, &image, err);
    if (r == 0)
        r = jb_istore_pin(&im->work, JB_ISTORE_IMAGE, &image.digest, 1, err);
    for (size_t i = 0; r == 0 && i < image.n_layers; i++)
        r = jb_istore_pin(&im->work, JB_ISTORE_LAYER, &image.layers[i].chain, 1, err);
    if (r < 0)
        return r;
    jb_autoclose int held = -1;
    r = jb_istore_fetch_lock(store, &image.digest, true, &held, err);
    bool already = r == 0 && jb_istore_has_image(store, &image.digest);
    bool have = r == 0 && jb_istore_has_layer(store, &layer->chain);
    if (r == 0 && !have)
        r = jb_istore_sync(store, err);
    if (r == 0 && !have)
        r = jb_istore_put_layer(&im->work, "layer", &layer->chain, err);
    if (r == 0)
        r = jb_istore_put_image(&im->work, &image, err);
    if (r == 0 && im->job->name)
        r = jb_istore_tag(store, im->job->name, &image.digest,
                          jb_starts_with(im->job->name, JB_IMAGE_UNPACKED "/") ? im->source : NULL, err);
    if (r == 0)
        *ret = (struct jb_image_added){image.digest, image.n_layers, !have, already};
    return r;
}

static int take_tar(struct import *im, int tar_fd, uint64_t size, struct jb_image_added *ret,
                    struct jb_error *err)
{
    struct jb_istore_layer layer = {0};
    const struct jb_istore_image *base = im->tree ? im->tree->base : NULL;
    const struct jb_layer_wish wish = {
        .tar_fd = tar_fd,
        .size = size,
        .below = im->below,
        .n_below = im->n_below,
        .below_chain = base ? &base->layers[base->n_layers - 1].chain : NULL,
        .what = "unpacking",
    };
    int r = jb_layer_make(im->job, &im->work, "layer", &wish, &layer, err);
    return r == 0 ? put(im, &layer, ret, err) : r;
}

static int take_dir(struct import *im, int dir_fd, bool raw, struct jb_image_added *ret, struct jb_error *err)
{
    struct jb_packed packed = {0};
    jb_autoclose int tar = pack(im, dir_fd, raw, &packed, err);
    if (tar < 0)
        return tar;
    if (packed.left_out)
        jb_image_say(im->job->ui, "%llu device nodes and sockets left out",
                     (unsigned long long)packed.left_out);
    if (packed.marks)
        jb_image_say(
            im->job->ui,
            "%llu files and folders left out, as their names begin with \".wh.\": in a layer that takes "
            "away what is below",
            (unsigned long long)packed.marks);
    return take_tar(im, tar, packed.size, ret, err);
}

/* --- image files --- */

struct filling {
    int fd;
    uint64_t free_then;
};

/* What an unpacking program has used of the disk, as far as one can tell from outside. */
static uint64_t filled(void *ctx)
{
    const struct filling *f = ctx;
    struct statvfs fs;
    if (fstatvfs(f->fd, &fs) < 0)
        return 0;
    uint64_t now = (uint64_t)fs.f_bfree * fs.f_frsize;
    return f->free_then > now ? f->free_then - now : 0;
}

/* The file is handed over by its descriptor: it is the one that was looked at. */
static int take_file(struct import *im, enum jb_image_format format, int fd, struct jb_image_added *ret,
                     struct jb_error *err)
{
    static const char *const squashfs[] = {"unsquashfs", "-no-progress", "-quiet",    "-no-exit-code",
                                           "-dest",      "root",         "/dev/fd/0", NULL};
    static const char *const erofs[] = {"fsck.erofs", "--extract=root", "/dev/fd/0", NULL};
    struct filling f = {im->work.fd, 0};
    struct statvfs fs;
    if (fstatvfs(im->work.fd, &fs) == 0)
        f.free_then = (uint64_t)fs.f_bfree * fs.f_frsize;
    const struct jb_tool program = {.argv = format == JB_IMAGE_EROFS ? erofs : squashfs,
                                    .stdin_fd = fd,
                                    .time_ns = im->job->policy->unpack_ns,
                                    .what = "unpacking",
                                    .done = filled,
                                    .done_ctx = &f,
                                    .done_max = im->job->policy->max_size,
                                    .cwd_fd = im->work.fd};
    int r = jb_tool_run(&program, im->job->ui, err);
    if (r < 0)
        return r;
    jb_autoclose int root = openat(im->work.fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return jb_fail_errno(err, errno, "%s left no files", program.argv[0]);
    r = take_dir(im, root, false, ret, err);
    (void)jb_remove_tree(im->work.fd, "root");
    return r;
}

static int open_base(struct import *im, struct jb_error *err)
{
    if (!im->tree || !im->tree->base)
        return 0;
    im->n_below = im->tree->base->n_layers;
    if (im->n_below >= JB_OCI_LAYERS_MAX)
        return jb_fail(err, E2BIG, "the image has %zu layers already, and an overlay takes %d", im->n_below,
                       JB_OCI_LAYERS_MAX);
    return jb_image_open_layers(im->job->store, im->tree->base, &im->below, err);
}

static int begin(struct import *im, struct jb_error *err)
{
    int r = jb_istore_clear(im->job->store, err);
    if (r == 0)
        r = jb_istore_work_begin(im->job->store, &im->work, err);
    return r == 0 ? open_base(im, err) : r;
}

static void end(struct import *im)
{
    jb_image_close_layers(im->below, im->n_below);
    jb_istore_work_end(&im->work);
}

int jb_image_add_tree(const struct jb_image_job *job, const struct jb_image_tree *tree,
                      struct jb_image_added *ret, struct jb_error *err)
{
    struct import im = {.job = job, .work = JB_ISTORE_WORK_INIT, .tree = tree, .source = tree->source};
    int r = begin(&im, err);
    if (r == 0)
        r = take_dir(&im, tree->dir_fd, tree->raw, ret, err);
    end(&im);
    return r;
}

int jb_image_import(const struct jb_image_job *job, const char *path, struct jb_image_added *ret,
                    struct jb_error *err)
{
    struct stat st;
    jb_autofree char *source = realpath(path, NULL);
    jb_autoclose int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || !source || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s", path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "%s is neither a directory nor a file", path);
    struct import im = {.job = job, .work = JB_ISTORE_WORK_INIT, .source = source};
    enum jb_image_format format = S_ISREG(st.st_mode) ? jb_image_format_of(fd) : JB_IMAGE_NO_FORMAT;
    int r = begin(&im, err);
    if (r == 0 && S_ISDIR(st.st_mode))
        r = take_dir(&im, fd, false, ret, err);
    else if (r == 0 && format != JB_IMAGE_NO_FORMAT)
        r = take_file(&im, format, fd, ret, err);
    else if (r == 0)
        r = take_tar(&im, fd, (uint64_t)st.st_size, ret, err);
    end(&im);
    return r < 0 ? jb_wrap(err, "%s", path) : 0;
}
