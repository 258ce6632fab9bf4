/*
 * text.c - are these bytes text that a YAML file may hold?
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 *
 * Done before the YAML parser sees anything, so that its own counting of lines agrees with that of editors
 * and its errors are about YAML only.
 */
#include <stdio.h>

#include "spec/node.h"

/* One character at p, of at most `left` bytes. Returns its length, 0 when it is not UTF-8. */
static size_t decode(const unsigned char *p, size_t left, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    uint32_t c = len == 1 ? *p : *p & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fU);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return len;
}

/* What YAML calls printable, but without the line breaks that only YAML 1.1 knows. */
static bool allowed(uint32_t c)
{
    if (c < 0x20)
        return c == '\t' || c == '\n' || c == '\r';
    if (c == 0x7f || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029)
        return false;
    return c != 0xfffe && c != 0xffff && c != 0xfeff;
}

bool jb_check_text(struct jb_reading *rd, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + len;
    struct jb_pos pos = {1, 1};
    while (p < end) {
        uint32_t c = 0;
        size_t n = decode(p, (size_t)(end - p), &c);
        if (n == 0) {
            jb_complain(rd, pos, NULL, "byte 0x%02x is not valid UTF-8; save the file as UTF-8 text", *p);
            return false;
        }
        if (c == 0) {
            jb_complain(rd, pos, NULL, "a NUL byte is not text; this is not a YAML file");
            return false;
        }
        if (!allowed(c)) {
            jb_complain(rd, pos, NULL,
                        "character U+%04X is not allowed here; write it as an escape in double quotes", c);
            return false;
        }
        p += n;
        if (c == '\n' || (c == '\r' && !(p < end && *p == '\n')))
            pos = (struct jb_pos){pos.line + 1, 1};
        else
            pos.column++;
    }
    return true;
}
