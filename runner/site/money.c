/*
 * money.c - reads what hours cost and what accounts may use.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "site/rules.h"
#include "site/site.h"

#define LINE_MAX_BYTES 256

/* A decimal, in millionths. */
static void read_decimal(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    uint64_t value;
    if (!jb_want(rd, at, node, JB_NODE_SCALAR, "a number such as 0.02"))
        return;
    if (jb_parse_micro(node->text, &value) < 0) {
        char shown[JB_SHOW];
        jb_complain(rd, node->pos, at,
                    "\"%s\" is no amount; write a number such as 0.02, at most six decimals",
                    jb_show(node->text, shown));
        return;
    }
    *(uint64_t *)jb_slot(field, target) = value;
}

/* 2026, 2026-10 or 2026-10-25: what report/period.h takes, without its words, for a site's file means the same each day. */
static void read_date(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    static const char form[] = "dddd-dd-dd";
    if (!jb_want(rd, at, node, JB_NODE_SCALAR, "a month or a day such as 2026-10"))
        return;
    size_t len = strlen(node->text);
    bool ok = len == 4 || len == 7 || len == 10;
    for (size_t i = 0; ok && i < len; i++)
        ok = form[i] == 'd' ? node->text[i] >= '0' && node->text[i] <= '9' : node->text[i] == form[i];
    if (ok)
        jb_set_text(rd, jb_slot(field, target), node->text);
    else
        jb_complain(rd, node->pos, at, "is no day; write 2026, 2026-10 or 2026-10-25");
}

static void *add_item(struct jb_reading *rd, void **list, size_t *n, size_t size)
{
    char *grown = realloc(*list, (*n + 1) * size);
    if (!grown) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    *list = grown;
    return memset(grown + (*n)++ * size, 0, size);
}

void jb_rule_currency(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char **slot = jb_slot(field, target);
    if (node->kind != JB_NODE_SCALAR || !jb_streq(node->text, "none")) {
        jb_read_line(rd, at, node, field, target);
        return;
    }
    free(*slot);
    *slot = NULL;
}

void jb_rule_prices(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
#define PRICE(word, reader, member)                                             \
    {                                                                           \
        .name = (word), .key = JB_KEY_MAX, .read = (reader),                    \
        .offset = offsetof(struct jb_site_price, member), .max = LINE_MAX_BYTES \
    }
    static const struct jb_field fields[] = {
        PRICE("account", jb_read_line, account),
        PRICE("from", read_date, from),
        PRICE("to", read_date, to),
        PRICE("core_hour", read_decimal, core_hour),
        PRICE("gib_hour", read_decimal, gib_hour),
        PRICE("device_hour", read_decimal, device_hour),
    };
    struct jb_site *site = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { core_hour: 0.02, gib_hour: 0.002 } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { core_hour: 0.02 }"))
            continue;
        struct jb_site_price *price = add_item(rd, (void **)&site->prices, &site->n_prices, sizeof(*price));
        if (!price)
            return;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), price);
        if (!jb_member(item, "core_hour") && !jb_member(item, "gib_hour") && !jb_member(item, "device_hour"))
            jb_complain(rd, item->pos, &here, "has no price; write core_hour, gib_hour or device_hour");
    }
#undef PRICE
}

void jb_rule_budgets(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    static const char *const words[] = {[JB_BUDGET_CORE_HOURS] = "core_hours",
                                        [JB_BUDGET_GIB_HOURS] = "gib_hours",
                                        [JB_BUDGET_DEVICE_HOURS] = "device_hours",
                                        [JB_BUDGET_COST] = "cost"};
#define BUDGET(word, reader, member, ...)                              \
    {                                                                  \
        .name = (word), .key = JB_KEY_MAX, .read = (reader),           \
        .offset = offsetof(struct jb_site_budget, member), __VA_ARGS__ \
    }
    static const struct jb_field fields[] = {
        BUDGET("account", jb_read_line, account, .max = LINE_MAX_BYTES),
        BUDGET("of", jb_read_enum, of, .names = words, .n_names = JB_BUDGET_MAX),
        BUDGET("soft", read_decimal, soft),
        BUDGET("hard", read_decimal, hard),
    };
    struct jb_site *site = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST,
                 "a list such as [ { account: astro, of: core_hours, soft: 900, hard: 1000 } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP,
                     "a mapping such as { account: astro, of: core_hours, hard: 1000 }"))
            continue;
        struct jb_site_budget *budget =
            add_item(rd, (void **)&site->budgets, &site->n_budgets, sizeof(*budget));
        if (!budget)
            return;
        budget->soft = budget->hard = JB_UNSET;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), budget);
        if (!jb_member(item, "account") || !jb_member(item, "of"))
            jb_complain(rd, item->pos, &here, "needs an account and what is counted (of: core_hours)");
        else if (budget->soft == JB_UNSET && budget->hard == JB_UNSET)
            jb_complain(rd, item->pos, &here, "has no limit; write soft, hard or both");
        else if (budget->soft != JB_UNSET && budget->soft > budget->hard)
            jb_complain(rd, item->pos, &here, "the soft limit is more than the hard one");
    }
#undef BUDGET
}
