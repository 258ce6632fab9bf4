/*
 * prices.c - the site's rates, and what a record costs by them.
 *
 * Owns: the table. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#include "report/prices.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "report/memo.h"
#include "report/period.h"

#define US_PER_HOUR 3.6e9
#define GIB         (1024.0 * 1024 * 1024)

struct rate {
    const char *account; /* a pattern; NULL: every account */
    int64_t from, to;    /* JB_NONE: no bound */
    double core_hour, gib_hour, device_hour;
};

struct jb_prices {
    struct rate *rates;
    size_t n;
    struct jb_memo fits; /* account * n + rate: 1 or 2 */
};

static int moment(const char *text, bool end, int64_t *ret, struct jb_error *err)
{
    int64_t from = JB_NONE;
    int64_t to = JB_NONE;
    int r = text ? jb_period_parse(text, 0, &from, &to, err) : 0;
    *ret = end ? to : from;
    return r < 0 ? jb_wrap(err, "prices of the site config") : 0;
}

int jb_prices_make(const struct jb_site *site, struct jb_prices **ret, struct jb_error *err)
{
    *ret = NULL;
    if (site->n_prices == 0)
        return 0;
    jb_autoprices struct jb_prices *prices = calloc(1, sizeof(*prices));
    if (!prices || !(prices->rates = calloc(site->n_prices, sizeof(*prices->rates))))
        return jb_fail_errno(err, ENOMEM, "prices");
    for (size_t i = 0; i < site->n_prices; i++) {
        const struct jb_site_price *p = &site->prices[i];
        struct rate *rate = &prices->rates[prices->n++];
        *rate = (struct rate){.account = p->account,
                              .core_hour = (double)p->core_hour / 1e6,
                              .gib_hour = (double)p->gib_hour / 1e6,
                              .device_hour = (double)p->device_hour / 1e6};
        int r = moment(p->from, false, &rate->from, err);
        if (r == 0)
            r = moment(p->to, true, &rate->to, err);
        if (r < 0)
            return r;
    }
    *ret = jb_take_ptr(prices);
    return 0;
}

void jb_prices_free(struct jb_prices *prices)
{
    if (!prices)
        return;
    jb_memo_free(&prices->fits);
    free(prices->rates);
    free(prices);
}

static bool fits(struct jb_prices *prices, struct jb_index *index, size_t i, int64_t account)
{
    bool fresh;
    const char *pattern = prices->rates[i].account;
    if (!pattern)
        return true;
    int64_t *slot = jb_memo_get(&prices->fits, account * (int64_t)prices->n + (int64_t)i, &fresh);
    if (!slot || fresh) {
        bool ok = fnmatch(pattern, jb_index_text(index, account), 0) == 0;
        if (slot)
            *slot = ok ? 1 : 2;
        return ok;
    }
    return *slot == 1;
}

static double amount(int64_t value)
{
    return value == JB_NONE ? 0 : (double)value;
}

double jb_prices_cost(const struct jb_prices *prices, struct jb_index *index, const struct jb_block *block,
                      uint32_t i)
{
    int64_t at = block->col[JB_COL_AT][i];
    int64_t wall = block->col[JB_COL_WALL][i];
    int64_t memory = block->col[JB_COL_MEMORY][i];
    if (!prices || wall == JB_NONE)
        return NAN;
    for (size_t r = prices->n; r-- > 0;) {
        const struct rate *rate = &prices->rates[r];
        if ((rate->from != JB_NONE && at < rate->from) || (rate->to != JB_NONE && at >= rate->to) ||
            !fits((struct jb_prices *)prices, index, r, block->col[JB_COL_ACCOUNT][i]))
            continue;
        if (memory == JB_NONE)
            memory = block->col[JB_COL_MEMORY_PEAK][i];
        return (double)wall / US_PER_HOUR *
               (amount(block->col[JB_COL_CORES][i]) * rate->core_hour +
                amount(memory) / GIB * rate->gib_hour +
                amount(block->col[JB_COL_DEVICES][i]) * rate->device_hour);
    }
    return NAN;
}
