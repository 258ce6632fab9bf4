/*
 * create.c - jobbox create and jobbox destroy.
 *
 * Owns: nothing. Runs in: the client; a created box has a supervisor of its own. Privilege: the user's.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cli/cli.h"
#include "job/exec/boxes.h"
#include "record/record.h"

static const char create_usage[] =
    "Usage: jobbox create [OPTION]... JOB.yaml\n"
    "Makes a box that stays, and prints its id when it stands. What the spec says to run is not run: use "
    "jobbox exec.\n"
    "JOB.yaml may be - for standard input.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --wait[=TIME]  when CPUs or memory are taken, wait for them in order of arrival, at most TIME\n"
    "      --json         print the id as JSON\n"
    "  -h, --help         this text\n";

static const char destroy_usage[] =
    "Usage: jobbox destroy [OPTION]... ID\n"
    "Ends a box that was made with jobbox create, with all that runs in it, and waits until its record is "
    "written.\n\n"
    "  -x, --exit-code N  the exit code that the record is to have; default 0\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --json         print the record\n"
    "  -q, --quiet        no summary\n"
    "  -h, --help         this text\n";

enum { OPT_WAIT = 256 };

struct options {
    const char *config;
    bool json, quiet, wait;
    uint64_t wait_ns;
    uint64_t exit_code;
};

static int create(const struct options *o, struct jb_cli_job *job)
{
    static const int exit_codes[] = {
        [JB_JOB_RAN] = JB_EXIT_NO_BOX,
        [JB_JOB_BAD_SPEC] = JB_EXIT_USAGE,
        [JB_JOB_NO_BOX] = JB_EXIT_NO_BOX,
        [JB_JOB_CANCELLED] = JB_EXIT_CANCELLED,
    };
    struct jb_error err = {0};
    struct jb_error warning = {0};
    enum jb_job_failure failure = JB_JOB_NO_BOX;
    struct jb_id id;
    if (jb_state_open(&job->state, &job->submitter, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    (void)jb_sweep(&job->state, job->site, &warning);
    if (warning.errnum)
        (void)jb_cli_fail(0, &warning);
    const struct jb_job_options options = {
        .spec = job->spec,
        .site = job->site,
        .submitter = &job->submitter,
        .state = &job->state,
        .origin = "cli",
        .wait = o->wait,
        .wait_ns = o->wait_ns,
    };
    if (jb_boxes_create(&options, &id, &failure, &err) < 0)
        return jb_cli_fail(exit_codes[failure], &err);
    (void)printf(o->json ? "{\"id\": \"%s\"}\n" : "%s\n", id.text);
    if (fflush(stdout) == EOF) {
        (void)jb_fail_errno(&err, errno, "box %s stands, but its id cannot be printed", id.text);
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    return 0;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, const char *usage, const char *letters, struct options *ret)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"exit-code", required_argument, NULL, 'x'},
                                            {"wait", optional_argument, NULL, OPT_WAIT},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    bool destroys = usage == destroy_usage;
    int c;
    opterr = 0;
    ret->wait_ns = JB_UNSET;
    while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        if (c == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (c == 'c')
            ret->config = optarg;
        else if (c == 'j')
            ret->json = true;
        else if (c == 'q' && destroys)
            ret->quiet = true;
        else if (c == 'x' && destroys && jb_parse_u64(optarg, 255, &ret->exit_code) < 0)
            return jb_cli_usage(argv[0], "--exit-code takes a number from 0 to 255");
        else if (c == OPT_WAIT && !destroys && optarg && jb_parse_duration(optarg, &ret->wait_ns) < 0)
            return jb_cli_usage(argv[0],
                                "--wait takes a duration, like --wait=90s, --wait=15m or --wait=1h30m");
        else if (c == OPT_WAIT && !destroys)
            ret->wait = true;
        else if (c != 'x' || !destroys)
            return jb_cli_bad_option(argv[0], c, argv);
    }
    return -1;
}

int jb_cmd_create(int argc, char **argv)
{
    struct options o = {0};
    int code = parse(argc, argv, create_usage, ":c:h", &o);
    if (code >= 0)
        return code;
    if (optind + 1 != argc)
        return jb_cli_usage("create", optind == argc ? "which box? Name a YAML file" : "one box at a time");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    code = jb_cli_load_box(o.config, argv[optind], &job);
    return code ? code : create(&o, &job);
}

static int report(const struct options *o, const json_t *record)
{
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    jb_autofree char *line = NULL;
    size_t len;
    if (!o->quiet && jb_record_summary(record, &text, &err) == 0)
        (void)fputs(text, stderr);
    if (!o->json)
        return 0;
    if (jb_record_line(record, &line, &len, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (fputs(line, stdout) == EOF || fflush(stdout) == EOF) {
        (void)jb_fail_errno(&err, errno, "writing the record to standard output");
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    return 0;
}

int jb_cmd_destroy(int argc, char **argv)
{
    struct options o = {0};
    struct jb_error err = {0};
    struct jb_id id;
    json_t *record = NULL;
    int code = parse(argc, argv, destroy_usage, ":c:qx:h", &o);
    if (code >= 0)
        return code;
    if (optind + 1 != argc)
        return jb_cli_usage("destroy", "which box? Give its id, or the beginning of it");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    code = jb_cli_one_box(o.config, false, argv[optind], &job, &id);
    if (code)
        return code;
    if (jb_boxes_destroy(job.state.ledger.boxes_fd, &id, (int)o.exit_code, &record, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    code = report(&o, record);
    json_decref(record);
    return code;
}
