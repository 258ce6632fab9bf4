/*
 * verify.h - whether journals are what was written to them.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#ifndef JB_REPORT_VERIFY_H
#define JB_REPORT_VERIFY_H

#include <stdint.h>

#include "base/str.h"

enum jb_finding {
    JB_FOUND_ALTERED,   /* its digest is not that of the line, or not what the next record says */
    JB_FOUND_MISSING,   /* numbers between others, or at the end */
    JB_FOUND_DOUBLED,   /* one number, or one id, more than once */
    JB_FOUND_FOREIGN,   /* JSON that is no record, or of a later version */
    JB_FOUND_UNREAD,    /* a file that cannot be read to its end */
    JB_FOUND_TORN,      /* what a writer that died left; no record was lost with it */
    JB_FOUND_UNCHAINED, /* a record without a link, of before there were any */
    JB_FOUND_MAX,
};
const char *jb_finding_name(enum jb_finding finding);
/* Whether it says that a journal is not what it should be: all down to JB_FOUND_UNREAD. */
bool jb_finding_is_bad(enum jb_finding finding);

struct jb_verified {
    uint64_t files, records, writers;
    uint64_t found[JB_FOUND_MAX];
    struct jb_strv lines; /* one for each finding but unchained ones, at most 1000; and notes */
};

/* `paths`: folders of journals, or single ones. The records of a writer may be in any of them. */
int jb_journal_verify(const struct jb_strv *paths, struct jb_verified *ret, struct jb_error *err);
void jb_verified_free(struct jb_verified *verified);

#endif
