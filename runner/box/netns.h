/*
 * netns.h - a network namespace made while other things are done.
 *
 * Owns: one thread from begin to end, then one descriptor. Runs in: the supervisor. Privilege: CAP_SYS_ADMIN and
 * CAP_NET_ADMIN.
 *
 * A network namespace is a fifth of what a box costs, and nothing else of a start has to wait for it: a thread of its
 * own makes it (namespaces belong to threads) while the supervisor finds out what the job may have. Where that fails
 * the box makes its own with clone, as it does in a user namespace.
 */
#ifndef JB_BOX_NETNS_H
#define JB_BOX_NETNS_H

#include <pthread.h>
#include <stdbool.h>

struct jb_netns {
    pthread_t thread;
    bool running;
    int fd; /* owned; -1: none was made */
};
#define JB_NETNS_INIT ((struct jb_netns){.fd = -1})

/* Starts the thread; does nothing where none can be had. */
void jb_netns_begin(struct jb_netns *ns);

/* Waits for it. Returns the descriptor of a namespace with its loopback up, still owned by `ns`, or -1. */
int jb_netns_end(struct jb_netns *ns);

void jb_netns_close(struct jb_netns *ns);

/* Brings up "lo" in the caller's network namespace. 0 or -errno. */
int jb_netns_loopback_up(void);

#endif
