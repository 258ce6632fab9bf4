/*
 * kept.h - the files of boxes that have ended, as `keep` of their specs wanted.
 *
 * Owns: kept/ below the state directory. Runs in: the supervisor (making), whoever recovers (cleaning), the client (using).
 * Privilege: the state directory's; in a user's own, files of his ranges of ids are reached through a user namespace.
 *
 *   kept/ID/fs           what the box wrote, as one layer: where it is in the box, with whiteouts
 *   kept/ID/spec.yaml    the spec, as it was written
 *   kept/ID/about.json   whose it is, what it lay over, how it ended, how much it is. In root's store the file belongs to
 *                        whose box it was, who cannot reach it there: so among thousands his are found without reading all
 *   kept/ID/lock         locked (shared) by those who use it
 *   kept/.new-ID         one that is being made, its lock held by who makes it
 *   kept/.gone-ID        one that is being removed
 *   kept/.lock           held while something is decided about what there is; never for long
 *
 * Everything appears complete or not at all, by rename, and goes so: whatever is killed, a look finds what is right, and
 * jb_kept_sweep removes the rest.
 */
#ifndef JB_JOB_KEPT_H
#define JB_JOB_KEPT_H

#include <jansson.h>

#include "base/copytree.h"
#include "base/id.h"
#include "box/box.h"
#include "box/idmap.h"
#include "plan/plan.h"

struct jb_keeping {
    int state_fd;
    const char *state_dir;
    const struct jb_plan *plan;
    const struct jb_box *box; /* all of its job is dead; its scratch is open */
    const struct jb_spec *spec;
    const struct jb_submitter *who;
    const struct jb_site *site;
    const char *reason; /* how it ended */
    int exit_code;      /* -1: none */
};
/* *ret: what the record says of it, the caller's. On failure nothing is kept. */
int jb_keep(const struct jb_keeping *what, json_t **ret, struct jb_error *err);

/* What the record says of a box that is kept, NULL: it is not. The caller's. */
json_t *jb_kept_summary(int state_fd, const char *state_dir, const struct jb_id *id);

/* One that is in use: as long as lock_fd is open nobody removes it. */
struct jb_kept {
    struct jb_id id;
    json_t *about;
    int fd, lock_fd; /* kept/ID */
};
#define JB_KEPT_INIT ((struct jb_kept){.fd = -1, .lock_fd = -1})
void jb_kept_close(struct jb_kept *kept);
#define jb_autokept __attribute__((cleanup(jb_kept_close)))

/* The one whose id begins so, in either case of letters. -ENOENT, -ENOTUNIQ. */
int jb_kept_find(int state_fd, const char *text, struct jb_kept *ret, struct jb_error *err);
/* The same of one user's: another one's is not there for him. JB_KEPT_ALL: whoever's. */
#define JB_KEPT_ALL ((uid_t)-1)
int jb_kept_find_of(int state_fd, const char *text, uid_t uid, struct jb_kept *ret, struct jb_error *err);
/* Which ones are asked for. */
struct jb_kept_wish {
    uid_t uid;          /* whose; JB_KEPT_ALL */
    const char *begins; /* what their ids begin with, in either case of letters; NULL: anything */
    size_t limit;       /* the newest ones, not more than so many; 0: all */
};
/* Array of their about.json, by id; the caller's. *ret_more, if not NULL: there are older ones that the limit leaves out. */
int jb_kept_list(int state_fd, const struct jb_kept_wish *wish, json_t **ret, bool *ret_more,
                 struct jb_error *err);

/*
 * Out of root's store into one of whose box it was, which `who` names by a folder (see jb_kept_begin) that he alone can
 * write to: read as root, written as him. -ENOENT also when it is another one's.
 */
int jb_kept_hand_over(int state_fd, const char *id, const struct jb_submitter *who, const char *dir,
                      struct jb_copied *ret, struct jb_error *err);

/* -EBUSY while somebody uses it. */
int jb_kept_discard(int state_fd, const struct jb_id *id, struct jb_error *err);

/* Removes what is too old, and what was left half made or half removed. Returns how many boxes were too old. */
int jb_kept_sweep(int state_fd, uint64_t max_age_ns, struct jb_error *err);

/* Whose ids the files of kept boxes are, for an ordinary user; NULL for root, to whom all are as they are. */
struct jb_kept_ids {
    struct jb_idmap map;
    char uid_program[JB_PROGRAM_PATH], gid_program[JB_PROGRAM_PATH];
};
const struct jb_idmap *jb_kept_ids(struct jb_kept_ids *ids);

/* --- inside of runner/job --- */

#define JB_KEPT_DIR  "kept"
#define JB_KEPT_NEW  ".new-"
#define JB_KEPT_GONE ".gone-"

/* kept/, made where `make` says so. -ENOENT: there is none. */
int jb_kept_open(int state_fd, bool make, struct jb_error *err);
/* kept/.lock: a descriptor that holds it. */
int jb_kept_lock(int kept_fd, struct jb_error *err);
/*
 * Room for one more of `uid`: of those that he has the oldest are moved out of the way, until the site's limits hold. To be
 * called under the lock; what was moved is removed afterwards, by jb_kept_clear.
 */
int jb_kept_make_room(int kept_fd, const struct jb_site *site, uid_t uid, const struct jb_copied *sum,
                      struct jb_error *err);
/* Removes what was moved, and what the dead were making. */
void jb_kept_clear(int kept_fd);
/* kept/.new-ID, made and locked: a descriptor of it, and of the lock. */
int jb_kept_begin(int kept_fd, const struct jb_id *id, int *ret_lock, struct jb_error *err);
/* It is complete: there is room for it, and it gets its name. */
int jb_kept_finish(int kept_fd, const struct jb_site *site, uid_t uid, const struct jb_id *id,
                   const struct jb_copied *sum, struct jb_error *err);
/* spec.yaml or about.json of one that is being made. */
int jb_kept_write(int dir, const char *name, const void *data, size_t len, struct jb_error *err);
/* about.json, complete, is marked as that of `uid`. */
void jb_kept_mark(int dir, uid_t uid);
/* A tree of the store, whoever its files belong to. */
int jb_kept_remove(int kept_fd, const char *name);

#endif
