/*
 * plan.c - jobbox plan: the dry run.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; it reads the ledger where it may and touches nothing.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: jobbox plan [OPTION]... JOB.yaml\n"
    "Prints what `jobbox run` would do now: CPUs and why, cgroup files and values, mount operations in "
    "order,\n"
    "namespaces, identity, environment, argv, limits. Needs no privilege and touches nothing.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --json         as JSON\n"
    "  -h, --help         this text\n";

static int print(const struct jb_plan *plan, bool json)
{
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    if (json) {
        json_t *root = jb_plan_to_json(plan);
        text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
        json_decref(root);
    } else if (jb_plan_to_text(plan, &text, &err) < 0) {
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    (void)fputs(text ? text : "", stdout);
    (void)fputs(json ? "\n" : "", stdout);
    return text ? 0 : JB_EXIT_NO_BOX;
}

int jb_cmd_plan(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = NULL;
    bool json = false;
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        if (c == 'c') {
            config = optarg;
        } else if (c == 'j') {
            json = true;
        } else if (c == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        } else {
            return jb_cli_bad_option("plan", c, argv);
        }
    }
    if (optind + 1 != argc)
        return jb_cli_usage("plan", optind == argc ? "which job? Name a YAML file" : "one job at a time");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    int code = jb_cli_load(config, argv[optind], &job);
    if (code)
        return code;
    struct jb_error err = {0};
    (void)jb_cli_peek(&job.state, &err); /* a ledger that cannot be read counts as empty */
    jb_error_clear(&err);
    struct jb_host host = {0};
    enum jb_job_failure failure = JB_JOB_NO_BOX;
    jb_autoplan struct jb_plan *plan = NULL;
    struct jb_job_options o = {.spec = job.spec,
                               .site = job.site,
                               .submitter = &job.submitter,
                               .state = &job.state,
                               .origin = "cli"};
    int r = jb_job_plan(&o, &host, &plan, &failure, &err);
    code = r < 0 ? jb_cli_fail(failure == JB_JOB_BAD_SPEC ? JB_EXIT_USAGE : JB_EXIT_NO_BOX, &err)
                 : print(plan, json);
    jb_host_free(&host);
    return code;
}
