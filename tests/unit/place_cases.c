/*
 * place_cases.c - see the header. The oracle shares no code with the allocator: it walks all subsets.
 */
#include "support.h"

#include "place_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

const struct place_case small_cases[] = {
    {"pack:1 core:1 pu:1", TWIST_NONE},
    {"pack:2 [numa(memory=8GB)] l3:2 core:2 pu:2", TWIST_NONE},
    {"pack:2 [numa(memory=8GB)] l3:2 core:2 pu:2", TWIST_HOLES},
    {"pack:1 [numa(memory=8GB)] l3:1 core:8 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)", TWIST_NONE},
    {"pack:4 [numa(memory=4GB)] core:4 pu:1", TWIST_HOLES},
    {"pack:8 [numa(memory=1GB)] core:1 pu:2", TWIST_NONE},
    {"numa:2(memory=8GB) pack:2 l3:2 core:2 pu:1", TWIST_NONE},
    {"numa:2(memory=8GB) pack:2 l3:2 core:2 pu:1", TWIST_HOLES},
    {"pack:2 l3:1 numa:2(memory=2GB) core:4 pu:1", TWIST_HOLES},
    {"pack:2 l3:2 [numa(memory=2GB)] core:4 pu:1", TWIST_NONE},
    {"pack:2 l3:2 [numa(memory=2GB)] core:4 pu:1", TWIST_HOLES},
    {"pack:1 l2:4 core:2 pu:2", TWIST_NONE},
    {"pack:1 [numa(memory=8GB)] core:4 pu:4", TWIST_HOLES},
    {"pack:1 [numa(memory=8GB)] l3:4 core:2 pu:2", TWIST_TWO_KINDS},
    {"pack:2 [numa(memory=8GB)] l3:2 core:4 pu:1", TWIST_THREE_KINDS},
    {"pack:1 [numa(memory=8GB)] l3:4 core:4 pu:1", TWIST_HOLES},
    {NULL, TWIST_NONE},
};

const struct place_case large_cases[] = {
    {"pack:2 [numa(memory=384GB)] l3:12 core:8 pu:2", TWIST_NONE},
    {"pack:2 [numa(memory=384GB)] l3:12 core:8 pu:2", TWIST_HOLES},
    {"pack:8 [numa(memory=64GB)] l3:2 core:8 pu:2", TWIST_NONE},
    {"pack:2 l3:8 [numa(memory=16GB)] core:4 pu:2", TWIST_HOLES},
    {"pack:1 [numa(memory=64GB)] core:64 pu:4", TWIST_NONE},
    {"pack:2 l3:1 numa:4(memory=32GB) core:14 pu:2", TWIST_HOLES},
    {"pack:1 [numa(memory=64GB)] l3:6 core:4 pu:2", TWIST_THREE_KINDS},
    {"numa:4(memory=16GB) pack:2 l3:2 core:6 pu:1", TWIST_NONE},
    {NULL, TWIST_NONE},
};

static void give_kinds(struct jb_machine *m, enum case_twist twist)
{
    unsigned groups = m->n_l3s > 1 ? m->n_l3s : m->n_cores;
    m->n_kinds = twist == TWIST_THREE_KINDS ? 3 : 2;
    for (size_t i = 0; i < m->n_pus; i++) {
        unsigned at = m->n_l3s > 1 ? m->pus[i].l3 : m->pus[i].core;
        bool last = m->pus[i].core == m->n_cores - 1;
        m->pus[i].kind = at < groups / 2 ? (int)m->n_kinds - 1 : twist == TWIST_THREE_KINDS && !last ? 1 : 0;
    }
}

void case_load(const struct place_case *c, struct jb_machine *ret)
{
    struct jb_error err = {0};
    struct jb_machine_source s = {.synthetic = c->synthetic, .cache_dirfd = -1};
    struct jb_cpus some = {0};
    for (unsigned i = 0; i < JB_CPUS_MAX; i++)
        if (i % 7 != 3 && i % 11 != 10)
            jb_cpus_add(&some, i);
    if (c->twist == TWIST_HOLES)
        s.allowed_cpus = &some;
    int r = jb_machine_load(&s, ret, &err);
    if (r < 0)
        fail_msg("%s: %s", c->synthetic, err.text);
    if (c->twist == TWIST_TWO_KINDS || c->twist == TWIST_THREE_KINDS)
        give_kinds(ret, c->twist);
}

uint64_t case_random(uint64_t *seed, uint64_t below)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *seed;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

