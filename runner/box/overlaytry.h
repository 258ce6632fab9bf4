/*
 * overlaytry.h - whether the kernel takes an overlay over a directory, asked before anything of a job is made.
 *
 * Owns: nothing that outlives a call. Runs in: the client; what is mounted, in a child that ends at once, and with it its
 * namespaces. Privilege: the client's.
 */
#ifndef JB_BOX_OVERLAYTRY_H
#define JB_BOX_OVERLAYTRY_H

#include <stdbool.h>

#include "base/error.h"

/* On a file system of this kind an overlay of root's works; of others it is to be tried. False also when it is not known. */
bool jb_overlay_is_sure(const char *dir);

/* 0, or -errno with the kernel's words: mounts an overlay over `dir` and makes something in it. */
int jb_overlay_try(const char *dir, bool userns, struct jb_error *err);

#endif
