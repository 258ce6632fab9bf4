/*
 * place_compare.c - see the header.
 */
#include "place_compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "benchexec_rules.h"
#include "machine/place.h"

/* L3 groups that the PUs lie in. */
static unsigned l3s_of(const struct jb_machine *m, const struct jb_cpus *cpus)
{
    struct jb_cpus seen = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(cpus, m->pus[i].os))
            jb_cpus_add(&seen, m->pus[i].l3);
    return jb_cpus_count(&seen);
}

static int descending(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a;
    unsigned y = *(const unsigned *)b;
    return (x < y) - (x > y);
}

/* PUs by L3 group, the largest first. */
static void l3_sizes(const struct jb_machine *m, unsigned *sizes)
{
    memset(sizes, 0, m->n_l3s * sizeof(*sizes));
    for (size_t i = 0; i < m->n_pus; i++)
        sizes[m->pus[i].l3]++;
    qsort(sizes, m->n_l3s, sizeof(*sizes), descending);
}

static unsigned needed(const struct jb_machine *m, const unsigned *sizes, unsigned cpus)
{
    unsigned n = 0;
    for (unsigned sum = 0; n < m->n_l3s && sum < cpus; n++)
        sum += sizes[n];
    return n;
}

static void holding_from(const struct jb_grant *g, struct jb_holding *ret)
{
    struct jb_holding h = {.exclusive = true, .memory = JB_UNSET};
    memset(h.id.text, '0', JB_ID_LEN);
    h.cpus = g->cpus;
    h.held = g->held;
    h.mems = g->mems;
    *ret = h;
}

/*
 * jobbox's answers to ever more equal runs: straddling[r] of the first r+1. Each run is placed without knowledge of
 * those to come. Returns how many find a place.
 */
static unsigned place_runs(const struct jb_machine *m, unsigned cpus, enum jb_cpu_unit unit, unsigned smt,
                           const unsigned *sizes, unsigned max, unsigned *straddling)
{
    struct jb_ledger ledger = {0};
    struct jb_request q = {.exclusive = true, .memory = JB_UNSET, .unit = unit, .locality = JB_LOCALITY_L3};
    q.cpus = unit == JB_CPU_UNIT_CORE ? (cpus + smt - 1) / smt : cpus;
    unsigned r = 0;
    for (unsigned sum = 0; r < max; r++) {
        struct jb_grant g;
        struct jb_holding h;
        if (jb_place(m, &ledger, &q, &g, NULL) < 0)
            break;
        holding_from(&g, &h);
        if (jb_ledger_add(&ledger, &h) < 0)
            break;
        sum += l3s_of(m, &g.cpus) > needed(m, sizes, jb_cpus_count(&g.cpus));
        straddling[r] = sum;
    }
    jb_ledger_free(&ledger);
    return r;
}

static unsigned bx_straddles(const struct jb_machine *m, const struct bx_answer *bx, unsigned cpus,
                             unsigned n, const unsigned *sizes)
{
    unsigned sum = 0;
    for (unsigned r = 0; r < n; r++)
        sum += l3s_of(m, &bx->runs[r]) > needed(m, sizes, cpus);
    return sum;
}

static void score_batch(const struct jb_machine *m, unsigned cpus, unsigned n, const unsigned *sizes,
                        const unsigned placed[2], unsigned *const straddling[2], struct batch_score *s)
{
    struct bx_answer bx;
    bx_assign(m, cpus, n, &bx);
    s->requests++;
    /* like with like: whole cores, unless BenchExec's rules let runs share cores too */
    unsigned unit = !bx.refused && bx.siblings_split;
    if (bx.refused) {
        s->bx_refuses += n <= placed[0] || n <= placed[1];
        s->bx_refuses_one |= cpus == 1 && n == 1;
    } else if (n > placed[unit]) {
        s->we_refuse++;
    } else {
        unsigned theirs = bx_straddles(m, &bx, cpus, n, sizes);
        unsigned ours = straddling[unit][n - 1];
        s->runs += n;
        s->bx_straddles += theirs;
        s->we_straddle += ours;
        s->worse += ours > theirs;
    }
    bx_free(&bx);
}

