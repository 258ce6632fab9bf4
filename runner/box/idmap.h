/*
 * idmap.h - ranges of ids into a user namespace, which only a program of the administrator's may map.
 *
 * Owns: nothing. Runs in: the supervisor; jb_idmap_inside in a child of its own. Privilege: none; newuidmap and newgidmap
 * have it.
 */
#ifndef JB_BOX_IDMAP_H
#define JB_BOX_IDMAP_H

#include <sys/types.h>

#include "plan/plan.h"

/* Whom root in a user namespace is outside, and who those above it are. */
struct jb_idmap {
    uid_t uid;
    gid_t gid;
    struct jb_id_range uids, gids; /* count 0: root is the only one */
    const char *uid_program, *gid_program;
};

/* Maps root in the namespace of `pid` to the submitter, and the ids from 1 on to his ranges. Nothing where there are none. */
int jb_idmap_write(const struct jb_idmap *map, pid_t pid, struct jb_error *err);

/* That of a plan's box. */
struct jb_idmap jb_idmap_of(const struct jb_plan *plan);

/*
 * Calls fn(ctx) in a child that dies with the caller, with more descriptors than the caller may have, and passes on what it
 * returns and says. `map` not NULL: as root in a user namespace of its own, who may do with files of those ids what root
 * may. What fn finds goes into shared memory.
 */
int jb_idmap_inside(const struct jb_idmap *map, int (*fn)(void *ctx, struct jb_error *err), void *ctx,
                    struct jb_error *err);

/*
 * Makes this process root of a user namespace with those ranges, for good: from here on the submitter's files are root's,
 * and those of his ranges the other ids'. Single-threaded. A failure before that leaves it as it was.
 */
int jb_idmap_enter(const struct jb_idmap *map, struct jb_error *err);

#endif
