/*
 * values.c - reads single values: numbers, sizes, durations, words, paths.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 *
 * A plain scalar is read by the key it belongs to, never by what it looks like: 010, 1:30, yes and 1e3 are
 * the text that was written. Numbers, sizes and durations may stand in quotes; booleans may not.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/field.h"

bool jb_scalar(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, const char *what)
{
    if (!jb_want(rd, at, node, JB_NODE_SCALAR, what))
        return false;
    if (jb_is_null(node)) {
        jb_complain(rd, node->pos, at, "has no value; write %s", what);
        return false;
    }
    return true;
}

void jb_set_text(struct jb_reading *rd, char **slot, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        jb_note(rd, -ENOMEM);
        return;
    }
    free(*slot);
    *slot = copy;
}

void jb_read_bool(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    static const char *const yes[] = {"True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "1"};
    static const char *const no[] = {"False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N", "0"};
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "true or false"))
        return;
    bool value = jb_streq(node->text, "true");
    if (!value && !jb_streq(node->text, "false")) {
        const char *hint = jb_word_index(node->text, yes, JB_ARRAY_LEN(yes)) >= 0 ? "true"
                           : jb_word_index(node->text, no, JB_ARRAY_LEN(no)) >= 0 ? "false"
                                                                                  : "true or false";
        jb_complain(rd, node->pos, at, "\"%s\" is not a boolean; write %s", jb_show(node->text, shown), hint);
    } else if (!node->plain) {
        jb_complain(rd, node->pos, at, "\"%s\" in quotes is text; write %s without quotes", node->text,
                    node->text);
    } else {
        *(bool *)jb_slot(field, target) = value;
    }
}

void jb_read_enum(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    char words[256];
    char shown[JB_SHOW];
    char hint[JB_SHOW];
    (void)jb_word_list(field->names, field->n_names, words, sizeof(words));
    if (!jb_scalar(rd, at, node, words))
        return;
    int index = jb_word_index(node->text, field->names, field->n_names);
    if (index < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not one of %s%s", jb_show(node->text, shown), words,
                    jb_suggest(node->text, field->names, field->n_names, hint));
    else
        *(unsigned *)jb_slot(field, target) = (unsigned)index;
}

bool jb_whole_number(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char shown[JB_SHOW];
    char range[64];
    uint64_t value = 0;
    if (max < INT64_MAX)
        (void)snprintf(range, sizeof(range), "from %" PRIu64 " to %" PRIu64, min, max);
    else
        (void)snprintf(range, sizeof(range), "of at least %" PRIu64, min);
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits]) {
        jb_complain(rd, node->pos, at, "\"%s\" is not a whole number; write one %s", jb_show(text, shown),
                    range);
        return false;
    }
    if (text[0] == '0' && text[1]) {
        jb_complain(rd, node->pos, at,
                    "\"%s\" begins with a zero, which some read as octal; write it without the zero",
                    jb_show(text, shown));
        return false;
    }
    int r = jb_parse_u64(text, UINT64_MAX - 1, &value);
    if (r < 0 || value < min || value > max) {
        jb_complain(rd, node->pos, at, "%s is out of range; write a number %s", jb_show(text, shown), range);
        return false;
    }
    *ret = value;
    return true;
}

void jb_read_count(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    uint64_t value;
    if (jb_scalar(rd, at, node, "a number") &&
        jb_whole_number(rd, at, node, node->text, field->min, field->max ? field->max : INT64_MAX, &value))
        *(uint64_t *)jb_slot(field, target) = value;
}

/* "010" and "08GiB" are as doubtful as the number alone. Durations such as 05:00 are not. */
static bool octal_looking(const char *text)
{
    return text[0] == '0' && isdigit((unsigned char)text[1]);
}

/* The shortest form that jb_parse_size reads back. */
static const char *exact_size(uint64_t bytes, char *buf, size_t len)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    for (; bytes > 0 && bytes % 1024 == 0 && i + 1 < JB_ARRAY_LEN(units); i++)
        bytes /= 1024;
    (void)snprintf(buf, len, "%" PRIu64 "%s", bytes, units[i]);
    return buf;
}

