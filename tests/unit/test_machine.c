/*
 * test_machine.c - the machine model: synthetic and XML topologies, restriction, the cache, hostile input;
 * mounts.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "machine/cache.h"
#include "machine/machine.h"
#include "machine/mounts.h"

static void load(const char *synthetic, const char *cpus, const char *mems, struct jb_machine *ret)
{
    struct jb_error err = {0};
    struct jb_cpus c;
    struct jb_cpus m;
    struct jb_machine_source s = {.synthetic = synthetic, .cache_dirfd = -1};
    if (cpus) {
        assert_int_equal(jb_cpus_parse(cpus, &c), 0);
        s.allowed_cpus = &c;
    }
    if (mems) {
        assert_int_equal(jb_cpus_parse(mems, &m), 0);
        s.allowed_mems = &m;
    }
    assert_ok(jb_machine_load(&s, ret, &err), &err);
}

static void test_synthetic(void **state)
{
    (void)state;
    struct jb_machine m;
    load("pack:2 [numa(memory=8GB)] l3:3 core:4 pu:2", NULL, NULL, &m);
    assert_int_equal(m.n_pus, 48);
    assert_int_equal(m.n_cores, 24);
    assert_int_equal(m.n_l3s, 6);
    assert_int_equal(m.n_packages, 2);
    assert_int_equal(m.n_nodes, 2);
    assert_int_equal(m.n_kinds, 1);
    assert_int_equal(m.n_siblings, 0);
    assert_true(m.memory == 2 * m.nodes[0].memory && m.memory > 0);
    for (unsigned i = 0; i < 48; i++) {
        assert_int_equal(m.pus[i].os, i);
        assert_int_equal(m.pus[i].core, i / 2);
        assert_int_equal(m.pus[i].l3, i / 8);
        assert_int_equal(m.pus[i].numa, i / 24);
        assert_int_equal(m.pus[i].package, i / 24);
        assert_int_equal(m.pus[i].kind, -1);
        assert_true(jb_cpus_has(&m.nodes[i / 24].cpus, i));
    }
    jb_machine_free(&m);

    /* OS numbers far apart for siblings, as BIOSes like it */
    load("numa:2 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)", NULL, NULL, &m);
    assert_int_equal(m.pus[0].os, 0);
    assert_int_equal(m.pus[1].os, 4);
    assert_int_equal(m.pus[1].core, 0);
    assert_int_equal(m.pus[2].os, 1);
    /* no L3 and no package: the NUMA node is the group, all in one package */
    assert_int_equal(m.n_packages, 1);
    assert_int_equal(m.n_l3s, 2);
    assert_int_equal(m.pus[3].l3, 0);
    assert_int_equal(m.pus[4].l3, 1);
    jb_machine_free(&m);
}

static void test_restriction(void **state)
{
    (void)state;
    struct jb_machine m;
    load("pack:2 [numa(memory=8GB)] l3:3 core:4 pu:2", "3-4,9,24-47", "1", &m);
    assert_int_equal(m.n_pus, 27);
    assert_int_equal(m.n_cores, 3 + 12);
    assert_int_equal(m.n_l3s, 2 + 3);
    assert_int_equal(m.n_packages, 2);
    assert_int_equal(m.pus[0].os, 3);
    assert_int_equal(m.pus[2].os, 9);
    assert_int_equal(m.pus[2].l3, 1);
    assert_int_equal(m.pus[3].l3, 2);
    assert_int_equal(m.n_siblings, 3); /* 2, 5, 8: of cores in part ours */
    assert_int_equal(m.siblings[0].os, 2);
    assert_int_equal(m.siblings[0].core, 0);
    assert_int_equal(m.siblings[1].os, 5);
    assert_int_equal(m.siblings[1].core, 1);
    assert_int_equal(m.siblings[2].os, 8);
    assert_int_equal(m.siblings[2].core, 2);
    assert_false(m.nodes[0].usable);
    assert_true(m.nodes[1].usable);
    assert_true(m.memory == m.nodes[1].memory);
    jb_machine_free(&m);

    struct jb_error err = {0};
    struct jb_cpus none = {0};
    jb_cpus_add(&none, 4000);
    struct jb_machine_source s = {.synthetic = "core:2 pu:1", .cache_dirfd = -1, .allowed_cpus = &none};
    assert_int_equal(jb_machine_load(&s, &m, &err), -ENODEV);
    assert_contains(err.text, "allowed");
}