int compare_batches(const struct jb_machine *m, bool only_within_l3, struct batch_score *ret)
{
    struct batch_score s = {0};
    unsigned n_pus = (unsigned)m->n_pus;
    unsigned smt = (n_pus + m->n_cores - 1) / m->n_cores;
    unsigned *sizes = calloc(m->n_l3s, sizeof(*sizes));
    unsigned *straddling[2] = {calloc(n_pus, sizeof(unsigned)), calloc(n_pus, sizeof(unsigned))};
    int r = sizes && straddling[0] && straddling[1] ? 0 : -ENOMEM;
    if (r == 0)
        l3_sizes(m, sizes);
    for (unsigned cpus = 1; r == 0 && cpus <= (only_within_l3 ? sizes[0] : n_pus); cpus++) {
        unsigned placed[2];
        placed[0] = place_runs(m, cpus, JB_CPU_UNIT_CORE, smt, sizes, n_pus / cpus, straddling[0]);
        placed[1] = place_runs(m, cpus, JB_CPU_UNIT_THREAD, smt, sizes, n_pus / cpus, straddling[1]);
        /* on large machines not every number of runs: the few, the many, and steps between */
        unsigned step = n_pus / cpus > 48 ? n_pus / cpus / 24 : 1;
        for (unsigned n = 1; n <= n_pus / cpus; n += n < 4 || n + step > n_pus / cpus ? 1 : step)
            score_batch(m, cpus, n, sizes, placed, straddling, &s);
    }
    free(sizes);
    free(straddling[0]);
    free(straddling[1]);
    if (r == 0)
        *ret = s;
    return r;
}

const char *day_policy_name(enum day_policy policy)
{
    static const char *const names[DAY_MAX] = {"jobbox", "first fit", "best fit by L3", "BenchExec's order",
                                               "random"};
    return names[policy];
}

struct job {
    unsigned cores;
    bool strict;
    uint64_t arrives, ends;
    struct jb_cpus cores_held; /* by core index */
};

struct day {
    const struct jb_machine *m;
    unsigned l3_of[JB_CPUS_MAX]; /* by core */
    unsigned numa_of[JB_CPUS_MAX];
    unsigned first_pu[JB_CPUS_MAX];
    unsigned free_in[JB_CPUS_MAX]; /* by L3 */
    unsigned size_of[JB_CPUS_MAX];
    struct jb_cpus busy;
    uint64_t seed;
    unsigned turn;
};

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (*seed >> 11) % below;
}

/* Many small, some large; durations from a minute to hours; arrivals that fill about nine tenths of 128 cores. */
static void draw_job(uint64_t *seed, uint64_t *clock, struct job *ret)
{
    static const unsigned sizes[] = {1, 1, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 12, 16, 24, 32};
    struct job j = {.cores = sizes[draw(seed, sizeof(sizes) / sizeof(sizes[0]))]};
    uint64_t minutes = 1 + draw(seed, draw(seed, 8) == 0 ? 240 : 40);
    *clock += draw(seed, 95);
    j.strict = j.cores <= 8 && draw(seed, 3) == 0;
    j.arrives = *clock;
    j.ends = *clock + minutes * 60;
    *ret = j;
}

static bool take(struct day *d, unsigned core, struct jb_cpus *into)
{
    if (jb_cpus_has(&d->busy, core) || jb_cpus_has(into, core))
        return false;
    jb_cpus_add(into, core);
    return true;
}

static void from_core(struct day *d, unsigned start, unsigned n, struct jb_cpus *into)
{
    for (unsigned i = 0; n > 0 && i < d->m->n_cores; i++)
        n -= take(d, (start + i) % d->m->n_cores, into);
}

/* The L3 group with the least room that is enough, else first fit. */
static void best_l3(struct day *d, unsigned n, struct jb_cpus *into)
{
    int best = -1;
    for (unsigned g = 0; g < d->m->n_l3s; g++)
        if (d->free_in[g] >= n && (best < 0 || d->free_in[g] < d->free_in[best]))
            best = (int)g;
    for (unsigned c = 0; n > 0 && c < d->m->n_cores; c++)
        if (best < 0 || d->l3_of[c] == (unsigned)best)
            n -= take(d, c, into);
}

/* Runs start at the next NUMA node each. */
static void next_unit(struct day *d, unsigned n, struct jb_cpus *into)
{
    unsigned unit = d->turn++ % (unsigned)d->m->n_nodes;
    unsigned start = 0;
    while (start < d->m->n_cores && d->numa_of[start] != unit)
        start++;
    from_core(d, start, n, into);
}

static int ask_jobbox(struct day *d, const struct job *j, struct jb_cpus *into)
{
    struct jb_ledger ledger = {0};
    struct jb_holding h = {.exclusive = true, .memory = JB_UNSET};
    struct jb_request q = {.exclusive = true,
                           .memory = JB_UNSET,
                           .cpus = j->cores,
                           .locality = JB_LOCALITY_L3,
                           .strict = j->strict};
    struct jb_grant g;
    memset(h.id.text, '0', JB_ID_LEN);
    for (size_t i = 0; i < d->m->n_pus; i++)
        if (jb_cpus_has(&d->busy, d->m->pus[i].core))
            jb_cpus_add(&h.cpus, d->m->pus[i].os);
    h.held = h.cpus;
    int r = jb_ledger_add(&ledger, &h);
    if (r == 0)
        r = jb_place(d->m, &ledger, &q, &g, NULL);
    for (size_t i = 0; r == 0 && i < d->m->n_pus; i++)
        if (jb_cpus_has(&g.cpus, d->m->pus[i].os))
            jb_cpus_add(into, d->m->pus[i].core);
    jb_ledger_free(&ledger);
    return r;
}

