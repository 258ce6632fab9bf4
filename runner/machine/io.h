/*
 * io.h - the devices of a machine and the CPUs they are near to: GPUs, network cards, disks, accelerators.
 *
 * Owns: nothing. Runs in: the client; discovery in the hwloc child. Privilege: none.
 *
 * For people to look at: placement does not read it, so a machine has it only when it was asked for.
 */
#ifndef JB_MACHINE_IO_H
#define JB_MACHINE_IO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cpus.h"

enum jb_io_class {
    JB_IO_GPU,
    JB_IO_COPROCESSOR,
    JB_IO_NETWORK,
    JB_IO_FABRIC, /* InfiniBand and its like */
    JB_IO_BLOCK,
    JB_IO_DMA,
    JB_IO_OTHER,
    JB_IO_CLASS_MAX,
};
const char *jb_io_class_name(enum jb_io_class class); /* "gpu", "network", ... */

/* What one PCI function is to the system in one class, or a device that is on no PCI bus. Texts are printable ASCII. */
struct jb_io_device {
    enum jb_io_class class;
    char
        name[64]; /* of the system, several with commas between: "card0,renderD128"; "": no driver names it */
    char bus[16]; /* PCI "0000:41:00.0"; "": not on PCI */
    char model[80];       /* "" when not known */
    struct jb_cpus cpus;  /* the nearest PUs, by OS index */
    struct jb_cpus nodes; /* the nearest NUMA nodes, by OS index */
};
#define JB_IO_DEVICES_MAX 4096

struct hwloc_topology;
/* Of a loaded topology, by bus, class and name. Caller frees *ret. -EFBIG: more than JB_IO_DEVICES_MAX. */
int jb_io_discover(struct hwloc_topology *topology, struct jb_io_device **ret, size_t *ret_n);

/* Bytes from the child are what they should be. */
bool jb_io_sound(const struct jb_io_device *devices, size_t n);

/* "near CPUs 0-15 (node 0)", "near all CPUs". `all`: the machine's PUs that are online. Returns buf. */
char *jb_io_where(const struct jb_io_device *device, const struct jb_cpus *all, char *buf, size_t len);

#endif
