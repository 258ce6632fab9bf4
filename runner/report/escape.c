/*
 * escape.c - texts of strangers for terminals, spreadsheets, XML and the rest.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: none.
 */
#include "report/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <wchar.h>

/* One character of valid UTF-8. */
static size_t take(const char *text, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) { /* not valid after all: a byte alone, which nothing will let through */
            *ret = 0x80;
            return i;
        }
        c = c << 6 | (p[i] & 0x3F);
    }
    *ret = c;
    return n;
}

/* Moves the cursor, changes colours, turns lines around, hides: nothing that a name needs. */
static bool is_hostile(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xFFF9 && c <= 0xFFFB) || c == 0x061C || (c >= 0xE0000 && c <= 0xE007F);
}

static int put_json(struct jb_buf *into, uint32_t c, const char *raw, size_t n)
{
    if (c == '"' || c == '\\')
        return jb_buf_printf(into, "\\%c", (int)c);
    if (!is_hostile(c))
        return jb_buf_add(into, raw, n);
    if (c < 0x10000)
        return jb_buf_printf(into, "\\u%04x", c);
    c -= 0x10000;
    return jb_buf_printf(into, "\\u%04x\\u%04x", 0xD800 + (c >> 10), 0xDC00 + (c & 0x3FF));
}

static int put(struct jb_buf *into, enum jb_escape how, uint32_t c, const char *raw, size_t n)
{
    static const struct {
        enum jb_escape how;
        char c;
        const char *as;
    } words[] = {
        {JB_ESCAPE_CSV, '"', "\"\""},   {JB_ESCAPE_XML, '&', "&amp;"},  {JB_ESCAPE_XML, '<', "&lt;"},
        {JB_ESCAPE_XML, '>', "&gt;"},   {JB_ESCAPE_XML, '"', "&quot;"}, {JB_ESCAPE_XML, '\'', "&#39;"},
        {JB_ESCAPE_BAR, '|', "_"},      {JB_ESCAPE_LABEL, '"', "\\\""}, {JB_ESCAPE_LABEL, '\\', "\\\\"},
        {JB_ESCAPE_LABEL, '\n', "\\n"},
    };
    if (how == JB_ESCAPE_JSON)
        return put_json(into, c, raw, n);
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (words[i].how == how && (uint32_t)words[i].c == c)
            return jb_buf_puts(into, words[i].as);
    if (is_hostile(c) || c == 0xFFFE || c == 0xFFFF)
        return jb_buf_puts(into, "?");
    return jb_buf_add(into, raw, n);
}

int jb_escape(struct jb_buf *into, enum jb_escape how, const char *text)
{
    /* spreadsheets skip spaces in front of a formula */
    const char *first = text + strspn(text, " ");
    bool formula = how == JB_ESCAPE_CSV && *first && strchr("=+-@\t\r|%", *first);
    bool quotes = how == JB_ESCAPE_JSON ||
                  (how == JB_ESCAPE_CSV && (formula || *text == ' ' || strpbrk(text, "\",;\r\n")));
    int r = quotes ? jb_buf_puts(into, "\"") : 0;
    if (r == 0 && formula)
        r = jb_buf_puts(into, "'");
    for (const char *p = text; r == 0 && *p;) {
        uint32_t c;
        size_t n = take(p, &c);
        r = put(into, how, c, p, n);
        p += n;
    }
    if (r == 0 && quotes)
        r = jb_buf_puts(into, "\"");
    return r == 0 && !into->data ? jb_buf_puts(into, "") : r;
}

size_t jb_display_width(const char *text)
{
    size_t width = 0;
    for (const char *p = text; *p;) {
        uint32_t c;
        p += take(p, &c);
        int n = wcwidth((wchar_t)c);
        width += n < 0 ? 1 : (size_t)n;
    }
    return width;
}
