/*
 * confine.h - a child process that reads what others wrote: what it may still do is compute.
 *
 * Owns: nothing. Runs in: a child just forked. Privilege: what it was forked with, given up here. Internal to machine/.
 */
#ifndef JB_MACHINE_CONFINE_H
#define JB_MACHINE_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Bounds the calling process, a child of `parent` with one thread: it dies with the parent, its standard output and
 * error lead nowhere, of other descriptors only `keep_fd` is left, it makes no process, and its memory, time and the
 * size of what it writes are limited. With `drop` it also has no privilege afterwards: root becomes nobody, without
 * groups; where there is no such id (a user namespace), or no right to it (root of a box), it keeps its own, without
 * capabilities. A function returns
 * -errno when that cannot be done; then nothing of others may be read.
 */
int jb_confine(pid_t parent, int keep_fd, bool drop);

#endif
