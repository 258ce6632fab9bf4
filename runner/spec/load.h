/*
 * load.h - reads the text of a spec or site file that somebody named.
 *
 * Owns: nothing. Runs in: the client, unprivileged. Privilege: none; the file is opened as whoever we are.
 */
#ifndef JB_SPEC_LOAD_H
#define JB_SPEC_LOAD_H

#include <sys/stat.h>

#include "spec/spec.h"

/*
 * The whole file ("-": standard input, when `allow_stdin`), at most JB_SPEC_FILE_MAX bytes. Never waits for a
 * FIFO or a device: only regular files are read. On failure returns -errno and `diags` says why, at line 0.
 * `ret_st` may be NULL. Caller frees *ret_text.
 */
int jb_load_text(const char *path, bool allow_stdin, char **ret_text, size_t *ret_len, struct stat *ret_st,
                 struct jb_diags *diags);

/* Begins `diags` anew with the one fault of a file as a whole. Returns -errnum, or -ENOMEM. */
int jb_load_fail(struct jb_diags *diags, const char *path, int errnum, const char *fmt, ...) JB_PRINTF(4, 5);

#endif
