/*
 * ops.c - the ordered steps that build a box's file system.
 *
 * Owns: the operations of the plan under construction. Runs in: the client. Privilege: none; pure.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "plan/make.h"

/* The box has its own of these: what the host mounts there or below is not shown. */
static const char *const own_dirs[] = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"};

/* What a mount of the host is to a box over the host. Types not named here are kernel interfaces and stay
 * out. */
enum show { SHOW_OVERLAY, SHOW_READ_ONLY };
static const struct {
    const char *fstype;
    enum show show;
} shown[] = {
    {"ext2", SHOW_OVERLAY},
    {"ext3", SHOW_OVERLAY},
    {"ext4", SHOW_OVERLAY},
    {"xfs", SHOW_OVERLAY},
    {"btrfs", SHOW_OVERLAY},
    {"f2fs", SHOW_OVERLAY},
    {"zfs", SHOW_OVERLAY},
    {"tmpfs", SHOW_OVERLAY},
    {"squashfs", SHOW_OVERLAY},
    {"erofs", SHOW_OVERLAY},
    {"iso9660", SHOW_OVERLAY},
    {"bcachefs", SHOW_OVERLAY},
    /* overlay on these misbehaves or means a copy over the network: shown as they are, not writable */
    {"nfs", SHOW_READ_ONLY},
    {"nfs4", SHOW_READ_ONLY},
    {"lustre", SHOW_READ_ONLY},
    {"gpfs", SHOW_READ_ONLY},
    {"beegfs", SHOW_READ_ONLY},
    {"ceph", SHOW_READ_ONLY},
    {"cifs", SHOW_READ_ONLY},
    {"smb3", SHOW_READ_ONLY},
    {"9p", SHOW_READ_ONLY},
    {"virtiofs", SHOW_READ_ONLY},
    {"afs", SHOW_READ_ONLY},
    {"vfat", SHOW_READ_ONLY},
    {"exfat", SHOW_READ_ONLY},
    {"cvmfs2", SHOW_READ_ONLY},
    {"fuse.cvmfs2", SHOW_READ_ONLY},
};

