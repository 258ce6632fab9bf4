/*
 * doctor.h - what of this host jobbox needs, what it would do without, and what is to be done about it.
 *
 * Owns: the texts of a struct jb_findings. Runs in: the client and short-lived children of it. Privilege: the user's.
 *
 * Facts are gathered first and judged then: every check is a function of a struct jb_doctor_facts, so that a test can
 * write the facts of any host. Nothing is left behind by either half, and no systemd is asked for a scope.
 */
#ifndef JB_DOCTOR_DOCTOR_H
#define JB_DOCTOR_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/kfile.h"
#include "cgroup/scope.h"
#include "job/state.h"
#include "plan/host.h"
#include "site/site.h"

enum jb_health {
    JB_HEALTH_OK,
    JB_HEALTH_DEGRADED, /* jobs run; something of what jobbox can do cannot be had, or is not as it should be */
    JB_HEALTH_MISSING, /* it cannot be had at all */
    JB_HEALTH_MAX,
};
const char *jb_health_name(enum jb_health health);

struct jb_finding {
    const char *name; /* of the check; static */
    enum jb_health health;
    bool needed; /* without it no job with the default guarantees runs */
    char *text;  /* what was found, one line; owned */
    char *fix;   /* what to do, one line; NULL: nothing; owned */
};

struct jb_findings {
    struct jb_finding *items;
    size_t len;
};
void jb_findings_free(struct jb_findings *findings);
#define jb_autofindings __attribute__((cleanup(jb_findings_free)))

/* False when something that is needed is missing. */
bool jb_findings_well(const struct jb_findings *findings);

/* What is tried rather than read. */
enum jb_trial {
    JB_TRIAL_CLONE3,
    JB_TRIAL_OPENAT2,
    JB_TRIAL_CLOSE_RANGE,
    JB_TRIAL_PIDFD_OPEN,
    JB_TRIAL_PIDFD_SIGNAL,
    JB_TRIAL_MOUNT_CALLS,    /* fsopen, fsmount, open_tree, move_mount, mount_setattr: all there */
    JB_TRIAL_NAMESPACES,     /* a mount, PID, IPC, UTS and network namespace without a user namespace */
    JB_TRIAL_OVERLAY,        /* an overlay mount in such a mount namespace */
    JB_TRIAL_USER_NAMESPACE, /* a user namespace with a map, and the others in it */
    JB_TRIAL_USER_OVERLAY,   /* an overlay mount in a user namespace; -ENODATA: all but a directory in
                                place of what was removed */
    JB_TRIAL_MAX,
};
/* 0, or the negative errno that it ends with. `ctx` is NULL. In a child process where it changes anything. */
int jb_trial_run(void *ctx, enum jb_trial trial);

/* The host, the user and the site as they were found; everything is borrowed. */
struct jb_doctor_facts {
    struct jb_kdir root; /* "/": kernel files are read below it */
    int (*trial)(void *ctx, enum jb_trial trial);
    void *trial_ctx;
    const struct jb_bus *bus;

    const struct jb_submitter *who;
    const struct jb_site *site; /* the defaults when there is a site_error */
    const char *site_error;     /* NULL: the site config is sound */
    const char *runtime_dir, *state_dir;

    const struct jb_cg_layout
        *cgroups;              /* where a job's groups would be made, as jb_job_plan found; NULL: not known */
    const char *cgroups_error; /* why not */
    enum jb_scratch_cap scratch_cap; /* where the site keeps scratch on disk */
    const char *scratch_why;         /* why there is none; NULL: not asked */
    const char *fuse_lacks;          /* why fuse-overlayfs cannot be used; "": it can */
    const char *topology;            /* one line about the machine; NULL with topology_error */
    const char *topology_error;
    bool topology_cached;
    const char *refusal; /* why a job with the defaults would be refused; NULL: it would run */
    uint64_t open_files; /* the limit; JB_UNSET: none */
};

/* All checks, in their order. -ENOMEM is the only failure. */
int jb_doctor_judge(const struct jb_doctor_facts *facts, struct jb_findings *ret);

/* Gathers the facts of this process and judges them. `site_error`: see above. */
int jb_doctor_examine(const struct jb_site *site, const char *site_error, struct jb_findings *ret,
                      struct jb_error *err);

/* For people, caller frees; and as JSON, caller decrefs. NULL: out of memory. */
char *jb_findings_text(const struct jb_findings *findings, bool fixes);
json_t *jb_findings_json(const struct jb_findings *findings);

#endif
