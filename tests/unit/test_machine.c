/*
 * test_machine.c - the machine model: synthetic and XML topologies, restriction, devices.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "machine/machine.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synthetic), cmocka_unit_test(test_restriction),
        cmocka_unit_test(test_dies),      cmocka_unit_test(test_offline_and_disallowed),
        cmocka_unit_test(test_devices),   cmocka_unit_test(test_devices_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
