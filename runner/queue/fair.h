/*
 * fair.h - what accounts and users have used, and what was promised to them.
 *
 * Owns: the tables of a struct jb_fair. Runs in: jobboxd. Privilege: none.
 *
 * Use is CPUs times seconds that were granted (a record's granted.cpu_count and times.wall_s), and halves every
 * half-life. The shares are the site's; who has none named has 1.
 */
#ifndef JB_QUEUE_FAIR_H
#define JB_QUEUE_FAIR_H

#include <jansson.h>
#include <stdint.h>

#include "queue/schedule.h"
#include "site/site.h"

struct jb_fair_item {
    char *account; /* "": none */
    char *user;
    double used; /* at at_us */
    uint64_t at_us;
    bool dirty; /* not stored yet */
};

struct jb_fair {
    const struct jb_site *site; /* borrowed */
    struct jb_fair_item *items; /* a user in an account; the index is struct jb_sched_job.share */
    struct jb_sched_share *shares;
    size_t len;
    char **account_names;
    struct jb_sched_limit *accounts;
    size_t n_accounts;
    char **user_names;
    struct jb_sched_limit *users;
    size_t n_users;
};

void jb_fair_free(struct jb_fair *fair);

/* The place of a user in an account ("" or NULL: none), made when it is new. -ENOMEM. */
int jb_fair_find(struct jb_fair *fair, const char *account, const char *user, uint32_t *ret);

/* Adds use at a moment of the past or now. */
void jb_fair_add(struct jb_fair *fair, uint32_t item, double cpu_s, uint64_t at_us);

/* Sets a stored figure. */
void jb_fair_set(struct jb_fair *fair, uint32_t item, double used, uint64_t at_us);

/* Brings `shares`, `accounts` and `users` up to now: usage, and no counts of what runs. */
void jb_fair_refresh(struct jb_fair *fair, uint64_t now_us);

/* With what runs, as counted after jb_fair_refresh, the user or the account may not have one more job of that size. */
bool jb_fair_at_limit(const struct jb_fair *fair, uint32_t item, uint32_t pus);

/* Adds use by a record of the journal; records of other hosts' clocks in the future count as of now. */
int jb_fair_learn(struct jb_fair *fair, const json_t *record, uint64_t now_us);

#endif
