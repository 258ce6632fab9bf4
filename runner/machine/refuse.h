/*
 * refuse.h - saying no in one useful line: what binds, who holds it, what would fit.
 *
 * Owns: nothing. Runs in: the client. Privilege: none. Internal to machine/.
 */
#ifndef JB_MACHINE_REFUSE_H
#define JB_MACHINE_REFUSE_H

#include "base/str.h"
#include "machine/ledger.h"
#include "machine/machine.h"
#include "machine/place.h"

/* Why a try to place came to nothing. */
enum jb_refusal {
    JB_REFUSAL_NONE,
    JB_REFUSAL_COUNT,    /* fewer than wanted are there */
    JB_REFUSAL_LOCALITY, /* enough, but not close enough together */
    JB_REFUSAL_MEMORY,
};

struct jb_verdict {
    enum jb_refusal why;
    unsigned available; /* units that could be had, locality and memory aside */
    uint64_t memory;    /* bytes that could be had, with the CPUs wanted */
    unsigned local;     /* units that could be had within the locality wished; 0: not worked out */
};

/* -ERANGE: what the empty machine says. */
int jb_refuse_never(const struct jb_machine *machine, const struct jb_request *request,
                    const struct jb_verdict *verdict, struct jb_error *err);

/* -EBUSY: what the machine says as it is held now. */
int jb_refuse_now(const struct jb_machine *machine, const struct jb_ledger *ledger,
                  const struct jb_request *request, const struct jb_verdict *verdict, struct jb_error *err);

/* "01JCX2Q8V4ZK (build, uid 1000) 0-3; ...", lowest id first: who holds any of `cpus`, or, when `cpus` is
 * NULL, has memory promised. "nobody" when no one does. */
int jb_refuse_holders(const struct jb_ledger *ledger, const struct jb_cpus *cpus, struct jb_buf *ret);

/* "2 performance cores", "1 thread". Returns buf. */
char *jb_refuse_units(const struct jb_request *request, uint64_t n, char *buf, size_t len);

#endif
