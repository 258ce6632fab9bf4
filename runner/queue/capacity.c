/*
 * capacity.c - what there is of a machine for all jobs together.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: none.
 */
#include "queue/capacity.h"

#include <sys/statvfs.h>

#include "base/kfile.h"
#include "queue/launch.h"

static uint64_t kernel_number(const char *path)
{
    struct jb_kdir proc = {.fd = -1};
    char line[64];
    uint64_t n = INT64_MAX;
    if (jb_kdir_open("/proc/sys/kernel", &proc) == 0) {
        if (jb_kread_line(&proc, path, line, sizeof(line)) < 0 || jb_parse_u64(line, INT64_MAX, &n) < 0)
            n = INT64_MAX;
        jb_kdir_close(&proc);
    }
    return n;
}

/* Of those that jobs can have: what the site reserves nobody gets. */
static void count(struct jb_queue *q)
{
    const struct jb_machine *m = &q->machine;
    uint32_t cores = 0;
    uint32_t pus = 0;
    for (size_t i = 0; i < m->n_pus; i++) {
        cores += i == 0 || m->pus[i].core != m->pus[i - 1].core;
        pus += !jb_cpus_has(&m->reserved, m->pus[i].os);
    }
    q->pus = pus;
    q->threads = cores ? ((uint32_t)m->n_pus + cores - 1) / cores : 1;
}

int jb_queue_look_at_machine(struct jb_queue *q, struct jb_error *err)
{
    struct jb_machine now = {0};
    int r = jb_queue_machine(q->site, q->state, q->self, &now, err);
    if (r < 0)
        return r;
    if (!jb_cpus_equal(&now.allowed, &q->machine.allowed) || now.memory != q->machine.memory) {
        q->dirty = true;
        q->full_until_us = 0;
    }
    jb_machine_free(&q->machine);
    q->machine = now;
    count(q);
    return 0;
}

void jb_queue_whole(const struct jb_queue *q, struct jb_need *ret)
{
    struct statvfs fs;
    *ret = (struct jb_need){.pus = q->pus, .memory = q->machine.memory ? q->machine.memory : INT64_MAX};
    ret->scratch = q->site->queue.scratch;
    if (ret->scratch == JB_UNSET) {
        ret->scratch = ret->memory;
        if (q->site->scratch_backend == JB_SCRATCH_DISK && fstatvfs(q->state->state_fd, &fs) == 0)
            ret->scratch = (uint64_t)fs.f_blocks * fs.f_frsize;
    }
    ret->pids = q->site->queue.pids;
    if (ret->pids == JB_UNSET) {
        uint64_t threads = kernel_number("threads-max");
        ret->pids = kernel_number("pid_max");
        ret->pids = threads < ret->pids ? threads : ret->pids;
    }
}
