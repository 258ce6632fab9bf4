/*
 * cg_fake.h - cgroup hierarchies as plain directories: the files that a kernel would make are made by these
 * ops.
 */
#ifndef JB_TESTS_CG_FAKE_H
#define JB_TESTS_CG_FAKE_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "cgroup/internal.h"

struct cg_fake_file {
    int version;
    enum jb_controller controller;
    const char *name, *text;
};

/* What a new group shows. JB_CTL_MAX: in every group of that version. */
static const struct cg_fake_file cg_fake_files[] = {
    {1, JB_CTL_MAX, "tasks", ""},
    {1, JB_CTL_MAX, "cgroup.procs", ""},
    {1, JB_CTL_CPUSET, "cpuset.cpus", ""},
    {1, JB_CTL_CPUSET, "cpuset.mems", ""},
    {1, JB_CTL_CPUSET, "cpuset.effective_cpus", ""},
    {1, JB_CTL_CPUSET, "cpuset.effective_mems", ""},
    {1, JB_CTL_CPU, "cpu.shares", "1024\n"},
    {1, JB_CTL_CPU, "cpu.cfs_quota_us", "-1\n"},
    {1, JB_CTL_CPU, "cpu.cfs_period_us", "100000\n"},
    {1, JB_CTL_CPU, "cpu.stat", "nr_periods 5\nnr_throttled 3\nthrottled_time 7000000\n"},
    {1, JB_CTL_CPUACCT, "cpuacct.usage", "5000000\n"},
    {1, JB_CTL_CPUACCT, "cpuacct.stat", "user 3\nsystem 2\n"},
    {1, JB_CTL_CPUACCT, "cpuacct.usage_percpu", "4000000 0 1000000 \n"},
    {1, JB_CTL_MEMORY, "memory.limit_in_bytes", "9223372036854771712\n"},
    {1, JB_CTL_MEMORY, "memory.memsw.limit_in_bytes", "9223372036854771712\n"},
    {1, JB_CTL_MEMORY, "memory.max_usage_in_bytes", "12345\n"},
    {1, JB_CTL_MEMORY, "memory.memsw.max_usage_in_bytes", "23456\n"},
    {1, JB_CTL_MEMORY, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"},
    {1, JB_CTL_PIDS, "pids.max", "max\n"},
    {1, JB_CTL_HUGETLB, "hugetlb.2MB.limit_in_bytes", "9223372036854771712\n"},
    {1, JB_CTL_HUGETLB, "hugetlb.2MB.rsvd.limit_in_bytes", "9223372036854771712\n"},
    {1, JB_CTL_HUGETLB, "hugetlb.1GB.limit_in_bytes", "9223372036854771712\n"},
    {1, JB_CTL_PIDS, "pids.events", "max 4\n"},
    {1, JB_CTL_IO, "blkio.throttle.read_bps_device", ""},
    {1, JB_CTL_IO, "blkio.throttle.write_bps_device", ""},
    {1, JB_CTL_IO, "blkio.throttle.read_iops_device", ""},
    {1, JB_CTL_IO, "blkio.throttle.write_iops_device", ""},
    {1, JB_CTL_IO, "blkio.throttle.io_service_bytes",
     "8:0 Read 100\n8:0 Write 20\n8:0 Sync 120\n8:0 Total 120\n8:16 Read 1\n8:16 Write 2\n8:16 Total "
     "3\nTotal 123\n"},
    {1, JB_CTL_IO, "blkio.throttle.io_serviced_recursive", "Total 0\n"},
    {2, JB_CTL_MAX, "cgroup.procs", ""},
    {2, JB_CTL_MAX, "cgroup.kill", ""},
    {2, JB_CTL_MAX, "cgroup.events", "populated 0\nfrozen 0\n"},
    {2, JB_CTL_MAX, "cpu.stat",
     "usage_usec 900\nuser_usec 600\nsystem_usec 300\nnr_periods 5\nnr_throttled 6\nthrottled_usec 70\n"},
    {2, JB_CTL_MAX, "cpu.pressure",
     "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"},
    {2, JB_CTL_MAX, "memory.pressure",
     "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=13\n"},
    {2, JB_CTL_CPUSET, "cpuset.cpus", ""},
    {2, JB_CTL_CPUSET, "cpuset.mems", ""},
    {2, JB_CTL_CPUSET, "cpuset.cpus.effective", "0-7\n"},
    {2, JB_CTL_CPUSET, "cpuset.mems.effective", "0\n"},
    {2, JB_CTL_CPU, "cpu.weight", "100\n"},
    {2, JB_CTL_CPU, "cpu.max", "max 100000\n"},
    {2, JB_CTL_MEMORY, "memory.max", "max\n"},
    {2, JB_CTL_MEMORY, "memory.swap.max", "max\n"},
    {2, JB_CTL_MEMORY, "memory.peak", "54321\n"},
    {2, JB_CTL_MEMORY, "memory.swap.peak", "77\n"},
    {2, JB_CTL_MEMORY, "memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n"},
    {2, JB_CTL_CPUSET, "cpuset.cpus.partition", "member\n"},
    {2, JB_CTL_MEMORY, "memory.high", "max\n"},
    {2, JB_CTL_HUGETLB, "hugetlb.2MB.max", "max\n"},
    {2, JB_CTL_HUGETLB, "hugetlb.2MB.rsvd.max", "max\n"},
    {2, JB_CTL_HUGETLB, "hugetlb.1GB.max", "max\n"},
    {2, JB_CTL_PIDS, "pids.max", "max\n"},
    {2, JB_CTL_PIDS, "pids.peak", "17\n"},
    {2, JB_CTL_PIDS, "pids.events", "max 0\n"},
    {2, JB_CTL_IO, "io.max", ""},
    {2, JB_CTL_IO, "io.stat",
     "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0 dbytes=0 "
     "dios=0\n"},
};

static inline int cg_fake_put(int dirfd, const char *name, const char *text)
{
    jb_autoclose int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : jb_write_all(fd, text, strlen(text));
}

static inline int cg_fake_make(struct jb_cg_group *group, const char *name, struct jb_error *err)
{
    int r = jb_cg_ops_direct.make(group, name, err);
    if (r < 0)
        return r;
    jb_autoclose int dir = openat(group->parent.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(cg_fake_files); i++) {
        const struct cg_fake_file *f = &cg_fake_files[i];
        if (f->version == group->version &&
            (f->controller == JB_CTL_MAX || (group->controllers & 1U << f->controller)))
            r = cg_fake_put(dir, f->name, f->text);
    }
    return r;
}

/* Writing replaces what was there; the kernel's own echo of a cpuset is written too. */
static inline int cg_fake_set(const struct jb_cg_group *group, const char *name, enum jb_controller c,
                              const char *file, const char *value)
{
    (void)name;
    (void)c;
    static const char *const echoes[][3] = {
        {"cpuset.cpus", "cpuset.effective_cpus", "cpuset.cpus.effective"},
        {"cpuset.mems", "cpuset.effective_mems", "cpuset.mems.effective"},
    };
    int r = jb_cg_hit(&group->dir, "write", file);
    if (r < 0)
        return r;
    if (faccessat(group->dir.fd, file, F_OK, 0) < 0)
        return -errno;
    for (size_t i = 0; i < JB_ARRAY_LEN(echoes); i++)
        if (jb_streq(file, echoes[i][0]) && cg_fake_put(group->dir.fd, echoes[i][group->version], value) < 0)
            return -EIO;
    return cg_fake_put(group->dir.fd, file, value);
}

/* As the kernel does it: the files of a group go with it, its sub-groups do not. */
static inline int cg_fake_remove(const struct jb_cg_group *group, const struct jb_kdir *parent,
                                 const char *name)
{
    int r = jb_cg_hit(parent, "rmdir", name);
    int fd = r < 0 ? -1 : openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return r < 0 ? r : -errno;
    jb_autodir DIR *dir = fdopendir(fd);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_type == DT_REG)
            (void)unlinkat(fd, e->d_name, 0);
    struct jb_kdir quiet = {.fd = parent->fd};
    return jb_cg_ops_direct.remove(group, &quiet, name);
}

static const struct jb_cg_ops cg_fake_ops = {
    .make = cg_fake_make, .set = cg_fake_set, .remove = cg_fake_remove};

#endif
