/*
 * tail.h - reading the journal from a mark on: how attempts ended that nobody was there to be told of.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: the state directory's.
 */
#ifndef JB_QUEUE_TAIL_H
#define JB_QUEUE_TAIL_H

#include <jansson.h>

#include "queue/store.h"

/* Where the journal ends now. */
void jb_tail_mark(int state_fd, uint64_t now_us, struct jb_journal_mark *ret);

/*
 * Calls record() for each record written since the mark (month 0: all there are) whose line has `word`, or every one
 * when it is NULL; a line that is no record is passed over. Stops when record() returns other than 0, and returns that.
 */
int jb_tail_read(int state_fd, const struct jb_journal_mark *mark, const char *word,
                 int (*record)(void *ctx, const json_t *record), void *ctx, struct jb_error *err);

#endif
