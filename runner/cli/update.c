/*
 * update.c - jobbox update.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the box's supervisor decides.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: jobbox update [OPTION]... ID\n"
    "Changes limits of a live box, within what the site allows and others leave free.\n\n"
    "      --cpus N           cores, or threads where the job asked for threads; more of them near its own\n"
    "      --memory SIZE      such as 2GiB\n"
    "      --pids N\n"
    "      --wall-time TIME   from the start of the job, such as 3h\n"
    "      --cpu-time TIME\n"
    "  -c, --config FILE      site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own              a job of your own queue, not the system's\n"
    "      --json             print the answer\n"
    "  -h, --help             this text\n";

static int parse_count(const char *text, uint64_t *ret)
{
    return jb_parse_u64(text, 4194304, ret);
}

static const struct {
    int option;
    const char *key;
    int (*parse)(const char *text, uint64_t *ret);
    const char *wrong;
} values[] = {
    {'C', "cpus", parse_count, "--cpus takes a number"},
    {'M', "memory_bytes", jb_parse_size, "--memory takes a size such as 2GiB"},
    {'P', "pids", parse_count, "--pids takes a number"},
    {'W', "wall_time_ns", jb_parse_duration, "--wall-time takes a duration such as 3h"},
    {'U', "cpu_time_ns", jb_parse_duration, "--cpu-time takes a duration such as 3h"},
};

struct update_options {
    const char *config;
    bool json, own;
    json_t *request; /* owned */
};

/* Puts one value into the request. */
static int take(struct update_options *o, int option, const char *text)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(values); i++) {
        uint64_t value;
        if (values[i].option != option)
            continue;
        if (values[i].parse(text, &value) < 0 || value == 0)
            return jb_cli_usage("update", values[i].wrong);
        (void)json_object_set_new(o->request, values[i].key, json_integer((json_int_t)value));
    }
    return 0;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct update_options *o)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},   {"own", no_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},           {"help", no_argument, NULL, 'h'},
        {"cpus", required_argument, NULL, 'C'},     {"memory", required_argument, NULL, 'M'},
        {"pids", required_argument, NULL, 'P'},     {"wall-time", required_argument, NULL, 'W'},
        {"cpu-time", required_argument, NULL, 'U'}, {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        int code = 0;
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
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        case '?':
        case ':':
            return jb_cli_bad_option("update", c, argv);
        default:
            code = take(o, c, optarg);
        }
        if (code)
            return code;
    }
    if (optind + 1 != argc)
        return jb_cli_usage("update", "it takes one id");
    return json_object_size(o->request) > 1 ? -1 : jb_cli_usage("update", "what is to be changed?");
}

static void print_changes(const json_t *answer)
{
    const char *key;
    json_t *change;
    json_object_foreach(json_object_get(answer, "changes"), key, change)
    {
        if (json_is_string(change)) {
            (void)fprintf(stderr, "jobbox: %s\n", json_string_value(change));
            continue;
        }
        jb_autofree char *old = json_dumps(json_object_get(change, "old"), JSON_ENCODE_ANY);
        jb_autofree char *new = json_dumps(json_object_get(change, "new"), JSON_ENCODE_ANY);
        (void)printf("%s: %s -> %s\n", key, old ? old : "?", new ? new : "?");
    }
}

int jb_cmd_update(int argc, char **argv)
{
    struct update_options o = {.request = json_pack("{s:s}", "verb", "update")};
    json_t *answers = NULL;
    int code = parse(argc, argv, &o);
    if (code < 0) {
        char *ids[] = {argv[optind], NULL};
        code = jb_cli_ask(o.config, o.own, ids, o.request, &answers);
        if (o.json)
            jb_cli_print_answers(answers);
        else if (code == 0)
            print_changes(json_array_get(answers, 0));
    }
    json_decref(answers);
    json_decref(o.request);
    return code;
}
