/*
 * place.c - where a box is made, and whose CPUs it may have: its place's, or its starter's.
 *
 * Owns: nothing. Runs in: the supervisor, jobboxd, the client. Privilege: none, but what entering a scope takes.
 */
#include "job/place.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

/* Those of the place that are not in force there although they were given to it, and that a live box holds: its partition. */
static int add_partitions(const struct jb_place *place, const struct jb_cg_cpuset *set, struct jb_cpus *into,
                          struct jb_error *err)
{
    struct jb_ledger ledger = {0};
    struct jb_cpus missing = set->given;
    jb_cpus_andnot(&missing, &set->cpus);
    if (!place->ledger || place->ledger->boxes_fd < 0 || jb_cpus_empty(&missing))
        return 0;
    int r = jb_ledger_glance(place->ledger, &ledger, err);
    if (r < 0)
        return r;
    jb_cpus_and(&missing, &ledger.held);
    jb_cpus_or(into, &missing);
    jb_ledger_free(&ledger);
    return 0;
}

int jb_place_machine(const struct jb_place *place, struct jb_machine *ret, struct jb_error *err)
{
    struct jb_machine_source source = {.cache_dirfd = place->cache_dirfd,
                                       .cache_readonly = place->cache_readonly,
                                       .reserved = &place->site->reserved_cpus};
    bool ours =
        !place->elsewhere && place->layout->ctl[JB_CTL_CPUSET].version != 2; /* v1 has no partitions */
    struct jb_cg_cpuset set;
    struct jb_cpus cpus = {0};
    int r = ours ? -ENOENT : jb_cg_cpuset_of(place->layout, &set, err);
    bool has_set = r == 0;
    if (r == -ENOENT && !place->also)
        return jb_machine_load(&source, ret, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (has_set && place->elsewhere) {
        cpus = set.cpus;
        source.allowed_mems = &set.mems;
    } else {
        r = jb_machine_own_cpus(&cpus, err);
    }
    if (r >= 0 && has_set)
        r = add_partitions(place, &set, &cpus, err);
    if (place->also)
        jb_cpus_or(&cpus, place->also);
    source.allowed_cpus = &cpus;
    return r < 0 && r != -ENOENT ? r : jb_machine_load(&source, ret, err);
}

static const char *own_of(const struct jb_cg_layout *layout)
{
    const char *cpuset = layout->ctl[JB_CTL_CPUSET].own;
    return cpuset ? cpuset : layout->ctl[JB_CTL_UNIFIED].own;
}

int jb_place_find(const struct jb_site *site, const struct jb_place_wish *wish, struct jb_cg_layout *layout,
                  struct jb_scope *scope, bool *ret_elsewhere, struct jb_error *err)
{
    const struct jb_scope_wish w = {
        .use = site->cgroups.systemd,
        .slice = site->cgroups.slice,
        .name = wish->name,
        .description = wish->description,
        .uid = wish->uid,
        .many = wish->many,
    };
    layout->backend = site->cgroups.backend;
    *ret_elsewhere = site->paths.cgroup_parent != NULL;
    if (site->paths.cgroup_parent)
        return jb_cg_layout_reparent(layout, site->paths.cgroup_parent, err);
    const char *own = own_of(layout);
    jb_autofree char *was = own ? strdup(own) : NULL;
    if (own && !was)
        return jb_fail_errno(err, ENOMEM, "scope");
    int r = scope ? jb_scope_enter(&w, layout, scope, err) : jb_scope_predict(&w, layout, err);
    /* Also of who went along: kernels differ in what they leave of its affinity then. */
    const char *place = own_of(layout);
    *ret_elsewhere = r == 0 && was && place && !jb_path_beneath(was, place);
    return r;
}
