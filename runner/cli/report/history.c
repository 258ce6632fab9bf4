/*
 * history.c - jobbox history: jobs that ended, one a line.
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

#define FIELDS_MAX 64
#define LAST       25 /* jobs, when nothing is said */

enum { COLUMNS = JB_ASK_OWN, SORT, ASCENDING, ALL, LIST };

static const char usage[] =
    "Usage: jobbox history [OPTION]...\n"
    "Lists jobs that ended, the latest last: 25 of them, or all of the time that --from and --to say.\n\n"
    "  -n, --last N           so many; --all: all\n"
    "      --columns LIST     see --list-columns\n"
    "      --sort COLUMN      by this figure, the greatest first; --ascending: the least\n" JB_ASK_FILTER_HELP
    "      --as FORM          table, csv, json; also --csv, --json\n"
    "  -o, --output FILE      there, at once and as a whole, instead of standard output\n"
    "      --width N          of the table, 0: as wide as it gets. --color auto|always|never. --raw: plain "
    "numbers\n" JB_ASK_WHICH_HELP "  -h, --help             this text\n";

static const char default_columns[] =
    "id,ended,user,account,name,reason,exit,cores,wall,cpu_eff,mem_peak,mem_granted";

enum form { TEXT, TIME, ID, JOB, NUMBER, LABEL, METRIC };

struct field {
    const char *name, *title;
    enum form form;
    enum jb_col col;
};

static const struct field fields[] = {
    {"id", "id", ID, JB_COL_ID_HI},
    {"job", "job", JOB, JB_COL_JOB},
    {"attempt", "attempt", NUMBER, JB_COL_ATTEMPT},
    {"array_index", "index", NUMBER, JB_COL_ARRAY_INDEX},
    {"name", "name", TEXT, JB_COL_NAME},
    {"user", "user", TEXT, JB_COL_USER},
    {"uid", "uid", NUMBER, JB_COL_UID},
    {"account", "account", TEXT, JB_COL_ACCOUNT},
    {"labels", "labels", TEXT, JB_COL_LABELS},
    {"host", "host", TEXT, JB_COL_HOST},
    {"image", "image", TEXT, JB_COL_IMAGE},
    {"origin", "origin", TEXT, JB_COL_ORIGIN},
    {"reason", "end", TEXT, JB_COL_REASON},
    {"limit", "limit", TEXT, JB_COL_LIMIT},
    {"exit", "exit", NUMBER, JB_COL_EXIT_CODE},
    {"signal", "signal", NUMBER, JB_COL_SIGNAL},
    {"cpu_list", "CPU list", TEXT, JB_COL_CPUS},
    {"submitted", "submitted", TIME, JB_COL_SUBMITTED},
    {"started", "started", TIME, JB_COL_STARTED},
    {"ended", "ended", TIME, JB_COL_AT},
};

struct column {
    struct field field;
    const char *label;
    struct jb_measure measure;
};

struct options {
    struct jb_strv columns;
    const char *sort;
    bool ascending, all;
    uint64_t last;
};

static int list_columns(void)
{
    const struct jb_metric *m;
    for (size_t i = 0; i < JB_ARRAY_LEN(fields); i++)
        (void)printf("%s%s", i ? ", " : "", fields[i].name);
    (void)puts(", label:KEY;\nand the figures of one job:");
    for (size_t i = 0; (m = jb_metric_at(i)); i++)
        (void)printf("%-18s %s\n", m->name, m->what);
    return 0;
}

static int parse_column(const char *text, struct column *ret, struct jb_error *err)
{
    if (jb_starts_with(text, "label:") && text[6]) {
        *ret = (struct column){.field = {text, text + 6, LABEL, JB_COL_LABELS}, .label = text + 6};
        return 0;
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(fields); i++)
        if (jb_streq(text, fields[i].name)) {
            *ret = (struct column){.field = fields[i]};
            return 0;
        }
    ret->field = (struct field){text, NULL, METRIC, JB_COL_MAX};
    int r = jb_measure_parse(text, &ret->measure, err);
    if (r == 0)
        ret->field.title = ret->measure.metric->title;
    return r;
}

