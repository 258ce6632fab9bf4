/*
 * top.c - jobbox top: what the live boxes use, as it goes.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's.
 */
#include "cli/top.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

static const char usage[] =
    "Usage: jobbox top [OPTION]...\n"
    "Shows what the live boxes use: CPU, memory, its pressure, processes, I/O; again every second, until "
    "q.\n\n"
    "  -c, --config FILE      site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "  -i, --interval TIME    between two readings (default 1s)\n"
    "  -s, --sort KEY         cpu (the default), memory, pressure, pids, io, time, name or user\n"
    "  -r, --reverse          the least first\n"
    "      --once             one table, of the time between two readings, and no more\n"
    "      --json             with --once: as JSON; what is not known is null\n"
    "  -h, --help             this text\n";

struct options {
    const char *config;
    struct jb_top_live live;
    bool once, json;
};

static int take_sort(struct options *o, const char *text)
{
    for (size_t i = 0; i < JB_TOP_SORT_MAX; i++)
        if (jb_streq(text, jb_top_keys[i].name)) {
            o->live.sort = (enum jb_top_sort)i;
            return -1;
        }
    return jb_cli_usage("top", "--sort is cpu, memory, pressure, pids, io, time, name or user");
}

static int take_interval(struct options *o, const char *text)
{
    uint64_t ns;
    if (jb_parse_duration(text, &ns) < 0 || ns < 100 * JB_NS_PER_MS || ns > 3600 * JB_NS_PER_S)
        return jb_cli_usage("top", "--interval wants a time from 100ms to 1h");
    o->live.interval_ns = ns;
    return -1;
}

/* -1: go on; otherwise the exit code. */
static int take(struct options *o, int c, char **argv)
{
    switch (c) {
    case 'c':
        o->config = optarg;
        return -1;
    case 'i':
        return take_interval(o, optarg);
    case 's':
        return take_sort(o, optarg);
    case 'r':
        o->live.reverse = true;
        return -1;
    case 'o':
        o->once = true;
        return -1;
    case 'j':
        o->json = true;
        return -1;
    case 'h':
        (void)fputs(usage, stdout);
        return 0;
    default:
        return jb_cli_bad_option("top", c, argv);
    }
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"interval", required_argument, NULL, 'i'},
        {"sort", required_argument, NULL, 's'},   {"reverse", no_argument, NULL, 'r'},
        {"once", no_argument, NULL, 'o'},         {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:i:s:rh", options, NULL)) != -1) {
        int code = take(o, c, argv);
        if (code >= 0)
            return code;
    }
    if (optind != argc)
        return jb_cli_usage("top", "it takes no arguments");
    if (o->json && !o->once)
        return jb_cli_usage("top", "--json needs --once");
    if (!o->once && !isatty(STDOUT_FILENO))
        return jb_cli_usage("top", "standard output is no terminal: write --once");
    return -1;
}

static int print_once(struct jb_top *top, const struct options *o)
{
    struct winsize size;
    jb_autobuf struct jb_buf text = {0};
    struct jb_top_style style = {.sort = o->live.sort, .reverse = o->live.reverse};
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        style.width = size.ws_col;
    if (o->json) {
        json_t *list = jb_top_json(top, o->live.sort, o->live.reverse);
        jb_cli_print_answers(list);
        json_decref(list);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (top->n == 0)
        return 0;
    if (jb_top_table(top, &style, "\n", &text) < 0)
        return jb_cli_usage("top", "out of memory");
    return jb_write_all(STDOUT_FILENO, text.data, text.len) < 0 ? 1 : 0;
}

static int once(struct jb_top *top, const struct options *o)
{
    struct jb_error err = {0};
    const struct timespec pause = {.tv_sec = (time_t)(o->live.interval_ns / JB_NS_PER_S),
                                   .tv_nsec = (long)(o->live.interval_ns % JB_NS_PER_S)};
    int r = jb_top_read(top, &err);
    if (r == 0 && top->n > 0) {
        (void)nanosleep(&pause, NULL);
        r = jb_top_read(top, &err);
    }
    return r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : print_once(top, o);
}

int jb_cmd_top(int argc, char **argv)
{
    struct options o = {.live = {.interval_ns = JB_NS_PER_S}};
    jb_autotop struct jb_top top = JB_TOP_INIT;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    code = jb_cli_load(o.config, NULL, &top.job);
    if (code)
        return code;
    return o.once ? once(&top, &o) : jb_top_live(&top, &o.live);
}
