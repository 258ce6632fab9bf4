/*
 * rules.c - reads the forms that only site files have.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "site/rules.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/netaddr.h"
#include "site/site.h"
#include "spec/words.h"

/* One end of a bound: "none", or what the inner reader of the bound's field reads. */
static void read_end(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "none"))
        *(uint64_t *)jb_slot(field, target) = JB_UNSET;
    else
        field->inner(rd, at, node, field, target);
}

static void read_bound(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target, jb_read_fn *read_default)
{
    struct jb_field fields[] = {*field, *field};
    fields[0].name = "default";
    fields[0].read = read_default;
    fields[0].offset += offsetof(struct jb_bound, deflt);
    fields[1].name = "max";
    fields[1].read = read_end;
    fields[1].offset += offsetof(struct jb_bound, max);
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { default: none, max: none }"))
        return;
    jb_read_fields(rd, at, node, fields, JB_ARRAY_LEN(fields), target);
    const struct jb_bound *bound = jb_slot(field, target);
    if (bound->deflt != JB_UNSET && bound->deflt > bound->max)
        jb_complain(rd, node->pos, at,
                    "the default is more than the max; write a max of at least the default");
}

void jb_rule_bound(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    read_bound(rd, at, node, field, target, read_end);
}

void jb_rule_pids(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    read_bound(rd, at, node, field, target, field->inner);
}

/* A path, or the word that stands for having none. */
static void path_or(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target, const char *word)
{
    char **slot = jb_slot(field, target);
    if (node->kind != JB_NODE_SCALAR || !jb_streq(node->text, word)) {
        jb_read_path(rd, at, node, field, target);
        return;
    }
    free(*slot);
    *slot = NULL;
}

void jb_rule_auto_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    path_or(rd, at, node, field, target, "auto");
}

void jb_rule_none_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    path_or(rd, at, node, field, target, "none");
}

/* As systemd.slice(5) has it: dashes stand for the slices above, so there are none at the ends and no two in a row. */
static bool is_slice(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-";
    size_t len = strlen(name);
    size_t stem = len - (sizeof(".slice") - 1);
    return len > sizeof(".slice") - 1 && len < 256 && jb_streq(name + stem, ".slice") &&
           strspn(name, allowed) == len && name[0] != '-' && name[0] != '.' && name[stem - 1] != '-' &&
           !strstr(name, "--");
}

void jb_rule_slice(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    char **slot = jb_slot(field, target);
    if (!jb_want(rd, at, node, JB_NODE_SCALAR, "auto, or the name of a slice such as batch.slice"))
        return;
    free(*slot);
    *slot = NULL;
    if (jb_streq(node->text, "auto"))
        return;
    if (is_slice(node->text))
        jb_set_text(rd, slot, node->text);
    else
        jb_complain(rd, node->pos, at, "is not the name of a slice; write one such as batch.slice, or auto");
}

static void add_rule(struct jb_reading *rd, struct jb_site *site, struct jb_bind_rule rule)
{
    struct jb_bind_rule *grown = realloc(site->binds.allow, (site->binds.n_allow + 1) * sizeof(*grown));
    if (!grown) {
        free(rule.path);
        jb_note(rd, -ENOMEM);
        return;
    }
    site->binds.allow = grown;
    site->binds.allow[site->binds.n_allow++] = rule;
}

void jb_rule_allow(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    struct parsed {
        char *path;
        enum jb_mount_mode mode;
    };
    static const struct jb_field fields[] = {
        {"path", .key = JB_KEY_MAX, .read = jb_read_path, .offset = offsetof(struct parsed, path)},
        {"mode", .key = JB_KEY_MAX, .read = jb_read_enum, .offset = offsetof(struct parsed, mode),
         .names = jb_words_mount_mode, .n_names = JB_MOUNT_MODE_MAX},
    };
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { path: /data, mode: ro } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        struct parsed rule = {.mode = JB_MOUNT_RO};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { path: /data, mode: ro }"))
            continue;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), &rule);
        if (!jb_member(item, "path"))
            jb_complain(rd, item->pos, &here, "has no path; write the folder that may be bound");
        if (rule.path)
            add_rule(rd, target, (struct jb_bind_rule){.path = rule.path, .rw = rule.mode == JB_MOUNT_RW});
    }
}

void jb_rule_dirs(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    jb_strv_free(jb_slot(field, target));
    jb_read_paths(rd, at, node, field, target);
}

