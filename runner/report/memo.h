/*
 * memo.h - a number remembered for a number. Within report/ only.
 *
 * Owns: its table. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#ifndef JB_REPORT_MEMO_H
#define JB_REPORT_MEMO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct jb_memo {
    int64_t *keys; /* with `used` */
    int64_t *values;
    unsigned char *used;
    size_t cap, n;
};

static inline void jb_memo_free(struct jb_memo *memo)
{
    free(memo->keys);
    free(memo->values);
    free(memo->used);
    *memo = (struct jb_memo){0};
}

static inline size_t jb_memo_at(const struct jb_memo *memo, int64_t key)
{
    uint64_t h = (uint64_t)key * UINT64_C(0x9E3779B97F4A7C15);
    size_t i = (h ^ h >> 32) & (memo->cap - 1);
    while (memo->used[i] && memo->keys[i] != key)
        i = (i + 1) & (memo->cap - 1);
    return i;
}

/* Where the value of `key` is; *ret_new: it was not there, and is 0. NULL: out of memory. Good until the next call. */
static inline int64_t *jb_memo_get(struct jb_memo *memo, int64_t key, bool *ret_new)
{
    if (2 * (memo->n + 1) > memo->cap) {
        struct jb_memo grown = {.cap = memo->cap ? 2 * memo->cap : 256, .n = memo->n};
        grown.keys = malloc(grown.cap * sizeof(*grown.keys));
        grown.values = malloc(grown.cap * sizeof(*grown.values));
        grown.used = calloc(grown.cap, 1);
        if (!grown.keys || !grown.values || !grown.used) {
            jb_memo_free(&grown);
            return NULL;
        }
        for (size_t i = 0; i < memo->cap; i++)
            if (memo->used[i]) {
                size_t at = jb_memo_at(&grown, memo->keys[i]);
                grown.used[at] = 1;
                grown.keys[at] = memo->keys[i];
                grown.values[at] = memo->values[i];
            }
        jb_memo_free(memo);
        *memo = grown;
    }
    size_t at = jb_memo_at(memo, key);
    *ret_new = !memo->used[at];
    if (*ret_new) {
        memo->used[at] = 1;
        memo->keys[at] = key;
        memo->values[at] = 0;
        memo->n++;
    }
    return &memo->values[at];
}

#endif
