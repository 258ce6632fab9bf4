/*
 * submit.c - jobbox submit.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/queue.h"
#include "spec/load.h"

static const char usage[] =
    "Usage: jobbox submit [OPTION]... JOB.yaml|SCRIPT|-...\n"
    "       jobbox submit [OPTION]... -- COMMAND [ARGUMENT]...\n"
    "Puts jobs into the queue and prints their numbers. A script begins with #!; its lines #JOBBOX --option "
    "... say\n"
    "what it wants. Without a jobboxd of the system, one of your own is started.\n\n"
    "  -c, --config FILE    site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own            your own queue, not the system's\n"
    "      --hold           do not start it before jobbox release\n"
    "      --priority N     instead of the spec's\n"
    "      --wait           wait for the end; the exit code is the job's\n"
    "      --watch          the same, and show what it writes\n"
    "      --json           print the answers\n"
    "  -q, --quiet          print the numbers alone\n"
    "  -h, --help           this text\n\n"
    "With a command, and in scripts, whose lines may say --hold and --priority too:\n"
    "      --name NAME  --cpus N  --threads N  --mem SIZE  --time TIME  --pids N  --scratch SIZE\n"
    "      --array 1-100%10  --after [success:|failure:|any:]JOB  --singleton  --begin TIME  --deadline "
    "TIME\n"
    "      --retry N  --account NAME  --label NAME=VALUE  --mail ADDRESS\n"
    "      --image IMAGE  --workdir DIR  --here  --bind SOURCE[:TARGET[:rw]]  --network none|host  --device "
    "NAME\n"
    "      --env NAME=VALUE  --pass-env NAME  --output FILE  --error FILE  --allow-degraded WHAT\n"
    "The job starts in the working directory; what it writes there is thrown away, unless --here binds it.\n";

struct submit_options {
    const char *config;
    bool own, hold, wait, watch, json, quiet, has_priority;
    bool unwatched; /* it has several logs, or none: there is nothing to show */
    int64_t priority;
    struct jb_cli_inline inline_;
    char **files; /* of argv, where they stood */
    int n_files;
};

enum { OPT_OWN = 256, OPT_HOLD, OPT_PRIORITY, OPT_WAIT, OPT_WATCH, OPT_JSON };

static int parse(int argc, char **argv, struct submit_options *o)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"own", no_argument, NULL, OPT_OWN},
                                            {"hold", no_argument, NULL, OPT_HOLD},
                                            {"priority", required_argument, NULL, OPT_PRIORITY},
                                            {"wait", no_argument, NULL, OPT_WAIT},
                                            {"watch", no_argument, NULL, OPT_WATCH},
                                            {"json", no_argument, NULL, OPT_JSON},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            JB_CLI_INLINE_OPTIONS,
                                            {0}};
    struct jb_error err = {0};
    char *end;
    int c;
    opterr = 0;
    /* options may follow files, but what follows -- is a command with options of its own */
    while ((c = getopt_long(argc, argv, "-:c:qh", options, NULL)) != -1) {
        switch (c) {
        case 1:
            o->files[o->n_files++] = optarg;
            break;
        case 'c':
            o->config = optarg;
            break;
        case OPT_OWN:
            o->own = true;
            break;
        case OPT_HOLD:
            o->hold = true;
            break;
        case OPT_PRIORITY:
            o->priority = strtoll(optarg, &end, 10);
            o->has_priority = true;
            if (*end || end == optarg)
                return jb_cli_usage("submit", "--priority takes a whole number");
            break;
        case OPT_WAIT:
            o->wait = true;
            break;
        case OPT_WATCH:
            o->watch = true;
            break;
        case OPT_JSON:
            o->json = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            if (!jb_cli_inline_is(c))
                return jb_cli_bad_option("submit", c, argv);
            if (jb_cli_inline_take(&o->inline_, c, optarg, &err) < 0)
                return jb_cli_usage("submit", err.text);
        }
    }
    if (o->n_files > 0 && optind < argc)
        return jb_cli_usage("submit", "files or, after --, a command; not both");
    if (o->watch && o->n_files > 1)
        return jb_cli_usage("submit", "--watch shows one job; use --wait for several");
    if (o->n_files == 0 && optind == argc)
        return jb_cli_usage("submit", "which job? Name a YAML file or a script, or write -- and a command");
    return -1;
}

