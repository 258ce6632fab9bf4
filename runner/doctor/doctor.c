/*
 * doctor.c - gathers the facts, has every check judge them, and prints what they found.
 *
 * Owns: the facts while they are judged. Runs in: the client. Privilege: the user's; nothing is left behind.
 */
#include "doctor/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "doctor/checks.h"
#include "job/job.h"
#include "job/place.h"
#include "machine/machine.h"

static const char *const health_names[] = {
    [JB_HEALTH_OK] = "ok", [JB_HEALTH_DEGRADED] = "degraded", [JB_HEALTH_MISSING] = "missing"};

static jb_check_fn *const checks[] = {
    jb_check_kernel,      jb_check_calls,       jb_check_namespaces,  jb_check_overlay,     jb_check_fuse,
    jb_check_seccomp,     jb_check_hierarchies, jb_check_controllers, jb_check_cpuset,      jb_check_swap,
    jb_check_pressure,    jb_check_systemd,     jb_check_site,        jb_check_directories, jb_check_scratch,
    jb_check_topology,    jb_check_open_files,  jb_check_processes,   jb_check_cores,       jb_check_clock,
    jb_check_default_job,
};

const char *jb_health_name(enum jb_health health)
{
    return health < JB_HEALTH_MAX ? health_names[health] : "?";
}

