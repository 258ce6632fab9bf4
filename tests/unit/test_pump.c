/*
 * test_pump.c - output carried between descriptors: counted, capped, and never waited for.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "job/pump.h"

struct setting {
    char *dir;
    int dir_fd;
    int in[2];  /* the job writes to in[1] */
    int out[2]; /* somebody reads from out[0] */
    struct jb_pump pump;
    uint64_t any;
};

static int setup(void **state)
{
    struct setting *s = calloc(1, sizeof(*s));
    s->dir = test_tmpdir();
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(pipe2(s->in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(s->out, O_CLOEXEC), 0);
    assert_int_equal(fcntl(s->out[0], F_SETFL, O_NONBLOCK), 0);
    s->pump = JB_PUMP_INIT;
    s->any = JB_UNSET;
    (void)signal(SIGPIPE, SIG_IGN);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct setting *s = *state;
    jb_pump_close(&s->pump);
    jb_close(&s->dir_fd);
    jb_close(&s->in[1]);
    jb_close(&s->out[0]);
    jb_close(&s->out[1]);
    test_tmpdir_remove(s->dir);
    free(s);
    return 0;
}

static void start(struct setting *s, int to)
{
    assert_int_equal(jb_pump_init(&s->pump, s->in[0], to), 0);
}

/* Takes all that is in the pipe now. */
static size_t take(struct setting *s, char *buf, size_t len)
{
    size_t got = 0;
    ssize_t n;
    while (got < len && (n = read(s->out[0], buf + got, len - got)) > 0)
        got += (size_t)n;
    return got;
}

static void from_pipe_to_pipe(void **state)
{
    struct setting *s = *state;
    char buf[16];
    start(s, s->out[1]);
    assert_true(jb_pump_active(&s->pump));
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0); /* nothing there yet: no waiting */
    assert_int_equal(write(s->in[1], "hello", 5), 5);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_int_equal(take(s, buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(s->pump.bytes, 5);
    assert_true(s->any == JB_UNSET);
    jb_close(&s->in[1]);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_false(jb_pump_active(&s->pump));
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0); /* no harm after the end */
}

static void from_pipe_to_file(void **state)
{
    struct setting *s = *state;
    jb_autofree char *text = NULL;
    size_t len = 0;
    jb_autoclose int file = openat(s->dir_fd, "out", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    start(s, file);
    assert_true(s->pump.always_ready);
    for (int i = 0; i < 100; i++) {
        char block[1000];
        memset(block, 'a' + i % 26, sizeof(block));
        assert_int_equal(write(s->in[1], block, sizeof(block)), sizeof(block));
        assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    }
    assert_int_equal(s->pump.bytes, 100000);
    assert_int_equal(jb_read_at(s->dir_fd, "out", 200000, &text, &len), 0);
    assert_int_equal(len, 100000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(text[1000 * i + 999], 'a' + i % 26);
}

static void to_nowhere(void **state)
{
    struct setting *s = *state;
    start(s, -1);
    assert_int_equal(write(s->in[1], "dropped", 7), 7);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_int_equal(s->pump.bytes, 7); /* counted all the same */
    assert_int_equal(s->pump.start, s->pump.end);
}

static void budget_is_exact(void **state)
{
    struct setting *s = *state;
    char buf[64];
    uint64_t budget = 10;
    start(s, s->out[1]);
    assert_int_equal(write(s->in[1], "0123456", 7), 7);
    assert_int_equal(jb_pump_move(&s->pump, &budget), 0);
    assert_int_equal(budget, 3);
    assert_int_equal(write(s->in[1], "789", 3), 3);
    assert_int_equal(jb_pump_move(&s->pump, &budget), 0); /* all of it, and no more, is no cut */
    assert_int_equal(budget, 0);
    assert_int_equal(write(s->in[1], "X", 1), 1);
    assert_int_equal(jb_pump_move(&s->pump, &budget), 1);
    assert_int_equal(budget, 0);
    assert_int_equal(write(s->in[1], "YZ", 2), 2);
    assert_int_equal(jb_pump_move(&s->pump, &budget), 1);
    assert_int_equal(s->pump.bytes, 10);
    assert_int_equal(take(s, buf, sizeof(buf)), 10);
    assert_memory_equal(buf, "0123456789", 10);
}

static void a_cut_in_the_middle(void **state)
{
    struct setting *s = *state;
    char buf[64];
    uint64_t budget = 4;
    start(s, s->out[1]);
    assert_int_equal(write(s->in[1], "0123456789", 10), 10);
    assert_int_equal(jb_pump_move(&s->pump, &budget), 1);
    assert_int_equal(s->pump.bytes, 4);
    assert_int_equal(take(s, buf, sizeof(buf)), 4);
    assert_memory_equal(buf, "0123", 4);
}

static void reader_gone_tells_the_job(void **state)
{
    struct setting *s = *state;
    start(s, s->out[1]);
    jb_close(&s->out[0]);
    assert_int_equal(write(s->in[1], "x", 1), 1);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_false(jb_pump_active(&s->pump));
    assert_int_equal(write(s->in[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
}

static void full_disk_is_like_a_reader_gone(void **state)
{
    struct setting *s = *state;
    jb_autoclose int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    start(s, full);
    assert_int_equal(write(s->in[1], "x", 1), 1);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_false(jb_pump_active(&s->pump));
}

/* The watchdog of ctest would end this test if any of it waited for the reader. */
struct late {
    const struct setting *s;
    int fd, calls, errnum;
};

static int make_late(void *ctx)
{
    struct late *l = ctx;
    l->calls++;
    if (l->errnum)
        return -l->errnum;
    l->fd = openat(l->s->dir_fd, "late", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return l->fd;
}

static void a_late_file_is_made_for_the_first_byte(void **state)
{
    struct setting *s = *state;
    struct late late = {.s = s, .fd = -1};
    struct stat st;
    char buf[16];
    start(s, -1);
    s->pump.late = make_late;
    s->pump.late_ctx = &late;
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_int_equal(late.calls, 0);
    assert_int_equal(fstatat(s->dir_fd, "late", &st, 0), -1);
    assert_int_equal(write(s->in[1], "one", 3), 3);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_int_equal(write(s->in[1], "two", 3), 3);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_int_equal(late.calls, 1);
    assert_int_equal(pread(late.fd, buf, sizeof(buf), 0), 6);
    assert_memory_equal(buf, "onetwo", 6);
    assert_false(s->pump.lost);
    jb_close(&late.fd);
}

static void a_late_file_of_a_silent_job_is_never_made(void **state)
{
    struct setting *s = *state;
    struct late late = {.s = s, .fd = -1};
    start(s, -1);
    s->pump.late = make_late;
    s->pump.late_ctx = &late;
    jb_close(&s->in[1]);
    assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    assert_false(jb_pump_active(&s->pump));
    assert_int_equal(late.calls, 0);
}

static void a_late_file_that_cannot_be_made_is_like_a_full_disk(void **state)
{
    struct setting *s = *state;
    struct late late = {.s = s, .fd = -1, .errnum = ENOSPC};
    start(s, -1);
    s->pump.late = make_late;
    s->pump.late_ctx = &late;
    assert_int_equal(write(s->in[1], "one", 3), 3);
    (void)jb_pump_move(&s->pump, &s->any);
    assert_true(s->pump.lost);
    assert_false(jb_pump_active(&s->pump));
    assert_int_equal(write(s->in[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(late.calls, 1);
}

static void slow_reader_never_blocks(void **state)
{
    struct setting *s = *state;
    static char block[16384];
    static char taken[1 << 20];
    uint64_t sent = 0;
    memset(block, 'b', sizeof(block));
    start(s, s->out[1]);
    assert_int_equal(fcntl(s->in[1], F_SETFL, O_NONBLOCK), 0);
    for (;;) { /* until pipe, buffer and pipe are full: the job is held up then, we are not */
        ssize_t n = write(s->in[1], block, sizeof(block));
        bool stuck = n < 0;
        if (n > 0)
            sent += (uint64_t)n;
        uint64_t before = s->pump.bytes;
        assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
        if (stuck && s->pump.bytes == before)
            break;
    }
    assert_true(s->pump.start < s->pump.end);
    assert_false(fcntl(s->out[1], F_GETFL) & O_NONBLOCK); /* it is not ours: its flags stay */
    struct pollfd from;
    struct pollfd to;
    jb_pump_poll(&s->pump, &from, &to);
    assert_int_equal(from.fd, -1); /* waits for room, not for more */
    assert_int_equal(to.fd, s->out[1]);
    assert_int_equal(to.events, POLLOUT);
    jb_close(&s->in[1]);
    size_t got = 0;
    while (jb_pump_active(&s->pump)) {
        got += take(s, taken, sizeof(taken));
        assert_int_equal(jb_pump_move(&s->pump, &s->any), 0);
    }
    got += take(s, taken, sizeof(taken));
    assert_int_equal(got, sent); /* and nothing is lost */
    assert_int_equal(s->pump.bytes, sent);
}

static void what_to_wait_for(void **state)
{
    struct setting *s = *state;
    struct pollfd from;
    struct pollfd to;
    jb_pump_poll(&s->pump, &from, &to); /* never started */
    assert_int_equal(from.fd, -1);
    assert_int_equal(to.fd, -1);
    start(s, s->out[1]);
    jb_pump_poll(&s->pump, &from, &to);
    assert_int_equal(from.fd, s->in[0]);
    assert_int_equal(from.events, POLLIN);
    assert_int_equal(to.fd, -1);
}

#define with_pipes(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_pipes(from_pipe_to_pipe),
        with_pipes(from_pipe_to_file),
        with_pipes(to_nowhere),
        with_pipes(budget_is_exact),
        with_pipes(a_cut_in_the_middle),
        with_pipes(reader_gone_tells_the_job),
        with_pipes(full_disk_is_like_a_reader_gone),
        with_pipes(a_late_file_is_made_for_the_first_byte),
        with_pipes(a_late_file_of_a_silent_job_is_never_made),
        with_pipes(a_late_file_that_cannot_be_made_is_like_a_full_disk),
        with_pipes(slow_reader_never_blocks),
        with_pipes(what_to_wait_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
