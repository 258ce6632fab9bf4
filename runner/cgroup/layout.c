/*
 * layout.c - reads where the cgroup hierarchies are mounted and where this process sits in each.
 *
 * Owns: the strings of the layout while it is filled. Runs in: every process. Privilege: none; reading only.
 */
#include "cgroup/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "cgroup/internal.h"

#define PROC_MAX (16U << 20) /* mountinfo of hosts with thousands of mounts */

static const struct {
    const char *name; /* in messages */
    const char *v1;   /* in /proc/self/cgroup and in mount options; NULL: none */
    const char *v2;   /* in cgroup.controllers; NULL: none */
} names[JB_CTL_MAX] = {
    [JB_CTL_CPUSET] = {"cpuset", "cpuset", "cpuset"},
    [JB_CTL_CPU] = {"cpu", "cpu", "cpu"},
    [JB_CTL_CPUACCT] = {"cpuacct", "cpuacct", NULL},
    [JB_CTL_MEMORY] = {"memory", "memory", "memory"},
    [JB_CTL_PIDS] = {"pids", "pids", "pids"},
    [JB_CTL_IO] = {"io", "blkio", "io"},
    [JB_CTL_UNIFIED] = {"unified", NULL, NULL},
    [JB_CTL_DEVICES] = {"devices", "devices", NULL},
    [JB_CTL_HUGETLB] = {"hugetlb", "hugetlb", "hugetlb"},
};

const char *jb_controller_name(enum jb_controller c)
{
    return c < JB_CTL_MAX ? names[c].name : "?";
}

bool jb_cg_has_word(const char *text, const char *word, const char *separators)
{
    size_t len = strlen(word);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, separators);
        if (n == len && memcmp(p, word, n) == 0)
            return true;
        p += n;
        p += *p != '\0';
    }
    return false;
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *p = text; *p; to++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
            p[3] <= '7') {
            *to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 4;
        } else {
            *to = *p++;
        }
    }
    *to = '\0';
}

struct mount {
    char *root, *point, *type, *options;
};

/* Cuts one line of mountinfo: id parent dev root point flags [optional...] - type source options. */
static bool cut_mount(char *line, struct mount *ret)
{
    char *fields[6] = {NULL};
    char *save = NULL;
    for (size_t i = 0; i < JB_ARRAY_LEN(fields); i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!fields[i])
            return false;
    }
    for (char *word; (word = strtok_r(NULL, " ", &save)) && strcmp(word, "-") != 0;)
        ;
    char *type = strtok_r(NULL, " ", &save);
    char *source = type ? strtok_r(NULL, " ", &save) : NULL;
    char *options = source ? strtok_r(NULL, " ", &save) : NULL;
    if (!options)
        return false;
    unescape(fields[3]);
    unescape(fields[4]);
    *ret = (struct mount){.root = fields[3], .point = fields[4], .type = type, .options = options};
    return true;
}

/* The path of this process in the hierarchy that `c` belongs to, cut from /proc/self/cgroup; NULL: in none.
 */
static char *own_path(const char *cgroup_text, enum jb_controller c)
{
    for (const char *line = cgroup_text; *line;) {
        const char *end = strchrnul(line, '\n');
        const char *list = memchr(line, ':', (size_t)(end - line));
        const char *path = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
        if (path) {
            jb_autofree char *controllers = strndup(list + 1, (size_t)(path - list - 1));
            if (!controllers)
                return NULL;
            bool hit = c == JB_CTL_UNIFIED ? *controllers == '\0'
                                           : names[c].v1 && jb_cg_has_word(controllers, names[c].v1, ",");
            if (hit)
                return strndup(path + 1, (size_t)(end - path - 1));
        }
        line = *end ? end + 1 : end;
    }
    return NULL;
}

/* What remains of `path` below `root`: "/" when they are the same; NULL when it lies outside. */
static char *below_root(const char *path, const char *root)
{
    if (strstr(path, "/..") || !jb_path_beneath(path, root))
        return NULL;
    const char *rest = jb_streq(root, "/") ? path : path + strlen(root);
    return strdup(*rest ? rest : "/");
}

