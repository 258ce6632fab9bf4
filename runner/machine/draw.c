/*
 * draw.c - the machine as text.
 *
 * Owns: a canvas of characters while it draws. Runs in: the client. Privilege: none.
 */
#include "machine/draw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "machine/layout.h"

#define DEVICES_SHOWN 16
#define LINES_WANTED  60 /* a drawing that is higher leaves the numbers to the titles */

enum ink { INK_PLAIN, INK_FRAME, INK_TITLE, INK_FREE, INK_OFF, INK_BOX };

struct cell {
    char glyph;         /* ASCII; frames by the names below */
    unsigned char ink;  /* INK_BOX and above: a box, by its number */
    unsigned char idle; /* held, not run on */
};

/* Frame parts as they stand in the canvas, and how they are written. */
enum { PART_H = 1, PART_V, PART_NW, PART_NE, PART_SW, PART_SE, PART_FREE, PART_MAX };
static const struct {
    const char *utf8, *ascii;
} parts[PART_MAX] = {
    [PART_H] = {"─", "-"},  [PART_V] = {"│", "|"},  [PART_NW] = {"┌", "+"},   [PART_NE] = {"┐", "+"},
    [PART_SW] = {"└", "+"}, [PART_SE] = {"┘", "+"}, [PART_FREE] = {"·", "."},
};

static const char *const state_glyph[JB_PU_STATE_MAX] = {
    [JB_PU_FREE] = "\007", /* PART_FREE */
    [JB_PU_HELD] = "",     [JB_PU_SHARED] = "+", [JB_PU_RESERVED] = "#", [JB_PU_DISALLOWED] = "-",
};

struct canvas {
    int width, height;
    struct cell *cells;
};

struct drawing {
    const struct jb_view *view;
    const struct jb_draw_style *style;
    struct jb_layout_rules rules;
    struct jb_place_on_plane *places;
    struct canvas canvas;
    int digits; /* of CPU numbers; 0: none are shown */
};

static void put(struct canvas *c, int x, int y, const char *text, unsigned ink, bool idle)
{
    for (; *text && x < c->width; text++, x++)
        if (x >= 0 && y >= 0 && y < c->height)
            c->cells[y * c->width + x] =
                (struct cell){.glyph = *text, .ink = (unsigned char)ink, .idle = idle};
}

static void put_part(struct canvas *c, int x, int y, char part)
{
    put(c, x, y, (const char[]){part, '\0'}, INK_FRAME, false);
}

static void frame(struct canvas *c, const struct jb_place_on_plane *p, const char *title)
{
    int right = p->x + p->width - 1;
    int bottom = p->y + p->height - 1;
    for (int x = p->x + 1; x < right; x++) {
        put_part(c, x, p->y, PART_H);
        put_part(c, x, bottom, PART_H);
    }
    for (int y = p->y + 1; y < bottom; y++) {
        put_part(c, p->x, y, PART_V);
        put_part(c, right, y, PART_V);
    }
    put_part(c, p->x, p->y, PART_NW);
    put_part(c, right, p->y, PART_NE);
    put_part(c, p->x, bottom, PART_SW);
    put_part(c, right, bottom, PART_SE);
    if (!*title)
        return;
    char text[600];
    int room = p->width - 4;
    int len = snprintf(text, sizeof(text), " %.*s", room - 1, title);
    if ((int)strlen(title) > room - 1 && len > 2)
        text[len - 1] = text[len - 2] = '.';
    put(c, p->x + 1, p->y, text, INK_TITLE, false);
    put(c, p->x + 1 + len, p->y, " ", INK_TITLE, false);
}

/* The CPUs of a group, for titles where the cells bear no numbers. */
static char *numbers(const struct jb_view *v, size_t g)
{
    struct jb_cpus set = {0};
    for (size_t i = 0; i < v->groups[g].n_pus; i++)
        jb_cpus_add(&set, v->machine->pus[v->groups[g].first_pu + i].os);
    return jb_cpus_list(&set);
}

