/*
 * test_plan.c - the plan as a whole: determinism, identity, limits, policy, what this version cannot do.
 */
#include "plan_fixture.h"

#include <errno.h>
#include <jansson.h>
#include <linux/capability.h>
#include <sched.h>

#define MIB (UINT64_C(1) << 20)

static const char rich[] = "version: 1\n"
                           "name: rich\n"
                           "script: |\n"
                           "  make check\n"
                           "env: { CFLAGS: -O2, LANG: C }\n"
                           "pass_env: [LANG, \"CI_*\"]\n"
                           "resources: { cpus: 2, memory: 64MiB, pids: 50, cpu_limit: 1.5 }\n"
                           "limits: { wall_time: 1m, cpu_time: 90s, output: 1MiB, grace: 2s, idle: 30s }\n"
                           "mounts:\n"
                           "  - { source: data, target: /data }\n"
                           "  - { tmpfs: 1MiB, target: /fast }\n"
                           "stdout: logs/%n-%j.out\n"
                           "stderr: merge\n"
                           "artifacts:\n"
                           "  - { path: \"build/*.log\", to: results/ }\n"
                           "account: astro\n"
                           "labels: { ticket: \"4711\", b: c }\n";

static char *dump(struct fixture *f)
{
    struct jb_error err = {0};
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    jb_autofree char *text = NULL;
    assert_ok(jb_plan_to_text(plan, &text, &err), &err);
    assert_contains(text, "job rich in box " FIXTURE_ID);
    assert_contains(text, "file system, in this order\n");
    json_t *json = jb_plan_to_json(plan);
    char *out = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    assert_non_null(out);
    return out;
}

/* Everything is built twice from nothing: no address, no order of allocation may show. */
static void same_inputs_same_bytes(void **state)
{
    (void)state;
    for (int privileged = 0; privileged < 2; privileged++) {
        struct fixture *a = fixture_new(privileged);
        struct fixture *b = fixture_new(privileged);
        fixture_spec(a, rich);
        fixture_spec(b, rich);
        jb_autofree char *first = dump(a);
        jb_autofree char *second = dump(b);
        jb_autofree char *again = dump(a);
        assert_string_equal(first, second);
        assert_string_equal(first, again);
        fixture_free(a);
        fixture_free(b);
    }
}

static void privileged_plan(void **state)
{
    struct fixture *f = *state;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_false(plan->userns);
    assert_int_equal(plan->namespaces, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                                           CLONE_NEWCGROUP | CLONE_NEWNET);
    assert_int_equal(plan->uid, 0);
    assert_true(plan->caps == 0); /* "submitter" keeps no capability, whoever he is */
    assert_int_equal(plan->n_groups, 2);
    assert_string_equal(plan->seccomp, "default");
    assert_non_null(fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL));
    assert_null(fixture_op(plan, JB_OP_ROOT_TMPFS, NULL));
    assert_int_equal(plan->ops[plan->n_ops - 1].kind, JB_OP_PIVOT);
}

static void userns_plan(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(jb_strv_add(&f->host.root_dirs, "etc"), 0);
    assert_int_equal(jb_strv_add(&f->host.root_dirs, "proc"), 0);
    assert_int_equal(jb_strv_add(&f->host.root_dirs, "usr"), 0);
    assert_int_equal(jb_strv_add(&f->host.root_links, "bin=usr/bin"), 0);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_true(plan->userns);
    assert_true(plan->namespaces & CLONE_NEWUSER);
    assert_int_equal(plan->uid, 1000);
    assert_int_equal(plan->n_groups, 0); /* setgroups is denied in there */
    assert_non_null(fixture_op(plan, JB_OP_ROOT_TMPFS, NULL));
    assert_null(fixture_op(plan, JB_OP_ROOT_OVERLAY, NULL));
    const struct jb_op *usr = fixture_op(plan, JB_OP_OVERLAY, "/usr");
    assert_non_null(usr);
    assert_true(usr->flags & JB_OPF_OR_RO_BIND);
    assert_null(fixture_op(plan, JB_OP_OVERLAY, "/proc")); /* the box has its own */
    const struct jb_op *bin = fixture_op(plan, JB_OP_SYMLINK, "/bin");
    assert_non_null(bin);
    assert_string_equal(bin->source, "usr/bin");
}

