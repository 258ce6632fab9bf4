/*
 * place.h - where boxes are made, and the machine as they may have it there.
 *
 * Owns: nothing. Runs in: whoever chooses CPUs: the supervisor, jobboxd, the client. Privilege: none; reading only.
 */
#ifndef JB_JOB_PLACE_H
#define JB_JOB_PLACE_H

#include "cgroup/cpuset.h"
#include "cgroup/scope.h"
#include "machine/ledger.h"
#include "machine/machine.h"
#include "site/site.h"

struct jb_place {
    const struct jb_site *site;
    const struct jb_cg_layout *layout; /* where boxes are made */
    bool elsewhere; /* ... which is outside of the group that this process was started in */
    const struct jb_ledger_dir *ledger; /* NULL: nobody holds anything */
    const struct jb_cpus *also;         /* may be had whatever the place says; NULL: none */
    int cache_dirfd;                    /* as of struct jb_machine_source */
    bool cache_readonly;
};

/*
 * Boxes made in this process's own group get of the CPUs that it may run on itself; elsewhere the cpuset of that place
 * decides, and where the box gets none, this process's CPUs again. CPUs that a partition of a live box has taken out of the
 * place count as there: they are held, and come back. As jb_machine_load.
 */
int jb_place_machine(const struct jb_place *place, struct jb_machine *ret, struct jb_error *err);

/* What a scope would be called, where systemd gives one for it. */
struct jb_place_wish {
    const char *name, *description;
    uid_t uid;
    bool many; /* for all jobs of a queue */
};

/*
 * The site's parent, else where systemd or a delegation lets us: `layout`, of this process's own place, becomes that of
 * where boxes are made. `scope` NULL: nothing is changed, and this process stays outside of it; else it may move there.
 * Both give the same answer.
 */
int jb_place_find(const struct jb_site *site, const struct jb_place_wish *wish, struct jb_cg_layout *layout,
                  struct jb_scope *scope, bool *ret_elsewhere, struct jb_error *err);

#endif
