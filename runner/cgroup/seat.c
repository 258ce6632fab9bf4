/*
 * seat.c - where this process sits in the cgroup tree, and what is to be known of that place.
 *
 * Owns: struct jb_seat. Runs in: the supervisor and jobboxd. Privilege: the starter's; nothing is written.
 */
#include "cgroup/seat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

char *jb_innermost_unit(const char *path)
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

char *jb_group_path(const char *mount, const char *below)
{
    return jb_asprintf("%s%s", mount, jb_streq(below, "/") ? "" : below);
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

#define V1_NO_LIMIT (UINT64_C(1) << 62) /* v1 writes "none" as the largest page count */

/* A file that limits something. `none`: how the text begins without a limit; "": it is empty then. */
struct limit_file {
    enum jb_controller controller;
    int version;
    const char *file, *none;
};

/*
 * Of v1 only what systemd moves a process in: cpuset and hugetlb are not its, and stay as they are. The number of
 * processes is not among them: see jb_group_tasks.
 */
static const struct limit_file limit_files[] = {
    {JB_CTL_MEMORY, 2, "memory.max", "max"},
    {JB_CTL_MEMORY, 2, "memory.high", "max"},
    {JB_CTL_MEMORY, 2, "memory.swap.max", "max"},
    {JB_CTL_CPU, 2, "cpu.max", "max"},
    {JB_CTL_CPUSET, 2, "cpuset.cpus", ""},
    {JB_CTL_CPUSET, 2, "cpuset.mems", ""},
    {JB_CTL_IO, 2, "io.max", ""},
    {JB_CTL_MEMORY, 1, "memory.limit_in_bytes", NULL},
    {JB_CTL_MEMORY, 1, "memory.memsw.limit_in_bytes", NULL},
    {JB_CTL_CPU, 1, "cpu.cfs_quota_us", "-1"},
    {JB_CTL_IO, 1, "blkio.throttle.read_bps_device", ""},
    {JB_CTL_IO, 1, "blkio.throttle.write_bps_device", ""},
    {JB_CTL_IO, 1, "blkio.throttle.read_iops_device", ""},
    {JB_CTL_IO, 1, "blkio.throttle.write_iops_device", ""},
};

static bool limits(const struct jb_kdir *dir, const char *file, const char *none)
{
    char line[256];
    uint64_t value;
    int r = jb_kread_line(dir, file, line, sizeof(line));
    if (r < 0 || !*line)
        return r == -ENAMETOOLONG;
    if (!none)
        return jb_parse_u64(line, UINT64_MAX, &value) < 0 || value < V1_NO_LIMIT;
    return !*none || !jb_starts_with(line, none);
}

static const char *huge_limit(const struct jb_kdir *dir)
{
    for (const uint64_t *page = jb_cg_huge_sizes; *page; page++)
        for (int reserved = 0; reserved < 2; reserved++) {
            char name[16];
            char file[64];
            (void)snprintf(file, sizeof(file), "hugetlb.%s.%smax", jb_cg_huge_name(*page, name, sizeof(name)),
                           reserved ? "rsvd." : "");
            if (limits(dir, file, "max"))
                return "hugetlb";
        }
    return NULL;
}

/* Of version 2, all of the group's files. */
const char *jb_group_limit(const char *path, int version, enum jb_controller c)
{
    struct jb_kdir dir;
    const char *found = NULL;
    if (jb_kdir_open(path, &dir) < 0)
        return "cgroup";
    for (size_t i = 0; !found && i < JB_ARRAY_LEN(limit_files); i++) {
        const struct limit_file *f = &limit_files[i];
        if (f->version == version && (version == 2 || f->controller == c) && limits(&dir, f->file, f->none))
            found = f->file;
    }
    if (!found && version == 2)
        found = huge_limit(&dir);
    jb_kdir_close(&dir);
    return found;
}

uint64_t jb_group_tasks(const char *path)
{
    uint64_t n = JB_UNSET;
    struct jb_kdir dir;
    if (jb_kdir_open(path, &dir) < 0)
        return JB_UNSET;
    if (jb_kread_u64(&dir, "pids.max", &n) < 0)
        n = JB_UNSET;
    jb_kdir_close(&dir);
    return n;
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
    jb_autofree char *own_path = jb_group_path(s->mount, s->own);
    jb_autofree char *path = jb_group_path(s->mount, above);
    if (!own_path || !path)
        return -ENOMEM;
    if (!is_real_root(path) && count_processes(path, wish->pid) == 0 && can_write(path) &&
        !jb_group_limit(own_path, 2, JB_CTL_UNIFIED) && jb_group_tasks(own_path) == JB_UNSET)
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
    jb_autofree char *path = jb_group_path(s.mount, s.own);
    if (!path)
        return -ENOMEM;
    s.unit = jb_innermost_unit(s.own);
    jb_autofree char *unit_path = s.unit ? jb_group_path(s.mount, s.unit) : NULL;
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
