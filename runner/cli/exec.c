/*
 * exec.c - jobbox exec.
 *
 * Owns: the user's terminal settings while a command with a terminal runs. Runs in: the client. Privilege: the user's; the
 * box's supervisor decides.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cli.h"
#include "job/exec/boxes.h"

static const char usage[] =
    "Usage: jobbox exec [OPTION]... ID [--] COMMAND [ARGUMENT]...\n"
    "Executes a command in a live box and waits for its end; then all that it started is ended too. Exits as "
    "the command\n"
    "does: its own code, 126 or 127 when it cannot be executed or found, 128+N for signal N.\n\n"
    "  -u, --user UID[:GID]   as somebody else (root only)\n"
    "  -w, --workdir DIR      in this directory of the box\n"
    "  -e, --env NAME[=VALUE] set a variable; without a value, to the one it has here\n"
    "  -t, --tty              give the command a terminal of its own, connected to this one\n"
    "      --timeout TIME     end it after so long; the exit code is 120 then\n"
    "      --keep-children    leave running what the command leaves behind; it ends with the box\n"
    "      --own              in a job of your own queue, not the system's\n"
    "      --json             print what the record will say of it on standard error\n"
    "  -c, --config FILE      site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "  -h, --help             this text\n";

struct options {
    const char *config;
    bool json, own;
    struct jb_exec_ask ask; /* owned */
};

enum { OPT_TIMEOUT = 256, OPT_KEEP };

static int add_env(struct jb_exec_ask *ask, const char *text)
{
    const char *value = strchr(text, '=') ? NULL : getenv(text);
    if (text[0] == '\0' || text[0] == '=')
        return jb_cli_usage("exec", "--env takes NAME=value, or a NAME that is set here");
    if (!strchr(text, '=') && !value) /* not set here, so not there either */
        return 0;
    int r = value ? jb_strv_printf(&ask->env, "%s=%s", text, value) : jb_strv_add(&ask->env, text);
    return r < 0 ? jb_cli_usage("exec", "out of memory") : 0;
}

/* 0 or the exit code. */
static int take(int c, struct options *o)
{
    switch (c) {
    case 'c':
        o->config = optarg;
        return 0;
    case 'o':
        o->own = true;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case 'u':
        return jb_exec_ask_user(optarg, &o->ask) < 0
                   ? jb_cli_usage("exec", "--user takes UID or UID:GID, in digits")
                   : 0;
    case 'w':
        free(o->ask.workdir);
        o->ask.workdir = strdup(optarg);
        return o->ask.workdir ? 0 : jb_cli_usage("exec", "out of memory");
    case 'e':
        return add_env(&o->ask, optarg);
    case 't':
        o->ask.tty = true;
        return 0;
    case OPT_KEEP:
        o->ask.keep_children = true;
        return 0;
    default:
        return jb_parse_duration(optarg, &o->ask.timeout_ns) < 0 || o->ask.timeout_ns == 0
                   ? jb_cli_usage("exec", "--timeout takes a duration, like 90s, 15m or 1h30m")
                   : 0;
    }
}

/* -1: go on; otherwise the exit code. Options end at the id: the command's own are not ours. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"user", required_argument, NULL, 'u'},
                                            {"workdir", required_argument, NULL, 'w'},
                                            {"env", required_argument, NULL, 'e'},
                                            {"tty", no_argument, NULL, 't'},
                                            {"timeout", required_argument, NULL, OPT_TIMEOUT},
                                            {"keep-children", no_argument, NULL, OPT_KEEP},
                                            {"own", no_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:c:u:w:e:th", options, NULL)) != -1) {
        if (c == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (c == '?' || c == ':')
            return jb_cli_bad_option("exec", c, argv);
        int code = take(c, o);
        if (code)
            return code;
    }
    return -1;
}

/* What is to be executed: what follows the id, and "--" where it is written. */
static int take_command(int argc, char **argv, struct options *o)
{
    int at = optind + 1;
    if (at < argc && jb_streq(argv[at], "--"))
        at++;
    if (optind >= argc || at >= argc)
        return jb_cli_usage("exec", optind >= argc ? "in which box? Give its id, or the beginning of it"
                                                   : "which command? Write it behind the id");
    for (; at < argc; at++)
        if (jb_strv_add(&o->ask.argv, argv[at]) < 0)
            return jb_cli_usage("exec", "out of memory");
    return 0;
}

