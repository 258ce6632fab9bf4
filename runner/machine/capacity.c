/*
 * capacity.c - promises of memory as a flow from holdings to nodes.
 *
 * Owns: nothing beyond a struct jb_capacity. Runs in: the client. Privilege: none.
 */
#include "machine/capacity.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "machine/slots.h"

static uint64_t *flow_of(const struct jb_capacity *c, size_t demand, size_t node)
{
    return &c->flow[demand * c->machine->n_nodes + node];
}

/*
 * Frees up to `wanted` bytes on one of `mems` by moving a shared promise elsewhere, over as many hops as it
 * takes: breadth first from nodes with room back to the wanted ones. Returns the bytes freed, 0 when nothing
 * can move.
 */
struct hop {
    size_t to;     /* node the promise moves to */
    size_t demand; /* the promise */
};

static uint64_t shift(struct jb_capacity *c, const struct jb_cpus *mems, uint64_t wanted, struct hop *via,
                      size_t *queue)
{
    size_t n = c->machine->n_nodes;
    size_t head = 0;
    size_t tail = 0;
    for (size_t v = 0; v < n; v++) {
        bool wants = jb_cpus_has(mems, c->machine->nodes[v].os);
        via[v] = (struct hop){.to = SIZE_MAX};
        if (c->free[v] > 0 && !wants) {
            via[v].to = v;
            queue[tail++] = v;
        }
    }
    while (head < tail) {
        size_t v = queue[head++];
        for (size_t d = 0; d < c->n_shared; d++) {
            if (!jb_cpus_has(&c->shared_mems[d], c->machine->nodes[v].os))
                continue;
            for (size_t u = 0; u < n; u++) {
                if (via[u].to != SIZE_MAX || *flow_of(c, d, u) == 0)
                    continue;
                via[u] = (struct hop){.to = v, .demand = d};
                if (!jb_cpus_has(mems, c->machine->nodes[u].os)) {
                    queue[tail++] = u;
                    continue;
                }
                uint64_t bytes = wanted;
                size_t at = u;
                for (; via[at].to != at; at = via[at].to)
                    if (*flow_of(c, via[at].demand, at) < bytes)
                        bytes = *flow_of(c, via[at].demand, at);
                bytes = c->free[at] < bytes ? c->free[at] : bytes;
                c->free[at] -= bytes;
                for (at = u; via[at].to != at; at = via[at].to) {
                    *flow_of(c, via[at].demand, at) -= bytes;
                    *flow_of(c, via[at].demand, via[at].to) += bytes;
                }
                c->free[u] += bytes;
                return bytes;
            }
        }
    }
    return 0;
}

static uint64_t free_on(const struct jb_capacity *c, const struct jb_cpus *mems)
{
    uint64_t sum = 0;
    for (size_t v = 0; v < c->machine->n_nodes; v++)
        if (jb_cpus_has(mems, c->machine->nodes[v].os))
            sum += c->free[v];
    return sum;
}

uint64_t jb_capacity_of(struct jb_capacity *c, const struct jb_cpus *mems, uint64_t wanted)
{
    if (!c->known)
        return UINT64_MAX;
    uint64_t sum = free_on(c, mems);
    if (sum >= wanted || c->n_shared == 0)
        return sum;
    size_t n = c->machine->n_nodes;
    jb_autofree struct hop *via = calloc(n, sizeof(*via));
    jb_autofree size_t *queue = calloc(n, sizeof(*queue));
    if (!via || !queue)
        return sum; /* out of memory: the cautious answer */
    for (uint64_t more = 1; more && sum < wanted; sum += more)
        more = shift(c, mems, wanted - sum, via, queue);
    return sum;
}

static void promise_single(struct jb_capacity *c, unsigned os, uint64_t bytes)
{
    for (size_t v = 0; v < c->machine->n_nodes; v++)
        if (c->machine->nodes[v].os == os)
            c->free[v] -= bytes < c->free[v] ? bytes : c->free[v];
}

/* Lays a promise over several nodes out, moving others where that helps. */
static void promise_shared(struct jb_capacity *c, const struct jb_cpus *mems, uint64_t bytes)
{
    size_t d = c->n_shared;
    for (size_t i = 0; i < c->n_shared; i++)
        if (jb_cpus_equal(&c->shared_mems[i], mems))
            d = i;
    (void)jb_capacity_of(c, mems, bytes);
    if (d == c->n_shared)
        c->shared_mems[c->n_shared++] = *mems;
    for (size_t v = 0; v < c->machine->n_nodes && bytes > 0; v++) {
        if (!jb_cpus_has(mems, c->machine->nodes[v].os))
            continue;
        uint64_t take = c->free[v] < bytes ? c->free[v] : bytes;
        c->free[v] -= take;
        *flow_of(c, d, v) += take;
        bytes -= take;
    }
}

/* The node of the i-th box's promise when it is one alone; -1 for several, -2 when nothing is promised. */
static int promised_on(const struct jb_ledger *ledger, size_t i, struct jb_holding *ret)
{
    const struct jb_slot *slot = &ledger->items[i];
    if (slot->memory == JB_UNSET)
        return -2;
    int only = jb_slot_wide(slot) ? -1 : jb_slot_only(slot, 2);
    if (only >= 0)
        return only;
    jb_ledger_get(ledger, i, ret);
    int first = jb_cpus_next(&ret->mems, 0);
    return first < 0 ? -2 : jb_cpus_next(&ret->mems, (unsigned)first + 1) < 0 ? first : -1;
}

static int promise_all(struct jb_capacity *c, const struct jb_ledger *ledger)
{
    struct jb_holding h;
    size_t n_shared = 0;
    for (size_t i = 0; i < ledger->len; i++) {
        int node = promised_on(ledger, i, &h);
        if (node >= 0)
            promise_single(c, (unsigned)node, ledger->items[i].memory);
        n_shared += node == -1;
    }
    if (n_shared == 0 || c->machine->n_nodes == 0)
        return 0;
    c->flow = calloc(n_shared * c->machine->n_nodes, sizeof(*c->flow));
    c->shared_mems = calloc(n_shared, sizeof(*c->shared_mems));
    if (!c->flow || !c->shared_mems)
        return -ENOMEM;
    for (size_t i = 0; i < ledger->len; i++)
        if (promised_on(ledger, i, &h) == -1)
            promise_shared(c, &h.mems, h.memory);
    return 0;
}

int jb_capacity_init(const struct jb_machine *machine, const struct jb_ledger *ledger,
                     struct jb_capacity *ret)
{
    struct jb_capacity c = {.machine = machine, .known = machine->memory > 0};
    c.free = calloc(machine->n_nodes ? machine->n_nodes : 1, sizeof(*c.free));
    if (!c.free)
        return -ENOMEM;
    for (size_t v = 0; v < machine->n_nodes; v++)
        c.free[v] = machine->nodes[v].usable ? machine->nodes[v].memory : 0;
    int r = ledger && c.known ? promise_all(&c, ledger) : 0;
    if (r < 0) {
        jb_capacity_free(&c);
        return r;
    }
    *ret = c;
    return 0;
}

void jb_capacity_free(struct jb_capacity *capacity)
{
    free(capacity->free);
    free(capacity->flow);
    free(capacity->shared_mems);
    *capacity = (struct jb_capacity){0};
}
