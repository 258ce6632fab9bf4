/*
 * make.h - inside of runner/plan: what the parts of plan making share.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#ifndef JB_PLAN_MAKE_H
#define JB_PLAN_MAKE_H

#include "plan/plan.h"

/* Each fills its part of the plan from the input. */
int jb_make_identity(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_network(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_limits(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_cgroups(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_ops(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_command(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_streams(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);

/* Who the job is: what the spec says, and root in the box for a reproducible one that says nothing. */
enum jb_user_kind jb_make_user_kind(const struct jb_spec *spec);

/* True when the spec or the site lets this box do without `what`; notes it in the plan then. */
bool jb_make_degrade(struct jb_plan *plan, const struct jb_plan_input *in, enum jb_degradable what,
                     const char *why);

/* `path` as an absolute, clean host path; relative ones start at `cwd`. In the plan's arena. */
int jb_make_host_path(struct jb_plan *plan, const char *cwd, const char *path, const char **ret,
                      struct jb_error *err);

int jb_make_network_files(struct jb_plan *plan, const struct jb_plan_input *in,
                          int (*add)(struct jb_plan *plan, struct jb_op op));

/* devices.c: what the granted devices add to each part; nothing when there are none. */
int jb_make_device_limit(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_device_groups(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err);
int jb_make_device_ops(struct jb_plan *plan, int (*add)(struct jb_plan *plan, struct jb_op op));
int jb_make_hook_ops(struct jb_plan *plan, int (*add)(struct jb_plan *plan, struct jb_op op));
int jb_make_device_env(struct jb_plan *plan);

#define JB_SCRIPT_PATH "/run/jobbox/script"
#define JB_WORKDIR     "/work"

#endif
