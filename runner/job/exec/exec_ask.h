/*
 * exec_ask.h - what is asked for when a command is to be executed in a box, as it goes over the control socket.
 *
 * Owns: all that a struct jb_exec_ask points to. Runs in: the client (writing), the supervisor (reading). Privilege: none.
 *
 * Arguments and variables are bytes, and JSON has only text: so the request is an anonymous sealed file, a line of JSON
 * with a NUL behind it and then NUL-terminated strings: the working directory ("": the box's), the arguments, the
 * variables.
 */
#ifndef JB_JOB_EXEC_ASK_H
#define JB_JOB_EXEC_ASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

#define JB_EXEC_ASK_MAX (2U << 20) /* bytes of a request */

struct jb_exec_ask {
    struct jb_strv argv;
    struct jb_strv env; /* KEY=value, over those of the box */
    char *workdir;      /* NULL: the box's */
    bool user_said;
    uid_t uid;
    gid_t gid;
    bool tty;
    unsigned rows, cols; /* of the terminal; 0: not known */
    bool keep_children;
    uint64_t timeout_ns; /* JB_UNSET: none */
};
#define JB_EXEC_ASK_INIT ((struct jb_exec_ask){.timeout_ns = UINT64_MAX})

void jb_exec_ask_free(struct jb_exec_ask *ask);

/* The sealed file; the caller's. */
int jb_exec_ask_write(const struct jb_exec_ask *ask, int *ret_fd, struct jb_error *err);
/* -EINVAL says what is wrong; a file that is not sealed is refused, for it could change or never end. */
int jb_exec_ask_read(int fd, struct jb_exec_ask *ret, struct jb_error *err);

/* "1000", "1000:100": decimal, strictly. -EINVAL. */
int jb_exec_ask_user(const char *text, struct jb_exec_ask *ask);

#endif
