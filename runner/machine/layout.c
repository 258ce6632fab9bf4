/*
 * layout.c - measuring from the inside out, then placing from the outside in.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "machine/layout.h"

#include <stdlib.h>
#include <string.h>

struct work {
    const struct jb_view *view;
    const struct jb_layout_rules *rules;
    const size_t *title_extra;
    struct jb_place_on_plane *places;
};

static int largest(int a, int b)
{
    return a > b ? a : b;
}

/* As many in a row as fit, then as evenly as that many rows allow. */
static int even_rows(int n, int item, int gap, int room)
{
    int fit = (room + gap) / (item + gap);
    if (n < 2 || fit < 2)
        return 1;
    fit = fit > n ? n : fit;
    int rows = (n + fit - 1) / fit;
    return (n + rows - 1) / rows;
}

static int title_width(const struct work *w, size_t g)
{
    char title[256];
    size_t chars = strlen(jb_view_title(w->view, g, title, sizeof(title)));
    chars += w->title_extra ? w->title_extra[g] : 0;
    return (int)chars * w->rules->char_width + w->rules->title_room;
}

static void measure_cores(const struct work *w, size_t g, int room)
{
    const struct jb_layout_rules *r = w->rules;
    const struct jb_view_group *group = &w->view->groups[g];
    struct jb_place_on_plane *p = &w->places[g];
    int threads = 1;
    for (size_t c = 0; c < group->n_cores; c++)
        threads = largest(threads, (int)w->view->cores[group->first_core + c].n_pus);
    p->core_width = r->pu_width * (r->across ? threads : 1);
    p->core_height = r->pu_height * (r->across ? 1 : threads);
    int widest = r->row_max * (p->core_width + r->core_gap_x) - r->core_gap_x;
    p->per_row = even_rows((int)group->n_cores, p->core_width, r->core_gap_x, room < widest ? room : widest);
    int rows = ((int)group->n_cores + p->per_row - 1) / p->per_row;
    p->width = p->per_row * (p->core_width + r->core_gap_x) - r->core_gap_x;
    p->height = rows * (p->core_height + r->core_gap_y) - r->core_gap_y;
}

static void measure(const struct work *w, size_t g, int room);

/* Places of children are relative to the inside of their parent until settle(). */
static void measure_children(const struct work *w, size_t g, int room)
{
    const struct jb_layout_rules *r = w->rules;
    struct jb_place_on_plane *p = &w->places[g];
    int n = 0;
    int item = 0;
    for (int c = w->view->groups[g].first_child; c >= 0; c = w->view->groups[c].next) {
        measure(w, (size_t)c, room);
        item = largest(item, w->places[c].width);
        n++;
    }
    int per_row = even_rows(n, item, r->gap_x, room);
    int i = 0;
    int y = 0;
    int tallest = 0;
    for (int c = w->view->groups[g].first_child; c >= 0; c = w->view->groups[c].next, i++) {
        if (i > 0 && i % per_row == 0) {
            y += tallest + r->gap_y;
            tallest = 0;
        }
        w->places[c].x = i % per_row * (item + r->gap_x);
        w->places[c].y = y;
        w->places[c].width = item;
        tallest = largest(tallest, w->places[c].height);
    }
    p->width = per_row * (item + r->gap_x) - r->gap_x;
    p->height = y + tallest;
}

static void measure(const struct work *w, size_t g, int room)
{
    const struct jb_layout_rules *r = w->rules;
    struct jb_place_on_plane *p = &w->places[g];
    int inside = g == 0 ? room : room - 2 * r->pad_x;
    if (w->view->groups[g].first_child >= 0)
        measure_children(w, g, inside);
    else
        measure_cores(w, g, inside);
    if (g == 0)
        return;
    p->width += 2 * r->pad_x;
    p->height += r->pad_top + r->pad_bottom;
    int title = title_width(w, g);
    p->width = largest(p->width, title < room ? title : room);
}

static void settle(const struct work *w, size_t g)
{
    const struct jb_layout_rules *r = w->rules;
    int left = w->places[g].x + (g == 0 ? 0 : r->pad_x);
    int top = w->places[g].y + (g == 0 ? 0 : r->pad_top);
    for (int c = w->view->groups[g].first_child; c >= 0; c = w->view->groups[c].next) {
        w->places[c].x += left;
        w->places[c].y += top;
        settle(w, (size_t)c);
    }
}

struct jb_place_on_plane *jb_layout(const struct jb_view *view, const struct jb_layout_rules *rules,
                                    const size_t *title_extra)
{
    struct work w = {.view = view, .rules = rules, .title_extra = title_extra};
    w.places = calloc(view->n_groups, sizeof(*w.places));
    if (!w.places)
        return NULL;
    measure(&w, 0, rules->width);
    settle(&w, 0);
    return w.places;
}

void jb_layout_pu(const struct jb_place_on_plane *place, const struct jb_layout_rules *rules, size_t i,
                  size_t p, int *ret_x, int *ret_y)
{
    int column = (int)i % place->per_row;
    int row = (int)i / place->per_row;
    *ret_x = place->x + rules->pad_x + column * (place->core_width + rules->core_gap_x);
    *ret_y = place->y + rules->pad_top + row * (place->core_height + rules->core_gap_y);
    if (rules->across)
        *ret_x += (int)p * rules->pu_width;
    else
        *ret_y += (int)p * rules->pu_height;
}
