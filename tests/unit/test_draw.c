/*
 * test_draw.c - the drawings of a machine: golden texts, the promise of their width, JSON, SVG.
 */
#include "support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "machine/draw.h"

#define GIB (UINT64_C(1) << 30)

struct world {
    struct jb_machine m;
    struct jb_ledger l;
    struct jb_view v;
};

/* The whole machine; `allowed` NULL: all of it. */
static void world_make(struct world *w, const char *synthetic, const char *allowed)
{
    struct jb_error err = {0};
    struct jb_cpus set;
    struct jb_machine_source s = {.synthetic = synthetic, .cache_dirfd = -1, .whole = true};
    *w = (struct world){0};
    if (allowed) {
        assert_int_equal(jb_cpus_parse(allowed, &set), 0);
        s.allowed_cpus = &set;
    }
    assert_ok(jb_machine_load(&s, &w->m, &err), &err);
}

static void world_free(struct world *w)
{
    jb_view_free(&w->v);
    jb_machine_free(&w->m);
    jb_ledger_free(&w->l);
}

static void box(struct world *w, const char *name, const char *cpus, const char *held, uint64_t memory)
{
    struct jb_holding h = {.uid = 1000, .exclusive = held != NULL, .memory = memory};
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFF%08zu", w->l.len);
    (void)snprintf(h.name, sizeof(h.name), "%s", name);
    assert_int_equal(jb_cpus_parse(cpus, &h.cpus), 0);
    assert_int_equal(jb_cpus_parse(held ? held : "", &h.held), 0);
    jb_cpus_add(&h.mems, 0);
    assert_int_equal(jb_ledger_add(&w->l, &h), 0);
}

static void view(struct world *w)
{
    struct jb_error err = {0};
    jb_view_free(&w->v);
    assert_ok(jb_view_make(&w->m, &w->l, "test", &w->v, &err), &err);
}

static char *draw(const struct world *w, int width, bool color, bool utf8)
{
    struct jb_error err = {0};
    struct jb_buf text = {0};
    const struct jb_draw_style style = {.width = width, .color = color, .utf8 = utf8};
    assert_ok(jb_draw_text(&w->v, &style, &text, &err), &err);
    return text.data;
}

static void assert_drawn(const struct world *w, int width, const char *golden)
{
    char *text = draw(w, width, false, false);
    assert_string_equal(text, golden);
    free(text);
}

static void test_one_cpu(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "core:1 pu:1", NULL);
    view(&w);
    assert_drawn(&w, 80,
                 "test: 1 package, 1 NUMA node, 1 L3 group, 1 core, 1 CPU; 0 boxes, 1 core free\n"
                 "+ package 0, node 0 (1.00 GiB), L3 0 --+\n"
                 "| 0.                                   |\n"
                 "+--------------------------------------+\n"
                 ".  free: CPUs 0\n");
    world_free(&w);
}

