/*
 * test_disks.c - from mount tables to disks: partitions, btrfs, overlays, and what nobody tells.
 */
#include "support.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "machine/disks.h"

static void put_link(const char *tmp, const char *path, const char *target)
{
    jb_autofree char *full = jb_asprintf("%s/%s", tmp, path);
    jb_autofree char *beside = jb_asprintf("%.*s/.beside", (int)(strrchr(path, '/') - path), path);
    test_write(tmp, beside, ""); /* makes the directory */
    assert_int_equal(symlink(target, full), 0);
}

/* A disk with two partitions, another disk, and a btrfs over the second partition and that. */
static char *make_sys(struct jb_kdir *sys)
{
    char *tmp = test_tmpdir();
    test_write(tmp, "devices/sda/dev", "8:0\n");
    test_write(tmp, "devices/sda/sda1/dev", "8:1\n");
    test_write(tmp, "devices/sda/sda1/partition", "1\n");
    test_write(tmp, "devices/sda/sda2/dev", "8:2\n");
    test_write(tmp, "devices/sda/sda2/partition", "2\n");
    test_write(tmp, "devices/sdb/dev", "8:16\n");
    test_write(tmp, "fs/btrfs/features/raid56", "0\n");
    put_link(tmp, "dev/block/8:0", "../../devices/sda");
    put_link(tmp, "dev/block/8:1", "../../devices/sda/sda1");
    put_link(tmp, "dev/block/8:2", "../../devices/sda/sda2");
    put_link(tmp, "dev/block/8:16", "../../devices/sdb");
    put_link(tmp, "fs/btrfs/1234-56/devices/sda2", "../../../../devices/sda/sda2");
    put_link(tmp, "fs/btrfs/1234-56/devices/sdb", "../../../../devices/sdb");
    assert_int_equal(jb_kdir_open(tmp, sys), 0);
    return tmp;
}

/* "8:0 8:16 | zfs on /tank", of such a mount table. */
static void check(const struct jb_kdir *sys, const char *table, const char *expected)
{
    struct jb_error err = {0};
    struct jb_mounts mounts;
    struct jb_disks disks;
    jb_autobuf struct jb_buf text = {0};
    assert_ok(jb_mounts_parse(table, &mounts, &err), &err);
    assert_int_equal(jb_disks_find(sys, &mounts, &disks), 0);
    for (size_t i = 0; i < disks.len; i++)
        assert_int_equal(
            jb_buf_printf(&text, "%s%u:%u", i ? " " : "", disks.items[i].major, disks.items[i].minor), 0);
    for (size_t i = 0; i < disks.unknown.len; i++)
        assert_int_equal(jb_buf_printf(&text, "%s%s", i ? ", " : " | ", disks.unknown.items[i]), 0);
    assert_string_equal(text.data ? text.data : "", expected);
    jb_disks_free(&disks);
    jb_mounts_free(&mounts);
}