static int title(const struct drawing *d, size_t g, char *buf, size_t len)
{
    (void)jb_view_title(d->view, g, buf, len);
    if (d->digits || d->view->groups[g].first_child >= 0)
        return 0;
    jb_autofree char *list = numbers(d->view, g);
    if (!list)
        return -ENOMEM;
    size_t used = strlen(buf);
    (void)snprintf(buf + used, len - used, "%s%s", used ? ": " : "", list);
    return 0;
}

static unsigned ink_of(const struct jb_view_pu *pu)
{
    switch (pu->state) {
    case JB_PU_HELD:
        return INK_BOX + (unsigned)(pu->box % 12);
    case JB_PU_SHARED:
        return INK_TITLE;
    case JB_PU_FREE:
        return INK_FREE;
    default:
        return INK_OFF;
    }
}

static void draw_pu(struct drawing *d, size_t pu, int x, int y)
{
    const struct jb_view_pu *p = &d->view->pus[pu];
    char text[32];
    const char *mark = p->state == JB_PU_HELD ? d->view->boxes[p->box].code : state_glyph[p->state];
    if (d->digits)
        (void)snprintf(text, sizeof(text), "%*u%s", d->digits, d->view->machine->pus[pu].os, mark);
    else
        (void)snprintf(text, sizeof(text), "%s", mark);
    put(&d->canvas, x, y, text, ink_of(p), p->idle);
}

static int draw_group(struct drawing *d, size_t g)
{
    const struct jb_view_group *group = &d->view->groups[g];
    char text[512];
    int r = title(d, g, text, sizeof(text));
    if (r < 0)
        return r;
    if (g > 0)
        frame(&d->canvas, &d->places[g], text);
    if (group->first_child >= 0)
        return 0;
    for (size_t c = 0; c < group->n_cores; c++) {
        const struct jb_view_core *core = &d->view->cores[group->first_core + c];
        for (size_t i = 0; i < core->n_pus; i++) {
            int x;
            int y;
            jb_layout_pu(&d->places[g], &d->rules, c, i, &x, &y);
            draw_pu(d, core->first_pu + i, x, y);
        }
    }
    return 0;
}

static const char *paint(unsigned ink, bool idle)
{
    static const char *const boxes[12] = {
        "\033[1;32m", "\033[1;36m", "\033[1;33m", "\033[1;35m", "\033[1;34m", "\033[1;31m",
        "\033[0;92m", "\033[0;96m", "\033[0;93m", "\033[0;95m", "\033[0;94m", "\033[0;91m",
    };
    static const char *const dim[12] = {
        "\033[2;32m", "\033[2;36m", "\033[2;33m", "\033[2;35m", "\033[2;34m", "\033[2;31m",
        "\033[2;92m", "\033[2;96m", "\033[2;93m", "\033[2;95m", "\033[2;94m", "\033[2;91m",
    };
    static const char *const others[INK_BOX] = {
        [INK_PLAIN] = "\033[0m", [INK_FRAME] = "\033[0;90m", [INK_TITLE] = "\033[0;1m",
        [INK_FREE] = "\033[0m",  [INK_OFF] = "\033[0;90m",
    };
    return ink < INK_BOX ? others[ink] : idle ? dim[ink - INK_BOX] : boxes[ink - INK_BOX];
}

static void write_line(const struct drawing *d, int y, struct jb_buf *out)
{
    const struct cell *row = &d->canvas.cells[y * d->canvas.width];
    int end = d->canvas.width;
    while (end > 0 && (row[end - 1].glyph == ' ' || !row[end - 1].glyph))
        end--;
    unsigned ink = INK_PLAIN;
    bool idle = false;
    for (int x = 0; x < end; x++) {
        char glyph = row[x].glyph;
        bool changed = row[x].ink != ink || row[x].idle != idle;
        if (d->style->color && glyph && glyph != ' ' && changed) {
            ink = row[x].ink;
            idle = row[x].idle;
            (void)jb_buf_puts(out, paint(ink, idle));
        }
        if (glyph > 0 && glyph < PART_MAX)
            (void)jb_buf_puts(out, d->style->utf8 ? parts[(int)glyph].utf8 : parts[(int)glyph].ascii);
        else
            (void)jb_buf_add(out, glyph ? &glyph : " ", 1);
    }
    if (ink != INK_PLAIN || idle)
        (void)jb_buf_puts(out, paint(INK_PLAIN, false));
    (void)jb_buf_puts(out, "\n");
}

