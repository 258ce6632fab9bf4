/*
 * test_supervise_output.c - a job's output on its way: the cap, files, readers that are slow or do not read.
 */
#include "supervise_bench.h"

static void writes_on(struct fake_init *in)
{
    say(in->out, "0123456789");
    say(in->err, "abcdefghij");
    wait_for_signal(in, SIGKILL);
    ended(in, SIGKILL);
    (void)hear(in);
}

static void writes_until_killed(struct fake_init *in)
{
    started(in);
    writes_on(in);
}

static void output_cap_is_exact(void **state)
{
    struct bench *b = *state;
    b->plan.output_bytes = 15;
    run(b, writes_until_killed);
    expect_end(b, JB_END_OUTPUT_LIMIT, -1, SIGKILL);
    expect_text(b->outcome.limit, "output 15 B");
    assert_true(b->outcome.output_truncated);
    assert_int_equal(b->outcome.stdout_bytes + b->outcome.stderr_bytes, 15);
    char text[64];
    assert_int_equal(read(b->out_to[0], text, sizeof(text)), 15);
    expect_told(b, "9 "); /* no grace for more of the same */
}

static void writes_just_enough(struct fake_init *in)
{
    started(in);
    say(in->out, "0123456789");
    ended(in, 0);
    (void)hear(in);
}

static void output_up_to_the_cap_is_fine(void **state)
{
    struct bench *b = *state;
    b->plan.output_bytes = 10;
    run(b, writes_just_enough);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_false(b->outcome.output_truncated);
    expect_output(b, "0123456789");
}

/* What was written right before the end, over the cap: the reason is the cap, not the good exit. */
static void output_over_the_cap_at_the_end(void **state)
{
    struct bench *b = *state;
    b->plan.output_bytes = 9;
    run(b, writes_just_enough);
    assert_true(b->outcome.output_truncated);
    assert_int_equal(b->outcome.stdout_bytes, 9);
    expect_output(b, "012345678");
    expect_text(b->outcome.limit, "output 9 B");
}

static void floods_when_asked_to_end(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGCONT);
    writes_on(in);
}

static void a_hard_limit_cuts_the_grace_short(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 20 * MS;
    b->plan.grace_ns = 60 * JB_NS_PER_S;
    b->plan.output_bytes = 15;
    run(b, floods_when_asked_to_end);
    expect_end(b, JB_END_TIMEOUT, -1, SIGKILL); /* what came first is the reason */
    assert_true(b->outcome.output_truncated);
    assert_true(b->outcome.wall_ns < 30 * JB_NS_PER_S);
    expect_told(b, "15 18 9 ");
}

static void interrupts_when_killed(struct fake_init *in)
{
    started(in);
    say(in->out, "too much");
    wait_for_signal(in, SIGKILL);
    (void)kill(in->supervisor, SIGINT);
    (void)usleep(50000); /* taken, or pending, before the end: neither may matter */
    ended(in, SIGKILL);
    (void)hear(in);
}

static void cancel_after_the_kill_changes_nothing(void **state)
{
    struct bench *b = *state;
    b->plan.output_bytes = 1;
    run(b, interrupts_when_killed);
    expect_end(b, JB_END_OUTPUT_LIMIT, -1, SIGKILL);
    expect_text(b->outcome.killed_by, "jobbox");
    expect_told(b, "9 ");
}

static void merged_error_output(void **state)
{
    struct bench *b = *state;
    b->plan.stderr_.kind = JB_STREAM_MERGE;
    run(b, with_code_3);
    assert_int_equal(b->outcome.stdout_bytes, 4);
    assert_int_equal(b->outcome.stderr_bytes, 0);
    expect_output(b, "bad\n");
}

static void output_into_files(void **state)
{
    struct bench *b = *state;
    jb_autofree char *path = jb_asprintf("%s/new/dir/out", b->dir);
    jb_autofree char *text = NULL;
    b->plan.stdout_ = (struct jb_plan_stream){.kind = JB_STREAM_FILE, .path = path};
    run(b, quietly);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_int_equal(jb_read_at(b->dir_fd, "new/dir/out", 100, &text, NULL), 0);
    assert_string_equal(text, "to out\n");
    expect_output(b, "");
}

static void long_lived(struct fake_init *in)
{
    started(in);
    (void)close(in->out);
    (void)close(in->err);
    wait_for_signal(in, SIGTERM);
    ended(in, SIGTERM);
    (void)hear(in);
}

/* A job that closes its output is not over, and does not make the loop spin. */
static void closed_output_is_not_the_end(void **state)
{
    struct bench *b = *state;
    b->plan.wall_ns = 100 * MS;
    struct timespec before;
    struct timespec after;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    run(b, long_lived);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    expect_end(b, JB_END_TIMEOUT, -1, SIGTERM);
    int64_t used = (after.tv_sec - before.tv_sec) * INT64_C(1000000000) + after.tv_nsec - before.tv_nsec;
    assert_true(used < (int64_t)(60 * MS));
}

#define FLOOD (200 * 1024) /* more than a pipe and the supervisor's own buffer hold */

static void floods_and_ends(struct fake_init *in)
{
    static char block[4096];
    started(in);
    memset(block, 'x', sizeof(block));
    for (size_t i = 0; i < FLOOD / sizeof(block); i++)
        if (write(in->out, block, sizeof(block)) != (ssize_t)sizeof(block))
            _exit(25);
    ended(in, 0);
    (void)hear(in);
}

