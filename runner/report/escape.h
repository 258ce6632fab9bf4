/*
 * escape.h - what somebody wrote, made harmless for where it goes.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: none; pure functions. Texts are UTF-8 (jb_slice_decode saw to it).
 */
#ifndef JB_REPORT_ESCAPE_H
#define JB_REPORT_ESCAPE_H

#include "base/str.h"

enum jb_escape {
    JB_ESCAPE_PLAIN, /* for a terminal or a line of text: control characters, and those that turn the direction of writing
                        or cannot be seen, become '?' */
    JB_ESCAPE_CSV, /* a field: also in quotes where it must be, and what a spreadsheet would take for a formula has a ' in
                        front */
    JB_ESCAPE_JSON,  /* a string with its quotes */
    JB_ESCAPE_XML,   /* text or an attribute's value */
    JB_ESCAPE_BAR,   /* a field between vertical bars: plain, and a bar becomes '_' */
    JB_ESCAPE_LABEL, /* a value of Prometheus text, without its quotes */
};

int jb_escape(struct jb_buf *into, enum jb_escape how, const char *text);

/* How many columns a plain text takes on a terminal, in the locale that was set. */
size_t jb_display_width(const char *text);

#endif