void case_request(uint64_t *seed, const struct jb_machine *m, struct jb_request *ret)
{
    bool thread = case_random(seed, 2);
    uint64_t units = thread ? m->n_pus : m->n_cores;
    struct jb_request q = {.memory = JB_UNSET};
    q.unit = thread ? JB_CPU_UNIT_THREAD : JB_CPU_UNIT_CORE;
    q.cpus = 1 + case_random(seed, case_random(seed, 2) ? units + 1 : (units + 3) / 4);
    q.locality = (enum jb_locality)case_random(seed, JB_LOCALITY_MAX);
    q.strict = case_random(seed, 3) == 0;
    q.exclusive = case_random(seed, 4) != 0;
    if (case_random(seed, 3) == 0)
        q.kind = (enum jb_cpu_kind)case_random(seed, JB_CPU_KIND_MAX);
    if (m->memory && case_random(seed, 3) == 0)
        q.memory = 1 + case_random(seed, m->memory / (case_random(seed, 2) ? 1 : m->n_nodes) * 11 / 10);
    *ret = q;
}

void case_holding(const struct jb_grant *grant, unsigned number, struct jb_holding *ret)
{
    struct jb_holding h = {.uid = 1000 + number % 3, .exclusive = grant->exclusive, .memory = grant->memory};
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFFQ69G%04u", number % 10000);
    (void)snprintf(h.name, sizeof(h.name), "job%u", number);
    h.cpus = grant->cpus;
    h.held = grant->held;
    h.mems = grant->mems;
    *ret = h;
}

void case_ledger(uint64_t *seed, const struct jb_machine *m, unsigned boxes, struct jb_ledger *ret)
{
    struct jb_ledger l = {0};
    struct jb_error err = {0};
    for (unsigned i = 0; i < boxes; i++) {
        struct jb_request q;
        struct jb_grant g;
        struct jb_holding h;
        case_request(seed, m, &q);
        q.cpus = 1 + q.cpus / 3;
        q.strict = false;
        if (case_random(seed,
                        2)) { /* one anywhere: best fit alone never makes the holes that releases leave */
            q.cpu_set_said = true;
            q.kind = JB_CPU_KIND_ANY;
            for (unsigned n = 1 + (unsigned)case_random(seed, 3); n > 0; n--)
                jb_cpus_add(&q.cpu_set, m->pus[case_random(seed, m->n_pus)].os);
        }
        if (jb_place(m, &l, &q, &g, &err) < 0)
            continue;
        case_holding(&g, i, &h);
        assert_int_equal(jb_ledger_add(&l, &h), 0);
    }
    if (m->n_siblings && case_random(seed, 2)) { /* somebody with other CPUs allowed has a sibling of ours */
        struct jb_grant g = {.exclusive = case_random(seed, 2), .memory = JB_UNSET};
        struct jb_holding h;
        unsigned os = m->siblings[case_random(seed, m->n_siblings)].os;
        if (!jb_cpus_has(&l.used, os)) {
            jb_cpus_add(&g.cpus, os);
            if (g.exclusive)
                g.held = g.cpus;
            case_holding(&g, boxes, &h);
            assert_int_equal(jb_ledger_add(&l, &h), 0);
        }
    }
    *ret = l;
}

/* One unit that could be had. */
struct unit {
    unsigned group[3]; /* package, numa, l3 */
    unsigned core;
    unsigned load;
    int kind;
};

struct pool {
    struct unit units[4096];
    size_t n;
    uint64_t free[3][4096]; /* units by group */
    uint64_t in_core[4096];
};

static bool pu_free(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                    unsigned os, unsigned *load)
{
    if (jb_cpus_has(&m->reserved, os))
        return false;
    for (size_t i = 0; i < l->len; i++) {
        struct jb_holding h;
        jb_ledger_get(l, i, &h);
        bool on = jb_cpus_has(&h.cpus, os);
        bool held = jb_cpus_has(&h.held, os);
        if (q->exclusive ? on || held : h.exclusive && held)
            return false;
        *load += on && !h.exclusive;
    }
    return true;
}

static void add_unit(struct pool *p, const struct jb_pu *pu, unsigned load)
{
    p->units[p->n++] = (struct unit){.group = {pu->package, pu->numa, pu->l3},
                                     .core = pu->core,
                                     .load = load,
                                     .kind = pu->kind < 0 ? 0 : pu->kind};
    p->free[0][pu->package]++;
    p->free[1][pu->numa]++;
    p->free[2][pu->l3]++;
    p->in_core[pu->core]++;
}

