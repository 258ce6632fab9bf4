/*
 * explain.c - jobbox explain: the cores a job would get and why, or what stands in its way.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; it reads the ledger where it may and touches nothing.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/cli.h"
#include "machine/explain.h"
#include "machine/refuse.h"
#include "plan/plan.h"

#define GROUPS_SHOWN 12

static const char usage[] =
    "Usage: jobbox explain [OPTION]... JOB.yaml\n"
    "       jobbox explain --job JOB [OPTION]...   why a queued job waits; see --job JOB --help\n"
    "Says which cores the job would get now and why; if none, what stands in its way and what would fit.\n"
    "Needs no privilege and touches nothing. JOB.yaml may be - for standard input.\n\n" JB_CLI_WHATIF_USAGE
    "      --json           as JSON\n"
    "  -h, --help           this text\n"
    "\nExit codes: 0 it would start now, 124 it would not, 125 usage or spec error.\n";

struct answer {
    const struct jb_cli_job *job;
    const struct jb_cli_world *world;
    struct jb_request request;
    struct jb_explanation e;
    struct jb_devices
        *devices;       /* owned; NULL: none are asked for, or they cannot be had, or this is another host */
    bool other_devices; /* asked for, but not looked at: the boxes or the machine are made up */
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct jb_cli_whatif *ret, bool *ret_json)
{
    static const struct option options[] = {
        JB_CLI_WHATIF_OPTIONS, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":c:T:t:h", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            *ret_json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            if (!jb_cli_whatif_option(c, optarg, ret))
                return jb_cli_bad_option("explain", c, argv);
        }
    }
    if (optind + 1 != argc)
        return jb_cli_usage("explain", optind == argc ? "which job? Name a YAML file" : "one job at a time");
    return -1;
}

static void print_list(const char *label, const struct jb_cpus *set)
{
    jb_autofree char *list = jb_cpus_list(set);
    (void)printf("  %-13s %s\n", label, list ? list : "");
}

static void print_wish(const struct jb_request *q, const struct jb_machine *m)
{
    char text[64];
    jb_autofree char *list = jb_cpus_list(&q->cpu_set);
    (void)printf("wants\n");
    if (q->cpu_set_said)
        (void)printf("  %-13s %s%s\n", "cpu_set", list ? list : "",
                     q->unit == JB_CPU_UNIT_CORE ? ", and the siblings of its cores" : "");
    else
        (void)printf("  %-13s %s\n", "cpus", jb_refuse_units(q, q->cpus, text, sizeof(text)));
    (void)printf("  %-13s %s%s\n", "locality", jb_locality_name(q->locality), q->strict ? ", strict" : "");
    (void)printf("  %-13s %s\n", "exclusive", q->exclusive ? "true" : "false");
    if (q->memory != JB_UNSET)
        (void)printf("  %-13s %s%s\n", "memory", jb_format_size(q->memory, text, sizeof(text)),
                     m->memory ? "" : ", which is not checked: the topology tells no memory sizes");
}

static void print_world(const struct answer *a)
{
    const struct jb_machine *m = &a->world->machine;
    struct jb_cpus held = a->world->ledger.used;
    jb_autofree char *allowed = jb_cpus_list(&m->allowed);
    jb_autofree char *reserved = jb_cpus_list(&m->reserved);
    jb_autofree char *used = jb_cpus_list(&held);
    (void)printf(
        "machine         %s: %u package%s, %zu NUMA node%s, %u L3 group%s, %u core%s; CPUs %s allowed\n",
        a->world->source, m->n_packages, m->n_packages == 1 ? "" : "s", m->n_nodes,
        m->n_nodes == 1 ? "" : "s", m->n_l3s, m->n_l3s == 1 ? "" : "s", m->n_cores,
        m->n_cores == 1 ? "" : "s", allowed ? allowed : "");
    jb_autofree char *disallowed = jb_cpus_list(&m->disallowed);
    jb_autofree char *offline = jb_cpus_list(&m->offline);
    if (!jb_cpus_empty(&m->disallowed))
        (void)printf("not allowed     %s, to this process\n", disallowed ? disallowed : "");
    if (!jb_cpus_empty(&m->offline))
        (void)printf("offline         %s\n", offline ? offline : "");
    if (!jb_cpus_empty(&m->reserved))
        (void)printf("reserved        %s, by the site\n", reserved ? reserved : "");
    (void)printf("in use          %s%s%zu box%s%s\n", used ? used : "", jb_cpus_empty(&held) ? "" : " by ",
                 a->world->ledger.len, a->world->ledger.len == 1 ? "" : "es",
                 jb_streq(a->world->ledger_from, "unreadable") ? ", for all that can be seen from here" : "");
}

