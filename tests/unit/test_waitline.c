/*
 * test_waitline.c - the line of waiters: order, deaths at every step, many at once, and the bells to sleep for.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "machine/bell.h"
#include "machine/waitline.h"

struct fixture {
    char *path;
    int fd;
    struct jb_ledger_dir dir;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct jb_error err = {0};
    assert_non_null(f);
    f->path = test_tmpdir();
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->fd >= 0);
    assert_ok(jb_ledger_dir_open(f->fd, &f->dir, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jb_ledger_dir_close(&f->dir);
    (void)close(f->fd);
    test_tmpdir_remove(f->path);
    free(f);
    return 0;
}

static struct jb_waitline_place join(struct fixture *f, const char *name)
{
    struct jb_error err = {0};
    struct jb_waitline_place place = JB_WAITLINE_PLACE_INIT;
    struct jb_ticket t = {.uid = 1000, .since_us = 5};
    assert_int_equal(jb_id_new(jb_wall_us(NULL), &t.id), 0);
    (void)snprintf(t.name, sizeof(t.name), "%s", name);
    (void)snprintf(t.wants, sizeof(t.wants), "2 cores");
    assert_ok(jb_waitline_join(f->fd, &t, &place, &err), &err);
    return place;
}

/* The names in line, in order; "-" after them when the file is stale. */
static const char *names(struct fixture *f)
{
    static char text[256];
    struct jb_error err = {0};
    struct jb_waitline line;
    assert_ok(jb_waitline_read(f->fd, &line, &err), &err);
    size_t at = 0;
    for (size_t i = 0; i < line.len; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", line.items[i].name);
        if (i)
            assert_true(line.items[i].number > line.items[i - 1].number);
    }
    (void)snprintf(text + at, sizeof(text) - at, "%s", line.stale ? "-" : "");
    jb_waitline_free(&line);
    return text;
}

static off_t size_of(struct fixture *f)
{
    struct stat st;
    return fstatat(f->fd, JB_WAITLINE_NAME, &st, 0) < 0 ? -1 : st.st_size;
}

static void test_order_of_arrival(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(names(f), "");
    assert_int_equal(size_of(f), -1); /* a look makes nothing */
    struct jb_waitline_place a = join(f, "a");
    struct jb_waitline_place b = join(f, "b");
    struct jb_waitline_place c = join(f, "c");
    assert_string_equal(names(f), "abc");
    jb_waitline_leave(f->fd, &b);
    assert_int_equal(b.fd, -1);
    assert_string_equal(names(f), "ac");
    struct jb_waitline_place d = join(f, "d"); /* into b's slot, behind c */
    assert_int_equal(d.slot, 1);
    assert_true(d.number > c.number);
    assert_string_equal(names(f), "acd");
    jb_waitline_leave(f->fd, &a);
    jb_waitline_leave(f->fd, &c);
    assert_string_equal(names(f), "d");
    assert_true(size_of(f) > 0);
    jb_waitline_leave(f->fd, &d);
    assert_int_equal(size_of(f), 0);
    jb_waitline_leave(f->fd, &d); /* twice does nothing */
    assert_string_equal(names(f), "");
}

/* Closing the descriptor is what the kernel does for a waiter that was killed. */
static void test_the_dead_are_not_in_line(void **state)
{
    struct fixture *f = *state;
    struct jb_waitline_place a = join(f, "a");
    struct jb_waitline_place b = join(f, "b");
    struct jb_waitline_place c = join(f, "c");
    uint64_t last = c.number;
    jb_close(&c.fd);
    jb_close(&a.fd);
    assert_string_equal(names(f), "b");
    struct jb_waitline_place d = join(f, "d");
    assert_true(d.number > last); /* a number that a dead ticket still bears would bring it to life */
    struct jb_waitline_place e = join(f, "e");
    struct jb_waitline_place g = join(f, "g");
    assert_string_equal(names(f), "bdeg");
    jb_close(&b.fd);
    jb_close(&d.fd);
    jb_close(&e.fd);
    jb_close(&g.fd);
    assert_string_equal(names(f), "-");
    jb_waitline_tidy(f->fd);
    assert_int_equal(size_of(f), 0);
}

