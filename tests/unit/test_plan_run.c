/*
 * test_plan_run.c - cgroups, argv, environment, streams and artifacts of a plan.
 */
#include "plan_fixture.h"

#include <errno.h>
#include <jansson.h>

static const struct jb_cg_setting *setting(const struct jb_plan *plan, enum jb_cg_key key)
{
    for (size_t i = 0; i < plan->cgroup.n_settings; i++)
        if (plan->cgroup.settings[i].key == key)
            return &plan->cgroup.settings[i];
    return NULL;
}

static void cgroup_settings(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC
                 "resources: { memory: 64MiB, swap: 8MiB, pids: 50, cpu_limit: 1.5, cpu_weight: 200 }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(plan->cgroup.name, "jobbox-" FIXTURE_ID);
    assert_null(plan->cgroup.parent);
    assert_int_equal(setting(plan, JB_CG_MEMORY_MAX)->value, 64 << 20);
    assert_int_equal(setting(plan, JB_CG_SWAP_MAX)->value, 8 << 20);
    assert_int_equal(setting(plan, JB_CG_PIDS_MAX)->value, 50);
    assert_int_equal(setting(plan, JB_CG_CPU_MAX)->value, 150000);
    assert_int_equal(setting(plan, JB_CG_CPU_WEIGHT)->value, 200);
    assert_true(jb_cpus_equal(&setting(plan, JB_CG_CPUSET_CPUS)->set, &f->grant.cpus));
    assert_true(jb_cpus_equal(&setting(plan, JB_CG_CPUSET_MEMS)->set, &f->grant.mems));
    assert_false(plan->pin_by_affinity);
    assert_false(plan->no_cgroups);
    assert_true(plan->reserved_memory);
    assert_int_equal(plan->n_degraded, 0);
    fixture_spec(f, SPEC);
    f->site->paths.cgroup_parent = strdup("/delegated");
    jb_autoplan struct jb_plan *least = fixture_plan(f);
    assert_null(setting(least, JB_CG_MEMORY_MAX));
    assert_null(setting(least, JB_CG_SWAP_MAX));
    assert_null(setting(least, JB_CG_CPU_MAX));
    assert_false(least->cgroup.use[JB_CTL_CPU]); /* nothing to limit, nothing to count */
    assert_true(least->cgroup.use[JB_CTL_MEMORY]);
    assert_true(least->cgroup.use[JB_CTL_CPUACCT]);
    assert_string_equal(least->cgroup.parent, "/delegated");
    assert_false(least->reserved_memory);
}

static void a_partition_needs_cpusets_of_v2(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "resources: { exclusive: partition }\n");
    fixture_refused(f, -ENOTSUP, "job.yaml:3:14: resources.exclusive: a partition needs");
    fixture_refused(f, -ENOTSUP, "cpusets are v1");
    jb_cg_layout_free(&f->host.cgroups);
    fixture_controllers(f, 2);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_non_null(setting(plan, JB_CG_PARTITION));
    assert_true(setting(plan, JB_CG_PARTITION) > setting(plan, JB_CG_CPUSET_CPUS)); /* written after it */
    json_t *want = json_string("partition");
    assert_true(
        json_equal(json_object_get(json_object_get(plan->requested, "resources"), "exclusive"), want));
    json_decref(want);
    fixture_lacks(f, JB_CTL_CPUSET, "not delegated");
    f->site->allow_degraded[JB_DEGRADE_CPUSET] = true; /* no isolation comes from affinity alone */
    fixture_refused(f, -ENOTSUP, "and here not delegated");
}

