/*
 * units.c - parsing and printing of sizes, durations and counts.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SIZE_LIMIT     (UINT64_C(1) << 62)
#define DURATION_LIMIT (UINT64_C(100) * 366 * 86400 * JB_NS_PER_S)

/* Reads digits at *p; moves *p behind them. -EINVAL when there are none. */
static int digits(const char **p, uint64_t max, uint64_t *ret)
{
    if (!isdigit((unsigned char)**p))
        return -EINVAL;
    uint64_t value = 0;
    for (; isdigit((unsigned char)**p); (*p)++) {
        uint64_t digit = (uint64_t)(**p - '0');
        if (digit > max || value > (max - digit) / 10)
            return -ERANGE;
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

int jb_parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    if (text[0] == '0' && text[1])
        return -EINVAL;
    const char *p = text;
    uint64_t value;
    int r = digits(&p, max, &value);
    if (r < 0)
        return r;
    if (*p)
        return -EINVAL;
    *ret = value;
    return 0;
}

/* Whole part in *ret, and the decimals behind a dot as millionths in *ret_frac. */
static int decimal(const char **p, uint64_t max, uint64_t *ret, uint64_t *ret_frac)
{
    uint64_t whole;
    uint64_t frac = 0;
    int r = digits(p, max, &whole);
    if (r < 0)
        return r;
    if (**p == '.') {
        (*p)++;
        uint64_t scale = 100000;
        if (!isdigit((unsigned char)**p))
            return -EINVAL;
        for (; isdigit((unsigned char)**p); (*p)++, scale /= 10) {
            if (scale == 0)
                return -EINVAL;
            frac += (uint64_t)(**p - '0') * scale;
        }
    }
    *ret = whole;
    *ret_frac = frac;
    return 0;
}

int jb_parse_micro(const char *text, uint64_t *ret_millionths)
{
    uint64_t whole;
    uint64_t frac;
    int r = decimal(&text, UINT64_C(1000000000000), &whole, &frac);
    if (r < 0)
        return r;
    if (*text)
        return -EINVAL;
    *ret_millionths = whole * 1000000 + frac;
    return 0;
}

int jb_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {
        {"", 0},     {"B", 0},  {"K", 10},   {"KiB", 10}, {"M", 20},
        {"MiB", 20}, {"G", 30}, {"GiB", 30}, {"T", 40},   {"TiB", 40},
    };
    const char *p = text;
    uint64_t whole;
    uint64_t frac;
    int r = decimal(&p, SIZE_LIMIT, &whole, &frac);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(p, units[i].name) != 0)
            continue;
        if (frac != 0 && units[i].shift == 0)
            return -EINVAL;
        if (whole > (SIZE_LIMIT >> units[i].shift))
            return -ERANGE;
        uint64_t unit = UINT64_C(1) << units[i].shift;
        /* frac < 10^6 and unit <= 2^40: the product stays below 2^60 */
        uint64_t bytes = whole * unit + frac * unit / 1000000;
        if (bytes > SIZE_LIMIT)
            return -ERANGE;
        *ret_bytes = bytes;
        return 0;
    }
    return -EINVAL;
}

/* [D-]HH:MM:SS, D-HH[:MM] and MM:SS, as Slurm reads them. */
static int clock_form(const char *text, uint64_t *ret_s)
{
    uint64_t part[3] = {0};
    uint64_t days = 0;
    size_t n = 0;
    const char *p = text;
    int r;
    const char *dash = strchr(text, '-');
    if (dash) {
        r = digits(&p, 1000000, &days);
        if (r < 0 || p != dash)
            return r < 0 ? r : -EINVAL;
        p++;
    }
    for (;;) {
        if (n == 3)
            return -EINVAL;
        r = digits(&p, 100000000, &part[n]);
        if (r < 0)
            return r;
        n++;
        if (!*p)
            break;
        if (*p++ != ':')
            return -EINVAL;
    }
    if (dash) {
        if (part[0] > 23 || part[1] > 59 || part[2] > 59)
            return -EINVAL;
        *ret_s = days * 86400 + part[0] * 3600 + part[1] * 60 + part[2];
    } else if (n == 3) {
        if (part[1] > 59 || part[2] > 59)
            return -EINVAL;
        *ret_s = part[0] * 3600 + part[1] * 60 + part[2];
    } else if (n == 2) {
        if (part[1] > 59)
            return -EINVAL;
        *ret_s = part[0] * 60 + part[1];
    } else {
        return -EINVAL;
    }
    return 0;
}

/* 1h30m, 90s, 250ms: each unit at most once, largest first. */
static int unit_form(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"d", UINT64_C(86400) * JB_NS_PER_S},
        {"h", 3600 * JB_NS_PER_S},
        {"m", 60 * JB_NS_PER_S},
        {"s", JB_NS_PER_S},
        {"ms", JB_NS_PER_MS},
    };
    uint64_t total = 0;
    size_t next = 0;
    const char *p = text;
    while (*p) {
        uint64_t whole;
        uint64_t frac;
        int r = decimal(&p, UINT64_C(100000000000), &whole, &frac);
        if (r < 0)
            return r;
        size_t len = strspn(p, "dhms");
        size_t i = next;
        while (i < sizeof(units) / sizeof(units[0]) &&
               !(strlen(units[i].name) == len && strncmp(p, units[i].name, len) == 0))
            i++;
        if (i == sizeof(units) / sizeof(units[0]) || len == 0)
            return -EINVAL;
        if (whole > DURATION_LIMIT / units[i].ns)
            return -ERANGE;
        total += whole * units[i].ns + frac * (units[i].ns / JB_NS_PER_MS);
        if (total > DURATION_LIMIT)
            return -ERANGE;
        next = i + 1;
        p += len;
    }
    *ret_ns = total;
    return 0;
}

int jb_parse_duration(const char *text, uint64_t *ret_ns)
{
    uint64_t value;
    if (!*text)
        return -EINVAL;
    if (strpbrk(text, ":-")) {
        int r = clock_form(text, &value);
        if (r < 0)
            return r;
    } else if (text[strspn(text, "0123456789")] == '\0') {
        int r = digits(&(const char *){text}, UINT64_MAX / 2, &value);
        if (r < 0)
            return r;
    } else {
        return unit_form(text, ret_ns);
    }
    if (value > DURATION_LIMIT / JB_NS_PER_S)
        return -ERANGE;
    *ret_ns = value * JB_NS_PER_S;
    return 0;
}

char *jb_format_size(uint64_t bytes, char *buf, size_t len)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t i = 0;
    while (value >= 1024 && i + 1 < sizeof(names) / sizeof(names[0])) {
        value /= 1024;
        i++;
    }
    if (i == 0)
        (void)snprintf(buf, len, "%" PRIu64 " B", bytes);
    else
        (void)snprintf(buf, len,
                       value < 10    ? "%.2f %s"
                       : value < 100 ? "%.1f %s"
                                     : "%.0f %s",
                       value, names[i]);
    return buf;
}

char *jb_format_duration(uint64_t ns, char *buf, size_t len)
{
    uint64_t s = ns / JB_NS_PER_S;
    if (ns < JB_NS_PER_S)
        (void)snprintf(buf, len, "%" PRIu64 "ms", ns / JB_NS_PER_MS);
    else if (s < 60)
        (void)snprintf(buf, len, "%.2fs", (double)ns / 1e9);
    else if (s < 3600)
        (void)snprintf(buf, len, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(buf, len, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        (void)snprintf(buf, len, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
    return buf;
}
