/*
 * sweep.c - finishing attempts whose supervisor is dead.
 *
 * Owns: a dead box while it holds its lock. Runs in: any jobbox process at its start. Privilege: as the dead
 * supervisor's. By ownership only: what is touched is named in the box's own file, and bears the box's id.
 *
 * There are two ways to find one. A box in the runtime directory whose slot of the ledger is filled and not locked; and,
 * once after each restart of the host or loss of the runtime directory, a slot of `attempts` in the state directory that
 * is filled and not locked, for which there is no box.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statfs.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "job/boxdir.h"
#include "job/events.h"
#include "job/job.h"
#include "job/kept/kept.h"
#include "job/notes.h"
#include "job/scratch.h"
#include "record/journal.h"
#include "record/record.h"

#define KILL_TIME (10 * JB_NS_PER_S)
#define LOOK_TIME (50 * JB_NS_PER_MS) /* where that was not enough before */
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"
#define SEEN_FILE \
    "attempts.seen" /* in the runtime directory: the boot in which `attempts` was looked through */

/* One recovery. */
struct sweep {
    struct jb_state *state;
    const struct jb_site *site;
    char *boot_id;         /* NULL: not known */
    struct jb_error first; /* what could not be finished */
    int done;
    bool left; /* something of `attempts` is to be looked at again */
};

static void note_error(struct sweep *s, struct jb_error *err, const char *what)
{
    if (s->first.errnum != 0)
        return;
    s->first = *err;
    (void)jb_wrap(&s->first, "%s", what);
}

static bool same_boot(const struct sweep *s, const json_t *record)
{
    const char *then = json_string_value(json_object_get(record, "boot_id"));
    return !then || !s->boot_id || jb_streq(s->boot_id, then);
}

/* What the box's file says must be about this box, and about cgroups. */
static int check_found(const struct jb_boxdir_found *found, const struct jb_id *id, struct jb_error *err)
{
    const char *named = json_string_value(json_object_get(found->record, "id"));
    jb_autofree char *name = jb_asprintf("jobbox-%s", id->text);
    if (!name)
        return jb_fail_errno(err, ENOMEM, "recovery");
    if ((found->record && (!named || !jb_streq(named, id->text))) || !jb_streq(found->cgroup.name, name))
        return jb_fail(err, EPERM,
                       JB_BOX_FILE
                       " is about another box, so it was not written by this one's supervisor: remove the "
                       "folder");
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++) {
        struct statfs fs;
        const char *mount = found->cgroups.ctl[c].mount;
        if (mount && statfs(mount, &fs) == 0 && fs.f_type != CGROUP_SUPER_MAGIC &&
            fs.f_type != CGROUP2_SUPER_MAGIC)
            return jb_fail(err, EPERM, JB_BOX_FILE " names %s as a cgroup mount, and it is none now", mount);
    }
    return 0;
}

/* Processes, usage, groups: whatever is left of them. */
static int finish_cgroups(const struct jb_boxdir_found *found, int box_fd, struct jb_cg_usage *ret_usage,
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
    bool stuck = box_fd >= 0 && jb_boxdir_is_stuck(box_fd);
    r = jb_cgroup_kill(cg, stuck ? LOOK_TIME : KILL_TIME, err);
    if (r == -ETIMEDOUT && box_fd >= 0 && !stuck)
        jb_boxdir_set_stuck(box_fd);
    if (r == 0 && jb_cgroup_usage_stable(cg, 10, ret_usage, NULL) == 0)
        *ret_has_usage = true;
    JB_CRASH_POINT(lost_usage_read);
    if (r == 0)
        r = jb_cgroup_destroy(cg, KILL_TIME, err);
    if (r == 0)
        jb_cgroup_remove_leaf(cg);
    jb_cgroup_free(cg);
    return r;
}

static int finish_record(const struct sweep *s, struct jb_boxdir_found *found, const struct jb_id *id,
                         const struct jb_cg_usage *usage, struct jb_error *err)
{
    struct jb_outcome out = {
        .reason = same_boot(s, found->record) ? JB_END_SUPERVISOR_LOST : JB_END_HOST_RESTARTED,
        .exit_code = -1,
        .started_us = JB_UNSET,
        .ended_us = JB_UNSET,
        .setup_ns = JB_UNSET,
        .wall_ns = JB_UNSET,
        .paused_ns = JB_UNSET,
        .scratch_used = JB_UNSET,
        .scratch_peak = JB_UNSET,
        .net_received = JB_UNSET,
        .net_sent = JB_UNSET,
        .stdout_bytes = JB_UNSET,
        .stderr_bytes = JB_UNSET,
        .execs = found->execs,
    };
    json_t *kept = jb_kept_summary(s->state->state_fd, s->state->state_dir, id);
    out.kept = kept; /* all of it was there when the supervisor died */
    int r = jb_record_finish(found->record, &out, usage, err);
    json_decref(kept);
    if (r == 0 && found->damage[0])
        r = jb_record_warn(found->record, err, "%s; this record is made of the others and of what is left",
                           found->damage);
    return r;
}