static void test_partitions(JB_UNUSED void **state)
{
    struct jb_kdir sys;
    char *tmp = make_sys(&sys);
    check(&sys,
          "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /home rw - xfs /dev/sda2 rw\n"
          "3 1 8:16 / /data rw - ext4 /dev/sdb rw\n4 1 8:16 /x /y rw - ext4 /dev/sdb rw\n"
          "5 1 0:20 / /proc rw - proc proc rw\n6 1 0:21 / /tmp rw - tmpfs tmpfs rw\n"
          "7 1 0:22 / /n rw - nfs4 host:/n rw\n8 1 0:23 / /f rw - fuse.sshfs host: rw\n",
          "8:0 8:16");
    check(&sys, "1 0 259:1 / / rw - ext4 /dev/gone rw\n", "259:1"); /* the kernel will say what it is */
    check(&sys, "", "");
    jb_kdir_close(&sys);
    check(&(struct jb_kdir){.fd = -1}, "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "8:1");
    test_tmpdir_remove(tmp);
}

static void test_btrfs(JB_UNUSED void **state)
{
    static const char table[] = "1 0 0:30 /root / rw - btrfs /dev/sda2 rw,subvol=/root\n"
                                "2 1 0:30 /home /home rw - btrfs /dev/sda2 rw,subvol=/home\n"
                                "3 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n";
    struct jb_kdir sys;
    char *tmp = make_sys(&sys);
    check(&sys, table, "8:0 8:16");
    test_write(tmp, "fs/btrfs/other/devices/.none", ""); /* one whose devices are not seen */
    check(&sys, table, "8:0 8:16 | btrfs on /");
    jb_kdir_close(&sys);
    check(&(struct jb_kdir){.fd = -1}, table, "8:1 | btrfs on /");
    test_tmpdir_remove(tmp);
}

static void test_untold(JB_UNUSED void **state)
{
    struct jb_kdir sys;
    char *tmp = make_sys(&sys);
    check(&sys,
          "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / /tank rw - zfs tank rw\n3 1 0:40 / /again rw - zfs "
          "tank rw\n"
          "4 1 0:41 / /bc rw - bcachefs /dev/sdb rw\n",
          "8:0 | zfs on /tank, bcachefs on /bc");
    jb_kdir_close(&sys);
    test_tmpdir_remove(tmp);
}

/* An overlay is known when what all its layers lie on is. */
static void test_overlays(JB_UNUSED void **state)
{
#define ROOT  "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
#define TANK  "2 1 0:40 / /tank rw - zfs tank rw\n"
#define OV(o) "9 1 0:50 / /merged rw - overlay overlay " o "\n"
    static const char *const cases[][2] = {
        {ROOT OV("rw,lowerdir=/var/l/A:/var/l/B,upperdir=/var/x/diff,workdir=/var/x/work"), "8:0"},
        {ROOT OV("rw,lowerdir=l/A:l/B,upperdir=/var/x/diff,workdir=/var/x/work"), "8:0"},
        {ROOT OV("rw,lowerdir+=/var/l/A,datadir+=/var/l/B"), "8:0"},
        {ROOT "4 1 0:60 / /mem rw - tmpfs x rw\n" OV("rw,lowerdir=/usr,upperdir=/mem/u,workdir=/mem/w"),
         "8:0"},
        {ROOT TANK OV("rw,lowerdir=/var/l/A,upperdir=/var/u"), "8:0 | zfs on /tank"},
        {ROOT TANK OV("rw,lowerdir=/var/l/A:/tank/b,upperdir=/var/u"),
         "8:0 | zfs on /tank, overlay on /merged"},
        {ROOT OV("rw,lowerdir=l/A:l/B"), "8:0 | overlay on /merged"},
        {ROOT OV("rw"), "8:0 | overlay on /merged"},
        {ROOT OV("rw,lowerdir=/proc/self/fd/5,upperdir=/proc/self/fd/6"), "8:0 | overlay on /merged"},
        /* one on the other */
        {ROOT "3 1 0:49 / /base rw - overlay o ro,lowerdir=/a:/b\n" OV("rw,lowerdir=/base/x,upperdir=/u"),
         "8:0"},
        /* a container: the layers are the host's, and only its own root is seen there */
        {"1 0 0:50 / / rw - overlay overlay rw,lowerdir=/var/l/A,upperdir=/var/u,workdir=/var/w\n"
         "2 1 8:1 /hosts /etc/hosts rw - ext4 /dev/sda1 rw\n",
         "8:0 | overlay on /"},
    };
    struct jb_kdir sys;
    char *tmp = make_sys(&sys);
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++)
        check(&sys, cases[i][0], cases[i][1]);
    jb_kdir_close(&sys);
    test_tmpdir_remove(tmp);
}

/* Whatever of sysfs cannot be read: a disk more is named unknown, or a partition is left for the kernel to refuse. */
static void test_faults(JB_UNUSED void **state)
{
    static const char table[] =
        "1 0 0:30 / / rw - btrfs /dev/sda2 rw\n2 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n";
    struct jb_error err = {0};
    struct jb_mounts mounts;
    struct jb_kdir sys;
    char *tmp = make_sys(&sys);
    assert_ok(jb_mounts_parse(table, &mounts, &err), &err);
    unsigned untold = 0;
    for (unsigned at = 1; at < 30; at++) {
        struct test_fault fault;
        struct jb_disks disks;
        test_fault_init(&fault, at, EIO);
        sys.fault = &fault.fault;
        assert_int_equal(jb_disks_find(&sys, &mounts, &disks), 0);
        if (disks.unknown.len)
            assert_string_equal(disks.unknown.items[0], "btrfs on /");
        else
            assert_true(disks.len >= 2);
        untold += disks.unknown.len > 0;
        jb_disks_free(&disks);
        if (fault.seen < at)
            break;
        assert_true(at < 29);
    }
    assert_int_equal(untold, 4); /* two lists and two numbers */
    sys.fault = NULL;
    jb_kdir_close(&sys);
    jb_mounts_free(&mounts);
    test_tmpdir_remove(tmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partitions), cmocka_unit_test(test_btrfs),  cmocka_unit_test(test_untold),
        cmocka_unit_test(test_overlays),   cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
