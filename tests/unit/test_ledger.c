/*
 * test_ledger.c - the ledger: round trips, every point of death, what is planted or damaged, devices.
 */
#include "ledger_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "machine/held.h"
#include "machine/slots.h"

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

static struct jb_holding only_live(struct fixture *f)
{
    struct jb_ledger l;
    struct jb_holding got;
    struct jb_error err = {0};
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    assert_int_equal(l.len, 1);
    jb_ledger_get(&l, 0, &got);
    jb_ledger_free(&l);
    return got;
}

static void test_when_a_box_ends_is_changed_alone_and_stays_when_the_rest_changes(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("0-1", true)};
    b.holding.ends_ns = 7;
    claim(f, &b);
    assert_int_equal(only_live(f).ends_ns, 7);
    assert_ok(jb_ledger_ends(&f->dir, &b.holding.id, UINT64_MAX - 1, &err), &err);
    struct jb_holding more = holding_of("0-2", true);
    more.id = b.holding.id;
    assert_ok(jb_ledger_update(&f->dir, &more, &err), &err);
    struct jb_holding got = only_live(f);
    assert_int_equal(got.ends_ns, UINT64_MAX - 1);
    assert_true(jb_cpus_equal(&got.cpus, &more.cpus));
    struct jb_id other = b.holding.id;
    other.text[3] = other.text[3] == '0' ? '1' : '0';
    assert_int_equal(jb_ledger_ends(&f->dir, &other, 1, &err), -ENOENT);
    assert_int_equal(only_live(f).ends_ns, UINT64_MAX - 1);
    release(f, &b);
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

/* The slot of a box that lives, as somebody sees it who looks while it is written; what it will be when that is done. */
static struct jb_slot tear(struct fixture *f, size_t g, off_t from)
{
    struct jb_slot whole;
    assert_int_equal(jb_slot_fetch(&f->dir, g, &whole), 0);
    assert_int_equal(pwrite(f->dir.slots_fd[g], "\x5a\x5a\x5a\x5a", 4, from), 4);
    return whole;
}

struct late {
    struct fixture *f;
    struct jb_slot slot;
};

static void *write_late(void *arg)
{
    const struct late *l = arg;
    (void)usleep(30000);
    assert_int_equal(jb_slot_store(&l->f->dir, 0, &l->slot), 0);
    return NULL;
}

/* An owner that is halted in the midst of a write is waited for, whatever it was about to write. */
static void test_a_slot_that_is_being_written_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct box b = {.holding = holding_of("0", true)};
    claim(f, &b);
    for (size_t want = 0; want < 2; want++) {
        pthread_t thread;
        struct late late = {.f = f, .slot = tear(f, 0, 60)};
        if (want == 0) /* it is leaving */
            late.slot = (struct jb_slot){0};
        assert_int_equal(pthread_create(&thread, NULL, write_late, &late), 0);
        assert_int_equal(live(f), want);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (want == 0) { /* for the other one */
            struct jb_slot again;
            assert_true(jb_slot_pack(&b.holding, &again) == 0);
            assert_int_equal(jb_slot_store(&f->dir, 0, &again), 0);
        }
    }
    release(f, &b);
}

/* Whoever sweeps must not take a box whose slot is half written for one that nobody has. */
static void test_a_box_whose_slot_is_being_written_is_not_taken_over(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct box b = {.holding = holding_of("0", true)};
    int fd = -1;
    int lock = -1;
    claim(f, &b);
    const struct jb_slot whole = tear(f, 0, 60);
    assert_int_equal(dead(f, NULL), 0);
    assert_int_equal(jb_ledger_adopt(&f->dir, &b.holding.id, &fd, &lock, &err), -EAGAIN);
    assert_int_equal(jb_ledger_ends(&f->dir, &b.holding.id, 1, &err), -EUCLEAN); /* damage is not signed */
    assert_int_equal(jb_slot_store(&f->dir, 0, &whole), 0);
    assert_int_equal(live(f), 1);
    release(f, &b);
}

struct writer {
    struct fixture *f;
    struct jb_slot slots[3];
    atomic_bool stop;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    for (size_t i = 0; !atomic_load(&w->stop); i++)
        assert_int_equal(jb_slot_store(&w->f->dir, 0, &w->slots[i % 3]), 0);
    return NULL;
}

static void test_reading_while_a_slot_is_written(void **state)
{
    struct fixture *f = *state;
    struct box b = {.holding = holding_of("0", true)};
    claim(f, &b);
    struct writer w = {.f = f};
    struct jb_holding other = b.holding;
    other.memory = 12345;
    assert_int_equal(jb_slot_pack(&b.holding, &w.slots[0]), 0);
    assert_int_equal(jb_slot_pack(&other, &w.slots[1]), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
    for (int i = 0; i < 20000; i++)
        assert_true(live(f) <= 1);
    atomic_store(&w.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(jb_slot_store(&f->dir, 0, &w.slots[0]), 0);
    release(f, &b);
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
        with_ledger(test_round_trip),
        with_ledger(test_wide_sets),
        with_ledger(test_when_a_box_ends_is_changed_alone_and_stays_when_the_rest_changes),
        with_ledger(test_dead_box_frees_its_cpus_and_is_adopted_once),
        with_ledger(test_half_made_boxes),
        with_ledger(test_damaged_slots),
        with_ledger(test_a_slot_that_is_being_written_is_waited_for),
        with_ledger(test_a_box_whose_slot_is_being_written_is_not_taken_over),
        with_ledger(test_reading_while_a_slot_is_written),
        with_ledger(test_claim_failure_leaves_nothing),
        cmocka_unit_test(test_planted_files_are_refused),
        with_ledger(test_slots_are_reused),
        with_ledger(test_a_glance_bounds_the_tests),
        with_ledger(test_devices_are_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
