/*
 * change.c - new values for the groups of a live box.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: that of the groups.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

int jb_cgroup_change(const struct jb_cgroup *cg, const struct jb_cg_layout *layout,
                     const struct jb_cg_plan *plan, struct jb_error *err)
{
    struct jb_cg_write *writes = NULL;
    size_t n = 0;
    int r = jb_cg_resolve(layout, plan, &writes, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!cg->of[writes[i].controller])
            r = jb_fail(err, ENOTSUP, "the box has no %s group", jb_controller_name(writes[i].controller));
    /* v1: memory may never be more than memory and swap together, which comes last: first when there is to be more */
    for (size_t i = 0; r == 0 && i + 1 < n; i++) {
        uint64_t now = JB_UNSET;
        uint64_t wish = 0;
        if (!jb_streq(writes[i].file, "memory.limit_in_bytes") ||
            !jb_streq(writes[n - 1].file, "memory.memsw.limit_in_bytes") ||
            jb_kread_u64(&cg->of[JB_CTL_MEMORY]->dir, writes[i].file, &now) < 0 ||
            jb_parse_u64(writes[i].value, UINT64_MAX, &wish) < 0 || wish <= now)
            continue;
        struct jb_cg_write swapped = writes[i];
        writes[i] = writes[n - 1];
        writes[n - 1] = swapped;
        break;
    }
    if (r == 0)
        r = jb_cg_write_values(cg, writes, n, err);
    jb_cg_writes_free(writes, n);
    return r;
}

uint64_t jb_cgroup_pids_now(const struct jb_cgroup *cg)
{
    const struct jb_cg_group *g = cg->of[JB_CTL_PIDS];
    uint64_t now = JB_UNSET;
    if (g)
        (void)jb_kread_u64(&g->dir, "pids.current", &now);
    return now;
}

uint64_t jb_cgroup_memory_now(const struct jb_cgroup *cg)
{
    const struct jb_cg_group *g = cg->of[JB_CTL_MEMORY];
    uint64_t now = JB_UNSET;
    if (g)
        (void)jb_kread_u64(&g->dir, g->version == 1 ? "memory.usage_in_bytes" : "memory.current", &now);
    return now;
}
