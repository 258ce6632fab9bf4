/*
 * page.h - a report as one HTML file that needs nothing else.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#ifndef JB_REPORT_PAGE_H
#define JB_REPORT_PAGE_H

#include <stdio.h>

#include "report/query.h"

struct jb_page_wish {
    struct jb_index *index;
    const struct jb_filter *filter;
    const struct jb_prices *prices; /* NULL: no cost is shown */
    const char *currency;           /* NULL: money has no name */
    int64_t now;                    /* µs */
};

int jb_page_write(FILE *out, const struct jb_page_wish *wish, struct jb_error *err);

#endif
