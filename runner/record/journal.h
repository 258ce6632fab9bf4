/*
 * journal.h - the append-only file of records: the truth about every attempt.
 *
 * Owns: nothing; files are opened for each call. Runs in: supervisors, any number at once. Privilege: that of
 * the state directory.
 *
 * journal/YYYY-MM.jsonl below the state directory, by the month (UTC) in which the record is written.
 */
#ifndef JB_RECORD_JOURNAL_H
#define JB_RECORD_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "site/site.h"

/*
 * Appends one record as one line with one write(2), then fdatasync: always, never, or (batch) when nobody did for a second.
 * The line gets its link of the chain (chain.h), and so does `record`, as "chain": its line is then that of the journal. A torn last line
 * of a writer that died is closed with a newline first. On failure (-ENOSPC ...) the file is cut back to what
 * it was.
 */
int jb_journal_append(int state_fd, enum jb_sync sync, json_t *record, struct jb_error *err);

/*
 * The same in two steps, for a line that jb_record_line made, so that something else can be done while the disk works:
 * the line is in the file, and on its way; then it is on the disk. *ret_fd: the caller's, for the second step;
 * -1 when nobody has to wait for the disk (batch). `record` (may be NULL): what the line was made of; it gets the link.
 */
int jb_journal_write(int state_fd, enum jb_sync sync, const char *line, size_t len, json_t *record,
                     int *ret_fd, struct jb_error *err);
int jb_journal_sync(int fd, enum jb_sync sync, struct jb_error *err);

/*
 * 1 when a record with this id is in the journal, 0 when not. Looked at are the months from that of the id, or from the
 * last one if that is earlier, on to the latest there is: the wall clock may have jumped since the record was written.
 */
int jb_journal_has(int state_fd, const char *id, struct jb_error *err);

/*
 * Hands the record to the site's further sinks: a file gets the line appended, a program gets it on standard
 * input and has ten seconds. The first failure is reported, after all were tried; the journal is not
 * affected.
 */
int jb_sinks_emit(const struct jb_site *site, const json_t *record, struct jb_error *err);

#endif
