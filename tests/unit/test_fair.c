/*
 * test_fair.c - what was used and what was promised: decay, records, names, and a month of users who always want more.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "queue/fair.h"

#define S   UINT64_C(1000000)
#define DAY (86400 * S)
#define NOW (UINT64_C(1800000000) * S)

static struct jb_site *site_of(const char *text)
{
    struct jb_diags diags = {0};
    struct jb_site *site = NULL;
    assert_int_equal(jb_site_parse("site.yaml", text, strlen(text), &site, &diags), 0);
    return site;
}

/* A record, as much of one as fair.c reads. */
static json_t *record_of(const char *account, const char *user, uint64_t ended_us, double wall_s, int cpus)
{
    json_t *record =
        json_pack("{s:s*, s:s*, s:{s:o, s:f}, s:{s:i}}", "account", account, "user", user, "times",
                  "destroyed", jb_json_time(ended_us), "wall_s", wall_s, "granted", "cpu_count", cpus);
    assert_non_null(record);
    return record;
}

static void learn(struct jb_fair *fair, const char *account, const char *user, uint64_t ended_us,
                  double wall_s, int cpus, uint64_t now_us)
{
    json_t *record = record_of(account, user, ended_us, wall_s, cpus);
    assert_int_equal(jb_fair_learn(fair, record, now_us), 0);
    json_decref(record);
}

static double usage_of(struct jb_fair *fair, const char *account, const char *user, uint64_t now_us)
{
    uint32_t item;
    assert_int_equal(jb_fair_find(fair, account, user, &item), 0);
    jb_fair_refresh(fair, now_us);
    return fair->shares[item].usage;
}

#define assert_near(value, expected)                               \
    do {                                                           \
        double v_ = (value);                                       \
        double e_ = (expected);                                    \
        if (fabs(v_ - e_) > 1e-6 * (fabs(e_) + 1))                 \
            fail_msg("%s is %.9g, expected %.9g", #value, v_, e_); \
    } while (0)

static void use_halves_in_a_half_life(void **state)
{
    jb_autosite struct jb_site *site = site_of("queue: { half_life: 7d }\n");
    struct jb_fair fair = {.site = site};
    (void)state;
    learn(&fair, "astro", "ann", NOW, 100, 4, NOW);
    assert_near(usage_of(&fair, "astro", "ann", NOW), 400);
    assert_near(usage_of(&fair, "astro", "ann", NOW + 7 * DAY), 200);
    assert_near(usage_of(&fair, "astro", "ann", NOW + 28 * DAY), 25);
    learn(&fair, "astro", "ann", NOW + 7 * DAY, 50, 2, NOW + 7 * DAY); /* on top of what is left by then */
    assert_near(usage_of(&fair, "astro", "ann", NOW + 14 * DAY), 150);
    jb_fair_free(&fair);
}

static void records_count_as_of_when_they_ended_in_any_order(void **state)
{
    jb_autosite struct jb_site *site = site_of("queue: { half_life: 1d }\n");
    struct jb_fair forth = {.site = site};
    struct jb_fair back = {.site = site};
    (void)state;
    for (int i = 0; i < 10; i++) {
        learn(&forth, "", "ann", NOW - (uint64_t)(9 - i) * DAY, 10 + i, 1, NOW);
        learn(&back, NULL, "ann", NOW - (uint64_t)i * DAY, 10 + (9 - i), 1, NOW);
    }
    assert_near(usage_of(&forth, "", "ann", NOW), usage_of(&back, "", "ann", NOW));
    struct jb_fair ahead = {.site = site}; /* a clock that goes ahead gives nobody a credit */
    learn(&ahead, "", "ann", NOW + 30 * DAY, 10, 1, NOW);
    assert_near(usage_of(&ahead, "", "ann", NOW), 10);
    jb_fair_free(&forth);
    jb_fair_free(&back);
    jb_fair_free(&ahead);
}

static void records_that_tell_nothing_are_passed_over(void **state)
{
    jb_autosite struct jb_site *site = site_of("queue: {}\n");
    struct jb_fair fair = {.site = site};
    static const char *const odd[] = {
        "{}",
        "[]",
        "{\"user\":7,\"times\":{\"destroyed\":\"2027-01-15T08:00:00Z\",\"wall_s\":5}}",
        "{\"user\":\"ann\",\"times\":{\"destroyed\":\"yesterday\",\"wall_s\":5},\"granted\":{\"cpu_count\":1}"
        "}",
        "{\"user\":\"ann\",\"times\":{\"destroyed\":\"2027-01-15T08:00:00Z\",\"wall_s\":null},"
        "\"granted\":{\"cpu_count\":1}}",
        "{\"user\":\"ann\",\"times\":{\"destroyed\":\"2027-01-15T08:00:00Z\",\"wall_s\":-5},"
        "\"granted\":{\"cpu_count\":1}}",
    };
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(odd); i++) {
        json_t *record = json_loads(odd[i], 0, NULL);
        assert_non_null(record);
        assert_int_equal(jb_fair_learn(&fair, record, NOW), 0);
        json_decref(record);
    }
    assert_int_equal(fair.len, 0);
    jb_fair_free(&fair);
}

