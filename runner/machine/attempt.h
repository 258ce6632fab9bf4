/*
 * attempt.h - one attempt to place a request; shared by the files of placement.
 *
 * Owns: the arrays of a struct jb_attempt. Runs in: the client. Privilege: none. Internal to machine/.
 */
#ifndef JB_MACHINE_ATTEMPT_H
#define JB_MACHINE_ATTEMPT_H

#include <stdbool.h>

#include "machine/capacity.h"
#include "machine/place.h"
#include "machine/refuse.h"
#include "machine/solve.h"

struct jb_attempt {
    const struct jb_machine *machine;
    const struct jb_ledger *ledger;
    const struct jb_request *request;
    struct jb_cpus blocked; /* PUs that may not be taken: held by others, or used when we want them alone */
    struct jb_place_core *cores; /* n_cores */
    unsigned *load; /* per PU of the machine: non-exclusive boxes on it; NULL when of no interest */
    struct jb_capacity capacity;
    struct jb_cpus wide; /* memory nodes beyond the local ones */
    bool remote;         /* `wide` is in use */
    int lowest, highest; /* kinds that came into question at last */
};

/* `ledger` NULL: nobody holds anything. */
int jb_attempt_init(const struct jb_machine *machine, const struct jb_ledger *ledger,
                    const struct jb_request *request, struct jb_attempt *ret);
void jb_attempt_free(struct jb_attempt *a);

bool jb_attempt_whole(const struct jb_attempt *a);        /* units are whole cores */
bool jb_attempt_wants_memory(const struct jb_attempt *a); /* memory is asked for and can be checked */
bool jb_attempt_strict(const struct jb_attempt *a);
enum jb_level jb_attempt_level(enum jb_locality locality);

/* Fills total, free and load of the cores whose kind is in question (lowest to highest). Returns the free
 * units. */
unsigned jb_attempt_count(struct jb_attempt *a);
/* Chooses: `take` of the cores, touching all of the nodes `must` (by index; NULL: none). -ENOSPC when it cannot be. */
int jb_attempt_solve(struct jb_attempt *a, const struct jb_cpus *must, jb_cost *ret_cost);

/* Of what `take` says: how many groups of a level, the PUs, what others may not have. */
unsigned jb_attempt_touched(const struct jb_attempt *a, enum jb_level level);
struct jb_cpus jb_attempt_pus(const struct jb_attempt *a);
struct jb_cpus jb_attempt_held(const struct jb_attempt *a, const struct jb_cpus *cpus);
/* The fewest groups of a level that k units need on the empty machine. */
unsigned jb_attempt_need(const struct jb_attempt *a, enum jb_level level, uint64_t k);
/* What was chosen is as close together as strict locality wants. */
bool jb_attempt_close(const struct jb_attempt *a);

/* ANY when the PUs are of several kinds, or the machine has one only. */
enum jb_cpu_kind jb_kind_of(const struct jb_machine *machine, const struct jb_cpus *cpus);

/* The nodes local to PUs, by OS index. */
struct jb_cpus jb_local_mems(const struct jb_machine *machine, const struct jb_cpus *cpus);
/* Adds further nodes, the nearest first, until the wanted memory fits; false when it never does. */
bool jb_attempt_widen(struct jb_attempt *a, const struct jb_cpus *cpus, struct jb_cpus *mems);
/* Sees to it that the choice has its memory, changing it if need be. -ENOSPC: `v` says what is missing. */
int jb_attempt_memory(struct jb_attempt *a, struct jb_verdict *v);

void jb_attempt_grant(const struct jb_attempt *a, const struct jb_cpus *cpus, struct jb_grant *ret);

/* jb_place for requests with cpu_set_said. */
int jb_place_set(const struct jb_machine *machine, const struct jb_ledger *ledger,
                 const struct jb_request *request, struct jb_grant *ret, struct jb_error *err);

#endif
