/*
 * rules.h - readers of what only site files have: bounds, bind rules, sinks. Contract of each: spec/field.h.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_SITE_RULES_H
#define JB_SITE_RULES_H

#include "spec/field.h"

jb_read_fn jb_rule_bound;     /* struct jb_bound; default and max by the field's `inner`, or none */
jb_read_fn jb_rule_pids;      /* the same, where the default may not be none */
jb_read_fn jb_rule_auto_path; /* char *: absolute, or NULL for "auto" */
jb_read_fn jb_rule_none_path; /* char *: absolute, or NULL for "none" */
jb_read_fn jb_rule_slice;     /* char *: the name of a slice unit, or NULL for "auto" */
jb_read_fn jb_rule_allow;     /* binds.allow, into the struct jb_site */
jb_read_fn jb_rule_dirs;      /* struct jb_strv of folders, instead of the default ones */
jb_read_fn jb_rule_nodes;     /* struct jb_strv of patterns below /dev */
jb_read_fn jb_rule_names;     /* struct jb_strv of patterns of CDI names */
struct jb_site;
void jb_site_queue_free(struct jb_site *site);
void jb_site_queue_default(struct jb_site *site);
jb_read_fn jb_rule_queue; /* into the struct jb_site */

jb_read_fn jb_rule_sinks;    /* into the struct jb_site */
jb_read_fn jb_rule_currency; /* char *: a word, or NULL for "none" */
jb_read_fn jb_rule_prices;   /* into the struct jb_site */
jb_read_fn jb_rule_budgets;  /* into the struct jb_site */
jb_read_fn jb_rule_networks; /* struct jb_strv of ranges of addresses, instead of the default ones */

#endif
