/*
 * jobs.c - the verbs of the queue that are an option or two and a question: logs, wait, hold, release, requeue, priority,
 * drain, stats.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the daemon decides.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/queue.h"

struct common {
    const char *config;
    bool own, json, follow, off, all, quiet;
    int64_t tail, attempt;
    const char *reason;
    json_t *names, *users;
};

static void common_free(struct common *o)
{
    json_decref(o->names);
    json_decref(o->users);
}

/* Options of all these verbs; each takes some of `letters`. -1: go on. */
static int parse(int argc, char **argv, const char *letters, const char *usage, struct common *o)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"own", no_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},         {"follow", no_argument, NULL, 'f'},
        {"tail", required_argument, NULL, 'n'},   {"attempt", required_argument, NULL, 'a'},
        {"off", no_argument, NULL, 'O'},          {"reason", required_argument, NULL, 'r'},
        {"name", required_argument, NULL, 'N'},   {"user", required_argument, NULL, 'U'},
        {"all", no_argument, NULL, 'A'},          {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},         {0}};
    char *end = (char *)"";
    int c;
    o->tail = o->attempt = -1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:fn:qh", options, NULL)) != -1) {
        if (c == '?' || c == ':' || (c != 'h' && c != 'c' && c != 'o' && c != 'j' && !strchr(letters, c)))
            return jb_cli_bad_option(argv[0], c, argv);
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
        case 'f':
            o->follow = true;
            break;
        case 'n':
            o->tail = strtoll(optarg, &end, 10);
            break;
        case 'a':
            o->attempt = strtoll(optarg, &end, 10);
            break;
        case 'O':
            o->off = true;
            break;
        case 'r':
            o->reason = optarg;
            break;
        case 'N':
            o->names = o->names ? o->names : json_array();
            (void)json_array_append_new(o->names, jb_json_text(optarg));
            break;
        case 'U':
            o->users = o->users ? o->users : json_array();
            (void)json_array_append_new(o->users, jb_json_text(optarg));
            break;
        case 'A':
            o->all = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        default:
            (void)fputs(usage, stdout);
            return 0;
        }
        if (*end || o->tail < -1 || o->attempt < -1)
            return jb_cli_usage(argv[0], "a number is expected");
    }
    return -1;
}

static json_t *texts(char **argv, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(list, jb_json_text(argv[i]));
    return list;
}

