/*
 * test_plan_fs.c - the mount operations of a plan: what of the host is shown, hidden, covered, and what may be bound.
 */
#include "plan_fixture.h"

#include <errno.h>

static size_t index_of(const struct jb_plan *plan, enum jb_op_kind kind, const char *target)
{
    const struct jb_op *op = fixture_op(plan, kind, target);
    if (!op)
        fail_msg("no %s %s", jb_op_name(kind), target ? target : "");
    return (size_t)(op - plan->ops);
}

static void host_mounts_by_type(void **state)
{
    struct fixture *f = *state;
    fixture_mount(f, "/home", "xfs", 8, 16);
    fixture_mount(f, "/data", "nfs4", 0, 50);
    fixture_mount(f, "/usr/share/x", "squashfs", 7, 0);
    fixture_mount(f, "/weird", "newkernelfs", 0, 60); /* not known: stays out */
    fixture_mount(f, "/sys/fs/cgroup", "cgroup2", 0, 61);
    fixture_mount(f, "/dev/shm", "tmpfs", 0, 62);
    fixture_mount(f, "/run/user/1000", "tmpfs", 0, 63);
    fixture_mount(f, "/tmp", "ext4", 8, 17);
    fixture_mount(f, "/var/tmp/x", "ext4", 8, 18);
    fixture_mount(f, "/var/lib/jobbox", "ext4", 8, 19);
    fixture_mount(f, "/var/lib/jobbox/images/a", "squashfs", 7, 1);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    const struct jb_op *home = fixture_op(plan, JB_OP_OVERLAY, "/home");
    assert_non_null(home);
    assert_string_equal(home->source, "/home");
    assert_true(home->flags & JB_OPF_OPTIONAL);
    assert_true(home->flags & JB_OPF_OR_RO_BIND);
    const struct jb_op *data = fixture_op(plan, JB_OP_BIND, "/data");
    assert_non_null(data);
    assert_false(data->flags & JB_OPF_RW);
    assert_non_null(fixture_op(plan, JB_OP_OVERLAY, "/usr/share/x"));
    static const char *const hidden[] = {
        "/weird",          "/sys/fs/cgroup",           "/dev/shm", "/run/user/1000", "/tmp", "/var/tmp/x",
        "/var/lib/jobbox", "/var/lib/jobbox/images/a", "/",        "/proc"};
    for (size_t i = 0; i < JB_ARRAY_LEN(hidden); i++) {
        assert_null(fixture_op(plan, JB_OP_OVERLAY, hidden[i]));
        assert_null(fixture_op(plan, JB_OP_BIND, hidden[i]));
    }
    /* other people's records and logs are not shown either */
    assert_non_null(fixture_op(plan, JB_OP_MASK_DIR, "/var/lib/jobbox"));
}

static void covered_mounts_are_not_shown(void **state)
{
    struct fixture *f = *state;
    fixture_mount(f, "/a", "ext4", 8, 1);
    fixture_mount(f, "/a/b", "ext4", 8, 2);
    fixture_mount(f, "/a2", "ext4", 8, 3);
    fixture_mount(f, "/a", "xfs", 8, 4); /* over both: what is below cannot be seen on the host */
    fixture_mount(f, "/a/c", "ext4", 8, 5);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    size_t shown = 0;
    for (size_t i = 0; i < plan->n_ops; i++)
        shown += plan->ops[i].kind == JB_OP_OVERLAY;
    assert_int_equal(shown, 3);
    assert_null(fixture_op(plan, JB_OP_OVERLAY, "/a/b"));
    assert_true(index_of(plan, JB_OP_OVERLAY, "/a2") < index_of(plan, JB_OP_OVERLAY, "/a"));
    assert_true(index_of(plan, JB_OP_OVERLAY, "/a") < index_of(plan, JB_OP_OVERLAY, "/a/c"));
}

