/*
 * budget.h - what an account has used of its month, and whether it may use more.
 *
 * Owns: nothing. Runs in: jobboxd, before it starts a job; jobbox-report. Privilege: the user's.
 *
 * Months are calendar months of the zone of the process (TZ). What counts is what ended in it: a job that runs is not in the
 * journal yet.
 */
#ifndef JB_REPORT_BUDGET_H
#define JB_REPORT_BUDGET_H

#include "base/str.h"
#include "site/site.h"

enum jb_budget_verdict { JB_BUDGET_OK, JB_BUDGET_SOFT, JB_BUDGET_HARD };

struct jb_budget_state {
    enum jb_budget_verdict verdict; /* the worst of all budgets of the account */
    char text
        [256]; /* for people, harmless on a terminal: "account astro has used 9120.4 of 9000 core-hours ..." */
};

/*
 * `account` NULL: none, which no budget fits but the pattern "*". Without a budget that fits nothing is read. The index below
 * `state_dir` is brought up to date first. An error (no journal can be read) decides nothing: the caller does.
 */
int jb_budget_check(const struct jb_site *site, const char *state_dir, const char *account, int64_t now_us,
                    struct jb_budget_state *ret, struct jb_error *err);

/* The same from journals that are named, and the figures one by one: what `jobbox budget` prints. */
struct jb_index;
int jb_budget_used(const struct jb_site *site, struct jb_index *index, const char *account,
                   enum jb_budget_of of, int64_t now_us, double *ret_used, struct jb_error *err);
const char *jb_budget_of_name(enum jb_budget_of of); /* "core-hours" */

#endif
