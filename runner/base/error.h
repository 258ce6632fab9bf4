/*
 * error.h - the one way a jobbox function says what went wrong.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 *
 * A fallible function returns 0 (or a count) on success and a negative errno on failure, takes
 * `struct jb_error *err` last and fills it only on failure. A caller that adds knowledge ("while mounting
 * /data") calls jb_wrap(), which puts its words in front. `err` may be NULL where the text is not wanted.
 */
#ifndef JB_BASE_ERROR_H
#define JB_BASE_ERROR_H

#include <stdarg.h>

#define JB_ERROR_TEXT_MAX 2048

#define JB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

struct jb_error {
    int errnum;                   /* positive errno; 0 when nothing failed */
    char text[JB_ERROR_TEXT_MAX]; /* what, where, why, what to do; one line, no trailing newline */
};

/* Sets `err` to the formatted text, no errno words added. err->text may be among the arguments. Returns -errnum
 * (errnum may be given either sign). */
int jb_fail(struct jb_error *err, int errnum, const char *fmt, ...) JB_PRINTF(3, 4);

/* The same, with ": strerror(errnum)" at the end. */
int jb_fail_errno(struct jb_error *err, int errnum, const char *fmt, ...) JB_PRINTF(3, 4);

/* Puts "formatted: " in front of the text of `err`. Returns -err->errnum, or -EIO when err is NULL. */
int jb_wrap(struct jb_error *err, const char *fmt, ...) JB_PRINTF(2, 3);

/* Forgets what `err` held, so that it can be used for another try. */
void jb_error_clear(struct jb_error *err);

#endif
