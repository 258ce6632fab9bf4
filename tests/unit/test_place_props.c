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

/* What placement promises; P1 to P12 of docs/placement.md. */
enum promise {
    P1_FREE,
    P2_COUNT,
    P3_SIBLINGS,
    P4_KIND,
    P5_SAME_ANSWER,
    P6_BEST,
    P7_NO_FALSE_NO,
    P8_RELEASE,
    P9_MEMORY_NEAR,
    P10_MONOTONE,
    P11_TRUE_ADVICE,
    P12_DAY, /* over many jobs: not of one case */
    N_PROMISES,
};

/* All cases are gone through once; then each promise has a test of its own that looks here. */
struct tally {
    unsigned long checked[N_PROMISES];
    unsigned long broken[N_PROMISES];
    char first[N_PROMISES][500]; /* the first case that broke it */
};

/* One machine, ledger and request, and where to note what comes of it. */
struct one {
    struct tally *tally;
    const char *name;
    uint64_t seed;
    const struct jb_machine *m;
    struct jb_ledger *l;
    const struct jb_request *q;
};

static void check_that(const struct one *o, enum promise p, bool ok, const char *what, int line)
{
    o->tally->checked[p]++;
    if (ok || o->tally->broken[p]++)
        return;
    (void)snprintf(
        o->tally->first[p], sizeof(o->tally->first[p]),
        "line %d: not so: %s; %s seed %#llx: cpus %llu unit %d locality %d strict %d kind %d exclusive %d "
        "memory %lld",
        line, what, o->name, (unsigned long long)o->seed, (unsigned long long)o->q->cpus, o->q->unit,
        o->q->locality, o->q->strict, o->q->kind, o->q->exclusive, (long long)o->q->memory);
}
#define CHECK(promise, what) check_that(o, promise, (what), #what, __LINE__)

/* What a grant should look like, worked out from its PUs. */
struct facts {
    unsigned cores;
    bool fast, slow;
    bool broken;          /* a core in part ours, a sibling that somebody holds */
    bool off_limits;      /* a node that may not be used */
    struct jb_cpus held;  /* PUs and all siblings */
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

static void find_facts(const struct one *o, const struct jb_grant *g, struct facts *f)
{
    const struct jb_machine *m = o->m;
    const struct jb_request *q = o->q;
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_pu *pu = &m->pus[i];
        if (i == 0 || m->pus[i - 1].core != pu->core)
            add_core_facts(m, o->l, g, q->unit == JB_CPU_UNIT_CORE, pu, f);
        if (!jb_cpus_has(&g->cpus, pu->os))
            continue;
        jb_cpus_add(&f->held, pu->os);
        jb_cpus_add(&f->local, m->nodes[pu->numa].os);
        f->off_limits |= !m->nodes[pu->numa].usable;
        f->fast |= pu->kind == (int)m->n_kinds - 1;
        f->slow |= pu->kind < (int)m->n_kinds - 1;
    }
    if (!q->exclusive)
        f->held = (struct jb_cpus){0};
}

