/*
 * doctor.c - jobbox doctor: what this host has of what jobbox needs.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; its probes leave nothing behind.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "doctor/doctor.h"

#define EXIT_NOT_WELL 1

static const char usage[] =
    "Usage: jobbox doctor [OPTION]...\n"
    "Says what this host has of what jobbox needs: one line for each check, ok, degraded or missing.\n"
    "Exit code 0 when a job with the default guarantees can run here for this user, else 1.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --fix-hints    also what to do about it\n"
    "      --json         as JSON, with what to do\n"
    "  -h, --help         this text\n";

struct doctor_options {
    const char *config;
    bool fixes, json;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct doctor_options *ret)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"fix-hints", no_argument, NULL, 'f'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config = optarg;
            break;
        case 'f':
            ret->fixes = true;
            break;
        case 'j':
            ret->json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("doctor", c, argv);
        }
    }
    return optind == argc ? -1 : jb_cli_usage("doctor", "it takes no arguments");
}

static int print(const struct doctor_options *o, const struct jb_findings *findings)
{
    jb_autofree char *text = NULL;
    if (o->json) {
        json_t *root = jb_findings_json(findings);
        text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
        json_decref(root);
    } else {
        text = jb_findings_text(findings, o->fixes);
    }
    if (!text || fputs(text, stdout) == EOF || (o->json && fputc('\n', stdout) == EOF) ||
        fflush(stdout) == EOF) {
        struct jb_error err = {0};
        (void)jb_fail_errno(&err, text ? errno : ENOMEM, "writing to standard output");
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    return jb_findings_well(findings) ? 0 : EXIT_NOT_WELL;
}

/* A config with faults is a finding here, and the rest is looked at with the defaults. */
int jb_cmd_doctor(int argc, char **argv)
{
    struct doctor_options o = {0};
    struct jb_diags diags = {0};
    struct jb_error err = {0};
    jb_autosite struct jb_site *site = NULL;
    jb_autofindings struct jb_findings findings = {0};
    jb_autofree char *site_error = NULL;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    if (jb_site_load(o.config, &site, &diags) < 0) {
        site_error = jb_diags_format(&diags);
        jb_diags_free(&diags);
        if (!site_error || jb_site_default(&site) < 0)
            return jb_cli_fail(JB_EXIT_NO_BOX, (jb_fail_errno(&err, ENOMEM, "doctor"), &err));
        size_t len = strlen(site_error);
        if (len > 0 && site_error[len - 1] == '\n')
            site_error[len - 1] = '\0';
    }
    if (jb_doctor_examine(site, site_error, &findings, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    return print(&o, &findings);
}