/* A file: a spec, or a script. */
static int load_file(struct submit_options *o, const char *path, const char *cwd, struct jb_cli_spec *ret)
{
    struct jb_diags diags = {0};
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    size_t len = 0;
    if (jb_load_text(path, true, &text, &len, NULL, &diags) < 0) {
        jb_autofree char *all = jb_diags_format(&diags);
        (void)fputs(all ? all : "jobbox: out of memory\n", stderr);
        jb_diags_free(&diags);
        return JB_EXIT_USAGE;
    }
    bool script = len > 2 && text[0] == '#' && text[1] == '!';
    const char *name = strcmp(path, "-") == 0 ? "(standard input)" : path;
    if (script) {
        struct jb_cli_inline own = {.spec = json_deep_copy(o->inline_.spec), .here = o->inline_.here};
        int r = strlen(text) != len ? jb_fail(&err, EINVAL, "%s: a script holds no NUL", name)
                                    : jb_cli_inline_script(&own, name, text, cwd, ret, &err);
        json_decref(own.spec);
        return r < 0 ? jb_cli_fail(JB_EXIT_USAGE, &err) : 0;
    }
    if (o->inline_.spec || o->inline_.here)
        return jb_cli_usage("submit",
                            "these options are for commands and scripts; a YAML file says all itself");
    *ret = (struct jb_cli_spec){.text = jb_take_ptr(text), .len = len, .file = strdup(name)};
    return ret->file ? 0 : JB_EXIT_NO_BOX;
}

/* Of our environment what the spec asks for; nothing else leaves this process. */
static json_t *environment(const struct jb_spec *spec, const struct jb_submitter *who, struct jb_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < who->env.len; i++)
        for (size_t p = 0; p < spec->pass_env.len; p++) {
            const char *pattern = spec->pass_env.items[p];
            size_t n = strlen(pattern);
            size_t key = strcspn(who->env.items[i], "=");
            bool prefix = n > 0 && pattern[n - 1] == '*';
            if (prefix ? strncmp(who->env.items[i], pattern, n - 1) == 0
                       : key == n && strncmp(who->env.items[i], pattern, n) == 0) {
                json_t *item = json_string(who->env.items[i]);
                if (!item) { /* rather none of it than another value */
                    (void)jb_fail(err, EILSEQ,
                                  "the variable %.*s: its value is not UTF-8, so the queue cannot pass it on",
                                  (int)key, who->env.items[i]);
                    json_decref(list);
                    return NULL;
                }
                (void)json_array_append_new(list, item);
                break;
            }
        }
    return list;
}

static int complain(const char *diags, const struct jb_error *err, int r)
{
    if (diags)
        (void)fputs(diags, stderr);
    else
        (void)jb_cli_fail(0, err);
    return r == -EINVAL || r == -EPERM || r == -ENOTSUP ? JB_EXIT_USAGE : JB_EXIT_NO_BOX;
}

