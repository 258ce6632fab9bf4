/*
 * budgets.c - see budgets.h.
 *
 * Owns: see there. Runs in: jobboxd. Privilege: see there.
 */
#include "queue/budgets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

static struct jb_budgets_memo *find(struct jb_budgets *b, const char *account)
{
    for (size_t i = 0; i < b->n; i++) {
        const char *known = b->items[i].account;
        if (known && account ? jb_streq(known, account) : known == account)
            return &b->items[i];
    }
    struct jb_budgets_memo *grown = realloc(b->items, (b->n + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    b->items = grown;
    char *copy = account ? strdup(account) : NULL;
    if (account && !copy)
        return NULL;
    b->items[b->n] = (struct jb_budgets_memo){.account = copy};
    return &b->items[b->n++];
}

const struct jb_budget_state *jb_budgets_of(struct jb_budgets *budgets, const struct jb_site *site,
                                            const char *state_dir, const char *account, uint64_t now_us)
{
    struct jb_error err = {0};
    struct jb_budget_state state = {0};
    if (site->n_budgets == 0)
        return NULL;
    struct jb_budgets_memo *memo = find(budgets, account);
    if (!memo)
        return NULL;
    if (now_us < memo->until_us)
        return &memo->state;
    int r = (budgets->check ? budgets->check : jb_budget_check)(site, state_dir, account, (int64_t)now_us,
                                                                &state, &err);
    if (r < 0) {
        (void)fprintf(stderr, "jobboxd: budgets: %s\n", err.text);
        state = (struct jb_budget_state){.verdict = JB_BUDGET_OK};
    }
    memo->state = state;
    memo->until_us = now_us + JB_BUDGETS_SECONDS * UINT64_C(1000000);
    return &memo->state;
}

void jb_budgets_again(struct jb_budgets *budgets)
{
    for (size_t i = 0; i < budgets->n; i++)
        budgets->items[i].until_us = 0;
}

void jb_budgets_free(struct jb_budgets *budgets)
{
    for (size_t i = 0; i < budgets->n; i++)
        free(budgets->items[i].account);
    free(budgets->items);
    *budgets = (struct jb_budgets){0};
}
