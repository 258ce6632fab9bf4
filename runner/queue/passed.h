/*
 * passed.h - what of a submitter's environment goes with his job.
 *
 * Owns: nothing beyond the result. Runs in: jobboxd. Privilege: none; both lists are a stranger's.
 */
#ifndef JB_QUEUE_PASSED_H
#define JB_QUEUE_PASSED_H

#include <jansson.h>

#include "base/str.h"

/*
 * Of a list of KEY=value those that `patterns` name, as text in JSON; a pattern that ends in * is a beginning. NULL: none.
 * The caller frees it.
 */
char *jb_passed_env(const struct jb_strv *patterns, const json_t *env);

#endif
