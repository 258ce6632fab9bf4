/*
 * events.h - the event log of a box: what happened to it, when, and who asked.
 *
 * Owns: the text of a struct jb_events and its descriptor of events.jsonl. Runs in: the supervisor; jb_events_recover
 * in whoever recovers a dead box; jb_events_find in any client. Privilege: that of the box's folder and the state
 * directory.
 *
 * One event is one line of JSON: {"id", "seq", "time", "mono_s", "event", ...}. `seq` counts from 0 in each box; `time`
 * is the wall clock, a label; `mono_s` is CLOCK_MONOTONIC of this boot. While the box lives its events are in
 * boxes/ID/events.jsonl, afterwards in events/YYYY-MM.jsonl of the state directory, by the month (UTC) of the end.
 * Recovery may append an event a second time: `seq` tells.
 *
 * An ordinary event waits in memory until jb_events_flush; so an ordinary job costs one write after GO and one at its
 * end. Losing events never fails a job.
 */
#ifndef JB_JOB_EVENTS_H
#define JB_JOB_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/str.h"

#define JB_EVENTS_NAME "events.jsonl" /* in the box's folder */
#define JB_EVENTS_MAX  4096           /* of one box; what comes after is counted, not kept */

struct jb_events {
    struct jb_id id;
    int box_fd;                   /* borrowed; -1: nothing is written before the end */
    const struct jb_clock *clock; /* borrowed; NULL: the kernel's */
    int fd;                       /* events.jsonl; -1: not made yet */
    struct jb_buf text;           /* all lines */
    size_t flushed;               /* bytes of it that are in the file */
    unsigned seq;
    unsigned lost;
};
#define JB_EVENTS_INIT ((struct jb_events){.box_fd = -1, .fd = -1})

struct jb_stamp {
    uint64_t mono_ns, wall_us;
};

/*
 * Adds an event that happened at `mono_ns` (JB_UNSET: now) and returns its two times. `members` is printed behind the
 * common ones and begins with a comma, or is empty; texts in it that are not ours go through jb_events_quote. `e` may
 * be NULL: only the time is taken then.
 */
struct jb_stamp jb_events_add(struct jb_events *e, uint64_t mono_ns, const char *event, const char *members,
                              ...) JB_PRINTF(4, 5);

/* The text as a JSON string with its quotes, cut where buf ends; what is not printable ASCII becomes '?'. Returns buf. */
const char *jb_events_quote(const char *text, char *buf, size_t len);

/* Writes what is not yet in the box's file. */
int jb_events_flush(struct jb_events *e, struct jb_error *err);
/* Appends all of it to the state directory's file; to be called once, at the end. */
int jb_events_keep(const struct jb_events *e, int state_fd, struct jb_error *err);
void jb_events_free(struct jb_events *e);

/* For a box whose supervisor died: what its file holds, and `reason` as its last event, go to the state directory. */
int jb_events_recover(const struct jb_id *id, int box_fd, int state_fd, const char *reason,
                      struct jb_error *err);

/*
 * The events whose id begins with `prefix`, in order, each once: from the state directory, and from `boxes_fd` (-1:
 * not looked at) for a box that lives. *ret_id is the whole id. -ENOENT: none; -ENOTUNIQ: more than one box.
 */
int jb_events_find(int state_fd, int boxes_fd, const char *prefix, struct jb_id *ret_id, struct jb_buf *ret,
                   struct jb_error *err);

#endif
