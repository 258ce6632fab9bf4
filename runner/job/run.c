/*
 * run.c - one attempt, from spec to record.
 *
 * Owns: the order of things, and the signals while it goes. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/json.h"
#include "box/message.h"
#include "box/net.h"
#include "job/artifacts.h"
#include "job/attempt.h"
#include "job/kept/kept.h"
#include "job/update.h"

/* Signals are taken through a descriptor while the job lives; what the caller ignores (nohup) stays ignored.
 */
static int take_signals(sigset_t *ret_old, struct jb_error *err)
{
    static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP};
    sigset_t mask;
    sigset_t blocked;
    sigemptyset(&mask);
    for (size_t i = 0; i < JB_ARRAY_LEN(taken); i++) {
        struct sigaction current;
        if (sigaction(taken[i], NULL, &current) == 0 && current.sa_handler != SIG_IGN)
            sigaddset(&mask, taken[i]);
    }
    blocked = mask;
    sigaddset(&blocked, SIGPIPE); /* a reader that is gone is an errno here */
    if (sigprocmask(SIG_BLOCK, &blocked, ret_old) < 0)
        return jb_fail_errno(err, errno, "signals");
    int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        int saved = errno;
        (void)sigprocmask(SIG_SETMASK, ret_old, NULL);
        return jb_fail_errno(err, saved, "signals");
    }
    return fd;
}

/* `ran`: the job did, and what it wrote in the end nobody carried. */
static void note_failure(struct jb_job_attempt *a, bool ran, const char *text)
{
    (void)jb_events_add(&a->events, JB_UNSET, "end", ",\"reason\":\"%s\"",
                        jb_end_reason_name(JB_END_BOX_ERROR));
    a->outcome = (struct jb_outcome){
        .reason = JB_END_BOX_ERROR,
        .exit_code = -1,
        .error = text,
        .started_us = JB_UNSET,
        .ended_us = jb_wall_us(NULL),
        .setup_ns = JB_UNSET,
        .wall_ns = JB_UNSET,
        .paused_ns = JB_UNSET,
        .scratch_used = JB_UNSET,
        .scratch_peak = JB_UNSET,
        .net_received = JB_UNSET,
        .net_sent = JB_UNSET,
        .stdout_bytes = ran ? a->streams.out.bytes : 0,
        .stderr_bytes = ran ? a->streams.err.bytes : 0,
        .output_truncated = ran,
    };
}

/* The draft from before GO knows nothing of the isolation that was read back; of a job that is over the end tells it. */
static int settled(void *ctx, struct jb_error *err)
{
    int r = jb_job_save_record(ctx, err);
    JB_CRASH_POINT(draft_saved);
    return r;
}

static int standing(void *ctx)
{
    struct jb_job_attempt *a = ctx;
    return a->o->standing ? a->o->standing(a->o->standing_ctx, &a->id) : 0;
}

/* Those who asked for the end get the record as a file, or why there is none. */
static void answer_mourners(struct jb_job_attempt *a, int r, const struct jb_error *err)
{
    struct jb_msg ended = {.type = JB_MSG_ENDED, .errnum = r < 0 ? -r : 0};
    jb_autofree char *line = NULL;
    jb_autoclose int fd = -1;
    size_t len = 0;
    if (a->mourners.n == 0)
        return;
    if (r == 0 && jb_record_line(a->record, &line, &len, NULL) == 0)
        (void)jb_sealed_memfd("jobbox-record", line, len, false, &fd);
    (void)snprintf(ended.text, sizeof(ended.text), "%s", r < 0 ? err->text : "");
    for (size_t i = 0; i < a->mourners.n; i++) {
        (void)jb_msg_send(a->mourners.fds[i], &ended, strlen(ended.text) + 1, &fd, fd >= 0);
        jb_close(&a->mourners.fds[i]);
    }
    a->mourners.n = 0;
}

