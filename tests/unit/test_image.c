/*
 * test_image.c - what can be a root and what cannot, with words that help.
 */
#include "plan_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct images {
    struct fixture *f;
    char *dir;
    int fd;
    struct jb_image image;
    struct jb_error err;
};

static int setup(void **state)
{
    struct images *i = calloc(1, sizeof(*i));
    i->f = fixture_new(true);
    i->dir = test_tmpdir();
    i->fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(i->fd, "good", 0755), 0);
    assert_int_equal(mkdirat(i->fd, "good/proc", 0755), 0);
    *state = i;
    return 0;
}

static int teardown(void **state)
{
    struct images *i = *state;
    jb_image_free(&i->image);
    (void)close(i->fd);
    test_tmpdir_remove(i->dir);
    fixture_free(i->f);
    free(i);
    return 0;
}

static int resolve(struct images *i, const char *image)
{
    jb_autofree char *yaml = jb_asprintf(SPEC "image: \"%s\"\n", image);
    fixture_spec(i->f, yaml);
    jb_image_free(&i->image);
    const struct jb_image_where where = {.cwd = i->dir,
                                         .state_dir = i->dir,
                                         .uid = getuid(),
                                         .privileged = getuid() == 0,
                                         .policy = &i->f->site->images};
    return jb_image_resolve(i->f->spec, &where, &i->image, &i->err);
}

static void hosts_and_directories(void **state)
{
    struct images *i = *state;
    jb_autofree char *good = jb_asprintf("%s/good", i->dir);
    assert_ok(resolve(i, "host"), &i->err);
    assert_int_equal(i->image.kind, JB_IMAGE_HOST);
    assert_string_equal(i->image.path, "/");
    assert_ok(resolve(i, good), &i->err);
    assert_int_equal(i->image.kind, JB_IMAGE_DIR);
    assert_string_equal(i->image.path, good);
    assert_ok(resolve(i, "./good"), &i->err); /* from where jobbox was started */
    assert_string_equal(i->image.path, good);
    assert_string_equal(i->image.ref, "./good");
    assert_ok(resolve(i, "/"), &i->err); /* the host by another name */
    assert_int_equal(i->image.kind, JB_IMAGE_HOST);
    assert_string_equal(jb_image_kind_name(JB_IMAGE_DIR), "directory");
    assert_null(jb_image_kind_name(JB_IMAGE_KIND_MAX));
}

static void what_is_not_there(void **state)
{
    struct images *i = *state;
    assert_int_equal(resolve(i, "debian"), -ENOENT);
    assert_contains(
        i->err.text,
        "job.yaml:3:1: image: there is no image \"debian\" in the store and no file or directory");
    assert_int_equal(resolve(i, "./absent"), -ENOENT);
    assert_contains(i->err.text, "image \"./absent\" cannot be opened: No such file or directory");
    assert_null(i->image.path);
}

static void what_is_no_root(void **state)
{
    struct images *i = *state;
    test_write(i->dir, "file.sqfs", "x");
    assert_int_equal(resolve(i, "./file.sqfs"), -EINVAL);
    assert_contains(i->err.text, "is neither a squashfs nor an erofs file");
    assert_int_equal(mkfifoat(i->fd, "fifo", 0600), 0);
    assert_int_equal(resolve(i, "./fifo"), -ENOTDIR); /* and it does not wait for a writer */
    static const char *const places[] = {"proc", "sys", "dev", "tmp", "run"};
    for (size_t p = 0; p < JB_ARRAY_LEN(places); p++) {
        jb_autofree char *link = jb_asprintf("bad/%s", places[p]);
        jb_autofree char *words = jb_asprintf("/%s is a symlink", places[p]);
        if (p == 0)
            assert_int_equal(mkdirat(i->fd, "bad", 0755), 0);
        assert_int_equal(symlinkat("/etc", i->fd, link), 0);
        assert_int_equal(resolve(i, "./bad"), -EINVAL);
        assert_contains(i->err.text, words);
        assert_int_equal(unlinkat(i->fd, link, 0), 0);
    }
    test_write(i->dir, "bad/dev", "x");
    assert_int_equal(resolve(i, "./bad"), -EINVAL);
    assert_contains(i->err.text, "/dev is a file");
}

/* In a child without privilege, for whom modes mean something. */
static void what_may_not_be_read(void **state)
{
    struct images *i = *state;
    assert_int_equal(chmod(i->dir, 0755), 0);
    assert_int_equal(fchmodat(i->fd, "good", 0, 0), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (getuid() == 0 && setresuid(65534, 65534, 65534) < 0 && errno != EPERM)
            _exit(3);
        int r = resolve(i, "./good");
        _exit(r == -EACCES && strstr(i->err.text, "job.yaml:3:1: image: image \"./good\"") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(fchmodat(i->fd, "good", 0755, 0), 0);
}

#define with_images(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_images(hosts_and_directories),
        with_images(what_is_not_there),
        with_images(what_is_no_root),
        with_images(what_may_not_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
