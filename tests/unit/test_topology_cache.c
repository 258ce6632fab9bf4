/*
 * test_topology_cache.c - what is kept of the topology: when it serves, and when it is made again.
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

static void load(const char *synthetic, struct jb_machine *ret)
{
    struct jb_error err = {0};
    struct jb_machine_source s = {.synthetic = synthetic, .cache_dirfd = -1};
    assert_ok(jb_machine_load(&s, ret, &err), &err);
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

/* The files of another machine, sound but for one word of their key. */
static void plant(int fd, const char *key, const char *word, const char *instead)
{
    struct jb_machine other;
    load("pack:2 core:3 pu:2", &other);
    const char *at = strstr(key, word);
    assert_non_null(at);
    jb_autofree char *stale = jb_asprintf("%.*s%s%s", (int)(at - key), key, instead, at + strcspn(at, " "));
    static const char xml[] = "<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n</topology>";
    jb_cache_store(fd, stale, &other, xml, sizeof(xml) - 1);
    jb_machine_free(&other);
}

/* Another boot, other CPUs online, other nodes, another hwloc: what was kept is not believed, and replaced. */
static void test_cache_of_another_time(void **state)
{
    (void)state;
    static const char *const words[][2] = {{"boot=", "boot=00000000-0000-0000-0000-000000000000"},
                                           {"cpus=", "cpus=0-4095"},
                                           {"nodes=", "nodes=0-63"},
                                           {"hwloc=", "hwloc=0x1"},
                                           {"format=", "format=1"}};
    struct jb_error err = {0};
    struct jb_machine fresh;
    struct jb_machine m;
    char key[JB_CACHE_KEY_MAX];
    struct jb_kdir proc = {.fd = -1};
    struct jb_kdir sys = {.fd = -1};
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source bare = {.cache_dirfd = -1};
    struct jb_machine_source cached = {.cache_dirfd = fd};
    assert_int_equal(jb_kdir_open("/proc", &proc), 0);
    assert_int_equal(jb_kdir_open("/sys", &sys), 0);
    assert_int_equal(jb_cache_key(&proc, &sys, key, sizeof(key)), 0);
    jb_kdir_close(&proc);
    jb_kdir_close(&sys);
    assert_ok(jb_machine_load(&bare, &fresh, &err), &err);
    for (size_t i = 0; i < JB_ARRAY_LEN(words); i++) {
        plant(fd, key, words[i][0], words[i][1]);
        assert_ok(jb_machine_load(&cached, &m, &err), &err);
        assert_same(&fresh, &m);
        jb_machine_free(&m);
        assert_int_equal(jb_cache_load(fd, key, &m), 0);
        jb_machine_free(&m);
        jb_autofree char *xml = NULL;
        size_t len = 0;
        assert_int_equal(jb_cache_load_xml(fd, key, &xml, &len), 0);
        assert_contains(xml, "type=\"PU\"");
    }
    jb_machine_free(&fresh);
    test_tmpdir_remove(dir);
}

/* The kernel is asked each time what this process may use, whatever the one was allowed who filled the cache. */
static void test_cache_and_affinity_of_now(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    cpu_set_t was;
    cpu_set_t one;
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source cached = {.cache_dirfd = fd};
    assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
    unsigned n = (unsigned)CPU_COUNT(&was);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &was))
        last--;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_ok(jb_machine_load(&cached, &m, &err), &err); /* filled by one that may use a single CPU */
    assert_int_equal(m.n_pus, 1);
    assert_int_equal(m.pus[0].os, last);
    assert_true(jb_cpus_count(&m.disallowed) >= n - 1);
    jb_machine_free(&m);
    assert_int_equal(sched_setaffinity(0, sizeof(was), &was), 0);
    assert_ok(jb_machine_load(&cached, &m, &err), &err);
    assert_int_equal(m.n_pus, n);
    jb_machine_free(&m);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_ok(jb_machine_load(&cached, &m, &err), &err);
    assert_int_equal(m.n_pus, 1);
    jb_machine_free(&m);
    assert_int_equal(sched_setaffinity(0, sizeof(was), &was), 0);
    test_tmpdir_remove(dir);
}

/* Who only looks takes what fits and writes nothing; devices come from the XML, not from the machine's bytes. */
static void test_cache_looked_at(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine live;
    struct jb_machine m;
    char *dir = test_tmpdir();
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct jb_machine_source look = {.cache_dirfd = fd, .cache_readonly = true, .devices = true};
    struct jb_machine_source fill = {.cache_dirfd = fd};
    assert_ok(jb_machine_load(&look, &live, &err), &err);
    assert_int_equal(faccessat(fd, "topology.xml", F_OK, 0), -1);
    assert_int_equal(faccessat(fd, "topology.bin", F_OK, 0), -1);
    assert_ok(jb_machine_load(&fill, &m, &err), &err);
    assert_null(m.devices);
    jb_machine_free(&m);
    assert_int_equal(unlinkat(fd, "topology.bin", 0), 0);
    assert_ok(jb_machine_load(&look, &m, &err), &err);
    assert_same(&live, &m);
    assert_int_equal(m.n_devices, live.n_devices);
    for (size_t i = 0; i < m.n_devices; i++) {
        assert_string_equal(m.devices[i].name, live.devices[i].name);
        assert_string_equal(m.devices[i].bus, live.devices[i].bus);
        assert_true(jb_cpus_equal(&m.devices[i].cpus, &live.devices[i].cpus));
    }
    assert_int_equal(faccessat(fd, "topology.bin", F_OK, 0), -1);
    jb_machine_free(&m);
    jb_machine_free(&live);
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
    load("pack:2 core:2 pu:2", &m);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_and_cache),
        cmocka_unit_test(test_damaged_cache),
        cmocka_unit_test(test_cache_serves_every_affinity),
        cmocka_unit_test(test_cache_of_another_time),
        cmocka_unit_test(test_cache_and_affinity_of_now),
        cmocka_unit_test(test_cache_looked_at),
        cmocka_unit_test(test_cache_not_writable),
        cmocka_unit_test(test_key_changes_with_the_host),
        cmocka_unit_test(test_unpack_trusts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
