/*
 * top_table.c - the live boxes as a table, and as JSON.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 *
 * What does not fit is left out by its column's rank: a line that wraps is no table.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/top.h"

#define GAP      2
#define CELL     80
#define ID_LEAST 10 /* characters of an id that say when it was made */

const struct jb_top_key jb_top_keys[JB_TOP_SORT_MAX] = {
    [JB_TOP_CPU] = {"cpu", 'c'},   [JB_TOP_MEMORY] = {"memory", 'm'}, [JB_TOP_PRESSURE] = {"pressure", 's'},
    [JB_TOP_PIDS] = {"pids", 'p'}, [JB_TOP_IO] = {"io", 'i'},         [JB_TOP_TIME] = {"time", 't'},
    [JB_TOP_NAME] = {"name", 'n'}, [JB_TOP_USER] = {"user", 'u'},
};

/* --- cells --- */

static void percent(double share, char *buf)
{
    if (isnan(share))
        (void)snprintf(buf, CELL, "-");
    else
        (void)snprintf(buf, CELL, share < 10 ? "%.1f" : "%.0f", share * 100);
}

static void size(uint64_t bytes, char *buf)
{
    if (bytes == JB_UNSET)
        (void)snprintf(buf, CELL, "-");
    else
        (void)jb_format_size(bytes, buf, CELL);
}

static void per_second(double rate, char *buf)
{
    if (isnan(rate))
        (void)snprintf(buf, CELL, "-");
    else
        (void)jb_format_size((uint64_t)rate, buf, CELL);
}

static void duration(uint64_t ns, char *buf)
{
    unsigned long long t = ns / JB_NS_PER_S;
    if (ns == JB_UNSET)
        (void)snprintf(buf, CELL, "-");
    else if (t < 60)
        (void)snprintf(buf, CELL, "%llus", t);
    else if (t < 3600)
        (void)snprintf(buf, CELL, "%llum%02llus", t / 60, t % 60);
    else if (t < 86400)
        (void)snprintf(buf, CELL, "%lluh%02llum", t / 3600, t / 60 % 60);
    else
        (void)snprintf(buf, CELL, "%llud%02lluh", t / 86400, t / 3600 % 24);
}

static void put_id(const struct jb_top_box *b, char *buf)
{
    (void)snprintf(buf, CELL, "%s", b->holding.id.text);
}

static void put_user(const struct jb_top_box *b, char *buf)
{
    (void)snprintf(buf, CELL, "%s", b->user);
}

static void put_phase(const struct jb_top_box *b, char *buf)
{
    (void)snprintf(buf, CELL, "%s", b->phase[0] ? b->phase : "-");
}

static void put_cpu(const struct jb_top_box *b, char *buf)
{
    percent(b->cpu, buf);
}

static void put_memory(const struct jb_top_box *b, char *buf)
{
    size(b->now.memory, buf);
}

static void put_limit(const struct jb_top_box *b, char *buf)
{
    size(b->memory_limit, buf);
}

static void put_pressure(const struct jb_top_box *b, char *buf)
{
    percent(b->memory_some, buf);
}

static void put_pids(const struct jb_top_box *b, char *buf)
{
    if (b->now.pids == JB_UNSET)
        (void)snprintf(buf, CELL, "-");
    else
        (void)snprintf(buf, CELL, "%llu", (unsigned long long)b->now.pids);
}

static void put_read(const struct jb_top_box *b, char *buf)
{
    per_second(b->read_rate, buf);
}

static void put_written(const struct jb_top_box *b, char *buf)
{
    per_second(b->written_rate, buf);
}

static void put_cpus(const struct jb_top_box *b, char *buf)
{
    char text[4096];
    bool fits = jb_cpus_format(&b->holding.cpus, text, sizeof(text)) >= 0;
    (void)snprintf(buf, CELL, "%s", fits ? text : "-");
}

static void put_time(const struct jb_top_box *b, char *buf)
{
    duration(b->wall_ns, buf);
}

static void put_time_limit(const struct jb_top_box *b, char *buf)
{
    duration(b->wall_limit_ns, buf);
}

static void put_name(const struct jb_top_box *b, char *buf)
{
    (void)snprintf(buf, CELL, "%s", b->holding.name);
}

