/*
 * state.h - the runtime and state directories of this jobbox: found, made, checked to be ours.
 *
 * Owns: descriptors of both. Runs in: every process that starts, lists or recovers boxes.
 * Privilege: root for /run/jobbox and /var/lib/jobbox; none for a user's own.
 */
#ifndef JB_JOB_STATE_H
#define JB_JOB_STATE_H

#include "base/error.h"
#include "machine/ledger.h"
#include "plan/host.h"
#include "site/site.h"

struct jb_state {
    char *runtime_dir; /* absolute */
    char *state_dir;
    int runtime_fd; /* -1: not opened */
    int state_fd;
    struct jb_ledger_dir ledger;
};
#define JB_STATE_INIT ((struct jb_state){.runtime_fd = -1, .state_fd = -1, .ledger = JB_LEDGER_DIR_INIT})

/*
 * Where they are: root takes the site's paths (default /run/jobbox, /var/lib/jobbox). An ordinary user takes
 * those of a config of his own, else $XDG_RUNTIME_DIR/jobbox (or /tmp/jobbox-UID) and $XDG_STATE_HOME/jobbox
 * (or
 * ~/.local/state/jobbox).
 */
int jb_state_paths(const struct jb_site *site, const struct jb_submitter *who, struct jb_state *ret,
                   struct jb_error *err);

/* Makes what is missing and opens it. A symlink, or a directory that belongs to others, is refused. */
int jb_state_open(struct jb_state *state, const struct jb_submitter *who, struct jb_error *err);

void jb_state_close(struct jb_state *state);
#define jb_autostate __attribute__((cleanup(jb_state_close)))

#endif
