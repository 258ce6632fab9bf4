/*
 * prepare.c - what an attempt needs is looked at, chosen and claimed.
 *
 * Owns: nothing beyond the call; what it finds is put into the attempt. Runs in: the supervisor.
 * Privilege: root, or none with a user namespace.
 *
 * Nothing is made here but the claim; what can be refused is refused before it.
 */
#include <errno.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "box/identity.h"
#include "job/attempt.h"
#include "job/boxdir.h"
#include "job/helper/overlay.h"
#include "job/kept/kept.h"
#include "job/place.h"
#include "job/scratch.h"
#include "job/update.h"

#define DESCRIPTORS 128 /* with room: a box takes some sixty */

/* `cache_dirfd`: -1 where nothing may be written. */
static int load_machine(const struct jb_job_options *o, const struct jb_host *host, int cache_dirfd,
                        struct jb_machine *ret, struct jb_error *err)
{
    const struct jb_place place = {
        .site = o->site,
        .layout = &host->cgroups,
        .elsewhere = host->elsewhere,
        .ledger = &o->state->ledger,
        .cache_dirfd = cache_dirfd,
    };
    return jb_place_machine(&place, ret, err);
}

static int find_place(const struct jb_job_options *o, const struct jb_id *id, struct jb_host *host,
                      struct jb_scope *scope, struct jb_error *err)
{
    jb_autofree char *name = jb_asprintf("jobbox-%s", id->text);
    jb_autofree char *description = jb_asprintf("jobbox: %s", o->spec->name ? o->spec->name : "job");
    const struct jb_place_wish wish = {.name = name, .description = description, .uid = o->submitter->uid};
    return name && description ? jb_place_find(o->site, &wish, &host->cgroups, scope, &host->elsewhere, err)
                               : jb_fail_errno(err, ENOMEM, "scope");
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
    r = io ? jb_host_probe_disks(ret) : 0;
    if (r < 0) {
        jb_host_free(ret);
        return jb_fail_errno(err, r, "finding the disks of this host");
    }
    if (spec->resources.devices.len && o->submitter->privileged &&
        ret->cgroups.ctl[JB_CTL_DEVICES].version == 0)
        ret->device_program = jb_cg_devices_probe();
    r = jb_host_probe_network(spec->network, ret);
    if (r < 0) {
        jb_host_free(ret);
        return jb_fail_errno(err, r, "reading facts about this host's network");
    }
    bool root = spec->user_kind == JB_USER_ROOT_IN_BOX || spec->reproducible;
    if (root && !o->submitter->privileged)
        jb_host_probe_subids(o->submitter->user, o->submitter->uid, ret);
    if (spec->reproducible)
        jb_host_probe_lxcfs(ret);
    if (o->site->scratch_backend == JB_SCRATCH_DISK)
        ret->scratch_cap = jb_scratch_probe(o->state->state_fd, o->submitter->privileged, ret->scratch_why);
    r = find_place(o, id, ret, scope, err);
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
        .queue = o->queued ? &o->queued->plan : NULL,
        .tty = o->tty,
        .stands = o->stands,
        .over = o->over,
        .over_id = o->over_id,
        .changes = o->changes,
        .changes_path = o->changes_path,
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
static void note_wait(struct jb_job_attempt *a, uint64_t waited_ns)
{
    if (!a->wait.submitted_us)
        return;
    a->origin.submitted_us = a->wait.submitted_us;
    a->origin.setup_started_us = jb_wall_us(NULL);
    a->origin.wait_ns = waited_ns;
    a->begun_ns = jb_mono_ns(NULL);
}

/* No, or further apart than on an empty machine: dead boxes that were counted as live could be why. */
static bool disappoints(const struct jb_job_attempt *a, int r)
{
    if (r < 0)
        return r == -EBUSY;
    const struct jb_grant *g = &a->plan->grant;
    return g->straddles_l3 || g->straddles_numa || g->straddles_package ||
           jb_cpus_count(&g->mems) > g->numa_nodes;
}

/* From the ledger to a plan. alloc.lock is held afterwards, unless it is the lock that cannot be had. */
static int choose(struct jb_job_attempt *a, const struct jb_machine *machine, const struct jb_image *image,
                  struct jb_ledger *ret_ledger, enum jb_job_failure *ret_failure, struct jb_error *err)
{
    for (;;) {
        struct jb_ledger ledger = {0};
        int r = jb_wait_lock(&a->wait, &ledger, err);
        if (r < 0)
            return r;
        JB_CRASH_POINT(alloc_locked);
        r = make_plan(a->o, machine, &ledger, &a->host, image, &a->id, &a->plan, ret_failure, err);
        if (!ledger.untested || !disappoints(a, r)) {
            *ret_ledger = ledger;
            return r;
        }
        a->wait.whole = true;
        jb_wait_unlock(&a->wait);
        jb_ledger_free(&ledger);
        if (r == 0)
            jb_plan_free(jb_take_ptr(a->plan));
    }
}

/* Grant, plan and claim are one step for every other jobbox: alloc.lock is held from the look at the ledger
 * on. */
static int claim(struct jb_job_attempt *a, const struct jb_machine *machine, const struct jb_image *image,
                 enum jb_job_failure *ret_failure, struct jb_error *err)
{
    struct jb_ledger ledger = {0};
    struct jb_holding holding;
    jb_autofree char *devices = NULL;
    int r = choose(a, machine, image, &ledger, ret_failure, err);
    if (r == 0 || r == -EBUSY)
        r = jb_wait_turn(&a->wait, r, err);
    if (r == 0 && a->plan->devices && jb_held_format(&a->plan->devices->held, &devices) < 0)
        r = jb_fail_errno(err, ENOMEM, "devices");
    if (r == 0) {
        jb_update_holding(a->plan, &holding);
        holding.devices = devices;
        if (a->plan->wall_ns < JB_UNSET - jb_mono_ns(NULL))
            holding.ends_ns = a->ends_ns = jb_mono_ns(NULL) + a->plan->wall_ns;
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
static int enough_descriptors(size_t layers, struct jb_error *err)
{
    struct rlimit limit;
    size_t wanted = DESCRIPTORS + (layers > 1 ? layers : 0); /* the image's are open all at once */
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return 0;
    return jb_fail(err, EMFILE, "a job needs %zu open files here and the limit is %llu; raise it (ulimit -n)",
                   wanted, (unsigned long long)limit.rlim_cur);
}

struct find_image {
    const struct jb_job_options *o;
    bool touch;
    struct jb_image *ret;
    struct jb_error *err;
};

/* Where he has some: `jobbox image` works on the same store in the same way. */
static int inside_his_ranges(int (*fn)(void *ctx, struct jb_error *err), void *ctx, struct jb_error *err)
{
    struct jb_kept_ids room;
    const struct jb_idmap *ids = jb_kept_ids(&room);
    return ids && ids->uids.count > 0 ? jb_idmap_inside(ids, fn, ctx, err) : -ENOTSUP;
}

static int find_image_now(void *ctx)
{
    const struct find_image *f = ctx;
    const struct jb_image_where where = {
        .cwd = f->o->submitter->cwd,
        .state_dir = f->o->state->state_dir,
        .uid = f->o->submitter->uid,
        .gid = f->o->submitter->gid,
        .privileged = f->o->submitter->privileged,
        .policy = &f->o->site->images,
        .touch = f->touch,
        .ui = f->o->image_ui,
        .inside = f->o->submitter->privileged ? NULL : inside_his_ranges,
    };
    return jb_image_resolve(f->o->spec, &where, f->ret, f->err);
}

/* The submitter names it, and what he may not see is not there for him. */
static int find_image(const struct jb_job_options *o, bool touch, struct jb_image *ret, struct jb_error *err)
{
    struct find_image f = {.o = o, .touch = touch, .ret = ret, .err = err};
    return jb_as_user(o->submitter, find_image_now, &f, err);
}

/* One look at everything that the job needs, to a claim. */
static int look(struct jb_job_attempt *a, enum jb_job_failure *ret_failure, struct jb_error *err)
{
    struct jb_machine machine = {0};
    struct jb_image image = {0};
    *ret_failure = JB_JOB_NO_BOX;
    int r = find_image(a->o, true, &image, err);
    if (r == 0)
        r = enough_descriptors(image.layers.len, err);
    if (r == -ENOTSUP || r == -EINVAL)
        *ret_failure = JB_JOB_BAD_SPEC;
    if (r == 0 && !a->has_host) { /* once: it may move this process */
        r = probe_host(a->o, &a->id, image.kind == JB_IMAGE_HOST, &a->scope, &a->host, err);
        a->has_host = r == 0;
        if (r == 0)
            r = jb_job_probe_overlay(a->o, &image, &a->host, err);
    }
    if (r == 0)
        r = load_machine(a->o, &a->host, a->o->state->runtime_fd, &machine, err);
    if (r == 0)
        r = claim(a, &machine, &image, ret_failure, err);
    if (r == 0 && image.lock_fd > 0) { /* held as long as the attempt, against removal */
        a->image_fd = image.lock_fd;
        image.lock_fd = 0;
    }
    jb_machine_free(&machine);
    jb_image_free(&image);
    if (r < 0)
        jb_plan_free(jb_take_ptr(a->plan));
    return r;
}

/* Who waits looks at machine and image anew each time: hours may have gone by. */
int jb_job_prepare(struct jb_job_attempt *a, int signal_fd, enum jb_job_failure *ret_failure,
                   struct jb_error *err)
{
    *ret_failure = JB_JOB_NO_BOX;
    int r = enough_descriptors(0, err);
    if (r < 0)
        return r;
    if (a->o->queued)
        a->id = a->o->queued->id;
    else
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

void jb_job_give_back(struct jb_job_attempt *a)
{
    if (a->claimed)
        (void)jb_ledger_release(&a->o->state->ledger, &a->id, NULL);
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
    r = find_image(options, false, &image, err);
    if (r == -ENOTSUP || r == -EINVAL)
        *ret_failure = JB_JOB_BAD_SPEC;
    if (r == 0)
        r = probe_host(options, &id, image.kind == JB_IMAGE_HOST, NULL, host, err);
    if (r == 0)
        r = jb_job_probe_overlay(options, &image, host, err);
    if (r == 0)
        r = load_machine(options, host, -1, &machine, err);
    if (r == 0 && options->state->ledger.boxes_fd >= 0)
        r = jb_ledger_read(&options->state->ledger, &ledger, err);
    if (r == 0)
        r = make_plan(options, &machine, &ledger, host, &image, &id, ret, ret_failure, err);
    jb_machine_free(&machine);
    jb_image_free(&image);
    jb_ledger_free(&ledger);
    return r;
}
