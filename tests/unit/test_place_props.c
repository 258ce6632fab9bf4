/*
 * test_place_props.c - what placement promises, over families of machines and random ledgers and requests.
 *
 * JOBBOX_TEST_LONG=N in the environment multiplies the number of cases.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "machine/place.h"
#include "place_cases.h"
#include "place_compare.h"

static unsigned effort(void)
{
    const char *text = getenv("JOBBOX_TEST_LONG");
    uint64_t n = 1;
    if (text && jb_parse_u64(text, 1000, &n) < 0)
        fail_msg("JOBBOX_TEST_LONG=%s is not a number up to 1000", text);
    return n ? (unsigned)n : 1;
}

static void show(const char *name, uint64_t seed, const struct jb_request *q)
{
    print_message("%s seed %#llx: cpus %llu unit %d locality %d strict %d kind %d exclusive %d memory %lld\n",
                  name, (unsigned long long)seed, (unsigned long long)q->cpus, q->unit, q->locality,
                  q->strict, q->kind, q->exclusive, (long long)q->memory);
}

static void check_that(bool ok, const char *what, int line, const char *name, uint64_t seed,
                       const struct jb_request *q)
{
    if (ok)
        return;
    show(name, seed, q);
    fail_msg("line %d: not so: %s", line, what);
}
#define CHECK(what) check_that((what), #what, __LINE__, name, seed, q)

/* What a grant should look like, worked out from its PUs. */
struct facts {
    unsigned cores;
    bool fast, slow;
    bool broken;         /* a core in part ours, a sibling that somebody holds, a node that may not be used */
    struct jb_cpus held; /* PUs and all siblings */
    struct jb_cpus local; /* nodes */
};

static void add_core_facts(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_grant *g,
                           bool whole, const struct jb_pu *pu, struct facts *f)
{
    unsigned has = 0;
    unsigned all = 0;
    for (size_t j = 0; j < m->n_pus; j++)
        if (m->pus[j].core == pu->core) {
            all++;
            has += jb_cpus_has(&g->cpus, m->pus[j].os);
        }
    f->cores += has > 0;
    f->broken |= whole && has > 0 && has < all;
    for (size_t s = 0; whole && has > 0 && s < m->n_siblings; s++)
        if (m->siblings[s].core == pu->core) {
            f->broken |= jb_cpus_has(&l->held, m->siblings[s].os);
            jb_cpus_add(&f->held, m->siblings[s].os);
        }
}

static void find_facts(const struct jb_machine *m, const struct jb_ledger *l, const struct jb_request *q,
                       const struct jb_grant *g, struct facts *f)
{
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_pu *pu = &m->pus[i];
        if (i == 0 || m->pus[i - 1].core != pu->core)
            add_core_facts(m, l, g, q->unit == JB_CPU_UNIT_CORE, pu, f);
        if (!jb_cpus_has(&g->cpus, pu->os))
            continue;
        jb_cpus_add(&f->held, pu->os);
        jb_cpus_add(&f->local, m->nodes[pu->numa].os);
        f->broken |= !m->nodes[pu->numa].usable;
        f->fast |= pu->kind == (int)m->n_kinds - 1;
        f->slow |= pu->kind < (int)m->n_kinds - 1;
    }
    if (!q->exclusive)
        f->held = (struct jb_cpus){0};
}

/* P1 to P4 of one grant. */
static void check_grant(const char *name, uint64_t seed, const struct jb_machine *m,
                        const struct jb_ledger *l, const struct jb_request *q, const struct jb_grant *g)
{
    struct facts f = {0};
    find_facts(m, l, q, g, &f);
    CHECK(jb_cpus_subset(&g->cpus, &m->allowed));
    CHECK(!jb_cpus_intersects(&g->cpus, &m->reserved));
    CHECK(!jb_cpus_intersects(&g->cpus, q->exclusive ? &l->used : &l->held));
    CHECK(!jb_cpus_intersects(&g->held, &l->used));
    CHECK(!f.broken);
    CHECK(f.cores == g->cores);
    CHECK(q->unit == JB_CPU_UNIT_CORE ? f.cores == q->cpus : jb_cpus_count(&g->cpus) == q->cpus);
    CHECK(jb_cpus_equal(&f.held, &g->held));
    CHECK(q->kind != JB_CPU_KIND_PERFORMANCE || (f.fast && !f.slow));
    CHECK(q->kind != JB_CPU_KIND_EFFICIENCY || (f.slow && !f.fast));
    CHECK(g->explain[0] != '\0');
}

