/*
 * checks_kernel.c - what the kernel can do, and what it lets this user do.
 *
 * Owns: nothing. Runs in: the client. Privilege: none beyond that of the trials.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "doctor/checks.h"

#define LEAST_MAJOR 5
#define LEAST_MINOR 12

int jb_check_kernel(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char release[128] = "";
    unsigned major = 0;
    unsigned minor = 0;
    if (jb_kread_line(&facts->root, "proc/sys/kernel/osrelease", release, sizeof(release)) < 0 ||
        sscanf(release, "%u.%u", &major, &minor) != 2) /* NOLINT(cert-err34-c): a kernel file */
        return jb_found(ret, "kernel", JB_HEALTH_MISSING, true, "mount /proc",
                        "/proc does not say which kernel this is");
    bool old = major < LEAST_MAJOR || (major == LEAST_MAJOR && minor < LEAST_MINOR);
    return jb_found(ret, "kernel", old ? JB_HEALTH_MISSING : JB_HEALTH_OK, true, "boot Linux 5.12 or newer",
                    "Linux %s%s", release, old ? ", and 5.12 is the least" : "");
}

static int attempt(const struct jb_doctor_facts *facts, enum jb_trial trial)
{
    return facts->trial(facts->trial_ctx, trial);
}

int jb_check_calls(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    static const struct {
        enum jb_trial trial;
        const char *name;
        enum jb_health otherwise; /* DEGRADED: it is done without, more slowly or with one more look */
    } calls[] = {
        {JB_TRIAL_CLONE3, "clone3", JB_HEALTH_DEGRADED},
        {JB_TRIAL_OPENAT2, "openat2", JB_HEALTH_DEGRADED},
        {JB_TRIAL_CLOSE_RANGE, "close_range", JB_HEALTH_DEGRADED},
        {JB_TRIAL_PIDFD_OPEN, "pidfd_open", JB_HEALTH_DEGRADED},
        {JB_TRIAL_PIDFD_SIGNAL, "pidfd_send_signal", JB_HEALTH_DEGRADED},
        {JB_TRIAL_MOUNT_CALLS, "fsopen, open_tree, move_mount, mount_setattr", JB_HEALTH_MISSING},
    };
    jb_autobuf struct jb_buf missing = {0};
    enum jb_health health = JB_HEALTH_OK;
    for (size_t i = 0; i < JB_ARRAY_LEN(calls); i++) {
        int r = attempt(facts, calls[i].trial);
        if (r == 0)
            continue;
        if (calls[i].otherwise > health)
            health = calls[i].otherwise;
        if (jb_buf_printf(&missing, "%s%s: %s", missing.len ? "; " : "", calls[i].name, strerrordesc_np(-r)) <
            0)
            return -ENOMEM;
    }
    return jb_found(ret, "system calls", health, true,
                    "boot Linux 5.12 or newer; in a container, have its system call filter allow them", "%s",
                    missing.len ? missing.data
                                : "clone3, openat2, close_range, pidfd and the mount calls are there");
}

