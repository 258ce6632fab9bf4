/*
 * plan.c - from a wish to a plan: identity, limits, streams; the other parts have files of their own.
 *
 * Owns: the plan under construction. Runs in: the client. Privilege: none; a pure function of its input.
 */
#include "plan/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "plan/make.h"

/* What root in the box may still do: own files, change identity, serve low ports. Nothing that reaches the
 * host. */
static const unsigned box_root_caps[] = {CAP_CHOWN,     CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
                                         CAP_KILL,      CAP_SETGID,       CAP_SETUID, CAP_NET_BIND_SERVICE,
                                         CAP_SYS_CHROOT};

const char *jb_op_name(enum jb_op_kind kind)
{
    static const char *const names[] = {
        [JB_OP_SCRATCH_TMPFS] = "scratch-tmpfs",
        [JB_OP_SCRATCH_DIR] = "scratch-dir",
        [JB_OP_SCRATCH_LOOP] = "scratch-loop",
        [JB_OP_ROOT_OVERLAY] = "root-overlay",
        [JB_OP_ROOT_TMPFS] = "root-tmpfs",
        [JB_OP_OVERLAY] = "overlay",
        [JB_OP_BIND] = "bind",
        [JB_OP_SCRATCH_BIND] = "scratch-bind",
        [JB_OP_TMPFS] = "tmpfs",
        [JB_OP_SYMLINK] = "symlink",
        [JB_OP_DIR] = "dir",
        [JB_OP_TEXT] = "text",
        [JB_OP_FILE] = "file",
        [JB_OP_PROC] = "proc",
        [JB_OP_SYSFS] = "sysfs",
        [JB_OP_DEV] = "dev",
        [JB_OP_DEVICE] = "device",
        [JB_OP_HOOK] = "hook",
        [JB_OP_MASK_FILE] = "mask-file",
        [JB_OP_MASK_DIR] = "mask-dir",
        [JB_OP_READONLY] = "read-only",
        [JB_OP_PIVOT] = "pivot",
    };
    return (size_t)kind < JB_ARRAY_LEN(names) ? names[kind] : NULL;
}

const char *jb_cap_name(unsigned bit)
{
    static const char *const names[] = {
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "linux_immutable",
        "net_bind_service",
        "net_broadcast",
        "net_admin",
        "net_raw",
        "ipc_lock",
        "ipc_owner",
        "sys_module",
        "sys_rawio",
        "sys_chroot",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_nice",
        "sys_resource",
        "sys_time",
        "sys_tty_config",
        "mknod",
        "lease",
        "audit_write",
        "audit_control",
        "setfcap",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "audit_read",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    };
    return bit < JB_ARRAY_LEN(names) ? names[bit] : NULL;
}

/* A wish against the site's default and maximum. */
static int bounded(const struct jb_spec *spec, enum jb_key key, uint64_t wish, const struct jb_bound *bound,
                   void (*show)(uint64_t, char *, size_t), uint64_t *ret, struct jb_error *err)
{
    uint64_t value = wish != JB_UNSET ? wish : bound->deflt;
    if (bound->max != JB_UNSET && (value == JB_UNSET || value > bound->max)) {
        if (wish == JB_UNSET) {
            *ret = bound->max;
            return 0;
        }
        char where[512];
        char asked[64];
        char allowed[64];
        show(value, asked, sizeof(asked));
        show(bound->max, allowed, sizeof(allowed));
        return jb_fail(err, EPERM, "%s: %s is more than this site allows (%s); ask for less",
                       jb_spec_where(spec, key, where, sizeof(where)), asked, allowed);
    }
    *ret = value;
    return 0;
}

static void show_count(uint64_t value, char *buf, size_t len)
{
    (void)snprintf(buf, len, "%" PRIu64, value);
}

static void show_size(uint64_t value, char *buf, size_t len)
{
    (void)jb_format_size(value, buf, len);
}

