/*
 * bench_place.c - the table of `scripts/bench placement`: quality beside BenchExec's rules, first fit and random;
 * latency of an allocation and of loading the machine.
 *
 * bench_place [TOPOLOGY.xml or folder of such ...]; without names, machines that it knows by heart.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "machine/place.h"
#include "machine/waitline.h"
#include "place_compare.h"

#define GRANTS 200
#define ROUNDS 300

static int load(const char *synthetic, const char *xml, struct jb_machine *ret)
{
    struct jb_error err = {0};
    struct jb_machine_source s = {.synthetic = synthetic, .xml_file = xml, .cache_dirfd = -1};
    int r = jb_machine_load(&s, ret, &err);
    if (r < 0)
        (void)fprintf(stderr, "bench_place: %s\n", err.text);
    return r;
}

struct total {
    struct batch_score all, small;
    unsigned machines;
};

static void print_row(const char *name, const char *pus, const char *l3s, const struct batch_score *all,
                      const struct batch_score *small)
{
    (void)printf("%-46.46s %5s %4s %8u %9u %7u %8lu %7lu %7lu %6u\n", name, pus, l3s, all->requests,
                 all->bx_refuses, all->we_refuse, small->runs, small->bx_straddles, small->we_straddle,
                 all->worse);
}

static void add(const struct batch_score *one, struct batch_score *sum)
{
    sum->requests += one->requests;
    sum->bx_refuses += one->bx_refuses;
    sum->we_refuse += one->we_refuse;
    sum->runs += one->runs;
    sum->bx_straddles += one->bx_straddles;
    sum->we_straddle += one->we_straddle;
    sum->worse += one->worse;
}

static int batches(const char *synthetic, const char *path, struct total *total)
{
    struct batch_score all = {0};
    struct batch_score small = {0};
    struct jb_machine m;
    char pus[16];
    char l3s[16];
    int r = load(synthetic, path, &m);
    if (r < 0)
        return r;
    r = compare_batches(&m, false, &all);
    if (r == 0)
        r = compare_batches(&m, true, &small);
    (void)snprintf(pus, sizeof(pus), "%zu", m.n_pus);
    (void)snprintf(l3s, sizeof(l3s), "%u", m.n_l3s);
    jb_machine_free(&m);
    if (r < 0)
        return r;
    const char *slash = path ? strrchr(path, '/') : NULL;
    print_row(slash ? slash + 1 : path ? path : synthetic, pus, l3s, &all, &small);
    add(&all, &total->all);
    add(&small, &total->small);
    total->machines++;
    return 0;
}

/* One file, or all *.xml of a folder. */
static int batches_of(const char *path, struct total *total)
{
    jb_autofree char *pattern = jb_asprintf("%s/*.xml", path);
    struct stat st;
    glob_t found = {0};
    if (!pattern)
        return -ENOMEM;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return batches(NULL, path, total);
    int r = glob(pattern, 0, NULL, &found) ? -ENOENT : 0;
    if (r < 0)
        (void)fprintf(stderr, "bench_place: %s: no topology (*.xml) in it\n", path);
    for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
        r = batches(NULL, found.gl_pathv[i], total);
    globfree(&found);
    return r;
}

static int all_batches(int n, char **paths)
{
    static const char *const known[] = {
        "pack:2 [numa] l3:12 core:8 pu:2", "pack:2 [numa] l3:8 core:8 pu:2",
        "pack:2 [numa] l3:16 core:4 pu:2", "pack:2 l3:8 [numa] core:4 pu:2",
        "pack:8 [numa] l3:2 core:6 pu:1",  "pack:1 [numa] l3:2 core:8 pu:2",
    };
    struct total total = {0};
    char name[32];
    int r = 0;
    (void)printf("batches of equal runs          BenchExec's rules (bx) beside jobbox (jb)\n");
    (void)printf("%-46s %5s %4s %8s %9s %7s %8s %7s %7s %6s\n", "machine", "PUs", "L3s", "batches",
                 "bx refuse", "jb ref.", "runs<=L3", "bx strd", "jb strd", "worse");
    for (int i = 0; r == 0 && i < n; i++)
        r = batches_of(paths[i], &total);
    for (size_t i = 0; r == 0 && n == 0 && i < JB_ARRAY_LEN(known); i++)
        r = batches(known[i], NULL, &total);
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), "all %u", total.machines);
    print_row(name, "", "", &total.all, &total.small);
    (void)printf("bx refuse: batches that bx refuses and jobbox places; jb ref.: the other way round;\n"
                 "strd: runs no larger than an L3 group that lie in several; worse: batches where more of "
                 "ours do\n\n");
    return 0;
}

