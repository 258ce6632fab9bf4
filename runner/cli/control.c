/*
 * control.c - what the verbs share that ask live boxes for something: options, ids by prefix, the question itself.
 *
 * Owns: nothing beyond its calls. Runs in: the client. Privilege: the user's; the box's supervisor decides.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/cli.h"
#include "job/control.h"

/* An update may have to wait for others who choose CPUs. */
#define PATIENCE_MS 5000

/* Upper case, as ids are; "" when it cannot be the beginning of one. */
static void as_prefix(const char *text, char ret[JB_ID_LEN + 1])
{
    size_t n = strlen(text);
    ret[0] = '\0';
    if (n == 0 || n > JB_ID_LEN)
        return;
    for (size_t i = 0; i <= n; i++)
        ret[i] = (char)toupper((unsigned char)text[i]);
}

int jb_cli_find_box(const struct jb_ledger *ledger, const char *text, struct jb_id *ret, struct jb_error *err)
{
    char prefix[JB_ID_LEN + 1];
    size_t found = 0;
    as_prefix(text, prefix);
    for (size_t i = 0; prefix[0] && i < ledger->len; i++) {
        if (!jb_starts_with(ledger->items[i].id.text, prefix))
            continue;
        *ret = ledger->items[i].id;
        found++;
    }
    if (found > 1)
        return jb_fail(err, ENOTUNIQ, "%.40s: %zu live boxes have an id that begins so; give more of it",
                       text, found);
    return found ? 0
                 : jb_fail(err, ENOENT, "%.40s: no live box has an id that begins so; jobbox ps lists them",
                           text);
}

int jb_cli_live(const char *config, struct jb_cli_job *job, struct jb_ledger *ret)
{
    struct jb_error err = {0};
    int code = jb_cli_load(config, NULL, job);
    if (code)
        return code;
    int r = jb_cli_peek(&job->state, &err);
    if (r == -ENOENT || (r == -EACCES && job->submitter.uid != 0)) { /* root's: none of ours can be in it */
        *ret = (struct jb_ledger){0};
        return 0;
    }
    if (r == 0)
        r = jb_ledger_read(&job->state.ledger, ret, &err);
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    jb_ledger_sort(ret);
    return 0;
}

int jb_cli_one_box(const char *config, bool own, const char *text, struct jb_cli_job *job, struct jb_id *ret)
{
    struct jb_ledger ledger = {0};
    struct jb_error err = {0};
    int code = jb_cli_live(config, job, &ledger);
    int r = code || jb_cli_is_job(text) ? -ENOENT : jb_cli_find_box(&ledger, text, ret, &err);
    jb_ledger_free(&ledger);
    if (code == 0 && r == -ENOENT) {
        struct jb_error queue = {0};
        r = jb_cli_queued_box(config, own, text, job, ret, &queue);
        if (r < 0 && (r != -ENOENT || !err.errnum))
            err = queue;
    }
    return code ? code : r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : 0;
}

bool jb_cli_is_job(const char *text)
{
    size_t n = strspn(text, "0123456789");
    return n > 0 && text[0] != '0' && (text[n] == '\0' || text[n] == '_');
}

static int ask_one(const char *config, bool own, const struct jb_cli_job *job, const struct jb_ledger *ledger,
                   const char *text, const json_t *request, json_t *answers)
{
    struct jb_error err = {0};
    struct jb_id id;
    json_t *answer = NULL;
    int r = jb_cli_is_job(text) ? -ENOENT : jb_cli_find_box(ledger, text, &id, &err);
    if (r == -ENOENT) { /* the queue may know it: by its number, or as a box that is not ours to see */
        int code = jb_cli_ask_queue(config, own, text, request, answers);
        if (code >= 0)
            return code;
        if (!err.errnum)
            (void)jb_fail(&err, ENOENT,
                          "%.40s: no jobboxd runs that would know this job; jobbox ps lists boxes", text);
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    if (r == 0)
        r = jb_control_ask(job->state.ledger.boxes_fd, &id, request, PATIENCE_MS, &answer, &err);
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    (void)json_object_set_new(answer, "id", json_string(id.text));
    (void)json_array_append_new(answers, answer);
    return 0;
}

int jb_cli_ask(const char *config, bool own, char **ids, const json_t *request, json_t **ret_answers)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_ledger ledger = {0};
    json_t *answers = json_array();
    int code = jb_cli_live(config, &job, &ledger);
    if (code == 0)
        for (; *ids; ids++) {
            int one = ask_one(config, own, &job, &ledger, *ids, request, answers);
            code = code ? code : one;
        }
    jb_ledger_free(&ledger);
    *ret_answers = answers;
    return code;
}

void jb_cli_print_answers(const json_t *answers)
{
    char *text = json_dumps(answers, JSON_INDENT(2));
    if (text)
        (void)puts(text);
    free(text);
}

int jb_cli_simple(int argc, char **argv, const char *usage, json_t *request)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"own", no_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = NULL;
    bool own = false;
    bool json = false;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'o':
            own = true;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            json_decref(request);
            return 0;
        default:
            json_decref(request);
            return jb_cli_bad_option(argv[0], c, argv);
        }
    }
    int code = JB_EXIT_USAGE;
    if (optind == argc) {
        (void)jb_cli_usage(argv[0], "which box? Give its id, or the beginning of it");
    } else {
        json_t *answers = NULL;
        code = jb_cli_ask(config, own, argv + optind, request, &answers);
        if (json)
            jb_cli_print_answers(answers);
        json_decref(answers);
    }
    json_decref(request);
    return code;
}
