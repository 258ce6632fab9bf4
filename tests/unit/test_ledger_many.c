/*
 * test_ledger_many.c - many processes at the ledger at once, some of them killed.
 */
#include "ledger_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fd.h"

/*
 * Many processes grab the lowest free CPU of a few, lock a file that stands for it, and let go. A third is killed at
 * a random moment. Two owners of one CPU at once would meet at its file. Only an owner that was killed may be met
 * there: the kernel drops the locks of a dying process in no particular order, so it may leave the ledger a moment
 * before it leaves the file.
 */
#define CPUS    4
#define WORKERS 12
#define ROUNDS  60

struct shared {
    int owner[CPUS]; /* worker that last locked the file */
    bool doomed[WORKERS];
    unsigned grants, clashes, failures;
};

static int lowest_free(const struct jb_ledger *l)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (!jb_cpus_has(&l->held, cpu))
            return (int)cpu;
    return -1;
}

static void hold(struct jb_ledger_dir *dir, struct shared *s, int self, unsigned cpu, int file)
{
    struct jb_holding h = {.exclusive = true, .memory = JB_UNSET};
    struct jb_error err = {0};
    int fd = -1;
    int lock = -1;
    (void)jb_id_new(jb_wall_us(NULL), &h.id);
    jb_cpus_add(&h.cpus, cpu);
    h.held = h.cpus;
    if (jb_ledger_claim(dir, &h, &fd, &lock, &err) < 0) {
        (void)__atomic_add_fetch(&s->failures, 1, __ATOMIC_SEQ_CST);
        jb_ledger_unlock(dir);
        return;
    }
    if (flock(file, LOCK_EX | LOCK_NB) < 0) {
        int met = __atomic_load_n(&s->owner[cpu], __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&s->doomed[met], __ATOMIC_SEQ_CST))
            (void)__atomic_add_fetch(&s->clashes, 1, __ATOMIC_SEQ_CST);
        (void)flock(file, LOCK_EX);
    }
    __atomic_store_n(&s->owner[cpu], self, __ATOMIC_SEQ_CST);
    jb_ledger_unlock(dir);
    (void)__atomic_add_fetch(&s->grants, 1, __ATOMIC_SEQ_CST);
    (void)usleep(200);
    (void)flock(file, LOCK_UN);
    if (jb_ledger_release(dir, &h.id, &err) < 0)
        (void)__atomic_add_fetch(&s->failures, 1, __ATOMIC_SEQ_CST);
    jb_close(&lock);
    jb_close(&fd);
}

static void worker(const char *path, struct shared *s, int self)
{
    struct jb_error err = {0};
    struct jb_ledger_dir dir;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (jb_ledger_dir_open(fd, &dir, &err) < 0)
        _exit(1);
    int files[CPUS];
    for (int i = 0; i < CPUS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "cpu%d", i);
        files[i] = openat(fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (files[i] < 0)
            _exit(1);
    }
    for (int i = 0; i < ROUNDS; i++) {
        struct jb_ledger l;
        if (jb_ledger_lock(&dir, &err) < 0 || jb_ledger_read(&dir, &l, &err) < 0)
            _exit(1);
        int cpu = lowest_free(&l);
        jb_ledger_free(&l);
        if (cpu >= 0) {
            hold(&dir, s, self, (unsigned)cpu, files[cpu]);
        } else {
            jb_ledger_unlock(&dir);
            (void)usleep(100);
        }
    }
    _exit(0);
}

static void test_many_claimers_some_killed(void **state)
{
    struct fixture *f = *state;
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s, MAP_FAILED);
    pid_t pids[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            worker(f->path, s, i);
    }
    for (int i = 0; i < WORKERS;
         i += 3) { /* one in three, while the others work; recovery runs beside them */
        (void)usleep(2000 + 700 * (useconds_t)i);
        __atomic_store_n(&s->doomed[i], true, __ATOMIC_SEQ_CST);
        (void)kill(pids[i], SIGKILL);
        recover_all(f);
    }
    for (int i = 0; i < WORKERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(i % 3 == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
    assert_int_equal(s->clashes, 0);
    assert_int_equal(s->failures, 0);
    assert_true(s->grants > WORKERS);
    (void)munmap(s, sizeof(*s));
    recover_all(f);
    assert_int_equal(live(f), 0);
    assert_int_equal(dead(f, NULL), 0);
    int boxes = openat(f->fd, "boxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *left = fdopendir(boxes);
    assert_non_null(left);
    unsigned entries = 0;
    while (readdir(left))
        entries++;
    assert_int_equal(entries, 2); /* "." and ".." */
}

/*
 * After a power loss many recover at once, without alloc.lock: each box goes to one of them. Every process keeps what
 * it adopted until all are done, so each box must be counted exactly once.
 */
#define ORPHANS    60
#define RECOVERERS 4

static void adopt_what_you_can(const char *path, int go, int end, int done, struct shared *s)
{
    struct jb_error err = {0};
    struct jb_ledger_dir dir;
    struct jb_id *ids = NULL;
    size_t n = 0;
    char c;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (jb_ledger_dir_open(fd, &dir, &err) < 0 || jb_ledger_dead(&dir, JB_LEDGER_ALL, &ids, &n, &err) < 0 ||
        n != ORPHANS)
        _exit(1);
    if (write(done, "r", 1) != 1 || read(go, &c, 1) != 1) /* all have looked; all start at the same moment */
        _exit(1);
    for (size_t i = 0; i < n; i++) {
        int box = -1;
        int lock = -1;
        int r = jb_ledger_adopt(&dir, &ids[i], &box, &lock, &err);
        if (r == 0)
            (void)__atomic_add_fetch(&s->grants, 1, __ATOMIC_SEQ_CST);
        else if (r != -EAGAIN)
            _exit(1);
    }
    if (write(done, "x", 1) != 1)
        _exit(1);
    _exit(read(end, &c, 1) != 0); /* ends when the others are done too */
}

static void test_orphans_are_adopted_once(void **state)
{
    struct fixture *f = *state;
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int go[2];
    int end[2];
    int done[2];
    pid_t pids[RECOVERERS];
    assert_ptr_not_equal(s, MAP_FAILED);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    assert_int_equal(pipe2(done, O_CLOEXEC), 0);
    for (int i = 0; i < ORPHANS; i++) {
        struct jb_id id;
        assert_int_equal(jb_id_new(jb_wall_us(NULL), &id), 0);
        assert_int_equal(mkdirat(f->dir.boxes_fd, id.text, 0700), 0);
    }
    for (int i = 0; i < RECOVERERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            jb_close(&end[1]); /* else its own copy would keep the pipe from ending */
            adopt_what_you_can(f->path, go[0], end[0], done[1], s);
        }
    }
    jb_close(&done[1]);
    char c;
    for (int i = 0; i < RECOVERERS; i++)
        assert_int_equal(read(done[0], &c, 1), 1);
    assert_int_equal(write(go[1], "1234", RECOVERERS), RECOVERERS);
    for (int i = 0; i < RECOVERERS; i++)
        assert_int_equal(read(done[0], &c, 1), 1);
    assert_int_equal(s->grants, ORPHANS);
    assert_int_equal(live(f), ORPHANS);
    jb_close(&end[1]);
    for (int i = 0; i < RECOVERERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    jb_close(&go[0]);
    jb_close(&go[1]);
    jb_close(&end[0]);
    jb_close(&done[0]);
    (void)munmap(s, sizeof(*s));
    recover_all(f);
    assert_int_equal(live(f), 0);
    assert_int_equal(dead(f, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(test_many_claimers_some_killed),
        with_ledger(test_orphans_are_adopted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
