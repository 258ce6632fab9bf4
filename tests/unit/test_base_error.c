/*
 * test_base_error.c - error texts: what is returned, wrapped, cut and cleaned.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

static void fail_sets_text_and_sign(void **state)
{
    (void)state;
    struct jb_error err = {0};
    assert_int_equal(jb_fail(&err, ENOENT, "image %s", "x"), -ENOENT);
    assert_int_equal(err.errnum, ENOENT);
    assert_string_equal(err.text, "image x");
    assert_int_equal(jb_fail(&err, -EPERM, "y"), -EPERM); /* either sign */
    assert_int_equal(err.errnum, EPERM);
    assert_int_equal(jb_fail(&err, 0, "y"), -EIO); /* a failure is never 0 */
    assert_int_equal(err.errnum, EIO);
    assert_int_equal(jb_fail(&err, EIO, "why: %s; what to do", err.text),
                     -EIO); /* its own text as argument */
    assert_string_equal(err.text, "why: y; what to do");
}

static void fail_errno_adds_words(void **state)
{
    (void)state;
    struct jb_error err = {0};
    assert_int_equal(jb_fail_errno(&err, -ENOSPC, "writing %s", "f"), -ENOSPC);
    assert_string_equal(err.text, "writing f: No space left on device");
    assert_int_equal(jb_fail_errno(&err, 4095, "f"), -4095);
    assert_string_equal(err.text, "f: unknown error");
}

static void wrap_puts_words_in_front(void **state)
{
    (void)state;
    struct jb_error err = {0};
    (void)jb_fail(&err, EACCES, "inner");
    assert_int_equal(jb_wrap(&err, "outer %d", 1), -EACCES);
    assert_string_equal(err.text, "outer 1: inner");
    assert_int_equal(jb_wrap(&err, "%s again", err.text), -EACCES); /* its own text as argument */
    assert_string_equal(err.text, "outer 1: inner again: outer 1: inner");
}

static void null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(jb_fail(NULL, EPERM, "x"), -EPERM);
    assert_int_equal(jb_fail_errno(NULL, -EPERM, "x"), -EPERM);
    assert_int_equal(jb_wrap(NULL, "x"), -EIO);
    jb_error_clear(NULL);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct jb_error err = {0};
    char big[3 * JB_ERROR_TEXT_MAX];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    (void)jb_fail(&err, EIO, "%s", big);
    assert_int_equal(strlen(err.text), JB_ERROR_TEXT_MAX - 1);
    (void)jb_fail_errno(&err, EIO, "%s", big);
    assert_int_equal(strlen(err.text), JB_ERROR_TEXT_MAX - 1);
    /* of a wrap, the reason stays visible however long the words in front are */
    (void)jb_fail(&err, EIO, "the reason");
    (void)jb_wrap(&err, "%s", big);
    assert_contains(err.text, ": the reason");
    (void)jb_wrap(&err, "%s", big);
    assert_true(strlen(err.text) < JB_ERROR_TEXT_MAX);
}

static void control_characters_do_not_pass(void **state)
{
    (void)state;
    struct jb_error err = {0};
    (void)jb_fail(&err, EIO, "a\nb\033[31m\x7f");
    assert_string_equal(err.text, "a?b?[31m?");
    (void)jb_fail_errno(&err, EIO, "a\tb");
    assert_string_equal(err.text, "a?b: Input/output error");
    (void)jb_fail(&err, EIO, "x");
    (void)jb_wrap(&err, "two\r\nlines");
    assert_string_equal(err.text, "two??lines: x");
    (void)jb_fail(&err, EIO, "gr\xc3\xbc\xc3\x9f"); /* UTF-8 is no control character */
    assert_string_equal(err.text, "gr\xc3\xbc\xc3\x9f");
}

static void clear_forgets(void **state)
{
    (void)state;
    struct jb_error err = {0};
    (void)jb_fail(&err, EIO, "x");
    jb_error_clear(&err);
    assert_int_equal(err.errnum, 0);
    assert_string_equal(err.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_sets_text_and_sign),
        cmocka_unit_test(fail_errno_adds_words),
        cmocka_unit_test(wrap_puts_words_in_front),
        cmocka_unit_test(null_is_allowed),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(control_characters_do_not_pass),
        cmocka_unit_test(clear_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