static void refuse(const char *synthetic, const char *file, int errnum, const char *words)
{
    struct jb_error err = {0};
    struct jb_machine m;
    struct jb_machine_source s = {.synthetic = synthetic, .xml_file = file, .cache_dirfd = -1};
    int r = jb_machine_load(&s, &m, &err);
    if (r != -errnum)
        fail_msg("returned %d, not %d: %s", r, -errnum, err.text);
    assert_contains(err.text, words);
    assert_null(strchr(err.text, '\n'));
}

static void refuse_text(const char *dir, const char *text, int errnum, const char *words)
{
    jb_autofree char *path = jb_asprintf("%s/t.xml", dir);
    test_write(dir, "t.xml", text);
    refuse(NULL, path, errnum, words);
}

#define HEAD "<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n"

static void test_hostile_topologies(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    jb_autofree char *missing = jb_asprintf("%s/none.xml", dir);
    refuse(NULL, missing, ENOENT, "none.xml");
    refuse(NULL, dir, EINVAL, "not a regular file");
    refuse("core:2", "/dev/null", EINVAL, "at once");
    refuse_text(dir, "", EINVAL, "no <topology>");
    refuse_text(dir,
                "\x7f"
                "ELF not xml at all",
                EINVAL, "no <topology>");
    refuse_text(dir, "<topology version=\"3.0\"><object type=\"Machine\"/></topology>", ENOTSUP, "format 3");
    refuse_text(dir, HEAD, EINVAL, "hwloc");
    refuse_text(dir, HEAD "<object type=\"Mach", EINVAL, "hwloc");
    refuse_text(dir, HEAD "<object type=\"Machine\" os_index=\"0\"></object></topology>", EINVAL, "t.xml");
    refuse_text(dir, HEAD "<object type=\"Bogus\" os_index=\"-1\"/></topology>", EINVAL, "t.xml");
    jb_autobuf struct jb_buf deep = {0};
    (void)jb_buf_puts(&deep, HEAD);
    for (int i = 0; i < 200000; i++)
        (void)jb_buf_puts(&deep, "<object type=\"Group\">");
    refuse_text(dir, deep.data, EINVAL, "nested");
    jb_autofree char *large = jb_asprintf("%s/large.xml", dir);
    jb_autoclose int fd = open(large, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)17 << 20), 0);
    refuse(NULL, large, EFBIG, "16 MiB");
    test_tmpdir_remove(dir);
    refuse("gibberish", NULL, EINVAL, "synthetic");
    refuse("", NULL, EINVAL, "synthetic");
    refuse("pu:1000000000", NULL, EFBIG, "4096");
    refuse("pack:300 core:300 pu:300", NULL, EFBIG, "4096");
    refuse("core:2 pu:2(indexes=0,1,2,5000)", NULL, EINVAL, "5000");
    refuse("core:5000 pu:1", NULL, EFBIG, "4096");
}

/* Damage at any byte of a good export ends in an answer or an error, never in a crash of ours. */
static void test_damaged_xml(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source host = {.cache_dirfd = fd};
    jb_autofree char *xml = NULL;
    size_t len = 0;
    assert_ok(jb_machine_load(&host, &m, &err), &err);
    jb_machine_free(&m);
    assert_int_equal(jb_read_at(fd, "topology.xml", 1U << 20, &xml, &len), 0);
    jb_autofree char *path = jb_asprintf("%s/t.xml", dir);
    struct jb_machine_source s = {.cache_dirfd = -1, .xml_file = path};
    unsigned refused = 0;
    for (size_t i = 0; i < 120; i++) {
        jb_autofree char *copy = strdup(xml);
        size_t at = len * i / 120;
        copy[at] = i % 3 == 0 ? '\0' : i % 3 == 1 ? '9' : '<';
        test_write(dir, "t.xml", copy);
        int r = jb_machine_load(&s, &m, &err);
        if (r == 0)
            jb_machine_free(&m);
        refused += r < 0;
    }
    assert_true(refused > 30);
    test_tmpdir_remove(dir);
}

static void assert_same(const struct jb_machine *a, const struct jb_machine *b)
{
    assert_int_equal(a->n_pus, b->n_pus);
    assert_memory_equal(a->pus, b->pus, a->n_pus * sizeof(*a->pus));
    assert_int_equal(a->n_nodes, b->n_nodes);
    for (size_t i = 0; i < a->n_nodes; i++) {
        assert_int_equal(a->nodes[i].os, b->nodes[i].os);
        assert_int_equal(a->nodes[i].usable, b->nodes[i].usable);
        assert_true(a->nodes[i].memory == b->nodes[i].memory);
        assert_true(jb_cpus_equal(&a->nodes[i].cpus, &b->nodes[i].cpus));
    }
    assert_int_equal(a->n_cores, b->n_cores);
    assert_true(jb_cpus_equal(&a->allowed, &b->allowed));
    assert_true(a->memory == b->memory);
}

