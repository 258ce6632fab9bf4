/*
 * update.h - changing the limits of a live box.
 *
 * Owns: nothing. Runs in: the box's supervisor, in its loop. Privilege: that of the box's groups and the ledger.
 */
#ifndef JB_JOB_UPDATE_H
#define JB_JOB_UPDATE_H

#include <jansson.h>

#include "cgroup/cgroup.h"
#include "job/control.h"
#include "job/state.h"
#include "plan/host.h"
#include "plan/plan.h"

/* All borrowed; plan and record are changed. */
struct jb_updater {
    struct jb_plan *plan;
    const struct jb_spec *spec;
    const struct jb_site *site;
    struct jb_state *state;
    const struct jb_host *host;     /* where the box was made */
    const struct jb_cgroup *cgroup; /* NULL: none */
    json_t *record;
    int file_fd;      /* box.jsonl */
    uint64_t ends_ns; /* as the ledger has it; 0: it has none */
};

/*
 * Changes what `wish` names. It is held against the site's maxima, as the spec was; CPUs and memory are chosen and
 * entered in the ledger under alloc.lock: more CPUs are free ones near those that the box has, fewer are the closest
 * together of them. The groups' values are written and read back, the record's `granted` and box.jsonl follow.
 * *ret_changes is {"cpus": {"old": "0", "new": "0-1"}, ...}, the caller's. On failure all is as it was.
 * -EPERM: the site; -EBUSY: others hold it; -ENOTSUP: this box has nothing to change there.
 */
int jb_update(void *updater, const struct jb_wish *wish, json_t **ret_changes, struct jb_error *err);

/*
 * The box will be over then (monotonic; JB_UNSET: never), as far as its wall time goes: enters it in the ledger, for those
 * who wait for room, when it is not what is there, give or take a second. That it cannot be entered is nobody's fault and
 * ends nothing.
 */
void jb_update_ends(void *updater, uint64_t ends_ns);

/* The entry of a box in the ledger, from its plan. */
void jb_update_holding(const struct jb_plan *plan, struct jb_holding *ret);

#endif
