/*
 * lists.c - reads lists and mappings of plain things: arguments, environments, paths, names.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/field.h"
#include "spec/words.h"

bool jb_env_name(const char *text, size_t len)
{
    if (len == 0 || isdigit((unsigned char)text[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_')
            return false;
    return true;
}

/* A scalar that will be one argument or variable of a program, `extra` bytes longer than it is here. */
static bool argument(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, size_t extra)
{
    if (!jb_scalar(rd, at, node, "text, or \"\" for empty text"))
        return false;
    if (node->len + extra <= JB_ARG_MAX)
        return true;
    jb_complain(rd, node->pos, at, "is %zu bytes long; the kernel passes at most %d to a program, use a file",
                node->len, JB_ARG_MAX - (int)extra);
    return false;
}

void jb_read_argv(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    size_t i = 0;
    if (node->kind == JB_NODE_SCALAR) {
        jb_complain(rd, node->pos, at,
                    "must be a list such as [make, -j4]; for a command line write \"script:\" instead");
        return;
    }
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [make, -j4]"))
        return;
    if (node->n == 0)
        jb_complain(rd, node->pos, at, "is an empty list; name at least the program");
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!argument(rd, &here, item, 0))
            continue;
        if (i == 0 && item->len == 0)
            jb_complain(rd, item->pos, &here, "is empty; the first word is the program to run");
        else
            jb_note(rd, jb_strv_add(list, item->text));
    }
}

void jb_read_env(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                 const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { CFLAGS: -O2 }"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next) {
        struct jb_at here = {.up = at, .name = item->key};
        if (!jb_env_name(item->key, strlen(item->key)))
            jb_complain(rd, item->key_pos, &here,
                        "is not a variable name; use letters, digits and \"_\", no digit first");
        else if (argument(rd, &here, item, strlen(item->key) + 1))
            jb_note(rd, jb_strv_printf(list, "%s=%s", item->key, item->text));
    }
}

void jb_read_degraded(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    bool *allowed = jb_slot(field, target);
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [memory, cpuset]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        unsigned value = JB_DEGRADE_MAX;
        struct jb_field word = {.names = jb_words_degradable, .n_names = JB_DEGRADE_MAX};
        jb_read_enum(rd, &here, item, &word, &value);
        if (value < JB_DEGRADE_MAX)
            allowed[value] = true;
    }
}

void jb_read_paths(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of absolute paths"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        jb_autofree char *path = NULL;
        if (jb_clean_path(rd, &here, item, &path) && !jb_strv_has(list, path))
            jb_note(rd, jb_strv_add(list, path));
    }
}
