/*
 * test_rootfs.c - building a root: which mounts, in which order, with which flags, and what when one fails.
 */
#include "mount_fake.h"

#include <dirent.h>

static void sequence(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    struct stat st;
    all_ops(f);
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    static const char *const parts[] = {
        "private\n"
        "make tmpfs mode=0755 size=1048576 nr_inodes=100\n"
        "attach m0 -> stage\n"
        "make overlay lowerdir=(fd) upperdir=(fd) workdir=(fd) userxattr\n"
        "attach image -> stage/root\n"
        "make proc\n"
        "attach m1 -> image/proc\n"
        "make sysfs [ro]\n"
        "attach m2 -> image/sys\n"
        "make tmpfs mode=0755 size=64k nr_inodes=4096\n"
        "attach m3 -> image/dev\n"
        "clone /dev/null\n"
        "attach /dev/null -> image/dev/null\n",
        "clone /dev/tty\n"
        "attach /dev/tty -> image/dev/tty\n"
        "make devpts ptmxmode=0666 mode=0620\n"
        "attach m4 -> image/dev/pts\n"
        "make tmpfs mode=1777 nr_inodes=100\n"
        "attach m5 -> image/dev/shm\n"
        "clone stage/dir0\n"
        "attach stage/dir0 -> image/tmp\n"
        "clone stage/empty\n"
        "setattr stage/empty ro\n"
        "attach stage/empty -> image/hidden\n"
        "clone image/ro\n"
        "setattr image/ro ro\n"
        "attach image/ro -> image/ro\n"
        "clone data [recursive]\n"
        "setattr data ro [recursive]\n"
        "attach data -> image/data/sets\n"
        "make tmpfs mode=1777 size=4096 nr_inodes=100\n"
        "attach m6 -> image/fast\n"
        "pivot image\n",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(parts); i++)
        assert_contains(f->log.data, parts[i]);
    assert_null(strstr(f->log.data, "WEAK"));
    jb_autoclose int image = open_path(f->image);
    jb_autofree char *script = NULL;
    assert_int_equal(jb_read_at(image, "run/jobbox/script", 100, &script, NULL), 0);
    assert_string_equal(script, "echo\n");
    assert_int_equal(fstatat(image, "run/jobbox/script", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(fstatat(image, "bin", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(fstatat(image, "w/deep", &st, 0), 0);
    assert_int_equal(fstatat(f->fs.scratch_fd, "dir0", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 01777);
}

static void writable_only_where_asked(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_BIND, .source = f->data, .target = "/a", .flags = JB_OPF_RW});
    op(f, (struct jb_op){.kind = JB_OP_BIND, .source = f->data, .target = "/b"});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    assert_contains(f->log.data, "setattr data rw\nattach data -> image/a\n");
    assert_contains(f->log.data, "setattr data ro\nattach data -> image/b\n");
}

static void files_are_bound_over_files(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    struct stat st;
    jb_autofree char *file = jb_asprintf("%s/x", f->data);
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_BIND, .source = file, .target = "/new/dir/file"});
    op(f, (struct jb_op){.kind = JB_OP_BIND, .source = file, .target = "/etc/passwd"});
    op(f, (struct jb_op){
              .kind = JB_OP_BIND, .source = "/nonexistent/x", .target = "/n", .flags = JB_OPF_OPTIONAL});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    jb_autoclose int image = open_path(f->image);
    assert_int_equal(fstatat(image, "new/dir/file", &st, 0), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_size == 0);
    assert_int_equal(fstatat(image, "etc/passwd", &st, 0), 0);
    assert_int_equal(st.st_size, 4); /* what was there is covered, not touched */
    assert_int_equal(faccessat(image, "n", F_OK, 0), -1);
}

static void devices_are_not_bound(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    root_ops(f);
    op(f, (struct jb_op){
              .kind = JB_OP_BIND, .source = "/dev/zero", .target = "/z", .flags = JB_OPF_AS_SUBMITTER});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -EINVAL);
    assert_contains(err.text, "/dev/zero is neither a directory nor a file");
}

static void missing_sources_are_named(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    root_ops(f);
    op(f, (struct jb_op){
              .kind = JB_OP_BIND, .source = "/nonexistent/x", .target = "/x", .flags = JB_OPF_AS_SUBMITTER});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -ENOENT);
    assert_contains(err.text, "/nonexistent/x: No such file or directory");
}

