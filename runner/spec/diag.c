/*
 * diag.c - the faults of one file: collected, sorted, printed.
 *
 * Owns: the texts in a struct jb_diags. Runs in: the client, unprivileged. Privilege: none.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/node.h"

void jb_diags_free(struct jb_diags *diags)
{
    for (size_t i = 0; i < diags->len; i++)
        free(diags->items[i].text);
    free(diags->items);
    free(diags->file);
    *diags = (struct jb_diags){0};
}

char *jb_diags_format(const struct jb_diags *diags)
{
    jb_autobuf struct jb_buf buf = {0};
    const char *file = diags->file ? diags->file : "?";
    int r = jb_buf_puts(&buf, "");
    for (size_t i = 0; r == 0 && i < diags->len; i++) {
        const struct jb_diag *d = &diags->items[i];
        if (d->line == 0)
            r = jb_buf_printf(&buf, "%s: %s\n", file, d->text);
        else
            r = jb_buf_printf(&buf, "%s:%u:%u: %s\n", file, d->line, d->column, d->text);
    }
    return r < 0 ? NULL : jb_take_ptr(buf.data);
}

void jb_note(struct jb_reading *rd, int r)
{
    if (r < 0 && rd->failed == 0)
        rd->failed = r;
}

/* Owns text. */
static void add(struct jb_reading *rd, struct jb_pos pos, char *text)
{
    struct jb_diags *diags = rd->diags;
    struct jb_diag *grown = text ? realloc(diags->items, (diags->len + 1) * sizeof(*grown)) : NULL;
    if (!grown) {
        free(text);
        jb_note(rd, -ENOMEM);
        return;
    }
    diags->items = grown;
    diags->items[diags->len++] = (struct jb_diag){.line = pos.line, .column = pos.column, .text = text};
}

/* "mounts[2].target" */
static int add_path(struct jb_buf *buf, const struct jb_at *at)
{
    char shown[JB_SHOW];
    int r = at->up ? add_path(buf, at->up) : 0;
    if (r < 0)
        return r;
    if (!at->name)
        return jb_buf_printf(buf, "[%zu]", at->index);
    return jb_buf_printf(buf, "%s%s", buf->len > 0 ? "." : "", jb_show(at->name, shown));
}

void jb_complain(struct jb_reading *rd, struct jb_pos pos, const struct jb_at *at, const char *fmt, ...)
{
    if (rd->diags->len >= JB_DIAGS_MAX) {
        rd->dropped++;
        return;
    }
    jb_autobuf struct jb_buf buf = {0};
    int r = at ? add_path(&buf, at) : 0;
    if (r == 0 && buf.len > 0)
        r = jb_buf_puts(&buf, ": ");
    va_list ap;
    va_start(ap, fmt);
    jb_autofree char *what = NULL;
    if (vasprintf(&what, fmt, ap) < 0)
        what = NULL;
    va_end(ap);
    if (r == 0 && what)
        r = jb_buf_puts(&buf, what);
    add(rd, pos, r < 0 || !what ? NULL : jb_take_ptr(buf.data));
}

void jb_reading_begin(struct jb_reading *rd, const char *file, struct jb_diags *diags)
{
    *rd = (struct jb_reading){.diags = diags};
    free(diags->file);
    diags->file = strdup(file);
    if (!diags->file)
        jb_note(rd, -ENOMEM);
}

/* By insertion: there are few, they are nearly in order, and equals keep theirs. */
static void sort(struct jb_diags *diags)
{
    for (size_t i = 1; i < diags->len; i++) {
        struct jb_diag d = diags->items[i];
        size_t j = i;
        for (; j > 0; j--) {
            const struct jb_diag *before = &diags->items[j - 1];
            if (before->line < d.line || (before->line == d.line && before->column <= d.column))
                break;
            diags->items[j] = *before;
        }
        diags->items[j] = d;
    }
}

int jb_reading_end(struct jb_reading *rd)
{
    struct jb_diags *diags = rd->diags;
    jb_arena_free(&rd->arena);
    sort(diags);
    if (rd->dropped > 0 && diags->len > 0) {
        const struct jb_diag *last = &diags->items[diags->len - 1];
        add(rd, (struct jb_pos){last->line, last->column},
            jb_asprintf("and %zu more errors in this file that are not shown", rd->dropped));
    }
    if (rd->failed < 0)
        return rd->failed;
    if (diags->len > 0)
        return -EINVAL;
    jb_diags_free(diags); /* nothing is left to release when there is nothing to say */
    return 0;
}

/* The length of the UTF-8 character at p, which is known to be well-formed. */
static size_t char_len(const unsigned char *p)
{
    return *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
}

const char *jb_show(const char *text, char buf[JB_SHOW])
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = 0;
    while (*p) {
        size_t len = char_len(p);
        if (n + 12 > JB_SHOW) {
            (void)snprintf(buf + n, JB_SHOW - n, "...");
            return buf;
        }
        if (*p == '\n' || *p == '\t') {
            n += (size_t)snprintf(buf + n, JB_SHOW - n, "\\%c", *p == '\n' ? 'n' : 't');
        } else if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(buf + n, JB_SHOW - n, "\\x%02x", *p);
        } else if (p[0] == 0xc2 && p[1] < 0xa0) { /* U+0080 to U+009F: terminals obey some of them */
            n += (size_t)snprintf(buf + n, JB_SHOW - n, "\\x%02x", p[1]);
        } else {
            memcpy(buf + n, p, len);
            n += len;
        }
        p += len;
    }
    buf[n] = '\0';
    return buf;
}