static void show_duration(uint64_t value, char *buf, size_t len)
{
    (void)jb_format_duration(value, buf, len);
}

int jb_plan_request(const struct jb_spec *spec, const struct jb_site *site, struct jb_request *ret,
                    struct jb_error *err)
{
    struct jb_request request = {
        .unit = spec->resources.cpu_unit,
        .cpu_set_said = spec->resources.cpu_set_said,
        .cpu_set = spec->resources.cpu_set,
        .locality = spec->resources.locality,
        .strict = spec->resources.strict,
        .kind = spec->resources.cpu_kind,
        .exclusive = !spec->resources.exclusive_said || spec->resources.exclusive,
    };
    uint64_t wish = request.cpu_set_said ? jb_cpus_count(&request.cpu_set) : spec->resources.cpus;
    enum jb_key key = request.cpu_set_said ? JB_KEY_CPU_SET : JB_KEY_CPUS;
    int r = bounded(spec, key, wish, &site->cpus, show_count, &request.cpus, err);
    if (r == 0)
        r = bounded(spec, JB_KEY_MEMORY, spec->resources.memory, &site->memory, show_size, &request.memory,
                    err);
    if (r < 0)
        return r;
    *ret = request;
    return 0;
}

bool jb_make_degrade(struct jb_plan *plan, const struct jb_plan_input *in, enum jb_degradable what,
                     const char *why)
{
    bool by_spec = in->spec->allow_degraded[what];
    if (!by_spec && !in->site->allow_degraded[what])
        return false;
    for (size_t i = 0; i < plan->n_degraded; i++)
        if (plan->degraded[i].what == what)
            return true;
    plan->degraded[plan->n_degraded++] = (struct jb_degraded){
        .what = what,
        .why = jb_arena_strdup(&plan->arena, why),
        .by_site = !by_spec,
    };
    return true;
}

int jb_make_host_path(struct jb_plan *plan, const char *cwd, const char *path, const char **ret,
                      struct jb_error *err)
{
    bool folder = path[0] && path[strlen(path) - 1] == '/';
    jb_autofree char *full = path[0] == '/' ? strdup(path) : jb_asprintf("%s/%s", cwd, path);
    jb_autofree char *clean = NULL;
    if (!full)
        return jb_fail_errno(err, ENOMEM, "%s", path);
    int r = jb_path_clean(full, &clean);
    if (r == -EINVAL)
        return jb_fail(err, EINVAL, "\"%s\": \"..\" is not taken in host paths; write the path without it",
                       path);
    if (r < 0)
        return jb_fail_errno(err, r, "%s", path);
    *ret = jb_arena_printf(&plan->arena, "%s%s", clean, folder && !jb_streq(clean, "/") ? "/" : "");
    return *ret ? 0 : jb_fail_errno(err, ENOMEM, "%s", path);
}

static int policy(const struct jb_spec *spec, enum jb_key key, const char *what, struct jb_error *err)
{
    char where[512];
    return jb_fail(err, EPERM, "%s: %s is not allowed on this site; ask its administrator",
                   jb_spec_where(spec, key, where, sizeof(where)), what);
}

/* The image's author says whom it is to be run as, and the spec does not. */
static int images_user(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    char where[512];
    if (!in->site->policy.any_ids)
        return jb_fail(
            err, EPERM,
            "%s: the image wants to be run as \"%s\", and this site does not allow other ids; write user: "
            "submitter",
            jb_spec_where(in->spec, JB_KEY_IMAGE, where, sizeof(where)), in->image->config.user);
    plan->uid = in->image->uid;
    plan->gid = in->image->gid;
    plan->n_groups = in->image->n_groups;
    if (!plan->n_groups)
        return 0;
    gid_t *groups = jb_arena_alloc(&plan->arena, plan->n_groups * sizeof(*groups));
    if (!groups)
        return jb_fail_errno(err, ENOMEM, "plan");
    plan->groups = memcpy(groups, in->image->groups, plan->n_groups * sizeof(*groups));
    return 0;
}

