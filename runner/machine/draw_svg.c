/*
 * draw_svg.c - the machine as an SVG document.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 *
 * Names come from users: they are printable ASCII by then, and are escaped here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "machine/draw.h"
#include "machine/layout.h"

#define MARGIN    24
#define HEADER    58 /* title and subtitle, down to the machine */
#define ROW       22 /* of the legend */
#define WIDTH     1180
#define WIDTH_MIN 620
#define COLORS    12
#define DEVICES   64 /* in the legend at most */

static const char style[] =
    "<style>\n"
    "svg{font-family:system-ui,'Segoe UI','DejaVu Sans',Helvetica,Arial,sans-serif;font-size:12px;"
    "background:#ffffff}\n"
    "text{fill:#1f2933}\n"
    ".page{fill:#ffffff}.head{font-size:18px;font-weight:600}.quiet{fill:#5f6c7b}\n"
    ".g{fill:#f4f6f8;stroke:#c3ccd5}.leaf{fill:#ffffff;stroke:#c3ccd5}.core{fill:#dfe5ea}\n"
    ".free{fill:#f8fafb}.reserved,.not_allowed{fill:#c9d0d7}.shared{fill:#ffffff}\n"
    ".mono{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:11px}\n"
    ".c{text-anchor:middle}.num{fill:#5f6c7b}.code{font-weight:700}\n"
    ".idle{fill-opacity:.45}\n"
    ".b0{fill:#9ee3b4}.b1{fill:#9ad7f5}.b2{fill:#f7d98a}.b3{fill:#e3b5f2}.b4{fill:#b3c1fb}.b5{fill:#f8b3ac}\n"
    ".b6{fill:#c8e87f}.b7{fill:#8fe3dc}.b8{fill:#f5bd8c}.b9{fill:#f3b1d2}.b10{fill:#c9c0f7}.b11{fill:#d9c9ae}"
    "\n"
    "@media (prefers-color-scheme:dark){\n"
    "svg{background:#14181d}text{fill:#e3e8ed}.page{fill:#14181d}.quiet,.num{fill:#9aa7b4}\n"
    ".g{fill:#1b2128;stroke:#3d4853}.leaf{fill:#14181d;stroke:#3d4853}.core{fill:#2c353f}\n"
    ".free{fill:#1d242b}.reserved,.not_allowed{fill:#4a5561}.shared{fill:#14181d}\n"
    ".b0{fill:#1f6b3a}.b1{fill:#1b5f80}.b2{fill:#7a5b10}.b3{fill:#6d3580}.b4{fill:#3a4795}.b5{fill:#8a332b}\n"
    ".b6{fill:#4d6b12}.b7{fill:#14675f}.b8{fill:#84491a}.b9{fill:#7f2f58}.b10{fill:#514393}.b11{fill:#65573c}"
    "\n"
    "}\n"
    "</style>\n";

struct sheet {
    const struct jb_view *view;
    struct jb_layout_rules rules;
    struct jb_place_on_plane *places;
    struct jb_buf *out;
    int width, height;
};

static void escaped(struct jb_buf *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            (void)jb_buf_puts(out, "&lt;");
            break;
        case '>':
            (void)jb_buf_puts(out, "&gt;");
            break;
        case '&':
            (void)jb_buf_puts(out, "&amp;");
            break;
        case '"':
            (void)jb_buf_puts(out, "&quot;");
            break;
        default:
            (void)jb_buf_add(out, (const unsigned char)*text < ' ' ? "?" : text, 1);
        }
    }
}