static int save_finished(const struct jb_boxdir_found *found, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(found->record, &line, &len, err);
    if (r == 0 && found->fd >= 0)
        r = jb_boxdir_save_finished(found->fd, line, len, err);
    JB_CRASH_POINT(finished_saved);
    return r;
}

static int append_once(const struct sweep *s, struct jb_boxdir_found *found, const struct jb_id *id,
                       struct jb_error *err)
{
    (void)jb_record_destroyed(found->record, jb_wall_us(NULL), JB_UNSET);
    int r = jb_journal_has(s->state->state_fd, id->text, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = jb_journal_append(s->state->state_fd, s->site->journal_sync, found->record, err);
    if (r == 0)
        (void)jb_sinks_emit(s->site, found->record, NULL);
    JB_CRASH_POINT(sinks_served);
    return r;
}

static const char *end_reason(const struct jb_boxdir_found *found)
{
    const char *reason = json_string_value(jb_record_get(found->record, "end", "reason"));
    return reason ? reason : "unknown";
}

/* What the box made outside of its directory goes; its record, when there is one, is finished. */
static int destroy(const struct sweep *s, struct jb_boxdir_found *found, const struct jb_id *id, int box_fd,
                   struct jb_error *err)
{
    struct jb_cg_usage usage = {0};
    bool has_usage = false;
    int r = finish_cgroups(found, box_fd, &usage, &has_usage, err);
    if (r == 0 && found->record && !found->finished) {
        r = finish_record(s, found, id, has_usage ? &usage : NULL, err);
        if (r == 0) /* so that the next try does not lose what was read before the groups went */
            r = save_finished(found, err);
    }
    if (has_usage)
        jb_cg_usage_free(&usage);
    if (r == 0 && found->scratch_on_disk)
        r = jb_scratch_remove(s->state->state_fd, id, err);
    JB_CRASH_POINT(scratch_removed);
    return r;
}

/*
 * Everything from what is known of a box to its record; repeated as a whole when it is cut off. `box_fd`: -1 when there
 * is no folder any more.
 */
static int finish(const struct sweep *s, struct jb_boxdir_found *found, const struct jb_id *id, int box_fd,
                  struct jb_error *err)
{
    bool unfinished = found->record && !found->finished;
    int r = check_found(found, id, err);
    if (r == 0)
        r = destroy(s, found, id, box_fd, err);
    if (r == 0 && unfinished) /* a finished record means that they were kept; losing them holds nothing up */
        (void)jb_events_recover(id, box_fd, s->state->state_fd, end_reason(found), NULL);
    return r == 0 && found->record ? append_once(s, found, id, err) : r;
}

static int damaged(const struct sweep *s, const struct jb_boxdir_found *found, const struct jb_id *id,
                   struct jb_error *err)
{
    return jb_fail(
        err, EUCLEAN,
        "%s, and what it said is nowhere else, so no record can be made: end what is left in the cgroups "
        "named jobbox-%s, remove them with rmdir, then remove the folder %s/boxes/%s",
        found->damage, id->text, s->state->runtime_dir, id->text);
}

static int finish_box(const struct sweep *s, const struct jb_id *id, int box_fd, struct jb_error *err)
{
    struct jb_boxdir_found found = {.fd = -1};
    struct jb_note note = JB_NOTE_INIT;
    jb_autobuf struct jb_buf lines = {0};
    int r = jb_boxdir_load(box_fd, &found, err);
    if (r < 0)
        return r;
    JB_CRASH_POINT(box_loaded);
    bool noted = jb_note_find(s->state->state_fd, id, &note, &lines) == 1;
    if (noted)
        jb_boxdir_learn(lines.data, &found);
    if (found.damage[0] && (!found.record || !found.planned))
        r = damaged(s, &found, id, err);
    else if (found.planned)
        r = finish(s, &found, id, box_fd, err);
    jb_boxdir_found_free(&found);
    if (r == 0 && noted)
        jb_note_forget(&note);
    jb_note_close(&note);
    return r < 0 ? r : jb_ledger_release(&s->state->ledger, id, err);
}

static int sweep_ledger(struct sweep *s, size_t tests, struct jb_error *err)
{
    jb_autofree struct jb_id *ids = NULL;
    size_t n = 0;
    int r = jb_ledger_dead(&s->state->ledger, tests, &ids, &n, err);
    if (r == 0 && n > 0)
        JB_CRASH_POINT(dead_found);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct jb_error one = {0};
        char what[64];
        jb_autoclose int box_fd = -1;
        jb_autoclose int lock_fd = -1;
        int adopted = jb_ledger_adopt(&s->state->ledger, &ids[i], &box_fd, &lock_fd, &one);
        if (adopted == -EAGAIN || adopted == -ENOENT)
            continue;
        JB_CRASH_POINT(box_adopted);
        if (adopted == 0)
            adopted = finish_box(s, &ids[i], box_fd, &one);
        s->done += adopted >= 0;
        (void)snprintf(what, sizeof(what), "recovering box %s", ids[i].text);
        if (adopted < 0)
            note_error(s, &one, what);
    }
    return r;
}

