/*
 * map.c - a table of numbers.
 *
 * Owns: see map.h. Runs in: jobboxd. Privilege: none.
 */
#include "queue/map.h"

#include <errno.h>
#include <stdlib.h>

static size_t home(const struct jb_map *map, uint64_t key)
{
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (map->cap - 1);
}

void *jb_map_get(const struct jb_map *map, uint64_t key)
{
    if (map->cap == 0)
        return NULL;
    for (size_t i = home(map, key); map->slots[i].value; i = (i + 1) & (map->cap - 1))
        if (map->slots[i].key == key)
            return map->slots[i].value;
    return NULL;
}

static void insert(struct jb_map *map, uint64_t key, void *value)
{
    size_t i = home(map, key);
    while (map->slots[i].value && map->slots[i].key != key)
        i = (i + 1) & (map->cap - 1);
    map->len += !map->slots[i].value;
    map->slots[i] = (struct jb_map_slot){key, value};
}

int jb_map_put(struct jb_map *map, uint64_t key, void *value)
{
    if ((map->len + 1) * 2 > map->cap) {
        struct jb_map grown = {.cap = map->cap ? map->cap * 2 : 64};
        grown.slots = calloc(grown.cap, sizeof(*grown.slots));
        if (!grown.slots)
            return -ENOMEM;
        for (size_t i = 0; i < map->cap; i++)
            if (map->slots[i].value)
                insert(&grown, map->slots[i].key, map->slots[i].value);
        free(map->slots);
        *map = grown;
    }
    insert(map, key, value);
    return 0;
}

/* Those behind the hole that belong before it move up. */
void jb_map_remove(struct jb_map *map, uint64_t key)
{
    if (map->cap == 0)
        return;
    size_t mask = map->cap - 1;
    size_t i = home(map, key);
    while (map->slots[i].value && map->slots[i].key != key)
        i = (i + 1) & mask;
    if (!map->slots[i].value)
        return;
    map->len--;
    size_t hole = i;
    for (size_t j = (i + 1) & mask; map->slots[j].value; j = (j + 1) & mask) {
        size_t from = home(map, map->slots[j].key);
        if (((j - from) & mask) < ((j - hole) & mask))
            continue;
        map->slots[hole] = map->slots[j];
        hole = j;
    }
    map->slots[hole].value = NULL;
}

void jb_map_free(struct jb_map *map)
{
    free(map->slots);
    *map = (struct jb_map){0};
}

void *jb_map_next(const struct jb_map *map, size_t *at)
{
    while (*at < map->cap)
        if (map->slots[(*at)++].value)
            return map->slots[*at - 1].value;
    return NULL;
}
