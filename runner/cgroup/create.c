/*
 * create.c - makes the groups of a box and fills them, or opens those that were made earlier.
 *
 * Owns: the struct jb_cgroup. Runs in: the supervisor. Privilege: write access to the starter's own cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "cgroup/internal.h"

const struct jb_cg_ops *jb_cg_group_ops(const struct jb_cgroup *cg, const struct jb_cg_group *group)
{
    return group->version == 1 ? cg->ops_v1 : cg->ops_v2;
}

const struct jb_cg_group *jb_cg_v2(const struct jb_cgroup *cg)
{
    for (size_t i = 0; i < cg->n_groups; i++)
        if (cg->groups[i].version == 2 && cg->groups[i].dir.fd >= 0)
            return &cg->groups[i];
    return NULL;
}

/* What to put between the mount and a name below the parent: nothing when the parent is the mount itself. */
static const char *below_of(const struct jb_cg_group *group)
{
    return group->below[0] == '/' && group->below[1] == '\0' ? "" : group->below;
}

const char *jb_cg_group_text(const struct jb_cgroup *cg, const struct jb_cg_group *group, char *buf,
                             size_t len)
{
    (void)snprintf(buf, len, "%s%s/%s", group->mount ? group->mount : "", below_of(group), cg->name);
    return buf;
}

void jb_cgroup_free(struct jb_cgroup *cg)
{
    if (!cg)
        return;
    for (size_t i = 0; i < cg->n_groups; i++) {
        struct jb_cg_group *g = &cg->groups[i];
        jb_kdir_close(&g->parent);
        jb_kdir_close(&g->dir);
        jb_kdir_close(&g->inner);
        jb_close(&g->join_fd);
        free(g->mount);
        free(g->below);
    }
    free(cg->name);
    free(cg);
}

static void cgroup_cleanup(struct jb_cgroup **cg)
{
    jb_cgroup_free(*cg);
}
#define autocgroup __attribute__((cleanup(cgroup_cleanup)))

static struct jb_cgroup *new_cgroup(const char *name)
{
    struct jb_cgroup *cg = calloc(1, sizeof(*cg));
    if (cg && !(cg->name = strdup(name))) {
        free(cg);
        return NULL;
    }
    if (cg)
        cg->ops_v1 = cg->ops_v2 = &jb_cg_ops_direct;
    return cg;
}

static struct jb_cg_group *add_group(struct jb_cgroup *cg, const char *mount, const char *below, int version)
{
    struct jb_cg_group *g = &cg->groups[cg->n_groups++];
    *g = (struct jb_cg_group){
        .version = version, .join_fd = -1, .parent.fd = -1, .dir.fd = -1, .inner.fd = -1};
    g->mount = mount ? strdup(mount) : NULL;
    g->below = strdup(below);
    return (mount && !g->mount) || !g->below ? NULL : g;
}

/* The groups that the plan needs, one for each hierarchy, none of them made yet. */
static int plan_groups(struct jb_cgroup *cg, const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                       struct jb_error *err)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        const struct jb_cg_controller *ctl = &layout->ctl[c];
        if (!plan->use[c])
            continue;
        const char *below = plan->parent ? plan->parent : ctl->own;
        if (ctl->version == 0 || !below)
            return jb_fail(err, ENOTSUP, "no %s group can be made: %s",
                           jb_controller_name((enum jb_controller)c), ctl->why);
        struct jb_cg_group *g = NULL;
        for (size_t i = 0; !g && i < cg->n_groups; i++)
            if (cg->groups[i].mount && jb_streq(cg->groups[i].mount, ctl->mount))
                g = &cg->groups[i];
        if (!g && !(g = add_group(cg, ctl->mount, below, ctl->version)))
            return jb_fail_errno(err, ENOMEM, "making cgroups");
        g->controllers |= 1U << c;
        cg->of[c] = g;
    }
    return 0;
}

