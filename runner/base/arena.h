/*
 * arena.h - memory that is released all at once; what a plan points to lives in one.
 *
 * Owns: its chunks. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_ARENA_H
#define JB_BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

struct jb_arena_chunk;

/* Zero-initialise; release with jb_arena_free. */
struct jb_arena {
    struct jb_arena_chunk *head;
};

/* Zeroed memory, aligned for any type; NULL when out of memory. */
void *jb_arena_alloc(struct jb_arena *arena, size_t size);
char *jb_arena_strdup(struct jb_arena *arena, const char *text); /* NULL stays NULL */
char *jb_arena_printf(struct jb_arena *arena, const char *fmt, ...) JB_PRINTF(2, 3);
void jb_arena_free(struct jb_arena *arena);

#endif
