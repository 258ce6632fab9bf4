/*
 * guard.h - what an isolator puts around the command beyond namespaces and cgroups, in as few calls as it takes.
 *
 * Like limit.c it needs no library, so that it builds against any libc.
 */
#ifndef BENCH_GUARD_H
#define BENCH_GUARD_H

/* In the box's root, /proc and /sys mounted, umask 0: private folders, an /etc/hosts, and covers over what of /proc and
 * /sys is root's. Ends the process when that fails. */
void guard_files(void);

/* Gives up all capabilities, and lets a filter of system calls decide from here on. Ends the process when that
 * fails. */
void guard_privilege(void);

/* Runs the command as PID 2; this process, PID 1, reaps. Returns the command's status as a shell would tell it. */
int guard_run(char **argv, char **envp);

/* Appends one line to the file at path and waits until it is on disk. */
void guard_note(const char *path, const char *line);

#endif
