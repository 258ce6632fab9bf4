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

#define JB_EXIT_CANCELLED 123
#define JB_EXIT_NO_BOX    124
#define JB_EXIT_USAGE     125

/* Each gets its own argv (argv[0] is the verb) and returns the exit code. */
int jb_cmd_run(int argc, char **argv);
int jb_cmd_plan(int argc, char **argv);
int jb_cmd_validate(int argc, char **argv);
int jb_cmd_sweep(int argc, char **argv);
int jb_cmd_explain(int argc, char **argv);
int jb_cmd_topo(int argc, char **argv);
int jb_cmd_create(int argc, char **argv);
int jb_cmd_exec(int argc, char **argv);
int jb_cmd_destroy(int argc, char **argv);
int jb_cmd_enter(int argc, char **argv);
int jb_cmd_commit(int argc, char **argv);
int jb_cmd_discard(int argc, char **argv);
int jb_cmd_ps(int argc, char **argv);
int jb_cmd_top(int argc, char **argv);
int jb_cmd_show(int argc, char **argv);
int jb_cmd_pause(int argc, char **argv);
int jb_cmd_resume(int argc, char **argv);
int jb_cmd_signal(int argc, char **argv);
int jb_cmd_update(int argc, char **argv);
int jb_cmd_cancel(int argc, char **argv);
int jb_cmd_doctor(int argc, char **argv);
int jb_cmd_image(int argc, char **argv);
int jb_cmd_records(int argc,
                   char **argv); /* report, history, efficiency, budget, journal: becomes jobbox-report */
int jb_cmd_submit(int argc, char **argv);
int jb_cmd_logs(int argc, char **argv);
int jb_cmd_wait(int argc, char **argv);
int jb_cmd_hold(int argc, char **argv);
int jb_cmd_release(int argc, char **argv);
int jb_cmd_requeue(int argc, char **argv);
int jb_cmd_priority(int argc, char **argv);
int jb_cmd_drain(int argc, char **argv);
int jb_cmd_stats(int argc, char **argv);
int jb_cmd_show_job(int argc, char **argv);    /* show, by number */
int jb_cmd_explain_job(int argc, char **argv); /* explain --job */

/* "jobbox: text" on standard error. Returns `code`. */
int jb_cli_fail(int code, const struct jb_error *err);
int jb_cli_usage(const char *verb, const char *what);
/* What getopt_long(3) returned for an option it does not take, with opterr 0 and ':' first in its letters. */
int jb_cli_bad_option(const char *verb, int c, char **argv);

/* Everything a verb that looks at a job needs: site, submitter, state (paths only), spec. */
struct jb_cli_job {
    struct jb_site *site;
    struct jb_submitter submitter;
    struct jb_state state;
    struct jb_spec *spec;
    bool queued; /* its boxes are those of the system's queue */
};
#define JB_CLI_JOB_INIT ((struct jb_cli_job){.state = JB_STATE_INIT})

/* Loads all of it, `spec_path` NULL: without a spec. Prints what is wrong; returns 0 or the exit code. */
int jb_cli_load(const char *config, const char *spec_path, struct jb_cli_job *ret);
/* The same for a box that stands: the spec need not say what to run. */
int jb_cli_load_box(const char *config, const char *spec_path, struct jb_cli_job *ret);
void jb_cli_job_free(struct jb_cli_job *job);
#define jb_autojob __attribute__((cleanup(jb_cli_job_free)))

/*
 * Opens the ledger to be looked at and makes nothing. -ENOENT: nobody ever started a box here, so nobody holds
 * anything; otherwise `err` says why it cannot be read.
 */
int jb_cli_peek(struct jb_state *state, struct jb_error *err);

/* The options of verbs that may look at another machine, or at other boxes, than are there. */
struct jb_cli_whatif {
    const char *config, *topology; /* NULL: not said */
    bool devices;                  /* the whole machine with its devices */
    struct jb_strv taken;          /* owned; "0-3" or "name=0-3" */
};
void jb_cli_whatif_free(struct jb_cli_whatif *what);
/* Their rows for getopt_long(3), letters ("c:T:t:") and lines of usage, and what to do with one: false when it is none
 * of them, or cannot be kept. */