/* P9, and what strict means. */
static void check_closeness(const char *name, uint64_t seed, const struct jb_machine *m,
                            const struct jb_ledger *l, const struct jb_request *q, const struct jb_grant *g)
{
    struct facts f = {0};
    find_facts(m, l, q, g, &f);
    CHECK(jb_cpus_subset(&f.local, &g->mems));
    bool strict = q->strict && q->locality != JB_LOCALITY_NONE;
    CHECK((q->memory != JB_UNSET && !strict) || jb_cpus_equal(&f.local, &g->mems));
    CHECK(!strict || q->locality != JB_LOCALITY_L3 || !g->straddles_l3);
    CHECK(!strict || q->locality != JB_LOCALITY_NUMA || !g->straddles_numa);
    CHECK(!strict || q->locality != JB_LOCALITY_PACKAGE || !g->straddles_package);
}

static void shuffle(uint64_t *seed, struct jb_ledger *l)
{
    for (size_t i = l->len; i > 1; i--) {
        size_t j = (size_t)case_random(seed, i);
        struct jb_slot swap = l->items[i - 1];
        l->items[i - 1] = l->items[j];
        l->items[j] = swap;
    }
}

/* The number after the words in a message; -1 when they are not in it. */
static long number_after(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    return at ? strtol(at + strlen(words), NULL, 10) : -1;
}

/* P11: what a refusal advises is true. */
static void check_refusal(const char *name, uint64_t seed, const struct jb_machine *m,
                          const struct jb_request *q, int r, const char *text)
{
    struct jb_error err = {0};
    struct jb_ledger nobody = {0};
    struct jb_grant g;
    CHECK(r == -EBUSY || r == -ERANGE);
    CHECK(!strchr(text, '\n') && text[0]);
    CHECK((r == -EBUSY) == (jb_place(m, &nobody, q, &g, &err) == 0));
    CHECK(r != -EBUSY || strstr(text, "uid 100") != NULL);
    long n = number_after(text, "ask for cpus: ");
    if (n > 0) {
        struct jb_request less = *q;
        less.memory = JB_UNSET;
        less.cpus = (uint64_t)n;
        CHECK(jb_place(m, &nobody, &less, &g, &err) == 0);
        less.cpus++;
        CHECK(jb_place(m, &nobody, &less, &g, &err) == -ERANGE);
    }
    CHECK(r != -ERANGE || n > 0 || strstr(text, "memory: ") || strstr(text, "use cpu_") ||
          strstr(text, "drop strict"));
}

static bool same_grant(const struct jb_grant *a, const struct jb_grant *b)
{
    return jb_cpus_equal(&a->cpus, &b->cpus) && jb_cpus_equal(&a->mems, &b->mems) &&
           jb_cpus_equal(&a->held, &b->held) && a->exclusive == b->exclusive && a->cores == b->cores &&
           a->l3s == b->l3s && a->numa_nodes == b->numa_nodes && a->packages == b->packages &&
           a->straddles_l3 == b->straddles_l3 && a->straddles_numa == b->straddles_numa &&
           a->straddles_package == b->straddles_package && a->kind == b->kind && a->memory == b->memory &&
           jb_streq(a->explain, b->explain);
}

