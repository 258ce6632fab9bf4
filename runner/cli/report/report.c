/*
 * report.c - jobbox report: who used what.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "report/page.h"

#define MEASURES_MAX 64

enum { BY = JB_ASK_OWN, COLUMNS, SORT, ASCENDING, TOP, LIST, HTML, FORMAT, NO_HEADER, CLUSTER, SITE, LEVEL };

static const char usage[] =
    "Usage: jobbox report [OPTION]...\n"
    "Sums up the records of jobs that ended, or writes them in a form that other programs load.\n\n"
    "      --by LIST          groups: user, account, host, image, name, reason, origin, job, label:KEY, "
    "hour, day, week,\n"
    "                         month, year; several with commas between\n"
    "      --columns LIST     which figures, with _sum, _avg, _min, _max, _known or _p95 behind where "
    "wanted\n"
    "      --list-columns     what there is\n"
    "      --sort COLUMN      by this figure, the greatest first; without: by the groups' names\n"
    "      --ascending        the least first\n"
    "      --top N            only the first N groups\n" JB_ASK_FILTER_HELP
    "      --as FORM          table, csv, json (also --csv, --json), prometheus; or one entry for each job: "
    "sacct, xdmod,\n"
    "                         apel, car, acct\n"
    "      --html FILE        a page with charts and tables, for a browser: one file that needs nothing "
    "else\n"
    "      --format LIST      the fields of --as sacct, as those of sacct(1)\n"
    "      --no-header        of --as sacct: without the line of names\n"
    "      --cluster NAME     of --as sacct and xdmod; without: the host of each job\n"
    "      --site NAME        of --as car: the site's name, as GOCDB has it\n"
    "      --service-level TYPE=N  of --as car: hepspec, si2k or hepscore23\n"
    "  -o, --output FILE      there, at once and as a whole, instead of standard output\n"
    "      --width N          of the table, 0: as wide as it gets. --color auto|always|never. --raw: plain "
    "numbers\n" JB_ASK_WHICH_HELP "  -h, --help             this text\n";

static const char default_columns[] =
    "jobs,core_hours,core_hours_used,cpu_eff,mem_hours,mem_eff,mem_peak,wait,wall,not_completed";

struct options {
    struct jb_strv by, columns;
    const char *sort;
    bool ascending;
    uint64_t top;
    const char *html;
    struct jb_export_options export;
};

static int list_columns(void)
{
    const struct jb_metric *m;
    for (size_t i = 0; (m = jb_metric_at(i)); i++)
        (void)printf("%-18s %s\n", m->name, m->what);
    (void)puts("\nWith _sum, _avg, _min, _max, _known (how many jobs have it) or _p95 (any percentile) "
               "behind: of single jobs.");
    return 0;
}

static int add_columns(const struct jb_ask *ask, const struct options *o, struct jb_measure *measures,
                       size_t *n, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int code = o->columns.len ? 0 : jb_ask_list(ask, default_columns, &names);
    const struct jb_strv *list = o->columns.len ? &o->columns : &names;
    if (code)
        return -ENOMEM;
    if (!o->columns.len && ask->prices && jb_strv_add(&names, "cost") < 0)
        return -ENOMEM;
    for (size_t i = 0; i < list->len; i++) {
        if (*n == MEASURES_MAX - 1)
            return jb_fail(err, E2BIG, "more than %d columns", MEASURES_MAX - 1);
        int r = jb_measure_parse(list->items[i], &measures[(*n)++], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The figure to sort by need not be shown: it comes last, and is left out. */
static int set_sort(const struct options *o, struct jb_measure *measures, size_t *n, struct jb_query *query,
                    struct jb_error *err)
{
    char name[64];
    query->sort = -1;
    query->ascending = o->ascending;
    query->top = (size_t)o->top;
    if (!o->sort)
        return 0;
    for (size_t i = 0; i < *n; i++)
        if (jb_streq(jb_measure_name(&measures[i], name, sizeof(name)), o->sort)) {
            query->sort = (int)i;
            return 0;
        }
    query->sort = (int)*n;
    return jb_measure_parse(o->sort, &measures[(*n)++], err);
}

static int make_query(const struct jb_ask *ask, const struct options *o, struct jb_measure *measures,
                      size_t *ret_shown, struct jb_query *query, struct jb_error *err)
{
    size_t n = 0;
    query->filter = ask->filter;
    query->prices = ask->prices;
    query->measures = measures;
    for (size_t i = 0; i < o->by.len; i++) {
        if (query->n_keys == JB_KEYS_MAX)
            return jb_fail(err, E2BIG, "more than %d groups in each other", JB_KEYS_MAX);
        int r = jb_group_key_parse(o->by.items[i], &query->keys[query->n_keys++], err);
        if (r < 0)
            return r;
    }
    int r = add_columns(ask, o, measures, &n, err);
    *ret_shown = n;
    if (r == 0)
        r = set_sort(o, measures, &n, query, err);
    query->n_measures = n;
    return r;
}

