/*
 * id.h - box and job ids: 26-character ULIDs, sortable by time of creation.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_ID_H
#define JB_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

#define JB_ID_LEN 26

struct jb_id {
    char text[JB_ID_LEN + 1];
};

/* A new id from the wall clock and 80 random bits of the kernel. */
int jb_id_new(uint64_t wall_us, struct jb_id *ret);

/* When the id was made, by the wall clock of that time; 0 when it is none. */
uint64_t jb_id_wall_us(const char *text);

/* True for exactly 26 characters of Crockford's alphabet (upper case), first one 0-7: safe as a file name. */
bool jb_id_valid(const char *text);

#endif
