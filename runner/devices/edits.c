/*
 * edits.c - device nodes, mounts, variables, groups and hooks of a CDI file.
 *
 * Owns: nothing; see edits.h. Runs in: the client. Privilege: none.
 */
#include "devices/edits.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define MODE_MAX    07777
#define ID_MAX      (UINT32_MAX - 1) /* -1 means "nobody" to the kernel */
#define MAJOR_MAX   4095             /* of the kernel's own 12 and 20 bits */
#define MINOR_MAX   ((1U << 20) - 1)
#define TIMEOUT_MAX 3600

#define FIELD(type, word, reader, member, ...)                                                             \
    {                                                                                                      \
        .name = (word), .key = JB_KEY_MAX, .read = (reader), .offset = offsetof(type, member), __VA_ARGS__ \
    }

static const char *const type_words[] = {[JB_CDI_TYPE_UNSAID] = "",
                                         [JB_CDI_TYPE_BLOCK] = "b",
                                         [JB_CDI_TYPE_CHAR] = "c",
                                         [JB_CDI_TYPE_UNBUFFERED] = "u"};

static const char *const hook_words[] = {
    [JB_CDI_HOOK_UNSAID] = "",
    [JB_CDI_HOOK_PRESTART] = "prestart",
    [JB_CDI_HOOK_CREATE_RUNTIME] = "createRuntime",
    [JB_CDI_HOOK_CREATE_CONTAINER] = "createContainer",
    [JB_CDI_HOOK_START_CONTAINER] = "startContainer",
    [JB_CDI_HOOK_POSTSTART] = "poststart",
    [JB_CDI_HOOK_POSTSTOP] = "poststop",
};

const char *jb_cdi_hook_name(enum jb_cdi_hook_when when)
{
    return (unsigned)when < JB_CDI_HOOK_MAX ? hook_words[when] : NULL;
}

void *jb_cdi_append(struct jb_reading *rd, void **items, size_t *n, size_t size)
{
    char *grown = realloc(*items, (*n + 1) * size);
    if (!grown) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    *items = grown;
    memset(grown + *n * size, 0, size);
    return grown + (*n)++ * size;
}

/* A word of a table whose first entry means "not said". */
static void read_word(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    struct jb_field words = *field;
    unsigned index = 0;
    words.offset = 0;
    words.names++;
    words.n_names--;
    unsigned none = (unsigned)words.n_names;
    index = none;
    jb_read_enum(rd, at, node, &words, &index);
    if (index != none)
        *(unsigned *)jb_slot(field, target) = index + 1;
}

/*
 * Permission bits. JSON can only say them as a decimal number; YAML files of this format have them in octal too, with
 * 0o or, as programs that read YAML 1.1 take it, a zero alone.
 */
static void read_mode(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "a mode such as 432 or 0o660"))
        return;
    const char *digits = node->text;
    bool octal = digits[0] == '0' && digits[1] != '\0';
    if (octal)
        digits += digits[1] == 'o' ? 2 : 1;
    size_t n = strspn(digits, octal ? "01234567" : "0123456789");
    uint64_t value = 0;
    bool ok = n > 0 && n <= 6 && digits[n] == '\0';
    for (size_t i = 0; ok && i < n; i++)
        value = value * (octal ? 8U : 10U) + (uint64_t)(digits[i] - '0');
    if (!ok || value > MODE_MAX)
        jb_complain(rd, node->pos, at, "\"%s\" is not a file mode; write 0o660, or 432 which is the same",
                    jb_show(node->text, shown));
    else
        *(uint64_t *)jb_slot(field, target) = value;
}

static void read_permissions(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                             const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "some of the letters r, w and m"))
        return;
    size_t n = strspn(node->text, "rwm");
    bool twice = false;
    for (size_t i = 0; i < n; i++)
        twice = twice || strchr(node->text + i + 1, node->text[i]);
    if (n == 0 || node->text[n] || twice)
        jb_complain(rd, node->pos, at,
                    "\"%s\" are no permissions; write some of the letters r, w and m, each once",
                    jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

/* Calls each for the items of a list, with an element appended to the array. */
static void complain_missing(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *map,
                             const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!jb_member(map, names[i]))
            jb_complain(rd, map->pos, at, "has no %s, which it must have", names[i]);
}

