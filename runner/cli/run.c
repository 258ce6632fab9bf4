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
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/image.h"
#include "cli/kept.h"
#include "record/record.h"

/* What the user sees while the job waits. */
struct screen {
    const struct jb_cli_run *o;
    struct termios saved; /* with --tty: as it was found */
    bool drawn;
};

enum { OPT_WAIT = 256, OPT_CHANGES };

static const char usage[] =
    "Usage: jobbox run [OPTION]... JOB.yaml\n"
    "Runs the job and waits for its end. JOB.yaml may be - for standard input.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --json         print the record on standard output; the job's own output goes to standard error\n"
    "  -q, --quiet        no summary\n"
    "  -t, --tty          give the job a terminal of its own, connected to this one\n"
    "      --wait[=TIME]  when CPUs or memory are taken, wait for them in order of arrival, at most TIME\n"
    "      --changes[=FILE]  list what the job changed on standard error, or in FILE (as JSON where it ends "
    "in .json)\n"
    "  -h, --help         this text\n";

static int parse_wait(const char *text, struct jb_cli_run *ret)
{
    ret->wait = true;
    ret->wait_ns = JB_UNSET;
    if (!text || jb_parse_duration(text, &ret->wait_ns) == 0)
        return 0;
    return jb_cli_usage("run", "--wait takes a duration, like --wait=90s, --wait=15m or --wait=1h30m");
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct jb_cli_run *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"tty", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {"wait", optional_argument, NULL, OPT_WAIT},
        {"changes", optional_argument, NULL, OPT_CHANGES},
        {0},
    };
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":c:qth", options, NULL)) != -1) {
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
        case OPT_WAIT:
            if (parse_wait(optarg, ret))
                return JB_EXIT_USAGE;
            break;
        case OPT_CHANGES:
            ret->changes = true;
            ret->changes_path = optarg;
            if (optarg && (!*optarg || optarg[strlen(optarg) - 1] == '/'))
                return jb_cli_usage("run", "--changes=FILE takes the name of a file");
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("run", c, argv);
        }
    }
    if (optind + 1 != argc)
        return jb_cli_usage("run", optind == argc ? "which job? Name a YAML file" : "one job at a time");
    ret->spec = argv[optind];
    return -1;
}

static void make_raw(const struct screen *screen)
{
    struct termios raw = screen->saved;
    cfmakeraw(&raw);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void make_cooked(const struct screen *screen)
{
    if (screen->o->tty)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &screen->saved);
}

static int start_terminal(struct screen *screen)
{
    if (!screen->o->tty)
        return 0;
    if (screen->o->json || !isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &screen->saved) < 0)
        return jb_cli_usage("run", screen->o->json ? "--tty and --json do not go together"
                                                   : "--tty: standard input is not a terminal");
    make_raw(screen);
    return 0;
}

/* On a terminal the line is written over, and goes with the wait; elsewhere it is written once. */
static void tell(struct screen *screen, const char *text)
{
    struct winsize size;
    bool terminal = isatty(STDERR_FILENO);
    int width =
        terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1 : 200;
    jb_autofree char *line = text ? jb_asprintf("jobbox: waiting: %s", text) : NULL;
    if (terminal && line)
        (void)fprintf(stderr, "\r\033[K%.*s", width, line);
    else if (terminal && screen->drawn)
        (void)fputs("\r\033[K", stderr);
    else if (line && !screen->drawn)
        (void)fprintf(stderr, "%s\n", line);
    (void)fflush(stderr);
    screen->drawn = true;
}

/* While the job waits there is nothing behind the terminal: its keys are signals to jobbox again. */
static void notice(void *ctx, const char *text)
{
    struct screen *screen = ctx;
    if (text)
        make_cooked(screen);
    if (!screen->o->quiet)
        tell(screen, text);
    if (!text && screen->o->tty)
        make_raw(screen);
}

static int report(const struct jb_cli_run *o, const json_t *record)
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

int jb_cli_run(const struct jb_cli_run *o, struct jb_cli_job *job)
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
    struct screen screen = {.o = o};
    json_t *record = NULL;
    if (job->state.state_fd < 0 && jb_state_open(&job->state, &job->submitter, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    (void)jb_sweep_some(&job->state, job->site, &warning);
    if (warning.errnum)
        (void)jb_cli_fail(0, &warning);
    jb_error_clear(&warning);
    int code = start_terminal(&screen);
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
        .wait = o->wait,
        .wait_ns = o->wait_ns,
        .changes = o->changes,
        .changes_path = o->changes_path,
        .changes_fd = STDERR_FILENO,
        .over = o->over,
        .over_id = o->over_id,
        .notice = notice,
        .notice_ctx = &screen,
    };
    struct jb_cli_image_options image_options = {.quiet = o->quiet};
    struct jb_cli_image image = {.o = &image_options};
    jb_cli_image_ui(&image);
    options.image_ui = &image.ui;
    hold_signals();
    int r = jb_job_run(&options, &record, &failure, &warning, &err);
    make_cooked(&screen);
    if (r < 0)
        return jb_cli_fail(exit_codes[failure], &err);
    if (warning.errnum)
        (void)jb_cli_fail(0, &warning);
    code = report(o, record);
    json_decref(record);
    return code;
}

int jb_cmd_run(int argc, char **argv)
{
    struct jb_cli_run o = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    code = jb_cli_load(o.config, o.spec, &job);
    return code ? code : jb_cli_run(&o, &job);
}
