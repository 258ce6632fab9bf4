/*
 * conclude.c - figures, record, journal, removal: how an attempt goes.
 *
 * Owns: what is left of the attempt. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "job/attempt.h"
#include "job/boxdir.h"
#include "job/scratch.h"
#include "record/journal.h"

#define KILL_TIME    (10 * JB_NS_PER_S)
#define DESTROY_TIME (10 * JB_NS_PER_S)
#define LOSS_TIME    (JB_NS_PER_S / 10)

bool jb_job_init_waits(const struct jb_plan *plan)
{
    return plan->n_artifacts > 0 || plan->network == JB_NETWORK_USER || plan->fuse.program;
}

/* Everything of the job is dead; jobbox-init leaves, and the kernel takes its namespaces apart, while we go on. */
static void dismiss(struct jb_job_attempt *a)
{
    struct jb_msg quit = {.type = JB_MSG_QUIT};
    jb_nethelper_end(&a->helper);
    if (!a->box_up)
        return;
    if (!a->outcome.has_rusage)
        jb_box_kill(&a->box);
    else if (jb_job_init_waits(a->plan))
        (void)jb_box_tell(&a->box, &quit);
}

/* They had their time: who hangs in the kernel now is not waited for once more. */
static uint64_t kill_time(const struct jb_job_attempt *a)
{
    return a->outcome.stuck ? 0 : KILL_TIME;
}

/* Usage is read when all are dead and before anything is taken away. `left`: which are not, if so. */
static int read_usage(struct jb_job_attempt *a, struct jb_cg_usage *ret, struct jb_error *left)
{
    if (!a->cgroup)
        return -ENOENT;
    if (!a->outcome.has_rusage)
        a->outcome.stuck = jb_cgroup_kill(a->cgroup, kill_time(a), left) == -ETIMEDOUT;
    /* reaped by init, all of the job is in the counters; what was killed from outside may still be on its way */
    int r = a->outcome.has_rusage ? jb_cgroup_usage(a->cgroup, ret, NULL)
                                  : jb_cgroup_usage_stable(a->cgroup, 10, ret, NULL);
    if (r == 0 && a->has_before)
        jb_cg_usage_subtract(ret, &a->before); /* what building the box cost before GO is not the job's */
    return r;
}

/* jobbox-init reaped all of the job before it left; only where it could not say so must anything be killed. */
static int tear_down(struct jb_job_attempt *a, struct jb_error *err)
{
    int r = 0;
    if (a->cgroup) {
        if (!a->outcome.has_rusage)
            r = jb_cgroup_kill(a->cgroup, kill_time(a), err);
        if (r == 0)
            r = jb_cgroup_destroy(a->cgroup, DESTROY_TIME, err);
        if (r == -EBUSY && jb_cgroup_kill(a->cgroup, KILL_TIME, err) == 0)
            r = jb_cgroup_destroy(a->cgroup, DESTROY_TIME, err);
        jb_cgroup_free(a->cgroup);
        a->cgroup = NULL;
    }
    if (r == 0 && a->plan && jb_plan_scratch_on_disk(a->plan))
        r = jb_scratch_remove(a->o->state->state_fd, &a->id, err);
    JB_CRASH_POINT(scratch_removed);
    return r;
}

/*
 * While jobbox-init still stands what serves the root does too, unless something was wrong with it: the job fails of that,
 * and the keeper of the program is told no sooner than the job.
 */
static bool lost_root(const struct jb_job_attempt *a)
{
    bool failed = a->outcome.exit_code != 0 || a->outcome.signal != 0;
    return a->outcome.has_rusage && jb_helper_is_gone(&a->fuse, failed ? LOSS_TIME : 0);
}

