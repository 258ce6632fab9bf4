/*
 * program.h - other people's programs: started, or run to their end under a time limit.
 *
 * Owns: the child while it runs. Runs in: the supervisor. Privilege: the caller's. A program gets PATH as its whole
 * environment, /dev/null as standard input, and no other descriptor of ours that is CLOEXEC.
 */
#ifndef JB_BASE_PROGRAM_H
#define JB_BASE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define JB_PROGRAM_PATH 128

/*
 * The program of that name in the folders where a system keeps its own, never in those of the caller's PATH. -ENOENT.
 * Its whole path goes into buf.
 */
int jb_program_find(const char *name, char buf[JB_PROGRAM_PATH]);

/*
 * Runs argv[0], a whole path. 0 when it ended with exit code 0; else an error with the first line of what it said:
 * -ETIMEDOUT when it was killed for taking longer than `timeout_ns`, -EIO for any other end.
 */
int jb_program_run(char *const *argv, uint64_t timeout_ns, struct jb_error *err);

/*
 * Starts argv[0] and does not wait: without signals blocked or ignored, with what it says going to `said`, and `kept` (-1:
 * none) under its own number although it is CLOEXEC. The process is the caller's to reap.
 */
int jb_program_spawn(char *const *argv, char *const *env, int said, int kept, pid_t *ret);

#endif
