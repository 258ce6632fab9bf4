/*
 * capacity.h - memory promised and free, per NUMA node.
 *
 * Owns: the arrays of a struct jb_capacity. Runs in: the client. Privilege: none. Pure. Internal to machine/.
 *
 * A holding promises so many bytes on a set of nodes, to be had from any of them. A new promise fits when all
 * promises together can be met, each from its own nodes: a flow, not a sum per node.
 */
#ifndef JB_MACHINE_CAPACITY_H
#define JB_MACHINE_CAPACITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/ledger.h"
#include "machine/machine.h"

struct jb_capacity {
    const struct jb_machine *machine;
    uint64_t *free; /* per node: what no promise takes, with promises over several nodes laid out somehow */
    uint64_t *flow; /* n_shared rows of n_nodes: how those are laid out */
    struct jb_cpus *shared_mems;
    size_t n_shared;
    bool known; /* the machine says how much memory it has */
};

/* `ledger` NULL: nothing is promised. Promises that pass what there is leave no memory free, but are no
 * error. */
int jb_capacity_init(const struct jb_machine *machine, const struct jb_ledger *ledger,
                     struct jb_capacity *ret);
void jb_capacity_free(struct jb_capacity *capacity);

/* How much one more promise on these nodes (by OS index) could have. Lays promises out anew, but takes
 * nothing. */
uint64_t jb_capacity_of(struct jb_capacity *capacity, const struct jb_cpus *mems, uint64_t wanted);

#endif