/* Died with the number locked and the ticket not written, with half a ticket, with an emptied one still locked. */
static void test_half_made_tickets(void **state)
{
    struct fixture *f = *state;
    struct jb_waitline_place a = join(f, "a");
    struct jb_waitline_place b = join(f, "b");
    struct jb_ticket t;
    assert_int_equal(pread(b.fd, &t, sizeof(t), JB_TICKET_SIZE), sizeof(t));
    static const size_t written[] = {0, 8, 16, 100, JB_TICKET_SIZE - 1};
    for (size_t i = 0; i < JB_ARRAY_LEN(written); i++) {
        assert_int_equal(ftruncate(b.fd, JB_TICKET_SIZE), 0);
        assert_int_equal(pwrite(b.fd, &t, written[i], JB_TICKET_SIZE), written[i]);
        assert_string_equal(names(f), "a");
        struct jb_waitline_place c = join(f, "c");
        assert_string_equal(names(f), "ac");
        jb_waitline_leave(f->fd, &c);
    }
    jb_waitline_leave(f->fd, &a);
    jb_close(&b.fd);
    jb_waitline_tidy(f->fd);
}

static void test_garbage_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct jb_waitline_place a = join(f, "a");
    unsigned char junk[JB_TICKET_SIZE * 3 + 77];
    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = (unsigned char)(i * 37 + 11);
    assert_int_equal(pwrite(a.fd, junk, sizeof(junk), JB_TICKET_SIZE), sizeof(junk));
    assert_string_equal(names(f), "a");
    struct jb_waitline_place b = join(f, "b");
    assert_string_equal(names(f), "ab");
    jb_waitline_leave(f->fd, &a);
    jb_waitline_leave(f->fd, &b);
    assert_int_equal(size_of(f), 0);
}

static void test_planted_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_waitline line;
    struct jb_waitline_place place;
    struct jb_ticket t = {0};
    assert_int_equal(jb_id_new(1, &t.id), 0);
    test_write(f->path, "elsewhere", "precious");
    assert_int_equal(symlinkat("elsewhere", f->fd, JB_WAITLINE_NAME), 0);
    assert_int_equal(jb_waitline_read(f->fd, &line, &err), -ELOOP);
    assert_contains(err.text, "symlink");
    assert_int_equal(jb_waitline_join(f->fd, &t, &place, &err), -ELOOP);
    jb_waitline_tidy(f->fd);
    struct stat st;
    assert_int_equal(fstatat(f->fd, "elsewhere", &st, 0), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(unlinkat(f->fd, JB_WAITLINE_NAME, 0), 0);
    test_write(f->path, JB_WAITLINE_NAME, "x");
    assert_int_equal(fchmodat(f->fd, JB_WAITLINE_NAME, 0666, 0), 0);
    assert_int_equal(jb_waitline_read(f->fd, &line, &err), -EPERM);
    assert_int_equal(unlinkat(f->fd, JB_WAITLINE_NAME, 0), 0);
    assert_int_equal(mkfifoat(f->fd, JB_WAITLINE_NAME, 0600), 0);
    assert_int_equal(jb_waitline_read(f->fd, &line, &err), -EPERM); /* and it does not hang */
}

static void test_words_for_the_line(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_waitline line;
    struct jb_waitline_place places[6];
    jb_autobuf struct jb_buf text = {0};
    for (size_t i = 0; i < JB_ARRAY_LEN(places); i++)
        places[i] = join(f, i == 1 ? "b\033[31m\n" : i == 2 ? "" : "x");
    assert_ok(jb_waitline_read(f->fd, &line, &err), &err);
    assert_int_equal(jb_waitline_say(&line, line.len, &text), 0);
    assert_contains(text.data, "(x, uid 1000) 2 cores; ");
    assert_contains(text.data, "(b?[31m?, uid 1000)");
    assert_contains(text.data, "(unnamed, uid 1000)");
    assert_contains(text.data, "; and 2 more");
    jb_waitline_free(&line);
    for (size_t i = 0; i < JB_ARRAY_LEN(places); i++)
        jb_waitline_leave(f->fd, &places[i]);
}

