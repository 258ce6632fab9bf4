/*
 * overlay.c - an overlay over the image is tried, and fuse-overlayfs is looked for.
 *
 * Owns: see overlay.h. Runs in: see overlay.h. Privilege: see overlay.h.
 */
#include "job/helper/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "box/message.h"
#include "box/overlaytry.h"
#include "plan/overlay.h"

static bool in_range(const struct jb_id_range *range, uint32_t id)
{
    return id >= range->start && id - range->start < range->count;
}

/* A file whose owner has no id in the box is not copied up: whoever changes it gets EOVERFLOW, whatever its mode says. */
static bool is_foreign(const struct jb_job_options *o, const char *dir, const struct jb_host *host,
                       char who[32])
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return false;
    bool uid = st.st_uid == o->submitter->uid || in_range(&host->subuids, st.st_uid);
    bool gid = st.st_gid == o->submitter->gid || in_range(&host->subgids, st.st_gid);
    (void)snprintf(who, 32, "%s %u", uid ? "group" : "user", (unsigned)(uid ? st.st_gid : st.st_uid));
    return !uid || !gid;
}

/* Since Linux 6.6 a tmpfs keeps them; before that somebody may have brought it back to an older kernel, so it is tried. */
static bool keeps_attributes(const struct jb_host *host)
{
    char *end;
    unsigned long major = strtoul(host->kernel, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return major > 6 || (major == 6 && minor >= 6);
}

/* Not tried where the answer is known: it costs a process and namespaces. */
static int try_kernel(const struct jb_image *image, const struct jb_host *host, bool memory,
                      struct jb_overlay_facts *f, struct jb_overlay_tried *tried, struct jb_error *err)
{
    bool attributes = !f->userns || !memory || keeps_attributes(host);
    bool sure = !(f->userns && f->directory) && jb_overlay_is_sure(image->path);
    if ((f->host ? attributes : sure && attributes) || (f->userns && f->wish == JB_SITE_OVERLAY_FUSE))
        return 0;
    int r = jb_overlay_try(image->path, f->userns, tried, err);
    f->no_attributes = memory && tried->no_attributes;
    if (f->host) /* refused as a whole, which says nothing of its folders */
        return r;
    f->result = tried->result;
    f->said = tried->said.text;
    f->submounts = tried->submounts;
    return r;
}

static int carry_out(const struct jb_image *image, enum jb_overlay_way way, const char *program,
                     const char *why, int result, struct jb_host *host, struct jb_error *err)
{
    int r = 0;
    switch (way) {
    case JB_OVERLAY_NONE:
        if (result == -ENOSYS)
            return jb_fail(err, ENOSYS, "image %s: file system type overlay: Function not implemented: %s",
                           image->path, JB_MSG_CALL_MISSING);
        return jb_fail(err, result < 0 ? -result : ENOTSUP, "image %s: %s", image->path, why);
    case JB_OVERLAY_COMPOSED:
        if (image->kind == JB_IMAGE_HOST)
            break;
        r = jb_host_probe_root(image->path, why, host);
        return r < 0 ? jb_fail_errno(err, r, "reading image %s", image->path) : 0;
    case JB_OVERLAY_FUSE:
        (void)snprintf(host->fuse_program, sizeof(host->fuse_program), "%s", program);
        break;
    case JB_OVERLAY_KERNEL:
        break;
    }
    (void)snprintf(host->root_why, sizeof(host->root_why), "%s", why);
    return 0;
}

int jb_job_probe_overlay(const struct jb_job_options *o, const struct jb_image *image, struct jb_host *host,
                         struct jb_error *err)
{
    char program[JB_PROGRAM_PATH] = "";
    char lacks[JB_FUSE_WHY] = "";
    char who[32];
    char why[sizeof(host->root_why)];
    struct jb_overlay_tried tried = {0};
    bool memory = o->site->scratch_backend == JB_SCRATCH_TMPFS;
    if (image->kind != JB_IMAGE_HOST && image->kind != JB_IMAGE_DIR && image->kind != JB_IMAGE_STORE)
        return 0; /* a file that the kernel mounts is root's alone */
    struct jb_overlay_facts f = {
        .wish = o->site->overlay,
        .userns = !o->submitter->privileged,
        .host = image->kind == JB_IMAGE_HOST,
        .directory = image->kind == JB_IMAGE_DIR,
        .said = "",
        .upper = memory ? NULL : jb_overlay_no_upper(o->state->state_fd),
        .root_in_box = o->spec->user_kind == JB_USER_ROOT_IN_BOX || o->spec->reproducible,
        .lacks = lacks,
        .foreigner = who,
    };
    int r = try_kernel(image, host, memory, &f, &tried, err);
    if (r < 0)
        return r;
    f.foreign = f.userns && f.directory && is_foreign(o, image->path, host, who);
    host->foreign_image = f.userns && f.host ? true : f.foreign;
    if (f.userns && f.wish != JB_SITE_OVERLAY_KERNEL)
        jb_host_probe_fuse(program, lacks);
    enum jb_overlay_way way = jb_overlay_choose(&f, why, sizeof(why));
    return carry_out(image, way, program, why, f.result, host, err);
}