static int take_mount(struct jb_cg_layout *layout, enum jb_controller c, int version, const struct mount *m,
                      const char *cgroup_text)
{
    struct jb_cg_controller *ctl = &layout->ctl[c];
    if (ctl->version != 0 && ctl->own)
        return 0; /* mounted before */
    jb_autofree char *path = own_path(cgroup_text, c);
    jb_autofree char *own = path ? below_root(path, m->root) : NULL;
    if (ctl->version != 0 && !own)
        return 0;
    char *point = strdup(m->point);
    if (!point)
        return -ENOMEM;
    free(ctl->mount);
    ctl->version = version;
    ctl->mount = point;
    ctl->own = jb_take_ptr(own);
    ctl->why[0] = '\0';
    if (!ctl->own)
        (void)snprintf(ctl->why, sizeof(ctl->why),
                       "own cgroup %.80s lies outside of what is mounted at %.80s (%.40s)",
                       path ? path : "(none)", m->point, m->root);
    return 0;
}

static int take_line(struct jb_cg_layout *layout, char *line, const char *cgroup_text)
{
    struct mount m;
    if (!cut_mount(line, &m))
        return 0;
    if (jb_streq(m.type, "cgroup2"))
        return take_mount(layout, JB_CTL_UNIFIED, 2, &m, cgroup_text);
    if (!jb_streq(m.type, "cgroup"))
        return 0;
    int r = 0;
    for (size_t c = 0; r == 0 && c < JB_CTL_MAX; c++)
        if (names[c].v1 && jb_cg_has_word(m.options, names[c].v1, ","))
            r = take_mount(layout, (enum jb_controller)c, 1, &m, cgroup_text);
    return r;
}

int jb_cg_layout_parse(const char *cgroup_text, const char *mountinfo_text, struct jb_cg_layout *ret,
                       struct jb_error *err)
{
    struct jb_cg_layout layout = {0};
    jb_autofree char *text = strdup(mountinfo_text);
    int r = text ? 0 : -ENOMEM;
    char *save = NULL;
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; r == 0 && line;
         line = strtok_r(NULL, "\n", &save))
        r = strstr(line, " cgroup") ? take_line(&layout, line, cgroup_text) : 0;
    if (r < 0) {
        jb_cg_layout_free(&layout);
        return jb_fail_errno(err, r, "finding the cgroup mounts");
    }
    layout.unified_only = layout.ctl[JB_CTL_UNIFIED].version == 2;
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout.ctl[c];
        if (ctl->version == 1)
            layout.unified_only = false;
        else if (ctl->version == 0)
            (void)snprintf(ctl->why, sizeof(ctl->why),
                           c == JB_CTL_UNIFIED ? "no cgroup v2 tree is mounted"
                                               : "no cgroup %s controller is mounted",
                           names[c].name);
    }
    *ret = layout;
    return 0;
}

/* What the starter's v2 cgroup offers to children, read once for all controllers. */
struct v2_state {
    char *available, *passed_on; /* cgroup.controllers, cgroup.subtree_control */
    bool is_root;                /* of the whole tree: it may hold processes and pass controllers on */
    bool has_processes;
    bool may_enable;
};

static void v2_state_free(struct v2_state *s)
{
    free(s->available);
    free(s->passed_on);
}