static void fill_pool(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                      int low, int high, struct pool *p)
{
    memset(p, 0, sizeof(*p));
    for (size_t i = 0; i < m->n_pus;) {
        size_t j = i;
        bool whole = true;
        unsigned worst = 0;
        int kind = m->pus[i].kind < 0 ? 0 : m->pus[i].kind;
        for (; j < m->n_pus && m->pus[j].core == m->pus[i].core; j++) {
            unsigned load = 0;
            bool ok = pu_free(m, l, q, m->pus[j].os, &load) && kind >= low && kind <= high;
            whole &= ok;
            worst = load > worst ? load : worst;
            if (ok && q->unit == JB_CPU_UNIT_THREAD)
                add_unit(p, &m->pus[j], load);
        }
        for (size_t s = 0; s < m->n_siblings; s++) {
            unsigned load = 0;
            if (m->siblings[s].core == m->pus[i].core && !pu_free(m, l, q, m->siblings[s].os, &load))
                whole = false;
        }
        if (whole && q->unit == JB_CPU_UNIT_CORE)
            add_unit(p, &m->pus[i], worst);
        i = j;
    }
    if (q->unit == JB_CPU_UNIT_THREAD) /* the allocator ranks a core by its most shared thread */
        for (size_t i = 0; i < p->n; i++)
            for (size_t j = 0; j < p->n; j++)
                if (p->units[i].core == p->units[j].core && p->units[j].load > p->units[i].load)
                    p->units[i].load = p->units[j].load;
}

static void levels_in_order(const struct jb_request *q, int order[3])
{
    int first = q->locality == JB_LOCALITY_L3 ? 2 : q->locality == JB_LOCALITY_NUMA ? 1 : 0;
    int n = 0;
    order[n++] = first;
    for (int i = 0; i < 3; i++)
        if (i != first)
            order[n++] = i;
}

static void cost_of(const struct pool *p, const struct jb_request *q, const bool *chosen, unsigned cost[8])
{
    int order[3];
    struct jb_cpus groups[3] = {0};
    struct jb_cpus cores = {0};
    levels_in_order(q, order);
    memset(cost, 0, 8 * sizeof(cost[0]));
    for (size_t i = 0; i < p->n; i++) {
        if (!chosen[i])
            continue;
        cost[0] += p->units[i].load;
        for (int level = 0; level < 3; level++)
            jb_cpus_add(&groups[level], p->units[i].group[level]);
        jb_cpus_add(&cores, p->units[i].core);
    }
    for (int i = 0; i < 3; i++)
        cost[1 + i] = jb_cpus_count(&groups[order[i]]);
    if (q->strict && q->locality != JB_LOCALITY_NONE) { /* closeness comes before sharing */
        unsigned swap = cost[0];
        cost[0] = cost[1];
        cost[1] = swap;
    }
    bool threads = false; /* where no core has two to give, cores are not a criterion */
    for (size_t i = 0; i < p->n; i++)
        threads |= p->in_core[p->units[i].core] > 1;
    for (int c = jb_cpus_next(&cores, 0); threads && c >= 0; c = jb_cpus_next(&cores, (unsigned)c + 1)) {
        cost[4]++;
        cost[5] += (unsigned)p->in_core[c];
    }
    for (int g = jb_cpus_next(&groups[2], 0); g >= 0; g = jb_cpus_next(&groups[2], (unsigned)g + 1))
        cost[6] += (unsigned)p->free[2][g];
    for (int g = jb_cpus_next(&groups[1], 0); g >= 0; g = jb_cpus_next(&groups[1], (unsigned)g + 1))
        cost[7] += (unsigned)p->free[1][g];
}

/* Fewest groups that hold k of the units of an empty machine. */
static unsigned need_of(const struct pool *empty, int level, uint64_t k)
{
    uint64_t room[4096];
    memcpy(room, empty->free[level], sizeof(room));
    unsigned used = 0;
    uint64_t sum = 0;
    while (sum < k) {
        size_t best = 0;
        for (size_t i = 1; i < 4096; i++)
            if (room[i] > room[best])
                best = i;
        if (room[best] == 0)
            return used + 1;
        sum += room[best];
        room[best] = 0;
        used++;
    }
    return used;
}

/* All promises and the new one can be met: no set of nodes is asked for more than it has. */
static bool memory_possible(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_cpus *mems,
                            uint64_t bytes)
{
    for (unsigned x = 1; x < 1U << m->n_nodes; x++) {
        uint64_t has = 0;
        struct jb_cpus set = {0};
        for (size_t v = 0; v < m->n_nodes; v++)
            if (x >> v & 1) {
                has += m->nodes[v].memory;
                jb_cpus_add(&set, m->nodes[v].os);
            }
        uint64_t asked = jb_cpus_subset(mems, &set) ? bytes : 0;
        for (size_t i = 0; i < l->len; i++) {
            struct jb_holding h;
            jb_ledger_get(l, i, &h);
            if (h.memory != JB_UNSET && jb_cpus_subset(&h.mems, &set))
                asked += h.memory;
        }
        if (asked > has)
            return false;
    }
    return true;
}

