/*
 * changes.h - what a job changed: the upper layers of a box against what they lie over.
 *
 * Owns: a struct jb_changes owns its list. Runs in: the supervisor, before GO and when all of the job is dead.
 * Privilege: the supervisor's; nothing is opened but what it compares, and nothing is written.
 *
 * The upper is what the job left: its names may be anything, and millions of them. It is walked by descriptor, no symlink
 * is followed, and what is listed is bounded; past a bound the rest is only said to be there.
 *
 * A change is what a user sees: a path that is there now and was not (added), is not there any more (deleted), is of
 * another type (replaced), or has another mode, owner, size, content or target (modified). That a file was copied up,
 * because somebody opened it for writing or touched it, is none.
 */
#ifndef JB_JOB_CHANGES_H
#define JB_JOB_CHANGES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id.h"
#include "base/overlaymarks.h"
#include "base/str.h"
#include "box/box.h"

#define JB_CHANGES_LISTED 100000      /* paths in a list */
#define JB_CHANGES_TEXT   (16U << 20) /* bytes of them together */
#define JB_CHANGES_SEEN   4000000     /* names looked at */
#define JB_CHANGES_FOLDER 500000      /* names of one directory */
#define JB_CHANGES_DEPTH  200

enum jb_change {
    JB_CHANGE_ADDED,
    JB_CHANGE_MODIFIED,
    JB_CHANGE_DELETED,
    JB_CHANGE_REPLACED,
    JB_CHANGE_MAX,
};
const char *jb_change_name(enum jb_change change); /* "added" */

/* What an upper held before the job began: jobbox's own directories and files. */
struct jb_changes_mark {
    char *path; /* owned; in the box */
    ino_t ino;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t ctime_s, ctime_ns;
};

struct jb_changes {
    json_t *list;                   /* owned; objects of path, change, type, ... */
    uint64_t counts[JB_CHANGE_MAX]; /* of the list */
    uint64_t unread; /* directories and files that could not be read, which are in the list with an error */
    bool truncated;  /* there is more than is listed */
    enum jb_overlay_space space;   /* of the box's overlays */
    struct jb_changes_mark *marks; /* owned, by path and inode */
    size_t n_marks;
};

/* Notes what is there before GO. `space`: whose attributes the box's overlays read. */
int jb_changes_begin(const struct jb_box *box, enum jb_overlay_space space, struct jb_changes *ret,
                     struct jb_error *err);
/* Fills list and counts. */
int jb_changes_find(const struct jb_box *box, struct jb_changes *changes, struct jb_error *err);
void jb_changes_free(struct jb_changes *changes);

/* {"added": n, ..., "unread": n, "truncated": b}: for the record; the caller's. */
json_t *jb_changes_summary(const struct jb_changes *changes);
/* The whole as JSON, or one line a path for people ("A /work/x"); appended to `ret`. */
int jb_changes_json(const struct jb_changes *changes, const struct jb_id *id, struct jb_buf *ret);
int jb_changes_text(const struct jb_changes *changes, struct jb_buf *ret);

#endif
