/*
 * nodes.c - which NUMA nodes a job's memory comes from, and whether they have it.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "machine/attempt.h"

#define NODES_EXACT 8 /* up to so many nodes all 255 sets of them are tried for memory */

/* A usable node in place of one that is not: of the same package if there is one, else the first with CPUs.
 */
static const struct jb_numa *stand_in(const struct jb_machine *m, unsigned package)
{
    const struct jb_numa *best = NULL;
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_numa *node = &m->nodes[m->pus[i].numa];
        if (node->usable && m->pus[i].package == package)
            return node;
        if (node->usable && !best)
            best = node;
    }
    for (size_t v = 0; v < m->n_nodes && !best; v++)
        if (m->nodes[v].usable)
            best = &m->nodes[v];
    return best;
}

/* Nodes local to the PUs; where memory of a local node may not be used (or there is none), the next best one.
 */
struct jb_cpus jb_local_mems(const struct jb_machine *m, const struct jb_cpus *cpus)
{
    struct jb_cpus mems = {0};
    for (size_t i = 0; i < m->n_pus; i++) {
        if (!jb_cpus_has(cpus, m->pus[i].os))
            continue;
        const struct jb_numa *node = &m->nodes[m->pus[i].numa];
        if (!node->usable)
            node = stand_in(m, m->pus[i].package);
        if (node)
            jb_cpus_add(&mems, node->os);
    }
    return mems;
}

/* Adds nodes until the memory fits: those of the same packages, then others with CPUs, then the rest. */
bool jb_attempt_widen(struct jb_attempt *a, const struct jb_cpus *cpus, struct jb_cpus *mems)
{
    const struct jb_machine *m = a->machine;
    struct jb_cpus packages = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(cpus, m->pus[i].os))
            jb_cpus_add(&packages, m->pus[i].package);
    struct jb_cpus near = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(&packages, m->pus[i].package))
            jb_cpus_add(&near, m->nodes[m->pus[i].numa].os);
    for (int round = 0; round < 3; round++)
        for (size_t v = 0; v < m->n_nodes; v++) {
            const struct jb_numa *node = &m->nodes[v];
            bool turn =
                round == 2 || (round == 1 ? !jb_cpus_empty(&node->cpus) : jb_cpus_has(&near, node->os));
            if (jb_capacity_of(&a->capacity, mems, a->request->memory) >= a->request->memory)
                return true;
            if (node->usable && turn)
                jb_cpus_add(mems, node->os);
        }
    return jb_capacity_of(&a->capacity, mems, a->request->memory) >= a->request->memory;
}

static bool memory_fits(struct jb_attempt *a)
{
    struct jb_cpus cpus = jb_attempt_pus(a);
    struct jb_cpus mems = jb_local_mems(a->machine, &cpus);
    return jb_capacity_of(&a->capacity, &mems, a->request->memory) >= a->request->memory;
}

/* Takes the cores of nodes that would not do out of the choice. Returns the units left. */
static unsigned drop_nodes(struct jb_attempt *a, const struct jb_cpus *nodes)
{
    unsigned sum = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        if (jb_cpus_has(nodes, a->cores[c].group[JB_LEVEL_NUMA]))
            a->cores[c].free = 0;
        sum += a->cores[c].free;
    }
    return sum;
}

static uint64_t capacity_of_node(struct jb_attempt *a, size_t v)
{
    struct jb_cpus one = {0};
    jb_cpus_add(&one, a->machine->nodes[v].os);
    return jb_capacity_of(&a->capacity, &one, a->request->memory);
}

/* The touched node with the least memory free, by index. */
static size_t poorest(struct jb_attempt *a)
{
    size_t worst = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        if (!a->cores[c].take)
            continue;
        uint64_t room = capacity_of_node(a, a->cores[c].group[JB_LEVEL_NUMA]);
        if (room < least) {
            least = room;
            worst = a->cores[c].group[JB_LEVEL_NUMA];
        }
    }
    return worst;
}

/* Keeps the takes of the first answer while another one is sought. */
static unsigned *save_takes(const struct jb_attempt *a)
{
    unsigned *takes = calloc(a->machine->n_cores, sizeof(*takes));
    for (unsigned c = 0; takes && c < a->machine->n_cores; c++)
        takes[c] = a->cores[c].take;
    return takes;
}

static void restore_takes(struct jb_attempt *a, const unsigned *takes)
{
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        a->cores[c].take = takes[c];
}

/* Nodes (by index) with a core that is free; at most `max`, else 0 is returned. */
static unsigned list_nodes(const struct jb_attempt *a, unsigned max, unsigned *ret)
{
    struct jb_cpus seen = {0};
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (a->cores[c].free)
            jb_cpus_add(&seen, a->cores[c].group[JB_LEVEL_NUMA]);
    unsigned n = 0;
    for (int v = jb_cpus_next(&seen, 0); v >= 0; v = jb_cpus_next(&seen, (unsigned)v + 1)) {
        if (n == max)
            return 0;
        ret[n++] = (unsigned)v;
    }
    return n;
}

