/*
 * ps.c - jobbox ps: the live boxes, and the queue.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; it reads the ledger where it may, and asks each supervisor.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/kept.h"
#include "cli/queue.h"
#include "job/control.h"

#define PATIENCE_MS 300 /* of each supervisor; one that is stopped must not hold up the list */

static const char usage[] =
    "Usage: jobbox ps [OPTION]...\n"
    "Lists the live boxes: id, phase, user, CPUs, memory, time since the start, name; and your jobs in the "
    "queue.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own          your own queue, not the system's\n"
    "  -a, --all          the queued jobs of all users\n"
    "  -u, --user USER    those of this user\n"
    "  -s, --state STATE  active (pending, held and running: the default), one of these, done, or all\n"
    "      --kept         what was kept of boxes that ended, instead\n"
    "  -w, --watch        again every second\n"
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

struct ps_options {
    const char *config, *state, *user;
    bool json, all, own, watch, kept;
};

static int parse(int argc, char **argv, struct ps_options *o)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
        {"all", no_argument, NULL, 'a'},          {"own", no_argument, NULL, 'o'},
        {"kept", no_argument, NULL, 'k'},         {"state", required_argument, NULL, 's'},
        {"user", required_argument, NULL, 'u'},   {"watch", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},         {0}};
    static const char *const states[] = {"active", "pending", "held", "running", "done", "all"};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:as:u:wh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'a':
            o->all = true;
            break;
        case 'o':
            o->own = true;
            break;
        case 'k':
            o->kept = true;
            break;
        case 's':
            o->state = optarg;
            break;
        case 'u':
            o->user = optarg;
            break;
        case 'w':
            o->watch = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option("ps", c, argv);
        }
    }
    size_t i = 0;
    while (o->state && i < JB_ARRAY_LEN(states) && !jb_streq(o->state, states[i]))
        i++;
    if (i == JB_ARRAY_LEN(states))
        return jb_cli_usage("ps", "--state is active, pending, held, running, done or all");
    return optind == argc ? -1 : jb_cli_usage("ps", "it takes no arguments");
}

/* What a daemon says of the queue; an empty list where there is none. */
static int ask_queue(const struct ps_options *o, json_t **ret, json_int_t *ret_more, char **ret_drained)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    json_t *reply = NULL;
    int code = jb_cli_load(o->config, NULL, &job);
    if (code)
        return code;
    const struct jb_client_wish wish = {
        .site = job.site, .who = &job.submitter, .state = &job.state, .own = o->own};
    *ret = json_array();
    int r = jb_client_open(&wish, &client, &err);
    if (r == -ENOENT)
        return 0;
    json_t *request = json_pack("{s:b}", "all", o->all);
    if (o->state)
        (void)json_object_set_new(request, "state", json_string(o->state));
    if (o->user)
        (void)json_object_set_new(request, "user", jb_json_text(o->user));
    if (r == 0)
        r = jb_client_call(&client, "list", request, &reply, &err);
    else
        json_decref(request);
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    (void)json_array_extend(*ret, json_object_get(reply, "jobs"));
    *ret_more = json_integer_value(json_object_get(reply, "more"));
    const char *drained = json_string_value(json_object_get(reply, "drained"));
    *ret_drained = drained ? strdup(drained) : NULL;
    json_decref(reply);
    return 0;
}

/* Boxes that belong to no job of the list. */
static json_t *others(const json_t *boxes, json_t *jobs)
{
    json_t *rest = json_array();
    size_t i;
    json_t *box;
    json_array_foreach(boxes, i, box)
    {
        size_t k;
        json_t *one;
        bool known = false;
        json_array_foreach(jobs, k, one)
        {
            if (json_equal(json_object_get(one, "id"), json_object_get(box, "id"))) {
                known = true;
                (void)json_object_update_missing(one, box);
            }
        }
        if (!known)
            (void)json_array_append(rest, box);
    }
    return rest;
}

/* What runs is neither waiting nor done, and somebody's. */
static bool box_wanted(const struct ps_options *o, const struct jb_holding *h)
{
    static const char *const not_live[] = {"pending", "held", "done"};
    char user[64];
    for (size_t i = 0; o->state && i < JB_ARRAY_LEN(not_live); i++)
        if (jb_streq(o->state, not_live[i]))
            return false;
    jb_cli_user_name(h->uid, user, sizeof(user));
    return !o->user || jb_streq(o->user, user);
}

/* Of those that have ended the queue does not count what it leaves out. */
static bool with_ended(const struct ps_options *o)
{
    return o->state && (strcmp(o->state, "all") == 0 || strcmp(o->state, "done") == 0);
}

static int show_once(const struct ps_options *o)
{
    if (o->kept)
        return jb_cli_list_kept(o->config, o->json);
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_ledger ledger = {0};
    json_t *jobs = NULL;
    json_int_t more = 0;
    jb_autofree char *drained = NULL;
    int code = jb_cli_live(o->config, &job, &ledger);
    if (code)
        return code;
    code = ask_queue(o, &jobs, &more, &drained); /* without its answer boxes are listed all the same */
    json_t *boxes = json_array();
    for (size_t i = 0; i < ledger.len; i++) {
        struct jb_holding h;
        jb_ledger_get(&ledger, i, &h);
        if (box_wanted(o, &h))
            (void)json_array_append_new(boxes, describe(&job, &h));
    }
    json_t *rest = others(boxes, jobs);
    if (o->json) {
        (void)json_array_extend(rest, jobs);
        print(rest, true);
    } else {
        print(rest, false);
        if (json_array_size(rest) > 0 && json_array_size(jobs) > 0)
            (void)putchar('\n');
        jb_cli_print_jobs(jobs);
        if (more > 0)
            (void)printf("... and %s%lld more\n", with_ended(o) ? "at least " : "", (long long)more);
        if (drained)
            (void)printf("The host is drained: %s\n", drained);
    }
    json_decref(rest);
    json_decref(boxes);
    json_decref(jobs);
    jb_ledger_free(&ledger);
    return o->watch ? 0 : code; /* who watches is told, and sees the next daemon */
}

int jb_cmd_ps(int argc, char **argv)
{
    struct ps_options o = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    code = show_once(&o);
    while (code == 0 && o.watch) {
        const struct timespec pause = {.tv_sec = 1};
        (void)fflush(stdout);
        (void)nanosleep(&pause, NULL);
        if (isatty(STDOUT_FILENO))
            (void)fputs("\033[H\033[J", stdout);
        else
            (void)putchar('\n');
        code = show_once(&o);
        if (ferror(stdout))
            break;
    }
    return code;
}
