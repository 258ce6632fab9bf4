/*
 * binds.c - the rules for binds.
 *
 * Owns: nothing. Runs in: see binds.h. Privilege: none.
 */
#include "plan/binds.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/str.h"

static int copy_rules(struct jb_arena *arena, const struct jb_site *site, struct jb_bind_policy *policy)
{
    policy->allow = jb_arena_alloc(arena, (site->binds.n_allow + 1) * sizeof(*policy->allow));
    if (!policy->allow)
        return -ENOMEM;
    for (size_t i = 0; i < site->binds.n_allow; i++) {
        policy->allow[i] = (struct jb_bind_rule){
            .path = jb_arena_strdup(arena, site->binds.allow[i].path),
            .rw = site->binds.allow[i].rw,
        };
        if (!policy->allow[i].path)
            return -ENOMEM;
        policy->n_allow++;
    }
    return 0;
}

int jb_bind_policy_make(struct jb_arena *arena, const struct jb_site *site, bool submitter_is_root,
                        const char *runtime_dir, const char *state_dir, struct jb_bind_policy *ret)
{
    struct jb_bind_policy policy = {.any = submitter_is_root || site->binds.any};
    const char *const own[] = {runtime_dir, state_dir};
    policy.deny = jb_arena_alloc(arena, (site->binds.deny.len + 1) * sizeof(*policy.deny));
    policy.own = jb_arena_alloc(arena, sizeof(own));
    if (!policy.deny || !policy.own)
        return -ENOMEM;
    for (; policy.n_deny < site->binds.deny.len; policy.n_deny++) {
        policy.deny[policy.n_deny] = jb_arena_strdup(arena, site->binds.deny.items[policy.n_deny]);
        if (!policy.deny[policy.n_deny])
            return -ENOMEM;
    }
    for (; policy.n_own < JB_ARRAY_LEN(own); policy.n_own++) {
        policy.own[policy.n_own] = jb_arena_strdup(arena, own[policy.n_own]);
        if (!policy.own[policy.n_own])
            return -ENOMEM;
    }
    int r = copy_rules(arena, site, &policy);
    if (r == 0)
        *ret = policy;
    return r;
}

const char *jb_bind_refusal(const struct jb_bind_policy *policy, const char *path, bool rw)
{
    for (size_t i = 0; i < policy->n_deny; i++) {
        if (jb_path_beneath(path, policy->deny[i]))
            return "the site keeps it out of boxes";
        if (jb_path_beneath(policy->deny[i], path))
            return "it holds what the site keeps out of boxes; bind the folders in it that are needed";
    }
    for (size_t i = 0; i < policy->n_own; i++) {
        if (jb_path_beneath(path, policy->own[i]))
            return "it belongs to jobbox";
        if (rw && jb_path_beneath(policy->own[i], path))
            return "it holds a folder that belongs to jobbox; bind it read-only, or the folders in it that "
                   "are needed";
    }
    if (policy->any)
        return NULL;
    for (size_t i = 0; i < policy->n_allow; i++) {
        if (!jb_path_beneath(path, policy->allow[i].path))
            continue;
        return rw && !policy->allow[i].rw ? "the site allows it read-only; write mode: ro" : NULL;
    }
    return "it is not among the folders the site allows";
}
