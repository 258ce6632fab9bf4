/*
 * place_cases.h - machines, random requests and random ledgers for the tests of placement, and the oracle.
 */
#ifndef JB_TESTS_PLACE_CASES_H
#define JB_TESTS_PLACE_CASES_H

#include "machine/place.h"

/* How a case changes a synthetic machine, which cannot say these things itself. */
enum case_twist {
    TWIST_NONE,
    TWIST_TWO_KINDS,   /* the first half of the L3 groups (or cores) is fast */
    TWIST_THREE_KINDS, /* and the last core slower still */
    TWIST_HOLES,       /* some PUs are not allowed */
};

struct place_case {
    const char *synthetic;
    enum case_twist twist;
};
extern const struct place_case small_cases[]; /* up to 16 PUs; ends with a NULL */
extern const struct place_case large_cases[];

void case_load(const struct place_case *c, struct jb_machine *ret);

/* Repeatable numbers. */
uint64_t case_random(uint64_t *seed, uint64_t below);

void case_request(uint64_t *seed, const struct jb_machine *m, struct jb_request *ret);
/* Boxes on part of the machine, as jobbox itself would have granted them, and some others. */
void case_ledger(uint64_t *seed, const struct jb_machine *m, unsigned boxes, struct jb_ledger *ret);
void case_holding(const struct jb_grant *grant, unsigned number, struct jb_holding *ret);

/* The answer by trying everything. */
struct oracle {
    bool feasible;
    bool mixed; /* no single kind would do */
    int kind;   /* the kind used, when not mixed */
    unsigned
        cost[8]; /* of the best: sharing, groups in order of importance, cores, left over in cores, L3s ... */
};
void oracle_answer(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                   struct oracle *ret);
/* The same cost of a given answer. */
void oracle_cost(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                 const struct jb_grant *g, unsigned cost[8]);

#endif
