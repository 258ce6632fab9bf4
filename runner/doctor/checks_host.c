/*
 * checks_host.c - the site config, jobbox's own directories, scratch, the machine, limits, and the sum of it all.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; nothing is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"
#include "doctor/checks.h"

#define DESCRIPTORS 128
#define FEW_FREE    (UINT64_C(256) << 20)

int jb_check_site(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    if (facts->site_error)
        return jb_found(ret, "site config", JB_HEALTH_MISSING, true,
                        "mend that line; every command stops at it", "%s", facts->site_error);
    return jb_found(ret, "site config", JB_HEALTH_OK, true, NULL, "%s",
                    facts->site->file ? facts->site->file : "none, so the built-in defaults");
}

/* What scratch and the journal can lie on: names of statfs(2) types. */
static const struct {
    long type;
    const char *name;
    bool network;
} file_systems[] = {
    {0xEF53, "ext4", false},      {0x58465342, "xfs", false},     {0x9123683E, "btrfs", false},
    {0x01021994, "tmpfs", false}, {0x794C7630, "overlay", false}, {0x2FC12FC1, "zfs", false},
    {0x6969, "nfs", true},        {0xFF534D42, "cifs", true},     {0xFE534D42, "smb", true},
    {0x0BD00BD0, "lustre", true}, {0x47504653, "gpfs", true},     {0x65735546, "fuse", true},
    {0x00C36400, "ceph", true},   {0x19830326, "beegfs", true},
};

static const char *file_system(const struct statfs *fs, bool *ret_network)
{
    *ret_network = false;
    for (size_t i = 0; i < JB_ARRAY_LEN(file_systems); i++) {
        if ((unsigned long)fs->f_type == (unsigned long)file_systems[i].type) {
            *ret_network = file_systems[i].network;
            return file_systems[i].name;
        }
    }
    return "another file system";
}

/* The directory, or the nearest above it that exists, which is where it would be made. */
static int nearest(const struct jb_doctor_facts *facts, const char *path, struct stat *ret, char **ret_at)
{
    jb_autofree char *at = strdup(path + 1);
    while (at) {
        if (fstatat(facts->root.fd, *at ? at : ".", ret, AT_SYMLINK_NOFOLLOW) == 0) {
            *ret_at = jb_take_ptr(at);
            return *ret_at ? 0 : -ENOMEM;
        }
        if (errno != ENOENT)
            return -errno;
        char *slash = strrchr(at, '/');
        *(slash ? slash : at) = '\0';
    }
    return -ENOMEM;
}

static int check_directory(const struct jb_doctor_facts *facts, const char *name, const char *path,
                           struct jb_findings *ret)
{
    struct stat st;
    struct statfs fs;
    char fix[512];
    bool network = false;
    jb_autofree char *at = NULL;
    int r = nearest(facts, path, &st, &at);
    if (r < 0)
        return r == -ENOMEM
                   ? r
                   : jb_found(ret, name, JB_HEALTH_MISSING, true, NULL, "%s: %s", path, strerrordesc_np(-r));
    bool exists = jb_streq(at, path + 1);
    const char *shown = *at ? at : ".";
    jb_autoclose int fd = openat(facts->root.fd, shown, O_PATH | O_CLOEXEC);
    const char *kind = fd >= 0 && fstatfs(fd, &fs) == 0 ? file_system(&fs, &network) : "unknown";
    (void)snprintf(fix, sizeof(fix), "rm -r %.200s, or chown %u it and chmod go-w it", path,
                   (unsigned)facts->who->uid);
    if (exists && !S_ISDIR(st.st_mode))
        return jb_found(ret, name, JB_HEALTH_MISSING, true, fix, "%s is a symlink or not a directory", path);
    if (exists && st.st_uid != facts->who->uid)
        return jb_found(ret, name, JB_HEALTH_MISSING, true, fix, "%s belongs to uid %u, not to uid %u", path,
                        (unsigned)st.st_uid, (unsigned)facts->who->uid);
    if (exists && (st.st_mode & (S_IWGRP | S_IWOTH)))
        return jb_found(ret, name, JB_HEALTH_MISSING, true, fix, "%s can be written by others (mode %04o)",
                        path, (unsigned)(st.st_mode & 07777));
    if (faccessat(facts->root.fd, shown, W_OK | X_OK, AT_EACCESS) < 0)
        return jb_found(ret, name, JB_HEALTH_MISSING, true,
                        "name another directory in the site config (paths), or make it",
                        "%s cannot be %s: /%s: %s", path, exists ? "written" : "made", at,
                        strerrordesc_np(errno));
    if (network)
        return jb_found(ret, name, JB_HEALTH_DEGRADED, false,
                        "name a local directory in the site config (paths)",
                        "%s is on %s: locks and appends of several hosts meet there", path, kind);
    return jb_found(ret, name, JB_HEALTH_OK, true, NULL, "%s%s, on %s", path, exists ? "" : " (not made yet)",
                    kind);
}

