/*
 * machine.h - the host as jobbox sees it: packages, NUMA nodes, L3 groups, cores, PUs, kinds; from hwloc.
 *
 * Owns: the arrays of a struct jb_machine. Runs in: the client. Privilege: none.
 *
 * After loading this is plain data without hwloc: placement is a pure function of it.
 */
#ifndef JB_MACHINE_MACHINE_H
#define JB_MACHINE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpus.h"
#include "base/error.h"

/* One PU (hardware thread). Arrays are in hwloc's logical order. */
struct jb_pu {
    unsigned os;      /* OS index */
    unsigned core;    /* index into cores */
    unsigned l3;      /* index of its L3 group (a machine without L3: its NUMA node's) */
    unsigned numa;    /* index into nodes of its nearest NUMA node */
    unsigned package; /* index */
    int kind;         /* efficiency rank, 0 = most efficient (lowest performance); -1: only one kind */
};

struct jb_numa {
    unsigned os;
    uint64_t memory;     /* bytes */
    struct jb_cpus cpus; /* local PUs, OS indexes; empty for memory-only nodes */
};

struct jb_machine {
    struct jb_pu *pus; /* only PUs that are online and allowed to this process */
    size_t n_pus;
    unsigned n_cores, n_l3s, n_packages, n_kinds;
    struct jb_numa *nodes; /* only allowed nodes */
    size_t n_nodes;
    struct jb_cpus allowed;  /* PUs of `pus` by OS index, before `reserved` */
    struct jb_cpus reserved; /* never granted, by the site's word */
    uint64_t memory;         /* bytes, sum of nodes */
};

struct jb_machine_source {
    const char *xml_file;   /* a topology given by the user, or NULL: this host */
    const char *synthetic;  /* hwloc synthetic description, or NULL */
    int cache_dirfd;        /* where topology.xml is kept; -1: no cache */
    const struct jb_cpus *allowed_cpus; /* limit to these (starter's cpuset and affinity); NULL: ask the kernel */
    const struct jb_cpus *allowed_mems;
    const struct jb_cpus *reserved; /* NULL: none */
};

int jb_machine_load(const struct jb_machine_source *source, struct jb_machine *ret, struct jb_error *err);
void jb_machine_free(struct jb_machine *machine);

#endif
