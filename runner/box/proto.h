/*
 * proto.h - what the box's first process and its supervisor say to each other.
 *
 * Owns: nothing. Runs in: the supervisor, the first process while it builds the box, and jobbox-init (which
 * shares no code with libjobbox: this header includes only the C library). Privilege: none.
 *
 * The same is said to the reaper of each command that is executed in a box (a "member"): it is jobbox-init too.
 *
 * One SOCK_SEQPACKET pair; each packet is one struct jb_msg. The box side is descriptor JB_CONTROL_FD in
 * jobbox-init. The job never holds it. End of file on either side means that the other is gone.
 */
#ifndef JB_BOX_PROTO_H
#define JB_BOX_PROTO_H

#include <stdint.h>

#define JB_CONTROL_FD 3
#define JB_MSG_TEXT   1024
#define JB_MSG_FDS    16 /* descriptors a message may carry */

/* What comes with JB_MSG_FUSE, in this order; behind it what the layer lies over, the top one first. */
enum { JB_FUSE_DEV, JB_FUSE_MOUNT, JB_FUSE_USERNS, JB_FUSE_SCRATCH, JB_FUSE_LOWERS };

enum jb_msg_type {
    /* from the box */
    JB_MSG_FAILED = 1, /* building failed: errnum, text */
    JB_MSG_SCRATCH,    /* carries a descriptor of the scratch file system */
    JB_MSG_NETNS, /* carries descriptors of its network and, where it has one, user namespace: for a helper */
    JB_MSG_LAYER, /* where it is asked what the job changes: a directory of the scratch that is written to, and where
                     it is shown (text: two strings), with descriptors of what it lies over, the top one first; value:
                     not 0 when more of them have come before */
    JB_MSG_FUSE, /* the root is to be served by a program: carries JB_FUSE_*, some at a time; value: how many come */
    JB_MSG_READY,       /* jobbox-init waits for GO; carries the terminal's master when there is one */
    JB_MSG_STARTED,     /* the job runs: mono_ns */
    JB_MSG_EXEC_FAILED, /* the command could not be started: errnum */
    JB_MSG_ENDED, /* the job's main process ended and everything else was killed: status, rusage; value2 in a
                           member: not 0 when something of it may be left */
    JB_MSG_ENTERED, /* a member is in the box: value is its process id, its pidfd comes along */
    /* to the box */
    JB_MSG_GO = 64,
    JB_MSG_MAPPED, /* its user namespace has its ids, where those come from outside */
    JB_MSG_JOIN, /* while it is built: carries `value` descriptors to write "0" to (text: their controllers, a byte
                    each), and behind them jobbox-init itself */
    JB_MSG_SIGNAL, /* value: signal number; value2: 0 for every process of the job (a member: of its process group), 1
                      for its main one alone */
    JB_MSG_WINCH, /* rows and columns for the job's terminal */
    JB_MSG_END,   /* a box without a job of its own ends as soon as nothing runs in it */
    JB_MSG_QUIT,  /* jobbox-init may leave, where it was told to wait for this; the box falls apart */
};

struct jb_msg {
    uint32_t type;
    int32_t errnum;
    int32_t value; /* JB_MSG_SIGNAL; wait status in JB_MSG_ENDED */
    int32_t value2;
    uint64_t mono_ns;
    /* JB_MSG_ENDED: all processes that the job waited for, and those that init reaped */
    uint64_t user_us, system_us;
    uint64_t minor_faults, major_faults, voluntary_switches, involuntary_switches;
    uint64_t read_blocks, written_blocks; /* of 512 bytes, from and to disks */
    char text[JB_MSG_TEXT];               /* sent only as far as it is used */
};

/* Bytes of a message without text. */
#define JB_MSG_HEAD ((unsigned)__builtin_offsetof(struct jb_msg, text))

/* argv[1] of jobbox-init: one letter for each of these, in this order. */
enum jb_init_option {
    JB_INIT_TTY,    /* 't': give the job a terminal */
    JB_INIT_WAITS,  /* 'w': stay after ENDED until QUIT: somebody wants to look into the box */
    JB_INIT_STANDS, /* 's': no job of its own, the box stands for those who enter it, until END */
    JB_INIT_MEMBER, /* 'm': not PID 1, but the reaper of one command in a box that stands */
    JB_INIT_KEEPS,  /* 'k': a member that leaves to the box what its command left behind */
    JB_INIT_OPTIONS,
};
#define JB_INIT_LETTERS "twsmk" /* '-' in a place: no */

#endif
