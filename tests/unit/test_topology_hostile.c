/*
 * test_topology_hostile.c - topologies that are damaged, or made to do harm: one error each, and nothing else.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "machine/machine.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_topology),
        cmocka_unit_test(test_hostile_topologies),
        cmocka_unit_test(test_damaged_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
