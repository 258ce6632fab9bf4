/*
 * error.c - fixed-size error texts; nothing is allocated, so "out of memory" can be told too.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static int positive(int errnum)
{
    if (errnum == 0)
        return EIO;
    return errnum < 0 ? -errnum : errnum;
}

int jb_fail(struct jb_error *err, int errnum, const char *fmt, ...)
{
    errnum = positive(errnum);
    if (!err)
        return -errnum;
    char text[JB_ERROR_TEXT_MAX]; /* what was said before may be among the arguments */
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    jb_one_line(text);
    memcpy(err->text, text, strlen(text) + 1);
    err->errnum = errnum;
    return -errnum;
}

int jb_fail_errno(struct jb_error *err, int errnum, const char *fmt, ...)
{
    errnum = positive(errnum);
    if (!err)
        return -errnum;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    size_t used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %s",
                   strerrordesc_np(errnum) ?: "unknown error");
    jb_one_line(err->text);
    err->errnum = errnum;
    return -errnum;
}

int jb_wrap(struct jb_error *err, const char *fmt, ...)
{
    if (!err)
        return -EIO;
    char outer[JB_ERROR_TEXT_MAX];
    char inner[JB_ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(outer, sizeof(outer), fmt, ap);
    va_end(ap);
    jb_one_line(outer);
    memcpy(inner, err->text, sizeof(inner));
    size_t used = strlen(outer);
    if (used > sizeof(err->text) / 2)
        used = sizeof(err->text) / 2;
    memcpy(err->text, outer, used);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %.*s", (int)(sizeof(inner) - 1), inner);
    return -positive(err->errnum);
}

void jb_error_clear(struct jb_error *err)
{
    if (!err)
        return;
    err->errnum = 0;
    err->text[0] = '\0';
}
