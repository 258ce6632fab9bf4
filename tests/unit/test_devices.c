/*
 * test_devices.c - from wishes to devices: names, counts, nearness on invented machines, who is in whose way, and what
 * a device brings with it. Facts about nodes are invented too.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "devices/devices.h"

/* Two packages of two NUMA nodes of four cores: CPUs 0-3, 4-7, 8-11, 12-15. */
#define MACHINE "pack:2 numa:2 l3:1 core:4 pu:1"

/* /dev/gpuN is 195:N on the node that `where` says, -1: nowhere in particular, -2: no such node. */
struct world {
    char *tmp;
    struct jb_machine machine;
    struct jb_ledger ledger;
    struct jb_held held;
    struct jb_site *site;
    struct jb_spec *spec;
    struct jb_device_facts facts;
    bool userns;
    int where[16];
};

static int fake_node(void *ctx, const char *path, struct jb_node_facts *ret)
{
    const struct world *w = ctx;
    static const struct {
        const char *path;
        struct jb_node_facts facts;
    } others[] = {
        {"/dev/fuse", {'c', 10, 229, 0600, 0, 0}},
        {"/dev/sda", {'b', 8, 0, 0660, 0, 6}},
        {"/dev/vendorctl", {'c', 195, 255, 0666, 0, 0}},
    };
    unsigned n;
    if (sscanf(path, "/dev/gpu%u", &n) == 1 && n < JB_ARRAY_LEN(w->where)) { /* NOLINT(cert-err34-c) */
        if (w->where[n] == -2)
            return -ENOENT;
        *ret = (struct jb_node_facts){'c', 195, n, 0660, 0, 44};
        return 0;
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(others); i++)
        if (jb_streq(path, others[i].path)) {
            *ret = others[i].facts;
            return 0;
        }
    return jb_streq(path, "/dev/folder") ? -ENODEV : -ENOENT;
}

