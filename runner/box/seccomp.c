/*
 * seccomp.c - installing a profile's filter.
 *
 * Owns: nothing. Runs in: the box's first process, last before jobbox-init. Privilege: none.
 */
#include "box/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"

int jb_seccomp_install(const char *profile)
{
    for (const struct jb_seccomp_profile *p = jb_seccomp_profiles; p->name; p++) {
        if (!jb_streq(p->name, profile))
            continue;
        struct sock_fprog prog = {.len = p->len, .filter = (struct sock_filter *)p->code};
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
    }
    return -ENOENT;
}
