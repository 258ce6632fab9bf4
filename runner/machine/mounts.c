/*
 * mounts.c - /proc/self/mountinfo.
 *
 * Owns: nothing beyond the results. Runs in: the client. Privilege: none.
 */
#include "machine/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"

#define MOUNTINFO_MAX (64U << 20)

/* The next word of [*p, end) between single blanks; NULL when there is none. */
static const char *word(const char **p, const char *end, size_t *ret_len)
{
    if (*p >= end)
        return NULL;
    const char *start = *p;
    const char *blank = memchr(start, ' ', (size_t)(end - start));
    const char *stop = blank ? blank : end;
    *p = blank ? blank + 1 : end;
    *ret_len = (size_t)(stop - start);
    return *ret_len ? start : NULL;
}

static bool octal(const char *p, size_t left)
{
    return left >= 4 && p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
           p[3] >= '0' && p[3] <= '7';
}

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static char *decode(const char *text, size_t len)
{
    char *out = malloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < len; i++) {
        if (octal(text + i, len - i)) {
            out[n++] = (char)((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            out[n++] = text[i];
        }
    }
    if (out)
        out[n] = '\0';
    return out;
}

static int number(const char *text, size_t len, uint64_t max, uint64_t *ret)
{
    char buf[24];
    if (len == 0 || len >= sizeof(buf))
        return -EINVAL;
    memcpy(buf, text, len);
    buf[len] = '\0';
    return jb_parse_u64(buf, max, ret);
}

/* id parent major:minor root target options [optional ...] - fstype source options */
static int parse_line(const char *line, const char *end, struct jb_mount *ret)
{
    const char *p = line;
    const char *words[6];
    size_t lens[6];
    uint64_t unused;
    uint64_t major;
    uint64_t minor;
    for (int i = 0; i < 6; i++)
        if (!(words[i] = word(&p, end, &lens[i])))
            return -EINVAL;
    if (number(words[0], lens[0], UINT32_MAX, &unused) < 0 ||
        number(words[1], lens[1], UINT32_MAX, &unused) < 0)
        return -EINVAL;
    const char *colon = memchr(words[2], ':', lens[2]);
    if (!colon || number(words[2], (size_t)(colon - words[2]), UINT32_MAX, &major) < 0 ||
        number(colon + 1, (size_t)(words[2] + lens[2] - colon - 1), UINT32_MAX, &minor) < 0)
        return -EINVAL;
    if (words[4][0] != '/')
        return -EINVAL;
    const char *fstype;
    size_t len;
    do
        fstype = word(&p, end, &len);
    while (fstype && !(len == 1 && *fstype == '-'));
    fstype = fstype ? word(&p, end, &len) : NULL;
    if (!fstype)
        return -EINVAL;
    ret->target = decode(words[4], lens[4]);
    ret->fstype = decode(fstype, len);
    ret->major = (uint32_t)major;
    ret->minor = (uint32_t)minor;
    if (!ret->target || !ret->fstype)
        return -ENOMEM;
    if (!jb_streq(ret->fstype, "overlay"))
        return 0;
    (void)word(&p, end, &len); /* its source, which may be nothing */
    const char *options = word(&p, end, &len);
    ret->options = options ? decode(options, len) : NULL;
    return options && !ret->options ? -ENOMEM : 0;
}

int jb_mounts_parse(const char *text, struct jb_mounts *ret, struct jb_error *err)
{
    struct jb_mounts mounts = {0};
    size_t lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    mounts.items = calloc(lines + 1, sizeof(*mounts.items));
    if (!mounts.items)
        return jb_fail_errno(err, ENOMEM, "mountinfo");
    for (const char *line = text; *line;) {
        const char *end = line + strcspn(line, "\n");
        struct jb_mount *m = &mounts.items[mounts.len++];
        int r = parse_line(line, end, m);
        if (r < 0) {
            size_t n = mounts.len;
            jb_mounts_free(&mounts);
            if (r == -ENOMEM)
                return jb_fail_errno(err, ENOMEM, "mountinfo");
            return jb_fail(err, EINVAL, "mountinfo: line %zu is not understood: \"%.*s\"", n,
                           (int)(end - line < 120 ? end - line : 120), line);
        }
        line = *end ? end + 1 : end;
    }
    *ret = mounts;
    return 0;
}

int jb_mounts_read(struct jb_mounts *ret, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    int r = jb_read_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);
    if (r < 0)
        return jb_fail_errno(err, r, "/proc/self/mountinfo");
    return jb_mounts_parse(text, ret, err);
}

void jb_mounts_free(struct jb_mounts *mounts)
{
    for (size_t i = 0; i < mounts->len; i++) {
        free(mounts->items[i].target);
        free(mounts->items[i].fstype);
        free(mounts->items[i].options);
    }
    free(mounts->items);
    *mounts = (struct jb_mounts){0};
}