static int write_changes(struct jb_job_attempt *a, struct jb_error *err)
{
    const char *path = a->plan->changes_path;
    size_t len = path ? strlen(path) : 0;
    bool json = len > 5 && strcmp(path + len - 5, ".json") == 0;
    jb_autobuf struct jb_buf text = {0};
    jb_autoclose int file = -1;
    int r = json ? jb_changes_json(&a->changes, &a->id, &text) : jb_changes_text(&a->changes, &text);
    if (r == 0 && path)
        r = jb_stream_create(a->plan, path, &file, err);
    if (r == 0)
        r = jb_write_all(path ? file : a->o->changes_fd, text.data, text.len);
    return r < 0 && !(err && err->errnum) ? jb_fail_errno(err, r, "%s", path ? path : "what the job changed")
                                          : r;
}

/* What the job did is done: that it cannot be told is a warning of the record. */
static void find_changes(struct jb_job_attempt *a)
{
    struct jb_error err = {0};
    if (!a->plan->changes)
        return;
    int r = a->changes.list ? jb_changes_find(&a->box, &a->changes, &err)
                            : jb_fail(&err, ENOENT, "changes: the box was not looked at before the job");
    if (r == 0)
        a->outcome.changes = jb_changes_summary(&a->changes);
    if (r == 0 && (a->plan->changes_path || a->o->changes_fd >= 0))
        r = write_changes(a, &err);
    if (r < 0)
        (void)jb_record_warn(a->record, NULL, "changes: %s", err.text);
}

static void collect(struct jb_job_attempt *a, json_t **ret_artifacts, struct jb_error *err)
{
    if (jb_artifacts_collect(a->plan, &a->box, a->outcome.reason == JB_END_COMPLETED, ret_artifacts, err) < 0)
        *ret_artifacts = json_pack("[{s:n, s:s}]", "path", "error", err->text);
    a->outcome.artifacts = *ret_artifacts;
    JB_CRASH_POINT(artifacts_collected);
}

/* That they cannot be kept does not change how the job ended: the record says why. */
static void keep_files(struct jb_job_attempt *a)
{
    struct jb_error err = {0};
    const struct jb_outcome *out = &a->outcome;
    if (a->plan->keep == JB_KEEP_NEVER ||
        (a->plan->keep == JB_KEEP_ON_FAILURE && out->reason == JB_END_COMPLETED))
        return;
    const struct jb_keeping what = {
        .state_fd = a->o->state->state_fd,
        .state_dir = a->o->state->state_dir,
        .plan = a->plan,
        .box = &a->box,
        .spec = a->o->spec,
        .who = a->o->submitter,
        .site = a->o->site,
        .reason = jb_end_reason_name(out->reason),
        .exit_code = out->exit_code,
    };
    int r = out->has_rusage ? jb_keep(&what, &a->outcome.kept, &err)
                            : jb_fail(&err, ESRCH, "the box was killed from outside");
    if (r < 0)
        a->outcome.kept = json_pack("{s:o}", "error", jb_json_text(err.text));
}

