/*
 * explain.h - why a request gets the cores it gets, or what stands in its way.
 *
 * Owns: the lists of a struct jb_explanation. Runs in: the client. Privilege: none. Pure: it asks jb_place, with the
 * request as it is and with one thing changed at a time.
 */
#ifndef JB_MACHINE_EXPLAIN_H
#define JB_MACHINE_EXPLAIN_H

#include "machine/ledger.h"
#include "machine/machine.h"
#include "machine/place.h"

/* An L3 group, the smallest set of cores that locality knows. */
struct jb_explain_group {
    unsigned l3, node, package; /* node by OS index */
    unsigned total;             /* units of the request's kind that an empty machine has here */
    unsigned free;              /* those that this request may take */
    unsigned taken;             /* those that it would take */
};

/* The request with one thing changed: it would start now, or, if not, on the machine once it is empty. */
struct jb_alternative {
    char change[64]; /* as in a spec: "cpus: 3", "strict: false" */
    bool now;
    struct jb_cpus cpus; /* that it would get */
};
#define JB_ALTERNATIVES_MAX 8

struct jb_explanation {
    int verdict;            /* 0: it would start now; -EBUSY, -ERANGE, -EINVAL as jb_place says */
    struct jb_grant grant;  /* when verdict is 0 */
    struct jb_error reason; /* when it is not */
    struct jb_explain_group *groups;
    size_t n_groups;
    struct jb_alternative alternatives[JB_ALTERNATIVES_MAX]; /* when verdict is not 0 */
    size_t n_alternatives;
    size_t *enough; /* boxes, as indexes into the ledger: the end of any one of them lets it start */
    size_t n_enough;
    bool looked; /* `enough` was worked out: not with more boxes than JB_EXPLAIN_BOXES */
};
#define JB_EXPLAIN_BOXES 512

/* Fails only when out of memory: a request that does not fit is an answer. */
int jb_explain(const struct jb_machine *machine, const struct jb_ledger *ledger,
               const struct jb_request *request, struct jb_explanation *ret, struct jb_error *err);
void jb_explanation_free(struct jb_explanation *explanation);
#define jb_autoexplanation __attribute__((cleanup(jb_explanation_free)))

#endif