/* With numbers the threads of a core stand one above the other; without, side by side. */
static int lay_out(struct drawing *d, bool with_numbers)
{
    const struct jb_view *v = d->view;
    unsigned highest = 0;
    size_t threads = 1;
    for (size_t i = 0; i < v->machine->n_pus; i++)
        highest = v->machine->pus[i].os > highest ? v->machine->pus[i].os : highest;
    for (size_t c = 0; c < v->n_cores; c++)
        threads = v->cores[c].n_pus > threads ? v->cores[c].n_pus : threads;
    d->digits = with_numbers ? snprintf(NULL, 0, "%u", highest) : 0;
    d->rules = (struct jb_layout_rules){.width = d->style->width,
                                        .pad_x = 2,
                                        .pad_top = 1,
                                        .pad_bottom = 1,
                                        .gap_x = 1,
                                        .char_width = 1,
                                        .title_room = 6,
                                        .pu_width = d->digits + (int)v->code_len,
                                        .pu_height = 1,
                                        .across = !with_numbers,
                                        .core_gap_x = 1,
                                        .core_gap_y = with_numbers && threads > 1,
                                        .row_max = JB_DRAW_WIDTH_MAX};
    jb_autofree size_t *extra = calloc(v->n_groups, sizeof(*extra));
    if (!extra)
        return -ENOMEM;
    for (size_t g = 0; !with_numbers && g < v->n_groups; g++) {
        jb_autofree char *list = v->groups[g].first_child < 0 ? numbers(v, g) : NULL;
        extra[g] = list ? strlen(list) + 2 : 0;
    }
    free(d->places);
    d->places = jb_layout(v, &d->rules, extra);
    return d->places ? 0 : -ENOMEM;
}

static int draw_machine(struct drawing *d, struct jb_buf *out)
{
    int r = lay_out(d, true);
    if (r == 0 && d->places[0].height > LINES_WANTED)
        r = lay_out(d, false);
    if (r < 0 || !d->places)
        return r;
    d->canvas.width = d->places[0].width;
    d->canvas.height = d->places[0].height;
    d->canvas.cells =
        calloc((size_t)d->canvas.width * (size_t)d->canvas.height + 1, sizeof(*d->canvas.cells));
    if (!d->canvas.cells)
        return -ENOMEM;
    for (size_t g = 0; r == 0 && g < d->view->n_groups; g++)
        r = draw_group(d, g);
    for (int y = 0; r == 0 && y < d->canvas.height; y++)
        write_line(d, y, out);
    return r;
}

/* Words, broken at blanks to the width; lines after the first are indented. */
static void wrap(const struct drawing *d, const char *text, struct jb_buf *out)
{
    int column = 0;
    bool broken = false; /* in the middle of a word that is wider than a line */
    while (*text) {
        const char *space = strchr(text, ' ');
        int len = space ? (int)(space - text) : (int)strlen(text);
        if (column > 0 && (column + 1 + len > d->style->width || broken)) {
            (void)jb_buf_puts(out, "\n");
            (void)jb_buf_puts(out, "  ");
            column = 2;
        } else if (column > 0) {
            (void)jb_buf_puts(out, " ");
            column++;
        }
        bool too_long = len > d->style->width - column;
        len = too_long ? d->style->width - column : len;
        (void)jb_buf_add(out, text, (size_t)len);
        column += len;
        if (too_long)
            space = NULL;
        broken = too_long;
        text += len + (space != NULL);
    }
    (void)jb_buf_puts(out, "\n");
}

static void memory_of(const struct jb_holding *h, char *buf, size_t len)
{
    char size[32];
    jb_autofree char *nodes = jb_cpus_list(&h->mems);
    buf[0] = '\0';
    if (h->memory != JB_UNSET)
        (void)snprintf(buf, len, ", memory %s%s%s", jb_format_size(h->memory, size, sizeof(size)),
                       nodes && *nodes ? " on node " : "", nodes ? nodes : "");
}

