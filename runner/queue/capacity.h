/*
 * capacity.h - what jobs may promise each other in all, when nothing else runs.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: none. Source: the machine, the site's queue.capacity, and the kernel.
 */
#ifndef JB_QUEUE_CAPACITY_H
#define JB_QUEUE_CAPACITY_H

#include "queue/queue.h"

/*
 * The machine as it is now, into q->machine: CPUs go offline and come back, and a site gives the place of boxes others. When
 * it cannot be looked at, what was known stays.
 */
int jb_queue_look_at_machine(struct jb_queue *q, struct jb_error *err);

/* What is not known to be bounded is INT64_MAX. */
void jb_queue_whole(const struct jb_queue *q, struct jb_need *ret);

#endif
