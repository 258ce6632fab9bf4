/*
 * box.c - boxes of queued jobs, reached through jobboxd; and why a job waits.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the daemon decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/queue.h"

int jb_cli_ask_queue(const char *config, bool own, const char *text, const json_t *request, json_t *answers)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    json_t *reply = NULL;
    int code = jb_cli_load(config, NULL, &job);
    const struct jb_client_wish wish = {
        .site = job.site, .who = &job.submitter, .state = &job.state, .config = config, .own = own};
    int r = code ? -ENOENT : jb_client_open(&wish, &client, &err);
    if (r < 0)
        return r == -ENOENT || !jb_cli_is_job(text) ? -1 : jb_cli_fail(JB_EXIT_NO_BOX, &err);
    r = jb_client_call(&client, "control", json_pack("{s:s, s:O}", "id", text, "request", request), &reply,
                       &err);
    if (r == -ENOENT && !jb_cli_is_job(text))
        return -1;
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    json_t *answer = json_incref(json_object_get(reply, "answer"));
    json_decref(reply);
    if (json_is_object(answer))
        (void)json_object_set_new(answer, "id", json_string(text));
    (void)json_array_append_new(answers, answer ? answer : json_object());
    return 0;
}

int jb_cli_queued_box(const char *config, bool own, const char *text, struct jb_cli_job *job,
                      struct jb_id *ret, struct jb_error *err)
{
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    json_t *reply = NULL;
    const struct jb_client_wish wish = {
        .site = job->site, .who = &job->submitter, .state = &job->state, .config = config, .own = own};
    int r = jb_client_open(&wish, &client, err);
    if (r == 0)
        r = jb_client_call(&client, "box", json_pack("{s:s}", "id", text), &reply, err);
    if (r < 0)
        return r;
    const char *id = json_string_value(json_object_get(reply, "id"));
    const char *runtime = json_string_value(json_object_get(reply, "runtime"));
    jb_autofree char *path = jb_asprintf("%s/boxes", runtime ? runtime : "");
    (void)snprintf(ret->text, sizeof(ret->text), "%s", id ? id : "");
    json_decref(reply);
    int fd = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return jb_fail_errno(err, errno, "%s", path ? path : "boxes");
    jb_close(&job->state.ledger.boxes_fd);
    job->state.ledger.boxes_fd = fd;
    job->queued = true;
    return 0;
}

static void print_why(const json_t *one)
{
    static const char *const lines[][2] = {{"waits for", "why"},
                                           {"because", "text"},
                                           {"reason", "reason"},
                                           {"since", "eligible"},
                                           {"submitted", "submitted"},
                                           {"not before", "not_before"},
                                           {"starts at the latest", "start"}};
    size_t i;
    const json_t *dep;
    (void)printf("job %s\n", json_string_value(json_object_get(one, "job")));
    for (size_t k = 0; k < JB_ARRAY_LEN(lines); k++) {
        const char *text = json_string_value(json_object_get(one, lines[k][1]));
        bool guess = json_is_true(json_object_get(one, "guess")) && strcmp(lines[k][1], "start") == 0;
        if (text)
            (void)printf("  %-21s %s%s\n", guess ? "starts" : lines[k][0], text,
                         guess ? ", at a guess: something runs without wall_time, or is before it and barred"
                               : "");
    }
    const json_t *ahead = json_object_get(one, "ahead");
    if (json_is_integer(ahead))
        (void)printf("  %-21s %lld\n", "jobs before it", (long long)json_integer_value(ahead));
    json_array_foreach(json_object_get(one, "depends_on"), i, dep)
    {
        (void)printf("  %-21s job %lld (%s)\n", "depends on",
                     (long long)json_integer_value(json_object_get(dep, "job")),
                     json_string_value(json_object_get(dep, "when")));
    }
}

int jb_cmd_explain_job(int argc, char **argv)
{
    static const char usage[] =
        "Usage: jobbox explain --job JOB [OPTION]...\n"
        "Says why a queued job waits, since when, for what, and when it starts at the latest as\n"
        "far as wall times tell.\n\n"
        "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
        "      --own          of your own queue, not the system's\n"
        "      --json         the answer as JSON\n"
        "  -h, --help         this text\n";
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"job", required_argument, NULL, 'J'},
        {"json", no_argument, NULL, 'j'},         {"own", no_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},         {0}};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error err = {0};
    const char *config = NULL;
    const char *id = NULL;
    json_t *reply = NULL;
    bool json = false;
    bool own = false;
    size_t i;
    const json_t *one;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        if (c == 'c')
            config = optarg;
        else if (c == 'o')
            own = true;
        else if (c == 'J')
            id = optarg;
        else if (c == 'j')
            json = true;
        else if (c == 'h')
            return fputs(usage, stdout) == EOF;
        else
            return jb_cli_bad_option("explain", c, argv);
    }
    if (!id || optind != argc)
        return jb_cli_usage("explain", "--job takes the number of a queued job, and no file goes with it");
    int code = jb_cli_connect(config, own, false, &job, &client);
    if (code)
        return code;
    if (jb_client_call(&client, "explain", json_pack("{s:s}", "id", id), &reply, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (json)
        jb_cli_print_answers(json_object_get(reply, "jobs"));
    else
        json_array_foreach(json_object_get(reply, "jobs"), i, one)
        {
            print_why(one);
        }
    json_decref(reply);
    return 0;
}