/* What is known to keep ordinary users from user namespaces; the first that does. */
static const char *userns_obstacle(const struct jb_doctor_facts *facts, const char **ret_fix)
{
    static const struct {
        const char *file;
        bool zero_forbids;
        const char *what, *fix;
    } knobs[] = {
        {"proc/sys/kernel/unprivileged_userns_clone", true, "kernel.unprivileged_userns_clone is 0",
         "sysctl -w kernel.unprivileged_userns_clone=1"},
        {"proc/sys/user/max_user_namespaces", true, "user.max_user_namespaces is 0",
         "sysctl -w user.max_user_namespaces=15000"},
        {"proc/sys/kernel/apparmor_restrict_unprivileged_userns", false,
         "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
         "give jobbox an AppArmor profile with 'userns,', or sysctl -w "
         "kernel.apparmor_restrict_unprivileged_userns=0"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(knobs); i++) {
        uint64_t value;
        if (jb_kread_u64(&facts->root, knobs[i].file, &value) == 0 && (value == 0) == knobs[i].zero_forbids) {
            *ret_fix = knobs[i].fix;
            return knobs[i].what;
        }
    }
    *ret_fix = "allow them; in a container, have its filter and its runtime allow unshare and mounts";
    return NULL;
}

/* Whichever kind this user's boxes are made of is needed; the other is only said. */
int jb_check_namespaces(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    bool privileged = facts->who->privileged;
    const char *fix;
    if (privileged) {
        int r = attempt(facts, JB_TRIAL_NAMESPACES);
        r = r == 0 ? jb_found(ret, "namespaces", JB_HEALTH_OK, true, NULL,
                              "mount, pid, ipc, uts and network can be made")
                   : jb_found(ret, "namespaces", JB_HEALTH_MISSING, true,
                              "give the container SYS_ADMIN and NET_ADMIN and a filter that allows unshare",
                              "mount, pid, ipc, uts and network cannot all be made: %s", strerrordesc_np(-r));
        if (r < 0)
            return r;
    }
    int r = attempt(facts, JB_TRIAL_USER_NAMESPACE);
    if (r == 0)
        return jb_found(ret, "user namespaces", JB_HEALTH_OK, !privileged, NULL,
                        "can be made, with the others in them");
    const char *why = userns_obstacle(facts, &fix);
    return jb_found(ret, "user namespaces", privileged ? JB_HEALTH_OK : JB_HEALTH_MISSING, !privileged, fix,
                    "cannot be made: %s%s", why ? why : strerrordesc_np(-r),
                    privileged ? " (root's jobs need none)" : "");
}

int jb_check_overlay(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    bool privileged = facts->who->privileged;
    int r = attempt(facts, privileged ? JB_TRIAL_OVERLAY : JB_TRIAL_USER_OVERLAY);
    if (r == -ENODATA)
        return jb_found(
            ret, "overlay", JB_HEALTH_DEGRADED, true,
            "Linux 6.6 keeps user attributes in a tmpfs; before that fuse-overlayfs serves images, "
            "and over the host where the site says overlay: fuse",
            "a directory made where the job removed something of the image fails with EIO in a "
            "user namespace");
    const char *fix =
        r == -ENODEV ? "modprobe overlay"
        : privileged ? "give the container SYS_ADMIN and a filter that allows mounts"
                     : "Linux 5.11 or newer mounts overlays in user namespaces, unless something forbids it";
    return jb_found(ret, "overlay", r == 0 ? JB_HEALTH_OK : JB_HEALTH_MISSING, true, fix, "%s%s%s",
                    r == 0 ? "can be mounted" : "cannot be mounted", privileged ? "" : " in a user namespace",
                    r == 0         ? ""
                    : r == -ENODEV ? ": the kernel has no overlay, or its module is not loaded"
                                   : ": not permitted here");
}

int jb_check_fuse(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    bool there = !facts->fuse_lacks[0];
    bool asked = facts->site->overlay == JB_SITE_OVERLAY_FUSE;
    if (facts->who->privileged)
        return jb_found(ret, "fuse-overlayfs", JB_HEALTH_OK, false, NULL, "is for ordinary users alone");
    if (there)
        return jb_found(ret, "fuse-overlayfs", JB_HEALTH_OK, asked, NULL, "%s",
                        asked ? "serves the roots of all boxes (overlay: fuse)"
                              : "serves the root where the kernel's overlay cannot");
    return jb_found(
        ret, "fuse-overlayfs", asked ? JB_HEALTH_MISSING : JB_HEALTH_DEGRADED, asked,
        "install fuse-overlayfs, and let /dev/fuse be everybody's (modprobe fuse; chmod 666 /dev/fuse)",
        "cannot be used: %s%s", facts->fuse_lacks,
        asked ? "; the site says overlay: fuse"
              : "; where the kernel's overlay cannot serve an image it is read-only, or refused");
}

int jb_check_seccomp(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char actions[256];
    int r = jb_kread_line(&facts->root, "proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions));
    if (r < 0)
        return jb_found(ret, "seccomp", JB_HEALTH_MISSING, true, "boot a kernel with CONFIG_SECCOMP_FILTER",
                        "the kernel has no system call filters");
    return jb_found(ret, "seccomp", JB_HEALTH_OK, true, NULL, "filters can be installed");
}

/* Boxes are safe from it: their limit is 1 byte. What is outside of them is not. */
int jb_check_cores(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char pattern[256] = "";
    if (jb_kread_line(&facts->root, "proc/sys/kernel/core_pattern", pattern, sizeof(pattern)) < 0)
        return jb_found(ret, "core dumps", JB_HEALTH_OK, false, NULL,
                        "core_pattern cannot be read; boxes dump none");
    return jb_found(ret, "core dumps", JB_HEALTH_OK, false, NULL, "%s; boxes dump none",
                    pattern[0] == '|' ? "piped to a program of the host" : "written to files");
}

#define EARLIEST 1704067200 /* 2024: a clock before that was never set */

int jb_check_clock(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char source[64] = "";
    struct timespec now;
    struct timex state = {.modes = 0};
    (void)jb_kread_line(&facts->root, "sys/devices/system/clocksource/clocksource0/current_clocksource",
                        source, sizeof(source));
    if (clock_gettime(CLOCK_REALTIME, &now) < 0 || now.tv_sec < EARLIEST)
        return jb_found(ret, "clock", JB_HEALTH_DEGRADED, false, "set the clock",
                        "the wall clock is not set: the times in "
                        "records would be wrong");
    bool synchronized = adjtimex(&state) >= 0 && !(state.status & STA_UNSYNC);
    return jb_found(ret, "clock", JB_HEALTH_OK, false, NULL, "source %s, %s", *source ? source : "unknown",
                    synchronized ? "synchronized"
                                 : "not known to be synchronized; limits use the monotonic clock");
}
