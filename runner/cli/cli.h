/*
 * cli.h - the verbs of jobbox, and what they share.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's. This is the only layer that writes to standard
 * output and error, and main() the only one that decides how the process ends.
 */
#ifndef JB_CLI_CLI_H
#define JB_CLI_CLI_H

#include "job/job.h"
#include "site/site.h"
#include "spec/spec.h"

#define JB_EXIT_NO_BOX 124
#define JB_EXIT_USAGE  125

/* Each gets its own argv (argv[0] is the verb) and returns the exit code. */
int jb_cmd_run(int argc, char **argv);
int jb_cmd_plan(int argc, char **argv);
int jb_cmd_validate(int argc, char **argv);
int jb_cmd_sweep(int argc, char **argv);

/* "jobbox: text" on standard error. Returns `code`. */
int jb_cli_fail(int code, const struct jb_error *err);
int jb_cli_usage(const char *verb, const char *what);

/* Everything a verb that looks at a job needs: site, submitter, state (paths only), spec. */
struct jb_cli_job {
    struct jb_site *site;
    struct jb_submitter submitter;
    struct jb_state state;
    struct jb_spec *spec;
};
#define JB_CLI_JOB_INIT ((struct jb_cli_job){.state = JB_STATE_INIT})

/* Loads all of it, `spec_path` NULL: without a spec. Prints what is wrong; returns 0 or the exit code. */
int jb_cli_load(const char *config, const char *spec_path, struct jb_cli_job *ret);
void jb_cli_job_free(struct jb_cli_job *job);
#define jb_autojob __attribute__((cleanup(jb_cli_job_free)))

#endif
