/*
 * sheet.c - tables, CSV and JSON.
 *
 * Owns: the rows of a table, whose widths are known only at its end. Runs in: jobbox-report. Privilege: none.
 */
#include "report/sheet.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "report/escape.h"

#define GAP 2

struct jb_sheet {
    FILE *out;
    struct jb_sheet_style style;
    struct jb_sheet_column *columns;
    size_t n, rows;
    struct jb_strv cells; /* of a table, row by row */
    bool has_total;
    struct jb_buf total; /* of JSON */
};

/* Trailing zeros say nothing. */
static char *trim(char *text)
{
    char *end = text + strlen(text);
    if (strchr(text, '.')) {
        while (end > text && end[-1] == '0')
            *--end = '\0';
        if (end > text && end[-1] == '.')
            *--end = '\0';
    }
    return text;
}

static char *format_energy(double joules, char *buf, size_t len)
{
    static const char *const units[] = {"J", "kJ", "MJ", "GJ", "TJ"};
    size_t i = 0;
    for (; joules >= 1000 && i + 1 < JB_ARRAY_LEN(units); i++)
        joules /= 1000;
    (void)snprintf(buf, len, "%.*f %s", i ? 2 : 0, joules, units[i]);
    return buf;
}

/* jb_format_duration says all of it; a table wants two parts. */
static char *format_seconds(double seconds, char *buf, size_t len)
{
    unsigned long long s = (unsigned long long)(seconds + 0.5);
    if (seconds < 10)
        (void)snprintf(buf, len, seconds < 1 ? "%.3fs" : "%.2fs", seconds);
    else if (s < 60)
        (void)snprintf(buf, len, "%.1fs", seconds);
    else if (s < 3600)
        (void)snprintf(buf, len, "%llum%02llus", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(buf, len, "%lluh%02llum", s / 3600, s / 60 % 60);
    else
        (void)snprintf(buf, len, "%llud%02lluh", s / 86400, s / 3600 % 24);
    return buf;
}

char *jb_format_figure(double value, enum jb_unit unit, bool raw, char *buf, size_t len)
{
    if (isnan(value)) {
        buf[0] = '\0';
        return buf;
    }
    if (raw) {
        (void)snprintf(buf, len, "%.6f", value);
        return trim(buf);
    }
    switch (unit) {
    case JB_UNIT_SECONDS:
        return format_seconds(value, buf, len);
    case JB_UNIT_BYTES:
        return jb_format_size((uint64_t)value, buf, len);
    case JB_UNIT_JOULES:
        return format_energy(value, buf, len);
    case JB_UNIT_HOURS:
        (void)snprintf(buf, len, value < 10 ? "%.2f" : "%.1f", value);
        return buf;
    case JB_UNIT_FRACTION:
        (void)snprintf(buf, len, "%.1f %%", 100 * value);
        return buf;
    case JB_UNIT_MONEY:
        (void)snprintf(buf, len, "%.2f", value);
        return buf;
    default:
        (void)snprintf(buf, len, "%.2f", value);
        return trim(buf);
    }
}

char *jb_format_local(int64_t at, bool raw, char *buf, size_t len)
{
    struct tm tm;
    char zone[16] = "";
    time_t s = (time_t)(at / 1000000);
    buf[0] = '\0';
    if (at == JB_NONE || !localtime_r(&s, &tm))
        return buf;
    (void)strftime(zone, sizeof(zone), "%z", &tm); /* +0200 */
    (void)snprintf(buf, len, "%04d-%02d-%02d%c%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                   raw ? 'T' : ' ', tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (raw)
        (void)snprintf(buf + strlen(buf), len - strlen(buf), "%.3s:%s", zone, zone + 3);
    return buf;
}

int jb_sheet_begin(FILE *out, const struct jb_sheet_style *style, const struct jb_sheet_column *columns,
                   size_t n, struct jb_sheet **ret, struct jb_error *err)
{
    struct jb_sheet *sheet = calloc(1, sizeof(*sheet));
    if (!sheet || !(sheet->columns = calloc(n + 1, sizeof(*columns)))) {
        free(sheet);
        return jb_fail_errno(err, ENOMEM, "report");
    }
    sheet->out = out;
    sheet->style = *style;
    sheet->n = n;
    memcpy(sheet->columns, columns, n * sizeof(*columns));
    jb_autobuf struct jb_buf line = {0};
    for (size_t i = 0; i < n && style->form == JB_SHEET_CSV; i++) {
        (void)jb_buf_puts(&line, i ? "," : "");
        (void)jb_escape(&line, JB_ESCAPE_CSV, columns[i].name);
    }
    if (style->form == JB_SHEET_CSV)
        (void)fprintf(out, "%s\n", line.data ? line.data : "");
    if (style->form == JB_SHEET_JSON)
        (void)fputs("{\"rows\":[", out);
    *ret = sheet;
    return 0;
}

static int put_csv(struct jb_buf *line, const struct jb_sheet_column *column, const struct jb_cell *cell)
{
    char buf[64];
    if (column->kind == JB_CELL_TEXT)
        return cell->text ? jb_escape(line, JB_ESCAPE_CSV, cell->text) : 0;
    return jb_buf_puts(line, column->kind == JB_CELL_TIME
                                 ? jb_format_local(cell->time, true, buf, sizeof(buf))
                                 : jb_format_figure(cell->number, column->unit, true, buf, sizeof(buf)));
}

static int put_json(struct jb_buf *line, const struct jb_sheet_column *column, const struct jb_cell *cell)
{
    char buf[64];
    if (column->kind == JB_CELL_TEXT)
        return cell->text ? jb_escape(line, JB_ESCAPE_JSON, cell->text) : jb_buf_puts(line, "null");
    if (column->kind == JB_CELL_TIME)
        return cell->time == JB_NONE
                   ? jb_buf_puts(line, "null")
                   : jb_buf_printf(line, "\"%s\"", jb_format_local(cell->time, true, buf, sizeof(buf)));
    return jb_buf_puts(line, isnan(cell->number)
                                 ? "null"
                                 : jb_format_figure(cell->number, column->unit, true, buf, sizeof(buf)));
}

static int row_csv(struct jb_sheet *sheet, const struct jb_cell *cells)
{
    jb_autobuf struct jb_buf line = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sheet->n; i++) {
        r = jb_buf_puts(&line, i ? "," : "");
        if (r == 0)
            r = put_csv(&line, &sheet->columns[i], &cells[i]);
    }
    if (r == 0)
        (void)fprintf(sheet->out, "%s\n", line.data ? line.data : "");
    return r;
}

static int row_json(struct jb_sheet *sheet, const struct jb_cell *cells, bool total)
{
    jb_autobuf struct jb_buf own = {0};
    struct jb_buf *line = total ? &sheet->total : &own;
    int r = jb_buf_puts(line, "{");
    const char *comma = "";
    for (size_t i = 0; r == 0 && i < sheet->n; i++) {
        if (total && sheet->columns[i].kind != JB_CELL_NUMBER)
            continue;
        r = jb_buf_puts(line, comma);
        if (r == 0)
            r = jb_escape(line, JB_ESCAPE_JSON, sheet->columns[i].name);
        if (r == 0)
            r = jb_buf_puts(line, ":");
        if (r == 0)
            r = put_json(line, &sheet->columns[i], &cells[i]);
        comma = ",";
    }
    if (r == 0)
        r = jb_buf_puts(line, "}");
    if (r == 0 && !total)
        (void)fprintf(sheet->out, "%s\n%s", sheet->rows ? "," : "", line->data);
    return r;
}

static int row_table(struct jb_sheet *sheet, const struct jb_cell *cells)
{
    for (size_t i = 0; i < sheet->n; i++) {
        jb_autobuf struct jb_buf text = {0};
        char buf[64];
        const struct jb_sheet_column *c = &sheet->columns[i];
        int r;
        if (c->kind == JB_CELL_TEXT)
            r = cells[i].text ? jb_escape(&text, JB_ESCAPE_PLAIN, cells[i].text) : jb_buf_puts(&text, "-");
        else if (c->kind == JB_CELL_TIME)
            r = jb_buf_puts(&text, jb_format_local(cells[i].time, false, buf, sizeof(buf)));
        else
            r = jb_buf_puts(&text,
                            jb_format_figure(cells[i].number, c->unit, sheet->style.raw, buf, sizeof(buf)));
        if (r == 0)
            r = jb_strv_add(&sheet->cells, text.data && *text.data ? text.data : "-");
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_sheet_row(struct jb_sheet *sheet, const struct jb_cell *cells, bool total, struct jb_error *err)
{
    int r = 0;
    if (sheet->style.form == JB_SHEET_TABLE)
        r = row_table(sheet, cells);
    else if (sheet->style.form == JB_SHEET_JSON)
        r = row_json(sheet, cells, total);
    else if (!total)
        r = row_csv(sheet, cells);
    sheet->has_total = sheet->has_total || total;
    sheet->rows += !total;
    return r < 0 ? jb_fail_errno(err, r, "report") : 0;
}

/* --- the table --- */

/* Columns that do not fit are left out from the right, text first made shorter. */
static void fit(const struct jb_sheet *sheet, size_t *widths, size_t *ret_shown)
{
    size_t all = 0;
    *ret_shown = sheet->n;
    for (size_t i = 0; i < sheet->n; i++)
        all += widths[i] + (i ? GAP : 0);
    if (sheet->style.width == 0)
        return;
    for (size_t least = 40; all > sheet->style.width && least >= 10; least -= 10)
        for (size_t i = 0; i < sheet->n && all > sheet->style.width; i++)
            if (sheet->columns[i].kind == JB_CELL_TEXT && widths[i] > least) {
                size_t cut = widths[i] - least;
                cut = cut < all - sheet->style.width ? cut : all - sheet->style.width;
                widths[i] -= cut;
                all -= cut;
            }
    while (*ret_shown > 1 && all > sheet->style.width)
        all -= widths[--*ret_shown] + GAP;
}

static void put_cell(const struct jb_sheet *sheet, size_t i, const char *text, size_t width, bool last)
{
    size_t have = jb_display_width(text);
    bool left = sheet->columns[i].kind != JB_CELL_NUMBER;
    if (have > width) { /* cut at a character */
        size_t n = 0;
        size_t used = 0;
        while (text[n] && used + 1 < width) {
            n++;
            while (((unsigned char)text[n] & 0xC0) == 0x80)
                n++;
            used++;
        }
        (void)fprintf(sheet->out, "%.*s~%*s", (int)n, text, last ? 0 : (int)(width - used - 1), "");
    } else if (left) {
        (void)fprintf(sheet->out, "%s%*s", text, last ? 0 : (int)(width - have), "");
    } else {
        (void)fprintf(sheet->out, "%*s%s", (int)(width - have), "", text);
    }
    if (!last)
        (void)fprintf(sheet->out, "%*s", GAP, "");
}

static void put_row(const struct jb_sheet *sheet, char *const *cells, const size_t *widths, size_t shown)
{
    for (size_t i = 0; i < shown; i++)
        put_cell(sheet, i, cells[i], widths[i], i + 1 == shown);
    (void)fputc('\n', sheet->out);
}

static int write_table(struct jb_sheet *sheet)
{
    jb_autofree size_t *widths = calloc(sheet->n + 1, sizeof(*widths));
    jb_autofree char **titles = calloc(sheet->n + 1, sizeof(*titles));
    size_t n_rows = sheet->n ? sheet->cells.len / sheet->n : 0;
    size_t shown;
    if (!widths || !titles)
        return -ENOMEM;
    for (size_t i = 0; i < sheet->n; i++) {
        titles[i] = sheet->columns[i].title;
        widths[i] = jb_display_width(titles[i]);
        for (size_t row = 0; row < n_rows; row++) {
            size_t w = jb_display_width(sheet->cells.items[row * sheet->n + i]);
            widths[i] = w > widths[i] ? w : widths[i];
        }
    }
    fit(sheet, widths, &shown);
    (void)fputs(sheet->style.colours ? "\033[1m" : "", sheet->out);
    put_row(sheet, titles, widths, shown);
    (void)fputs(sheet->style.colours ? "\033[0m" : "", sheet->out);
    for (size_t row = 0; row < n_rows; row++) {
        bool total = sheet->has_total && row + 1 == n_rows;
        (void)fputs(total && sheet->style.colours ? "\033[1m" : "", sheet->out);
        put_row(sheet, sheet->cells.items + row * sheet->n, widths, shown);
        (void)fputs(total && sheet->style.colours ? "\033[0m" : "", sheet->out);
    }
    if (shown < sheet->n)
        (void)fprintf(sheet->out, "(%zu more columns do not fit: choose with --columns, or --width 0)\n",
                      sheet->n - shown);
    return 0;
}

int jb_sheet_end(struct jb_sheet *sheet, struct jb_error *err)
{
    int r = 0;
    if (sheet->style.form == JB_SHEET_TABLE)
        r = write_table(sheet);
    else if (sheet->style.form == JB_SHEET_JSON)
        (void)fprintf(sheet->out, "%s],\"total\":%s}\n", sheet->rows ? "\n" : "",
                      sheet->total.data ? sheet->total.data : "null");
    if (r == 0 && (fflush(sheet->out) != 0 || ferror(sheet->out)))
        r = errno ? -errno : -EIO;
    jb_strv_free(&sheet->cells);
    jb_buf_free(&sheet->total);
    free(sheet->columns);
    free(sheet);
    return r < 0 ? jb_fail_errno(err, r, "writing the report") : 0;
}
