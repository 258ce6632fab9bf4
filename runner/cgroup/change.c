/*
 * change.c - new values for the groups of a live box.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: that of the groups.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

/* v1: memory may never be more than memory and swap together, which comes later: first when there is to be more. */
static void order_memory(const struct jb_cgroup *cg, struct jb_cg_write *writes, size_t n)
{
    struct jb_cg_write *memory = NULL;
    struct jb_cg_write *both = NULL;
    uint64_t now = JB_UNSET;
    uint64_t wish = 0;
    for (size_t i = 0; i < n; i++) {
        if (jb_streq(writes[i].file, "memory.limit_in_bytes"))
            memory = &writes[i];
        else if (jb_streq(writes[i].file, "memory.memsw.limit_in_bytes"))
            both = &writes[i];
    }
    if (!memory || !both || jb_kread_u64(&cg->of[JB_CTL_MEMORY]->dir, memory->file, &now) < 0 ||
        jb_parse_u64(memory->value, UINT64_MAX, &wish) < 0 || wish <= now)
        return;
    struct jb_cg_write swapped = *memory;
    *memory = *both;
    *both = swapped;
}

int jb_cgroup_change(const struct jb_cgroup *cg, const struct jb_cg_layout *layout,
                     const struct jb_cg_plan *plan, struct jb_error *err)
{
    struct jb_cg_write *writes = NULL;
    size_t n = 0;
    int r = jb_cg_resolve(layout, plan, &writes, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!cg->of[writes[i].controller])
            r = jb_fail(err, ENOTSUP, "the box has no %s group", jb_controller_name(writes[i].controller));
    if (r == 0)
        order_memory(cg, writes, n);
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