static int legend_box(const struct drawing *d, size_t i, const int *columns, struct jb_buf *out)
{
    const struct jb_view_box *box = &d->view->boxes[i];
    jb_autofree char *cpus = jb_cpus_list(&box->holding.cpus);
    char memory[128];
    char text[JB_DRAW_WIDTH_MAX + 200];
    if (!cpus)
        return -ENOMEM;
    memory_of(&box->holding, memory, sizeof(memory));
    (void)snprintf(text, sizeof(text), "  %-*.*s  %-*.*s  %-*.*s  CPUs %s%s%s", columns[0], columns[0],
                   box->holding.id.text, columns[1], columns[1],
                   *box->holding.name ? box->holding.name : "unnamed", columns[2], columns[2], box->user,
                   cpus, memory, box->holding.exclusive ? "" : ", shares");
    size_t room = (size_t)d->style->width - d->view->code_len;
    if (room < sizeof(text) && strlen(text) > room)
        (void)snprintf(text + room - 2, 3, "..");
    unsigned ink = INK_BOX + (unsigned)(i % 12);
    return jb_buf_printf(out, "%s%s%s%s\n", d->style->color ? paint(ink, false) : "", box->code,
                         d->style->color ? paint(INK_PLAIN, false) : "", text);
}

static int longer(int a, size_t b, int max)
{
    int n = (int)b < max ? (int)b : max;
    return n > a ? n : a;
}

static int legend_boxes(const struct drawing *d, struct jb_buf *out)
{
    int columns[3] = {0};
    int r = 0;
    for (size_t i = 0; i < d->view->n_boxes; i++) {
        const struct jb_view_box *box = &d->view->boxes[i];
        columns[0] = longer(columns[0], strlen(box->holding.id.text), 12);
        columns[1] = longer(columns[1], *box->holding.name ? strlen(box->holding.name) : 7, 20);
        columns[2] = longer(columns[2], strlen(box->user), 10);
    }
    for (size_t i = 0; r == 0 && i < d->view->n_boxes; i++)
        r = legend_box(d, i, columns, out);
    return r;
}

static int legend_states(const struct drawing *d, struct jb_buf *out)
{
    static const struct {
        enum jb_pu_state state;
        const char *what;
    } lines[] = {{JB_PU_FREE, "free"},
                 {JB_PU_SHARED, "several that share"},
                 {JB_PU_RESERVED, "reserved by the site"},
                 {JB_PU_DISALLOWED, "not allowed here"}};
    for (size_t i = 0; i < JB_ARRAY_LEN(lines); i++) {
        if (!d->view->count[lines[i].state])
            continue;
        struct jb_cpus set = jb_view_cpus(d->view, lines[i].state);
        jb_autofree char *list = jb_cpus_list(&set);
        const char *glyph = state_glyph[lines[i].state];
        if (glyph[0] == PART_FREE)
            glyph = d->style->utf8 ? parts[PART_FREE].utf8 : parts[PART_FREE].ascii;
        if (!list)
            return -ENOMEM;
        int room = d->style->width - (int)d->view->code_len - (int)strlen(lines[i].what) - 9;
        bool cut = room > 4 && (int)strlen(list) > room;
        int r = jb_buf_printf(out, "%s%*s  %s: CPUs %.*s%s\n", glyph, (int)d->view->code_len - 1, "",
                              lines[i].what, cut ? room - 2 : (int)strlen(list), list, cut ? ".." : "");
        if (r < 0)
            return r;
    }
    return 0;
}

