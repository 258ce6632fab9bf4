/*
 * queue_keys.c - reads the keys that only the queue acts on: priority, dependencies, arrays, retries.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/when.h"
#include "spec/forms.h"
#include "spec/words.h"

#define PRIORITY_MAX    1000000
#define ARRAY_TEXT_MAX  4096
#define ARRAY_INDEX_MAX UINT32_MAX
#define ARRAY_JOBS_MAX  UINT64_C(10000000)

void jb_form_priority(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    uint64_t value;
    if (!jb_scalar(rd, at, node, "a number"))
        return;
    bool negative = node->text[0] == '-';
    if (jb_parse_u64(node->text + negative, PRIORITY_MAX, &value) < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a priority; write a whole number from -%d to %d",
                    jb_show(node->text, shown), PRIORITY_MAX, PRIORITY_MAX);
    else
        *(int64_t *)jb_slot(field, target) = negative ? -(int64_t)value : (int64_t)value;
}

void jb_form_depends_on(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        {"job", .key = JB_KEY_MAX, .read = jb_read_count, .offset = offsetof(struct jb_spec_dependency, job),
         .min = 1},
        {"when", .key = JB_KEY_MAX, .read = jb_read_enum, .offset = offsetof(struct jb_spec_dependency, when),
         .names = jb_words_when, .n_names = JB_WHEN_MAX},
    };
    struct jb_spec *spec = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { job: 41 } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        struct jb_spec_dependency d = {0};
        d.singleton = item->kind == JB_NODE_SCALAR && jb_streq(item->text, "singleton");
        if (!d.singleton && !jb_want(rd, &here, item, JB_NODE_MAP,
                                     "a mapping such as { job: 41, when: success }, or singleton"))
            continue;
        if (!d.singleton)
            jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), &d);
        if (!d.singleton && !jb_member(item, "job"))
            jb_complain(rd, item->pos, &here, "has no job; write the number of the job to wait for");
        struct jb_spec_dependency *grown =
            realloc(spec->depends_on, (spec->n_depends_on + 1) * sizeof(*grown));
        if (!grown) {
            jb_note(rd, -ENOMEM);
            return;
        }
        spec->depends_on = grown;
        spec->depends_on[spec->n_depends_on++] = d;
    }
}

/* Digits without a leading zero. */
static bool array_number(const char **p, uint64_t max, uint64_t *ret)
{
    char digits[16];
    size_t len = strspn(*p, "0123456789");
    if (len == 0 || len >= sizeof(digits))
        return false;
    memcpy(digits, *p, len);
    digits[len] = '\0';
    *p += len;
    return jb_parse_u64(digits, max, ret) == 0;
}

/* "5", "5-9" or "5-9:2" at *p. NULL when it is well, else what is wrong. */
static const char *array_part(const char **p, int64_t *last, uint64_t *jobs)
{
    uint64_t from;
    uint64_t to;
    uint64_t step = 1;
    if (!array_number(p, ARRAY_INDEX_MAX, &from))
        return "an index is a whole number without leading zeros, up to 4294967295";
    to = from;
    if (**p == '-') {
        ++*p;
        if (!array_number(p, ARRAY_INDEX_MAX, &to))
            return "a range ends in a whole number without leading zeros, up to 4294967295";
        if (to < from)
            return "a range runs upwards";
        if (**p == ':') {
            ++*p;
            if (!array_number(p, ARRAY_INDEX_MAX, &step) || step == 0)
                return "a step is a whole number of at least 1";
        }
    }
    if ((int64_t)from <= *last)
        return "the parts must be in rising order and not overlap";
    *last = (int64_t)(to - (to - from) % step);
    *jobs += (to - from) / step + 1;
    return *jobs > ARRAY_JOBS_MAX ? "it has more than 10000000 jobs" : NULL;
}

static const char *check_array(const char *text)
{
    const char *p = text;
    const char *wrong = NULL;
    int64_t last = -1;
    uint64_t jobs = 0;
    uint64_t limit;
    for (;;) {
        wrong = array_part(&p, &last, &jobs);
        if (wrong || *p != ',')
            break;
        p++;
    }
    if (wrong)
        return wrong;
    if (*p == '%') {
        p++;
        if (!array_number(&p, ARRAY_JOBS_MAX, &limit) || limit == 0)
            return "behind the % stands how many may run at once, from 1 to 10000000";
    }
    return *p ? "nothing but indices, ranges, steps and a %limit is known" : NULL;
}

void jb_form_array(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, ARRAY_TEXT_MAX))
        return;
    const char *wrong = check_array(node->text);
    if (wrong)
        jb_complain(rd, node->pos, at, "\"%s\" is not an array: %s; write it like 1-100%%10 or 0,3,5-9:2",
                    jb_show(node->text, shown), wrong);
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

/* Every end.reason of the record but those of jobs that nobody wants again. */
static const char *const retry_reasons[] = {
    "failed",       "signaled",     "timeout",   "cpu_timeout",     "idle_timeout",   "oom",
    "output_limit", "scratch_full", "box_error", "supervisor_lost", "host_restarted",
};

