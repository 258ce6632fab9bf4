/*
 * pump.h - carrying a job's output (and a terminal's input) between descriptors, counted and capped.
 *
 * Owns: descriptors as marked. Runs in: the supervisor. Privilege: none.
 *
 * A pump never blocks the supervisor: a slow reader holds up the job's writes, not its limits.
 */
#ifndef JB_JOB_PUMP_H
#define JB_JOB_PUMP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JB_PUMP_BUFFER 65536

struct jb_pump {
    int from;          /* owned; -1: nothing more to read */
    int to;            /* borrowed; -1: everything is dropped */
    bool always_ready; /* `to` is a file: poll(2) has nothing to say about it */
    /* Gives `to`, which is a file then, for the first byte that there is; -errno: that byte is lost. NULL: `to` it is. */
    int (*late)(void *ctx);
    void *late_ctx;
    char *buffer; /* owned */
    size_t start, end;
    bool lost;      /* a write failed with output in hand (no space, reader gone) */
    uint64_t bytes; /* taken from `from`, what was cut off not counted */
};
#define JB_PUMP_INIT ((struct jb_pump){.from = -1, .to = -1})

/* `from` is made non-blocking and owned from now on. -ENOMEM. */
int jb_pump_init(struct jb_pump *pump, int from, int to);
void jb_pump_close(struct jb_pump *pump);

/* Something is still to be carried. */
bool jb_pump_active(const struct jb_pump *pump);

/* Fills in what to wait for. */
void jb_pump_poll(const struct jb_pump *pump, struct pollfd *ret_from, struct pollfd *ret_to);

/*
 * Carries what can be carried without blocking. *budget: how many more bytes may be taken, JB_UNSET for any
 * number; counted down. Returns 1 when output had to be cut off for want of budget, 0 otherwise. A reader
 * that is gone closes `from`, so that the job finds out as it would without us.
 */
int jb_pump_move(struct jb_pump *pump, uint64_t *budget);

#endif
