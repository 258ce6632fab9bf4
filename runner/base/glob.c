/*
 * glob.c - path patterns as sets of places in a row of components.
 *
 * Owns: nothing beyond struct jb_glob. Runs in: every process. Privilege: none; pure.
 */
#include "base/glob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const char wild[] = "*?[\\";

int jb_glob_make(const char *pattern, struct jb_glob *ret)
{
    struct jb_glob glob = {.text = strdup(pattern)};
    int r = glob.text ? 0 : -ENOMEM;
    char *rest = NULL;
    for (char *part = r == 0 ? strtok_r(glob.text, "/", &rest) : NULL; r == 0 && part;
         part = strtok_r(NULL, "/", &rest)) {
        if (jb_streq(part, "."))
            continue;
        if (glob.n > 0 && jb_streq(part, "**") && jb_streq(glob.parts[glob.n - 1], "**"))
            continue; /* two mean no more than one */
        if (glob.n == JB_GLOB_PARTS_MAX)
            r = -E2BIG;
        else
            glob.parts[glob.n++] = part;
    }
    if (r == 0 && glob.n == 0)
        r = -EINVAL;
    if (r < 0) {
        free(glob.text);
        return r;
    }
    *ret = glob;
    return 0;
}

void jb_glob_free(struct jb_glob *glob)
{
    free(glob->text);
    *glob = (struct jb_glob){0};
}

/* "**" may stand for nothing: whoever is in front of it is behind it too. */
static uint64_t settle(const struct jb_glob *glob, uint64_t state)
{
    for (unsigned i = 0; i < glob->n; i++)
        if ((state >> i & 1) && jb_streq(glob->parts[i], "**"))
            state |= UINT64_C(2) << i;
    return state;
}

uint64_t jb_glob_start(const struct jb_glob *glob)
{
    return settle(glob, 1);
}

bool jb_glob_matches(const struct jb_glob *glob, uint64_t state)
{
    return state >> glob->n & 1;
}

uint64_t jb_glob_step(const struct jb_glob *glob, uint64_t state, const char *name)
{
    uint64_t next = 0;
    if (jb_glob_matches(glob, state))
        return UINT64_C(1) << glob->n;
    for (unsigned i = 0; i < glob->n; i++) {
        if (!(state >> i & 1))
            continue;
        if (jb_streq(glob->parts[i], "**"))
            next |= UINT64_C(1) << i;
        else if (jb_glob_name(glob->parts[i], name))
            next |= UINT64_C(2) << i;
    }
    return settle(glob, next);
}

const char *jb_glob_only(const struct jb_glob *glob, uint64_t state)
{
    unsigned i = 0;
    while (i < glob->n && !(state >> i & 1))
        i++;
    if (i == glob->n || state != UINT64_C(1) << i)
        return NULL;
    return strpbrk(glob->parts[i], wild) ? NULL : glob->parts[i];
}

/* One member of a set at *p, past an escape; *p is moved behind it. */
static unsigned char member(const char **p)
{
    if (**p == '\\' && (*p)[1])
        ++*p;
    return (unsigned char)*(*p)++;
}

/*
 * "[...]" at `p`: whether it holds c. *ret_end: behind it. False and *ret_end NULL: there is no closing bracket, and the
 * bracket means itself.
 */
static bool in_set(const char *p, unsigned char c, const char **ret_end)
{
    bool found = false;
    bool first = true;
    p++;
    bool not = *p == '!' || *p == '^';
    p += not ;
    *ret_end = NULL;
    for (; *p && (first || *p != ']'); first = false) {
        unsigned char from = member(&p);
        unsigned char to = from;
        if (p[0] == '-' && p[1] && p[1] != ']') {
            p++;
            to = member(&p);
        }
        found = found || (c >= from && c <= to);
    }
    if (*p != ']')
        return false;
    *ret_end = p + 1;
    return found != not ;
}

/* One character of the name against what stands at *p, which is moved behind it. */
static bool one(const char **p, unsigned char c)
{
    const char *end = NULL;
    switch (**p) {
    case '?':
        ++*p;
        return true;
    case '[': {
        bool held = in_set(*p, c, &end);
        if (end) {
            *p = end;
            return held;
        }
        break;
    }
    case '\\':
        if ((*p)[1])
            ++*p;
        break;
    default:
        break;
    }
    return (unsigned char)*(*p)++ == c;
}

/* A star that fails takes one more character; the stars before it need not: what they left over, it can take. */
bool jb_glob_name(const char *pattern, const char *name)
{
    const char *star = NULL;  /* behind the last star */
    const char *taken = NULL; /* what it takes ends here */
    if (name[0] == '.' && strchr("*?[", pattern[0]))
        return false;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            taken = name;
            continue;
        }
        const char *before = pattern;
        if (*pattern && one(&pattern, (unsigned char)*name)) {
            name++;
            continue;
        }
        pattern = before;
        if (!star)
            return false;
        pattern = star;
        name = ++taken;
    }
    pattern += strspn(pattern, "*");
    return *pattern == '\0';
}