/* Solves with exactly the nodes in `only` when they have the memory. */
static int solve_on(struct jb_attempt *a, const struct jb_cpus *only, jb_cost *ret_cost)
{
    struct jb_cpus mems = {0};
    struct jb_cpus others = {0};
    for (size_t v = 0; v < a->machine->n_nodes; v++)
        if (jb_cpus_has(only, (unsigned)v))
            jb_cpus_add(&mems, a->machine->nodes[v].os);
        else
            jb_cpus_add(&others, (unsigned)v);
    if (jb_capacity_of(&a->capacity, &mems, a->request->memory) < a->request->memory)
        return -ENOSPC;
    (void)jb_attempt_count(a);
    if (drop_nodes(a, &others) < a->request->cpus)
        return -ENOSPC;
    int r = jb_attempt_solve(a, only, ret_cost);
    return r == 0 && (!jb_attempt_close(a) || !memory_fits(a)) ? -ENOSPC : r;
}

/* Few nodes: every set of them is tried, so the answer is the best there is. */
static int solve_exactly(struct jb_attempt *a, const unsigned *nodes, unsigned n)
{
    jb_autofree unsigned *best = NULL;
    jb_cost least = 0;
    for (unsigned set = 1; set < 1U << n; set++) {
        struct jb_cpus only = {0};
        jb_cost cost = 0;
        if ((unsigned)__builtin_popcount(set) > a->request->cpus)
            continue;
        for (unsigned i = 0; i < n; i++)
            if (set >> i & 1)
                jb_cpus_add(&only, nodes[i]);
        int r = solve_on(a, &only, &cost);
        if (r == -ENOMEM)
            return r;
        if (r < 0 || (best && cost >= least))
            continue;
        free(best);
        best = save_takes(a);
        if (!best)
            return -ENOMEM;
        least = cost;
    }
    (void)jb_attempt_count(a);
    if (!best)
        return -ENOSPC;
    restore_takes(a, best);
    return 0;
}

/* Many nodes: those that each have enough memory first, then leaving out the poorest node of each answer. */
static int solve_greedily(struct jb_attempt *a)
{
    struct jb_cpus poor = {0};
    for (size_t v = 0; v < a->machine->n_nodes; v++)
        if (capacity_of_node(a, v) < a->request->memory)
            jb_cpus_add(&poor, (unsigned)v);
    if (drop_nodes(a, &poor) >= a->request->cpus) {
        int r = jb_attempt_solve(a, NULL, NULL);
        if (r < 0 || jb_attempt_close(a))
            return r;
    }
    (void)jb_attempt_count(a);
    struct jb_cpus left_out = {0};
    while (drop_nodes(a, &left_out) >= a->request->cpus) {
        int r = jb_attempt_solve(a, NULL, NULL);
        if (r < 0)
            return r;
        if (!jb_attempt_close(a))
            return -ENOSPC;
        if (memory_fits(a))
            return 0;
        jb_cpus_add(&left_out, (unsigned)poorest(a));
    }
    return -ENOSPC;
}

/* Other cores, whose nodes have the memory. 0 when found, -ENOSPC when not. */
static int solve_for_memory(struct jb_attempt *a)
{
    unsigned nodes[NODES_EXACT];
    unsigned n = list_nodes(a, NODES_EXACT, nodes);
    return n ? solve_exactly(a, nodes, n) : solve_greedily(a);
}

/*
 * Memory for an answer that was found without looking at it. Cores together come first, memory next to them
 * second: another place is taken only when it spans no more packages and NUMA nodes; else the job keeps its
 * cores and its memory reaches over to further nodes. Strict locality means the memory too.
 */
int jb_attempt_memory(struct jb_attempt *a, struct jb_verdict *v)
{
    a->remote = false;
    if (!jb_attempt_wants_memory(a) || memory_fits(a))
        return 0;
    jb_autofree unsigned *takes = save_takes(a);
    if (!takes)
        return -ENOMEM;
    struct jb_cpus cpus = jb_attempt_pus(a);
    struct jb_cpus mems = jb_local_mems(a->machine, &cpus);
    uint64_t local = jb_capacity_of(&a->capacity, &mems, a->request->memory);
    unsigned packages = jb_attempt_touched(a, JB_LEVEL_PACKAGE);
    unsigned nodes = jb_attempt_touched(a, JB_LEVEL_NUMA);
    int r = solve_for_memory(a);
    if (r == -ENOMEM)
        return r;
    if (r == 0 && (jb_attempt_strict(a) || (jb_attempt_touched(a, JB_LEVEL_PACKAGE) <= packages &&
                                            jb_attempt_touched(a, JB_LEVEL_NUMA) <= nodes && memory_fits(a))))
        return 0;
    restore_takes(a, takes);
    if (!jb_attempt_strict(a) && jb_attempt_widen(a, &cpus, &mems)) {
        a->wide = mems;
        a->remote = true;
        return 0;
    }
    v->why = JB_REFUSAL_MEMORY;
    v->memory = jb_attempt_strict(a) ? local : jb_capacity_of(&a->capacity, &mems, a->request->memory);
    return -ENOSPC;
}
