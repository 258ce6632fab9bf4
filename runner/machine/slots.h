/*
 * slots.h - the slots of the ledger files: packing, finding, testing and taking them.
 *
 * Owns: nothing. Runs in: every jobbox process that uses the ledger. Privilege: that of the runtime
 * directory. Internal to machine/.
 */
#ifndef JB_MACHINE_SLOTS_H
#define JB_MACHINE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>

#include "machine/ledger.h"

#define JB_SLOTS_MAX 65536 /* boxes at once */

/* All slots of all files as they are now; slot number g lies in file g % JB_LEDGER_FILES. */
struct jb_slots {
    struct jb_slot *items;
    size_t per_file[JB_LEDGER_FILES];
    size_t start[JB_LEDGER_FILES]; /* where a file's slots begin in items */
};

int jb_slots_read(const struct jb_ledger_dir *dir, struct jb_slots *ret);
void jb_slots_free(struct jb_slots *slots);
#define jb_autoslots __attribute__((cleanup(jb_slots_free)))

/* Slot g of a reading; NULL beyond the file's end (an empty slot yet to be). */
struct jb_slot *jb_slots_at(const struct jb_slots *slots, size_t g);
/* One more than the largest g that may not be NULL. */
size_t jb_slots_end(const struct jb_slots *slots);
/* The slot that names `id`, as g; -ENOENT. It may be one that is not sound if it is locked: somebody writes it. */
int jb_slots_find(const struct jb_ledger_dir *dir, const struct jb_slots *slots, const struct jb_id *id);

bool jb_slot_empty(const struct jb_slot *slot);
/* Its sum is right and its fields are in range. */
bool jb_slot_sound(const struct jb_slot *slot);

/* 1: somebody holds the lock of slot g; 0: free; -errno. */
int jb_slot_locked(const struct jb_ledger_dir *dir, size_t g);
/* Locks slot g through a description of its own. -EAGAIN when it is held. */
int jb_slot_take(const struct jb_ledger_dir *dir, size_t g, int *ret_lock_fd);
/* Reads or writes the one slot. */
int jb_slot_fetch(const struct jb_ledger_dir *dir, size_t g, struct jb_slot *ret);
int jb_slot_store(const struct jb_ledger_dir *dir, size_t g, const struct jb_slot *slot);

/* The packed form. Returns 1 when the sets do not fit: `wide` is then to be kept beside the slot. */
int jb_slot_pack(const struct jb_holding *holding, struct jb_slot *ret);
/* Changes when the box ends in a slot that is sound. */
void jb_slot_set_ends(struct jb_slot *slot, uint64_t ends_ns);
bool jb_slot_wide(const struct jb_slot *slot);
/* All but the sets of a wide slot. */
void jb_slot_unpack(const struct jb_slot *slot, struct jb_holding *ret);

/* The sets of wide slot g, in the file ledger.wide. */
int jb_slot_wide_fetch(const struct jb_ledger_dir *dir, size_t g, struct jb_holding *into);
int jb_slot_wide_store(const struct jb_ledger_dir *dir, size_t g, const struct jb_holding *holding);

/* Adds the words of one packed set (0 cpus, 1 held, 2 mems) to `into`. */
void jb_slot_or(const struct jb_slot *slot, int which, struct jb_cpus *into);

/* The only member of a packed set; -1 when it has none or several. */
int jb_slot_only(const struct jb_slot *slot, int which);

#endif