static void one_case(const char *name, const struct jb_machine *m, uint64_t seed)
{
    struct jb_ledger l;
    struct jb_request request;
    const struct jb_request *q = &request;
    struct jb_grant g;
    struct jb_grant again;
    struct jb_error err = {0};
    struct jb_error err2 = {0};
    uint64_t s = seed;
    case_ledger(&s, m, (unsigned)case_random(&s, 12), &l);
    case_request(&s, m, &request);
    int r = jb_place(m, &l, q, &g, &err);
    if (r == 0) {
        check_grant(name, seed, m, &l, q, &g);
        check_closeness(name, seed, m, &l, q, &g);
    } else {
        check_refusal(name, seed, m, q, r, err.text);
    }
    shuffle(&s, &l); /* P5 */
    CHECK(jb_place(m, &l, q, &again, &err2) == r);
    CHECK(r < 0 ? jb_streq(err.text, err2.text) : same_grant(&g, &again));
    if (l.len > 0) { /* P10, and P8: what is left after one goes is what was there without it */
        struct jb_ledger fewer = {0};
        for (size_t i = 1; i < l.len; i++) {
            struct jb_holding h;
            jb_ledger_get(&l, i, &h);
            assert_int_equal(jb_ledger_add(&fewer, &h), 0);
        }
        int r2 = jb_place(m, &fewer, q, &again, &err2);
        CHECK(r < 0 || r2 == 0);
        struct jb_holding h;
        jb_ledger_get(&l, 0, &h);
        assert_int_equal(jb_ledger_add(&fewer, &h), 0);
        CHECK(jb_cpus_equal(&fewer.used, &l.used) && jb_cpus_equal(&fewer.held, &l.held));
        CHECK(jb_place(m, &fewer, q, &again, &err2) == r && (r < 0 || same_grant(&g, &again)));
        jb_ledger_free(&fewer);
    }
    jb_ledger_free(&l);
}

static void run_family(const struct place_case *cases, unsigned rounds)
{
    for (const struct place_case *c = cases; c->synthetic; c++) {
        struct jb_machine m;
        case_load(c, &m);
        for (unsigned i = 0; i < rounds; i++)
            one_case(c->synthetic, &m, (uint64_t)(c - cases) << 32 | i);
        jb_cpus_add(&m.reserved, m.pus[m.n_pus / 2].os); /* and with a reserved PU */
        for (unsigned i = 0; m.n_pus > 1 && i < rounds / 4; i++)
            one_case(c->synthetic, &m, (uint64_t)(c - cases) << 32 | i);
        jb_machine_free(&m);
    }
}

static void test_promises_small(void **state)
{
    (void)state;
    run_family(small_cases, 4000 * effort());
}

static void test_promises_large(void **state)
{
    (void)state;
    run_family(large_cases, 150 * effort());
}

static void compare_with_oracle(const char *name, const struct jb_machine *m, uint64_t seed)
{
    struct jb_ledger l;
    struct jb_request request;
    const struct jb_request *q = &request;
    struct jb_grant g;
    struct jb_error err = {0};
    struct oracle o;
    uint64_t s = seed;
    case_ledger(&s, m, (unsigned)case_random(&s, 6), &l);
    case_request(&s, m, &request);
    int r = jb_place(m, &l, q, &g, &err);
    oracle_answer(m, &l, q, &o);
    if ((r == 0) != o.feasible)
        print_message("we say %d: %s\n", r, err.text);
    CHECK((r == 0) == o.feasible);         /* P7 */
    if (r == 0 && q->memory == JB_UNSET) { /* P6; memory may ask for more than the closest cores */
        unsigned cost[8];
        oracle_cost(m, &l, q, &g, cost);
        for (int i = 0; i < 8; i++) {
            if (cost[i] != o.cost[i])
                print_message("criterion %d: %u, best %u; %s\n", i, cost[i], o.cost[i], g.explain);
            CHECK(cost[i] == o.cost[i]);
        }
        CHECK(o.mixed || m->n_kinds == 1 || g.kind != JB_CPU_KIND_ANY);
    }
    jb_ledger_free(&l);
}

