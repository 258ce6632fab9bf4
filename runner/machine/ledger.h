/*
 * ledger.h - who holds which CPUs and how much memory: the live boxes of one runtime directory.
 *
 * Owns: descriptors of the runtime directory, its boxes/ folder, alloc.lock and the ledger files.
 * Runs in: every jobbox process that starts, lists or recovers boxes. Privilege: that of the runtime
 * directory.
 *
 * Each box has a folder boxes/<id>/ and one slot of fixed size in a file ledger.N; the slot holds what was
 * granted. A box is live while its supervisor holds the OFD lock on the bytes of its slot: reading the ledger
 * is one read a file and one lock test a slot, without opening anything of the boxes. There is no other list.
 *
 *   slot      its bytes locked   meaning
 *   empty     no                 free
 *   empty     yes                being claimed or released at this moment
 *   filled    yes                live (or being recovered)
 *   filled    no                 dead: to be recovered; its CPUs are free already
 *
 * A slot is filled before the folder is made and emptied after it is gone, so whatever dies in between leaves
 * either nothing or a dead slot. A folder without a slot (power loss on a disk) is dead too.
 */
#ifndef JB_MACHINE_LEDGER_H
#define JB_MACHINE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cpus.h"
#include "base/error.h"
#include "base/id.h"

struct jb_holding {
    struct jb_id id;
    uid_t uid;     /* who submitted it */
    char name[65]; /* job name, for messages */
    bool exclusive;
    struct jb_cpus cpus; /* PUs it runs on */
    struct jb_cpus held; /* PUs nobody else may get; empty unless exclusive */
    struct jb_cpus mems;
    uint64_t memory;  /* bytes promised, JB_UNSET: none */
    uint64_t ends_ns; /* when its wall time will be over, by CLOCK_MONOTONIC; 0: not known, or never */
    bool has_devices; /* what they are: machine/held.h */
    const char
        *devices; /* to claim with: their lines, jb_held_format; NULL: none. Not set by reading; borrowed */
};

#define JB_HELD_NAME "devices" /* the file of a box's folder that holds them */

/* One live box as the ledger keeps it: a holding whose sets are packed (jb_ledger_get unpacks it). */
#define JB_SLOT_SIZE 256
struct jb_slot {
    uint64_t sum;    /* of what follows */
    struct jb_id id; /* "": the slot is empty */
    char name[65];
    uint8_t exclusive;
    uint8_t form;     /* how `sets` is written */
    uint8_t words[3]; /* 64-bit words of cpus, held, mems in `sets` */
    uint8_t first[3]; /* index of their first word in the set */
    uint8_t devices;  /* it has some: see JB_HELD_NAME */
    uint8_t pad[3];
    uint32_t uid;
    uint64_t memory;
    uint64_t sets[15];
    uint64_t ends_ns;
};
_Static_assert(sizeof(struct jb_slot) == JB_SLOT_SIZE, "a slot of the ledger is a unit on disk");

struct jb_ledger {
    struct jb_slot *items; /* in no particular order; see jb_ledger_sort */
    size_t len;
    struct jb_cpus held; /* union of what the exclusive holdings hold */
    struct jb_cpus used; /* union of all holdings, held and run on */
    size_t dead;         /* slots whose box died: when not 0, jb_ledger_dead() names them */
    size_t untested;     /* boxes counted as live without a test of their lock; see jb_ledger_glance */
    /* owned; sets of holdings too scattered for a slot */
    struct jb_holding *wide;
    size_t n_wide;
};
void jb_ledger_free(struct jb_ledger *ledger);

/* The i-th live box, whole. */
void jb_ledger_get(const struct jb_ledger *ledger, size_t i, struct jb_holding *ret);
/* Adds a holding by hand, for what-if and tests. */
int jb_ledger_add(struct jb_ledger *ledger, const struct jb_holding *holding);
/* By id, for people. */
void jb_ledger_sort(struct jb_ledger *ledger);

/* An open runtime directory (/run/jobbox). Zero-initialise fds to -1 with JB_LEDGER_DIR_INIT. */
#define JB_LEDGER_FILES \
    4 /* the kernel tests a lock by walking those of the file: four short lists, not one long */