static void print_grant(const struct jb_grant *g)
{
    (void)printf("would start now\n");
    print_list("cpus", &g->cpus);
    if (!jb_cpus_equal(&g->cpus, &g->held) && g->exclusive)
        print_list("held", &g->held);
    (void)printf("  %-13s %u\n", "cores", g->cores);
    print_list("memory_nodes", &g->mems);
    (void)printf("  %-13s%s%s%s%s\n", "straddles", g->straddles_l3 ? " l3" : "",
                 g->straddles_numa ? " numa" : "", g->straddles_package ? " package" : "",
                 g->straddles_l3 || g->straddles_numa || g->straddles_package ? "" : " none");
    (void)printf("  %-13s %s\n", "why", g->explain);
}

static void print_refusal(const struct answer *a)
{
    const struct jb_explanation *e = &a->e;
    (void)printf("%s\n", e->verdict == -EBUSY ? "would not start now" : "would never start here");
    (void)printf("  %-13s %s\n", "why", e->reason.text);
    for (size_t i = 0; i < e->n_alternatives; i++) {
        jb_autofree char *list = jb_cpus_list(&e->alternatives[i].cpus);
        (void)printf("  %-13s %s (%s%s)\n",
                     i > 0                    ? ""
                     : e->alternatives[i].now ? "fits now"
                                              : "fits empty",
                     e->alternatives[i].change, e->alternatives[i].now ? "CPUs " : "on CPUs ",
                     list ? list : "");
    }
    for (size_t i = 0; i < e->n_enough; i++) {
        struct jb_holding h;
        jb_ledger_get(&a->world->ledger, e->enough[i], &h);
        jb_autofree char *list = jb_cpus_list(&h.cpus);
        (void)printf("  %-13s %.12s (%s), on CPUs %s\n", i > 0 ? "" : "or when ends", h.id.text,
                     *h.name ? h.name : "unnamed", list ? list : "");
    }
    if (e->verdict == -EBUSY && e->looked && e->n_enough == 0)
        (void)printf("  %-13s no one box alone: several have to end\n", "or when ends");
}

/* Where there is more than one place to choose from: those that have room, and always those taken. */
static void print_groups(const struct answer *a)
{
    const struct jb_explanation *e = &a->e;
    bool by_core = a->request.unit == JB_CPU_UNIT_CORE && !a->request.cpu_set_said;
    size_t shown = 0;
    size_t full = 0;
    if (e->n_groups < 2)
        return;
    (void)printf("free %s\n", by_core ? "cores" : "threads");
    for (size_t i = 0; i < e->n_groups; i++) {
        const struct jb_explain_group *g = &e->groups[i];
        char where[64];
        char taken[32] = "";
        full += !g->taken && !g->free;
        if (!g->taken && (!g->free || shown >= GROUPS_SHOWN))
            continue;
        (void)snprintf(where, sizeof(where), "L3 %u of node %u, package %u", g->l3, g->node, g->package);
        if (g->taken)
            (void)snprintf(taken, sizeof(taken), "; takes %u", g->taken);
        (void)printf("  %-33s %u of %u%s\n", where, g->free, g->total, taken);
        shown++;
    }
    if (shown + full < e->n_groups)
        (void)printf("  some in %zu L3 groups more; --json has them all\n", e->n_groups - shown - full);
    if (full)
        (void)printf("  none in %zu L3 group%s%s\n", full, full == 1 ? "" : "s", shown ? " more" : "");
}

