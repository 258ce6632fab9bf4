/*
 * cpus.c - sets of PUs and NUMA nodes.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/cpus.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool jb_cpus_has(const struct jb_cpus *set, unsigned cpu)
{
    return cpu < JB_CPUS_MAX && (set->w[cpu / 64] >> (cpu % 64) & 1);
}

void jb_cpus_add(struct jb_cpus *set, unsigned cpu)
{
    if (cpu < JB_CPUS_MAX)
        set->w[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

void jb_cpus_del(struct jb_cpus *set, unsigned cpu)
{
    if (cpu < JB_CPUS_MAX)
        set->w[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

unsigned jb_cpus_count(const struct jb_cpus *set)
{
    unsigned n = 0;
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        n += (unsigned)__builtin_popcountll(set->w[i]);
    return n;
}

bool jb_cpus_empty(const struct jb_cpus *set)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        if (set->w[i])
            return false;
    return true;
}

bool jb_cpus_equal(const struct jb_cpus *a, const struct jb_cpus *b)
{
    return memcmp(a->w, b->w, sizeof(a->w)) == 0;
}

bool jb_cpus_subset(const struct jb_cpus *inner, const struct jb_cpus *outer)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        if (inner->w[i] & ~outer->w[i])
            return false;
    return true;
}

bool jb_cpus_intersects(const struct jb_cpus *a, const struct jb_cpus *b)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        if (a->w[i] & b->w[i])
            return true;
    return false;
}

void jb_cpus_or(struct jb_cpus *into, const struct jb_cpus *other)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        into->w[i] |= other->w[i];
}

void jb_cpus_and(struct jb_cpus *into, const struct jb_cpus *other)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        into->w[i] &= other->w[i];
}

void jb_cpus_andnot(struct jb_cpus *into, const struct jb_cpus *other)
{
    for (size_t i = 0; i < JB_CPUS_WORDS; i++)
        into->w[i] &= ~other->w[i];
}

int jb_cpus_next(const struct jb_cpus *set, unsigned from)
{
    if (from >= JB_CPUS_MAX)
        return -1;
    size_t i = from / 64;
    uint64_t word = set->w[i] & (~UINT64_C(0) << (from % 64));
    while (!word) {
        if (++i == JB_CPUS_WORDS)
            return -1;
        word = set->w[i];
    }
    return (int)(i * 64) + __builtin_ctzll(word);
}

static int index_at(const char **p, unsigned *ret)
{
    if (!isdigit((unsigned char)**p))
        return -EINVAL;
    unsigned value = 0;
    for (; isdigit((unsigned char)**p); (*p)++) {
        value = value * 10 + (unsigned)(**p - '0');
        if (value >= JB_CPUS_MAX)
            return -ERANGE;
    }
    *ret = value;
    return 0;
}

int jb_cpus_parse(const char *list, struct jb_cpus *ret)
{
    struct jb_cpus set = {0};
    const char *p = list;
    while (*p) {
        unsigned first;
        int r = index_at(&p, &first);
        if (r < 0)
            return r;
        unsigned last = first;
        if (*p == '-') {
            p++;
            r = index_at(&p, &last);
            if (r < 0)
                return r;
            if (last < first)
                return -EINVAL;
        }
        for (unsigned i = first; i <= last; i++)
            jb_cpus_add(&set, i);
        if (*p == ',' && p[1])
            p++;
        else if (*p)
            return -EINVAL;
    }
    *ret = set;
    return 0;
}

int jb_cpus_format(const struct jb_cpus *set, char *buf, size_t len)
{
    size_t used = 0;
    if (len == 0)
        return -ENOSPC;
    buf[0] = '\0';
    for (int first = jb_cpus_next(set, 0); first >= 0;) {
        int last = first;
        while (jb_cpus_has(set, (unsigned)last + 1))
            last++;
        const char *comma = used ? "," : "";
        int n = first == last ? snprintf(buf + used, len - used, "%s%d", comma, first)
                              : snprintf(buf + used, len - used, "%s%d-%d", comma, first, last);
        if (n < 0 || (size_t)n >= len - used)
            return -ENOSPC;
        used += (size_t)n;
        first = jb_cpus_next(set, (unsigned)last + 1);
    }
    return (int)used;
}

char *jb_cpus_list(const struct jb_cpus *set)
{
    char *buf = malloc(JB_CPUS_TEXT);
    if (!buf)
        return NULL;
    int n = jb_cpus_format(set, buf, JB_CPUS_TEXT);
    if (n < 0) {
        free(buf);
        return NULL;
    }
    char *fit = realloc(buf, (size_t)n + 1);
    return fit ? fit : buf;
}
