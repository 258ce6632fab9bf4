/*
 * sink.h - the places besides the journal that a record can go to. Within record/ only.
 *
 * Owns: nothing. Runs in: supervisors and whoever recovers, after the journal has the record. Privilege: theirs. None of these
 * waits for anybody: what does not take the record at once does not get it.
 */
#ifndef JB_RECORD_SINK_H
#define JB_RECORD_SINK_H

#include <jansson.h>
#include <stddef.h>

/* The native protocol of systemd's journal: fields for its own filters, and the whole line as JOBBOX_RECORD. */
int jb_sink_journald(const char *socket, const json_t *record, const char *line, size_t len);

/* RFC 5424, daemon.info; the message is the line. */
int jb_sink_syslog(const char *socket, const json_t *record, const char *line, size_t len);

/*
 * Counters of jobs that ended, by user, account and reason, in the text format of Prometheus: those of the file, with this record
 * added. The file is replaced as a whole, under the lock FILE.lock.
 */
int jb_sink_textfile(const char *file, const json_t *record);

/* A program on standard input, in a process of its own that kills it after JB_SINK_PROGRAM_S. Waits for it as long as
 * JB_SINK_PATIENCE_MS; -EINPROGRESS: it goes on without us. -EPROTO: it said that it failed. */
#define JB_SINK_PROGRAM_S   10
#define JB_SINK_PATIENCE_MS 1000
int jb_sink_program(char *const *argv, const char *line, size_t len);

#endif
