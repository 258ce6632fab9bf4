/*
 * forms.c - reads the keys of a spec that have a form of their own: names, identity, streams, devices,
 * labels.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 */
#include "spec/forms.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define NAME_MAX_LEN  64
#define HOSTNAME_MAX  63
#define LABEL_MAX_LEN 256
#define ID_MAX        (UINT32_MAX - 1) /* the last one means "leave as it is" to the kernel */

void jb_form_version(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "1"))
        return;
    if (!jb_streq(node->text, "1"))
        jb_complain(rd, node->pos, at, "\"%s\" is not a version that this jobbox reads; write 1",
                    jb_show(node->text, shown));
    else
        *(unsigned *)jb_slot(field, target) = 1;
}

static bool name_chars(const char *text, const char *more)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(more, *text))
            return false;
    return true;
}

void jb_form_name(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "a name"))
        return;
    if (node->len == 0 || node->len > NAME_MAX_LEN || strchr("-.", node->text[0]) ||
        !name_chars(node->text, "._-"))
        jb_complain(rd, node->pos, at,
                    "\"%s\" is not a name; use 1 to %d letters, digits, \".\", \"_\" and \"-\", no \".\" or "
                    "\"-\" first",
                    jb_show(node->text, shown), NAME_MAX_LEN);
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_hostname(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "a host name"))
        return;
    if (node->len == 0 || node->len > HOSTNAME_MAX || node->text[0] == '-' ||
        node->text[node->len - 1] == '-' || !name_chars(node->text, "-"))
        jb_complain(rd, node->pos, at,
                    "\"%s\" is not a host name; use 1 to %d letters, digits and \"-\", no \"-\" at the ends",
                    jb_show(node->text, shown), HOSTNAME_MAX);
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_script(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    if (!jb_scalar(rd, at, node, "the lines of a shell script"))
        return;
    if (node->text[strspn(node->text, " \t\r\n")] == '\0')
        jb_complain(rd, node->pos, at, "is empty; write the lines of a shell script");
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_workdir(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    static const char *const kernel[] = {"/proc", "/sys", "/dev"};
    jb_autofree char *path = NULL;
    if (!jb_clean_path(rd, at, node, &path))
        return;
    for (size_t i = 0; i < JB_ARRAY_LEN(kernel); i++) {
        if (!jb_path_beneath(path, kernel[i]))
            continue;
        jb_complain(rd, node->pos, at, "may not be in %s; write a folder of files", kernel[i]);
        return;
    }
    jb_set_text(rd, jb_slot(field, target), path);
}

/* Strictly decimal, so that nothing that is no number can come out as user 0. */
static bool one_id(const char *text, size_t len, uint32_t *ret)
{
    char digits[16];
    uint64_t value;
    if (len == 0 || len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (jb_parse_u64(digits, ID_MAX, &value) < 0)
        return false;
    *ret = (uint32_t)value;
    return true;
}

void jb_form_user(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                  const struct jb_field *field, void *target)
{
    static const char *const words[] = {
        [JB_USER_SUBMITTER] = "submitter", [JB_USER_ROOT_IN_BOX] = "root-in-box"};
    struct jb_spec *spec = target;
    char shown[JB_SHOW];
    char hint[JB_SHOW];
    (void)field;
    if (!jb_scalar(rd, at, node, "submitter, root-in-box or uid:gid"))
        return;
    int word = jb_word_index(node->text, words, JB_ARRAY_LEN(words));
    const char *colon = strchr(node->text, ':');
    if (word >= 0)
        spec->user_kind = (enum jb_user_kind)word;
    else if (colon && one_id(node->text, (size_t)(colon - node->text), &spec->uid) &&
             one_id(colon + 1, strlen(colon + 1), &spec->gid))
        spec->user_kind = JB_USER_IDS;
    else
        jb_complain(
            rd, node->pos, at,
            "\"%s\" is not a user; write submitter, root-in-box or uid:gid in decimal numbers up to %u%s",
            jb_show(node->text, shown), ID_MAX, jb_suggest(node->text, words, JB_ARRAY_LEN(words), hint));
}

void jb_form_pass_env(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of names such as [LANG, \"CI_*\"]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_scalar(rd, &here, item, "a variable's name"))
            continue;
        bool prefix = item->len > 0 && item->text[item->len - 1] == '*';
        if (jb_env_name(item->text, prefix ? item->len - 1 : item->len) || jb_streq(item->text, "*"))
            jb_note(rd, jb_strv_add(list, item->text));
        else
            jb_complain(
                rd, item->pos, &here, "\"%s\" is not a variable name; write one, or a beginning and \"*\"%s",
                jb_show(item->text, shown), strchr(item->text, '=') ? "; values go under \"env:\"" : "");
    }
}

void jb_form_cpu_limit(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    uint64_t value;
    if (!jb_scalar(rd, at, node, "a number of CPUs such as 3.5"))
        return;
    if (jb_parse_micro(node->text, &value) < 0)
        jb_complain(rd, node->pos, at, "\"%s\" is not a number of CPUs; write it like 3.5",
                    jb_show(node->text, shown));
    else if (node->text[0] == '0' && isdigit((unsigned char)node->text[1]))
        jb_complain(rd, node->pos, at,
                    "\"%s\" begins with a zero, which some read as octal; write it without the zero",
                    jb_show(node->text, shown));
    else if (value < field->min || value > field->max)
        jb_complain(rd, node->pos, at, "%s is out of range; write a number of CPUs from 0.01 to %d",
                    jb_show(node->text, shown), JB_CPUS_MAX);
    else
        *(uint64_t *)jb_slot(field, target) = value;
}

void jb_form_warn_at(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    struct jb_spec *spec = target;
    char shown[JB_SHOW];
    char digits[8] = "";
    uint64_t value;
    (void)field;
    spec->limits.warn.at_said = true;
    if (!jb_scalar(rd, at, node, "a part of the limit such as 90%, or a time before it such as 5m"))
        return;
    bool percent = node->len > 1 && node->text[node->len - 1] == '%';
    if (percent && node->len <= sizeof(digits))
        memcpy(digits, node->text, node->len - 1);
    if (percent && jb_parse_u64(digits, 99, &value) == 0 && value > 0)
        spec->limits.warn.percent = (unsigned)value;
    else if (!percent && jb_parse_duration(node->text, &value) == 0 && value > 0)
        spec->limits.warn.left_ns = value;
    else
        jb_complain(rd, node->pos, at,
                    "\"%s\" is neither 1%% to 99%% of the limit nor a time before it; write 90%% or 5m",
                    jb_show(node->text, shown));
}

/* vendor.com/class=name, as the Container Device Interface writes it. */
static bool cdi_name(const char *text)
{
    size_t vendor = strcspn(text, "/");
    size_t class = text[vendor] == '/' ? strcspn(text + vendor + 1, "=") : 0;
    const char *name = class > 0 && text[vendor + 1 + class] == '=' ? text + vendor + class + 2 : "";
    if (!isalnum((unsigned char)text[0]) || class == 0 || !isalnum((unsigned char)text[vendor + 1]) ||
        !isalnum((unsigned char)name[0]) || !name_chars(name, "._-:"))
        return false;
    for (size_t i = 0; i < vendor + 1 + class; i++)
        if (i != vendor && !isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
    return true;
}

/* { class: vendor.com/gpu, count: 2 }: a count that no device's name can be mistaken for. */
static void counted_device(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                           struct jb_strv *list)
{
    struct counted {
        char *class;
        uint64_t count;
    } wish = {.count = JB_UNSET};
    static const struct jb_field fields[] = {
        {"class", .key = JB_KEY_MAX, .read = jb_read_line, .offset = offsetof(struct counted, class),
         .max = 512},
        {"count", .key = JB_KEY_MAX, .read = jb_read_count, .offset = offsetof(struct counted, count),
         .min = 1, .max = JB_DEVICES_MAX},
    };
    char shown[JB_SHOW];
    jb_read_fields(rd, at, node, fields, JB_ARRAY_LEN(fields), &wish);
    jb_autofree char *class = wish.class;
    jb_autofree char *name = class ? jb_asprintf("%s=0", class) : NULL;
    bool whole = jb_member(node, "class") && jb_member(node, "count");
    if (!whole)
        jb_complain(rd, node->pos, at,
                    "must have class and count, such as { class: vendor.com/gpu, count: 2 }");
    else if (name && !cdi_name(name))
        jb_complain(rd, node->pos, at, "\"%s\" is not a class of devices; write it like vendor.com/gpu",
                    jb_show(class, shown));
    else if (name && wish.count != JB_UNSET) {
        jb_autofree char *text = jb_asprintf("%s" JB_DEVICE_COUNT "%" PRIu64, class, wish.count);
        if (text && jb_strv_has(list, text))
            jb_complain(rd, node->pos, at, "is in the list twice; ask for the sum of both");
        else
            jb_note(rd, text ? jb_strv_add(list, text) : -ENOMEM);
    }
}

void jb_form_devices(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    char shown[JB_SHOW];
    size_t i = 0;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list such as [/dev/fuse]"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        jb_autofree char *path = NULL;
        if (item->kind == JB_NODE_MAP) {
            counted_device(rd, &here, item, list);
            continue;
        }
        if (!jb_plain_line(rd, &here, item, PATH_MAX - 1))
            continue;
        bool node_path = item->text[0] == '/' && jb_path_clean(item->text, &path) == 0 &&
                         jb_path_beneath(path, "/dev") && !jb_streq(path, "/dev");
        if (!node_path && !cdi_name(item->text))
            jb_complain(rd, item->pos, &here,
                        "\"%s\" is not a device; write a node such as /dev/fuse or a CDI name such as "
                        "vendor.com/gpu=0",
                        jb_show(item->text, shown));
        else if (jb_strv_has(list, node_path ? path : item->text))
            jb_complain(rd, item->pos, &here, "\"%s\" is in the list twice", jb_show(item->text, shown));
        else
            jb_note(rd, jb_strv_add(list, node_path ? path : item->text));
    }
}

void jb_form_exclusive(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    struct jb_spec *spec = target;
    spec->resources.partition = node->kind == JB_NODE_SCALAR && jb_streq(node->text, "partition");
    if (spec->resources.partition)
        spec->resources.exclusive = true;
    else
        jb_read_bool(rd, at, node, field, target);
}

static int by_page(const void *a, const void *b)
{
    const struct jb_spec_hugepages *x = a;
    const struct jb_spec_hugepages *y = b;
    return x->page < y->page ? -1 : x->page > y->page;
}

void jb_form_hugepages(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    __typeof__(((struct jb_spec *)target)->resources) *r = &((struct jb_spec *)target)->resources;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { 2MiB: 64MiB }"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next) {
        struct jb_at here = {.up = at, .name = item->key};
        struct jb_spec_hugepages one = {0};
        const struct jb_field size = {.offset = offsetof(struct jb_spec_hugepages, bytes)};
        char shown[JB_SHOW];
        one.page = jb_huge_page_size(item->key);
        one.bytes = JB_UNSET;
        if (!one.page) {
            jb_complain(rd, item->key_pos, &here,
                        "is not a size of huge pages; write one that kernels have, such as 2MiB or 1GiB");
            continue;
        }
        jb_read_size(rd, &here, item, &size, &one);
        if (one.bytes == JB_UNSET)
            continue;
        if (one.bytes % one.page)
            jb_complain(rd, item->pos, &here, "\"%s\" is no whole number of such pages",
                        jb_show(item->text, shown));
        else if (r->n_hugepages == JB_SPEC_HUGE_SIZES_MAX)
            jb_complain(rd, item->key_pos, &here, "is one size more than any machine has; leave some out");
        else
            r->hugepages[r->n_hugepages++] = one;
    }
    qsort(r->hugepages, r->n_hugepages, sizeof(r->hugepages[0]), by_page);
}

void jb_form_labels(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    struct jb_strv *list = jb_slot(field, target);
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { ticket: 4711 }"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next) {
        struct jb_at here = {.up = at, .name = item->key};
        if (strlen(item->key) > NAME_MAX_LEN || !isalnum((unsigned char)item->key[0]) ||
            !name_chars(item->key, "._-/"))
            jb_complain(rd, item->key_pos, &here,
                        "is not a label; use 1 to %d letters, digits, \".\", \"_\", \"-\" and \"/\", a "
                        "letter or digit first",
                        NAME_MAX_LEN);
        else if (jb_plain_line(rd, &here, item, LABEL_MAX_LEN))
            jb_note(rd, jb_strv_printf(list, "%s=%s", item->key, item->text));
    }
}

void jb_form_stream(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, PATH_MAX - 1))
        return;
    for (const char *p = strchr(node->text, '%'); p; p = strchr(p + 2, '%')) {
        if (p[1] && strchr("jnau%", p[1]))
            continue;
        char what[3] = {'%', (unsigned char)p[1] < 0x80 ? p[1] : '\0', '\0'};
        jb_complain(rd, node->pos, at,
                    "\"%s\" has an unknown pattern \"%s\"; there are %%j %%n %%a %%u, and %%%% is a %%",
                    jb_show(node->text, shown), what);
        return;
    }
    if (node->text[node->len - 1] == '/')
        jb_complain(rd, node->pos, at, "\"%s\" names a folder; name a file", jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_stderr(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    if (node->kind == JB_NODE_SCALAR && jb_streq(node->text, "merge"))
        ((struct jb_spec *)target)->stderr_merge = true;
    else
        jb_form_stream(rd, at, node, field, target);
}
