/*
 * test_mounts.c - the mount table.
 */
#include "support.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "machine/mounts.h"

static void test_mounts(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_mounts m;
    assert_ok(jb_mounts_parse(
                  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
                  "23 22 0:21 / /proc rw - proc proc rw\n"
                  "99 22 259:4294967295 /sub /mnt/a\\040b\\134c\\012d rw master:2 propagate_from:7 - xfs "
                  "/dev/nvme0n1p1 rw\n",
                  &m, &err),
              &err);
    assert_int_equal(m.len, 3);
    assert_string_equal(m.items[0].target, "/");
    assert_string_equal(m.items[0].fstype, "ext4");
    assert_int_equal(m.items[0].major, 8);
    assert_int_equal(m.items[0].minor, 1);
    assert_string_equal(m.items[1].fstype, "proc");
    assert_string_equal(m.items[2].target, "/mnt/a b\\c\nd");
    assert_int_equal(m.items[2].minor, 4294967295U);
    jb_mounts_free(&m);
    static const char *const bad[] = {
        "22 1 8:1 / / rw,relatime shared:1 ext4 /dev/root rw\n",
        "22 1 8-1 / / rw - ext4 x rw\n",
        "22 1 8:x / / rw - ext4 x rw\n",
        "22 1 8:1 / relative rw - ext4 x rw\n",
        "x 1 8:1 / / rw - ext4 x rw\n",
        "22 1 8:1 / / rw -\n",
        "22 1 8:1\n",
        "\n",
        "22 1 8:1 / / rw - ext4 x rw\n22 1 99999999999:1 / / rw - ext4 x rw\n",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        assert_int_equal(jb_mounts_parse(bad[i], &m, &err), -EINVAL);
        assert_contains(err.text, "mountinfo: line");
    }
    assert_ok(jb_mounts_parse("", &m, &err), &err);
    assert_int_equal(m.len, 0);
    jb_mounts_free(&m);
    assert_ok(jb_mounts_read(&m, &err), &err);
    assert_true(m.len > 0);
    unsigned roots = 0;
    for (size_t i = 0; i < m.len; i++)
        roots += jb_streq(m.items[i].target, "/");
    assert_true(roots > 0);
    jb_mounts_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
