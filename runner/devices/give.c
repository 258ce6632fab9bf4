/*
 * give.c - what the chosen devices bring into the box: nodes, mounts, variables, groups, hooks.
 *
 * Owns: the struct jb_devices under construction. Runs in: the client. Privilege: none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "devices/choice.h"

#define HOOK_TIMEOUT (60 * JB_NS_PER_S) /* where the file says none: a box that waits for ever helps nobody */
#define NO_ID        ((uint32_t)-1)

/* Of a box's own /dev: made by jobbox, whatever a CDI file says. */
static const struct {
    const char *path;
    unsigned major, minor;
} own_nodes[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};
static const char *const own_places[] = {"/dev/pts",    "/dev/shm",    "/dev/fd",   "/dev/stdin",
                                         "/dev/stdout", "/dev/stderr", "/dev/ptmx", "/dev/mqueue"};

struct giver {
    const struct jb_choice *choice;
    struct jb_devices *into;
    const struct jb_cdi_file *file; /* whose edits are being applied */
    const char *name;               /* of the device */
};

static int no_memory(struct jb_error *err)
{
    return jb_fail_errno(err, ENOMEM, "devices");
}

/* One more element of an array that only grows while devices are applied; in the arena, where the old one stays. */
static void *append(struct jb_devices *d, void **items, size_t *n, size_t size)
{
    if ((*n & (*n - 1)) == 0) {
        char *grown = jb_arena_alloc(&d->arena, (*n ? *n * 2 : 1) * size);
        if (!grown)
            return NULL;
        if (*n)
            memcpy(grown, *items, *n * size);
        *items = grown;
    }
    return (char *)*items + (*n)++ * size;
}

static int fail_at(const struct giver *g, struct jb_pos pos, int errnum, const char *what,
                   struct jb_error *err)
{
    return jb_fail(err, errnum, "%s: %s: %s:%u:%u: %s", g->choice->where, g->name, g->file->path, pos.line,
                   pos.column, what);
}

/* --- nodes --- */

/* 1: the box has this very node anyway; an error where something else would stand in its place. */
static int check_place(const struct giver *g, const struct jb_device_node *node, struct jb_pos pos,
                       struct jb_error *err)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(own_nodes); i++)
        if (jb_streq(node->path, own_nodes[i].path))
            return node->type == 'c' && node->major == own_nodes[i].major && node->minor == own_nodes[i].minor
                       ? 1
                       : fail_at(g, pos, EINVAL, "would stand in the place of a device that every box has",
                                 err);
    bool own = !jb_path_beneath(node->path, "/dev") || jb_streq(node->path, "/dev");
    for (size_t i = 0; !own && i < JB_ARRAY_LEN(own_places); i++)
        own = jb_path_beneath(node->path, own_places[i]);
    return own ? fail_at(g, pos, EINVAL,
                         "a node can only be made below /dev of the box, not in a folder that is the "
                         "box's own",
                         err)
               : 0;
}

static void add_access(char access[4], const char *more)
{
    char all[4] = "";
    size_t n = 0;
    for (const char *c = "rwm"; *c; c++)
        if (strchr(access, *c) || strchr(more, *c))
            all[n++] = *c;
    memcpy(access, all, sizeof(all));
}

static int add_node(const struct giver *g, const struct jb_device_node *node, struct jb_pos pos,
                    struct jb_error *err)
{
    struct jb_devices *d = g->into;
    for (size_t i = 0; i < d->n_nodes; i++) {
        struct jb_device_node *there = &d->nodes[i];
        if (!jb_streq(there->path, node->path))
            continue;
        if (there->type != node->type || there->major != node->major || there->minor != node->minor)
            return fail_at(g, pos, EINVAL,
                           "another device of this job has a node of this path and another number", err);
        add_access(there->access, node->access);
        return 0;
    }
    struct jb_device_node *one = append(d, (void **)&d->nodes, &d->n_nodes, sizeof(*one));
    if (!one)
        return no_memory(err);
    *one = *node;
    return 0;
}

