/*
 * run.c - one attempt, from spec to record.
 *
 * Owns: the box, its cgroups, its directory and its grant, from claim to release. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 *
 * Order. What can be refused is refused before anything is made. The claim comes first, with the plan on
 * disk, so that whatever is made afterwards can be found and removed by somebody else. The record follows while the
 * box is being built; the job waits for it. Teardown runs the
 * other way; the record is on disk before it starts and in the journal before the claim is given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "job/artifacts.h"
#include "job/boxdir.h"
#include "job/events.h"
#include "job/job.h"
#include "job/notes.h"
#include "job/streams.h"
#include "job/supervise.h"
#include "job/update.h"
#include "job/wait.h"
#include "record/journal.h"
#include "record/record.h"

#define KILL_TIME    (10 * JB_NS_PER_S)
#define DESTROY_TIME (10 * JB_NS_PER_S)
#define DESCRIPTORS  128 /* with room: a box takes some sixty */

/* Everything one attempt holds. */
struct attempt {
    const struct jb_job_options *o;
    struct jb_id id;
    struct jb_host host;
    struct jb_plan *plan;
    int box_fd, lock_fd, file_fd; /* directory, ledger slot, box.jsonl */
    struct jb_buf plan_line;      /* how box.jsonl begins */
    struct jb_note note;          /* the same in the state directory */
    char *box_dir;
    struct jb_cgroup *cgroup;
    struct jb_box box;
    struct jb_streams streams;
    json_t *record;
    struct jb_outcome outcome;
    uint64_t begun_ns;
    struct jb_origin origin;
    struct jb_events events;
    struct jb_wait wait;
    struct jb_cg_usage before; /* CPU time that building the box took */
    struct jb_scope scope;     /* where this process went to make room for the box */
    bool has_host, claimed, streams_open, box_up, has_before;
};

/* `cache_dirfd`: -1 where nothing may be written. */
static int load_machine(const struct jb_job_options *o, int cache_dirfd, struct jb_machine *ret,
                        struct jb_error *err)
{
    const struct jb_machine_source source = {.cache_dirfd = cache_dirfd, .reserved = &o->site->reserved_cpus};
    return jb_machine_load(&source, ret, err);
}

/* Where the box's groups are made: the site's parent, else where systemd or a delegation lets us. */
static int find_place(const struct jb_job_options *o, const struct jb_id *id, struct jb_cg_layout *layout,
                      struct jb_scope *scope, struct jb_error *err)
{
    layout->backend = o->site->cgroups.backend;
    if (o->site->paths.cgroup_parent)
        return jb_cg_layout_reparent(layout, o->site->paths.cgroup_parent, err);
    jb_autofree char *name = jb_asprintf("jobbox-%s", id->text);
    jb_autofree char *description = jb_asprintf("jobbox: %s", o->spec->name ? o->spec->name : "job");
    if (!name || !description)
        return jb_fail_errno(err, ENOMEM, "scope");
    const struct jb_scope_wish wish = {
        .use = o->site->cgroups.systemd,
        .slice = o->site->cgroups.slice,
        .name = name,
        .description = description,
        .uid = o->submitter->uid,
    };
    return scope ? jb_scope_enter(&wish, layout, scope, err) : jb_scope_predict(&wish, layout, err);
}

/* `scope` NULL: nothing may be changed. */
static int probe_host(const struct jb_job_options *o, const struct jb_id *id, bool host_image,
                      struct jb_scope *scope, struct jb_host *ret, struct jb_error *err)
{
    const struct jb_spec *spec = o->spec;
    bool io = spec->resources.io_read_bps != JB_UNSET || spec->resources.io_write_bps != JB_UNSET ||
              spec->resources.io_read_iops != JB_UNSET || spec->resources.io_write_iops != JB_UNSET;
    int r = jb_host_probe(o->submitter->privileged, io || host_image, ret, err);
    if (r < 0)
        return r;
    if (spec->resources.devices.len && o->submitter->privileged &&
        ret->cgroups.ctl[JB_CTL_DEVICES].version == 0)
        ret->device_program = jb_cg_devices_probe();
    r = find_place(o, id, &ret->cgroups, scope, err);
    if (r < 0)
        jb_host_free(ret);
    return r;
}

/* Policy and contradictions are the spec's fault; what is busy or missing here is not. */
static enum jb_job_failure blame(int r)
{
    return r == -EINVAL || r == -EPERM || r == -ENOTSUP ? JB_JOB_BAD_SPEC : JB_JOB_NO_BOX;
}

