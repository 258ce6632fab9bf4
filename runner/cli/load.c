/*
 * load.c - what most verbs start with: site config, submitter, spec.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: the user's.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

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

int jb_cli_bad_option(const char *verb, int c, char **argv)
{
    const char *text = argv[optind - 1];
    const char letter[3] = {'-', (char)optopt, '\0'};
    bool value = c != ':' && optopt && jb_starts_with(text, "--") && strchr(text, '=');
    if (c != ':' && optopt && !value) /* one of several letters: text may be what stands before them */
        text = letter;
    (void)fprintf(stderr, "jobbox %s: %s%s%s; see jobbox %s --help\n", verb,
                  c == ':' || value ? "" : "unknown option ", text,
                  c == ':' ? " needs a value"
                  : value  ? ": this option takes no value"
                           : "",
                  verb);
    return JB_EXIT_USAGE;
}

static int print_diags(struct jb_diags *diags)
{
    jb_autofree char *text = jb_diags_format(diags);
    (void)fputs(text && *text ? text : "jobbox: out of memory\n", stderr);
    jb_diags_free(diags);
    return JB_EXIT_USAGE;
}

static int load(const char *config, const char *spec_path,
                int (*load_spec)(const char *, struct jb_spec **, struct jb_diags *), struct jb_cli_job *ret)
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
    if (spec_path && load_spec(spec_path, &job.spec, &diags) < 0)
        return print_diags(&diags);
    *ret = job;
    job = JB_CLI_JOB_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

int jb_cli_load(const char *config, const char *spec_path, struct jb_cli_job *ret)
{
    return load(config, spec_path, jb_spec_load, ret);
}

int jb_cli_load_box(const char *config, const char *spec_path, struct jb_cli_job *ret)
{
    return load(config, spec_path, jb_spec_load_box, ret);
}

int jb_cli_peek(struct jb_state *state, struct jb_error *err)
{
    static const char *const names[] = {"boxes",    "alloc.lock", "ledger.0",
                                        "ledger.1", "ledger.2",   "ledger.3"};
    _Static_assert(JB_ARRAY_LEN(names) == JB_LEDGER_FILES + 2, "the ledger's files are named here");
    state->runtime_fd = open(state->runtime_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = state->runtime_fd < 0 ? -errno : 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(names); i++)
        if (faccessat(state->runtime_fd, names[i], R_OK | W_OK, AT_EACCESS) < 0)
            r = -errno;
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return jb_fail_errno(err, r, "the ledger in %s cannot be read", state->runtime_dir);
    r = jb_ledger_dir_open(state->runtime_fd, &state->ledger, err);
    return r < 0 ? jb_wrap(err, "the ledger in %s cannot be read", state->runtime_dir) : 0;
}

void jb_cli_job_free(struct jb_cli_job *job)
{
    jb_spec_free(job->spec);
    jb_site_free(job->site);
    jb_submitter_free(&job->submitter);
    jb_state_close(&job->state);
    *job = JB_CLI_JOB_INIT;
}