static int add(struct jb_plan *plan, struct jb_op op)
{
    size_t cap = plan->n_ops ? (plan->n_ops + 15) / 16 * 16 : 0;
    if (plan->n_ops == cap) { /* the arena keeps the old array: a plan has some dozens of operations */
        struct jb_op *grown = jb_arena_alloc(&plan->arena, (cap + 16) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        if (plan->n_ops)
            memcpy(grown, plan->ops, plan->n_ops * sizeof(*grown));
        plan->ops = grown;
    }
    plan->ops[plan->n_ops++] = op;
    return 0;
}

static int add_all(struct jb_plan *plan, enum jb_op_kind kind, unsigned flags, const struct jb_strv *targets)
{
    for (size_t i = 0; i < targets->len; i++) {
        const char *target = jb_arena_strdup(&plan->arena, targets->items[i]);
        int r = target ? add(plan, (struct jb_op){.kind = kind, .flags = flags, .target = target}) : -ENOMEM;
        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_own(const char *path)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(own_dirs); i++)
        if (jb_path_beneath(path, own_dirs[i]))
            return true;
    return false;
}

/* The last mount on a path hides what was mounted there before. */
static bool covered_later(const struct jb_mounts *mounts, size_t at)
{
    for (size_t i = at + 1; i < mounts->len; i++)
        if (jb_path_beneath(mounts->items[at].target, mounts->items[i].target))
            return true;
    return false;
}

/* Host mounts below "/" appear in the box too, each under a layer of its own (root on the host only). */
static int host_submounts(struct jb_plan *plan, const struct jb_plan_input *in)
{
    const struct jb_mounts *mounts = &in->host->mounts;
    for (size_t i = 0; i < mounts->len; i++) {
        const struct jb_mount *m = &mounts->items[i];
        if (jb_streq(m->target, "/") || is_own(m->target) || covered_later(mounts, i) ||
            jb_path_beneath(m->target, in->runtime_dir) || jb_path_beneath(m->target, in->state_dir))
            continue;
        size_t t = 0;
        while (t < JB_ARRAY_LEN(shown) && !jb_streq(shown[t].fstype, m->fstype))
            t++;
        if (t == JB_ARRAY_LEN(shown))
            continue;
        const char *path = jb_arena_strdup(&plan->arena, m->target);
        if (!path)
            return -ENOMEM;
        bool overlay = shown[t].show == SHOW_OVERLAY;
        int r = add(plan, (struct jb_op){.kind = overlay ? JB_OP_OVERLAY : JB_OP_BIND,
                                         .flags = JB_OPF_OPTIONAL | (overlay ? JB_OPF_OR_RO_BIND : 0U),
                                         .source = path,
                                         .target = path});
        if (r < 0)
            return r;
    }
    return 0;
}

/*
 * In a user namespace the kernel refuses an overlay over a directory with mounts below it, "/" above all. The
 * root is put together from one overlay for each folder of "/", and read-only binds where even that is
 * refused.
 */
static int composed_root(struct jb_plan *plan, const struct jb_plan_input *in)
{
    int r = add(plan, (struct jb_op){.kind = JB_OP_ROOT_TMPFS, .mode = 0755});
    for (size_t i = 0; r == 0 && i < in->host->root_dirs.len; i++) {
        const char *path = jb_arena_printf(&plan->arena, "/%s", in->host->root_dirs.items[i]);
        if (!path)
            return -ENOMEM;
        if (is_own(path))
            continue;
        const char *source =
            in->host->root_from ? jb_arena_printf(&plan->arena, "%s%s", in->host->root_from, path) : path;
        if (!source)
            return -ENOMEM;
        r = add(plan, (struct jb_op){.kind = JB_OP_OVERLAY,
                                     .flags = JB_OPF_OPTIONAL | JB_OPF_OR_RO_BIND | JB_OPF_RECURSIVE,
                                     .source = source,
                                     .target = path});
    }
    for (size_t i = 0; r == 0 && i < in->host->root_links.len; i++) {
        const char *text = in->host->root_links.items[i];
        const char *eq = strchr(text, '=');
        const char *target = eq ? jb_arena_printf(&plan->arena, "/%.*s", (int)(eq - text), text) : NULL;
        const char *source = eq ? jb_arena_strdup(&plan->arena, eq + 1) : NULL;
        if (!target || !source)
            return -ENOMEM;
        r = add(plan, (struct jb_op){.kind = JB_OP_SYMLINK, .source = source, .target = target});
    }
    return r;
}

/* Over the host, a directory, a file that the kernel mounts, or layers of the store. */
static int root_overlay(struct jb_plan *plan, const struct jb_image *image, bool foreign)
{
    struct jb_op op = {.kind = JB_OP_ROOT_OVERLAY};
    if (plan->fuse.program) { /* it sees what is mounted below a directory, as whoever looks there does */
        op.flags = JB_OPF_FUSE | (image->kind == JB_IMAGE_STORE ? 0U : JB_OPF_RECURSIVE);
        plan->fuse.squash = plan->ids.uids.count == 0 || foreign;
    }
    if (image->kind != JB_IMAGE_STORE) {
        op.source = plan->image_path;
        op.text = image->kind == JB_IMAGE_FILE ? image->fstype : NULL;
        op.flags |= (image->kind == JB_IMAGE_HOST ? 0U : JB_OPF_AS_SUBMITTER) |
                    (image->roots_own ? JB_OPF_ROOTS_OWN : 0U);
        return add(plan, op);
    }
    const char **lowers = jb_arena_alloc(&plan->arena, (image->layers.len + 1) * sizeof(*lowers));
    for (size_t i = 0; lowers && i < image->layers.len; i++) {
        lowers[i] = jb_arena_strdup(&plan->arena, image->layers.items[i]);
        if (!lowers[i])
            return -ENOMEM;
    }
    op.lowers = lowers;
    op.n_lowers = image->layers.len;
    return lowers ? add(plan, op) : -ENOMEM;
}

static int root(struct jb_plan *plan, const struct jb_plan_input *in)
{
    int r;
    if (in->site->scratch_backend == JB_SCRATCH_DISK) {
        const char *dir = jb_arena_printf(&plan->arena, "%s/scratch/%s", in->state_dir, plan->id.text);
        bool capped = plan->scratch_cap != JB_SCRATCH_CAP_NONE;
        bool loop = plan->scratch_cap == JB_SCRATCH_CAP_LOOP;
        r = dir ? add(plan, (struct jb_op){.kind = loop ? JB_OP_SCRATCH_LOOP : JB_OP_SCRATCH_DIR,
                                           .source = dir,
                                           .bytes = capped ? plan->scratch_bytes : JB_UNSET,
                                           .inodes = capped ? plan->scratch_inodes : JB_UNSET})
                : -ENOMEM;
    } else {
        r = add(plan, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS,
                                     .bytes = plan->scratch_bytes,
                                     .inodes = plan->scratch_inodes});
    }
    if (r < 0)
        return r;
    bool host = plan->image_kind == JB_IMAGE_HOST;
    if (plan->composed)
        r = composed_root(plan, in);
    else
        r = root_overlay(plan, in->image, in->host->foreign_image);
    if (r == 0 && host && !plan->userns)
        r = host_submounts(plan, in);
    if (r < 0 || !host)
        return r;
    r = add_all(plan, JB_OP_MASK_DIR, JB_OPF_OPTIONAL, &in->site->host_image.hide);
    const char *const ours[] = {in->state_dir, in->runtime_dir}; /* other people's records and logs */
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(ours); i++) {
        if (is_own(ours[i]))
            continue;
        const char *dir = jb_arena_strdup(&plan->arena, ours[i]);
        r = dir ? add(plan, (struct jb_op){.kind = JB_OP_MASK_DIR, .flags = JB_OPF_OPTIONAL, .target = dir})
                : -ENOMEM;
    }
    return r;
}

