/*
 * waitline.h - who waits for CPUs and memory of one runtime directory, in the order in which they came.
 *
 * Owns: nothing but what a call returns. Runs in: every jobbox process that starts a job. Privilege: that of the
 * runtime directory.
 *
 * The file `waitline` holds one ticket for each waiter. A ticket counts while its waiter holds the OFD lock on the byte
 * that stands for its number, so a waiter that dies leaves the line with its last breath, and whoever stands behind it
 * can sleep on that lock. Numbers only grow while anybody waits: nobody who waits for number N can end up waiting for
 * a later comer. Where nobody waits the file is empty or absent.
 */
#ifndef JB_MACHINE_WAITLINE_H
#define JB_MACHINE_WAITLINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id.h"
#include "base/str.h"
#include "machine/place.h"

#define JB_WAITLINE_NAME "waitline"
#define JB_WAITLINE_MAX  65536 /* waiters at once */

#define JB_TICKET_SIZE 256
struct jb_ticket {
    uint64_t sum;      /* of what follows */
    uint64_t number;   /* order of arrival, from 1; 0: the ticket is empty */
    uint64_t since_us; /* wall clock */
    uint32_t uid;      /* who submitted the job */
    struct jb_id id;   /* of the attempt to be */
    char name[65];     /* job name, for messages */
    char wants[128];   /* "2 cores", for messages */
    uint8_t pad[8];
};
_Static_assert(sizeof(struct jb_ticket) == JB_TICKET_SIZE, "a ticket is a unit on disk");

/* What is wanted, in words. */
void jb_ticket_wants(const struct jb_request *request, struct jb_ticket *ticket);

/* Those who wait now, first come first. */
struct jb_waitline {
    struct jb_ticket *items; /* owned */
    size_t len;
    bool stale; /* nobody waits, and the file still holds tickets of dead waiters: see jb_waitline_tidy */
};
/* Where nobody waits this is one look at the file's size. A reading without alloc.lock may miss who is just joining. */
int jb_waitline_read(int runtime_fd, struct jb_waitline *ret, struct jb_error *err);
void jb_waitline_free(struct jb_waitline *line);

/* Empties the file. Under alloc.lock, and only when jb_waitline_read under the same lock said that it is stale. */
void jb_waitline_tidy(int runtime_fd);

/* The place of one waiter. */
struct jb_waitline_place {
    int fd; /* owned; holds the lock. -1: in no line */
    size_t slot;
    uint64_t number;
};
#define JB_WAITLINE_PLACE_INIT ((struct jb_waitline_place){.fd = -1})

/*
 * Joins at the end; call under alloc.lock. `ticket` as far as the caller knows it: sum and number are filled in.
 * -ENOSPC: too many wait. On failure nothing is left.
 */
int jb_waitline_join(int runtime_fd, struct jb_ticket *ticket, struct jb_waitline_place *ret,
                     struct jb_error *err);

/* Leaves it; under alloc.lock, so that the last one can leave the file empty. Nothing when in no line. */
void jb_waitline_leave(int runtime_fd, struct jb_waitline_place *place);

/* "01JCX2Q8V4ZK (build, uid 1000) 2 cores; ...": the first `n` of the line, at most four by name. */
int jb_waitline_say(const struct jb_waitline *line, size_t n, struct jb_buf *ret);

/* A description of the line's file to sleep on the lock of another's number with; and the byte that stands for it. */
int jb_waitline_open(int runtime_fd, struct jb_error *err);
off_t jb_waitline_byte(uint64_t number);

#endif