static void read_nodes(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_node, "path", jb_read_path, path),
        FIELD(struct jb_cdi_node, "hostPath", jb_read_path, host_path),
        FIELD(struct jb_cdi_node, "type", read_word, type, .names = type_words, .n_names = JB_CDI_TYPE_MAX),
        FIELD(struct jb_cdi_node, "major", jb_read_count, major, .max = MAJOR_MAX),
        FIELD(struct jb_cdi_node, "minor", jb_read_count, minor, .max = MINOR_MAX),
        FIELD(struct jb_cdi_node, "fileMode", read_mode, mode),
        FIELD(struct jb_cdi_node, "permissions", read_permissions, permissions),
        FIELD(struct jb_cdi_node, "uid", jb_read_count, uid, .max = ID_MAX),
        FIELD(struct jb_cdi_node, "gid", jb_read_count, gid, .max = ID_MAX),
    };
    static const char *const must[] = {"path"};
    struct jb_cdi_edits *edits = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { path: /dev/gpu0 } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { path: /dev/gpu0 }"))
            continue;
        struct jb_cdi_node *one = jb_cdi_append(rd, (void **)&edits->nodes, &edits->n_nodes, sizeof(*one));
        if (!one)
            return;
        one->major = one->minor = one->mode = one->uid = one->gid = JB_UNSET;
        one->pos = item->pos;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), one);
        complain_missing(rd, &here, item, must, JB_ARRAY_LEN(must));
        if ((jb_member(item, "major") != NULL) != (jb_member(item, "minor") != NULL))
            jb_complain(rd, item->pos, &here, "has one of major and minor; write both or none");
    }
}

/* Words of mount(8) that the box does anyway, those that are carried out, and no others. */
static void read_mount_options(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                               const struct jb_field *field, void *target)
{
    static const char *const words[] = {"ro",     "rw",      "bind",     "rbind", "nosuid", "nodev",
                                        "noexec", "private", "rprivate", "slave", "rslave", "exec"};
    struct jb_cdi_mount *mount = target;
    struct jb_field one = {.names = words, .n_names = JB_ARRAY_LEN(words)};
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ro, nosuid, nodev, rbind]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        unsigned word = JB_ARRAY_LEN(words);
        jb_read_enum(rd, &here, item, &one, &word);
        if (word == JB_ARRAY_LEN(words))
            continue;
        mount->read_only = jb_streq(words[word], "ro") || (mount->read_only && !jb_streq(words[word], "rw"));
        mount->no_exec =
            jb_streq(words[word], "noexec") || (mount->no_exec && !jb_streq(words[word], "exec"));
        mount->recursive |= jb_streq(words[word], "rbind");
    }
}

static void read_mount_type(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                            const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    (void)field;
    (void)target;
    if (jb_scalar(rd, at, node, "bind") && !jb_streq(node->text, "bind") && !jb_streq(node->text, "none"))
        jb_complain(rd, node->pos, at, "\"%s\" is not a mount that jobbox makes for a device; write bind",
                    jb_show(node->text, shown));
}

static void read_mounts(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_mount, "hostPath", jb_read_path, host_path),
        FIELD(struct jb_cdi_mount, "containerPath", jb_read_path, container_path),
        FIELD(struct jb_cdi_mount, "options", read_mount_options, read_only),
        FIELD(struct jb_cdi_mount, "type", read_mount_type, read_only),
    };
    static const char *const must[] = {"hostPath", "containerPath"};
    struct jb_cdi_edits *edits = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [ { hostPath: /a, containerPath: /b } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { hostPath: /a, containerPath: /b }"))
            continue;
        struct jb_cdi_mount *one = jb_cdi_append(rd, (void **)&edits->mounts, &edits->n_mounts, sizeof(*one));
        if (!one)
            return;
        one->pos = item->pos;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), one);
        complain_missing(rd, &here, item, must, JB_ARRAY_LEN(must));
    }
}

