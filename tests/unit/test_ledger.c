/*
 * test_ledger.c - the ledger: round trips, every point of death, and many processes at once.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "machine/held.h"
#include "machine/ledger.h"
#include "machine/slots.h"

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

static struct jb_holding holding_of(const char *cpus, bool exclusive)
{
    struct jb_holding h = {.uid = 1000, .exclusive = exclusive, .memory = JB_UNSET};
    assert_int_equal(jb_id_new(jb_wall_us(NULL), &h.id), 0);
    (void)snprintf(h.name, sizeof(h.name), "job");
    assert_int_equal(jb_cpus_parse(cpus, &h.cpus), 0);
    if (exclusive)
        h.held = h.cpus;
    jb_cpus_add(&h.mems, 0);
    return h;
}

struct box {
    struct jb_holding holding;
    int fd, lock;
};

static void claim(struct fixture *f, struct box *b)
{
    struct jb_error err = {0};
    assert_ok(jb_ledger_lock(&f->dir, &err), &err);
    assert_ok(jb_ledger_claim(&f->dir, &b->holding, &b->fd, &b->lock, &err), &err);
    jb_ledger_unlock(&f->dir);
}

static size_t live(struct fixture *f)
{
    struct jb_error err = {0};
    struct jb_ledger l;
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    size_t n = l.len;
    jb_ledger_free(&l);
    return n;
}

static size_t dead(struct fixture *f, struct jb_id *ret_first)
{
    struct jb_error err = {0};
    struct jb_id *ids = NULL;
    size_t n = 0;
    assert_ok(jb_ledger_dead(&f->dir, JB_LEDGER_ALL, &ids, &n, &err), &err);
    if (n && ret_first)
        *ret_first = ids[0];
    free(ids);
    return n;
}

static void release(struct fixture *f, struct box *b)
{
    struct jb_error err = {0};
    assert_ok(jb_ledger_release(&f->dir, &b->holding.id, &err), &err);
    jb_close(&b->lock);
    jb_close(&b->fd);
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box a = {.holding = holding_of("0-3,64-67", true)};
    a.holding.memory = 123456789;
    jb_cpus_add(&a.holding.held, 4095);
    jb_cpus_add(&a.holding.mems, 1);
    struct box b = {.holding = holding_of("9", false)};
    claim(f, &a);
    claim(f, &b);
    struct jb_ledger l;
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    assert_int_equal(l.len, 2);
    jb_ledger_sort(&l);
    assert_true(strcmp(l.items[0].id.text, l.items[1].id.text) < 0);
    for (size_t i = 0; i < 2; i++) {
        struct jb_holding got;
        jb_ledger_get(&l, i, &got);
        const struct jb_holding *want = jb_streq(got.id.text, a.holding.id.text) ? &a.holding : &b.holding;
        assert_string_equal(got.id.text, want->id.text);
        assert_string_equal(got.name, want->name);
        assert_int_equal(got.uid, want->uid);
        assert_int_equal(got.exclusive, want->exclusive);
        assert_true(got.memory == want->memory);
        assert_true(jb_cpus_equal(&got.cpus, &want->cpus));
        assert_true(jb_cpus_equal(&got.held, &want->held));
        assert_true(jb_cpus_equal(&got.mems, &want->mems));
    }
    assert_true(jb_cpus_equal(&l.held, &a.holding.held));
    assert_int_equal(jb_cpus_count(&l.used), jb_cpus_count(&a.holding.held) + 1);
    jb_ledger_free(&l);

    /* the slots are the box's: a release gives back exactly its own */
    release(f, &a);
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    assert_int_equal(l.len, 1);
    assert_true(jb_cpus_empty(&l.held));
    assert_true(jb_cpus_equal(&l.used, &b.holding.cpus));
    jb_ledger_free(&l);
    release(f, &b);
    assert_int_equal(live(f), 0);
    assert_int_equal(dead(f, NULL), 0);
}

