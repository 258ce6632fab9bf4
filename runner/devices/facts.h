/*
 * facts.h - what the host knows about a device node: its number, its owner, which CPUs it is close to.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; reading only. Source: the node itself, and sysfs by device
 * number. A test puts its own in the place of the kernel's.
 */
#ifndef JB_DEVICES_FACTS_H
#define JB_DEVICES_FACTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/cpus.h"
#include "base/kfile.h"

struct jb_node_facts {
    char type; /* 'b' or 'c' */
    unsigned major, minor;
    mode_t mode; /* permission bits */
    uid_t uid;
    gid_t gid;
};

struct jb_device_facts {
    /* -ENOENT: there is none; -ENODEV: it is no device node. */
    int (*node)(void *ctx, const char *path, struct jb_node_facts *ret);
    /*
     * Where a device is: *ret_node the NUMA node by OS index, -1 when only `ret_cpus` is known; ret_cpus the CPUs close
     * to it, empty when only the node is known. -ENODATA: it is nowhere in particular.
     */
    int (*locality)(void *ctx, char type, unsigned major, unsigned minor, int *ret_node,
                    struct jb_cpus *ret_cpus);
    void *ctx;
};

/* The kernel's. */
extern const struct jb_device_facts jb_device_facts_kernel;

/* The second question, of a directory that is laid out as /sys/dev. */
int jb_locality_read(const struct jb_kdir *sys_dev, char type, unsigned major, unsigned minor, int *ret_node,
                     struct jb_cpus *ret_cpus);

#endif