static void test_host_and_cache(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine fresh;
    struct jb_machine m;
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source bare = {.cache_dirfd = -1};
    struct jb_machine_source cached = {.cache_dirfd = fd};
    assert_ok(jb_machine_load(&bare, &fresh, &err), &err);
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof(mine), &mine), 0);
    assert_int_equal(fresh.n_pus, CPU_COUNT(&mine));
    for (size_t i = 0; i < fresh.n_pus; i++)
        assert_true(CPU_ISSET(fresh.pus[i].os, &mine));
    assert_true(fresh.memory > 0);

    assert_ok(jb_machine_load(&cached, &m, &err), &err); /* fills the cache */
    assert_same(&fresh, &m);
    jb_machine_free(&m);
    assert_int_equal(faccessat(fd, "topology.xml", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "topology.key", F_OK, 0), 0);

    jb_machine_free(&fresh);
    test_tmpdir_remove(dir);
}

/* Damage of each file, and a stale key, are healed without a word. */
static void test_damaged_cache(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine fresh;
    struct jb_machine m;
    static const char *const files[] = {"topology.bin", "topology.key", "topology.xml"};
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source cached = {.cache_dirfd = fd};
    assert_ok(jb_machine_load(&cached, &fresh, &err), &err);
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++)
        for (size_t all = 0; all <= i; all++) {
            for (size_t k = i - all; k <= i; k++)
                test_write(dir, files[k], k == 1 ? "format=1 boot=another\n" : "rubbish <topology>");
            assert_ok(jb_machine_load(&cached, &m, &err), &err);
            assert_same(&fresh, &m);
            jb_machine_free(&m);
        }
    jb_autofree char *xml = NULL;
    assert_int_equal(jb_read_at(fd, "topology.xml", 1U << 20, &xml, NULL), 0);
    assert_contains(xml, "<topology version=\"2.");
    jb_machine_free(&fresh);
    test_tmpdir_remove(dir);
}

/* The cache holds the whole machine, so another affinity needs no new one. */
static void test_cache_serves_every_affinity(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine fresh;
    struct jb_machine m;
    struct jb_cpus one = {0};
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source cached = {.cache_dirfd = fd};
    assert_ok(jb_machine_load(&cached, &fresh, &err), &err);
    jb_cpus_add(&one, fresh.pus[fresh.n_pus - 1].os);
    cached.allowed_cpus = &one;
    assert_ok(jb_machine_load(&cached, &m, &err), &err);
    assert_int_equal(m.n_pus, 1);
    assert_int_equal(m.pus[0].os, fresh.pus[fresh.n_pus - 1].os);
    jb_machine_free(&m);
    cached.allowed_cpus = NULL;
    assert_ok(jb_machine_load(&cached, &m, &err), &err);
    assert_same(&fresh, &m);
    jb_machine_free(&m);
    jb_machine_free(&fresh);
    test_tmpdir_remove(dir);
}

/* A cache that cannot be written is no reason to fail. */
static void test_cache_not_writable(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    jb_autoclose int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source s = {.cache_dirfd = fd};
    assert_ok(jb_machine_load(&s, &m, &err), &err);
    jb_machine_free(&m);
}

static void test_key_changes_with_the_host(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    char was[JB_CACHE_KEY_MAX] = "";
    char key[JB_CACHE_KEY_MAX];
    static const char *const steps[][2] = {
        {"proc/sys/kernel/random/boot_id", "11111111-2222\n"},
        {"sys/devices/system/cpu/online", "0-7\n"},
        {"sys/devices/system/node/online", "0-1\n"},
        {"proc/sys/kernel/random/boot_id", "33333333-2222\n"},
        {"sys/devices/system/cpu/online", "0-6\n"},
        {"sys/devices/system/node/online", "0\n"},
    };
    test_write(dir, "sys/x", "");
    test_write(dir, "proc/x", "");
    for (size_t i = 0; i < JB_ARRAY_LEN(steps); i++) {
        jb_autofree char *p = jb_asprintf("%s/proc", dir);
        jb_autofree char *s = jb_asprintf("%s/sys", dir);
        struct jb_kdir proc = {.fd = -1};
        struct jb_kdir sys = {.fd = -1};
        test_write(dir, steps[i][0], steps[i][1]);
        assert_int_equal(jb_kdir_open(p, &proc), 0);
        assert_int_equal(jb_kdir_open(s, &sys), 0);
        int r = jb_cache_key(&proc, &sys, key, sizeof(key));
        assert_int_equal(r,
                         i < 1 ? -ENOENT : 0); /* without the CPUs there is no key; without NUMA there is */
        if (r == 0) {
            assert_string_not_equal(key, was);
            (void)snprintf(was, sizeof(was), "%s", key);
        }
        jb_kdir_close(&proc);
        jb_kdir_close(&sys);
    }
    test_tmpdir_remove(dir);
}

