/*
 * passed.c - see passed.h.
 *
 * Owns: nothing beyond its calls. Runs in: jobboxd. Privilege: none.
 *
 * Either list may have as many members as a request has room for, so neither is looked through for each of the other:
 * names are sorted, and so are beginnings, of which none begins with another one.
 */
#include "queue/passed.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Not ended by a zero. */
struct piece {
    const char *text;
    size_t len;
};

struct pieces {
    struct piece *items;
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    const struct piece *x = a;
    const struct piece *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = len ? memcmp(x->text, y->text, len) : 0;
    if (order != 0)
        return order;
    return x->len < y->len ? -1 : x->len > y->len;
}

static bool begins(const struct piece *whole, const struct piece *with)
{
    return whole->len >= with->len && memcmp(whole->text, with->text, with->len) == 0;
}

/* The names, or the beginnings without what another one covers. */
static int sorted(const struct jb_strv *patterns, bool beginnings, struct pieces *ret)
{
    size_t n = 0;
    ret->items = calloc(patterns->len + 1, sizeof(*ret->items));
    if (!ret->items)
        return -1;
    for (size_t i = 0; i < patterns->len; i++) {
        const char *text = patterns->items[i];
        size_t len = strlen(text);
        bool is_beginning = len > 0 && text[len - 1] == '*';
        if (is_beginning == beginnings)
            ret->items[n++] = (struct piece){text, len - is_beginning};
    }
    qsort(ret->items, n, sizeof(*ret->items), by_text);
    for (size_t i = 0; i < n; i++)
        if (!beginnings || ret->n == 0 || !begins(&ret->items[i], &ret->items[ret->n - 1]))
            ret->items[ret->n++] = ret->items[i];
    return 0;
}

/* The last one that is not behind `name`; NULL: all are. */
static const struct piece *last_until(const struct pieces *pieces, const struct piece *name)
{
    size_t low = 0;
    size_t high = pieces->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (by_text(&pieces->items[mid], name) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 ? &pieces->items[low - 1] : NULL;
}

char *jb_passed_env(const struct jb_strv *patterns, const json_t *env)
{
    struct pieces names = {0};
    struct pieces beginnings = {0};
    json_t *kept = json_array();
    size_t i;
    json_t *item;
    bool can = sorted(patterns, false, &names) == 0 && sorted(patterns, true, &beginnings) == 0;
    json_array_foreach(env, i, item)
    {
        const char *text = json_string_value(item);
        const struct piece name = {text, text ? strcspn(text, "=") : 0};
        if (!can || !text || !text[name.len])
            continue;
        const struct piece *one = last_until(&names, &name);
        const struct piece *begin = last_until(&beginnings, &name);
        if ((one && by_text(one, &name) == 0) || (begin && begins(&name, begin)))
            (void)json_array_append(kept, item);
    }
    char *text = json_array_size(kept) ? json_dumps(kept, JSON_COMPACT) : NULL;
    json_decref(kept);
    free(names.items);
    free(beginnings.items);
    return text;
}
