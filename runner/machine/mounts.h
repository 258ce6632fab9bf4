/*
 * mounts.h - the host's mount table, as far as the plan needs it.
 *
 * Owns: the entries of a struct jb_mounts. Runs in: the client. Privilege: none; reads /proc/self/mountinfo.
 */
#ifndef JB_MACHINE_MOUNTS_H
#define JB_MACHINE_MOUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct jb_mount {
    char *target; /* octal escapes decoded */
    char *fstype;
    char *options; /* of an overlay: what it is made of; NULL for all others */
    uint32_t major, minor;
};

struct jb_mounts {
    struct jb_mount *items; /* in mount order: later ones lie on top */
    size_t len;
};

/* `text` is the content of a mountinfo file. Lines that cannot be understood are an error. */
int jb_mounts_parse(const char *text, struct jb_mounts *ret, struct jb_error *err);
int jb_mounts_read(struct jb_mounts *ret, struct jb_error *err);
void jb_mounts_free(struct jb_mounts *mounts);

#endif
