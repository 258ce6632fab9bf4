/*
 * show.c - jobbox show --events: what happened to a box. Without --events it is about a record: jobbox-report's.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; it reads the state directory and the runtime directory
 * where it may.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/cli.h"
#include "job/events.h"

static const char usage[] = "Usage: jobbox show --events [OPTION]... ID\n"
                            "Prints what happened to a box, live or ended, and who asked for it.\n\n"
                            "  -e, --events       its event log\n"
                            "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                            "      --json         the lines as they are kept\n"
                            "  -h, --help         this text\n";

/* Members that every event has are shown in front, or not at all. */
static bool is_common(const char *key)
{
    static const char *const common[] = {"id", "seq", "time", "mono_s", "event"};
    for (size_t i = 0; i < JB_ARRAY_LEN(common); i++)
        if (jb_streq(key, common[i]))
            return true;
    return false;
}

static void print_event(const char *line, size_t len, double *first)
{
    json_t *event = json_loadb(line, len, 0, NULL);
    const char *key;
    json_t *value;
    if (!json_is_object(event)) {
        json_decref(event);
        return;
    }
    double at = json_number_value(json_object_get(event, "mono_s"));
    if (*first < 0)
        *first = at;
    const char *time = json_string_value(json_object_get(event, "time"));
    const char *name = json_string_value(json_object_get(event, "event"));
    (void)printf("%s  %+11.6f  %-10s", time ? time : "-", at - *first, name ? name : "-");
    json_object_foreach(event, key, value)
    {
        if (is_common(key))
            continue;
        jb_autofree char *text =
            json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        (void)printf(" %s=%s", key, json_is_string(value) ? json_string_value(value) : text ? text : "?");
    }
    (void)putchar('\n');
    json_decref(event);
}

static int open_dir(int at, const char *path)
{
    return path ? openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
}

static int show_events(const struct jb_cli_job *job, const char *id_text, bool json)
{
    struct jb_error err = {0};
    struct jb_id id;
    jb_autobuf struct jb_buf text = {0};
    char prefix[JB_ID_LEN + 2];
    size_t n = 0;
    for (; id_text[n] && n < sizeof(prefix) - 1; n++)
        prefix[n] = (char)(id_text[n] >= 'a' && id_text[n] <= 'z' ? id_text[n] - 'a' + 'A' : id_text[n]);
    prefix[n] = '\0';
    jb_autoclose int state = open_dir(AT_FDCWD, job->state.state_dir);
    jb_autoclose int runtime = open_dir(AT_FDCWD, job->state.runtime_dir);
    jb_autoclose int boxes = runtime < 0 ? -1 : open_dir(runtime, "boxes");
    if (jb_events_find(state, boxes, prefix, &id, &text, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (json) {
        (void)fputs(text.data, stdout);
        return 0;
    }
    double first = -1;
    const char *end;
    for (const char *line = text.data; (end = strchr(line, '\n')); line = end + 1)
        print_event(line, (size_t)(end - line), &first);
    return 0;
}

static bool wants_events(int argc, char **argv)
{
    for (int i = 1; i < argc && !jb_streq(argv[i], "--"); i++)
        if (jb_streq(argv[i], "-e") || (strlen(argv[i]) > 3 && jb_starts_with("--events", argv[i])))
            return true;
    return false;
}

int jb_cmd_show(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"events", no_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = NULL;
    bool json = false;
    int c;
    for (int i = 1; i < argc; i++)
        if (jb_cli_is_job(argv[i]) && !jb_streq(argv[i - 1], "-c") && !jb_streq(argv[i - 1], "--config"))
            return jb_cmd_show_job(argc, argv);
    if (!wants_events(argc, argv))
        return jb_cmd_records(argc, argv);
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:eh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'e':
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
        return jb_cli_usage("show", "which box? Give its id, or the beginning of it");
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    int code = jb_cli_load(config, NULL, &job);
    return code ? code : show_events(&job, argv[optind], json);
}
