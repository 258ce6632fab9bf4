/*
 * support.h - what unit tests share: cmocka in the right order, scratch directories, a counting fault.
 */
#ifndef JB_TESTS_SUPPORT_H
#define JB_TESTS_SUPPORT_H

/* cmocka.h wants these first */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>

#include "base/error.h"
#include "base/kfile.h"

/* A fresh directory under $TMPDIR or /tmp, removed with everything in it by test_tmpdir_remove(). */
char *test_tmpdir(void);
void test_tmpdir_remove(char *path); /* frees path */

/* Writes a file, making its parents; fails the test when it cannot. */
void test_write(const char *dir, const char *path, const char *text);

/* A jb_kfault that fails the Nth access (from 1) with `errnum`, once. */
struct test_fault {
    struct jb_kfault fault;
    unsigned at;
    unsigned seen;
    int errnum;
};
void test_fault_init(struct test_fault *f, unsigned at, int errnum);

/* Asserts r == 0 and shows err->text when not. */
#define assert_ok(r, err)                                 \
    do {                                                  \
        int r_ = (r);                                     \
        if (r_ < 0)                                       \
            fail_msg("returned %d: %s", r_, (err)->text); \
    } while (0)

#define assert_contains(text, part)                                     \
    do {                                                                \
        if (!strstr((text), (part)))                                    \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part)); \
    } while (0)

#endif
