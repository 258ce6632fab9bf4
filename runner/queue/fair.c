/*
 * fair.c - decayed use.
 *
 * Owns: see fair.h. Runs in: jobboxd. Privilege: none.
 */
#include "queue/fair.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/when.h"

static double halved(const struct jb_fair *fair, double used, uint64_t from_us, uint64_t to_us)
{
    uint64_t half_us = fair->site->queue.half_life / JB_NS_PER_US;
    if (used == 0 || to_us <= from_us || half_us == 0)
        return used;
    return used * exp2(-(double)(to_us - from_us) / (double)half_us);
}

void jb_fair_free(struct jb_fair *fair)
{
    for (size_t i = 0; i < fair->len; i++) {
        free(fair->items[i].account);
        free(fair->items[i].user);
    }
    for (size_t i = 0; i < fair->n_accounts; i++)
        free(fair->account_names[i]);
    for (size_t i = 0; i < fair->n_users; i++)
        free(fair->user_names[i]);
    free(fair->items);
    free(fair->shares);
    free(fair->account_names);
    free(fair->accounts);
    free(fair->user_names);
    free(fair->users);
    *fair = (struct jb_fair){0};
}

static double share_of(const struct jb_site_shares *shares, const char *name)
{
    for (size_t i = 0; i < shares->len; i++)
        if (jb_streq(shares->items[i].name, name))
            return (double)shares->items[i].micro / 1e6;
    return 1;
}

/* The limit that names it, else the one for everybody. */
static void limit_of(const struct jb_site_limits *limits, const char *name, struct jb_sched_limit *ret)
{
    ret->max_running = limits->running == JB_UNSET ? UINT32_MAX : (uint32_t)limits->running;
    ret->max_pus = limits->cpus == JB_UNSET ? UINT32_MAX : (uint32_t)limits->cpus;
    (void)name;
}

static int find_name(char ***names, struct jb_sched_limit **limits, size_t *n, const char *name,
                     const struct jb_site_shares *shares, const struct jb_site_limits *bounds, uint32_t *ret)
{
    for (size_t i = 0; i < *n; i++)
        if (jb_streq((*names)[i], name)) {
            *ret = (uint32_t)i;
            return 0;
        }
    char **more = realloc(*names, (*n + 1) * sizeof(*more));
    if (more)
        *names = more;
    struct jb_sched_limit *grown = more ? realloc(*limits, (*n + 1) * sizeof(*grown)) : NULL;
    if (grown)
        *limits = grown;
    char *copy = grown ? strdup(name) : NULL;
    if (!copy)
        return -ENOMEM;
    (*names)[*n] = copy;
    (*limits)[*n] = (struct jb_sched_limit){.share = share_of(shares, name)};
    limit_of(bounds, name, &(*limits)[*n]);
    *ret = (uint32_t)(*n)++;
    return 0;
}

int jb_fair_find(struct jb_fair *fair, const char *account, const char *user, uint32_t *ret)
{
    const char *in = account ? account : "";
    for (size_t i = 0; i < fair->len; i++)
        if (jb_streq(fair->items[i].account, in) && jb_streq(fair->items[i].user, user)) {
            *ret = (uint32_t)i;
            return 0;
        }
    struct jb_sched_share share = {.share = share_of(&fair->site->queue.user_shares, user)};
    struct jb_site_limits none = fair->site->queue.account_limits;
    if (!*in) /* no account has no limits of accounts */
        none = (struct jb_site_limits){JB_UNSET, JB_UNSET, JB_UNSET};
    int r = find_name(&fair->account_names, &fair->accounts, &fair->n_accounts, in,
                      &fair->site->queue.account_shares, &none, &share.account);
    if (r == 0)
        r = find_name(&fair->user_names, &fair->users, &fair->n_users, user, &fair->site->queue.user_shares,
                      &fair->site->queue.user_limits, &share.user);
    if (r < 0)
        return r;
    struct jb_fair_item *items = realloc(fair->items, (fair->len + 1) * sizeof(*items));
    if (items)
        fair->items = items;
    struct jb_sched_share *shares = items ? realloc(fair->shares, (fair->len + 1) * sizeof(*shares)) : NULL;
    if (shares)
        fair->shares = shares;
    struct jb_fair_item item = {.account = strdup(in), .user = strdup(user)};
    if (!shares || !item.account || !item.user) {
        free(item.account);
        free(item.user);
        return -ENOMEM;
    }
    fair->items[fair->len] = item;
    fair->shares[fair->len] = share;
    *ret = (uint32_t)fair->len++;
    return 0;
}

void jb_fair_add(struct jb_fair *fair, uint32_t item, double cpu_s, uint64_t at_us)
{
    struct jb_fair_item *i = &fair->items[item];
    if (at_us >= i->at_us) {
        i->used = halved(fair, i->used, i->at_us, at_us) + cpu_s;
        i->at_us = at_us;
    } else { /* of the past: as much as would be left of it by now */
        i->used += halved(fair, cpu_s, at_us, i->at_us);
    }
    i->dirty = true;
}

void jb_fair_set(struct jb_fair *fair, uint32_t item, double used, uint64_t at_us)
{
    fair->items[item].used = used;
    fair->items[item].at_us = at_us;
    fair->items[item].dirty = false;
}

void jb_fair_refresh(struct jb_fair *fair, uint64_t now_us)
{
    for (size_t i = 0; i < fair->n_accounts; i++)
        fair->accounts[i].usage = fair->accounts[i].running = fair->accounts[i].pus = 0;
    for (size_t i = 0; i < fair->n_users; i++)
        fair->users[i].usage = fair->users[i].running = fair->users[i].pus = 0;
    for (size_t i = 0; i < fair->len; i++) {
        fair->shares[i].usage = halved(fair, fair->items[i].used, fair->items[i].at_us, now_us);
        fair->accounts[fair->shares[i].account].usage += fair->shares[i].usage;
    }
}

bool jb_fair_at_limit(const struct jb_fair *fair, uint32_t item, uint32_t pus)
{
    const struct jb_sched_share *share = &fair->shares[item];
    return !jb_sched_within(&fair->users[share->user], pus) ||
           !jb_sched_within(&fair->accounts[share->account], pus);
}

int jb_fair_learn(struct jb_fair *fair, const json_t *record, uint64_t now_us)
{
    const char *user = json_string_value(json_object_get(record, "user"));
    const char *account = json_string_value(json_object_get(record, "account"));
    const json_t *times = json_object_get(record, "times");
    const char *ended = json_string_value(json_object_get(times, "destroyed"));
    double wall = json_number_value(json_object_get(times, "wall_s"));
    double cpus = json_number_value(json_object_get(json_object_get(record, "granted"), "cpu_count"));
    uint64_t at;
    uint32_t item;
    if (!user || !ended || jb_parse_when(ended, now_us, &at) < 0 || wall <= 0)
        return 0;
    int r = jb_fair_find(fair, account, user, &item);
    if (r == 0)
        jb_fair_add(fair, item, wall * cpus, at < now_us ? at : now_us);
    return r;
}
