/*
 * place.h - the choice of cores: a pure function of machine, ledger and request.
 *
 * Owns: nothing but the texts in a struct jb_grant. Runs in: the client, under alloc.lock when it is for
 * real. Privilege: none. Deterministic: same inputs, same answer; the order of ledger entries does not
 * matter.
 */
#ifndef JB_MACHINE_PLACE_H
#define JB_MACHINE_PLACE_H

#include "base/cpus.h"
#include "base/error.h"
#include "machine/ledger.h"
#include "machine/machine.h"
#include "spec/spec.h"

struct jb_request {
    uint64_t cpus; /* cores or threads, see unit; ignored with cpu_set_said */
    enum jb_cpu_unit unit;
    bool cpu_set_said;
    struct jb_cpus cpu_set; /* exactly these PUs */
    enum jb_locality locality;
    bool strict; /* refuse rather than straddle `locality` */
    enum jb_cpu_kind kind;
    bool exclusive;  /* nobody else gets these PUs (or siblings of whole cores) while the box lives */
    uint64_t memory; /* bytes, JB_UNSET: not said */
    bool within_said;
    struct jb_cpus within; /* only these PUs, as if all others were taken; not with cpu_set */
};

struct jb_grant {
    struct jb_cpus cpus; /* PUs by OS index: what goes into cpuset.cpus */
    struct jb_cpus mems; /* NUMA nodes by OS index: what goes into cpuset.mems */
    struct jb_cpus held; /* PUs that nobody else may get: cpus, and siblings of whole cores */
    bool exclusive;
    unsigned cores;                                       /* physical cores touched */
    unsigned l3s, numa_nodes, packages;                   /* how many of each the PUs touch */
    bool straddles_l3, straddles_numa, straddles_package; /* more of them than the count needed at least */
    enum jb_cpu_kind kind; /* ANY when mixed or when the machine has one kind */
    uint64_t memory;       /* bytes promised on `mems`, JB_UNSET: none */
    char explain[512];     /* one or two sentences for people: why these */
};

/*
 * Chooses the best free PUs, exactly (not by search): one kind of core before a mix, the fastest kind first; then,
 * most significant first: the least sharing (of requests that are not exclusive), fewest packages, NUMA nodes, L3
 * groups (the level that `locality` names before the other two), fewest cores, the least room left over in the cores,
 * L3 groups, NUMA nodes and packages touched, the lowest numbers. "performance" is the fastest kind, "efficiency" all
 * others; a machine of one kind has neither.
 *
 * Memory comes from the nodes local to the PUs. Where they have too little left, other cores are taken if those span
 * no more packages and nodes; else the cores stay and `mems` reaches over to the nearest other nodes. With `strict`
 * the memory must be local too. On a machine of more than 8 NUMA nodes strict and memory together may be refused
 * although a scattered answer exists.
 *
 * A whole core is one whose PUs are all free and none reserved; siblings that this process may not use must be free
 * as well, and are held with it. Exclusive requests take nothing that anybody runs on; others take what no exclusive
 * box holds. With `cpu_set`, unit core holds the siblings of its PUs too.
 *
 * -EBUSY: possible on this machine but taken now (the text names who holds what); -ERANGE: never possible here (the
 * text names the binding constraint and the nearest request that would fit); -EINVAL: contradictory.
 */
int jb_place(const struct jb_machine *machine, const struct jb_ledger *ledger,
             const struct jb_request *request, struct jb_grant *ret, struct jb_error *err);

#endif
