/*
 * devices.h - from the devices a job asks for to those it gets, beside CPUs that are close to them.
 *
 * Owns: a struct jb_devices owns all it points to. Runs in: the client, under alloc.lock when it is for real.
 * Privilege: none; reading only. Deterministic: same files, host, ledger and request, same answer.
 */
#ifndef JB_DEVICES_DEVICES_H
#define JB_DEVICES_DEVICES_H

#include "base/arena.h"
#include "devices/facts.h"
#include "machine/held.h"
#include "machine/place.h"
#include "site/site.h"
#include "spec/spec.h"

/* How close a device is to the CPUs of the grant. */
enum jb_near {
    JB_NEAR_ANYWHERE, /* it is nowhere in particular: equally near to all */
    JB_NEAR_LOCAL,    /* to one of them at least */
    JB_NEAR_PACKAGE,  /* to another CPU of the same package */
    JB_NEAR_REMOTE,
    JB_NEAR_MAX,
};
const char *jb_near_name(enum jb_near near); /* "anywhere", "local", ... */

/* A node to be made in the box. */
struct jb_device_node {
    const char *path;      /* in the box, below /dev */
    const char *host_path; /* to be bound where no node can be made */
    char type;             /* 'b' or 'c' */
    unsigned major, minor;
    mode_t mode;
    uid_t uid; /* -1: the job's */
    gid_t gid;
    char access[4]; /* of "rwm", for the devices cgroup */
};

struct jb_device_mount {
    const char *source, *target;
    bool read_only, no_exec, recursive;
};

/* A program run beside the box's root before the box enters it, as OCI's createContainer. */
struct jb_device_hook {
    const char *path;
    const char *const *argv; /* NULL-terminated */
    const char *const *envp; /* NULL-terminated */
    uint64_t timeout_ns;
};

/* One device of the grant, for people and for the ledger. */
struct jb_device {
    const char *name;   /* "vendor.com/gpu=0", "/dev/fuse" */
    const char *source; /* the CDI file that defines it; NULL: a plain node that the site allows */
    bool exclusive;
    enum jb_near near;
    int node; /* NUMA node by OS index; -1 unknown */
};

struct jb_devices {
    struct jb_arena arena;
    struct jb_device *items;
    size_t len;
    struct jb_device_node *nodes;
    size_t n_nodes;
    struct jb_device_mount *mounts;
    size_t n_mounts;
    struct jb_device_hook *hooks;
    size_t n_hooks;
    gid_t *gids;
    size_t n_gids;
    struct jb_strv env;  /* NAME=value */
    struct jb_held held; /* what to claim */
    const char *explain; /* a sentence: why these, and what they had to do with the choice of CPUs */
};
void jb_devices_free(struct jb_devices *devices);
static inline void jb_cleanup_devices(struct jb_devices **devices)
{
    jb_devices_free(*devices);
}
#define jb_autodevices __attribute__((cleanup(jb_cleanup_devices)))

struct jb_devices_input {
    const struct jb_spec *spec;
    const struct jb_site *site;
    const struct jb_machine *machine;
    const struct jb_ledger *ledger; /* NULL: nobody holds anything */
    const struct jb_held *held;     /* what its boxes hold; NULL: nothing */
    const struct jb_device_facts *facts;
    bool userns; /* nodes will be bound, not made: they must be there */
};

/*
 * Chooses CPUs and devices together; with no devices asked for this is jb_place, and *ret_devices is NULL. CPUs are
 * taken from NUMA nodes to which enough of the wished devices are local, as long as that does not spread them over
 * more packages, nodes (and, with locality l3, L3 groups) than without; counted devices are then the nearest free
 * ones, by name among equals.
 *
 * Errors name the key with file:line:column. -EBUSY: taken now (the text names who has them); -ENODEV, -ERANGE: not
 * on this host; -EBADMSG: a CDI file is broken; -EPERM: not allowed by the site; -ENOTSUP: asks for what jobbox cannot
 * do; those of jb_place.
 */
int jb_devices_place(const struct jb_devices_input *in, const struct jb_request *request,
                     struct jb_grant *ret_grant, struct jb_devices **ret_devices, struct jb_error *err);

/* Reads what the boxes of a ledger hold when the spec asks for devices at all. */
int jb_devices_held(const struct jb_spec *spec, const struct jb_ledger_dir *dir,
                    const struct jb_ledger *ledger, struct jb_held *ret, struct jb_error *err);

struct json_t;
/* [{name, source, exclusive, near, numa_node}]; NULL when out of memory. `devices` NULL: []. */
struct json_t *jb_devices_json(const struct jb_devices *devices);

#endif