static void memory_high_is_kept_on_v2_alone(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "resources: { memory: 64MiB, memory_high: 48MiB }\n");
    fixture_refused(f, -ENOTSUP, "resources.memory_high: cgroup v1 cannot");
    f->site->allow_degraded[JB_DEGRADE_MEMORY] = true;
    jb_autoplan struct jb_plan *without = fixture_plan(f);
    assert_null(setting(without, JB_CG_MEMORY_HIGH));
    assert_non_null(setting(without, JB_CG_MEMORY_MAX));
    assert_int_equal(without->n_degraded, 1);
    f->site->allow_degraded[JB_DEGRADE_MEMORY] = false;
    jb_cg_layout_free(&f->host.cgroups);
    fixture_controllers(f, 2);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(setting(plan, JB_CG_MEMORY_HIGH)->value, 48 << 20);
}

static void hugepages_need_their_controller(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC);
    jb_autoplan struct jb_plan *none = fixture_plan(f);
    assert_false(none->cgroup.use[JB_CTL_HUGETLB]); /* no group for what nobody asked for */
    fixture_spec(f, SPEC "resources: { hugepages: { 2MiB: 64MiB } }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_true(plan->cgroup.use[JB_CTL_HUGETLB]);
    assert_int_equal(setting(plan, JB_CG_HUGE_MAX)->page, 2 << 20);
    assert_int_equal(setting(plan, JB_CG_HUGE_MAX)->value, 64 << 20);
    fixture_lacks(f, JB_CTL_HUGETLB, "nobody passes it on");
    fixture_refused(f, -EACCES, "cannot limit the job's huge pages: nobody passes it on");
    f->site->allow_degraded[JB_DEGRADE_HUGEPAGES] = true;
    jb_autoplan struct jb_plan *without = fixture_plan(f);
    assert_null(setting(without, JB_CG_HUGE_MAX));
    assert_int_equal(without->n_degraded, 1);
}

/* No swap unless said: a memory limit without one is none. */
static void swap_is_zero_unless_said(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_non_null(setting(plan, JB_CG_SWAP_MAX));
    assert_int_equal(setting(plan, JB_CG_SWAP_MAX)->value, 0);
}

/* A limit that is kept by looking at a counter needs one: the v2 group's, or that of cpuacct. */
static void cpu_time_needs_a_group_that_counts(void **state)
{
    struct fixture *f = *state;
    fixture_lacks(f, JB_CTL_UNIFIED, "read-only");
    fixture_spec(f, SPEC "limits: { cpu_time: 1h }\n");
    jb_autoplan struct jb_plan *counted = fixture_plan(f); /* by cpuacct */
    assert_int_equal(counted->n_degraded, 0);
    fixture_lacks(f, JB_CTL_CPUACCT, "read-only");
    fixture_refused(f, -EACCES, "no cgroup that counts CPU time can be made here");
    f->site->allow_degraded[JB_DEGRADE_CPU] = true;
    jb_autoplan struct jb_plan *without = fixture_plan(f);
    assert_int_equal(without->n_degraded, 1);
    assert_int_equal(without->degraded[0].what, JB_DEGRADE_CPU);
    assert_contains(without->degraded[0].why, "cpu_time is not kept");
    f->site->allow_degraded[JB_DEGRADE_CPU] = false;
    fixture_spec(f, SPEC); /* nobody asked */
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 0);
}

static void all_that_is_missing_is_named_at_once(void **state)
{
    struct fixture *f = *state;
    fixture_lacks(f, JB_CTL_MEMORY, "the memory controller is read-only");
    fixture_lacks(f, JB_CTL_PIDS, "no pids here");
    fixture_lacks(f, JB_CTL_CPUSET, "cpuset is not mounted");
    fixture_lacks(f, JB_CTL_CPUACCT, "x"); /* only counts: never an error */
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\n");
    fixture_refused(f, -EACCES, "cannot pin the job to its CPUs: cpuset is not mounted");
    fixture_refused(f, -EACCES, "cannot limit the job's memory: the memory controller is read-only");
    fixture_refused(f, -EACCES, "cannot limit the number of processes: no pids here");
    fixture_refused(f, -EACCES, "allow_degraded: [cpuset, memory, pids]");
}

