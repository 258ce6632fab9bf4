/*
 * budget.c - jobbox budget: what accounts have used of their month.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "report/budget.h"

static const char usage[] =
    "Usage: jobbox budget [OPTION]...\n"
    "Lists the budgets of the site config and what has been used of them in a month.\n\n"
    "      --from WHEN        the month that this is in, instead of the one that is going on\n"
    "      --account LIST     only these accounts\n"
    "      --utc              months by UTC\n"
    "      --as FORM          table, csv, json; also --csv, --json\n" JB_ASK_WHICH_HELP
    "  -h, --help             this text\n";

/* The accounts that have records in the month, and those that budgets name without a pattern. */
static int list_accounts(struct jb_ask *ask, int64_t month, struct jb_strv *into, struct jb_error *err)
{
    jb_autoresult struct jb_result result = {0};
    struct jb_query query = {.filter = ask->filter, .keys = {{.by = JB_BY_ACCOUNT}}, .n_keys = 1, .sort = -1};
    jb_span_of(JB_SPAN_MONTH, month, &query.filter.from, &query.filter.to);
    int r = jb_query_run(ask->index, &query, &result, err);
    for (size_t i = 0; r == 0 && i < result.n_groups; i++)
        r = jb_strv_add(into, result.groups[i].keys[0] ? result.groups[i].keys[0] : "");
    const struct jb_strv *only = &ask->filter.texts[JB_BY_ACCOUNT];
    for (size_t i = 0; r == 0 && i < ask->job.site->n_budgets; i++) {
        const char *name = ask->job.site->budgets[i].account;
        bool wanted = only->len == 0;
        for (size_t k = 0; k < only->len; k++)
            wanted = wanted || fnmatch(only->items[k], name, 0) == 0;
        if (wanted && !strpbrk(name, "*?[") && !jb_strv_has(into, name))
            r = jb_strv_add(into, name);
    }
    return r;
}

static double limit(uint64_t millionths)
{
    return millionths == JB_UNSET ? NAN : (double)millionths / 1e6;
}

static int write_rows(struct jb_ask *ask, int64_t month, const struct jb_strv *accounts,
                      struct jb_sheet *sheet, struct jb_error *err)
{
    const struct jb_site *site = ask->job.site;
    int r = 0;
    for (size_t a = 0; a < accounts->len; a++)
        for (size_t i = 0; r == 0 && i < site->n_budgets; i++) {
            const struct jb_site_budget *b = &site->budgets[i];
            double used;
            if (fnmatch(b->account, accounts->items[a], 0) != 0)
                continue;
            r = jb_budget_used(site, ask->index, accounts->items[a], b->of, month, &used, err);
            if (r < 0)
                return r;
            double soft = limit(b->soft);
            double hard = limit(b->hard);
            double most = isnan(hard) ? soft : hard;
            const struct jb_cell cells[] = {{.text = *accounts->items[a] ? accounts->items[a] : NULL},
                                            {.text = jb_budget_of_name(b->of)},
                                            {.number = used},
                                            {.number = soft},
                                            {.number = hard},
                                            {.number = most > 0 ? used / most : NAN},
                                            {.text = used >= hard   ? "used up"
                                                     : used >= soft ? "warned"
                                                                    : "ok"}};
            r = jb_sheet_row(sheet, cells, false, err);
        }
    return r;
}

static int budget(struct jb_ask *ask)
{
    static const struct jb_sheet_column columns[] = {
        {"account", "account", JB_CELL_TEXT, JB_UNIT_COUNT},
        {"of", "of", JB_CELL_TEXT, JB_UNIT_COUNT},
        {"used", "used", JB_CELL_NUMBER, JB_UNIT_MONEY},
        {"soft", "soft", JB_CELL_NUMBER, JB_UNIT_MONEY},
        {"hard", "hard", JB_CELL_NUMBER, JB_UNIT_MONEY},
        {"share", "share", JB_CELL_NUMBER, JB_UNIT_FRACTION},
        {"state", "state", JB_CELL_TEXT, JB_UNIT_COUNT},
    };
    struct jb_error err = {0};
    jb_autostrv struct jb_strv accounts = {0};
    struct jb_sheet_style style;
    struct jb_sheet *sheet;
    int code = jb_ask_open(ask);
    if (code)
        return code;
    int64_t month = ask->filter.from == JB_NONE ? (int64_t)jb_wall_us(NULL) : ask->filter.from;
    (void)jb_ask_style(ask, &style);
    if (list_accounts(ask, month, &accounts, &err) < 0 ||
        jb_sheet_begin(stdout, &style, columns, JB_ARRAY_LEN(columns), &sheet, &err) < 0)
        return jb_ask_fail(&err);
    int r = write_rows(ask, month, &accounts, sheet, &err);
    int end = jb_sheet_end(sheet, r < 0 ? NULL : &err);
    return r < 0 || end < 0 ? jb_ask_fail(&err) : 0;
}

int jb_cmd_budget(int argc, char **argv)
{
    static const struct option options[] = {JB_ASK_WHICH,
                                            JB_ASK_FORM,
                                            {"from", required_argument, NULL, JB_ASK_FROM},
                                            {"account", required_argument, NULL, JB_ASK_ACCOUNT},
                                            {"utc", no_argument, NULL, JB_ASK_UTC},
                                            {0}};
    jb_autoask struct jb_ask ask = JB_ASK_INIT("budget");
    struct jb_sheet_style style;
    int code = 0;
    int c;
    opterr = 0;
    while (code == 0 && (c = getopt_long(argc, argv, ":c:o:h", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(usage, stdout), 0;
        code = jb_ask_option(&ask, c, argv);
    }
    ask.out = stdout;
    if (code == 0 && (optind < argc || !jb_ask_style(&ask, &style)))
        code = jb_cli_usage("budget", optind < argc ? "it takes options only" : "--as is table, csv or json");
    return code ? code : budget(&ask);
}
