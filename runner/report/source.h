/*
 * source.h - journals as streams of lines, plain or compressed. Within report/ and the journal's verbs.
 *
 * Owns: the descriptor, the buffer, the decompressor's process. Runs in: whoever reads journals. Privilege: the user's.
 */
#ifndef JB_REPORT_SOURCE_H
#define JB_REPORT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

struct jb_lines {
    int fd;
    pid_t child; /* the decompressor; 0: a plain file */
    char *buf;
    size_t cap, begin, end;
    uint64_t at; /* bytes before buf[begin], uncompressed */
    bool over;   /* no more bytes come */
    const char *program;
};

/* Compressed when the name ends in .gz, .zst, .xz or .bz2. */
int jb_lines_open(const char *path, struct jb_lines *ret, struct jb_error *err);
void jb_lines_close(struct jb_lines *source);
#define jb_autolines __attribute__((cleanup(jb_lines_close)))

/*
 * The next line: 1 with *ret_line (a '\n' behind it, good until the next call), its length and where it begins; 0 at the
 * end, with *ret_len the bytes that are left there without an end; negative when reading failed, a damaged archive included.
 */
int jb_lines_next(struct jb_lines *source, const char **ret_line, size_t *ret_len, uint64_t *ret_at,
                  struct jb_error *err);

/* Goes on at this byte, which must not be before the one that was reached. 1: it is there; 0: the file is shorter. */
int jb_lines_skip(struct jb_lines *source, uint64_t to, struct jb_error *err);

/*
 * The journals of a folder (NAME.jsonl, and what logrotate(8) makes of that name), or a single file of any name, as paths
 * in order of name.
 */
int jb_lines_list(const char *path, struct jb_strv *into, struct jb_error *err);

#endif
