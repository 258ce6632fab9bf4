/*
 * cdi.h - one file of the Container Device Interface: what devices there are and what a box needs for each.
 *
 * Owns: all memory a struct jb_cdi_file points to. Runs in: the client. Privilege: none; pure function of the text.
 *
 * The files are written by root or by root's tools, YAML or JSON (which is YAML too). They are read by the same safe
 * reader as job specs: every fault has its line and column, all of a file come at once, unknown keys are faults. Source
 * of every field: the key of the same name, versions 0.3 to 0.8 of the format. What this version of jobbox cannot carry
 * out (intelRdt, netDevices, most hooks) is read and kept with its position: only using such a device is an error.
 */
#ifndef JB_DEVICES_CDI_H
#define JB_DEVICES_CDI_H

#include "spec/spec.h"

/* A device node. Numbers that were not said are JB_UNSET. */
struct jb_cdi_node {
    char *path;      /* in the box: absolute, clean */
    char *host_path; /* NULL: the same as path */
    unsigned type;   /* enum jb_cdi_type; unsaid: as the host has it */
    uint64_t major, minor;
    uint64_t mode; /* permission bits */
    uint64_t uid, gid;
    char *permissions; /* of "rwm", as the devices cgroup means them; NULL: "rw" */
    struct jb_pos pos;
};
enum jb_cdi_type {
    JB_CDI_TYPE_UNSAID,
    JB_CDI_TYPE_BLOCK,
    JB_CDI_TYPE_CHAR,
    JB_CDI_TYPE_UNBUFFERED,
    JB_CDI_TYPE_MAX
};

struct jb_cdi_mount {
    char *host_path;      /* absolute, clean */
    char *container_path; /* absolute, clean */
    bool read_only, no_exec, recursive;
    struct jb_pos pos;
};

/* When a hook would run, by the names of the OCI runtime specification. */
enum jb_cdi_hook_when {
    JB_CDI_HOOK_UNSAID,
    JB_CDI_HOOK_PRESTART,
    JB_CDI_HOOK_CREATE_RUNTIME,
    JB_CDI_HOOK_CREATE_CONTAINER,
    JB_CDI_HOOK_START_CONTAINER,
    JB_CDI_HOOK_POSTSTART,
    JB_CDI_HOOK_POSTSTOP,
    JB_CDI_HOOK_MAX,
};
const char *jb_cdi_hook_name(enum jb_cdi_hook_when when); /* "createContainer" */

struct jb_cdi_hook {
    unsigned when;       /* enum jb_cdi_hook_when */
    char *path;          /* absolute */
    struct jb_strv args; /* with the program's name first; may be empty */
    struct jb_strv env;
    uint64_t timeout_s; /* JB_UNSET: not said */
    struct jb_pos pos;
};

/* What a box needs for a device, or for any device of the file. */
struct jb_cdi_edits {
    struct jb_strv env; /* NAME=value */
    struct jb_cdi_node *nodes;
    size_t n_nodes;
    struct jb_cdi_mount *mounts;
    size_t n_mounts;
    struct jb_cdi_hook *hooks;
    size_t n_hooks;
    uint64_t *gids;
    size_t n_gids;
    struct jb_pos intel_rdt, net_devices; /* line 0: not there */
};

struct jb_cdi_device {
    char *name;
    struct jb_cdi_edits edits;
    struct jb_pos pos;
};

struct jb_cdi_file {
    char *path;       /* of the file, for messages */
    unsigned version; /* N of 0.N */
    char *kind;       /* "vendor.com/class" */
    struct jb_cdi_edits edits;
    struct jb_cdi_device *devices;
    size_t n_devices;
};

/* Whether text is a vendor/class pair, a device's name; `numbered`: may begin with a digit. */
bool jb_cdi_kind_valid(const char *kind);
bool jb_cdi_name_valid(const char *name);

/*
 * Parses `len` bytes. On success *ret is the caller's. On failure returns -EINVAL and `diags` holds every fault, or
 * -ENOMEM. `ret_kind` (may be NULL) gets the file's kind when it could be read even though the rest is broken
 * (allocated), so that a broken file need not stand in the way of devices that it cannot define.
 */
int jb_cdi_parse(const char *path, const char *text, size_t len, struct jb_cdi_file **ret, char **ret_kind,
                 struct jb_diags *diags);

void jb_cdi_free(struct jb_cdi_file *file);
static inline void jb_cleanup_cdi(struct jb_cdi_file **file)
{
    jb_cdi_free(*file);
}
#define jb_autocdi __attribute__((cleanup(jb_cleanup_cdi)))

#endif
