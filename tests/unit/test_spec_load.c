/*
 * test_spec_load.c - specs from files of all sorts: none may hang, each says what is wrong with it.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spec/spec.h"

static const char right[] = "version: 1\nscript: x\n";

/* What loading `path` says, after the path itself. */
static char *refusal(const char *path, int expected)
{
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    assert_int_equal(jb_spec_load(path, &spec, &diags), expected);
    assert_null(spec);
    char *text = jb_diags_format(&diags);
    jb_diags_free(&diags);
    assert_true(strncmp(text, path, strlen(path)) == 0);
    memmove(text, text + strlen(path), strlen(text + strlen(path)) + 1);
    return text;
}

static void test_regular(void **state)
{
    char *dir = test_tmpdir();
    jb_autofree char *path = jb_asprintf("%s/job.yaml", dir);
    struct jb_diags diags = {0};
    jb_autospec struct jb_spec *spec = NULL;
    (void)state;
    test_write(dir, "job.yaml", right);
    assert_int_equal(jb_spec_load(path, &spec, &diags), 0);
    assert_string_equal(spec->file, path);
    test_write(dir, "job.yaml", "version: 1\nscript: x\nnmae: y\n");
    jb_autofree char *said = refusal(path, -EINVAL);
    assert_string_equal(said, ":3:1: nmae: unknown key; did you mean \"name\"?\n");
    test_tmpdir_remove(dir);
}

static void test_not_regular(void **state)
{
    char *dir = test_tmpdir();
    jb_autofree char *fifo = jb_asprintf("%s/fifo", dir);
    jb_autofree char *absent = jb_asprintf("%s/absent", dir);
    (void)state;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    jb_autofree char *a = refusal(fifo, -EINVAL);
    assert_string_equal(a, ": is not a regular file; write \"-\" to read from standard input\n");
    jb_autofree char *b = refusal("/dev/zero", -EINVAL);
    assert_string_equal(b, ": is not a regular file; write \"-\" to read from standard input\n");
    jb_autofree char *c = refusal(dir, -EISDIR);
    assert_string_equal(c, ": is a directory; name a YAML file in it\n");
    jb_autofree char *d = refusal(absent, -ENOENT);
    assert_string_equal(d, ": there is no such file; check the name\n");
    jb_autofree char *loop = jb_asprintf("%s/loop", dir);
    assert_int_equal(symlink("loop", loop), 0);
    jb_autofree char *e = refusal(loop, -ELOOP);
    assert_string_equal(e, ": cannot be opened: Too many levels of symbolic links\n");
    test_tmpdir_remove(dir);
}

static void test_too_large(void **state)
{
    char *dir = test_tmpdir();
    jb_autofree char *path = jb_asprintf("%s/big", dir);
    (void)state;
    test_write(dir, "big", "");
    assert_int_equal(truncate(path, (off_t)100 << 20), 0);
    jb_autofree char *said = refusal(path, -EFBIG);
    assert_string_equal(said, ": is larger than 1 MiB; a job spec or a configuration is not\n");
    assert_int_equal(truncate(path, JB_SPEC_FILE_MAX), 0);
    jb_autofree char *nuls = refusal(path, -EINVAL);
    assert_string_equal(nuls, ":1:1: a NUL byte is not text; this is not a YAML file\n");
    test_tmpdir_remove(dir);
}

static void test_standard_input(void **state)
{
    int ends[2];
    struct jb_diags diags = {0};
    jb_autospec struct jb_spec *spec = NULL;
    jb_autoclose int saved = dup(STDIN_FILENO);
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], right, strlen(right)), strlen(right));
    (void)close(ends[1]);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    (void)close(ends[0]);
    int r = jb_spec_load("-", &spec, &diags);
    if (saved >= 0)
        assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(r, 0);
    assert_string_equal(spec->file, "(standard input)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular),
        cmocka_unit_test(test_not_regular),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_standard_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
