/*
 * bell.h - sleeping until others let go of something: of a lock, or of a slot of the ledger.
 *
 * Owns: a thread and descriptors while they are in use. Runs in: a `jobbox run` that waits. Privilege: that of the
 * runtime directory. Internal to machine/ and job/.
 *
 * Both kinds are descriptors to poll, and both ring on a death by SIGKILL as on a clean release.
 */
#ifndef JB_MACHINE_BELL_H
#define JB_MACHINE_BELL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "machine/ledger.h"
#include "machine/waitline.h"

/*
 * Readable when any slot of the ledger was written, or a description of its files was closed, as the kernel does for
 * a supervisor that was killed. It may ring for nothing, and a moment before the lock is really free: whoever hears it
 * looks again shortly after. Returns a descriptor, or -errno (too many of them for this user).
 */
int jb_bell_ledger(const struct jb_ledger_dir *dir);
/* Takes what has rung off it. */
void jb_bell_quiet(int fd);

/*
 * Sleeps on the lock of another's number in the line. The kernel has no event for a lock that is given back, only
 * calls that block; so a thread blocks, and tells.
 */
struct jb_bell_turn {
    pthread_t thread;
    int lock_fd;  /* owned; of the line's file */
    int event_fd; /* owned; readable when the number is gone */
    uint64_t number;
    atomic_bool stop;
    bool running;
};
/* `turn` must stay where it is until jb_bell_turn_end, which ends the thread and is due after success only. */
int jb_bell_turn_begin(int runtime_fd, uint64_t number, struct jb_bell_turn *turn);
void jb_bell_turn_end(struct jb_bell_turn *turn);

#endif
