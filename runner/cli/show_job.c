/*
 * show_job.c - jobbox show of a job by its number: what the queue knows of it.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the daemon decides.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/queue.h"

static const char usage[] = "Usage: jobbox show [OPTION]... JOB\n"
                            "Prints a queued job, its attempts and how they ended.\n\n"
                            "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                            "      --own          your own queue, not the system's\n"
                            "  -e, --events       what happened to it, and who asked\n"
                            "      --json         all of it as JSON, with the spec\n"
                            "  -h, --help         this text\n";

static void print_value(const char *label, const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value))
        return;
    jb_autofree char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)printf("%-12s %s\n", label, json_is_string(value) ? json_string_value(value) : text ? text : "?");
}

static void print_job(const json_t *one)
{
    static const char *const lines[][2] = {
        {"job", "job"},
        {"index", "index"},
        {"name", "name"},
        {"state", "state"},
        {"user", "user"},
        {"account", "account"},
        {"priority", "priority"},
        {"cpus", "cpus"},
        {"memory", "memory_bytes"},
        {"wall time", "wall_time_s"},
        {"submitted", "submitted"},
        {"begin", "begin"},
        {"deadline", "deadline"},
        {"eligible", "eligible"},
        {"started", "started"},
        {"ended", "ended"},
        {"end", "reason"},
        {"exit code", "exit_code"},
        {"signal", "signal"},
        {"note", "why"},
    };
    size_t i;
    const json_t *run;
    for (size_t k = 0; k < JB_ARRAY_LEN(lines); k++)
        print_value(lines[k][0], one, lines[k][1]);
    json_array_foreach(json_object_get(one, "runs"), i, run)
    {
        const char *reason = json_string_value(json_object_get(run, "reason"));
        const char *cpus = json_string_value(json_object_get(run, "cpus"));
        (void)printf("attempt %-4lld %s  %s%s%s\n",
                     (long long)json_integer_value(json_object_get(run, "attempt")),
                     json_string_value(json_object_get(run, "id")), reason ? reason : "running",
                     cpus ? ", on CPUs " : "", cpus ? cpus : "");
    }
}

/* A job of the queue, as jobboxd knows it. */
static int show_job(const char *config, bool own, const char *id, bool json, bool events)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    json_t *reply = NULL;
    size_t i;
    const json_t *one;
    int code = jb_cli_connect(config, own, false, &job, &client);
    if (code)
        return code;
    if (jb_client_call(&client, "show", json_pack("{s:s}", "id", id), &reply, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (json) {
        jb_cli_print_answers(reply);
    } else if (events) {
        json_array_foreach(json_object_get(reply, "events"), i, one)
        {
            const char *detail = json_string_value(json_object_get(one, "detail"));
            (void)printf("%s  %-12s %s\n", json_string_value(json_object_get(one, "time")),
                         json_string_value(json_object_get(one, "event")), detail ? detail : "");
        }
    } else {
        json_array_foreach(json_object_get(reply, "jobs"), i, one)
        {
            if (i)
                (void)putchar('\n');
            print_job(one);
        }
        long long without = json_integer_value(json_object_get(reply, "without_runs"));
        long long more = json_integer_value(json_object_get(reply, "more"));
        if (more > 0)
            (void)printf("\n... and %lld more tasks\n", more);
        if (without > 0)
            (void)printf("\nThe attempts of the last %lld of these tasks are left out; ask for one task, "
                         "such as %s_%lld\n",
                         without, id,
                         (long long)json_integer_value(json_object_get(
                             json_array_get(json_object_get(reply, "jobs"), i - 1), "index")));
    }
    json_decref(reply);
    return 0;
}

int jb_cmd_show_job(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"own", no_argument, NULL, 'o'},
        {"events", no_argument, NULL, 'e'},       {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0}};
    const char *config = NULL;
    bool own = false;
    bool json = false;
    bool events = false;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:eh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'o':
            own = true;
            break;
        case 'e':
            events = true;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("show", c, argv);
        }
    }
    if (optind + 1 != argc)
        return jb_cli_usage("show", "one job at a time");
    return show_job(config, own, argv[optind], json, events);
}
