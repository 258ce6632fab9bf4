/*
 * checks_cgroup.c - where a job's groups would be made, with which controllers, and who would have to allow it.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; nothing is made, and no manager is asked for more than its name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "doctor/checks.h"

#define FIX_USER "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' > " JB_SCOPE_DROP_IN

int jb_check_hierarchies(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    if (!facts->cgroups)
        return jb_found(ret, "cgroups", JB_HEALTH_MISSING, true, NULL, "%s", facts->cgroups_error);
    bool v1 = false;
    const struct jb_cg_controller *tree = &facts->cgroups->ctl[JB_CTL_UNIFIED];
    for (size_t c = 0; c < JB_CTL_MAX; c++)
        v1 = v1 || facts->cgroups->ctl[c].version == 1;
    if (!v1 && tree->version == 0)
        return jb_found(ret, "cgroups", JB_HEALTH_MISSING, true,
                        "mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container, have its runtime mount it",
                        "none are mounted");
    if (v1)
        return jb_found(ret, "cgroups", JB_HEALTH_OK, true, NULL, "%s",
                        tree->version == 2 ? "hybrid: v1 controllers beside a v2 tree" : "v1 alone");
    return jb_found(ret, "cgroups", JB_HEALTH_OK, true, NULL, "v2 alone; the place for boxes is %s",
                    tree->own ? tree->own : tree->why);
}

static bool read_only(const struct jb_cg_controller *ctl)
{
    return strstr(ctl->why, "read-only") != NULL;
}

static const char *controller_fix(const struct jb_doctor_facts *facts, const struct jb_cg_controller *ctl,
                                  const char *name, char *buf, size_t len)
{
    if (strstr(ctl->why, JB_SCOPE_DROP_IN))
        return "mkdir -p $(dirname " JB_SCOPE_DROP_IN "); " FIX_USER "; systemctl daemon-reload; log in anew";
    if (read_only(ctl))
        return "have the container's runtime mount cgroups writable and delegated (podman: "
               "--cgroupns=private "
               "--security-opt unmask=/sys/fs/cgroup; crun: mount /sys/fs/cgroup with rw)";
    if (ctl->version == 0)
        (void)snprintf(buf, len,
                       "boot a kernel with the %s controller, and have it passed on to where jobbox runs",
                       name);
    else
        (void)snprintf(buf, len, "%s, or name a delegated group as paths.cgroup_parent of the site config",
                       facts->who->uid == 0 ? "start jobbox in a delegated group"
                                            : "have a group delegated to this user");
    return buf;
}

/* What jobs always need is missing when it is not there; the others only when a spec asks. */
int jb_check_controllers(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    static const struct {
        enum jb_controller controller;
        enum jb_degradable degradable;
        bool always;
        const char *name, *without;
    } wanted[] = {
        {JB_CTL_CPUSET, JB_DEGRADE_CPUSET, true, "controller cpuset", "jobs cannot be pinned"},
        {JB_CTL_PIDS, JB_DEGRADE_PIDS, true, "controller pids", "the number of processes cannot be limited"},
        {JB_CTL_MEMORY, JB_DEGRADE_MEMORY, false, "controller memory", "memory cannot be limited"},
        {JB_CTL_CPU, JB_DEGRADE_CPU, false, "controller cpu", "CPU shares cannot be limited"},
        {JB_CTL_IO, JB_DEGRADE_IO, false, "controller io", "I/O cannot be limited"},
        {JB_CTL_HUGETLB, JB_DEGRADE_HUGEPAGES, false, "controller hugetlb", "huge pages cannot be limited"},
        {JB_CTL_UNIFIED, JB_DEGRADE_MAX, false, "v2 tree", "no atomic kill, no exact CPU time, no pressure"},
    };
    int r = 0;
    for (size_t i = 0; facts->cgroups && r == 0 && i < JB_ARRAY_LEN(wanted); i++) {
        const struct jb_cg_controller *ctl = &facts->cgroups->ctl[wanted[i].controller];
        char fix[256];
        bool needed = wanted[i].always && !facts->site->allow_degraded[wanted[i].degradable];
        const char *name = jb_controller_name(wanted[i].controller);
        if (ctl->version != 0 && ctl->writable)
            r = jb_found(ret, wanted[i].name, JB_HEALTH_OK, needed, NULL, "v%d, at %s%s", ctl->version,
                         ctl->mount, jb_streq(ctl->own, "/") ? "" : ctl->own);
        else
            r = jb_found(ret, wanted[i].name, wanted[i].always ? JB_HEALTH_MISSING : JB_HEALTH_DEGRADED,
                         needed, controller_fix(facts, ctl, name, fix, sizeof(fix)), "%s: %s",
                         wanted[i].without, ctl->why);
    }
    return r;
}

