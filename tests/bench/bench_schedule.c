/*
 * bench_schedule.c - how long the queue thinks: 10,000 jobs that wait for 128 cores, order and decision.
 *
 * Owns: nothing. Runs in: scripts/bench queue. Privilege: none. Prints one JSON object: microseconds, best, median and
 * p99 of ROUNDS, of a pass that looks at every job (as `explain` and estimates need) and of one that stops when nothing
 * is free.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/schedule.h"

enum { WAITING = 10000, CORES = 128, RUNNING = 96, USERS = 40, ACCOUNTS = 8, ROUNDS = 201 };

#define S   UINT64_C(1000000)
#define NOW (UINT64_C(1800000000) * S)
#define GIB (UINT64_C(1) << 30)

static struct jb_sched_job jobs[WAITING];
static struct jb_sched_running running[RUNNING];
static struct jb_sched_share shares[USERS];
static struct jb_sched_limit accounts[ACCOUNTS], users[USERS];
static struct jb_sched_verdict verdicts[WAITING];
static uint32_t order[WAITING];

static uint64_t dice(uint64_t *seed, uint64_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed % below;
}

static void make(struct jb_sched_input *in)
{
    uint64_t seed = 88172645463325252U;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        accounts[i] = (struct jb_sched_limit){.usage = (double)dice(&seed, 1000000),
                                              .share = 1 + i % 3,
                                              .max_running = UINT32_MAX,
                                              .max_pus = UINT32_MAX};
    for (uint32_t i = 0; i < USERS; i++) {
        users[i] = (struct jb_sched_limit){.share = 1, .max_running = UINT32_MAX, .max_pus = UINT32_MAX};
        shares[i] = (struct jb_sched_share){
            .account = i % ACCOUNTS, .user = i, .usage = (double)dice(&seed, 100000), .share = 1};
    }
    for (size_t i = 0; i < RUNNING; i++)
        running[i] = (struct jb_sched_running){.need = {.pus = 1, .memory = 2 * GIB},
                                               .started_us = NOW - dice(&seed, 3600) * S,
                                               .wall_us = (3600 + dice(&seed, 36000)) * S,
                                               .share = (uint32_t)dice(&seed, USERS),
                                               .group = UINT32_MAX};
    for (size_t i = 0; i < WAITING; i++)
        jobs[i] =
            (struct jb_sched_job){.need = {.pus = (uint32_t)(1 + dice(&seed, dice(&seed, 8) == 0 ? 64 : 8)),
                                           .memory = dice(&seed, 16) * GIB},
                                  .priority = (int64_t)dice(&seed, 3),
                                  .submitted_us = NOW - dice(&seed, 86400) * S,
                                  .wall_us = dice(&seed, 10) == 0 ? JB_UNSET : (60 + dice(&seed, 36000)) * S,
                                  .deadline_us = JB_UNSET,
                                  .share = (uint32_t)dice(&seed, USERS),
                                  .group = UINT32_MAX,
                                  .number = i};
    *in = (struct jb_sched_input){
        .now_us = NOW,
        .capacity = {.pus = CORES, .memory = 512 * GIB, .scratch = 4096 * GIB, .pids = 1000000},
        .assume_us = 3600 * S,
        .depth = 64, /* as jobboxd */
        .jobs = jobs,
        .n_jobs = WAITING,
        .running = running,
        .n_running = RUNNING,
        .shares = shares,
        .n_shares = USERS,
        .accounts = accounts,
        .n_accounts = ACCOUNTS,
        .users = users,
        .n_users = USERS};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(const struct jb_sched_input *in, bool stop_full, const char *name, const char *end)
{
    static double us[ROUNDS];
    struct jb_error err = {0};
    int starts = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        uint64_t begun = jb_mono_ns(NULL);
        if (jb_sched_order(in, order, &err) < 0)
            return -1;
        starts = jb_sched_decide(in, order, WAITING, stop_full, verdicts, &err);
        us[i] = (double)(jb_mono_ns(NULL) - begun) / 1000;
        if (starts < 0)
            return -1;
    }
    qsort(us, ROUNDS, sizeof(us[0]), compare);
    (void)printf("\"%s\": {\"best\": %.1f, \"median\": %.1f, \"p99\": %.1f, \"started\": %d}%s", name, us[0],
                 us[ROUNDS / 2], us[ROUNDS - ROUNDS / 100 - 1], starts, end);
    return 0;
}

int main(void)
{
    struct jb_sched_input in;
    make(&in);
    (void)printf("{\"waiting\": %d, \"cores\": %d, ", WAITING, CORES);
    if (measure(&in, false, "every_job_us", ", ") < 0 || measure(&in, true, "pass_us", "}\n") < 0) {
        (void)fputs("bench_schedule: no decision\n", stderr);
        return 1;
    }
    return 0;
}