static void name_columns(const struct jb_ask *ask, const struct jb_query *query, size_t shown,
                         struct jb_sheet_column *columns)
{
    for (size_t k = 0; k < query->n_keys; k++) {
        (void)jb_group_key_name(&query->keys[k], columns[k].name, sizeof(columns[k].name));
        (void)snprintf(columns[k].title, sizeof(columns[k].title), "%s", columns[k].name);
    }
    for (size_t m = 0; m < shown; m++) {
        const struct jb_measure *measure = &query->measures[m];
        struct jb_sheet_column *c = &columns[query->n_keys + m];
        c->kind = JB_CELL_NUMBER;
        c->unit = jb_measure_unit(measure);
        (void)jb_measure_name(measure, c->name, sizeof(c->name));
        if (measure->agg != measure->metric->agg)
            (void)snprintf(c->title, sizeof(c->title), "%s", c->name);
        else if (c->unit == JB_UNIT_MONEY && ask->job.site->currency)
            (void)snprintf(c->title, sizeof(c->title), "%s %.16s", measure->metric->title,
                           ask->job.site->currency);
        else
            (void)snprintf(c->title, sizeof(c->title), "%s", measure->metric->title);
    }
}

static int write_sheet(const struct jb_ask *ask, const struct jb_query *query, size_t shown,
                       const struct jb_result *result, const struct jb_sheet_style *style,
                       struct jb_error *err)
{
    size_t n = query->n_keys + shown;
    jb_autofree struct jb_sheet_column *columns = calloc(n + 1, sizeof(*columns));
    jb_autofree struct jb_cell *cells = calloc(n + 1, sizeof(*cells));
    struct jb_sheet *sheet;
    if (!columns || !cells)
        return jb_fail_errno(err, ENOMEM, "report");
    name_columns(ask, query, shown, columns);
    int r = jb_sheet_begin(ask->out, style, columns, n, &sheet, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < result->n_groups; i++) {
        for (size_t k = 0; k < query->n_keys; k++)
            cells[k].text = result->groups[i].keys[k];
        for (size_t m = 0; m < shown; m++)
            cells[query->n_keys + m].number = result->groups[i].values[m];
        r = jb_sheet_row(sheet, cells, false, err);
    }
    for (size_t k = 0; k < query->n_keys; k++)
        cells[k].text = k ? "" : "all";
    for (size_t m = 0; m < shown; m++)
        cells[query->n_keys + m].number = result->total.values[m];
    /* without groups the sum is the row */
    if (r == 0 && query->n_keys == 0)
        r = jb_sheet_row(sheet, cells, false, err);
    if (r == 0 && (query->n_keys > 0 || style->form == JB_SHEET_JSON))
        r = jb_sheet_row(sheet, cells, true, err);
    int end = jb_sheet_end(sheet, r < 0 ? NULL : err);
    return r < 0 ? r : end;
}

static int report(struct jb_ask *ask, const struct options *o)
{
    struct jb_error err = {0};
    struct jb_measure measures[MEASURES_MAX];
    struct jb_query query = {.filter = JB_FILTER_INIT};
    jb_autoresult struct jb_result result = {0};
    struct jb_sheet_style style;
    size_t shown = 0;
    if (make_query(ask, o, measures, &shown, &query, &err) < 0) {
        (void)fprintf(stderr, "jobbox report: %s\n", err.text);
        return JB_EXIT_USAGE;
    }
    int code = jb_ask_open(ask);
    if (code)
        return code;
    query.filter = ask->filter;
    query.prices = ask->prices;
    if (!o->columns.len && ask->prices) { /* the price is known only now */
        shown = 0;
        query.n_keys = 0;
        if (make_query(ask, o, measures, &shown, &query, &err) < 0)
            return jb_ask_fail(&err);
    }
    if (jb_query_run(ask->index, &query, &result, &err) < 0)
        return jb_ask_fail(&err);
    code = jb_ask_out(ask);
    if (code)
        return code;
    bool prometheus = ask->as && jb_streq(ask->as, "prometheus");
    int r = 0;
    if (prometheus)
        r = jb_export_prometheus(ask->out, &query, shown, &result, &err);
    else if (jb_ask_style(ask, &style))
        r = write_sheet(ask, &query, shown, &result, &style, &err);
    return r < 0 ? jb_ask_fail(&err) : jb_ask_done(ask);
}

