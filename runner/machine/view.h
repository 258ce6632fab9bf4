/*
 * view.h - a machine and its boxes as they are shown: groups within groups, and who holds each PU.
 *
 * Owns: the arrays of a struct jb_view. Runs in: the client. Privilege: none. Pure: same inputs, same view.
 *
 * Packages, dies, NUMA nodes and L3 groups nest differently from machine to machine, so the groups are a tree made from
 * what contains what; levels that are the same PUs are one group. Where kinds of core are mixed in the innermost
 * group, each run of a kind is a group of its own.
 */
#ifndef JB_MACHINE_VIEW_H
#define JB_MACHINE_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "machine/ledger.h"
#include "machine/machine.h"

enum jb_pu_state {
    JB_PU_FREE,
    JB_PU_HELD,       /* by one box */
    JB_PU_SHARED,     /* several boxes run on it */
    JB_PU_RESERVED,   /* by the site, and nobody's */
    JB_PU_DISALLOWED, /* this process may not use it, and nobody's in this ledger */
    JB_PU_STATE_MAX,
};
const char *jb_pu_state_name(enum jb_pu_state state); /* "free", ... for JSON */

struct jb_view_pu {
    enum jb_pu_state state;
    int box;   /* index into boxes when HELD, else -1 */
    bool idle; /* HELD as a sibling only: the box does not run on it */
};

struct jb_view_core {
    size_t first_pu, n_pus; /* in machine->pus */
};

enum jb_view_level {
    JB_VIEW_PACKAGE = 1 << 0,
    JB_VIEW_NUMA = 1 << 1,
    JB_VIEW_L3 = 1 << 2,
    JB_VIEW_DIE = 1 << 3, /* only where a package has several */
    JB_VIEW_KIND = 1 << 4,
};

/* groups[0] is the machine. Children come after their parent, in the order of PUs. */
struct jb_view_group {
    unsigned levels; /* enum jb_view_level, those that are exactly these PUs; 0: the machine */
    size_t first_pu, n_pus;
    size_t first_core, n_cores;
    int parent, first_child, next; /* -1: none; without children: the cores are its own */
    bool one_kind;                 /* of several on the machine: all of its cores are of `kind` */
    int kind;
};

#define JB_VIEW_CODE 4
struct jb_view_box {
    struct jb_holding holding;
    char code[JB_VIEW_CODE]; /* letters that stand for it, of the same length for all */
    char user[33];           /* the uid as text; the caller may put a name there */
};

struct jb_view {
    const struct jb_machine *machine; /* borrowed; loaded with `whole` to show what is not allowed */
    const char *source;               /* borrowed: "this host", or the name of a file */
    struct jb_view_pu *pus;           /* one for each of machine->pus */
    struct jb_view_core *cores;
    size_t n_cores;
    struct jb_view_group *groups;
    size_t n_groups;
    struct jb_view_box *boxes; /* by id */
    size_t n_boxes;
    unsigned code_len;
    unsigned count[JB_PU_STATE_MAX]; /* PUs of each state */
    unsigned free_cores;             /* that a job could have whole */
};

/* `ledger` is put in order of ids. Names and users are made safe for a terminal. */
int jb_view_make(const struct jb_machine *machine, struct jb_ledger *ledger, const char *source,
                 struct jb_view *ret, struct jb_error *err);
void jb_view_free(struct jb_view *view);
#define jb_autoview __attribute__((cleanup(jb_view_free)))

/* "package 0, die 0, node 0 (15.6 GiB), L3 0". Returns buf. */
char *jb_view_title(const struct jb_view *view, size_t group, char *buf, size_t len);
/* "this host: 1 package, 1 NUMA node, ..., 2 CPUs; 1 box; 1 core free". Returns buf. */
char *jb_view_heading(const struct jb_view *view, char *buf, size_t len);
/* "performance", "efficiency" ("efficiency 1" where there are several such); NULL on machines of one kind. */
const char *jb_view_kind_name(const struct jb_machine *machine, int kind, char *buf, size_t len);
/* The OS indexes of the PUs of a state. */
struct jb_cpus jb_view_cpus(const struct jb_view *view, enum jb_pu_state state);
/* Bytes of printable ASCII stay, all others become '?'. */
void jb_view_plain(char *text);

#endif
