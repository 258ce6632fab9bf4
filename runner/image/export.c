/*
 * export.c - images out of the store.
 *
 * Owns: a work of the store while it goes on. Runs in: the client, with a child that packs. Privilege: to read the store.
 *
 * Layers are packed anew, so they have other digests than those that were fetched; what they hold is the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "image/pack.h"
#include "image/pull.h"

struct export
{
    const struct jb_image_job *job;
    const struct jb_istore_image *image;
    int *fds; /* the top one first */
    int out_fd;
    int layout_fd; /* -1: no layout */
};

static int write_blob(const struct export *e, const char *text, struct jb_oci_blob *ret, struct jb_error *err)
{
    char path[96];
    ret->size = strlen(text);
    jb_digest_of(text, ret->size, &ret->digest);
    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", jb_digest_hex(&ret->digest));
    jb_autoclose int fd = openat(e->layout_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : jb_write_all(fd, text, ret->size);
    return r < 0 ? jb_fail_errno(err, r, "exporting") : 0;
}

static int write_layer(const struct export *e, size_t i, struct jb_oci_blob *ret, struct jb_error *err)
{
    char path[96];
    struct jb_packed packed;
    const struct jb_pack pack = {.layers = &e->fds[e->image->n_layers - 1 - i],
                                 .n = 1,
                                 .raw = true,
                                 .as_root = !e->job->store->privileged && !e->job->store->mapped};
    jb_autoclose int fd = openat(e->layout_fd, "layer", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r = fd < 0 ? jb_fail_errno(err, errno, "exporting") : jb_pack_run(&pack, fd, &packed, err);
    if (r < 0)
        return r;
    *ret = (struct jb_oci_blob){packed.digest, packed.size};
    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", jb_digest_hex(&ret->digest));
    return renameat(e->layout_fd, "layer", e->layout_fd, path) < 0 ? jb_fail_errno(err, errno, "exporting")
                                                                   : 0;
}

static int write_texts(const struct export *e, const struct jb_oci_blob *manifest, struct jb_error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    const char *tag = e->job->name ? strrchr(e->job->name, ':') : NULL;
    json_t *root =
        json_pack("{s:i, s:[{s:s, s:s, s:I, s:{s:s}, s:{s:s, s:s}}]}", "schemaVersion", 2, "manifests",
                  "mediaType", "application/vnd.oci.image.manifest.v1+json", "digest", manifest->digest.text,
                  "size", (json_int_t)manifest->size, "annotations", "org.opencontainers.image.ref.name",
                  tag ? tag + 1 : "latest", "platform", "os", "linux", "architecture", jb_oci_arch());
    jb_autofree char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "exporting");
    int r = jb_replace_at(e->layout_fd, "index.json", text, strlen(text), 0644);
    if (r == 0)
        r = jb_replace_at(e->layout_fd, "oci-layout", layout, sizeof(layout) - 1, 0644);
    return r < 0 ? jb_fail_errno(err, r, "exporting") : 0;
}

static int write_layout(const struct export *e, struct jb_error *err)
{
    size_t n = e->image->n_layers;
    struct jb_oci_blob config;
    struct jb_oci_blob manifest;
    jb_autofree char *text = NULL;
    jb_autofree struct jb_oci_blob *layers = calloc(n, sizeof(*layers));
    jb_autofree struct jb_digest *diff_ids = calloc(n, sizeof(*diff_ids));
    if (!layers || !diff_ids)
        return jb_fail_errno(err, ENOMEM, "exporting");
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = write_layer(e, i, &layers[i], err);
        diff_ids[i] = layers[i].digest;
    }
    if (r < 0)
        return r;
    json_t *base = json_loads(e->image->config, 0, NULL);
    r = jb_oci_config_make(base, diff_ids, n, &text);
    json_decref(base);
    r = r < 0 ? jb_fail_errno(err, r, "exporting") : write_blob(e, text, &config, err);
    free(jb_take_ptr(text));
    if (r == 0 && jb_oci_manifest_make(&config, layers, n, &text) < 0)
        r = jb_fail_errno(err, ENOMEM, "exporting");
    if (r == 0)
        r = write_blob(e, text, &manifest, err);
    return r == 0 ? write_texts(e, &manifest, err) : r;
}

static int do_export(void *ctx, struct jb_error *err)
{
    const struct export *e = ctx;
    if (e->layout_fd < 0) {
        const struct jb_pack pack = {.layers = e->fds,
                                     .n = e->image->n_layers,
                                     .as_root = !e->job->store->privileged && !e->job->store->mapped};
        return jb_pack_run(&pack, e->out_fd, NULL, err);
    }
    int r = write_layout(e, err);
    return r == 0 ? jb_pack_plain(e->layout_fd, e->out_fd, err) : r;
}

static int make_layout(const struct jb_istore_work *work, int *ret, struct jb_error *err)
{
    static const char *const dirs[] = {"layout", "layout/blobs", "layout/blobs/sha256"};
    for (size_t i = 0; i < JB_ARRAY_LEN(dirs); i++)
        if (mkdirat(work->fd, dirs[i], 0755) < 0)
            return jb_fail_errno(err, errno, "exporting");
    *ret = openat(work->fd, "layout", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret < 0 ? jb_fail_errno(err, errno, "exporting") : 0;
}

int jb_image_export(const struct jb_image_job *job, const struct jb_istore_image *image,
                    enum jb_export_format format, int out_fd, struct jb_error *err)
{
    struct export e = {.job = job, .image = image, .out_fd = out_fd, .layout_fd = -1};
    jb_autowork struct jb_istore_work work = JB_ISTORE_WORK_INIT;
    jb_autoclose int layout = -1;
    const struct jb_worker worker = {.run = do_export, .ctx = &e, .what = "exporting"};
    int r = 0;
    if (format == JB_EXPORT_OCI_ARCHIVE) {
        r = jb_istore_work_begin(job->store, &work, err);
        if (r == 0)
            r = make_layout(&work, &layout, err);
        e.layout_fd = layout;
    }
    if (r == 0)
        r = jb_image_open_layers(job->store, image, &e.fds, err);
    if (r == 0)
        r = jb_worker_run(&worker, job->ui, err);
    jb_image_close_layers(e.fds, image->n_layers);
    return r;
}