/* ["NAME=value"]: unlike a job's, for that is how this format writes them. */
static void read_env(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [\"NAME=value\"]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_plain_line(rd, &here, item, JB_ARG_MAX))
            continue;
        const char *equals = strchr(item->text, '=');
        if (!equals || !jb_env_name(item->text, (size_t)(equals - item->text)))
            jb_complain(rd, item->pos, &here, "\"%s\" is not a variable; write NAME=value",
                        jb_show(item->text, shown));
        else
            jb_note(rd, jb_strv_add(list, item->text));
    }
}

static void read_args(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    if (jb_want(rd, at, node, JB_NODE_LIST, "a list such as [program, --option]"))
        jb_read_argv(rd, at, node, field, target);
}

static void read_hooks(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_hook, "hookName", read_word, when, .names = hook_words,
              .n_names = JB_CDI_HOOK_MAX),
        FIELD(struct jb_cdi_hook, "path", jb_read_path, path),
        FIELD(struct jb_cdi_hook, "args", read_args, args),
        FIELD(struct jb_cdi_hook, "env", read_env, env),
        FIELD(struct jb_cdi_hook, "timeout", jb_read_count, timeout_s, .min = 1, .max = TIMEOUT_MAX),
    };
    static const char *const must[] = {"hookName", "path"};
    struct jb_cdi_edits *edits = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST,
                 "a list such as [ { hookName: createContainer, path: /usr/bin/x } ]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP,
                     "a mapping such as { hookName: createContainer, path: /usr/bin/x }"))
            continue;
        struct jb_cdi_hook *one = jb_cdi_append(rd, (void **)&edits->hooks, &edits->n_hooks, sizeof(*one));
        if (!one)
            return;
        one->timeout_s = JB_UNSET;
        one->pos = item->pos;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), one);
        complain_missing(rd, &here, item, must, JB_ARRAY_LEN(must));
    }
}

static void read_gids(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    struct jb_cdi_edits *edits = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of group ids such as [44, 109]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        uint64_t gid = 0;
        if (!jb_scalar(rd, &here, item, "a group id") ||
            !jb_whole_number(rd, &here, item, item->text, 0, ID_MAX, &gid))
            continue;
        uint64_t *one = jb_cdi_append(rd, (void **)&edits->gids, &edits->n_gids, sizeof(*one));
        if (!one)
            return;
        *one = gid;
    }
}

/* What is known to be there and not carried out: its place is kept for the one who asks for such a device. */
static void read_place(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    (void)rd;
    (void)at;
    *(struct jb_pos *)jb_slot(field, target) = node->key_pos;
}

void jb_cdi_read_edits(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_edits, "env", read_env, env),
        FIELD(struct jb_cdi_edits, "deviceNodes", read_nodes, nodes),
        FIELD(struct jb_cdi_edits, "mounts", read_mounts, mounts),
        FIELD(struct jb_cdi_edits, "hooks", read_hooks, hooks),
        FIELD(struct jb_cdi_edits, "additionalGids", read_gids, gids),
        FIELD(struct jb_cdi_edits, "intelRdt", read_place, intel_rdt),
        FIELD(struct jb_cdi_edits, "netDevices", read_place, net_devices),
    };
    if (jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { deviceNodes: [ { path: /dev/gpu0 } ] }"))
        jb_read_fields(rd, at, node, fields, JB_ARRAY_LEN(fields), jb_slot(field, target));
}

void jb_cdi_edits_free(struct jb_cdi_edits *edits)
{
    jb_strv_free(&edits->env);
    for (size_t i = 0; i < edits->n_nodes; i++) {
        free(edits->nodes[i].path);
        free(edits->nodes[i].host_path);
        free(edits->nodes[i].permissions);
    }
    for (size_t i = 0; i < edits->n_mounts; i++) {
        free(edits->mounts[i].host_path);
        free(edits->mounts[i].container_path);
    }
    for (size_t i = 0; i < edits->n_hooks; i++) {
        free(edits->hooks[i].path);
        jb_strv_free(&edits->hooks[i].args);
        jb_strv_free(&edits->hooks[i].env);
    }
    free(edits->nodes);
    free(edits->mounts);
    free(edits->hooks);
    free(edits->gids);
}