static int read_v2_state(const char *path, struct v2_state *ret)
{
    struct jb_kdir dir;
    int r = jb_kdir_open(path, &dir);
    if (r < 0)
        return r;
    struct v2_state s = {0};
    char line[32];
    r = jb_kread_all(&dir, "cgroup.controllers", &s.available);
    if (r == 0)
        r = jb_kread_all(&dir, "cgroup.subtree_control", &s.passed_on);
    s.is_root = jb_kread_line(&dir, "cgroup.type", line, sizeof(line)) == -ENOENT;
    jb_autoclose int procs = openat(dir.fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    s.has_processes = procs >= 0 && read(procs, line, 1) > 0;
    s.may_enable = faccessat(dir.fd, "cgroup.subtree_control", W_OK, AT_EACCESS) == 0;
    jb_kdir_close(&dir);
    if (r < 0) {
        v2_state_free(&s);
        return r;
    }
    *ret = s;
    return 0;
}

/* Why children of the v2 cgroup would not have the controller; false when they will. */
static bool v2_refuses(const struct v2_state *s, struct jb_cg_controller *ctl, const char *name)
{
    if (jb_cg_has_word(s->passed_on, name, " \n"))
        return false;
    if (s->has_processes && !s->is_root)
        (void)snprintf(
            ctl->why, sizeof(ctl->why),
            "cgroup %.60s does not pass %s on and cannot while processes sit in it; start jobbox in a child "
            "of a delegated cgroup and name that one as cgroup_parent (systemd: Delegate=yes)",
            ctl->own, name);
    else if (!s->may_enable)
        (void)snprintf(ctl->why, sizeof(ctl->why),
                       "cgroup %.80s does not pass %s on and its cgroup.subtree_control cannot be written",
                       ctl->own, name);
    else
        return false;
    return true;
}

/* Controllers that no v1 hierarchy has are on the v2 tree, if the starter's cgroup has them. */
static int adopt_v2(struct jb_cg_layout *layout, const struct v2_state *state)
{
    const struct jb_cg_controller *unified = &layout->ctl[JB_CTL_UNIFIED];
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version != 0)
            continue;
        if (!names[c].v2) {
            (void)snprintf(ctl->why, sizeof(ctl->why),
                           c == JB_CTL_CPUACCT ? "cgroup v2 has no %s controller; cpu.stat counts instead"
                                               : "cgroup v2 has no %s controller",
                           names[c].name);
            continue;
        }
        if (!jb_cg_has_word(state->available, names[c].v2, " \n")) {
            (void)snprintf(ctl->why, sizeof(ctl->why),
                           "the %s controller is not delegated to cgroup %.80s (see its cgroup.controllers)",
                           names[c].name, unified->own);
            continue;
        }
        ctl->mount = strdup(unified->mount);
        ctl->own = strdup(unified->own);
        ctl->version = 2;
        ctl->why[0] = '\0';
        if (!ctl->mount || !ctl->own)
            return -ENOMEM;
    }
    return 0;
}

static void check_access(struct jb_cg_controller *ctl, const char *path)
{
    jb_autofree char *procs = jb_asprintf("%s/cgroup.procs", path);
    ctl->writable = faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0;
    if (ctl->writable && procs && access(procs, F_OK) < 0 && errno == ENOENT) {
        ctl->writable = false;
        (void)snprintf(ctl->why, sizeof(ctl->why),
                       "%.150s is not a cgroup, though it should be one: something else is mounted over it",
                       path);
    } else if (!ctl->writable)
        (void)snprintf(ctl->why, sizeof(ctl->why), "no group can be made in %.150s: %s", path,
                       errno == EROFS ? "it is mounted read-only" : strerrordesc_np(errno));
}

