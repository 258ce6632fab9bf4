/*
 * ps.c - jobbox ps: the live boxes.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; it reads the ledger where it may, and asks each supervisor.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/cli.h"
#include "job/control.h"

#define PATIENCE_MS 300 /* of each supervisor; one that is stopped must not hold up the list */

static const char usage[] =
    "Usage: jobbox ps [OPTION]...\n"
    "Lists the live boxes: id, phase, user, CPUs, memory, time since the start, name.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --json         as JSON, with all that the supervisors say\n"
    "  -h, --help         this text\n";

/* What the ledger says, and what the supervisor says, if it does. */
static json_t *describe(const struct jb_cli_job *job, const struct jb_holding *h)
{
    json_t *answer = NULL;
    json_t *request = json_pack("{s:s}", "verb", "status");
    struct jb_error err = {0};
    char user[64];
    jb_cli_user_name(h->uid, user, sizeof(user));
    json_t *box = json_pack("{s:s, s:s, s:s, s:I, s:o, s:b, s:o}", "id", h->id.text, "name", h->name, "user",
                            user, "uid", (json_int_t)h->uid, "cpus", jb_json_cpus(&h->cpus), "exclusive",
                            h->exclusive, "memory_bytes", jb_json_u64(h->memory));
    static const char *const keys[] = {"phase", "pid",      "started",     "wall_s",
                                       "cpu_s", "paused_s", "wall_time_s", "cpu_time_s"};
    if (jb_control_ask(job->state.ledger.boxes_fd, &h->id, request, PATIENCE_MS, &answer, &err) < 0)
        answer = NULL;
    for (size_t i = 0; i < JB_ARRAY_LEN(keys); i++) {
        json_t *value = json_object_get(answer, keys[i]);
        (void)json_object_set_new(box, keys[i], value ? json_incref(value) : json_null());
    }
    json_decref(answer);
    json_decref(request);
    return box;
}

static const char *text_of(const json_t *box, const char *key)
{
    const char *text = json_string_value(json_object_get(box, key));
    return text ? text : "-";
}

static void print_one(const json_t *box)
{
    char memory[48] = "-";
    char time[48] = "-";
    const json_t *bytes = json_object_get(box, "memory_bytes");
    const json_t *wall = json_object_get(box, "wall_s");
    if (json_is_integer(bytes))
        (void)jb_format_size((uint64_t)json_integer_value(bytes), memory, sizeof(memory));
    if (json_is_number(wall))
        (void)jb_format_duration((uint64_t)json_number_value(wall) * JB_NS_PER_S, time, sizeof(time));
    (void)printf("%-26s  %-9s  %-10s  %-8s  %-10s  %-8s  %s\n", text_of(box, "id"), text_of(box, "phase"),
                 text_of(box, "user"), text_of(box, "cpus"), memory, time, text_of(box, "name"));
}

static void print(const json_t *boxes, bool json)
{
    size_t i;
    json_t *box;
    if (json) {
        jb_cli_print_answers(boxes);
        return;
    }
    if (json_array_size(boxes) > 0)
        (void)printf("%-26s  %-9s  %-10s  %-8s  %-10s  %-8s  %s\n", "ID", "PHASE", "USER", "CPUS", "MEMORY",
                     "TIME", "NAME");
    json_array_foreach(boxes, i, box)
    {
        print_one(box);
    }
}

int jb_cmd_ps(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = NULL;
    bool json = false;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("ps", c, argv);
        }
    }
    if (optind != argc)
        return jb_cli_usage("ps", "it takes no arguments");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_ledger ledger = {0};
    int code = jb_cli_live(config, &job, &ledger);
    if (code)
        return code;
    json_t *boxes = json_array();
    for (size_t i = 0; i < ledger.len; i++) {
        struct jb_holding h;
        jb_ledger_get(&ledger, i, &h);
        (void)json_array_append_new(boxes, describe(&job, &h));
    }
    print(boxes, json);
    json_decref(boxes);
    jb_ledger_free(&ledger);
    return 0;
}
