/*
 * test_doctor.c - what doctor says about hosts that are written down here: a folder as "/", trials that answer as told.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "doctor/doctor.h"

struct host {
    char *tmp;
    int answers[JB_TRIAL_MAX];
    int bus_answer;
    struct jb_bus bus;
    struct jb_submitter who;
    struct jb_site *site;
    struct jb_cg_layout cgroups;
    struct jb_doctor_facts facts;
    struct jb_findings found;
};

static int trial(void *ctx, enum jb_trial t)
{
    return ((struct host *)ctx)->answers[t];
}

static int version(void *ctx, uid_t uid, char *buf, size_t len, struct jb_error *err)
{
    const struct host *h = ctx;
    if (h->bus_answer)
        return jb_fail(err, h->bus_answer, "the fake bus of %u is silent", (unsigned)uid);
    (void)snprintf(buf, len, "252");
    return 0;
}

static void controller(struct host *h, enum jb_controller c, int v, const char *why)
{
    struct jb_cg_controller *ctl = &h->cgroups.ctl[c];
    free(ctl->mount);
    free(ctl->own);
    *ctl = (struct jb_cg_controller){.version = v, .writable = v && !why};
    ctl->mount = v ? strdup("/sys/fs/cgroup") : NULL;
    ctl->own = v ? strdup("/jobs") : NULL;
    (void)snprintf(ctl->why, sizeof(ctl->why), "%s", why ? why : "");
}

/* A host on which all is well, for root. */
static void open_host(struct host *h)
{
    static const char *const files[][2] = {
        {"proc/sys/kernel/osrelease", "6.1.0-x\n"},
        {"proc/sys/kernel/seccomp/actions_avail", "kill_process errno\n"},
        {"proc/sys/kernel/core_pattern", "core\n"},
        {"proc/sys/kernel/pid_max", "32768\n"},
        {"proc/pressure/cpu", "some avg10=0.00\n"},
        {"sys/fs/cgroup/jobs/cpuset.cpus.effective", "0-3\n"},
        {"sys/fs/cgroup/jobs/cpuset.mems.effective", "0\n"},
        {"sys/fs/cgroup/jobs/pids.max", "max\n"},
        {"sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"},
        {"run/x", ""},
        {"var/lib/x", ""},
    };
    *h = (struct host){.tmp = test_tmpdir()};
    for (size_t i = 0; i < JB_ARRAY_LEN(files); i++)
        test_write(h->tmp, files[i][0], files[i][1]);
    assert_int_equal(jb_site_default(&h->site), 0);
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++)
        controller(h, c, c == JB_CTL_CPUACCT ? 0 : 2, NULL);
    h->bus = (struct jb_bus){.version = version, .ctx = h};
    h->who = (struct jb_submitter){.uid = getuid(), .user = strdup("somebody"), .privileged = true};
    h->facts = (struct jb_doctor_facts){
        .trial = trial,
        .trial_ctx = h,
        .bus = &h->bus,
        .who = &h->who,
        .site = h->site,
        .runtime_dir = "/run/jobbox",
        .state_dir = "/var/lib/jobbox",
        .cgroups = &h->cgroups,
        .topology = "4 cores",
        .fuse_lacks = "",
        .open_files = 1024,
    };
    assert_int_equal(jb_kdir_open(h->tmp, &h->facts.root), 0);
}

static void close_host(struct host *h)
{
    jb_findings_free(&h->found);
    jb_kdir_close(&h->facts.root);
    jb_cg_layout_free(&h->cgroups);
    jb_site_free(h->site);
    free(h->who.user);
    test_tmpdir_remove(h->tmp);
}

static const struct jb_finding *look(struct host *h, const char *name)
{
    jb_findings_free(&h->found);
    assert_int_equal(jb_doctor_judge(&h->facts, &h->found), 0);
    for (size_t i = 0; i < h->found.len; i++)
        if (jb_streq(h->found.items[i].name, name))
            return &h->found.items[i];
    fail_msg("no check is called %s", name);
    return NULL;
}

/* The check is in that state, says that, advises that, and decides about the whole or does not. */
static void says(struct host *h, const char *name, enum jb_health health, const char *text, const char *fix,
                 bool well)
{
    const struct jb_finding *f = look(h, name);
    if (f->health != health)
        fail_msg("%s is %s: %s", name, jb_health_name(f->health), f->text);
    assert_contains(f->text, text);
    if (fix) {
        assert_non_null(f->fix);
        assert_contains(f->fix, fix);
    }
    assert_int_equal(jb_findings_well(&h->found), well);
}