/* NOLINTNEXTLINE(readability-function-size): one look at all tables */
static void accounts_sum_their_users_and_shares_are_the_sites(void **state)
{
    jb_autosite struct jb_site *site =
        site_of("queue:\n  shares: { accounts: { astro: 3 }, users: { ann: 2.5 } }\n"
                "  limits: { user: { running: 7 }, account: { cpus: 16 } }\n");
    struct jb_fair fair = {.site = site};
    uint32_t ann;
    uint32_t bob;
    uint32_t alone;
    (void)state;
    learn(&fair, "astro", "ann", NOW, 10, 1, NOW);
    learn(&fair, "astro", "bob", NOW, 20, 1, NOW);
    learn(&fair, NULL, "ann", NOW, 40, 1, NOW);
    assert_int_equal(jb_fair_find(&fair, "astro", "ann", &ann), 0);
    assert_int_equal(jb_fair_find(&fair, "astro", "bob", &bob), 0);
    assert_int_equal(jb_fair_find(&fair, "", "ann", &alone), 0);
    assert_int_equal(fair.len, 3);
    jb_fair_refresh(&fair, NOW);
    assert_int_equal(fair.shares[ann].account, fair.shares[bob].account);
    assert_int_not_equal(fair.shares[ann].account, fair.shares[alone].account);
    assert_int_equal(fair.shares[ann].user, fair.shares[alone].user);
    const struct jb_sched_limit *astro = &fair.accounts[fair.shares[ann].account];
    const struct jb_sched_limit *none = &fair.accounts[fair.shares[alone].account];
    assert_near(astro->usage, 30);
    assert_near(none->usage, 40);
    assert_near(astro->share, 3);
    assert_near(none->share, 1);
    assert_near(fair.shares[ann].share, 2.5);
    assert_near(fair.shares[bob].share, 1);
    assert_int_equal(astro->max_pus, 16);
    assert_int_equal(none->max_pus, UINT32_MAX); /* no account has no limits of accounts */
    assert_int_equal(fair.users[fair.shares[ann].user].max_running, 7);
    jb_fair_free(&fair);
}

static void a_stored_figure_goes_on_where_it_was(void **state)
{
    jb_autosite struct jb_site *site = site_of("queue: { half_life: 1d }\n");
    struct jb_fair fair = {.site = site};
    uint32_t item;
    (void)state;
    assert_int_equal(jb_fair_find(&fair, "astro", "ann", &item), 0);
    jb_fair_set(&fair, item, 800, NOW - 2 * DAY);
    assert_false(fair.items[item].dirty);
    assert_near(usage_of(&fair, "astro", "ann", NOW), 200);
    jb_fair_add(&fair, item, 100, NOW);
    assert_true(fair.items[item].dirty);
    assert_near(usage_of(&fair, "astro", "ann", NOW), 300);
    jb_fair_free(&fair);
}