static void test_states(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa(memory=8GB)] l3:2 core:2 pu:2", "0-12,14-15");
    assert_int_equal(jb_cpus_parse("14-15", &w.m.reserved), 0);
    box(&w, "whole-cores", "0-3", "0-3", 2 * GIB);
    box(&w, "threads", "4", "4-5", JB_UNSET);
    box(&w, "one", "8-9", NULL, JB_UNSET);
    box(&w, "other", "9", NULL, JB_UNSET);
    view(&w);
    assert_int_equal(w.v.count[JB_PU_FREE], 5);
    assert_int_equal(w.v.count[JB_PU_HELD], 7);
    assert_int_equal(w.v.count[JB_PU_SHARED], 1);
    assert_int_equal(w.v.count[JB_PU_RESERVED], 2);
    assert_int_equal(w.v.count[JB_PU_DISALLOWED], 1);
    assert_int_equal(w.v.free_cores, 3); /* one of them has a thread that is not allowed */
    assert_true(w.v.pus[5].idle);
    assert_false(w.v.pus[4].idle);
    assert_drawn(&w, 80,
                 "test: 2 packages, 2 NUMA nodes, 4 L3 groups, 8 cores, 16 CPUs; 4 boxes, 3 cores\n"
                 "  free\n"
                 "+ package 0, node 0 (7.45 GiB) --+ + package 1, node 1 (7.45 GiB) --+\n"
                 "| + L3 0 ---+ + L3 1 ---+        | | + L3 2 ---+ + L3 3 ---+        |\n"
                 "| |  0A  2A | |  4B  6. |        | | |  8C 10. | | 12. 14# |        |\n"
                 "| |  1A  3A | |  5B  7. |        | | |  9+ 11. | | 13- 15# |        |\n"
                 "| +---------+ +---------+        | | +---------+ +---------+        |\n"
                 "+--------------------------------+ +--------------------------------+\n"
                 "A  01ARZ3NDEKTS  whole-cores  1000  CPUs 0-3, memory 2.00 GiB on node 0\n"
                 "B  01ARZ3NDEKTS  threads      1000  CPUs 4\n"
                 "C  01ARZ3NDEKTS  one          1000  CPUs 8-9, shares\n"
                 "D  01ARZ3NDEKTS  other        1000  CPUs 9, shares\n"
                 ".  free: CPUs 6-7,10-12\n"
                 "+  several that share: CPUs 9\n"
                 "#  reserved by the site: CPUs 14-15\n"
                 "-  not allowed here: CPUs 13\n");
    assert_drawn(&w, 40,
                 "test: 2 packages, 2 NUMA nodes, 4 L3\n"
                 "  groups, 8 cores, 16 CPUs; 4 boxes, 3\n"
                 "  cores free\n"
                 "+ package 0, node 0 (7.45 GiB) --+\n"
                 "| + L3 0 ---+ + L3 1 ---+        |\n"
                 "| |  0A  2A | |  4B  6. |        |\n"
                 "| |  1A  3A | |  5B  7. |        |\n"
                 "| +---------+ +---------+        |\n"
                 "+--------------------------------+\n"
                 "+ package 1, node 1 (7.45 GiB) --+\n"
                 "| + L3 2 ---+ + L3 3 ---+        |\n"
                 "| |  8C 10. | | 12. 14# |        |\n"
                 "| |  9+ 11. | | 13- 15# |        |\n"
                 "| +---------+ +---------+        |\n"
                 "+--------------------------------+\n"
                 "A  01ARZ3NDEKTS  whole-cores  1000  CP..\n"
                 "B  01ARZ3NDEKTS  threads      1000  CP..\n"
                 "C  01ARZ3NDEKTS  one          1000  CP..\n"
                 "D  01ARZ3NDEKTS  other        1000  CP..\n"
                 ".  free: CPUs 6-7,10-12\n"
                 "+  several that share: CPUs 9\n"
                 "#  reserved by the site: CPUs 14-15\n"
                 "-  not allowed here: CPUs 13\n");
    world_free(&w);
}

/* hwloc's synthetic machines have one kind: this one gets its kinds by hand. */
static void test_kinds(void **state)
{
    (void)state;
    struct world w;
    char buf[32];
    world_make(&w, "pack:1 l3:1 core:6 pu:1", NULL);
    assert_null(jb_view_kind_name(&w.m, w.m.pus[0].kind, buf, sizeof(buf)));
    w.m.n_kinds = 2;
    for (size_t i = 0; i < w.m.n_pus; i++)
        w.m.pus[i].kind = i < 2;
    view(&w);
    assert_drawn(&w, 80,
                 "test: 1 package, 1 NUMA node, 1 L3 group, 6 cores, 6 CPUs; 0 boxes, 6 cores free\n"
                 "+ package 0, node 0 (1.00 GiB), L3 0 --+\n"
                 "| + performance --+ + efficiency ---+  |\n"
                 "| | 0. 1.         | | 2. 3. 4. 5.   |  |\n"
                 "| +---------------+ +---------------+  |\n"
                 "+--------------------------------------+\n"
                 ".  free: CPUs 0-5\n");
    w.m.n_kinds = 3;
    assert_string_equal(jb_view_kind_name(&w.m, 2, buf, sizeof(buf)), "performance");
    assert_string_equal(jb_view_kind_name(&w.m, 1, buf, sizeof(buf)), "efficiency 1");
    world_free(&w);
}