/* One question; prints the answer as JSON, or hands it over. Owns `request`. */
static int ask(const struct common *o, const char *op, json_t *request, json_t **ret)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    int code = jb_cli_connect(o->config, o->own, false, &job, &client);
    if (code) {
        json_decref(request);
        return code;
    }
    if (jb_client_call(&client, op, request, ret, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (o->json)
        jb_cli_print_answers(*ret);
    const char *failed = json_string_value(json_object_get(*ret, "failed"));
    if (failed) {
        (void)fprintf(stderr, "jobbox: %s\n", failed);
        return JB_EXIT_NO_BOX;
    }
    return 0;
}

int jb_cmd_logs(int argc, char **argv)
{
    static const char help[] =
        "Usage: jobbox logs [OPTION]... JOB\n"
        "Prints what a queued job has written: its output, and its errors on standard error.\n\n"
        "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
        "      --own          your own queue, not the system's\n"
        "  -f, --follow       go on until the job has ended\n"
        "  -n, --tail N       the last N lines only, of what is there\n"
        "      --attempt N    of that attempt, not the last one\n"
        "  -h, --help         this text\n";
    struct common o = {0};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    int code = parse(argc, argv, "fna", help, &o);
    if (code >= 0)
        return code;
    /* "logs -f 1" and "logs 1 -f" are the same */
    if (optind + 1 != argc)
        return jb_cli_usage("logs", optind == argc ? "of which job? Give its number" : "one job at a time");
    code = jb_cli_connect(o.config, o.own, false, &job, &client);
    return code ? code : jb_cli_follow(&client, argv[optind], o.attempt, o.tail, o.follow);
}

int jb_cmd_wait(int argc, char **argv)
{
    static const char help[] =
        "Usage: jobbox wait [OPTION]... JOB...\n"
        "Waits until the jobs have ended. The exit code is 0 when all did well, else that of the\n"
        "first that did not.\n\n"
        "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
        "      --own          your own queue, not the system's\n"
        "  -q, --quiet        say nothing\n"
        "  -h, --help         this text\n";
    struct common o = {0};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    int code = parse(argc, argv, "q", help, &o);
    if (code >= 0)
        return code;
    if (optind == argc)
        return jb_cli_usage("wait", "for which jobs? Give their numbers");
    code = jb_cli_connect(o.config, o.own, false, &job, &client);
    if (code)
        return code;
    json_t *ids = texts(argv + optind, argc - optind);
    code = jb_cli_wait_for(&client, ids, o.quiet);
    json_decref(ids);
    return code;
}

/* What had ended and was submitted anew has another number. */
static void print_submitted(const json_t *submitted)
{
    size_t i;
    const json_t *one;
    json_array_foreach(submitted, i, one)
    {
        (void)printf("Submitted job %lld (%s), as %s was\n",
                     (long long)json_integer_value(json_object_get(one, "job")),
                     json_string_value(json_object_get(one, "name")),
                     json_string_value(json_object_get(one, "was")));
    }
}

/* hold, release, requeue: jobs by number, name, user, or all of one's own. */
static int on_jobs(int argc, char **argv, const char *help)
{
    struct common o = {0};
    json_t *reply = NULL;
    int code = parse(argc, argv, "NUA", help, &o);
    if (code < 0 && optind == argc && !o.names && !o.users && !o.all)
        code = jb_cli_usage(argv[0], "which jobs? Give their numbers");
    if (code < 0) {
        json_t *request = json_pack("{s:o, s:b}", "ids", texts(argv + optind, argc - optind), "all", o.all);
        if (o.names)
            (void)json_object_set(request, "names", o.names);
        if (o.users)
            (void)json_object_set(request, "users", o.users);
        code = ask(&o, argv[0], request, &reply);
    }
    if (!o.json)
        print_submitted(json_object_get(reply, "submitted"));
    json_decref(reply);
    common_free(&o);
    return code;
}

int jb_cmd_hold(int argc, char **argv)
{
    static const char help[] = "Usage: jobbox hold [OPTION]... JOB...\n"
                               "Keeps queued jobs from being started until jobbox release.\n\n"
                               "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                               "      --own          your own queue, not the system's\n"
                               "      --name NAME    your jobs of this name\n"
                               "      --user USER    those of this user (operators)\n"
                               "      --all          all of your jobs\n"
                               "      --json         print the answer\n"
                               "  -h, --help         this text\n";
    return on_jobs(argc, argv, help);
}

int jb_cmd_release(int argc, char **argv)
{
    static const char help[] = "Usage: jobbox release [OPTION]... JOB...\n"
                               "Lets jobs that are held go on.\n\n"
                               "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                               "      --own          your own queue, not the system's\n"
                               "      --name NAME    your jobs of this name\n"
                               "      --user USER    those of this user (operators)\n"
                               "      --all          all of your jobs\n"
                               "      --json         print the answer\n"
                               "  -h, --help         this text\n";
    return on_jobs(argc, argv, help);
}

int jb_cmd_requeue(int argc, char **argv)
{
    static const char help[] =
        "Usage: jobbox requeue [OPTION]... JOB...\n"
        "Ends jobs that run and puts them back into the queue; one that has ended is submitted\n"
        "once more, under a new number, which is printed; of an array the task that is named.\n\n"
        "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
        "      --own          your own queue, not the system's\n"
        "      --name NAME    your jobs of this name that run\n"
        "      --user USER    those of this user that run (operators)\n"
        "      --all          all of your jobs that run\n"
        "      --json         print the answer\n"
        "  -h, --help         this text\n";
    return on_jobs(argc, argv, help);
}

int jb_cmd_priority(int argc, char **argv)
{
    static const char help[] =
        "Usage: jobbox priority [OPTION]... PRIORITY JOB...\n"
        "Changes the priority of queued jobs: a whole number, greater first. Above 0 is for\n"
        "operators; write -- before a number below 0.\n\n"
        "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
        "      --own          your own queue, not the system's\n"
        "      --json         print the answer\n"
        "  -h, --help         this text\n";
    struct common o = {0};
    json_t *reply = NULL;
    char *end;
    int code = parse(argc, argv, "", help, &o);
    if (code >= 0)
        return code;
    if (optind + 2 > argc)
        return jb_cli_usage("priority", "which priority for which jobs?");
    long long priority = strtoll(argv[optind], &end, 10);
    if (*end || end == argv[optind])
        return jb_cli_usage("priority", "the priority is a whole number, and comes first");
    code = ask(&o, "priority",
               json_pack("{s:o, s:I}", "ids", texts(argv + optind + 1, argc - optind - 1), "priority",
                         (json_int_t)priority),
               &reply);
    json_decref(reply);
    return code;
}

int jb_cmd_drain(int argc, char **argv)
{
    static const char help[] = "Usage: jobbox drain [OPTION]... [REASON]\n"
                               "Lets what runs on this host end, and starts nothing more from the queue.\n\n"
                               "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                               "      --own          your own queue, not the system's\n"
                               "      --off          start jobs again\n"
                               "      --reason TEXT  the same as REASON\n"
                               "      --json         print the answer\n"
                               "  -h, --help         this text\n";
    struct common o = {0};
    json_t *reply = NULL;
    int code = parse(argc, argv, "Or", help, &o);
    if (code >= 0)
        return code;
    if (optind + 1 < argc)
        return jb_cli_usage("drain", "one reason; put quotes around its words");
    if (optind < argc)
        o.reason = argv[optind];
    if (o.off && o.reason)
        return jb_cli_usage("drain", "--off takes no reason");
    code = ask(&o, "drain", json_pack("{s:b, s:o}", "off", o.off, "reason", jb_json_text(o.reason)), &reply);
    if (code == 0 && !o.json && !o.off)
        (void)printf("Drained; %lld running\n",
                     (long long)json_integer_value(json_object_get(reply, "running")));
    else if (code == 0 && !o.json)
        (void)puts("Jobs are started again");
    json_decref(reply);
    return code;
}

static void print_stats(const json_t *r)
{
    const char *reason;
    json_t *n;
    size_t i;
    json_t *share;
    const char *drained = json_string_value(json_object_get(r, "drained"));
    (void)printf("pending  %lld\nrunning  %lld\ncpus     %lld\n",
                 (long long)json_integer_value(json_object_get(r, "pending")),
                 (long long)json_integer_value(json_object_get(r, "running")),
                 (long long)json_integer_value(json_object_get(r, "cpus")));
    (void)printf("wait     %.1f s on average\n", json_number_value(json_object_get(r, "wait_s_mean")));
    if (drained)
        (void)printf("drained  %s\n", drained);
    json_object_foreach(json_object_get(r, "ends"), reason, n)
    {
        (void)printf("ended    %-16s %lld\n", reason, (long long)json_integer_value(n));
    }
    json_array_foreach(json_object_get(r, "shares"), i, share)
    {
        const char *account = json_string_value(json_object_get(share, "account"));
        (void)printf("used     %-16s %-12s %5.1f %%\n", json_string_value(json_object_get(share, "user")),
                     account && *account ? account : "-",
                     100 * json_number_value(json_object_get(share, "of_all")));
    }
}

int jb_cmd_stats(int argc, char **argv)
{
    static const char help[] = "Usage: jobbox stats [OPTION]...\n"
                               "How long the queue is, how jobs have ended, and who has used how much.\n\n"
                               "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                               "      --own          your own queue, not the system's\n"
                               "      --json         print the answer\n"
                               "  -h, --help         this text\n";
    struct common o = {0};
    json_t *reply = NULL;
    int code = parse(argc, argv, "", help, &o);
    if (code >= 0)
        return code;
    code = ask(&o, "stats", json_object(), &reply);
    if (code == 0 && !o.json)
        print_stats(reply);
    json_decref(reply);
    return code;
}