/* A number that is the same for every submitter, on every host. */
enum jb_user_kind jb_make_user_kind(const struct jb_spec *spec)
{
    return spec->reproducible && spec->pos[JB_KEY_USER].line == 0 ? JB_USER_ROOT_IN_BOX : spec->user_kind;
}

static int box_user(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_spec *spec = in->spec;
    const struct jb_submitter *who = in->submitter;
    char where[512];
    plan->uid = who->uid;
    plan->gid = who->gid;
    if (in->image->has_user && in->image->uid != who->uid && spec->pos[JB_KEY_USER].line == 0 &&
        !spec->reproducible)
        return images_user(plan, in, err);
    switch (jb_make_user_kind(spec)) {
    case JB_USER_SUBMITTER:
        plan->n_groups = plan->userns ? 0 : plan->n_submitter_groups;
        plan->groups = plan->submitter_groups;
        return 0;
    case JB_USER_ROOT_IN_BOX:
        if (!in->site->policy.root_in_box)
            return policy(spec, JB_KEY_USER, "root-in-box", err);
        if (who->privileged && who->uid != 0)
            return jb_fail(
                err, EPERM,
                "%s: root in a box of the system's queue would be root of this host; use jobbox run, or a "
                "queue of your own (jobbox submit --own)",
                jb_spec_where(spec, JB_KEY_USER, where, sizeof(where)));
        plan->uid = 0;
        plan->gid = 0;
        for (size_t i = 0; i < JB_ARRAY_LEN(box_root_caps); i++)
            plan->caps |= UINT64_C(1) << box_root_caps[i];
        return 0;
    default:
        break;
    }
    if (!in->site->policy.any_ids)
        return policy(spec, JB_KEY_USER, "uid:gid", err);
    if ((!who->privileged || who->uid != 0) && (spec->uid != who->uid || spec->gid != who->gid))
        return jb_fail(err, EPERM,
                       "%s: only root may run a job as somebody else (%u:%u); write \"submitter\"",
                       jb_spec_where(spec, JB_KEY_USER, where, sizeof(where)), spec->uid, spec->gid);
    plan->uid = spec->uid;
    plan->gid = spec->gid;
    return 0;
}

/*
 * Who is root in a namespace of one id can make files for nobody else, and package managers want to. With ranges of the
 * administrator's he can. On disk he would leave files that he cannot remove.
 */
static int id_ranges(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_host *host = in->host;
    if (!plan->userns || jb_make_user_kind(in->spec) != JB_USER_ROOT_IN_BOX || host->subuids.count == 0 ||
        host->subgids.count == 0 || in->site->scratch_backend == JB_SCRATCH_DISK)
        return 0;
    plan->ids.uids = host->subuids;
    plan->ids.gids = host->subgids;
    plan->ids.uid_program = jb_arena_strdup(&plan->arena, host->uid_mapper);
    plan->ids.gid_program = jb_arena_strdup(&plan->arena, host->gid_mapper);
    return plan->ids.uid_program && plan->ids.gid_program ? 0 : -ENOMEM;
}

int jb_make_identity(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_submitter *who = in->submitter;
    plan->submitter_uid = who->uid;
    plan->submitter_gid = who->gid;
    plan->submitter_user = jb_arena_strdup(&plan->arena, who->user);
    plan->submitter_cwd = jb_arena_strdup(&plan->arena, who->cwd);
    gid_t *groups = jb_arena_alloc(&plan->arena, (who->n_groups + 1) * sizeof(*groups));
    if (!plan->submitter_user || !plan->submitter_cwd || !groups)
        return jb_fail_errno(err, ENOMEM, "plan");
    if (who->n_groups)
        memcpy(groups, who->groups, who->n_groups * sizeof(*groups));
    plan->submitter_groups = groups;
    plan->n_submitter_groups = who->n_groups;
    plan->userns = !who->privileged;
    plan->seccomp = "default";
    plan->namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                       (plan->userns ? CLONE_NEWUSER : 0);
    int r = box_user(plan, in, err);
    if (r == 0 && id_ranges(plan, in) < 0)
        r = jb_fail_errno(err, ENOMEM, "plan");
    return r < 0 ? r : jb_make_device_groups(plan, in, err);
}