static void an_image_shows_nothing_of_the_host(void **state)
{
    struct fixture *f = *state;
    fixture_mount(f, "/home", "xfs", 8, 16);
    fixture_image_dir(f, "/images/a");
    assert_int_equal(jb_strv_add(&f->site->host_image.hide, "/root"), 0);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    const struct jb_op *root = fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL);
    assert_string_equal(root->source, "/images/a");
    assert_true(root->flags & JB_OPF_AS_SUBMITTER);
    assert_null(fixture_op(plan, JB_OP_OVERLAY, NULL));
    assert_null(fixture_op(plan, JB_OP_BIND, NULL));
    assert_null(fixture_op(plan, JB_OP_MASK_DIR, "/root"));
}

static void masks_and_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(jb_strv_add(&f->site->host_image.hide, "/root"), 0);
    assert_int_equal(jb_strv_add(&f->host.mask_files, "/proc/kcore"), 0);
    assert_int_equal(jb_strv_add(&f->host.mask_dirs, "/sys/firmware"), 0);
    assert_int_equal(jb_strv_add(&f->host.readonly_paths, "/proc/sys"), 0);
    fixture_spec(f, "version: 1\nscript: x\nworkdir: /w\nmounts:\n  - { source: /srv, target: /srv }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    size_t root = index_of(plan, JB_OP_ROOT_OVERLAY, NULL);
    size_t proc = index_of(plan, JB_OP_PROC, "/proc");
    size_t dev = index_of(plan, JB_OP_DEV, "/dev");
    size_t mask = index_of(plan, JB_OP_MASK_FILE, "/proc/kcore");
    size_t bind = index_of(plan, JB_OP_BIND, "/srv");
    size_t dir = index_of(plan, JB_OP_DIR, "/w");
    size_t script = index_of(plan, JB_OP_FILE, "/run/jobbox/script");
    assert_int_equal(plan->ops[0].kind, JB_OP_SCRATCH_TMPFS);
    assert_true(root < index_of(plan, JB_OP_MASK_DIR, "/root"));
    assert_true(root < proc && proc < mask);
    assert_true(dev < mask); /* the cover is the box's own /dev/null */
    assert_true(proc < index_of(plan, JB_OP_READONLY, "/proc/sys"));
    assert_true(index_of(plan, JB_OP_SYSFS, "/sys") < index_of(plan, JB_OP_MASK_DIR, "/sys/firmware"));
    assert_true(mask < bind && bind < dir && dir < script);
    assert_true(index_of(plan, JB_OP_SCRATCH_BIND, "/run") < script);
    assert_int_equal(plan->ops[plan->n_ops - 1].kind, JB_OP_PIVOT);
    assert_null(fixture_op(plan, JB_OP_SCRATCH_BIND, "/work")); /* only without a workdir of the spec */
}

static void system_places(void **state)
{
    struct fixture *f = *state;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(fixture_op(plan, JB_OP_SCRATCH_BIND, "/tmp")->mode, 01777);
    assert_int_equal(fixture_op(plan, JB_OP_SCRATCH_BIND, "/run")->mode, 0755);
    const struct jb_op *work = fixture_op(plan, JB_OP_SCRATCH_BIND, "/work");
    assert_non_null(work);
    assert_true(work->flags & JB_OPF_JOB_OWNED);
    assert_string_equal(plan->workdir, "/work");
    struct fixture *user = fixture_new(false);
    fixture_spec(user, SPEC "network: host\n"); /* a user namespace may not mount the host's sysfs */
    jb_autoplan struct jb_plan *bound = fixture_plan(user);
    const struct jb_op *sys = fixture_op(bound, JB_OP_BIND, "/sys");
    assert_non_null(sys);
    assert_false(sys->flags & JB_OPF_RW);
    assert_null(fixture_op(bound, JB_OP_SYSFS, NULL));
    fixture_free(user);
}

