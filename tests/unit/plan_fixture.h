/*
 * plan_fixture.h - everything a plan is computed from, made by hand: the same on every machine.
 */
#ifndef JB_TESTS_PLAN_FIXTURE_H
#define JB_TESTS_PLAN_FIXTURE_H

#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "plan/plan.h"

#define FIXTURE_ID "01ARZ3NDEKTSV4RRFFQ69G5FAV"

/* The part of a spec that most tests do not care for. */
#define SPEC "version: 1\ncommand: [/bin/true]\n"

struct fixture {
    struct jb_spec *spec;
    struct jb_site *site;
    struct jb_host host;
    struct jb_submitter who;
    struct jb_image image;
    struct jb_grant grant;
    struct jb_id id;
    struct jb_plan_input in;
};

static inline void fixture_controllers(struct fixture *f, int version)
{
    static const char *const mounts[] = {"/cg/cpuset", "/cg/cpu",     "/cg/cpuacct", "/cg/memory", "/cg/pids",
                                         "/cg/blkio",  "/cg/unified", "/cg/devices", "/cg/hugetlb"};
    for (size_t c = 0; c < JB_CTL_MAX; c++) {
        if (version == 2 && c == JB_CTL_DEVICES) /* v2 has none */
            continue;
        bool v2 = version == 2 || c == JB_CTL_UNIFIED;
        f->host.cgroups.ctl[c] = (struct jb_cg_controller){
            .version = v2 ? 2 : version,
            .mount = strdup(v2 ? "/cg/unified" : mounts[c]),
            .own = strdup("/session"),
            .writable = true,
        };
    }
    f->host.cgroups.unified_only = version == 2;
}

/* A controller that this host lacks. */
static inline void fixture_lacks(struct fixture *f, enum jb_controller c, const char *why)
{
    f->host.cgroups.ctl[c].writable = false;
    (void)snprintf(f->host.cgroups.ctl[c].why, sizeof(f->host.cgroups.ctl[c].why), "%s", why);
}

static inline void fixture_mount(struct fixture *f, const char *target, const char *fstype, uint32_t major,
                                 uint32_t minor)
{
    struct jb_mounts *m = &f->host.mounts;
    m->items = realloc(m->items, (m->len + 1) * sizeof(*m->items));
    assert_non_null(m->items);
    m->items[m->len++] =
        (struct jb_mount){.target = strdup(target), .fstype = strdup(fstype), .major = major, .minor = minor};
}

static inline void fixture_spec(struct fixture *f, const char *yaml)
{
    struct jb_diags diags = {0};
    jb_spec_free(f->spec);
    f->spec = NULL;
    if (jb_spec_parse("job.yaml", yaml, strlen(yaml), &f->spec, &diags) < 0) {
        jb_autofree char *text = jb_diags_format(&diags);
        fail_msg("%s", text);
    }
    f->in.spec = f->spec;
}

static inline void fixture_site(struct fixture *f, const char *yaml)
{
    struct jb_diags diags = {0};
    jb_site_free(f->site);
    f->site = NULL;
    if (jb_site_parse("site.yaml", yaml, strlen(yaml), &f->site, &diags) < 0) {
        jb_autofree char *text = jb_diags_format(&diags);
        fail_msg("%s", text);
    }
    f->in.site = f->site;
}