/* A node over two packages, and an L3 in each: the node is the outer frame. */
static void test_nesting_follows_the_machine(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "group:1 [numa] pack:2 l3:1 core:2 pu:1", NULL);
    view(&w);
    assert_int_equal(w.v.n_groups, 4);
    assert_int_equal(w.v.groups[1].levels, JB_VIEW_NUMA);
    assert_int_equal(w.v.groups[2].levels, JB_VIEW_PACKAGE | JB_VIEW_L3);
    assert_int_equal(w.v.groups[3].parent, 1);
    world_free(&w);
}

static size_t columns_of(const char *line, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)line[i] & 0xc0) != 0x80;
    return n;
}

static void assert_fits(const struct world *w, int width)
{
    for (int utf8 = 0; utf8 < 2; utf8++) {
        char *text = draw(w, width, false, utf8);
        for (const char *line = text; *line;) {
            size_t len = strcspn(line, "\n");
            if (columns_of(line, len) > (size_t)width)
                fail_msg("wider than %d: %.*s", width, (int)len, line);
            if (len && line[len - 1] == ' ')
                fail_msg("blanks at the end: \"%.*s\"", (int)len, line);
            line += len + 1;
        }
        free(text);
    }
}

static void test_fits_any_width(void **state)
{
    (void)state;
    static const char *const machines[] = {
        "core:1 pu:1",
        "pack:1 core:4 pu:2",
        "pack:1 core:64 pu:4",
        "pack:2 [numa] l3:12 core:8 pu:2",
        "pack:8 [numa] l3:2 core:3 pu:1",
        "numa:2 l3:1 core:4 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)",
    };
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        struct world w;
        world_make(&w, machines[i], NULL);
        box(&w, "a-name-that-is-as-long-as-names-may-be-which-is-sixty-four-bytes", "0", "0", 3 * GIB);
        view(&w);
        for (int width = JB_DRAW_WIDTH_MIN; width <= 250; width += width < 130 ? 1 : 40)
            assert_fits(&w, width);
        world_free(&w);
    }
}

static void test_large_machine(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa(memory=8GB)] l3:12 core:8 pu:2", NULL);
    box(&w, "a", "16-31", "16-31", JB_UNSET);
    view(&w);
    assert_int_equal(w.v.n_groups, 1 + 2 + 24);
    assert_int_equal(w.v.n_cores, 192);
    char *text = draw(&w, 80, false, false);
    assert_contains(text, "| | AA AA AA AA AA AA AA AA |"); /* L3 1 */
    assert_contains(text, "L3 1: 16-31");
    size_t lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_in_range(lines, 10, 60);
    free(text);
    world_free(&w);
}

static void test_colors_change_no_text(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa] l3:2 core:2 pu:2", "0-14");
    box(&w, "a", "0", "0-1", JB_UNSET);
    box(&w, "b", "2-3", "2-3", JB_UNSET);
    view(&w);
    char *plain = draw(&w, 80, false, true);
    char *colored = draw(&w, 80, true, true);
    assert_null(strchr(plain, '\033'));
    assert_contains(colored, "\033[1;32m");
    assert_contains(colored, "\033[2;32m"); /* the sibling that is only held */
    char *to = colored;
    for (const char *from = colored; (*to = *from); from++) {
        if (*from == '\033')
            from += strcspn(from, "m");
        else
            to++;
    }
    assert_string_equal(colored, plain);
    free(plain);
    free(colored);
    world_free(&w);
}

static void test_many_boxes_have_different_letters(void **state)
{
    (void)state;
    struct world w;
    char cpu[16];
    world_make(&w, "pack:2 core:64 pu:1", NULL);
    for (unsigned i = 0; i < 60; i++) {
        (void)snprintf(cpu, sizeof(cpu), "%u", i);
        box(&w, "j", cpu, cpu, JB_UNSET);
        if (i == 51) {
            view(&w);
            assert_string_equal(w.v.boxes[0].code, "A");
            assert_string_equal(w.v.boxes[51].code, "z");
        }
    }
    view(&w);
    for (size_t i = 0; i < w.v.n_boxes; i++) {
        assert_int_equal(strlen(w.v.boxes[i].code), 2);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(w.v.boxes[i].code, w.v.boxes[k].code);
    }
    assert_fits(&w, 80);
    world_free(&w);
}