static int give_node(const struct giver *g, const struct jb_cdi_node *from, struct jb_error *err)
{
    const struct jb_devices_input *in = g->choice->in;
    const char *source = from->host_path ? from->host_path : from->path;
    struct jb_node_facts facts = {.mode = 0660};
    struct jb_device_node node = {
        .path = jb_arena_strdup(&g->into->arena, from->path),
        .host_path = jb_arena_strdup(&g->into->arena, source),
        .uid = from->uid == JB_UNSET ? NO_ID : (uid_t)from->uid,
        .gid = from->gid == JB_UNSET ? NO_ID : (gid_t)from->gid,
        .access = "rw",
    };
    if (!node.path || !node.host_path)
        return no_memory(err);
    int r = in->facts->node(in->facts->ctx, source, &facts);
    if (r < 0 && (in->userns || from->major == JB_UNSET || from->type == JB_CDI_TYPE_UNSAID))
        return jb_fail(err, ENODEV, "%s: %s: %s%s", g->choice->where, g->name, source,
                       r == -ENODEV ? " is not a device node" : " is not on this host");
    char wanted = from->type == JB_CDI_TYPE_UNSAID ? facts.type : from->type == JB_CDI_TYPE_BLOCK ? 'b' : 'c';
    if (from->major == JB_UNSET && wanted != facts.type)
        return fail_at(g, from->pos, EINVAL, "the node on the host is of another type than the file says",
                       err);
    node.type = wanted;
    node.major = from->major == JB_UNSET ? facts.major : (unsigned)from->major;
    node.minor = from->minor == JB_UNSET ? facts.minor : (unsigned)from->minor;
    if (in->userns && (node.type != facts.type || node.major != facts.major || node.minor != facts.minor))
        return fail_at(
            g, from->pos, EINVAL,
            "the node on the host has another number than the file says, and without privilege it can only "
            "be shown as it is",
            err);
    node.mode = from->mode == JB_UNSET ? facts.mode & 0777 : (mode_t)from->mode;
    if (from->uid == JB_UNSET) /* it will be the job's own: what is granted can be opened */
        node.mode |= 0600;
    if (from->permissions) {
        node.access[0] = '\0';
        add_access(node.access, from->permissions);
    }
    r = check_place(g, &node, from->pos, err);
    return r < 0 ? r : r > 0 ? 0 : add_node(g, &node, from->pos, err);
}

/* --- mounts, variables, groups, hooks --- */

static int give_mount(const struct giver *g, const struct jb_cdi_mount *from, struct jb_error *err)
{
    struct jb_devices *d = g->into;
    for (size_t i = 0; i < d->n_mounts; i++)
        if (jb_streq(d->mounts[i].target, from->container_path) &&
            jb_streq(d->mounts[i].source, from->host_path))
            return 0; /* of another device, or of the file as a whole */
    struct jb_device_mount *one = append(d, (void **)&d->mounts, &d->n_mounts, sizeof(*one));
    if (!one)
        return no_memory(err);
    *one = (struct jb_device_mount){
        .source = jb_arena_strdup(&d->arena, from->host_path),
        .target = jb_arena_strdup(&d->arena, from->container_path),
        .read_only = from->read_only,
        .no_exec = from->no_exec,
        .recursive = from->recursive,
    };
    return one->source && one->target ? 0 : no_memory(err);
}

static int give_gid(const struct giver *g, uint64_t gid, struct jb_error *err)
{
    struct jb_devices *d = g->into;
    if (gid == 0) /* root's group is no way to a device */
        return 0;
    for (size_t i = 0; i < d->n_gids; i++)
        if (d->gids[i] == gid)
            return 0;
    gid_t *one = append(d, (void **)&d->gids, &d->n_gids, sizeof(*one));
    if (!one)
        return no_memory(err);
    *one = (gid_t)gid;
    return 0;
}

/* In the arena, with `first` in front when the list is empty. */
static const char *const *vector(struct jb_devices *d, const struct jb_strv *list, const char *first)
{
    const char **v = jb_arena_alloc(&d->arena, (list->len + 2) * sizeof(*v));
    if (!v)
        return NULL;
    if (list->len == 0 && first)
        v[0] = jb_arena_strdup(&d->arena, first);
    for (size_t i = 0; i < list->len; i++)
        if (!(v[i] = jb_arena_strdup(&d->arena, list->items[i])))
            return NULL;
    return v;
}

static int give_hook(const struct giver *g, const struct jb_cdi_hook *from, struct jb_error *err)
{
    struct jb_devices *d = g->into;
    char text[256];
    if (g->choice->in->site->devices.hooks != JB_SITE_HOOKS_ALLOW)
        return fail_at(
            g, from->pos, EPERM,
            "this device needs a hook, a program run as root beside the box, and the site does not allow "
            "them; its administrator can write devices: { hooks: allow }",
            err);
    if (from->when != JB_CDI_HOOK_CREATE_CONTAINER) {
        (void)snprintf(text, sizeof(text),
                       "this device needs a %s hook, and createContainer is the only kind that jobbox runs",
                       jb_cdi_hook_name(from->when));
        return fail_at(g, from->pos, ENOTSUP, text, err);
    }
    if (g->choice->in->userns)
        return fail_at(
            g, from->pos, ENOTSUP,
            "this device needs a hook, and without privilege jobbox runs none; run the job as root", err);
    struct jb_device_hook *one = append(d, (void **)&d->hooks, &d->n_hooks, sizeof(*one));
    if (!one)
        return no_memory(err);
    *one = (struct jb_device_hook){
        .path = jb_arena_strdup(&d->arena, from->path),
        .argv = vector(d, &from->args, from->path),
        .envp = vector(d, &from->env, NULL),
        .timeout_ns = from->timeout_s == JB_UNSET ? HOOK_TIMEOUT : from->timeout_s * JB_NS_PER_S,
    };
    return one->path && one->argv && one->envp ? 0 : no_memory(err);
}

