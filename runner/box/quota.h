/*
 * quota.h - project quotas: a hard cap on what lies in one folder, where the file system has them.
 *
 * Owns: nothing. Runs in: the supervisor, and whoever recovers. Privilege: CAP_SYS_ADMIN in the initial user namespace.
 *
 * A folder that is given a project hands it down to everything that is made in it. The kernel counts blocks and inodes of
 * a project, and says so to whoever asks for the free space of the folder.
 */
#ifndef JB_BOX_QUOTA_H
#define JB_BOX_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The kernel's side, so that tests can stand in for it. Each returns 0 or -errno; `fd`: a file or folder on it. */
struct jb_quota_api {
    void *ctx;
    int (*enforced)(void *ctx, int fd); /* 1: project quotas are kept there; 0: they are not */
    int (*project_get)(void *ctx, int dir_fd, uint32_t *ret);
    int (*project_set)(void *ctx, int dir_fd, uint32_t project);       /* and to be handed down; 0: none */
    int (*usage)(void *ctx, int fd, uint32_t project, bool *ret_used); /* has limits, or counts anything */
    int (*limit)(void *ctx, int fd, uint32_t project, uint64_t bytes, uint64_t inodes); /* 0: none */
};
extern const struct jb_quota_api jb_quota_kernel;

#define JB_QUOTA_FIRST 0x4a420000U /* the projects that jobbox takes for itself: from here */
#define JB_QUOTA_COUNT 0x10000U    /* so many */

/*
 * Gives the folder, which is empty, a project that nobody has, with these limits (JB_UNSET: none). Whoever does this must
 * be alone in it on this file system. -ENOSPC: all projects are taken.
 */
int jb_quota_give(const struct jb_quota_api *api, int dir_fd, uint64_t bytes, uint64_t inodes,
                  struct jb_error *err);

/* Takes the limits of the folder's project away, if it has one of ours. To be done before it is removed. */
int jb_quota_take(const struct jb_quota_api *api, int dir_fd, struct jb_error *err);

#endif
