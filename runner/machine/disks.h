/*
 * disks.h - the disks that the file systems of a mount table lie on.
 *
 * Owns: the lists of a struct jb_disks. Runs in: the client. Privilege: none; reads /sys.
 */
#ifndef JB_MACHINE_DISKS_H
#define JB_MACHINE_DISKS_H

#include "base/kfile.h"
#include "base/str.h"
#include "machine/mounts.h"

struct jb_disk {
    uint32_t major, minor;
};

struct jb_disks {
    struct jb_disk *items; /* whole disks, each once, by number */
    size_t len;
    struct jb_strv unknown; /* "zfs on /tank": lie on disks that nobody tells; each file system once */
};

/*
 * A partition stands for its disk, a btrfs for all its devices, an overlay for what its layers lie on. File systems of
 * memory, of the network and of FUSE lie on no disk. `sys` is /sys; fd -1: there is none.
 */
int jb_disks_find(const struct jb_kdir *sys, const struct jb_mounts *mounts, struct jb_disks *ret);
void jb_disks_free(struct jb_disks *disks);

#endif
