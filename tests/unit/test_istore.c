/*
 * test_istore.c - the image store: looking at it while others remove what is in it.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "image/store.h"

/* Layers as verify meets them: by name. */
#define FIRST  "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND "2222222222222222222222222222222222222222222222222222222222222222"

struct world {
    char *dir;
    struct jb_istore store;
    const char *goes; /* removed as soon as something is said */
    unsigned said;
    char last[256];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct jb_error err = {0};
    w->dir = test_tmpdir();
    const struct jb_istore_where where = {.path = w->dir, .owner = getuid(), .make = true};
    w->store = JB_ISTORE_INIT;
    assert_ok(jb_istore_open(&where, &w->store, &err), &err);
    assert_int_equal(mkdirat(w->store.fd, "layers/" FIRST, 0700), 0);
    assert_int_equal(mkdirat(w->store.fd, "layers/" SECOND, 0700), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    jb_istore_close(&w->store);
    test_tmpdir_remove(w->dir);
    free(w);
    return 0;
}

static void hear(void *ctx, const char *what)
{
    struct world *w = ctx;
    w->said++;
    (void)snprintf(w->last, sizeof(w->last), "%s", what);
    if (w->goes)
        assert_int_equal(jb_remove_tree(w->store.fd, w->goes), 0);
    w->goes = NULL;
}

static void what_is_damaged_is_said(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    assert_int_equal(jb_istore_verify(&w->store, true, hear, w, &err), 2);
    assert_int_equal(w->said, 2);
    assert_string_equal(w->last, "layer 222222222222: layer.json is missing or damaged");
}

static void what_is_removed_meanwhile_is_no_damage(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    w->goes = "layers/" SECOND;
    assert_int_equal(jb_istore_verify(&w->store, true, hear, w, &err), 1);
    assert_string_equal(w->last, "layer 111111111111: layer.json is missing or damaged");
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_store(what_is_damaged_is_said),
        with_store(what_is_removed_meanwhile_is_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
