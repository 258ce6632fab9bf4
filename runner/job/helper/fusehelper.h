/*
 * fusehelper.h - fuse-overlayfs, which serves the root of an ordinary user's box where the kernel's overlay cannot.
 *
 * Owns: see helper.h. Runs in: the supervisor, and a keeper (keeper.h). Privilege: of the box's user namespace, what it
 * takes to be the owner of every file in it and nothing else; behind the job's filter, with no_new_privs.
 *
 * What it writes is the job's: it is in the box's groups for memory, CPUs and disks, so that limits hold for a scratch in
 * memory too. It is not in those by which processes are counted or frozen, where they are groups of their own.
 */
#ifndef JB_JOB_FUSEHELPER_H
#define JB_JOB_FUSEHELPER_H

#include "box/box.h"
#include "job/helper/helper.h"

/*
 * Starts it for a box that has been launched, with all groups made; returns when it serves. Nothing where the plan has none.
 * `dir`: the box's directory, to mount on where only the keeper sees it. `cgroup` NULL: none.
 */
int jb_fusehelper_start(const struct jb_plan *plan, struct jb_box *box, const char *dir,
                        const struct jb_cgroup *cgroup, struct jb_helper *ret, struct jb_error *err);

/* Ends it and waits for it. Nothing where there is none. */
void jb_fusehelper_end(struct jb_helper *helper);

#endif
