/*
 * signal.c - jobbox signal.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the box's supervisor decides.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cli.h"

static const char usage[] = "Usage: jobbox signal [OPTION]... ID SIGNAL\n"
                            "Sends a signal to every process of a box: USR1, SIGUSR1 or 10.\n\n"
                            "  -m, --main         to its main process alone\n"
                            "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                            "      --own          a job of your own queue, not the system's\n"
                            "  -h, --help         this text\n";

/* 0: no such signal. */
static int number_of(const char *text)
{
    uint64_t number;
    if (jb_parse_u64(text, 64, &number) == 0)
        return (int)number;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (int sig = 1; sig < 32; sig++) {
        const char *name = sigabbrev_np(sig);
        if (name && strcasecmp(text, name) == 0)
            return sig;
    }
    return 0;
}

int jb_cmd_signal(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"main", no_argument, NULL, 'm'},
                                            {"own", no_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = NULL;
    bool main_only = false;
    bool own = false;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:mh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'm':
            main_only = true;
            break;
        case 'o':
            own = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("signal", c, argv);
        }
    }
    if (optind + 2 != argc)
        return jb_cli_usage("signal", "it takes an id and a signal");
    int sig = number_of(argv[optind + 1]);
    if (sig == 0)
        return jb_cli_usage("signal", "that is not a signal; write it like USR1 or 10");
    char *ids[] = {argv[optind], NULL};
    json_t *answers = NULL;
    json_t *request = json_pack("{s:s, s:i, s:b}", "verb", "signal", "signal", sig, "main", main_only);
    int code = jb_cli_ask(config, own, ids, request, &answers);
    if (code == 0 && json_is_true(json_object_get(json_array_get(answers, 0), "delayed")))
        (void)fprintf(stderr, "jobbox: the box is paused; it gets the signal when it goes on\n");
    json_decref(request);
    json_decref(answers);
    return code;
}
