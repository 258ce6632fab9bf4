/*
 * subids.h - ranges of ids that the administrator has given to a user, for the inside of his user namespaces.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; reading only.
 */
#ifndef JB_PLAN_SUBIDS_H
#define JB_PLAN_SUBIDS_H

#include <stdint.h>
#include <sys/types.h>

struct jb_id_range {
    uint32_t start; /* on the host */
    uint32_t count; /* 0: none */
};

/*
 * The first range of `user`, or of the number `uid`, in the text of /etc/subuid or /etc/subgid (subuid(5)). Lines that are
 * none, and ranges that begin at 0 or pass the last id, count for nothing.
 */
struct jb_id_range jb_subids_find(const char *text, const char *user, uid_t uid);

#endif
