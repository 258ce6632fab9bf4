/*
 * place.c - where in the tree of cgroups the jobs of a queue are, when systemd is the service manager.
 *
 * Owns: nothing. Runs in: jobboxd when it has put itself into the background, else the nursery. Privilege: jobboxd's.
 *
 * One delegated scope holds all jobs of a daemon. It is not the unit of jobboxd itself: while there are jobs, groups that
 * pass controllers on lie in it, and no manager could start another jobboxd in a group like that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/scope.h"
#include "queue/launch.h"

void jb_queue_take_place(const struct jb_site *site, const struct jb_submitter *self)
{
    struct jb_cg_layout layout = {0};
    struct jb_scope scope = {0};
    struct jb_error err = {0};
    char name[32];
    (void)snprintf(name, sizeof(name), "jobbox-queue-%d", (int)getpid());
    const struct jb_scope_wish wish = {
        .use = site->cgroups.systemd,
        .slice = site->cgroups.slice,
        .name = name,
        .description = "jobbox: jobs of the queue",
        .uid = self->uid,
        .many = true,
    };
    if (site->paths.cgroup_parent || !jb_scope_booted(&wish))
        return;
    /* What stands against it stands against each job, and is told there. */
    if (jb_cg_layout_probe(NULL, &layout, &err) == 0)
        (void)jb_scope_enter(&wish, &layout, &scope, &err);
    jb_cg_layout_free(&layout);
    free(scope.home); /* not gone back to: the scope goes with the last process in it */
    free(scope.leaf);
}
