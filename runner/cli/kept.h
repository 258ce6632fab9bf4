/*
 * kept.h - inside of runner/cli: kept boxes, and running one over them.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's.
 */
#ifndef JB_CLI_KEPT_H
#define JB_CLI_KEPT_H

#include "cli/cli.h"

/* jobbox ps --kept. Returns the exit code. */
int jb_cli_list_kept(const char *config, bool json);

/*
 * What the system's queue kept of one's jobs (kept_queue.c). -ENOENT: there is no such queue, or nothing of that id.
 * Taking over moves it into one's own state directory, and says so.
 */
int jb_cli_kept_take(const struct jb_cli_job *job, const char *text, struct jb_error *err);
int jb_cli_kept_queue_discard(const struct jb_cli_job *job, const char *text, struct jb_error *err);
void jb_cli_kept_queue_list(const struct jb_cli_job *job, json_t *list);

/* What `jobbox run` does once its spec is read (run.c). Returns the exit code. */
struct jb_cli_run {
    const char *config;
    const char *spec;
    bool json, quiet, tty, wait;
    uint64_t wait_ns; /* JB_UNSET: for ever */
    bool changes;
    const char *changes_path;   /* NULL: not said */
    const char *over, *over_id; /* see struct jb_job_options */
};
int jb_cli_run(const struct jb_cli_run *run, struct jb_cli_job *job);

#endif
