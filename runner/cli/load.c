/*
 * load.c - what most verbs start with: site config, submitter, spec.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: the user's.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"

int jb_cli_fail(int code, const struct jb_error *err)
{
    (void)fprintf(stderr, "jobbox: %s\n", err->text);
    return code;
}

int jb_cli_usage(const char *verb, const char *what)
{
    (void)fprintf(stderr, "jobbox %s: %s; see jobbox %s --help\n", verb, what, verb);
    return JB_EXIT_USAGE;
}

static int print_diags(struct jb_diags *diags)
{
    jb_autofree char *text = jb_diags_format(diags);
    (void)fputs(text && *text ? text : "jobbox: out of memory\n", stderr);
    jb_diags_free(diags);
    return JB_EXIT_USAGE;
}

int jb_cli_load(const char *config, const char *spec_path, struct jb_cli_job *ret)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_diags diags = {0};
    struct jb_error err = {0};
    if (jb_site_load(config, &job.site, &diags) < 0)
        return print_diags(&diags);
    if (jb_submitter_self(&job.submitter, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (jb_state_paths(job.site, &job.submitter, &job.state, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (spec_path && jb_spec_load(spec_path, &job.spec, &diags) < 0)
        return print_diags(&diags);
    *ret = job;
    job = JB_CLI_JOB_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_cli_job_free(struct jb_cli_job *job)
{
    jb_spec_free(job->spec);
    jb_site_free(job->site);
    jb_submitter_free(&job->submitter);
    jb_state_close(&job->state);
    *job = JB_CLI_JOB_INIT;
}
