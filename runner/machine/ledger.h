/*
 * ledger.h - who holds which CPUs and how much memory: the live boxes of one runtime directory.
 *
 * Owns: descriptors of the runtime directory, its boxes/ folder and alloc.lock.
 * Runs in: every jobbox process that starts, lists or recovers boxes. Privilege: that of the runtime directory.
 *
 * A box is live while its supervisor holds the OFD lock on boxes/<id>/lock. There is no other list.
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
    uid_t uid;           /* who submitted it */
    char name[65];       /* job name, for messages */
    bool exclusive;
    struct jb_cpus cpus; /* PUs it runs on */
    struct jb_cpus held; /* PUs nobody else may get */
    struct jb_cpus mems;
    uint64_t memory;     /* bytes promised, JB_UNSET: none */
};

struct jb_ledger {
    struct jb_holding *items; /* sorted by id */
    size_t len;
    struct jb_cpus held;      /* union of all exclusive holdings */
    struct jb_cpus used;      /* union of all holdings */
};
void jb_ledger_free(struct jb_ledger *ledger);

/* An open runtime directory (/run/jobbox). Zero-initialise fds to -1 with JB_LEDGER_DIR_INIT. */
struct jb_ledger_dir {
    int runtime_fd; /* borrowed */
    int boxes_fd;   /* owned */
    int alloc_fd;   /* owned; alloc.lock */
};
#define JB_LEDGER_DIR_INIT ((struct jb_ledger_dir){.runtime_fd = -1, .boxes_fd = -1, .alloc_fd = -1})

/* Opens (makes) boxes/ and alloc.lock below runtime_fd, checking that they are ours and no symlinks. */
int jb_ledger_dir_open(int runtime_fd, struct jb_ledger_dir *ret, struct jb_error *err);
void jb_ledger_dir_close(struct jb_ledger_dir *dir);

/* Takes alloc.lock, waiting for it; held until unlock. A grant is chosen and claimed inside. */
int jb_ledger_lock(const struct jb_ledger_dir *dir, struct jb_error *err);
void jb_ledger_unlock(const struct jb_ledger_dir *dir);

/* Reads all live boxes. Entries that vanish meanwhile are skipped; an unreadable live one is an error. */
int jb_ledger_read(const struct jb_ledger_dir *dir, struct jb_ledger *ret, struct jb_error *err);

/*
 * Makes boxes/<id>/, takes its lock and writes its holding, so that the box is in the ledger when this returns.
 * Call under alloc.lock. *ret_box_fd: the directory; *ret_lock_fd: keep open as long as the box lives.
 * On failure nothing is left.
 */
int jb_ledger_claim(const struct jb_ledger_dir *dir, const struct jb_holding *holding, int *ret_box_fd,
                    int *ret_lock_fd, struct jb_error *err);

/* Removes boxes/<id>/ with everything in it; the caller holds its lock (closing lock_fd afterwards). */
int jb_ledger_release(const struct jb_ledger_dir *dir, const struct jb_id *id, struct jb_error *err);

/* Boxes whose lock is free: dead ones, to be recovered. Caller frees *ret_ids. Cheap when there is none. */
int jb_ledger_dead(const struct jb_ledger_dir *dir, struct jb_id **ret_ids, size_t *ret_n, struct jb_error *err);

/* Takes the lock of a dead box, for recovery. -EAGAIN: somebody else lives or recovers it; -ENOENT: gone. */
int jb_ledger_adopt(const struct jb_ledger_dir *dir, const struct jb_id *id, int *ret_box_fd, int *ret_lock_fd,
                    struct jb_error *err);

#endif