/* Sets too scattered for a slot take another way and must come back the same. */
static void test_wide_sets(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("1", true)};
    for (unsigned i = 0; i < JB_CPUS_MAX; i += 3)
        jb_cpus_add(&b.holding.cpus, i);
    for (unsigned i = 0; i < JB_CPUS_MAX; i += 2)
        jb_cpus_add(&b.holding.held, i);
    struct box small = {.holding = holding_of("5", true)};
    claim(f, &small);
    claim(f, &b);
    struct jb_ledger l;
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    jb_ledger_sort(&l);
    assert_int_equal(l.len, 2);
    for (size_t i = 0; i < 2; i++) {
        struct jb_holding got;
        jb_ledger_get(&l, i, &got);
        const struct jb_holding *want =
            jb_streq(got.id.text, b.holding.id.text) ? &b.holding : &small.holding;
        assert_true(jb_cpus_equal(&got.cpus, &want->cpus));
        assert_true(jb_cpus_equal(&got.held, &want->held));
        assert_true(jb_cpus_equal(&got.mems, &want->mems));
    }
    struct jb_cpus both = b.holding.held;
    jb_cpus_or(&both, &small.holding.held);
    assert_true(jb_cpus_equal(&l.held, &both));
    jb_ledger_free(&l);
    release(f, &b);
    release(f, &small);
}

static void test_dead_box_frees_its_cpus_and_is_adopted_once(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("0-1", true)};
    claim(f, &b);
    assert_int_equal(jb_replace_at(b.fd, "plan.json", "{}", 2, 0600), 0);
    assert_int_equal(dead(f, NULL), 0);
    int fd = -1;
    int lock = -1;
    assert_int_equal(jb_ledger_adopt(&f->dir, &b.holding.id, &fd, &lock, &err), -EAGAIN);
    jb_close(&b.lock); /* what the kernel does for a killed supervisor */
    assert_int_equal(live(f), 0);
    struct jb_id id;
    assert_int_equal(dead(f, &id), 1);
    assert_string_equal(id.text, b.holding.id.text);

    /* its slot is not reused while it waits for recovery */
    struct box c = {.holding = holding_of("0-1", true)};
    claim(f, &c);
    assert_int_equal(dead(f, NULL), 1);

    assert_ok(jb_ledger_adopt(&f->dir, &id, &fd, &lock, &err), &err);
    assert_int_equal(faccessat(fd, "plan.json", F_OK, 0), 0);
    int fd2 = -1;
    int lock2 = -1;
    assert_int_equal(jb_ledger_adopt(&f->dir, &id, &fd2, &lock2, &err), -EAGAIN);
    assert_int_equal(live(f), 2);
    assert_ok(jb_ledger_release(&f->dir, &id, &err), &err);
    jb_close(&lock);
    jb_close(&fd);
    assert_int_equal(jb_ledger_adopt(&f->dir, &id, &fd, &lock, &err), -ENOENT);
    assert_int_equal(live(f), 1);
    release(f, &c);
    jb_close(&b.fd);
}

/* The three states that a death inside claim or release can leave. */
static void test_half_made_boxes(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    int fd = -1;
    int lock = -1;
    struct jb_id id;

    struct box b = {.holding = holding_of("0", true)};
    claim(f, &b);
    assert_int_equal(unlinkat(f->dir.boxes_fd, b.holding.id.text, AT_REMOVEDIR), 0); /* died before mkdir */
    jb_close(&b.lock);
    assert_int_equal(live(f), 0);
    assert_int_equal(dead(f, &id), 1);
    assert_int_equal(jb_ledger_adopt(&f->dir, &id, &fd, &lock, &err), -ENOENT);
    assert_int_equal(dead(f, NULL), 0);

    struct box c = {.holding = holding_of("0", true)};
    claim(f, &c);
    assert_int_equal(jb_replace_at(c.fd, "record.json", "{}", 2, 0600), 0);
    char trash[64];
    (void)snprintf(trash, sizeof(trash), ".%s", c.holding.id.text);
    assert_int_equal(renameat(f->dir.boxes_fd, c.holding.id.text, f->dir.boxes_fd, trash),
                     0); /* died in release */
    jb_close(&c.lock);
    assert_int_equal(dead(f, &id), 1);
    assert_int_equal(jb_ledger_adopt(&f->dir, &id, &fd, &lock, &err), -ENOENT);
    assert_int_equal(faccessat(f->dir.boxes_fd, trash, F_OK, 0), -1);
    assert_int_equal(dead(f, NULL), 0);

    struct box d = {.holding = holding_of("0", true)};
    claim(f, &d);
    jb_close(&d.lock);
    for (int i = 0; i < JB_LEDGER_FILES; i++) /* power loss: the folder is on disk, the slot is not */
        assert_int_equal(ftruncate(f->dir.slots_fd[i], 0), 0);
    assert_int_equal(dead(f, &id), 1);
    assert_string_equal(id.text, d.holding.id.text);
    assert_ok(jb_ledger_adopt(&f->dir, &id, &fd, &lock, &err), &err);
    int fd2 = -1;
    int lock2 = -1;
    assert_int_equal(jb_ledger_adopt(&f->dir, &id, &fd2, &lock2, &err), -EAGAIN);
    assert_int_equal(dead(f, NULL), 0);
    assert_ok(jb_ledger_release(&f->dir, &id, &err), &err);
    jb_close(&lock);
    jb_close(&fd);
    assert_int_equal(dead(f, NULL), 0);
    jb_close(&b.fd);
    jb_close(&c.fd);
    jb_close(&d.fd);
}

