/*
 * queue_rules.c - reads the section `queue` of site files.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/when.h"
#include "site/rules.h"
#include "site/site.h"
#include "spec/words.h"

#define DAY (24 * 3600 * JB_NS_PER_S)

#define FIELD(word, reader, member, ...)                                                                 \
    {                                                                                                    \
        .name = (word), .key = JB_KEY_MAX, .read = (reader), .offset = offsetof(struct jb_site, member), \
        __VA_ARGS__                                                                                      \
    }
#define NESTED(table) .fields = (table), .n_names = JB_ARRAY_LEN(table)

static void *grow(struct jb_reading *rd, void **items, size_t n, size_t size)
{
    char *grown = realloc(*items, (n + 1) * size);
    if (!grown) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    *items = grown;
    memset(grown + n * size, 0, size);
    return grown + n * size;
}

/* { astro: 3, bio: 0.5 } */
static void read_shares(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    struct jb_site_shares *shares = jb_slot(field, target);
    char shown[JB_SHOW];
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping of names to shares, such as { astro: 3, bio: 1 }"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next) {
        struct jb_at here = {.up = at, .name = item->key};
        uint64_t micro;
        if (!jb_scalar(rd, &here, item, "a number"))
            continue;
        if (jb_parse_micro(item->text, &micro) < 0 || micro == 0) {
            jb_complain(rd, item->pos, &here,
                        "\"%s\" is not a share; write a number above 0, such as 2 or 0.5",
                        jb_show(item->text, shown));
            continue;
        }
        void *items = shares->items;
        struct jb_site_share *share = grow(rd, &items, shares->len, sizeof(*share));
        shares->items = items;
        if (!share)
            return;
        shares->len++;
        share->micro = micro;
        jb_set_text(rd, &share->name, item->key);
    }
}

static void read_logins(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of names, such as [ann, bob]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (jb_plain_line(rd, &here, item, 64))
            jb_note(rd, jb_strv_add(list, item->text));
    }
}

/* "any", or { course: [ann, "@students"] } */
static void read_accounts(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                          const struct jb_field *field, void *target)
{
    static const struct jb_field members = {.offset = offsetof(struct jb_site_account, members)};
    struct jb_site *site = target;
    (void)field;
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "any"))
        return;
    if (!jb_want(rd, at, node, JB_NODE_MAP,
                 "a mapping of accounts to who is in them, such as { course: [ann, \"@students\"] }, or any"))
        return;
    site->queue.any_account = false;
    for (const struct jb_node *item = node->first; item; item = item->next) {
        struct jb_at here = {.up = at, .name = item->key};
        void *items = site->queue.accounts;
        struct jb_site_account *account = grow(rd, &items, site->queue.n_accounts, sizeof(*account));
        site->queue.accounts = items;
        if (!account)
            return;
        site->queue.n_accounts++;
        jb_set_text(rd, &account->name, item->key);
        read_logins(rd, &here, item, &members, account);
    }
}

/* A number, or "none". */
static void read_maximum(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "none"))
        *(uint64_t *)jb_slot(field, target) = JB_UNSET;
    else
        jb_read_count(rd, at, node, field, target);
}

/* A duration, or "none". */
static void read_keep(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "none"))
        *(uint64_t *)jb_slot(field, target) = JB_UNSET;
    else
        jb_read_duration(rd, at, node, field, target);
}

/* A size or a count, or "auto". */
static void read_auto(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "auto"))
        *(uint64_t *)jb_slot(field, target) = JB_UNSET;
    else
        field->inner(rd, at, node, field, target);
}

/* What the inner reader reads, or "none", which leaves it as it is: nothing. */
static void read_or_none(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    if (node->kind != JB_NODE_SCALAR || !jb_streq(node->text, "none"))
        field->inner(rd, at, node, field, target);
}

static void read_moment(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, 64))
        return;
    if (strlen(node->text) < 5 || node->text[4] != '-' ||
        jb_parse_when(node->text, 0, (uint64_t *)jb_slot(field, target)) < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a moment; write one such as 2026-12-24T18:00",
                    jb_show(node->text, shown));
}

static void read_room(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "all"))
        *(uint64_t *)jb_slot(field, target) = JB_UNSET;
    else
        jb_read_count(rd, at, node, field, target);
}

#define WINDOW(word, reader, member, ...)                              \
    {                                                                  \
        .name = (word), .key = JB_KEY_MAX, .read = (reader),           \
        .offset = offsetof(struct jb_site_window, member), __VA_ARGS__ \
    }

static void read_windows(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        WINDOW("name", jb_read_line, name, .max = 64),
        WINDOW("from", read_moment, from_us),
        WINDOW("to", read_moment, to_us),
        WINDOW("cpus", read_room, cpus, .min = 1, .max = JB_CPUS_MAX),
        WINDOW("users", read_logins, users),
        WINDOW("accounts", read_logins, accounts),
    };
    struct jb_site *site = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of reservations"))
        return;
    if (node->n > 32)
        jb_complain(rd, node->pos, at, "has more than 32 entries; leave out those that are over");
    for (const struct jb_node *item = node->first; item && i < 32; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { name: upgrade, from: ..., to: ... }"))
            continue;
        void *items = site->queue.windows;
        struct jb_site_window *window = grow(rd, &items, site->queue.n_windows, sizeof(*window));
        site->queue.windows = items;
        if (!window)
            return;
        site->queue.n_windows++;
        window->cpus = JB_UNSET;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), window);
        if (!jb_member(item, "from") || !jb_member(item, "to"))
            jb_complain(rd, item->pos, &here, "needs from and to");
        else if (window->to_us && window->to_us <= window->from_us)
            jb_complain(rd, item->pos, &here, "ends before it begins");
    }
}

