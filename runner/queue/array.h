/*
 * array.h - the indices of an array: "1-100%10", "0,3,5-9:2".
 *
 * Owns: nothing. Runs in: jobboxd, and the client. Privilege: none.
 */
#ifndef JB_QUEUE_ARRAY_H
#define JB_QUEUE_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

struct jb_array_walk {
    const char *p;
    uint64_t next, last, step;
    bool within;
};

/* How many there are; *ret_limit: behind the %, JB_UNSET: none. `text` is as the parser of specs lets it pass. */
uint64_t jb_array_count(const char *text, uint64_t *ret_limit);

/* One after the other, rising. */
void jb_array_begin(const char *text, struct jb_array_walk *walk);
bool jb_array_next(struct jb_array_walk *walk, uint64_t *ret);

#endif