static void root_in_the_box(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "user: root-in-box\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->uid, 0);
    assert_int_equal(plan->submitter_uid, 1000);
    assert_string_equal(jb_env_get(&plan->env, "USER"), "root");
    assert_string_equal(jb_env_get(&plan->env, "HOME"), "/root");
    static const unsigned never[] = {CAP_SYS_ADMIN,    CAP_SYS_PTRACE, CAP_MKNOD,           CAP_NET_ADMIN,
                                     CAP_NET_RAW,      CAP_SYS_MODULE, CAP_DAC_READ_SEARCH, CAP_SYS_RAWIO,
                                     CAP_SYS_RESOURCE, CAP_SETPCAP,    CAP_SYSLOG,          CAP_BPF};
    assert_true(plan->caps >> CAP_CHOWN & 1);
    for (size_t i = 0; i < JB_ARRAY_LEN(never); i++)
        assert_false(plan->caps >> never[i] & 1);
    f->site->policy.root_in_box = false;
    fixture_refused(f, -EPERM, "job.yaml:3:1: user: root-in-box is not allowed on this site");
}

static void ids_are_for_root_only(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "user: \"1234:5678\"\n");
    fixture_refused(f, -EPERM, "job.yaml:3:1: user: only root may run a job as somebody else (1234:5678)");
    fixture_spec(f, SPEC "user: \"1000:1000\"\n"); /* himself by number is himself */
    jb_plan_free(fixture_plan(f));
    struct fixture *root = fixture_new(true);
    fixture_spec(root, SPEC "user: \"1234:5678\"\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(root);
    assert_int_equal(plan->uid, 1234);
    assert_int_equal(plan->gid, 5678);
    assert_int_equal(plan->n_groups, 0); /* root's groups are not theirs */
    assert_true(plan->caps == 0);
    root->site->policy.any_ids = false;
    fixture_refused(root, -EPERM, "user: uid:gid is not allowed on this site");
    fixture_free(root);
}

static void networks(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "network: host\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_false(plan->namespaces & CLONE_NEWNET);
    assert_string_equal(fixture_op(plan, JB_OP_TEXT, "/etc/hosts")->text,
                        "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tjob\n");
    assert_null(fixture_op(plan, JB_OP_TEXT, "/etc/resolv.conf")); /* this host has none */
    f->site->policy.host_network = false;
    fixture_refused(f, -EPERM, "job.yaml:3:1: network: the host's network is not allowed on this site");
    f->site->policy.host_network = true;
    fixture_image_dir(f, "/images/a");
    jb_autoplan struct jb_plan *image = fixture_plan(f);
    assert_null(fixture_op(image, JB_OP_TEXT, "/etc/resolv.conf"));
    assert_int_equal(jb_buf_puts(&f->host.etc_hosts, "127.0.0.1 localhost\n10.1.2.3 node7"), 0);
    assert_int_equal(jb_buf_puts(&f->host.etc_resolv, "nameserver 10.1.1.1\n"), 0);
    jb_autoplan struct jb_plan *named = fixture_plan(f);
    assert_string_equal(fixture_op(named, JB_OP_TEXT, "/etc/hosts")->text,
                        "127.0.0.1 localhost\n10.1.2.3 node7\n127.0.1.1\tjob\n");
    assert_string_equal(fixture_op(named, JB_OP_TEXT, "/etc/resolv.conf")->text, "nameserver 10.1.1.1\n");
}