/* Every single damaged byte of a packed machine is noticed. */
static void test_unpack_trusts_nothing(void **state)
{
    (void)state;
    struct jb_machine m;
    struct jb_machine back;
    jb_autobuf struct jb_buf buf = {0};
    load("pack:2 core:2 pu:2", NULL, NULL, &m);
    assert_int_equal(jb_machine_pack(&m, "key", &buf), 0);
    assert_int_equal(jb_machine_unpack(buf.data, buf.len, "key", &back), 0);
    assert_same(&m, &back);
    jb_machine_free(&back);
    assert_int_equal(jb_machine_unpack(buf.data, buf.len, "yek", &back), -EINVAL);
    for (size_t i = 0; i < buf.len; i++) {
        assert_int_equal(jb_machine_unpack(buf.data, i, "key", &back), -EINVAL);
        buf.data[i] ^= 0x10;
        assert_int_equal(jb_machine_unpack(buf.data, buf.len, "key", &back), -EINVAL);
        buf.data[i] ^= 0x10;
    }
    /* sound bytes of an unsound machine: right sum, wrong indices */
    m.pus[3].core = 77;
    buf.len = 0;
    assert_int_equal(jb_machine_pack(&m, "key", &buf), 0);
    assert_int_equal(jb_machine_unpack(buf.data, buf.len, "key", &back), -EINVAL);
    jb_machine_free(&m);
}

static void test_mounts(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_mounts m;
    assert_ok(jb_mounts_parse(
                  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
                  "23 22 0:21 / /proc rw - proc proc rw\n"
                  "99 22 259:4294967295 /sub /mnt/a\\040b\\134c\\012d rw master:2 propagate_from:7 - xfs "
                  "/dev/nvme0n1p1 rw\n",
                  &m, &err),
              &err);
    assert_int_equal(m.len, 3);
    assert_string_equal(m.items[0].target, "/");
    assert_string_equal(m.items[0].fstype, "ext4");
    assert_int_equal(m.items[0].major, 8);
    assert_int_equal(m.items[0].minor, 1);
    assert_string_equal(m.items[1].fstype, "proc");
    assert_string_equal(m.items[2].target, "/mnt/a b\\c\nd");
    assert_int_equal(m.items[2].minor, 4294967295U);
    jb_mounts_free(&m);
    static const char *const bad[] = {
        "22 1 8:1 / / rw,relatime shared:1 ext4 /dev/root rw\n",
        "22 1 8-1 / / rw - ext4 x rw\n",
        "22 1 8:x / / rw - ext4 x rw\n",
        "22 1 8:1 / relative rw - ext4 x rw\n",
        "x 1 8:1 / / rw - ext4 x rw\n",
        "22 1 8:1 / / rw -\n",
        "22 1 8:1\n",
        "\n",
        "22 1 8:1 / / rw - ext4 x rw\n22 1 99999999999:1 / / rw - ext4 x rw\n",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        assert_int_equal(jb_mounts_parse(bad[i], &m, &err), -EINVAL);
        assert_contains(err.text, "mountinfo: line");
    }
    assert_ok(jb_mounts_parse("", &m, &err), &err);
    assert_int_equal(m.len, 0);
    jb_mounts_free(&m);
    assert_ok(jb_mounts_read(&m, &err), &err);
    assert_true(m.len > 0);
    unsigned roots = 0;
    for (size_t i = 0; i < m.len; i++)
        roots += jb_streq(m.items[i].target, "/");
    assert_true(roots > 0);
    jb_mounts_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synthetic),
        cmocka_unit_test(test_restriction),
        cmocka_unit_test(test_hostile_topologies),
        cmocka_unit_test(test_damaged_xml),
        cmocka_unit_test(test_host_and_cache),
        cmocka_unit_test(test_damaged_cache),
        cmocka_unit_test(test_cache_serves_every_affinity),
        cmocka_unit_test(test_cache_not_writable),
        cmocka_unit_test(test_key_changes_with_the_host),
        cmocka_unit_test(test_unpack_trusts_nothing),
        cmocka_unit_test(test_mounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
