/*
 * test_supervise_limits.c - limits that the supervisor keeps by the clock, warnings ahead of them, and the grace.
 */
#include "supervise_bench.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

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

/* What the supervisor and the fake share: a clock that they put forward, by more than this machine may be late. */
struct shared_time {
    uint64_t ahead; /* ns before the kernel's */
    uint64_t looks; /* how often the supervisor has looked at it */
    uint64_t late;  /* at which look it finds itself an hour late; 0: at none */
    int happen;     /* in that hour, by the fake: one of these */
};
enum { NOTHING, WANTED, DONE, GIVEN_UP };
static struct shared_time *shared;

/* From NOTHING: the supervisor wants it, or the fake gives up, whoever comes first. */
static bool moves_on(int to)
{
    int from = NOTHING;
    return __atomic_compare_exchange_n(&shared->happen, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static uint64_t shared_ns(void *ctx)
{
    (void)ctx;
    if (++shared->looks == shared->late && moves_on(WANTED)) {
        while (__atomic_load_n(&shared->happen, __ATOMIC_SEQ_CST) != DONE)
            (void)usleep(100);
        (void)__atomic_add_fetch(&shared->ahead, 3600 * JB_NS_PER_S, __ATOMIC_SEQ_CST);
    }
    return mono() + __atomic_load_n(&shared->ahead, __ATOMIC_SEQ_CST);
}

static const struct jb_clock shared_clock = {.mono_ns = shared_ns};

static void share_time(struct bench *b, uint64_t late)
{
    *shared = (struct shared_time){.late = late};
    b->s.clock = &shared_clock;
}

static void talks_for_a_while(struct fake_init *in)
{
    int unread;
    started(in);
    for (int i = 0; i < 12; i++) {
        (void)__atomic_add_fetch(&shared->ahead, 45 * JB_NS_PER_S, __ATOMIC_SEQ_CST);
        say(in->out, "x");
        while (ioctl(in->out, FIONREAD, &unread) == 0 && unread > 0)
            (void)usleep(100);
    }
    ended(in, 0);
    (void)hear(in);
}

static void output_keeps_a_job_from_being_idle(void **state)
{
    struct bench *b = *state;
    share_time(b, 0);
    b->plan.idle_ns = 60 * JB_NS_PER_S; /* longer than a pause, a ninth of all of them */
    run(b, talks_for_a_while);
    expect_end(b, JB_END_COMPLETED, 0, 0);
    assert_int_equal(b->outcome.stdout_bytes, 12);
}

static void runs_by_shared_time(struct fake_init *in)
{
    if (hear(in) != 1000)
        _exit(22);
    tell(in, &(struct jb_msg){.type = JB_MSG_STARTED, .mono_ns = mono() + shared->ahead});
}

/* False: the supervisor looks at the clock no more, that hour does not come. */
static bool await_the_hour(void)
{
    uint64_t looks = 0;
    for (int i = 0; i < 5000; i++) {
        if (__atomic_load_n(&shared->happen, __ATOMIC_SEQ_CST) == WANTED)
            return true;
        uint64_t now = __atomic_load_n(&shared->looks, __ATOMIC_SEQ_CST);
        i = now == looks ? i : 0;
        looks = now;
        (void)usleep(100);
    }
    return !moves_on(GIVEN_UP);
}

static void talks_in_that_hour(struct fake_init *in)
{
    int unread;
    runs_by_shared_time(in);
    if (await_the_hour()) {
        say(in->out, "x");
        __atomic_store_n(&shared->happen, DONE, __ATOMIC_SEQ_CST);
        while (ioctl(in->out, FIONREAD, &unread) == 0 && unread > 0)
            (void)usleep(100);
    }
    ended(in, 0);
    (void)hear(in);
}

static void ends_in_that_hour(struct fake_init *in)
{
    runs_by_shared_time(in);
    bool came = await_the_hour();
    ended(in, 0);
    if (came)
        __atomic_store_n(&shared->happen, DONE, __ATOMIC_SEQ_CST);
    (void)hear(in);
}

/* At whichever look at the clock the supervisor finds that it did not run for an hour: what was there in time counts. */
static void at_every_look(void **state, script_fn *script, uint64_t wall_ns, uint64_t idle_ns)
{
    for (uint64_t look = 1;; look++) {
        struct bench *b = *state;
        share_time(b, look);
        b->plan.wall_ns = wall_ns;
        b->plan.idle_ns = idle_ns;
        run(b, script);
        expect_end(b, JB_END_COMPLETED, 0, 0);
        if (shared->happen == GIVEN_UP) {
            assert_true(look > 3); /* at the start, before it waits, and after it */
            return;
        }
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

static void output_counts_however_late_it_is_seen(void **state)
{
    at_every_look(state, talks_in_that_hour, JB_UNSET, 60 * JB_NS_PER_S);
}

static void an_end_counts_however_late_it_is_seen(void **state)
{
    at_every_look(state, ends_in_that_hour, 60 * JB_NS_PER_S, JB_UNSET);
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

/* The supervisor is woken to find how late it is. */
static void after(struct fake_init *in, uint64_t ns)
{
    (void)__atomic_add_fetch(&shared->ahead, ns, __ATOMIC_SEQ_CST);
    say(in->out, "x");
}

static void until_cont(struct fake_init *in)
{
    runs_by_shared_time(in);
    after(in, 2400 * JB_NS_PER_S);
    wait_for_signal(in, SIGUSR1);
    after(in, 2400 * JB_NS_PER_S);
    wait_for_signal(in, SIGCONT);
    ended(in, 0);
    (void)hear(in);
}

static void warned_and_then_asked(void **state)
{
    struct bench *b = *state;
    share_time(b, 0);
    b->plan.wall_ns = 3600 * JB_NS_PER_S;
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
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        with_bench(wall_time_asks_first),
        with_bench(then_kills_when_the_grace_is_over),
        with_bench(idle_asks_too),
        with_bench(output_keeps_a_job_from_being_idle),
        with_bench(output_counts_however_late_it_is_seen),
        with_bench(an_end_counts_however_late_it_is_seen),
        with_bench(more_limits_in_the_grace_change_nothing),
        with_bench(unknown_cpu_time_is_no_timeout),
        with_bench(warns_ahead_of_the_wall_time),
        with_bench(warned_and_then_asked),
        with_bench(wall_time_runs_from_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
