/*
 * scope.h - a place in the cgroup tree where this process may make boxes, when the one it was started in is none.
 *
 * Owns: a struct jb_scope holds two paths. Runs in: the supervisor, before anything of the box is made.
 * Privilege: the starter's.
 *
 * Two rules stand against making a box below the starter's own cgroup. systemd owns the tree that it manages: only
 * below a unit that it has delegated may others make groups. And on cgroup v2 a group with processes in it passes no
 * controllers on. So, by what is found:
 *   a delegated group, this process alone in it     it steps down into a leaf, boxes are made beside that
 *   a delegated group, its parent delegated as well and empty (DelegateSubgroup=)  boxes are made beside the starter's
 *   a group that systemd manages                    the manager is asked for a delegated scope; leaf and boxes in that
 *   anything else                                   nothing is changed, and the layout says what stands in the way
 * A limit is never left behind: where a unit has one, its processes are not taken out of it, be it in the v2 tree or in a v1
 * hierarchy that systemd moves processes in. The number of processes goes along: the scope gets the least that is left.
 */
#ifndef JB_CGROUP_SCOPE_H
#define JB_CGROUP_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroup/layout.h"

enum jb_systemd_use {
    JB_SYSTEMD_AUTO, /* ask for a scope where one is needed; without one a job may do with less, if it says so */
    JB_SYSTEMD_NEVER,   /* never ask; nothing is made in a cgroup that systemd manages either */
    JB_SYSTEMD_REQUIRE, /* a job without a delegated unit or scope is refused */
    JB_SYSTEMD_MAX,
};

/* What is asked of the manager: a transient scope that holds the calling process, delegated. */
struct jb_scope_request {
    const char *unit;        /* "jobbox-ID.scope" */
    const char *slice;       /* NULL: the manager's default */
    const char *description; /* one line for systemctl */
    uid_t uid;               /* 0: the system's manager; else that user's own */
    uint64_t tasks_max;      /* JB_UNSET: the manager's default */
    bool tasks_any;          /* as many as there may be, instead */
};

/* The way to a service manager; faked in tests. Both return 0 or -errno with the manager's words. */
struct jb_bus {
    /* returns when the manager says that the scope is there and the calling process in it */
    int (*start_scope)(void *ctx, const struct jb_scope_request *request, struct jb_error *err);
    int (*version)(void *ctx, uid_t uid, char *buf, size_t len, struct jb_error *err);
    void *ctx;
};
extern const struct jb_bus jb_bus_systemd; /* sd-bus of libsystemd, loaded at the first use */

struct jb_scope_wish {
    enum jb_systemd_use use;
    const char *slice;       /* NULL: the one that the starter is in */
    const char *name;        /* of the scope, without ".scope" */
    const char *description; /* what systemctl shows */
    uid_t uid;
    bool many;                /* for many jobs, each with a limit of processes: the scope has none */
    const struct jb_bus *bus; /* NULL: jb_bus_systemd */

    /* where to look, for tests; NULL or 0: the real ones */
    const char *procfs, *booted; /* "/proc"; "/run/systemd/system" is there when systemd is PID 1 */
    bool (*is_delegated)(const char *path); /* systemd's mark on the directory of a delegated unit */
    pid_t pid;
};

/* What is to be undone. */
struct jb_scope {
    char *home; /* the delegated group that this process stepped down from; NULL: nothing to undo */
    char *leaf; /* the leaf made in it */
};

/* True when systemd is the service manager of this host (or container). */
bool jb_scope_booted(const struct jb_scope_wish *wish);

/*
 * Settles where boxes are made, and moves this process if need be. `layout` is what jb_cg_layout_probe gave; its `own`
 * is the place afterwards, or its `why` says what stands in the way. -errno with JB_SYSTEMD_REQUIRE when no place was
 * given, and when a group that was given cannot be used.
 */
int jb_scope_enter(const struct jb_scope_wish *wish, struct jb_cg_layout *layout, struct jb_scope *ret,
                   struct jb_error *err);

/*
 * The layout that jb_scope_enter would leave, as far as can be told without asking anybody; with `many` that of a child of
 * this process, which is not alone in its group. Changes nothing.
 */
int jb_scope_predict(const struct jb_scope_wish *wish, struct jb_cg_layout *layout, struct jb_error *err);

/* Goes back to where it stepped down from and removes the leaf. Boxes must be gone. A scope needs none of this: systemd
 * removes it with its last process. */
void jb_scope_leave(struct jb_scope *scope);

/* The drop-in that makes user managers pass all controllers on. */
#define JB_SCOPE_DROP_IN "/etc/systemd/system/user@.service.d/delegate.conf"

#endif