static int day(void)
{
    struct jb_machine m;
    int r = load("pack:2 [numa] l3:8 core:8 pu:2", NULL, &m);
    if (r < 0)
        return r;
    (void)printf(
        "a day of 5,000 random jobs on 128 cores (2 packages, 16 L3 groups)\n%-20s %8s %12s %10s %18s %6s\n",
        "policy", "placed", "straddling", "refused", "refused, feasible", "use");
    for (int p = 0; r == 0 && p < DAY_MAX; p++) {
        struct day_score s;
        r = simulate_day(&m, (enum day_policy)p, 5000, 1, &s);
        if (r == 0)
            (void)printf("%-20s %8u %6u %4.1f%% %10u %18u %5.0f%%\n", day_policy_name((enum day_policy)p),
                         s.placed, s.straddling, 100.0 * s.straddling / (s.placed ? s.placed : 1), s.refused,
                         s.refused_feasible, 100 * s.mean_use);
    }
    jb_machine_free(&m);
    (void)printf("\n");
    return r;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *us, size_t n)
{
    qsort(us, n, sizeof(*us), ascending);
    (void)printf("%-64s %8.1f %8.1f %8.1f\n", what, us[0], us[n / 2], us[n * 99 / 100]);
}

struct live_box {
    struct jb_id id;
    int fd, lock;
};

static int grant(const struct jb_ledger_dir *dir, const struct jb_machine *m, struct live_box *box,
                 double *ret_claim_us, struct jb_error *err)
{
    struct jb_ledger l;
    struct jb_grant g;
    struct jb_request q = {.cpus = 1, .unit = JB_CPU_UNIT_THREAD, .exclusive = true, .memory = 1U << 30};
    int r = jb_ledger_lock(dir, err);
    if (r == 0)
        r = jb_ledger_glance(dir, &l, err);
    if (r == 0) {
        r = jb_place(m, &l, &q, &g, err);
        jb_ledger_free(&l);
    }
    if (r < 0)
        return r;
    struct jb_holding h = {
        .exclusive = true, .cpus = g.cpus, .held = g.held, .mems = g.mems, .memory = g.memory};
    r = jb_id_new(jb_wall_us(NULL), &h.id);
    box->id = h.id;
    uint64_t t = jb_mono_ns(NULL);
    if (r == 0)
        r = jb_ledger_claim(dir, &h, &box->fd, &box->lock, err);
    *ret_claim_us = (double)(jb_mono_ns(NULL) - t) / 1e3;
    jb_ledger_unlock(dir);
    return r;
}

/* One allocation as `jobbox run` does it, and its parts. */
static int allocate(const struct jb_ledger_dir *dir, const struct jb_machine *m, double *both, double *read,
                    struct jb_error *err)
{
    struct jb_ledger l;
    struct jb_grant g;
    struct jb_request q = {.cpus = 8, .exclusive = true, .memory = 1U << 30, .locality = JB_LOCALITY_L3};
    uint64_t start = jb_mono_ns(NULL);
    int r = jb_ledger_lock(dir, err);
    if (r == 0)
        r = jb_ledger_glance(dir, &l, err);
    if (r < 0)
        return r;
    uint64_t middle = jb_mono_ns(NULL);
    r = jb_place(m, &l, &q, &g, err);
    uint64_t end = jb_mono_ns(NULL);
    jb_ledger_unlock(dir);
    jb_ledger_free(&l);
    *both = (double)(end - start) / 1e3;
    *read = (double)(middle - start) / 1e3;
    return r;
}

/* What a `jobbox run` pays for all of it: dead boxes, its host's machine from the cache, line, allocation and claim. */
static int as_in_run(int fd, const struct jb_ledger_dir *dir, const struct jb_machine *m,
                     struct jb_error *err)
{
    static double us[ROUNDS];
    struct jb_machine_source s = {.cache_dirfd = fd};
    for (unsigned i = 0; i <= ROUNDS; i++) {
        struct jb_machine host;
        struct jb_waitline line = {0};
        struct jb_id *dead = NULL;
        size_t n_dead = 0;
        struct live_box box = {.fd = -1, .lock = -1};
        double claim_us;
        uint64_t t = jb_mono_ns(NULL);
        int r = jb_ledger_dead(dir, JB_LEDGER_TESTS, &dead, &n_dead, err);
        free(dead);
        if (r == 0)
            r = jb_machine_load(&s, &host, err);
        if (r < 0)
            return r;
        jb_machine_free(&host);
        r = jb_waitline_read(fd, &line, err);
        if (r == 0)
            jb_waitline_free(&line);
        if (r == 0)
            r = grant(dir, m, &box, &claim_us, err);
        if (i > 0) /* the first fills the cache */
            us[i - 1] = (double)(jb_mono_ns(NULL) - t) / 1e3;
        if (r == 0)
            r = jb_ledger_release(dir, &box.id, err);
        jb_close(&box.fd);
        jb_close(&box.lock);
        if (r < 0)
            return r;
    }
    print_times("all that a run pays: dead boxes, machine, line, claim (goal: 300)", us, ROUNDS);
    return 0;
}