bool jb_plan_scratch_on_disk(const struct jb_plan *plan)
{
    return plan->n_ops > 0 &&
           (plan->ops[0].kind == JB_OP_SCRATCH_DIR || plan->ops[0].kind == JB_OP_SCRATCH_LOOP);
}

bool jb_plan_scratch_is_own(const struct jb_plan *plan)
{
    return plan->n_ops > 0 &&
           (plan->ops[0].kind != JB_OP_SCRATCH_DIR || plan->scratch_cap == JB_SCRATCH_CAP_QUOTA);
}

uint64_t jb_plan_warn_point(const struct jb_plan *plan, uint64_t limit_ns)
{
    if (plan->warn.signal == 0 || limit_ns == JB_UNSET)
        return JB_UNSET;
    if (plan->warn.percent)
        return limit_ns / 100 * plan->warn.percent + limit_ns % 100 * plan->warn.percent / 100;
    return limit_ns > plan->warn.left_ns ? limit_ns - plan->warn.left_ns : 0;
}

static int make_warning(struct jb_plan *plan, const struct jb_spec *spec, struct jb_error *err)
{
    char where[512];
    plan->end_signal = jb_job_signal_number(spec->limits.signal);
    if (spec->limits.warn.percent == 0 && spec->limits.warn.left_ns == JB_UNSET)
        return 0;
    const uint64_t limits[] = {plan->wall_ns, plan->cpu_ns};
    bool any = false;
    for (size_t i = 0; i < JB_ARRAY_LEN(limits); i++) {
        any = any || limits[i] != JB_UNSET;
        if (limits[i] != JB_UNSET && spec->limits.warn.percent == 0 && limits[i] <= spec->limits.warn.left_ns)
            return jb_fail(err, EINVAL, "%s: it would come before the job starts; write less than %s",
                           jb_spec_where(spec, JB_KEY_WARN, where, sizeof(where)),
                           i == 0 ? "wall_time" : "cpu_time");
    }
    if (!any)
        return jb_fail(err, EINVAL,
                       "%s: there is no limit to warn of; say limits.wall_time or limits.cpu_time",
                       jb_spec_where(spec, JB_KEY_WARN, where, sizeof(where)));
    plan->warn.signal = jb_job_signal_number(spec->limits.warn.signal);
    plan->warn.main_only = spec->limits.warn.to == JB_WARN_MAIN;
    plan->warn.percent = spec->limits.warn.percent;
    plan->warn.left_ns = spec->limits.warn.left_ns;
    return 0;
}