/* From the ledger as it is now to a plan. Under alloc.lock when it is for real. */
static int make_plan(const struct jb_job_options *o, const struct jb_machine *machine,
                     const struct jb_ledger *ledger, const struct jb_host *host, const struct jb_image *image,
                     const struct jb_id *id, struct jb_plan **ret, enum jb_job_failure *ret_failure,
                     struct jb_error *err)
{
    struct jb_request request;
    struct jb_grant grant;
    jb_autoheld struct jb_held held = {0};
    jb_autodevices struct jb_devices *devices = NULL;
    const struct jb_devices_input wishes = {
        .spec = o->spec,
        .site = o->site,
        .machine = machine,
        .ledger = ledger,
        .held = &held,
        .facts = &jb_device_facts_kernel,
        .userns = !o->submitter->privileged,
    };
    int r = jb_plan_request(o->spec, o->site, &request, err);
    if (r == 0)
        r = jb_devices_held(o->spec, &o->state->ledger, ledger, &held, err);
    if (r == 0)
        r = jb_devices_place(&wishes, &request, &grant, &devices, err);
    if (r < 0) {
        *ret_failure = blame(r);
        return r;
    }
    const struct jb_plan_input input = {
        .spec = o->spec,
        .site = o->site,
        .host = host,
        .submitter = o->submitter,
        .image = image,
        .grant = &grant,
        .devices = devices,
        .id = id,
        .runtime_dir = o->state->runtime_dir,
        .state_dir = o->state->state_dir,
        .tty = o->tty,
    };
    r = jb_plan_make(&input, ret, err);
    if (r < 0) {
        *ret_failure = blame(r);
        return r;
    }
    devices = NULL; /* the plan's */
    return 0;
}

/* Who stood in line began when it got there, and sets up since now. */
static void note_wait(struct attempt *a, uint64_t waited_ns)
{
    if (!a->wait.submitted_us)
        return;
    a->origin.submitted_us = a->wait.submitted_us;
    a->origin.setup_started_us = jb_wall_us(NULL);
    a->origin.wait_ns = waited_ns;
    a->begun_ns = jb_mono_ns(NULL);
}

/* Grant, plan and claim are one step for every other jobbox: alloc.lock is held from the look at the ledger
 * on. */
static int claim(struct attempt *a, const struct jb_machine *machine, const struct jb_image *image,
                 enum jb_job_failure *ret_failure, struct jb_error *err)
{
    struct jb_ledger ledger = {0};
    struct jb_holding holding;
    jb_autofree char *devices = NULL;
    int r = jb_wait_lock(&a->wait, &ledger, err);
    if (r < 0)
        return r;
    JB_CRASH_POINT(alloc_locked);
    r = make_plan(a->o, machine, &ledger, &a->host, image, &a->id, &a->plan, ret_failure, err);
    if (r == 0 || r == -EBUSY)
        r = jb_wait_turn(&a->wait, r, err);
    if (r == 0 && a->plan->devices && jb_held_format(&a->plan->devices->held, &devices) < 0)
        r = jb_fail_errno(err, ENOMEM, "devices");
    if (r == 0) {
        jb_update_holding(a->plan, &holding);
        holding.devices = devices;
        r = jb_ledger_claim(&a->o->state->ledger, &holding, &a->box_fd, &a->lock_fd, err);
        a->claimed = r == 0;
    }
    if (r == 0)
        note_wait(a, jb_wait_done(&a->wait));
    jb_wait_unlock(&a->wait);
    JB_CRASH_POINT(claimed);
    jb_ledger_free(&ledger);
    return r;
}

/* Running out in the middle would leave a box for the next start to clear away. */
static int enough_descriptors(struct jb_error *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
        return 0;
    return jb_fail(err, EMFILE, "a job needs %d open files here and the limit is %llu; raise it (ulimit -n)",
                   DESCRIPTORS, (unsigned long long)limit.rlim_cur);
}

