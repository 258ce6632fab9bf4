/*
 * ledger_fixture.h - a ledger in a folder of its own, and boxes in it, for the tests of the ledger.
 */
#ifndef JB_TESTS_LEDGER_FIXTURE_H
#define JB_TESTS_LEDGER_FIXTURE_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "machine/ledger.h"

struct fixture {
    char *path;
    int fd;
    struct jb_ledger_dir dir;
};

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    jb_ledger_dir_close(&f->dir);
    (void)close(f->fd);
    test_tmpdir_remove(f->path);
    free(f);
    return 0;
}

static inline struct jb_holding holding_of(const char *cpus, bool exclusive)
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

static inline void claim(struct fixture *f, struct box *b)
{
    struct jb_error err = {0};
    assert_ok(jb_ledger_lock(&f->dir, &err), &err);
    assert_ok(jb_ledger_claim(&f->dir, &b->holding, &b->fd, &b->lock, &err), &err);
    jb_ledger_unlock(&f->dir);
}

static inline size_t live(struct fixture *f)
{
    struct jb_error err = {0};
    struct jb_ledger l;
    assert_ok(jb_ledger_read(&f->dir, &l, &err), &err);
    size_t n = l.len;
    jb_ledger_free(&l);
    return n;
}

static inline size_t dead(struct fixture *f, struct jb_id *ret_first)
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

static inline void release(struct fixture *f, struct box *b)
{
    struct jb_error err = {0};
    assert_ok(jb_ledger_release(&f->dir, &b->holding.id, &err), &err);
    jb_close(&b->lock);
    jb_close(&b->fd);
}

static inline void recover_all(struct fixture *f)
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

#define with_ledger(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