static int signals(void)
{
    static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < JB_ARRAY_LEN(taken); i++) {
        struct sigaction current; /* what the caller ignores (nohup) stays ignored */
        if (sigaction(taken[i], NULL, &current) == 0 && current.sa_handler != SIG_IGN)
            sigaddset(&set, taken[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int make_raw(struct jb_exec_ask *ask, struct termios *saved)
{
    struct winsize size;
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, saved) < 0)
        return jb_cli_usage("exec", "--tty: standard input is not a terminal");
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        ask->rows = size.ws_row;
        ask->cols = size.ws_col;
    }
    if (term && jb_strv_printf(&ask->env, "TERM=%s", term) < 0)
        return jb_cli_usage("exec", "out of memory");
    struct termios raw = *saved;
    cfmakeraw(&raw);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    return 0;
}

/* Who reads us has gone, and wants no more. */
static bool reader_is_gone(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

static int report(const struct options *o, const json_t *entry)
{
    const char *error = json_string_value(json_object_get(entry, "error"));
    const char *reason = json_string_value(json_object_get(entry, "reason"));
    if (o->json) {
        char *text = json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(15));
        (void)fprintf(stderr, "%s\n", text ? text : "null");
        free(text);
    } else if (error) {
        (void)fprintf(stderr, "jobbox: %s: %s\n", o->ask.argv.items[0], error);
    }
    if (!o->json && json_is_true(json_object_get(entry, "left_processes")))
        (void)fprintf(stderr, "jobbox: processes of the command could not be ended (%s)\n", reason);
    if (!o->json && json_is_true(json_object_get(entry, "output_truncated")) &&
        !reader_is_gone(STDOUT_FILENO))
        (void)fprintf(stderr,
                      "jobbox: %s: not all of its output came out: whoever reads it took nothing for 5 s, it "
                      "could not be written, or limits.output was reached\n",
                      o->ask.argv.items[0]);
    return jb_boxes_exit_code(entry);
}

static int execute(struct options *o, const char *id_text)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_error err = {0};
    struct termios saved;
    struct jb_id id;
    json_t *entry = NULL;
    int code = jb_cli_one_box(o->config, o->own, id_text, &job, &id);
    if (code == 0 && o->ask.tty)
        code = make_raw(&o->ask, &saved);
    if (code)
        return code;
    jb_autoclose int signal_fd = signals();
    const struct jb_boxes_exec exec = {.ask = &o->ask,
                                       .in = STDIN_FILENO,
                                       .out = STDOUT_FILENO,
                                       .err = STDERR_FILENO,
                                       .signal_fd = signal_fd,
                                       .tty_fd = o->ask.tty ? STDIN_FILENO : -1,
                                       .relay = job.queued && job.submitter.uid != 0};
    int r = jb_boxes_exec(job.state.ledger.boxes_fd, &id, &exec, &entry, &err);
    if (o->ask.tty)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    code = report(o, entry);
    json_decref(entry);
    return code;
}

int jb_cmd_exec(int argc, char **argv)
{
    struct options o = {.ask = JB_EXEC_ASK_INIT};
    int code = parse(argc, argv, &o);
    if (code < 0)
        code = take_command(argc, argv, &o);
    else {
        jb_exec_ask_free(&o.ask);
        return code;
    }
    if (code == 0)
        code = execute(&o, argv[optind]);
    jb_exec_ask_free(&o.ask);
    return code;
}
