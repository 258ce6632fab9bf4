/*
 * message.h - packets of proto.h with descriptors, for the two sides that are libjobbox.
 *
 * Owns: nothing; received descriptors are the caller's. Runs in: the supervisor and the box's first process.
 * Privilege: none.
 */
#ifndef JB_BOX_MESSAGE_H
#define JB_BOX_MESSAGE_H

#include <stddef.h>

#include "box/proto.h"

/* What ENOSYS means to whoever reads it. */
#define JB_MSG_CALL_MISSING                                                                                 \
    "a call of Linux 5.12 is missing, or a system call filter hides it, as those of containers do; jobbox " \
    "doctor says which"

/* Sends the head and `text_len` bytes of text, with n_fds descriptors (at most JB_MSG_FDS). -EPIPE: nobody listens. */
int jb_msg_send(int control, const struct jb_msg *msg, size_t text_len, const int *fds, size_t n_fds);

/* 1 and the message, 0 at end of file, -errno. What came along is in fds[0 .. *ret_n_fds), CLOEXEC. */
int jb_msg_receive(int control, struct jb_msg *ret, int fds[JB_MSG_FDS], size_t *ret_n_fds);

#endif
