/*
 * binds.h - what of the host may be bound into a box.
 *
 * Owns: nothing; what a policy points to lives in the plan's arena. Runs in: the client, on the path the spec names, and
 * the box's first process, on the path that was really opened: a symlink on the way must not lead around the rules.
 * Privilege: none; pure.
 */
#ifndef JB_PLAN_BINDS_H
#define JB_PLAN_BINDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "site/site.h"

struct jb_bind_policy {
    const char **deny; /* nobody: these, what lies beneath them, and what holds them */
    size_t n_deny;
    const char *
        *own; /* jobbox's directories: neither these nor what lies beneath; not writable what holds them */
    size_t n_own;
    struct jb_bind_rule *allow; /* when !any: only these and what lies beneath */
    size_t n_allow;
    bool any;
};

/* From the site, for this submitter. -ENOMEM. */
int jb_bind_policy_make(struct jb_arena *arena, const struct jb_site *site, bool submitter_is_root,
                        const char *runtime_dir, const char *state_dir, struct jb_bind_policy *ret);

/* Why an absolute, clean path may not be bound; NULL when it may. By components. */
const char *jb_bind_refusal(const struct jb_bind_policy *policy, const char *path, bool rw);

#endif
