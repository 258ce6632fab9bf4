/*
 * mount_fake.h - a mount interface that only writes down what it is asked, and a root to be built with it.
 *
 * It hands out plain directories where the kernel would hand out mounts, so the file operations work. A fresh file
 * system is moved to where it is attached; a copy of another mount is only noted. Each call may be made to fail.
 */
#ifndef JB_TESTS_MOUNT_FAKE_H
#define JB_TESTS_MOUNT_FAKE_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "box/rootfs.h"

struct fake {
    struct jb_mountapi api;
    char *path; /* of everything */
    struct jb_buf log;
    unsigned mounts;
    unsigned calls, fail_at; /* 0: none fails */
    bool no_overlay;
    bool old_kernel; /* knows no lowerdir+ */
    int stage_fd;    /* stays the directory it was before something was attached there */
    struct jb_plan plan;
    struct jb_op ops[24];
    char *image, *data, *stage;
    struct jb_rootfs fs;
};

static bool fault(struct fake *f)
{
    return ++f->calls == f->fail_at;
}

/* Where a descriptor points, from the fake's directory on. */
static char *name_of(const struct fake *f, int fd)
{
    char link[64];
    char path[4096];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    assert_true(n > 0);
    path[n] = '\0';
    size_t len = strlen(f->path);
    return strdup(strncmp(path, f->path, len) == 0 && path[len] == '/' ? path + len + 1 : path);
}

static void note(struct fake *f, const char *fmt, ...) JB_PRINTF(2, 3);
static void note(struct fake *f, const char *fmt, ...)
{
    va_list ap;
    char *line = NULL;
    va_start(ap, fmt);
    assert_true(vasprintf(&line, fmt, ap) >= 0);
    va_end(ap);
    assert_int_equal(jb_buf_printf(&f->log, "%s\n", line), 0);
    free(line);
}

static int open_path(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int fake_make(void *ctx, const char *fstype, const struct jb_mount_option *options, size_t n,
                     uint64_t attr, struct jb_error *err)
{
    struct fake *f = ctx;
    const char *lower = NULL;
    jb_autobuf struct jb_buf text = {0};
    assert_int_equal(jb_buf_puts(&text, ""), 0);
    for (size_t i = 0; i < n; i++) {
        bool fd_path = options[i].value && jb_starts_with(options[i].value, "/proc/self/fd/");
        if (!lower && jb_starts_with(options[i].key, "lowerdir"))
            lower = options[i].value;
        assert_int_equal(jb_buf_printf(&text, " %s%s%s", options[i].key, options[i].value ? "=" : "",
                                       fd_path            ? "(fd)"
                                       : options[i].value ? options[i].value
                                                          : ""),
                         0);
    }
    assert_true(attr & MOUNT_ATTR_NOSUID);
    note(f, "make %s%s%s", fstype, text.data, attr & MOUNT_ATTR_RDONLY ? " [ro]" : "");
    if (fault(f) || (f->no_overlay && jb_streq(fstype, "overlay")))
        return jb_fail_errno(err, EIO, "mounting %s", fstype);
    if (f->old_kernel && strstr(text.data, "lowerdir+"))
        return jb_fail_errno(err, EINVAL, "mounting %s", fstype);
    if (lower) /* merged is what is below: nothing of this test needs two layers */
        return open_path(lower);
    jb_autofree char *dir = jb_asprintf("%s/m%u", f->path, f->mounts++);
    assert_int_equal(mkdir(dir, 0755), 0);
    return open_path(dir);
}

static int fake_make_by_string(void *ctx, const char *fstype, const char *options, int dirfd,
                               const char *name, uint64_t attr, struct jb_error *err)
{
    struct fake *f = ctx;
    jb_autofree char *at = name_of(f, dirfd);
    jb_autobuf struct jb_buf text = {0};
    for (const char *p = options; *p;) { /* numbers of descriptors differ from run to run */
        size_t digits = strspn(p, "0123456789");
        bool is_fd = digits && (p[-1] == '=' || p[-1] == ':');
        assert_int_equal(is_fd ? jb_buf_puts(&text, "N") : jb_buf_add(&text, p, digits ? digits : 1), 0);
        p += digits ? digits : 1;
    }
    assert_true((attr & MOUNT_ATTR_NOSUID) && (attr & MOUNT_ATTR_NODEV));
    note(f, "string %s %s at %s/%s", fstype, text.data, at, name);
    if (fault(f))
        return jb_fail_errno(err, EIO, "mounting %s", fstype);
    return open_path(f->image);
}

static int fake_loop(void *ctx, int fd, char *ret_path, struct jb_error *err)
{
    struct fake *f = ctx;
    jb_autofree char *name = name_of(f, fd);
    note(f, "loop %s", name);
    if (fault(f))
        return jb_fail_errno(err, EIO, "loop");
    (void)snprintf(ret_path, 32, "/dev/loop7");
    return open_path("/");
}

static int fake_clone(void *ctx, int fd, bool recursive)
{
    struct fake *f = ctx;
    jb_autofree char *name = name_of(f, fd);
    note(f, "clone %s%s", name, recursive ? " [recursive]" : "");
    if (fault(f))
        return -EIO;
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    int copy = open(link, O_PATH | O_CLOEXEC);
    return copy < 0 ? -errno : copy;
}

static int fake_setattr(void *ctx, int mount_fd, uint64_t set, bool recursive)
{
    struct fake *f = ctx;
    jb_autofree char *name = name_of(f, mount_fd);
    note(f, "setattr %s%s%s%s", name, set & MOUNT_ATTR_RDONLY ? " ro" : " rw",
         (set & MOUNT_ATTR_NOSUID) && (set & MOUNT_ATTR_NODEV) ? "" : " WEAK",
         recursive ? " [recursive]" : "");
    return fault(f) ? -EIO : 0;
}

static int fake_attach(void *ctx, int mount_fd, int at_fd)
{
    struct fake *f = ctx;
    jb_autofree char *what = name_of(f, mount_fd);
    jb_autofree char *where = name_of(f, at_fd);
    note(f, "attach %s -> %s", what, where);
    if (fault(f))
        return -EIO;
    if (what[0] == 'm' && what[1] >= '0' && what[1] <= '9' && !strchr(what, '/')) {
        jb_autofree char *from = jb_asprintf("%s/%s", f->path, what);
        jb_autofree char *to = jb_asprintf("%s/%s", f->path, where);
        if (rename(from, to) < 0)
            fail_msg("%s -> %s: %s", from, to, strerror(errno));
    }
    return 0;
}

static int fake_make_private(void *ctx)
{
    note(ctx, "private");
    return fault(ctx) ? -EIO : 0;
}

static int fake_pivot(void *ctx, int root_fd)
{
    struct fake *f = ctx;
    jb_autofree char *root = name_of(f, root_fd);
    note(f, "pivot %s", root);
    return fault(f) ? -EIO : 0;
}

static struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->path = test_tmpdir();
    f->api = (struct jb_mountapi){.make = fake_make,
                                  .make_by_string = fake_make_by_string,
                                  .loop = fake_loop,
                                  .clone = fake_clone,
                                  .setattr = fake_setattr,
                                  .attach = fake_attach,
                                  .make_private = fake_make_private,
                                  .pivot = fake_pivot,
                                  .ctx = f};
    test_write(f->path, "image/etc/passwd", "root");
    test_write(f->path, "image/hidden/x", "x");
    test_write(f->path, "image/ro/x", "x");
    test_write(f->path, "data/x", "x");
    test_write(f->path, "stage/.keep", "");
    f->image = jb_asprintf("%s/image", f->path);
    f->data = jb_asprintf("%s/data", f->path);
    f->stage = jb_asprintf("%s/stage", f->path);
    jb_autofree char *keep = jb_asprintf("%s/stage/.keep", f->path);
    assert_int_equal(unlink(keep), 0);
    /* no privilege in these tests: as in a user namespace, where nothing is given to other owners */
    f->plan = (struct jb_plan){.userns = true,
                               .scratch_inodes = 100,
                               .uid = getuid(),
                               .gid = getgid(),
                               .submitter_uid = getuid(),
                               .submitter_gid = getgid(),
                               .binds = {.any = true},
                               .ops = f->ops};
    f->fs = (struct jb_rootfs){.api = &f->api,
                               .plan = &f->plan,
                               .stage = f->stage,
                               .scratch_fd = -1,
                               .root_fd = -1,
                               .null_fd = -1,
                               .empty_fd = -1};
    return f;
}

