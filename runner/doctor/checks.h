/*
 * checks.h - how a check says what it found. Internal to doctor/.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#ifndef JB_DOCTOR_CHECKS_H
#define JB_DOCTOR_CHECKS_H

#include "doctor/doctor.h"

/* A check adds one finding or several. -ENOMEM, or 0. */
typedef int jb_check_fn(const struct jb_doctor_facts *facts, struct jb_findings *ret);

jb_check_fn jb_check_kernel, jb_check_calls, jb_check_namespaces, jb_check_overlay, jb_check_fuse,
    jb_check_seccomp, jb_check_cores, jb_check_clock; /* checks_kernel.c */
jb_check_fn jb_check_hierarchies, jb_check_controllers, jb_check_cpuset, jb_check_swap, jb_check_pressure,
    jb_check_systemd; /* checks_cgroup.c */
jb_check_fn jb_check_site, jb_check_directories, jb_check_scratch, jb_check_topology, jb_check_open_files,
    jb_check_processes, jb_check_default_job; /* checks_host.c */

/* Adds a finding; `fix` may be NULL, and is dropped when all is well. */
int jb_found(struct jb_findings *ret, const char *name, enum jb_health health, bool needed, const char *fix,
             const char *fmt, ...) JB_PRINTF(6, 7);

#endif
