/*
 * notes.h - what the state directory knows of the attempts that are under way.
 *
 * Owns: the descriptor of a struct jb_note. Runs in: the supervisor (noting), whoever recovers (looking).
 * Privilege: the state directory's.
 *
 * The runtime directory is memory on most hosts, and a restart takes it with every box.jsonl in it. So the file
 * `attempts` of the state directory holds a copy of what each of them began with, in slots of fixed size, from the
 * beginning of the attempt until its record is in the journal. Each slot in use is locked (OFD) by its supervisor:
 *
 *   slot      locked   meaning
 *   empty     -        free
 *   filled    yes      under way
 *   filled    no       cut off; finished by whoever finds it, unless a box of that id is in the runtime directory
 *
 * A slot is lines as in box.jsonl (boxdir.h), each with a checksum in front, up to the first byte that is 0. Nothing is
 * flushed: that would cost a start more than everything else. What the kernel has not yet written out when the
 * power goes, a matter of seconds, is lost.
 */
#ifndef JB_JOB_NOTES_H
#define JB_JOB_NOTES_H

#include <stddef.h>

#include "base/error.h"
#include "base/id.h"
#include "base/str.h"

#define JB_NOTE_SLOT  8192
#define JB_NOTE_SLOTS 4096

struct jb_note {
    int fd; /* `attempts`, whose lock on the slot lasts as long as this; -1: not noted */
    size_t slot, len;
};
#define JB_NOTE_INIT ((struct jb_note){.fd = -1})

/*
 * Notes the lines of a new attempt. `wish`: the slot to try first; callers with different wishes are not in each
 * other's way. -EMSGSIZE when the lines are longer than a slot, -ENOSPC when no slot is free.
 */
int jb_note_begin(int state_fd, size_t wish, const char *lines, size_t len, struct jb_note *ret,
                  struct jb_error *err);
/* One more line, if there is room; else the slot stays as it was. */
void jb_note_add(struct jb_note *attempt, const char *line, size_t len);
/* The record is in the journal: empties and leaves the slot. */
void jb_note_forget(struct jb_note *attempt);
/* Leaves the slot as it is. */
void jb_note_close(struct jb_note *attempt);

/*
 * Finds the slot that names `id` and takes it, as far as it can: a process that is about to die may still hold the lock.
 * Returns 1 with the lines, which are the caller's, and the attempt to forget; 0 when no slot names it.
 */
int jb_note_find(int state_fd, const struct jb_id *id, struct jb_note *ret, struct jb_buf *ret_lines);

/*
 * Calls lost(ctx, attempt, id, lines) for each filled slot that nobody holds; `id` is what the slot names, NULL when it
 * is damaged. The slot is the caller's for that time, to be forgotten or left. Returns how many are held by others, or
 * the first negative errno; a file that is not there is 0.
 */
int jb_notes_each(int state_fd,
                  void (*lost)(void *ctx, struct jb_note *attempt, const struct jb_id *id,
                               const struct jb_buf *lines),
                  void *ctx);

#endif