static void test_damaged_slots(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("0", true)};
    claim(f, &b);
    assert_int_equal(pwrite(f->dir.slots_fd[0], "garbage", 7, 40), 7);
    struct jb_ledger l;
    assert_int_equal(jb_ledger_read(&f->dir, &l, &err),
                     -EUCLEAN); /* live and not to be understood: no guessing */
    assert_contains(err.text, "damaged");
    jb_close(&b.lock);
    assert_int_equal(live(f), 0); /* nobody's: free again, and its folder is found */
    struct jb_id id;
    assert_int_equal(dead(f, &id), 1);
    assert_string_equal(id.text, b.holding.id.text);
    struct box c = {.holding = holding_of("0", true)};
    claim(f, &c);
    assert_int_equal(live(f), 1);
    release(f, &c);
    jb_close(&b.fd);
}

static void test_claim_failure_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("0", true), .fd = -1, .lock = -1};
    assert_int_equal(mkdirat(f->dir.boxes_fd, b.holding.id.text, 0700), 0);
    assert_int_equal(jb_ledger_claim(&f->dir, &b.holding, &b.fd, &b.lock, &err), -EEXIST);
    assert_int_equal(b.lock, -1);
    assert_int_equal(live(f), 0);
    assert_int_equal(unlinkat(f->dir.boxes_fd, b.holding.id.text, AT_REMOVEDIR), 0);
    assert_int_equal(dead(f, NULL), 0);
    (void)snprintf(b.holding.id.text, sizeof(b.holding.id.text), "../../../etc");
    assert_int_equal(jb_ledger_claim(&f->dir, &b.holding, &b.fd, &b.lock, &err), -EINVAL);
    assert_int_equal(jb_ledger_adopt(&f->dir, &b.holding.id, &b.fd, &b.lock, &err), -EINVAL);
}

static void test_planted_files_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"boxes", "alloc.lock", "ledger.2"};
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++) {
        struct jb_error err = {0};
        struct jb_ledger_dir dir = JB_LEDGER_DIR_INIT;
        char *path = test_tmpdir();
        jb_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        test_write(path, "elsewhere", "precious");
        assert_int_equal(symlinkat("elsewhere", fd, names[i]), 0);
        assert_true(jb_ledger_dir_open(fd, &dir, &err) < 0);
        assert_contains(err.text, names[i]);
        assert_int_equal(dir.boxes_fd, -1);
        test_tmpdir_remove(path);
    }
    char *path = test_tmpdir();
    jb_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_error err = {0};
    struct jb_ledger_dir dir = JB_LEDGER_DIR_INIT;
    test_write(path, "ledger.1", "");
    assert_int_equal(fchmodat(fd, "ledger.1", 0666, 0), 0);
    assert_int_equal(jb_ledger_dir_open(fd, &dir, &err), -EPERM);
    test_tmpdir_remove(path);
}

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

static void recover_all(struct fixture *f)
{
    struct jb_error err = {0};
    struct jb_id *ids = NULL;
    size_t n = 0;
    assert_ok(jb_ledger_dead(&f->dir, JB_LEDGER_ALL, &ids, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        int fd = -1;
        int lock = -1;
        int r = jb_ledger_adopt(&f->dir, &ids[i], &fd, &lock, &err);
        if (r == -ENOENT || r == -EAGAIN)
            continue;
        assert_ok(r, &err);
        assert_ok(jb_ledger_release(&f->dir, &ids[i], &err), &err);
        jb_close(&lock);
        jb_close(&fd);
    }
    free(ids);
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

/* Slots are taken again: a thousand boxes one after another do not grow the ledger. */
static void test_slots_are_reused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        struct box b = {.holding = holding_of("0", true)};
        claim(f, &b);
        release(f, &b);
    }
    for (int i = 0; i < JB_LEDGER_FILES; i++) {
        struct stat st;
        assert_int_equal(fstat(f->dir.slots_fd[i], &st), 0);
        assert_true(st.st_size <= JB_SLOT_SIZE);
    }
}

