/*
 * layer.c - a tar becomes a layer of the store, or nothing.
 *
 * Owns: what it makes belongs to the work. Runs in: the client; unpacking and summing in children of their own.
 * Privilege: that of the store.
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
#include "image/pull.h"
#include "image/tree.h"

struct summing {
    int fd;
    struct jb_tree_sums *sums; /* shared */
};

static int do_sum(void *ctx, struct jb_error *err)
{
    const struct summing *s = ctx;
    return jb_tree_sum(s->fd, NULL, s->sums, err);
}

static int sum(int fd, const struct jb_image_ui *ui, struct jb_tree_sums *ret, struct jb_error *err)
{
    struct summing s = {fd, jb_shared_new(sizeof(*s.sums))};
    const struct jb_worker worker = {.run = do_sum, .ctx = &s};
    if (!s.sums)
        return jb_fail_errno(err, ENOMEM, "summing up a layer");
    int r = jb_worker_run(&worker, ui, err);
    if (r == 0)
        *ret = *s.sums;
    jb_shared_free(s.sums, sizeof(*s.sums));
    return r;
}

static int write_json(int dir, const struct jb_istore_layer *layer, const struct jb_tree_sums *sums,
                      const struct jb_unpack_state *state, const struct jb_istore *store,
                      struct jb_error *err)
{
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "version", 1, "chain",
        layer->chain.text, "diff_id", layer->diff_id.text, "blob", layer->blob.text, "blob_bytes",
        (json_int_t)layer->size, "tree", sums->digest.text, "entries", (json_int_t)sums->entries, "bytes",
        (json_int_t)sums->bytes, "privileged_files", (json_int_t)sums->privileged_files, "devices_left_out",
        (json_int_t)state->devices, "made_harmless", (json_int_t)state->harmless, "closed_to_others",
        (json_int_t)state->closed, "mapped", store->mapped);
    jb_autofree char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    jb_autoclose int fd = !text ? -1
                                : openat(dir, "layer.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                         store->shared ? 0644 : 0600);
    int r = !text ? -ENOMEM : fd < 0 ? -errno : jb_write_all(fd, text, strlen(text));
    return r < 0 ? jb_fail_errno(err, r, "layer.json of a layer") : 0;
}

static int unpack(const struct jb_image_job *job, const struct jb_layer_wish *wish, int fs,
                  struct jb_unpack_state *ret, struct jb_error *err)
{
    const struct jb_image_policy *p = job->policy;
    const struct jb_unpack unpack = {
        .tar_fd = wish->tar_fd,
        .blob = wish->blob,
        .diff_id = wish->diff_id,
        .dir_fd = fs,
        .below = wish->below,
        .n_below = wish->n_below,
        .owners = job->store->privileged || job->store->mapped,
        .mapped = job->store->mapped,
        .harmless = job->store->shared,
        .limits = {p->max_size, p->max_entries, p->max_ratio, p->unpack_ns},
    };
    return jb_unpack_child(&unpack, wish->what, wish->size, job->ui, ret, err);
}

int jb_layer_make(const struct jb_image_job *job, const struct jb_istore_work *work, const char *name,
                  const struct jb_layer_wish *wish, struct jb_istore_layer *ret, struct jb_error *err)
{
    struct jb_unpack_state state = {0};
    struct jb_tree_sums sums = {0};
    mode_t mode = job->store->shared ? 0755 : 0700;
    if (mkdirat(work->fd, name, mode) < 0)
        return jb_fail_errno(err, errno, "making a layer");
    jb_autoclose int dir = openat(work->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || mkdirat(dir, "fs", 0755) < 0)
        return jb_fail_errno(err, errno, "making a layer");
    jb_autoclose int fs = openat(dir, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs < 0)
        return jb_fail_errno(err, errno, "making a layer");
    int r = unpack(job, wish, fs, &state, err);
    if (r == 0)
        r = sum(fs, job->ui, &sums, err);
    if (r < 0) {
        (void)jb_remove_tree(work->fd, name);
        return r;
    }
    struct jb_istore_layer layer = {
        .diff_id = state.diff_id, .blob = state.blob, .size = atomic_load(&state.in)};
    jb_oci_chain(wish->below_chain, &layer.diff_id, &layer.chain);
    if (state.devices)
        jb_image_say(job->ui, "%llu device nodes left out: a box has its own",
                     (unsigned long long)state.devices);
    if (state.harmless)
        jb_image_say(job->ui,
                     "%llu files lost set-user-id, set-group-id or capabilities: the store is for everybody",
                     (unsigned long long)state.harmless);
    if (state.closed)
        jb_image_say(job->ui,
                     "%llu files and folders can be changed by root alone: the store is for everybody",
                     (unsigned long long)state.closed);
    r = write_json(dir, &layer, &sums, &state, job->store, err);
    if (r == 0)
        *ret = layer;
    return r;
}

int jb_image_open_layers(const struct jb_istore *store, const struct jb_istore_image *image, int **ret,
                         struct jb_error *err)
{
    int *fds = malloc((image->n_layers + 1) * sizeof(*fds));
    if (!fds)
        return jb_fail_errno(err, ENOMEM, "image");
    for (size_t i = 0; i < image->n_layers; i++) {
        const struct jb_istore_layer *layer = &image->layers[image->n_layers - 1 - i];
        jb_autofree char *path = jb_asprintf("layers/%s/fs", jb_digest_hex(&layer->chain));
        fds[i] = path ? jb_open_at(store->fd, path, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT) : -ENOMEM;
        if (fds[i] < 0) {
            int r = jb_fail_errno(err, fds[i], "layer %.12s of image %.12s", jb_digest_hex(&layer->chain),
                                  jb_digest_hex(&image->digest));
            jb_image_close_layers(fds, i);
            return r;
        }
    }
    *ret = fds;
    return 0;
}

void jb_image_close_layers(int *fds, size_t n)
{
    for (size_t i = 0; fds && i < n; i++)
        (void)close(fds[i]);
    free(fds);
}
