/*
 * glob.h - path patterns, matched one name at a time while a tree is walked once.
 *
 * Owns: a struct jb_glob owns its text. Runs in: every process. Privilege: none; pure.
 *
 * Between slashes: "*" stands for any characters, "?" for one, "[a-z]" and "[!a-z]" for one of a set, "\" takes what
 * follows as it is. None of the first three matches a dot at the beginning of a name. "**" as a whole component stands
 * for any number of folders, none too, with or without dots. What lies in a folder that a pattern matches, it matches.
 *
 * A pattern is a row of components, and a state a set of places in that row, one bit each: what has been walked through
 * may stand for several of them. So a tree is listed once however many "**" there are, and a step costs no more than the
 * length of name and pattern multiplied.
 */
#ifndef JB_BASE_GLOB_H
#define JB_BASE_GLOB_H

#include <stdbool.h>
#include <stdint.h>

#define JB_GLOB_PARTS_MAX 62 /* components of a pattern */

struct jb_glob {
    char *text;
    const char *parts[JB_GLOB_PARTS_MAX];
    unsigned n;
};

/* Leading and doubled slashes count for nothing. -E2BIG: too many components; -EINVAL: there is none; -ENOMEM. */
int jb_glob_make(const char *pattern, struct jb_glob *ret);
void jb_glob_free(struct jb_glob *glob);

/* The state at the folder where the pattern begins. */
uint64_t jb_glob_start(const struct jb_glob *glob);
/* The state after one more name; 0: nothing there or below can match. */
uint64_t jb_glob_step(const struct jb_glob *glob, uint64_t state, const char *name);
/* A file in this state matches; so does a folder, with all that is in it. */
bool jb_glob_matches(const struct jb_glob *glob, uint64_t state);
/* The only name that can lead on from here, where that is so; else NULL: the folder is to be listed. */
const char *jb_glob_only(const struct jb_glob *glob, uint64_t state);

/* One component against one name. */
bool jb_glob_name(const char *pattern, const char *name);

#endif