static void test_all_well(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    says(&h, "kernel", JB_HEALTH_OK, "6.1.0-x", NULL, true);
    for (size_t i = 0; i < h.found.len; i++) {
        if (h.found.items[i].health != JB_HEALTH_OK)
            fail_msg("%s: %s", h.found.items[i].name, h.found.items[i].text);
        assert_null(h.found.items[i].fix);
    }
    assert_true(h.found.len >= 25);
    close_host(&h);
}

static void test_kernel(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    test_write(h.tmp, "proc/sys/kernel/osrelease", "5.11.22\n");
    says(&h, "kernel", JB_HEALTH_MISSING, "5.11.22", "5.12", false);
    test_write(h.tmp, "proc/sys/kernel/osrelease", "5.12\n");
    says(&h, "kernel", JB_HEALTH_OK, "5.12", NULL, true);
    h.answers[JB_TRIAL_OPENAT2] = -ENOSYS; /* there is a way without */
    says(&h, "system calls", JB_HEALTH_DEGRADED, "openat2", NULL, true);
    h.answers[JB_TRIAL_CLONE3] = -EPERM;
    says(&h, "system calls", JB_HEALTH_DEGRADED, "clone3: Operation not permitted; openat2", "filter", true);
    h.answers[JB_TRIAL_MOUNT_CALLS] = -EPERM; /* without these there is none */
    says(&h, "system calls", JB_HEALTH_MISSING, "clone3: Operation not permitted; openat2", "filter", false);
    h.answers[JB_TRIAL_CLONE3] = h.answers[JB_TRIAL_OPENAT2] = h.answers[JB_TRIAL_MOUNT_CALLS] = 0;
    h.answers[JB_TRIAL_OVERLAY] = -ENODEV;
    says(&h, "overlay", JB_HEALTH_MISSING, "no overlay", "modprobe overlay", false);
    h.answers[JB_TRIAL_OVERLAY] = 0;
    h.answers[JB_TRIAL_NAMESPACES] = -EPERM;
    says(&h, "namespaces", JB_HEALTH_MISSING, "cannot all be made", "SYS_ADMIN", false);
    h.answers[JB_TRIAL_NAMESPACES] = 0;
    assert_int_equal(unlinkat(h.facts.root.fd, "proc/sys/kernel/seccomp/actions_avail", 0), 0);
    says(&h, "seccomp", JB_HEALTH_MISSING, "no system call filters", "CONFIG_SECCOMP", false);
    close_host(&h);
}