void jb_read_size(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    char least[64];
    uint64_t value;
    if (!jb_scalar(rd, at, node, "a size such as 512MiB or 8GiB"))
        return;
    int r = jb_parse_size(node->text, &value);
    if (r == -ERANGE)
        jb_complain(rd, node->pos, at, "\"%s\" is more than any machine has", jb_show(node->text, shown));
    else if (r < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a size; write it like 512MiB or 8GiB",
                    jb_show(node->text, shown));
    else if (octal_looking(node->text))
        jb_complain(rd, node->pos, at,
                    "\"%s\" begins with a zero, which some read as octal; write it without the zero",
                    jb_show(node->text, shown));
    else if (value < field->min)
        jb_complain(rd, node->pos, at, "\"%s\" is too small; write at least %s", jb_show(node->text, shown),
                    exact_size(field->min, least, sizeof(least)));
    else
        *(uint64_t *)jb_slot(field, target) = value;
}

void jb_read_duration(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    uint64_t value;
    if (!jb_scalar(rd, at, node, "a duration such as 90s, 15m or 1h30m"))
        return;
    int r = jb_parse_duration(node->text, &value);
    if (r == -ERANGE)
        jb_complain(rd, node->pos, at, "\"%s\" is more than 100 years", jb_show(node->text, shown));
    else if (r < 0)
        jb_complain(rd, node->pos, at,
                    "\"%s\" is not a duration; write it like 90s, 15m, 1h30m or 2-12:00:00",
                    jb_show(node->text, shown));
    else if (octal_looking(node->text) && !strchr(node->text, ':'))
        jb_complain(rd, node->pos, at,
                    "\"%s\" begins with a zero, which some read as octal; write it without the zero",
                    jb_show(node->text, shown));
    else if (value < field->min)
        jb_complain(rd, node->pos, at, "\"%s\" is too short; it must be more than 0",
                    jb_show(node->text, shown));
    else
        *(uint64_t *)jb_slot(field, target) = value;
}

void jb_read_cpus(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    struct jb_cpus set;
    if (!jb_scalar(rd, at, node, "a list of CPUs such as \"0-3,8\""))
        return;
    int r = jb_cpus_parse(node->text, &set);
    if (r == -ERANGE)
        jb_complain(rd, node->pos, at, "\"%s\" names a CPU above %d, the greatest there can be",
                    jb_show(node->text, shown), JB_CPUS_MAX - 1);
    else if (r < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a list of CPUs; write it like \"0-3,8\"",
                    jb_show(node->text, shown));
    else if (jb_cpus_empty(&set) && field->min > 0)
        jb_complain(rd, node->pos, at, "names no CPU; write a list such as \"0-3,8\"");
    else
        *(struct jb_cpus *)jb_slot(field, target) = set;
}

bool jb_plain_line(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, size_t max)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "text"))
        return false;
    for (const char *p = node->text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            jb_complain(rd, node->pos, at, "\"%s\" holds a line break or another control character",
                        jb_show(node->text, shown));
            return false;
        }
    }
    if (node->len == 0)
        jb_complain(rd, node->pos, at, "is empty; write something or leave the key out");
    else if (node->len > max)
        jb_complain(rd, node->pos, at, "is %zu bytes long; at most %zu are allowed", node->len, max);
    return node->len > 0 && node->len <= max;
}

void jb_read_line(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    if (jb_plain_line(rd, at, node, field->max))
        jb_set_text(rd, jb_slot(field, target), node->text);
}

bool jb_clean_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, char **ret)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, PATH_MAX - 1))
        return false;
    int r = jb_path_clean(node->text, ret);
    if (r == 0)
        return true;
    if (r == -ENOMEM)
        jb_note(rd, r);
    else if (node->text[0] != '/')
        jb_complain(rd, node->pos, at, "\"%s\" is not an absolute path; begin it with \"/\"",
                    jb_show(node->text, shown));
    else
        jb_complain(rd, node->pos, at, "\"%s\" has a \"..\" in it; write the path without",
                    jb_show(node->text, shown));
    return false;
}

void jb_read_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    jb_autofree char *path = NULL;
    if (jb_clean_path(rd, at, node, &path))
        jb_set_text(rd, jb_slot(field, target), path);
}