/* Runs the built box to its end, and takes out what was asked for. */
static void run_box(struct jb_job_attempt *a, int signal_fd, json_t **ret_artifacts, struct jb_error *err)
{
    struct jb_updater updater = {
        .plan = a->plan,
        .spec = a->o->spec,
        .site = a->o->site,
        .state = a->o->state,
        .host = &a->host,
        .cgroup = a->cgroup,
        .record = a->record,
        .file_fd = a->file_fd,
        .ends_ns = a->ends_ns,
    };
    struct jb_supervise s = {
        .plan = a->plan,
        .box = &a->box,
        .cgroup = a->cgroup,
        .streams = &a->streams,
        .cpu_before_us = a->has_before && a->before.cpu_total_us != JB_UNSET ? a->before.cpu_total_us : 0,
        .signal_fd = signal_fd,
        .winch_fd = a->plan->tty ? a->o->tty_fd : -1,
        .events = &a->events,
        .update = jb_update,
        .update_ctx = &updater,
        .ends = jb_update_ends,
        .box_fd = a->box_fd,
        .settled = settled,
        .settled_ctx = a,
        .file_fd = a->file_fd,
        .lock_fd = a->lock_fd,
        .standing = standing,
        .standing_ctx = a,
        .mourners = &a->mourners,
    };
    struct jb_error unseen = {0};
    const enum jb_overlay_space space = a->plan->userns ? JB_OVERLAY_USER : JB_OVERLAY_TRUSTED;
    if (a->plan->changes && jb_changes_begin(&a->box, space, &a->changes, &unseen) < 0)
        (void)jb_record_warn(a->record, NULL, "changes: %s", unseen.text);
    uint64_t setup_ns = jb_mono_ns(NULL) - a->begun_ns;
    int r = jb_supervise_go(&s, err);
    bool ran = r == 0;
    JB_CRASH_POINT(go_told);
    (void)jb_events_add(&a->events, JB_UNSET, "go", ",\"setup_s\":%.6f",
                        (double)setup_ns / (double)JB_NS_PER_S);
    if (r == 0)
        r = jb_supervise(&s, &a->outcome, err);
    if (r < 0) {
        note_failure(a, ran, err->text);
        return;
    }
    a->outcome.setup_ns = setup_ns;
    find_changes(a);
    JB_CRASH_POINT(changes_found);
    if (a->plan->network == JB_NETWORK_USER && a->outcome.has_rusage) /* while its network is there */
        (void)jb_net_counters(a->box.pid, &a->outcome.net_received, &a->outcome.net_sent);
    if (a->plan->n_artifacts > 0 && a->outcome.has_rusage)
        collect(a, ret_artifacts, err);
    keep_files(a);
}

int jb_job_run(const struct jb_job_options *options, json_t **ret_record, enum jb_job_failure *ret_failure,
               struct jb_error *warning, struct jb_error *err)
{
    struct jb_job_attempt a = {.o = options,
                               .image_fd = -1,
                               .box_fd = -1,
                               .lock_fd = -1,
                               .file_fd = -1,
                               .note = JB_NOTE_INIT,
                               .box = JB_BOX_INIT,
                               .helper = JB_HELPER_INIT,
                               .fuse = JB_HELPER_INIT,
                               .events = JB_EVENTS_INIT};
    struct jb_error failure = {0};
    json_t *artifacts = NULL;
    sigset_t old;
    a.begun_ns = jb_mono_ns(NULL);
    a.origin = (struct jb_origin){.kind = options->origin, .submitted_us = jb_wall_us(NULL)};
    a.origin.setup_started_us = a.origin.submitted_us;
    if (options->queued) {
        const struct jb_job_queued *q = options->queued;
        a.origin.submitted_us = q->submitted_us;
        a.origin.eligible_us = q->eligible_us;
        a.origin.queue = q->queue;
        a.origin.task = q->task;
        if (a.origin.setup_started_us > q->submitted_us)
            a.origin.wait_ns = (a.origin.setup_started_us - q->submitted_us) * JB_NS_PER_US;
    }
    jb_autoclose int signal_fd = take_signals(&old, err);
    if (signal_fd < 0) {
        *ret_failure = JB_JOB_NO_BOX;
        return signal_fd;
    }
    JB_CRASH_POINT(run_begun);
    int r = jb_job_prepare(&a, signal_fd, ret_failure, err);
    if (r < 0) {
        jb_job_give_back(&a);
    } else {
        *ret_failure = JB_JOB_RAN;
        a.events.id = a.id;
        a.events.box_fd = a.box_fd;
        if (jb_job_assemble(&a, &failure) < 0)
            note_failure(&a, false, failure.text);
        else
            run_box(&a, signal_fd, &artifacts, &failure);
        r = jb_job_conclude(&a, warning, err);
        if (r < 0)
            *ret_failure = JB_JOB_NO_BOX;
        answer_mourners(&a, r, err);
    }
    if (r == 0)
        *ret_record = json_incref(a.record);
    json_decref(a.record);
    json_decref(artifacts);
    jb_job_attempt_free(&a);
    /* what came while the box was taken down was meant for the job, which had ended */
    struct signalfd_siginfo late;
    while (read(signal_fd, &late, sizeof(late)) > 0) {
    }
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    return r;
}