static void ranges_of_ids(JB_UNUSED void **state)
{
    struct fixture *f = fixture_new(false);
    f->host.subuids = (struct jb_id_range){700000, 5000};
    f->host.subgids = (struct jb_id_range){800000, 6000};
    fixture_spec(f, SPEC "user: root-in-box\nallow_degraded: [cpuset, memory, pids]\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->userns);
        assert_int_equal(plan->ids.uids.start, 700000);
        assert_int_equal(plan->ids.gids.count, 6000);
    }
    f->host.subgids.count = 0; /* both or none */
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->ids.uids.count, 0);
    }
    f->host.subgids.count = 6000;
    fixture_spec(f, SPEC "allow_degraded: [cpuset, memory, pids]\n"); /* has no use for them */
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->ids.uids.count, 0);
    fixture_free(f);
}

static void host_names(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *spec, *name;
    } cases[] = {
        {"name: a_b.c\n", "a-b-c"},
        {"name: _x_\n", "x"},
        {"name: ___\n", "jobbox"},
        {"name: x\nhostname: Node7\n", "Node7"},
        {"name: x\nreproducible: true\n", "jobbox"},
        {"name: a123456789012345678901234567890123456789012345678901234567890xyz\n",
         "a123456789012345678901234567890123456789012345678901234567890xy"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        jb_autofree char *spec = jb_asprintf("%s%s", SPEC, cases[i].spec);
        fixture_spec(f, spec);
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_string_equal(plan->hostname, cases[i].name);
    }
    fixture_spec(f, SPEC "hostname: n7\n");
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(fixture_op(plan, JB_OP_TEXT, "/etc/hosts")->text,
                        "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tn7\n");
}

static void a_way_out(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, SPEC "network: user\n");
    fixture_refused(f, -ENOTSUP, "job.yaml:3:1: network: user needs the program pasta or slirp4netns");
    (void)snprintf(f->host.net_slirp, sizeof(f->host.net_slirp), "/usr/bin/slirp4netns");
    (void)snprintf(f->host.no_tun, sizeof(f->host.no_tun), "Permission denied");
    fixture_refused(f, -ENOTSUP, "user needs /dev/net/tun: Permission denied");
    f->host.no_tun[0] = '\0';
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->namespaces & CLONE_NEWNET);
        assert_int_equal(plan->net.n_allow, 1);
        assert_true(plan->net.allow[0].address == 0 && plan->net.allow[0].length == 0);
        assert_true(plan->net.dns && !plan->net.host_loopback);
        assert_string_equal(fixture_op(plan, JB_OP_TEXT, "/etc/resolv.conf")->text, "nameserver 10.0.2.3\n");
    }
    fixture_site(f, "network: { user: { allow: [10.0.0.0/8, 192.0.2.7/32], dns: false } }\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->net.n_allow, 2);
        assert_int_equal(plan->net.allow[1].address, 0xc0000207);
        assert_int_equal(plan->net.allow[1].length, 32);
        assert_null(strstr(fixture_op(plan, JB_OP_TEXT, "/etc/resolv.conf")->text, "nameserver"));
    }
    (void)snprintf(f->host.net_pasta, sizeof(f->host.net_pasta), "/usr/bin/pasta");
    fixture_site(f, "network: { user: { allow: [10.0.0.0/8, '2001:db8::/32'] } }\n");
    { /* without a default route pasta does not start */
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->net.program == JB_NET_SLIRP && plan->net.four && !plan->net.six);
        assert_int_equal(plan->net.n_allow, 1);
    }
    f->host.routed4 = f->host.routed6 = true;
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->net.program == JB_NET_PASTA && plan->net.four && plan->net.six);
        assert_string_equal(plan->net.helper, "/usr/bin/pasta");
        assert_int_equal(plan->net.n_allow, 2);
        assert_true(plan->net.allow[1].six && plan->net.allow[1].length == 32);
        assert_string_equal(fixture_op(plan, JB_OP_TEXT, "/etc/resolv.conf")->text,
                            "nameserver 169.254.2.3\n");
    }
    f->host.routed4 = false;
    fixture_site(f, "network: { user: { helper: pasta } }\n");
    { /* what cannot be reached has no route, and no name server is named that is of the other kind */
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(!plan->net.four && plan->net.six && !plan->net.dns);
        assert_int_equal(plan->net.n_allow, 1);
    }
    f->host.routed6 = false;
    fixture_refused(f, -ENOTSUP, "user needs a default route of this host for pasta");
    fixture_site(f, "network: { user: { helper: slirp4netns } }\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->net.program == JB_NET_SLIRP && plan->net.dns);
    }
    f->host.net_slirp[0] = '\0';
    fixture_refused(f, -ENOTSUP, "user needs the program slirp4netns");
    fixture_site(f, "policy: { user_network: false }\n");
    fixture_refused(f, -EPERM, "is not allowed on this site");
}