static const struct jb_field shares_fields[] = {
    FIELD("accounts", read_shares, queue.account_shares),
    FIELD("users", read_shares, queue.user_shares),
};

static const struct jb_field user_limits_fields[] = {
    FIELD("running", read_maximum, queue.user_limits.running, .max = UINT32_MAX - 1),
    FIELD("queued", read_maximum, queue.user_limits.queued, .max = UINT32_MAX - 1),
    FIELD("cpus", read_maximum, queue.user_limits.cpus, .min = 1, .max = UINT32_MAX - 1),
};

static const struct jb_field account_limits_fields[] = {
    FIELD("running", read_maximum, queue.account_limits.running, .max = UINT32_MAX - 1),
    FIELD("queued", read_maximum, queue.account_limits.queued, .max = UINT32_MAX - 1),
    FIELD("cpus", read_maximum, queue.account_limits.cpus, .min = 1, .max = UINT32_MAX - 1),
};

static const struct jb_field limits_fields[] = {
    FIELD("user", jb_read_map, queue, NESTED(user_limits_fields)),
    FIELD("account", jb_read_map, queue, NESTED(account_limits_fields)),
    FIELD("array", jb_read_count, queue.array, .min = 1, .max = 10000000),
};

static const struct jb_field capacity_fields[] = {
    FIELD("scratch", read_auto, queue.scratch, .inner = jb_read_size),
    FIELD("pids", read_auto, queue.pids, .inner = jb_read_count, .min = 1),
};

static const struct jb_field notify_fields[] = {
    FIELD("mail", read_or_none, queue.mail, .inner = jb_read_argv),
    FIELD("programs", jb_read_bool, queue.notify_programs),
};

static const struct jb_field queue_fields[] = {
    FIELD("private", jb_read_bool, queue.private_jobs),
    FIELD("operators", read_logins, queue.operators),
    FIELD("admins", read_logins, queue.admins),
    FIELD("accounts", read_accounts, queue.accounts),
    FIELD("half_life", jb_read_duration, queue.half_life, .min = 1),
    FIELD("shares", jb_read_map, queue, NESTED(shares_fields)),
    FIELD("limits", jb_read_map, queue, NESTED(limits_fields)),
    FIELD("capacity", jb_read_map, queue, NESTED(capacity_fields)),
    FIELD("assume_wall_time", jb_read_duration, queue.assume_wall, .min = 1),
    FIELD("idle", jb_read_duration, queue.idle, .min = 1),
    FIELD("keep", read_keep, queue.keep, .min = JB_NS_PER_S),
    FIELD("reservations", read_windows, queue.windows),
    FIELD("notify", jb_read_map, queue, NESTED(notify_fields)),
    FIELD("metrics", read_or_none, queue.metrics, .inner = jb_read_path),
};

void jb_rule_queue(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    struct jb_field nested = *field;
    nested.fields = queue_fields;
    nested.n_names = JB_ARRAY_LEN(queue_fields);
    jb_read_map(rd, at, node, &nested, target);
}

void jb_site_queue_default(struct jb_site *site)
{
    const struct jb_site_limits none = {JB_UNSET, JB_UNSET, JB_UNSET};
    site->queue.any_account = true;
    site->queue.half_life = 14 * DAY;
    site->queue.user_limits = none;
    site->queue.account_limits = none;
    site->queue.array = 10000;
    site->queue.assume_wall = 3600 * JB_NS_PER_S;
    site->queue.idle = 600 * JB_NS_PER_S;
    site->queue.keep = 30 * DAY;
    site->queue.scratch = JB_UNSET;
    site->queue.pids = JB_UNSET;
}

static void free_shares(struct jb_site_shares *shares)
{
    for (size_t i = 0; i < shares->len; i++)
        free(shares->items[i].name);
    free(shares->items);
}

void jb_site_queue_free(struct jb_site *site)
{
    jb_strv_free(&site->queue.operators);
    jb_strv_free(&site->queue.admins);
    jb_strv_free(&site->queue.mail);
    free(site->queue.metrics);
    for (size_t i = 0; i < site->queue.n_accounts; i++) {
        free(site->queue.accounts[i].name);
        jb_strv_free(&site->queue.accounts[i].members);
    }
    free(site->queue.accounts);
    free_shares(&site->queue.account_shares);
    free_shares(&site->queue.user_shares);
    for (size_t i = 0; i < site->queue.n_windows; i++) {
        free(site->queue.windows[i].name);
        jb_strv_free(&site->queue.windows[i].users);
        jb_strv_free(&site->queue.windows[i].accounts);
    }
    free(site->queue.windows);
}