static int fake_locality(void *ctx, char type, unsigned major, unsigned minor, int *ret_node,
                         struct jb_cpus *ret_cpus)
{
    const struct world *w = ctx;
    (void)ret_cpus; /* the node alone: its CPUs are the machine's to know */
    if (type != 'c' || major != 195 || minor >= JB_ARRAY_LEN(w->where) || w->where[minor] < 0)
        return -ENODATA;
    *ret_node = w->where[minor];
    return 0;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct jb_error err = {0};
    const struct jb_machine_source source = {.synthetic = MACHINE, .cache_dirfd = -1};
    assert_non_null(w);
    w->tmp = test_tmpdir();
    assert_ok(jb_machine_load(&source, &w->machine, &err), &err);
    assert_int_equal(w->machine.n_nodes, 4);
    w->facts = (struct jb_device_facts){fake_node, fake_locality, w};
    for (size_t i = 0; i < JB_ARRAY_LEN(w->where); i++)
        w->where[i] = -1;
    jb_autofree char *a = jb_asprintf("%s/etc", w->tmp);
    jb_autofree char *b = jb_asprintf("%s/run", w->tmp);
    assert_int_equal(jb_site_default(&w->site), 0);
    jb_strv_free(&w->site->devices.cdi_dirs);
    assert_int_equal(jb_strv_add(&w->site->devices.cdi_dirs, a), 0);
    assert_int_equal(jb_strv_add(&w->site->devices.cdi_dirs, b), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    jb_machine_free(&w->machine);
    jb_ledger_free(&w->ledger);
    jb_held_free(&w->held);
    jb_site_free(w->site);
    jb_spec_free(w->spec);
    test_tmpdir_remove(w->tmp);
    free(w);
    return 0;
}

/* A file that defines gpu0 to gpu(n-1) by the nodes /dev/gpuN. */
static void gpus(struct world *w, const char *file, unsigned n, const char *more)
{
    jb_autobuf struct jb_buf buf = {0};
    assert_int_equal(jb_buf_puts(&buf, "cdiVersion: 0.7.0\nkind: vendor.com/gpu\ndevices:\n"), 0);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(
            jb_buf_printf(&buf,
                          "  - name: gpu%u\n    containerEdits: { deviceNodes: [ { path: /dev/gpu%u } ] }\n",
                          i, i),
            0);
    assert_int_equal(jb_buf_puts(&buf, more), 0);
    test_write(w->tmp, file, buf.data);
}

static void held_by(struct world *w, const char *job, const char *cpus, const char *name, bool exclusive,
                    unsigned gpu)
{
    struct jb_holding h = {.uid = 1000, .exclusive = true, .memory = JB_UNSET, .has_devices = true};
    uint64_t node = jb_held_number('c', 195, gpu);
    (void)snprintf(h.id.text, sizeof(h.id.text), "01ARZ3NDEKTSV4RRFFQ69G5F%02zu", w->ledger.len);
    (void)snprintf(h.name, sizeof(h.name), "%s", job);
    assert_int_equal(jb_cpus_parse(cpus, &h.cpus), 0);
    h.held = h.cpus;
    assert_int_equal(jb_ledger_add(&w->ledger, &h), 0);
    assert_int_equal(jb_held_add(&w->held, name, exclusive, &node, 1), 0);
    w->held.items[w->held.len - 1].box = w->ledger.len - 1;
}

static int place(struct world *w, const char *resources, struct jb_grant *grant, struct jb_devices **ret,
                 struct jb_error *err)
{
    struct jb_request request;
    struct jb_diags diags = {0};
    jb_autofree char *yaml = jb_asprintf("version: 1\ncommand: [a]\nresources: { %s }\n", resources);
    jb_spec_free(w->spec);
    w->spec = NULL;
    if (jb_spec_parse("job.yaml", yaml, strlen(yaml), &w->spec, &diags) < 0)
        fail_msg("%s", jb_diags_format(&diags));
    const struct jb_devices_input in = {
        .spec = w->spec,
        .site = w->site,
        .machine = &w->machine,
        .ledger = &w->ledger,
        .held = &w->held,
        .facts = &w->facts,
        .userns = w->userns,
    };
    request = (struct jb_request){
        .cpus = w->spec->resources.cpus == JB_UNSET ? 1 : w->spec->resources.cpus,
        .locality = w->spec->resources.locality,
        .strict = w->spec->resources.strict,
        .cpu_set_said = w->spec->resources.cpu_set_said,
        .cpu_set = w->spec->resources.cpu_set,
        .exclusive = true,
        .memory = JB_UNSET,
    };
    return jb_devices_place(&in, &request, grant, ret, err);
}

/* What is granted must be these names and CPUs ("" : whichever). */
static void grants(struct world *w, const char *resources, const char *names, const char *cpus)
{
    struct jb_error err = {0};
    struct jb_grant grant;
    jb_autodevices struct jb_devices *d = NULL;
    jb_autobuf struct jb_buf got = {0};
    assert_ok(place(w, resources, &grant, &d, &err), &err);
    assert_non_null(d);
    assert_int_equal(jb_buf_puts(&got, ""), 0);
    for (size_t i = 0; i < d->len; i++)
        assert_int_equal(jb_buf_printf(&got, "%s%s", i ? " " : "", d->items[i].name), 0);
    assert_string_equal(got.data, names);
    jb_autofree char *list = jb_cpus_list(&grant.cpus);
    if (*cpus)
        assert_string_equal(list, cpus);
}

static void refuses(struct world *w, const char *resources, int r, const char *part)
{
    struct jb_error err = {0};
    struct jb_grant grant;
    struct jb_devices *d = NULL;
    int got = place(w, resources, &grant, &d, &err);
    if (got != r)
        fail_msg("%d instead of %d: %s", got, r, err.text);
    assert_null(d);
    assert_contains(err.text, part);
    assert_null(strchr(err.text, '\n'));
}

static void without_devices_it_is_placement_alone(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    struct jb_grant grant;
    struct jb_devices *d = NULL;
    assert_ok(place(w, "cpus: 2", &grant, &d, &err), &err);
    assert_null(d);
    jb_autofree char *list = jb_cpus_list(&grant.cpus);
    assert_string_equal(list, "0-1");
}

static void names(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 3, "");
    test_write(w->tmp, "etc/notes.txt", "not: cdi\n");
    test_write(w->tmp, "etc/.hidden.yaml", "not: cdi\n");
    grants(w, "devices: [vendor.com/gpu=gpu1]", "vendor.com/gpu=gpu1", "");
    grants(w, "devices: [vendor.com/gpu=gpu2, vendor.com/gpu=gpu0]",
           "vendor.com/gpu=gpu2 vendor.com/gpu=gpu0", "");
    grants(w, "devices: [vendor.com/gpu=all]", "vendor.com/gpu=gpu0 vendor.com/gpu=gpu1 vendor.com/gpu=gpu2",
           "");
    refuses(w, "devices: [vendor.com/gpu=gpu7]", -ENODEV, "of vendor.com/gpu there are gpu0, gpu1, gpu2");
    refuses(w, "devices: [vendor.com/gpu=gpu7]", -ENODEV, "job.yaml:3:14: resources.devices: ");
    refuses(w, "devices: [vendor.com/fpga=1]", -ENODEV, "defines a device of vendor.com/fpga");
    refuses(w, "devices: [vendor.com/fpga=all]", -ENODEV, "defines a device of vendor.com/fpga");
    w->where[1] = -2;
    refuses(w, "devices: [vendor.com/gpu=gpu1]", -ENODEV, "/dev/gpu1 is not on this host");
    grants(w, "devices: [vendor.com/gpu=all]", "vendor.com/gpu=gpu0 vendor.com/gpu=gpu2", "");
}