static int give_edits(const struct giver *g, const struct jb_cdi_edits *edits, struct jb_error *err)
{
    int r = 0;
    if (edits->intel_rdt.line)
        return fail_at(
            g, edits->intel_rdt, ENOTSUP,
            "this device asks for intelRdt (cache and memory bandwidth), which jobbox does not set", err);
    if (edits->net_devices.line)
        return fail_at(
            g, edits->net_devices, ENOTSUP,
            "this device asks for netDevices (network interfaces), which jobbox does not move into boxes",
            err);
    for (size_t i = 0; r == 0 && i < edits->n_nodes; i++)
        r = give_node(g, &edits->nodes[i], err);
    for (size_t i = 0; r == 0 && i < edits->n_mounts; i++)
        r = give_mount(g, &edits->mounts[i], err);
    for (size_t i = 0; r == 0 && i < edits->n_gids; i++)
        r = give_gid(g, edits->gids[i], err);
    for (size_t i = 0; r == 0 && i < edits->n_hooks; i++)
        r = give_hook(g, &edits->hooks[i], err);
    for (size_t i = 0; r == 0 && i < edits->env.len; i++) {
        const char *text = edits->env.items[i];
        const char *equals = strchr(text, '=');
        jb_autofree char *key = equals ? strndup(text, (size_t)(equals - text)) : NULL;
        if (!key || jb_env_set(&g->into->env, key, equals + 1) < 0)
            r = no_memory(err);
    }
    return r;
}

/* What a file says for all its devices, once: `done` by its place in the registry. */
static int give_file(const struct giver *g, bool *done, struct jb_error *err)
{
    const struct jb_cdi_registry *registry = &g->choice->registry;
    for (size_t i = 0; i < registry->len; i++) {
        if (registry->items[i].file != g->file || done[i])
            continue;
        done[i] = true;
        return give_edits(g, &g->file->edits, err);
    }
    return 0;
}

static int give_plain(const struct giver *g, const struct jb_candidate *c, struct jb_error *err)
{
    const struct jb_cdi_node node = {
        .path = (char *)c->name,
        .major = JB_UNSET,
        .minor = JB_UNSET,
        .mode = JB_UNSET,
        .uid = JB_UNSET,
        .gid = JB_UNSET,
    };
    struct giver plain = *g;
    struct jb_cdi_file spec = {.path = g->choice->in->spec->file};
    plain.file = &spec;
    struct jb_cdi_node at = node;
    at.pos = g->choice->in->spec->pos[JB_KEY_DEVICES];
    return give_node(&plain, &at, err);
}

static int give_one(struct giver *g, const struct jb_candidate *c, const struct jb_grant *grant, bool *done,
                    struct jb_error *err)
{
    struct jb_devices *d = g->into;
    g->name = c->name;
    g->file = c->found.file;
    int r = g->file ? give_file(g, done, err) : give_plain(g, c, err);
    if (r == 0 && g->file)
        r = give_edits(g, &c->found.device->edits, err);
    if (r == 0 && jb_held_add(&d->held, c->name, c->held->exclusive, c->held->nodes, c->held->n_nodes) < 0)
        r = no_memory(err);
    struct jb_device *one = r == 0 ? append(d, (void **)&d->items, &d->len, sizeof(*one)) : NULL;
    if (!one)
        return r < 0 ? r : no_memory(err);
    *one = (struct jb_device){
        .name = jb_arena_strdup(&d->arena, c->name),
        .source = g->file ? jb_arena_strdup(&d->arena, g->file->path) : NULL,
        .exclusive = c->held->exclusive,
        .near = jb_choice_near(g->choice, c, &grant->cpus),
        .node = c->node,
    };
    return one->name && (!g->file || one->source) ? 0 : no_memory(err);
}

int jb_choice_give(const struct jb_choice *choice, const struct jb_grant *grant, struct jb_devices *into,
                   struct jb_error *err)
{
    struct giver g = {.choice = choice, .into = into};
    jb_autofree bool *done = calloc(choice->registry.len + 1, sizeof(*done));
    if (!done)
        return no_memory(err);
    int r = 0;
    for (size_t w = 0; r == 0 && w < choice->n_wishes; w++)
        for (size_t i = 0; r == 0 && i < choice->wishes[w].len; i++)
            if (choice->wishes[w].items[i].chosen)
                r = give_one(&g, &choice->wishes[w].items[i], grant, done, err);
    return r;
}
