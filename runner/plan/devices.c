/*
 * devices.c - the granted devices as parts of a plan: what the box may open, what is made and mounted in it, groups.
 *
 * Owns: those parts of the plan under construction. Runs in: the client. Privilege: none; pure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "plan/make.h"

/* What every box has in its /dev; a group without them could not even open /dev/null. */
static const struct jb_cg_device own_devices[] = {
    {'c', 1, 3, "rw"}, {'c', 1, 5, "rw"}, {'c', 1, 7, "rw"}, {'c', 1, 8, "rw"},
    {'c', 1, 9, "rw"}, {'c', 5, 0, "rw"}, {'c', 5, 2, "rw"}, {'c', 136, -1, "rw"},
};

static int add_rule(struct jb_cg_plan *cg, const struct jb_cg_device *rule)
{
    for (size_t i = 0; i < cg->n_devices; i++) {
        struct jb_cg_device *there = &cg->devices[i];
        char all[4] = "";
        size_t n = 0;
        if (there->type != rule->type || there->major != rule->major || there->minor != rule->minor)
            continue;
        for (const char *c = "rwm"; *c; c++)
            if (strchr(there->access, *c) || strchr(rule->access, *c))
                all[n++] = *c;
        memcpy(there->access, all, sizeof(all));
        return 0;
    }
    if (cg->n_devices == JB_CG_DEVICES_MAX)
        return -E2BIG;
    struct jb_cg_device *grown = realloc(cg->devices, (cg->n_devices + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    cg->devices = grown;
    cg->devices[cg->n_devices++] = *rule;
    return 0;
}

static int add_rules(struct jb_plan *plan)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(own_devices); i++)
        r = add_rule(&plan->cgroup, &own_devices[i]);
    for (size_t i = 0; r == 0 && i < plan->devices->n_nodes; i++) {
        const struct jb_device_node *node = &plan->devices->nodes[i];
        struct jb_cg_device rule = {.type = node->type, .major = node->major, .minor = node->minor};
        memcpy(rule.access, node->access, sizeof(rule.access));
        r = add_rule(&plan->cgroup, &rule);
    }
    return r;
}

/* The v1 controller where there is one, else a program on the v2 group; both are root's to use. */
int jb_make_device_limit(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_cg_layout *layout = &in->host->cgroups;
    const struct jb_cg_controller *v1 = &layout->ctl[JB_CTL_DEVICES];
    const struct jb_cg_controller *v2 = &layout->ctl[JB_CTL_UNIFIED];
    struct jb_cg_plan *cg = &plan->cgroup;
    char where[512];
    char why[400];
    if (!plan->devices)
        return 0;
    cg->use[JB_CTL_DEVICES] = !plan->userns && v1->version == 1 && v1->writable;
    cg->device_program =
        !plan->userns && v1->version == 0 && cg->use[JB_CTL_UNIFIED] && in->host->device_program == 0;
    cg->limit_devices = cg->use[JB_CTL_DEVICES] || cg->device_program;
    if (cg->limit_devices) {
        int r = add_rules(plan);
        return r < 0 ? jb_fail_errno(err, r, "%s: the rules of the devices cgroup",
                                     jb_spec_where(in->spec, JB_KEY_DEVICES, where, sizeof(where)))
                     : 0;
    }
    if (plan->userns)
        (void)snprintf(why, sizeof(why), "only root can limit a cgroup to devices");
    else if (v1->version == 1)
        (void)snprintf(why, sizeof(why), "%s", v1->why);
    else if (!cg->use[JB_CTL_UNIFIED])
        (void)snprintf(why, sizeof(why), "%s; %s", v1->why, v2->why);
    else
        (void)snprintf(why, sizeof(why), "%s, and the kernel takes no program (BPF) in its place: %s",
                       v1->why, strerrordesc_np(-in->host->device_program));
    if (jb_make_degrade(plan, in, JB_DEGRADE_DEVICES, why))
        return 0;
    return jb_fail(
        err, EACCES,
        "%s: cannot keep the job from all other devices: %s. Run jobbox as root where its cgroup can be "
        "written, or say that the job may do without: allow_degraded: [devices]",
        jb_spec_where(in->spec, JB_KEY_DEVICES, where, sizeof(where)), why);
}