/* A number is a count only where no device has that name; the long form is always one. */
static void numbers_that_are_names(void **state)
{
    struct world *w = *state;
    test_write(w->tmp, "etc/n.json",
               "{\"cdiVersion\":\"0.5.0\",\"kind\":\"vendor.com/gpu\",\"devices\":["
               "{\"name\":\"0\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/gpu0\"}]}},"
               "{\"name\":\"1\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/gpu1\"}]}},"
               "{\"name\":\"10\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/gpu10\"}]}}]}");
    grants(w, "devices: [vendor.com/gpu=1]", "vendor.com/gpu=1", "");
    grants(w, "devices: [ { class: vendor.com/gpu, count: 1 } ]", "vendor.com/gpu=0", "");
    grants(w, "devices: [vendor.com/gpu=2]", "vendor.com/gpu=0 vendor.com/gpu=1", "");
    grants(w, "devices: [vendor.com/gpu=3]", "vendor.com/gpu=0 vendor.com/gpu=1 vendor.com/gpu=10", "");
    refuses(w, "devices: [vendor.com/gpu=4]", -ERANGE, "this host has 3 of vendor.com/gpu, 4 are wanted");
    refuses(w, "devices: [vendor.com/gpu=5000]", -ENODEV, "of vendor.com/gpu there are 0, 1, 10");
    grants(w, "devices: [vendor.com/gpu=0, { class: vendor.com/gpu, count: 2 }]",
           "vendor.com/gpu=0 vendor.com/gpu=1 vendor.com/gpu=10", "");
    refuses(w, "devices: [vendor.com/gpu=0, { class: vendor.com/gpu, count: 3 }]", -EBUSY,
            "not enough beside");
}

static void later_folders_win(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 2, "");
    test_write(w->tmp, "run/over.yaml",
               "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices:\n"
               "  - { name: gpu0, containerEdits: { env: [RUN=yes] } }\n");
    struct jb_error err = {0};
    struct jb_grant grant;
    jb_autodevices struct jb_devices *d = NULL;
    assert_ok(place(w, "devices: [vendor.com/gpu=all]", &grant, &d, &err), &err);
    assert_int_equal(d->len, 2);
    assert_int_equal(d->n_nodes, 1);
    assert_string_equal(d->nodes[0].path, "/dev/gpu1");
    assert_string_equal(d->env.items[0], "RUN=yes");
    gpus(w, "etc/twice.yaml", 1, ""); /* hidden by the one in run/ */
    grants(w, "devices: [vendor.com/gpu=gpu0]", "vendor.com/gpu=gpu0", "");
    gpus(w, "run/twice.yaml", 1, "");
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EEXIST, "of the same folder");
}

static void broken_files(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 1, "");
    test_write(w->tmp, "etc/other.yaml", "cdiVersion: 0.6.0\nkind: vendor.com/other\ndevices: none\n");
    grants(w, "devices: [vendor.com/gpu=gpu0]", "vendor.com/gpu=gpu0", "");
    refuses(w, "devices: [vendor.com/other=a]", -EBADMSG, "etc/other.yaml:3:10: devices: is a single value");
    test_write(w->tmp, "run/unknown.json", "{ \"kind\": }");
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EBADMSG, "run/unknown.json:1:1");
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EBADMSG, "(and 2 more faults in this file)");
}

