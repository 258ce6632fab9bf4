/*
 * test_supervise.c - how a job ends and who ends it: by itself, by signals, by the loss of jobbox-init.
 */
#include "supervise_bench.h"

static void completes(void **state)
{
    struct bench *b = *state;
    run(b, quietly);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    expect_text(b->outcome.limit, NULL);
    expect_text(b->outcome.killed_by, NULL);
    assert_true(b->outcome.has_rusage);
    assert_int_equal(b->outcome.rusage.user_us, 1500);
    assert_int_equal(b->outcome.rusage.minor_faults, 7);
    assert_true(b->outcome.started_us != JB_UNSET);
    assert_true(b->outcome.ended_us >= b->outcome.started_us);
    assert_true(b->outcome.wall_ns != JB_UNSET);
    assert_true(b->outcome.scratch_used == JB_UNSET); /* nobody could look: unknown, not 0 */
    assert_int_equal(b->outcome.stdout_bytes, 7);
    assert_int_equal(b->outcome.stderr_bytes, 0);
    assert_false(b->outcome.output_truncated);
    expect_output(b, "to out\n");
    expect_told(b, "");
}

static void fails_with_its_own_code(void **state)
{
    struct bench *b = *state;
    run(b, with_code_3);
    expect_end(b, JB_END_FAILED, 3, 0);
    assert_int_equal(b->outcome.stderr_bytes, 4);
}

static void by_sigsegv(struct fake_init *in)
{
    started(in);
    ended(in, SIGSEGV);
    (void)hear(in);
}

static void dies_of_a_signal(void **state)
{
    struct bench *b = *state;
    run(b, by_sigsegv);
    expect_end(b, JB_END_SIGNALED, -1, SIGSEGV);
}

static void not_found(struct fake_init *in)
{
    (void)hear(in);
    tell(in, &(struct jb_msg){.type = JB_MSG_EXEC_FAILED, .errnum = ENOENT});
    ended(in, 127 << 8);
    (void)hear(in);
}

static void not_executable(struct fake_init *in)
{
    (void)hear(in);
    tell(in, &(struct jb_msg){.type = JB_MSG_EXEC_FAILED, .errnum = EACCES});
    ended(in, 126 << 8);
    (void)hear(in);
}

static void commands_that_cannot_be_started(void **state)
{
    struct bench *b = *state;
    run(b, not_found);
    expect_end(b, JB_END_FAILED, 127, 0);
    assert_string_equal(b->outcome.error, "command not found in the box");
    assert_true(b->outcome.started_us == JB_UNSET); /* it never ran */
}

static void commands_that_may_not_be_started(void **state)
{
    struct bench *b = *state;
    run(b, not_executable);
    expect_end(b, JB_END_FAILED, 126, 0);
    assert_string_equal(b->outcome.error, "Permission denied");
}

static void ignores_everything(struct fake_init *in)
{
    started(in);
    for (;;)
        if (hear(in) == 0)
            _exit(0);
}

/* A clock that runs ahead: the two seconds that init may take to report are over at once. */
static uint64_t hasty(void *ctx)
{
    uint64_t *ahead = ctx;
    *ahead += 300 * MS;
    return mono() + *ahead;
}

static void silent_init_is_destroyed_from_outside(void **state)
{
    struct bench *b = *state;
    uint64_t ahead = 0;
    const struct jb_clock clock = {.mono_ns = hasty, .ctx = &ahead};
    b->s.clock = &clock;
    b->plan.wall_ns = 20 * MS;
    run(b, ignores_everything);
    expect_end(b, JB_END_TIMEOUT, -1, 0);
    assert_false(b->outcome.has_rusage);
    expect_text(b->outcome.limit, "wall_time 20ms");
    int status;
    assert_int_equal(waitpid(b->box.pid, &status, 0), b->box.pid); /* SIGKILL, not an exit of its own */
    b->box.pid = -1;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    expect_told(b, "15 18 9 ");
}

static void vanishes(struct fake_init *in)
{
    started(in);
    _exit(0);
}

static void init_gone_is_a_box_error(void **state)
{
    struct bench *b = *state;
    run(b, vanishes);
    expect_end(b, JB_END_BOX_ERROR, -1, 0);
    assert_string_equal(b->outcome.error, "jobbox-init was killed from outside the box");
    assert_false(b->outcome.has_rusage);
    assert_true(b->outcome.ended_us != JB_UNSET);
}

static void vanishes_on_term(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGTERM);
    _exit(0);
}