static void degraded_by_spec_and_by_site(void **state)
{
    struct fixture *f = *state;
    fixture_lacks(f, JB_CTL_MEMORY, "the memory controller is read-only");
    fixture_lacks(f, JB_CTL_CPUSET, "cpuset is not mounted");
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\nallow_degraded: [memory]\n");
    fixture_refused(f, -EACCES, "allow_degraded: [cpuset]"); /* only what is still missing */
    f->site->allow_degraded[JB_DEGRADE_CPUSET] = true;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 2);
    assert_int_equal(plan->degraded[0].what, JB_DEGRADE_CPUSET);
    assert_true(plan->degraded[0].by_site);
    assert_string_equal(plan->degraded[0].why, "cpuset is not mounted");
    assert_int_equal(plan->degraded[1].what, JB_DEGRADE_MEMORY);
    assert_false(plan->degraded[1].by_site);
    assert_true(plan->pin_by_affinity);
    assert_null(setting(plan, JB_CG_MEMORY_MAX));
    assert_null(setting(plan, JB_CG_CPUSET_CPUS));
    json_t *json = jb_plan_to_json(plan);
    assert_int_equal(json_array_size(json_object_get(json, "degraded")), 2);
    json_decref(json);
}

/* To be allowed to do without is no reason to do without. */
static void what_is_there_is_used(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\nallow_degraded: [memory, cpuset, pids, cpu, io]\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 0);
    assert_non_null(setting(plan, JB_CG_MEMORY_MAX));
    assert_false(plan->pin_by_affinity);
}

static void what_is_not_asked_is_not_missed(void **state)
{
    struct fixture *f = *state;
    fixture_lacks(f, JB_CTL_MEMORY, "none");
    fixture_lacks(f, JB_CTL_CPU, "none");
    fixture_lacks(f, JB_CTL_IO, "none");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 0);
    assert_false(plan->cgroup.use[JB_CTL_MEMORY]);
    fixture_spec(f, SPEC "resources: { cpu_limit: 1 }\n");
    fixture_refused(f, -EACCES, "cannot limit the job's CPU share: none");
}

static void io_limits_go_to_every_disk_once(void **state)
{
    struct fixture *f = *state;
    fixture_mount(f, "/home", "ext4", 8, 16);
    fixture_mount(f, "/again", "ext4", 8, 16);
    fixture_mount(f, "/mem", "tmpfs", 0, 40);
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB, write_bps: 2MiB } }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    static const struct jb_cg_setting want[] = {
        {.key = JB_CG_IO_RBPS, .value = 1 << 20, .major = 8, .minor = 0},
        {.key = JB_CG_IO_WBPS, .value = 2 << 20, .major = 8, .minor = 0},
        {.key = JB_CG_IO_RBPS, .value = 1 << 20, .major = 8, .minor = 16},
        {.key = JB_CG_IO_WBPS, .value = 2 << 20, .major = 8, .minor = 16},
    };
    size_t n = 0;
    for (size_t i = 0; i < plan->cgroup.n_settings; i++) {
        const struct jb_cg_setting *s = &plan->cgroup.settings[i];
        if (s->key < JB_CG_IO_RBPS)
            continue;
        assert_true(n < JB_ARRAY_LEN(want));
        assert_int_equal(s->key, want[n].key);
        assert_int_equal(s->value, want[n].value);
        assert_int_equal(s->major, want[n].major);
        assert_int_equal(s->minor, want[n].minor);
        n++;
    }
    assert_int_equal(n, JB_ARRAY_LEN(want));
}

/* A host with hundreds of file systems is served; one with more than a box can have limits for is told so. */
static void io_limits_on_many_disks(void **state)
{
    struct fixture *f = *state;
    char target[32];
    size_t n = 0;
    for (uint32_t i = 1; i < JB_CG_IO_DEVICES_MAX; i++) {
        (void)snprintf(target, sizeof(target), "/disk%u", i);
        fixture_mount(f, target, "ext4", 8, i);
    }
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB } }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    for (size_t i = 0; i < plan->cgroup.n_settings; i++)
        n += plan->cgroup.settings[i].key == JB_CG_IO_RBPS;
    assert_int_equal(n, JB_CG_IO_DEVICES_MAX);
    fixture_mount(f, "/more", "ext4", 9, 0);
    fixture_refused(f, -E2BIG, "resources.io: this host has file systems on more than 1024 disks");
}

