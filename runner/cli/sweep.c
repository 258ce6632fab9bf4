/*
 * sweep.c - jobbox sweep: recovery on demand.
 *
 * Owns: nothing. Runs in: the client. Privilege: as the boxes'.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"

static const char usage[] = "Usage: jobbox sweep [OPTION]...\n"
                            "Finishes boxes whose supervisor died: ends their processes, writes their "
                            "records, removes what is left.\n"
                            "Every jobbox run does this first; where many boxes live, for some of them.\n\n"
                            "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                            "      --json         print {\"recovered\": N}\n"
                            "  -h, --help         this text\n";

int jb_cmd_sweep(int argc, char **argv)
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
            return jb_cli_bad_option("sweep", c, argv);
        }
    }
    if (optind != argc)
        return jb_cli_usage("sweep", "it takes no arguments");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    int code = jb_cli_load(config, NULL, &job);
    if (code)
        return code;
    struct jb_error err = {0};
    if (jb_state_open(&job.state, &job.submitter, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    int n = jb_sweep(&job.state, job.site, &err);
    if (n >= 0 && json)
        (void)printf("{\"recovered\": %d}\n", n);
    else if (n > 0)
        (void)printf("%d box%s recovered\n", n, n == 1 ? "" : "es");
    return n < 0 || err.errnum ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : 0;
}
