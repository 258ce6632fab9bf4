/*
 * arena.c - a chain of chunks.
 *
 * Owns: the chunks of each struct jb_arena. Runs in: every process. Privilege: none.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE 16384

struct jb_arena_chunk {
    struct jb_arena_chunk *next;
    size_t used;
    size_t cap;
    alignas(max_align_t) char data[];
};

void *jb_arena_alloc(struct jb_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2) /* no request for a plan; rounding it up would wrap */
        return NULL;
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct jb_arena_chunk *chunk = arena->head;
    if (!chunk || chunk->cap - chunk->used < size) {
        size_t cap = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        chunk = calloc(1, sizeof(*chunk) + cap);
        if (!chunk)
            return NULL;
        chunk->cap = cap;
        chunk->next = arena->head;
        arena->head = chunk;
    }
    void *at = chunk->data + chunk->used;
    chunk->used += size;
    return at;
}

char *jb_arena_strdup(struct jb_arena *arena, const char *text)
{
    if (!text)
        return NULL;
    size_t len = strlen(text) + 1;
    char *copy = jb_arena_alloc(arena, len);
    return copy ? memcpy(copy, text, len) : NULL;
}

char *jb_arena_printf(struct jb_arena *arena, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = n < 0 ? NULL : jb_arena_alloc(arena, (size_t)n + 1);
    if (text)
        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void jb_arena_free(struct jb_arena *arena)
{
    for (struct jb_arena_chunk *chunk = arena->head; chunk;) {
        struct jb_arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    arena->head = NULL;
}
