/*
 * usage.c - what a box has used, as the kernel counts it; a figure that it does not give is JB_UNSET.
 *
 * Owns: the list inside the struct jb_cg_usage it returns. Runs in: the supervisor, and whoever recovers a
 * box. Privilege: reading the box's groups.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define STABLE_NAP_NS (500 * JB_NS_PER_US)

/* The whole file; NULL when the kernel has no such file or the group has no such controller. */
static int read_text(const struct jb_cg_group *g, const char *file, char **ret)
{
    *ret = NULL;
    int r = g ? jb_kread_all(&g->dir, file, ret) : 0;
    return r == -ENOENT || r == -EOPNOTSUPP ? 0
                                            : r; /* EOPNOTSUPP: built in, but switched off at boot (PSI) */
}

static uint64_t keyed(const char *text, const char *key)
{
    uint64_t value;
    return text && jb_keyed_u64(text, key, &value) == 0 ? value : JB_UNSET;
}

static uint64_t scaled(uint64_t value, uint64_t divisor)
{
    return value == JB_UNSET ? JB_UNSET : value / divisor;
}

static int number(const struct jb_cg_group *g, const char *file, uint64_t *ret)
{
    *ret = JB_UNSET;
    int r = g ? jb_kread_u64(&g->dir, file, ret) : 0;
    return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

static const struct jb_cg_group *on(const struct jb_cgroup *cg, enum jb_controller c, int version)
{
    return cg->of[c] && cg->of[c]->version == version ? cg->of[c] : NULL;
}

/* v1 says in ticks of 10 ms what was user and system time, and in nanoseconds how much it was: the sum is to be right. */
static void share_out(struct jb_cg_usage *u)
{
    uint64_t total = u->cpu_total_us;
    if (total == JB_UNSET || u->cpu_user_us == JB_UNSET || u->cpu_system_us == JB_UNSET)
        return;
    uint64_t ticks = u->cpu_user_us + u->cpu_system_us;
    u->cpu_system_us = ticks ? (uint64_t)((double)total * ((double)u->cpu_system_us / (double)ticks)) : 0;
    u->cpu_user_us = total - u->cpu_system_us;
}

static int read_cpu_v1(const struct jb_cg_group *g, struct jb_cg_usage *u)
{
    jb_autofree char *text = NULL;
    uint64_t ns;
    int r = number(g, "cpuacct.usage", &ns);
    if (r == 0)
        r = read_text(g, "cpuacct.stat", &text);
    u->cpu_total_us = scaled(ns, JB_NS_PER_US);
    uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t user = keyed(text, "user");
    uint64_t sys = keyed(text, "system");
    u->cpu_user_us = user == JB_UNSET ? JB_UNSET : user * tick_us;
    u->cpu_system_us = sys == JB_UNSET ? JB_UNSET : sys * tick_us;
    share_out(u);
    return r;
}

static int read_per_cpu(const struct jb_cg_group *g, struct jb_cg_usage *u)
{
    jb_autofree char *text = NULL;
    int r = read_text(g, "cpuacct.usage_percpu", &text);
    if (r < 0 || !text)
        return r;
    size_t n = 0;
    for (char *p = text; (p = strpbrk(p, "0123456789")); p += strspn(p, "0123456789"))
        n++;
    uint64_t *list = n ? calloc(n, sizeof(*list)) : NULL;
    if (!list)
        return n ? -ENOMEM : 0;
    n = 0;
    for (char *p = text, *end; (p = strpbrk(p, "0123456789")); p = end)
        list[n++] = strtoull(p, &end, 10);
    u->cpu_per_cpu_ns = list;
    u->n_per_cpu = n;
    return 0;
}

static int read_cpu(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    jb_autofree char *text = NULL;
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    int r = read_text(v2, "cpu.stat", &text);
    u->cpu_total_us = keyed(text, "usage_usec");
    u->cpu_user_us = keyed(text, "user_usec");
    u->cpu_system_us = keyed(text, "system_usec");
    if (r == 0 && u->cpu_total_us == JB_UNSET)
        r = read_cpu_v1(on(cg, JB_CTL_CPUACCT, 1), u);
    if (r == 0)
        r = read_per_cpu(on(cg, JB_CTL_CPUACCT, 1), u);
    if (r < 0)
        return r;
    if (on(cg, JB_CTL_CPU, 2)) {
        u->nr_throttled = keyed(text, "nr_throttled");
        u->throttled_us = keyed(text, "throttled_usec");
        return 0;
    }
    jb_autofree char *v1 = NULL;
    r = read_text(on(cg, JB_CTL_CPU, 1), "cpu.stat", &v1);
    u->nr_throttled = keyed(v1, "nr_throttled");
    u->throttled_us = scaled(keyed(v1, "throttled_time"), JB_NS_PER_US);
    return r;
}

/* v1, and v2 where it is mounted so, count a kill in the group of whoever was killed, and nowhere above it. */
struct kills {
    const char *file;
    uint64_t sum;
};

static int add_kills(void *ctx, const struct jb_kdir *parent, const char *name)
{
    struct kills *k = ctx;
    uint64_t value;
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/%s", name, k->file);
    if (jb_kread_keyed(parent, path, "oom_kill", &value) == 0)
        k->sum = (k->sum == JB_UNSET ? 0 : k->sum) + value;
    return 0;
}

static int read_kills(const struct jb_cgroup *cg, uint64_t *ret)
{
    const struct jb_cg_group *g = cg->of[JB_CTL_MEMORY];
    struct kills each = {.file = "memory.oom_control", .sum = JB_UNSET};
    jb_autofree char *text = NULL;
    *ret = JB_UNSET;
    if (!g)
        return 0;
    if (g->version == 2) {
        int r = read_text(g, "memory.events", &text);
        uint64_t met = keyed(text, "oom");
        *ret = keyed(text, "oom_kill");
        if (r < 0 || *ret != 0 || met == 0 || met == JB_UNSET)
            return r;
        each =
            (struct kills){.file = "memory.events.local", .sum = 0}; /* the mount option memory_localevents */
    }
    (void)jb_cg_walk(&g->parent, cg->name, add_kills, &each);
    *ret = each.sum;
    return 0;
}

static int read_memory(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    const struct jb_cg_group *v1 = on(cg, JB_CTL_MEMORY, 1);
    const struct jb_cg_group *v2 = on(cg, JB_CTL_MEMORY, 2);
    int r = v1 ? number(v1, "memory.max_usage_in_bytes", &u->memory_peak)
               : number(v2, "memory.peak", &u->memory_peak);
    if (r == 0) /* v1 gives a peak of memory and swap together only: no swap peak follows from it */
        r = number(v2, "memory.swap.peak", &u->swap_peak);
    return r == 0 ? read_kills(cg, &u->oom_kills) : r;
}

static int read_pids(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    jb_autofree char *text = NULL;
    const struct jb_cg_group *g = cg->of[JB_CTL_PIDS];
    int r = number(g, "pids.peak", &u->pids_peak);
    if (r == 0)
        r = read_text(g, "pids.events", &text);
    u->pids_max_hits = keyed(text, "max");
    return r;
}

static int read_io_v2(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    jb_autofree char *text = NULL;
    uint64_t figures[JB_CG_IO_FIGURES];
    struct jb_kdir block = {.fd = -1};
    int r = read_text(on(cg, JB_CTL_IO, 2), "io.stat", &text);
    if (r < 0 || !text)
        return r;
    (void)jb_kdir_open(cg->block ? cg->block : "/sys/dev/block", &block);
    block.fault = cg->fault;
    r = jb_cg_io_count(&block, text, figures);
    jb_kdir_close(&block);
    if (r < 0)
        return r;
    u->read_bytes = figures[0];
    u->written_bytes = figures[1];
    u->read_ops = figures[2];
    u->write_ops = figures[3];
    return 0;
}

/*
 * v1 has nothing that could be said: it counts neither what is written back later, which is most, nor disks on which
 * nobody ever set a limit.
 */
static int read_io(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    return read_io_v2(cg, u);
}

/* "some avg10=0.00 ... total=123" */
static uint64_t psi_total(const char *text, const char *kind)
{
    size_t len = strlen(kind);
    for (const char *line = text; line && *line;) {
        const char *end = strchrnul(line, '\n');
        const char *total = memmem(line, (size_t)(end - line), "total=", 6);
        if (strncmp(line, kind, len) == 0 && line[len] == ' ' && total)
            return strtoull(total + 6, NULL, 10);
        line = *end ? end + 1 : end;
    }
    return JB_UNSET;
}

static int read_psi(const struct jb_cgroup *cg, struct jb_cg_usage *u)
{
    const struct {
        const char *file;
        uint64_t *some, *full;
    } files[] = {
        {"cpu.pressure", &u->psi_cpu_some_us, NULL},
        {"memory.pressure", &u->psi_memory_some_us, &u->psi_memory_full_us},
        {"io.pressure", &u->psi_io_some_us, &u->psi_io_full_us},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++) {
        jb_autofree char *text = NULL;
        int r = read_text(jb_cg_v2(cg), files[i].file, &text);
        if (r < 0)
            return r;
        *files[i].some = psi_total(text, "some");
        if (files[i].full)
            *files[i].full = psi_total(text, "full");
    }
    return 0;
}

void jb_cg_usage_free(struct jb_cg_usage *usage)
{
    free(usage->cpu_per_cpu_ns);
    usage->cpu_per_cpu_ns = NULL;
    usage->n_per_cpu = 0;
}

static void subtract(uint64_t *figure, uint64_t before)
{
    if (*figure != JB_UNSET && before != JB_UNSET)
        *figure -= before < *figure ? before : *figure;
}

static void subtract_peak(uint64_t *peak, uint64_t before)
{
    if (before != JB_UNSET && *peak != JB_UNSET && *peak <= before)
        *peak = JB_UNSET;
}

void jb_cg_usage_subtract(struct jb_cg_usage *usage, const struct jb_cg_usage *before)
{
    const struct {
        uint64_t *figure;
        uint64_t before;
    } sums[] = {
        {&usage->cpu_user_us, before->cpu_user_us},
        {&usage->cpu_system_us, before->cpu_system_us},
        {&usage->cpu_total_us, before->cpu_total_us},
        {&usage->throttled_us, before->throttled_us},
        {&usage->nr_throttled, before->nr_throttled},
        {&usage->oom_kills, before->oom_kills},
        {&usage->pids_max_hits, before->pids_max_hits},
        {&usage->read_bytes, before->read_bytes},
        {&usage->written_bytes, before->written_bytes},
        {&usage->read_ops, before->read_ops},
        {&usage->write_ops, before->write_ops},
        {&usage->psi_cpu_some_us, before->psi_cpu_some_us},
        {&usage->psi_memory_some_us, before->psi_memory_some_us},
        {&usage->psi_memory_full_us, before->psi_memory_full_us},
        {&usage->psi_io_some_us, before->psi_io_some_us},
        {&usage->psi_io_full_us, before->psi_io_full_us},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(sums); i++)
        subtract(sums[i].figure, sums[i].before);
    for (size_t i = 0; i < usage->n_per_cpu && i < before->n_per_cpu; i++)
        subtract(&usage->cpu_per_cpu_ns[i], before->cpu_per_cpu_ns[i]);
    subtract_peak(&usage->memory_peak, before->memory_peak);
    subtract_peak(&usage->memory_peak_anon, before->memory_peak_anon);
    subtract_peak(&usage->swap_peak, before->swap_peak);
    subtract_peak(&usage->pids_peak, before->pids_peak);
}

static const struct {
    const char *what;
    int (*read)(const struct jb_cgroup *, struct jb_cg_usage *);
} readers[] = {
    {"CPU time", read_cpu}, {"memory", read_memory}, {"process", read_pids},
    {"I/O", read_io},       {"pressure", read_psi},
};

static int read_first(const struct jb_cgroup *cg, size_t n, struct jb_cg_usage *ret, struct jb_error *err)
{
    struct jb_cg_usage u;
    memset(&u, 0xff, sizeof(u)); /* every figure JB_UNSET */
    u.cpu_per_cpu_ns = NULL;
    u.n_per_cpu = 0;
    for (size_t i = 0; i < n; i++) {
        int r = readers[i].read(cg, &u);
        if (r < 0) {
            jb_cg_usage_free(&u);
            return jb_fail_errno(err, r, "reading the %s figures of %s", readers[i].what, cg->name);
        }
    }
    *ret = u;
    return 0;
}

int jb_cgroup_usage(const struct jb_cgroup *cg, struct jb_cg_usage *ret, struct jb_error *err)
{
    return read_first(cg, JB_ARRAY_LEN(readers), ret, err);
}

int jb_cgroup_usage_cpu(const struct jb_cgroup *cg, struct jb_cg_usage *ret, struct jb_error *err)
{
    return read_first(cg, 1, ret, err);
}

uint64_t jb_cgroup_cpu_us(const struct jb_cgroup *cg)
{
    uint64_t value;
    const struct jb_cg_group *v2 = jb_cg_v2(cg);
    if (v2 && jb_kread_keyed(&v2->dir, "cpu.stat", "usage_usec", &value) == 0)
        return value;
    const struct jb_cg_group *v1 = on(cg, JB_CTL_CPUACCT, 1);
    return v1 && jb_kread_u64(&v1->dir, "cpuacct.usage", &value) == 0 ? value / JB_NS_PER_US : JB_UNSET;
}

uint64_t jb_cgroup_oom_kills(const struct jb_cgroup *cg)
{
    uint64_t value = JB_UNSET;
    return read_kills(cg, &value) == 0 ? value : JB_UNSET;
}

int jb_cgroup_usage_stable(const struct jb_cgroup *cg, unsigned tries, struct jb_cg_usage *ret,
                           struct jb_error *err)
{
    uint64_t before = jb_cgroup_cpu_us(cg);
    for (unsigned i = 1;; i++) {
        struct jb_cg_usage u = {0};
        int r = jb_cgroup_usage(cg, &u, err);
        if (r < 0)
            return r;
        if (u.cpu_total_us == before || i >= tries) {
            *ret = u;
            return 0;
        }
        before = u.cpu_total_us;
        jb_cg_usage_free(&u);
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)STABLE_NAP_NS}, NULL);
    }
}

