/*
 * test_schedule.c - who starts when: order, holes, limits, windows, shares over a month, and how long a decision takes.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "queue/schedule.h"

#define S   UINT64_C(1000000)
#define NOW (UINT64_C(1800000000) * S)
#define GIB (UINT64_C(1) << 30)

#define JOBS_MAX 64

/* A small world: one account, users 0 to 3, everything unlimited until a test says otherwise. */
struct world {
    struct jb_sched_job jobs[JOBS_MAX];
    struct jb_sched_running running[JOBS_MAX];
    struct jb_sched_share shares[4];
    struct jb_sched_limit accounts[2], users[4];
    struct jb_sched_group groups[2];
    struct jb_sched_window windows[2];
    struct jb_sched_verdict verdicts[JOBS_MAX];
    uint32_t order[JOBS_MAX];
    struct jb_sched_input in;
};

static void begin(struct world *w, uint32_t pus)
{
    memset(w, 0, sizeof(*w));
    for (uint32_t i = 0; i < 4; i++) {
        w->shares[i] = (struct jb_sched_share){.account = 0, .user = i, .share = 1};
        w->users[i] = (struct jb_sched_limit){.share = 1, .max_running = UINT32_MAX, .max_pus = UINT32_MAX};
    }
    for (size_t i = 0; i < 2; i++)
        w->accounts[i] =
            (struct jb_sched_limit){.share = 1, .max_running = UINT32_MAX, .max_pus = UINT32_MAX};
    w->in = (struct jb_sched_input){
        .now_us = NOW,
        .capacity = {.pus = pus, .memory = 64 * GIB, .scratch = 64 * GIB, .pids = 100000},
        .assume_us = 3600 * S,
        .depth = 16,
        .jobs = w->jobs,
        .running = w->running,
        .shares = w->shares,
        .n_shares = 4,
        .accounts = w->accounts,
        .n_accounts = 2,
        .users = w->users,
        .n_users = 4,
        .groups = w->groups,
        .n_groups = 2,
        .windows = w->windows,
    };
}

/* A job of user 0 that arrives after those before it. */
static struct jb_sched_job *add(struct world *w, uint32_t pus, uint64_t wall_s)
{
    struct jb_sched_job *j = &w->jobs[w->in.n_jobs];
    *j = (struct jb_sched_job){.need = {.pus = pus},
                               .submitted_us = NOW - (100 - w->in.n_jobs) * S,
                               .wall_us = wall_s == JB_UNSET ? JB_UNSET : wall_s * S,
                               .deadline_us = JB_UNSET,
                               .group = UINT32_MAX,
                               .number = w->in.n_jobs};
    w->in.n_jobs++;
    return j;
}

static struct jb_sched_running *run(struct world *w, uint32_t pus, uint64_t ago_s, uint64_t wall_s)
{
    struct jb_sched_running *r = &w->running[w->in.n_running++];
    *r = (struct jb_sched_running){.need = {.pus = pus},
                                   .started_us = NOW - ago_s * S,
                                   .wall_us = wall_s == JB_UNSET ? JB_UNSET : wall_s * S,
                                   .group = UINT32_MAX};
    return r;
}

static int decide(struct world *w)
{
    struct jb_error err = {0};
    assert_int_equal(jb_sched_order(&w->in, w->order, &err), 0);
    return jb_sched_decide(&w->in, w->order, w->in.n_jobs, false, w->verdicts, &err);
}

#define WHY(w, i, expected) \
    assert_string_equal(jb_sched_why_name((w)->verdicts[i].why), jb_sched_why_name(expected))

static void order_is_priority_share_age(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 1);
    add(&w, 1, 10);
    add(&w, 1, 10)->share = 1;
    add(&w, 1, 10)->share = 1;
    add(&w, 1, 10)->priority = 5;
    w.shares[0].usage = 1000;
    w.shares[1].usage = 10;
    assert_int_equal(decide(&w), 1);
    const uint32_t expected[] = {3, 1, 2, 0};
    for (size_t i = 0; i < JB_ARRAY_LEN(expected); i++)
        assert_int_equal(w.order[i], expected[i]);
    WHY(&w, 3, JB_WHY_START);
    w.shares[0].share = 1000; /* who was promised so much more has used little of it */
    assert_int_equal(decide(&w), 1);
    assert_int_equal(w.order[1], 0);
}