int jb_make_limits(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_spec *spec = in->spec;
    const struct jb_site *site = in->site;
    const struct {
        enum jb_key key;
        uint64_t wish;
        const struct jb_bound *bound;
        void (*show)(uint64_t, char *, size_t);
        uint64_t *ret;
    } limits[] = {
        {JB_KEY_WALL_TIME, spec->limits.wall_time_ns, &site->wall_time, show_duration, &plan->wall_ns},
        {JB_KEY_CPU_TIME, spec->limits.cpu_time_ns, &site->cpu_time, show_duration, &plan->cpu_ns},
        {JB_KEY_IDLE, spec->limits.idle_ns, &site->idle, show_duration, &plan->idle_ns},
        {JB_KEY_GRACE, spec->limits.grace_ns, &site->grace, show_duration, &plan->grace_ns},
        {JB_KEY_OUTPUT, spec->limits.output_bytes, &site->output, show_size, &plan->output_bytes},
        {JB_KEY_PIDS, spec->resources.pids, &site->pids, show_count, &plan->pids_max},
        {JB_KEY_MEMORY, spec->resources.memory, &site->memory, show_size, &plan->memory_max},
        {JB_KEY_SWAP, spec->resources.swap, &site->swap, show_size, &plan->swap_max},
        {JB_KEY_SCRATCH, spec->resources.scratch, &site->scratch, show_size, &plan->scratch_bytes},
        {JB_KEY_SCRATCH_INODES, spec->resources.scratch_inodes, &site->scratch_inodes, show_count,
         &plan->scratch_inodes},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(limits); i++) {
        int r =
            bounded(spec, limits[i].key, limits[i].wish, limits[i].bound, limits[i].show, limits[i].ret, err);
        if (r < 0)
            return r;
    }
    return make_warning(plan, spec, err);
}

/* What only a queue can keep. A priority is no promise: where nobody waits it changes nothing. */
static int refuse_queue_keys(const struct jb_spec *spec, struct jb_error *err)
{
    static const enum jb_key keys[] = {JB_KEY_DEPENDS_ON, JB_KEY_ARRAY,    JB_KEY_RETRY,
                                       JB_KEY_BEGIN,      JB_KEY_DEADLINE, JB_KEY_NOTIFY};
    for (size_t i = 0; i < JB_ARRAY_LEN(keys); i++) {
        char where[512];
        if (spec->pos[keys[i]].line)
            return jb_fail(
                err, ENOTSUP,
                "%s: this is for the queue; use jobbox submit instead of jobbox run, or leave the key out",
                jb_spec_where(spec, keys[i], where, sizeof(where)));
    }
    return 0;
}

/*
 * What goes into the record. A script and the values of variables may hold secrets and have their digest in the
 * record; the names of variables say enough.
 */
static json_t *requested(const struct jb_spec *spec)
{
    json_t *all = jb_spec_to_json(spec);
    const char *name;
    json_t *value;
    if (!all)
        return NULL;
    (void)json_object_del(all, "script");
    json_t *names = json_array();
    json_object_foreach(json_object_get(all, "env"), name, value)
    {
        (void)json_array_append_new(names, json_string(name));
    }
    if (json_object_get(all, "env"))
        (void)json_object_set_new(all, "env", names);
    else
        json_decref(names);
    return all;
}