/* One look at everything that the job needs, to a claim. */
static int look(struct attempt *a, enum jb_job_failure *ret_failure, struct jb_error *err)
{
    struct jb_machine machine = {0};
    struct jb_image image = {0};
    *ret_failure = JB_JOB_NO_BOX;
    int r = jb_image_resolve(a->o->spec, a->o->submitter->cwd, &image, err);
    if (r == -ENOTSUP || r == -EINVAL)
        *ret_failure = JB_JOB_BAD_SPEC;
    if (r == 0)
        r = load_machine(a->o, a->o->state->runtime_fd, &machine, err);
    if (r == 0 && !a->has_host) { /* once: it may move this process */
        r = probe_host(a->o, &a->id, image.kind == JB_IMAGE_HOST, &a->scope, &a->host, err);
        a->has_host = r == 0;
    }
    if (r == 0)
        r = claim(a, &machine, &image, ret_failure, err);
    jb_machine_free(&machine);
    jb_image_free(&image);
    if (r < 0)
        jb_plan_free(jb_take_ptr(a->plan));
    return r;
}

/* Who waits looks at machine and image anew each time: hours may have gone by. */
static int prepare(struct attempt *a, int signal_fd, enum jb_job_failure *ret_failure, struct jb_error *err)
{
    *ret_failure = JB_JOB_NO_BOX;
    int r = enough_descriptors(err);
    if (r < 0)
        return r;
    r = jb_id_new(jb_wall_us(NULL), &a->id);
    if (r < 0)
        return jb_fail_errno(err, r, "making an id");
    jb_wait_begin(a->o, &a->id, &a->wait);
    do {
        r = look(a, ret_failure, err);
        int next = r == -EBUSY ? jb_wait_next(&a->wait, signal_fd, err) : 0;
        if (next < 0) {
            r = next;
            break;
        }
    } while (r == -EBUSY);
    jb_wait_end(&a->wait);
    if (r == -ECANCELED)
        *ret_failure = JB_JOB_CANCELLED;
    if (r < 0)
        return r;
    *ret_failure = JB_JOB_NO_BOX;
    a->box_dir = jb_asprintf("%s/boxes/%s", a->o->state->runtime_dir, a->id.text);
    if (!a->box_dir)
        return jb_fail_errno(err, ENOMEM, "box");
    return jb_boxdir_begin(a->box_fd, a->plan, &a->file_fd, &a->plan_line, err);
}

static int make_scratch_dir(const struct attempt *a, struct jb_error *err)
{
    if (a->plan->ops[0].kind != JB_OP_SCRATCH_DIR)
        return 0;
    jb_autoclose int dir = -1;
    int r = jb_mkdir_p(a->o->state->state_fd, "scratch", 0711, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &dir);
    if (r == 0 && mkdirat(dir, a->id.text, 0755) < 0)
        r = -errno;
    return r < 0 ? jb_fail_errno(err, r, "making scratch/%s", a->id.text) : 0;
}

/* What a restart of the host would leave. Without it the job runs all the same, and its record says so. */
static int note(struct attempt *a, const char *line, size_t len, struct jb_error *err)
{
    struct jb_error why = {0};
    jb_autobuf struct jb_buf lines = {0};
    bool first = a->note.fd < 0;
    int cpu = jb_cpus_next(&a->plan->grant.cpus, 0);
    int r = first ? jb_buf_add(&lines, a->plan_line.data, a->plan_line.len) : 0;
    if (r == 0)
        r = jb_boxdir_record_line(line, len, &lines);
    if (r < 0)
        return jb_fail_errno(err, r, "record");
    if (!first)
        jb_note_add(&a->note, lines.data, lines.len);
    else if (jb_note_begin(a->o->state->state_fd, cpu < 0 ? 0 : (size_t)cpu, lines.data, lines.len, &a->note,
                           &why) < 0)
        r = jb_record_warn(a->record, err, "%s; a restart of the host would have left no record", why.text);
    return r;
}

static int save_record(struct attempt *a, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(a->record, &line, &len, err);
    if (r == 0)
        r = jb_boxdir_save_record(a->file_fd, line, len, err);
    JB_CRASH_POINT(record_saved);
    return r < 0 ? r : note(a, line, len, err);
}

/* From here on the attempt has a record, whatever dies. */
static int draft(struct attempt *a, struct jb_error *err)
{
    int r = a->record ? 0 : jb_record_draft(a->plan, &a->origin, &a->record, err);
    return r < 0 ? r : save_record(a, err);
}

