/*
 * again.h - the daemon begins anew, with its configuration and its program as they are on the disk by then.
 *
 * Owns: a struct jb_again. Runs in: jobboxd. Privilege: the daemon's.
 */
#ifndef JB_DAEMON_AGAIN_H
#define JB_DAEMON_AGAIN_H

#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"

#define JB_AGAIN_LISTEN_FD 3

enum jb_again_why {
    JB_AGAIN_NOT,
    JB_AGAIN_ASKED,  /* by HUP */
    JB_AGAIN_FAILED, /* the one before could not go on */
};

/* How it was started: noted before the working directory is left. */
struct jb_again {
    char *program;
    struct jb_strv argv;
    const char *config, *exporter; /* of argv; NULL: none was named */
};

/*
 * A relative name of the program or of a file becomes one that holds in any directory. `config`, `exporter`: NULL when not
 * given.
 */
int jb_again_note(struct jb_again *again, const char *config, const char *exporter, bool own, bool daemon,
                  struct jb_error *err);
void jb_again_free(struct jb_again *again);

/*
 * The program that is installed now, with the same socket: nobody who connects is turned away. After an upgrade that is
 * the new one; when there is none any more, it is the one that runs. Signals that are blocked stay so: one that comes on
 * the way is heard by the later self. Returns only on failure.
 */
int jb_again_begin(const struct jb_again *again, enum jb_again_why why, int listen_fd, struct jb_error *err);

/*
 * The queue cannot be had, on a full disk perhaps: for a while whoever connects is told why, and then it is time to try
 * again. signal_fd: as of main.c; HUP ends the time. True: the daemon is to end.
 */
bool jb_again_wait(int listen_fd, int signal_fd, const struct jb_error *why);

/* Why this process is a later self, if it is one; forgets it. */
enum jb_again_why jb_again_is(void);

#endif