static void reproducible(void **state)
{
    struct fixture *f = *state;
    f->host.lxcfs = true;
    fixture_spec(f, SPEC "reproducible: true\nenv: { ZZ: 1, AA: 2, TZ: CET }\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_true(plan->reproducible && plan->lxcfs);
        assert_true(plan->uid == 0 && plan->gid == 0);
        assert_null(jb_env_get(&plan->env, "JOBBOX_ID"));
        assert_null(jb_env_get(&plan->env, "JOBBOX_CPU_LIST"));
        assert_string_equal(jb_env_get(&plan->env, "LC_ALL"), "C.UTF-8");
        assert_string_equal(jb_env_get(&plan->env, "TZ"), "CET"); /* the spec has the last word */
        assert_string_equal(jb_env_get(&plan->env, "USER"), "root");
        for (size_t i = 1; i < plan->env.len; i++)
            assert_true(strcmp(plan->env.items[i - 1], plan->env.items[i]) < 0);
        assert_string_equal(fixture_op(plan, JB_OP_BIND, "/proc/cpuinfo")->source,
                            "/var/lib/lxcfs/proc/cpuinfo");
    }
    f->site->policy.root_in_box = false;
    fixture_refused(f, -EPERM, "root-in-box is not allowed");
    fixture_spec(f, SPEC "reproducible: true\nuser: submitter\n");
    {
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_int_equal(plan->uid, f->who.uid);
    }
    fixture_spec(f, SPEC);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_false(plan->reproducible || plan->lxcfs);
    assert_non_null(jb_env_get(&plan->env, "JOBBOX_ID"));
    assert_null(fixture_op(plan, JB_OP_BIND, "/proc/cpuinfo"));
}

static void defaults_come_from_the_site(void **state)
{
    struct fixture *f = *state;
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_true(plan->wall_ns == f->site->wall_time.deflt);
    assert_true(plan->pids_max == f->site->pids.deflt);
    assert_true(plan->pids_max != JB_UNSET); /* never unlimited */
    assert_true(plan->grace_ns == f->site->grace.deflt);
    assert_true(plan->output_bytes == f->site->output.deflt);
    assert_true(plan->scratch_bytes == f->site->scratch.deflt);
    assert_true(plan->memory_max == JB_UNSET);
    fixture_spec(f, rich);
    jb_autoplan struct jb_plan *said = fixture_plan(f);
    assert_int_equal(said->wall_ns, 60 * JB_NS_PER_S);
    assert_int_equal(said->cpu_ns, 90 * JB_NS_PER_S);
    assert_int_equal(said->idle_ns, 30 * JB_NS_PER_S);
    assert_int_equal(said->grace_ns, 2 * JB_NS_PER_S);
    assert_int_equal(said->output_bytes, MIB);
    assert_int_equal(said->pids_max, 50);
    assert_int_equal(said->memory_max, 64 * MIB);
    assert_int_equal(said->swap_max, 0);
}