#define JB_CLI_WHATIF_OPTIONS                                                             \
    {"config", required_argument, NULL, 'c'}, {"topology", required_argument, NULL, 'T'}, \
    {                                                                                     \
        "taken", required_argument, NULL, 't'                                             \
    }
#define JB_CLI_WHATIF_USAGE                                                                        \
    "  -c, --config FILE    site config instead of /etc/jobbox/jobbox.conf.yaml\n"                 \
    "  -T, --topology FILE  another machine, as hwloc XML (lstopo FILE.xml)\n"                     \
    "  -t, --taken LIST     as if these CPUs were taken, and no others; NAME=LIST names the job; " \
    "repeatable\n"
bool jb_cli_whatif_option(int c, const char *value, struct jb_cli_whatif *what);
#define jb_autowhatif __attribute__((cleanup(jb_cli_whatif_free)))

struct jb_cli_world {
    struct jb_machine machine; /* to place on */
    struct jb_machine whole;   /* the same with the CPUs that are not allowed: to draw */
    struct jb_ledger ledger;   /* by id */
    const char *source;        /* "this host", or the topology file; borrowed */
    const char *ledger_from; /* "ledger", "taken", "empty" (what-if), "unreadable" (said on standard error) */
};

/* Without a topology or --taken: this host and its ledger. Prints what is wrong; returns 0 or the exit code. */
int jb_cli_world_load(const struct jb_cli_whatif *what, struct jb_cli_job *job, struct jb_cli_world *ret);
void jb_cli_world_free(struct jb_cli_world *world);
#define jb_autoworld __attribute__((cleanup(jb_cli_world_free)))

/* The login name, or the number where there is none. */
void jb_cli_user_name(uid_t uid, char *buf, size_t len);

/* --- verbs that ask live boxes for something (control.c) --- */

/* Site and state, and the live boxes by id (jb_ledger_free); none when nobody ever started one. 0 or the exit code. */
int jb_cli_live(const char *config, struct jb_cli_job *job, struct jb_ledger *ret);

/*
 * The same with the one box whose id begins so, or that is a job's of the queue, the user's own with `own`. 0 or the exit
 * code.
 */
int jb_cli_one_box(const char *config, bool own, const char *text, struct jb_cli_job *job, struct jb_id *ret);

/* The live box whose id begins so, in either case of letters. -ENOENT, -ENOTUNIQ. */
int jb_cli_find_box(const struct jb_ledger *ledger, const char *text, struct jb_id *ret,
                    struct jb_error *err);

/*
 * Asks each box of the NULL-terminated `ids`; what cannot be is printed. *ret_answers: an array, the caller's, of the
 * answers of those that did it, each with "id". Returns 0, or the exit code when one could not.
 */
int jb_cli_ask(const char *config, bool own, char **ids, const json_t *request, json_t **ret_answers);
void jb_cli_print_answers(const json_t *answers);

/* Whether a text is the number of a queued job ("41", "41_7"); ids of boxes begin with 0. */
bool jb_cli_is_job(const char *text);

/*
 * The box of a job of the queue, as its owner reaches it: by the job's number or by the box's id (box.c). *job is loaded;
 * its boxes become those of the queue. -ENOENT: there is no queue, or it knows no such job.
 */
int jb_cli_queued_box(const char *config, bool own, const char *text, struct jb_cli_job *job,
                      struct jb_id *ret, struct jb_error *err);

/* The same of a job's box through jobboxd (box.c). -1: there is no daemon, or it knows no such job. */
int jb_cli_ask_queue(const char *config, bool own, const char *text, const json_t *request, json_t *answers);

/* A verb that takes ids and nothing else; owns `request`. */
int jb_cli_simple(int argc, char **argv, const char *usage, json_t *request);

#endif