/* v1 tells through an eventfd that is registered together with the file it is about. */
static int oom_fd_v1(const struct jb_cg_group *g)
{
    jb_autoclose int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return -errno;
    int r = jb_cg_hit(&g->dir, "open", "memory.oom_control");
    if (r < 0)
        return r;
    jb_autoclose int control = openat(g->dir.fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return -errno;
    char text[32];
    (void)snprintf(text, sizeof(text), "%d %d", event, control);
    r = jb_kwrite(&g->dir, "cgroup.event_control", text);
    return r < 0 ? r : jb_take_fd(&event);
}

/* v2 tells through poll on a file that has been read once. */
static int oom_fd_v2(const struct jb_cg_group *g)
{
    int r = jb_cg_hit(&g->dir, "open", "memory.events");
    if (r < 0)
        return r;
    jb_autoclose int fd = openat(g->dir.fd, "memory.events", O_RDONLY | O_CLOEXEC);
    char text[512];
    if (fd < 0 || read(fd, text, sizeof(text)) < 0)
        return -errno;
    return jb_take_fd(&fd);
}

int jb_cgroup_oom_fd(const struct jb_cgroup *cg, uint32_t *ret_events, struct jb_error *err)
{
    const struct jb_cg_group *g = cg->of[JB_CTL_MEMORY];
    if (!g)
        return jb_fail(err, ENOTSUP,
                       "the box has no memory group, so the kernel tells nothing of memory running out");
    int fd = g->version == 1 ? oom_fd_v1(g) : oom_fd_v2(g);
    char text[512];
    if (fd < 0)
        return jb_fail_errno(err, fd, "watching %s for memory running out",
                             jb_cg_group_text(cg, g, text, sizeof(text)));
    *ret_events = g->version == 1 ? (uint32_t)EPOLLIN : (uint32_t)EPOLLPRI;
    return fd;
}
