/*
 * machine.h - the host as jobbox sees it: packages, dies, NUMA nodes, L3 groups, cores, PUs, kinds; from hwloc.
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
#include "machine/io.h"

/*
 * One PU (hardware thread). Arrays are in hwloc's logical order: the PUs of one core, L3 group, NUMA node or
 * package lie side by side, and of any two groups one contains the other or they are disjoint.
 */
struct jb_pu {
    unsigned os;      /* OS index */
    unsigned core;    /* index, dense */
    unsigned l3;      /* index of its L3 group (where there is no L3: what its NUMA node and package share) */
    unsigned numa;    /* index into nodes of its nearest NUMA node */
    unsigned package; /* index */
    unsigned die;     /* index; where hwloc gives no die: the package is one */
    int kind;         /* efficiency rank, 0 = most efficient (lowest performance); -1: only one kind */
};

struct jb_numa {
    unsigned os;
    bool usable;         /* may go into cpuset.mems: allowed, and not known to be without memory */
    uint64_t memory;     /* bytes; 0 when not usable or unknown */
    struct jb_cpus cpus; /* local PUs that are online, OS indexes; empty for memory-only nodes */
};

struct jb_machine {
    struct jb_pu *pus; /* only PUs that are online and allowed to this process */
    size_t n_pus;
    struct jb_pu
        *siblings; /* online PUs that are not allowed but share a core of `pus`; only `os`, `core` count */
    size_t n_siblings;
    unsigned n_cores, n_l3s, n_packages;
    unsigned n_dies;       /* at least n_packages; as many: dies say nothing new */
    unsigned n_kinds;      /* of the whole machine, at least 1 */
    struct jb_numa *nodes; /* all of the machine; see usable */
    size_t n_nodes;
    struct jb_cpus allowed;       /* PUs of `pus` by OS index, before `reserved` */
    struct jb_cpus reserved;      /* never granted, by the site's word */
    struct jb_cpus disallowed;    /* online, and not for this process */
    struct jb_cpus offline;       /* there, and not online */
    struct jb_io_device *devices; /* only when asked for */
    size_t n_devices;
    uint64_t memory; /* bytes, sum of the usable nodes; 0: unknown, so it cannot be checked */
};

struct jb_machine_source {
    const char *xml_file;  /* a topology given by the user, or NULL: this host */
    const char *synthetic; /* hwloc synthetic description, or NULL */
    int cache_dirfd;       /* where topology.xml is kept; -1: no cache */
    const struct jb_cpus
        *allowed_cpus; /* limit to these (starter's cpuset and affinity); NULL: ask the kernel */
    const struct jb_cpus
        *allowed_mems;              /* (for a given topology, NULL means what the topology itself allows) */
    const struct jb_cpus *reserved; /* NULL: none */
    bool whole;   /* `pus` keeps those that are not allowed too (see `allowed`): to be drawn, not placed on */
    bool devices; /* PCI and OS devices too; then hwloc is always asked (cached: for its XML) */
    bool cache_readonly; /* a cache that fits is used, none is written */
};

/*
 * hwloc itself always works in a short-lived child process with its stderr shut and its memory bounded, so
 * that a hostile topology ends in an error here and nothing else; a host seen before is read from the cache
 * without it. -EINVAL: the topology is malformed; -ENOTSUP: of a newer format; -EFBIG: too large; -ENODEV: no
 * PU is left.
 */
int jb_machine_load(const struct jb_machine_source *source, struct jb_machine *ret, struct jb_error *err);
void jb_machine_free(struct jb_machine *machine);

/* Those that the kernel lets this process run on. */
int jb_machine_own_cpus(struct jb_cpus *ret, struct jb_error *err);

#endif