static int export_jobs(struct jb_ask *ask, const struct options *o, enum jb_export form)
{
    struct jb_error err = {0};
    struct jb_export_note note = {0};
    if (form == JB_EXPORT_ACCT && !ask->output && isatty(STDOUT_FILENO))
        return jb_cli_usage("report", "the acct file is not for a terminal; write -o FILE");
    if (o->by.len || o->columns.len || o->sort || o->top)
        return jb_cli_usage("report",
                            "this form has one entry for each job: no --by, --columns, --sort, --top");
    if (jb_export_check(form, &o->export, &err) < 0) {
        (void)fprintf(stderr, "jobbox report: %s\n", err.text);
        return JB_EXIT_USAGE;
    }
    int code = jb_ask_open(ask);
    if (code == 0)
        code = jb_ask_out(ask);
    if (code)
        return code;
    if (jb_export_jobs(ask->out, form, ask->index, &ask->filter, &o->export, &note, &err) < 0)
        return jb_ask_fail(&err);
    if (note.left_out > 0)
        (void)fprintf(stderr,
                      "jobbox: warning: %llu record%s left out, for this form has no place for them: %s\n",
                      (unsigned long long)note.left_out, note.left_out == 1 ? " is" : "s are", note.why);
    return jb_ask_done(ask);
}

static int write_page(struct jb_ask *ask, const struct options *o)
{
    struct jb_error err = {0};
    if (o->by.len || o->columns.len || o->sort || o->top || ask->as || ask->output)
        return jb_cli_usage("report",
                            "--html has its own groups and columns, and names its file: no --by, --columns, "
                            "--sort, --top, --as, --output");
    ask->output = o->html;
    int code = jb_ask_open(ask);
    if (code == 0)
        code = jb_ask_out(ask);
    if (code)
        return code;
    const struct jb_page_wish wish = {
        .index = ask->index,
        .filter = &ask->filter,
        .prices = ask->prices,
        .currency = ask->job.site->currency,
        .now = (int64_t)jb_wall_us(NULL),
    };
    return jb_page_write(ask->out, &wish, &err) < 0 ? jb_ask_fail(&err) : jb_ask_done(ask);
}

static int take(struct jb_ask *ask, struct options *o, int c, char **argv)
{
    switch (c) {
    case BY:
        return jb_ask_list(ask, optarg, &o->by);
    case COLUMNS:
        return jb_ask_list(ask, optarg, &o->columns);
    case SORT:
        o->sort = optarg;
        return 0;
    case ASCENDING:
        o->ascending = true;
        return 0;
    case TOP:
        return jb_parse_u64(optarg, 1000000000, &o->top) < 0 ? jb_cli_usage("report", "--top wants a number")
                                                             : 0;
    case HTML:
        o->html = optarg;
        return 0;
    case FORMAT:
        o->export.fields = optarg;
        return 0;
    case NO_HEADER:
        o->export.no_header = true;
        return 0;
    case CLUSTER:
        o->export.cluster = optarg;
        return 0;
    case LEVEL:
        o->export.service_level = optarg;
        return 0;
    case SITE:
        o->export.site = optarg;
        return 0;
    default:
        return jb_ask_option(ask, c, argv);
    }
}

int jb_cmd_report(int argc, char **argv)
{
    static const struct option options[] = {JB_ASK_WHICH,
                                            JB_ASK_FILTER,
                                            JB_ASK_FORM,
                                            {"by", required_argument, NULL, BY},
                                            {"columns", required_argument, NULL, COLUMNS},
                                            {"sort", required_argument, NULL, SORT},
                                            {"ascending", no_argument, NULL, ASCENDING},
                                            {"top", required_argument, NULL, TOP},
                                            {"list-columns", no_argument, NULL, LIST},
                                            {"html", required_argument, NULL, HTML},
                                            {"format", required_argument, NULL, FORMAT},
                                            {"no-header", no_argument, NULL, NO_HEADER},
                                            {"cluster", required_argument, NULL, CLUSTER},
                                            {"site", required_argument, NULL, SITE},
                                            {"service-level", required_argument, NULL, LEVEL},
                                            {0}};
    jb_autoask struct jb_ask ask = JB_ASK_INIT("report");
    struct options o = {0};
    enum jb_export form;
    int code = 0;
    int c;
    opterr = 0;
    while (code == 0 && (c = getopt_long(argc, argv, ":c:o:h", options, NULL)) != -1) {
        if (c == 'h' || c == LIST) {
            code = c == 'h' ? (fputs(usage, stdout), 0) : list_columns();
            jb_strv_free(&o.by);
            jb_strv_free(&o.columns);
            return code;
        }
        code = take(&ask, &o, c, argv);
    }
    struct jb_sheet_style style;
    ask.out = stdout;
    if (code == 0 && optind < argc)
        code = jb_cli_usage("report", "it takes options only; did you mean --by or --user?");
    else if (code == 0 && o.html)
        code = write_page(&ask, &o);
    else if (code == 0 && ask.as && jb_export_parse(ask.as, &form))
        code = export_jobs(&ask, &o, form);
    else if (code == 0 && !jb_ask_style(&ask, &style) && !(ask.as && jb_streq(ask.as, "prometheus")))
        code =
            jb_cli_usage("report", "--as is table, csv, json, prometheus, sacct, xdmod, apel, car or acct");
    else if (code == 0)
        code = report(&ask, &o);
    jb_strv_free(&o.by);
    jb_strv_free(&o.columns);
    return code;
}