static void test_words_for_a_wish(void **state)
{
    (void)state;
    struct jb_request request = {.cpus = 3, .memory = JB_UNSET};
    struct jb_ticket t;
    jb_ticket_wants(&request, &t);
    assert_string_equal(t.wants, "3 cores");
    request.cpus = 1;
    request.unit = JB_CPU_UNIT_THREAD;
    request.memory = UINT64_C(1) << 30;
    jb_ticket_wants(&request, &t);
    assert_string_equal(t.wants, "1 thread and 1.00 GiB");
    request.cpu_set_said = true;
    assert_int_equal(jb_cpus_parse("0-3,8", &request.cpu_set), 0);
    jb_ticket_wants(&request, &t);
    assert_string_equal(t.wants, "CPUs 0-3,8 and 1.00 GiB");
    for (unsigned i = 0; i < JB_CPUS_MAX; i += 2)
        jb_cpus_add(&request.cpu_set, i);
    jb_ticket_wants(&request, &t);
    assert_contains(t.wants, " CPUs and 1.00 GiB");
}

static bool rings(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

static void test_turn_rings_when_the_one_before_leaves_or_dies(void **state)
{
    struct fixture *f = *state;
    for (int dies = 0; dies < 2; dies++) {
        struct jb_waitline_place a = join(f, "a");
        struct jb_waitline_place b = join(f, "b");
        struct jb_bell_turn turn;
        struct jb_bell_turn other;
        assert_int_equal(jb_bell_turn_begin(f->fd, a.number, &turn), 0);
        assert_int_equal(jb_bell_turn_begin(f->fd, a.number, &other), 0);
        assert_false(rings(turn.event_fd, 20));
        assert_string_equal(names(f), "ab"); /* sleepers do not pass for waiters */
        if (dies)
            jb_close(&a.fd);
        else
            jb_waitline_leave(f->fd, &a);
        assert_true(rings(turn.event_fd, 10000));
        assert_true(rings(other.event_fd, 10000));
        jb_bell_turn_end(&turn);
        jb_bell_turn_end(&other);
        assert_string_equal(names(f), "b");
        jb_waitline_leave(f->fd, &b);
    }
}

/* Whatever moment the sleep is ended at, it ends, and nothing of it is left. */
static void test_turn_can_be_ended_at_any_moment(void **state)
{
    struct fixture *f = *state;
    struct jb_waitline_place a = join(f, "a");
    for (int i = 0; i < 200; i++) {
        struct jb_bell_turn turn;
        assert_int_equal(jb_bell_turn_begin(f->fd, a.number, &turn), 0);
        if (i % 4)
            (void)usleep((useconds_t)(i % 4 * 50));
        jb_bell_turn_end(&turn);
        assert_int_equal(turn.lock_fd, -1);
        assert_int_equal(turn.event_fd, -1);
    }
    struct sigaction now;
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
    jb_waitline_leave(f->fd, &a);
}

/* The slot of the one before us goes to somebody behind us: we must not sleep on him. */
static void test_slots_that_change_hands_hold_nobody_up(void **state)
{
    struct fixture *f = *state;
    struct jb_waitline_place a = join(f, "a");
    struct jb_waitline_place b = join(f, "b");
    uint64_t ahead_of_b = a.number;
    size_t slot = a.slot;
    jb_waitline_leave(f->fd, &a);
    struct jb_waitline_place c = join(f, "c");
    assert_int_equal(c.slot, slot);
    struct jb_bell_turn turn;
    assert_int_equal(jb_bell_turn_begin(f->fd, ahead_of_b, &turn), 0);
    assert_true(rings(turn.event_fd, 10000));
    jb_bell_turn_end(&turn);
    jb_waitline_leave(f->fd, &b);
    jb_waitline_leave(f->fd, &c);
}

static void test_ledger_bell(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_holding h = {.exclusive = true, .memory = JB_UNSET};
    int box = -1;
    int lock = -1;
    jb_cpus_add(&h.cpus, 0);
    h.held = h.cpus;
    jb_autoclose int bell = jb_bell_ledger(&f->dir);
    assert_true(bell >= 0);
    assert_false(rings(bell, 0));
    assert_int_equal(jb_id_new(jb_wall_us(NULL), &h.id), 0);
    assert_ok(jb_ledger_claim(&f->dir, &h, &box, &lock, &err), &err);
    assert_true(rings(bell, 10000));
    jb_bell_quiet(bell);
    assert_false(rings(bell, 0));
    assert_ok(jb_ledger_release(&f->dir, &h.id, &err), &err);
    assert_true(rings(bell, 10000));
    jb_bell_quiet(bell);
    assert_false(rings(bell, 0));
    jb_close(&lock); /* as for a supervisor that was killed */
    assert_true(rings(bell, 10000));
    jb_close(&box);
}

/*
 * Many processes get in line, wait for the one before them, and are served one at a time. A third is killed somewhere
 * on the way. Whoever is served must be the first of the line, and come after all who were served before him.
 */
#define WAITERS 24

struct shared {
    uint64_t last; /* number served last */
    unsigned served, disorder, failures;
};

static uint64_t before(int fd, uint64_t number)
{
    struct jb_waitline line;
    uint64_t found = 0;
    if (jb_waitline_read(fd, &line, NULL) < 0)
        _exit(1);
    for (size_t i = 0; i < line.len && line.items[i].number < number; i++)
        found = line.items[i].number;
    jb_waitline_free(&line);
    return found;
}

static void waiter(const char *path, struct shared *s)
{
    struct jb_ledger_dir dir;
    struct jb_waitline_place place;
    struct jb_ticket t = {.uid = 1};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (jb_ledger_dir_open(fd, &dir, NULL) < 0 || jb_id_new(1, &t.id) < 0 || jb_ledger_lock(&dir, NULL) < 0 ||
        jb_waitline_join(fd, &t, &place, NULL) < 0)
        _exit(1);
    jb_ledger_unlock(&dir);
    for (uint64_t ahead; (ahead = before(fd, place.number)) != 0;) {
        struct jb_bell_turn turn;
        if (jb_bell_turn_begin(fd, ahead, &turn) < 0)
            _exit(1);
        (void)rings(turn.event_fd, -1);
        jb_bell_turn_end(&turn);
    }
    (void)usleep(500);
    if (jb_ledger_lock(&dir, NULL) < 0)
        _exit(1);
    if (place.number <= s->last || before(fd, place.number))
        (void)__atomic_add_fetch(&s->disorder, 1, __ATOMIC_SEQ_CST);
    s->last = place.number;
    (void)__atomic_add_fetch(&s->served, 1, __ATOMIC_SEQ_CST);
    jb_waitline_leave(fd, &place);
    jb_ledger_unlock(&dir);
    _exit(0);
}

static void test_many_processes_and_deaths(void **state)
{
    struct fixture *f = *state;
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[WAITERS];
    unsigned ended = 0;
    (void)alarm(60);
    assert_true(s != MAP_FAILED);
    /* held up until all are there, so that they do stand in line */
    struct jb_waitline_place first = join(f, "first");
    s->last = first.number;
    for (int i = 0; i < WAITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            jb_close(&first.fd); /* else it would keep the first one in line */
            waiter(f->path, s);
        }
    }
    (void)usleep(20000);
    assert_ok(jb_ledger_lock(&f->dir, NULL), &(struct jb_error){0});
    jb_waitline_leave(f->fd, &first);
    jb_ledger_unlock(&f->dir);
    for (int i = 0; i < WAITERS; i += 3) {
        (void)kill(pids[i], SIGKILL);
        (void)usleep(1000);
    }
    for (int i = 0; i < WAITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        ended += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        assert_true(i % 3 == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
    assert_int_equal(s->disorder, 0);
    assert_true(s->served >= ended);
    assert_true(ended >= WAITERS - WAITERS / 3);
    const char *left = names(f);
    assert_true(*left == '\0' || *left == '-');
    (void)munmap(s, sizeof(*s));
    (void)alarm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_of_arrival, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_dead_are_not_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_made_tickets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_is_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planted_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_for_the_line, setup, teardown),
        cmocka_unit_test(test_words_for_a_wish),
        cmocka_unit_test_setup_teardown(test_turn_rings_when_the_one_before_leaves_or_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turn_can_be_ended_at_any_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots_that_change_hands_hold_nobody_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_bell, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_processes_and_deaths, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