/* Folders of /dev that anybody may write to, or that every box has of its own. */
static bool reaches(const char *pattern)
{
    static const char *const not [] = {"/dev/shm", "/dev/mqueue", "/dev/pts"};
    for (size_t i = 0; i < JB_ARRAY_LEN(not ); i++)
        if (jb_path_beneath(pattern, not [i]))
            return false;
    return jb_path_beneath(pattern, "/dev") && !jb_streq(pattern, "/dev");
}

void jb_rule_nodes(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [/dev/fuse, \"/dev/nvidia*\"]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        jb_autofree char *path = NULL;
        if (!jb_clean_path(rd, &here, item, &path))
            continue;
        if (!reaches(path))
            jb_complain(
                rd, item->pos, &here,
                "\"%s\" is not for device nodes; write a node or a pattern below /dev, not in /dev/shm, "
                "/dev/mqueue or /dev/pts",
                jb_show(item->text, shown));
        else if (!jb_strv_has(list, path))
            jb_note(rd, jb_strv_add(list, path));
    }
}

void jb_rule_names(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [\"vendor.com/driver=*\"]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_plain_line(rd, &here, item, 1024))
            continue;
        const char *slash = strchr(item->text, '/');
        const char *equals = strchr(item->text, '=');
        if (!slash || !equals || slash == item->text || equals < slash + 2 || !equals[1])
            jb_complain(rd, item->pos, &here,
                        "\"%s\" is not a pattern of CDI names; write vendor.com/class=*",
                        jb_show(item->text, shown));
        else if (!jb_strv_has(list, item->text))
            jb_note(rd, jb_strv_add(list, item->text));
    }
}

void jb_rule_networks(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [192.168.0.0/16, 203.0.113.7/32]"))
        return;
    jb_strv_free(list);
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        struct jb_network_range range;
        if (!jb_plain_line(rd, &here, item, 64))
            continue;
        if (jb_network_parse(item->text, &range) < 0)
            jb_complain(rd, item->pos, &here,
                        "\"%s\" is not a range of addresses; write one such as 192.168.0.0/16 or "
                        "2001:db8::/32, with no bit set behind its length",
                        jb_show(item->text, shown));
        else if (!jb_strv_has(list, item->text))
            jb_note(rd, jb_strv_add(list, item->text));
    }
    if (node->n == 0)
        jb_complain(rd, node->pos, at,
                    "is an empty list; write policy.user_network: false to allow nothing, or 0.0.0.0/0 for "
                    "everything");
}

/* A program is found by its whole path: there is no PATH worth trusting where it runs. */
static void read_program(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    const struct jb_strv *argv = jb_slot(field, target);
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [/usr/local/bin/tell, --json]"))
        return;
    jb_read_argv(rd, at, node, field, target);
    if (argv->len > 0 && argv->items[0][0] != '/')
        jb_complain(rd, node->pos, at, "must begin with the absolute path of a program");
}

/* A place of its own, or "auto". */
static void read_socket(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    if (node->kind != JB_NODE_SCALAR || !jb_streq(node->text, "auto"))
        jb_read_path(rd, at, node, field, target);
}

void jb_rule_sinks(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                   const struct jb_field *field, void *target)
{
#define SINK(word, reader, member)                                                                   \
    {                                                                                                \
        (word), .key = JB_KEY_MAX, .read = (reader), .offset = offsetof(struct jb_site_sink, member) \
    }
    static const struct jb_field fields[] = {
        [JB_SINK_FILE] = SINK("file", jb_read_path, path),
        [JB_SINK_PROGRAM] = SINK("program", read_program, argv),
        [JB_SINK_JOURNALD] = SINK("journald", read_socket, path),
        [JB_SINK_SYSLOG] = SINK("syslog", read_socket, path),
        [JB_SINK_TEXTFILE] = SINK("textfile", jb_read_path, path),
    };
#undef SINK
    struct jb_site *site = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { file: /var/log/jobs.jsonl } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        size_t kinds = 0;
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { file: /var/log/jobs.jsonl }"))
            continue;
        struct jb_site_sink *grown = realloc(site->sinks, (site->n_sinks + 1) * sizeof(*grown));
        if (!grown) {
            jb_note(rd, -ENOMEM);
            return;
        }
        site->sinks = grown;
        struct jb_site_sink *sink = &site->sinks[site->n_sinks++];
        *sink = (struct jb_site_sink){.kind = JB_SINK_MAX};
        for (enum jb_sink_kind kind = 0; kind < JB_SINK_MAX; kind++)
            if (jb_member(item, fields[kind].name)) {
                sink->kind = kind;
                kinds++;
            }
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), sink);
        if (kinds != 1)
            jb_complain(rd, item->pos, &here,
                        "must have one of file, program, journald, syslog and textfile");
    }
}
