/*
 * purge.c - jobs that ended long ago are forgotten; the journal keeps their records.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: jobboxd's, on its state directory.
 *
 * What a job wrote goes first: a power cut in between leaves a job without output, and not output without a job.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "queue/queue.h"

#define BATCH    100     /* tasks of one turn, so that nobody waits long for an answer */
#define SOON_US  100000U /* there may be more */
#define LATER_US 60000000U
#define FIRST_US 1000000U

int jb_queue_purge(struct jb_queue *q, uint64_t now_us, struct jb_error *err)
{
    struct jb_old_task old[BATCH];
    size_t n = 0;
    uint64_t keep_us = q->site->queue.keep / JB_NS_PER_US;
    if (q->site->queue.keep == JB_UNSET || now_us < q->next_purge_us || now_us < keep_us)
        return 0;
    int r = jb_qstore_old(q->store, now_us - keep_us, old, JB_ARRAY_LEN(old), &n, err);
    if (r == 0 && n > 0)
        r = jb_queue_begin_change(q, err);
    jb_autoclose int logs = jb_open_at(q->state->state_fd, "logs", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    for (size_t i = 0; r == 0 && i < n; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)old[i].id);
        int gone = logs < 0 ? 0 : jb_remove_tree(logs, name);
        if (gone == 0 || gone == -ENOENT)
            r = jb_qstore_forget(q->store, &old[i], err);
    }
    uint64_t soonest = keep_us < LATER_US ? FIRST_US : LATER_US;
    q->next_purge_us = now_us + (n == BATCH ? SOON_US : soonest);
    return r;
}