static void fake_free(struct fake *f)
{
    jb_close(&f->fs.scratch_fd);
    jb_close(&f->fs.root_fd);
    jb_close(&f->fs.null_fd);
    jb_close(&f->fs.empty_fd);
    free(jb_take_ptr(f->fs.own));
    f->fs.n_own = 0;
    jb_buf_free(&f->log);
    free(f->image);
    free(f->data);
    free(f->stage);
    test_tmpdir_remove(f->path);
    free(f);
}

static int setup(void **state)
{
    *state = fake_new();
    return 0;
}

static int teardown(void **state)
{
    fake_free(*state);
    return 0;
}

static void op(struct fake *f, struct jb_op one)
{
    assert_true(f->plan.n_ops < JB_ARRAY_LEN(f->ops));
    f->ops[f->plan.n_ops++] = one;
}

static void root_ops(struct fake *f)
{
    op(f, (struct jb_op){.kind = JB_OP_SCRATCH_TMPFS, .bytes = 1 << 20, .inodes = 100});
    op(f, (struct jb_op){.kind = JB_OP_ROOT_OVERLAY, .source = f->image});
}

/* A bit of everything that needs no privilege. */
static void all_ops(struct fake *f)
{
    root_ops(f);
    op(f, (struct jb_op){.kind = JB_OP_PROC, .target = "/proc"});
    op(f, (struct jb_op){.kind = JB_OP_SYSFS, .target = "/sys"});
    op(f, (struct jb_op){.kind = JB_OP_DEV, .target = "/dev", .bytes = JB_UNSET});
    op(f, (struct jb_op){.kind = JB_OP_SCRATCH_BIND, .target = "/tmp", .mode = 01777});
    op(f, (struct jb_op){.kind = JB_OP_MASK_DIR, .target = "/hidden"});
    op(f, (struct jb_op){.kind = JB_OP_MASK_DIR, .target = "/absent", .flags = JB_OPF_OPTIONAL});
    op(f, (struct jb_op){.kind = JB_OP_READONLY, .target = "/ro"});
    op(f, (struct jb_op){.kind = JB_OP_BIND,
                         .source = f->data,
                         .target = "/data/sets",
                         .flags = JB_OPF_AS_SUBMITTER | JB_OPF_RECURSIVE});
    op(f, (struct jb_op){.kind = JB_OP_TMPFS, .target = "/fast", .bytes = 4096, .mode = 01777});
    op(f, (struct jb_op){.kind = JB_OP_DIR, .target = "/w/deep", .mode = 0750});
    op(f, (struct jb_op){.kind = JB_OP_FILE, .target = "/run/jobbox/script", .text = "echo\n", .mode = 0755});
    op(f, (struct jb_op){.kind = JB_OP_SYMLINK, .source = "usr/bin", .target = "/bin"});
    op(f, (struct jb_op){.kind = JB_OP_PIVOT});
}

#endif
