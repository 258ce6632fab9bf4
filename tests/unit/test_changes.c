/*
 * test_changes.c - what the walk of an upper says, on plain directories that look like those of an overlay.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "job/kept/changes.h"

struct world {
    char top[64];
    int top_fd, upper, lower, deep; /* `deep` lies below `lower` */
    struct jb_box box;
    struct jb_box_layer layer;
    int lowers[2];
};

static int make_dir(int at, const char *name)
{
    assert_int_equal(mkdirat(at, name, 0755), 0);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    (void)umask(022);
    (void)snprintf(w->top, sizeof(w->top), "/tmp/jbchanges.XXXXXX");
    assert_non_null(mkdtemp(w->top));
    w->top_fd = open(w->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->upper = make_dir(w->top_fd, "upper0");
    w->lower = make_dir(w->top_fd, "lower");
    w->deep = make_dir(w->top_fd, "deep");
    w->lowers[0] = w->lower;
    w->lowers[1] = w->deep;
    w->layer =
        (struct jb_box_layer){.upper = "upper0", .target = (char *)"/", .lowers = w->lowers, .n_lowers = 2};
    w->box = JB_BOX_INIT;
    w->box.scratch_fd = w->top_fd;
    w->box.layers = &w->layer;
    w->box.n_layers = 1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    (void)jb_remove_tree(AT_FDCWD, w->top);
    (void)close(w->upper);
    (void)close(w->lower);
    (void)close(w->deep);
    (void)close(w->top_fd);
    free(w);
    return 0;
}

static void put(int at, const char *path, const char *text)
{
    jb_autoclose int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void whiteout(int at, const char *path)
{
    if (mknodat(at, path, S_IFCHR | 0600, makedev(0, 0)) < 0)
        skip(); /* a kernel before 5.8, for an ordinary user */
}

/* As of an overlay that whoever runs the test would mount. */
static enum jb_overlay_space space(void)
{
    return geteuid() == 0 ? JB_OVERLAY_TRUSTED : JB_OVERLAY_USER;
}

static bool set(int fd, enum jb_overlay_space in, const char *name, const char *value)
{
    char full[64];
    (void)snprintf(full, sizeof(full), "%s.overlay.%s", in == JB_OVERLAY_USER ? "user" : "trusted", name);
    return fsetxattr(fd, full, value, strlen(value), 0) == 0;
}

static bool opaque(int fd)
{
    return set(fd, space(), "opaque", "y");
}

static void says(const struct world *w, struct jb_changes *c, const char *expected)
{
    struct jb_error err = {0};
    jb_autobuf struct jb_buf text = {0};
    assert_int_equal(jb_changes_find(&w->box, c, &err), 0);
    assert_int_equal(jb_changes_text(c, &text), 0);
    assert_string_equal(text.data, expected);
    jb_changes_free(c);
}

static struct jb_changes begin(const struct world *w)
{
    struct jb_changes c;
    struct jb_error err = {0};
    assert_int_equal(jb_changes_begin(&w->box, space(), &c, &err), 0);
    return c;
}

static void copies_without_a_difference_are_no_change(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    put(w->lower, "same", "text");
    put(w->upper, "same", "text");
    put(w->lower, "content", "text");
    put(w->upper, "content", "tExt");
    put(w->lower, "size", "text");
    put(w->upper, "size", "text and more");
    put(w->lower, "mode", "text");
    put(w->upper, "mode", "text");
    assert_int_equal(fchmodat(w->upper, "mode", 0600, 0), 0);
    assert_int_equal(symlinkat("a", w->lower, "link"), 0);
    assert_int_equal(symlinkat("b", w->upper, "link"), 0);
    assert_int_equal(symlinkat("a", w->lower, "same-link"), 0);
    assert_int_equal(symlinkat("a", w->upper, "same-link"), 0);
    says(w, &c, "M /content\nM /link\nM /mode\nM /size\n");
}

static void every_layer_below_counts(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    put(w->deep, "deep", "text");
    put(w->upper, "deep", "text");
    put(w->deep, "gone-below", "text");
    whiteout(w->lower, "gone-below");
    put(w->upper, "gone-below", "text");
    put(w->deep, "deleted", "text");
    whiteout(w->upper, "deleted");
    whiteout(w->upper, "never-there");
    says(w, &c, "D /deleted\nA /gone-below\n");
}

static void directories_are_compared_inside(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    jb_autoclose int below = make_dir(w->lower, "dir");
    jb_autoclose int above = make_dir(w->upper, "dir");
    jb_autoclose int added = make_dir(w->upper, "new");
    put(below, "kept", "text");
    put(above, "kept", "text");
    put(above, "mine", "text");
    put(below, "hidden", "text");
    put(added, "x", "text");
    put(w->lower, "typed", "text");
    jb_autoclose JB_UNUSED int typed = make_dir(w->upper, "typed");
    bool can = opaque(above);
    says(w, &c,
         can ? "D /dir/hidden\nA /dir/mine\nA /new/\nA /new/x\nR /typed/\n"
             : "A /dir/mine\nA /new/\nA /new/x\nR /typed/\n");
}

/* Mode and owner of what jobbox had made or copied up, and of a layer's root. */
static void modes_of_folders_that_were_there_before_the_job(void **state)
{
    struct world *w = *state;
    jb_autoclose int copied = make_dir(w->upper, "copied");
    jb_autoclose JB_UNUSED int same = make_dir(w->upper, "same");
    jb_autoclose int other = make_dir(w->upper, "other");
    jb_autoclose int back = make_dir(w->upper, "back");
    jb_autoclose int fresh = make_dir(w->upper, "fresh");
    jb_autoclose JB_UNUSED int a = make_dir(w->lower, "copied");
    jb_autoclose JB_UNUSED int b = make_dir(w->lower, "same");
    jb_autoclose JB_UNUSED int c = make_dir(w->lower, "other");
    jb_autoclose JB_UNUSED int d = make_dir(w->lower, "back");
    assert_int_equal(fchmod(other, 0700), 0); /* jobbox's doing */
    assert_int_equal(fchmod(back, 0700), 0);
    struct jb_changes changes = begin(w);
    assert_int_equal(fchmod(w->upper, 0711), 0);
    assert_int_equal(fchmod(copied, 0711), 0);
    assert_int_equal(fchmod(fresh, 0711), 0);
    assert_int_equal(fchmod(back, 0755), 0);
    says(w, &changes, "M /\nM /copied/\nM /fresh/\n");
}

/* Anybody may set user.overlay.* on his files; an overlay of root's does not read it. */
static void what_only_looks_like_an_overlays_mark_is_none(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    c.space = JB_OVERLAY_TRUSTED;
    jb_autoclose int below = make_dir(w->lower, "dir");
    jb_autoclose int above = make_dir(w->upper, "dir");
    jb_autoclose int moved = make_dir(w->upper, "moved");
    jb_autoclose int deeper = make_dir(w->deep, "dir");
    put(below, "hidden", "text");
    put(deeper, "deeper", "text");
    put(above, "deeper", "text");
    put(w->lower, "file", "text");
    put(w->upper, "file", "tExt");
    jb_autoclose int file = openat(w->upper, "file", O_WRONLY | O_CLOEXEC);
    bool can = set(above, JB_OVERLAY_USER, "opaque", "y") && set(below, JB_OVERLAY_USER, "opaque", "y") &&
               set(moved, JB_OVERLAY_USER, "redirect", "/dir") && set(file, JB_OVERLAY_USER, "metacopy", "");
    if (can)
        says(w, &c, "M /file\nA /moved/\n");
    else
        jb_changes_free(&c);
}

static void what_was_there_before_the_job_is_not_the_jobs(void **state)
{
    struct world *w = *state;
    jb_autoclose int ours = make_dir(w->upper, "work");
    jb_autoclose int below = make_dir(w->lower, "work");
    put(below, "image", "text");
    put(w->upper, "script", "text");
    put(w->upper, "written", "text");
    bool can = opaque(ours);
    struct jb_changes c = begin(w);
    put(ours, "job", "text");
    (void)usleep(20000); /* the clock of the file system's stamps is coarse */
    put(w->upper, "written", "other");
    if (can)
        says(w, &c, "A /work/job\nM /written\n");
    else
        jb_changes_free(&c);
}

/* The upper is the job's: what looks like a path out of it is only a name. */
static void hostile_names_and_links(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    assert_int_equal(symlinkat("/etc", w->upper, "etc"), 0);
    jb_autoclose int etc = make_dir(w->lower, "etc");
    put(etc, "passwd", "text");
    put(w->upper, "a\nb\\", "text");
    assert_int_equal(mkfifoat(w->upper, "fifo", 0644), 0);
    assert_int_equal(mkfifoat(w->lower, "fifo", 0644), 0);
    says(w, &c, "A /a\\012b\\134\nR /etc\n");
}

static void too_much_is_said_to_be_too_much(void **state)
{
    struct world *w = *state;
    struct jb_changes c = begin(w);
    struct jb_error err = {0};
    int at = dup(w->upper);
    for (unsigned i = 0; i < JB_CHANGES_DEPTH + 5; i++) {
        int next = make_dir(at, "d");
        (void)close(at);
        at = next;
    }
    (void)close(at);
    assert_int_equal(jb_changes_find(&w->box, &c, &err), 0);
    assert_true(c.truncated);
    assert_true(c.counts[JB_CHANGE_ADDED] >= JB_CHANGES_DEPTH);
    jb_changes_free(&c);
}

/* The marks of fuse-overlayfs, and owners that are another's below. In a layer of the kernel's they are files of the job. */
static void a_layer_of_fuse_overlayfs(void **state)
{
    struct world *w = *state;
    jb_autoclose int below = make_dir(w->lower, "d");
    jb_autoclose int again = make_dir(w->upper, "d");
    put(below, "was", "x");
    put(w->lower, "gone", "x");
    put(w->lower, ".hidden", "x");
    put(w->upper, "new", "x");
    put(w->upper, ".wh.gone", "");
    put(w->upper, ".wh..hidden", "");
    put(again, ".wh..wh..opq", "");
    whiteout(again, ".wh..opq");
    struct jb_changes c = {.list = json_array()};
    w->layer.fuse = true;
    says(w, &c, "D /.hidden\nD /gone\nD /d/was\nA /new\n");
    w->layer.fuse = false;
    c = (struct jb_changes){.list = json_array()};
    says(w, &c, "A /.wh..hidden\nA /.wh.gone\nA /d/.wh..wh..opq\nA /new\n");
    if (fchownat(w->upper, "d", 1, 1, 0) < 0)
        return;
    c = (struct jb_changes){.list = json_array()};
    w->layer.fuse = true;
    says(w, &c, "D /.hidden\nD /gone\nM /d/\nD /d/was\nA /new\n");
    w->layer.squashed = true;
    c = (struct jb_changes){.list = json_array()};
    says(w, &c, "D /.hidden\nD /gone\nD /d/was\nA /new\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(copies_without_a_difference_are_no_change, setup, teardown),
        cmocka_unit_test_setup_teardown(a_layer_of_fuse_overlayfs, setup, teardown),
        cmocka_unit_test_setup_teardown(every_layer_below_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(directories_are_compared_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(modes_of_folders_that_were_there_before_the_job, setup, teardown),
        cmocka_unit_test_setup_teardown(what_only_looks_like_an_overlays_mark_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_there_before_the_job_is_not_the_jobs, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_names_and_links, setup, teardown),
        cmocka_unit_test_setup_teardown(too_much_is_said_to_be_too_much, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
