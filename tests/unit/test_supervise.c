/*
 * test_supervise.c - the supervisor's loop against a fake jobbox-init: every reason for an end, every step towards it.
 *
 * The fake is a child that speaks the protocol of box/proto.h and never starts anything. What it was told it writes
 * to a pipe, so that a test can see the order of signals. Signals to the supervisor come from an ordinary signalfd,
 * raised by the test itself or by the fake.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "job/supervise.h"

#define MS JB_NS_PER_MS

struct bench;
struct fake_init {
    int control, out, err, told;
    pid_t supervisor;
};
typedef void script_fn(struct fake_init *in);

struct bench {
    struct jb_plan plan;
    struct jb_box box;
    struct jb_streams streams;
    struct jb_supervise s;
    struct jb_outcome outcome;
    struct jb_error err;
    char *dir;
    int dir_fd;
    int told[2];   /* "15 18 9 ": the signals the fake was told to send */
    int out_to[2]; /* where the supervisor carries output */
    sigset_t old;
    uint64_t took_ns; /* from GO to the end */
};

/* --- the fake's verbs --- */

static uint64_t mono(void)
{
    return jb_mono_ns(NULL);
}

static void tell(struct fake_init *in, const struct jb_msg *msg)
{
    if (send(in->control, msg, JB_MSG_HEAD, MSG_NOSIGNAL) < 0)
        _exit(20);
}

/* Waits for the next packet; a signal order is written down. 0: the supervisor is gone. */
static int hear(struct fake_init *in)
{
    struct jb_msg msg = {0};
    char text[16];
    ssize_t n = recv(in->control, &msg, sizeof(msg), 0);
    if (n <= 0)
        return 0;
    if (msg.type == JB_MSG_SIGNAL) {
        int len = snprintf(text, sizeof(text), "%d ", msg.value);
        if (write(in->told, text, (size_t)len) != len)
            _exit(21);
        return msg.value;
    }
    return msg.type == JB_MSG_GO ? 1000 : 1001;
}

static void started(struct fake_init *in)
{
    if (hear(in) != 1000)
        _exit(22);
    tell(in, &(struct jb_msg){.type = JB_MSG_STARTED, .mono_ns = mono()});
}

static void ended(struct fake_init *in, int status)
{
    (void)close(in->out);
    (void)close(in->err);
    tell(in, &(struct jb_msg){.type = JB_MSG_ENDED,
                              .value = status,
                              .mono_ns = mono(),
                              .user_us = 1500,
                              .system_us = 500,
                              .minor_faults = 7});
}

static void wait_for_signal(struct fake_init *in, int sig)
{
    int got;
    do
        got = hear(in);
    while (got != sig && got != 0);
    if (got == 0)
        _exit(23);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(24);
}

/* --- the bench --- */

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    sigset_t mask;
    b->dir = test_tmpdir();
    b->dir_fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(pipe2(b->told, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b->out_to, O_CLOEXEC), 0);
    assert_int_equal(fcntl(b->out_to[0], F_SETFL, O_NONBLOCK), 0);
    b->plan = (struct jb_plan){.submitter_uid = geteuid(),
                               .submitter_gid = getegid(),
                               .stdin_.kind = JB_STREAM_NULL,
                               .wall_ns = JB_UNSET,
                               .cpu_ns = JB_UNSET,
                               .idle_ns = JB_UNSET,
                               .grace_ns = 50 * MS,
                               .end_signal = SIGTERM,
                               .output_bytes = JB_UNSET,
                               .memory_max = JB_UNSET,
                               .scratch_bytes = JB_UNSET};
    sigemptyset(&mask);
    static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGWINCH, SIGQUIT, SIGTSTP};
    for (size_t i = 0; i < JB_ARRAY_LEN(taken); i++)
        sigaddset(&mask, taken[i]);
    assert_int_equal(sigprocmask(SIG_BLOCK, &mask, &b->old), 0);
    b->s = (struct jb_supervise){.plan = &b->plan,
                                 .box = &b->box,
                                 .streams = &b->streams,
                                 .signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK),
                                 .winch_fd = -1,
                                 .box_fd = -1};
    assert_true(b->s.signal_fd >= 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    jb_box_kill(&b->box);
    jb_box_close(&b->box);
    jb_streams_close(&b->streams);
    jb_close(&b->s.signal_fd);
    jb_close(&b->told[0]);
    jb_close(&b->told[1]);
    jb_close(&b->out_to[0]);
    jb_close(&b->out_to[1]);
    jb_close(&b->dir_fd);
    free(b->outcome.limit);
    free(b->outcome.killed_by);
    test_tmpdir_remove(b->dir);
    assert_int_equal(sigprocmask(SIG_SETMASK, &b->old, NULL), 0);
    free(b);
    return 0;
}

