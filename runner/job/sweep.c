/*
 * sweep.c - finishing boxes whose supervisor is dead.
 *
 * Owns: a dead box while it holds its lock. Runs in: any jobbox process at its start. Privilege: as the dead
 * supervisor's. By ownership only: what is touched is named in the box's own file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "job/boxdir.h"
#include "job/events.h"
#include "job/job.h"
#include "record/journal.h"
#include "record/record.h"

#define KILL_TIME (10 * JB_NS_PER_S)

static bool same_boot(const json_t *record)
{
    jb_autofree char *now = NULL;
    const char *then = json_string_value(json_object_get(record, "boot_id"));
    if (!then || jb_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 256, &now, NULL) < 0)
        return true;
    return strncmp(now, then, strlen(then)) == 0;
}

/* Processes, usage, groups: whatever is left of them. */
static int finish_cgroups(const struct jb_boxdir_found *found, struct jb_cg_usage *ret_usage,
                          bool *ret_has_usage, struct jb_error *err)
{
    struct jb_cgroup *cg = NULL;
    int r = jb_cgroup_open(&found->cgroups, &found->cgroup, &cg, err);
    if (r == -ENOENT) {
        jb_error_clear(err);
        return 0;
    }
    if (r < 0)
        return r;
    r = jb_cgroup_kill(cg, KILL_TIME, err);
    if (r == 0 && jb_cgroup_usage_stable(cg, 10, ret_usage, NULL) == 0)
        *ret_has_usage = true;
    if (r == 0)
        r = jb_cgroup_destroy(cg, KILL_TIME, err);
    jb_cgroup_free(cg);
    return r;
}

static int finish_record(struct jb_boxdir_found *found, const struct jb_cg_usage *usage, struct jb_error *err)
{
    struct jb_outcome out = {
        .reason = same_boot(found->record) ? JB_END_SUPERVISOR_LOST : JB_END_HOST_RESTARTED,
        .exit_code = -1,
        .started_us = JB_UNSET,
        .ended_us = JB_UNSET,
        .setup_ns = JB_UNSET,
        .wall_ns = JB_UNSET,
        .paused_ns = JB_UNSET,
        .scratch_used = JB_UNSET,
        .stdout_bytes = JB_UNSET,
        .stderr_bytes = JB_UNSET,
    };
    return jb_record_finish(found->record, &out, usage, err);
}

static int save_finished(const struct jb_boxdir_found *found, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(found->record, &line, &len, err);
    return r < 0 ? r : jb_boxdir_save_finished(found->fd, line, len, err);
}

/* What the box made outside of its directory goes; its record, when there is one, is finished. */
static int destroy_box(struct jb_state *state, const struct jb_id *id, struct jb_boxdir_found *found,
                       struct jb_cg_usage *ret_usage, bool *ret_has_usage, struct jb_error *err)
{
    int r = finish_cgroups(found, ret_usage, ret_has_usage, err);
    if (r == 0 && found->record && !found->finished) {
        r = finish_record(found, *ret_has_usage ? ret_usage : NULL, err);
        if (r == 0) /* so that the next try does not lose what was read before the groups went */
            r = save_finished(found, err);
    }
    if (r == 0 && found->scratch_on_disk)
        r = jb_boxdir_remove_scratch(state->state_fd, id, err);
    return r;
}

static int publish(const struct jb_state *state, const struct jb_site *site, const struct jb_id *id,
                   json_t *record, struct jb_error *err)
{
    (void)jb_record_destroyed(record, jb_wall_us(NULL), JB_UNSET);
    int r = jb_journal_has(state->state_fd, id->text, err);
    if (r != 0)
        return r;
    r = jb_journal_append(state->state_fd, site->journal_sync, record, err);
    if (r == 0)
        (void)jb_sinks_emit(site, record, NULL);
    return r;
}

static const char *end_reason(const struct jb_boxdir_found *found)
{
    const char *reason = json_string_value(jb_record_get(found->record, "end", "reason"));
    return reason ? reason : "unknown";
}

static int finish_box(struct jb_state *state, const struct jb_site *site, const struct jb_id *id, int box_fd,
                      struct jb_error *err)
{
    struct jb_boxdir_found found = {.fd = -1};
    struct jb_cg_usage usage = {0};
    bool has_usage = false;
    int r = jb_boxdir_load(box_fd, &found, err);
    bool unfinished = r == 0 && found.record && !found.finished;
    if (r == 0 && found.planned)
        r = destroy_box(state, id, &found, &usage, &has_usage, err);
    if (r == 0 && unfinished) /* a finished record means that they were kept; losing them holds nothing up */
        (void)jb_events_recover(id, box_fd, state->state_fd, end_reason(&found), NULL);
    if (r == 0 && found.record)
        r = publish(state, site, id, found.record, err);
    if (has_usage)
        jb_cg_usage_free(&usage);
    jb_boxdir_found_free(&found);
    return r < 0 ? r : jb_ledger_release(&state->ledger, id, err);
}

int jb_sweep(struct jb_state *state, const struct jb_site *site, struct jb_error *err)
{
    jb_autofree struct jb_id *ids = NULL;
    size_t n = 0;
    int done = 0;
    struct jb_error first = {0};
    int r = jb_ledger_dead(&state->ledger, &ids, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct jb_error one = {0};
        jb_autoclose int box_fd = -1;
        jb_autoclose int lock_fd = -1;
        r = jb_ledger_adopt(&state->ledger, &ids[i], &box_fd, &lock_fd, &one);
        if (r == -EAGAIN || r == -ENOENT)
            continue;
        if (r == 0)
            r = finish_box(state, site, &ids[i], box_fd, &one);
        if (r >= 0) {
            done++;
        } else if (first.errnum == 0) {
            first = one;
            (void)jb_wrap(&first, "recovering box %s", ids[i].text);
        }
    }
    if (err && first.errnum)
        *err = first;
    return done;
}
