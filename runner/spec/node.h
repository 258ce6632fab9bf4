/*
 * node.h - a YAML file as a tree in which everything knows where it stood, and the list of what is wrong with
 * it.
 *
 * Owns: the nodes, in the arena of a struct jb_reading. Runs in: the client, unprivileged. Privilege: none;
 * pure functions of the text.
 *
 * Everything that reads a file goes on after a fault, so that all faults come at once: a fault is noted with
 * jb_complain and the value is left unset. Lack of memory is sticky in `failed`, as with ferror(3). That is
 * why functions that take a struct jb_reading return nothing or a bool; whoever began the reading looks at
 * both at the end with jb_reading_end.
 */
#ifndef JB_SPEC_NODE_H
#define JB_SPEC_NODE_H

#include "base/arena.h"
#include "spec/spec.h"

#define JB_DIAGS_MAX 100 /* complaints of one file that are kept; the rest is counted */

enum jb_node_kind {
    JB_NODE_SCALAR,
    JB_NODE_LIST,
    JB_NODE_MAP,
    JB_NODE_BAD, /* was complained about already: say no more */
};

struct jb_node {
    enum jb_node_kind kind;
    bool plain; /* a scalar without quotes */
    struct jb_pos pos;
    const char *text; /* a scalar, NUL-terminated, without NUL inside */
    size_t len;
    size_t n; /* children */
    struct jb_node *first;
    struct jb_node *next; /* the next child of the same parent */
    const char *key;      /* of a member of a mapping */
    struct jb_pos key_pos;
};

/* Where we are in the tree, from the innermost outwards; lives on the stack of the readers. */
struct jb_at {
    const struct jb_at *up;
    const char *name; /* NULL: an element of a list */
    size_t index;     /* from 0 */
};

struct jb_reading {
    struct jb_arena arena;
    struct jb_diags *diags;
    struct jb_pos *key_pos; /* where keys stand, by enum jb_key; NULL: not wanted */
    size_t dropped;         /* complaints beyond JB_DIAGS_MAX */
    int failed;             /* the first negative errno that is not the file's fault */
};

/* Begins a reading that complains into `diags`, which must be empty. */
void jb_reading_begin(struct jb_reading *rd, const char *file, struct jb_diags *diags);

/* 0, -EINVAL when there are complaints (sorted by position now), or `failed`. Releases the nodes. */
int jb_reading_end(struct jb_reading *rd);

/* Notes a fault: "key.path: text". `at` may be NULL. */
void jb_complain(struct jb_reading *rd, struct jb_pos pos, const struct jb_at *at, const char *fmt, ...)
    JB_PRINTF(4, 5);

/* Keeps the first failure; r >= 0 is none. */
void jb_note(struct jb_reading *rd, int r);

/* Untrusted text made fit for a message: one line, printable, cut short. Returns buf. */
#define JB_SHOW 96
const char *jb_show(const char *text, char buf[JB_SHOW]);

/*
 * The tree of the one document in `text`. NULL when there is none that is worth looking at; a complaint or a
 * failure was noted then. Complains about everything outside the safe subset: tags, anchors, aliases, merge
 * keys, duplicate keys, several documents, bytes that are no text, too much of anything.
 */
const struct jb_node *jb_read_yaml(struct jb_reading *rd, const char *text, size_t len);

/* True when all bytes are UTF-8 text that YAML allows; else complains about the first that is not. */
bool jb_check_text(struct jb_reading *rd, const char *text, size_t len);

#endif
