/*
 * keeper.h - a process that keeps somebody else's program, and takes it along when it ends.
 *
 * Owns: struct jb_keeper borrows all. Runs in: the supervisor, and a child of it. Privilege: that of the box's user
 * namespace where it has one, else the supervisor's.
 *
 * Theory of operation. A program that serves a box must not outlive it, whoever is killed. So it runs in a PID namespace of
 * its own, whose first process - the keeper - lives by a pipe of the supervisor's: when that is closed, by whom ever, the
 * keeper ends, and the kernel kills all that is in the namespace. Nothing in the box can name either of them. A first child
 * enters the box's user namespace, to be allowed a PID namespace, and clones the keeper as the supervisor's child, so that
 * the supervisor waits for it.
 */
#ifndef JB_JOB_KEEPER_H
#define JB_JOB_KEEPER_H

#include <stddef.h>
#include <sys/types.h>

#define JB_KEEPER_FIRST 3 /* where its descriptors begin */

struct jb_keeper {
    const int *fds; /* all that it is to have, at 3 and what follows; -1: nothing there */
    size_t n;
    int said;            /* which of them it writes errors to */
    int userns;          /* which is a user namespace to enter, and not to be kept; -1: none */
    unsigned namespaces; /* CLONE_NEW*: more than a PID namespace */
    const int *join;     /* groups to be in: "0" is written to each */
    size_t n_join;
    void (*keep)(const void *ctx); /* runs in the keeper, and does not return */
    const void *ctx;
};

/* 0 and the keeper's pid, a child to be waited for. */
int jb_keeper_start(const struct jb_keeper *keeper, pid_t *ret);

#endif
