/*
 * scope.c - decides where boxes may be made on a host that systemd manages, or below a delegated group, and goes there.
 *
 * Owns: the leaf that it made. Runs in: the supervisor. Privilege: the starter's. What is decided is read first;
 * nothing is written before all of it is known.
 */
#include "cgroup/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "cgroup/internal.h"
#include "cgroup/seat.h"

enum verdict {
    STAY,
    STEP_DOWN,
    GO_ABOVE,
    ASK,
};

bool jb_scope_booted(const struct jb_scope_wish *wish)
{
    return access(wish->booted ? wish->booted : "/run/systemd/system", F_OK) == 0;
}

static enum verdict judge(const struct jb_cg_layout *layout, const struct jb_seat *s, bool booted)
{
    if (s->managed)
        return ASK;
    if (!layout->unified_only || s->real_root) /* where processes do not stand against it */
        return STAY;
    if (s->alone && s->writable)
        return STEP_DOWN;
    if (s->above)
        return GO_ABOVE;
    return booted ? ASK : STAY;
}

/* "a-b.slice" is the unit; "/a.slice/a-b.slice" is where it lies. */
static char *slice_path(const char *slice)
{
    jb_autobuf struct jb_buf path = {0};
    for (const char *dash = strchr(slice, '-'); dash; dash = strchr(dash + 1, '-'))
        if (jb_buf_printf(&path, "/%.*s.slice", (int)(dash - slice), slice) < 0)
            return NULL;
    return jb_buf_printf(&path, "/%s", slice) < 0 ? NULL : jb_take_ptr(path.data);
}

/* Where the scope will be: its slice as the request names it (NULL: not named), and the whole path of the slice. */
struct target {
    char *manager; /* the manager's own group: "" for the system's */
    char *slice;
    char *path;
};

static void target_free(struct target *t)
{
    free(t->manager);
    free(t->slice);
    free(t->path);
}

static int choose_target(const struct jb_scope_wish *wish, const struct jb_seat *s, struct target *ret)
{
    struct target t __attribute__((cleanup(target_free))) = {0};
    t.manager = wish->uid == 0 ? strdup("")
                               : jb_asprintf("/user.slice/user-%u.slice/user@%u.service", (unsigned)wish->uid,
                                             (unsigned)wish->uid);
    if (!t.manager)
        return -ENOMEM;
    jb_autofree char *inner = s->own ? jb_innermost_slice(s->own) : NULL;
    if (wish->slice)
        t.slice = strdup(wish->slice);
    else if (inner && jb_path_beneath(inner, *t.manager ? t.manager : "/") && !jb_streq(inner, t.manager))
        t.slice = strdup(strrchr(inner, '/') + 1);
    jb_autofree char *below = slice_path(t.slice ? t.slice : wish->uid == 0 ? "system.slice" : "app.slice");
    t.path = below ? jb_asprintf("%s%s", t.manager, below) : NULL;
    if (!t.path || (wish->slice && !t.slice))
        return -ENOMEM;
    *ret = t;
    t = (struct target){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

/* One of the trees that a process leaves its group in when systemd puts it into a scope. */
struct tree {
    const char *mount, *own;
    int version;
    enum jb_controller controller;
};
#define TREES_MAX 5

/* The v2 tree, and each v1 hierarchy that systemd makes groups in. */
static size_t list_trees(const struct jb_seat *s, const struct jb_cg_layout *layout,
                         struct tree ret[TREES_MAX])
{
    static const enum jb_controller v1[] = {JB_CTL_MEMORY, JB_CTL_CPU, JB_CTL_IO, JB_CTL_PIDS};
    size_t n = 0;
    if (s->own)
        ret[n++] = (struct tree){s->mount, s->own, 2, JB_CTL_UNIFIED};
    for (size_t i = 0; i < JB_ARRAY_LEN(v1); i++) {
        const struct jb_cg_controller *ctl = &layout->ctl[v1[i]];
        if (ctl->version == 1 && ctl->own)
            ret[n++] = (struct tree){ctl->mount, ctl->own, 1, v1[i]};
    }
    return n;
}

static const char *limit_left_in(const struct tree *tree, const struct target *t, char *where, size_t len)
{
    jb_autofree char *at = strdup(tree->own);
    while (at && !jb_streq(at, "/") && !jb_path_beneath(t->path, at)) {
        jb_autofree char *path = jb_group_path(tree->mount, at);
        const char *limit = path ? jb_group_limit(path, tree->version, tree->controller) : "cgroup";
        if (limit) {
            (void)snprintf(where, len, "%s", at);
            return limit;
        }
        char *up = jb_group_above(at);
        free(at);
        at = up;
    }
    return NULL;
}

/* What would no longer hold in the scope. A slice that the site names is its decision. */
static const char *limit_left(const struct jb_scope_wish *wish, const struct jb_seat *s,
                              const struct jb_cg_layout *layout, const struct target *t, char *where,
                              size_t len)
{
    struct tree trees[TREES_MAX];
    size_t n = wish->slice ? 0 : list_trees(s, layout, trees);
    const char *limit = NULL;
    for (size_t i = 0; !limit && i < n; i++)
        limit = limit_left_in(&trees[i], t, where, len);
    return limit;
}

/*
 * The limits of processes that are left go along, as the least of them: every unit has one. Where the site names the slice
 * that of the unit does.
 */
static uint64_t tasks_max(const struct jb_scope_wish *wish, const struct jb_seat *s,
                          const struct jb_cg_layout *layout, const struct target *t)
{
    uint64_t least = JB_UNSET; /* the largest number there is */
    struct tree trees[TREES_MAX];
    size_t n = list_trees(s, layout, trees);
    for (size_t i = 0; i < n; i++) {
        const struct tree *tree = &trees[i];
        if (tree->version == 1 && tree->controller != JB_CTL_PIDS)
            continue;
        jb_autofree char *unit = wish->slice ? jb_innermost_unit(tree->own) : NULL;
        jb_autofree char *at = wish->slice && !unit ? NULL : strdup(tree->own);
        while (at && !jb_streq(at, "/") &&
               (wish->slice ? jb_path_beneath(at, unit) : !jb_path_beneath(t->path, at))) {
            jb_autofree char *path = jb_group_path(tree->mount, at);
            uint64_t here = path ? jb_group_tasks(path) : JB_UNSET;
            least = here < least ? here : least;
            char *up = jb_group_above(at);
            free(at);
            at = up;
        }
    }
    return least;
}

/* No group is made anywhere, and every refusal says why. */
static void forbid(struct jb_cg_layout *layout, const char *why)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version == 0)
            continue;
        ctl->writable = false;
        (void)snprintf(ctl->why, sizeof(ctl->why), "%s", why);
    }
}

