/*
 * site.c - the site's decisions: built-in ones, and a file read over them.
 *
 * Owns: the struct jb_site under construction. Runs in: every process. Privilege: none.
 */
#include "site/site.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "site/rules.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define FIELD(word, reader, member, ...)                                                                 \
    {                                                                                                    \
        .name = (word), .key = JB_KEY_MAX, .read = (reader), .offset = offsetof(struct jb_site, member), \
        __VA_ARGS__                                                                                      \
    }
#define BOUND(word, member, reader, ...) FIELD(word, jb_rule_bound, member, .inner = (reader), __VA_ARGS__)
#define WORDS(table)                     .names = (table), .n_names = JB_ARRAY_LEN(table)
#define NESTED(table)                    .fields = (table), .n_names = JB_ARRAY_LEN(table)

static const char *const backend_words[] = {[JB_SCRATCH_TMPFS] = "tmpfs", [JB_SCRATCH_DISK] = "disk"};
static const char *const overlay_words[] = {
    [JB_SITE_OVERLAY_AUTO] = "auto", [JB_SITE_OVERLAY_KERNEL] = "kernel", [JB_SITE_OVERLAY_FUSE] = "fuse"};
static const char *const cgroup_words[] = {
    [JB_CG_BACKEND_DIRECT] = "direct",
    [JB_CG_BACKEND_LIBCGROUP] = "libcgroup",
};
static const char *const systemd_words[] = {
    [JB_SYSTEMD_AUTO] = "auto",
    [JB_SYSTEMD_NEVER] = "never",
    [JB_SYSTEMD_REQUIRE] = "require",
};
static const char *const sync_words[] = {
    [JB_SYNC_ALWAYS] = "always", [JB_SYNC_NEVER] = "never", [JB_SYNC_BATCH] = "batch"};

static const char *const kernel_mount_words[] = {
    [JB_KERNEL_MOUNT_OWNED] = "owned",
    [JB_KERNEL_MOUNT_ANY] = "any",
    [JB_KERNEL_MOUNT_NEVER] = "never",
};
static const char *const net_words[] = {
    [JB_SITE_NET_AUTO] = "auto", [JB_SITE_NET_PASTA] = "pasta", [JB_SITE_NET_SLIRP] = "slirp4netns"};
static const char *const hook_words[] = {[JB_SITE_HOOKS_REFUSE] = "refuse", [JB_SITE_HOOKS_ALLOW] = "allow"};

static const struct jb_field paths_fields[] = {
    FIELD("runtime", jb_rule_auto_path, paths.runtime),
    FIELD("state", jb_rule_auto_path, paths.state),
    FIELD("cgroup_parent", jb_rule_auto_path, paths.cgroup_parent),
};

static const struct jb_field resources_fields[] = {
    BOUND("cpus", cpus, jb_read_count, .min = 1, .max = JB_CPUS_MAX),
    BOUND("memory", memory, jb_read_size, .min = MIB),
    BOUND("swap", swap, jb_read_size),
    FIELD("pids", jb_rule_pids, pids, .inner = jb_read_count, .min = 2, .max = 4194304),
    BOUND("scratch", scratch, jb_read_size, .min = MIB),
    BOUND("scratch_inodes", scratch_inodes, jb_read_count, .min = 16),
};

static const struct jb_field limits_fields[] = {
    BOUND("wall_time", wall_time, jb_read_duration, .min = 1),
    BOUND("cpu_time", cpu_time, jb_read_duration, .min = 1),
    BOUND("output", output, jb_read_size, .min = 1),
    BOUND("grace", grace, jb_read_duration),
    BOUND("idle", idle, jb_read_duration, .min = 1),
};

static const struct jb_field scratch_fields[] = {
    FIELD("backend", jb_read_enum, scratch_backend, WORDS(backend_words)),
};

static const struct jb_field cgroups_fields[] = {
    FIELD("backend", jb_read_enum, cgroups.backend, WORDS(cgroup_words)),
    FIELD("systemd", jb_read_enum, cgroups.systemd, WORDS(systemd_words)),
    FIELD("slice", jb_rule_slice, cgroups.slice),
};

static const struct jb_field binds_fields[] = {
    FIELD("any", jb_read_bool, binds.any),
    FIELD("allow", jb_rule_allow, binds.allow),
    FIELD("deny", jb_read_paths, binds.deny),
};

static const struct jb_field host_image_fields[] = {
    FIELD("hide", jb_read_paths, host_image.hide),
};

