/*
 * array.c - walking over the indices of an array.
 *
 * Owns: nothing. Runs in: see array.h. Privilege: none.
 */
#include "queue/array.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static uint64_t number(const char **p)
{
    char *end;
    uint64_t n = strtoull(*p, &end, 10);
    *p = end;
    return n;
}

void jb_array_begin(const char *text, struct jb_array_walk *walk)
{
    *walk = (struct jb_array_walk){.p = text};
}

bool jb_array_next(struct jb_array_walk *w, uint64_t *ret)
{
    if (!w->within) {
        if (*w->p < '0' || *w->p > '9')
            return false;
        w->next = w->last = number(&w->p);
        w->step = 1;
        if (*w->p == '-') {
            w->p++;
            w->last = number(&w->p);
        }
        if (*w->p == ':') {
            w->p++;
            w->step = number(&w->p);
        }
        if (*w->p == ',')
            w->p++;
        w->within = true;
    }
    *ret = w->next;
    w->within = w->step > 0 && w->last - w->next >= w->step && w->next < w->last;
    w->next += w->step;
    return true;
}

uint64_t jb_array_count(const char *text, uint64_t *ret_limit)
{
    struct jb_array_walk walk;
    uint64_t index;
    uint64_t n = 0;
    const char *percent = strchr(text, '%');
    *ret_limit = JB_UNSET;
    if (percent) {
        percent++;
        *ret_limit = number(&percent);
    }
    jb_array_begin(text, &walk);
    while (jb_array_next(&walk, &index))
        n++;
    return n;
}