/* Without a scope: what to do now depends on how much the site wants one. */
static int no_scope(const struct jb_scope_wish *wish, const struct jb_seat *s, struct jb_cg_layout *layout,
                    const char *reason, struct jb_error *err)
{
    char why[sizeof(layout->ctl[0].why)];
    (void)snprintf(why, sizeof(why), "systemd manages cgroup %.80s: %s", s->own ? s->own : "/", reason);
    if (wish->use == JB_SYSTEMD_REQUIRE)
        return jb_fail(err, EACCES, "%s; the site asks for a scope (cgroups.systemd: require)", why);
    if (s->managed)
        forbid(layout, why);
    return 0;
}

/* Whoever finishes another job's box may remove the leaf before somebody is in it: then it is made again. */
static int move_into(const char *path)
{
    int r = -ENOENT;
    for (int tries = 0; tries < 5 && (r == -ENOENT || r == -ENODEV); tries++) {
        struct jb_kdir leaf = {.fd = -1};
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -errno;
        r = jb_kdir_open(path, &leaf);
        if (r == 0)
            r = jb_kwrite(&leaf, "cgroup.procs", "0");
        jb_kdir_close(&leaf);
    }
    return r;
}

static int step_down(struct jb_cg_layout *layout, const char *mount, const char *own, struct jb_scope *ret,
                     struct jb_error *err)
{
    struct jb_scope scope = {.home = jb_asprintf("%s%s", mount, jb_streq(own, "/") ? "" : own)};
    scope.leaf = scope.home ? jb_asprintf("%s/" JB_CG_LEAF, scope.home) : NULL;
    jb_autofree char *parent = strdup(own); /* the layout's own goes away under it */
    int r = scope.leaf && parent ? move_into(scope.leaf) : -ENOMEM;
    if (r < 0) {
        (void)jb_fail_errno(err, r, "moving jobbox into %s, to make room for boxes beside it",
                            scope.leaf ? scope.leaf : own);
        if (scope.leaf)
            (void)rmdir(scope.leaf);
        free(scope.home);
        free(scope.leaf);
        return r;
    }
    *ret = scope;
    return jb_cg_layout_reparent(layout, parent, err);
}

/* A user's manager can pass on only what the system's manager passed on to it. */
static void mend_texts(const struct jb_scope_wish *wish, struct jb_cg_layout *layout)
{
    for (size_t c = 0; wish->uid != 0 && c < JB_CTL_UNIFIED; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version == 0 && c != JB_CTL_CPUACCT)
            (void)snprintf(
                ctl->why, sizeof(ctl->why),
                "the user's systemd manager is not given the %s controller; as root: put '[Service]' and "
                "'Delegate=cpu cpuset io memory pids' into " JB_SCOPE_DROP_IN
                ", run systemctl daemon-reload, log in anew",
                jb_controller_name((enum jb_controller)c));
    }
}