static uint64_t want_of(const struct column *columns, size_t n)
{
    uint64_t want = 0;
    for (size_t i = 0; i < n; i++) {
        want |= columns[i].field.form == METRIC ? jb_metric_want(columns[i].measure.metric)
                                                : UINT64_C(1) << columns[i].field.col;
        if (columns[i].field.form == ID || columns[i].field.form == JOB)
            want |= UINT64_C(1) << JB_COL_ID_HI | UINT64_C(1) << JB_COL_ID_LO;
    }
    return want;
}

/* `own` keeps what the cell points to. */
static int fill_cell(const struct jb_ask *ask, const struct column *column, const struct jb_row *row,
                     struct jb_cell *cell, char **own)
{
    const int64_t *v = row->v;
    char id[JB_ID_LEN + 1];
    *cell = (struct jb_cell){.time = JB_NONE};
    switch (column->field.form) {
    case TEXT:
    case JOB:
        if (v[column->field.col] > 0)
            *own = strdup(jb_index_text(ask->index, v[column->field.col]));
        if (v[column->field.col] > 0 || column->field.form == TEXT)
            break;
        __attribute__((fallthrough));
    case ID:
        jb_line_id_text(v[JB_COL_ID_HI], v[JB_COL_ID_LO], id);
        *own = strdup(id);
        break;
    case LABEL:
        *own = jb_query_label(ask->index, v[JB_COL_LABELS], column->label);
        break;
    case TIME:
        cell->time = v[column->field.col];
        break;
    case NUMBER:
        cell->number = v[column->field.col] == JB_NONE ? __builtin_nan("") : (double)v[column->field.col];
        break;
    case METRIC:
        cell->number = jb_query_value(ask->index, &column->measure, ask->prices, row);
        break;
    }
    cell->text = *own;
    return 0;
}

static int write_rows(struct jb_ask *ask, const struct column *columns, size_t n, const uint64_t *rows,
                      size_t n_rows, struct jb_sheet *sheet, struct jb_error *err)
{
    uint64_t want = want_of(columns, n);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_rows; i++) {
        struct jb_cell cells[FIELDS_MAX];
        char *own[FIELDS_MAX] = {NULL};
        struct jb_row row;
        r = jb_index_row(ask->index, rows[i], want, &row, err);
        for (size_t k = 0; r == 0 && k < n; k++)
            r = fill_cell(ask, &columns[k], &row, &cells[k], &own[k]);
        if (r == 0)
            r = jb_sheet_row(sheet, cells, false, err);
        for (size_t k = 0; k < n; k++)
            free(own[k]);
    }
    return r;
}

static void name_columns(const struct column *columns, size_t n, struct jb_sheet_column *out)
{
    static const enum jb_cell_kind kinds[] = {
        [TEXT] = JB_CELL_TEXT,     [TIME] = JB_CELL_TIME,  [ID] = JB_CELL_TEXT,      [JOB] = JB_CELL_TEXT,
        [NUMBER] = JB_CELL_NUMBER, [LABEL] = JB_CELL_TEXT, [METRIC] = JB_CELL_NUMBER};
    for (size_t i = 0; i < n; i++) {
        out[i].kind = kinds[columns[i].field.form];
        out[i].unit = columns[i].field.form == METRIC ? jb_measure_unit(&columns[i].measure) : JB_UNIT_COUNT;
        (void)snprintf(out[i].name, sizeof(out[i].name), "%s", columns[i].field.name);
        (void)snprintf(out[i].title, sizeof(out[i].title), "%s", columns[i].field.title);
    }
}