static void binds_as_asked(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "mounts:\n"
                         "  - { source: data//sets/, target: /data }\n"
                         "  - { source: /srv/out, target: /out, mode: rw }\n"
                         "  - { tmpfs: 4MiB, target: /fast }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    const struct jb_op *data = fixture_op(plan, JB_OP_BIND, "/data");
    assert_contains(data->source, "/home/ann/project/data/sets"); /* a trailing slash is kept or not */
    assert_false(data->flags & JB_OPF_RW);
    assert_true(data->flags & JB_OPF_AS_SUBMITTER);
    assert_false(data->flags & JB_OPF_OPTIONAL);
    const struct jb_op *out = fixture_op(plan, JB_OP_BIND, "/out");
    assert_true(out->flags & JB_OPF_RW);
    const struct jb_op *fast = fixture_op(plan, JB_OP_TMPFS, "/fast");
    assert_int_equal(fast->bytes, 4 << 20);
    assert_int_equal(fast->mode, 01777);
}

static void dotdot_is_refused_in_host_paths(void **state)
{
    struct fixture *f = *state;
    static const char *const specs[] = {
        SPEC "stdout: ../../etc/cron.d/x\n",
        SPEC "stderr: logs/../../x\n",
        SPEC "stdin: ../in\n",
        SPEC "mounts:\n  - { source: ../secret, target: /data }\n",
        SPEC "artifacts:\n  - { path: a, to: ../out/ }\n",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(specs); i++) {
        struct jb_diags diags = {0};
        struct jb_spec *spec = NULL;
        if (jb_spec_parse("job.yaml", specs[i], strlen(specs[i]), &spec, &diags) < 0) {
            jb_autofree char *text = jb_diags_format(&diags); /* the parser says so already */
            assert_contains(text, "job.yaml:");
            assert_contains(text, "..");
            jb_diags_free(&diags);
            continue;
        }
        f->in.spec = spec;
        fixture_refused(f, -EINVAL, "\"..\" is not taken in host paths");
        fixture_refused(f, -EINVAL, "job.yaml:"); /* and where */
        jb_spec_free(spec);
    }
}

static void nobody_binds_what_is_denied(void **state)
{
    struct fixture *f = *state;
    f->site->binds.any = true;
    assert_int_equal(jb_strv_add(&f->site->binds.deny, "/srv/secret"), 0);
    static const struct {
        const char *source;
        const char *why;
    } cases[] = {
        {"/srv/secret", "the site keeps it out of boxes"},
        {"/srv/secret/a/b", "the site keeps it out of boxes"},
        {"//srv/./secret//", "the site keeps it out of boxes"},
        {"/var/lib/jobbox/journal", "it belongs to jobbox"},
        {"/run/jobbox/boxes", NULL}, /* which of the two says so depends on the default deny list */
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        jb_autofree char *yaml =
            jb_asprintf(SPEC "mounts:\n  - { source: \"%s\", target: /data }\n", cases[i].source);
        fixture_spec(f, yaml);
        fixture_refused(f, -EPERM, "job.yaml:4:");
        fixture_refused(f, -EPERM, cases[i].why ? cases[i].why : "may not be bound");
    }
    fixture_spec(f, SPEC "mounts:\n  - { source: /srv/secret2, target: /data }\n");
    jb_plan_free(fixture_plan(f));
    fixture_spec(f, SPEC "mounts:\n  - { source: /srv, target: /data }\n"); /* the way around */
    fixture_refused(f, -EPERM, "it holds what the site keeps out of boxes");
    fixture_spec(f, SPEC "mounts:\n  - { source: /var/lib, target: /data, mode: rw }\n");
    fixture_refused(f, -EPERM, "it holds a folder that belongs to jobbox");
}