static void check_grant(const struct one *o, const struct jb_grant *g)
{
    const struct jb_request *q = o->q;
    struct facts f = {0};
    find_facts(o, g, &f);
    CHECK(P1_FREE, jb_cpus_subset(&g->cpus, &o->m->allowed));
    CHECK(P1_FREE, !jb_cpus_intersects(&g->cpus, &o->m->reserved));
    CHECK(P1_FREE, !jb_cpus_intersects(&g->cpus, q->exclusive ? &o->l->used : &o->l->held));
    CHECK(P1_FREE, !jb_cpus_intersects(&g->held, &o->l->used));
    CHECK(P1_FREE, !f.off_limits);
    CHECK(P2_COUNT, q->unit == JB_CPU_UNIT_CORE ? f.cores == q->cpus : jb_cpus_count(&g->cpus) == q->cpus);
    CHECK(P2_COUNT, f.cores == g->cores);
    CHECK(P3_SIBLINGS, !f.broken);
    CHECK(P3_SIBLINGS, jb_cpus_equal(&f.held, &g->held));
    CHECK(P4_KIND, q->kind != JB_CPU_KIND_PERFORMANCE || (f.fast && !f.slow));
    CHECK(P4_KIND, q->kind != JB_CPU_KIND_EFFICIENCY || (f.slow && !f.fast));
    CHECK(P11_TRUE_ADVICE, g->explain[0] != '\0');
    CHECK(P9_MEMORY_NEAR, jb_cpus_subset(&f.local, &g->mems));
    bool strict = q->strict && q->locality != JB_LOCALITY_NONE;
    CHECK(P9_MEMORY_NEAR, (q->memory != JB_UNSET && !strict) || jb_cpus_equal(&f.local, &g->mems));
    CHECK(P6_BEST, !strict || q->locality != JB_LOCALITY_L3 || !g->straddles_l3);
    CHECK(P6_BEST, !strict || q->locality != JB_LOCALITY_NUMA || !g->straddles_numa);
    CHECK(P6_BEST, !strict || q->locality != JB_LOCALITY_PACKAGE || !g->straddles_package);
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

static void check_refusal(const struct one *o, int r, const char *text)
{
    struct jb_error err = {0};
    struct jb_ledger nobody = {0};
    struct jb_grant g;
    CHECK(P11_TRUE_ADVICE, r == -EBUSY || r == -ERANGE);
    CHECK(P11_TRUE_ADVICE, !strchr(text, '\n') && text[0]);
    CHECK(P11_TRUE_ADVICE, (r == -EBUSY) == (jb_place(o->m, &nobody, o->q, &g, &err) == 0));
    CHECK(P11_TRUE_ADVICE, r != -EBUSY || strstr(text, "uid 100") != NULL);
    long n = number_after(text, "ask for cpus: ");
    if (n > 0) {
        struct jb_request less = *o->q;
        less.memory = JB_UNSET;
        less.cpus = (uint64_t)n;
        CHECK(P11_TRUE_ADVICE, jb_place(o->m, &nobody, &less, &g, &err) == 0);
        less.cpus++;
        CHECK(P11_TRUE_ADVICE, jb_place(o->m, &nobody, &less, &g, &err) == -ERANGE);
    }
    CHECK(P11_TRUE_ADVICE, r != -ERANGE || n > 0 || strstr(text, "memory: ") || strstr(text, "use cpu_") ||
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

/* What is there once the first box has gone is what was there without it: for the sums, and for the answer. */
static void check_release(const struct one *o, int r, const struct jb_grant *g)
{
    struct jb_ledger fewer = {0};
    struct jb_error err = {0};
    struct jb_grant again;
    struct jb_holding h;
    for (size_t i = 1; i < o->l->len; i++) {
        jb_ledger_get(o->l, i, &h);
        assert_int_equal(jb_ledger_add(&fewer, &h), 0);
    }
    int r2 = jb_place(o->m, &fewer, o->q, &again, &err);
    CHECK(P10_MONOTONE, r < 0 || r2 == 0);
    jb_ledger_get(o->l, 0, &h);
    assert_int_equal(jb_ledger_add(&fewer, &h), 0);
    CHECK(P8_RELEASE, jb_cpus_equal(&fewer.used, &o->l->used) && jb_cpus_equal(&fewer.held, &o->l->held));
    CHECK(P8_RELEASE, jb_place(o->m, &fewer, o->q, &again, &err) == r && (r < 0 || same_grant(g, &again)));
    jb_ledger_free(&fewer);
}

static void one_case(struct tally *tally, const char *name, const struct jb_machine *m, uint64_t seed)
{
    struct jb_ledger l;
    struct jb_request q;
    struct jb_grant g = {0};
    struct jb_grant again = {0};
    struct jb_error err = {0};
    struct jb_error err2 = {0};
    const struct one one = {tally, name, seed, m, &l, &q};
    const struct one *o = &one;
    uint64_t s = seed;
    case_ledger(&s, m, (unsigned)case_random(&s, 12), &l);
    case_request(&s, m, &q);
    int r = jb_place(m, &l, &q, &g, &err);
    if (r == 0)
        check_grant(o, &g);
    else
        check_refusal(o, r, err.text);
    shuffle(&s, &l);
    int r2 = jb_place(m, &l, &q, &again, &err2);
    CHECK(P5_SAME_ANSWER, r2 == r);
    CHECK(P5_SAME_ANSWER, r < 0 ? jb_streq(err.text, err2.text) : same_grant(&g, &again));
    if (l.len > 0)
        check_release(o, r, &g);
    jb_ledger_free(&l);
}

static void run_family(struct tally *tally, const struct place_case *cases, unsigned rounds)
{
    for (const struct place_case *c = cases; c->synthetic; c++) {
        struct jb_machine m;
        case_load(c, &m);
        for (unsigned i = 0; i < rounds; i++)
            one_case(tally, c->synthetic, &m, (uint64_t)(c - cases) << 32 | i);
        jb_cpus_add(&m.reserved, m.pus[m.n_pus / 2].os); /* and with a reserved PU */
        for (unsigned i = 0; m.n_pus > 1 && i < rounds / 4; i++)
            one_case(tally, c->synthetic, &m, (uint64_t)(c - cases) << 32 | i);
        jb_machine_free(&m);
    }
}

/* Beside the answer that trying everything gives. */
static void compare_with_oracle(struct tally *tally, const char *name, const struct jb_machine *m,
                                uint64_t seed)
{
    struct jb_ledger l;
    struct jb_request q;
    struct jb_grant g;
    struct jb_error err = {0};
    struct oracle best;
    const struct one one = {tally, name, seed, m, &l, &q};
    const struct one *o = &one;
    uint64_t s = seed;
    case_ledger(&s, m, (unsigned)case_random(&s, 6), &l);
    case_request(&s, m, &q);
    int r = jb_place(m, &l, &q, &g, &err);
    oracle_answer(m, &l, &q, &best);
    CHECK(P7_NO_FALSE_NO, (r == 0) == best.feasible);
    if (r == 0 && q.memory == JB_UNSET) { /* memory may ask for more than the closest cores */
        unsigned cost[8];
        oracle_cost(m, &l, &q, &g, cost);
        for (int i = 0; i < 8; i++)
            CHECK(P6_BEST, cost[i] == best.cost[i]);
        CHECK(P4_KIND, best.mixed || m->n_kinds == 1 || g.kind != JB_CPU_KIND_ANY);
    }
    jb_ledger_free(&l);
}

static void run_oracle(struct tally *tally)
{
    for (const struct place_case *c = small_cases; c->synthetic; c++) {
        struct jb_machine m;
        case_load(c, &m);
        for (unsigned i = 0; i < 250 * effort(); i++)
            compare_with_oracle(tally, c->synthetic, &m, (uint64_t)(c - small_cases) << 32 | i | 1U << 30);
        jb_machine_free(&m);
    }
}

static int go_through_all(void **state)
{
    struct tally *tally = calloc(1, sizeof(*tally));
    if (!tally)
        return -1;
    run_family(tally, small_cases, 4000 * effort());
    run_family(tally, large_cases, 150 * effort());
    run_oracle(tally);
    *state = tally;
    return 0;
}

static int free_tally(void **state)
{
    free(*state);
    return 0;
}

static void kept(const struct tally *t, enum promise p)
{
    if (t->broken[p])
        fail_msg("%lu of %lu checks: %s", t->broken[p], t->checked[p], t->first[p]);
    assert_true(t->checked[p] > 100);
}

#define PROMISE(test, promise)     \
    static void test(void **state) \
    {                              \
        kept(*state, promise);     \
    }
PROMISE(p1_only_what_is_allowed_and_free, P1_FREE)
PROMISE(p2_as_many_as_were_asked_for, P2_COUNT)
PROMISE(p3_no_sibling_of_a_whole_core_is_left_to_others, P3_SIBLINGS)
PROMISE(p4_one_kind_of_core_unless_none_has_enough, P4_KIND)
PROMISE(p5_the_same_answer_whatever_the_order_of_the_ledger, P5_SAME_ANSWER)
PROMISE(p6_no_answer_is_closer_together_or_fits_tighter, P6_BEST)
PROMISE(p7_no_only_where_there_is_no_answer, P7_NO_FALSE_NO)
PROMISE(p8_a_release_restores_what_was, P8_RELEASE)
PROMISE(p9_memory_is_that_of_the_nodes_near_the_cores, P9_MEMORY_NEAR)
PROMISE(p10_what_fits_still_fits_when_others_have_gone, P10_MONOTONE)
PROMISE(p11_a_refusal_names_what_binds_and_its_advice_holds, P11_TRUE_ADVICE)

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

static void p12_a_day_of_jobs_straddles_no_more_than_under_other_rules(void **state)
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
    struct tally *tally = calloc(1, sizeof(*tally));
    assert_non_null(tally);
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
            one_case(tally, e->d_name, &m, (uint64_t)i << 32 | k);
        check_batches(e->d_name, &m);
        jb_machine_free(&m);
        machines++;
    }
    free(names);
    assert_true(machines > 0);
    for (int p = 0; p < N_PROMISES; p++)
        if (p != P7_NO_FALSE_NO && p != P12_DAY) /* which have tests of their own */
            kept(tally, (enum promise)p);
    free(tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p1_only_what_is_allowed_and_free),
        cmocka_unit_test(p2_as_many_as_were_asked_for),
        cmocka_unit_test(p3_no_sibling_of_a_whole_core_is_left_to_others),
        cmocka_unit_test(p4_one_kind_of_core_unless_none_has_enough),
        cmocka_unit_test(p5_the_same_answer_whatever_the_order_of_the_ledger),
        cmocka_unit_test(p6_no_answer_is_closer_together_or_fits_tighter),
        cmocka_unit_test(p7_no_only_where_there_is_no_answer),
        cmocka_unit_test(p8_a_release_restores_what_was),
        cmocka_unit_test(p9_memory_is_that_of_the_nodes_near_the_cores),
        cmocka_unit_test(p10_what_fits_still_fits_when_others_have_gone),
        cmocka_unit_test(p11_a_refusal_names_what_binds_and_its_advice_holds),
        cmocka_unit_test(p12_a_day_of_jobs_straddles_no_more_than_under_other_rules),
        cmocka_unit_test(test_beside_benchexec),
        cmocka_unit_test(test_promises_on_real_topologies),
    };
    return cmocka_run_group_tests(tests, go_through_all, free_tally);
}
