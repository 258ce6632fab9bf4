/*
 * seccomp.h - the system call filters of a job.
 *
 * Owns: nothing. Runs in: the box's first process, after no_new_privs. Privilege: none.
 *
 * Filters are data (seccomp_profile.def), made into programs when jobbox is built. The kernel compiles a program and
 * tries it on every call number each time it is installed, so its size and depth are part of what a start costs.
 */
#ifndef JB_BOX_SECCOMP_H
#define JB_BOX_SECCOMP_H

#include <linux/filter.h>
#include <stddef.h>

struct jb_seccomp_profile {
    const char *name;
    const struct sock_filter *code;
    unsigned short len;
};

/* Made at build time. Ends with a NULL name. */
extern const struct jb_seccomp_profile jb_seccomp_profiles[];

/* -ENOENT when there is no such profile, else as seccomp(2). */
int jb_seccomp_install(const char *profile);

#endif
