/*
 * held.h - which devices the live boxes have: the lines of boxes/<id>/devices, and who stands in whose way.
 *
 * Owns: the arrays of a struct jb_held. Runs in: every jobbox process that grants devices. Privilege: that of the
 * runtime directory.
 *
 * A box that has devices says so with one byte of its slot; their names are in a file of its folder. So a box without
 * devices costs nothing, and a dead box's devices are free when its lock is, as its CPUs are.
 *
 * A device is known by its name and by its nodes. The same hardware may go by several names (an index and a serial
 * number), and one name may stand for several devices ("all"): two devices stand in each other's way when they have
 * the same name, or when all nodes of one are among those of the other. Parts of a device that share a node with each
 * other, but have others besides, do not.
 */
#ifndef JB_MACHINE_HELD_H
#define JB_MACHINE_HELD_H

#include "base/str.h"
#include "machine/ledger.h"

/* A device number as one word, comparable. `type` is 'b' or 'c'. */
uint64_t jb_held_number(char type, unsigned major, unsigned minor);

struct jb_held_device {
    char *name;      /* "vendor.com/gpu=0", "/dev/fuse" */
    bool exclusive;  /* else several boxes may have it, as long as all of them say so */
    uint64_t *nodes; /* jb_held_number, sorted; n_nodes may be 0 */
    size_t n_nodes;
    size_t box; /* index into the ledger it was read with */
};

struct jb_held {
    struct jb_held_device *items;
    size_t len;
};
void jb_held_free(struct jb_held *held);
#define jb_autoheld __attribute__((cleanup(jb_held_free)))

/* Adds a device; copies. */
int jb_held_add(struct jb_held *held, const char *name, bool exclusive, const uint64_t *nodes,
                size_t n_nodes);

/* The text to claim a box with (struct jb_holding.devices), and back. -EUCLEAN when it is no such text. */
int jb_held_format(const struct jb_held *held, char **ret);
int jb_held_parse(const char *text, size_t box, struct jb_held *into);

/* Whether two devices are one and the same, or one is part of the other. */
bool jb_held_same(const struct jb_held_device *a, const struct jb_held_device *b);

/* The first of `held` that keeps `device` from being granted; NULL when none does. */
const struct jb_held_device *jb_held_clash(const struct jb_held *held, const struct jb_held_device *device);

/*
 * What the boxes of a ledger just read hold, under the same conditions. A box on its way out, whose folder is gone
 * already, holds nothing. Devices that cannot be read are an error: they might be granted twice.
 */
int jb_ledger_devices(const struct jb_ledger_dir *dir, const struct jb_ledger *ledger, struct jb_held *ret,
                      struct jb_error *err);

#endif