static void choose(struct day *d, enum day_policy policy, const struct job *j, struct jb_cpus *into)
{
    switch (policy) {
    case DAY_JOBBOX:
        if (ask_jobbox(d, j, into) < 0)
            *into = (struct jb_cpus){0};
        return;
    case DAY_FIRST_FIT:
        from_core(d, 0, j->cores, into);
        return;
    case DAY_BEST_FIT:
        best_l3(d, j->cores, into);
        return;
    case DAY_BENCHEXEC_ORDER:
        next_unit(d, j->cores, into);
        return;
    default:
        for (unsigned n = j->cores; n > 0;)
            n -= take(d, (unsigned)draw(&d->seed, d->m->n_cores), into);
        return;
    }
}

static unsigned l3s_used(const struct day *d, const struct jb_cpus *cores)
{
    struct jb_cpus seen = {0};
    for (unsigned c = 0; c < d->m->n_cores; c++)
        if (jb_cpus_has(cores, c))
            jb_cpus_add(&seen, d->l3_of[c]);
    return jb_cpus_count(&seen);
}

/* What an L3 group can hold at most; all are of one size on the machines simulated. */
static unsigned least_l3s(const struct day *d, unsigned cores)
{
    unsigned size = d->size_of[0] ? d->size_of[0] : 1;
    return (cores + size - 1) / size;
}

static bool feasible(const struct day *d, const struct job *j)
{
    unsigned room = 0;
    unsigned most = 0;
    for (unsigned g = 0; g < d->m->n_l3s; g++) {
        room += d->free_in[g];
        most = d->free_in[g] > most ? d->free_in[g] : most;
    }
    return j->strict ? most >= j->cores : room >= j->cores;
}

static void occupy(struct day *d, const struct jb_cpus *cores, int sign)
{
    for (unsigned c = 0; c < d->m->n_cores; c++) {
        if (!jb_cpus_has(cores, c))
            continue;
        d->free_in[d->l3_of[c]] -= (unsigned)sign;
        if (sign > 0)
            jb_cpus_add(&d->busy, c);
        else
            jb_cpus_del(&d->busy, c);
    }
}

static void day_init(const struct jb_machine *m, uint64_t seed, struct day *d)
{
    *d = (struct day){.m = m, .seed = seed * 2 + 1};
    for (size_t i = m->n_pus; i-- > 0;) {
        unsigned c = m->pus[i].core;
        d->l3_of[c] = m->pus[i].l3;
        d->numa_of[c] = m->pus[i].numa;
        d->first_pu[c] = (unsigned)i;
    }
    for (unsigned c = 0; c < m->n_cores; c++) {
        d->free_in[d->l3_of[c]]++;
        d->size_of[d->l3_of[c]]++;
    }
}

int simulate_day(const struct jb_machine *m, enum day_policy policy, unsigned n_jobs, uint64_t seed,
                 struct day_score *ret)
{
    struct day_score s = {.jobs = n_jobs};
    struct day *d = calloc(1, sizeof(*d));
    struct job *jobs = calloc(n_jobs, sizeof(*jobs));
    if (!d || !jobs) {
        free(d);
        free(jobs);
        return -ENOMEM;
    }
    day_init(m, seed, d);
    uint64_t stream = seed * 2654435761U + 1; /* jobs are the same for every policy */
    uint64_t clock = 0;
    double used = 0;
    size_t oldest = 0;
    for (unsigned i = 0; i < n_jobs; i++) {
        struct job *j = &jobs[i];
        draw_job(&stream, &clock, j);
        for (size_t k = oldest; k < i; k++)
            if (jobs[k].ends && jobs[k].ends <= clock) {
                occupy(d, &jobs[k].cores_held, -1);
                jobs[k].ends = 0;
            }
        while (oldest < i && !jobs[oldest].ends)
            oldest++;
        used += jb_cpus_count(&d->busy);
        struct jb_cpus cores = {0};
        bool could = feasible(d, j);
        if (m->n_cores - jb_cpus_count(&d->busy) >= j->cores)
            choose(d, policy, j, &cores);
        bool ok = jb_cpus_count(&cores) == j->cores && (!j->strict || l3s_used(d, &cores) == 1);
        if (!ok) {
            s.refused++;
            s.refused_feasible += could;
            j->ends = 0;
            continue;
        }
        j->cores_held = cores;
        s.placed++;
        s.straddling += l3s_used(d, &cores) > least_l3s(d, j->cores);
        occupy(d, &cores, 1);
    }
    s.mean_use = used / n_jobs / m->n_cores;
    free(d);
    free(jobs);
    *ret = s;
    return 0;
}