/* A glance tests a few locks, of others each time; it errs on the side of boxes that are dead, never of those that live. */
static void test_a_glance_bounds_the_tests(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    static struct box boxes[3 * JB_LEDGER_TESTS];
    const size_t n = JB_ARRAY_LEN(boxes);
    struct jb_ledger l;
    for (size_t i = 0; i < n; i++) {
        char cpu[16];
        (void)snprintf(cpu, sizeof(cpu), "%zu", i);
        boxes[i] = (struct box){.holding = holding_of(cpu, true)};
        claim(f, &boxes[i]);
        assert_ok(jb_ledger_glance(&f->dir, &l, &err), &err);
        assert_int_equal(l.len, i + 1);
        assert_int_equal(l.untested, i < JB_LEDGER_TESTS ? 0 : i + 1 - JB_LEDGER_TESTS);
        jb_ledger_free(&l);
    }
    const size_t gone = 40;
    jb_close(&boxes[gone].lock); /* as if its supervisor had been killed */
    assert_int_equal(live(f), n - 1);
    bool missed = false;
    bool found = false;
    for (unsigned i = 0; !(missed && found) && i < 100000; i++) {
        assert_ok(jb_ledger_glance(&f->dir, &l, &err), &err);
        assert_int_equal(l.len + l.dead, n);
        assert_int_equal(jb_cpus_has(&l.held, (unsigned)gone), l.dead == 0);
        missed |= l.dead == 0;
        found |= l.dead == 1;
        jb_ledger_free(&l);
    }
    assert_true(missed && found);
    recover_all(f);
    for (size_t i = 0; i < n; i++)
        if (i != gone)
            release(f, &boxes[i]);
    jb_close(&boxes[gone].fd);
    assert_int_equal(live(f), 0);
}

static size_t devices_held(struct fixture *f)
{
    struct jb_error err = {0};
    struct jb_ledger l;
    jb_autoheld struct jb_held held = {0};
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    assert_ok(jb_ledger_devices(&f->dir, &l, &held, &err), &err);
    for (size_t i = 0; i < held.len; i++)
        assert_true(held.items[i].box < l.len && l.items[held.items[i].box].devices);
    jb_ledger_free(&l);
    return held.len;
}

/* They come with the claim and go with the lock, however the box ends. */
static void test_devices_are_held(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box a = {.holding = holding_of("0", true)};
    struct box b = {.holding = holding_of("1", true)};
    a.holding.devices = "x vendor.com/gpu=0 c300000000\ns /dev/fuse ae5\n";
    claim(f, &b);
    assert_int_equal(devices_held(f), 0);
    claim(f, &a);
    assert_int_equal(devices_held(f), 2);
    jb_close(&a.lock); /* as if its supervisor had been killed */
    assert_int_equal(devices_held(f), 0);
    assert_ok(jb_ledger_adopt(&f->dir, &a.holding.id, &a.fd, &a.lock, &err), &err);
    assert_int_equal(devices_held(f), 2);
    jb_autofree char *path = jb_asprintf("%s/boxes/%s/devices", f->path, a.holding.id.text);
    test_write(f->path, "damaged", "x");
    jb_autofree char *damaged = jb_asprintf("%s/damaged", f->path);
    assert_int_equal(rename(damaged, path), 0);
    struct jb_ledger l;
    struct jb_held held = {0};
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    assert_int_equal(jb_ledger_devices(&f->dir, &l, &held, &err), -EUCLEAN);
    assert_int_equal(unlink(path), 0); /* on its way out: the folder goes first */
    assert_ok(jb_ledger_devices(&f->dir, &l, &held, &err), &err);
    assert_int_equal(held.len, 0);
    jb_ledger_free(&l);
    release(f, &a);
    release(f, &b);
    assert_int_equal(live(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wide_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_box_frees_its_cpus_and_is_adopted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_made_boxes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_claim_failure_leaves_nothing, setup, teardown),
        cmocka_unit_test(test_planted_files_are_refused),
        cmocka_unit_test_setup_teardown(test_many_claimers_some_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_orphans_are_adopted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots_are_reused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_glance_bounds_the_tests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_devices_are_held, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