static void io_limits_need_a_disk(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->host.mounts.len; i++)
        f->host.mounts.items[i].major = 0;
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB } }\n");
    fixture_refused(f, -ENODEV, "resources.io: no file system here lies on a disk of its own");
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB } }\nallow_degraded: [io]\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 1);
    assert_int_equal(plan->degraded[0].what, JB_DEGRADE_IO);
}

/* Where limits cannot be, the job is refused; one that does without has them on all other disks, and the record says so. */
static void io_limits_miss_no_file_system(void **state)
{
    struct fixture *f = *state;
    fixture_mount(f, "/tank", "zfs", 0, 50);
    fixture_mount(f, "/tank/home", "zfs", 0, 51);
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB } }\n");
    fixture_refused(f, -ENODEV,
                    "resources.io: nobody tells which disks zfs on /tank, zfs on /tank/home lies on");
    fixture_mount(f, "/a", "zfs", 0, 52);
    fixture_mount(f, "/b", "zfs", 0, 53);
    fixture_refused(f, -ENODEV, "zfs on /tank, zfs on /tank/home and 2 more");
    fixture_spec(f, SPEC "resources: { io: { read_bps: 1MiB } }\nallow_degraded: [io]\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_degraded, 1);
    assert_int_equal(plan->degraded[0].what, JB_DEGRADE_IO);
    assert_string_equal(plan->degraded[0].why,
                        "the disks of zfs on /tank, zfs on /tank/home and 2 more are not "
                        "known: io is not kept there");
    const struct jb_cg_setting *s = setting(plan, JB_CG_IO_RBPS);
    assert_non_null(s);
    assert_int_equal(s->major, 8);
    fixture_spec(f, SPEC); /* whoever limits nothing misses nothing */
    jb_autoplan struct jb_plan *other = fixture_plan(f);
    assert_int_equal(other->n_degraded, 0);
}

static void argv_of_scripts(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, "version: 1\nscript: |\n  a && b\n");
    jb_autoplan struct jb_plan *shell = fixture_plan(f);
    assert_int_equal(shell->argv.len, 3);
    assert_string_equal(shell->argv.items[0], "/bin/sh");
    assert_string_equal(shell->argv.items[1], "-e");
    assert_string_equal(shell->argv.items[2], "/run/jobbox/script");
    assert_string_equal(fixture_op(shell, JB_OP_FILE, "/run/jobbox/script")->text, "a && b\n");
    fixture_spec(f, "version: 1\nscript: |\n  #!/usr/bin/python3\n  pass\n");
    jb_autoplan struct jb_plan *own = fixture_plan(f);
    assert_int_equal(own->argv.len, 1);
    assert_string_equal(own->argv.items[0], "/run/jobbox/script");
    fixture_spec(f, "version: 1\ncommand: [prog, \"a b\", \"$X\"]\n");
    jb_autoplan struct jb_plan *command = fixture_plan(f);
    assert_int_equal(command->argv.len, 3);
    assert_string_equal(command->argv.items[1], "a b");
    assert_string_equal(command->argv.items[2], "$X"); /* nothing expands it */
    assert_null(fixture_op(command, JB_OP_FILE, NULL));
}

static const char *env(const struct jb_plan *plan, const char *key)
{
    return jb_env_get(&plan->env, key);
}

