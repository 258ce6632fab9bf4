/*
 * page.c - the frame of the page: what is built in, and the rules under which a browser shows it.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 *
 * The Content Security Policy allows the page's own style and script by their digests and nothing else: no other script runs,
 * and nothing is loaded, whatever is in the records.
 */
#include "report/page.h"

#include <errno.h>
#include <sha2.h>
#include <stdint.h>

#include "report/page_sums.h"

/* page/page.css and page.js, and page.html, whose marks are replaced. */
extern const char jb_page_css[], jb_page_css_end[], jb_page_js[], jb_page_js_end[], jb_page_html[],
    jb_page_html_end[];

struct frame {
    FILE *out;
    struct jb_page_sums *sums;
};

static void put_base64(FILE *out, const unsigned char *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16;
        v |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
        v |= i + 2 < len ? (uint32_t)data[i + 2] : 0;
        (void)fputc(digits[v >> 18], out);
        (void)fputc(digits[v >> 12 & 63], out);
        (void)fputc(i + 1 < len ? digits[v >> 6 & 63] : '=', out);
        (void)fputc(i + 2 < len ? digits[v & 63] : '=', out);
    }
}

static void put_digest(FILE *out, const char *begin, const char *end)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, (const unsigned char *)begin, (size_t)(end - begin));
    SHA256Final(digest, &sha);
    put_base64(out, digest, sizeof(digest));
}

static int put_css_digest(struct frame *f, struct jb_error *err)
{
    (void)err;
    put_digest(f->out, jb_page_css, jb_page_css_end);
    return 0;
}

static int put_js_digest(struct frame *f, struct jb_error *err)
{
    (void)err;
    put_digest(f->out, jb_page_js, jb_page_js_end);
    return 0;
}

static int put_css(struct frame *f, struct jb_error *err)
{
    (void)err;
    (void)fwrite(jb_page_css, 1, (size_t)(jb_page_css_end - jb_page_css), f->out);
    return 0;
}

static int put_js(struct frame *f, struct jb_error *err)
{
    (void)err;
    (void)fwrite(jb_page_js, 1, (size_t)(jb_page_js_end - jb_page_js), f->out);
    return 0;
}

static int put_data(struct frame *f, struct jb_error *err)
{
    return jb_page_data(f->out, f->sums, err);
}

static const struct {
    const char *mark;
    int (*put)(struct frame *f, struct jb_error *err);
} marks[] = {
    {"@STYLE_DIGEST@", put_css_digest},
    {"@SCRIPT_DIGEST@", put_js_digest},
    {"@STYLE@", put_css},
    {"@SCRIPT@", put_js},
    {"@DATA@", put_data},
};

/* At an '@': what stands for it, or itself. *at goes behind. */
static int put_mark(struct frame *f, const char **at, struct jb_error *err)
{
    for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
        if (jb_starts_with(*at, marks[i].mark)) {
            *at += strlen(marks[i].mark);
            return marks[i].put(f, err);
        }
    (void)fputc(*(*at)++, f->out);
    return 0;
}

/* Why a write failed long ago is forgotten; another one fails for the same reason. */
static int check_written(FILE *out, struct jb_error *err)
{
    if (!ferror(out))
        return 0;
    errno = 0;
    (void)fputc('\n', out);
    (void)fflush(out);
    return jb_fail_errno(err, errno ? errno : EIO, "writing the page");
}

int jb_page_write(FILE *out, const struct jb_page_wish *wish, struct jb_error *err)
{
    struct jb_page_sums sums;
    int r = jb_page_sum(wish, &sums, err);
    if (r < 0)
        return r;
    struct frame f = {out, &sums};
    for (const char *at = jb_page_html; r == 0 && at < jb_page_html_end;) {
        const char *mark = memchr(at, '@', (size_t)(jb_page_html_end - at));
        size_t len = (size_t)((mark ? mark : jb_page_html_end) - at);
        (void)fwrite(at, 1, len, out);
        at += len;
        if (mark)
            r = put_mark(&f, &at, err);
    }
    jb_page_sums_free(&sums);
    return r == 0 ? check_written(out, err) : r;
}