static void print_devices(const struct answer *a)
{
    if (a->other_devices)
        (void)printf(
            "devices         not looked at: they are of this host and of the boxes that live here\n");
    else if (a->devices)
        (void)printf("  %-13s %s\n", "devices", a->devices->explain);
}

/*
 * Devices are of this host. They can move the CPUs, and be what stands in the way.
 */
static int add_devices(struct answer *a, struct jb_error *err)
{
    const struct jb_cli_job *job = a->job;
    struct jb_error why = {0};
    jb_autoheld struct jb_held held = {0};
    if (job->spec->resources.devices.len == 0)
        return 0;
    a->other_devices = !jb_streq(a->world->ledger_from, "ledger");
    if (a->other_devices)
        return 0;
    int r = jb_devices_held(job->spec, &job->state.ledger, &a->world->ledger, &held, err);
    if (r < 0)
        return r;
    const struct jb_devices_input in = {
        .spec = job->spec,
        .site = job->site,
        .machine = &a->world->machine,
        .ledger = &a->world->ledger,
        .held = &held,
        .facts = &jb_device_facts_kernel,
        .userns = !job->submitter.privileged,
    };
    struct jb_grant grant;
    r = jb_devices_place(&in, &a->request, &grant, &a->devices, &why);
    if (r == 0 && a->e.verdict == 0)
        a->e.grant = grant;
    if (r < 0 && a->e.verdict == 0) {
        a->e.verdict = r == -EBUSY                                    ? -EBUSY
                       : r == -EPERM || r == -ENOTSUP || r == -EINVAL ? -EINVAL
                                                                      : -ERANGE;
        a->e.reason = why;
        a->e.looked = false; /* which box has to end was asked for the CPUs alone */
        a->e.n_enough = 0;
    }
    return 0;
}

static json_t *request_json(const struct jb_request *q)
{
    return json_pack("{s:o, s:o, s:s, s:s, s:b, s:s, s:b, s:o}", "cpus",
                     jb_json_u64(q->cpu_set_said ? JB_UNSET : q->cpus), "cpu_set",
                     q->cpu_set_said ? jb_json_cpus(&q->cpu_set) : json_null(), "cpu_unit",
                     jb_cpu_unit_name(q->unit), "locality", jb_locality_name(q->locality), "strict",
                     (int)q->strict, "cpu_kind", jb_cpu_kind_name(q->kind), "exclusive", (int)q->exclusive,
                     "memory_bytes", jb_json_u64(q->memory));
}

static json_t *grant_json(const struct jb_grant *g)
{
    return json_pack(
        "{s:o, s:o, s:i, s:o, s:i, s:i, s:i, s:{s:b, s:b, s:b}, s:s, s:b, s:o, s:o}", "cpus",
        jb_json_cpus(&g->cpus), "held", jb_json_cpus(&g->held), "cores", (int)g->cores, "memory_nodes",
        jb_json_cpus(&g->mems), "l3s", (int)g->l3s, "numa_nodes", (int)g->numa_nodes, "packages",
        (int)g->packages, "straddles", "l3", (int)g->straddles_l3, "numa", (int)g->straddles_numa, "package",
        (int)g->straddles_package, "kind", jb_cpu_kind_name(g->kind), "exclusive", (int)g->exclusive,
        "memory_bytes", jb_json_u64(g->memory), "why", jb_json_text(g->explain));
}

static json_t *groups_json(const struct jb_explanation *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_groups; i++) {
        const struct jb_explain_group *g = &e->groups[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "l3", (int)g->l3, "numa_node",
                                              (int)g->node, "package", (int)g->package, "total",
                                              (int)g->total, "free", (int)g->free, "taken", (int)g->taken));
    }
    return list;
}