static int latency_in(int fd, const struct jb_machine *m, struct jb_error *err)
{
    static struct live_box boxes[GRANTS];
    static double claims[GRANTS];
    static double both[ROUNDS];
    static double reads[ROUNDS];
    struct jb_ledger_dir dir = JB_LEDGER_DIR_INIT;
    int r = jb_ledger_dir_open(fd, &dir, err);
    unsigned n = 0;
    for (; r == 0 && n < GRANTS; n++)
        r = grant(&dir, m, &boxes[n], &claims[n], err);
    for (unsigned i = 0; r == 0 && i < ROUNDS; i++)
        r = allocate(&dir, m, &both[i], &reads[i], err);
    if (r == 0) {
        print_times("allocation, 200 live grants, 384 PUs, ledger included (goal: 100)", both, ROUNDS);
        print_times("  of it reading the ledger", reads, ROUNDS);
        r = as_in_run(fd, &dir, m, err);
    }
    for (unsigned i = 0; i < n; i++) {
        (void)jb_ledger_release(&dir, &boxes[i].id, NULL);
        jb_close(&boxes[i].fd);
        jb_close(&boxes[i].lock);
    }
    jb_ledger_dir_close(&dir);
    if (r < 0)
        return r;
    print_times("claiming a box", claims, GRANTS);
    return 0;
}

/* The machine from the cache; `parse`: without topology.bin, so through hwloc's XML. */
static int load_cached(int fd, bool parse, const char *what, struct jb_error *err)
{
    static double us[ROUNDS];
    struct jb_machine_source s = {.cache_dirfd = fd};
    unsigned rounds = parse ? ROUNDS / 10 : ROUNDS;
    for (unsigned i = 0; i <= rounds; i++) {
        struct jb_machine m;
        if (parse)
            (void)unlinkat(fd, "topology.bin", 0);
        uint64_t t = jb_mono_ns(NULL);
        int r = jb_machine_load(&s, &m, err);
        if (r < 0)
            return r;
        if (i > 0) /* the first fills the cache */
            us[i - 1] = (double)(jb_mono_ns(NULL) - t) / 1e3;
        jb_machine_free(&m);
    }
    print_times(what, us, rounds);
    return 0;
}

/* What else runs here is not what is measured. */
static void alone(void)
{
    struct sched_param p = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &p) < 0)
        (void)printf("not measured: times without what else runs here: no real-time priority: %s\n",
                     strerror(errno));
}

static int latency(void)
{
    struct jb_error err = {0};
    struct jb_machine m;
    char path[] = "/dev/shm/bench_place.XXXXXX";
    if (!mkdtemp(path)) {
        (void)fprintf(stderr, "bench_place: %s: %s\n", path, strerror(errno));
        return -errno;
    }
    jb_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = load("pack:2 [numa(memory=384GB)] l3:12 core:8 pu:2", NULL, &m);
    if (r == 0) {
        alone();
        (void)printf("%-64s %8s %8s %8s\n", "microseconds, ledger on tmpfs", "best", "median", "p99");
        r = latency_in(fd, &m, &err);
        jb_machine_free(&m);
    }
    if (r == 0)
        r = load_cached(fd, false, "loading this host's machine from the cache", &err);
    if (r == 0)
        r = load_cached(fd, true, "  the same by parsing topology.xml in a child", &err);
    if (r < 0)
        (void)fprintf(stderr, "bench_place: %s\n", err.text);
    (void)jb_remove_tree(AT_FDCWD, path);
    return r;
}

int main(int argc, char **argv)
{
    int r = all_batches(argc - 1, argv + 1);
    if (r == 0)
        r = day();
    if (r == 0)
        r = latency();
    return r < 0;
}