static void files_of_others(void **state)
{
    struct world *w = *state;
    jb_autofree char *file = jb_asprintf("%s/etc/vendor.yaml", w->tmp);
    jb_autofree char *dir = jb_asprintf("%s/etc", w->tmp);
    gpus(w, "etc/vendor.yaml", 1, "");
    assert_int_equal(chmod(file, 0666), 0);
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EPERM, "can be written by others");
    assert_int_equal(chmod(file, 0644), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EPERM, "can be written by others");
    assert_int_equal(chmod(dir, 0755), 0);
    if (chown(file, 1234, 0) < 0) { /* root of a box cannot either */
        assert_int_equal(errno, EPERM);
        print_message("the owner is not tested: needs the right to give files away\n");
        return;
    }
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EPERM, "belongs to uid 1234");
}

static void plain_nodes(void **state)
{
    struct world *w = *state;
    refuses(w, "devices: [/dev/fuse]", -EPERM, "devices.allow");
    assert_int_equal(jb_strv_add(&w->site->devices.allow, "/dev/f*"), 0);
    assert_int_equal(jb_strv_add(&w->site->devices.allow, "/dev/s?a"), 0);
    grants(w, "devices: [/dev/fuse]", "/dev/fuse", "");
    grants(w, "devices: [/dev/sda]", "/dev/sda", "");
    refuses(w, "devices: [/dev/f/x]", -EPERM, "devices.allow");
    refuses(w, "devices: [/dev/fog]", -ENODEV, "/dev/fog is not on this host");
    refuses(w, "devices: [/dev/folder]", -ENODEV, "is not a device node");
    struct jb_error err = {0};
    struct jb_grant grant;
    jb_autodevices struct jb_devices *d = NULL;
    assert_ok(place(w, "devices: [/dev/fuse, /dev/sda]", &grant, &d, &err), &err);
    assert_false(d->items[0].exclusive);
    assert_int_equal(d->nodes[0].type, 'c');
    assert_int_equal(d->nodes[0].mode, 0600);
    assert_int_equal(d->nodes[1].type, 'b');
    assert_string_equal(d->nodes[1].access, "rw");
    assert_true(d->nodes[1].uid == (uid_t)-1);
}

/* Counted devices are those of the node that the CPUs are on, and the CPUs go where there are enough of them. */
static void near_the_cpus(void **state)
{
    struct world *w = *state;
    const int where[] = {3, 2, 2, 1, 0};
    memcpy(w->where, where, sizeof(where));
    gpus(w, "etc/vendor.yaml", 5, "");
    grants(w, "cpu_set: \"4-5\", devices: [vendor.com/gpu=1]", "vendor.com/gpu=gpu3", "4-5");
    grants(w, "cpu_set: \"4-5\", devices: [vendor.com/gpu=2]", "vendor.com/gpu=gpu3 vendor.com/gpu=gpu4",
           "4-5");
    grants(w, "cpu_set: \"0-1\", devices: [vendor.com/gpu=3]",
           "vendor.com/gpu=gpu0 vendor.com/gpu=gpu3 vendor.com/gpu=gpu4", "0-1");
    grants(w, "cpus: 2, devices: [vendor.com/gpu=2]", "vendor.com/gpu=gpu1 vendor.com/gpu=gpu2", "8-9");
    grants(w, "cpus: 2, devices: [vendor.com/gpu=gpu0]", "vendor.com/gpu=gpu0", "12-13");
    grants(w, "cpus: 2, devices: [vendor.com/gpu=gpu3]", "vendor.com/gpu=gpu3", "4-5");
    grants(w, "cpus: 2, devices: [vendor.com/gpu=1]", "vendor.com/gpu=gpu4", "0-1");
    grants(w, "cpus: 16, devices: [vendor.com/gpu=1]", "vendor.com/gpu=gpu0", "0-15");
    /* five cores need two nodes anyhow; they do not spread over two packages for the sake of a device */
    grants(w, "cpus: 5, devices: [vendor.com/gpu=gpu0]", "vendor.com/gpu=gpu0", "");
    held_by(w, "train", "8-10", "vendor.com/gpu=gpu1", true, 1);
    grants(w, "cpus: 1, devices: [vendor.com/gpu=gpu2]", "vendor.com/gpu=gpu2", "11");
    grants(w, "cpus: 2, devices: [vendor.com/gpu=gpu2]", "vendor.com/gpu=gpu2", "");
    grants(w, "cpus: 1, devices: [vendor.com/gpu=2]", "vendor.com/gpu=gpu0 vendor.com/gpu=gpu2", "11");
}