/*
 * As root an overlay can have directories of its upper that show nothing of the image below: a place for the bind where the
 * image has none. In a user namespace older kernels cannot mark them.
 */
static unsigned fresh_flags(const struct jb_plan *plan)
{
    return plan->userns ? 0U : JB_OPF_IN_UPPER;
}

static int system_mounts(struct jb_plan *plan, const struct jb_plan_input *in)
{
    /* a /sys of the box's own shows its network namespace; with the host's network only a bind is allowed */
    bool host_sys = plan->userns && plan->network == JB_NETWORK_HOST;
    unsigned fresh = fresh_flags(plan);
    const struct jb_op ops[] = {
        {.kind = JB_OP_PROC, .target = "/proc"},
        {.kind = host_sys ? JB_OP_BIND : JB_OP_SYSFS,
         .flags = host_sys ? JB_OPF_RECURSIVE : 0,
         .source = "/sys",
         .target = "/sys"},
        {.kind = JB_OP_DEV, .target = "/dev", .bytes = plan->memory_max},
        {.kind = JB_OP_SCRATCH_BIND, .flags = fresh, .target = "/tmp", .mode = 01777},
        {.kind = JB_OP_SCRATCH_BIND, .flags = JB_OPF_OPTIONAL, .target = "/var/tmp", .mode = 01777},
        {.kind = JB_OP_SCRATCH_BIND, .flags = fresh, .target = "/run", .mode = 0755},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(ops); i++)
        r = add(plan, ops[i]);
    bool host_root = !plan->userns && plan->uid == 0;
    if (r == 0 && host_root)
        r = add_all(plan, JB_OP_READONLY, JB_OPF_OPTIONAL, &in->host->readonly_paths);
    if (r == 0 && host_root)
        r = add_all(plan, JB_OP_MASK_FILE, JB_OPF_OPTIONAL, &in->host->root_mask_files);
    if (r == 0)
        r = add_all(plan, JB_OP_MASK_FILE, JB_OPF_OPTIONAL, &in->host->mask_files);
    if (r == 0)
        r = add_all(plan, JB_OP_MASK_DIR, JB_OPF_OPTIONAL, &in->host->mask_dirs);
    return r;
}

