/*
 * unpack.c - reads a layer's tar, and holds it against its digests and limits.
 *
 * Owns: descriptors below the layer's directory. Runs in: see unpack.h. Privilege: see unpack.h.
 *
 * Two readers, one in the other: the outer one takes the compression away, so that the digest of the tar can be made of
 * what it gives; the inner one reads the tar. What cannot be known before the end is done at the end: the modes and
 * times of directories, and what a whiteout means that stands beside new content of the same name.
 */
#include "image/unpack_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

#define RATIO_FREE (64U << 20) /* so much may come out of next to nothing */

int jb_unpack_too_much(struct jb_error *err, const char *what, uint64_t limit, const char *key)
{
    return jb_fail(err, E2BIG, "%s more than %" PRIu64 " (images.%s of the site); the image was refused",
                   what, limit, key);
}

bool jb_unpack_may_fit(uint64_t tar_bytes, uint64_t limit)
{
    return tar_bytes / 2 <= limit || tar_bytes <= RATIO_FREE;
}

/* --- the two readers --- */

static ssize_t read_file(struct archive *a, void *ctx, const void **ret)
{
    struct jb_reader *rd = ctx;
    ssize_t n;
    (void)a;
    do
        n = read(rd->u->tar_fd, rd->in_buf, sizeof(rd->in_buf));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        (void)jb_fail_errno(&rd->why, errno, "reading the layer");
        return -1;
    }
    SHA256Update(&rd->blob_sha, rd->in_buf, (size_t)n);
    rd->in += (uint64_t)n;
    atomic_store(&rd->state->in, rd->in);
    *ret = rd->in_buf;
    return n;
}

static ssize_t read_tar(struct archive *a, void *ctx, const void **ret)
{
    struct jb_reader *rd = ctx;
    const struct jb_unpack_limits *limits = &rd->u->limits;
    (void)a;
    ssize_t n = rd->lib.read_data(rd->outer, rd->out_buf, sizeof(rd->out_buf));
    if (n < 0) {
        if (!rd->why.errnum)
            (void)jb_fail(&rd->why, EBADMSG, "the layer is damaged: %s", rd->lib.error_string(rd->outer));
        return -1;
    }
    SHA256Update(&rd->diff_sha, rd->out_buf, (size_t)n);
    rd->out += (uint64_t)n;
    atomic_store(&rd->state->out, rd->out);
    if (rd->out > RATIO_FREE && rd->out / limits->ratio > rd->in) {
        (void)jb_unpack_too_much(&rd->why, "the layer grows by", limits->ratio, "max_ratio");
        return -1;
    }
    if (!jb_unpack_may_fit(rd->out, limits->bytes)) {
        (void)jb_unpack_too_much(&rd->why, "the layer's bytes are", limits->bytes, "max_size");
        return -1;
    }
    *ret = rd->out_buf;
    return n;
}

int jb_unpack_lib_failed(struct jb_reader *rd, struct archive *a, struct jb_error *err)
{
    if (rd->why.errnum) {
        *err = rd->why;
        return -err->errnum;
    }
    const char *words = rd->lib.error_string(a);
    return jb_fail(err, EBADMSG, "the layer is no tar that can be read: %s",
                   words ? words : "it ends too early");
}