static void text_at(struct sheet *s, int x, int y, const char *class, const char *text)
{
    (void)jb_buf_printf(s->out, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
    escaped(s->out, text);
    (void)jb_buf_puts(s->out, "</text>\n");
}

static void tooltip(struct sheet *s, const char *text)
{
    (void)jb_buf_puts(s->out, "<title>");
    escaped(s->out, text);
    (void)jb_buf_puts(s->out, "</title>");
}

/* "build (01M8550P8FZS8EXQR3GDKNWV9R, alice), CPUs 0-3, memory 8.00 GiB on nodes 0" */
static char *describe(const struct jb_view_box *box)
{
    char size[32];
    const struct jb_holding *h = &box->holding;
    jb_autofree char *cpus = jb_cpus_list(&h->cpus);
    jb_autofree char *nodes = jb_cpus_list(&h->mems);
    if (!cpus || !nodes)
        return NULL;
    bool memory = h->memory != JB_UNSET;
    return jb_asprintf(
        "%s (%s, %s), CPUs %s%s%s%s%s%s", *h->name ? h->name : "unnamed", h->id.text, box->user, cpus,
        memory ? ", memory " : "", memory ? jb_format_size(h->memory, size, sizeof(size)) : "",
        memory && *nodes ? " on node " : "", memory ? nodes : "", h->exclusive ? "" : ", shares");
}

static void pu_tooltip(struct sheet *s, size_t pu)
{
    static const char *const words[JB_PU_STATE_MAX] = {
        [JB_PU_FREE] = "free",
        [JB_PU_HELD] = "",
        [JB_PU_SHARED] = "several boxes share it",
        [JB_PU_RESERVED] = "reserved by the site",
        [JB_PU_DISALLOWED] = "not allowed here",
    };
    const struct jb_view_pu *p = &s->view->pus[pu];
    const struct jb_pu *m = &s->view->machine->pus[pu];
    jb_autofree char *box = p->box >= 0 ? describe(&s->view->boxes[p->box]) : NULL;
    jb_autofree char *text = jb_asprintf("CPU %u, core %u: %s%s%s", m->os, m->core,
                                         p->box >= 0 ? s->view->boxes[p->box].code : words[p->state],
                                         p->idle ? " (held as a sibling) "
                                         : box   ? " "
                                                 : "",
                                         box ? box : "");
    if (text)
        tooltip(s, text);
}

static void draw_pu(struct sheet *s, size_t pu, int x, int y)
{
    const struct jb_view_pu *p = &s->view->pus[pu];
    const char *mark = p->state == JB_PU_HELD         ? s->view->boxes[p->box].code
                       : p->state == JB_PU_SHARED     ? "+"
                       : p->state == JB_PU_RESERVED   ? "#"
                       : p->state == JB_PU_DISALLOWED ? "-"
                                                      : "";
    int w = s->rules.pu_width - 4;
    int h = s->rules.pu_height - 2;
    char class[32];
    (void)snprintf(class, sizeof(class), "b%d", p->box % COLORS);
    (void)jb_buf_puts(s->out, "<g>");
    pu_tooltip(s, pu);
    (void)jb_buf_printf(
        s->out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\" class=\"%s%s\"/>", x + 2, y + 1,
        w, h, p->box >= 0 ? class : jb_pu_state_name(p->state), p->idle ? " idle" : "");
    (void)jb_buf_printf(s->out, "<text x=\"%d\" y=\"%d\" class=\"mono c\"><tspan class=\"%s\">%u</tspan>",
                        x + 2 + w / 2, y + h - 4, p->box >= 0 ? "" : "num", s->view->machine->pus[pu].os);
    if (*mark)
        (void)jb_buf_printf(s->out, "<tspan class=\"code\"> %s</tspan>", mark);
    (void)jb_buf_puts(s->out, "</text></g>\n");
}

static void draw_core(struct sheet *s, size_t g, size_t i)
{
    const struct jb_view_core *core = &s->view->cores[s->view->groups[g].first_core + i];
    int x;
    int y;
    jb_layout_pu(&s->places[g], &s->rules, i, 0, &x, &y);
    (void)jb_buf_printf(
        s->out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\" class=\"core\"/>\n", x + MARGIN,
        y + HEADER - 1, s->rules.pu_width, (int)core->n_pus * s->rules.pu_height + 2);
    for (size_t p = 0; p < core->n_pus; p++) {
        jb_layout_pu(&s->places[g], &s->rules, i, p, &x, &y);
        draw_pu(s, core->first_pu + p, x + MARGIN, y + HEADER);
    }
}

static void draw_group(struct sheet *s, size_t g)
{
    const struct jb_view_group *group = &s->view->groups[g];
    const struct jb_place_on_plane *p = &s->places[g];
    char title[256];
    (void)jb_view_title(s->view, g, title, sizeof(title));
    if (g > 0) {
        struct jb_cpus set = {0};
        for (size_t i = 0; i < group->n_pus; i++)
            jb_cpus_add(&set, s->view->machine->pus[group->first_pu + i].os);
        jb_autofree char *cpus = jb_cpus_list(&set);
        jb_autofree char *tip = jb_asprintf("%s: %zu core%s, CPUs %s", *title ? title : "group",
                                            group->n_cores, group->n_cores == 1 ? "" : "s", cpus ? cpus : "");
        (void)jb_buf_puts(s->out, "<g>");
        if (tip)
            tooltip(s, tip);
        (void)jb_buf_printf(s->out,
                            "<rect x=\"%d.5\" y=\"%d.5\" width=\"%d\" height=\"%d\" rx=\"5\" class=\"%s\"/>",
                            p->x + MARGIN, p->y + HEADER, p->width - 1, p->height - 1,
                            group->first_child >= 0 ? "g" : "leaf");
        text_at(s, p->x + MARGIN + s->rules.pad_x, p->y + HEADER + 16, "quiet", title);
        (void)jb_buf_puts(s->out, "</g>\n");
    }
    for (size_t i = 0; group->first_child < 0 && i < group->n_cores; i++)
        draw_core(s, g, i);
}

static int legend_rows(const struct jb_view *v)
{
    int rows = (int)v->n_boxes;
    for (int state = 0; state < JB_PU_STATE_MAX; state++)
        rows += state != JB_PU_HELD && v->count[state];
    rows += !jb_cpus_empty(&v->machine->offline);
    rows += v->machine->n_devices > DEVICES ? DEVICES + 1 : (int)v->machine->n_devices;
    return rows;
}

static void legend_row(struct sheet *s, int row, const char *class, const char *code, const char *text)
{
    int y = HEADER + s->places[0].height + 16 + row * ROW;
    (void)jb_buf_printf(s->out,
                        "<rect x=\"%d\" y=\"%d\" width=\"34\" height=\"16\" rx=\"2\" class=\"%s\" "
                        "stroke=\"#8f9aa5\" stroke-width=\".5\"/>",
                        MARGIN, y, class);
    text_at(s, MARGIN + 17, y + 12, "mono c code", code);
    char shown[512];
    size_t room = (size_t)(s->width - 2 * MARGIN - 44) / 7;
    room = room < sizeof(shown) - 1 ? room : sizeof(shown) - 1;
    (void)snprintf(shown, sizeof(shown), "%.*s%s", (int)(strlen(text) > room ? room - 2 : room), text,
                   strlen(text) > room ? ".." : "");
    (void)jb_buf_puts(s->out, "<g>");
    tooltip(s, text);
    text_at(s, MARGIN + 44, y + 12, "", shown);
    (void)jb_buf_puts(s->out, "</g>\n");
}

static void legend_devices(struct sheet *s, int row)
{
    const struct jb_machine *m = s->view->machine;
    struct jb_cpus all = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        jb_cpus_add(&all, m->pus[i].os);
    for (size_t i = 0; i < m->n_devices && i < DEVICES; i++) {
        const struct jb_io_device *d = &m->devices[i];
        char where[512];
        jb_autofree char *text =
            jb_asprintf("%s%s%s%s%s%s%s, %s", jb_io_class_name(d->class), *d->name ? " " : "", d->name,
                        *d->bus ? ", PCI " : "", d->bus, *d->model ? ", " : "", d->model,
                        jb_io_where(d, &all, where, sizeof(where)));
        legend_row(s, row++, "core", "", text ? text : "");
    }
    if (m->n_devices > DEVICES) {
        jb_autofree char *text = jb_asprintf("%zu devices more; --json has them all", m->n_devices - DEVICES);
        legend_row(s, row, "core", "", text ? text : "");
    }
}

static void legend(struct sheet *s)
{
    static const struct {
        enum jb_pu_state state;
        const char *mark, *words;
    } states[] = {{JB_PU_FREE, "", "free"},
                  {JB_PU_SHARED, "+", "several that share"},
                  {JB_PU_RESERVED, "#", "reserved by the site"},
                  {JB_PU_DISALLOWED, "-", "not allowed here"}};
    int row = 0;
    for (size_t i = 0; i < s->view->n_boxes; i++) {
        char class[16];
        (void)snprintf(class, sizeof(class), "b%zu", i % COLORS);
        jb_autofree char *text = describe(&s->view->boxes[i]);
        legend_row(s, row++, class, s->view->boxes[i].code, text ? text : "");
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(states); i++) {
        if (!s->view->count[states[i].state])
            continue;
        struct jb_cpus set = jb_view_cpus(s->view, states[i].state);
        jb_autofree char *list = jb_cpus_list(&set);
        jb_autofree char *text = jb_asprintf("%s: CPUs %s", states[i].words, list ? list : "");
        legend_row(s, row++, jb_pu_state_name(states[i].state), states[i].mark, text ? text : "");
    }
    if (!jb_cpus_empty(&s->view->machine->offline)) {
        jb_autofree char *list = jb_cpus_list(&s->view->machine->offline);
        jb_autofree char *text = jb_asprintf("offline: CPUs %s", list ? list : "");
        legend_row(s, row++, "not_allowed", "", text ? text : "");
    }
    legend_devices(s, row);
}

static void document(struct sheet *s)
{
    char heading[512];
    (void)jb_view_heading(s->view, heading, sizeof(heading));
    char *colon = strrchr(heading, ':');
    if (colon)
        *colon = '\0';
    (void)jb_buf_printf(s->out,
                        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 "
                        "%d %d\">\n",
                        s->width, s->height, s->width, s->height);
    tooltip(s, heading);
    (void)jb_buf_puts(s->out, "\n");
    (void)jb_buf_puts(s->out, style);
    (void)jb_buf_printf(s->out, "<rect width=\"%d\" height=\"%d\" class=\"page\"/>\n", s->width, s->height);
    text_at(s, MARGIN, 28, "head", heading);
    text_at(s, MARGIN, 46, "quiet", colon ? colon + 2 : "");
    for (size_t g = 0; g < s->view->n_groups; g++)
        draw_group(s, g);
    legend(s);
    (void)jb_buf_puts(s->out, "</svg>\n");
}

int jb_draw_svg(const struct jb_view *view, struct jb_buf *ret, struct jb_error *err)
{
    jb_autobuf struct jb_buf out = {0};
    unsigned highest = 0;
    for (size_t i = 0; i < view->machine->n_pus; i++)
        highest = view->machine->pus[i].os > highest ? view->machine->pus[i].os : highest;
    int chars = snprintf(NULL, 0, "%u", highest) + 1 + (int)view->code_len;
    struct sheet s = {.view = view,
                      .out = &out,
                      .rules = {.width = WIDTH - 2 * MARGIN,
                                .pad_x = 8,
                                .pad_top = 24,
                                .pad_bottom = 8,
                                .gap_x = 8,
                                .gap_y = 8,
                                .char_width = 7,
                                .title_room = 20,
                                .pu_width = chars * 7 + 10,
                                .pu_height = 18,
                                .core_gap_x = 4,
                                .core_gap_y = 6,
                                .row_max = 16}};
    s.places = jb_layout(view, &s.rules, NULL);
    if (!s.places)
        return jb_fail_errno(err, ENOMEM, "drawing the machine");
    int head = (int)strlen(view->source) * 11;
    s.width = s.places[0].width > head ? s.places[0].width : head;
    s.width = (s.width > WIDTH_MIN ? s.width : WIDTH_MIN) + 2 * MARGIN;
    s.height = HEADER + s.places[0].height + 16 + legend_rows(view) * ROW + MARGIN;
    document(&s);
    free(s.places);
    int r = out.data ? jb_buf_add(ret, out.data, out.len) : -ENOMEM;
    return r < 0 ? jb_fail_errno(err, r, "drawing the machine") : 0;
}