static void a_hole_is_filled_and_nobody_delayed(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 4);
    run(&w, 3, 0, 100); /* one CPU is free for 100 s */
    add(&w, 4, 50);     /* wants all: in 100 s */
    add(&w, 1, 100);    /* ends just in time */
    add(&w, 1, 10);     /* no CPU is left for it now */
    assert_int_equal(decide(&w), 1);
    WHY(&w, 0, JB_WHY_CPUS);
    assert_int_equal(w.verdicts[0].start_us, NOW + 100 * S);
    WHY(&w, 1, JB_WHY_START);
    WHY(&w, 2, JB_WHY_CPUS);
    assert_int_equal(w.verdicts[2].start_us, NOW + 150 * S); /* and not before the first */

    begin(&w, 4);
    run(&w, 3, 0, 100);
    add(&w, 4, 50);
    add(&w, 1, 101); /* a second too long */
    add(&w, 1, JB_UNSET);
    assert_int_equal(decide(&w), 0);
    WHY(&w, 1, JB_WHY_PRIORITY);
    WHY(&w, 2, JB_WHY_PRIORITY);
}

static void memory_scratch_and_processes_count(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 8);
    run(&w, 1, 0, 100)->need.memory = 60 * GIB;
    add(&w, 1, 10)->need.memory = 8 * GIB;
    add(&w, 1, 10)->need.scratch = 40 * GIB;
    add(&w, 1, 10)->need.scratch = 40 * GIB;
    add(&w, 1, 10)->need.pids = 60000;
    add(&w, 1, 10)->need.pids = 60000;
    add(&w, 9, 10);
    assert_int_equal(decide(&w), 2);
    WHY(&w, 0, JB_WHY_MEMORY);
    assert_int_equal(w.verdicts[0].start_us, NOW + 100 * S);
    WHY(&w, 1, JB_WHY_START);
    assert_string_not_equal(jb_sched_why_name(w.verdicts[2].why), "starts");
    WHY(&w, 3, JB_WHY_START);
    assert_string_not_equal(jb_sched_why_name(w.verdicts[4].why), "starts");
    WHY(&w, 5, JB_WHY_NEVER);
}

static void shared_ones_share(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 2);
    for (int i = 0; i < 5; i++)
        add(&w, 1, 10)->need.shared = true;
    add(&w, 1, 10);
    add(&w, 1, 10);
    assert_int_equal(decide(&w), 6); /* all five on one CPU, an exclusive one on the other */
    WHY(&w, 6, JB_WHY_CPUS);
}

static void limits_hold_within_a_pass_and_are_put_back(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 8);
    w.users[0].max_running = 2;
    w.users[1].max_pus = 3;
    w.groups[0].max = 1;
    for (int i = 0; i < 3; i++)
        add(&w, 1, 10);
    add(&w, 2, 10)->share = 1;
    add(&w, 2, 10)->share = 1;
    add(&w, 1, 10)->share = 2;
    add(&w, 1, 10)->share = 2;
    w.jobs[5].group = w.jobs[6].group = 0;
    assert_int_equal(decide(&w), 4);
    WHY(&w, 2, JB_WHY_USER);
    WHY(&w, 4, JB_WHY_USER);
    WHY(&w, 6, JB_WHY_ARRAY);
    assert_int_equal(w.users[0].running, 0);
    assert_int_equal(w.groups[0].running, 0);
    w.accounts[0].max_pus = 1;
    assert_int_equal(decide(&w), 1);
    w.in.drained = true;
    assert_int_equal(decide(&w), 0);
    WHY(&w, 0, JB_WHY_DRAINED);
}

static void reservations_and_maintenance(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 4);
    w.windows[0] =
        (struct jb_sched_window){.from_us = NOW + 100 * S, .to_us = NOW + 200 * S, .pus = UINT32_MAX};
    w.windows[1] = (struct jb_sched_window){.from_us = NOW - S, .to_us = NOW + 1000 * S, .pus = 3};
    w.in.n_windows = 2;
    add(&w, 1, 100);             /* is over in time */
    add(&w, 1, 101);             /* would run into maintenance, and the rest is not for it */
    add(&w, 3, 90)->windows = 2; /* may use the reservation */
    add(&w, 1, JB_UNSET);
    assert_int_equal(decide(&w), 2);
    WHY(&w, 0, JB_WHY_START);
    WHY(&w, 1, JB_WHY_WINDOW);
    WHY(&w, 2, JB_WHY_START);
    assert_string_not_equal(jb_sched_why_name(w.verdicts[3].why), "starts");
}