static int open_readers(struct jb_reader *rd, struct jb_error *err)
{
    struct archive_entry *entry;
    int r = jb_archive_load(&rd->lib, err);
    if (r < 0)
        return r;
    rd->outer = rd->lib.read_new();
    rd->inner = rd->lib.read_new();
    if (!rd->outer || !rd->inner)
        return jb_fail_errno(err, ENOMEM, "libarchive");
    (void)rd->lib.read_support_filter_gzip(rd->outer);
    (void)rd->lib.read_support_filter_zstd(rd->outer);
    (void)rd->lib.read_support_filter_bzip2(rd->outer);
    (void)rd->lib.read_support_filter_xz(rd->outer);
    (void)rd->lib.read_support_format_raw(rd->outer);
    (void)rd->lib.read_support_format_empty(rd->outer);
    (void)rd->lib.read_support_format_tar(rd->inner);
    (void)rd->lib.read_support_format_empty(rd->inner);
    r = rd->lib.read_open(rd->outer, rd, NULL, read_file, NULL);
    if (r == JB_ARCHIVE_OK)
        r = rd->lib.read_next_header(rd->outer, &entry);
    if (r < JB_ARCHIVE_WARN)
        return jb_unpack_lib_failed(rd, rd->outer, err);
    r = rd->lib.read_open(rd->inner, rd, NULL, read_tar, NULL);
    return r < JB_ARCHIVE_WARN ? jb_unpack_lib_failed(rd, rd->inner, err) : 0;
}

/* What lies behind the tar's end belongs to the digests too. */
static int drain(struct jb_reader *rd, struct jb_error *err)
{
    const void *data;
    ssize_t n;
    while ((n = read_tar(NULL, rd, &data)) > 0) {
    }
    while (n == 0 && (n = read_file(NULL, rd, &data)) > 0)
        n = 0;
    if (n < 0) {
        *err = rd->why;
        return -err->errnum;
    }
    return 0;
}

static int check_digest(const char *what, SHA2_CTX *sha, const struct jb_digest *wanted,
                        struct jb_digest *ret, struct jb_error *err)
{
    (void)snprintf(ret->text, sizeof(ret->text), "sha256:");
    (void)SHA256End(sha, ret->text + strlen("sha256:"));
    if (!wanted || jb_streq(wanted->text, ret->text))
        return 0;
    return jb_fail(err, EBADMSG, "%s is %s and not %s, as the image says; it was damaged or replaced", what,
                   ret->text, wanted->text);
}

static int read_all(struct jb_reader *rd, struct jb_error *err)
{
    struct archive_entry *entry;
    int found;
    int r = open_readers(rd, err);
    if (r == 0)
        r = jb_unpack_implied(rd, "", err);
    while (r == 0 && (found = rd->lib.read_next_header(rd->inner, &entry)) != JB_ARCHIVE_EOF) {
        if (found < JB_ARCHIVE_WARN)
            return jb_unpack_lib_failed(rd, rd->inner, err);
        if (++rd->entries > rd->u->limits.entries)
            return jb_unpack_too_much(err, "the layer's entries are", rd->u->limits.entries, "max_entries");
        atomic_store(&rd->state->entries, rd->entries);
        r = jb_unpack_entry(rd, entry, err);
    }
    if (r == 0)
        r = drain(rd, err);
    if (r == 0)
        r = check_digest("the layer", &rd->blob_sha, rd->u->blob, &rd->state->blob, err);
    if (r == 0)
        r = check_digest("the unpacked layer", &rd->diff_sha, rd->u->diff_id, &rd->state->diff_id, err);
    return r == 0 ? jb_unpack_finish(rd, err) : r;
}

int jb_unpack_run(const struct jb_unpack *unpack, struct jb_unpack_state *state, struct jb_error *err)
{
    struct jb_reader *rd = calloc(1, sizeof(*rd));
    if (!rd)
        return jb_fail_errno(err, ENOMEM, "unpacking");
    rd->u = unpack;
    rd->state = state;
    rd->parent_fd = -1;
    SHA256Init(&rd->blob_sha);
    SHA256Init(&rd->diff_sha);
    int r = read_all(rd, err);
    if (rd->inner)
        (void)rd->lib.read_free(rd->inner);
    if (rd->outer)
        (void)rd->lib.read_free(rd->outer);
    for (size_t i = 0; i < rd->n_dirs; i++)
        free(rd->dirs[i].path);
    free(rd->dirs);
    jb_strv_free(&rd->whiteouts);
    jb_strv_free(&rd->opaques);
    jb_close(&rd->parent_fd);
    free(rd);
    return r;
}
