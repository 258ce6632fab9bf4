/*
 * layout.h - where the groups and cores of a view lie on a plane of characters or of pixels.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none. Pure. Internal to the drawings.
 *
 * A group is a frame with a title; in it lie its children, or its cores, in rows as wide as there is room for and
 * about equally full. Groups side by side are made equally wide.
 */
#ifndef JB_MACHINE_LAYOUT_H
#define JB_MACHINE_LAYOUT_H

#include "machine/view.h"

/* All in the unit of the plane. */
struct jb_layout_rules {
    int width; /* to be kept to, but one core always has room */
    int pad_x, pad_top, pad_bottom;
    int gap_x, gap_y; /* between groups */
    int char_width;   /* of titles */
    int title_room;   /* what a frame needs beside its title */
    int pu_width, pu_height;
    bool across; /* the PUs of a core lie side by side, else one above the other */
    int core_gap_x, core_gap_y;
    int row_max; /* cores in a row at most */
};

struct jb_place_on_plane {
    int x, y, width, height; /* absolute */
    int per_row;             /* cores in a row */
    int core_width, core_height;
};

/* One for each group of the view; the first has no frame. `title_extra[g]` (may be NULL): further characters of a
 * title. Caller frees; NULL when out of memory. */
struct jb_place_on_plane *jb_layout(const struct jb_view *view, const struct jb_layout_rules *rules,
                                    const size_t *title_extra);

/* Top left corner of the i-th core of a group without children, and of the p-th PU in it. */
void jb_layout_pu(const struct jb_place_on_plane *place, const struct jb_layout_rules *rules, size_t i,
                  size_t p, int *ret_x, int *ret_y);

#endif
