/*
 * supervise_bench.h - the supervisor's loop against a fake jobbox-init, for the tests of it.
 *
 * The fake is a child that speaks the protocol of box/proto.h and never starts anything. What it was told it writes
 * to a pipe, so that a test can see the order of signals. Signals to the supervisor come from an ordinary signalfd,
 * raised by the test itself or by the fake.
 */
#ifndef JB_TESTS_SUPERVISE_BENCH_H
#define JB_TESTS_SUPERVISE_BENCH_H

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

static inline uint64_t mono(void)
{
    return jb_mono_ns(NULL);
}

static inline void tell(struct fake_init *in, const struct jb_msg *msg)
{
    if (send(in->control, msg, JB_MSG_HEAD, MSG_NOSIGNAL) < 0)
        _exit(20);
}

/* Waits for the next packet; a signal order is written down. 0: the supervisor is gone. */
static inline int hear(struct fake_init *in)
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

static inline void started(struct fake_init *in)
{
    if (hear(in) != 1000)
        _exit(22);
    tell(in, &(struct jb_msg){.type = JB_MSG_STARTED, .mono_ns = mono()});
}

static inline void ended(struct fake_init *in, int status)
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

static inline void wait_for_signal(struct fake_init *in, int sig)
{
    int got;
    do
        got = hear(in);
    while (got != sig && got != 0);
    if (got == 0)
        _exit(23);
}

static inline void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(24);
}

/* --- the bench --- */

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void start_fake(struct bench *b, script_fn *script)
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

static inline void run(struct bench *b, script_fn *script)
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

static inline void expect_told(struct bench *b, const char *signals)
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

static inline void expect_output(struct bench *b, const char *want)
{
    char text[256] = "";
    ssize_t n = read(b->out_to[0], text, sizeof(text) - 1);
    assert_true(n >= 0 || errno == EAGAIN); /* the fake still holds a writing end */
    assert_string_equal(text, want);
}

static inline void expect_end(const struct bench *b, enum jb_end_reason reason, int exit_code, int signal)
{
    assert_string_equal(jb_end_reason_name(b->outcome.reason), jb_end_reason_name(reason));
    assert_int_equal(b->outcome.exit_code, exit_code);
    assert_int_equal(b->outcome.signal, signal);
}

static inline void expect_text(const char *got, const char *want)
{
    if (!want)
        assert_null(got);
    else
        assert_string_equal(got ? got : "(none)", want);
}

/* --- scripts that several tests use --- */

static inline void quietly(struct fake_init *in)
{
    started(in);
    say(in->out, "to out\n");
    ended(in, 0);
    (void)hear(in);
}

static inline void with_code_3(struct fake_init *in)
{
    started(in);
    say(in->err, "bad\n");
    ended(in, 3 << 8);
    (void)hear(in);
}

static inline void until_term(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGTERM);
    wait_for_signal(in, SIGCONT);
    ended(in, SIGTERM);
    (void)hear(in);
}

static inline void until_kill(struct fake_init *in)
{
    started(in);
    wait_for_signal(in, SIGKILL);
    ended(in, SIGKILL);
    (void)hear(in);
}

#define with_bench(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* The signals that would end a hanging test are taken by it. */
#define supervise_tests_begin()         \
    do {                                \
        (void)signal(SIGPIPE, SIG_IGN); \
        (void)alarm(100);               \
    } while (0)

#endif