/* What the kernel says of the box, against the plan. The groups are asked while the box is still being built. */
static int verify(struct attempt *a, struct jb_error *err)
{
    struct jb_isolation isolation;
    struct jb_cg_readback readback;
    struct jb_own_namespaces ours;
    int r = jb_own_namespaces(&ours, err);
    if (r == 0 && a->cgroup)
        r = jb_cgroup_readback(a->cgroup, &readback, err);
    if (r == 0 && a->cgroup)
        r = jb_cgroup_verify(&a->plan->cgroup, &readback, err);
    JB_CRASH_POINT(groups_verified);
    if (r == 0) {
        r = jb_box_await(&a->box, err);
        a->box_up = r == 0;
    }
    JB_CRASH_POINT(box_ready);
    if (r == 0 && a->cgroup)
        r = jb_cgroup_inhabited(a->cgroup, err);
    if (r == 0 && a->cgroup)
        r = jb_cgroup_devices_attach(a->cgroup, &a->plan->cgroup, &readback, err);
    if (r == 0)
        r = jb_box_isolation(&a->box, &ours, &isolation, err);
    if (r == 0)
        r = jb_isolation_verify(a->plan, &isolation, err);
    JB_CRASH_POINT(box_verified);
    if (r == 0)
        r = jb_record_isolation(a->record, a->plan, &isolation, a->cgroup ? &readback : NULL, err);
    return r;
}

static int launch(struct attempt *a, struct jb_error *err)
{
    const struct jb_box_parts parts = {
        .plan = a->plan,
        .dir = a->box_dir,
        .cgroup = a->cgroup,
        .lock_fd = a->lock_fd,
        .waits = a->plan->n_artifacts > 0,
        .io = a->streams.job,
    };
    return jb_box_launch(&parts, &a->box, err);
}

/* Everything up to the point where nothing but GO is missing, read back and compared. */
static int build(struct attempt *a, struct jb_error *err)
{
    int r = jb_streams_open(a->plan, a->o->out_fd, a->o->err_fd, &a->streams, err);
    if (r < 0)
        return r;
    a->streams_open = true;
    JB_CRASH_POINT(streams_opened);
    r = make_scratch_dir(a, err);
    JB_CRASH_POINT(scratch_made);
    if (r == 0 && !a->plan->no_cgroups)
        r = jb_cgroup_begin(&a->host.cgroups, &a->plan->cgroup, &a->cgroup, err);
    if (r == 0)
        r = launch(a, err);
    if (r < 0)
        return r;
    a->box_up = true;
    if (a->cgroup)
        r = jb_cgroup_complete(a->cgroup, &a->host.cgroups, &a->plan->cgroup, err);
    if (r == 0)
        r = jb_box_join(&a->box, a->cgroup, err);
    if (r == 0)
        r = draft(a, err);
    if (r == 0)
        r = verify(a, err);
    if (r < 0)
        return r;
    jb_streams_handed_over(&a->streams);
    a->has_before = a->cgroup && jb_cgroup_usage_cpu(a->cgroup, &a->before, NULL) == 0;
    if (a->plan->tty)
        r = jb_streams_terminal(&a->streams, jb_take_fd(&a->box.master_fd), a->o->tty_fd, a->o->out_fd, err);
    return r;
}

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

static void note_failure(struct attempt *a, const char *text)
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
    };
}

/* Runs the built box to its end, and takes out what was asked for. */
static void run_box(struct attempt *a, int signal_fd, json_t **ret_artifacts, struct jb_error *err)
{
    struct jb_updater updater = {
        .plan = a->plan,
        .spec = a->o->spec,
        .site = a->o->site,
        .state = a->o->state,
        .cgroup = a->cgroup,
        .record = a->record,
        .file_fd = a->file_fd,
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
        .box_fd = a->box_fd,
    };
    uint64_t setup_ns = jb_mono_ns(NULL) - a->begun_ns;
    int r = jb_supervise_go(&s, err);
    JB_CRASH_POINT(go_told);
    (void)jb_events_add(&a->events, JB_UNSET, "go", ",\"setup_s\":%.6f",
                        (double)setup_ns / (double)JB_NS_PER_S);
    if (r == 0) /* what was read back; the job need not wait for it */
        r = save_record(a, err);
    JB_CRASH_POINT(draft_saved);
    if (r == 0)
        r = jb_supervise(&s, &a->outcome, err);
    if (r < 0) {
        note_failure(a, err->text);
        return;
    }
    a->outcome.setup_ns = setup_ns;
    if (a->plan->n_artifacts == 0 || !a->outcome.has_rusage)
        return;
    if (jb_artifacts_collect(a->plan, &a->box, ret_artifacts, err) < 0)
        *ret_artifacts = json_pack("[{s:n, s:s}]", "path", "error", err->text);
    a->outcome.artifacts = *ret_artifacts;
    JB_CRASH_POINT(artifacts_collected);
}

