/*
 * test_exec_ask.c - a request for a command, written and read; what is not one is refused.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "job/exec/exec_ask.h"

static void add(struct jb_strv *list, const char *text)
{
    assert_int_equal(jb_strv_add(list, text), 0);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct jb_exec_ask ask = JB_EXEC_ASK_INIT;
    struct jb_exec_ask got;
    struct jb_error err = {0};
    jb_autoclose int fd = -1;
    add(&ask.argv, "/bin/echo");
    add(&ask.argv, "");
    add(&ask.argv, "\xff\xfe not text\n");
    add(&ask.env, "A=b=c");
    add(&ask.env, "EMPTY=");
    ask.workdir = strdup("/work/x y");
    ask.tty = true;
    ask.rows = 24;
    ask.cols = 80;
    ask.timeout_ns = 5 * JB_NS_PER_S;
    assert_int_equal(jb_exec_ask_user("1000:100", &ask), 0);
    assert_int_equal(jb_exec_ask_write(&ask, &fd, &err), 0);
    assert_int_equal(jb_exec_ask_read(fd, &got, &err), 0);
    assert_int_equal(got.argv.len, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(got.argv.items[i], ask.argv.items[i]);
    assert_int_equal(got.env.len, 2);
    assert_string_equal(got.env.items[0], "A=b=c");
    assert_string_equal(got.workdir, "/work/x y");
    assert_true(got.tty && !got.keep_children && got.user_said);
    assert_int_equal(got.uid, 1000);
    assert_int_equal(got.gid, 100);
    assert_int_equal(got.rows, 24);
    assert_int_equal(got.cols, 80);
    assert_true(got.timeout_ns == 5 * JB_NS_PER_S);
    jb_exec_ask_free(&ask);
    jb_exec_ask_free(&got);
}

static void what_is_not_said_is_not_there(void **state)
{
    (void)state;
    struct jb_exec_ask ask = JB_EXEC_ASK_INIT;
    struct jb_exec_ask got;
    struct jb_error err = {0};
    jb_autoclose int fd = -1;
    add(&ask.argv, "true");
    assert_int_equal(jb_exec_ask_write(&ask, &fd, &err), 0);
    assert_int_equal(jb_exec_ask_read(fd, &got, &err), 0);
    assert_null(got.workdir);
    assert_false(got.user_said);
    assert_true(got.timeout_ns == JB_UNSET);
    assert_int_equal(got.rows, 0);
    jb_exec_ask_free(&ask);
    jb_exec_ask_free(&got);
}

static int read_text(const char *text, size_t len)
{
    struct jb_exec_ask got;
    struct jb_error err = {0};
    jb_autoclose int fd = -1;
    assert_int_equal(jb_sealed_memfd("x", text, len, false, &fd), 0);
    int r = jb_exec_ask_read(fd, &got, &err);
    if (r == 0)
        jb_exec_ask_free(&got);
    else
        assert_true(err.text[0] != '\0');
    return r;
}
#define READ(text) read_text(text, sizeof(text) - 1)

static void what_is_no_request_is_refused(void **state)
{
    (void)state;
    assert_int_equal(READ("{\"args\":1,\"vars\":0}\0\0true\0"), 0);
    assert_true(READ("") < 0);
    assert_true(READ("\0") < 0);
    assert_true(READ("[]\0\0true\0") < 0);
    assert_true(READ("{\"args\":0,\"vars\":0}\0\0") < 0);
    assert_true(READ("{\"args\":2,\"vars\":0}\0\0true\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0}\0\0true") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0}\0\0\0") < 0);
    assert_true(READ("{\"args\":99999999999,\"vars\":0}\0\0true\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":1}\0\0true\0NOEQUALS\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":1}\0\0true\0=x\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0}\0../x\0true\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0}\0/a/../../x\0true\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0,\"user\":1}\0\0true\0") < 0);
    assert_true(READ("{\"args\":1,\"vars\":0,\"user\":4294967295,\"group\":1}\0\0true\0") < 0);
}

/* It could change between a look and the next, or never end. */
static void a_file_that_is_not_sealed_is_refused(void **state)
{
    (void)state;
    struct jb_exec_ask got;
    struct jb_error err = {0};
    int fds[2];
    jb_autoclose int memfd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(jb_exec_ask_read(memfd, &got, &err), -EINVAL);
    assert_int_equal(jb_exec_ask_read(fds[0], &got, &err), -EINVAL);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void users_are_digits(void **state)
{
    (void)state;
    struct jb_exec_ask ask = JB_EXEC_ASK_INIT;
    static const char *const bad[] = {"",      ":",          "1:", ":1",  "root", "-1",
                                      "1:2:3", "4294967295", "1 ", "0x1", "1:+2"};
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++)
        assert_int_equal(jb_exec_ask_user(bad[i], &ask), -EINVAL);
    assert_false(ask.user_said);
    assert_int_equal(jb_exec_ask_user("7", &ask), 0);
    assert_int_equal(ask.gid, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_not_said_is_not_there),
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(a_file_that_is_not_sealed_is_refused),
        cmocka_unit_test(users_are_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