static void test_names_cannot_garble(void **state)
{
    (void)state;
    struct world w;
    struct jb_error err = {0};
    struct jb_buf svg = {0};
    world_make(&w, "core:2 pu:1", NULL);
    box(&w, "\033[2J<b>&\"\n\xff", "0", "0", JB_UNSET);
    view(&w);
    char *text = draw(&w, 80, true, true);
    assert_null(strstr(text, "\033[2J"));
    assert_contains(text, "?[2J<b>&\"??");
    assert_ok(jb_draw_svg(&w.v, &svg, &err), &err);
    assert_null(strstr(svg.data, "<b>"));
    assert_contains(svg.data, "?[2J&lt;b&gt;&amp;&quot;??");
    jb_buf_free(&svg);
    free(text);
    world_free(&w);
}

static void test_json(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, "pack:2 [numa(memory=8GB)] l3:2 core:2 pu:2", "0-14");
    box(&w, "build", "0-1", "0-1", GIB);
    view(&w);
    json_t *root = jb_draw_json(&w.v);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "cpus")), 16);
    assert_int_equal(json_array_size(json_object_get(root, "nodes")), 2);
    const json_t *cpu = json_array_get(json_object_get(root, "cpus"), 15);
    assert_string_equal(json_string_value(json_object_get(cpu, "state")), "not_allowed");
    assert_true(json_is_null(json_object_get(cpu, "kind")));
    assert_int_equal(json_integer_value(json_object_get(cpu, "package")), 1);
    cpu = json_array_get(json_object_get(root, "cpus"), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(cpu, "boxes"), 0)), "A");
    const json_t *b = json_array_get(json_object_get(root, "boxes"), 0);
    assert_string_equal(json_string_value(json_object_get(b, "cpus")), "0-1");
    assert_int_equal(json_integer_value(json_object_get(b, "memory_bytes")), (json_int_t)GIB);
    const json_t *machine = json_object_get(root, "machine");
    assert_string_equal(json_string_value(json_object_get(machine, "free")), "2-14");
    assert_int_equal(json_integer_value(json_object_get(machine, "free_cores")), 7);
    json_decref(root);
    world_free(&w);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void test_svg(void **state)
{
    (void)state;
    struct world w;
    struct jb_error err = {0};
    struct jb_buf svg = {0};
    world_make(&w, "pack:2 [numa] l3:12 core:8 pu:2", "0-382");
    box(&w, "build", "0", "0-1", GIB);
    view(&w);
    assert_ok(jb_draw_svg(&w.v, &svg, &err), &err);
    assert_int_equal(strncmp(svg.data, "<svg xmlns=", 11), 0);
    assert_int_equal(count(svg.data, "<g>"), count(svg.data, "</g>"));
    assert_int_equal(count(svg.data, "<text "), count(svg.data, "</text>"));
    assert_int_equal(count(svg.data, "<title>"), count(svg.data, "</title>"));
    assert_int_equal(count(svg.data, "<title>CPU "), 384);
    assert_int_equal(count(svg.data, "class=\"core\""), 192);
    assert_contains(svg.data, "prefers-color-scheme:dark");
    assert_contains(svg.data,
                    "CPU 1, core 0: A (held as a sibling) build (01ARZ3NDEKTSV4RRFF00000000, 1000)");
    assert_contains(svg.data, "CPU 383, core 191: not allowed here");
    assert_int_equal(count(svg.data, "://"), 1); /* the name space: nothing is fetched */
    jb_buf_free(&svg);
    world_free(&w);
}

/* By hand: hwloc's synthetic machines have none. */
static void give_devices(struct world *w, size_t n)
{
    static const struct jb_io_device some[] = {
        {.class = JB_IO_GPU, .name = "card0,renderD128", .bus = "0000:41:00.0", .model = "R&D <1>"},
        {.class = JB_IO_NETWORK, .name = "", .bus = "0000:03:00.1"},
        {.class = JB_IO_BLOCK, .name = "nvme0n1", .bus = ""},
    };
    w->m.devices = calloc(n, sizeof(*w->m.devices));
    assert_non_null(w->m.devices);
    w->m.n_devices = n;
    for (size_t i = 0; i < n; i++) {
        w->m.devices[i] = some[i < 3 ? i : 2];
        assert_int_equal(jb_cpus_parse(i == 0 ? "4-7" : i == 1 ? "" : "0-7", &w->m.devices[i].cpus), 0);
        assert_int_equal(jb_cpus_parse(i == 2 ? "0-1" : "1", &w->m.devices[i].nodes), 0);
    }
}