static json_t *alternatives_json(const struct jb_explanation *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_alternatives; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "change", e->alternatives[i].change,
                                                    "now", (int)e->alternatives[i].now, "cpus",
                                                    jb_json_cpus(&e->alternatives[i].cpus)));
    return list;
}

static json_t *boxes_json(const struct answer *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->e.n_enough; i++) {
        struct jb_holding h;
        jb_ledger_get(&a->world->ledger, a->e.enough[i], &h);
        (void)json_array_append_new(list, jb_json_text(h.id.text));
    }
    return list;
}

static int print_json(const struct answer *a)
{
    const struct jb_explanation *e = &a->e;
    const char *verdict = e->verdict == 0 ? "now" : e->verdict == -EBUSY ? "later" : "never";
    json_t *root = json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "job",
        jb_json_text(a->job->spec->name), "starts", verdict, "reason",
        e->verdict ? jb_json_text(e->reason.text) : json_null(), "request", request_json(&a->request),
        "grant", e->verdict ? json_null() : grant_json(&e->grant), "devices",
        a->other_devices || e->verdict ? json_null() : jb_devices_json(a->devices), "groups", groups_json(e),
        "fits_with", alternatives_json(e), "starts_when_one_ends", e->looked ? boxes_json(a) : json_null(),
        "ledger", a->world->ledger_from, "machine", jb_json_text(a->world->source), "in_use",
        jb_json_cpus(&a->world->ledger.used), "allowed", jb_json_cpus(&a->world->machine.allowed),
        "not_allowed", jb_json_cpus(&a->world->machine.disallowed), "offline",
        jb_json_cpus(&a->world->machine.offline));
    jb_autofree char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return -ENOMEM;
    (void)printf("%s\n", text);
    return 0;
}

static int print(const struct answer *a, bool json)
{
    struct jb_error err = {0};
    int r = 0;
    if (json) {
        r = print_json(a);
    } else {
        print_world(a);
        print_wish(&a->request, &a->world->machine);
        if (a->e.verdict == 0)
            print_grant(&a->e.grant);
        else
            print_refusal(a);
        print_devices(a);
        print_groups(a);
    }
    if (r == 0 && (fflush(stdout) == EOF || ferror(stdout)))
        r = -errno;
    if (r < 0) {
        (void)jb_fail_errno(&err, r, "writing to standard output");
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    return a->e.verdict == 0 ? 0 : JB_EXIT_NO_BOX;
}

int jb_cmd_explain(int argc, char **argv)
{
    jb_autowhatif struct jb_cli_whatif what = {0};
    bool json = false;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--job", 5) == 0 && (argv[i][5] == '\0' || argv[i][5] == '='))
            return jb_cmd_explain_job(argc, argv);
    int code = parse(argc, argv, &what, &json);
    if (code >= 0)
        return code;
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoworld struct jb_cli_world world = {0};
    struct answer a = {.job = &job, .world = &world};
    struct jb_error err = {0};
    code = jb_cli_load(what.config, argv[optind], &job);
    if (code == 0)
        code = jb_cli_world_load(&what, &job, &world);
    if (code)
        return code;
    if (jb_plan_request(job.spec, job.site, &a.request, &err) < 0)
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    int r = jb_explain(&world.machine, &world.ledger, &a.request, &a.e, &err);
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (a.e.verdict == -EINVAL)
        (void)jb_wrap(&a.e.reason, "%s", job.spec->file);
    r = add_devices(&a, &err);
    if (r < 0) {
        code = jb_cli_fail(JB_EXIT_NO_BOX, &err);
    } else if (a.e.verdict == -EINVAL) {
        code = jb_cli_fail(JB_EXIT_USAGE, &a.e.reason);
    } else {
        code = print(&a, json);
    }
    jb_explanation_free(&a.e);
    jb_devices_free(a.devices);
    return code;
}