/* What root's jobs do without, an ordinary user's need. */
static void test_user_namespaces(JB_UNUSED void **state)
{
    static const struct {
        const char *file, *text, *says, *fix;
    } knobs[] = {
        {"proc/sys/kernel/unprivileged_userns_clone", "0\n", "unprivileged_userns_clone is 0",
         "userns_clone=1"},
        {"proc/sys/user/max_user_namespaces", "0\n", "max_user_namespaces is 0", "max_user_namespaces="},
        {"proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "AppArmor", "userns,"},
    };
    struct host h;
    open_host(&h);
    h.answers[JB_TRIAL_USER_NAMESPACE] = -EPERM;
    h.answers[JB_TRIAL_USER_OVERLAY] = -EPERM;
    says(&h, "user namespaces", JB_HEALTH_OK, "root's jobs need none", NULL, true);
    h.who.privileged = false;
    says(&h, "overlay", JB_HEALTH_MISSING, "in a user namespace", "5.11", false);
    h.answers[JB_TRIAL_USER_OVERLAY] = -ENODATA;
    says(&h, "overlay", JB_HEALTH_DEGRADED, "fails with EIO", "Linux 6.6", false);
    says(&h, "user namespaces", JB_HEALTH_MISSING, "Operation not permitted", "container", false);
    says(&h, "fuse-overlayfs", JB_HEALTH_OK, "where the kernel's overlay cannot", NULL, false);
    h.facts.fuse_lacks = "it is not installed";
    says(&h, "fuse-overlayfs", JB_HEALTH_DEGRADED, "it is not installed", "/dev/fuse", false);
    h.answers[JB_TRIAL_USER_NAMESPACE] = h.answers[JB_TRIAL_USER_OVERLAY] = 0;
    says(&h, "fuse-overlayfs", JB_HEALTH_DEGRADED, "read-only, or refused", "install", true);
    h.site->overlay = JB_SITE_OVERLAY_FUSE;
    says(&h, "fuse-overlayfs", JB_HEALTH_MISSING, "the site says overlay: fuse", "install", false);
    h.facts.fuse_lacks = "";
    says(&h, "fuse-overlayfs", JB_HEALTH_OK, "serves the roots of all boxes", NULL, true);
    h.site->overlay = JB_SITE_OVERLAY_AUTO;
    h.answers[JB_TRIAL_USER_NAMESPACE] = -EPERM;
    for (size_t i = 0; i < JB_ARRAY_LEN(knobs); i++) {
        test_write(h.tmp, knobs[i].file, knobs[i].text);
        says(&h, "user namespaces", JB_HEALTH_MISSING, knobs[i].says, knobs[i].fix, false);
        assert_int_equal(unlinkat(h.facts.root.fd, knobs[i].file, 0), 0);
    }
    close_host(&h);
}

static void test_controllers(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    controller(&h, JB_CTL_IO, 0, "no cgroup io controller is mounted");
    says(&h, "controller io", JB_HEALTH_DEGRADED, "I/O cannot be limited: no cgroup io", "io controller",
         true);
    controller(&h, JB_CTL_MEMORY, 2, "no group can be made in /x: it is mounted read-only");
    says(&h, "controller memory", JB_HEALTH_DEGRADED, "mounted read-only", "writable", true);
    controller(&h, JB_CTL_CPUSET, 0, "as root: put x into " JB_SCOPE_DROP_IN);
    says(&h, "controller cpuset", JB_HEALTH_MISSING, "cannot be pinned", "Delegate=cpu cpuset io memory pids",
         false);
    says(&h, "controller cpuset", JB_HEALTH_MISSING, "cannot be pinned", JB_SCOPE_DROP_IN, false);
    h.site->allow_degraded[JB_DEGRADE_CPUSET] = true; /* the site says that it may be so */
    says(&h, "controller cpuset", JB_HEALTH_MISSING, "cannot be pinned", NULL, true);
    h.facts.cgroups = NULL;
    h.facts.cgroups_error = "there is no /proc";
    says(&h, "cgroups", JB_HEALTH_MISSING, "there is no /proc", NULL, false);
    close_host(&h);
}

static void test_cgroup_facts(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    says(&h, "cpuset", JB_HEALTH_OK, "CPUs 0-3, memory nodes 0", NULL, true);
    test_write(h.tmp, "sys/fs/cgroup/jobs/cpuset.mems.effective", "\n");
    says(&h, "cpuset", JB_HEALTH_MISSING, "/jobs is empty", "cpuset.mems", false);
    test_write(h.tmp, "sys/fs/cgroup/jobs/cpuset.mems.effective", "0\n");
    free(h.cgroups.ctl[JB_CTL_CPUSET].own); /* not made yet: what is above counts */
    h.cgroups.ctl[JB_CTL_CPUSET].own = strdup("/jobs/x.scope/y");
    says(&h, "cpuset", JB_HEALTH_OK, "CPUs 0-3", NULL, true);
    h.cgroups.no_swap_limit = true;
    says(&h, "swap", JB_HEALTH_DEGRADED, "does not count", "swapaccount=1", true);
    assert_int_equal(unlinkat(h.facts.root.fd, "proc/pressure/cpu", 0), 0);
    says(&h, "pressure", JB_HEALTH_DEGRADED, "PSI", "psi=1", true);
    test_write(h.tmp, "sys/fs/cgroup/jobs/pids.max", "100\n");
    says(&h, "processes", JB_HEALTH_DEGRADED, "at most 100", "TasksMax", true);
    close_host(&h);
}

static void test_systemd(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    says(&h, "systemd", JB_HEALTH_OK, "is not the service manager", NULL, true);
    test_write(h.tmp, "run/systemd/system/x", "");
    h.who.uid = 0;
    says(&h, "systemd", JB_HEALTH_OK, "version 252", NULL, true);
    h.bus_answer = -ENOENT;
    says(&h, "systemd", JB_HEALTH_DEGRADED, "the fake bus of 0 is silent", "dbus", true);
    h.site->cgroups.systemd = JB_SYSTEMD_REQUIRE;
    says(&h, "systemd", JB_HEALTH_MISSING, "cannot be asked", NULL, false);
    h.site->cgroups.systemd = JB_SYSTEMD_NEVER;
    says(&h, "systemd", JB_HEALTH_OK, "not asked", NULL, true);
    h.bus_answer = 0;
    h.who.uid = 4711;
    says(&h, "linger", JB_HEALTH_DEGRADED, "cancelled", "loginctl enable-linger somebody", true);
    test_write(h.tmp, "var/lib/systemd/linger/somebody", "");
    says(&h, "linger", JB_HEALTH_OK, "outlive", NULL, true);
    close_host(&h);
}

static void test_host(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    h.facts.open_files = 64;
    says(&h, "open files", JB_HEALTH_MISSING, "at most 64", "ulimit", false);
    h.facts.open_files = JB_UNSET;
    says(&h, "open files", JB_HEALTH_OK, "no limit", NULL, true);
    h.facts.site_error = "x.yaml:3:1: paths: bad\nx.yaml:4:1: cpus: bad";
    says(&h, "site config", JB_HEALTH_MISSING, "paths: bad x.yaml:4:1", "mend", false);
    h.facts.site_error = NULL;
    h.facts.topology_error = "no CPU is left";
    says(&h, "topology", JB_HEALTH_MISSING, "no CPU is left", NULL, false);
    h.facts.topology_error = NULL;
    h.facts.topology_cached = true;
    says(&h, "topology", JB_HEALTH_OK, "4 cores; cached", NULL, true);
    h.facts.refusal = "cannot pin";
    says(&h, "default job", JB_HEALTH_MISSING, "refused: cannot pin", "above", false);
    close_host(&h);
}

static void test_directories(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    says(&h, "runtime directory", JB_HEALTH_OK, "/run/jobbox (not made yet)", NULL, true);
    jb_autofree char *dir = jb_asprintf("%s/run/jobbox", h.tmp);
    assert_int_equal(symlink("/tmp", dir), 0);
    says(&h, "runtime directory", JB_HEALTH_MISSING, "symlink", "rm -r /run/jobbox", false);
    assert_int_equal(unlink(dir), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    says(&h, "runtime directory", JB_HEALTH_OK, "/run/jobbox, on", NULL, true);
    assert_int_equal(chmod(dir, 0777), 0);
    says(&h, "runtime directory", JB_HEALTH_MISSING, "mode 0777", "chmod", false);
    assert_int_equal(chmod(dir, 0755), 0);
    h.who.uid = getuid() + 1;
    says(&h, "runtime directory", JB_HEALTH_MISSING, "belongs to uid", "chown", false);
    h.site->scratch_backend = JB_SCRATCH_DISK;
    assert_contains(look(&h, "scratch")->text, "below /var/lib/jobbox");
    assert_contains(look(&h, "scratch")->text, "without a hard cap");
    h.facts.scratch_cap = JB_SCRATCH_CAP_LOOP;
    assert_contains(look(&h, "scratch")->text, "with a hard cap, by a file system in a sparse file");
    close_host(&h);
}

static void test_printed(JB_UNUSED void **state)
{
    struct host h;
    open_host(&h);
    h.facts.open_files = 64;
    says(&h, "open files", JB_HEALTH_MISSING, "at most 64", NULL, false);
    jb_autofree char *plain = jb_findings_text(&h.found, false);
    jb_autofree char *fixes = jb_findings_text(&h.found, true);
    assert_contains(plain, "missing   open files         at most 64, and a job needs 128\n");
    assert_contains(plain, "do not run here");
    assert_null(strstr(plain, "fix:"));
    assert_contains(fixes, "fix: ulimit -n 1024\n");
    json_t *root = jb_findings_json(&h.found);
    assert_non_null(root);
    assert_true(json_is_false(json_object_get(root, "ok")));
    assert_int_equal(json_array_size(json_object_get(root, "checks")), h.found.len);
    json_t *first = json_array_get(json_object_get(root, "checks"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "ok");
    assert_true(json_is_null(json_object_get(first, "fix")));
    json_decref(root);
    close_host(&h);
}

/* The real trials end, and answer with an errno. */
static void test_trials(JB_UNUSED void **state)
{
    for (enum jb_trial t = 0; t < JB_TRIAL_MAX; t++) {
        int r = jb_trial_run(NULL, t);
        assert_true(r <= 0 && r > -256);
    }
    assert_int_equal(jb_trial_run(NULL, JB_TRIAL_OPENAT2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_well),
        cmocka_unit_test(test_kernel),
        cmocka_unit_test(test_user_namespaces),
        cmocka_unit_test(test_controllers),
        cmocka_unit_test(test_cgroup_facts),
        cmocka_unit_test(test_systemd),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_printed),
        cmocka_unit_test(test_trials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
