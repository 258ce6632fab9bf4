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

/* Dies are counted only where they say more than packages; restriction renumbers them. */
static void test_dies(void **state)
{
    (void)state;
    struct jb_machine m;
    load("pack:2 [numa] die:2 l3:2 core:2 pu:1", NULL, NULL, &m);
    assert_int_equal(m.n_packages, 2);
    assert_int_equal(m.n_dies, 4);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(m.pus[i].die, i / 4);
    jb_machine_free(&m);
    load("pack:2 [numa] die:2 l3:2 core:2 pu:1", "5,12-15", NULL, &m);
    assert_int_equal(m.n_dies, 2);
    assert_int_equal(m.pus[0].die, 0);
    assert_int_equal(m.pus[1].die, 1);
    assert_int_equal(jb_cpus_count(&m.disallowed), 11);
    assert_false(jb_cpus_has(&m.disallowed, 5));
    assert_true(jb_cpus_has(&m.disallowed, 4));
    jb_machine_free(&m);
    load("pack:2 [numa] l3:2 core:2 pu:1", NULL, NULL, &m);
    assert_int_equal(m.n_dies, 2);
    assert_int_equal(m.pus[7].die, 1);
    assert_true(jb_cpus_empty(&m.disallowed));
    assert_true(jb_cpus_empty(&m.offline));
    jb_machine_free(&m);
}

#define SETS(cpus, nodes) \
    " cpuset=\"" cpus "\" complete_cpuset=\"" cpus "\" nodeset=\"" nodes "\" complete_nodeset=\"" nodes "\""
#define CORE(cpu, bit)                                                                                   \
    "<object type=\"Core\" os_index=\"" cpu "\"" SETS(bit, "0x1") "><object type=\"PU\" os_index=\"" cpu \
                                                                  "\"" SETS(bit, "0x1") "/></object>"
#define CORE1(cpu, bit)                                                                                  \
    "<object type=\"Core\" os_index=\"" cpu "\"" SETS(bit, "0x2") "><object type=\"PU\" os_index=\"" cpu \
                                                                  "\"" SETS(bit, "0x2") "/></object>"

/*
 * Two packages of two CPUs, 4 and 5 offline, CPU 3 not allowed; a graphics card and a bare PCI network card at node 1,
 * a disk that is on no bus. The names are not fit for a terminal.
 */
static const char with_devices[] =
    "<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n"
    "<object type=\"Machine\" os_index=\"0\" cpuset=\"0xf\" complete_cpuset=\"0x3f\" allowed_cpuset=\"0x7\""
    " nodeset=\"0x3\" complete_nodeset=\"0x3\" allowed_nodeset=\"0x3\" gp_index=\"1\">"
    "<object type=\"Package\" os_index=\"0\"" SETS(
        "0x3",
        "0x1") ">"
               "<object type=\"NUMANode\" os_index=\"0\"" SETS(
                   "0x3", "0x1") " local_memory=\"1073741824\"/>" CORE("0", "0x1")
                   CORE("1",
                        "0x2") "</object>"
                               "<object type=\"Package\" os_index=\"1\"" SETS(
                                   "0xc",
                                   "0x2") ">"
                                          "<object type=\"NUMANode\" os_index=\"1\"" SETS(
                                              "0xc", "0x2") " local_memory=\"1073741824\"/>" CORE1("2", "0x4")
                                              CORE1("3",
                                                    "0x8") "<object type=\"Bridge\" gp_index=\"20\" "
                                                           "bridge_type=\"0-1\" depth=\"0\" "
                                                           "bridge_pci=\"0001:[40-42]\">"
                                                           "<object type=\"PCIDev\" gp_index=\"21\" "
                                                           "pci_busid=\"0001:41:00.0\" pci_type=\"1200 "
                                                           "[10de:2330] [10de:1] a1\""
                                                           " pci_link_speed=\"0.0\"><info name=\"PCIDevice\" "
                                                           "value=\"Fast &lt;card&gt;\"/>"
                                                           "<object type=\"OSDev\" gp_index=\"22\" "
                                                           "name=\"renderD128\" osdev_type=\"1\"/>"
                                                           "<object type=\"OSDev\" gp_index=\"23\" "
                                                           "name=\"card0\" osdev_type=\"1\"/></object>"
                                                           "<object type=\"PCIDev\" gp_index=\"24\" "
                                                           "pci_busid=\"0001:42:00.1\" pci_type=\"0200 "
                                                           "[8086:1] [8086:1] 00\""
                                                           " pci_link_speed=\"0.0\"/></object>"
                                                           "</object>"
                                                           "<object type=\"OSDev\" gp_index=\"30\" "
                                                           "name=\"pm\xc3\xa9m0\" osdev_type=\"0\"/>"
                                                           "</object></topology>\n";

