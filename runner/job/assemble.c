/*
 * assemble.c - a claimed attempt becomes a box that waits for GO.
 *
 * Owns: what it makes is the attempt's. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "box/net.h"
#include "job/attempt.h"
#include "job/boxdir.h"
#include "job/scratch.h"

/* What a restart of the host would leave. Without it the job runs all the same, and its record says so. */
static int note(struct jb_job_attempt *a, const char *line, size_t len, struct jb_error *err)
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

int jb_job_save_record(struct jb_job_attempt *a, struct jb_error *err)
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
static int draft(struct jb_job_attempt *a, struct jb_error *err)
{
    int r = a->record ? 0 : jb_record_draft(a->plan, &a->origin, &a->record, err);
    return r < 0 ? r : jb_job_save_record(a, err);
}

/* Nothing is counted yet, but there is something that counts. */
static int verify_network(const struct jb_job_attempt *a, struct jb_error *err)
{
    uint64_t received;
    uint64_t sent;
    int r = jb_net_counters(a->box.pid, &received, &sent);
    return r < 0 ? jb_fail_errno(err, r, "network: user: the box has no way out") : 0;
}

/* What the kernel says of the box, against the plan. The groups are asked while the box is still being built. */
static int verify(struct jb_job_attempt *a, struct jb_error *err)
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
    if (r == 0 && a->plan->network == JB_NETWORK_USER)
        r = verify_network(a, err);
    JB_CRASH_POINT(box_verified);
    if (r == 0)
        r = jb_record_isolation(a->record, a->plan, &isolation, a->cgroup ? &readback : NULL, err);
    return r;
}

static int launch(struct jb_job_attempt *a, struct jb_error *err)
{
    const struct jb_box_parts parts = {
        .plan = a->plan,
        .dir = a->box_dir,
        .cgroup = a->cgroup,
        .lock_fd = a->lock_fd,
        .waits = jb_job_init_waits(a->plan),
        .io = a->streams.job,
    };
    return jb_box_launch(&parts, &a->box, err);
}

/* Before GO: a job that asks at once is told the size of our own terminal. */
static void copy_size(int from, int to)
{
    struct winsize size;
    if (from >= 0 && to >= 0 && ioctl(from, TIOCGWINSZ, &size) == 0)
        (void)ioctl(to, TIOCSWINSZ, &size);
}

int jb_job_assemble(struct jb_job_attempt *a, struct jb_error *err)
{
    int r = jb_streams_open(a->plan, a->o->out_fd, a->o->err_fd, &a->streams, err);
    if (r < 0)
        return r;
    a->streams_open = true;
    const struct jb_late_output late = {.open = a->o->late_output, .ctx = a->o->late_ctx};
    if (late.open && !a->plan->tty)
        jb_streams_late(&a->streams, a->plan, &late);
    JB_CRASH_POINT(streams_opened);
    r = jb_scratch_make(a->o->state->state_fd, a->plan, err);
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
        r = jb_nethelper_start(a->plan, &a->box, &a->helper, err);
    if (r == 0)
        r = jb_fusehelper_start(a->plan, &a->box, a->box_dir, a->cgroup, &a->fuse, err);
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
        copy_size(a->o->tty_fd, a->box.master_fd);
    if (a->plan->tty)
        r = jb_streams_terminal(&a->streams, jb_take_fd(&a->box.master_fd), a->o->tty_fd, a->o->out_fd, err);
    return r;
}
