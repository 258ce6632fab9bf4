/*
 * chain.h - what ties the records of one writer together: a number, and the digest of the one before.
 *
 * Owns: nothing. Runs in: supervisors, under the locks of the journal; whoever verifies one. Privilege: that of the journal.
 *
 * A writer is all of jobbox on one host that appends to one folder of journals. Its line of a record ends in
 *
 *   ,"chain":{"writer":"HOST-1a2b3c4d","seq":7,"prev":"64 hex digits","sha256":"64 hex digits"}}
 *
 * prev is the sha256 of number 6, or null for number 1. sha256 is of all bytes of the line up to `,"sha256"`. The state between
 * two records is in journal/.HOST.chain, and in the journal itself: who dies between the two writes loses nothing, for the next
 * one reads what was added to the journal since the state was written.
 */
#ifndef JB_RECORD_CHAIN_H
#define JB_RECORD_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JB_CHAIN_WRITER 80 /* bytes of a writer's name, with its NUL */
#define JB_CHAIN_HEX    65
#define JB_CHAIN_FILE   64

/* The last record of a writer. seq 0: there is none yet. */
struct jb_chain {
    char writer[JB_CHAIN_WRITER];
    uint64_t seq;
    char sha256[JB_CHAIN_HEX];
    char file[JB_CHAIN_FILE]; /* where it is */
    int64_t end;              /* and where its line ends there */
    int64_t flushed;          /* s since 1970: when somebody last waited for the disk; 0: not known */
};

/* What a line says of its own place. */
struct jb_chain_link {
    char writer[JB_CHAIN_WRITER];
    uint64_t seq;
    char prev[JB_CHAIN_HEX]; /* "" for null */
    char sha256[JB_CHAIN_HEX];
    size_t covered; /* bytes of the line that the digest is of */
};

/* Takes the link from the end of a line (without its newline). False: it has none. Does not look whether it is true. */
bool jb_chain_parse(const char *line, size_t len, struct jb_chain_link *ret);
/* Whether the digest is that of the line. */
bool jb_chain_is_whole(const char *line, const struct jb_chain_link *link);

/*
 * The state of this host's writer in the folder `dir` of journals, opened and locked: *ret_fd, to be closed. `name` is the file
 * that is to be appended to, `journal` that file, locked too, `size` its size. A state that is lost or not up to date is found
 * again from the journals; where there is none, a chain begins.
 */
int jb_chain_lock(int dir, int *ret_fd);
int jb_chain_load(int dir, int fd, const char *name, int journal, off_t size, struct jb_chain *ret);

/*
 * The line (with its newline) as the next of the chain, and the chain after it but for its `end`. Caller frees.
 */
int jb_chain_add(struct jb_chain *chain, const char *line, size_t len, char **ret, size_t *ret_len);

/* Writes the state. A failure is none: the journal has it. */
void jb_chain_save(int fd, const struct jb_chain *chain);

/* The state of a writer from its file, for who verifies. False: it is none. */
bool jb_chain_read(int dir, const char *file, struct jb_chain *ret);

#endif