int jb_check_directories(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    int r = check_directory(facts, "runtime directory", facts->runtime_dir, ret);
    return r < 0 ? r : check_directory(facts, "state directory", facts->state_dir, ret);
}

/* Memory is the job's own where scratch is a tmpfs; on a disk, there must be some room and no network. */
int jb_check_scratch(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    char size[32];
    if (facts->site->scratch_backend == JB_SCRATCH_TMPFS)
        return jb_found(ret, "scratch", JB_HEALTH_OK, true, NULL, "in memory, counted as the job's");
    struct stat st;
    struct statfs fs;
    bool network = false;
    jb_autofree char *at = NULL;
    int r = nearest(facts, facts->state_dir, &st, &at);
    jb_autoclose int fd = r == 0 && at ? openat(facts->root.fd, *at ? at : ".", O_PATH | O_CLOEXEC) : -1;
    if (r == -ENOMEM)
        return r;
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return jb_found(ret, "scratch", JB_HEALTH_MISSING, true, "see the state directory",
                        "below %s, which cannot be seen", facts->state_dir);
    const char *kind = file_system(&fs, &network);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    (void)jb_format_size(free_bytes, size, sizeof(size));
    if (network || jb_streq(kind, "overlay"))
        return jb_found(ret, "scratch", JB_HEALTH_MISSING, true,
                        "put paths.state on a local disk, or scratch.backend: tmpfs",
                        "below %s, on %s, which cannot hold the upper layer of an overlay", facts->state_dir,
                        kind);
    if (facts->scratch_cap == JB_SCRATCH_CAP_NONE)
        return jb_found(ret, "scratch", JB_HEALTH_MISSING, true,
                        "mount it with prjquota, or install mkfs.ext4; or scratch.backend: tmpfs; or "
                        "allow_degraded: [scratch]",
                        "below %s, on %s, %s free; without a hard cap%s%s", facts->state_dir, kind, size,
                        facts->scratch_why && *facts->scratch_why ? ": " : "",
                        facts->scratch_why ? facts->scratch_why : "");
    return jb_found(
        ret, "scratch", free_bytes < FEW_FREE ? JB_HEALTH_DEGRADED : JB_HEALTH_OK, true, "make room there",
        "below %s, on %s, %s free; with a hard cap, by %s", facts->state_dir, kind, size,
        facts->scratch_cap == JB_SCRATCH_CAP_QUOTA ? "project quota" : "a file system in a sparse file");
}

int jb_check_topology(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    if (facts->topology_error)
        return jb_found(ret, "topology", JB_HEALTH_MISSING, true,
                        "compare with lstopo; reserved_cpus may take all CPUs", "%s", facts->topology_error);
    return jb_found(ret, "topology", JB_HEALTH_OK, true, NULL, "%s; %s", facts->topology,
                    facts->topology_cached ? "cached" : "not cached yet");
}

int jb_check_open_files(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    if (facts->open_files == JB_UNSET)
        return jb_found(ret, "open files", JB_HEALTH_OK, true, NULL, "no limit");
    bool few = facts->open_files < DESCRIPTORS;
    return jb_found(ret, "open files", few ? JB_HEALTH_MISSING : JB_HEALTH_OK, true, "ulimit -n 1024",
                    "at most %llu%s", (unsigned long long)facts->open_files,
                    few ? ", and a job needs 128" : "");
}

/* Room for processes in the group that boxes are made in. */
int jb_check_processes(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    const struct jb_cg_controller *ctl = facts->cgroups ? &facts->cgroups->ctl[JB_CTL_PIDS] : NULL;
    uint64_t max = JB_UNSET;
    uint64_t wanted = facts->site->pids.deflt;
    jb_autofree char *path =
        ctl && ctl->own && ctl->mount
            ? jb_asprintf("%s%s/pids.max", ctl->mount + 1, jb_streq(ctl->own, "/") ? "" : ctl->own)
            : NULL;
    if (path && jb_kread_u64(&facts->root, path, &max) < 0)
        max = JB_UNSET;
    if (max == JB_UNSET)
        (void)jb_kread_u64(&facts->root, "proc/sys/kernel/pid_max", &max);
    if (max == JB_UNSET)
        return jb_found(ret, "processes", JB_HEALTH_OK, false, NULL, "no limit around boxes");
    return jb_found(ret, "processes", max < wanted ? JB_HEALTH_DEGRADED : JB_HEALTH_OK, false,
                    "raise the limit around jobbox (systemd: TasksMax=), or lower resources.pids.default",
                    "at most %llu around boxes, and a job may have %llu by default", (unsigned long long)max,
                    (unsigned long long)wanted);
}

int jb_check_default_job(const struct jb_doctor_facts *facts, struct jb_findings *ret)
{
    if (facts->refusal)
        return jb_found(ret, "default job", JB_HEALTH_MISSING, true, "see what is missing above",
                        "would be refused: %s", facts->refusal);
    return jb_found(ret, "default job", JB_HEALTH_OK, true, NULL, "would be planned as it asks");
}
