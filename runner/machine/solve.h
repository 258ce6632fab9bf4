/*
 * solve.h - the best-fit choice itself: k units out of the free ones, least cost over the tree of groups.
 *
 * Owns: nothing. Runs in: the client. Privilege: none. Pure. Internal to machine/.
 *
 * Packages, NUMA nodes and L3 groups are intervals of cores, nested or disjoint, so they form a tree and the
 * cost of a choice is a sum over the groups it touches: an exact dynamic programme over the tree finds the
 * optimum.
 */
#ifndef JB_MACHINE_SOLVE_H
#define JB_MACHINE_SOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "machine/machine.h"

enum jb_level { JB_LEVEL_PACKAGE, JB_LEVEL_NUMA, JB_LEVEL_L3, JB_LEVEL_MAX };

/* One core as a place to choose from. Arrays of these are in logical order. */
struct jb_place_core {
    unsigned group[JB_LEVEL_MAX]; /* index of its package, NUMA node, L3 group */
    unsigned first_pu, n_pus;     /* its PUs in machine->pus */
    int kind;
    unsigned total; /* units that could be taken if nobody held any */
    unsigned
        free; /* units that may be taken: 0 or 1 when units are cores, a count of PUs when they are threads */
    unsigned load; /* how many others each unit is shared with (non-exclusive requests) */
    unsigned take; /* result: units taken */
};

struct jb_solve_wish {
    unsigned k;                 /* units */
    enum jb_level first;        /* this level's groups count before the others' */
    bool strict;                /* and even before sharing */
    const struct jb_cpus *must; /* NUMA nodes (by index) that are all to be touched; NULL: none */
};

/* Orders answers: less is better. */
typedef unsigned __int128 jb_cost;

/*
 * Fills `take`. Cost, most significant first: sharing; groups touched, the level `first` before the others and those
 * in order package, NUMA, L3; cores touched; units left over in touched cores, L3 groups, NUMA nodes, packages; ties
 * go to the lowest group. -ENOSPC: fewer than k are free, or a node that must be touched has none. `ret_cost` may be
 * NULL.
 */
int jb_solve(struct jb_place_core *cores, size_t n, const struct jb_solve_wish *wish, jb_cost *ret_cost);

#endif
