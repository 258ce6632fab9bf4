/*
 * scratch.c - making and removing scratch/ID.
 *
 * Owns: see scratch.h. Runs in: the supervisor, and whoever recovers. Privilege: see scratch.h.
 */
#include "job/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/program.h"
#include "box/quota.h"

#define MKFS        "mkfs.ext4"
#define MKFS_TIME   (60 * JB_NS_PER_S)
#define MIB         (UINT64_C(1) << 20)
#define INODE       256                 /* bytes of one in the tables */
#define OWN_FILES   64                  /* that a fresh file system and jobbox itself take */
#define RESERVE_MAX (17 * MIB)          /* ext4 holds back 2 % and at most 16 MiB for its own tables */
#define BYTES_MAX   (UINT64_C(1) << 44) /* of such a file system: 16 TiB */

enum jb_scratch_cap jb_scratch_probe(int state_fd, bool privileged, char why[JB_SCRATCH_WHY])
{
    char mkfs[JB_PROGRAM_PATH];
    why[0] = '\0';
    if (!privileged) {
        (void)snprintf(why, JB_SCRATCH_WHY,
                       "without root there is neither a project quota nor a loop device");
        return JB_SCRATCH_CAP_NONE;
    }
    if (state_fd >= 0 && jb_quota_kernel.enforced(jb_quota_kernel.ctx, state_fd) == 1)
        return JB_SCRATCH_CAP_QUOTA;
    if (access("/dev/loop-control", R_OK | W_OK) < 0)
        (void)snprintf(why, JB_SCRATCH_WHY,
                       "the file system keeps no project quotas, and there is no "
                       "/dev/loop-control");
    else if (jb_program_find(MKFS, mkfs) < 0)
        (void)snprintf(why, JB_SCRATCH_WHY, "the file system keeps no project quotas, and there is no " MKFS);
    else
        return JB_SCRATCH_CAP_LOOP;
    return JB_SCRATCH_CAP_NONE;
}

/* Room for the data, the tables of inodes, and what describes both. What is too much is taken back once mounted. */
static uint64_t image_size(const struct jb_op *op)
{
    uint64_t inodes = op->inodes == JB_UNSET ? op->bytes / 16384 : op->inodes;
    uint64_t size = op->bytes + (inodes + OWN_FILES) * INODE;
    size += size / 1024 + 2 * MIB;
    size += size / 48 < RESERVE_MAX ? size / 48 : RESERVE_MAX;
    return size / MIB * MIB;
}

static int make_file(int dir, uint64_t size, struct jb_error *err)
{
    jb_autoclose int fd =
        openat(dir, JB_SCRATCH_IMAGE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return jb_fail_errno(err, errno, "making " JB_SCRATCH_IMAGE);
    return 0;
}

/* No journal: nobody will ever look at it after a crash. The tables are not zeroed, so that the file stays sparse. */
static int make_file_system(const struct jb_op *op, struct jb_error *err)
{
    char mkfs[JB_PROGRAM_PATH];
    char inodes[32];
    jb_autofree char *path = jb_asprintf("%s/" JB_SCRATCH_IMAGE, op->source);
    if (!path)
        return jb_fail_errno(err, ENOMEM, "scratch");
    if (jb_program_find(MKFS, mkfs) < 0)
        return jb_fail_errno(err, ENOENT, MKFS);
    (void)snprintf(inodes, sizeof(inodes), "%" PRIu64, op->inodes == JB_UNSET ? 0 : op->inodes + OWN_FILES);
    const char *argv[] = {
        mkfs,
        "-q",
        "-F",
        "-b",
        "4096",
        "-I",
        "256",
        "-m",
        "0",
        "-O",
        "^has_journal,^resize_inode",
        "-E",
        "lazy_itable_init=1,nodiscard,root_owner=0:0",
        path,
        NULL,
        NULL,
        NULL,
    };
    if (op->inodes != JB_UNSET) {
        argv[13] = "-N";
        argv[14] = inodes;
        argv[15] = path;
    }
    return jb_program_run((char *const *)argv, MKFS_TIME, err);
}

/* One at a time: two that look for a free project would find the same. */
static int give_quota(int scratch, const char *name, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int lock = openat(scratch, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = lock < 0 ? -errno : jb_lock_wait(lock);
    if (r < 0)
        return jb_fail_errno(err, r, "scratch/.lock");
    jb_autoclose int dir = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return jb_fail_errno(err, errno, "scratch/%s", name);
    return jb_quota_give(&jb_quota_kernel, dir, op->bytes, op->inodes, err);
}

static int give_image(int scratch, const char *name, const struct jb_op *op, struct jb_error *err)
{
    jb_autoclose int dir = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return jb_fail_errno(err, errno, "scratch/%s", name);
    if (op->bytes > BYTES_MAX)
        return jb_fail(err, EFBIG, "it is to hold more than 16 TiB, which a file here cannot");
    int r = make_file(dir, image_size(op), err);
    JB_CRASH_POINT(scratch_image_made);
    return r < 0 ? r : make_file_system(op, err);
}

int jb_scratch_make(int state_fd, const struct jb_plan *plan, struct jb_error *err)
{
    if (!jb_plan_scratch_on_disk(plan))
        return 0;
    const struct jb_op *op = &plan->ops[0];
    jb_autoclose int scratch = -1;
    int r = jb_mkdir_p(state_fd, "scratch", 0711, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, &scratch);
    if (r == 0 && mkdirat(scratch, plan->id.text, op->kind == JB_OP_SCRATCH_LOOP ? 0700 : 0755) < 0)
        r = -errno;
    if (r < 0)
        return jb_fail_errno(err, r, "making scratch/%s", plan->id.text);
    JB_CRASH_POINT(scratch_made);
    if (op->kind == JB_OP_SCRATCH_LOOP)
        r = give_image(scratch, plan->id.text, op, err);
    else if (plan->scratch_cap == JB_SCRATCH_CAP_QUOTA)
        r = give_quota(scratch, plan->id.text, op, err);
    JB_CRASH_POINT(scratch_capped);
    return r < 0 ? jb_wrap(err, "making scratch/%s", plan->id.text) : 0;
}

int jb_scratch_remove(int state_fd, const struct jb_id *id, struct jb_error *err)
{
    jb_autoclose int scratch = jb_open_at(state_fd, "scratch", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (scratch == -ENOENT)
        return 0;
    if (scratch < 0)
        return jb_fail_errno(err, scratch, "removing scratch/%s", id->text);
    jb_autoclose int dir = jb_open_at(scratch, id->text, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir == -ENOENT)
        return 0;
    int r = dir < 0 ? 0 : jb_quota_take(&jb_quota_kernel, dir, err);
    if (r == 0 && (r = jb_remove_tree(scratch, id->text)) < 0)
        r = jb_fail_errno(err, r, "removing it");
    return r < 0 ? jb_wrap(err, "removing scratch/%s", id->text) : 0;
}