static void what_is_kept_for_a_window_is_kept_until_it_begins(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 2);
    w.windows[0] = (struct jb_sched_window){.from_us = NOW + 180 * S, .to_us = NOW + 1000 * S, .pus = 2};
    w.in.n_windows = 1;
    run(&w, 1, 0, 40)->windows = 1; /* of a member, and over before */
    add(&w, 1, 1200);
    assert_int_equal(decide(&w), 0);
    WHY(&w, 0, JB_WHY_WINDOW);
    w.running[0].wall_us = 2000 * S; /* now the member has half of it himself */
    w.windows[0].pus = 1;
    assert_int_equal(decide(&w), 1);
    begin(&w, 2); /* also one that starts in the same pass */
    w.windows[0] = (struct jb_sched_window){.from_us = NOW + 180 * S, .to_us = NOW + 1000 * S, .pus = 1};
    w.in.n_windows = 1;
    add(&w, 1, 2000)->windows = 1;
    add(&w, 1, 1200);
    assert_int_equal(decide(&w), 2);
}

static void shared_ones_do_not_pass_an_exclusive_one_for_ever(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 2);
    run(&w, 1, 0, 30)->need.shared = true;
    add(&w, 2, 10); /* all of it, when the shared one has ended */
    add(&w, 1, 60)->need.shared = true;
    add(&w, 1, 30)->need.shared = true; /* in nobody's way */
    assert_int_equal(decide(&w), 1);
    assert_int_equal(w.verdicts[0].start_us, NOW + 30 * S);
    WHY(&w, 1, JB_WHY_PRIORITY);
    WHY(&w, 2, JB_WHY_START);
}

static void deadlines(void **state)
{
    struct world w;
    (void)state;
    begin(&w, 2);
    add(&w, 1, 100)->deadline_us = NOW + 99 * S;
    add(&w, 1, 100)->deadline_us = NOW + 100 * S;
    assert_int_equal(decide(&w), 1);
    WHY(&w, 0, JB_WHY_DEADLINE);
}

/* --- simulations --- */

static uint64_t seed = 88172645463325252U;
static uint64_t dice(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

/*
 * Whatever comes behind it and however much shorter than their wall times others run: the first in line starts no later
 * than it was told at first.
 */
static void the_first_in_line_is_never_delayed(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct world w;
        uint64_t ends[JOBS_MAX];
        begin(&w, 16);
        for (size_t n = 2 + dice(6), k = 0; k < n; k++) {
            struct jb_sched_running *r = run(&w, (uint32_t)(1 + dice(3)), dice(50), 60 + dice(200));
            r->need.memory = dice(8) * GIB;
            ends[k] = r->started_us + r->wall_us - dice(r->wall_us - (NOW - r->started_us));
        }
        add(&w, (uint32_t)(10 + dice(7)), 100)->need.memory = dice(40) * GIB;
        for (size_t k = 0; k < 20; k++)
            add(&w, (uint32_t)(1 + dice(4)), 10 + dice(300))->need.memory = dice(4) * GIB;
        uint64_t promised = JB_UNSET;
        for (int step = 0; step < 200; step++) {
            bool first_left = w.in.n_jobs > 0 && w.jobs[0].number == 0;
            if (!first_left)
                break;
            assert_true(decide(&w) >= 0);
            if (w.verdicts[0].why == JB_WHY_START) {
                assert_true(promised == JB_UNSET || w.in.now_us <= promised);
                break;
            }
            assert_true(w.verdicts[0].start_us != JB_UNSET);
            if (promised == JB_UNSET)
                promised = w.verdicts[0].start_us;
            size_t left = 0;
            for (size_t i = 0; i < w.in.n_jobs; i++) { /* those that start, start */
                if (w.verdicts[i].why != JB_WHY_START) {
                    w.jobs[left++] = w.jobs[i];
                    continue;
                }
                size_t at = w.in.n_running++;
                w.running[at] = (struct jb_sched_running){.need = w.jobs[i].need,
                                                          .started_us = w.in.now_us,
                                                          .wall_us = w.jobs[i].wall_us,
                                                          .group = UINT32_MAX};
                ends[at] = w.in.now_us + w.jobs[i].wall_us - dice(w.jobs[i].wall_us);
            }
            w.in.n_jobs = left;
            uint64_t next = JB_UNSET;
            for (size_t i = 0; i < w.in.n_running; i++)
                next = ends[i] < next ? ends[i] : next;
            assert_true(next != JB_UNSET);
            w.in.now_us = next > w.in.now_us ? next : w.in.now_us;
            for (size_t i = 0; i < w.in.n_running;) {
                if (ends[i] > w.in.now_us) {
                    i++;
                    continue;
                }
                w.running[i] = w.running[--w.in.n_running];
                ends[i] = ends[w.in.n_running];
            }
        }
    }
}