/* The plan has checked the path that was written; what counts is where it leads when it is opened. */
static void binds_are_checked_where_they_lead(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    jb_autofree char *secret = jb_asprintf("%s/secret", f->path);
    jb_autofree char *link = jb_asprintf("%s/data/link", f->path);
    const char *deny[] = {secret};
    test_write(f->path, "secret/x", "x");
    assert_int_equal(symlink("../secret", link), 0);
    f->plan.binds.deny = deny;
    f->plan.binds.n_deny = 1;
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_BIND, .source = link, .target = "/x", .flags = JB_OPF_AS_SUBMITTER});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -EPERM);
    assert_contains(err.text, "secret, which may not be bound: the site keeps it out of boxes");
    assert_null(strstr(f->log.data, "clone secret"));
}

/* A hostile image puts a symlink where jobbox mounts. */
static void symlinks_at_system_places_are_refused(void **state)
{
    (void)state;
    static const struct jb_op places[] = {
        {.kind = JB_OP_PROC, .target = "/proc"},
        {.kind = JB_OP_SYSFS, .target = "/sys"},
        {.kind = JB_OP_DEV, .target = "/dev", .bytes = JB_UNSET},
        {.kind = JB_OP_SCRATCH_BIND, .target = "/tmp", .mode = 01777},
        {.kind = JB_OP_SCRATCH_BIND, .target = "/run", .mode = 0755},
        {.kind = JB_OP_FILE, .target = "/run/jobbox/script", .text = "x", .mode = 0755},
    };
    static const char *const targets[] = {"etc",     "/etc", "../outside",     "/",
                                          "nowhere", "tmp",  "/proc/self/root"};
    for (size_t i = 0; i < JB_ARRAY_LEN(places); i++)
        for (size_t t = 0; t < JB_ARRAY_LEN(targets); t++) {
            struct fake *f = fake_new();
            struct jb_error err = {0};
            char name[16];
            (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(places[i].target + 1, "/"),
                           places[i].target + 1);
            test_write(f->path, "outside/x", "x");
            jb_autoclose int image = open_path(f->image);
            assert_int_equal(symlinkat(targets[t], image, name), 0);
            root_ops(f);
            op(f, places[i]);
            int r = jb_rootfs_build(&f->fs, &err);
            if (r >= 0)
                fail_msg("%s -> %s was taken:\n%s", places[i].target, targets[t], f->log.data);
            assert_contains(err.text, places[i].target);
            if (places[i].kind != JB_OP_FILE)
                assert_contains(err.text, "symlink");
            fake_free(f);
        }
}

/* Targets of the submitter may pass through the image's symlinks, and end up inside of the root all the same. */
static void places_stay_in_the_root(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *target, *inside;
    } cases[] = {
        {"/abs/a", "etc/a"},
        {"/up/a", "etc/a2"},
        {"/far/a", "outside/a"},
        {"/../../x", "x"},
    };
    jb_autoclose int image = open_path(f->image);
    jb_autoclose int top = open_path(f->path);
    struct jb_error err = {0};
    test_write(f->path, "outside/x", "x");
    test_write(f->path, "image/outside/x", "x");
    assert_int_equal(symlinkat("/etc", image, "abs"), 0);
    assert_int_equal(symlinkat("../../etc", image, "up"), 0);
    assert_int_equal(symlinkat("/../outside", image, "far"), 0);
    f->fs.root_fd = open_path(f->image);
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        jb_autoclose int fd = jb_rootfs_place(&f->fs, cases[i].target, false, JB_WALK_IN_ROOT, &err);
        if (fd < 0)
            fail_msg("%s: %s", cases[i].target, err.text);
        jb_autofree char *where = name_of(f, fd);
        assert_true(jb_starts_with(where, "image/"));
        /* strictly there is no way through a symlink or a ".." */
        int strict = jb_rootfs_place(&f->fs, cases[i].target, false, JB_WALK_STRICT, &err);
        assert_true(strict < 0);
    }
    assert_int_equal(faccessat(image, "outside/a", F_OK, 0), 0);
    assert_int_equal(faccessat(top, "outside/a", F_OK, 0), -1);
    assert_int_equal(faccessat(top, "x", F_OK, 0), -1);
    jb_autoclose int file = jb_rootfs_place(&f->fs, "/far/sub/f", true, JB_WALK_IN_ROOT, &err);
    assert_true(file >= 0);
    assert_int_equal(faccessat(top, "outside/sub", F_OK, 0), -1);
    assert_int_equal(faccessat(image, "outside/sub/f", F_OK, 0), 0);
    assert_int_equal(jb_rootfs_find(&f->fs, "/far/none", JB_WALK_IN_ROOT), -ENOENT);
}

static void optional_scratch_gives_way_to_a_symlink(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    jb_autoclose int image = open_path(f->image);
    assert_int_equal(mkdirat(image, "var", 0755), 0);
    assert_int_equal(symlinkat("/tmp", image, "var/tmp"), 0);
    root_ops(f);
    op(f, (struct jb_op){
              .kind = JB_OP_SCRATCH_BIND, .target = "/var/tmp", .mode = 01777, .flags = JB_OPF_OPTIONAL});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    assert_null(strstr(f->log.data, "var/tmp"));
}

