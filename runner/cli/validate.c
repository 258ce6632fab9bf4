/*
 * validate.c - jobbox validate: are these job specs right?
 *
 * Owns: nothing. Runs in: the client. Privilege: none; reads the named files and nothing else.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: jobbox validate [OPTION]... JOB.yaml...\n"
    "Checks job specs (\"-\": standard input) and says everything that is wrong with each. Exit code 0 when "
    "all are\n"
    "right, 125 when one is not. What a site allows is not looked at: that is `jobbox plan`.\n\n"
    "      --json  one array of {file, ok, errors: [{line, column, message}]} on standard output\n"
    "  -h, --help  this text\n";

/* Line 0, a fault of the file as a whole, has no position. */
static json_t *report(const char *path, bool ok, const struct jb_diags *diags)
{
    json_t *errors = json_array();
    for (size_t i = 0; i < diags->len; i++) {
        const struct jb_diag *d = &diags->items[i];
        json_t *item = json_object();
        bool set = jb_json_set(item, "line", d->line ? json_integer(d->line) : json_null()) &&
                   jb_json_set(item, "column", d->line ? json_integer(d->column) : json_null()) &&
                   jb_json_set(item, "message", jb_json_text(d->text));
        if (json_array_append_new(errors, item) < 0 || !set) {
            json_decref(errors);
            return NULL;
        }
    }
    json_t *object = json_object();
    bool set = jb_json_set(object, "file", jb_json_text(path)) && jb_json_set(object, "ok", json_boolean(ok));
    if (!jb_json_set(object, "errors", errors) || !set) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool print(const char *path, bool ok, const struct jb_diags *diags)
{
    if (ok)
        return printf("%s: ok\n", path) >= 0;
    jb_autofree char *text = jb_diags_format(diags);
    return text && fputs(text, stderr) >= 0;
}

/* One file, into `reports` when not NULL. Returns 0, or the exit code. */
static int check(const char *path, json_t *reports)
{
    struct jb_error none = {.text = "out of memory"};
    struct jb_diags diags = {0};
    jb_autospec struct jb_spec *spec = NULL;
    bool ok = jb_spec_load(path, &spec, &diags) == 0;
    bool told = ok || diags.len > 0;
    if (told && reports)
        told = json_array_append_new(reports, report(path, ok, &diags)) == 0;
    else if (told)
        told = print(path, ok, &diags);
    jb_diags_free(&diags);
    if (!told)
        return jb_cli_fail(JB_EXIT_NO_BOX, &none);
    return ok ? 0 : JB_EXIT_USAGE;
}

int jb_cmd_validate(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    json_t *reports = NULL;
    bool json = false;
    int code = 0;
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (c != 'j')
            return jb_cli_bad_option("validate", c, argv);
        json = true;
    }
    if (optind == argc)
        return jb_cli_usage("validate", "which job? Name a YAML file");
    if (json)
        reports = json_array();
    for (int i = optind; i < argc; i++) {
        int r = check(argv[i], reports);
        code = r > code ? r : code;
    }
    if (json) {
        (void)json_dumpf(reports, stdout, JSON_INDENT(2));
        (void)fputs("\n", stdout);
        json_decref(reports);
    }
    return code;
}