/* Figures into the record, then the box's processes and namespaces are waited out: that is its destruction. */
static int finish_record(struct jb_job_attempt *a, struct jb_error *err)
{
    struct jb_cg_usage usage = {0};
    struct jb_error alive = {0};
    uint64_t begun = jb_mono_ns(NULL);
    bool lost = lost_root(a);
    dismiss(a);
    JB_CRASH_POINT(quit_told);
    bool has_usage = read_usage(a, &usage, &alive) == 0;
    JB_CRASH_POINT(usage_read);
    int r = a->record ? 0 : jb_record_draft(a->plan, &a->origin, &a->record, err);
    if (r == 0)
        r = jb_record_finish(a->record, &a->outcome, has_usage ? &usage : NULL, err);
    if (r == 0 && a->outcome.stuck && alive.text[0])
        r = jb_record_warn(a->record, err, "%s; what it does from now on is not counted", alive.text);
    if (has_usage)
        jb_cg_usage_free(&usage);
    /* while the kernel takes the box apart; losing them does not fail the job */
    (void)jb_events_keep(&a->events, a->o->state->state_fd, NULL);
    JB_CRASH_POINT(events_kept);
    pid_t first = a->box.pid;
    bool late = a->box_up && jb_box_close_within(&a->box, kill_time(a)) < 0;
    a->box_up = false;
    jb_fusehelper_end(&a->fuse); /* with the last who had the root, it has ended by itself */
    if (r == 0 && lost)
        r = jb_record_warn(
            a->record, err,
            "%s, which served the box's root, ended before the job did: from then on nothing of "
            "the root could be used (ENOTCONN)",
            a->plan->fuse.program);
    if (r == 0 && late && !a->cgroup) /* only the box itself can be named */
        r = jb_record_warn(
            a->record, err,
            "process %d, the first of the box, and what it waits for did not end after SIGKILL; "
            "what it does from now on is not counted",
            (int)first);
    JB_CRASH_POINT(box_reaped);
    if (r == 0 && jb_record_destroyed(a->record, jb_wall_us(NULL), jb_mono_ns(NULL) - begun) < 0)
        r = jb_fail_errno(err, ENOMEM, "record");
    return r;
}

int jb_job_conclude(struct jb_job_attempt *a, struct jb_error *warning, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len = 0;
    int r = finish_record(a, err);
    if (r == 0)
        r = jb_record_line(a->record, &line, &len, err);
    if (r < 0)
        return r;
    jb_autoclose int journal = -1;
    enum jb_sync sync = a->o->site->journal_sync;
    struct jb_error other = {0};
    int saved = jb_boxdir_save_finished(a->file_fd, line, len, &other);
    JB_CRASH_POINT(finished_saved);
    r = jb_journal_write(a->o->state->state_fd, sync, line, len, a->record, &journal, err);
    if (r < 0 && saved < 0)
        return r; /* the figures are nowhere but in the groups: whoever comes next reads them again */
    int left = tear_down(a, r < 0 ? &other : err);
    if (r == 0)
        r = jb_journal_sync(journal, sync, left < 0 ? &other : err);
    if (a->outcome.stuck)
        jb_boxdir_set_stuck(a->box_fd);
    if (r == 0)
        (void)jb_sinks_emit(a->o->site, a->record, warning);
    JB_CRASH_POINT(sinks_served);
    if (r < 0 || left < 0)
        return r < 0 ? r : left; /* the box's directory stays, with its record: the next start tries again */
    jb_note_forget(&a->note);
    jb_boxdir_end(a->box_fd);
    return jb_ledger_release(&a->o->state->ledger, &a->id, err);
}

void jb_job_attempt_free(struct jb_job_attempt *a)
{
    if (a->streams_open)
        jb_streams_close(&a->streams);
    jb_cgroup_free(a->cgroup);
    if (a->has_before)
        jb_cg_usage_free(&a->before);
    jb_note_close(&a->note);
    jb_buf_free(&a->plan_line);
    jb_close(&a->image_fd);
    jb_close(&a->box_fd);
    jb_close(&a->file_fd);
    jb_close(&a->lock_fd);
    jb_events_free(&a->events);
    free(a->box_dir);
    json_decref(a->outcome.execs);
    json_decref(a->outcome.changes);
    json_decref(a->outcome.kept);
    jb_changes_free(&a->changes);
    free(a->outcome.limit);
    free(a->outcome.killed_by);
    jb_plan_free(a->plan);
    jb_host_free(&a->host);
    jb_scope_leave(&a->scope);
}
