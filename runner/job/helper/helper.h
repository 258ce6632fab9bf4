/*
 * helper.h - somebody else's program that serves one box: what the supervisor has of it.
 *
 * Owns: a struct jb_helper holds the child and the pipe that it lives by. Runs in: the supervisor. Privilege: the
 * supervisor's.
 *
 * It ends when the pipe's end here is closed: also when it is the kernel that closes it, because the supervisor died. So
 * there is nothing of it for a recovery to look for.
 */
#ifndef JB_JOB_HELPER_H
#define JB_JOB_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct jb_helper {
    pid_t pid;   /* 0: none */
    int life_fd; /* closed: it ends; -1: none */
};
#define JB_HELPER_INIT ((struct jb_helper){.life_fd = -1})

/* While it starts: descriptors of both sides, all CLOEXEC. */
struct jb_helper_ends {
    int ready_in, ready_out; /* gets a byte when it serves */
    int life_in;             /* its end of the pipe */
    int said;                /* what it wrote */
};
#define JB_HELPER_ENDS_INIT ((struct jb_helper_ends){-1, -1, -1, -1})

int jb_helper_open(struct jb_helper *helper, struct jb_helper_ends *ret);
void jb_helper_close(struct jb_helper_ends *ends);

/* 0: it serves; else it has ended, or takes too long. */
int jb_helper_await(struct jb_helper_ends *ends, pid_t pid);

/* One line of what it wrote; "" when it was silent. */
void jb_helper_said(const struct jb_helper_ends *ends, char *buf, size_t len);

/* It has ended by itself, now or within that time. */
bool jb_helper_is_gone(const struct jb_helper *helper, uint64_t within_ns);

/* Ends it and waits for it. True where there was one. */
bool jb_helper_end(struct jb_helper *helper);

#endif
