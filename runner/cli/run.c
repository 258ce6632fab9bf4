/*
 * run.c - jobbox run.
 *
 * Owns: the user's terminal settings while a job with a terminal runs. Runs in: the client, as supervisor.
 * Privilege: the user's.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "record/record.h"

struct run_options {
    const char *config;
    const char *spec;
    bool json, quiet, tty;
};

static const char usage[] =
    "Usage: jobbox run [OPTION]... JOB.yaml\n"
    "Runs the job and waits for its end. JOB.yaml may be - for standard input.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --json         print the record on standard output; the job's own output goes to standard error\n"
    "  -q, --quiet        no summary\n"
    "  -t, --tty          give the job a terminal of its own, connected to this one\n"
    "  -h, --help         this text\n";

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct run_options *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},        {"tty", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:qth", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config = optarg;
            break;
        case 'j':
            ret->json = true;
            break;
        case 'q':
            ret->quiet = true;
            break;
        case 't':
            ret->tty = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_usage("run", "unknown option");
        }
    }
    if (optind + 1 != argc)
        return jb_cli_usage("run", optind == argc ? "which job? Name a YAML file" : "one job at a time");
    ret->spec = argv[optind];
    return -1;
}

static int start_terminal(const struct run_options *o, struct termios *ret_saved)
{
    struct termios raw;
    if (!o->tty)
        return 0;
    if (o->json || !isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, ret_saved) < 0)
        return jb_cli_usage("run", o->json ? "--tty and --json do not go together"
                                           : "--tty: standard input is not a terminal");
    raw = *ret_saved;
    cfmakeraw(&raw);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    return 0;
}

static int report(const struct run_options *o, const json_t *record)
{
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    size_t len;
    const char *error = json_string_value(jb_record_get(record, "end", "error"));
    if (o->quiet && error) /* an error is not a summary */
        (void)fprintf(stderr, "jobbox: %s: %s\n", json_string_value(json_object_get(record, "name")), error);
    if (!o->quiet && jb_record_summary(record, &text, &err) == 0)
        (void)fputs(text, stderr);
    free(jb_take_ptr(text));
    if (o->json) {
        if (jb_record_line(record, &text, &len, &err) < 0)
            return jb_cli_fail(JB_EXIT_NO_BOX, &err);
        if (fputs(text, stdout) == EOF || fflush(stdout) == EOF) {
            (void)jb_fail_errno(&err, errno, "writing the record to standard output");
            return jb_cli_fail(JB_EXIT_NO_BOX, &err);
        }
    }
    return jb_record_exit_code(record);
}

/*
 * From here on these are for the job: jb_job_run takes them. What comes when the job has ended must not take the record
 * and the exit code away.
 */
static void hold_signals(void)
{
    static const int held[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < JB_ARRAY_LEN(held); i++)
        sigaddset(&set, held[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int run(const struct run_options *o, struct jb_cli_job *job)
{
    struct jb_error err = {0};
    struct jb_error warning = {0};
    enum jb_job_failure failure = JB_JOB_NO_BOX;
    struct termios saved;
    json_t *record = NULL;
    if (jb_state_open(&job->state, &job->submitter, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    (void)jb_sweep(&job->state, job->site, &warning);
    if (warning.errnum)
        (void)jb_cli_fail(0, &warning);
    jb_error_clear(&warning);
    int code = start_terminal(o, &saved);
    if (code)
        return code;
    struct jb_job_options options = {
        .spec = job->spec,
        .site = job->site,
        .submitter = &job->submitter,
        .state = &job->state,
        .origin = "cli",
        .out_fd = o->json ? STDERR_FILENO : STDOUT_FILENO,
        .err_fd = STDERR_FILENO,
        .tty = o->tty,
        .tty_fd = STDIN_FILENO,
    };
    hold_signals();
    int r = jb_job_run(&options, &record, &failure, &warning, &err);
    if (o->tty)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    if (r < 0)
        return jb_cli_fail(failure == JB_JOB_BAD_SPEC ? JB_EXIT_USAGE : JB_EXIT_NO_BOX, &err);
    if (warning.errnum)
        (void)jb_cli_fail(0, &warning);
    code = report(o, record);
    json_decref(record);
    return code;
}

int jb_cmd_run(int argc, char **argv)
{
    struct run_options o = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    code = jb_cli_load(o.config, o.spec, &job);
    return code ? code : run(&o, &job);
}