/* As somebody else than the submitter: by the name that the image gives, or by none. */
static void name_of_another_user(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "user: 4321:4321\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_null(env(plan, "USER"));
        assert_null(env(plan, "LOGNAME"));
    }
    f->image.has_user = true;
    f->image.uid = f->image.gid = 65534;
    fixture_spec(f, SPEC);
    static const char *const users[][2] = {
        {"nobody", "nobody"}, {"nobody:daemon", "nobody"}, {"65534", NULL}};
    for (size_t i = 0; i < JB_ARRAY_LEN(users); i++) {
        free(f->image.config.user);
        f->image.config.user = strdup(users[i][0]);
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->uid, 65534);
        if (users[i][1]) {
            assert_string_equal(env(plan, "USER"), users[i][1]);
            assert_string_equal(env(plan, "LOGNAME"), users[i][1]);
        } else {
            assert_null(env(plan, "USER"));
            assert_null(env(plan, "LOGNAME"));
        }
    }
}

static void environment_is_clean(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(env(plan, "PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_string_equal(env(plan, "HOME"), "/home/ann");
    assert_string_equal(env(plan, "USER"), "ann");
    assert_string_equal(env(plan, "TMPDIR"), "/tmp");
    assert_string_equal(env(plan, "JOBBOX_ID"), FIXTURE_ID);
    assert_string_equal(env(plan, "JOBBOX_NAME"), "job");
    assert_string_equal(env(plan, "JOBBOX_CPUS"), "4");
    assert_string_equal(env(plan, "JOBBOX_CPU_LIST"), "2-3,6-7");
    assert_string_equal(env(plan, "OMP_NUM_THREADS"), "2"); /* two whole cores of two threads */
    assert_string_equal(env(plan, "OMP_PLACES"), "cores");
    assert_string_equal(env(plan, "JOBBOX_MEMORY_BYTES"), "67108864");
    static const char *const absent[] = {"LANG", "CI_JOB", "CI_TOKEN", "EDITOR", "TERM", "ODD_NO_VALUE"};
    for (size_t i = 0; i < JB_ARRAY_LEN(absent); i++)
        assert_null(env(plan, absent[i]));
    f->grant.cores = 4; /* four threads of four cores */
    jb_autoplan struct jb_plan *threads = fixture_plan(f);
    assert_string_equal(env(threads, "OMP_NUM_THREADS"), "4");
    assert_string_equal(env(threads, "OMP_PLACES"), "threads");
}

static void later_sources_win(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(jb_strv_add(&f->site->env, "LANG=site"), 0);
    assert_int_equal(jb_strv_add(&f->site->env, "SITE=1"), 0);
    assert_int_equal(jb_strv_add(&f->site->env, "TMPDIR=/fast"), 0);
    fixture_spec(f, SPEC);
    jb_autoplan struct jb_plan *site = fixture_plan(f);
    assert_string_equal(env(site, "LANG"), "site");
    assert_string_equal(env(site, "TMPDIR"), "/fast");
    fixture_spec(f, SPEC "pass_env: [LANG]\n");
    jb_autoplan struct jb_plan *passed = fixture_plan(f);
    assert_string_equal(env(passed, "LANG"), "C.UTF-8");
    fixture_spec(f, SPEC "pass_env: [LANG]\nenv: { LANG: spec, PATH: /mine, EMPTY: \"\" }\n");
    jb_autoplan struct jb_plan *spec = fixture_plan(f);
    assert_string_equal(env(spec, "LANG"), "spec");
    assert_string_equal(env(spec, "PATH"), "/mine");
    assert_string_equal(env(spec, "EMPTY"), "");
    assert_string_equal(env(spec, "SITE"), "1");
    for (size_t i = 0; i < spec->env.len; i++) /* each key once */
        for (size_t j = i + 1; j < spec->env.len; j++)
            assert_int_not_equal(
                strncmp(spec->env.items[i], spec->env.items[j], strcspn(spec->env.items[i], "=") + 1), 0);
}

static void passed_by_name_and_prefix(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "pass_env: [\"CI_*\", EDIT]\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(env(plan, "CI_JOB"), "7");
    assert_string_equal(env(plan, "CI_TOKEN"), "s3cret");
    assert_null(env(plan, "EDITOR")); /* a name is no prefix */
    assert_null(env(plan, "EDIT"));
}

static void terminals(void **state)
{
    struct fixture *f = *state;
    f->in.tty = true;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(env(plan, "TERM"), "xterm");
    fixture_spec(f, SPEC "stdout: out\n");
    fixture_refused(f, -EINVAL, "--tty: the spec names files");
}

static void streams(void **state)
{
    struct fixture *f = *state;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->stdin_.kind, JB_STREAM_NULL);
    assert_int_equal(plan->stdout_.kind, JB_STREAM_INHERIT);
    assert_int_equal(plan->stderr_.kind, JB_STREAM_INHERIT);
    fixture_spec(
        f, "version: 1\nname: nm\ncommand: [x]\nstdin: in.txt\nstdout: logs/%n-%j-%u%%.out\nstderr: merge\n");
    jb_autoplan struct jb_plan *files = fixture_plan(f);
    assert_int_equal(files->stdin_.kind, JB_STREAM_FILE);
    assert_string_equal(files->stdin_.path, "/home/ann/project/in.txt");
    assert_string_equal(files->stdout_.path, "/home/ann/project/logs/nm-" FIXTURE_ID "-ann%.out");
    assert_int_equal(files->stderr_.kind, JB_STREAM_MERGE);
    fixture_spec(f, SPEC "stdout: /dev/null\nstderr: /var/log/x\n");
    jb_autoplan struct jb_plan *null = fixture_plan(f);
    assert_int_equal(null->stdout_.kind, JB_STREAM_NULL);
    assert_int_equal(null->stderr_.kind, JB_STREAM_FILE);
    assert_string_equal(null->stderr_.path, "/var/log/x");
}

static void artifacts(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f,
                 SPEC "workdir: /w\nartifacts:\n"
                      "  - { path: \"build/*.log\", to: results/ }\n"
                      "  - { path: /opt/x, to: /srv/x, when: always, max_bytes: 1MiB, max_files: 200000 }\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->n_artifacts, 2);
    assert_string_equal(plan->artifacts[0].path, "/w/build/*.log");
    assert_string_equal(plan->artifacts[0].to, "/home/ann/project/results/");
    assert_string_equal(plan->artifacts[1].path, "/opt/x");
    assert_string_equal(plan->artifacts[1].to, "/srv/x");
    assert_int_equal(plan->artifacts[0].when, JB_ARTIFACT_ON_SUCCESS);
    assert_true(plan->artifacts[0].max_bytes == JB_UNSET && plan->artifacts[0].max_files == JB_UNSET);
    assert_int_equal(plan->artifact_bytes_max, UINT64_C(64) << 30);
    assert_int_equal(plan->artifact_files_max, 100000);
    assert_int_equal(plan->artifacts[1].when, JB_ARTIFACT_ALWAYS);
    assert_int_equal(plan->artifacts[1].max_bytes, 1 << 20);
    assert_int_equal(plan->artifacts[1].max_files, 200000); /* what the site allows holds beside it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        as_root(cgroup_settings),
        as_root(swap_is_zero_unless_said),
        as_root(a_partition_needs_cpusets_of_v2),
        as_root(memory_high_is_kept_on_v2_alone),
        as_root(hugepages_need_their_controller),
        as_user(cpu_time_needs_a_group_that_counts),
        as_user(all_that_is_missing_is_named_at_once),
        as_user(degraded_by_spec_and_by_site),
        as_root(what_is_there_is_used),
        as_root(what_is_not_asked_is_not_missed),
        as_root(io_limits_go_to_every_disk_once),
        as_root(io_limits_on_many_disks),
        as_root(io_limits_need_a_disk),
        as_root(io_limits_miss_no_file_system),
        as_root(argv_of_scripts),
        as_user(environment_is_clean),
        as_root(name_of_another_user),
        as_user(later_sources_win),
        as_user(passed_by_name_and_prefix),
        as_user(terminals),
        as_user(streams),
        as_user(artifacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
