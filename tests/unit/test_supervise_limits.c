/*
 * test_supervise_limits.c - limits that the supervisor keeps by the clock, warnings ahead of them, and the grace.
 */
#include "supervise_bench.h"

static void wall_time_asks_first(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 40 * MS;
    b->plan.grace_ns = 60 * JB_NS_PER_S; /* the fake obeys at once: the grace is not waited for */
    run(b, until_term);
    expect_end(b, JB_END_TIMEOUT, -1, SIGTERM);
    expect_text(b->outcome.limit, "wall_time 40ms");
    expect_text(b->outcome.killed_by, "jobbox");
    assert_true(b->took_ns >= 40 * MS);
    assert_true(b->outcome.wall_ns < 30 * JB_NS_PER_S);
    expect_told(b, "15 18 ");
}

static void then_kills_when_the_grace_is_over(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 20 * MS;
    b->plan.grace_ns = 80 * MS;
    run(b, until_kill);
    expect_end(b, JB_END_TIMEOUT, -1, SIGKILL);
    assert_true(b->took_ns >= 100 * MS);
    expect_told(b, "15 18 9 ");
}

static void idle_asks_too(void **state)
{
    struct bench *b = *state;
    b->plan.idle_ns = 40 * MS;
    run(b, until_term);
    expect_end(b, JB_END_IDLE_TIMEOUT, -1, SIGTERM);
    expect_text(b->outcome.limit, "idle 40ms");
}

static void talks_for_a_while(struct fake_init *in)
{
    started(in);
    for (int i = 0; i < 12; i++) {
        say(in->out, "x");
        (void)usleep(50000);
    }
    ended(in, 0);
    (void)hear(in);
}

static void output_keeps_a_job_from_being_idle(void **state)
{
    struct bench *b = *state;
    b->plan.idle_ns = 450 * MS; /* shorter than the job, nine times longer than its pauses */
    run(b, talks_for_a_while);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_int_equal(b->outcome.stdout_bytes, 12);
}

static void more_limits_in_the_grace_change_nothing(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 20 * MS;
    b->plan.idle_ns = 60 * MS;
    b->plan.grace_ns = 200 * MS;
    run(b, until_kill);
    expect_end(b, JB_END_TIMEOUT, -1, SIGKILL);
    expect_text(b->outcome.limit, "wall_time 20ms");
    assert_true(b->took_ns >= 220 * MS); /* nor is the grace begun anew or cut short */
    expect_told(b, "15 18 9 ");
}

/* Without a cgroup the CPU time is not known; the limit is looked at and nothing is made up. */
static void unknown_cpu_time_is_no_timeout(void **state)
{
    struct bench *b = *state;
    b->plan.cpu_ns = 1;
    run(b, quietly);
    expect_end(b, JB_END_COMPLETED, 0, 0);
}

static void until_usr2(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGUSR2);
    ended(in, 0);
    (void)hear(in);
}

static void warns_ahead_of_the_wall_time(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 60 * JB_NS_PER_S;
    b->plan.warn.signal = SIGUSR2;
    b->plan.warn.left_ns = 60 * JB_NS_PER_S - 30 * MS;
    run(b, until_usr2);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    expect_text(b->outcome.limit, NULL);
    assert_true(b->took_ns >= 30 * MS);
    expect_told(b, "12 ");
}

static void until_cont(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGCONT);
    ended(in, 0);
    (void)hear(in);
}

static void warned_and_then_asked(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 60 * MS;
    b->plan.grace_ns = 60 * JB_NS_PER_S;
    b->plan.warn.signal = SIGUSR1;
    b->plan.warn.percent = 50;
    b->plan.end_signal = SIGINT;
    run(b, until_cont);
    expect_end(b, JB_END_TIMEOUT, 0, 0);
    expect_told(b, "10 2 18 ");
}

static void late_to_say(struct fake_init *in)
{
    if (hear(in) != 1000)
        _exit(22);
    wait_for_signal(in, SIGTERM); /* it never says that the job runs */
    wait_for_signal(in, SIGCONT);
    ended(in, SIGTERM);
    (void)hear(in);
}

/* The clock of the wall time runs from GO: a box that does not come to its start is ended too. */
static void wall_time_runs_from_go(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 40 * MS;
    b->plan.grace_ns = 60 * JB_NS_PER_S;
    run(b, late_to_say);
    expect_end(b, JB_END_TIMEOUT, -1, SIGTERM);
    expect_text(b->outcome.limit, "wall_time 40ms");
    assert_true(b->outcome.started_us == JB_UNSET);
    expect_told(b, "15 18 ");
}

int main(void)
{
    supervise_tests_begin();
    const struct CMUnitTest tests[] = {
        with_bench(wall_time_asks_first),
        with_bench(then_kills_when_the_grace_is_over),
        with_bench(idle_asks_too),
        with_bench(output_keeps_a_job_from_being_idle),
        with_bench(more_limits_in_the_grace_change_nothing),
        with_bench(unknown_cpu_time_is_no_timeout),
        with_bench(warns_ahead_of_the_wall_time),
        with_bench(warned_and_then_asked),
        with_bench(wall_time_runs_from_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
