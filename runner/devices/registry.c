/*
 * registry.c - finds, trusts and reads CDI files.
 *
 * Owns: see registry.h. Runs in: the client. Privilege: none.
 */
#include "devices/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spec/load.h"

void jb_cdi_registry_free(struct jb_cdi_registry *registry)
{
    for (size_t i = 0; i < registry->len; i++)
        jb_cdi_free(registry->items[i].file);
    free(registry->items);
    *registry = (struct jb_cdi_registry){0};
}

/* Whoever can write it decides what comes into boxes. */
static int check_owner(const char *path, const struct stat *st, struct jb_error *err)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return jb_fail(
            err, EPERM,
            "%s belongs to uid %u, but it decides which devices come into boxes; run: chown root %s", path,
            (unsigned)st->st_uid, path);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return jb_fail(
            err, EPERM,
            "%s can be written by others than its owner (mode %04o), but it decides which devices come into "
            "boxes; run: chmod go-w %s",
            path, (unsigned)(st->st_mode & 07777), path);
    return 0;
}

static bool wanted(const struct jb_strv *kinds, const char *kind)
{
    return !kind || jb_strv_has(kinds, kind);
}

static int broken(const struct jb_diags *diags, struct jb_error *err)
{
    const struct jb_diag *first = &diags->items[0];
    char more[48] = "";
    if (diags->len > 1)
        (void)snprintf(more, sizeof(more), " (and %zu more faults in this file)", diags->len - 1);
    if (first->line == 0)
        return jb_fail(err, EBADMSG, "%s: %s%s", diags->file, first->text, more);
    return jb_fail(err, EBADMSG, "%s:%u:%u: %s%s", diags->file, first->line, first->column, first->text,
                   more);
}

static int keep(struct jb_cdi_registry *registry, struct jb_cdi_file *file, size_t dir)
{
    struct jb_cdi_source *grown = realloc(registry->items, (registry->len + 1) * sizeof(*grown));
    if (!grown) {
        jb_cdi_free(file);
        return -ENOMEM;
    }
    registry->items = grown;
    grown[registry->len++] = (struct jb_cdi_source){file, dir};
    return 0;
}

static int load_file(struct jb_cdi_registry *registry, const char *path, size_t dir,
                     const struct jb_strv *kinds, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    jb_autofree char *kind = NULL;
    struct jb_cdi_file *file = NULL;
    struct jb_diags diags = {0};
    struct stat st;
    size_t len = 0;
    int r = jb_load_text(path, false, &text, &len, &st, &diags);
    bool gone = r == -ENOENT; /* removed since the folder was read */
    if (r == 0) {
        r = check_owner(path, &st, err);
        if (r < 0)
            return r;
        r = jb_cdi_parse(path, text, len, &file, &kind, &diags);
    }
    if (r < 0) {
        bool matters = !gone && wanted(kinds, kind);
        r = !matters ? 0 : diags.len ? broken(&diags, err) : jb_fail_errno(err, r, "%s", path);
        jb_diags_free(&diags);
        return r;
    }
    if (!file || !wanted(kinds, file->kind)) {
        jb_cdi_free(file);
        return 0;
    }
    return keep(registry, file, dir) < 0 ? jb_fail_errno(err, ENOMEM, "%s", path) : 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_cdi(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot && (jb_streq(dot, ".yaml") || jb_streq(dot, ".json"));
}

static int load_dir(struct jb_cdi_registry *registry, const char *path, size_t index,
                    const struct jb_strv *kinds, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    jb_autodir DIR *dir = opendir(path);
    struct stat st;
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir || fstat(dirfd(dir), &st) < 0)
        return jb_fail_errno(err, errno, "%s, where descriptions of devices are looked for", path);
    int r = check_owner(path, &st, err);
    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(dir));)
        if (is_cdi(e->d_name) && jb_strv_printf(&names, "%s/%s", path, e->d_name) < 0)
            return jb_fail_errno(err, ENOMEM, "%s", path);
    if (names.len)
        qsort(names.items, names.len, sizeof(char *), by_text);
    for (size_t i = 0; r == 0 && i < names.len; i++)
        r = load_file(registry, names.items[i], index, kinds, err);
    return r;
}

int jb_cdi_registry_load(const struct jb_strv *dirs, const struct jb_strv *kinds, struct jb_cdi_registry *ret,
                         struct jb_error *err)
{
    struct jb_cdi_registry registry = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < dirs->len; i++)
        r = load_dir(&registry, dirs->items[i], i, kinds, err);
    if (r < 0) {
        jb_cdi_registry_free(&registry);
        return r;
    }
    *ret = registry;
    return 0;
}

static const struct jb_cdi_device *in_file(const struct jb_cdi_file *file, const char *name)
{
    for (size_t i = 0; i < file->n_devices; i++)
        if (jb_streq(file->devices[i].name, name))
            return &file->devices[i];
    return NULL;
}

int jb_cdi_registry_find(const struct jb_cdi_registry *registry, const char *kind, const char *name,
                         struct jb_cdi_found *ret, struct jb_error *err)
{
    struct jb_cdi_found found = {0};
    size_t dir = 0;
    for (size_t i = registry->len; i-- > 0;) {
        const struct jb_cdi_file *file = registry->items[i].file;
        if (found.file && registry->items[i].dir != dir)
            break;
        const struct jb_cdi_device *device = jb_streq(file->kind, kind) ? in_file(file, name) : NULL;
        if (!device)
            continue;
        if (found.file)
            return jb_fail(err, EEXIST,
                           "%s=%s is defined by %s and by %s, of the same folder; remove one of them", kind,
                           name, file->path, found.file->path);
        found = (struct jb_cdi_found){file, device};
        dir = registry->items[i].dir;
    }
    if (!found.file)
        return jb_fail(err, ENOENT, "%s=%s is not defined", kind, name);
    *ret = found;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct jb_cdi_found *x = a;
    const struct jb_cdi_found *y = b;
    int order = strverscmp(x->device->name, y->device->name);
    return order ? order : strcmp(x->device->name, y->device->name);
}

int jb_cdi_registry_list(const struct jb_cdi_registry *registry, const char *kind, struct jb_cdi_found **ret,
                         size_t *ret_n, struct jb_error *err)
{
    jb_autofree struct jb_cdi_found *list = NULL;
    size_t n = 0;
    size_t all = 0;
    for (size_t i = 0; i < registry->len; i++)
        all += registry->items[i].file->n_devices;
    list = calloc(all + 1, sizeof(*list));
    if (!list)
        return jb_fail_errno(err, ENOMEM, "%s", kind);
    for (size_t i = 0; i < registry->len; i++) {
        const struct jb_cdi_file *file = registry->items[i].file;
        for (size_t d = 0; jb_streq(file->kind, kind) && d < file->n_devices; d++) {
            struct jb_cdi_found found = {0};
            int r = jb_cdi_registry_find(registry, kind, file->devices[d].name, &found, err);
            if (r < 0)
                return r;
            if (found.device == &file->devices[d]) /* else one of a later folder stands in its place */
                list[n++] = found;
        }
    }
    if (n)
        qsort(list, n, sizeof(*list), by_name);
    *ret = jb_take_ptr(list);
    *ret_n = n;
    return 0;
}
