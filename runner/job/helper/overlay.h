/*
 * overlay.h - how the throwaway layer over a job's image can be had, looked at before anything is made.
 *
 * Owns: nothing beyond the call. Runs in: the client. Privilege: the client's.
 */
#ifndef JB_JOB_OVERLAY_H
#define JB_JOB_OVERLAY_H

#include "image/image.h"
#include "job/job.h"

/* Fills what the plan chooses by into `host`. Fails when there is no way, with the reason. */
int jb_job_probe_overlay(const struct jb_job_options *o, const struct jb_image *image, struct jb_host *host,
                         struct jb_error *err);

#endif
