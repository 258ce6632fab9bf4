/*
 * test_cgroup_io.c - I/O of a box: limits on many disks read back, and what it read and wrote counted once for each stack
 * of devices.
 */
#include "cg_fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define DISKS 300

struct disks {
    char *tmp;
    struct jb_cg_layout layout;
    struct jb_cg_plan plan;
    struct jb_cgroup *cg;
};

static void build(struct disks *t, int version)
{
    struct jb_error err = {0};
    *t = (struct disks){.tmp = test_tmpdir()};
    t->layout.ctl[JB_CTL_IO] = (struct jb_cg_controller){
        .version = version, .mount = jb_asprintf("%s/io", t->tmp), .own = strdup("/own"), .writable = true};
    t->plan.use[JB_CTL_IO] = true;
    t->plan.name = strdup("jobbox-io");
    test_write(t->tmp, version == 1 ? "io/own/cgroup.procs" : "io/own/cgroup.subtree_control", "");
    assert_ok(jb_cgroup_create_with(&t->layout, &t->plan, &cg_fake_ops, NULL, &t->cg, &err), &err);
}

static void drop(struct disks *t)
{
    jb_cgroup_free(t->cg);
    jb_cg_plan_free(&t->plan);
    jb_cg_layout_free(&t->layout);
    test_tmpdir_remove(t->tmp);
}

static void put(const struct disks *t, const char *file, const char *text)
{
    assert_int_equal(cg_fake_put(t->cg->of[JB_CTL_IO]->dir.fd, file, text), 0);
}

/* A limit for each of `n` disks, as the plan has it and as the kernel shows it. */
static void limit(struct disks *t, int version, unsigned n)
{
    jb_autobuf struct jb_buf text = {0};
    free(t->plan.settings);
    t->plan.settings = calloc(n, sizeof(*t->plan.settings));
    t->plan.n_settings = n;
    assert_non_null(t->plan.settings);
    for (unsigned i = 0; i < n; i++) {
        t->plan.settings[i] = (struct jb_cg_setting){
            .key = JB_CG_IO_WBPS, .major = 8 + i / 256, .minor = i % 256, .value = 1000 + i};
        assert_int_equal(
            jb_buf_printf(&text, version == 1 ? "%u:%u %u\n" : "%u:%u rbps=max wbps=%u riops=max wiops=max\n",
                          8 + i / 256, i % 256, 1000 + i),
            0);
    }
    put(t, version == 1 ? "blkio.throttle.write_bps_device" : "io.max", text.data);
}

static void test_many_disks(JB_UNUSED void **state)
{
    for (int version = 1; version <= 2; version++) {
        struct disks t;
        struct jb_error err = {0};
        jb_autofree struct jb_cg_readback *back = calloc(1, sizeof(*back));
        assert_non_null(back);
        build(&t, version);
        limit(&t, version, DISKS);
        assert_ok(jb_cgroup_readback(t.cg, back, &err), &err);
        assert_int_equal(back->n_io, DISKS);
        assert_int_equal(back->io[DISKS - 1].wbps, 1000 + DISKS - 1);
        assert_ok(jb_cgroup_verify(&t.plan, back, &err), &err);
        t.plan.settings[DISKS - 1].value++;
        assert_int_equal(jb_cgroup_verify(&t.plan, back, &err), -EIO);
        assert_contains(err.text, "device 9:43 (write bytes a second) is 1299 in the kernel but 1300");
        limit(&t, version, JB_CG_IO_DEVICES_MAX + 1); /* more than a plan has */
        assert_int_equal(jb_cgroup_readback(t.cg, back, &err), -E2BIG);
        assert_contains(err.text, "limits of");
        drop(&t);
    }
}