/* Everything of the job is dead; jobbox-init leaves, and the kernel takes its namespaces apart, while we go on. */
static void dismiss(struct attempt *a)
{
    struct jb_msg quit = {.type = JB_MSG_QUIT};
    if (!a->box_up)
        return;
    if (!a->outcome.has_rusage)
        jb_box_kill(&a->box);
    else if (a->plan->n_artifacts > 0)
        (void)jb_box_tell(&a->box, &quit);
}

/* Usage is read when all are dead and before anything is taken away. */
static int read_usage(struct attempt *a, struct jb_cg_usage *ret)
{
    if (!a->cgroup)
        return -ENOENT;
    if (!a->outcome.has_rusage)
        (void)jb_cgroup_kill(a->cgroup, KILL_TIME, NULL);
    /* reaped by init, all of the job is in the counters; what was killed from outside may still be on its way */
    int r = a->outcome.has_rusage ? jb_cgroup_usage(a->cgroup, ret, NULL)
                                  : jb_cgroup_usage_stable(a->cgroup, 10, ret, NULL);
    if (r == 0 && a->has_before)
        jb_cg_usage_subtract(ret, &a->before); /* what building the box cost before GO is not the job's */
    return r;
}

/* jobbox-init reaped all of the job before it left; only where it could not say so must anything be killed. */
static int tear_down(struct attempt *a, struct jb_error *err)
{
    int r = 0;
    if (a->cgroup) {
        if (!a->outcome.has_rusage)
            r = jb_cgroup_kill(a->cgroup, KILL_TIME, err);
        if (r == 0)
            r = jb_cgroup_destroy(a->cgroup, DESTROY_TIME, err);
        if (r == -EBUSY && jb_cgroup_kill(a->cgroup, KILL_TIME, err) == 0)
            r = jb_cgroup_destroy(a->cgroup, DESTROY_TIME, err);
        jb_cgroup_free(a->cgroup);
        a->cgroup = NULL;
    }
    if (r == 0 && a->plan && a->plan->ops[0].kind == JB_OP_SCRATCH_DIR)
        r = jb_boxdir_remove_scratch(a->o->state->state_fd, &a->id, err);
    JB_CRASH_POINT(scratch_removed);
    return r;
}

/* Figures into the record, then the box's processes and namespaces are waited out: that is its destruction. */
static int finish_record(struct attempt *a, struct jb_error *err)
{
    struct jb_cg_usage usage = {0};
    uint64_t begun = jb_mono_ns(NULL);
    dismiss(a);
    JB_CRASH_POINT(quit_told);
    bool has_usage = read_usage(a, &usage) == 0;
    JB_CRASH_POINT(usage_read);
    int r = a->record ? 0 : jb_record_draft(a->plan, &a->origin, &a->record, err);
    if (r == 0)
        r = jb_record_finish(a->record, &a->outcome, has_usage ? &usage : NULL, err);
    if (has_usage)
        jb_cg_usage_free(&usage);
    /* while the kernel takes the box apart; losing them does not fail the job */
    (void)jb_events_keep(&a->events, a->o->state->state_fd, NULL);
    JB_CRASH_POINT(events_kept);
    if (a->box_up)
        jb_box_close(&a->box);
    a->box_up = false;
    JB_CRASH_POINT(box_reaped);
    if (r == 0 && jb_record_destroyed(a->record, jb_wall_us(NULL), jb_mono_ns(NULL) - begun) < 0)
        r = jb_fail_errno(err, ENOMEM, "record");
    return r;
}

/*
 * The record is completed and appended, the groups removed while it goes to the disk, the claim given back. The finished
 * record in the box's own file stands in for what may not come to its end.
 */
static int conclude(struct attempt *a, struct jb_error *warning, struct jb_error *err)
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
    r = jb_journal_write(a->o->state->state_fd, sync, line, len, &journal, err);
    if (r < 0 && saved < 0)
        return r; /* the figures are nowhere but in the groups: whoever comes next reads them again */
    int left = tear_down(a, r < 0 ? &other : err);
    if (r == 0)
        r = jb_journal_sync(journal, sync, left < 0 ? &other : err);
    if (r < 0 || left < 0)
        return r < 0 ? r : left; /* the box's directory stays, with its record: the next start tries again */
    (void)jb_sinks_emit(a->o->site, a->record, warning);
    JB_CRASH_POINT(sinks_served);
    jb_note_forget(&a->note);
    jb_boxdir_end(a->box_fd);
    return jb_ledger_release(&a->o->state->ledger, &a->id, err);
}

