/*
 * seat.c - where this process sits in the cgroup tree, and what is to be known of that place.
 *
 * Owns: struct jb_seat. Runs in: the supervisor and jobboxd. Privilege: the starter's; nothing is written.
 */
#include "cgroup/seat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "cgroup/internal.h"

void jb_seat_free(struct jb_seat *s)
{
    free(s->unit);
    free(s->above);
}

/* systemd marks the directories of delegated units; only root sees the older of the two marks. */
static bool has_mark(const char *path)
{
    static const char *const names[] = {"user.delegate", "trusted.delegate"};
    char value[2];
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++)
        if (getxattr(path, names[i], value, sizeof(value)) == 1 && value[0] == '1')
            return true;
    return false;
}

static bool is_unit(const char *name, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);
    return len > n && memcmp(name + len - n, suffix, n) == 0;
}

/* The path up to the innermost component that has one of the suffixes; NULL: none has. */
static char *innermost(const char *path, const char *const *suffixes, size_t n)
{
    size_t end = 0;
    for (const char *p = path; *p;) {
        p += *p == '/';
        size_t len = strcspn(p, "/");
        for (size_t i = 0; i < n; i++)
            if (is_unit(p, len, suffixes[i]))
                end = (size_t)(p - path) + len;
        p += len;
    }
    return end ? strndup(path, end) : NULL;
}

static char *innermost_unit(const char *path)
{
    static const char *const units[] = {".service", ".scope", ".slice", ".socket", ".mount", ".swap"};
    return innermost(path, units, JB_ARRAY_LEN(units));
}

char *jb_innermost_slice(const char *path)
{
    static const char *const slices[] = {".slice"};
    return innermost(path, slices, 1);
}

/* NULL stays NULL. */
char *jb_copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

char *jb_seat_path(const struct jb_seat *s, const char *below)
{
    return jb_asprintf("%s%s", s->mount, jb_streq(below, "/") ? "" : below);
}

/* 0, 1 (this process alone) or 2: more. */
static int count_processes(const char *path, pid_t self)
{
    char text[64];
    jb_autofree char *file = jb_asprintf("%s/cgroup.procs", path);
    jb_autoclose int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return n < 0 ? 2 : 0;
    text[n] = '\0';
    char *end;
    long pid = strtol(text, &end, 10);
    return pid == (long)self && *end == '\n' && end[1] == '\0' ? 1 : 2;
}

static bool can_write(const char *path)
{
    static const char *const files[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++) {
        jb_autofree char *file = jb_asprintf("%s%s", path, files[i]);
        if (!file || faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) < 0)
            return false;
    }
    return true;
}

static bool is_real_root(const char *path)
{
    jb_autofree char *type = jb_asprintf("%s/cgroup.type", path);
    return type && access(type, F_OK) < 0 && errno == ENOENT;
}

/* The first file of the group that limits anything; NULL: none does. The number of processes is not among them: every
 * unit has such a limit, and the scope gets the same. */
const char *jb_group_limit(const char *path)
{
    static const struct {
        const char *file, *none; /* how the text begins without a limit */
    } files[] = {
        {"memory.max", "max"}, {"memory.high", "max"}, {"memory.swap.max", "max"},
        {"cpu.max", "max"},    {"cpuset.cpus", ""},    {"cpuset.mems", ""},
        {"io.max", ""},
    };
    struct jb_kdir dir;
    const char *found = NULL;
    if (jb_kdir_open(path, &dir) < 0)
        return "cgroup";
    for (size_t i = 0; !found && i < JB_ARRAY_LEN(files); i++) {
        char line[256];
        int r = jb_kread_line(&dir, files[i].file, line, sizeof(line));
        if (r == -ENAMETOOLONG ||
            (r == 0 && *line && (!*files[i].none || !jb_starts_with(line, files[i].none))))
            found = files[i].file;
    }
    jb_kdir_close(&dir);
    return found;
}

char *jb_group_above(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash || !slash[1] ? NULL : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* The parent of own is where a manager that puts its processes into a subgroup wants further groups. */
static int look_above(const struct jb_scope_wish *wish, struct jb_seat *s)
{
    jb_autofree char *above = jb_group_above(s->own);
    if (!above || (s->unit && strlen(above) < strlen(s->unit)))
        return 0;
    jb_autofree char *own_path = jb_seat_path(s, s->own);
    jb_autofree char *path = jb_seat_path(s, above);
    if (!own_path || !path)
        return -ENOMEM;
    if (!is_real_root(path) && count_processes(path, wish->pid) == 0 && can_write(path) &&
        !jb_group_limit(own_path))
        s->above = jb_take_ptr(above);
    return 0;
}

int jb_seat_look(const struct jb_scope_wish *wish, const struct jb_cg_layout *layout, struct jb_seat *ret)
{
    const struct jb_cg_controller *tree = &layout->ctl[JB_CTL_UNIFIED];
    struct jb_seat s = {.mount = tree->mount, .own = tree->own};
    bool (*delegated)(const char *) = wish->is_delegated ? wish->is_delegated : has_mark;
    bool booted = jb_scope_booted(wish);
    if (tree->version != 2 || !tree->own) { /* v1 alone: its groups bear no mark */
        s.managed = booted;
        *ret = s;
        return 0;
    }
    jb_autofree char *path = jb_seat_path(&s, s.own);
    if (!path)
        return -ENOMEM;
    s.unit = innermost_unit(s.own);
    jb_autofree char *unit_path = s.unit ? jb_seat_path(&s, s.unit) : NULL;
    s.managed = booted && !(unit_path && delegated(unit_path));
    s.real_root = is_real_root(path);
    s.alone = count_processes(path, wish->pid) == 1;
    s.writable = can_write(path);
    int r = s.managed ? 0 : look_above(wish, &s);
    if (r < 0) {
        jb_seat_free(&s);
        return r;
    }
    *ret = s;
    return 0;
}