static void test_offline_and_disallowed(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    char list[64];
    char *dir = test_tmpdir();
    test_write(dir, "t.xml", with_devices);
    jb_autofree char *path = jb_asprintf("%s/t.xml", dir);
    struct jb_machine_source s = {.cache_dirfd = -1, .xml_file = path};
    assert_ok(jb_machine_load(&s, &m, &err), &err);
    assert_int_equal(m.n_pus, 3);
    assert_true(jb_cpus_format(&m.offline, list, sizeof(list)) >= 0);
    assert_string_equal(list, "4-5");
    assert_true(jb_cpus_format(&m.disallowed, list, sizeof(list)) >= 0);
    assert_string_equal(list, "3");
    assert_null(m.devices); /* not asked for */
    assert_int_equal(m.n_devices, 0);
    jb_machine_free(&m);
    test_tmpdir_remove(dir);
}

static void test_devices(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    char where[64];
    char *dir = test_tmpdir();
    test_write(dir, "t.xml", with_devices);
    jb_autofree char *path = jb_asprintf("%s/t.xml", dir);
    struct jb_machine_source s = {.cache_dirfd = -1, .xml_file = path, .devices = true};
    assert_ok(jb_machine_load(&s, &m, &err), &err);
    assert_int_equal(m.n_devices, 3);
    const struct jb_io_device *gpu = &m.devices[0];
    const struct jb_io_device *nic = &m.devices[1];
    const struct jb_io_device *disk = &m.devices[2];
    assert_int_equal(gpu->class, JB_IO_GPU);
    assert_string_equal(gpu->name, "renderD128,card0");
    assert_string_equal(gpu->bus, "0001:41:00.0");
    assert_string_equal(gpu->model, "Fast <card>");
    assert_string_equal(jb_io_where(gpu, &m.allowed, where, sizeof(where)), "near CPUs 2 (node 1)");
    assert_int_equal(nic->class, JB_IO_NETWORK);
    assert_string_equal(nic->name, "");
    assert_string_equal(nic->bus, "0001:42:00.1");
    assert_int_equal(disk->class, JB_IO_BLOCK);
    assert_string_equal(disk->name, "pm??m0");
    assert_string_equal(disk->bus, "");
    assert_string_equal(jb_io_where(disk, &m.allowed, where, sizeof(where)), "near all CPUs");
    jb_machine_free(&m);

    /* more than anybody has */
    jb_autobuf struct jb_buf many = {0};
    const char *tail = strstr(with_devices, "<object type=\"OSDev\" gp_index=\"30\"");
    (void)jb_buf_add(&many, with_devices, (size_t)(tail - with_devices));
    for (int i = 0; i <= JB_IO_DEVICES_MAX; i++)
        (void)jb_buf_printf(&many, "<object type=\"OSDev\" gp_index=\"%d\" name=\"d%d\" osdev_type=\"0\"/>",
                            100 + i, i);
    (void)jb_buf_puts(&many, "</object></topology>\n");
    test_write(dir, "t.xml", many.data);
    assert_int_equal(jb_machine_load(&s, &m, &err), -EFBIG);
    assert_contains(err.text, "4096 devices");
    s.devices = false;
    assert_ok(jb_machine_load(&s, &m, &err), &err); /* nobody asked */
    jb_machine_free(&m);
    test_tmpdir_remove(dir);
}

