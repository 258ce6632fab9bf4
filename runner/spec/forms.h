/*
 * forms.h - readers of what only job specs have: identity, mounts, streams, the queue's keys.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none. Contract of each reader: field.h. Their
 * target is the whole struct jb_spec.
 */
#ifndef JB_SPEC_FORMS_H
#define JB_SPEC_FORMS_H

#include "spec/field.h"

jb_read_fn jb_form_version;
jb_read_fn jb_form_name; /* char *: a job's or an account's name */
jb_read_fn jb_form_script;
jb_read_fn jb_form_workdir;
jb_read_fn jb_form_user;
jb_read_fn jb_form_pass_env;
jb_read_fn jb_form_warn_at; /* limits.warn: percent or left_ns */
jb_read_fn jb_form_cpu_limit;
jb_read_fn jb_form_exclusive; /* exclusive and partition */
jb_read_fn jb_form_hugepages; /* hugepages and n_hugepages */
jb_read_fn jb_form_devices;
jb_read_fn jb_form_labels;
jb_read_fn jb_form_stream; /* char *: a path with % patterns */
jb_read_fn jb_form_stderr;

jb_read_fn jb_form_mounts;
jb_read_fn jb_form_artifacts;
jb_read_fn jb_form_hostname;

jb_read_fn jb_form_priority;
jb_read_fn jb_form_depends_on;
jb_read_fn jb_form_array;
jb_read_fn jb_form_retry;
jb_read_fn jb_form_when; /* char *: begin, deadline */
jb_read_fn jb_form_notify;

#endif
