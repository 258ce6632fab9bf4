/*
 * test_lifecycle.c - what must hold for the table of phases and events as a whole, and when CPU time is looked at.
 */
#include "support.h"

#include "base/units.h"
#include "job/lifecycle.h"
#include "job/loop.h"

static void every_phase_can_end(void **state)
{
    (void)state;
    for (enum jb_phase p = 0; p < JB_PHASE_ENDED; p++) {
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_INIT_ENDED).next, JB_PHASE_ENDED);
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_INIT_GONE).next, JB_PHASE_ENDED);
    }
    for (enum jb_cause c = 0; c < JB_CAUSE_MAX; c++)
        assert_int_equal(jb_lifecycle(JB_PHASE_ENDED, c).act, JB_ACT_NONE);
}

/* Even if init never says a word: deadlines alone lead from being asked to the end. */
static void deadlines_lead_to_the_end(void **state)
{
    (void)state;
    enum jb_phase p = JB_PHASE_GRACE;
    for (int steps = 0; p != JB_PHASE_ENDED; steps++) {
        assert_in_range(steps, 0, JB_PHASE_MAX);
        assert_int_not_equal(jb_lifecycle(p, JB_CAUSE_DEADLINE).act, JB_ACT_NONE);
        p = jb_lifecycle(p, JB_CAUSE_DEADLINE).next;
    }
}

static bool going(enum jb_phase p)
{
    return p == JB_PHASE_STARTING || p == JB_PHASE_RUNNING || p == JB_PHASE_PAUSED;
}

/* No event brings a job back that is on its way out, or makes its end milder. */
static void the_end_is_one_way(void **state)
{
    (void)state;
    for (enum jb_phase p = 0; p < JB_PHASE_MAX; p++)
        for (enum jb_cause c = 0; c < JB_CAUSE_MAX; c++) {
            struct jb_transition t = jb_lifecycle(p, c);
            if (t.act == JB_ACT_NONE)
                continue;
            if (!going(p))
                assert_true(t.next >= p);
            if (t.next == JB_PHASE_GRACE && p != JB_PHASE_GRACE)
                assert_int_equal(t.act, JB_ACT_ASK);
            if (t.next == JB_PHASE_KILLED)
                assert_int_equal(t.act, JB_ACT_KILL);
        }
}

static void what_limits_and_people_may_do(void **state)
{
    (void)state;
    for (enum jb_phase p = 0; p < JB_PHASE_MAX; p++) {
        bool is_going = going(p);
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_LIMIT).next == JB_PHASE_GRACE &&
                             jb_lifecycle(p, JB_CAUSE_LIMIT).act != JB_ACT_NONE,
                         is_going);
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_UPDATE).act != JB_ACT_NONE, is_going);
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_WARN).act != JB_ACT_NONE, is_going);
        assert_int_equal(jb_lifecycle(p, JB_CAUSE_RESUME).act != JB_ACT_NONE, p == JB_PHASE_PAUSED);
    }
    assert_int_equal(jb_lifecycle(JB_PHASE_GRACE, JB_CAUSE_PAUSE).act, JB_ACT_NONE);
    assert_int_equal(jb_lifecycle(JB_PHASE_GRACE, JB_CAUSE_CANCEL).next, JB_PHASE_KILLED);
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (enum jb_phase p = 0; p < JB_PHASE_MAX; p++)
        assert_non_null(jb_phase_name(p));
    for (enum jb_cause c = 0; c < JB_CAUSE_MAX; c++)
        assert_non_null(jb_cause_name(c));
    assert_null(jb_phase_name(JB_PHASE_MAX));
    assert_null(jb_cause_name(JB_CAUSE_MAX));
    assert_int_equal(jb_lifecycle(JB_PHASE_MAX, JB_CAUSE_LIMIT).act, JB_ACT_NONE);
}

/* A job that keeps `busy` of its `cpus` per mille busy: how often is it looked at, and by how much does it pass? */
static void burn(uint64_t limit, unsigned cpus, unsigned busy, unsigned *ret_looks, uint64_t *ret_over)
{
    uint64_t at = 0;
    struct jb_looks looks = {0};
    uint64_t next = jb_limits_next_look(0, limit, cpus, &looks);
    *ret_looks = 0;
    for (;;) {
        assert_true(next > at);
        at = next;
        ++*ret_looks;
        assert_true(*ret_looks <= 9 + at / JB_NS_PER_S);
        uint64_t used = at / 1000 * cpus * busy;
        if (used >= limit) {
            *ret_over = used - limit;
            return;
        }
        next = jb_limits_next_look(at, limit - used, cpus, &looks);
    }
}

static void cpu_time_is_looked_at_seldom_and_in_time(void **state)
{
    (void)state;
    static const uint64_t limits[] = {JB_NS_PER_S, 7 * JB_NS_PER_S, 3600 * JB_NS_PER_S, 864000 * JB_NS_PER_S};
    static const unsigned busy[] = {1000, 999, 990, 900, 500, 100, 20};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        for (unsigned cpus = 1; cpus <= 64; cpus *= 4)
            for (size_t b = 0; b < sizeof(busy) / sizeof(busy[0]); b++) {
                unsigned looks;
                uint64_t over;
                burn(limits[i], cpus, busy[b], &looks, &over);
                uint64_t rate = cpus * UINT64_C(1000) * busy[b] / 1000; /* CPU milliseconds a second */
                assert_true(over <= rate * JB_NS_PER_MS);
                if (busy[b] >= 990) { /* nearly all of them all the time: seen at the limit */
                    assert_true(over <= cpus * 51 * JB_NS_PER_MS);
                    assert_true(looks <= 6);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_phase_can_end),   cmocka_unit_test(deadlines_lead_to_the_end),
        cmocka_unit_test(the_end_is_one_way),    cmocka_unit_test(what_limits_and_people_may_do),
        cmocka_unit_test(everything_has_a_name), cmocka_unit_test(cpu_time_is_looked_at_seldom_and_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
