/*
 * registry.h - the CDI files of this host, and the devices they define.
 *
 * Owns: the files of a struct jb_cdi_registry. Runs in: the client. Privilege: none; but what is read decides what a
 * privileged process does, so the files and their folders must be root's alone (or, for an ordinary user's jobbox,
 * root's or his own).
 */
#ifndef JB_DEVICES_REGISTRY_H
#define JB_DEVICES_REGISTRY_H

#include "devices/cdi.h"

struct jb_cdi_source {
    struct jb_cdi_file *file;
    size_t dir; /* which folder it came from */
};

struct jb_cdi_registry {
    struct jb_cdi_source *items; /* in order of folder, then of name */
    size_t len;
};

/* A device and the file that defines it. */
struct jb_cdi_found {
    const struct jb_cdi_file *file;
    const struct jb_cdi_device *device;
};

/*
 * Reads *.yaml and *.json of the folders; one that is not there is no fault. Only files that define one of `kinds` are
 * kept. A file that is broken stands in the way only when its kind is one of these or cannot be read: -EBADMSG, with
 * "file:line:column: what" of its first fault. -EPERM: a file or folder that others can write.
 */
int jb_cdi_registry_load(const struct jb_strv *dirs, const struct jb_strv *kinds, struct jb_cdi_registry *ret,
                         struct jb_error *err);
void jb_cdi_registry_free(struct jb_cdi_registry *registry);

/*
 * The device of that name; a folder named later wins. -ENOENT: none; -EEXIST: two files of one folder define it, and
 * the text names them.
 */
int jb_cdi_registry_find(const struct jb_cdi_registry *registry, const char *kind, const char *name,
                         struct jb_cdi_found *ret, struct jb_error *err);

/* All devices of a kind, each once, by name (numbers in names by value). Caller frees *ret. The same errors. */
int jb_cdi_registry_list(const struct jb_cdi_registry *registry, const char *kind, struct jb_cdi_found **ret,
                         size_t *ret_n, struct jb_error *err);

#endif