static void nowhere_in_particular(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 12, "");
    grants(w, "cpus: 1, devices: [vendor.com/gpu=3]",
           "vendor.com/gpu=gpu0 vendor.com/gpu=gpu1 vendor.com/gpu=gpu2", "0");
    w->where[11] = 3; /* no nearer to CPUs of its node than one that is near to all */
    grants(w, "cpu_set: \"15\", devices: [vendor.com/gpu=1]", "vendor.com/gpu=gpu0", "15");
    for (int i = 0; i < 10; i++)
        w->where[i] = 0;
    grants(w, "cpu_set: \"15\", devices: [vendor.com/gpu=2]", "vendor.com/gpu=gpu10 vendor.com/gpu=gpu11",
           "15");
}

static void taken(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 3,
         "  - name: serial-1\n    containerEdits: { deviceNodes: [ { path: /dev/gpu1 } ] }\n"
         "  - name: both\n    containerEdits: { deviceNodes: [ { path: /dev/gpu1 }, { path: /dev/gpu2 } ] "
         "}\n");
    held_by(w, "train", "0", "vendor.com/gpu=gpu1", true, 1);
    refuses(w, "devices: [vendor.com/gpu=gpu1]", -EBUSY,
            "vendor.com/gpu=gpu1 is taken: held by 01ARZ3NDEKTS (train, uid 1000)");
    refuses(w, "devices: [vendor.com/gpu=serial-1]", -EBUSY, "is taken as vendor.com/gpu=gpu1: held by");
    refuses(w, "devices: [vendor.com/gpu=both]", -EBUSY, "is taken as vendor.com/gpu=gpu1");
    refuses(w, "devices: [vendor.com/gpu=all]", -EBUSY, "gpu1");
    grants(w, "devices: [vendor.com/gpu=2]", "vendor.com/gpu=gpu0 vendor.com/gpu=gpu2", "");
    refuses(w, "devices: [vendor.com/gpu=3]", -EBUSY, "2 of vendor.com/gpu are free, 3 are wanted");
    refuses(w, "devices: [vendor.com/gpu=3]", -EBUSY,
            "vendor.com/gpu=gpu1 by 01ARZ3NDEKTS (train, uid 1000)");
    refuses(w, "devices: [vendor.com/gpu=4]", -ERANGE, "this host has 3");
    assert_int_equal(jb_strv_add(&w->site->devices.allow, "/dev/gpu*"), 0);
    refuses(w, "devices: [/dev/gpu1]", -EBUSY, "is taken as vendor.com/gpu=gpu1");
    grants(w, "devices: [/dev/gpu2]", "/dev/gpu2", "");
}

static void shared(void **state)
{
    struct world *w = *state;
    gpus(w, "etc/vendor.yaml", 2, "");
    assert_int_equal(jb_strv_add(&w->site->devices.shared, "vendor.com/gpu=*0"), 0);
    held_by(w, "train", "0", "vendor.com/gpu=gpu0", false, 0);
    grants(w, "devices: [vendor.com/gpu=gpu0]", "vendor.com/gpu=gpu0", "");
    jb_strv_free(&w->site->devices.shared); /* now it would be held alone, and somebody has it */
    refuses(w, "devices: [vendor.com/gpu=gpu0]", -EBUSY, "is taken");
    assert_int_equal(jb_strv_add(&w->site->devices.allow, "/dev/gpu1"), 0);
    assert_int_equal(jb_strv_add(&w->site->devices.exclusive, "/dev/gpu1"), 0);
    held_by(w, "other", "1", "/dev/gpu1", true, 1);
    refuses(w, "devices: [/dev/gpu1]", -EBUSY, "is taken");
    refuses(w, "devices: [vendor.com/gpu=gpu1]", -EBUSY, "is taken as /dev/gpu1");
}