/* What a child hands over is not believed. */
static void test_devices_sound(void **state)
{
    (void)state;
    struct jb_io_device d = {.class = JB_IO_GPU, .name = "card0", .bus = "0000:00:02.0"};
    assert_true(jb_io_sound(&d, 1));
    d.class = JB_IO_CLASS_MAX;
    assert_false(jb_io_sound(&d, 1));
    d.class = JB_IO_OTHER;
    d.name[1] = '\033';
    assert_false(jb_io_sound(&d, 1));
    memset(d.name, 'x', sizeof(d.name));
    assert_false(jb_io_sound(&d, 1));
    d.name[0] = '\0';
    memset(d.bus, 'x', sizeof(d.bus));
    assert_false(jb_io_sound(&d, 1));
    d.bus[0] = '\0';
    memset(d.model, 'x', sizeof(d.model));
    assert_false(jb_io_sound(&d, 1));
    d.model[0] = '\0';
    assert_true(jb_io_sound(&d, 1));
    assert_false(jb_io_sound(&d, JB_IO_DEVICES_MAX + 1));
    for (int c = 0; c < JB_IO_CLASS_MAX; c++)
        assert_non_null(jb_io_class_name((enum jb_io_class)c));
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

#define ONE "cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" complete_nodeset=\"0x1\""
#define MACHINE \
    "<object type=\"Machine\" os_index=\"0\" allowed_cpuset=\"0x1\" allowed_nodeset=\"0x1\" " ONE ">"
#define NODE(bytes) "<object type=\"NUMANode\" os_index=\"0\" local_memory=\"" bytes "\" " ONE "/>"
#define PU(index)   "<object type=\"PU\" os_index=\"" index "\" " ONE "/>"

/* What the refusals below are held against: the same file with sensible numbers is a machine. */
static void test_smallest_topology(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_machine m;
    char *dir = test_tmpdir();
    test_write(dir, "t.xml", HEAD MACHINE NODE("1125899906842624") PU("0") "</object></topology>");
    jb_autofree char *path = jb_asprintf("%s/t.xml", dir);
    struct jb_machine_source s = {.xml_file = path, .cache_dirfd = -1};
    assert_ok(jb_machine_load(&s, &m, &err), &err);
    assert_int_equal(m.n_pus, 1);
    assert_true(m.memory == UINT64_C(1) << 50);
    jb_machine_free(&m);
    test_tmpdir_remove(dir);
}

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
    refuse_text(dir,
                "<!DOCTYPE topology [<!ENTITY a SYSTEM \"file:///etc/passwd\"><!ENTITY b \"&a;&a;\">]>\n"
                "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"&b;\"/></topology>",
                EINVAL, "hwloc cannot load it");
    refuse_text(dir, HEAD MACHINE NODE("1125899906842625") PU("0") "</object></topology>", EINVAL, "1 PiB");
    refuse_text(dir, HEAD MACHINE NODE("99999999999999999999999999") PU("0") "</object></topology>", EINVAL,
                "1 PiB");
    refuse_text(dir, HEAD MACHINE NODE("1") PU("-7") "</object></topology>", EINVAL, "t.xml");
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

/* The files of another machine, sound but for one word of their key. */
static void plant(int fd, const char *key, const char *word, const char *instead)
{
    struct jb_machine other;
    load("pack:2 core:3 pu:2", NULL, NULL, &other);
    const char *at = strstr(key, word);
    assert_non_null(at);
    jb_autofree char *stale = jb_asprintf("%.*s%s%s", (int)(at - key), key, instead, at + strcspn(at, " "));
    jb_cache_store(fd, stale, &other, HEAD "</topology>", strlen(HEAD "</topology>"));
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
        cmocka_unit_test(test_dies),
        cmocka_unit_test(test_offline_and_disallowed),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_devices_sound),
        cmocka_unit_test(test_smallest_topology),
        cmocka_unit_test(test_hostile_topologies),
        cmocka_unit_test(test_damaged_xml),
        cmocka_unit_test(test_host_and_cache),
        cmocka_unit_test(test_damaged_cache),
        cmocka_unit_test(test_cache_serves_every_affinity),
        cmocka_unit_test(test_cache_of_another_time),
        cmocka_unit_test(test_cache_and_affinity_of_now),
        cmocka_unit_test(test_cache_looked_at),
        cmocka_unit_test(test_cache_not_writable),
        cmocka_unit_test(test_key_changes_with_the_host),
        cmocka_unit_test(test_unpack_trusts_nothing),
        cmocka_unit_test(test_mounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