/* The root of the v2 tree has no limits at all, and tells nothing: there the box itself is refused. */
static bool lacks_swap(const char *path, int version)
{
    jb_autofree char *memory = jb_asprintf("%s/memory.max", path);
    jb_autofree char *swap =
        jb_asprintf("%s/%s", path, version == 1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max");
    return memory && swap && (version == 1 || access(memory, F_OK) == 0) && access(swap, F_OK) < 0 &&
           errno == ENOENT;
}

/* Fills what needs a look at the directories themselves. */
static int look(struct jb_cg_layout *layout)
{
    struct v2_state state __attribute__((cleanup(v2_state_free))) = {0};
    const struct jb_cg_controller *unified = &layout->ctl[JB_CTL_UNIFIED];
    if (unified->version == 2 && unified->own) {
        jb_autofree char *path = jb_asprintf("%s%s", unified->mount, unified->own);
        int r = path ? read_v2_state(path, &state) : -ENOMEM;
        if (r == -ENOMEM || (r == 0 && (r = adopt_v2(layout, &state)) < 0))
            return r;
    }
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        if (ctl->version == 0 || !ctl->own)
            continue;
        jb_autofree char *path = jb_asprintf("%s%s", ctl->mount, ctl->own);
        if (!path)
            return -ENOMEM;
        check_access(ctl, path);
        if (ctl->writable && ctl->version == 2 && c != JB_CTL_UNIFIED)
            ctl->writable = !v2_refuses(&state, ctl, names[c].v2);
        if (c == JB_CTL_MEMORY)
            layout->no_swap_limit = lacks_swap(path, ctl->version);
    }
    return 0;
}

int jb_cg_layout_probe(const char *procfs, struct jb_cg_layout *ret, struct jb_error *err)
{
    if (!procfs)
        procfs = "/proc";
    jb_autofree char *cgroup_path = jb_asprintf("%s/self/cgroup", procfs);
    jb_autofree char *mountinfo_path = jb_asprintf("%s/self/mountinfo", procfs);
    jb_autofree char *cgroup_text = NULL;
    jb_autofree char *mountinfo_text = NULL;
    if (!cgroup_path || !mountinfo_path)
        return jb_fail_errno(err, ENOMEM, "finding the cgroup mounts");
    int r = jb_read_at(AT_FDCWD, cgroup_path, PROC_MAX, &cgroup_text, NULL);
    if (r == -ENOENT) { /* a kernel without cgroups */
        cgroup_text = strdup("");
        r = cgroup_text ? 0 : -ENOMEM;
    }
    if (r < 0)
        return jb_fail_errno(err, r, "%s", cgroup_path);
    r = jb_read_at(AT_FDCWD, mountinfo_path, PROC_MAX, &mountinfo_text, NULL);
    if (r < 0)
        return jb_fail_errno(err, r, "%s: is /proc mounted?", mountinfo_path);
    struct jb_cg_layout layout = {0};
    r = jb_cg_layout_parse(cgroup_text, mountinfo_text, &layout, err);
    if (r < 0)
        return r;
    r = look(&layout);
    if (r < 0) {
        jb_cg_layout_free(&layout);
        return jb_fail_errno(err, r, "looking at the cgroup mounts");
    }
    *ret = layout;
    return 0;
}

int jb_cg_layout_reparent(struct jb_cg_layout *layout, const char *parent, struct jb_error *err)
{
    jb_autofree char *clean = NULL;
    int r = jb_path_clean(parent, &clean);
    if (r < 0)
        return jb_fail(err, r,
                       "cgroup parent '%.200s': give an absolute path without '..', as it appears below the "
                       "cgroup mounts",
                       parent);
    layout->no_swap_limit = false;
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        struct jb_cg_controller *ctl = &layout->ctl[c];
        bool adopted = ctl->version == 2 && c != JB_CTL_UNIFIED;
        if (ctl->version == 0)
            continue;
        free(ctl->own);
        ctl->own = adopted ? NULL : strdup(clean);
        ctl->writable = false;
        ctl->why[0] = '\0';
        if (adopted) { /* whether the parent has it is found anew */
            free(ctl->mount);
            *ctl = (struct jb_cg_controller){0};
            (void)snprintf(ctl->why, sizeof(ctl->why), "no cgroup %s controller is mounted", names[c].name);
        } else if (!ctl->own) {
            return jb_fail_errno(err, ENOMEM, "cgroup parent");
        }
    }
    r = look(layout);
    return r < 0 ? jb_fail_errno(err, r, "cgroup parent %s", clean) : 0;
}

void jb_cg_layout_free(struct jb_cg_layout *layout)
{
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        free(layout->ctl[c].mount);
        free(layout->ctl[c].own);
    }
    *layout = (struct jb_cg_layout){0};
}
