/*
 * budgets.h - whether accounts may use more of their month, remembered for a while.
 *
 * Owns: what is remembered. Runs in: jobboxd. Privilege: jobboxd's. Source: the journal's index (report/budget.h); to ask it
 * for each job of each pass would cost more than the pass.
 */
#ifndef JB_QUEUE_BUDGETS_H
#define JB_QUEUE_BUDGETS_H

#include <stddef.h>
#include <stdint.h>

#include "report/budget.h"
#include "site/site.h"

#define JB_BUDGETS_SECONDS 60 /* how long an answer is good for */

struct jb_budgets {
    struct jb_budgets_memo {
        char *account; /* NULL: jobs without one */
        uint64_t until_us;
        struct jb_budget_state state;
    } * items;
    size_t n;
    /* jb_budget_check, or a test's. */
    int (*check)(const struct jb_site *site, const char *state_dir, const char *account, int64_t now_us,
                 struct jb_budget_state *ret, struct jb_error *err);
};

/*
 * How the account stands; borrowed until the next call. NULL: the site has no budgets, or it cannot be known now, which holds
 * up nobody.
 */
const struct jb_budget_state *jb_budgets_of(struct jb_budgets *budgets, const struct jb_site *site,
                                            const char *state_dir, const char *account, uint64_t now_us);
/* What was answered so far is not good any more. */
void jb_budgets_again(struct jb_budgets *budgets);
void jb_budgets_free(struct jb_budgets *budgets);

#endif
