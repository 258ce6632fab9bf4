/*
 * field.c - walks a mapping by its table of keys.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 */
#include "spec/field.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

bool jb_is_null(const struct jb_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    return node->kind == JB_NODE_SCALAR && node->plain &&
           jb_word_index(node->text, nulls, JB_ARRAY_LEN(nulls)) >= 0;
}

int jb_word_index(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (jb_streq(word, words[i]))
            return (int)i;
    return -1;
}

const char *jb_suggest(const char *word, const char *const *words, size_t n, char buf[JB_SHOW])
{
    const char *near = jb_did_you_mean(word, words, n);
    buf[0] = '\0';
    if (near)
        (void)snprintf(buf, JB_SHOW, "; did you mean \"%s\"?", near);
    return buf;
}

const char *jb_word_list(const char *const *words, size_t n, char *buf, size_t len)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < n && used < len; i++)
        used += (size_t)snprintf(buf + used, len - used, "%s%s",
                                 i == 0       ? ""
                                 : i + 1 == n ? " or "
                                              : ", ",
                                 words[i]);
    return buf;
}

const struct jb_node *jb_member(const struct jb_node *map, const char *name)
{
    for (const struct jb_node *child = map->first; child; child = child->next)
        if (jb_streq(child->key, name))
            return child;
    return NULL;
}

bool jb_want(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
             enum jb_node_kind kind, const char *what)
{
    static const char *const got[] = {
        [JB_NODE_SCALAR] = "a single value", [JB_NODE_LIST] = "a list", [JB_NODE_MAP] = "a mapping"};
    if (node->kind == kind)
        return true;
    if (node->kind == JB_NODE_BAD)
        return false;
    if (jb_is_null(node))
        jb_complain(rd, node->key ? node->key_pos : node->pos, at, "has no value; write %s or leave it out",
                    what);
    else
        jb_complain(rd, node->pos, at, "is %s; write %s", got[node->kind], what);
    return false;
}

static const struct jb_field *find(const char *name, const struct jb_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (jb_streq(name, fields[i].name))
            return &fields[i];
    return NULL;
}

/* The path of a key that goes by this name in another place of the spec: "resources.memory". */
static const char *elsewhere(const struct jb_reading *rd, const char *name)
{
    for (enum jb_key key = 0; rd->key_pos && key < JB_KEY_MAX; key++) {
        const char *path = jb_key_path(key);
        const char *dot = strrchr(path, '.');
        if (jb_streq(dot ? dot + 1 : path, name))
            return path;
    }
    return NULL;
}

static void unknown_key(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *fields, size_t n)
{
    if (rd->diags->len >= JB_DIAGS_MAX) {
        rd->dropped++;
        return;
    }
    jb_autofree const char **names = calloc(n, sizeof(*names));
    if (!names) {
        jb_note(rd, -ENOMEM);
        return;
    }
    for (size_t i = 0; i < n; i++)
        names[i] = fields[i].name;
    char text[768];
    const char *other = elsewhere(rd, node->key);
    if (other)
        jb_complain(rd, node->key_pos, at, "unknown key here; did you mean %s?", other);
    else if (*jb_suggest(node->key, names, n, text))
        jb_complain(rd, node->key_pos, at, "unknown key%s", text);
    else
        jb_complain(rd, node->key_pos, at, "unknown key; write one of %s",
                    jb_word_list(names, n, text, sizeof(text)));
}

void jb_read_fields(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *fields, size_t n, void *target)
{
    for (const struct jb_node *child = node->first; child; child = child->next) {
        struct jb_at here = {.up = at, .name = child->key};
        const struct jb_field *field = find(child->key, fields, n);
        if (!field) {
            unknown_key(rd, &here, child, fields, n);
            continue;
        }
        if (rd->key_pos && field->key < JB_KEY_MAX && rd->key_pos[field->key].line == 0)
            rd->key_pos[field->key] = child->key_pos;
        if (jb_is_null(child))
            jb_complain(rd, child->key_pos, &here, "has no value; write one or leave the key out");
        else if (child->kind != JB_NODE_BAD)
            field->read(rd, &here, child, field, target);
    }
}

void jb_read_map(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                 const struct jb_field *field, void *target)
{
    if (jb_want(rd, at, node, JB_NODE_MAP, "a mapping of keys"))
        jb_read_fields(rd, at, node, field->fields, field->n_names, target);
}
