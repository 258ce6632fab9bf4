/*
 * budget.c - budgets against the records of a month.
 *
 * Owns: nothing. Runs in: jobboxd, jobbox-report. Privilege: the user's.
 */
#include "report/budget.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "report/escape.h"
#include "report/prices.h"
#include "report/query.h"

static const struct {
    const char *name, *metric;
} kinds[] = {
    [JB_BUDGET_CORE_HOURS] = {"core-hours", "core_hours"},
    [JB_BUDGET_GIB_HOURS] = {"GiB-hours", "mem_hours"},
    [JB_BUDGET_DEVICE_HOURS] = {"device-hours", "device_hours"},
    [JB_BUDGET_COST] = {"cost", "cost"},
};

const char *jb_budget_of_name(enum jb_budget_of of)
{
    return kinds[of].name;
}

/* A name as a pattern that matches it alone. */
static char *literally(const char *text)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (; r == 0 && *text; text++)
        r = jb_buf_printf(&buf, strchr("*?[]\\", *text) ? "\\%c" : "%c", *text);
    return r == 0 ? jb_take_ptr(buf.data) : NULL;
}

int jb_budget_used(const struct jb_site *site, struct jb_index *index, const char *account,
                   enum jb_budget_of of, int64_t now_us, double *ret_used, struct jb_error *err)
{
    jb_autofilter struct jb_filter filter = JB_FILTER_INIT;
    jb_autoprices struct jb_prices *prices = NULL;
    jb_autoresult struct jb_result result = {0};
    jb_autofree char *name = literally(account ? account : "");
    struct jb_measure measure;
    jb_span_of(JB_SPAN_MONTH, now_us, &filter.from, &filter.to);
    if (!name || jb_strv_add(&filter.texts[JB_BY_ACCOUNT], name) < 0)
        return jb_fail_errno(err, ENOMEM, "budget");
    int r = jb_measure_parse(kinds[of].metric, &measure, err);
    if (r == 0)
        r = jb_prices_make(site, &prices, err);
    if (r < 0)
        return r;
    const struct jb_query query = {
        .filter = filter, .measures = &measure, .n_measures = 1, .sort = -1, .prices = prices};
    r = jb_query_run(index, &query, &result, err);
    if (r < 0)
        return r;
    *ret_used = isnan(result.total.values[0]) ? 0 : result.total.values[0];
    return 0;
}

static bool fits(const struct jb_site_budget *budget, const char *account)
{
    return fnmatch(budget->account, account ? account : "", 0) == 0;
}

static void judge(const struct jb_site_budget *budget, const char *account, double used,
                  struct jb_budget_state *ret)
{
    double soft = budget->soft == JB_UNSET ? INFINITY : (double)budget->soft / 1e6;
    double hard = budget->hard == JB_UNSET ? INFINITY : (double)budget->hard / 1e6;
    enum jb_budget_verdict verdict = used >= hard   ? JB_BUDGET_HARD
                                     : used >= soft ? JB_BUDGET_SOFT
                                                    : JB_BUDGET_OK;
    jb_autobuf struct jb_buf name = {0};
    if (verdict <= ret->verdict)
        return;
    ret->verdict = verdict;
    (void)jb_escape(&name, JB_ESCAPE_PLAIN, account ? account : "(none)");
    (void)snprintf(ret->text, sizeof(ret->text),
                   "account %.80s has used %.2f of %.2f %s in this month (%s budget)",
                   name.data ? name.data : "?", used, verdict == JB_BUDGET_HARD ? hard : soft,
                   kinds[budget->of].name, verdict == JB_BUDGET_HARD ? "hard" : "soft");
}

int jb_budget_check(const struct jb_site *site, const char *state_dir, const char *account, int64_t now_us,
                    struct jb_budget_state *ret, struct jb_error *err)
{
    jb_autoindex struct jb_index *index = NULL;
    struct jb_budget_state state = {.verdict = JB_BUDGET_OK};
    for (size_t i = 0; i < site->n_budgets; i++) {
        double used = 0;
        int r = 0;
        if (!fits(&site->budgets[i], account))
            continue;
        if (!index) {
            jb_autostrv struct jb_strv journals = {0};
            jb_autofree char *file = jb_asprintf("%s/index.db", state_dir);
            if (!file || jb_strv_printf(&journals, "%s/journal", state_dir) < 0)
                return jb_fail_errno(err, ENOMEM, "budget");
            const struct jb_index_spec spec = {file, &journals};
            r = jb_index_get(&spec, &index, err);
        }
        if (r == 0)
            r = jb_budget_used(site, index, account, site->budgets[i].of, now_us, &used, err);
        if (r < 0)
            return jb_wrap(err, "the budget of account %.80s", account ? account : "(none)");
        judge(&site->budgets[i], account, used, &state);
    }
    *ret = state;
    return 0;
}
