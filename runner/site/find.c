/*
 * find.c - which site file holds here, and whether it may be believed.
 *
 * Owns: nothing. Runs in: every process. Privilege: none; but what is read decides what a privileged process
 * does, so a file that root reads must be root's alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "site/site.h"
#include "spec/load.h"

#define SYSTEM_CONFIG "/etc/jobbox/jobbox.conf.yaml"

static int check_owner(const char *path, const struct stat *st, struct jb_diags *diags)
{
    if (geteuid() != 0)
        return 0;
    if (st->st_uid != 0)
        return jb_load_fail(
            diags, path, EPERM,
            "belongs to uid %u, but root reads it and must be able to trust it; run: chown root %s",
            (unsigned)st->st_uid, path);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return jb_load_fail(
            diags, path, EPERM,
            "can be written by others than root (mode %04o), who must be able to trust it; run: chmod "
            "go-w %s",
            (unsigned)(st->st_mode & 07777), path);
    return 0;
}

/* The environment is the caller's, who may be anybody when we are more than he is. */
static const char *from_environment(void)
{
    const char *path = getuid() == geteuid() && getgid() == getegid() ? getenv("JOBBOX_CONFIG") : NULL;
    return path && *path ? path : NULL;
}

int jb_site_load(const char *path, struct jb_site **ret, struct jb_diags *diags)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    struct stat st;
    const char *named = path ? path : from_environment();
    const char *file = named ? named : SYSTEM_CONFIG;
    int r = jb_load_text(file, false, &text, &len, &st, diags);
    if (r == -ENOENT && !named) {
        jb_diags_free(diags);
        return jb_site_default(ret);
    }
    if (r == 0)
        r = check_owner(file, &st, diags);
    if (r < 0)
        return r;
    return jb_site_parse(file, text, len, ret, diags);
}
