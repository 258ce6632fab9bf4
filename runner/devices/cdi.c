/*
 * cdi.c - a CDI file as a whole: its version, its kind, its devices.
 *
 * Owns: the struct jb_cdi_file under construction. Runs in: the client. Privilege: none.
 */
#include "devices/cdi.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "devices/edits.h"

#define VERSION_LEAST 3 /* of 0.N */
#define VERSION_MOST  8
#define NAME_MAX_LEN  253

#define FIELD(type, word, reader, member, ...)                                                             \
    {                                                                                                      \
        .name = (word), .key = JB_KEY_MAX, .read = (reader), .offset = offsetof(type, member), __VA_ARGS__ \
    }

/* Letters, digits and `others`, a letter or digit at both ends; `letter`: a letter first. */
static bool word_valid(const char *text, size_t len, const char *others, bool letter)
{
    if (len == 0 || len > NAME_MAX_LEN || !isalnum((unsigned char)text[0]) ||
        !isalnum((unsigned char)text[len - 1]) || (letter && !isalpha((unsigned char)text[0])))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i]))
            return false;
    return true;
}

bool jb_cdi_kind_valid(const char *kind)
{
    size_t vendor = strcspn(kind, "/");
    return kind[vendor] == '/' && word_valid(kind, vendor, "._-", true) &&
           word_valid(kind + vendor + 1, strlen(kind + vendor + 1), "._-", true);
}

bool jb_cdi_name_valid(const char *name)
{
    return word_valid(name, strlen(name), "._-:", false);
}

static void read_version(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_scalar(rd, at, node, "a version such as 0.6.0"))
        return;
    const char *p = node->text + (node->text[0] == 'v');
    unsigned parts[3] = {0};
    size_t n = 0;
    bool ok = true;
    while (ok && n < JB_ARRAY_LEN(parts)) {
        size_t digits = strspn(p, "0123456789");
        ok = digits > 0 && digits <= 3 && (p[0] != '0' || digits == 1);
        for (size_t i = 0; ok && i < digits; i++)
            parts[n] = parts[n] * 10 + (unsigned)(p[i] - '0');
        p += digits;
        n++;
        if (*p != '.')
            break;
        p++;
    }
    if (!ok || n != JB_ARRAY_LEN(parts) || *p)
        jb_complain(rd, node->pos, at, "\"%s\" is not a version; write one such as 0.6.0",
                    jb_show(node->text, shown));
    else if (parts[0] != 0 || parts[1] < VERSION_LEAST || parts[1] > VERSION_MOST)
        jb_complain(rd, node->pos, at,
                    "\"%s\" is a version that jobbox does not read; it reads 0.%d.0 to 0.%d.0",
                    jb_show(node->text, shown), VERSION_LEAST, VERSION_MOST);
    else
        *(unsigned *)jb_slot(field, target) = parts[1];
}

static void read_kind(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, 2 * NAME_MAX_LEN))
        return;
    if (!jb_cdi_kind_valid(node->text))
        jb_complain(rd, node->pos, at, "\"%s\" is not a kind of device; write vendor.com/class",
                    jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

static void read_name(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                      const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, NAME_MAX_LEN))
        return;
    if (!jb_cdi_name_valid(node->text))
        jb_complain(rd, node->pos, at,
                    "\"%s\" is not a device name; use letters, digits and \". _ - :\", a letter or digit at "
                    "both ends",
                    jb_show(node->text, shown));
    else
        jb_set_text(rd, jb_slot(field, target), node->text);
}

/* Text for other programs; it must be text. */
static void read_annotations(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                             const struct jb_field *field, void *target)
{
    (void)field;
    (void)target;
    if (!jb_want(rd, at, node, JB_NODE_MAP, "a mapping such as { note: text }"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next)
        (void)jb_want(rd, &(struct jb_at){.up = at, .name = item->key}, item, JB_NODE_SCALAR, "text");
}

static void check_twice(struct jb_reading *rd, const struct jb_at *at, const struct jb_cdi_file *file)
{
    const struct jb_cdi_device *last = &file->devices[file->n_devices - 1];
    for (size_t i = 0; last->name && i + 1 < file->n_devices; i++)
        if (file->devices[i].name && jb_streq(file->devices[i].name, last->name))
            jb_complain(rd, last->pos, at, "the device \"%s\" is on line %u already; each name once",
                        last->name, file->devices[i].pos.line);
}

static void read_devices(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                         const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_device, "name", read_name, name),
        FIELD(struct jb_cdi_device, "annotations", read_annotations, name),
        FIELD(struct jb_cdi_device, "containerEdits", jb_cdi_read_edits, edits),
    };
    struct jb_cdi_file *file = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of devices"))
        return;
    if (node->n == 0)
        jb_complain(rd, node->pos, at, "is an empty list; define at least one device");
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping with name and containerEdits"))
            continue;
        struct jb_cdi_device *one =
            jb_cdi_append(rd, (void **)&file->devices, &file->n_devices, sizeof(*one));
        if (!one)
            return;
        one->pos = item->pos;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), one);
        const struct jb_node *edits = jb_member(item, "containerEdits");
        if (!jb_member(item, "name"))
            jb_complain(rd, item->pos, &here, "has no name, which it must have");
        if (!edits || (edits->kind == JB_NODE_MAP && edits->n == 0))
            jb_complain(rd, item->pos, &here, "has no containerEdits, so there is nothing to give to a box");
        check_twice(rd, &here, file);
    }
}