static bool local_memory_possible(const struct jb_machine *m, const struct jb_ledger *l,
                                  const struct jb_request *q, const struct pool *p, const bool *chosen)
{
    struct jb_cpus mems = {0};
    for (size_t i = 0; i < p->n; i++)
        if (chosen[i])
            jb_cpus_add(&mems, m->nodes[p->units[i].group[1]].os);
    return memory_possible(m, l, &mems, q->memory);
}

static bool try_range(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                      int low, int high, struct oracle *o)
{
    static struct pool p;
    static struct pool empty;
    struct jb_ledger nobody = {0};
    fill_pool(m, l, q, low, high, &p);
    if (p.n < q->cpus)
        return false;
    fill_pool(m, &nobody, q, low, high, &empty);
    int order[3];
    levels_in_order(q, order);
    bool strict = q->strict && q->locality != JB_LOCALITY_NONE;
    bool memory = q->memory != JB_UNSET && m->memory;
    struct jb_cpus all = {0};
    for (size_t v = 0; v < m->n_nodes; v++)
        jb_cpus_add(&all, m->nodes[v].os);
    if (memory && !memory_possible(m, l, &all, q->memory))
        return false;
    unsigned limit =
        strict ? need_of(&empty, order[0], q->cpus) : UINT32_MAX; /* then cost[0] is the level's */
    bool found = false;
    for (uint32_t set = 0; set < UINT32_C(1) << p.n; set++) {
        bool chosen[32];
        unsigned cost[8];
        if ((unsigned)__builtin_popcount(set) != q->cpus)
            continue;
        for (size_t i = 0; i < p.n; i++)
            chosen[i] = set >> i & 1;
        cost_of(&p, q, chosen, cost);
        if (cost[0] > limit || (strict && memory && !local_memory_possible(m, l, q, &p, chosen)))
            continue;
        bool less = !found;
        for (int i = 0; !less && i < 8 && cost[i] <= o->cost[i]; i++)
            less = cost[i] < o->cost[i];
        if (less)
            memcpy(o->cost, cost, sizeof(cost));
        found = true;
    }
    return found;
}

void oracle_answer(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                   struct oracle *ret)
{
    struct oracle o = {0};
    int n = (int)m->n_kinds;
    int high = q->kind == JB_CPU_KIND_EFFICIENCY ? n - 2 : n - 1;
    int low = q->kind == JB_CPU_KIND_PERFORMANCE ? n - 1 : 0;
    bool lacks = q->kind != JB_CPU_KIND_ANY && n == 1;
    for (int k = high; !lacks && !o.feasible && k >= low; k--) {
        o.feasible = try_range(m, l, q, k, k, &o);
        o.kind = k;
    }
    if (!lacks && !o.feasible && low < high)
        o.feasible = o.mixed = try_range(m, l, q, low, high, &o);
    *ret = o;
}

void oracle_cost(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                 const struct jb_grant *g, unsigned cost[8])
{
    static struct pool p;
    static bool chosen[4096];
    int low = (int)m->n_kinds;
    int high = -1;
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(&g->cpus, m->pus[i].os)) {
            int kind = m->pus[i].kind < 0 ? 0 : m->pus[i].kind;
            low = kind < low ? kind : low;
            high = kind > high ? kind : high;
        }
    if (low != high) {
        low = q->kind == JB_CPU_KIND_PERFORMANCE ? (int)m->n_kinds - 1 : 0;
        high = q->kind == JB_CPU_KIND_EFFICIENCY ? (int)m->n_kinds - 2 : (int)m->n_kinds - 1;
    }
    fill_pool(m, l, q, low, high, &p);
    size_t u = 0;
    memset(chosen, 0, sizeof(chosen));
    for (size_t i = 0; i < m->n_pus && u < p.n; i++) {
        unsigned load = 0;
        bool first_of_core = i == 0 || m->pus[i].core != m->pus[i - 1].core;
        if (p.units[u].core != m->pus[i].core)
            continue;
        if (q->unit == JB_CPU_UNIT_CORE ? !first_of_core : !pu_free(m, l, q, m->pus[i].os, &load))
            continue;
        chosen[u++] = jb_cpus_has(&g->cpus, m->pus[i].os);
    }
    cost_of(&p, q, chosen, cost);
}
