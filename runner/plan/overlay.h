/*
 * overlay.h - which overlay a box's root is made of, chosen from what was found out.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 *
 * There are three ways: the kernel's overlay over the whole image; for an ordinary user a root that is put together from
 * one overlay for each folder; and fuse-overlayfs, a program that can do without what the kernel insists on, and that all
 * of a job's files go through. So it comes last.
 */
#ifndef JB_PLAN_OVERLAY_H
#define JB_PLAN_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "site/site.h"

struct jb_overlay_facts {
    enum jb_site_overlay wish;
    bool userns;
    bool host, directory; /* the image is the host; is a directory */
    int result;           /* of an overlay of the kernel's, tried: 0 or -errno */
    const char *said;     /* what the kernel said of that */
    bool submounts;       /* it was refused because of mounts below the image */
    bool no_attributes;   /* the scratch keeps no user attributes */
    const char *
        upper; /* the kind of file system that the scratch is on, which takes no upper layer; NULL: it does */
    bool foreign;          /* the image is somebody's who has no id in the box ... */
    const char *foreigner; /* ... "user 0" */
    bool root_in_box;
    const char *lacks; /* why fuse-overlayfs cannot be used; "": it can */
};

enum jb_overlay_way { JB_OVERLAY_KERNEL, JB_OVERLAY_COMPOSED, JB_OVERLAY_FUSE, JB_OVERLAY_NONE };

/* `why`: what there is to say of it, or why there is none; "" where there is nothing. */
enum jb_overlay_way jb_overlay_choose(const struct jb_overlay_facts *facts, char *why, size_t len);

#endif