static void retry_word(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       struct jb_strv *list)
{
    char shown[JB_SHOW];
    char hint[JB_SHOW];
    char known[256];
    uint64_t code;
    const size_t n = JB_ARRAY_LEN(retry_reasons);
    if (!jb_scalar(rd, at, node, "an end reason or exit:N"))
        return;
    if (jb_starts_with(node->text, "exit:")) {
        if (jb_parse_u64(node->text + 5, 255, &code) < 0 || code == 0)
            jb_complain(rd, node->pos, at, "\"%s\" is not an exit code; write exit:1 to exit:255",
                        jb_show(node->text, shown));
        else
            jb_note(rd, jb_strv_add(list, node->text));
    } else if (jb_streq(node->text, "completed") || jb_streq(node->text, "cancelled")) {
        jb_complain(rd, node->pos, at, "a job that was %s is not tried again; leave it out", node->text);
    } else if (jb_word_index(node->text, retry_reasons, n) < 0) {
        jb_complain(rd, node->pos, at, "\"%s\" is not exit:N or one of %s%s", jb_show(node->text, shown),
                    jb_word_list(retry_reasons, n, known, sizeof(known)),
                    jb_suggest(node->text, retry_reasons, n, hint));
    } else {
        jb_note(rd, jb_strv_add(list, node->text));
    }
}

static void retry_on(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [oom, exit:75]"))
        return;
    if (node->n == 0)
        jb_complain(rd, node->pos, at, "is an empty list; name when to try again, or leave retry out");
    for (const struct jb_node *item = node->first; item; item = item->next, i++)
        retry_word(rd, &(struct jb_at){.up = at, .index = i}, item, jb_slot(field, target));
}

static void memory_factor(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                          const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    uint64_t micro;
    if (!jb_scalar(rd, at, node, "a number such as 1.5"))
        return;
    if (jb_parse_micro(node->text, &micro) < 0 || micro < 1000000 || micro > 100 * UINT64_C(1000000))
        jb_complain(rd, node->pos, at, "\"%s\" is not a factor; write a number from 1 to 100, such as 1.5",
                    jb_show(node->text, shown));
    else
        *(uint64_t *)jb_slot(field, target) = micro;
}

void jb_form_when(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    uint64_t us;
    if (!jb_plain_line(rd, at, node, 64))
        return;
    if (jb_parse_when(node->text, 0, &us) < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a time; write 2026-12-31T18:00, 18:00, or now+2h30m",
                    jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

static void notify_on(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    char hint[JB_SHOW];
    bool *on = jb_slot(field, target);
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of begin, end and fail"))
        return;
    for (enum jb_notify_on n = 0; n < JB_NOTIFY_MAX; n++)
        on[n] = false;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_scalar(rd, &here, item, "begin, end or fail"))
            continue;
        int n = jb_word_index(item->text, jb_words_notify, JB_NOTIFY_MAX);
        if (n < 0)
            jb_complain(rd, item->pos, &here, "\"%s\" is not begin, end or fail%s",
                        jb_show(item->text, shown),
                        jb_suggest(item->text, jb_words_notify, JB_NOTIFY_MAX, hint));
        else
            on[n] = true;
    }
}

/* It goes to a mail program in a header line: nothing but what an address is made of. */
static void mail_address(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@_+=-";
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, 254))
        return;
    if (strspn(node->text, allowed) != strlen(node->text) || node->text[0] == '-')
        jb_complain(rd, node->pos, at, "\"%s\" is not a mail address; write one such as user@example.org",
                    jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_notify(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        {"on", .key = JB_KEY_MAX, .read = notify_on, .offset = offsetof(struct jb_spec, notify.on)},
        {"mail", .key = JB_KEY_MAX, .read = mail_address, .offset = offsetof(struct jb_spec, notify.mail)},
        {"program", .key = JB_KEY_MAX, .read = jb_read_argv,
         .offset = offsetof(struct jb_spec, notify.program)},
    };
    struct jb_spec *spec = target;
    (void)field;
    spec->notify.on[JB_NOTIFY_END] = spec->notify.on[JB_NOTIFY_FAIL] = true;
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { mail: user@example.org, on: [fail] }"))
        return;
    jb_read_fields(rd, at, node, fields, JB_ARRAY_LEN(fields), target);
    if (!jb_member(node, "mail") && !jb_member(node, "program"))
        jb_complain(rd, node->pos, at, "tells nobody; write mail: or program:");
}

void jb_form_retry(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        {"max", .key = JB_KEY_MAX, .read = jb_read_count, .offset = offsetof(struct jb_spec, retry_max),
         .min = 1, .max = 1000},
        {"on", .key = JB_KEY_MAX, .read = retry_on, .offset = offsetof(struct jb_spec, retry_on)},
        {"backoff", .key = JB_KEY_MAX, .read = jb_read_duration,
         .offset = offsetof(struct jb_spec, retry_backoff_ns)},
        {"memory_factor", .key = JB_KEY_MAX, .read = memory_factor,
         .offset = offsetof(struct jb_spec, retry_memory_micro)},
    };
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { max: 2, on: [oom] }"))
        return;
    jb_read_fields(rd, at, node, fields, JB_ARRAY_LEN(fields), target);
    if (!jb_member(node, "max"))
        jb_complain(rd, node->pos, at, "has no max; write how often to try again");
    if (!jb_member(node, "on"))
        jb_complain(rd, node->pos, at, "has no on; write when to try again, such as [oom, exit:75]");
}