/* No systemd passes it on. Somebody else may have: then it is there already. */
static void lacks_hugetlb(struct jb_cg_layout *layout)
{
    struct jb_cg_controller *ctl = &layout->ctl[JB_CTL_HUGETLB];
    if (ctl->version == 1)
        return;
    ctl->writable = false;
    (void)snprintf(
        ctl->why, sizeof(ctl->why),
        "systemd passes no hugetlb controller on to its units; as root, write +hugetlb into "
        "cgroup.subtree_control from the root of the tree down to a delegated unit, and name that as "
        "cgroup_parent");
}

/* Asked, given and seen from here: the kernel must say that this process is in the scope. */
static int settle_in_scope(const struct jb_scope_wish *wish, const char *unit, struct jb_cg_layout *layout,
                           struct jb_error *err)
{
    struct jb_cg_layout now = {0};
    int r = jb_cg_layout_probe(wish->procfs, &now, err);
    if (r < 0)
        return r;
    now.backend = layout->backend;
    jb_cg_layout_free(layout);
    *layout = now;
    const struct jb_cg_controller *tree = &layout->ctl[JB_CTL_UNIFIED];
    const char *name = tree->own ? strrchr(tree->own, '/') : NULL;
    if (tree->version == 2 && (!name || !jb_streq(name + 1, unit)))
        return jb_fail(err, EIO, "systemd says that %s was started, but this process is in cgroup %s", unit,
                       tree->own ? tree->own : "(none)");
    if (!layout->unified_only)
        return 0;
    jb_autofree char *mount = jb_copy_of(tree->mount);
    jb_autofree char *own = jb_copy_of(tree->own);
    struct jb_scope scope = {0};
    r = mount && own ? step_down(layout, mount, own, &scope, err) : jb_fail_errno(err, ENOMEM, "scope");
    if (r == 0)
        mend_texts(wish, layout);
    if (r == 0 && layout->ctl[JB_CTL_HUGETLB].version == 0)
        lacks_hugetlb(layout);
    free(scope.home); /* nothing to undo: systemd removes the scope and what is in it */
    free(scope.leaf);
    return r;
}

/* What stands against asking; fills `target`. -ENOMEM, or 0 with `why` empty when nothing does. */
static int may_ask(const struct jb_scope_wish *wish, const struct jb_seat *s,
                   const struct jb_cg_layout *layout, struct target *target, char *why, size_t len)
{
    char where[128];
    int r = choose_target(wish, s, target);
    if (r < 0)
        return r;
    *why = '\0';
    const char *limit = limit_left(wish, s, layout, target, where, sizeof(where));
    if (wish->use == JB_SYSTEMD_NEVER)
        (void)snprintf(why, len,
                       "and the site config says never to ask it for a scope (cgroups.systemd); name a "
                       "delegated cgroup_parent");
    else if (limit)
        (void)snprintf(why, len, "a scope of its own would leave %s of %.60s behind; %s", limit, where,
                       s->own ? "give that unit Delegate=yes" : "name a delegated cgroup_parent");
    return 0;
}

static int ask(const struct jb_scope_wish *wish, const struct jb_seat *s, struct jb_cg_layout *layout,
               struct jb_error *err)
{
    struct target target __attribute__((cleanup(target_free))) = {0};
    const struct jb_bus *bus = wish->bus ? wish->bus : &jb_bus_systemd;
    struct jb_error refused = {0};
    char why[160];
    int r = may_ask(wish, s, layout, &target, why, sizeof(why));
    if (r < 0)
        return jb_fail_errno(err, r, "scope");
    if (*why)
        return no_scope(wish, s, layout, why, err);
    jb_autofree char *unit = jb_asprintf("%s.scope", wish->name);
    if (!unit)
        return jb_fail_errno(err, ENOMEM, "scope");
    const struct jb_scope_request request = {
        .unit = unit,
        .slice = target.slice,
        .description = wish->description,
        .uid = wish->uid,
        .tasks_max = tasks_max(wish, s, layout, &target),
        .tasks_any = wish->many,
    };
    if (bus->start_scope(bus->ctx, &request, &refused) < 0) {
        (void)snprintf(why, sizeof(why), "it gave no scope: %.140s", refused.text);
        return no_scope(wish, s, layout, why, err);
    }
    return settle_in_scope(wish, unit, layout, err);
}

static struct jb_scope_wish with_defaults(const struct jb_scope_wish *wish)
{
    struct jb_scope_wish w = *wish;
    w.pid = wish->pid ? wish->pid : getpid();
    return w;
}