/* --- what came with which version --- */

static void newer(struct jb_reading *rd, unsigned version, unsigned since, const struct jb_node *node,
                  const char *what)
{
    if (node && version < since)
        jb_complain(
            rd, node->key ? node->key_pos : node->pos, NULL,
            "%s came with version 0.%u.0 of the format and this file says 0.%u.0; raise its cdiVersion", what,
            since, version);
}

static void check_edits_version(struct jb_reading *rd, unsigned version, const struct jb_node *edits)
{
    static const struct {
        const char *list, *key; /* list NULL: directly in the edits */
        unsigned since;
    } later[] = {
        {"mounts", "type", 4},
        {"deviceNodes", "hostPath", 5},
        {NULL, "additionalGids", 7},
        {NULL, "intelRdt", 7},
    };
    for (size_t i = 0; edits && edits->kind == JB_NODE_MAP && i < JB_ARRAY_LEN(later); i++) {
        const struct jb_node *list = later[i].list ? jb_member(edits, later[i].list) : NULL;
        if (!later[i].list)
            newer(rd, version, later[i].since, jb_member(edits, later[i].key), later[i].key);
        for (const struct jb_node *item = list ? list->first : NULL; item; item = item->next)
            if (item->kind == JB_NODE_MAP)
                newer(rd, version, later[i].since, jb_member(item, later[i].key), later[i].key);
    }
}

static void check_versions(struct jb_reading *rd, const struct jb_node *root, const struct jb_cdi_file *file)
{
    const struct jb_node *devices = jb_member(root, "devices");
    newer(rd, file->version, 6, jb_member(root, "annotations"), "annotations");
    if (file->kind && strchr(strchr(file->kind, '/'), '.'))
        newer(rd, file->version, 6, jb_member(root, "kind"), "a dot in the class of a kind");
    check_edits_version(rd, file->version, jb_member(root, "containerEdits"));
    if (!devices || devices->kind != JB_NODE_LIST)
        return;
    for (const struct jb_node *item = devices->first; item; item = item->next) {
        if (item->kind != JB_NODE_MAP)
            continue;
        const struct jb_node *name = jb_member(item, "name");
        if (name && name->kind == JB_NODE_SCALAR && isdigit((unsigned char)name->text[0]))
            newer(rd, file->version, 5, name, "a device name that begins with a digit");
        newer(rd, file->version, 6, jb_member(item, "annotations"), "annotations");
        check_edits_version(rd, file->version, jb_member(item, "containerEdits"));
    }
}

static void read_file(struct jb_reading *rd, struct jb_cdi_file *file, const char *text, size_t len)
{
    static const struct jb_field fields[] = {
        FIELD(struct jb_cdi_file, "cdiVersion", read_version, version),
        FIELD(struct jb_cdi_file, "kind", read_kind, kind),
        FIELD(struct jb_cdi_file, "annotations", read_annotations, kind),
        FIELD(struct jb_cdi_file, "devices", read_devices, devices),
        FIELD(struct jb_cdi_file, "containerEdits", jb_cdi_read_edits, edits),
    };
    static const char *const must[] = {"cdiVersion", "kind", "devices"};
    const struct jb_node *root = jb_read_yaml(rd, text, len);
    if (!root || root->kind == JB_NODE_BAD) {
        if (rd->failed == 0 && rd->diags->len == 0)
            jb_complain(rd, (struct jb_pos){1, 1}, NULL,
                        "the file is empty; it must define devices, or be removed");
        return;
    }
    if (!jb_want(rd, NULL, root, JB_NODE_MAP, "a mapping with cdiVersion, kind and devices"))
        return;
    jb_read_fields(rd, NULL, root, fields, JB_ARRAY_LEN(fields), file);
    for (size_t i = 0; i < JB_ARRAY_LEN(must); i++)
        if (!jb_member(root, must[i]))
            jb_complain(rd, root->pos, NULL, "%s: is missing", must[i]);
    if (file->version)
        check_versions(rd, root, file);
}

int jb_cdi_parse(const char *path, const char *text, size_t len, struct jb_cdi_file **ret, char **ret_kind,
                 struct jb_diags *diags)
{
    struct jb_reading rd;
    jb_reading_begin(&rd, path, diags);
    jb_autocdi struct jb_cdi_file *file = calloc(1, sizeof(*file));
    if (!file) {
        jb_note(&rd, -ENOMEM);
    } else if (len > JB_SPEC_FILE_MAX) {
        jb_complain(&rd, (struct jb_pos){0}, NULL, "is larger than 1 MiB; a description of devices is not");
    } else {
        jb_set_text(&rd, &file->path, path);
        read_file(&rd, file, text, len);
    }
    int r = jb_reading_end(&rd);
    if (ret_kind)
        *ret_kind = r < 0 && file ? jb_take_ptr(file->kind) : NULL;
    if (r < 0)
        return r;
    *ret = jb_take_ptr(file);
    return 0;
}

void jb_cdi_free(struct jb_cdi_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->n_devices; i++) {
        free(file->devices[i].name);
        jb_cdi_edits_free(&file->devices[i].edits);
    }
    jb_cdi_edits_free(&file->edits);
    free(file->devices);
    free(file->path);
    free(file->kind);
    free(file);
}