static int submit_one(struct submit_options *o, const struct jb_cli_job *job, struct jb_client *client,
                      const struct jb_cli_spec *spec, json_t *replies)
{
    jb_autospec struct jb_spec *parsed = NULL;
    struct jb_diags diags = {0};
    struct jb_error err = {0};
    jb_autofree char *said = NULL;
    json_t *reply = NULL;
    if (jb_spec_parse(spec->file, spec->text, spec->len, &parsed, &diags) < 0) {
        said = jb_diags_format(&diags);
        jb_diags_free(&diags);
        return complain(said ? said : "jobbox: out of memory\n", &err, -EINVAL);
    }
    json_t *env = environment(parsed, &job->submitter, &err);
    if (!env)
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    json_t *cwd = json_string(job->submitter.cwd);
    if (!cwd) {
        json_decref(env);
        (void)jb_fail(&err, EILSEQ, "the working directory: its name is not UTF-8; submit from another one");
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    }
    json_t *request =
        json_pack("{s:o, s:o, s:o, s:o, s:b}", "spec", json_stringn(spec->text, spec->len), "file",
                  jb_json_text(spec->file), "cwd", cwd, "env", env, "hold", o->hold || spec->hold);
    if (!request) {
        (void)jb_fail(&err, EINVAL, "%s: it is not UTF-8", spec->file);
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    }
    o->unwatched = parsed->array || parsed->stdout_path;
    if (o->has_priority)
        (void)json_object_set_new(request, "priority", json_integer(o->priority));
    int r = jb_client_send(client, "submit", request, &err);
    if (r == 0)
        r = jb_client_receive(client, &reply, &said, &err);
    if (r < 0)
        return complain(said, &err, r);
    long long num = json_integer_value(json_object_get(reply, "job"));
    long long tasks = json_integer_value(json_object_get(reply, "tasks"));
    if (o->quiet)
        (void)printf("%lld\n", num);
    else if (!o->json && tasks > 1)
        (void)printf("Submitted array %lld of %lld (%s)\n", num, tasks,
                     json_string_value(json_object_get(reply, "name")));
    else if (!o->json)
        (void)printf("Submitted job %lld (%s)\n", num, json_string_value(json_object_get(reply, "name")));
    (void)fflush(stdout);
    const char *warning = json_string_value(json_object_get(reply, "warning"));
    if (warning)
        (void)fprintf(stderr, "jobbox: %s\n", warning);
    (void)json_array_append_new(replies, reply);
    return 0;
}

/* Until all have ended; with --watch the output of one is shown meanwhile. */
static int see_through(const struct submit_options *o, struct jb_client *client, const json_t *replies)
{
    json_t *ids = json_array();
    size_t i;
    const json_t *reply;
    int code = 0;
    json_array_foreach(replies, i, reply)
    {
        (void)json_array_append_new(
            ids, json_sprintf("%lld", (long long)json_integer_value(json_object_get(reply, "job"))));
    }
    if (o->watch && o->unwatched)
        (void)fputs(
            "jobbox: an array, or what writes to files of its own, is not shown; waiting for its end\n",
            stderr);
    else if (o->watch)
        code = jb_cli_follow(client, json_string_value(json_array_get(ids, 0)), -1, -1, true);
    if (code == 0)
        code = jb_cli_wait_for(client, ids, o->quiet || o->json || (o->watch && !o->unwatched));
    json_decref(ids);
    return code;
}

static int run(struct submit_options *o, char **argv, int argc, bool command)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    json_t *replies = json_array();
    int code = jb_cli_connect(o->config, o->own, true, &job, &client);
    for (int i = 0; code == 0 && i < argc; i++) {
        struct jb_cli_spec spec = {0};
        if (!command)
            code = load_file(o, argv[i], job.submitter.cwd, &spec);
        else if (jb_cli_inline_command(&o->inline_, argv, job.submitter.cwd, &spec, &err) < 0)
            code = jb_cli_fail(JB_EXIT_USAGE, &err);
        if (code == 0)
            code = submit_one(o, &job, &client, &spec, replies);
        jb_cli_spec_free(&spec);
        if (command)
            break;
    }
    if (o->json)
        jb_cli_print_answers(replies);
    if (code == 0 && (o->wait || o->watch))
        code = see_through(o, &client, replies);
    json_decref(replies);
    return code;
}

int jb_cmd_submit(int argc, char **argv)
{
    jb_autofree char **files = calloc((size_t)argc, sizeof(*files));
    struct submit_options o = {.files = files};
    int code = files ? parse(argc, argv, &o) : JB_EXIT_NO_BOX;
    if (code < 0) {
        bool command = o.n_files == 0;
        code = run(&o, command ? argv + optind : files, command ? argc - optind : o.n_files, command);
    }
    json_decref(o.inline_.spec);
    return code;
}