static void start_fake(struct bench *b, script_fn *script)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid_t supervisor = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fake_init in = {.control = pair[1],
                               .out = b->streams.job.out,
                               .err = b->streams.job.err,
                               .told = b->told[1],
                               .supervisor = supervisor};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        (void)close(b->out_to[0]); /* or a test whose reader leaves would still have one here */
        script(&in);
        _exit(0);
    }
    (void)close(pair[1]);
    b->box = JB_BOX_INIT;
    b->box.pid = pid;
    b->box.control = pair[0];
    jb_streams_handed_over(&b->streams);
}

static void run(struct bench *b, script_fn *script)
{
    assert_ok(jb_streams_open(&b->plan, b->out_to[1], b->out_to[1], &b->streams, &b->err), &b->err);
    start_fake(b, script);
    uint64_t begun = mono(); /* on a busy machine the fake may say late that the job runs */
    assert_ok(jb_supervise_go(&b->s, &b->err), &b->err);
    assert_ok(jb_supervise(&b->s, &b->outcome, &b->err), &b->err);
    b->took_ns = mono() - begun;
    jb_close(&b->told[1]);
    jb_close(&b->out_to[1]);
}

static void expect_told(struct bench *b, const char *signals)
{
    char text[256] = "";
    size_t len = 0;
    ssize_t n;
    jb_box_kill(&b->box);
    jb_box_close(&b->box); /* after this the fake's end of the pipe is closed too */
    while ((n = read(b->told[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    assert_string_equal(text, signals);
}

static void expect_output(struct bench *b, const char *want)
{
    char text[256] = "";
    ssize_t n = read(b->out_to[0], text, sizeof(text) - 1);
    assert_true(n >= 0 || errno == EAGAIN); /* the fake still holds a writing end */
    assert_string_equal(text, want);
}

static void expect_end(const struct bench *b, enum jb_end_reason reason, int exit_code, int signal)
{
    assert_string_equal(jb_end_reason_name(b->outcome.reason), jb_end_reason_name(reason));
    assert_int_equal(b->outcome.exit_code, exit_code);
    assert_int_equal(b->outcome.signal, signal);
}

static void expect_text(const char *got, const char *want)
{
    if (!want)
        assert_null(got);
    else
        assert_string_equal(got ? got : "(none)", want);
}

/* --- scripts and tests --- */

static void quietly(struct fake_init *in)
{
    started(in);
    say(in->out, "to out\n");
    ended(in, 0);
    (void)hear(in);
}

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

static void with_code_3(struct fake_init *in)
{
    started(in);
    say(in->err, "bad\n");
    ended(in, 3 << 8);
    (void)hear(in);
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

static void until_term(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGTERM);
    wait_for_signal(in, SIGCONT);
    ended(in, SIGTERM);
    (void)hear(in);
}

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

static void until_kill(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGKILL);
    ended(in, SIGKILL);
    (void)hear(in);
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

#define with_bench(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(100); /* the signals that would end a hanging test are taken by it */
    const struct CMUnitTest tests[] = {
        with_bench(completes),
        with_bench(fails_with_its_own_code),
        with_bench(dies_of_a_signal),
        with_bench(commands_that_cannot_be_started),
        with_bench(commands_that_may_not_be_started),
        with_bench(wall_time_asks_first),
        with_bench(then_kills_when_the_grace_is_over),
        with_bench(idle_asks_too),
        with_bench(output_keeps_a_job_from_being_idle),
        with_bench(silent_init_is_destroyed_from_outside),
        with_bench(init_gone_is_a_box_error),
        with_bench(first_cause_counts),
        with_bench(init_gone_before_go),
        with_bench(cancelled_by_signal),
        with_bench(second_cancel_kills_at_once),
        with_bench(other_signals_are_the_jobs),
        with_bench(output_cap_is_exact),
        with_bench(output_up_to_the_cap_is_fine),
        with_bench(output_over_the_cap_at_the_end),
        with_bench(a_hard_limit_cuts_the_grace_short),
        with_bench(more_limits_in_the_grace_change_nothing),
        with_bench(init_gone_after_the_kill),
        with_bench(cancel_after_the_kill_changes_nothing),
        with_bench(merged_error_output),
        with_bench(output_into_files),
        with_bench(closed_output_is_not_the_end),
        with_bench(unknown_cpu_time_is_no_timeout),
        with_bench(warns_ahead_of_the_wall_time),
        with_bench(warned_and_then_asked),
        with_bench(stopped_with_its_supervisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