/* --- attempts without a box --- */

static bool has_box(const struct sweep *s, const struct jb_id *id)
{
    struct stat st;
    return fstatat(s->state->ledger.boxes_fd, id->text, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void finish_attempt(void *ctx, struct jb_note *attempt, const struct jb_id *id,
                           const struct jb_buf *lines)
{
    struct sweep *s = ctx;
    struct jb_error err = {0};
    struct jb_boxdir_found found = {.fd = -1};
    char what[80];
    if (!id) { /* it was being written when the host went down */
        (void)jb_fail(&err, EUCLEAN,
                      "attempts: slot %zu of the state directory is damaged; the attempt that it was about "
                      "has no record",
                      attempt->slot);
        note_error(s, &err, "recovery");
        jb_note_forget(attempt);
        return;
    }
    if (has_box(s, id)) { /* could not be finished just now, or by us */
        s->left = true;
        return;
    }
    jb_boxdir_learn(lines->data, &found);
    int r = finish(s, &found, id, -1, &err);
    jb_boxdir_found_free(&found);
    if (r == 0) {
        jb_note_forget(attempt);
        s->done++;
        return;
    }
    s->left = true;
    (void)snprintf(what, sizeof(what), "recovering attempt %s", id->text);
    note_error(s, &err, what);
}

static bool seen(const struct sweep *s)
{
    jb_autofree char *text = NULL;
    return s->boot_id && jb_read_at(s->state->runtime_fd, SEEN_FILE, 256, &text, NULL) == 0 &&
           jb_streq(text, s->boot_id);
}

/* Whoever holds a slot lives, and will finish his attempt himself; unless he dies, without a box by then. */
static int sweep_attempts(struct sweep *s, struct jb_error *err)
{
    if (seen(s))
        return 0;
    int held = jb_notes_each(s->state->state_fd, finish_attempt, s);
    JB_CRASH_POINT(attempts_seen);
    if (held < 0)
        return jb_fail_errno(err, held, "reading attempts in %s", s->state->state_dir);
    if (held == 0 && !s->left && s->boot_id)
        (void)jb_replace_at(s->state->runtime_fd, SEEN_FILE, s->boot_id, strlen(s->boot_id), 0600);
    return 0;
}

static int sweep(struct jb_state *state, const struct jb_site *site, size_t tests, struct jb_error *err)
{
    struct sweep s = {.state = state, .site = site};
    jb_autofree char *boot_id = NULL;
    if (jb_read_at(AT_FDCWD, BOOT_FILE, 256, &boot_id, NULL) == 0) {
        boot_id[strcspn(boot_id, "\n")] = '\0';
        s.boot_id = boot_id;
    }
    int r = sweep_ledger(&s, tests, err);
    if (r == 0)
        r = sweep_attempts(&s, err);
    if (r == 0) { /* what of the dead was being kept is in nobody's way, and gone now */
        struct jb_error one = {0};
        if (jb_kept_sweep(state->state_fd, site->kept.max_age, &one) < 0)
            note_error(&s, &one, "kept boxes");
    }
    if (r == 0 && err && s.first.errnum)
        *err = s.first;
    return r < 0 ? r : s.done;
}

int jb_sweep(struct jb_state *state, const struct jb_site *site, struct jb_error *err)
{
    return sweep(state, site, JB_LEDGER_ALL, err);
}

int jb_sweep_some(struct jb_state *state, const struct jb_site *site, struct jb_error *err)
{
    return sweep(state, site, JB_LEDGER_TESTS, err);
}
