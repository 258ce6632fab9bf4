/*
 * test_held.c - when two devices are one, and the lines that a box's devices are kept in.
 */
#include "support.h"

#include <errno.h>

#include "base/cleanup.h"
#include "machine/held.h"

/* Parts of a device share its node and do not stand in each other's way; the whole does. */
static void parts_and_wholes(void **state)
{
    (void)state;
    uint64_t n[] = {jb_held_number('c', 195, 0), jb_held_number('c', 236, 1), jb_held_number('c', 236, 2)};
    struct jb_held_device whole = {.name = (char *)"v/g=0", .exclusive = true, .nodes = n, .n_nodes = 1};
    struct jb_held_device one = {.name = (char *)"v/g=0:1", .exclusive = true, .nodes = n, .n_nodes = 2};
    uint64_t m[] = {n[0], n[2]};
    struct jb_held_device two = {.name = (char *)"v/g=0:2", .exclusive = true, .nodes = m, .n_nodes = 2};
    struct jb_held_device none = {.name = (char *)"v/lib=0", .exclusive = true};
    struct jb_held_device block = {.name = (char *)"b", .exclusive = true};
    uint64_t b = jb_held_number('b', 195, 0);
    block.nodes = &b;
    block.n_nodes = 1;
    assert_true(jb_held_same(&whole, &one) && jb_held_same(&two, &whole) && jb_held_same(&one, &one));
    assert_false(jb_held_same(&one, &two));
    assert_false(jb_held_same(&whole, &none) || jb_held_same(&none, &whole));
    assert_true(jb_held_same(&none, &none));
    assert_false(jb_held_same(&whole, &block));
}

static void lines_of_a_box(void **state)
{
    static const char *const bad[] = {
        "x",        "x a",      "x a 1",    "y a 1\n", "x  \n",
        "x a 1,\n", "x a ,1\n", "x a 1z\n", "x\n",     "x a 11112222333344445\n"};
    (void)state;
    uint64_t n[] = {jb_held_number('c', 195, 1), jb_held_number('b', 8, 0), jb_held_number('c', 1, 3)};
    jb_autoheld struct jb_held held = {0};
    jb_autoheld struct jb_held back = {0};
    jb_autofree char *text = NULL;
    assert_int_equal(jb_held_add(&held, "vendor.com/gpu=a", true, n, 3), 0);
    assert_int_equal(jb_held_add(&held, "/dev/a b", false, n, 1), 0);
    assert_int_equal(jb_held_add(&held, "vendor.com/lib=x", true, NULL, 0), 0);
    assert_int_equal(jb_held_format(&held, &text), 0);
    assert_int_equal(jb_held_parse(text, 7, &back), 0);
    assert_int_equal(back.len, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(back.items[i].name, held.items[i].name);
        assert_int_equal(back.items[i].exclusive, held.items[i].exclusive);
        assert_int_equal(back.items[i].n_nodes, held.items[i].n_nodes);
        assert_int_equal(back.items[i].box, 7);
        assert_true(jb_held_same(&back.items[i], &held.items[i]));
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        jb_autoheld struct jb_held none = {0};
        if (jb_held_parse(bad[i], 0, &none) != -EUCLEAN)
            fail_msg("\"%s\" was read", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_and_wholes),
        cmocka_unit_test(lines_of_a_box),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
