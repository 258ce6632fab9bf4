/*
 * keep.c - a box that has ended becomes a kept one.
 *
 * Owns: kept/.new-ID until it is kept/ID. Runs in: the supervisor; copying in a child of it. Privilege: see kept.h.
 *
 * What the box wrote is in the layers of its scratch, which may be memory and goes with the box, so it is copied. The parts
 * become one tree, each in its place: that is what the box's root was, and what an image's layer is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "image/child.h"
#include "job/kept/kept.h"

struct part {
    const struct jb_keeping *what;
    int fs;
    struct jb_copied *sum; /* shared */
};

/* What belongs to one run of a box only. */
static bool is_of_the_run(const char *target)
{
    return jb_streq(target, "/run") || jb_starts_with(target, "/run/") || jb_streq(target, "/var/tmp");
}

static bool skip_run(void *ctx, const char *path)
{
    (void)ctx;
    return jb_streq(path, "run");
}

/* A folder on the way to a part, which no part has: over the host it is as it is there. */
static int look_like_host(const struct jb_keeping *what, int at, const char *name, const char *path)
{
    struct stat st;
    if (what->plan->image_kind != JB_IMAGE_HOST || what->plan->userns || stat(path, &st) < 0)
        return 0;
    return fchownat(at, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                   fchmodat(at, name, st.st_mode & 07777, 0) < 0
               ? -errno
               : 0;
}

/* The place of a part, made: a descriptor, or -errno. */
static int open_place(const struct part *p, const char *target)
{
    jb_autoclose int at = openat(p->fs, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *part = target + strspn(target, "/");
    while (at >= 0 && *part) {
        size_t len = strcspn(part, "/");
        jb_autofree char *name = strndup(part, len);
        jb_autofree char *path = strndup(target, (size_t)(part - target) + len);
        if (!name || !path)
            return -ENOMEM;
        int r = mkdirat(at, name, 0755) < 0 ? -errno : look_like_host(p->what, at, name, path);
        if (r < 0 && r != -EEXIST)
            return r;
        int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return -errno;
        jb_close(&at);
        at = next;
        part += len + strspn(part + len, "/");
    }
    return at < 0 ? -errno : jb_take_fd(&at);
}

/* What was fresh in the box showed nothing of the image: as a layer it is opaque. Where it cannot say so, it is merged. */
static void mark_opaque(const struct jb_keeping *what, int to)
{
    jb_autoclose int fd = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsetxattr(fd, what->plan->userns ? "user.overlay.opaque" : "trusted.overlay.opaque", "y", 1, 0);
}

static int copy_layer(const struct part *p, const struct jb_box_layer *layer, struct jb_error *err)
{
    bool root = jb_streq(layer->target, "/");
    if (is_of_the_run(layer->target))
        return 0;
    jb_autoclose int from =
        openat(p->what->box->scratch_fd, layer->upper, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return jb_fail_errno(err, errno, "the box's layer for %s", layer->target);
    jb_autoclose int to = open_place(p, layer->target);
    if (to < 0)
        return jb_fail_errno(err, to, "making %s", layer->target);
    const struct jb_copy copy = {.from = from,
                                 .to = to,
                                 .max_bytes = p->what->site->kept.max_bytes,
                                 .max_files = p->what->site->kept.max_files,
                                 .skip = root ? skip_run : NULL,
                                 .space = layer->n_lowers == 0    ? JB_OVERLAY_NONE
                                          : p->what->plan->userns ? JB_OVERLAY_USER
                                                                  : JB_OVERLAY_TRUSTED,
                                 .from_fuse = layer->fuse};
    int r = jb_copy_tree(&copy, p->sum, err);
    if (r == 0 && layer->n_lowers == 0)
        mark_opaque(p->what, to);
    return r;
}

static int copy_all(void *ctx, struct jb_error *err)
{
    const struct part *p = ctx;
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->what->box->n_layers; i++)
        r = copy_layer(p, &p->what->box->layers[i], err);
    return r;
}

static int copy(const struct jb_keeping *what, int dir, struct jb_copied *ret, struct jb_error *err)
{
    const struct jb_idmap ids = jb_idmap_of(what->plan);
    if (mkdirat(dir, "fs", 0755) < 0)
        return jb_fail_errno(err, errno, "fs");
    jb_autoclose int fs = openat(dir, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs < 0 || fchmod(fs, 0755) < 0)
        return jb_fail_errno(err, errno, "fs");
    struct part p = {what, fs, jb_shared_new(sizeof(*p.sum))};
    if (!p.sum)
        return jb_fail_errno(err, ENOMEM, "copying");
    int r = jb_idmap_inside(what->plan->userns ? &ids : NULL, copy_all, &p, err);
    *ret = *p.sum;
    jb_shared_free(p.sum, sizeof(*p.sum));
    return r;
}

static json_t *make_about(const struct jb_keeping *what, const struct jb_copied *sum)
{
    const struct jb_plan *plan = what->plan;
    json_t *groups = json_array();
    for (size_t i = 0; i < plan->n_submitter_groups; i++)
        (void)json_array_append_new(groups, json_integer((json_int_t)plan->submitter_groups[i]));
    return json_pack(
        "{s:i, s:s, s:o, s:o, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, "
        "s:{s:o, s:s, s:o, s:o}, s:I, s:I, s:I, s:b}",
        "version", 1, "id", plan->id.text, "name", jb_json_text(plan->name), "kept",
        jb_json_time(jb_wall_us(NULL)), "reason", what->reason, "exit_code",
        what->exit_code < 0 ? json_null() : json_integer(what->exit_code), "uid",
        (json_int_t)plan->submitter_uid, "gid", (json_int_t)plan->submitter_gid, "groups", groups, "user",
        jb_json_text(plan->submitter_user), "home", jb_json_text(what->who->home), "cwd",
        jb_json_text(plan->submitter_cwd), "spec_file", jb_json_text(plan->spec_file), "image", "ref",
        jb_json_text(plan->image_ref), "kind", jb_image_kind_name(plan->image_kind), "digest",
        plan->image_digest ? json_string(plan->image_digest) : json_null(), "path",
        jb_json_text(plan->image_path), "bytes", (json_int_t)sum->bytes, "files", (json_int_t)sum->files,
        "left_out", (json_int_t)sum->left_out, "linked_below", sum->linked_below);
}

static int fill(const struct jb_keeping *what, int dir, struct jb_copied *sum, struct jb_error *err)
{
    int r = copy(what, dir, sum, err);
    JB_CRASH_POINT(keep_copied);
    if (r < 0)
        return r;
    json_t *about = make_about(what, sum);
    jb_autofree char *text = about ? json_dumps(about, JSON_COMPACT) : NULL;
    json_decref(about);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "about.json");
    r = jb_kept_write(dir, "spec.yaml", what->spec->text, what->spec->text_len, err);
    if (r == 0)
        r = jb_kept_write(dir, "about.json", text, strlen(text), err);
    if (r == 0)
        jb_kept_mark(dir, what->plan->submitter_uid);
    if (r == 0 && syncfs(dir) < 0)
        r = jb_fail_errno(err, errno, "writing it to the disk");
    return r;
}

int jb_keep(const struct jb_keeping *what, json_t **ret, struct jb_error *err)
{
    struct jb_copied sum = {0};
    jb_autoclose int lock = -1;
    if (what->site->kept.max_count == 0)
        return jb_fail(err, EPERM, "the site keeps none (kept.max_count)");
    if (what->box->scratch_fd < 0)
        return jb_fail(err, ENOENT, "the box's scratch cannot be looked at");
    jb_autoclose int kept = jb_kept_open(what->state_fd, true, err);
    if (kept < 0)
        return kept;
    jb_autoclose int dir = jb_kept_begin(kept, &what->plan->id, &lock, err);
    int r = dir < 0 ? dir : fill(what, dir, &sum, err);
    if (r == 0)
        r = jb_kept_finish(kept, what->site, what->plan->submitter_uid, &what->plan->id, &sum, err);
    jb_close(&lock);
    jb_kept_clear(kept); /* what made room; and .new-ID, where it was not to be */
    if (r < 0)
        return r;
    *ret = jb_kept_summary(what->state_fd, what->state_dir, &what->plan->id);
    return *ret ? 0 : jb_fail(err, EIO, "it is gone already");
}
