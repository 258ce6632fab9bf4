/*
 * pack.c - a column of numbers in as few bytes as do.
 *
 * Owns: nothing. Runs in: whoever reads or fills an index. Privilege: none.
 *
 * 8 bytes base, 1 byte width (0, 1, 2, 4, 8), then n numbers of that width above the base, little endian. All bits set: JB_NONE.
 * Width 0: all are the base.
 */
#include <string.h>

#include "report/store.h"

#define HEAD 9

static unsigned width_for(uint64_t span)
{
    return span < UINT8_MAX ? 1 : span < UINT16_MAX ? 2 : span < UINT32_MAX ? 4 : 8;
}

size_t jb_pack(const int64_t *in, size_t n, unsigned char *buf)
{
    int64_t least = INT64_MAX;
    int64_t most = INT64_MIN;
    bool same = true;
    for (size_t i = 0; i < n; i++) {
        same = same && in[i] == in[0];
        if (in[i] == JB_NONE)
            continue;
        least = in[i] < least ? in[i] : least;
        most = in[i] > most ? in[i] : most;
    }
    int64_t base = same ? (n ? in[0] : 0) : least;
    unsigned width = same ? 0 : width_for((uint64_t)most - (uint64_t)least);
    memcpy(buf, &base, 8);
    buf[8] = (unsigned char)width;
    for (size_t i = 0; i < n && width; i++) {
        uint64_t v = in[i] == JB_NONE ? UINT64_MAX : (uint64_t)in[i] - (uint64_t)base;
        memcpy(buf + HEAD + i * width, &v, width);
    }
    return HEAD + n * width;
}

#define UNPACK(type, none)                                              \
    for (size_t i = 0; i < n; i++) {                                    \
        type v;                                                         \
        memcpy(&v, p + i * sizeof(v), sizeof(v));                       \
        out[i] = v == (none) ? JB_NONE : (int64_t)((uint64_t)base + v); \
    }

bool jb_unpack(const unsigned char *buf, size_t len, size_t n, int64_t *out)
{
    int64_t base;
    if (len < HEAD || len < HEAD + n * buf[8])
        return false;
    memcpy(&base, buf, 8);
    const unsigned char *p = buf + HEAD;
    switch (buf[8]) {
    case 0:
        for (size_t i = 0; i < n; i++)
            out[i] = base;
        return true;
    case 1:
        UNPACK(uint8_t, UINT8_MAX)
        return true;
    case 2:
        UNPACK(uint16_t, UINT16_MAX)
        return true;
    case 4:
        UNPACK(uint32_t, UINT32_MAX)
        return true;
    case 8:
        UNPACK(uint64_t, UINT64_MAX)
        return true;
    default:
        return false;
    }
}