static bool has_group(const struct jb_plan *plan, const struct jb_submitter *who, gid_t gid)
{
    for (size_t i = 0; plan->userns && i < who->n_groups; i++)
        if (who->groups[i] == gid)
            return true;
    return plan->userns && who->gid == gid;
}

/* Without privilege a process keeps the groups it has and gets no others. */
int jb_make_device_groups(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    char where[512];
    size_t extra = plan->devices ? plan->devices->n_gids : 0;
    if (extra == 0)
        return 0;
    for (size_t i = 0; plan->userns && i < extra; i++)
        if (!has_group(plan, in->submitter, plan->devices->gids[i]))
            return jb_fail(
                err, EPERM,
                "%s: the device needs the group %u, which you are not in; ask its administrator, or run "
                "the job as root",
                jb_spec_where(in->spec, JB_KEY_DEVICES, where, sizeof(where)),
                (unsigned)plan->devices->gids[i]);
    if (plan->userns)
        return 0;
    gid_t *groups = jb_arena_alloc(&plan->arena, (plan->n_groups + extra) * sizeof(*groups));
    if (!groups)
        return jb_fail_errno(err, ENOMEM, "plan");
    if (plan->n_groups)
        memcpy(groups, plan->groups, plan->n_groups * sizeof(*groups));
    memcpy(groups + plan->n_groups, plan->devices->gids, extra * sizeof(*groups));
    plan->groups = groups;
    plan->n_groups += extra;
    return 0;
}

int jb_make_device_ops(struct jb_plan *plan, int (*add)(struct jb_plan *plan, struct jb_op op))
{
    const struct jb_devices *d = plan->devices;
    int r = 0;
    for (size_t i = 0; d && r == 0 && i < d->n_nodes; i++)
        r = add(plan, (struct jb_op){.kind = JB_OP_DEVICE,
                                     .flags = plan->userns ? JB_OPF_RW : 0U,
                                     .source = d->nodes[i].host_path,
                                     .target = d->nodes[i].path,
                                     .mode = d->nodes[i].mode,
                                     .device = &d->nodes[i]});
    for (size_t i = 0; d && r == 0 && i < d->n_mounts; i++)
        r = add(plan, (struct jb_op){.kind = JB_OP_BIND,
                                     .flags = JB_OPF_IN_ROOT | (d->mounts[i].read_only ? 0U : JB_OPF_RW) |
                                              (d->mounts[i].recursive ? JB_OPF_RECURSIVE : 0U) |
                                              (d->mounts[i].no_exec ? JB_OPF_NO_EXEC : 0U),
                                     .source = d->mounts[i].source,
                                     .target = d->mounts[i].target});
    return r;
}

int jb_make_hook_ops(struct jb_plan *plan, int (*add)(struct jb_plan *plan, struct jb_op op))
{
    const struct jb_devices *d = plan->devices;
    int r = 0;
    for (size_t i = 0; d && r == 0 && i < d->n_hooks; i++)
        r = add(plan, (struct jb_op){.kind = JB_OP_HOOK, .source = d->hooks[i].path, .hook = &d->hooks[i]});
    return r;
}

/* Its own devices' variables; and their names, which a job that asked for a number of them cannot know. */
int jb_make_device_env(struct jb_plan *plan)
{
    const struct jb_devices *d = plan->devices;
    jb_autobuf struct jb_buf names = {0};
    int r = 0;
    if (!d)
        return 0;
    for (size_t i = 0; r == 0 && i < d->env.len; i++) {
        const char *text = d->env.items[i];
        const char *equals = strchr(text, '=');
        jb_autofree char *key = equals ? strndup(text, (size_t)(equals - text)) : NULL;
        r = key ? jb_env_set(&plan->env, key, equals + 1) : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < d->len; i++)
        r = jb_buf_printf(&names, "%s%s", i ? "," : "", d->items[i].name);
    return r < 0 ? r : jb_env_set(&plan->env, "JOBBOX_DEVICES", names.data);
}