static void check_json(const struct world *w)
{
    json_t *root = jb_draw_json(&w->v);
    json_t *machine = json_object_get(root, "machine");
    assert_int_equal(json_integer_value(json_object_get(machine, "dies")), 4);
    assert_string_equal(json_string_value(json_object_get(machine, "offline")), "8-9");
    assert_string_equal(json_string_value(json_object_get(machine, "not_allowed")), "");
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(json_object_get(root, "cpus"), 5), "die")), 2);
    json_t *devices = json_object_get(root, "devices");
    assert_int_equal(json_array_size(devices), 3);
    json_t *gpu = json_array_get(devices, 0);
    assert_string_equal(json_string_value(json_object_get(gpu, "class")), "gpu");
    assert_string_equal(json_string_value(json_object_get(gpu, "bus_id")), "0000:41:00.0");
    assert_string_equal(json_string_value(json_object_get(gpu, "cpus")), "4-7");
    assert_string_equal(json_string_value(json_object_get(gpu, "numa_nodes")), "1");
    assert_true(json_is_null(json_object_get(json_array_get(devices, 1), "name"))); /* not known is null */
    assert_true(json_is_null(json_object_get(json_array_get(devices, 2), "bus_id")));
    json_decref(root);
}

static void test_dies_offline_and_devices(void **state)
{
    (void)state;
    struct world w;
    struct jb_error err = {0};
    struct jb_buf svg = {0};
    world_make(&w, "pack:2 [numa] die:2 core:2 pu:1", NULL);
    assert_int_equal(jb_cpus_parse("8-9", &w.m.offline), 0);
    give_devices(&w, 3);
    view(&w);
    assert_drawn(&w, 80,
                 "test: 2 packages, 4 dies, 2 NUMA nodes, 2 L3 groups, 8 cores, 8 CPUs; 0 boxes, 8\n"
                 "  cores free\n"
                 "+ package 0, node 0, L3 0 --+ + package 1, node 1, L3 1 --+\n"
                 "| + die 0 --+ + die 1 --+   | | + die 2 --+ + die 3 --+   |\n"
                 "| | 0. 1.   | | 2. 3.   |   | | | 4. 5.   | | 6. 7.   |   |\n"
                 "| +---------+ +---------+   | | +---------+ +---------+   |\n"
                 "+---------------------------+ +---------------------------+\n"
                 ".  free: CPUs 0-7\n"
                 "offline: CPUs 8-9\n"
                 "gpu      card0,renderD128  0000:41:00.0  near CPUs 4-7 (node 1)\n"
                 "network  -                 0000:03:00.1  near no CPU, node 1\n"
                 "block    nvme0n1                         near all CPUs\n");
    check_json(&w);
    assert_ok(jb_draw_svg(&w.v, &svg, &err), &err);
    assert_contains(svg.data, "offline: CPUs 8-9");
    assert_contains(svg.data,
                    "gpu card0,renderD128, PCI 0000:41:00.0, R&amp;D &lt;1&gt;, near CPUs 4-7 (node 1)");
    assert_int_equal(count(svg.data, "<g>"), count(svg.data, "</g>"));
    jb_buf_free(&svg);
    world_free(&w);
}

static void test_more_devices_than_are_drawn(void **state)
{
    (void)state;
    struct world w;
    struct jb_error err = {0};
    struct jb_buf svg = {0};
    world_make(&w, "pack:2 [numa] l3:1 core:4 pu:1", NULL);
    give_devices(&w, 100);
    view(&w);
    char *text = draw(&w, 24, false, false);
    assert_contains(text, "84 devices more");
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 24);
    free(text);
    assert_ok(jb_draw_svg(&w.v, &svg, &err), &err);
    assert_contains(svg.data, "36 devices more");
    jb_buf_free(&svg);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_cpu),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_nesting_follows_the_machine),
        cmocka_unit_test(test_fits_any_width),
        cmocka_unit_test(test_large_machine),
        cmocka_unit_test(test_colors_change_no_text),
        cmocka_unit_test(test_many_boxes_have_different_letters),
        cmocka_unit_test(test_names_cannot_garble),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_svg),
        cmocka_unit_test(test_dies_offline_and_devices),
        cmocka_unit_test(test_more_devices_than_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