/* Nodes that no CPU is near to have no frame to stand in. */
static int memory_only(const struct drawing *d, struct jb_buf *out)
{
    char size[32];
    const struct jb_machine *m = d->view->machine;
    for (size_t i = 0; i < m->n_nodes; i++) {
        bool drawn = false;
        for (size_t pu = 0; pu < m->n_pus; pu++)
            drawn |= m->pus[pu].numa == i;
        if (drawn || !m->nodes[i].memory)
            continue;
        jb_autofree char *near = jb_cpus_list(&m->nodes[i].cpus);
        jb_autofree char *text = jb_asprintf("node %u (%s%s): memory only%s%s", m->nodes[i].os,
                                             jb_format_size(m->nodes[i].memory, size, sizeof(size)),
                                             m->nodes[i].usable ? "" : ", not allowed",
                                             near && *near ? ", near CPUs " : "", near ? near : "");
        if (!text)
            return -ENOMEM;
        wrap(d, text, out);
    }
    return 0;
}

/* CPUs that are there and not online have no place in the drawing. */
static int offline(const struct drawing *d, struct jb_buf *out)
{
    if (jb_cpus_empty(&d->view->machine->offline))
        return 0;
    jb_autofree char *list = jb_cpus_list(&d->view->machine->offline);
    jb_autofree char *text = list ? jb_asprintf("offline: CPUs %s", list) : NULL;
    if (!text)
        return -ENOMEM;
    wrap(d, text, out);
    return 0;
}

static int devices(const struct drawing *d, struct jb_buf *out)
{
    const struct jb_machine *m = d->view->machine;
    struct jb_cpus all = {0};
    int columns[3] = {0};
    size_t shown = m->n_devices < DEVICES_SHOWN ? m->n_devices : DEVICES_SHOWN;
    for (size_t i = 0; i < m->n_pus; i++)
        jb_cpus_add(&all, m->pus[i].os);
    for (size_t i = 0; i < shown; i++) {
        columns[0] = longer(columns[0], strlen(jb_io_class_name(m->devices[i].class)), 12);
        columns[1] = longer(columns[1], *m->devices[i].name ? strlen(m->devices[i].name) : 1, 24);
        columns[2] = longer(columns[2], strlen(m->devices[i].bus), 15);
    }
    for (size_t i = 0; i < shown; i++) {
        const struct jb_io_device *io = &m->devices[i];
        char where[JB_DRAW_WIDTH_MAX];
        char text[2 * JB_DRAW_WIDTH_MAX];
        int len = snprintf(text, sizeof(text), "%-*s  %-*.*s  %-*.*s  %s", columns[0],
                           jb_io_class_name(io->class), columns[1], columns[1], *io->name ? io->name : "-",
                           columns[2], columns[2], io->bus, jb_io_where(io, &all, where, sizeof(where)));
        if (len > d->style->width)
            (void)snprintf(text + d->style->width - 2, 3, "..");
        int r = jb_buf_printf(out, "%s\n", text);
        if (r < 0)
            return r;
    }
    if (shown == m->n_devices)
        return 0;
    jb_autofree char *more = jb_asprintf("%zu devices more; --json has them all", m->n_devices - shown);
    if (!more)
        return -ENOMEM;
    wrap(d, more, out);
    return 0;
}

int jb_draw_text(const struct jb_view *view, const struct jb_draw_style *style, struct jb_buf *ret,
                 struct jb_error *err)
{
    struct jb_draw_style bounded = *style;
    jb_autobuf struct jb_buf out = {0};
    char heading[512];
    bounded.width = style->width < JB_DRAW_WIDTH_MIN   ? JB_DRAW_WIDTH_MIN
                    : style->width > JB_DRAW_WIDTH_MAX ? JB_DRAW_WIDTH_MAX
                                                       : style->width;
    struct drawing d = {.view = view, .style = &bounded};
    wrap(&d, jb_view_heading(view, heading, sizeof(heading)), &out);
    int r = draw_machine(&d, &out);
    if (r == 0)
        r = memory_only(&d, &out);
    if (r == 0)
        r = legend_boxes(&d, &out);
    if (r == 0)
        r = legend_states(&d, &out);
    if (r == 0)
        r = offline(&d, &out);
    if (r == 0)
        r = devices(&d, &out);
    free(d.places);
    free(d.canvas.cells);
    if (r < 0)
        return jb_fail_errno(err, r, "drawing the machine");
    r = jb_buf_add(ret, out.data, out.len);
    return r < 0 ? jb_fail_errno(err, r, "drawing the machine") : 0;
}
