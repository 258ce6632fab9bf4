/*
 * seat.h - where this process sits in the cgroup tree: what scope.c decides by.
 *
 * Owns: a seat holds two paths. Runs in: the supervisor and jobboxd. Privilege: the starter's.
 */
#ifndef JB_CGROUP_SEAT_H
#define JB_CGROUP_SEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "cgroup/scope.h"

/* Where this process sits in the tree that systemd tracks it by. */
struct jb_seat {
    const char *mount, *own; /* borrowed from the layout */
    char *unit;              /* the innermost unit on the way to own, below mount; NULL: none */
    bool managed;            /* systemd's, and not delegated */
    bool real_root;          /* of the whole v2 tree */
    bool alone;              /* no process but this one */
    bool writable;           /* children can be made and controllers passed on */
    char *above;             /* own's parent, when boxes may be made there; NULL: not */
};

void jb_seat_free(struct jb_seat *s);

/* 0 or -ENOMEM; `ret` is freed by jb_seat_free and borrows from the layout. */
int jb_seat_look(const struct jb_scope_wish *wish, const struct jb_cg_layout *layout, struct jb_seat *ret);

/* --- paths; what is returned is the caller's, NULL: out of memory, or there is none --- */

char *jb_copy_of(const char *text); /* NULL stays NULL */
char *jb_group_path(const char *mount, const char *below);
char *jb_group_above(const char *path);
char *jb_innermost_slice(const char *path);
char *jb_innermost_unit(const char *path);

/*
 * The first file of the group that limits anything, the number of processes apart; NULL: none does. Of version 2 all
 * controllers are looked at, of version 1 that one.
 */
const char *jb_group_limit(const char *path, int version, enum jb_controller c);
/* How many processes and threads there may be in the group; JB_UNSET: any number. */
uint64_t jb_group_tasks(const char *path);

#endif
