/*
 * benchexec_rules.c - see the header. Own code: only the rules are BenchExec's.
 */
#include "benchexec_rules.h"

#include <stdlib.h>

struct bx {
    const struct jb_machine *m;
    bool by_numa;                  /* a unit is a NUMA node, else a package */
    unsigned unit_of[JB_CPUS_MAX]; /* by position in m->pus, dense */
    unsigned unit_size[JB_CPUS_MAX];
    unsigned n_units;
    unsigned siblings;         /* of every core */
    size_t order[JB_CPUS_MAX]; /* positions in kernel order */
    bool taken[JB_CPUS_MAX];
};

static unsigned raw_unit(const struct bx *b, size_t i)
{
    return b->by_numa ? b->m->pus[i].numa : b->m->pus[i].package;
}

/* Units numbered by first appearance in kernel order. */
static void number_units(struct bx *b)
{
    for (size_t k = 0; k < b->m->n_pus; k++) {
        size_t i = b->order[k];
        unsigned unit = b->n_units;
        for (size_t j = 0; j < k; j++)
            if (raw_unit(b, b->order[j]) == raw_unit(b, i))
                unit = b->unit_of[b->order[j]];
        b->n_units += unit == b->n_units;
        b->unit_of[i] = unit;
        b->unit_size[unit]++;
    }
}

static const char *read_machine(struct bx *b)
{
    struct jb_cpus nodes = {0};
    struct jb_cpus packages = {0};
    size_t n = b->m->n_pus;
    for (size_t i = 0; i < n; i++) {
        jb_cpus_add(&nodes, b->m->pus[i].numa);
        jb_cpus_add(&packages, b->m->pus[i].package);
        size_t at = i;
        for (; at > 0 && b->m->pus[b->order[at - 1]].os > b->m->pus[i].os; at--)
            b->order[at] = b->order[at - 1];
        b->order[at] = i;
    }
    b->by_numa = jb_cpus_count(&nodes) >= jb_cpus_count(&packages);
    number_units(b);
    for (unsigned u = 1; u < b->n_units; u++)
        if (b->unit_size[u] != b->unit_size[0])
            return "units of different size";
    if (b->m->n_siblings)
        return "a sibling is not allowed";
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && b->m->pus[j].core == b->m->pus[i].core)
            j++;
        if (b->siblings && b->siblings != j - i)
            return "cores with different numbers of siblings";
        b->siblings = (unsigned)(j - i);
        i = j;
    }
    return NULL;
}

/* Takes PU `i` and all its siblings; those wanted go to the run, the others are blocked when `block`. */
static unsigned take_core(struct bx *b, size_t i, unsigned wanted, bool block, struct jb_cpus *run)
{
    unsigned got = 0;
    for (size_t k = 0; k < b->m->n_pus; k++) {
        size_t j = b->order[k];
        if (b->m->pus[j].core != b->m->pus[i].core || b->taken[j])
            continue;
        if (got < wanted) {
            jb_cpus_add(run, b->m->pus[j].os);
            b->taken[j] = true;
            got++;
        } else if (block) {
            b->taken[j] = true;
        }
    }
    return got;
}

static bool fill_run(struct bx *b, unsigned first_unit, unsigned units, unsigned wanted, bool block,
                     struct jb_cpus *run)
{
    for (unsigned u = 0; u < units; u++)
        for (size_t k = 0; wanted > 0 && k < b->m->n_pus; k++) {
            size_t i = b->order[k];
            if (b->unit_of[i] == (first_unit + u) % b->n_units && !b->taken[i])
                wanted -= take_core(b, i, wanted, block, run);
        }
    return wanted == 0;
}

static const char *assign(struct bx *b, unsigned cpus, unsigned n_runs, struct bx_answer *ret)
{
    const char *refused = read_machine(b);
    if (refused)
        return refused;
    if ((uint64_t)cpus * n_runs > b->m->n_pus)
        return "more than exist";
    if (b->siblings == 0 || b->n_units == 0 || b->unit_size[0] == 0)
        return "no CPUs";
    unsigned rounded = (cpus + b->siblings - 1) / b->siblings * b->siblings;
    unsigned size = b->unit_size[0];
    unsigned units_per_run = (rounded + size - 1) / size;
    unsigned runs_per_unit = (n_runs + b->n_units - 1) / b->n_units;
    if (units_per_run > 1 && units_per_run * n_runs > b->n_units)
        return "a run spans units that others use";
    bool block = units_per_run > 1 ? rounded <= units_per_run * size : rounded * runs_per_unit <= size;
    if (units_per_run == 1 && (uint64_t)cpus * runs_per_unit > size)
        return "too many for the runs that share a unit";
    ret->siblings_split = !block;
    for (unsigned r = 0; r < n_runs; r++)
        if (!fill_run(b, r * units_per_run % b->n_units, units_per_run, cpus, block, &ret->runs[r]))
            return "a unit is used up";
    return NULL;
}

void bx_assign(const struct jb_machine *machine, unsigned cpus_per_run, unsigned n_runs,
               struct bx_answer *ret)
{
    *ret = (struct bx_answer){.refused = "out of memory"};
    struct bx *b = calloc(1, sizeof(*b));
    ret->runs = calloc(n_runs ? n_runs : 1, sizeof(*ret->runs));
    if (b && ret->runs) {
        b->m = machine;
        ret->refused = assign(b, cpus_per_run, n_runs, ret);
    }
    free(b);
}

void bx_free(struct bx_answer *answer)
{
    free(answer->runs);
    *answer = (struct bx_answer){0};
}