/* What boxes inherit, read where they would be made, or above while that is not there yet. */
static int inherited(const struct jb_doctor_facts *facts, const char *const files[2], char *buf, size_t len)
{
    const struct jb_cg_controller *ctl = &facts->cgroups->ctl[JB_CTL_CPUSET];
    jb_autofree char *dir = strdup(ctl->own);
    while (dir) {
        for (size_t i = 0; i < 2; i++) {
            jb_autofree char *path =
                jb_asprintf("%s%s/%s", ctl->mount + 1, jb_streq(dir, "/") ? "" : dir, files[i]);
            if (path && jb_kread_line(&facts->root, path, buf, len) == 0)
                return 0;
        }
        char *slash = strrchr(dir, '/');
        if (!slash || !*dir || !slash[1])
            return -ENOENT;
        *slash = '\0';
    }
    return -ENOMEM;
}

int jb_check_cpuset(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    static const char *const files[2][2][2] = {
        {{"cpuset.effective_cpus", "cpuset.cpus"}, {"cpuset.effective_mems", "cpuset.mems"}},
        {{"cpuset.cpus.effective", "cpuset.cpus.effective"},
         {"cpuset.mems.effective", "cpuset.mems.effective"}},
    };
    char cpus[256] = "";
    char mems[256] = "";
    const struct jb_cg_controller *ctl = facts->cgroups ? &facts->cgroups->ctl[JB_CTL_CPUSET] : NULL;
    if (!ctl || ctl->version == 0 || !ctl->own)
        return 0; /* said already */
    int rc = inherited(facts, files[ctl->version - 1][0], cpus, sizeof(cpus));
    int rm = inherited(facts, files[ctl->version - 1][1], mems, sizeof(mems));
    if (rc == -ENOENT && rm == -ENOENT && ctl->version == 2)
        return 0; /* the root of a tree has no such files, and all CPUs */
    if (*cpus && *mems)
        return jb_found(ret, "cpuset", JB_HEALTH_OK, true, NULL, "CPUs %s, memory nodes %s may be used", cpus,
                        mems);
    return jb_found(ret, "cpuset", JB_HEALTH_MISSING, true,
                    "copy the parent's cpuset.cpus and cpuset.mems down to the group that jobbox starts in",
                    "the cpuset %s is empty, so nothing can be pinned below it", ctl->own);
}

int jb_check_swap(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    const struct jb_cg_controller *ctl = facts->cgroups ? &facts->cgroups->ctl[JB_CTL_MEMORY] : NULL;
    if (!ctl || ctl->version == 0)
        return 0;
    if (facts->cgroups->no_swap_limit)
        return jb_found(ret, "swap", JB_HEALTH_DEGRADED, false, "boot with swapaccount=1",
                        "the kernel does not count it, so jobs with a memory limit are refused");
    return jb_found(ret, "swap", JB_HEALTH_OK, false, NULL, "is counted for each group");
}

int jb_check_pressure(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char line[128];
    int r = jb_kread_line(&facts->root, "proc/pressure/cpu", line, sizeof(line));
    return jb_found(ret, "pressure", r == 0 ? JB_HEALTH_OK : JB_HEALTH_DEGRADED, false,
                    "boot with psi=1, and a kernel with CONFIG_PSI", "%s",
                    r == 0 ? "is measured (PSI)" : "is not measured (no PSI): null in records");
}

/* For those whose manager would go, and their jobs with it, when they log out. */
static int check_linger(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char line[8];
    char fix[128];
    jb_autofree char *path = jb_asprintf("var/lib/systemd/linger/%s", facts->who->user);
    if (!path)
        return -ENOMEM;
    int r = jb_kread_line(&facts->root, path, line, sizeof(line));
    (void)snprintf(fix, sizeof(fix), "loginctl enable-linger %.64s", facts->who->user);
    return r == -ENOENT
               ? jb_found(ret, "linger", JB_HEALTH_DEGRADED, false, fix,
                          "is off: this user's running jobs are cancelled when he logs out everywhere")
               : jb_found(ret, "linger", JB_HEALTH_OK, false, NULL, "is on: jobs outlive the login");
}

int jb_check_systemd(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char version[64];
    struct jb_error err = {0};
    if (faccessat(facts->root.fd, "run/systemd/system", F_OK, 0) < 0)
        return jb_found(ret, "systemd", JB_HEALTH_OK, false, NULL,
                        "is not the service manager here, and is not needed");
    bool user = facts->who->uid != 0;
    bool needed = facts->site->cgroups.systemd == JB_SYSTEMD_REQUIRE;
    int r = facts->bus->version(facts->bus->ctx, facts->who->uid, version, sizeof(version), &err);
    if (facts->site->cgroups.systemd == JB_SYSTEMD_NEVER || facts->site->paths.cgroup_parent)
        r = jb_found(ret, "systemd", JB_HEALTH_OK, false, NULL,
                     "is not asked for scopes, by the site config");
    else if (r == 0)
        r = jb_found(ret, "systemd", JB_HEALTH_OK, needed, NULL, "version %s; %s can be asked for a scope",
                     version, user ? "the user's manager" : "the manager");
    else
        r = jb_found(ret, "systemd", needed ? JB_HEALTH_MISSING : JB_HEALTH_DEGRADED, needed,
                     user ? "log in, or enable linger; install dbus-user-session and libsystemd0"
                          : "install dbus and libsystemd0, and start dbus.socket",
                     "cannot be asked for a scope: %s", err.text);
    return r == 0 && user ? check_linger(facts, ret) : r;
}