static inline struct fixture *fixture_new(bool privileged)
{
    static const char *const env[] = {"PATH=/home/ann/bin", "LANG=C.UTF-8", "CI_JOB=7",     "CI_TOKEN=s3cret",
                                      "HOME=/home/ann",     "TERM=xterm",   "ODD_NO_VALUE", "EDITOR=vi"};
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(jb_site_default(&f->site), 0);
    (void)snprintf(f->host.name, sizeof(f->host.name), "node7");
    (void)snprintf(f->host.boot_id, sizeof(f->host.boot_id), "11111111-2222-3333-4444-555555555555");
    fixture_controllers(f, 1);
    fixture_mount(f, "/", "ext4", 8, 0);
    fixture_mount(f, "/proc", "proc", 0, 20);
    fixture_mount(f, "/sys", "sysfs", 0, 21);
    f->who = (struct jb_submitter){.uid = privileged ? 0 : 1000,
                                   .gid = privileged ? 0 : 1000,
                                   .user = strdup(privileged ? "root" : "ann"),
                                   .home = strdup(privileged ? "/root" : "/home/ann"),
                                   .cwd = strdup("/home/ann/project"),
                                   .privileged = privileged};
    f->who.groups = calloc(2, sizeof(gid_t));
    f->who.groups[0] = 1000;
    f->who.groups[1] = 2000;
    f->who.n_groups = 2;
    for (size_t i = 0; i < JB_ARRAY_LEN(env); i++)
        assert_int_equal(jb_strv_add(&f->who.env, env[i]), 0);
    f->image = (struct jb_image){.kind = JB_IMAGE_HOST, .ref = strdup("host"), .path = strdup("/")};
    f->grant = (struct jb_grant){.exclusive = true,
                                 .cores = 2,
                                 .l3s = 1,
                                 .numa_nodes = 1,
                                 .packages = 1,
                                 .memory = JB_UNSET,
                                 .explain = "two whole free cores"};
    assert_int_equal(jb_cpus_parse("2-3,6-7", &f->grant.cpus), 0);
    f->grant.held = f->grant.cpus;
    assert_int_equal(jb_cpus_parse("0", &f->grant.mems), 0);
    (void)snprintf(f->id.text, sizeof(f->id.text), "%s", FIXTURE_ID);
    f->in = (struct jb_plan_input){.site = f->site,
                                   .host = &f->host,
                                   .submitter = &f->who,
                                   .image = &f->image,
                                   .grant = &f->grant,
                                   .id = &f->id,
                                   .runtime_dir = "/run/jobbox",
                                   .state_dir = "/var/lib/jobbox"};
    fixture_spec(f, SPEC);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    jb_spec_free(f->spec);
    jb_site_free(f->site);
    jb_host_free(&f->host);
    jb_submitter_free(&f->who);
    jb_image_free(&f->image);
    free(f);
}

static inline void fixture_image_dir(struct fixture *f, const char *path)
{
    jb_image_free(&f->image);
    f->image = (struct jb_image){.kind = JB_IMAGE_DIR, .ref = strdup(path), .path = strdup(path)};
}

static inline void fixture_disks(struct fixture *f)
{
    const struct jb_kdir none = {.fd = -1};
    jb_disks_free(&f->host.disks);
    assert_int_equal(jb_disks_find(&none, &f->host.mounts, &f->host.disks), 0);
}

static inline struct jb_plan *fixture_plan(struct fixture *f)
{
    struct jb_error err = {0};
    struct jb_plan *plan = NULL;
    fixture_disks(f);
    assert_ok(jb_plan_make(&f->in, &plan, &err), &err);
    return plan;
}

/* The plan must be refused with `r`, the text holding `part`. */
static inline void fixture_refused(struct fixture *f, int r, const char *part)
{
    struct jb_error err = {0};
    struct jb_plan *plan = NULL;
    fixture_disks(f);
    int got = jb_plan_make(&f->in, &plan, &err);
    assert_null(plan);
    if (got != r)
        fail_msg("%d instead of %d: %s", got, r, err.text);
    assert_contains(err.text, part);
}

static inline const struct jb_op *fixture_op(const struct jb_plan *plan, enum jb_op_kind kind,
                                             const char *target)
{
    for (size_t i = 0; i < plan->n_ops; i++)
        if (plan->ops[i].kind == kind &&
            (!target || (plan->ops[i].target && strcmp(plan->ops[i].target, target) == 0)))
            return &plan->ops[i];
    return NULL;
}

static inline int fixture_setup_root(void **state)
{
    *state = fixture_new(true);
    return 0;
}

static inline int fixture_setup_user(void **state)
{
    *state = fixture_new(false);
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

#define as_root(test) cmocka_unit_test_setup_teardown(test, fixture_setup_root, fixture_teardown)
#define as_user(test) cmocka_unit_test_setup_teardown(test, fixture_setup_user, fixture_teardown)

#endif
