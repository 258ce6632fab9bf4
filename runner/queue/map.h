/*
 * map.h - from a number to a thing: open addressing, grows by itself.
 *
 * Owns: its table, not the things. Runs in: jobboxd. Privilege: none.
 */
#ifndef JB_QUEUE_MAP_H
#define JB_QUEUE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct jb_map_slot {
    uint64_t key;
    void *value; /* NULL: empty */
};

struct jb_map {
    struct jb_map_slot *slots;
    size_t cap, len; /* cap is a power of two, or 0 */
};

void *jb_map_get(const struct jb_map *map, uint64_t key);
int jb_map_put(struct jb_map *map, uint64_t key, void *value); /* value not NULL; -ENOMEM */
void jb_map_remove(struct jb_map *map, uint64_t key);
void jb_map_free(struct jb_map *map);

/* for (size_t i = 0; (v = jb_map_next(map, &i));) */
void *jb_map_next(const struct jb_map *map, size_t *at);

#endif