/* What lxcfs says of CPUs and memory is about whoever asks, as his cgroups have it. */
static int granted_view(struct jb_plan *plan)
{
    static const char *const files[] = {"cpuinfo", "meminfo", "stat",     "uptime",
                                        "loadavg", "swaps",   "diskstats"};
    int r = 0;
    for (size_t i = 0; r == 0 && plan->lxcfs && i < JB_ARRAY_LEN(files); i++) {
        const char *source = jb_arena_printf(&plan->arena, JB_LXCFS "/proc/%s", files[i]);
        const char *target = jb_arena_printf(&plan->arena, "/proc/%s", files[i]);
        r = source && target
                ? add(plan,
                      (struct jb_op){
                          .kind = JB_OP_BIND, .flags = JB_OPF_OPTIONAL, .source = source, .target = target})
                : -ENOMEM;
    }
    return r;
}

static int bind_allowed(const struct jb_plan *plan, const struct jb_spec *spec, const struct jb_spec_mount *m,
                        const char *source, struct jb_error *err)
{
    const char *why = jb_bind_refusal(&plan->binds, source, m->mode == JB_MOUNT_RW);
    return why ? jb_fail(err, EPERM, "%s:%u:%u: mounts: %s may not be bound: %s", spec->file, m->pos.line,
                         m->pos.column, source, why)
               : 0;
}

static int user_mounts(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_spec *spec = in->spec;
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct jb_spec_mount *m = &spec->mounts[i];
        struct jb_op op = {.target = jb_arena_strdup(&plan->arena, m->target)};
        if (m->is_tmpfs) {
            op.kind = JB_OP_TMPFS;
            op.bytes = m->tmpfs_bytes;
            op.mode = 01777;
        } else {
            op.kind = JB_OP_BIND;
            op.flags = JB_OPF_AS_SUBMITTER | JB_OPF_RECURSIVE | (m->mode == JB_MOUNT_RW ? JB_OPF_RW : 0U);
            int r = jb_make_host_path(plan, plan->submitter_cwd, m->source, &op.source, err);
            if (r < 0)
                return jb_wrap(err, "%s:%u:%u: mounts", spec->file, m->pos.line, m->pos.column);
            r = bind_allowed(plan, spec, m, op.source, err);
            if (r < 0)
                return r;
        }
        if (!op.target || add(plan, op) < 0)
            return jb_fail_errno(err, ENOMEM, "plan");
    }
    return 0;
}

/* A loop file system has a size, or it is none. */
static const char *no_cap(const struct jb_plan *plan, const struct jb_plan_input *in)
{
    if (in->host->scratch_cap == JB_SCRATCH_CAP_LOOP && plan->scratch_bytes == JB_UNSET)
        return "the file system keeps no project quotas, and without resources.scratch there is no size for "
               "a "
               "file system of the box's own";
    return in->host->scratch_cap == JB_SCRATCH_CAP_NONE ? in->host->scratch_why : NULL;
}

static int scratch_cap(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    bool capped = plan->scratch_bytes != JB_UNSET || plan->scratch_inodes != JB_UNSET;
    if (in->site->scratch_backend != JB_SCRATCH_DISK || !capped)
        return 0;
    const char *why = no_cap(plan, in);
    plan->scratch_cap = why ? JB_SCRATCH_CAP_NONE : in->host->scratch_cap;
    if (!why || jb_make_degrade(plan, in, JB_DEGRADE_SCRATCH, why))
        return 0;
    char where[512];
    return jb_fail(err, ENOTSUP,
                   "%s: this site keeps scratch on disk, and there it can have no hard cap: %s; write "
                   "allow_degraded: [scratch], or let the site set scratch.backend: tmpfs",
                   jb_spec_where(in->spec, JB_KEY_SCRATCH, where, sizeof(where)), why);
}

