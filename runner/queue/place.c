/*
 * place.c - where in the tree of cgroups the jobs of a queue are, when systemd is the service manager.
 *
 * Owns: nothing. Runs in: jobboxd when it has put itself into the background, else the nursery. Privilege: jobboxd's.
 *
 * One delegated scope holds all jobs of a daemon. It is not the unit of jobboxd itself: while there are jobs, groups that
 * pass controllers on lie in it, and no manager could start another jobboxd in a group like that.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/scope.h"
#include "job/place.h"
#include "queue/launch.h"

#define NAME_LEN 32

static struct jb_place_wish wish_of(const struct jb_submitter *self, char name[NAME_LEN])
{
    (void)snprintf(name, NAME_LEN, "jobbox-queue-%d", (int)getpid());
    return (struct jb_place_wish){
        .name = name, .description = "jobbox: jobs of the queue", .uid = self->uid, .many = true};
}

/* Jobs that are started there are in their own place, so they go by the affinity: that is to be all that the cpuset has. */
static void run_anywhere(const struct jb_cg_layout *layout)
{
    struct jb_cg_cpuset set;
    struct jb_error none = {0};
    if (jb_cg_cpuset_of(layout, &set, &none) < 0)
        return;
    memset(set.cpus.w, 0xff, sizeof(set.cpus.w)); /* the kernel takes of it what is in force, now and later */
    (void)sched_setaffinity(0, sizeof(set.cpus.w), (const cpu_set_t *)(const void *)set.cpus.w);
}

void jb_queue_take_place(const struct jb_site *site, const struct jb_submitter *self)
{
    struct jb_cg_layout layout = {0};
    struct jb_scope scope = {0};
    struct jb_error err = {0};
    char name[NAME_LEN];
    bool elsewhere;
    const struct jb_place_wish wish = wish_of(self, name);
    if (site->paths.cgroup_parent || !jb_scope_booted(&(struct jb_scope_wish){0}))
        return;
    /* What stands against it stands against each job, and is told there. */
    if (jb_cg_layout_probe(NULL, &layout, &err) == 0 &&
        jb_place_find(site, &wish, &layout, &scope, &elsewhere, &err) == 0 && elsewhere)
        run_anywhere(&layout);
    jb_cg_layout_free(&layout);
    free(scope.home); /* not gone back to: the scope goes with the last process in it */
    free(scope.leaf);
}

int jb_queue_machine(const struct jb_site *site, const struct jb_state *state,
                     const struct jb_submitter *self, struct jb_machine *ret, struct jb_error *err)
{
    struct jb_cg_layout layout = {0};
    struct jb_error none = {0};
    char name[NAME_LEN];
    const struct jb_place_wish wish = wish_of(self, name);
    struct jb_place place = {
        .site = site, .layout = &layout, .ledger = &state->ledger, .cache_dirfd = state->runtime_fd};
    /* A place that cannot be found is told to each job that wants it. */
    if (jb_cg_layout_probe(NULL, &layout, &none) < 0 ||
        jb_place_find(site, &wish, &layout, NULL, &place.elsewhere, &none) < 0)
        jb_cg_layout_free(&layout);
    int r = jb_place_machine(&place, ret, err);
    jb_cg_layout_free(&layout);
    return r;
}
