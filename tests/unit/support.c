/*
 * support.c - what unit tests share.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

char *test_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = jb_asprintf("%s/jobbox-unit.XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(path);
    assert_non_null(mkdtemp(path));
    return path;
}

void test_tmpdir_remove(char *path)
{
    assert_int_equal(jb_remove_tree(AT_FDCWD, path), 0);
    free(path);
}

void test_write(const char *dir, const char *path, const char *text)
{
    jb_autofree char *full = jb_asprintf("%s/%s", dir, path);
    assert_non_null(full);
    for (char *p = full + strlen(dir) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        if (mkdir(full, 0755) < 0)
            assert_int_equal(errno, EEXIST);
    }
    jb_autoclose int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(jb_write_all(fd, text, strlen(text)), 0);
}

static int hit(void *ctx, const char *verb, const char *path)
{
    (void)verb;
    (void)path;
    struct test_fault *f = ctx;
    return ++f->seen == f->at ? -f->errnum : 0;
}

void test_fault_init(struct test_fault *f, unsigned at, int errnum)
{
    *f = (struct test_fault){.fault = {.hit = hit}, .at = at, .errnum = errnum};
    f->fault.ctx = f;
}
