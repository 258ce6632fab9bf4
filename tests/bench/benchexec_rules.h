/*
 * benchexec_rules.h - how BenchExec assigns CPUs to runs, after its published rules; to be compared with.
 *
 * Pure functions of a machine. BenchExec assigns all runs of a batch at once and counts hardware threads.
 */
#ifndef JB_TESTS_BENCHEXEC_RULES_H
#define JB_TESTS_BENCHEXEC_RULES_H

#include "machine/machine.h"

struct bx_answer {
    const char *refused;  /* why not; NULL: `runs` is the answer */
    struct jb_cpus *runs; /* one set per run; release with bx_free */
    bool siblings_split;  /* whole cores did not fit: hyper-threads of one core went to different runs */
};

void bx_assign(const struct jb_machine *machine, unsigned cpus_per_run, unsigned n_runs,
               struct bx_answer *ret);
void bx_free(struct bx_answer *answer);

#endif