/* --- a month --- */

#define PUS     32
#define WAITING 12
#define USERS   3

static uint64_t seed = 88172645463325252U;
static uint64_t dice(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

struct person {
    const char *account, *user;
    double promised; /* of the whole machine */
    double got;
};

struct live {
    uint64_t begun_us, end_us;
    uint32_t person, pus;
};

struct month {
    struct jb_fair fair;
    struct person *people;
    struct live live[PUS];
    size_t n_live;
    uint64_t now_us;
    double all;
};

/* What a pass of the daemon does: usage up to now from the records, and on top of it what runs. */
static void decide(struct month *m)
{
    struct jb_sched_job jobs[USERS * WAITING] = {0};
    struct jb_sched_running running[PUS] = {0};
    struct jb_sched_verdict verdicts[USERS * WAITING];
    uint32_t order[USERS * WAITING];
    uint32_t whose[USERS * WAITING];
    struct jb_error err = {0};
    uint32_t item;
    for (size_t i = 0; i < USERS; i++) /* new ones first: the tables move when they grow */
        assert_int_equal(jb_fair_find(&m->fair, m->people[i].account, m->people[i].user, &item), 0);
    jb_fair_refresh(&m->fair, m->now_us);
    for (size_t i = 0; i < JB_ARRAY_LEN(jobs); i++) {
        whose[i] = (uint32_t)(i % USERS);
        assert_int_equal(jb_fair_find(&m->fair, m->people[whose[i]].account, m->people[whose[i]].user, &item),
                         0);
        jobs[i] = (struct jb_sched_job){.need = {.pus = (uint32_t)(1 + dice(4))},
                                        .submitted_us = m->now_us,
                                        .wall_us = (600 + dice(7200)) * S,
                                        .deadline_us = JB_UNSET,
                                        .share = item,
                                        .group = UINT32_MAX,
                                        .number = i};
    }
    for (size_t i = 0; i < m->n_live; i++) {
        const struct live *l = &m->live[i];
        assert_int_equal(
            jb_fair_find(&m->fair, m->people[l->person].account, m->people[l->person].user, &item), 0);
        struct jb_sched_share *s = &m->fair.shares[item];
        double used = l->pus * (double)(m->now_us - l->begun_us) / 1e6;
        running[i] = (struct jb_sched_running){.need = {.pus = l->pus},
                                               .started_us = l->begun_us,
                                               .wall_us = l->end_us - l->begun_us,
                                               .share = item,
                                               .group = UINT32_MAX};
        s->usage += used;
        m->fair.accounts[s->account].usage += used;
    }
    const struct jb_sched_input in = {
        .now_us = m->now_us,
        .capacity = {.pus = PUS, .memory = INT64_MAX, .scratch = INT64_MAX, .pids = INT64_MAX},
        .assume_us = 3600 * S,
        .depth = 64,
        .jobs = jobs,
        .n_jobs = JB_ARRAY_LEN(jobs),
        .running = running,
        .n_running = m->n_live,
        .shares = m->fair.shares,
        .n_shares = m->fair.len,
        .accounts = m->fair.accounts,
        .n_accounts = m->fair.n_accounts,
        .users = m->fair.users,
        .n_users = m->fair.n_users,
    };
    assert_int_equal(jb_sched_order(&in, order, &err), 0);
    assert_true(jb_sched_decide(&in, order, in.n_jobs, false, verdicts, &err) >= 0);
    for (size_t i = 0; i < in.n_jobs; i++)
        if (verdicts[i].why == JB_WHY_START)
            m->live[m->n_live++] = (struct live){.begun_us = m->now_us,
                                                 .end_us = m->now_us + jobs[i].wall_us,
                                                 .person = whose[i],
                                                 .pus = jobs[i].need.pus};
}

/* Until the next end, whose record is what the queue learns of. */
static void go_on(struct month *m)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < m->n_live; i++)
        next = m->live[i].end_us < next ? m->live[i].end_us : next;
    assert_true(next < UINT64_MAX);
    m->now_us = next;
    for (size_t i = 0; i < m->n_live;) {
        const struct live l = m->live[i];
        if (l.end_us > next) {
            i++;
            continue;
        }
        double wall_s = (double)(l.end_us - l.begun_us) / 1e6;
        learn(&m->fair, m->people[l.person].account, m->people[l.person].user, l.end_us, wall_s, (int)l.pus,
              next);
        m->people[l.person].got += wall_s * l.pus;
        m->all += wall_s * l.pus;
        m->live[i] = m->live[--m->n_live];
    }
}