static const struct jb_field images_fields[] = {
    FIELD("kernel_mount", jb_read_enum, images.kernel_mount, WORDS(kernel_mount_words)),
    FIELD("shared", jb_rule_none_path, images.shared),
    FIELD("max_size", jb_read_size, images.max_size, .min = MIB),
    FIELD("max_entries", jb_read_count, images.max_entries, .min = 1, .max = UINT32_MAX),
    FIELD("max_ratio", jb_read_count, images.max_ratio, .min = 1, .max = 1000000),
    FIELD("unpack_time", jb_read_duration, images.unpack_ns, .min = JB_NS_PER_S),
};

static const struct jb_field policy_fields[] = {
    FIELD("root_in_box", jb_read_bool, policy.root_in_box),
    FIELD("any_ids", jb_read_bool, policy.any_ids),
    FIELD("host_network", jb_read_bool, policy.host_network),
    FIELD("user_network", jb_read_bool, policy.user_network),
};

static const struct jb_field devices_fields[] = {
    FIELD("cdi_dirs", jb_rule_dirs, devices.cdi_dirs),
    FIELD("allow", jb_rule_nodes, devices.allow),
    FIELD("exclusive", jb_rule_nodes, devices.exclusive),
    FIELD("shared", jb_rule_names, devices.shared),
    FIELD("hooks", jb_read_enum, devices.hooks, WORDS(hook_words)),
};

static const struct jb_field network_user_fields[] = {
    FIELD("allow", jb_rule_networks, network.allow),
    FIELD("helper", jb_read_enum, network.helper, WORDS(net_words)),
    FIELD("host_loopback", jb_read_bool, network.host_loopback),
    FIELD("dns", jb_read_bool, network.dns),
};

static const struct jb_field network_fields[] = {
    FIELD("user", jb_read_map, network, NESTED(network_user_fields)),
};

static const struct jb_field artifacts_fields[] = {
    FIELD("max_bytes", jb_read_size, artifacts.max_bytes, .min = 1),
    FIELD("max_files", jb_read_count, artifacts.max_files, .min = 1),
};

static const struct jb_field kept_fields[] = {
    FIELD("max_count", jb_read_count, kept.max_count, .max = 10000),
    FIELD("max_bytes", jb_read_size, kept.max_bytes, .min = 1),
    FIELD("max_files", jb_read_count, kept.max_files, .min = 1),
    FIELD("max_age", jb_read_duration, kept.max_age, .min = 1),
};

static const struct jb_field journal_fields[] = {
    FIELD("sync", jb_read_enum, journal_sync, WORDS(sync_words)),
};

static const struct jb_field site_fields[] = {
    FIELD("paths", jb_read_map, paths, NESTED(paths_fields)),
    FIELD("resources", jb_read_map, cpus, NESTED(resources_fields)),
    FIELD("limits", jb_read_map, wall_time, NESTED(limits_fields)),
    FIELD("reserved_cpus", jb_read_cpus, reserved_cpus),
    FIELD("scratch", jb_read_map, scratch_backend, NESTED(scratch_fields)),
    FIELD("overlay", jb_read_enum, overlay, WORDS(overlay_words)),
    FIELD("cgroups", jb_read_map, cgroups, NESTED(cgroups_fields)),
    FIELD("binds", jb_read_map, binds, NESTED(binds_fields)),
    FIELD("host_image", jb_read_map, host_image, NESTED(host_image_fields)),
    FIELD("images", jb_read_map, images, NESTED(images_fields)),
    FIELD("policy", jb_read_map, policy, NESTED(policy_fields)),
    FIELD("devices", jb_read_map, devices, NESTED(devices_fields)),
    FIELD("network", jb_read_map, network, NESTED(network_fields)),
    FIELD("artifacts", jb_read_map, artifacts, NESTED(artifacts_fields)),
    FIELD("kept", jb_read_map, kept, NESTED(kept_fields)),
    FIELD("queue", jb_rule_queue, queue),
    FIELD("allow_degraded", jb_read_degraded, allow_degraded),
    FIELD("env", jb_read_env, env),
    FIELD("sinks", jb_rule_sinks, sinks),
    FIELD("journal", jb_read_map, journal_sync, NESTED(journal_fields)),
    FIELD("currency", jb_rule_currency, currency, .max = 16),
    FIELD("prices", jb_rule_prices, prices),
    FIELD("budgets", jb_rule_budgets, budgets),
};

