/*
 * sheet.h - rows and columns on their way out: a table for people, CSV, JSON.
 *
 * Owns: what it was given until it is written. Runs in: jobbox-report. Privilege: none.
 */
#ifndef JB_REPORT_SHEET_H
#define JB_REPORT_SHEET_H

#include <stdio.h>

#include "report/metric.h"

enum jb_sheet_form { JB_SHEET_TABLE, JB_SHEET_CSV, JB_SHEET_JSON };

enum jb_cell_kind { JB_CELL_TEXT, JB_CELL_NUMBER, JB_CELL_TIME };

struct jb_sheet_column {
    char name[64];  /* of CSV and JSON */
    char title[64]; /* of a table */
    enum jb_cell_kind kind;
    enum jb_unit unit; /* of numbers */
};

struct jb_cell {
    const char *text; /* NULL: none; borrowed */
    double number;    /* NaN: unknown */
    int64_t time;     /* µs; JB_NONE */
};

struct jb_sheet;

struct jb_sheet_style {
    enum jb_sheet_form form;
    size_t width; /* of the terminal; 0: as wide as it gets */
    bool colours;
    bool raw; /* numbers of a table as CSV has them */
};

int jb_sheet_begin(FILE *out, const struct jb_sheet_style *style, const struct jb_sheet_column *columns,
                   size_t n, struct jb_sheet **ret, struct jb_error *err);
/* `total`: the sum of the others, set apart in a table, left out of CSV, and its own member of JSON. */
int jb_sheet_row(struct jb_sheet *sheet, const struct jb_cell *cells, bool total, struct jb_error *err);
/* Writes what is left, closes the brackets. A failed write is an error. Frees in any case. */
int jb_sheet_end(struct jb_sheet *sheet, struct jb_error *err);

/* A number for people ("1.4 GiB", "2h03m", "87.3 %") or for programs ("1503238553.6", "0.873"); "" for NaN. Returns buf. */
char *jb_format_figure(double value, enum jb_unit unit, bool raw, char *buf, size_t len);
/* RFC 3339 in the zone of the environment, to the second; "" for JB_NONE. */
char *jb_format_local(int64_t at, bool raw, char *buf, size_t len);

#endif
