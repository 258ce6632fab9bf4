/*
 * mounts.c - reads what goes into the box and what comes out of it: mounts and artifacts.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/forms.h"
#include "spec/words.h"

#define TMPFS_MIN 4096 /* 0 would mean half of the memory to the kernel */

/* Where a mount may land: not on the root, nor where the kernel's own file systems are. */
static void read_target(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target)
{
    static const char *const kernel[] = {"/proc", "/sys", "/dev"};
    jb_autofree char *path = NULL;
    if (!jb_clean_path(rd, at, node, &path))
        return;
    if (jb_streq(path, "/")) {
        jb_complain(rd, node->pos, at, "may not be \"/\"; the root of the box is its image, see \"image:\"");
        return;
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(kernel); i++) {
        if (!jb_path_beneath(path, kernel[i]))
            continue;
        jb_complain(rd, node->pos, at, "may not be in %s, which the box makes itself; choose another folder",
                    kernel[i]);
        return;
    }
    jb_set_text(rd, jb_slot(field, target), path);
}

/* Grows an array by one zeroed element and returns it; NULL when out of memory, which is noted. */
static void *grow(struct jb_reading *rd, void *array, size_t n, size_t size)
{
    char **slot = array;
    char *grown = realloc(*slot, (n + 1) * size);
    if (!grown) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    *slot = grown;
    return memset(grown + n * size, 0, size);
}

static void check_mount(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node)
{
    const struct jb_node *source = jb_member(node, "source");
    const struct jb_node *tmpfs = jb_member(node, "tmpfs");
    const struct jb_node *mode = jb_member(node, "mode");
    if (source && tmpfs)
        jb_complain(rd, tmpfs->key_pos, at, "has both source and tmpfs; it is either a folder or new memory");
    else if (!source && !tmpfs)
        jb_complain(rd, node->pos, at,
                    "has neither source nor tmpfs; write { source: /folder, target: /folder }");
    else if (tmpfs && mode)
        jb_complain(rd, mode->key_pos, at, "has a mode, but a tmpfs is always writable; leave mode out");
    if (!jb_member(node, "target"))
        jb_complain(rd, node->pos, at, "has no target; write where in the box it goes");
}

static void check_target_twice(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                               const struct jb_spec *spec)
{
    const struct jb_spec_mount *last = &spec->mounts[spec->n_mounts - 1];
    struct jb_at here = {.up = at, .name = "target"};
    char shown[JB_SHOW];
    for (const struct jb_spec_mount *m = spec->mounts; last->target && m < last; m++) {
        if (!m->target || !jb_streq(m->target, last->target))
            continue;
        jb_complain(rd, jb_member(node, "target")->pos, &here,
                    "\"%s\" is the target of the mount on line %u too", jb_show(last->target, shown),
                    m->pos.line);
        return;
    }
}

void jb_form_mounts(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        {"source", .key = JB_KEY_MAX, .read = jb_read_line, .offset = offsetof(struct jb_spec_mount, source),
         .max = PATH_MAX - 1},
        {"target", .key = JB_KEY_MAX, .read = read_target, .offset = offsetof(struct jb_spec_mount, target)},
        {"mode", .key = JB_KEY_MAX, .read = jb_read_enum, .offset = offsetof(struct jb_spec_mount, mode),
         .names = jb_words_mount_mode, .n_names = JB_MOUNT_MODE_MAX},
        {"tmpfs", .key = JB_KEY_MAX, .read = jb_read_size,
         .offset = offsetof(struct jb_spec_mount, tmpfs_bytes), .min = TMPFS_MIN},
    };
    struct jb_spec *spec = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of mounts"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { source: /data, target: /data }"))
            continue;
        struct jb_spec_mount *m = grow(rd, &spec->mounts, spec->n_mounts, sizeof(*m));
        if (!m)
            return;
        spec->n_mounts++;
        m->pos = item->pos;
        m->is_tmpfs = jb_member(item, "tmpfs") != NULL;
        m->mode = m->is_tmpfs ? JB_MOUNT_RW : JB_MOUNT_RO;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), m);
        check_mount(rd, &here, item);
        check_target_twice(rd, &here, item, spec);
    }
}

/* A path that cannot climb out of where it begins. */
static void read_inner_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                            const struct jb_field *field, void *target)
{
    char shown[JB_SHOW];
    if (!jb_plain_line(rd, at, node, PATH_MAX - 1))
        return;
    for (const char *p = node->text; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            jb_complain(rd, node->pos, at, "\"%s\" has a \"..\" in it; write the path without",
                        jb_show(node->text, shown));
            return;
        }
        p += len + (p[len] == '/');
    }
    jb_set_text(rd, jb_slot(field, target), node->text);
}

void jb_form_artifacts(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                       const struct jb_field *field, void *target)
{
    static const struct jb_field fields[] = {
        {"path", .key = JB_KEY_MAX, .read = read_inner_path,
         .offset = offsetof(struct jb_spec_artifact, path)},
        {"to", .key = JB_KEY_MAX, .read = read_inner_path, .offset = offsetof(struct jb_spec_artifact, to)},
        {"when", .key = JB_KEY_MAX, .read = jb_read_enum, .offset = offsetof(struct jb_spec_artifact, when),
         .names = jb_words_artifact_when, .n_names = JB_ARTIFACT_WHEN_MAX},
        {"max_bytes", .key = JB_KEY_MAX, .read = jb_read_size,
         .offset = offsetof(struct jb_spec_artifact, max_bytes), .min = 1},
        {"max_files", .key = JB_KEY_MAX, .read = jb_read_count,
         .offset = offsetof(struct jb_spec_artifact, max_files), .min = 1},
    };
    struct jb_spec *spec = target;
    size_t i = 0;
    (void)field;
    if (!jb_want(rd, at, node, JB_NODE_LIST, "a list of artifacts"))
        return;
    for (const struct jb_node *item = node->first; item; item = item->next, i++) {
        struct jb_at here = {.up = at, .index = i};
        if (!jb_want(rd, &here, item, JB_NODE_MAP, "a mapping such as { path: \"*.log\", to: results/ }"))
            continue;
        struct jb_spec_artifact *a = grow(rd, &spec->artifacts, spec->n_artifacts, sizeof(*a));
        if (!a)
            return;
        spec->n_artifacts++;
        a->pos = item->pos;
        a->max_bytes = JB_UNSET;
        a->max_files = JB_UNSET;
        jb_read_fields(rd, &here, item, fields, JB_ARRAY_LEN(fields), a);
        for (size_t f = 0; f < 2; f++) /* path and to */
            if (!jb_member(item, fields[f].name))
                jb_complain(rd, item->pos, &here, "has no %s; write { path: \"*.log\", to: results/ }",
                            fields[f].name);
    }
}