/* The spec's, else the image's; NULL: neither says one. */
static const char *workdir_wish(const struct jb_plan_input *in)
{
    const char *images = in->image->config.workdir;
    if (in->spec->workdir)
        return in->spec->workdir;
    return images && !jb_streq(images, "/") ? images : NULL;
}

/* /run and /var/tmp are what they say: of the box that was. */
static bool is_of_one_box(const char *target)
{
    return jb_streq(target, "/run") || jb_streq(target, "/var/tmp");
}

/* What is mounted last is what is seen. */
static bool is_covered(const struct jb_plan *plan, size_t at)
{
    for (size_t i = at + 1; plan->ops[at].target && i < plan->n_ops; i++)
        if (plan->ops[i].kind == JB_OP_SCRATCH_BIND && jb_streq(plan->ops[i].target, plan->ops[at].target))
            return true;
    return false;
}

/* Where the files of a box that ended come in: below the fresh layer of each place that had one. */
static int over_another(struct jb_plan *plan)
{
    for (size_t i = 0; plan->over && i < plan->n_ops; i++) {
        struct jb_op *op = &plan->ops[i];
        bool has_layer = op->kind == JB_OP_ROOT_OVERLAY || op->kind == JB_OP_OVERLAY ||
                         (op->kind == JB_OP_SCRATCH_BIND && !is_of_one_box(op->target));
        if (!has_layer || is_covered(plan, i))
            continue;
        op->over = jb_arena_printf(&plan->arena, "%s%s", plan->over, op->target ? op->target : "");
        if (!op->over)
            return -ENOMEM;
    }
    return 0;
}

int jb_make_ops(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    int r = scratch_cap(plan, in, err);
    if (r < 0)
        return r;
    if (jb_bind_policy_make(&plan->arena, in->site, in->submitter->uid == 0, in->runtime_dir, in->state_dir,
                            &plan->binds) < 0)
        return jb_fail_errno(err, ENOMEM, "plan");
    r = root(plan, in);
    if (r == 0)
        r = system_mounts(plan, in);
    if (r == 0)
        r = granted_view(plan);
    if (r == 0)
        r = jb_make_network_files(plan, in, add);
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    const char *wish = workdir_wish(in);
    plan->workdir = wish ? jb_arena_strdup(&plan->arena, wish) : JB_WORKDIR;
    if (!wish) /* always fresh and empty, whatever the image has there */
        r = add(plan, (struct jb_op){.kind = JB_OP_SCRATCH_BIND,
                                     .flags = JB_OPF_JOB_OWNED | fresh_flags(plan),
                                     .target = JB_WORKDIR,
                                     .mode = 0755});
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    r = jb_make_device_ops(plan, add);
    if (r < 0)
        return jb_fail_errno(err, r, "plan");
    r = user_mounts(plan, in, err);
    if (r < 0)
        return r;
    const char *script = plan->stands ? NULL : in->spec->script;
    plan->script = jb_arena_strdup(&plan->arena, script);
    if (!plan->workdir || (script && !plan->script))
        return jb_fail_errno(err, ENOMEM, "plan");
    if (wish)
        r = add(plan, (struct jb_op){.kind = JB_OP_DIR, .target = plan->workdir, .mode = 0755});
    if (r == 0 && plan->script)
        r = add(plan, (struct jb_op){
                          .kind = JB_OP_FILE, .target = JB_SCRIPT_PATH, .text = plan->script, .mode = 0755});
    if (r == 0)
        r = jb_make_hook_ops(plan, add);
    if (r == 0)
        r = add(plan, (struct jb_op){.kind = JB_OP_PIVOT});
    if (r == 0)
        r = over_another(plan);
    return r < 0 ? jb_fail_errno(err, r, "plan") : 0;
}