static void first_cause_counts(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 20 * MS;
    run(b, vanishes_on_term);
    expect_end(b, JB_END_TIMEOUT, -1, 0);
    assert_null(b->outcome.error);
}

static void gone_before_go(struct fake_init *in)
{
    (void)close(in->control);
    _exit(0);
}

static void init_gone_before_go(void **state)
{
    struct bench *b = *state;
    assert_ok(jb_streams_open(&b->plan, b->out_to[1], b->out_to[1], &b->streams, &b->err), &b->err);
    start_fake(b, gone_before_go);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)b->box.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(jb_supervise_go(&b->s, &b->err), -EPIPE);
    assert_contains(b->err.text, "starting the job");
}

static void interrupted_once(struct fake_init *in)
{
    started(in);
    (void)kill(in->supervisor, SIGINT);
    wait_for_signal(in, SIGTERM);
    wait_for_signal(in, SIGCONT);
    ended(in, SIGTERM);
    (void)hear(in);
}

static void cancelled_by_signal(void **state)
{
    struct bench *b = *state;
    b->plan.grace_ns = 60 * JB_NS_PER_S;
    run(b, interrupted_once);
    expect_end(b, JB_END_CANCELLED, -1, SIGTERM);
    expect_text(b->outcome.limit, NULL);
    jb_autofree char *who = jb_asprintf("SIGINT from pid %d uid %u", (int)b->box.pid, (unsigned)getuid());
    expect_text(b->outcome.killed_by, who);
    expect_told(b, "15 18 ");
}

static void interrupted_twice(struct fake_init *in)
{
    started(in);
    (void)kill(in->supervisor, SIGINT);
    wait_for_signal(in, SIGCONT); /* asked; now with emphasis */
    (void)kill(in->supervisor, SIGTERM);
    wait_for_signal(in, SIGKILL);
    ended(in, SIGKILL);
    (void)hear(in);
}

static void second_cancel_kills_at_once(void **state)
{
    struct bench *b = *state;
    b->plan.grace_ns = 60 * JB_NS_PER_S;
    run(b, interrupted_twice);
    expect_end(b, JB_END_CANCELLED, -1, SIGKILL);
    assert_true(b->outcome.wall_ns < 30 * JB_NS_PER_S);
    assert_contains(b->outcome.killed_by, "SIGINT from pid");
    expect_told(b, "15 18 9 ");
}

static void forwards_usr1(struct fake_init *in)
{
    started(in);
    (void)kill(in->supervisor, SIGUSR1);
    wait_for_signal(in, SIGUSR1);
    ended(in, 0);
    (void)hear(in);
}

static void other_signals_are_the_jobs(void **state)
{
    struct bench *b = *state;
    run(b, forwards_usr1);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    expect_told(b, "10 ");
}

static void vanishes_on_kill(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGKILL);
    _exit(0);
}

static void init_gone_after_the_kill(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 20 * MS;
    run(b, vanishes_on_kill);
    expect_end(b, JB_END_TIMEOUT, -1, 0);
    assert_false(b->outcome.has_rusage);
}

static void stops_and_goes_on(struct fake_init *in)
{
    started(in);
    (void)kill(in->supervisor, SIGTSTP);
    wait_for_signal(in, SIGSTOP);
    (void)usleep(60000); /* in an orphaned process group the kernel does not stop it at all */
    (void)kill(in->supervisor, SIGCONT);
    wait_for_signal(in, SIGCONT);
    ended(in, 0);
    (void)hear(in);
}

/* Ctrl-Z: the job stops first and goes on last, and what it stood still for is not held against it. */
static void stopped_with_its_supervisor(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 60 * JB_NS_PER_S;
    run(b, stops_and_goes_on);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_true(b->outcome.paused_ns <= b->outcome.wall_ns);
    expect_told(b, "19 18 ");
}

int main(void)
{
    supervise_tests_begin();
    const struct CMUnitTest tests[] = {
        with_bench(completes),
        with_bench(fails_with_its_own_code),
        with_bench(dies_of_a_signal),
        with_bench(commands_that_cannot_be_started),
        with_bench(commands_that_may_not_be_started),
        with_bench(silent_init_is_destroyed_from_outside),
        with_bench(init_gone_is_a_box_error),
        with_bench(first_cause_counts),
        with_bench(init_gone_before_go),
        with_bench(cancelled_by_signal),
        with_bench(second_cancel_kills_at_once),
        with_bench(other_signals_are_the_jobs),
        with_bench(init_gone_after_the_kill),
        with_bench(stopped_with_its_supervisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
