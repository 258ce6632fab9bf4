/*
 * export.h - records in the forms that other accounting programs load.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's (names of groups are asked of the name service).
 *
 * A record that a form has no place for (it never started, its CPU time is not known) is left out and counted; nothing is made
 * up for it.
 */
#ifndef JB_REPORT_EXPORT_H
#define JB_REPORT_EXPORT_H

#include <stdio.h>

#include "report/query.h"

enum jb_export {
    JB_EXPORT_SACCT, /* what `sacct -P` prints, with the fields that are asked for */
    JB_EXPORT_XDMOD, /* 26 fields for xdmod-shredder -f slurm, in UTC */
    JB_EXPORT_APEL,  /* 15 fields for APEL's parser of Slurm, in local time */
    JB_EXPORT_CAR,   /* Usage Record 2 (Compute Accounting Record), XML */
    JB_EXPORT_ACCT,  /* BSD process accounting, struct acct_v3, an entry for each job */
};

struct jb_export_options {
    const char *fields;        /* of sacct, with commas; NULL: its own default */
    bool no_header;            /* of sacct */
    const char *cluster;       /* of sacct and xdmod; NULL: the host */
    const char *site;          /* of car; must be there */
    const char *service_level; /* of car: "hepscore23=10.5"; NULL: none */
};

struct jb_export_note {
    uint64_t left_out;
    const char *why; /* of the first */
};

bool jb_export_parse(const char *name, enum jb_export *ret);

/* Whether the options make sense, before anything is opened. */
int jb_export_check(enum jb_export form, const struct jb_export_options *options, struct jb_error *err);

int jb_export_jobs(FILE *out, enum jb_export form, struct jb_index *index, const struct jb_filter *filter,
                   const struct jb_export_options *options, struct jb_export_note *ret_note,
                   struct jb_error *err);

/* Prometheus text: a metric for each of the first `shown` measures, a sample for each group. */
int jb_export_prometheus(FILE *out, const struct jb_query *query, size_t shown,
                         const struct jb_result *result, struct jb_error *err);

#endif
