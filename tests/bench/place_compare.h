/*
 * place_compare.h - jobbox's placement beside other ways to choose cores: batches, and a simulated day.
 */
#ifndef JB_TESTS_PLACE_COMPARE_H
#define JB_TESTS_PLACE_COMPARE_H

#include "machine/machine.h"

/* Every batch of equal runs that a machine could take, BenchExec's rules beside jobbox. */
struct batch_score {
    unsigned requests;          /* (CPUs per run, number of runs) tried */
    unsigned bx_refuses;        /* of these, and jobbox places them all */
    unsigned we_refuse;         /* BenchExec's rules answer and jobbox does not */
    unsigned long runs;         /* runs of the batches that both answer */
    unsigned long bx_straddles; /* of them in more L3 groups than they need */
    unsigned long we_straddle;
    unsigned worse;      /* batches in which more of ours straddle */
    bool bx_refuses_one; /* even a single run of one CPU */
};
/* `only_within_l3`: runs no larger than the largest L3 group. */
int compare_batches(const struct jb_machine *machine, bool only_within_l3, struct batch_score *ret);

enum day_policy { DAY_JOBBOX, DAY_FIRST_FIT, DAY_BEST_FIT, DAY_BENCHEXEC_ORDER, DAY_RANDOM, DAY_MAX };
const char *day_policy_name(enum day_policy policy);

struct day_score {
    unsigned jobs, placed, straddling;
    unsigned refused;          /* not placed */
    unsigned refused_feasible; /* though the machine, as this policy had left it, could have taken it */
    double mean_use;           /* share of cores busy */
};
/* Random jobs come and go; some insist on one L3 group. A job that finds no place is turned away. */
int simulate_day(const struct jb_machine *machine, enum day_policy policy, unsigned n_jobs, uint64_t seed,
                 struct day_score *ret);

#endif