static void maxima_come_from_the_site(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct jb_bound *bound;
        uint64_t max;
        const char *more, *error;
    } cases[] = {
        {&f->site->wall_time, 60 * JB_NS_PER_S, "limits: { wall_time: 61s }\n",
         "job.yaml:3:11: limits.wall_time: 1m01s is more than this site allows (1m00s); ask for less"},
        {&f->site->memory, 64 * MIB, "resources: { memory: 65MiB }\n",
         "job.yaml:3:14: resources.memory: 65.0 MiB is more than this site allows (64.0 MiB)"},
        {&f->site->pids, 100, "resources: { pids: 101 }\n",
         "resources.pids: 101 is more than this site allows (100)"},
        {&f->site->output, MIB, "limits: { output: 2MiB }\n", "limits.output: 2.00 MiB is more"},
        {&f->site->swap, 0, "resources: { memory: 1MiB, swap: 1MiB }\n", "resources.swap: 1.00 MiB is more"},
        {&f->site->scratch, MIB, "resources: { scratch: 2MiB }\n", "resources.scratch: 2.00 MiB is more"},
        {&f->site->grace, JB_NS_PER_S, "limits: { grace: 2s }\n", "limits.grace: 2.00s is more"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_bound before = *cases[i].bound;
        jb_autofree char *yaml = jb_asprintf(SPEC "%s", cases[i].more);
        cases[i].bound->max = cases[i].max;
        fixture_spec(f, yaml);
        fixture_refused(f, -EPERM, cases[i].error);
        *cases[i].bound = before;
        jb_plan_free(fixture_plan(f));
    }
    /* a default that is none, or above the maximum, becomes the maximum: nobody asked for more */
    f->site->wall_time = (struct jb_bound){.deflt = JB_UNSET, .max = 5 * JB_NS_PER_S};
    f->site->pids = (struct jb_bound){.deflt = 4096, .max = 10};
    fixture_spec(f, SPEC);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->wall_ns, 5 * JB_NS_PER_S);
    assert_int_equal(plan->pids_max, 10);
}

static void requests_for_cores(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_request request;
    assert_ok(jb_plan_request(f->spec, f->site, &request, &err), &err);
    assert_int_equal(request.cpus, 1);
    assert_true(request.exclusive);
    assert_true(request.memory == JB_UNSET);
    fixture_spec(
        f, SPEC "resources: { cpus: 8, cpu_unit: thread, locality: numa, strict: true, exclusive: false }\n");
    assert_ok(jb_plan_request(f->spec, f->site, &request, &err), &err);
    assert_int_equal(request.cpus, 8);
    assert_int_equal(request.unit, JB_CPU_UNIT_THREAD);
    assert_int_equal(request.locality, JB_LOCALITY_NUMA);
    assert_true(request.strict);
    assert_false(request.exclusive);
    f->site->cpus.max = 4;
    assert_int_equal(jb_plan_request(f->spec, f->site, &request, &err), -EPERM);
    assert_contains(err.text, "resources.cpus: 8 is more than this site allows (4)");
    fixture_spec(f, SPEC "resources: { cpu_set: \"0-4\" }\n");
    assert_int_equal(jb_plan_request(f->spec, f->site, &request, &err), -EPERM);
    assert_contains(err.text, "resources.cpu_set: 5 is more than this site allows (4)");
}

static void for_the_queue(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *more, *key;
    } queued[] = {
        {"depends_on: [ {job: 41, when: success} ]\n", "depends_on"},
        {"array: 1-10\n", "array"},
        {"retry: { max: 2, on: [oom] }\n", "retry"},
        {"begin: 18:00\n", "begin"},
        {"deadline: now+1h\n", "deadline"},
        {"notify: { mail: a@b }\n", "notify"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(queued); i++) {
        jb_autofree char *yaml = jb_asprintf(SPEC "%s", queued[i].more);
        jb_autofree char *text = jb_asprintf("%s: this is for the queue; use jobbox submit", queued[i].key);
        fixture_spec(f, yaml);
        fixture_refused(f, -ENOTSUP, text);
    }
    fixture_spec(f, SPEC "keep: never\npriority: 7\n"); /* what asks for nothing is fine */
    jb_plan_free(fixture_plan(f));
}