static const char *base_name(struct jb_plan *plan, const struct jb_spec *spec)
{
    if (spec->name)
        return jb_arena_strdup(&plan->arena, spec->name);
    if (spec->file[0] == '(') /* standard input has no name */
        return "job";
    const char *slash = strrchr(spec->file, '/');
    char *name = jb_arena_strdup(&plan->arena, slash ? slash + 1 : spec->file);
    if (!name)
        return NULL;
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = '\0';
    for (char *c = name; *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '_';
    if (strlen(name) > 64)
        name[64] = '\0';
    return name[0] && name[0] != '-' && name[0] != '.' ? name : "job";
}

/* What an overlay does without privilege is less than with it: the plan says where that shows. */
static void why_root(struct jb_plan *plan, const struct jb_plan_input *in)
{
    bool directory = in->image->kind == JB_IMAGE_DIR;
    bool fuse = in->host->fuse_program[0];
    if (fuse)
        plan->fuse.program = jb_arena_strdup(&plan->arena, in->host->fuse_program);
    plan->composed = !fuse && (in->image->kind == JB_IMAGE_HOST || (directory && in->host->root_from));
    if (in->image->kind == JB_IMAGE_HOST && !fuse)
        plan->root_why = jb_arena_printf(
            &plan->arena, "in a user namespace the kernel takes no overlay over / as a whole%s%s",
            in->host->root_why[0] ? "; " : "", in->host->root_why);
    else if (in->host->root_why[0])
        plan->root_why = jb_arena_strdup(&plan->arena, in->host->root_why);
}

static int fill(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    static int (*const parts[])(struct jb_plan *, const struct jb_plan_input *, struct jb_error *) = {
        jb_make_identity, jb_make_network, jb_make_limits,  jb_make_cgroups,
        jb_make_ops,      jb_make_command, jb_make_streams,
    };
    plan->id = *in->id;
    plan->grant = *in->grant;
    plan->devices = in->devices;
    plan->cgroups = &in->host->cgroups;
    plan->image_kind = in->image->kind;
    plan->image_ref = jb_arena_strdup(&plan->arena, in->image->ref);
    plan->image_path = jb_arena_strdup(&plan->arena, in->image->path);
    plan->image_digest =
        in->image->digest.text[0] ? jb_arena_strdup(&plan->arena, in->image->digest.text) : NULL;
    if (!in->submitter->privileged)
        why_root(plan, in);
    plan->name = base_name(plan, in->spec);
    plan->spec_file = jb_arena_strdup(&plan->arena, in->spec->file);
    (void)snprintf(plan->spec_sha256, sizeof(plan->spec_sha256), "%s", in->spec->sha256);
    plan->account = jb_arena_strdup(&plan->arena, in->spec->account);
    plan->host_name = jb_arena_strdup(&plan->arena, in->host->name);
    plan->boot_id = jb_arena_strdup(&plan->arena, in->host->boot_id);
    plan->tty = in->tty;
    plan->reproducible = in->spec->reproducible;
    plan->lxcfs = in->spec->reproducible && in->host->lxcfs;
    plan->attempt = in->queue ? in->queue->attempt : 1;
    plan->array_index = in->queue ? in->queue->array_index : JB_UNSET;
    if (in->queue && !(plan->job = jb_arena_printf(&plan->arena, "%" PRIu64, in->queue->job)))
        return jb_fail_errno(err, ENOMEM, "plan");
    plan->stands = in->stands;
    plan->keep = in->spec->keep;
    plan->over = jb_arena_strdup(&plan->arena, in->over);
    plan->over_id = jb_arena_strdup(&plan->arena, in->over_id);
    plan->requested = requested(in->spec);
    plan->labels = json_object();
    if ((in->over && !plan->over) || (in->over_id && !plan->over_id))
        return jb_fail_errno(err, ENOMEM, "plan");
    if (!plan->image_path || !plan->name || !plan->boot_id || !plan->requested || !plan->labels)
        return jb_fail_errno(err, ENOMEM, "plan");
    for (size_t i = 0; i < in->spec->labels.len; i++) {
        const char *text = in->spec->labels.items[i];
        const char *eq = strchr(text, '=');
        if (eq && json_object_setn_new(plan->labels, text, (size_t)(eq - text), json_string(eq + 1)) < 0)
            return jb_fail_errno(err, ENOMEM, "plan");
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(parts); i++) {
        int r = parts[i](plan, in, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_plan_make(const struct jb_plan_input *input, struct jb_plan **ret, struct jb_error *err)
{
    int r = input->queue ? 0 : refuse_queue_keys(input->spec, err);
    if (r < 0)
        return r;
    jb_autoplan struct jb_plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return jb_fail_errno(err, ENOMEM, "plan");
    r = fill(plan, input, err);
    if (r < 0) {
        plan->devices = NULL; /* still the caller's */
        return r;
    }
    *ret = jb_take_ptr(plan);
    return 0;
}

void jb_plan_free(struct jb_plan *plan)
{
    if (!plan)
        return;
    json_decref(plan->requested);
    json_decref(plan->labels);
    jb_cg_plan_free(&plan->cgroup);
    jb_devices_free(plan->devices);
    jb_strv_free(&plan->argv);
    jb_strv_free(&plan->env);
    jb_arena_free(&plan->arena);
    free(plan);
}
