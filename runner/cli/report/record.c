/*
 * record.c - jobbox show ID: everything that the record of a job says.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/id.h"
#include "base/units.h"
#include "report/source.h"

static const char usage[] =
    "Usage: jobbox show [OPTION]... ID\n"
    "Prints the record of a job that ended. With --events: what happened to it, live or ended.\n\n"
    "      --json             the record as it is in the journal\n"
    "  -e, --events           its event log instead\n" JB_ASK_WHICH_HELP
    "  -h, --help             this text\n";

/* The line of a row, from wherever its journal is now. */
static int read_line(struct jb_index *index, const struct jb_row *row, char **ret, struct jb_error *err)
{
    jb_autolines struct jb_lines source = {.fd = -1};
    jb_autofree char *path = NULL;
    const char *line = NULL;
    size_t len = 0;
    uint64_t at;
    struct jb_line scanned;
    int r = jb_index_file(index, row->v[JB_COL_SOURCE], &path, err);
    if (r == 0)
        r = jb_lines_open(path, &source, err);
    if (r == 0)
        r = jb_lines_skip(&source, (uint64_t)row->v[JB_COL_OFFSET], err);
    if (r > 0)
        r = jb_lines_next(&source, &line, &len, &at, err);
    if (r < 0)
        return r;
    if (r == 0 || jb_line_scan(line, len, &scanned) != JB_LINE_RECORD ||
        scanned.row.v[JB_COL_ID_HI] != row->v[JB_COL_ID_HI] ||
        scanned.row.v[JB_COL_ID_LO] != row->v[JB_COL_ID_LO])
        return jb_fail(err, EBADMSG,
                       "%s has changed since it was indexed; see jobbox journal verify, and jobbox journal "
                       "index --rebuild",
                       path);
    *ret = strndup(line, len);
    return *ret ? 0 : jb_fail_errno(err, ENOMEM, "record");
}

static void print_text(const char *text)
{
    jb_autobuf struct jb_buf safe = {0};
    (void)jb_escape(&safe, JB_ESCAPE_PLAIN, text);
    (void)fputs(safe.data ? safe.data : "", stdout);
}

static bool ends_in(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);
    return a >= b && jb_streq(text + a - b, end);
}

static void print_number(const char *key, const json_t *value)
{
    char buf[64];
    double number = json_number_value(value);
    if (ends_in(key, "_bytes") && number >= 0)
        (void)fputs(jb_format_size((uint64_t)number, buf, sizeof(buf)), stdout);
    else if (ends_in(key, "_s") && number >= 0)
        (void)fputs(jb_format_figure(number, JB_UNIT_SECONDS, false, buf, sizeof(buf)), stdout);
    else
        (void)fputs(jb_format_figure(number, JB_UNIT_COUNT, true, buf, sizeof(buf)), stdout);
}

static void print_value(const char *key, const json_t *value)
{
    if (json_is_string(value)) {
        print_text(json_string_value(value));
    } else if (json_is_number(value)) {
        print_number(key, value);
    } else if (json_is_null(value)) {
        (void)fputs("unknown", stdout);
    } else if (json_is_boolean(value)) {
        (void)fputs(json_is_true(value) ? "yes" : "no", stdout);
    } else {
        jb_autofree char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        print_text(text ? text : "?");
    }
    (void)fputc('\n', stdout);
}

/* Objects of objects are written with a dot; lists are lines of their own. */
static void print_members(const char *prefix, json_t *object)
{
    const char *key;
    json_t *value;
    size_t i;
    json_t *item;
    json_object_foreach(object, key, value)
    {
        jb_autofree char *name = jb_asprintf("%s%s%s", prefix, *prefix ? "." : "", key);
        jb_autobuf struct jb_buf safe = {0};
        if (!name || jb_escape(&safe, JB_ESCAPE_PLAIN, name) < 0)
            return;
        if (json_is_object(value) && json_object_size(value) > 0 && !jb_streq(key, "cpu_per_cpu_s")) {
            print_members(name, value);
        } else if (json_is_array(value) && json_array_size(value) > 0 &&
                   !json_is_string(json_array_get(value, 0))) {
            json_array_foreach(value, i, item)
            {
                (void)printf("  %-28s ", safe.data);
                print_value(key, item);
            }
        } else {
            (void)printf("  %-28s ", safe.data);
            print_value(key, value);
        }
    }
}

static void print_record(json_t *record)
{
    static const char *const sections[] = {"times",     "requested", "granted",   "used",     "end",
                                           "isolation", "output",    "artifacts", "warnings", "chain"};
    json_t *rest = json_copy(record);
    for (size_t i = 0; i < JB_ARRAY_LEN(sections); i++)
        (void)json_object_del(rest, sections[i]);
    (void)puts("record");
    print_members("", rest);
    json_decref(rest);
    for (size_t i = 0; i < JB_ARRAY_LEN(sections); i++) {
        json_t *value = json_object_get(record, sections[i]);
        size_t k;
        json_t *item;
        if (json_is_object(value) && json_object_size(value) > 0) {
            (void)puts(sections[i]);
            print_members("", value);
        } else if (json_is_array(value) && json_array_size(value) > 0) {
            (void)puts(sections[i]);
            json_array_foreach(value, k, item)
            {
                (void)fputs("  ", stdout);
                print_value("", item);
            }
        }
    }
}

static int show(struct jb_ask *ask, const char *id)
{
    struct jb_error err = {0};
    jb_autofree char *line = NULL;
    struct jb_row row;
    uint64_t number;
    int code = jb_ask_open(ask);
    if (code)
        return code;
    if (jb_index_find(ask->index, id, &number, &err) < 0) {
        (void)fprintf(stderr,
                      "jobbox: %s; a box that is live has none yet: jobbox ps, jobbox show --events\n",
                      err.text);
        return 1;
    }
    if (jb_index_row(ask->index, number, ~UINT64_C(0) >> (64 - JB_COL_MAX), &row, &err) < 0 ||
        read_line(ask->index, &row, &line, &err) < 0)
        return jb_ask_fail(&err);
    if (ask->as && jb_streq(ask->as, "json")) {
        (void)printf("%s\n", line);
        return 0;
    }
    json_error_t bad;
    json_t *record = json_loads(line, 0, &bad);
    if (!record) {
        (void)fprintf(stderr, "jobbox: the record holds text that is not UTF-8; --json prints it as it is\n");
        return 1;
    }
    print_record(record);
    json_decref(record);
    return 0;
}

int jb_cmd_record(int argc, char **argv)
{
    static const struct option options[] = {JB_ASK_WHICH, {"json", no_argument, NULL, JB_ASK_JSON}, {0}};
    jb_autoask struct jb_ask ask = JB_ASK_INIT("show");
    int code = 0;
    int c;
    opterr = 0;
    while (code == 0 && (c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(usage, stdout), 0;
        code = jb_ask_option(&ask, c, argv);
    }
    if (code)
        return code;
    if (optind + 1 != argc)
        return jb_cli_usage("show", "which job? Give its id, or the beginning of it");
    return show(&ask, argv[optind]);
}