static void floods_a_little(struct fake_init *in)
{
    static char
        block[96 * 1024]; /* what is on its way when the job has ended: more than the reader's pipe takes */
    started(in);
    memset(block, 'x', sizeof(block));
    if (write(in->out, block, sizeof(block)) != (ssize_t)sizeof(block))
        _exit(25);
    ended(in, 0);
}

static void floods_a_little_and_ends(struct fake_init *in)
{
    floods_a_little(in);
    (void)hear(in);
}

/* A clock by which each look is a second later, so that patience is soon over. */
static uint64_t leaping(void *ctx)
{
    uint64_t *ahead = ctx;
    *ahead += JB_NS_PER_S / 4;
    return mono() + *ahead;
}

static void a_reader_that_takes_nothing_is_not_waited_for(void **state)
{
    struct bench *b = *state;
    uint64_t ahead = 0;
    const struct jb_clock clock = {.mono_ns = leaping, .ctx = &ahead};
    b->s.clock = &clock;
    run(b, floods_a_little_and_ends);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_true(b->outcome.output_truncated);
    assert_true(b->outcome.stdout_bytes > 64 * 1024);
}

/* Reads all, with a rest after each piece; the rests are longer on the whole than one without a byte may be. */
static pid_t start_slow_reader(const struct bench *b, int count_to, useconds_t sleeps_first)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    uint64_t total = 0;
    char piece[8192];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)fcntl(b->out_to[0], F_SETFL, 0);
    (void)close(b->out_to[1]);
    (void)close(b->told[1]);
    (void)usleep(sleeps_first);
    for (ssize_t n; (n = read(b->out_to[0], piece, sizeof(piece))) > 0; total += (uint64_t)n)
        (void)usleep(1000);
    _exit(write(count_to, &total, sizeof(total)) == sizeof(total) ? 0 : 1);
}

static void a_slow_reader_gets_everything(void **state)
{
    struct bench *b = *state;
    int count[2];
    uint64_t total = 0;
    assert_int_equal(pipe2(count, O_CLOEXEC), 0);
    pid_t reader = start_slow_reader(b, count[1], 0);
    run(b, floods_and_ends);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_false(b->outcome.output_truncated);
    jb_streams_close(&b->streams);
    expect_told(b, ""); /* the fake's ends of the pipes are closed */
    assert_int_equal(read(count[0], &total, sizeof(total)), sizeof(total));
    assert_int_equal(waitpid(reader, NULL, 0), reader);
    assert_int_equal(total, FLOOD);
    (void)close(count[0]);
    (void)close(count[1]);
}

/* Nothing of it is for a job that is dead, and none of it is about its output. */
static void signals_while_its_output_is_read(struct fake_init *in)
{
    static const int all[] = {SIGWINCH, SIGUSR1, SIGTSTP};
    floods_a_little(in);
    for (size_t i = 0; i < JB_ARRAY_LEN(all); i++) {
        (void)usleep(20000);
        (void)kill(in->supervisor, all[i]);
        (void)usleep(20000);
        (void)kill(in->supervisor, SIGCONT); /* where it was stopped */
    }
    (void)hear(in);
}

static void a_signal_that_asks_nobody_to_go_costs_no_output(void **state)
{
    struct bench *b = *state;
    int count[2];
    uint64_t total = 0;
    assert_int_equal(pipe2(count, O_CLOEXEC), 0);
    pid_t reader = start_slow_reader(b, count[1], 300000);
    run(b, signals_while_its_output_is_read);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_false(b->outcome.output_truncated);
    jb_streams_close(&b->streams);
    expect_told(b, "");
    assert_int_equal(read(count[0], &total, sizeof(total)), sizeof(total));
    assert_int_equal(waitpid(reader, NULL, 0), reader);
    assert_int_equal(total, 96 * 1024);
    (void)close(count[0]);
    (void)close(count[1]);
}

static void is_asked_to_go_while_its_output_is_read(struct fake_init *in)
{
    floods_a_little(in);
    (void)usleep(20000);
    (void)kill(in->supervisor, SIGTERM);
    (void)hear(in);
}

static void whoever_is_asked_to_go_waits_for_no_reader(void **state)
{
    struct bench *b = *state;
    run(b, is_asked_to_go_while_its_output_is_read);
    expect_end(b, JB_END_CANCELLED, 0, 0);
    assert_true(b->outcome.output_truncated);
    assert_true(b->took_ns < 4 * JB_NS_PER_S);
}

int main(void)
{
    supervise_tests_begin();
    const struct CMUnitTest tests[] = {
        with_bench(output_cap_is_exact),
        with_bench(output_up_to_the_cap_is_fine),
        with_bench(output_over_the_cap_at_the_end),
        with_bench(a_hard_limit_cuts_the_grace_short),
        with_bench(cancel_after_the_kill_changes_nothing),
        with_bench(merged_error_output),
        with_bench(output_into_files),
        with_bench(closed_output_is_not_the_end),
        with_bench(a_reader_that_takes_nothing_is_not_waited_for),
        with_bench(a_slow_reader_gets_everything),
        with_bench(a_signal_that_asks_nobody_to_go_costs_no_output),
        with_bench(whoever_is_asked_to_go_waits_for_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