/* Before the plan was on disk there was no attempt: nothing to record, only to give back. */
static void give_back(struct attempt *a)
{
    if (a->claimed)
        (void)jb_ledger_release(&a->o->state->ledger, &a->id, NULL);
}

static void attempt_free(struct attempt *a)
{
    if (a->streams_open)
        jb_streams_close(&a->streams);
    jb_cgroup_free(a->cgroup);
    if (a->has_before)
        jb_cg_usage_free(&a->before);
    jb_note_close(&a->note);
    jb_buf_free(&a->plan_line);
    jb_close(&a->box_fd);
    jb_close(&a->file_fd);
    jb_close(&a->lock_fd);
    jb_events_free(&a->events);
    free(a->box_dir);
    free(a->outcome.limit);
    free(a->outcome.killed_by);
    jb_plan_free(a->plan);
    jb_host_free(&a->host);
    jb_scope_leave(&a->scope);
}

int jb_job_run(const struct jb_job_options *options, json_t **ret_record, enum jb_job_failure *ret_failure,
               struct jb_error *warning, struct jb_error *err)
{
    struct attempt a = {.o = options,
                        .box_fd = -1,
                        .lock_fd = -1,
                        .file_fd = -1,
                        .note = JB_NOTE_INIT,
                        .box = JB_BOX_INIT,
                        .events = JB_EVENTS_INIT};
    struct jb_error failure = {0};
    json_t *artifacts = NULL;
    sigset_t old;
    a.begun_ns = jb_mono_ns(NULL);
    a.origin = (struct jb_origin){.kind = options->origin, .submitted_us = jb_wall_us(NULL)};
    a.origin.setup_started_us = a.origin.submitted_us;
    jb_autoclose int signal_fd = take_signals(&old, err);
    if (signal_fd < 0) {
        *ret_failure = JB_JOB_NO_BOX;
        return signal_fd;
    }
    JB_CRASH_POINT(run_begun);
    int r = prepare(&a, signal_fd, ret_failure, err);
    if (r < 0) {
        give_back(&a);
    } else {
        *ret_failure = JB_JOB_RAN;
        a.events.id = a.id;
        a.events.box_fd = a.box_fd;
        if (build(&a, &failure) < 0)
            note_failure(&a, failure.text);
        else
            run_box(&a, signal_fd, &artifacts, &failure);
        r = conclude(&a, warning, err);
        if (r < 0)
            *ret_failure = JB_JOB_NO_BOX;
    }
    if (r == 0)
        *ret_record = json_incref(a.record);
    json_decref(a.record);
    json_decref(artifacts);
    attempt_free(&a);
    /* what came while the box was taken down was meant for the job, which had ended */
    struct signalfd_siginfo late;
    while (read(signal_fd, &late, sizeof(late)) > 0) {
    }
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    return r;
}

int jb_job_plan(const struct jb_job_options *options, struct jb_host *host, struct jb_plan **ret,
                enum jb_job_failure *ret_failure, struct jb_error *err)
{
    struct jb_machine machine = {0};
    struct jb_image image = {0};
    struct jb_ledger ledger = {0};
    struct jb_id id;
    *ret_failure = JB_JOB_NO_BOX;
    int r = jb_id_new(jb_wall_us(NULL), &id);
    if (r < 0)
        return jb_fail_errno(err, r, "making an id");
    r = jb_image_resolve(options->spec, options->submitter->cwd, &image, err);
    if (r == -ENOTSUP || r == -EINVAL)
        *ret_failure = JB_JOB_BAD_SPEC;
    if (r == 0)
        r = load_machine(options, -1, &machine, err);
    if (r == 0)
        r = probe_host(options, &id, image.kind == JB_IMAGE_HOST, NULL, host, err);
    if (r == 0 && options->state->ledger.boxes_fd >= 0)
        r = jb_ledger_read(&options->state->ledger, &ledger, err);
    if (r == 0)
        r = make_plan(options, &machine, &ledger, host, &image, &id, ret, ret_failure, err);
    jb_machine_free(&machine);
    jb_image_free(&image);
    jb_ledger_free(&ledger);
    return r;
}
