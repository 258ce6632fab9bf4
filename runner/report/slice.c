/*
 * slice.c - what a string of JSON says, whatever is in it.
 *
 * Owns: nothing. Runs in: whoever fills an index. Privilege: none.
 */
#include <string.h>

#include "report/line.h"

#define REPLACEMENT 0xFFFD

static size_t put(uint32_t c, char *buf)
{
    if (c == 0 || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF)
        c = REPLACEMENT;
    if (c < 0x80) {
        buf[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        buf[0] = (char)(0xC0 | c >> 6);
        buf[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        buf[0] = (char)(0xE0 | c >> 12);
        buf[1] = (char)(0x80 | (c >> 6 & 0x3F));
        buf[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    buf[0] = (char)(0xF0 | c >> 18);
    buf[1] = (char)(0x80 | (c >> 12 & 0x3F));
    buf[2] = (char)(0x80 | (c >> 6 & 0x3F));
    buf[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* One character of UTF-8 from `len` bytes; a byte that begins none is taken alone. */
static size_t take(const unsigned char *p, size_t len, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xF0 && p[0] < 0xF5 ? 4
               : p[0] >= 0xE0 && p[0] < 0xF0 ? 3
               : p[0] >= 0xC2 && p[0] < 0xE0 ? 2
                                             : 0;
    *ret = REPLACEMENT;
    if (n == 1)
        *ret = p[0];
    if (n < 2 || n > len)
        return 1;
    uint32_t c = p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 1;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < least[n] || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF)
        return 1;
    *ret = c;
    return n;
}

static bool hex4(const char *p, size_t len, uint32_t *ret)
{
    uint32_t c = 0;
    if (len < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        int digit = p[i] >= '0' && p[i] <= '9'   ? p[i] - '0'
                    : p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
                    : p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return false;
        c = c << 4 | (uint32_t)digit;
    }
    *ret = c;
    return true;
}

/* Behind "\u". Returns how many characters belong to it. */
static size_t unicode(const char *p, size_t len, uint32_t *ret)
{
    uint32_t low;
    if (!hex4(p, len, ret)) {
        *ret = REPLACEMENT;
        return 0;
    }
    if (*ret >= 0xD800 && *ret < 0xDC00 && len >= 10 && p[4] == '\\' && p[5] == 'u' &&
        hex4(p + 6, len - 6, &low) && low >= 0xDC00 && low < 0xE000) {
        *ret = 0x10000 + ((*ret - 0xD800) << 10) + (low - 0xDC00);
        return 10;
    }
    return 4;
}

size_t jb_slice_decode(const struct jb_slice *slice, char *buf)
{
    static const char plain[] = "\"\\/bfnrt";
    static const char means[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;
    for (size_t i = 0; i < slice->len;) {
        uint32_t c;
        const char *known;
        if (!slice->escaped || slice->at[i] != '\\' || i + 1 == slice->len) {
            i += take((const unsigned char *)slice->at + i, slice->len - i, &c);
        } else if (slice->at[i + 1] == 'u') {
            i += 2;
            i += unicode(slice->at + i, slice->len - i, &c);
        } else if ((known = memchr(plain, slice->at[i + 1], sizeof(plain) - 1))) {
            c = (unsigned char)means[known - plain];
            i += 2;
        } else {
            c = REPLACEMENT;
            i += 2;
        }
        n += put(c, buf + n);
    }
    buf[n] = '\0';
    return n;
}