static void what_a_device_brings(void **state)
{
    struct world *w = *state;
    test_write(
        w->tmp, "etc/v.yaml",
        "cdiVersion: 0.7.0\nkind: vendor.com/gpu\n"
        "containerEdits: { env: [ALL=1, ONE=0], deviceNodes: [ { path: /dev/vendorctl } ], additionalGids: "
        "[0, 44] }\n"
        "devices:\n"
        "  - name: a\n    containerEdits:\n"
        "      env: [ONE=1]\n      additionalGids: [44, 45]\n"
        "      mounts: [ { hostPath: /usr/lib/v, containerPath: /opt/v, options: [ro, noexec] } ]\n"
        "      deviceNodes:\n"
        "        - { path: /dev/x, hostPath: /dev/gpu0, fileMode: 0o444, uid: 7, permissions: r }\n"
        "        - { path: /dev/null }\n"
        "        - { path: /dev/y, type: b, major: 7, minor: 9 }\n"
        "  - name: b\n    containerEdits: { deviceNodes: [ { path: /dev/x, hostPath: /dev/gpu0, permissions: "
        "wm } ] }\n"
        "  - name: c\n    containerEdits: { deviceNodes: [ { path: /dev/x, hostPath: /dev/gpu1 } ] }\n"
        "  - name: d\n    containerEdits: { deviceNodes: [ { path: /etc/x, hostPath: /dev/gpu1 } ] }\n"
        "  - name: e\n    containerEdits: { deviceNodes: [ { path: /dev/zero, hostPath: /dev/gpu1 } ] }\n"
        "  - name: f\n    containerEdits: { deviceNodes: [ { path: /dev/pts/9, hostPath: /dev/gpu1 } ] }\n"
        "  - name: g\n    containerEdits: { deviceNodes: [ { path: /dev/x, hostPath: /dev/sda, type: c } ] "
        "}\n"
        "  - name: h\n    containerEdits: { intelRdt: { closID: x } }\n"
        "  - name: i\n    containerEdits: { netDevices: [] }\n"
        "  - name: j\n    containerEdits: { hooks: [ { hookName: createContainer, path: /bin/h } ] }\n"
        "  - name: k\n    containerEdits: { hooks: [ { hookName: poststop, path: /bin/h } ] }\n");
    struct jb_error err = {0};
    struct jb_grant grant;
    jb_autodevices struct jb_devices *d = NULL;
    int r = place(w, "devices: [vendor.com/gpu=a, vendor.com/gpu=b]", &grant, &d, &err);
    assert_int_equal(r, -ENODEV); /* /dev/null is not among our facts */
    assert_contains(err.text, "/dev/null");
    refuses(w, "devices: [vendor.com/gpu=b, vendor.com/gpu=c]", -EINVAL, "of this path and another number");
    refuses(w, "devices: [vendor.com/gpu=d]", -EINVAL, "v.yaml:19:38: a node can only be made below /dev");
    refuses(w, "devices: [vendor.com/gpu=e]", -EINVAL, "that every box has");
    refuses(w, "devices: [vendor.com/gpu=f]", -EINVAL, "below /dev");
    refuses(w, "devices: [vendor.com/gpu=g]", -EINVAL, "of another type");
    refuses(w, "devices: [vendor.com/gpu=h]", -ENOTSUP, "intelRdt");
    refuses(w, "devices: [vendor.com/gpu=i]", -ENOTSUP, "netDevices");
    refuses(w, "devices: [vendor.com/gpu=j]", -EPERM, "hooks: allow");
    w->site->devices.hooks = JB_SITE_HOOKS_ALLOW;
    refuses(w, "devices: [vendor.com/gpu=k]", -ENOTSUP, "a poststop hook");
    assert_ok(place(w, "devices: [vendor.com/gpu=j]", &grant, &d, &err), &err);
    assert_int_equal(d->n_hooks, 1);
    assert_string_equal(d->hooks[0].argv[0], "/bin/h");
    assert_null(d->hooks[0].argv[1]);
    assert_null(d->hooks[0].envp[0]);
    w->userns = true;
    refuses(w, "devices: [vendor.com/gpu=j]", -ENOTSUP, "without privilege jobbox runs none");
}

