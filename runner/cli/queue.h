/*
 * queue.h - what the verbs that speak to jobboxd share.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the daemon decides.
 */
#ifndef JB_CLI_QUEUE_H
#define JB_CLI_QUEUE_H

#include "cli/cli.h"
#include "queue/client.h"

/* Site, submitter, paths, and a connection. `start`: a daemon of one's own when there is none. 0 or the exit code. */
int jb_cli_connect(const char *config, bool own, bool start, struct jb_cli_job *job, struct jb_client *ret);

/* A spec as text, and under which name. */
struct jb_cli_spec {
    char *text;
    size_t len;
    char *file;
    bool hold; /* a script says so */
};
void jb_cli_spec_free(struct jb_cli_spec *spec);

/* Options that make up a spec, on a command line or in the #JOBBOX lines of a script; see inline.c. */
struct jb_cli_inline {
    json_t *spec; /* an object; NULL: nothing was said */
    bool here;    /* the working directory is bound, writable */
    bool hold;    /* of a script alone: a command line says that to the queue itself */
};
#define JB_CLI_INLINE_OPTIONS                                                                  \
    {"name", required_argument, NULL, 1001}, {"cpus", required_argument, NULL, 1002},          \
        {"threads", required_argument, NULL, 1003}, {"mem", required_argument, NULL, 1004},    \
        {"memory", required_argument, NULL, 1004}, {"time", required_argument, NULL, 1005},    \
        {"array", required_argument, NULL, 1006}, {"after", required_argument, NULL, 1007},    \
        {"account", required_argument, NULL, 1008}, {"begin", required_argument, NULL, 1009},  \
        {"deadline", required_argument, NULL, 1010}, {"image", required_argument, NULL, 1011}, \
        {"env", required_argument, NULL, 1012}, {"pass-env", required_argument, NULL, 1013},   \
        {"workdir", required_argument, NULL, 1014}, {"output", required_argument, NULL, 1015}, \
        {"error", required_argument, NULL, 1016}, {"network", required_argument, NULL, 1017},  \
        {"scratch", required_argument, NULL, 1018}, {"retry", required_argument, NULL, 1019},  \
        {"here", no_argument, NULL, 1020}, {"bind", required_argument, NULL, 1021},            \
        {"device", required_argument, NULL, 1022}, {"label", required_argument, NULL, 1023},   \
        {"pids", required_argument, NULL, 1024}, {"mail", required_argument, NULL, 1025},      \
        {"singleton", no_argument, NULL, 1026},                                                \
    {                                                                                          \
        "allow-degraded", required_argument, NULL, 1027                                        \
    }
bool jb_cli_inline_is(int c);
/* 0, or -EINVAL with what is wrong. */
int jb_cli_inline_take(struct jb_cli_inline *in, int c, const char *value, struct jb_error *err);
/* The whole spec of a command line; or of a script, whose #JOBBOX lines are weaker than `in`. */
int jb_cli_inline_command(struct jb_cli_inline *in, char **argv, const char *cwd, struct jb_cli_spec *ret,
                          struct jb_error *err);
int jb_cli_inline_script(struct jb_cli_inline *in, const char *file, const char *text, const char *cwd,
                         struct jb_cli_spec *ret, struct jb_error *err);

/* Waits for jobs by number, or for tasks. Returns their exit code: 0, or the first other one. */
int jb_cli_wait_for(struct jb_client *client, const json_t *ids, bool quiet);
/* Copies a job's output to ours until its end. */
int jb_cli_follow(struct jb_client *client, const char *id, int64_t attempt, int64_t tail, bool follow);

/* The jobs of an answer as a table. */
void jb_cli_print_jobs(const json_t *jobs);

#endif