/* A month of four users who always want more than there is: each gets what his share promises. */
/* NOLINTNEXTLINE(readability-function-size): one month, told in order */
static void shares_come_true_over_a_month(void **state)
{
    static const double promised[] = {8, 4, 2, 2};
    enum { PUS = 32, HALF_LIFE_S = 7 * 86400 };
    struct world w;
    struct {
        uint64_t end;
        uint32_t user, pus;
    } live[PUS];
    size_t n_live = 0;
    double total[4] = {0};
    double all = 0;
    uint64_t now = NOW;
    (void)state;
    begin(&w, PUS);
    for (uint32_t u = 0; u < 4; u++)
        w.shares[u].share = promised[u];
    for (uint64_t last = now; now < NOW + 30 * UINT64_C(86400) * S; last = now) {
        w.in.n_jobs = w.in.n_running = 0;
        w.in.now_us = now;
        for (uint32_t i = 0; i < 40; i++) { /* everybody has ten waiting, of all sizes */
            struct jb_sched_job *j = add(&w, (uint32_t)(1 + dice(4)), 600 + dice(7200));
            j->share = i % 4;
            j->submitted_us = now;
        }
        for (size_t i = 0; i < n_live; i++) {
            struct jb_sched_running *r = run(&w, live[i].pus, 0, 1);
            r->started_us = now;
            r->wall_us = live[i].end - now;
        }
        assert_true(decide(&w) >= 0);
        for (size_t i = 0; i < w.in.n_jobs; i++)
            if (w.verdicts[i].why == JB_WHY_START) {
                live[n_live].end = now + w.jobs[i].wall_us;
                live[n_live].user = w.jobs[i].share;
                live[n_live++].pus = w.jobs[i].need.pus;
            }
        uint64_t next = JB_UNSET;
        for (size_t i = 0; i < n_live; i++)
            next = live[i].end < next ? live[i].end : next;
        now = next;
        double seconds = (double)(now - last) / 1e6;
        double left = 1.0 - 0.693147 * seconds / HALF_LIFE_S; /* of what was used before; steps are short */
        for (int u = 0; u < 4; u++)
            w.shares[u].usage *= left;
        for (size_t i = 0; i < n_live;) {
            w.shares[live[i].user].usage += live[i].pus * seconds;
            total[live[i].user] += live[i].pus * seconds;
            all += live[i].pus * seconds;
            if (live[i].end <= now)
                live[i] = live[--n_live];
            else
                i++;
        }
    }
    for (int u = 0; u < 4; u++) {
        double got = total[u] / all;
        double share = promised[u] / 16;
        if (got < share - 0.02 || got > share + 0.02)
            fail_msg("user %d got %.4f and was promised %.4f", u, got, share);
    }
    assert_true(all > 0.9 * PUS * 30 * 86400); /* and the machine was busy meanwhile */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_priority_share_age),
        cmocka_unit_test(a_hole_is_filled_and_nobody_delayed),
        cmocka_unit_test(memory_scratch_and_processes_count),
        cmocka_unit_test(shared_ones_share),
        cmocka_unit_test(limits_hold_within_a_pass_and_are_put_back),
        cmocka_unit_test(reservations_and_maintenance),
        cmocka_unit_test(what_is_kept_for_a_window_is_kept_until_it_begins),
        cmocka_unit_test(shared_ones_do_not_pass_an_exclusive_one_for_ever),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(the_first_in_line_is_never_delayed),
        cmocka_unit_test(shares_come_true_over_a_month),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