static void test_oracle(void **state)
{
    (void)state;
    for (const struct place_case *c = small_cases; c->synthetic; c++) {
        struct jb_machine m;
        case_load(c, &m);
        for (unsigned i = 0; i < 250 * effort(); i++)
            compare_with_oracle(c->synthetic, &m, (uint64_t)(c - small_cases) << 32 | i | 1U << 30);
        jb_machine_free(&m);
    }
}

/* Where BenchExec's rules answer so do we, and never do more of our runs lie in more L3 groups than they need. */
static void check_batches(const char *name, const struct jb_machine *m)
{
    struct batch_score s;
    assert_int_equal(compare_batches(m, false, &s), 0);
    assert_true(s.requests > 0);
    if (s.we_refuse || s.worse)
        fail_msg("%s: of %u batches %u refused by us alone, %u with more straddling", name, s.requests,
                 s.we_refuse, s.worse);
}

static void test_beside_benchexec(void **state)
{
    (void)state;
    for (int family = 0; family < 2; family++)
        for (const struct place_case *c = family ? large_cases : small_cases; c->synthetic; c++) {
            struct jb_machine m;
            case_load(c, &m);
            check_batches(c->synthetic, &m);
            jb_machine_free(&m);
        }
}

/* P12 */
static void test_a_day(void **state)
{
    (void)state;
    struct place_case day = {"pack:2 [numa] l3:8 core:8 pu:2", TWIST_NONE};
    struct jb_machine m;
    case_load(&day, &m);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct day_score ours;
        assert_int_equal(simulate_day(&m, DAY_JOBBOX, 5000, seed, &ours), 0);
        assert_int_equal(ours.refused_feasible, 0);
        assert_true(ours.placed > 1000);
        for (int p = DAY_JOBBOX + 1; p < DAY_MAX; p++) {
            struct day_score theirs;
            assert_int_equal(simulate_day(&m, (enum day_policy)p, 5000, seed, &theirs), 0);
            if ((uint64_t)ours.straddling * theirs.placed > (uint64_t)theirs.straddling * ours.placed)
                fail_msg("seed %llu: %u of our %u jobs straddle, with %s %u of %u", (unsigned long long)seed,
                         ours.straddling, ours.placed, day_policy_name((enum day_policy)p), theirs.straddling,
                         theirs.placed);
        }
    }
    jb_machine_free(&m);
}

#define TOPOLOGIES SOURCE_DIR "/../shared/topologies"

static void test_promises_on_real_topologies(void **state)
{
    (void)state;
    struct dirent **names;
    int n = scandir(TOPOLOGIES, &names, NULL, alphasort);
    if (n < 0) {
        print_message("SKIP: %s is not there; it holds exports of real machines\n", TOPOLOGIES);
        skip();
    }
    unsigned machines = 0;
    for (int i = 0; i < n; i++) {
        jb_autofree struct dirent *e = names[i];
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || !jb_streq(dot, ".xml"))
            continue;
        jb_autofree char *path = jb_asprintf("%s/%s", TOPOLOGIES, e->d_name);
        struct jb_machine m;
        struct jb_error err = {0};
        struct jb_machine_source s = {.xml_file = path, .cache_dirfd = -1};
        assert_ok(jb_machine_load(&s, &m, &err), &err);
        struct jb_request one = {.cpus = 1, .exclusive = true, .memory = JB_UNSET, .unit = JB_CPU_UNIT_CORE};
        struct jb_ledger nobody = {0};
        struct jb_grant g;
        assert_ok(jb_place(&m, &nobody, &one, &g, &err), &err); /* no machine is refused outright */
        for (unsigned k = 0; k < 60 * effort(); k++)
            one_case(e->d_name, &m, (uint64_t)i << 32 | k);
        check_batches(e->d_name, &m);
        jb_machine_free(&m);
        machines++;
    }
    free(names);
    assert_true(machines > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises_small), cmocka_unit_test(test_promises_large),
        cmocka_unit_test(test_oracle),         cmocka_unit_test(test_beside_benchexec),
        cmocka_unit_test(test_a_day),          cmocka_unit_test(test_promises_on_real_topologies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
