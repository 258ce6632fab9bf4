/*
 * loopdev.h - a file as a disk, for as long as somebody has it open.
 *
 * Owns: nothing beyond the descriptor. Runs in: the box's first process. Privilege: root's, outside of a user namespace.
 */
#ifndef JB_BOX_LOOPDEV_H
#define JB_BOX_LOOPDEV_H

#include "base/error.h"

#define JB_LOOP_PATH 32

/*
 * Makes a loop device of a file that is open for reading and writing. It goes by itself when the last of its users is
 * gone, mounts among them, whoever dies. The caller holds the returned descriptor until it is mounted. Its path goes into
 * `path`.
 */
int jb_loop_attach(int file_fd, char path[JB_LOOP_PATH], struct jb_error *err);

#endif