static int history(struct jb_ask *ask, const struct options *o)
{
    struct jb_error err = {0};
    struct column columns[FIELDS_MAX];
    struct jb_sheet_column names[FIELDS_MAX] = {0};
    struct jb_measure sort;
    struct jb_sheet_style style;
    struct jb_sheet *sheet;
    jb_autofree uint64_t *rows = NULL;
    size_t n_rows = 0;
    size_t n = o->columns.len;
    if (n > FIELDS_MAX)
        return jb_cli_usage("history", "too many columns");
    for (size_t i = 0; i < n; i++)
        if (parse_column(o->columns.items[i], &columns[i], &err) < 0)
            return jb_cli_usage("history", err.text);
    if (o->sort && jb_measure_parse(o->sort, &sort, &err) < 0)
        return jb_cli_usage("history", err.text);
    int code = jb_ask_open(ask);
    if (code)
        return code;
    uint64_t limit = o->last ? o->last : o->all || ask->from || ask->to ? 0 : LAST;
    if (jb_query_pick(ask->index, &ask->filter, o->sort ? &sort : NULL, ask->prices, !o->ascending,
                      o->sort && !o->ascending, limit, &rows, &n_rows, &err) < 0)
        return jb_ask_fail(&err);
    code = jb_ask_out(ask);
    if (code)
        return code;
    name_columns(columns, n, names);
    (void)jb_ask_style(ask, &style);
    if (jb_sheet_begin(ask->out, &style, names, n, &sheet, &err) < 0)
        return jb_ask_fail(&err);
    int r = write_rows(ask, columns, n, rows, n_rows, sheet, &err);
    int end = jb_sheet_end(sheet, r < 0 ? NULL : &err);
    return r < 0 || end < 0 ? jb_ask_fail(&err) : jb_ask_done(ask);
}

static int take(struct jb_ask *ask, struct options *o, int c, char **argv)
{
    switch (c) {
    case 'n':
        return jb_parse_u64(optarg, 1000000000, &o->last) < 0 || o->last == 0
                   ? jb_cli_usage("history", "--last wants a number from 1")
                   : 0;
    case COLUMNS:
        return jb_ask_list(ask, optarg, &o->columns);
    case SORT:
        o->sort = optarg;
        return 0;
    case ASCENDING:
        o->ascending = true;
        return 0;
    case ALL:
        o->all = true;
        return 0;
    default:
        return jb_ask_option(ask, c, argv);
    }
}

int jb_cmd_history(int argc, char **argv)
{
    static const struct option options[] = {JB_ASK_WHICH,
                                            JB_ASK_FILTER,
                                            JB_ASK_FORM,
                                            {"last", required_argument, NULL, 'n'},
                                            {"all", no_argument, NULL, ALL},
                                            {"columns", required_argument, NULL, COLUMNS},
                                            {"list-columns", no_argument, NULL, LIST},
                                            {"sort", required_argument, NULL, SORT},
                                            {"ascending", no_argument, NULL, ASCENDING},
                                            {0}};
    jb_autoask struct jb_ask ask = JB_ASK_INIT("history");
    struct options o = {0};
    struct jb_sheet_style style;
    int code = 0;
    int c;
    opterr = 0;
    while (code == 0 && (c = getopt_long(argc, argv, ":c:n:o:h", options, NULL)) != -1) {
        if (c == 'h' || c == LIST) {
            jb_strv_free(&o.columns);
            return c == 'h' ? (fputs(usage, stdout), 0) : list_columns();
        }
        code = take(&ask, &o, c, argv);
    }
    ask.out = stdout;
    if (code == 0 && o.columns.len == 0)
        code = jb_ask_list(&ask, default_columns, &o.columns);
    if (code == 0 && optind < argc)
        code = jb_cli_usage("history", "it takes options only; one job: jobbox show ID");
    else if (code == 0 && !jb_ask_style(&ask, &style))
        code = jb_cli_usage("history", "--as is table, csv or json");
    else if (code == 0)
        code = history(&ask, &o);
    jb_strv_free(&o.columns);
    return code;
}
