/*
 * cpuset.c - reading the cpuset of a place, from the innermost group that has one upwards.
 *
 * Owns: nothing. Runs in: every process that chooses CPUs. Privilege: none; reading only.
 */
#include "cgroup/cpuset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kfile.h"
#include "base/str.h"

struct names {
    const char *cpus, *mems, *given;
};

/* v1 has no word for what it inherits: a child begins with nothing, and what a group has was written into it. */
static const struct names names_of[] = {
    [1] = {"cpuset.effective_cpus", "cpuset.effective_mems", "cpuset.cpus"},
    [2] = {"cpuset.cpus.effective", "cpuset.mems.effective", "cpuset.cpus"},
};

/* -ENOENT too when the file says nothing. */
static int read_set(const struct jb_kdir *dir, const char *file, struct jb_cpus *ret)
{
    jb_autofree char *text = NULL;
    int r = jb_kread_all(dir, file, &text);
    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = '\0';
    return *text == '\0' ? -ENOENT : jb_cpus_parse(text, ret);
}

/* The nearest group at or above `from` whose file says something; the root says it by not having the file. */
static int inherited(const struct jb_cg_controller *ctl, const char *from, const char *file,
                     struct jb_cpus *ret, char **ret_where)
{
    jb_autofree char *at = strdup(from);
    while (at) {
        jb_autofree char *path = jb_asprintf("%s%s", ctl->mount, jb_streq(at, "/") ? "" : at);
        struct jb_kdir dir = {.fd = -1};
        int r = path ? jb_kdir_open(path, &dir) : -ENOMEM;
        if (r == 0)
            r = read_set(&dir, file, ret);
        jb_kdir_close(&dir);
        if (r != -ENOENT || jb_streq(at, "/")) {
            *ret_where = jb_take_ptr(path);
            return r;
        }
        char *slash = strrchr(at, '/');
        if (slash == at)
            slash++;
        *slash = '\0';
    }
    return -ENOMEM;
}

/* No box can be made below a v1 cpuset that was not filled, although it tells what is in force above as its own. */
static int filled(const struct jb_cg_controller *ctl, struct jb_error *err)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    jb_autofree char *path = jb_asprintf("%s%s", ctl->mount, jb_streq(ctl->own, "/") ? "" : ctl->own);
    struct jb_kdir dir = {.fd = -1};
    int r = path ? jb_kdir_open(path, &dir) : -ENOMEM;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(files); i++) {
        jb_autofree char *text = NULL;
        r = jb_kread_all(&dir, files[i], &text);
        if (r == 0 && text[strspn(text, "\n")] == '\0')
            r = jb_fail(err, ENODATA,
                        "%s/%s is empty, so no box can be pinned below it; fill it (and those above) first",
                        path, files[i]);
        else if (r < 0)
            (void)jb_fail_errno(err, r, "which CPUs boxes may have: %s/%s", path, files[i]);
    }
    if (r < 0 && !err->errnum)
        (void)jb_fail_errno(err, r, "which CPUs boxes may have: %s", path ? path : ctl->mount);
    jb_kdir_close(&dir);
    return r;
}

int jb_cg_cpuset_of(const struct jb_cg_layout *layout, struct jb_cg_cpuset *ret, struct jb_error *err)
{
    const struct jb_cg_controller *ctl = &layout->ctl[JB_CTL_CPUSET];
    struct jb_cg_cpuset set = {0};
    if ((ctl->version != 1 && ctl->version != 2) || !ctl->mount || !ctl->own || !ctl->writable)
        return -ENOENT;
    const struct names *names = &names_of[ctl->version];
    const struct {
        const char *file;
        struct jb_cpus *set;
    } wanted[] = {{names->cpus, &set.cpus}, {names->mems, &set.mems}, {names->given, &set.given}};
    for (size_t i = 0; i < JB_ARRAY_LEN(wanted); i++) {
        jb_autofree char *where = NULL;
        int r = inherited(ctl, ctl->own, wanted[i].file, wanted[i].set, &where);
        if (r == -ENOENT && wanted[i].set == &set.given) { /* nowhere on the way: all that there is */
            memset(&set.given, 0xff, sizeof(set.given));
            r = 0;
        }
        if (r < 0)
            return jb_fail_errno(err, r == -ENOENT ? ENODATA : r, "which CPUs boxes may have: %s/%s",
                                 where ? where : ctl->mount, wanted[i].file);
    }
    if (ctl->version == 1 && filled(ctl, err) < 0)
        return -ENODATA;
    *ret = set;
    return 0;
}