/* What the image has at /dev/null is not trusted as a cover. */
static void masks_need_a_real_null(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    test_write(f->path, "image/dev/null", "not a device");
    test_write(f->path, "image/secret", "x");
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_MASK_FILE, .target = "/secret"});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -EINVAL);
    assert_contains(err.text, "hiding /secret: the box's /dev/null is not a device");
    assert_null(strstr(f->log.data, "secret"));
}

static void masks_use_the_boxs_own_null(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    jb_autoclose int top = open_path(f->path);
    if (mknodat(top, "probe", S_IFCHR | 0600, 0x103) < 0) {
        print_message("skipped: making device nodes needs CAP_MKNOD\n");
        skip();
    }
    f->plan.userns = false;
    test_write(f->path, "image/secret", "x");
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_DEV, .target = "/dev", .bytes = 1 << 20});
    op(f, (struct jb_op){.kind = JB_OP_MASK_FILE, .target = "/secret"});
    op(f, (struct jb_op){.kind = JB_OP_MASK_FILE, .target = "/absent", .flags = JB_OPF_OPTIONAL});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    assert_contains(f->log.data,
                    "make overlay lowerdir=(fd) upperdir=(fd) workdir=(fd)\n"); /* no userxattr */
    assert_contains(f->log.data, "make devpts ptmxmode=0666 mode=0620 gid=5\n");
    assert_contains(f->log.data, "make tmpfs mode=1777 size=1048576 nr_inodes=100\n");
    assert_contains(f->log.data, "clone image/dev/null\nattach image/dev/null -> image/secret\n");
    assert_null(strstr(f->log.data, "absent"));
}

/* What may be absent must be covered when it is there, also where it cannot be reached as it should. */
static void optional_covers_pass_over_what_is_absent_alone(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    jb_autofree char *loop = jb_asprintf("%s/loop", f->image);
    assert_int_equal(symlink("loop", loop), 0);
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_MASK_DIR, .target = "/loop", .flags = JB_OPF_OPTIONAL});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -ELOOP);
    assert_contains(err.text, "hiding /loop");
}

static void optional_covers_of_files_too(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    jb_autofree char *link = jb_asprintf("%s/link", f->image);
    assert_int_equal(symlink("elsewhere", link), 0);
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_MASK_FILE, .target = "/link", .flags = JB_OPF_OPTIONAL});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -ELOOP);
    assert_contains(err.text, "hiding /link");
}

static void masks_of_what_must_be_there(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_MASK_DIR, .target = "/absent"});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -ENOENT);
    assert_contains(err.text, "hiding /absent");
}