static void edits_are_merged(void **state)
{
    struct world *w = *state;
    test_write(w->tmp, "etc/v.yaml",
               "cdiVersion: 0.7.0\nkind: vendor.com/gpu\n"
               "containerEdits: { env: [ALL=1, ONE=0], deviceNodes: [ { path: /dev/vendorctl } ], "
               "additionalGids: [0, 44] }\n"
               "devices:\n"
               "  - name: a\n    containerEdits:\n"
               "      env: [ONE=1]\n      additionalGids: [44, 45]\n"
               "      mounts: [ { hostPath: /usr/lib/v, containerPath: /opt/v, options: [ro, noexec] } ]\n"
               "      deviceNodes:\n"
               "        - { path: /dev/x, hostPath: /dev/gpu0, fileMode: 0o444, uid: 7, permissions: r }\n"
               "        - { path: /dev/null, type: c, major: 1, minor: 3 }\n"
               "        - { path: /dev/y, type: b, major: 7, minor: 9 }\n"
               "  - name: b\n    containerEdits: { deviceNodes: [ { path: /dev/x, hostPath: /dev/gpu0, "
               "permissions: mw } ] }\n");
    struct jb_error err = {0};
    struct jb_grant grant;
    jb_autodevices struct jb_devices *d = NULL;
    assert_ok(place(w, "devices: [vendor.com/gpu=a, vendor.com/gpu=b]", &grant, &d, &err), &err);
    assert_int_equal(d->n_nodes, 3); /* vendorctl, x once, y; the box has its own null */
    assert_string_equal(d->nodes[0].path, "/dev/vendorctl");
    assert_string_equal(d->nodes[1].access, "rwm");
    assert_int_equal(d->nodes[1].mode, 0444);
    assert_int_equal(d->nodes[1].uid, 7);
    assert_int_equal(d->nodes[2].type, 'b');
    assert_int_equal(d->nodes[2].major, 7);
    assert_int_equal(d->nodes[2].mode, 0660);
    assert_int_equal(d->env.len, 2);
    assert_string_equal(jb_env_get(&d->env, "ONE"), "1");
    assert_int_equal(d->n_gids, 2);
    assert_int_equal(d->n_mounts, 1);
    assert_true(d->mounts[0].read_only && d->mounts[0].no_exec && !d->mounts[0].recursive);
    assert_int_equal(d->held.len, 2);
    assert_int_equal(d->held.items[0].n_nodes, 3);
    w->userns = true; /* what cannot be made must be there, as the file says it is */
    refuses(w, "devices: [vendor.com/gpu=a]", -ENODEV, "/dev/null is not on this host");
}

/* Files laid out as /sys/dev. */
static void sysfs(void **state)
{
    struct world *w = *state;
    struct jb_kdir dir = {.fd = open(w->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct jb_cpus cpus;
    int node;
    test_write(w->tmp, "char/195:0/device/numa_node", "2\n");
    test_write(w->tmp, "char/195:0/device/local_cpulist", "8-11\n");
    test_write(w->tmp, "char/195:1/device/numa_node", "-1\n");
    test_write(w->tmp, "char/195:1/device/local_cpulist", "0-15\n");
    test_write(w->tmp, "block/259:0/device/model", "disk\n");
    test_write(w->tmp, "block/259:0/device/device/numa_node", "1\n");
    test_write(w->tmp, "char/195:2/device/numa_node", "many\n");
    test_write(w->tmp, "char/195:3/device/numa_node", "3\n");
    test_write(w->tmp, "char/195:3/device/local_cpulist", "x\n");
    assert_int_equal(jb_locality_read(&dir, 'c', 195, 0, &node, &cpus), 0);
    assert_int_equal(node, 2);
    assert_int_equal(jb_cpus_count(&cpus), 4);
    assert_int_equal(jb_locality_read(&dir, 'c', 195, 1, &node, &cpus), -ENODATA);
    assert_int_equal(jb_locality_read(&dir, 'b', 259, 0, &node, &cpus), 0);
    assert_int_equal(node, 1);
    assert_true(jb_cpus_empty(&cpus));
    assert_int_equal(jb_locality_read(&dir, 'c', 195, 2, &node, &cpus), -ENODATA);
    assert_int_equal(jb_locality_read(&dir, 'c', 195, 3, &node, &cpus), 0);
    assert_true(node == 3 && jb_cpus_empty(&cpus));
    assert_int_equal(jb_locality_read(&dir, 'c', 10, 229, &node, &cpus), -ENODATA);
    jb_kdir_close(&dir);
}

#define with_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_world(without_devices_it_is_placement_alone),
        with_world(names),
        with_world(numbers_that_are_names),
        with_world(later_folders_win),
        with_world(broken_files),
        with_world(files_of_others),
        with_world(plain_nodes),
        with_world(near_the_cpus),
        with_world(nowhere_in_particular),
        with_world(taken),
        with_world(shared),
        with_world(what_a_device_brings),
        with_world(edits_are_merged),
        with_world(sysfs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
