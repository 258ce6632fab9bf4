/*
 * cancel.c - jobbox cancel.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the box's supervisor, or jobboxd, decides.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/queue.h"

static const char usage[] = "Usage: jobbox cancel [OPTION]... JOB|ID...\n"
                            "Asks boxes to end, as Ctrl-C does: the job's signal, its grace, then KILL; a "
                            "second time kills at once. Jobs that\n"
                            "wait in the queue are taken out of it. A job is a number (41), a task of an "
                            "array (41_7), or the beginning of an id.\n\n"
                            "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                            "      --own          your own queue, not the system's\n"
                            "      --name NAME    your queued jobs of this name\n"
                            "      --user USER    the queued jobs of this user (operators)\n"
                            "      --all          all of your queued jobs\n"
                            "      --json         print the answers\n"
                            "  -h, --help         this text\n";

struct cancel_options {
    const char *config;
    bool own, json, all;
    json_t *ids, *names, *users;
};

static int parse(int argc, char **argv, struct cancel_options *o)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"own", no_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},         {"name", required_argument, NULL, 'N'},
        {"user", required_argument, NULL, 'U'},   {"all", no_argument, NULL, 'A'},
        {"help", no_argument, NULL, 'h'},         {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 'o':
            o->own = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'N':
            (void)json_array_append_new(o->names, jb_json_text(optarg));
            break;
        case 'U':
            (void)json_array_append_new(o->users, jb_json_text(optarg));
            break;
        case 'A':
            o->all = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("cancel", c, argv);
        }
    }
    if (optind == argc && !o->all && json_array_size(o->names) + json_array_size(o->users) == 0)
        return jb_cli_usage("cancel",
                            "which box? Give its id, or the beginning of it, or the number of a job");
    return -1;
}

/* Boxes of ours are asked themselves; everything else is for the queue. */
static int sort_out(const struct cancel_options *o, char **argv, json_t *answers)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_ledger ledger = {0};
    json_t *request = json_pack("{s:s}", "verb", "cancel");
    int code = jb_cli_live(o->config, &job, &ledger);
    for (bool live = code == 0; live && *argv; argv++) { /* what one cannot is told, and done to the others */
        char *one[] = {*argv, NULL};
        json_t *answer = NULL;
        struct jb_id id;
        bool ours = !jb_cli_is_job(*argv) && jb_cli_find_box(&ledger, *argv, &id, NULL) != -ENOENT;
        if (!ours && !jb_cli_is_job(*argv)) { /* what says no is the queue, if there is one */
            const struct jb_client_wish wish = {
                .site = job.site, .who = &job.submitter, .state = &job.state, .own = o->own};
            jb_autoclient struct jb_client client = JB_CLIENT_INIT;
            ours = jb_client_open(&wish, &client, NULL) == -ENOENT;
        }
        if (!ours) {
            (void)json_array_append_new(o->ids, jb_json_text(*argv));
            continue;
        }
        int asked = jb_cli_ask(o->config, o->own, one, request, &answer);
        code = code ? code : asked;
        (void)json_array_extend(answers, answer);
        json_decref(answer);
    }
    jb_ledger_free(&ledger);
    json_decref(request);
    return code;
}

static int ask_queue(const struct cancel_options *o, json_t *answers)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    json_t *reply = NULL;
    int code = jb_cli_connect(o->config, o->own, false, &job, &client);
    if (code)
        return code;
    if (jb_client_call(&client, "cancel",
                       json_pack("{s:O, s:O, s:O, s:b}", "ids", o->ids, "names", o->names, "users", o->users,
                                 "all", o->all),
                       &reply, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    const char *failed = json_string_value(json_object_get(reply, "failed"));
    if (failed)
        (void)fprintf(stderr, "jobbox: %s\n", failed);
    (void)json_array_append_new(answers, reply);
    return failed ? JB_EXIT_NO_BOX : 0;
}

int jb_cmd_cancel(int argc, char **argv)
{
    struct cancel_options o = {.ids = json_array(), .names = json_array(), .users = json_array()};
    json_t *answers = json_array();
    int code = parse(argc, argv, &o);
    if (code < 0) {
        code = sort_out(&o, argv + optind, answers);
        bool queue =
            o.all || json_array_size(o.ids) + json_array_size(o.names) + json_array_size(o.users) > 0;
        if (queue) {
            int more = ask_queue(&o, answers);
            code = code ? code : more;
        }
        if (o.json)
            jb_cli_print_answers(answers);
    }
    json_decref(answers);
    json_decref(o.ids);
    json_decref(o.names);
    json_decref(o.users);
    return code;
}