/* Somebody for whom root's queue starts a job: privileged, and not root. */
static void somebody_else(void **state)
{
    struct fixture *f = *state;
    f->who.uid = 1000;
    f->who.gid = 1000;
    fixture_spec(f, SPEC "user: 0:0\n");
    fixture_refused(f, -EPERM, "only root may run a job as somebody else");
    fixture_spec(f, SPEC "user: 1000:0\n");
    fixture_refused(f, -EPERM, "only root may run a job as somebody else");
    fixture_spec(f, SPEC "user: root-in-box\n");
    fixture_refused(f, -EPERM, "would be root of this host");
    fixture_spec(f, SPEC "user: 1000:1000\n");
    jb_autoplan struct jb_plan *own = fixture_plan(f);
    assert_int_equal(own->uid, 1000);
    assert_int_equal(own->caps, 0);
    fixture_spec(f, SPEC);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(plan->uid, 1000);
    assert_int_equal(plan->submitter_uid, 1000);
    assert_false(plan->userns);
    assert_int_equal(plan->caps, 0);
}

static void names(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *file, *name;
    } cases[] = {
        {"job.yaml", "job"},         {"/a/b/My Job.v2.yaml", "My_Job.v2"},
        {"plain", "plain"},          {"-", "job"},
        {"-x.yaml", "job"},          {".yaml", "job"},
        {"dir/\xc3\xa9.yaml", "__"}, {"a;rm -rf.yaml", "a_rm_-rf"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        free(f->spec->file);
        f->spec->file = strdup(cases[i].file);
        jb_autoplan struct jb_plan *plan = fixture_plan(f);
        assert_string_equal(plan->name, cases[i].name);
    }
    char longest[200];
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    free(f->spec->file);
    f->spec->file = strdup(longest);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_int_equal(strlen(plan->name), 64);
    fixture_spec(f, SPEC "name: said\n");
    jb_autoplan struct jb_plan *said = fixture_plan(f);
    assert_string_equal(said->name, "said");
}

static void labels_and_requested(void **state)
{
    struct fixture *f = *state;
    fixture_spec(f, rich);
    jb_autoplan struct jb_plan *plan = fixture_plan(f);
    assert_string_equal(json_string_value(json_object_get(plan->labels, "ticket")), "4711");
    assert_string_equal(json_string_value(json_object_get(plan->labels, "b")), "c");
    assert_int_equal(json_object_size(plan->labels), 2);
    assert_string_equal(plan->account, "astro");
    assert_true(json_is_object(plan->requested));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(plan->requested, "resources"), "cpus")), 2);
}

static void every_kind_has_a_name(void **state)
{
    (void)state;
    for (int k = 0; k < JB_OP_MAX; k++)
        assert_non_null(jb_op_name((enum jb_op_kind)k));
    assert_null(jb_op_name(JB_OP_MAX));
    for (unsigned c = 0; c <= CAP_LAST_CAP && c <= 40; c++)
        assert_non_null(jb_cap_name(c));
    assert_null(jb_cap_name(64));
    assert_string_equal(jb_cap_name(CAP_SYS_ADMIN), "sys_admin");
    assert_string_equal(jb_cap_name(CAP_CHECKPOINT_RESTORE), "checkpoint_restore");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_inputs_same_bytes),
        as_root(privileged_plan),
        as_user(userns_plan),
        as_user(root_in_the_box),
        as_user(ids_are_for_root_only),
        as_root(networks),
        cmocka_unit_test(ranges_of_ids),
        as_root(host_names),
        as_root(a_way_out),
        as_root(reproducible),
        as_root(defaults_come_from_the_site),
        as_root(maxima_come_from_the_site),
        as_root(requests_for_cores),
        as_root(for_the_queue),
        as_root(somebody_else),
        as_root(names),
        as_root(labels_and_requested),
        cmocka_unit_test(every_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