static void live_a_month(const char *site_text, struct person *people, uint64_t days)
{
    jb_autosite struct jb_site *site = site_of(site_text);
    struct month m = {.fair = {.site = site}, .people = people, .now_us = NOW};
    while (m.now_us < NOW + days * DAY) {
        decide(&m);
        go_on(&m);
    }
    assert_true(m.all > 0.9 * PUS * (double)days * 86400); /* and the machine was busy meanwhile */
    for (size_t i = 0; i < USERS; i++) {
        double got = people[i].got / m.all;
        if (fabs(got - people[i].promised) > 0.02 * people[i].promised)
            fail_msg("%s in %s got %.4f and was promised %.4f", people[i].user, people[i].account, got,
                     people[i].promised);
    }
    jb_fair_free(&m.fair);
}

static void two_accounts_over_a_month(void **state)
{
    struct person people[USERS] = {
        {"astro", "ann", 0.5, 0}, {"astro", "bob", 0.25, 0}, {"bio", "cem", 0.25, 0}};
    (void)state;
    live_a_month("queue:\n  shares: { accounts: { astro: 3, bio: 1 }, users: { ann: 2, bob: 1 } }\n", people,
                 30);
}

static void three_users_over_a_month(void **state)
{
    struct person people[USERS] = {{"", "ann", 0.5, 0}, {"", "bob", 0.3, 0}, {"", "cem", 0.2, 0}};
    (void)state;
    live_a_month("queue:\n  half_life: 7d\n  shares: { users: { ann: 5, bob: 3, cem: 2 } }\n", people, 30);
}

/* The history is the journal's: who used the machine alone for a month before stands back until the others have caught up. */
static void history_is_made_up_for(void **state)
{
    struct person people[USERS] = {{"", "ann", 0, 0}, {"", "bob", 0, 0}, {"", "cem", 0, 0}};
    jb_autosite struct jb_site *site = site_of("queue: { half_life: 7d }\n");
    struct month m = {.fair = {.site = site}, .people = people, .now_us = NOW};
    (void)state;
    for (uint64_t day = 30; day > 0; day--)
        learn(&m.fair, "", "ann", NOW - day * DAY, 86400, PUS, NOW);
    while (m.now_us < NOW + 3 * DAY) {
        decide(&m);
        go_on(&m);
    }
    assert_true(people[0].got < 0.05 * m.all);
    assert_true(fabs(people[1].got - people[2].got) < 0.02 * m.all);
    jb_fair_free(&m.fair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_halves_in_a_half_life),
        cmocka_unit_test(records_count_as_of_when_they_ended_in_any_order),
        cmocka_unit_test(records_that_tell_nothing_are_passed_over),
        cmocka_unit_test(accounts_sum_their_users_and_shares_are_the_sites),
        cmocka_unit_test(a_stored_figure_goes_on_where_it_was),
        cmocka_unit_test(two_accounts_over_a_month),
        cmocka_unit_test(three_users_over_a_month),
        cmocka_unit_test(history_is_made_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