static void users_bind_what_the_site_lists(void **state)
{
    struct fixture *f = *state;
    f->site->binds.any = false;
    f->site->binds.allow = calloc(2, sizeof(*f->site->binds.allow));
    assert_non_null(f->site->binds.allow);
    f->site->binds.allow[0] = (struct jb_bind_rule){.path = strdup("/scratch"), .rw = true};
    f->site->binds.allow[1] = (struct jb_bind_rule){.path = strdup("/sets")};
    f->site->binds.n_allow = 2;
    static const struct {
        const char *source, *mode, *error;
    } cases[] = {
        {"/scratch", "rw", NULL},
        {"/scratch/ann", "rw", NULL},
        {"/scratch2", "ro", "it is not among the folders the site allows"},
        {"/sets/a", "ro", NULL},
        {"/sets/a", "rw", "the site allows it read-only; write mode: ro"},
        {"/", "ro", "may not be bound"},
        {"here", "ro", "it is not among the folders the site allows"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        jb_autofree char *yaml = jb_asprintf(SPEC "mounts:\n  - { source: %s, target: /data, mode: %s }\n",
                                             cases[i].source, cases[i].mode);
        fixture_spec(f, yaml);
        if (cases[i].error)
            fixture_refused(f, -EPERM, cases[i].error);
        else
            jb_plan_free(fixture_plan(f));
    }
    for (size_t i = 0; i < 2; i++)
        free(f->site->binds.allow[i].path);
    f->site->binds.n_allow = 0; /* a site that lists nothing allows nothing */
    fixture_spec(f, SPEC "mounts:\n  - { source: /scratch, target: /data }\n");
    fixture_refused(f, -EPERM, "/scratch may not be bound");
}

static void scratch_on_disk(void **state)
{
    struct fixture *f = *state;
    f->site->scratch_backend = JB_SCRATCH_DISK;
    fixture_spec(f, SPEC "resources: { scratch: 1GiB }\n");
    fixture_refused(f, -ENOTSUP, "job.yaml:3:14: resources.scratch: this site keeps scratch on disk");
    fixture_spec(f, SPEC "resources: { scratch: 1GiB }\nallow_degraded: [scratch]\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->ops[0].kind, JB_OP_SCRATCH_DIR);
    assert_string_equal(plan->ops[0].source, "/var/lib/jobbox/scratch/" FIXTURE_ID);
    assert_int_equal(plan->n_degraded, 1);
    assert_int_equal(plan->degraded[0].what, JB_DEGRADE_SCRATCH);
    assert_false(plan->degraded[0].by_site);
    assert_true(jb_plan_scratch_on_disk(plan));
    assert_false(jb_plan_scratch_is_own(plan)); /* free space there is everybody's */
}

static void scratch_on_disk_with_a_cap(void **state)
{
    struct fixture *f = *state;
    f->site->scratch_backend = JB_SCRATCH_DISK;
    f->host.scratch_cap = JB_SCRATCH_CAP_LOOP;
    fixture_spec(f, SPEC "resources: { scratch: 1GiB, scratch_inodes: 5000 }\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->ops[0].kind, JB_OP_SCRATCH_LOOP);
        assert_int_equal(plan->ops[0].bytes, 1 << 30);
        assert_int_equal(plan->ops[0].inodes, 5000);
        assert_int_equal(plan->n_degraded, 0);
        assert_true(jb_plan_scratch_on_disk(plan) && jb_plan_scratch_is_own(plan));
    }
    f->host.scratch_cap = JB_SCRATCH_CAP_QUOTA;
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->ops[0].kind, JB_OP_SCRATCH_DIR);
        assert_int_equal(plan->ops[0].bytes, 1 << 30);
        assert_true(jb_plan_scratch_on_disk(plan) && jb_plan_scratch_is_own(plan));
    }
    /* a file system needs a size; a quota of files alone does not */
    f->site->scratch.deflt = JB_UNSET;
    fixture_spec(f, SPEC "resources: { scratch_inodes: 5000 }\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->ops[0].kind, JB_OP_SCRATCH_DIR);
        assert_true(plan->ops[0].bytes == JB_UNSET && plan->ops[0].inodes == 5000);
    }
    f->host.scratch_cap = JB_SCRATCH_CAP_LOOP;
    fixture_refused(f, -ENOTSUP, "without resources.scratch there is no size");
}