/* Directories as sysfs has them: 8:0 is a disk with two partitions, 8:16 and 8:32 are whole. */
static void make_block(const struct disks *t)
{
    static const char *const files[][2] = {
        {"dev/sda/dev", "8:0\n"},      {"dev/sda/sda1/dev", "8:1\n"},     {"dev/sda/sda1/partition", "1\n"},
        {"dev/sda/sda2/dev", "8:2\n"}, {"dev/sda/sda2/partition", "2\n"}, {"dev/sdb/dev", "8:16\n"},
        {"dev/sdc/dev", "8:32\n"},     {"dev/dm-0/dev", "253:0\n"},       {"dev/dm-1/dev", "253:1\n"},
        {"dev/dm-2/dev", "253:2\n"},   {"dev/md0/dev", "9:0\n"},
    };
    static const char *const links[][2] = {
        {"dev/dm-0/slaves/sda2", "../../sda/sda2"}, /* two volumes on a partition */
        {"dev/dm-1/slaves/sda2", "../../sda/sda2"},
        {"dev/md0/slaves/sdb", "../../sdb"}, /* a RAID on two disks, encryption on it */
        {"dev/md0/slaves/sdc", "../../sdc"},
        {"dev/dm-2/slaves/md0", "../../md0"},
        {"block/8:0", "../dev/sda"},
        {"block/8:16", "../dev/sdb"},
        {"block/8:32", "../dev/sdc"},
        {"block/9:0", "../dev/md0"},
        {"block/253:0", "../dev/dm-0"},
        {"block/253:1", "../dev/dm-1"},
        {"block/253:2", "../dev/dm-2"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++)
        test_write(t->tmp, files[i][0], files[i][1]);
    for (size_t i = 0; i < JB_ARRAY_LEN(links); i++) {
        jb_autofree char *path = jb_asprintf("%s/%s", t->tmp, links[i][0]);
        jb_autofree char *beside =
            jb_asprintf("%.*s/.beside", (int)(strrchr(links[i][0], '/') - links[i][0]), links[i][0]);
        test_write(t->tmp, beside, ""); /* makes the directory */
        assert_int_equal(symlink(links[i][1], path), 0);
    }
}

static void test_counted_once(JB_UNUSED void **state)
{
    static const struct {
        const char *text;
        uint64_t read, written, reads, writes;
    } cases[] = {
        /* nothing below anything */
        {"8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=7 dios=7\n8:32 rbytes=5 wbytes=0 rios=1 wios=0\n", 15,
         20, 2, 2},
        /* a volume and its disk, which has a little of its own */
        {"253:0 rbytes=100 wbytes=50 rios=4 wios=2\n8:0 rbytes=110 wbytes=50 rios=5 wios=2\n", 110, 50, 5, 2},
        /* two on one disk, and another disk */
        {"8:0 rbytes=150 wbytes=0 rios=2 wios=0\n253:0 rbytes=100 wbytes=0 rios=1 wios=0\n253:1 rbytes=50 "
         "wbytes=0 rios=1 wios=0\n8:16 rbytes=1 wbytes=0 rios=1 wios=0\n",
         151, 0, 3, 0},
        /* encrypted writes go down in a thread that is nobody's */
        {"253:0 rbytes=100 wbytes=50 rios=4 wios=2\n8:0 rbytes=100 wbytes=0 rios=4 wios=0\n", 100, 50, 4, 2},
        /* three levels, also where the middle one has no line */
        {"253:2 rbytes=100 wbytes=0 rios=2 wios=0\n9:0 rbytes=100 wbytes=0 rios=2 wios=0\n8:16 rbytes=60 "
         "wbytes=0 "
         "rios=1 wios=0\n8:32 rbytes=40 wbytes=0 rios=1 wios=0\n",
         100, 0, 2, 0},
        {"253:2 rbytes=100 wbytes=0 rios=2 wios=0\n8:16 rbytes=60 wbytes=0 rios=1 wios=0\n8:32 rbytes=40 "
         "wbytes=0 "
         "rios=1 wios=0\n",
         100, 0, 2, 0},
        {"253:2 rbytes=100 wbytes=0 rios=2 wios=0\n", 100, 0, 2, 0},
        /* a file of the disk as a disk; numbers without figures on a line; a line without a number */
        {"7:0 rbytes=40 wbytes=0 rios=1 wios=0\n8:16 rbytes=90 wbytes=0 rios=1 wios=0\n", 90, 0, 1, 0},
        {"7:1 7:0 8:16 rbytes=90 wbytes=0 rios=1 wios=0\n(unknown) rbytes=3 wbytes=0 rios=1 wios=0\n", 90, 0,
         1, 0},
        {"", 0, 0, 0, 0},
        /* one that is gone from sysfs is by itself */
        {"259:7 rbytes=3 wbytes=4 rios=1 wios=2\n", 3, 4, 1, 2},
    };
    struct disks t;
    struct jb_error err = {0};
    build(&t, 2);
    make_block(&t);
    jb_autofree char *block = jb_asprintf("%s/block", t.tmp);
    t.cg->block = block;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_cg_usage u;
        put(&t, "io.stat", cases[i].text);
        assert_ok(jb_cgroup_usage(t.cg, &u, &err), &err);
        assert_int_equal(u.read_bytes, cases[i].read);
        assert_int_equal(u.written_bytes, cases[i].written);
        assert_int_equal(u.read_ops, cases[i].reads);
        assert_int_equal(u.write_ops, cases[i].writes);
        jb_cg_usage_free(&u);
    }
    drop(&t);
}

/* A look at sysfs that fails is told; a host without sysfs has no stacks to be seen. */
static void test_count_faults(JB_UNUSED void **state)
{
    struct disks t;
    struct jb_error err = {0};
    build(&t, 2);
    make_block(&t);
    jb_autofree char *block = jb_asprintf("%s/block", t.tmp);
    put(&t, "io.stat", "253:0 rbytes=100 wbytes=50 rios=4 wios=2\n8:0 rbytes=110 wbytes=50 rios=5 wios=2\n");
    struct test_fault fault;
    struct jb_cg_usage u;
    unsigned told = 0;
    t.cg->block = block;
    t.cg->fault = &fault.fault;
    for (unsigned at = 1; at < 20; at++) {
        test_fault_init(&fault, at, EIO);
        if (jb_cgroup_usage(t.cg, &u, &err) < 0) {
            assert_contains(err.text, "I/O figures");
            told++;
        } else {
            jb_cg_usage_free(&u);
        }
    }
    assert_int_equal(told, 4); /* what is below each; of what is, whether it is a partition, and its number */
    t.cg->fault = NULL;
    t.cg->block = "/nowhere/at/all";
    assert_ok(jb_cgroup_usage(t.cg, &u, &err), &err);
    assert_int_equal(u.read_bytes, 210);
    jb_cg_usage_free(&u);
    drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_disks),
        cmocka_unit_test(test_counted_once),
        cmocka_unit_test(test_count_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
