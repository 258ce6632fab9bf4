/*
 * artifacts.h - bringing named files out of a box.
 *
 * Owns: nothing. Runs in: the supervisor, when all processes of the job are dead and jobbox-init still
 * stands. Privilege: the submitter's credentials for reading and for writing; what he could not read or write
 * himself does not move.
 *
 * The box's files are the job's: nothing in them is believed. Regular files with one link only, no symlink
 * followed, bounded in number and size; set-id bits and extended attributes stay behind; holes stay holes.
 */
#ifndef JB_JOB_ARTIFACTS_H
#define JB_JOB_ARTIFACTS_H

#include <jansson.h>

#include "box/box.h"
#include "plan/plan.h"

#define JB_ARTIFACT_DEPTH_MAX 64
#define JB_ARTIFACT_TEXT_MAX  (1U << 20)  /* bytes of paths in the record; files beyond are left */
#define JB_ARTIFACT_LOOK_MAX  4000000     /* names listed in search of them, over all folders */
#define JB_ARTIFACT_NAMES_MAX (16U << 20) /* bytes of names of one folder that lead on */

/*
 * Collects what the plan names, as far as it is wanted after such an end. *ret: array of {path, to, bytes, sha256} for each file, and {path,
 * error} for a glob that matched nothing or a file that was left; failures of single files do not stop the
 * others. A negative return means that nothing could be looked at.
 */
int jb_artifacts_collect(const struct jb_plan *plan, const struct jb_box *box, bool success, json_t **ret,
                         struct jb_error *err);

#endif