struct jb_ledger_dir {
    int runtime_fd;                /* borrowed */
    int boxes_fd;                  /* owned */
    int alloc_fd;                  /* owned; alloc.lock */
    int slots_fd[JB_LEDGER_FILES]; /* owned; ledger.0 ... */
};
#define JB_LEDGER_DIR_INIT \
    ((struct jb_ledger_dir){.runtime_fd = -1, .boxes_fd = -1, .alloc_fd = -1, .slots_fd = {-1, -1, -1, -1}})

/* Opens (makes) boxes/, alloc.lock and the ledger files below runtime_fd, checking that they are ours and no
 * symlinks. */
int jb_ledger_dir_open(int runtime_fd, struct jb_ledger_dir *ret, struct jb_error *err);
void jb_ledger_dir_close(struct jb_ledger_dir *dir);

/* Takes alloc.lock, waiting for it; held until unlock. A grant is chosen and claimed inside. */
int jb_ledger_lock(const struct jb_ledger_dir *dir, struct jb_error *err);
void jb_ledger_unlock(const struct jb_ledger_dir *dir);

/*
 * Reads all live boxes. Under alloc.lock the answer is exact (a release in the same moment may still be
 * counted); without it a box that changes meanwhile may be missed. A live slot that cannot be understood is
 * an error.
 */
int jb_ledger_read(const struct jb_ledger_dir *dir, struct jb_ledger *ret, struct jb_error *err);

/*
 * The same for a start, which may err on one side: of at most JB_LEDGER_TESTS boxes the lock is tested, of others each
 * time, and the rest (`untested`) count as live. So what looks free is free, and what looks taken may be a dead box's.
 * A test is a system call; this bounds what many live boxes cost each new one. Whoever is not content with what comes
 * of it reads the ledger whole.
 */
#define JB_LEDGER_TESTS 32
#define JB_LEDGER_ALL   SIZE_MAX
int jb_ledger_glance(const struct jb_ledger_dir *dir, struct jb_ledger *ret, struct jb_error *err);

/*
 * Takes a free slot, fills it, makes boxes/<id>/ (mode 0700) and puts the devices into it, so that the box is in the
 * ledger when this returns. Call under alloc.lock. *ret_box_fd: the directory; *ret_lock_fd: keep open as long as the box
 * lives, and in no child that may outlive the supervisor (CLOEXEC is set; a fork that does not exec must
 * close it). On failure nothing is left.
 */
int jb_ledger_claim(const struct jb_ledger_dir *dir, const struct jb_holding *holding, int *ret_box_fd,
                    int *ret_lock_fd, struct jb_error *err);

/*
 * Removes boxes/<id>/ with everything in it and empties the slot; the caller holds its lock (closing lock_fd
 * afterwards). The folder vanishes in one step: a crash meanwhile leaves no half-removed box to be recovered.
 */
int jb_ledger_release(const struct jb_ledger_dir *dir, const struct jb_id *id, struct jb_error *err);

/*
 * Enters what a live box holds from now on in the place of what it held. Call under alloc.lock, as the holder of the
 * slot's lock. When it ends stays as it was entered. -ENOENT: no slot names the box.
 */
int jb_ledger_update(const struct jb_ledger_dir *dir, const struct jb_holding *holding, struct jb_error *err);

/* Enters when a live box will be over, and nothing else; by the holder of the slot's lock, with or without alloc.lock. */
int jb_ledger_ends(const struct jb_ledger_dir *dir, const struct jb_id *id, uint64_t ends_ns,
                   struct jb_error *err);

/* Boxes whose lock is free: dead ones, to be recovered, among `tests` of them or JB_LEDGER_ALL. Caller frees *ret_ids. */
int jb_ledger_dead(const struct jb_ledger_dir *dir, size_t tests, struct jb_id **ret_ids, size_t *ret_n,
                   struct jb_error *err);

/*
 * Takes the lock of a dead box, for recovery: it is live again, in the caller's hands, until released.
 * -EAGAIN: somebody else lives or recovers it; -ENOENT: gone (what was left of it is cleaned up by this
 * call).
 */
int jb_ledger_adopt(const struct jb_ledger_dir *dir, const struct jb_id *id, int *ret_box_fd,
                    int *ret_lock_fd, struct jb_error *err);

#endif