/* The rank: what is left out first has the greatest; 0 stays. */
static const struct column {
    const char *title;
    void (*put)(const struct jb_top_box *b, char *buf);
    bool left;
    unsigned rank;
    int sort; /* enum jb_top_sort; -1: by none */
    size_t most;
} columns[] = {
    {"ID", put_id, true, 0, -1, JB_ID_LEN},
    {"USER", put_user, true, 4, JB_TOP_USER, 16},
    {"PHASE", put_phase, true, 8, -1, 10},
    {"CPU%", put_cpu, false, 0, JB_TOP_CPU, CELL},
    {"MEMORY", put_memory, false, 0, JB_TOP_MEMORY, CELL},
    {"OF", put_limit, false, 2, -1, CELL},
    {"PRESS%", put_pressure, false, 6, JB_TOP_PRESSURE, CELL},
    {"PIDS", put_pids, false, 3, JB_TOP_PIDS, CELL},
    {"READ/s", put_read, false, 9, JB_TOP_IO, CELL},
    {"WRITE/s", put_written, false, 9, JB_TOP_IO, CELL},
    {"CPUS", put_cpus, true, 5, -1, 24},
    {"TIME", put_time, false, 1, JB_TOP_TIME, CELL},
    {"LIMIT", put_time_limit, false, 7, -1, CELL},
    {"NAME", put_name, true, 0, JB_TOP_NAME, 64},
};
#define N_COLUMNS JB_ARRAY_LEN(columns)

/* --- order --- */

struct order {
    enum jb_top_sort sort;
    bool reverse;
};

static double of_u64(uint64_t value)
{
    return value == JB_UNSET ? NAN : (double)value;
}

static double figure(const struct jb_top_box *b, enum jb_top_sort sort)
{
    switch (sort) {
    case JB_TOP_CPU:
        return b->cpu;
    case JB_TOP_MEMORY:
        return of_u64(b->now.memory);
    case JB_TOP_PRESSURE:
        return b->memory_some;
    case JB_TOP_PIDS:
        return of_u64(b->now.pids);
    case JB_TOP_IO:
        return b->read_rate + b->written_rate;
    case JB_TOP_TIME:
        return of_u64(b->wall_ns);
    default:
        return NAN;
    }
}

/* Figures the greatest first, texts by the alphabet; what is not known comes last either way. */
static int compare(const void *a, const void *b, void *ctx)
{
    const struct order *order = ctx;
    const struct jb_top_box *x = a;
    const struct jb_top_box *y = b;
    double u = figure(x, order->sort);
    double v = figure(y, order->sort);
    int r = order->sort == JB_TOP_NAME   ? strcmp(x->holding.name, y->holding.name)
            : order->sort == JB_TOP_USER ? strcmp(x->user, y->user)
                                         : 0;
    if (isnan(u) != isnan(v))
        return isnan(u) ? 1 : -1;
    if (!isnan(u))
        r = (u < v) - (u > v);
    if (r == 0)
        return strcmp(x->holding.id.text, y->holding.id.text);
    return order->reverse ? -r : r;
}

static void put_in_order(struct jb_top *top, enum jb_top_sort sort, bool reverse)
{
    struct order order = {sort, reverse};
    if (top->n > 1)
        qsort_r(top->boxes, top->n, sizeof(*top->boxes), compare, &order);
}

/* --- the table --- */

/* As much of an id as tells the boxes apart, for the verbs that take its beginning. */
static size_t id_width(const struct jb_top *top)
{
    size_t width = ID_LEAST;
    for (size_t i = 0; i < top->n; i++)
        for (size_t k = i + 1; k < top->n && width < JB_ID_LEN; k++)
            while (width < JB_ID_LEN &&
                   strncmp(top->boxes[i].holding.id.text, top->boxes[k].holding.id.text, width) == 0)
                width++;
    return width;
}

struct layout {
    size_t widths[N_COLUMNS]; /* 0: left out */
    size_t from, to;          /* boxes */
};

static size_t total(const struct layout *layout)
{
    size_t sum = 0;
    for (size_t c = 0; c < N_COLUMNS; c++)
        sum += layout->widths[c] ? layout->widths[c] + (sum ? GAP : 0) : 0;
    return sum;
}

static void lay_out(const struct jb_top *top, const struct jb_top_style *style, struct layout *ret)
{
    char cell[CELL];
    ret->from = style->skip < top->n ? style->skip : top->n;
    ret->to = style->rows && top->n - ret->from > style->rows ? ret->from + style->rows : top->n;
    for (size_t c = 0; c < N_COLUMNS; c++) {
        ret->widths[c] = strlen(columns[c].title);
        for (size_t i = ret->from; i < ret->to; i++) {
            columns[c].put(&top->boxes[i], cell);
            size_t width = strlen(cell) < columns[c].most ? strlen(cell) : columns[c].most;
            ret->widths[c] = width > ret->widths[c] ? width : ret->widths[c];
        }
    }
    if (style->width == 0)
        return;
    if (total(ret) > style->width && top->n > 0)
        ret->widths[0] = id_width(top);
    for (unsigned rank = 9; rank > 0 && total(ret) > style->width; rank--)
        for (size_t c = 0; c < N_COLUMNS; c++)
            if (columns[c].rank == rank)
                ret->widths[c] = 0;
    size_t last = N_COLUMNS - 1; /* the name takes what is left */
    size_t others = total(ret) - ret->widths[last];
    if (total(ret) > style->width)
        ret->widths[last] = style->width > others + 4 ? style->width - others : 4;
}