static int open_dir(const char *path, int flags, struct jb_kdir *ret)
{
    int fd = open(path, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ret->fd = fd;
    return 0;
}

/* Opens the group itself and the file by which processes join it. */
static int open_group(struct jb_cg_group *g, const char *name, bool must_join)
{
    int r = jb_cg_hit(&g->parent, "open", name);
    if (r == 0) {
        g->dir.fd = openat(g->parent.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = g->dir.fd < 0 ? -errno : 0;
    }
    const char *join = g->version == 1 ? "tasks" : "cgroup.procs";
    if (r == 0)
        r = jb_cg_hit(&g->dir, "open", join);
    if (r < 0)
        return r;
    g->join_fd = openat(g->dir.fd, join, O_WRONLY | O_CLOEXEC);
    return g->join_fd < 0 && must_join ? -errno : 0;
}

/* The v2 leaf of a hybrid host: no limit is written to it. */
static bool is_bare_leaf(const struct jb_cg_group *g)
{
    return g->version == 2 && g->controllers == 1U << JB_CTL_UNIFIED;
}

/* The group below `g` that processes are born in; it is what they join. */
static int make_inner(const struct jb_cgroup *cg, struct jb_cg_group *g, struct jb_error *err)
{
    struct jb_cg_group below = {.version = 2, .controllers = 1U << JB_CTL_UNIFIED, .parent = g->dir};
    int r = jb_cg_group_ops(cg, g)->make(&below, JB_CG_INNER, err);
    if (r < 0)
        return r;
    JB_CRASH_POINT(inner_group_made);
    g->inner.fault = g->dir.fault;
    g->inner.fd = openat(g->dir.fd, JB_CG_INNER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (g->inner.fd < 0)
        return jb_fail_errno(err, errno, "opening the group %s", JB_CG_INNER);
    jb_close(&g->join_fd);
    r = jb_cg_hit(&g->inner, "open", "cgroup.procs");
    g->join_fd = r < 0 ? r : openat(g->inner.fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    return g->join_fd < 0 ? jb_fail_errno(err, r < 0 ? r : errno, "opening %s/cgroup.procs", JB_CG_INNER) : 0;
}

/* Makes the parent pass on the v2 controllers of the box; already so on most hosts. */
static int pass_on(const struct jb_cg_group *g, struct jb_error *err)
{
    char line[256];
    char missing[128] = "";
    unsigned wanted = g->controllers & ~(1U << JB_CTL_UNIFIED);
    if (wanted == 0)
        return 0;
    int r = jb_kread_line(&g->parent, "cgroup.subtree_control", line, sizeof(line));
    if (r < 0)
        return jb_fail_errno(err, r, "%s%s/cgroup.subtree_control", g->mount, below_of(g));
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        const char *name = jb_controller_name((enum jb_controller)c);
        size_t used = strlen(missing);
        if ((wanted & 1U << c) && !jb_cg_has_word(line, name, " "))
            (void)snprintf(missing + used, sizeof(missing) - used, "%s+%s", used ? " " : "", name);
    }
    if (missing[0] == '\0')
        return 0;
    r = jb_kwrite(&g->parent, "cgroup.subtree_control", missing);
    if (r == -EBUSY)
        return jb_fail(err, EBUSY,
                       "%s%s holds processes, so it cannot pass controllers on (%s); move them into a child "
                       "of it (for a "
                       "service: Delegate=yes and DelegateSubgroup=) or name another cgroup_parent",
                       g->mount, below_of(g), missing);
    if (r == -ENOENT)
        return jb_fail(
            err, ENOTSUP,
            "%s%s does not have all of %s itself (see its cgroup.controllers); have them delegated, or name "
            "another cgroup_parent",
            g->mount, below_of(g), missing);
    return r < 0 ? jb_fail_errno(err, r, "writing '%s' to %s%s/cgroup.subtree_control", missing, g->mount,
                                 g->below)
                 : 0;
}

static int make_group(struct jb_cgroup *cg, struct jb_cg_group *g, const struct jb_kfault *fault,
                      struct jb_error *err)
{
    char text[512];
    g->parent.fault = fault;
    g->dir.fault = fault;
    jb_autofree char *parent = jb_asprintf("%s%s", g->mount, below_of(g));
    if (!parent)
        return jb_fail_errno(err, ENOMEM, "making cgroups");
    int r = jb_cg_hit(&g->parent, "open", parent);
    if (r == 0)
        r = open_dir(parent, O_PATH, &g->parent);
    if (r < 0)
        return jb_fail_errno(err, r, "cannot open the cgroup %s to make the box's group in it", parent);
    if (g->version == 2 && (r = pass_on(g, err)) < 0)
        return r;
    r = jb_cg_group_ops(cg, g)->make(g, cg->name, err);
    if (r == -EEXIST)
        return jb_fail(err, EEXIST,
                       "the group %s is there already and is left alone; is a box of that name running?",
                       jb_cg_group_text(cg, g, text, sizeof(text)));
    if (r < 0) {
        (void)jb_wrap(err, "%s", jb_cg_group_text(cg, g, text, sizeof(text)));
        return r;
    }
    JB_CRASH_POINT(group_made);
    r = open_group(g, cg->name, true);
    if (r < 0)
        return jb_fail_errno(err, r, "opening the new group %s", jb_cg_group_text(cg, g, text, sizeof(text)));
    JB_CRASH_POINT(group_opened);
    if (g->version == 2 && !is_bare_leaf(g) && (r = make_inner(cg, g, err)) < 0)
        (void)jb_wrap(err, "%s", jb_cg_group_text(cg, g, text, sizeof(text)));
    return r;
}

/* What to do about the errnos that kernels answer a value with. */
static const char *advice(enum jb_controller c, const char *file, int errnum)
{
    static const struct {
        enum jb_controller c;
        int errnum;
        const char *text;
    } table[] = {
        {JB_CTL_CPUSET, EACCES, "not all of them are in the parent's cpuset"},
        {JB_CTL_CPUSET, EINVAL,
         "one is offline, or belongs to another cpuset with cpu_exclusive or mem_exclusive set"},
        {JB_CTL_CPUSET, ERANGE, "this machine has no such CPU or memory node"},
        {JB_CTL_CPU, EINVAL,
         "the parent's own CPU limit is lower, or the value is out of the kernel's range"},
        {JB_CTL_DEVICES, EPERM,
         "the parent group does not have this device itself, or root's privilege is missing"},
        {JB_CTL_CPUSET, EBUSY, "the processes of another group would be left without a CPU"},
        {JB_CTL_IO, ENODEV, "limits work on whole disks only, and this is none"},
    };
    if (errnum == EROFS)
        return "the cgroup tree is mounted read-only; have it delegated writable";
    for (size_t i = 0; i < JB_ARRAY_LEN(table); i++)
        if (table[i].c == c && table[i].errnum == errnum)
            return table[i].text;
    if (errnum == ENOENT && (strstr(file, "memsw") || strstr(file, "memory.swap")))
        return "this kernel does not count swap per cgroup: boot with swapaccount=1, or allow_degraded: "
               "[memory]";
    if (errnum == ENOENT && c == JB_CTL_HUGETLB)
        return "this kernel has no huge pages of that size; see /sys/kernel/mm/hugepages";
    if (errnum == ENOENT)
        return "this kernel has no such file; leave the limit out or use a kernel that has it";
    if (errnum == EACCES || errnum == EPERM)
        return "have the parent cgroup delegated to this user";
    return strerrordesc_np(errnum);
}

int jb_cg_write_values(const struct jb_cgroup *cg, const struct jb_cg_write *writes, size_t n,
                       struct jb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct jb_cg_write *w = &writes[i];
        const struct jb_cg_group *g = cg->of[w->controller];
        const char *value = w->long_value ? w->long_value : w->value;
        int r = jb_cg_group_ops(cg, g)->set(g, cg->name, w->controller, w->file, value);
        JB_CRASH_POINT(value_written);
        if (r == 0 || (r == -ENOENT && w->optional))
            continue;
        char text[512];
        return jb_fail(err, r == -ENOENT ? ENOTSUP : r, "%s/%s does not take '%.200s': %s",
                       jb_cg_group_text(cg, g, text, sizeof(text)), w->file, value,
                       advice(w->controller, w->file, -r));
    }
    return 0;
}

static int parent_list(const struct jb_cg_group *g, const char *file, char **ret)
{
    jb_autofree char *list = NULL;
    int r = jb_kread_all(&g->parent, file, &list);
    if (r < 0)
        return r;
    list[strcspn(list, "\n")] = '\0';
    *ret = jb_take_ptr(list);
    return 0;
}

/* A new v1 cpuset is empty and lets nobody in: what the plan leaves unsaid comes from the parent. */
static int fill_cpuset(const struct jb_cgroup *cg, const struct jb_cg_write *writes, size_t n,
                       struct jb_error *err)
{
    static const char *const files[] = {"cpuset.mems", "cpuset.cpus"};
    const struct jb_cg_group *g = cg->of[JB_CTL_CPUSET];
    for (size_t i = 0; g && g->version == 1 && i < JB_ARRAY_LEN(files); i++) {
        bool said = false;
        for (size_t k = 0; k < n; k++)
            said = said || jb_streq(writes[k].file, files[i]);
        if (said)
            continue;
        jb_autofree char *list = NULL;
        int r = parent_list(g, files[i], &list);
        if (r == 0 && *list == '\0')
            return jb_fail(
                err, EINVAL,
                "%s%s/%s is empty, so no box can be pinned below it; fill it (and those above) first",
                g->mount, below_of(g), files[i]);
        if (r == 0)
            r = jb_cg_group_ops(cg, g)->set(g, cg->name, JB_CTL_CPUSET, files[i], list);
        if (r < 0)
            return jb_fail_errno(err, r, "giving the box's cpuset its parent's %s", files[i]);
    }
    return 0;
}

/* The parent's empty cpuset is why a child takes nothing; say that instead of the errno. */
static int explain_cpuset(const struct jb_cgroup *cg, int r, struct jb_error *err)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    const struct jb_cg_group *g = cg->of[JB_CTL_CPUSET];
    for (size_t i = 0; r != -ENOMEM && g && g->version == 1 && g->parent.fd >= 0 && i < JB_ARRAY_LEN(files);
         i++) {
        jb_autofree char *list = NULL;
        if (parent_list(g, files[i], &list) == 0 && *list == '\0')
            return jb_fail(
                err, r, "%s%s/%s is empty, so no box can be pinned below it; fill it (and those above) first",
                g->mount, below_of(g), files[i]);
    }
    return r;
}

struct sweep {
    const struct jb_cg_ops *ops;
    const struct jb_cg_group *group;
};

static int sweep_visit(void *ctx, const struct jb_kdir *parent, const char *name)
{
    const struct sweep *s = ctx;
    int r = s->ops->remove(s->group, parent, name);
    if (r < 0 && r != -ENOENT)
        r = jb_cg_ops_direct.remove(s->group, parent, name);
    return r == -ENOENT ? 0 : r;
}

/* Takes back what a failed creation made. Nobody has joined yet, so nothing can be busy. */
static void sweep(struct jb_cgroup *cg, struct jb_error *err)
{
    for (size_t i = 0; i < cg->n_groups; i++) {
        struct jb_cg_group *g = &cg->groups[i];
        struct sweep s = {.ops = jb_cg_group_ops(cg, g), .group = g};
        if (!g->made || g->parent.fd < 0)
            continue;
        int r = jb_cg_walk(&g->parent, cg->name, sweep_visit, &s);
        char text[512];
        if (r < 0)
            (void)jb_wrap(err, "(%s could not be removed again: %s)",
                          jb_cg_group_text(cg, g, text, sizeof(text)), strerrordesc_np(-r));
        else
            g->made = false;
    }
}

struct write_list {
    struct jb_cg_write *items;
    size_t len;
};

static void write_list_free(struct write_list *w)
{
    jb_cg_writes_free(w->items, w->len);
}

static int check_plan(const struct jb_cg_plan *plan, struct jb_error *err)
{
    if (!jb_cg_name_valid(plan->name))
        return jb_fail(
            err, EINVAL,
            "cgroup name '%.80s' is not allowed: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -",
            plan->name ? plan->name : "");
    jb_autofree char *clean = NULL;
    if (plan->parent && (jb_path_clean(plan->parent, &clean) < 0 || !jb_streq(clean, plan->parent)))
        return jb_fail(err, EINVAL,
                       "cgroup parent '%.200s' is not allowed: give an absolute path without '..', '.' or "
                       "double slashes",
                       plan->parent);
    return 0;
}

static int begin(struct jb_cgroup *cg, const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                 struct jb_error *err)
{
    int r = plan_groups(cg, layout, plan, err);
    for (size_t i = 0; r == 0 && i < cg->n_groups; i++)
        if (cg->groups[i].version == 2)
            r = make_group(cg, &cg->groups[i], cg->fault, err);
    return r;
}

static int complete(struct jb_cgroup *cg, const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                    struct jb_error *err)
{
    struct write_list writes __attribute__((cleanup(write_list_free))) = {0};
    int r = jb_cg_resolve(layout, plan, &writes.items, &writes.len, err);
    for (size_t i = 0; i < plan->n_settings; i++)
        cg->asked |= 1U << plan->settings[i].key;
    for (size_t i = 0; r == 0 && i < cg->n_groups; i++)
        if (cg->groups[i].version == 1)
            r = make_group(cg, &cg->groups[i], cg->fault, err);
    if (r == 0)
        r = fill_cpuset(cg, writes.items, writes.len, err);
    JB_CRASH_POINT(cpuset_filled);
    if (r == 0)
        r = jb_cg_write_values(cg, writes.items, writes.len, err);
    return r < 0 ? explain_cpuset(cg, r, err) : 0;
}

static int begin_with(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                      const struct jb_cg_ops *ops, const struct jb_kfault *fault, struct jb_cgroup **ret,
                      struct jb_error *err)
{
    int r = check_plan(plan, err);
    if (r < 0)
        return r;
    autocgroup struct jb_cgroup *cg = new_cgroup(plan->name);
    if (!cg)
        return jb_fail_errno(err, ENOMEM, "making cgroups");
    if (layout->backend == JB_CG_BACKEND_LIBCGROUP)
        cg->ops_v1 = &jb_cg_ops_libcgroup;
    if (ops)
        cg->ops_v1 = cg->ops_v2 = ops;
    cg->fault = fault;
    /* groups in another mount than those that are read back would limit nobody */
    if (cg->ops_v1 == &jb_cg_ops_libcgroup && (r = jb_cg_layout_crosscheck(layout, err)) < 0)
        return r;
    r = begin(cg, layout, plan, err);
    if (r < 0) {
        sweep(cg, err);
        return r;
    }
    *ret = jb_take_ptr(cg);
    return 0;
}

int jb_cgroup_begin(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                    struct jb_error *err)
{
    return begin_with(layout, plan, NULL, NULL, ret, err);
}

int jb_cgroup_complete(struct jb_cgroup *cg, const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                       struct jb_error *err)
{
    return complete(cg, layout, plan, err);
}

int jb_cgroup_create_with(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan,
                          const struct jb_cg_ops *ops, const struct jb_kfault *fault, struct jb_cgroup **ret,
                          struct jb_error *err)
{
    autocgroup struct jb_cgroup *cg = NULL;
    int r = begin_with(layout, plan, ops, fault, &cg, err);
    if (r < 0 || !cg)
        return r;
    r = complete(cg, layout, plan, err);
    if (r < 0) {
        sweep(cg, err);
        return r;
    }
    *ret = jb_take_ptr(cg);
    return 0;
}

int jb_cgroup_create(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                     struct jb_error *err)
{
    return jb_cgroup_create_with(layout, plan, NULL, NULL, ret, err);
}

/* Opens the group at parent/name; 1 when it is not there. */
static int open_existing(struct jb_cgroup *cg, struct jb_cg_group *g, struct jb_error *err)
{
    jb_autofree char *parent = jb_asprintf("%s%s", g->mount ? g->mount : "", g->below);
    int r = parent ? open_dir(parent, O_PATH, &g->parent) : -ENOMEM;
    if (r == 0)
        r = open_group(g, cg->name, false);
    if (r == -ENOENT || r == -ENODEV)
        return 1;
    char text[512];
    return r < 0 ? jb_fail_errno(err, r, "opening %s", jb_cg_group_text(cg, g, text, sizeof(text))) : 0;
}

/* The group whose directory is `parent`/name of cg, made known if it is new. */
static struct jb_cg_group *group_at(struct jb_cgroup *cg, const char *parent, int version)
{
    for (size_t i = 0; i < cg->n_groups; i++)
        if (jb_streq(cg->groups[i].below, parent))
            return &cg->groups[i];
    return add_group(cg, NULL, parent, version);
}

/* Drops groups that could not be opened; pointers in cg->of follow. */
static void forget(struct jb_cgroup *cg, const struct jb_cg_group *gone)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        if (cg->of[c] == gone)
            cg->of[c] = NULL;
}