/* What is printed is one line, whatever a message holds. */
static void one_line(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

int jb_found(struct jb_findings *ret, const char *name, enum jb_health health, bool needed, const char *fix,
             const char *fmt, ...)
{
    jb_autofree char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0) {
        text = NULL;
        return -ENOMEM;
    }
    jb_autofree char *advice = fix && health != JB_HEALTH_OK ? strdup(fix) : NULL;
    struct jb_finding *grown = realloc(ret->items, (ret->len + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    one_line(text);
    ret->items = grown;
    ret->items[ret->len++] = (struct jb_finding){
        .name = name,
        .health = health,
        .needed = needed,
        .text = jb_take_ptr(text),
        .fix = jb_take_ptr(advice),
    };
    return 0;
}

void jb_findings_free(struct jb_findings *findings)
{
    for (size_t i = 0; i < findings->len; i++) {
        free(findings->items[i].text);
        free(findings->items[i].fix);
    }
    free(findings->items);
    *findings = (struct jb_findings){0};
}

bool jb_findings_well(const struct jb_findings *findings)
{
    for (size_t i = 0; i < findings->len; i++)
        if (findings->items[i].needed && findings->items[i].health == JB_HEALTH_MISSING)
            return false;
    return true;
}

int jb_doctor_judge(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    jb_autofindings struct jb_findings found = {0};
    for (size_t i = 0; i < JB_ARRAY_LEN(checks); i++) {
        int r = checks[i](facts, &found);
        if (r < 0)
            return r;
    }
    *ret = found;
    found = (struct jb_findings){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

/* The machine as boxes may have it, without writing a cache. */
static void look_at_machine(const struct jb_site *site, const struct jb_host *host, struct jb_state *state,
                            struct jb_doctor_facts *facts, char **ret_line, struct jb_error *err)
{
    struct jb_machine machine = {0};
    jb_autoclose int runtime = open(state->runtime_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const struct jb_place place = {.site = site,
                                   .layout = &host->cgroups,
                                   .elsewhere = host->elsewhere,
                                   .ledger = &state->ledger,
                                   .cache_dirfd = -1};
    if (jb_place_machine(&place, &machine, err) < 0) {
        facts->topology_error = err->text;
        return;
    }
    *ret_line = jb_asprintf("%u cores, %zu CPUs, %u packages, %zu memory nodes may be used", machine.n_cores,
                            machine.n_pus, machine.n_packages, machine.n_nodes);
    facts->topology = *ret_line ? *ret_line : "";
    facts->topology_cached = runtime >= 0 && faccessat(runtime, "topology.bin", F_OK, 0) == 0;
    jb_machine_free(&machine);
}

/* The plan of a job that says nothing but a command: what the defaults ask of this host. */
static void plan_default_job(const struct jb_site *site, const struct jb_submitter *who,
                             struct jb_state *state, struct jb_host *ret_host, struct jb_doctor_facts *facts,
                             struct jb_error *err)
{
    static const char text[] = "version: 1\nname: doctor\ncommand: [\"true\"]\n";
    struct jb_diags diags = {0};
    enum jb_job_failure failure;
    jb_autospec struct jb_spec *spec = NULL;
    jb_autoplan struct jb_plan *plan = NULL;
    if (jb_spec_parse("default job", text, sizeof(text) - 1, &spec, &diags) < 0) {
        jb_diags_free(&diags);
        (void)jb_fail(err, ENOMEM, "out of memory");
    } else {
        const struct jb_job_options o = {
            .spec = spec, .site = site, .submitter = who, .state = state, .origin = "cli"};
        if (jb_job_plan(&o, ret_host, &plan, &failure, err) == 0)
            jb_error_clear(err);
    }
    facts->refusal = err->errnum ? err->text : NULL;
    if (ret_host->name[0]) /* the host was looked at, whatever became of the plan */
        facts->cgroups = &ret_host->cgroups;
    else
        facts->cgroups_error = err->text;
    facts->scratch_cap = ret_host->scratch_cap;
    facts->scratch_why = ret_host->scratch_why;
}

int jb_doctor_examine(const struct jb_site *site, const char *site_error, struct jb_findings *ret,
                      struct jb_error *err)
{
    struct jb_submitter who = {0};
    struct jb_host host = {0};
    struct jb_error refusal = {0};
    struct jb_error topology = {0};
    struct rlimit files = {.rlim_cur = RLIM_INFINITY};
    char program[JB_PROGRAM_PATH];
    char lacks[JB_FUSE_WHY];
    jb_autofree char *machine = NULL;
    jb_autostate struct jb_state state = JB_STATE_INIT;
    struct jb_doctor_facts facts = {
        .root.fd = -1, .trial = jb_trial_run, .bus = &jb_bus_systemd, .site = site, .site_error = site_error};
    int r = jb_submitter_self(&who, err);
    if (r < 0)
        return r;
    r = jb_state_paths(site, &who, &state, err);
    if (r == 0 && (r = jb_kdir_open("/", &facts.root)) < 0)
        (void)jb_fail_errno(err, r, "/");
    if (r == 0) {
        jb_host_probe_fuse(program, lacks);
        facts.fuse_lacks = lacks;
        facts.who = &who;
        facts.runtime_dir = state.runtime_dir;
        facts.state_dir = state.state_dir;
        (void)getrlimit(RLIMIT_NOFILE, &files);
        facts.open_files = files.rlim_cur == RLIM_INFINITY ? JB_UNSET : files.rlim_cur;
        plan_default_job(site, &who, &state, &host, &facts, &refusal);
        look_at_machine(site, &host, &state, &facts, &machine, &topology);
        r = jb_doctor_judge(&facts, ret);
        if (r < 0)
            (void)jb_fail_errno(err, r, "doctor");
    }
    jb_kdir_close(&facts.root);
    jb_host_free(&host);
    jb_submitter_free(&who);
    return r;
}

char *jb_findings_text(const struct jb_findings *findings, bool fixes)
{
    jb_autobuf struct jb_buf out = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < findings->len; i++) {
        const struct jb_finding *f = &findings->items[i];
        r = jb_buf_printf(&out, "%-9s %-18s %s\n", jb_health_name(f->health), f->name, f->text);
        if (r == 0 && fixes && f->fix)
            r = jb_buf_printf(&out, "%-9s %-18s fix: %s\n", "", "", f->fix);
    }
    if (r == 0)
        r = jb_buf_puts(
            &out, jb_findings_well(findings)
                      ? "jobs with the default guarantees run here\n"
                      : "jobs with the default guarantees do not run here: what is missing is named above\n");
    return r < 0 ? NULL : jb_take_ptr(out.data);
}

static json_t *finding_json(const struct jb_finding *f)
{
    json_t *item = json_object();
    bool ok = jb_json_set(item, "check", jb_json_text(f->name)) &&
              jb_json_set(item, "state", jb_json_text(jb_health_name(f->health))) &&
              jb_json_set(item, "needed", json_boolean(f->needed)) &&
              jb_json_set(item, "text", jb_json_text(f->text)) &&
              jb_json_set(item, "fix", jb_json_text(f->fix));
    if (ok)
        return item;
    json_decref(item);
    return NULL;
}

json_t *jb_findings_json(const struct jb_findings *findings)
{
    json_t *root = json_object();
    json_t *list = json_array();
    bool ok = jb_json_set(root, "ok", json_boolean(jb_findings_well(findings))) &&
              jb_json_set(root, "checks", list);
    for (size_t i = 0; ok && i < findings->len; i++)
        ok = json_array_append_new(list, finding_json(&findings->items[i])) == 0;
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}
