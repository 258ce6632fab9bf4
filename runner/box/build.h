/*
 * build.h - inside of runner/box: the first process of a box, from clone to the exec of jobbox-init.
 *
 * Owns: see build.c. Runs in: the box's first process.
 */
#ifndef JB_BOX_BUILD_H
#define JB_BOX_BUILD_H

#include "box/box.h"

struct jb_build {
    const struct jb_box_parts *parts;
    int control; /* the box's end of the message socket */
    int init_fd; /* jobbox-init, to be executed; it comes with JOIN */
};

/* Never returns: executes jobbox-init, or says JB_MSG_FAILED and exits. */
_Noreturn void jb_build_run(const struct jb_build *build);

/* jobbox-init as built into libjobbox. */
extern const unsigned char jb_init_image[];
extern const unsigned char jb_init_image_end[];

#endif