static int open_all(struct jb_cgroup *cg, struct jb_error *err)
{
    size_t found = 0;
    for (size_t i = 0; i < cg->n_groups; i++) {
        int r = open_existing(cg, &cg->groups[i], err);
        if (r < 0)
            return r;
        if (r == 1)
            forget(cg, &cg->groups[i]);
        found += r == 0;
    }
    return found ? 0 : jb_fail(err, ENOENT, "none of the groups of %s is left", cg->name);
}

int jb_cgroup_open_paths(const char *const paths[JB_CTL_MAX], const int versions[JB_CTL_MAX],
                         struct jb_cgroup **ret, struct jb_error *err)
{
    autocgroup struct jb_cgroup *cg = NULL;
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        if (!paths[c])
            continue;
        const char *slash = strrchr(paths[c], '/');
        jb_autofree char *clean = NULL;
        if (jb_path_clean(paths[c], &clean) < 0 || !slash || slash == paths[c] ||
            !jb_cg_name_valid(slash + 1) || (cg && !jb_streq(cg->name, slash + 1)) ||
            (versions[c] != 1 && versions[c] != 2))
            return jb_fail(err, EINVAL, "'%.200s' is not the path of a box's cgroup", paths[c]);
        if (!cg && !(cg = new_cgroup(slash + 1)))
            return jb_fail_errno(err, ENOMEM, "opening cgroups");
        jb_autofree char *parent = strndup(paths[c], (size_t)(slash - paths[c]));
        struct jb_cg_group *g = parent ? group_at(cg, parent, versions[c]) : NULL;
        if (!g)
            return jb_fail_errno(err, ENOMEM, "opening cgroups");
        g->controllers |= 1U << c;
        cg->of[c] = g;
    }
    if (!cg)
        return jb_fail(err, ENOENT, "the box has no cgroups");
    int r = open_all(cg, err);
    if (r < 0)
        return r;
    *ret = jb_take_ptr(cg);
    return 0;
}

int jb_cgroup_open(const struct jb_cg_layout *layout, const struct jb_cg_plan *plan, struct jb_cgroup **ret,
                   struct jb_error *err)
{
    int r = check_plan(plan, err);
    char *paths[JB_CTL_MAX] = {NULL};
    int versions[JB_CTL_MAX] = {0};
    for (size_t c = 0; r == 0 && c < JB_CTL_MAX; c++) {
        paths[c] = jb_cg_path(layout, plan, (enum jb_controller)c);
        versions[c] = layout->ctl[c].version;
    }
    if (r == 0)
        r = jb_cgroup_open_paths((const char *const *)paths, versions, ret, err);
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        free(paths[c]);
    return r;
}

int jb_cgroup_v2_fd(const struct jb_cgroup *cg)
{
    const struct jb_cg_group *g = jb_cg_v2(cg);
    return !g ? -1 : g->inner.fd >= 0 ? g->inner.fd : g->dir.fd;
}
