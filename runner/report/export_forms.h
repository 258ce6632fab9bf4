/*
 * export_forms.h - what the forms of export share. Within report/ only.
 */
#ifndef JB_REPORT_EXPORT_FORMS_H
#define JB_REPORT_EXPORT_FORMS_H

#include "report/escape.h"
#include "report/export.h"
#include "report/memo.h"

struct jb_exporting {
    FILE *out;
    struct jb_index *index;
    const struct jb_export_options *options;
    struct jb_export_note *note;
    bool utc;          /* times */
    bool numbers;      /* job ids must be numbers */
    const int *fields; /* of lines, by jb_slurm_field */
    size_t n_fields;
    struct jb_memo groups; /* from gid to a place in `names` */
    struct jb_strv names;
    struct jb_buf line;
};

/* Writes one record, or leaves it out (jb_export_leave). */
typedef int jb_export_fn(struct jb_exporting *e, const struct jb_row *row);
jb_export_fn jb_export_line, jb_export_car, jb_export_acct;

/* Counts a record that is left out. Returns 0. */
int jb_export_leave(struct jb_exporting *e, const char *why);

/* Names of fields as sacct(1) has them, in any case of letters: their number, or -1. */
int jb_slurm_field(const char *name, size_t len);
/* The nearest name, or NULL. */
const char *jb_slurm_near(const char *name);

/* "COMPLETED"; `few`: of the states that were there first. */
const char *jb_slurm_state(struct jb_exporting *e, const struct jb_row *row, bool few);

/* A number of 31 bits that stands for a record's id; `of_array`: for the job, which all members of an array have in common. */
uint32_t jb_export_number(struct jb_exporting *e, const struct jb_row *row, bool of_array);

/* User and system time in µs; JB_NONE. */
int64_t jb_export_cpu(const struct jb_row *row);
/*
 * How long it ran, in µs: 0 when it never started. Of one that nobody watched to its end it is from start to end; JB_NONE where one
 * of them is not known.
 */
int64_t jb_export_elapsed(const struct jb_row *row);
const char *jb_export_group(struct jb_exporting *e, int64_t gid);
/* The name of a job, never empty. */
const char *jb_export_name(struct jb_exporting *e, const struct jb_row *row);
const char *jb_export_site_host(struct jb_exporting *e, const struct jb_row *row);

#endif
