/*
 * same.h - whether a file of an upper has what the file of its name below has.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: reading both files.
 */
#ifndef JB_JOB_KEPT_SAME_H
#define JB_JOB_KEPT_SAME_H

#include "base/overlaymarks.h"

/*
 * Of two regular files of the same size, `a_dir` that of the upper, where a mark may say that the content is still the one
 * below. 1: they differ, 0: they do not, -errno: one cannot be read.
 */
int jb_content_differs(int a_dir, enum jb_overlay_space space, int b_dir, const char *name);

/* The same of what two symlinks lead to. */
int jb_target_differs(int a_dir, int b_dir, const char *name);

#endif