static void refused_overlays_become_read_only_binds(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    f->no_overlay = true;
    op(f, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(f, (struct jb_op){.kind = JB_OP_ROOT_TMPFS});
    op(f, (struct jb_op){
              .kind = JB_OP_OVERLAY, .source = f->data, .target = "/data", .flags = JB_OPF_OR_RO_BIND});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    assert_string_equal(err.text, "");
    assert_contains(f->log.data, "make tmpfs mode=0755\n"); /* no size was wished */
    assert_contains(f->log.data, "make overlay ");
    assert_contains(f->log.data, "clone data\nsetattr data ro\nattach data -> stage/root/data\n");
    struct fake *strict = fake_new();
    strict->no_overlay = true;
    op(strict, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(strict, (struct jb_op){.kind = JB_OP_ROOT_TMPFS});
    op(strict, (struct jb_op){.kind = JB_OP_OVERLAY, .source = strict->data, .target = "/data"});
    assert_int_equal(jb_rootfs_build(&strict->fs, &err), -EIO);
    assert_contains(err.text, "overlay over");
    fake_free(strict);
}

/* As one overlay: by lowerdir+ where the kernel knows it, else by one string that names descriptors. */
static void layers_are_named_by_descriptors(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct fake *f = fake_new();
        struct jb_error err = {0};
        const char *lowers[] = {f->image, f->data};
        f->old_kernel = old;
        op(f, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
        op(f, (struct jb_op){.kind = JB_OP_ROOT_OVERLAY, .lowers = lowers, .n_lowers = 2});
        assert_ok(jb_rootfs_build(&f->fs, &err), &err);
        assert_string_equal(err.text, "");
        assert_contains(f->log.data,
                        "make overlay lowerdir+=(fd) lowerdir+=(fd) upperdir=(fd) workdir=(fd) userxattr\n");
        const char *string = "string overlay lowerdir=N:N,upperdir=N/upper0,workdir=N/work0,userxattr at "
                             "stage/root\n";
        assert_int_equal(strstr(f->log.data, string) != NULL, old);
        fake_free(f);
    }
}

static void a_layer_that_is_gone_is_named(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    const char *lowers[] = {f->image, "/nonexistent/layer"};
    op(f, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(f, (struct jb_op){.kind = JB_OP_ROOT_OVERLAY, .lowers = lowers, .n_lowers = 2});
    assert_int_equal(jb_rootfs_build(&f->fs, &err), -ENOENT);
    assert_contains(err.text, "image /nonexistent/layer: No such file or directory");
}

/* Mounted, attached where an overlay can take it, and looked at again at that moment. */
static void image_files_are_mounted(void **state)
{
    struct fake *f = *state;
    struct jb_error err = {0};
    test_write(f->path, "good.sqfs", "hsqs and more");
    test_write(f->path, "bad.sqfs", "something else");
    jb_autofree char *good = jb_asprintf("%s/good.sqfs", f->path);
    jb_autofree char *bad = jb_asprintf("%s/bad.sqfs", f->path);
    op(f, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(f, (struct jb_op){.kind = JB_OP_ROOT_OVERLAY, .source = good, .text = "squashfs"});
    assert_ok(jb_rootfs_build(&f->fs, &err), &err);
    assert_contains(f->log.data, "loop good.sqfs\n"
                                 "make squashfs source=/dev/loop7 ro [ro]\n"
                                 "attach m1 -> stage/image\n"
                                 "make overlay lowerdir=(fd)");
    struct fake *other = fake_new();
    op(other, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(other, (struct jb_op){.kind = JB_OP_ROOT_OVERLAY, .source = bad, .text = "squashfs"});
    assert_int_equal(jb_rootfs_build(&other->fs, &err), -EINVAL);
    assert_contains(err.text, "bad.sqfs is no squashfs file any more");
    assert_int_equal(chmod(good, 0666), 0);
    fake_free(other);
    other = fake_new();
    op(other, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = JB_UNSET, .inodes = JB_UNSET});
    op(other, (struct jb_op){
                  .kind = JB_OP_ROOT_OVERLAY, .source = good, .text = "squashfs", .flags = JB_OPF_ROOTS_OWN});
    assert_int_equal(jb_rootfs_build(&other->fs, &err), -EPERM);
    assert_contains(err.text, "is not root's alone any more");
    assert_null(strstr(other->log.data, "loop"));
    fake_free(other);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    jb_autodir DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    return n;
}

/* Every single mount call fails once: a clean error each time, and no descriptor is lost. */
static void each_call_may_fail(void **state)
{
    (void)state;
    unsigned n = 0;
    for (unsigned at = 1;; at++) {
        struct fake *f = fake_new();
        struct jb_error err = {0};
        all_ops(f);
        f->fail_at = at;
        unsigned before = open_descriptors();
        int r = jb_rootfs_build(&f->fs, &err);
        jb_close(&f->fs.scratch_fd);
        jb_close(&f->fs.root_fd);
        jb_close(&f->fs.null_fd);
        jb_close(&f->fs.empty_fd);
        free(jb_take_ptr(f->fs.own));
        f->fs.n_own = 0;
        unsigned after = open_descriptors();
        bool failed = f->calls >= at;
        n = f->calls;
        if (failed && (r != -EIO || strlen(err.text) < 8 || err.errnum != EIO))
            fail_msg("call %u failed, the result is %d \"%s\"", at, r, err.text);
        if (!failed && r != 0)
            fail_msg("%s", err.text);
        if (after != before)
            fail_msg("call %u failed: %u descriptors before, %u after", at, before, after);
        fake_free(f);
        if (!failed)
            break;
    }
    assert_true(n > 30);
}

#define with_fake(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_fake(sequence),
        with_fake(writable_only_where_asked),
        with_fake(files_are_bound_over_files),
        with_fake(devices_are_not_bound),
        with_fake(missing_sources_are_named),
        with_fake(binds_are_checked_where_they_lead),
        cmocka_unit_test(symlinks_at_system_places_are_refused),
        with_fake(places_stay_in_the_root),
        with_fake(optional_scratch_gives_way_to_a_symlink),
        with_fake(masks_need_a_real_null),
        with_fake(masks_use_the_boxs_own_null),
        with_fake(optional_covers_pass_over_what_is_absent_alone),
        with_fake(optional_covers_of_files_too),
        with_fake(masks_of_what_must_be_there),
        with_fake(refused_overlays_become_read_only_binds),
        cmocka_unit_test(layers_are_named_by_descriptors),
        with_fake(a_layer_that_is_gone_is_named),
        with_fake(image_files_are_mounted),
        cmocka_unit_test(each_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