void jb_site_free(struct jb_site *site)
{
    if (!site)
        return;
    free(site->file);
    free(site->paths.runtime);
    free(site->paths.state);
    free(site->paths.cgroup_parent);
    free(site->cgroups.slice);
    free(site->images.shared);
    for (size_t i = 0; i < site->binds.n_allow; i++)
        free(site->binds.allow[i].path);
    free(site->binds.allow);
    jb_strv_free(&site->binds.deny);
    jb_strv_free(&site->host_image.hide);
    jb_strv_free(&site->devices.cdi_dirs);
    jb_strv_free(&site->devices.allow);
    jb_strv_free(&site->devices.exclusive);
    jb_strv_free(&site->devices.shared);
    jb_strv_free(&site->network.allow);
    jb_strv_free(&site->env);
    for (size_t i = 0; i < site->n_sinks; i++) {
        free(site->sinks[i].path);
        jb_strv_free(&site->sinks[i].argv);
    }
    free(site->sinks);
    for (size_t i = 0; i < site->n_prices; i++) {
        free(site->prices[i].account);
        free(site->prices[i].from);
        free(site->prices[i].to);
    }
    free(site->prices);
    for (size_t i = 0; i < site->n_budgets; i++)
        free(site->budgets[i].account);
    free(site->budgets);
    free(site->currency);
    jb_site_queue_free(site);
    free(site);
}

int jb_site_default(struct jb_site **ret)
{
    static const char *const deny[] = {"/proc", "/sys", "/dev"};
    static const char *const cdi_dirs[] = {"/etc/cdi", "/var/run/cdi"};
    jb_autosite struct jb_site *site = calloc(1, sizeof(*site));
    if (!site)
        return -ENOMEM;
    site->cpus = (struct jb_bound){1, JB_UNSET};
    site->memory = (struct jb_bound){JB_UNSET, JB_UNSET};
    site->swap = (struct jb_bound){0, JB_UNSET};
    site->pids = (struct jb_bound){4096, JB_UNSET};
    site->scratch = (struct jb_bound){2 * GIB, JB_UNSET};
    site->scratch_inodes = (struct jb_bound){1000000, JB_UNSET};
    site->wall_time = (struct jb_bound){JB_UNSET, JB_UNSET};
    site->cpu_time = (struct jb_bound){JB_UNSET, JB_UNSET};
    site->output = (struct jb_bound){GIB, JB_UNSET};
    site->grace = (struct jb_bound){10 * JB_NS_PER_S, 300 * JB_NS_PER_S};
    site->idle = (struct jb_bound){JB_UNSET, JB_UNSET};
    site->scratch_backend = JB_SCRATCH_TMPFS;
    site->binds.any = true;
    for (size_t i = 0; i < JB_ARRAY_LEN(deny); i++)
        if (jb_strv_add(&site->binds.deny, deny[i]) < 0)
            return -ENOMEM;
    for (size_t i = 0; i < JB_ARRAY_LEN(cdi_dirs); i++)
        if (jb_strv_add(&site->devices.cdi_dirs, cdi_dirs[i]) < 0)
            return -ENOMEM;
    site->images.max_size = 64 * GIB;
    site->images.max_entries = 1000000;
    site->images.max_ratio = 200;
    site->images.unpack_ns = 3600 * JB_NS_PER_S;
    site->policy.root_in_box = true;
    site->policy.any_ids = true;
    site->policy.host_network = true;
    site->policy.user_network = true;
    site->network.dns = true;
    if (jb_strv_add(&site->network.allow, "0.0.0.0/0") < 0 || jb_strv_add(&site->network.allow, "::/0") < 0)
        return -ENOMEM;
    site->artifacts.max_bytes = 64 * GIB;
    site->artifacts.max_files = 100000;
    site->kept.max_count = 20;
    site->kept.max_bytes = 20 * GIB;
    site->kept.max_files = 1000000;
    site->kept.max_age = 7 * 24 * 3600 * JB_NS_PER_S;
    site->journal_sync = JB_SYNC_ALWAYS;
    jb_site_queue_default(site);
    *ret = jb_take_ptr(site);
    return 0;
}

int jb_site_parse(const char *file, const char *text, size_t len, struct jb_site **ret,
                  struct jb_diags *diags)
{
    struct jb_reading rd;
    jb_autosite struct jb_site *site = NULL;
    jb_reading_begin(&rd, file, diags);
    jb_note(&rd, jb_site_default(&site));
    if (len > JB_SPEC_FILE_MAX) {
        jb_complain(&rd, (struct jb_pos){0}, NULL, "is larger than 1 MiB; a configuration is not");
    } else if (site) {
        /* a file of comments only is the defaults */
        const struct jb_node *root = jb_read_yaml(&rd, text, len);
        jb_set_text(&rd, &site->file, file);
        if (root && !jb_is_null(root) && jb_want(&rd, NULL, root, JB_NODE_MAP, "a mapping of keys"))
            jb_read_fields(&rd, NULL, root, site_fields, JB_ARRAY_LEN(site_fields), site);
    }
    int r = jb_reading_end(&rd);
    if (r < 0)
        return r;
    *ret = jb_take_ptr(site);
    return 0;
}