static int put_cells(const struct layout *layout, const struct jb_top_style *style,
                     const struct jb_top_box *box, const char *end_line, struct jb_buf *into)
{
    char cell[CELL];
    int r = 0;
    for (size_t c = 0; r == 0 && c < N_COLUMNS; c++) {
        size_t width = layout->widths[c];
        bool marked = !box && style->marks && columns[c].sort == (int)style->sort;
        if (width == 0)
            continue;
        if (box)
            columns[c].put(box, cell);
        else
            (void)snprintf(cell, sizeof(cell), "%s", columns[c].title);
        int pad = (int)(width - (strlen(cell) < width ? strlen(cell) : width));
        bool last = c + 1 == N_COLUMNS;
        r = jb_buf_printf(into, "%s%*s%s%.*s%s%*s%s", c ? "  " : "", columns[c].left ? 0 : pad, "",
                          marked ? "\033[7m" : "", (int)width, cell, marked ? "\033[27m" : "",
                          columns[c].left && !last ? pad : 0, "", last ? end_line : "");
    }
    return r;
}

int jb_top_table(struct jb_top *top, const struct jb_top_style *style, const char *end_line,
                 struct jb_buf *into)
{
    struct layout layout;
    put_in_order(top, style->sort, style->reverse);
    lay_out(top, style, &layout);
    int r = style->marks ? jb_buf_puts(into, "\033[1m") : 0;
    if (r == 0)
        r = put_cells(&layout, style, NULL, style->marks ? "\033[0m" : end_line, into);
    if (r == 0 && style->marks)
        r = jb_buf_puts(into, end_line);
    for (size_t i = layout.from; r == 0 && i < layout.to; i++)
        r = put_cells(&layout, style, &top->boxes[i], end_line, into);
    return r;
}

int jb_top_summary(const struct jb_top *top, struct jb_buf *into)
{
    char text[64];
    double cpu = 0;
    uint64_t memory = 0;
    size_t no_cpu = 0;
    size_t no_memory = 0;
    for (size_t i = 0; i < top->n; i++) {
        const struct jb_top_box *b = &top->boxes[i];
        no_cpu += isnan(b->cpu);
        cpu += isnan(b->cpu) ? 0 : b->cpu;
        no_memory += b->now.memory == JB_UNSET;
        memory += b->now.memory == JB_UNSET ? 0 : b->now.memory;
    }
    int r = jb_buf_printf(into, "%zu box%s", top->n, top->n == 1 ? "" : "es");
    if (r == 0 && no_cpu < top->n)
        r = jb_buf_printf(into, ", %.2f CPUs busy", cpu);
    if (r == 0 && no_cpu > 0)
        r = jb_buf_printf(into, no_cpu < top->n ? " (%zu unknown)" : ", CPUs unknown", no_cpu);
    if (r == 0 && no_memory < top->n)
        r = jb_buf_printf(into, ", memory %s", jb_format_size(memory, text, sizeof(text)));
    if (r == 0 && no_memory > 0)
        r = jb_buf_printf(into, no_memory < top->n ? " (%zu unknown)" : ", memory unknown", no_memory);
    return r;
}

/* --- JSON --- */

static json_t *real(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *box_json(const struct jb_top_box *b)
{
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o}",
        "id", b->holding.id.text, "name", b->holding.name, "user", b->user, "uid", (json_int_t)b->holding.uid,
        "phase", jb_json_text(b->phase[0] ? b->phase : NULL), "cpus", jb_json_cpus(&b->holding.cpus),
        "cpu_count", (int)jb_cpus_count(&b->holding.cpus), "cpus_used", real(b->cpu), "cpu_s",
        jb_json_seconds_us(b->now.cpu_us), "memory_bytes", jb_json_u64(b->now.memory), "memory_max_bytes",
        jb_json_u64(b->memory_limit), "memory_pressure_some", real(b->memory_some), "memory_pressure_full",
        real(b->memory_full), "pids", jb_json_u64(b->now.pids), "read_bytes", jb_json_u64(b->now.read_bytes),
        "written_bytes", jb_json_u64(b->now.written_bytes), "read_bytes_per_s", real(b->read_rate),
        "written_bytes_per_s", real(b->written_rate), "wall_s", jb_json_seconds_ns(b->wall_ns), "wall_time_s",
        jb_json_seconds_ns(b->wall_limit_ns));
}

json_t *jb_top_json(struct jb_top *top, enum jb_top_sort sort, bool reverse)
{
    json_t *list = json_array();
    put_in_order(top, sort, reverse);
    for (size_t i = 0; i < top->n; i++)
        if (json_array_append_new(list, box_json(&top->boxes[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}
