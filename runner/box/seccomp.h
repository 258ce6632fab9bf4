/*
 * seccomp.h - the system call filters of a job.
 *
 * Owns: nothing. Runs in: the box's first process, after no_new_privs. Privilege: none.
 *
 * Filters are data (seccomp_profile.def), compiled by libseccomp when jobbox is built, so that a start costs
 * two system calls and no compilation.
 */
#ifndef JB_BOX_SECCOMP_H
#define JB_BOX_SECCOMP_H

#include <linux/filter.h>
#include <stddef.h>

struct jb_seccomp_program {
    const struct sock_filter *code;
    unsigned short len;
};

struct jb_seccomp_profile {
    const char *name;
    struct jb_seccomp_program calls;     /* which calls exist for the job; all others give ENOSYS */
    struct jb_seccomp_program arguments; /* calls refused for what they are asked to do: EPERM */
};

/* Made at build time. Ends with a NULL name. */
extern const struct jb_seccomp_profile jb_seccomp_profiles[];

/* -ENOENT when there is no such profile, else as seccomp(2). */
int jb_seccomp_install(const char *profile);

#endif