/* The files of a box that ended come in where it had a layer; what is of one run only stays away. */
static void over_another_box(void **state)
{
    struct fixture *f = *state;
    fixture_image_dir(f, "/images/debian");
    f->in.over = "/var/lib/jobbox/kept/X/fs";
    f->in.over_id = "X";
    struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(plan->over_id, "X");
    assert_string_equal(fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL)->over, "/var/lib/jobbox/kept/X/fs");
    assert_string_equal(fixture_op(plan, JB_OP_SCRATCH_BIND, "/tmp")->over, "/var/lib/jobbox/kept/X/fs/tmp");
    assert_string_equal(fixture_op(plan, JB_OP_SCRATCH_BIND, "/work")->over,
                        "/var/lib/jobbox/kept/X/fs/work");
    assert_null(fixture_op(plan, JB_OP_SCRATCH_BIND, "/run")->over);
    assert_null(fixture_op(plan, JB_OP_SCRATCH_BIND, "/var/tmp")->over);
    assert_null(fixture_op(plan, JB_OP_PROC, NULL)->over);
    jb_plan_free(plan);
    f->in.over = NULL;
    plan = fixture_plan(f);
    assert_null(fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL)->over);
    assert_int_equal(plan->keep, JB_KEEP_NEVER);
    jb_plan_free(plan);
    fixture_spec(f, SPEC "keep: always\n");
    plan = fixture_plan(f);
    assert_int_equal(plan->keep, JB_KEEP_ALWAYS);
    jb_plan_free(plan);
}

/* Through fuse-overlayfs the whole of a directory is shown, and all of it is the job's where there is one id. */
static void a_root_that_is_served(void **state)
{
    struct fixture *f = *state;
    fixture_image_dir(f, "/images/a");
    (void)snprintf(f->host.fuse_program, sizeof(f->host.fuse_program), "/usr/bin/fuse-overlayfs");
    (void)snprintf(f->host.root_why, sizeof(f->host.root_why), "because");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    const struct jb_op *root = fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL);
    assert_string_equal(root->source, "/images/a");
    assert_int_equal(root->flags, JB_OPF_FUSE | JB_OPF_RECURSIVE | JB_OPF_AS_SUBMITTER);
    assert_string_equal(plan->fuse.program, "/usr/bin/fuse-overlayfs");
    assert_true(plan->fuse.squash);
    assert_false(plan->composed);
    assert_string_equal(plan->root_why, "because");
    jb_autofree char *text = NULL;
    struct jb_error err = {0};
    assert_ok(jb_plan_to_text(plan, &text, &err), &err);
    assert_contains(text, "[fuse-overlayfs]");
    jb_image_free(&f->image);
    f->image = (struct jb_image){.kind = JB_IMAGE_HOST, .ref = strdup("host"), .path = strdup("/")};
    jb_autoplan struct jb_plan *host = fixture_plan(f);
    root = fixture_op(host, JB_OP_ROOT_OVERLAY, NULL);
    assert_non_null(root);
    assert_string_equal(root->source, "/");
    assert_null(fixture_op(host, JB_OP_ROOT_TMPFS, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(over_another_box, fixture_setup_root, fixture_teardown),
        as_root(host_mounts_by_type),
        as_root(covered_mounts_are_not_shown),
        as_root(an_image_shows_nothing_of_the_host),
        as_root(masks_and_order),
        as_root(system_places),
        as_root(binds_as_asked),
        as_root(dotdot_is_refused_in_host_paths),
        as_root(nobody_binds_what_is_denied),
        as_user(users_bind_what_the_site_lists),
        as_user(a_root_that_is_served),
        as_root(scratch_on_disk),
        as_root(scratch_on_disk_with_a_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
