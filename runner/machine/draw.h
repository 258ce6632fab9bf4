/*
 * draw.h - the drawings of a view: for a terminal, as SVG, and all of it as JSON.
 *
 * Owns: nothing. Runs in: the client. Privilege: none. Pure: same inputs, same bytes.
 */
#ifndef JB_MACHINE_DRAW_H
#define JB_MACHINE_DRAW_H

#include <stdbool.h>

#include "base/str.h"
#include "machine/view.h"

#define JB_DRAW_WIDTH_MIN 24
#define JB_DRAW_WIDTH_MAX 1000

struct jb_draw_style {
    int width;  /* columns; kept within the two bounds above */
    bool color; /* ANSI colours */
    bool utf8;  /* else ASCII only */
};

/*
 * Machine, then legend. Each CPU is its number and the letter of its box; machines that would be more than a screen
 * or two high are drawn with letters only, and the numbers in the titles. No line is wider than the style's width,
 * unless one core is.
 */
int jb_draw_text(const struct jb_view *view, const struct jb_draw_style *style, struct jb_buf *ret,
                 struct jb_error *err);

/* A whole SVG document, with its own style for light and for dark. */
int jb_draw_svg(const struct jb_view *view, struct jb_buf *ret, struct jb_error *err);

struct json_t;
/* Caller decrefs; NULL when out of memory. */
struct json_t *jb_draw_json(const struct jb_view *view);
/* One box of a view or ledger, as JSON has it everywhere. */
struct json_t *jb_draw_json_box(const struct jb_holding *holding, const char *code, const char *user);

#endif
