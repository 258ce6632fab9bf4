/*
 * idmap.c - newuidmap and newgidmap.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none.
 */
#include "box/idmap.h"

#include <stdio.h>

#include "base/program.h"
#include "base/units.h"

#define MAP_TIME (20 * JB_NS_PER_S)

static int map(const char *program, pid_t pid, unsigned outside, const struct jb_id_range *range,
               struct jb_error *err)
{
    char numbers[4][16];
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%d", (int)pid);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%u", outside);
    (void)snprintf(numbers[2], sizeof(numbers[2]), "%u", (unsigned)range->start);
    (void)snprintf(numbers[3], sizeof(numbers[3]), "%u", (unsigned)range->count);
    const char *argv[] = {program, numbers[0], "0", numbers[1], "1", "1", numbers[2], numbers[3], NULL};
    return jb_program_run((char *const *)argv, MAP_TIME, err);
}

int jb_idmap_write(const struct jb_plan *plan, pid_t pid, struct jb_error *err)
{
    if (plan->ids.uids.count == 0)
        return 0;
    int r = map(plan->ids.uid_program, pid, plan->submitter_uid, &plan->ids.uids, err);
    if (r == 0)
        r = map(plan->ids.gid_program, pid, plan->submitter_gid, &plan->ids.gids, err);
    return r < 0 ? jb_wrap(err, "mapping ids into the user namespace") : 0;
}