/* The layout of a scope that is not there: its controllers are those that its manager has. */
static int imagine_scope(const struct jb_scope_wish *wish, const struct jb_seat *s,
                         struct jb_cg_layout *layout, struct jb_error *err)
{
    struct target target __attribute__((cleanup(target_free))) = {0};
    char why[160];
    int r = may_ask(wish, s, layout, &target, why, sizeof(why));
    if (r == 0 && *why)
        return no_scope(wish, s, layout, why, err);
    jb_autofree char *path = r == 0 ? jb_asprintf("%s/%s.scope", target.path, wish->name) : NULL;
    if (!path)
        return jb_fail_errno(err, ENOMEM, "scope");
    if (layout->unified_only) {
        r = jb_cg_layout_reparent(layout, *target.manager ? target.manager : "/", err);
        if (r < 0)
            return r;
        mend_texts(wish, layout);
    }
    lacks_hugetlb(layout);
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version == 0 || c == JB_CTL_HUGETLB ||
            (c == JB_CTL_CPUSET && ctl->version == 1)) /* systemd makes no cpusets of v1 */
            continue;
        free(ctl->own);
        ctl->own = strdup(path);
        ctl->writable = true;
        ctl->why[0] = '\0';
        if (!ctl->own)
            return jb_fail_errno(err, ENOMEM, "scope");
    }
    return 0;
}

/* The leaf takes this process away from where the boxes will be: nothing else stood in the way. */
static void imagine_step_down(struct jb_cg_layout *layout)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version != 2)
            continue;
        ctl->writable = true;
        ctl->why[0] = '\0';
    }
}

/* `ret` NULL: nothing is changed, and the layout says what would be. */
static int settle(const struct jb_scope_wish *wish, struct jb_cg_layout *layout, struct jb_scope *ret,
                  struct jb_error *err)
{
    bool booted = jb_scope_booted(wish);
    struct jb_seat s __attribute__((cleanup(jb_seat_free))) = {0};
    if (wish->use == JB_SYSTEMD_REQUIRE && !booted)
        return jb_fail(
            err, ENOTSUP,
            "the site asks for a scope of systemd (cgroups.systemd: require), and systemd is not the "
            "service manager here");
    if (!layout->unified_only &&
        !booted) /* processes do not stand in the way, and nobody else makes groups */
        return 0;
    jb_autofree char *mount = jb_copy_of(layout->ctl[JB_CTL_UNIFIED].mount);
    jb_autofree char *own = jb_copy_of(layout->ctl[JB_CTL_UNIFIED].own);
    int r = jb_seat_look(wish, layout, &s);
    if (r < 0)
        return jb_fail_errno(err, r, "looking at the own cgroup");
    s.mount = mount; /* what follows replaces the layout's */
    s.own = own;
    if (!ret && wish->many) /* who goes there is a child of this process */
        s.alone = false;
    switch (judge(layout, &s, booted)) {
    case STEP_DOWN:
        if (ret)
            return step_down(layout, mount, own, ret, err);
        imagine_step_down(layout);
        break;
    case GO_ABOVE:
        return jb_cg_layout_reparent(layout, s.above, err);
    case ASK:
        return ret ? ask(wish, &s, layout, err) : imagine_scope(wish, &s, layout, err);
    case STAY:
        break;
    }
    return 0;
}

int jb_scope_enter(const struct jb_scope_wish *wish, struct jb_cg_layout *layout, struct jb_scope *ret,
                   struct jb_error *err)
{
    struct jb_scope_wish w = with_defaults(wish);
    *ret = (struct jb_scope){0};
    return settle(&w, layout, ret, err);
}

int jb_scope_predict(const struct jb_scope_wish *wish, struct jb_cg_layout *layout, struct jb_error *err)
{
    struct jb_scope_wish w = with_defaults(wish);
    return settle(&w, layout, NULL, err);
}

/* The controllers that were passed on to boxes stand against going back. */
static void pass_nothing_on(const struct jb_kdir *home)
{
    char line[256];
    if (jb_kread_line(home, "cgroup.subtree_control", line, sizeof(line)) < 0)
        return;
    char *save = NULL;
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char text[64];
        (void)snprintf(text, sizeof(text), "-%s", word);
        (void)jb_kwrite(home, "cgroup.subtree_control", text);
    }
}

void jb_scope_leave(struct jb_scope *scope)
{
    struct jb_kdir home;
    if (scope->home && jb_kdir_open(scope->home, &home) == 0) {
        pass_nothing_on(&home);
        if (jb_kwrite(&home, "cgroup.procs", "0") == 0)
            (void)rmdir(scope->leaf);
        jb_kdir_close(&home);
    }
    free(scope->home);
    free(scope->leaf);
    *scope = (struct jb_scope){0};
}
