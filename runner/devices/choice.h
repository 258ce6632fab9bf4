/*
 * choice.h - inside of runner/devices: the devices in question while a choice is made.
 *
 * Owns: the arrays of a struct jb_choice. Runs in: the client. Privilege: none.
 */
#ifndef JB_DEVICES_CHOICE_H
#define JB_DEVICES_CHOICE_H

#include "devices/devices.h"
#include "devices/registry.h"

/* A device that was asked for by name, or that may serve for a count. */
struct jb_candidate {
    const char *name;                   /* whole: "vendor.com/gpu=0", "/dev/fuse" */
    struct jb_cdi_found found;          /* file NULL: a plain node */
    const struct jb_held_device *held;  /* as it would be held, in the pool */
    const struct jb_held_device *taken; /* the holding in its way; NULL: it is free */
    bool located;
    int node;            /* NUMA node by OS index; -1 unknown */
    struct jb_cpus cpus; /* close to it, when located */
    bool chosen;
};

struct jb_wish {
    const char *text;           /* as in the spec */
    const char *kind;           /* of a counted one; NULL: all candidates are wanted */
    uint64_t count;             /* of a counted one */
    struct jb_candidate *items; /* by name */
    size_t len;
};

struct jb_choice {
    const struct jb_devices_input *in;
    struct jb_arena arena;
    struct jb_cdi_registry registry;
    struct jb_wish *wishes; /* in the arena */
    size_t n_wishes;
    char where[512]; /* "job.yaml:4:3: resources.devices" */
};

/* wish.c: resolves every wish to candidates, and says no where that can be said without CPUs. */
int jb_choice_init(const struct jb_devices_input *in, struct jb_choice *ret, struct jb_error *err);
void jb_choice_free(struct jb_choice *choice);

/* Whether taking `c` is possible beside what was chosen already. */
bool jb_choice_free_of(const struct jb_choice *choice, const struct jb_candidate *c);

/* near.c: CPUs, then the nearest devices: sets `chosen`. */
int jb_choice_place(struct jb_choice *choice, const struct jb_request *request, struct jb_grant *ret,
                    bool *ret_moved, struct jb_error *err);
enum jb_near jb_choice_near(const struct jb_choice *choice, const struct jb_candidate *c,
                            const struct jb_cpus *cpus);

/* give.c: what the chosen ones bring with them. */
int jb_choice_give(const struct jb_choice *choice, const struct jb_grant *grant, struct jb_devices *into,
                   struct jb_error *err);

#endif
